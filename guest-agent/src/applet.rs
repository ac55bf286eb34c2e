//! The roles that the agent plays when it is not PID 1, by the name it is called by.
//!
//! | name | role |
//! |---|---|
//! | `oic-enter` | changes the root to `/target` and becomes the program in its arguments |
//! | `oic-enter-tools` | the same with the tools disk as the root |
//! | `policy-rc.d` | forbids every action on services (status 101) |
//! | `zstd`, `gzip`, `xz`, … | copies its input to its output when asked to compress to a stream; else becomes the real program |
//! | `update-ca-certificates` | what the real program would do, where that is certain (module `certificates`); else becomes it |
//! | `deb-systemd-helper` | the same (module `units`) |
//! | `cp`, `ldd`, `cpio` | what dracut starts hundreds of, in the one form in which it does (modules `copy`, `libraries`, `archive`); else become them |
//! | `oic-guest-agent` | says that it does nothing outside the builder VM |
//! | anything else | does nothing, well |

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{archive, certificates, copy, libraries, units};

/// The name under which the agent starts programs of the target.
pub const ENTER: &str = "oic-enter";
/// The name under which the agent starts programs of the tools disk.
pub const ENTER_TOOLS: &str = "oic-enter-tools";
/// Where [`ENTER`] leaves the reason why it could not start a program, in the agent's own tree.
pub const ENTER_FAILURE: &str = "/enter-failure";
/// Where the real programs behind stand-ins are, as the target sees it.
pub const REAL_PROGRAMS: &str = "/run/oic/real";
/// Where copies of scripts with shorter lines are, as the target sees it.
pub const SHORTENED: &str = "/run/oic/shortened";
/// The programs that compress a stream.
pub const COMPRESSORS: [&str; 8] = ["zstd", "gzip", "pigz", "xz", "lzma", "lz4", "bzip2", "lzop"];

/// Programs that dracut starts for what is done at once.
pub const FOR_DRACUT: [&str; 3] = ["cp", "ldd", "cpio"];

/// Collects the certificates of authorities.
pub const CA_CERTIFICATES: &str = "update-ca-certificates";

/// Enables units of packages.
pub const UNIT_HELPER: &str = "deb-systemd-helper";

/// What `invoke-rc.d` takes for "forbidden by policy".
const ACTION_FORBIDDEN: u8 = 101;

/// Plays the role that belongs to `name` and returns its exit status.
#[must_use]
pub fn run(name: &OsStr, arguments: &[OsString]) -> ExitCode {
    let base = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
    match base.as_ref() {
        ENTER => enter(crate::target::MOUNT_POINT, arguments),
        ENTER_TOOLS => enter(crate::target::TOOLS, arguments),
        "policy-rc.d" => ExitCode::from(ACTION_FORBIDDEN),
        "oic-guest-agent" | "init" => {
            complain(format_args!("oic-guest-agent {}: runs as PID 1 of a builder VM only", env!("CARGO_PKG_VERSION")));
            ExitCode::from(2)
        }
        compressor if COMPRESSORS.contains(&compressor) => compress(compressor, arguments),
        CA_CERTIFICATES => certificates::update(arguments, Path::new("/"), &real_program(CA_CERTIFICATES))
            .unwrap_or_else(|| become_real(CA_CERTIFICATES, arguments)),
        UNIT_HELPER => {
            units::help(arguments, Path::new("/"), &real_program(UNIT_HELPER)).unwrap_or_else(|| become_real(UNIT_HELPER, arguments))
        }
        "cp" => copy::copy(arguments, behind).unwrap_or_else(|| become_real("cp", arguments)),
        "cpio" => archive::pack(arguments, &real_program("cpio")).unwrap_or_else(|| become_real("cpio", arguments)),
        "ldd" => match libraries::linker(arguments, &real_program("ldd"), behind) {
            Some((linker, file)) => become_other(Command::new(&linker).arg(file).envs(libraries::VARIABLES)),
            None => become_real("ldd", arguments),
        },
        _ => ExitCode::SUCCESS,
    }
}

/// Changes the root and becomes the program.
fn enter(root: &str, arguments: &[OsString]) -> ExitCode {
    // Opened before the root changes; closed by a successful exec.
    let failure = fs::File::create(ENTER_FAILURE);
    let reason = change_root(root).map_or_else(|error| error, |()| become_program(arguments));
    if let Ok(mut failure) = failure {
        // Without the reason the parent still sees the exit status.
        let _ = write!(failure, "{reason}");
    }
    ExitCode::from(127)
}

/// Makes a folder the root of a new session.
fn change_root(root: &str) -> io::Result<()> {
    // Fails only for a group leader, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::process::chroot(root)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Becomes the program that the words name; returns only to say why it could not.
fn become_program(words: &[OsString]) -> io::Error {
    let Some((program, arguments)) = words.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    Command::new(program).args(arguments).exec()
}

/// Copies a file or standard input to standard output, or becomes the real program for anything but compressing to a stream.
fn compress(name: &str, arguments: &[OsString]) -> ExitCode {
    let copied = match input(name, arguments) {
        None => return become_real(name, arguments),
        Some(Input::Stream) => io::copy(&mut io::stdin().lock(), &mut io::stdout().lock()),
        Some(Input::File(path)) => fs::File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::stdout().lock())),
    };
    match copied.and_then(|_| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns where the real program behind a stand-in is.
fn real_program(name: &str) -> PathBuf {
    Path::new(REAL_PROGRAMS).join(name)
}

/// Returns where a file is that a program was told of: programs read other programs, too, and must not read a stand-in.
///
/// # Errors
/// Fails when the file is a stand-in whose program was not kept.
pub fn behind(file: &Path) -> io::Result<PathBuf> {
    let identity = |path: &Path| fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    // What is not there is for others to complain of.
    let Ok(found) = identity(file) else { return Ok(file.to_owned()) };
    if found != identity(Path::new("/proc/self/exe"))? {
        return Ok(file.to_owned());
    }
    let real = Path::new(REAL_PROGRAMS).join(fs::canonicalize(file)?.file_name().unwrap_or_default());
    fs::metadata(&real).map(|_| real)
}

/// Becomes the real program behind a stand-in; returns only when it cannot.
fn become_real(name: &str, arguments: &[OsString]) -> ExitCode {
    become_other(Command::new(real_program(name)).arg0(name).args(arguments))
}

/// Becomes another program; returns only when it cannot.
fn become_other(command: &mut Command) -> ExitCode {
    let error = command.exec();
    complain(format_args!("{}: {error}", command.get_program().display()));
    ExitCode::from(127)
}

/// What is to be compressed.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Stream,
    File(&'a OsStr),
}

/// Returns what is to be compressed to standard output; none when the arguments ask for anything else. A file is only read when
/// they say that its compressed form goes to standard output: otherwise it would be replaced.
fn input<'a>(name: &str, arguments: &'a [OsString]) -> Option<Input<'a>> {
    let (options, files): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| argument.as_bytes().starts_with(b"-"));
    if !options.iter().all(|option| is_for_streams(name, option.as_bytes())) {
        return None;
    }
    let to_stdout = options.iter().any(|option| match option.as_bytes() {
        [b'-', b'-', long @ ..] => long == b"stdout",
        [_, flags @ ..] => flags.contains(&b'c'),
        [] => false,
    });
    match files[..] {
        [] => Some(Input::Stream),
        [file] if to_stdout && !options.iter().any(|option| *option == "-") => Some(Input::File(file)),
        _ => None,
    }
}

/// Returns whether an option changes only how well a stream is compressed, or where it comes from and goes to.
fn is_for_streams(name: &str, option: &[u8]) -> bool {
    if let Some(long) = option.strip_prefix(b"--") {
        let long = long.split(|&byte| byte == b'=').next().unwrap_or_default();
        return [
            &b"check"[..],
            b"stdout",
            b"compress",
            b"quiet",
            b"ultra",
            b"best",
            b"fast",
            b"threads",
            b"no-name",
            b"x86",
            b"lzma2",
            b"long",
        ]
        .contains(&long);
    }
    match option {
        [b'-'] => true,
        // For lz4 alone `-l` is a format; elsewhere it lists.
        [b'-', flags @ ..] => flags.iter().all(|flag| b"cnqzT0123456789e".contains(flag) || (name == "lz4" && *flag == b'l')),
        _ => false,
    }
}

/// Writes a line to standard error; there is nobody to tell when that fails.
fn complain(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str, words: &str) -> bool {
        kind(name, words) == Some(None)
    }

    /// Returns the name of the file to be compressed, none inside for standard input.
    fn kind(name: &str, words: &str) -> Option<Option<String>> {
        let arguments: Vec<_> = words.split_whitespace().map(OsString::from).collect();
        input(name, &arguments).map(|input| match input {
            Input::Stream => None,
            Input::File(path) => Some(path.to_string_lossy().into_owned()),
        })
    }

    /// Debian 12's generator names the archive.
    #[test]
    fn a_file_is_copied_only_when_its_compressed_form_goes_to_standard_output() {
        for (name, words, expected) in [
            ("gzip", "-n -c /var/tmp/main.cpio", Some("/var/tmp/main.cpio")),
            ("zstd", "-q -9 -c /var/tmp/main.cpio", Some("/var/tmp/main.cpio")),
            ("xz", "--check=crc32 --stdout a", Some("a")),
            ("gzip", "-n a", None),
            ("gzip", "-c a b", None),
            ("gzip", "-c - a", None),
            ("gzip", "-dc a", None),
        ] {
            assert_eq!(kind(name, words).flatten().as_deref(), expected, "{name} {words}");
        }
    }

    #[test]
    fn only_compression_of_a_stream_is_stood_in_for() {
        for (name, words) in [
            ("zstd", "-q -9 -T0"),
            ("zstd", "-q -19 -T0 --ultra"),
            ("gzip", "-n -9"),
            ("xz", "--check=crc32 -T0 -0"),
            ("lz4", "-9 -l"),
            ("gzip", ""),
            ("xz", "-c -"),
        ] {
            assert!(stream(name, words), "{name} {words}");
        }
        for (name, words) in [
            ("zstd", "-d"),
            ("xz", "-dc"),
            ("xz", "--decompress"),
            ("gzip", "-l"),
            ("gzip", "-9 file"),
            ("zstd", "--version"),
            ("zstd", "-q -o out"),
            ("xz", "-t"),
            ("zstd", "-D dictionary"),
        ] {
            assert!(!stream(name, words), "{name} {words}");
        }
    }

    #[test]
    fn a_role_belongs_to_a_name_not_to_a_path() {
        assert_eq!(run(OsStr::new("/usr/sbin/policy-rc.d"), &[]), ExitCode::from(101));
        assert_eq!(run(OsStr::new("/usr/sbin/update-initramfs"), &["-u".into()]), ExitCode::SUCCESS);
        assert_eq!(run(OsStr::new("./oic-guest-agent"), &[]), ExitCode::from(2));
    }
}
