//! `cpio` as dracut calls it: packs the files that it is given the names of.
//!
//! The program reads and writes 512 bytes at a time, which makes 270 000 calls of 70 MB. What this module writes is the same byte for
//! byte: the "new ASCII" format with inode numbers that count from 0.
//!
//! ```text
//! header  070701, then 13 numbers of 8 digits: inode, mode, uid, gid, links, time, size, 2 of its device (0), 2 that it is, length of the name, 0
//! name    with a zero byte, filled up to a multiple of 4
//! content filled up to a multiple of 4; the target of a link
//! ...     `TRAILER!!!`, and zeros up to a multiple of 512
//! ```
//!
//! A file with several names is written when its last name comes up: its other names go before it, the latest first, without content. Where
//! some of its names are not packed, this happens at the end.
//!
//! # Invariants
//!
//! * It stands in for GNU cpio with dracut's arguments; anything else is left to the real program.
//! * What cannot be read, or is shorter than it was a moment ago, ends it with an error: dracut then makes no initramfs.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    io::{self, BufRead, Read as _, Write},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

/// dracut's arguments.
const ARGUMENTS: [&str; 6] = ["--reproducible", "--null", "-H", "newc", "-o", "--quiet"];
/// What the program has in its file, for it tells its version with it.
const SIGN: &[u8] = b"GNU cpio";
/// An option of versions since 2.14, which write that every folder has two links; earlier ones write how many it has.
const TWO_LINKS: &[u8] = b"ignore-dirnlink";
/// The largest program that is looked at.
const MAX_PROGRAM: u64 = 8 << 20;
/// Blocks of an archive.
const BLOCK: u64 = 512;
/// Files and waiting bytes up to this are collected before they are written.
const SMALL: u64 = 64 << 10;
/// The longest name of a file.
const MAX_NAME: u64 = 4096;

/// Packs the files whose names standard input has, if these are dracut's arguments and `real` is GNU cpio; none when the real program must.
#[must_use]
pub fn pack(arguments: &[OsString], real: &Path) -> Option<ExitCode> {
    let two_links = version(real).filter(|_| arguments == ARGUMENTS)?;
    let packed = names(io::stdin().lock()).and_then(|names| {
        // The standard stream would look for ends of lines in all of it.
        let mut output = File::from(rustix::io::dup(io::stdout()).map_err(io::Error::from)?);
        Archive::new(&mut output, two_links).write(Path::new(""), names)
    });
    Some(match packed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cpio: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Tells whether a version of GNU cpio writes two links for every folder; none when the program is another.
fn version(program: &Path) -> Option<bool> {
    let mut bytes = Vec::new();
    File::open(program).and_then(|file| file.take(MAX_PROGRAM).read_to_end(&mut bytes)).ok()?;
    let has = |sign: &[u8]| bytes.windows(sign.len()).any(|part| part == sign);
    has(SIGN).then(|| has(TWO_LINKS))
}

/// Reads names that end with a zero byte each.
fn names(mut input: impl BufRead) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    loop {
        let mut name = Vec::new();
        if (&mut input).take(MAX_NAME + 1).read_until(0, &mut name)? == 0 {
            return Ok(names);
        }
        if name.pop_if(|last| *last == 0).is_none() || name.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a name is empty or too long"));
        }
        names.push(OsString::from_vec(name));
    }
}

/// A file with its name.
struct Named {
    /// As it was given.
    name: OsString,
    path: PathBuf,
    inode: u64,
    facts: Metadata,
}

/// An archive that is being written.
struct Archive<'o> {
    output: &'o mut File,
    two_links: bool,
    /// What is not written yet, so that small parts are written together.
    pending: Vec<u8>,
    /// The bytes written.
    length: u64,
    next_inode: u64,
    /// Numbers of inodes with several names, by device and number.
    inodes: HashMap<(u64, u64), u64>,
    /// Names that wait for the last one of their file, the latest last.
    waiting: Vec<Named>,
}

impl<'o> Archive<'o> {
    fn new(output: &'o mut File, two_links: bool) -> Self {
        Self { output, two_links, pending: Vec::new(), length: 0, next_inode: 0, inodes: HashMap::new(), waiting: Vec::new() }
    }

    /// Writes the archive of the files with these names below a folder.
    fn write(mut self, folder: &Path, names: Vec<OsString>) -> io::Result<()> {
        for name in names {
            let path = folder.join(&name);
            let facts = fs::symlink_metadata(&path).map_err(|error| about(&path, &error))?;
            let inode = self.inode(&facts);
            self.add(Named { name, path, inode, facts })?;
        }
        self.write_waiting()?;
        self.header(b"TRAILER!!!", [0, 0, 0, 0, 1, 0, 0], [0, 0])?;
        self.pad(BLOCK)?;
        self.flush()
    }

    /// Numbers a file.
    fn inode(&mut self, facts: &Metadata) -> u64 {
        let next = &mut self.next_inode;
        let mut new = || {
            *next += 1;
            *next - 1
        };
        if facts.nlink() > 1 { *self.inodes.entry((facts.dev(), facts.ino())).or_insert_with(new) } else { new() }
    }

    /// Writes a file, or has it wait for the other names that it has.
    fn add(&mut self, file: Named) -> io::Result<()> {
        let kind = file.facts.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&file.path).map_err(|error| about(&file.path, &error))?.into_os_string();
            self.member(&file, target.len() as u64)?;
            return self.put_filled(target.as_bytes());
        }
        if !kind.is_file() {
            return self.member(&file, 0);
        }
        if file.facts.nlink() > 1 {
            let others = self.waiting.iter().filter(|other| other.inode == file.inode).count() as u64;
            if others + 1 < file.facts.nlink() {
                self.waiting.push(file);
                return Ok(());
            }
            let (others, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|other| other.inode == file.inode);
            self.waiting = waiting;
            let others: Vec<Named> = others;
            others.iter().rev().try_for_each(|other| self.member(other, 0))?;
        }
        self.content(&file)
    }

    /// Writes what still waits: with its content where it is the last one of its file.
    fn write_waiting(&mut self) -> io::Result<()> {
        while let Some(file) = self.waiting.pop() {
            if self.waiting.iter().any(|other| other.inode == file.inode) {
                self.member(&file, 0)?;
            } else {
                self.content(&file)?;
            }
        }
        Ok(())
    }

    /// Writes a file with its content.
    fn content(&mut self, file: &Named) -> io::Result<()> {
        let size = file.facts.len();
        self.member(file, size)?;
        let mut content = File::open(&file.path).map_err(|error| about(&file.path, &error))?.take(size);
        let copied = if size < SMALL {
            content.read_to_end(&mut self.pending)? as u64
        } else {
            self.flush()?;
            io::copy(&mut content, self.output)?
        };
        self.length += copied;
        if copied != size {
            return Err(about(&file.path, &io::ErrorKind::UnexpectedEof.into()));
        }
        self.fill()
    }

    /// Writes the header of a file.
    fn member(&mut self, file: &Named, size: u64) -> io::Result<()> {
        let facts = &file.facts;
        let kind = facts.file_type();
        let links = if kind.is_dir() && self.two_links { 2 } else { facts.nlink() };
        let device = if kind.is_block_device() || kind.is_char_device() { facts.rdev() } else { 0 };
        let time = u64::try_from(facts.mtime()).unwrap_or(0);
        let numbers = [file.inode, facts.mode().into(), facts.uid().into(), facts.gid().into(), links, time, size];
        let device = [rustix::fs::major(device).into(), rustix::fs::minor(device).into()];
        self.header(archived_name(&file.name), numbers, device).map_err(|error| about(&file.path, &error))
    }

    /// Writes a header.
    fn header(&mut self, name: &[u8], numbers: [u64; 7], device: [u64; 2]) -> io::Result<()> {
        let mut header = b"070701".to_vec();
        let [major, minor] = device;
        for number in numbers.into_iter().chain([0, 0, major, minor, name.len() as u64 + 1, 0]) {
            let number = u32::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            write!(header, "{number:08X}")?;
        }
        header.extend(name);
        header.push(0);
        self.put_filled(&header)
    }

    /// Writes bytes and fills up.
    fn put_filled(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend(bytes);
        self.length += bytes.len() as u64;
        self.fill()
    }

    /// Fills up to a multiple of four.
    fn fill(&mut self) -> io::Result<()> {
        self.pad(4)?;
        if self.pending.len() as u64 > SMALL { self.flush() } else { Ok(()) }
    }

    /// Appends zeros up to a multiple of a size.
    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = self.length.next_multiple_of(size) - self.length;
        self.length += zeros;
        let length = self.pending.len() + usize::try_from(zeros).map_err(io::Error::other)?;
        self.pending.resize(length, 0);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// Returns a name as the program writes it: without `./` in front.
fn archived_name(name: &OsStr) -> &[u8] {
    let name = name.as_bytes();
    name.strip_prefix(b"./").filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// Words what is wrong with a file.
fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::exec::output_of;

    fn packed(folder: &Path, names: &[&str], two_links: bool) -> Vec<u8> {
        let mut output = tempfile::tempfile().unwrap();
        Archive::new(&mut output, two_links).write(folder, names.iter().map(OsString::from).collect()).unwrap();
        let mut bytes = Vec::new();
        io::Seek::rewind(&mut output).unwrap();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn example() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir_all(path("d/e")).unwrap();
        for (name, size) in [("a", 0), ("d/b", 3), ("d/e/c", 70_001), ("large", 200_004), ("five", 5)] {
            fs::write(path(name), vec![b'x'; size]).unwrap();
        }
        fs::set_permissions(path("d/b"), fs::Permissions::from_mode(0o4751)).unwrap();
        for name in ["d/five1", "five2", "five3", "d/elsewhere"] {
            fs::hard_link(path("five"), path(name)).unwrap();
        }
        fs::hard_link(path("d/b"), path("d/b2")).unwrap();
        symlink("d/e/c", path("link")).unwrap();
        scratch
    }

    const NAMES: [&str; 13] =
        [".", "./a", "./d", "./d/b", "./d/b2", "./d/e", "./d/e/c", "./d/five1", "./five", "./five2", "./five3", "./large", "./link"];

    /// The program is the oracle, where the machine has it.
    #[test]
    fn the_archive_is_the_programs_byte_for_byte() {
        let Some(two_links) = version(Path::new("/usr/bin/cpio")) else {
            eprintln!("skipped: this machine has no GNU cpio");
            return;
        };
        let scratch = example();
        let folder = scratch.path().display();
        let (list, made) = (scratch.path().join("list"), scratch.path().join("made"));
        for names in [&NAMES[..], &NAMES[..5], &NAMES[6..7], &[]] {
            fs::write(&list, names.iter().map(|name| format!("{name}\0")).collect::<String>()).unwrap();
            let script = format!("cd {folder} && cpio {} < list > made", ARGUMENTS.join(" "));
            output_of("sh", &["-c", &script]);
            let (own, other) = (packed(scratch.path(), names, two_links), fs::read(&made).unwrap());
            assert!(own == other, "{names:?}: {} and {} bytes", own.len(), other.len());
        }
    }

    #[test]
    fn folders_have_two_links_where_the_program_says_so() {
        let scratch = example();
        let links = |two| String::from_utf8(packed(scratch.path(), &["."], two)[38..46].to_vec()).unwrap();
        assert_eq!(links(true), "00000002");
        assert_eq!(links(false), "00000003");
        let program = scratch.path().join("program");
        for (text, expected) in [("x GNU cpio y", Some(false)), ("GNU cpio\0ignore-dirnlink\0", Some(true)), ("bsdcpio", None)] {
            fs::write(&program, text).unwrap();
            assert_eq!(version(&program), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_packed_ends_it() {
        let scratch = example();
        let mut output = tempfile::tempfile().unwrap();
        let error = Archive::new(&mut output, true).write(scratch.path(), vec!["a".into(), "missing".into()]).unwrap_err();
        assert!(error.to_string().contains("missing: "), "{error}");
        assert_eq!(names(&b"a\0./b c\0"[..]).unwrap(), ["a", "./b c"]);
        for odd in [&b"a\0b"[..], b"\0", b"a\0\0"] {
            assert!(names(odd).is_err());
        }
        assert_eq!(names(&vec![b'x'; 5000][..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(pack(&["-o".into()], Path::new("/usr/bin/cpio")).is_none());
    }
}
