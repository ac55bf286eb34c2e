//! The target's files. Every path is resolved by the kernel with the target as its root (`openat2`, `RESOLVE_IN_ROOT`), so
//! that neither `..` nor a link of the target leads into the agent's own tree.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use oic_protocol::AgentError;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, openat2},
    io::Errno,
};

use crate::failure;

/// The largest file of the target that the agent reads into memory: dpkg's status of a few thousand packages fits.
const READ_LIMIT: u64 = 64 * 1024 * 1024;

/// The name of a file that is being written, beside the one it will replace.
const TEMPORARY: &str = ".oic-new";

/// A folder that is the root of all paths given to it.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
}

/// A path's last name and the folder that holds it.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    name: PathBuf,
}

/// Who owns a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
}

impl Ownership {
    /// root:root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl Rootfs {
    /// Opens a folder as a root.
    ///
    /// # Errors
    /// Fails when it is not a folder that can be opened.
    pub fn open(path: &Path) -> Result<Self, AgentError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| failure::system("open", path.display(), error))?;
        Ok(Self { root })
    }

    /// Opens what a path leads to.
    fn resolve(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // The kernel asks for another try when something was renamed meanwhile.
        loop {
            match openat2(&self.root, inside, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Returns a handle on what a path leads to, good as an argument of `mount` through `/proc/self/fd`.
    ///
    /// # Errors
    /// Fails when there is nothing.
    pub fn handle(&self, path: &str) -> Result<Handle, AgentError> {
        self.resolve(Path::new(path), OFlags::PATH).map(Handle).map_err(|error| failure::system("open", path, error))
    }

    /// Returns whether a path leads to something.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.resolve(Path::new(path), OFlags::PATH).is_ok()
    }

    /// Returns whether a path names something, be it a link to nowhere.
    #[must_use]
    pub fn is_named(&self, path: &str) -> bool {
        self.resolve(Path::new(path), OFlags::PATH | OFlags::NOFOLLOW).is_ok()
    }

    /// Returns what a path leads to, if anything.
    #[must_use]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        self.resolve(Path::new(path), OFlags::PATH).and_then(rustix::fs::fstat).ok()
    }

    /// Reads a whole file; `None` when it does not exist.
    ///
    /// # Errors
    /// Fails when it cannot be read or is larger than anything that the agent has a use for.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AgentError> {
        let fd = match self.resolve(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(failure::system("open", path, error)),
        };
        let mut bytes = Vec::new();
        File::from(fd).take(READ_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| failure::system("read", path, error))?;
        if bytes.len() as u64 > READ_LIMIT {
            return Err(failure::system("read", path, io::Error::from(Errno::FBIG)));
        }
        Ok(Some(bytes))
    }

    /// Reads a whole file as text, replacing what is not UTF-8; empty when it does not exist.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(&self, path: &str) -> Result<String, AgentError> {
        Ok(self.read(path)?.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Returns where a symbolic link points, as it is written; `None` for anything else.
    #[must_use]
    pub fn read_link(&self, path: &str) -> Option<String> {
        let link = self.resolve(Path::new(path), OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        rustix::fs::readlinkat(&link, "", Vec::new()).ok()?.into_string().ok()
    }

    /// Opens a file below this root for reading.
    ///
    /// # Errors
    /// Fails when it cannot be opened or is not a regular file.
    pub fn open_file(&self, path: &str) -> Result<File, AgentError> {
        let refuse = |error: Errno| failure::system("open", path, error);
        let fd = self.resolve(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK).map_err(refuse)?;
        let stat = rustix::fs::fstat(&fd).map_err(refuse)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refuse(Errno::INVAL));
        }
        Ok(fd.into())
    }

    /// Returns the sorted names in a folder; none when it does not exist.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, AgentError> {
        let fd = match self.resolve(Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(failure::system("open", path, error)),
        };
        let mut names = names(&fd).map_err(|error| failure::system("read", path, error))?;
        names.sort();
        Ok(names.into_iter().filter_map(|name| name.into_os_string().into_string().ok()).collect())
    }

    /// Makes a folder and those above it. One that exists stays as it is.
    ///
    /// # Errors
    /// Fails when something else is in the way.
    pub fn make_folders(&self, path: &str) -> Result<(), AgentError> {
        self.folders(Path::new(path)).map(drop).map_err(|error| failure::system("create folder", path, error))
    }

    /// Opens a folder, making it and those above it (0755, root) where they do not exist.
    fn folders(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        let folder = self.folders(parent)?;
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = rustix::fs::openat(
                    &folder,
                    name,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                Ok(made)
            }
            // A link to nowhere: following it would make a folder at a place that nobody named.
            Err(Errno::EXIST) => Err(Errno::NOENT),
            Err(error) => Err(error),
        }
    }

    /// Splits a path into a folder, made if need be, and a name in it.
    fn place(&self, path: &str) -> rustix::io::Result<Place> {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(Errno::INVAL);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        Ok(Place { folder: self.folders(parent)?, name: name.into() })
    }

    /// Writes a file in one go: it appears complete or not at all. What the path names, a link too, is replaced.
    ///
    /// # Errors
    /// Fails when the content cannot be had or written, and when a folder is in the way.
    pub fn write_file(&self, path: &str, mode: u32, owner: Ownership, content: &mut dyn Read) -> Result<u64, AgentError> {
        let fail = |error: io::Error| failure::system("write", path, error);
        let place = self.place(path).map_err(|error| fail(error.into()))?;
        let _ = rustix::fs::unlinkat(&place.folder, TEMPORARY, AtFlags::empty());
        let written = (|| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&place.folder, TEMPORARY, flags, Mode::from_raw_mode(0o600))?);
            let length = io::copy(content, &mut file)?;
            file.flush()?;
            rustix::fs::fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
            // After the change of owner, which clears the set-id bits.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
            rustix::fs::renameat(&place.folder, TEMPORARY, &place.folder, &place.name)?;
            Ok(length)
        })();
        written.map_err(|error| {
            let _ = rustix::fs::unlinkat(&place.folder, TEMPORARY, AtFlags::empty());
            fail(error)
        })
    }

    /// Makes a symbolic link in place of what the path names.
    ///
    /// # Errors
    /// Fails when a folder is in the way or the filesystem refuses.
    pub fn write_link(&self, path: &str, target: &str, owner: Ownership) -> Result<(), AgentError> {
        let linked = self.place(path).and_then(|place| {
            let _ = rustix::fs::unlinkat(&place.folder, TEMPORARY, AtFlags::empty());
            rustix::fs::symlinkat(target, &place.folder, TEMPORARY)?;
            let (uid, gid) = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
            rustix::fs::chownat(&place.folder, TEMPORARY, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::renameat(&place.folder, TEMPORARY, &place.folder, &place.name).inspect_err(|_| {
                let _ = rustix::fs::unlinkat(&place.folder, TEMPORARY, AtFlags::empty());
            })
        });
        linked.map_err(|error| failure::system("link", path, error))
    }

    /// Makes a folder with this mode and owner, or gives them to the one that exists.
    ///
    /// # Errors
    /// Fails when something else is in the way.
    pub fn write_folder(&self, path: &str, mode: u32, owner: Ownership) -> Result<(), AgentError> {
        let made = self.place(path).and_then(|place| {
            match rustix::fs::mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            // Through a link of the target if there is one, but inside the target.
            let folder = self.resolve(Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchown(&folder, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode & 0o7777))
        });
        made.map_err(|error| failure::system("create folder", path, error))
    }

    /// Empties a regular file if it exists.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn truncate(&self, path: &str) -> Result<(), AgentError> {
        match self
            .resolve(Path::new(path), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)
            .and_then(|fd| rustix::fs::ftruncate(fd, 0))
        {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(failure::system("truncate", path, error)),
        }
    }

    /// Removes what a path names: a file, a link itself, or a folder with all below it. Nothing there is fine.
    ///
    /// # Errors
    /// Fails when something cannot be removed, and for the root itself.
    pub fn remove(&self, path: &str) -> Result<(), AgentError> {
        let fail = |error: Errno| failure::system("remove", path, error);
        let (Some(parent), Some(name)) = (Path::new(path).parent(), Path::new(path).file_name()) else { return Err(fail(Errno::INVAL)) };
        match self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY).and_then(|folder| remove_tree(&folder, Path::new(name), 0)) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }

    /// Returns the size of the filesystem in bytes; 0 when it cannot be told.
    #[must_use]
    pub fn filesystem_bytes(&self) -> u64 {
        rustix::fs::fstatvfs(&self.root).map_or(0, |facts| facts.f_blocks.saturating_mul(facts.f_frsize))
    }
}

/// A handle on a place of the target.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// Returns a path that leads the kernel straight to the place.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Returns what tells the place from all others: device and inode.
    #[must_use]
    pub fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&self.0).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }
}

/// Returns the names in an open folder.
fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Removes a name and all below it without following links.
fn remove_tree(folder: &OwnedFd, name: &Path, depth: u32) -> rustix::io::Result<()> {
    // Deeper than any path that the kernel takes in one piece; ends the recursion before the stack does.
    const DEPTH_LIMIT: u32 = 512;
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    if depth == DEPTH_LIMIT {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for entry in names(&inner)? {
        remove_tree(&inner, &entry, depth + 1)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    struct Tree {
        // Kept so that the folder lives as long as the test.
        scratch: tempfile::TempDir,
        rootfs: Rootfs,
        me: Ownership,
    }

    /// A root inside a folder that also holds a file outside of it.
    fn tree() -> Tree {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("root/usr/lib")).unwrap();
        fs::write(scratch.path().join("outside"), "untouched").unwrap();
        let facts = fs::metadata(scratch.path()).unwrap();
        let me = Ownership { uid: facts.uid(), gid: facts.gid() };
        let rootfs = Rootfs::open(&scratch.path().join("root")).unwrap();
        Tree { scratch, rootfs, me }
    }

    impl Tree {
        fn path(&self, inside: &str) -> PathBuf {
            self.scratch.path().join("root").join(inside)
        }

        fn write(&self, path: &str, text: &str) -> Result<u64, AgentError> {
            self.rootfs.write_file(path, 0o640, self.me, &mut text.as_bytes())
        }
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let tree = tree();
        symlink("/usr/lib", tree.path("lib")).unwrap();
        symlink("../../..", tree.path("up")).unwrap();
        symlink("/outside", tree.path("absolute")).unwrap();
        tree.write("/lib/modules/x", "1").unwrap();
        assert_eq!(fs::read_to_string(tree.path("usr/lib/modules/x")).unwrap(), "1");
        tree.write("/up/outside", "2").unwrap();
        tree.write("/../../outside", "3").unwrap();
        assert_eq!(tree.rootfs.read_text("/absolute").unwrap(), "3");
        assert_eq!(fs::read_to_string(tree.scratch.path().join("outside")).unwrap(), "untouched");
        tree.rootfs.remove("/up/outside").unwrap();
        assert!(!tree.rootfs.exists("/absolute") && tree.rootfs.is_named("/absolute"));
        assert!(tree.scratch.path().join("outside").exists());
    }

    #[test]
    fn a_file_replaces_what_is_there_and_never_a_folder() {
        let tree = tree();
        symlink("/usr/lib/target", tree.path("link")).unwrap();
        tree.write("/usr/lib/target", "old").unwrap();
        tree.write("/link", "new").unwrap();
        assert_eq!(tree.rootfs.read_text("/usr/lib/target").unwrap(), "old");
        assert!(fs::symlink_metadata(tree.path("link")).unwrap().is_file());
        assert_eq!(fs::metadata(tree.path("link")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(tree.write("/usr/lib", "x").is_err());
        assert!(tree.write("relative", "x").is_err());
        assert!(tree.write("/usr/lib/..", "x").is_err());
        assert_eq!(tree.rootfs.list("/").unwrap(), ["link", "usr"]);
    }

    #[test]
    fn folders_above_are_made_and_a_link_to_nowhere_is_not_followed() {
        let tree = tree();
        tree.write("/a/b/c", "x").unwrap();
        assert_eq!(fs::metadata(tree.path("a/b")).unwrap().permissions().mode() & 0o777, 0o755);
        symlink("/nowhere", tree.path("dangling")).unwrap();
        assert!(tree.write("/dangling/x", "x").is_err());
        assert!(!tree.path("nowhere").exists());
        tree.rootfs.write_folder("/a/b", 0o2775, tree.me).unwrap();
        assert_eq!(fs::metadata(tree.path("a/b")).unwrap().permissions().mode() & 0o7777, 0o2775);
        assert!(tree.path("a/b/c").exists());
        tree.rootfs.write_link("/a/b/c", "../d", tree.me).unwrap();
        assert_eq!(fs::read_link(tree.path("a/b/c")).unwrap(), Path::new("../d"));
    }

    #[test]
    fn removing_takes_trees_and_links_but_not_what_links_point_to() {
        let tree = tree();
        tree.write("/var/cache/apt/archives/x.deb", "x").unwrap();
        tree.write("/keep/file", "x").unwrap();
        symlink("/keep", tree.path("var/cache/apt/link")).unwrap();
        tree.rootfs.remove("/var/cache/apt").unwrap();
        tree.rootfs.remove("/var/cache/apt").unwrap();
        tree.rootfs.remove("/no/such/folder").unwrap();
        assert!(!tree.path("var/cache/apt").exists() && tree.path("keep/file").exists());
        assert!(tree.rootfs.remove("/").is_err());
        tree.rootfs.truncate("/keep/file").unwrap();
        tree.rootfs.truncate("/missing").unwrap();
        assert_eq!(fs::metadata(tree.path("keep/file")).unwrap().len(), 0);
        assert!(!tree.path("missing").exists());
    }
}
