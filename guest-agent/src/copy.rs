//! `cp` as `dracut-install` calls it: once for each of 600 files, each time a process that loads five libraries to copy one file.
//!
//! # Invariants
//!
//! * It takes on one command line, that of `dracut-install`, and one case: a regular file without extended attributes, to a name that does
//!   not exist. For all else [`copy`] returns none, before it has changed anything, and the real program runs.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use rustix::fs::{Timespec, Timestamps, flistxattr, futimens};

/// What is kept of a file, with and without extended attributes: it has none.
const PRESERVED: [&str; 2] = ["--preserve=mode,xattr,timestamps,ownership", "--preserve=mode,timestamps,ownership"];

/// Copies if the arguments and the file are those of the plain case; none when the real program must. `behind` tells where the file is that
/// a stand-in may cover.
#[must_use]
pub fn copy(arguments: &[OsString], behind: impl Fn(&Path) -> io::Result<PathBuf>) -> Option<ExitCode> {
    let (source, target) = operands(arguments)?;
    let source = match behind(Path::new(source)) {
        Ok(source) => File::open(source).ok()?,
        Err(error) => return Some(complain(source, &error)),
    };
    let facts = source.metadata().ok()?;
    let is_plain = facts.is_file() && flistxattr(&source, &mut [0_u8; 0][..]).is_ok_and(|length| length == 0);
    // Nobody else may read it before it has its mode.
    let made = is_plain.then(|| OpenOptions::new().write(true).create_new(true).mode(0o600).open(target))?.ok()?;
    Some(match fill(source, &facts, made) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(target, &error),
    })
}

/// Says what is wrong with a file.
fn complain(file: &OsStr, error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "cp: {}: {error}", file.display());
    ExitCode::FAILURE
}

/// Returns the file and its new name.
fn operands(arguments: &[OsString]) -> Option<(&OsStr, &OsStr)> {
    let [reflink, sparse, preserve, flags, source, target] = arguments else { return None };
    let is_known =
        reflink == "--reflink=auto" && sparse == "--sparse=auto" && flags == "-fL" && PRESERVED.iter().any(|known| preserve == known);
    // A name is no option, and what ends in a slash is a folder.
    let is_path = |word: &OsString| word.as_encoded_bytes().starts_with(b"/") && !word.as_encoded_bytes().ends_with(b"/");
    (is_known && is_path(source) && is_path(target)).then_some((source, target))
}

/// Gives the new file the content, owner, mode and times of the other.
fn fill(mut source: File, facts: &fs::Metadata, mut made: File) -> io::Result<()> {
    io::copy(&mut source, &mut made)?;
    // A new owner takes the set-id bits away.
    fchown(&made, Some(facts.uid()), Some(facts.gid()))?;
    made.set_permissions(Permissions::from_mode(facts.mode() & 0o7777))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times =
        Timestamps { last_access: time(facts.atime(), facts.atime_nsec()), last_modification: time(facts.mtime(), facts.mtime_nsec()) };
    Ok(futimens(&made, &times)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn copy(arguments: &[OsString]) -> Option<ExitCode> {
        super::copy(arguments, |file| Ok(file.to_owned()))
    }

    fn words(source: &Path, target: &Path) -> Vec<OsString> {
        let options = ["--reflink=auto", "--sparse=auto", PRESERVED[0], "-fL"].map(OsString::from);
        options.into_iter().chain([source.into(), target.into()]).collect()
    }

    #[test]
    fn a_copy_has_what_the_program_gives_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::write(path("tool"), vec![7; 300_000]).unwrap();
        fs::set_permissions(path("tool"), Permissions::from_mode(0o4751)).unwrap();
        let past = Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: past, last_modification: past };
        futimens(File::open(path("tool")).unwrap(), &times).unwrap();
        symlink("tool", path("link")).unwrap();
        for source in ["tool", "link"] {
            let (own, other) = (path(&format!("{source}.own")), path(&format!("{source}.other")));
            assert!(copy(&words(&path(source), &own)).is_some());
            let arguments = words(&path(source), &other);
            let arguments: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
            crate::exec::output_of("cp", &arguments);
            let facts = |path: &Path| {
                let facts = path.symlink_metadata().unwrap();
                (facts.mode(), facts.uid(), facts.gid(), facts.mtime(), facts.mtime_nsec(), fs::read(path).unwrap())
            };
            assert_eq!(facts(&own), facts(&other), "{source}");
        }
    }

    #[test]
    fn what_is_copied_is_behind_the_stand_in() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::write(path("agent"), "agent").unwrap();
        fs::write(path("real"), "real").unwrap();
        assert!(super::copy(&words(&path("agent"), &path("new")), |_| Ok(path("real"))).is_some());
        assert_eq!(fs::read(path("new")).unwrap(), b"real");
        // Nobody may copy the agent, who does not know better.
        assert!(super::copy(&words(&path("agent"), &path("none")), |_| Err(io::ErrorKind::NotFound.into())).is_some());
        assert!(!path("none").exists());
    }

    #[test]
    fn all_else_is_left_to_the_program_untouched() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::write(path("a"), "a").unwrap();
        fs::write(path("there"), "b").unwrap();
        let good = words(&path("a"), &path("new"));
        for (at, word) in [(0, "--reflink=always"), (1, "--sparse=never"), (2, "--preserve=all"), (3, "-f"), (4, "a"), (5, "/x/")] {
            let mut odd = good.clone();
            odd[at] = word.into();
            assert!(copy(&odd).is_none(), "{word}");
        }
        assert!(copy(&good[..5]).is_none());
        assert!(copy(&words(scratch.path(), &path("new"))).is_none(), "a folder");
        assert!(copy(&words(&path("missing"), &path("new"))).is_none());
        assert!(copy(&words(&path("a"), &path("there"))).is_none());
        assert!(!path("new").exists());
        assert_eq!(fs::read(path("there")).unwrap(), b"b");
    }
}
