//! Unpacks packages into a folder of the host, as their owner.
//!
//! Nothing is written outside the folder, whatever links the packages have: every parent is opened by the kernel with the
//! folder as the root (`openat2` with `RESOLVE_IN_ROOT`), so that links resolve as they would on the machine that the packages
//! are made for, and the last component is created relative to that and never followed. Links keep their meaning inside the
//! folder: absolute ones become relative.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rayon::prelude::*;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2, symlinkat, unlinkat},
    io::Errno,
};

use super::ToolError;
use crate::{
    build::resolve::StoredPackages,
    rootfs::{
        Content, Deb, DebCache,
        path::{Shown, normalize},
        tar_read::{TarEntry, TarKind},
    },
};

/// Folders that no program needs.
const SKIPPED: [&[u8]; 4] = [b"/usr/share/doc/", b"/usr/share/man/", b"/usr/share/locale/", b"/usr/share/info/"];

/// Unpacks packages into `target`, several at a time.
pub(super) fn unpack_all(packages: &StoredPackages, target: &Path) -> Result<(), ToolError> {
    let scratch = tempfile::tempdir_in(target).map_err(|source| failed("", target, source))?;
    let cache = DebCache::new(scratch.path());
    let root = Root::open(target).map_err(|source| failed("", target, source))?;
    packages.par_iter().try_for_each(|(package, path)| {
        let deb = cache.open(path, &package.sha256)?;
        unpack(&package.name, &deb, &root)
    })
}

fn failed(package: &str, path: &Path, source: io::Error) -> ToolError {
    ToolError::Unpack { package: package.to_owned(), path: path.to_owned(), source }
}

/// Unpacks one package. Another one may write into the same folders meanwhile.
fn unpack(package: &str, deb: &Deb, root: &Root) -> Result<(), ToolError> {
    for entry in &deb.entries {
        let escape = || ToolError::Escape { package: package.to_owned(), path: Shown(&entry.path).to_string() };
        let path = normalize(&entry.path).map_err(|_| escape())?;
        if SKIPPED.iter().any(|skipped| path.starts_with(skipped)) {
            continue;
        }
        let place = PathBuf::from(String::from_utf8(path).map_err(|_| escape())?.trim_start_matches('/'));
        write(deb, entry, &place, root).map_err(|error| match error {
            WriteError::Escape => escape(),
            WriteError::Io(source) => failed(package, &place, source),
        })?;
    }
    Ok(())
}

enum WriteError {
    Escape,
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for WriteError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Writes one entry, whose place is relative to the root; what is neither a file, a folder nor a link is left out.
fn write(deb: &Deb, entry: &TarEntry, place: &Path, root: &Root) -> Result<(), WriteError> {
    let Some((parent, name)) = place.parent().zip(place.file_name()) else { return Ok(()) };
    match &entry.kind {
        TarKind::Directory => drop(root.folder(place)?),
        TarKind::File { offset, size } => {
            let folder = root.folder(parent)?;
            remove(&folder, name)?;
            let mode = if entry.metadata.mode & 0o111 == 0 { 0o644 } else { 0o755 };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut Content::range(deb.file.clone(), *offset, *size).reader(), &mut file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        }
        TarKind::Symlink(link) => {
            let link = std::str::from_utf8(link).ok().and_then(|link| inside(parent, link)).ok_or(WriteError::Escape)?;
            let folder = root.folder(parent)?;
            remove(&folder, name)?;
            symlinkat(&link, &folder, name)?;
        }
        TarKind::HardLink(source) => {
            let source = normalize(source).ok().and_then(|path| String::from_utf8(path).ok()).ok_or(WriteError::Escape)?;
            let source = Path::new(source.trim_start_matches('/'));
            let (source_parent, source_name) = source.parent().zip(source.file_name()).ok_or(WriteError::Escape)?;
            let (from, to) = (root.folder(source_parent)?, root.folder(parent)?);
            remove(&to, name)?;
            // Without AT_SYMLINK_FOLLOW: a link is linked, not what it leads to.
            linkat(&from, source_name, &to, name, AtFlags::empty())?;
        }
        _ => {}
    }
    Ok(())
}

/// Removes a file or link that is in the way, if any.
fn remove(folder: &OwnedFd, name: &std::ffi::OsStr) -> Result<(), WriteError> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The folder that packages are unpacked to, as if it were the root of a machine.
struct Root(OwnedFd);

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a folder below the root, and makes it with its parents when it is not there.
    fn folder(&self, path: &Path) -> Result<OwnedFd, WriteError> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(self.0.try_clone()?) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
        match open() {
            Err(Errno::NOENT) => {
                match mkdirat(self.folder(parent)?, name, Mode::from_raw_mode(0o755)) {
                    // Another package may have made it meanwhile.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(open()?)
            }
            other => Ok(other?),
        }
    }
}

/// Returns a link's target as it must be in the folder: absolute ones lead to the same file inside. None: by its own words it leads
/// out. `parent` is the link's folder, relative to the root.
fn inside(parent: &Path, link: &str) -> Option<PathBuf> {
    let depth = i32::try_from(parent.components().count()).ok()?;
    if let Some(absolute) = link.strip_prefix('/') {
        let up: PathBuf = (0..depth).map(|_| "..").collect();
        let target = up.join(absolute.trim_start_matches('/'));
        // A link to the root itself.
        return stays_inside(depth, &target).then(|| if target.as_os_str().is_empty() { ".".into() } else { target });
    }
    let target = PathBuf::from(link);
    (!link.is_empty() && stays_inside(depth, &target)).then_some(target)
}

/// Returns whether a relative path never leads above the root when it starts in a folder `depth` levels below it.
fn stays_inside(mut depth: i32, path: &Path) -> bool {
    path.components().all(|component| {
        depth += match component {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        depth >= 0
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{
        digest::Sha256Digest,
        lock::LockedPackage,
        rootfs::testing::{Packed, file, symlink, write_deb},
    };

    /// Name, files, and hard links of a package.
    type Package<'a> = (&'a str, Vec<Packed>, &'a [(&'a str, &'a str)]);

    /// Packs each list of files as a package and unpacks them one after the other into one folder.
    fn unpack_in_turn(packages: &[Package<'_>]) -> (tempfile::TempDir, Result<(), ToolError>) {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        fs::create_dir(&target).unwrap();
        for (name, files, links) in packages {
            let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\n");
            let path = write_deb(base.path(), &[("control", &control)], files, links);
            let sha256 = Sha256Digest::of_reader(&mut File::open(&path).unwrap()).unwrap();
            let package = LockedPackage {
                name: (*name).to_owned(),
                version: "1".to_owned(),
                arch: "all".to_owned(),
                repository: "test".to_owned(),
                path: "x.deb".to_owned(),
                size: 1,
                sha256,
                installed_kib: 1,
                requested: false,
            };
            if let Err(error) = unpack_all(&vec![(package, path)], &target) {
                return (base, Err(error));
            }
        }
        (base, Ok(()))
    }

    #[test]
    fn files_folders_and_links_keep_their_meaning_inside_the_folder() {
        let mut program = file("usr/bin/tool", "program");
        program.1.mode = 0o4755;
        let files = vec![
            program,
            file("usr/share/data", "data"),
            file("usr/share/doc/tool/copyright", "long"),
            symlink("usr/lib/absolute", "/usr/share/data"),
            symlink("usr/lib/relative", "../share/data"),
            symlink("lib", "usr/lib"),
        ];
        let through_link = vec![file("lib/through", "through")];
        let (base, outcome) = unpack_in_turn(&[("a", files, &[("usr/bin/again", "usr/bin/tool")]), ("b", through_link, &[])]);
        outcome.unwrap();
        let root = base.path().join("target");
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!((read("usr/lib/absolute"), read("usr/lib/relative")), ("data".to_owned(), "data".to_owned()));
        assert_eq!((read("usr/bin/again"), read("usr/lib/through")), ("program".to_owned(), "through".to_owned()));
        assert_eq!(fs::metadata(root.join("usr/bin/tool")).unwrap().permissions().mode() & 0o7777, 0o755, "no set-user-id bit");
        assert!(!root.join("usr/share/doc/tool").exists());
    }

    #[test]
    fn nothing_is_written_outside_whatever_links_say() {
        // Each link is harmless by its words; together they lead up two levels when followed by the host's rules.
        let links = vec![symlink("a/b/up", "../.."), symlink("s", "a/b/up/.."), symlink("t", "a/b/up/../.")];
        let (base, _) = unpack_in_turn(&[("links", links, &[]), ("files", vec![file("s/evil", "x"), file("t/evil", "x")], &[])]);
        assert!(!base.path().join("evil").exists());
        let (base, outcome) = unpack_in_turn(&[("link", vec![symlink("up", "a/../..")], &[])]);
        assert!(matches!(outcome, Err(ToolError::Escape { .. })));
        assert!(!base.path().join("target/up").exists());
    }

    #[test]
    fn a_file_replaces_a_link_and_is_never_written_through_it() {
        let (base, outcome) =
            unpack_in_turn(&[("a", vec![file("kept", "kept"), symlink("name", "kept")], &[]), ("b", vec![file("name", "new")], &[])]);
        outcome.unwrap();
        let read = |path: &str| fs::read_to_string(base.path().join("target").join(path)).unwrap();
        assert_eq!((read("kept"), read("name")), ("kept".to_owned(), "new".to_owned()));
    }

    #[test]
    fn targets_of_links_are_rewritten_or_refused() {
        let inside = |parent: &str, link: &str| inside(Path::new(parent), link).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(inside("usr/lib", "/etc/x").as_deref(), Some("../../etc/x"));
        assert_eq!(inside("", "/").as_deref(), Some("."));
        assert_eq!(inside("usr/lib", "../../etc").as_deref(), Some("../../etc"));
        for out in ["../../../etc", "a/../../../../etc", ""] {
            assert_eq!(inside("usr/lib", out), None, "{out}");
        }
    }
}
