//! `ldd` as one program: which libraries a program takes, as dracut asks for every one of a hundred.
//!
//! glibc's script starts each of its linkers two times over to find the one that suits the file, and then that one, which prints the answer.
//! This module looks into the file instead, and becomes that linker.
//!
//! # Invariants
//!
//! * It stands in for scripts of glibc's form, which name their linkers in one line, and takes the linkers from there.
//! * It takes on one file that is linked dynamically. For all else [`linker`] returns none, and the script runs.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// How the line begins that names the linkers.
const LINKERS: &str = "RTLDLIST=";
/// What the script is recognised by: how it has a linker judge a file, and how it has it print.
const SIGNS: [&str; 2] = ["verify_out=`${rtld} --verify \"$file\"`", "add_env=\"LD_TRACE_LOADED_OBJECTS=1 "];
/// Variables that have a linker print, as the script sets them.
pub const VARIABLES: [(&str, &str); 5] =
    [("LD_TRACE_LOADED_OBJECTS", "1"), ("LD_WARN", ""), ("LD_BIND_NOW", ""), ("LD_LIBRARY_VERSION", ""), ("LD_VERBOSE", "")];
/// The program header of a file that is linked dynamically.
const PT_DYNAMIC: u32 = 2;
/// The most program headers that are looked at.
const MAX_HEADERS: u16 = 256;

/// Returns the linker that prints what the script `real` would print, given [`VARIABLES`] and a file; none when the script must run.
/// `behind` tells where the file is that a stand-in may cover.
#[must_use]
pub fn linker(arguments: &[OsString], real: &Path, behind: impl Fn(&Path) -> io::Result<PathBuf>) -> Option<(PathBuf, PathBuf)> {
    let [file] = arguments else { return None };
    if file.as_encoded_bytes().starts_with(b"-") || !file.as_encoded_bytes().contains(&b'/') {
        return None;
    }
    let file = behind(Path::new(file)).ok()?;
    let machine = Elf::of(&file).filter(|elf| elf.is_dynamic)?.machine;
    let script = fs::read_to_string(real).ok()?;
    let linker = linkers(&script)?.into_iter().find(|linker| suits(linker, machine))?;
    Some((linker, file))
}

/// Returns the linkers that a script of glibc's names; none when it is another.
fn linkers(script: &str) -> Option<Vec<PathBuf>> {
    let is_known = SIGNS.iter().all(|sign| script.lines().any(|line| line.trim_start().starts_with(sign)));
    let mut lines = script.lines().filter_map(|line| line.strip_prefix(LINKERS));
    let list = lines.next().filter(|_| is_known)?;
    let list = list.strip_prefix('"').and_then(|list| list.strip_suffix('"')).unwrap_or(list);
    let is_plain = list.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._- ".contains(&byte));
    (is_plain && lines.next().is_none()).then(|| list.split(' ').filter(|word| !word.is_empty()).map(PathBuf::from).collect())
}

/// Tells whether a linker can be started and is for such files.
fn suits(linker: &Path, machine: Machine) -> bool {
    let is_program = fs::metadata(linker).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0);
    is_program && Elf::of(linker).is_some_and(|elf| elf.machine == machine)
}

/// The width of addresses and the number of the machine.
type Machine = (u8, u16);

/// What of a program's file matters here.
struct Elf {
    machine: Machine,
    is_dynamic: bool,
}

impl Elf {
    /// Reads the headers of a file; none when it is no little-endian ELF file.
    fn of(path: &Path) -> Option<Self> {
        let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|facts| facts.is_file()))?;
        let mut header = [0; 64];
        // A 32-bit header is shorter, but what has nothing behind it is no program.
        (&file).read_exact(&mut header).ok()?;
        let (class, order) = (header[4], header[5]);
        if !header.starts_with(b"\x7fELF") || !matches!(class, 1 | 2) || order != 1 {
            return None;
        }
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let (table, size, count) = if class == 2 {
            (u64::from_le_bytes(header[32..40].try_into().ok()?), short(54), short(56))
        } else {
            (u64::from(u32::from_le_bytes(header[28..32].try_into().ok()?)), short(42), short(44))
        };
        let kind = |index: u16| {
            let mut kind = [0; 4];
            let at = table.checked_add(u64::from(index) * u64::from(size))?;
            file.read_exact_at(&mut kind, at).ok().map(|()| u32::from_le_bytes(kind))
        };
        let is_dynamic = (0..count.min(MAX_HEADERS)).any(|index| kind(index) == Some(PT_DYNAMIC));
        Some(Self { machine: (class, short(18)), is_dynamic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::output_of;

    fn found(file: &Path) -> io::Result<PathBuf> {
        Ok(file.to_owned())
    }

    /// The script's own words are the oracle, where the machine's is glibc's.
    #[test]
    fn linkers_print_what_the_script_prints() {
        let script = Path::new("/usr/bin/ldd");
        if fs::read_to_string(script).ok().and_then(|text| linkers(&text)).is_none() {
            eprintln!("skipped: this machine's ldd is not glibc's script");
            return;
        }
        let without_addresses = |text: &str| text.lines().map(|line| line.split(" (0x").next().unwrap().to_owned()).collect::<Vec<_>>();
        let own = std::env::current_exe().unwrap();
        for file in ["/bin/sh", "/usr/bin/env", own.to_str().unwrap()] {
            let (linker, file) = linker(&[file.into()], script, found).unwrap();
            let file = file.to_str().unwrap();
            let settings: Vec<String> = VARIABLES.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut words: Vec<&str> = settings.iter().map(String::as_str).collect();
            words.extend([linker.to_str().unwrap(), file]);
            let printed = without_addresses(&output_of("env", &words));
            assert!(!printed.is_empty());
            assert_eq!(printed, without_addresses(&output_of("ldd", &[file])), "{file}");
        }
        let [none, option, name] = [&[][..], &["--version".into()], &["sh".into()]];
        for arguments in [none, option, name, &["/usr/bin/ldd".into()], &["/etc".into()], &["/bin/sh".into(), "/bin/sh".into()]] {
            assert_eq!(linker(arguments, script, found), None, "{arguments:?}");
        }
    }

    #[test]
    fn only_glibcs_script_is_known() {
        let script = "RTLDLIST=\"/lib/a.so.2 /lib64/b.so.2\"\nx\nadd_env=\"LD_TRACE_LOADED_OBJECTS=1 LD_WARN=$warn\"\n\t  verify_out=`${rtld} --verify \"$file\"`\n";
        assert_eq!(linkers(script).unwrap(), [Path::new("/lib/a.so.2"), Path::new("/lib64/b.so.2")]);
        assert_eq!(linkers(&script.replace("a.so.2 ", "$(x) ")), None);
        assert_eq!(linkers(&script.replace("--verify", "--check")), None);
        assert_eq!(linkers(&script.replace("RTLDLIST", "LIST")), None);
        assert_eq!(linkers(&format!("{script}RTLDLIST=/lib/c\n")), None);
    }

    #[test]
    fn odd_files_are_no_programs() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let mut elf = [0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // A table that is beyond the end of all files, and of numbers.
        elf[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        elf[54..58].copy_from_slice(&[56, 0, 255, 255]);
        for bytes in [&elf[..], &elf[..20], b"#!/bin/sh\n", b""] {
            fs::write(&path, bytes).unwrap();
            assert!(!Elf::of(&path).is_some_and(|elf| elf.is_dynamic));
        }
    }
}
