//! Trees in the store: what a virtual machine has made of packages, kept as the difference to these packages.
//!
//! # Layout of an entry
//!
//! ```text
//! <entry>/tree   SHA-256 of what follows, then postcard: version, packages by digest, SHA-256 and length of `data`, inodes in
//!                the order of the walk (parents first, names sorted), the root first
//! <entry>/data   the contents that are in no package, one after the other
//! ```
//!
//! Nearly every file of a configured system is byte for byte the packaged one. Such a content is a reference to the decompressed
//! package, which the store has anyway and can make again; the rest, some tens of megabytes, is in `data`. An entry therefore
//! costs little, and no entry needs another one.
//!
//! # Invariants
//!
//! - The bytes of an entry are a function of the tree and of the contents, not of where the contents were.
//! - [`load`] believes nothing: both files have the digests that `tree` states, every number is checked, and names and links are
//!   as a filesystem can have them. What does not hold makes the entry unusable, never the build wrong.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::Path,
    sync::Arc,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    content::{Content, Extent, HostFile},
    path::{MAX_NAME, Shown},
    tree::{Inode, InodeId, Kind, Metadata, RootTree},
};
use crate::digest::{Hasher, Sha256Digest};

/// The version of the format.
const VERSION: u32 = 1;
/// The name of the file with the inodes.
const TREE: &str = "tree";
/// The name of the file with the contents.
const DATA: &str = "data";
/// The largest file of inodes that is read.
const MAX_TREE: u64 = 1 << 30;

/// Why a stored tree is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StoredTreeError {
    /// A file cannot be read or written.
    #[error("cannot use the stored tree `{path}`")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The entry is not what was written.
    #[error("the stored tree `{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The decompressed packages that contents may be in, by the digest that names each.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    files: Vec<(Sha256Digest, Arc<HostFile>)>,
    by_path: HashMap<std::path::PathBuf, u32>,
}

impl Packages {
    /// Takes packages in an order that is the same for the same packages.
    #[must_use]
    pub fn new(files: Vec<(Sha256Digest, Arc<HostFile>)>) -> Self {
        let by_path = (1..).zip(&files).map(|(number, (_, file))| (file.path().to_owned(), number)).collect();
        Self { files, by_path }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredTree {
    version: u32,
    packages: Vec<[u8; 32]>,
    data: ([u8; 32], u64),
    inodes: Vec<StoredInode>,
}

#[derive(Serialize, Deserialize)]
struct StoredInode {
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    kind: StoredKind,
}

#[derive(Serialize, Deserialize)]
enum StoredKind {
    Directory(Vec<(Vec<u8>, u32)>),
    File(StoredContent),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Socket,
}

#[derive(Serialize, Deserialize)]
struct StoredContent {
    /// 0: `data`; else a package, counted from 1.
    source: u32,
    size: u64,
    /// Logical offset, offset in the source, length.
    extents: Vec<(u64, u64, u64)>,
}

/// Writes a tree into an empty folder. `origin` is the tree that `tree` was made of: a file that still has the content that its
/// path has there is stored as the reference that `origin` has.
///
/// # Errors
/// Fails when a content cannot be read or the folder cannot be written.
pub fn save(folder: &Path, tree: &RootTree, origin: &RootTree, packages: &Packages) -> Result<(), StoredTreeError> {
    let failed = |name: &str| {
        let path = folder.join(name).display().to_string();
        move |source| StoredTreeError::Io { path, source }
    };
    let order: Vec<(Vec<u8>, InodeId)> = tree.walk().filter(|entry| entry.link_to.is_none()).map(|entry| (entry.path, entry.id)).collect();
    let numbers: HashMap<InodeId, u32> = (0..).zip(&order).map(|(number, (_, id))| (*id, number)).collect();
    let packaged = |(path, id): &(Vec<u8>, InodeId)| match &tree.inode(*id).kind {
        Kind::File(content) => packaged(content, path, origin, packages),
        _ => Ok(None),
    };
    let packaged = order.par_iter().map(packaged).collect::<io::Result<Vec<_>>>().map_err(failed(TREE))?;

    let mut data = Data::create(&folder.join(DATA)).map_err(failed(DATA))?;
    let mut inodes = Vec::with_capacity(order.len());
    for ((_, id), packaged) in order.iter().zip(packaged) {
        let Inode { metadata, kind } = tree.inode(*id);
        let kind = match kind {
            Kind::Directory(names) => StoredKind::Directory(names.iter().map(|(name, id)| (name.to_vec(), numbers[id])).collect()),
            Kind::File(content) => StoredKind::File(match packaged {
                Some(stored) => stored,
                None => data.append(content).map_err(failed(DATA))?,
            }),
            Kind::Symlink(target) => StoredKind::Symlink(target.to_vec()),
            Kind::CharDevice { major, minor } => StoredKind::CharDevice(*major, *minor),
            Kind::BlockDevice { major, minor } => StoredKind::BlockDevice(*major, *minor),
            Kind::Fifo => StoredKind::Fifo,
            Kind::Socket => StoredKind::Socket,
        };
        let Metadata { mode, uid, gid, mtime, xattrs } = metadata.clone();
        inodes.push(StoredInode { mode, uid, gid, mtime, xattrs: xattrs.into_iter().collect(), kind });
    }
    let data = data.finish().map_err(failed(DATA))?;
    let packages = refer_to_used(&mut inodes, packages);
    let stored = StoredTree { version: VERSION, packages, data, inodes };
    let body = postcard::to_stdvec(&stored).map_err(io::Error::other).map_err(failed(TREE))?;
    let bytes = [&Sha256Digest::of(&body).as_bytes()[..], &body].concat();
    fs::write(folder.join(TREE), bytes).map_err(failed(TREE))
}

/// Renumbers the packages to those that contents are in, and returns their digests: a tree is of use wherever these are at hand,
/// whatever else an image has.
fn refer_to_used(inodes: &mut [StoredInode], packages: &Packages) -> Vec<[u8; 32]> {
    let source = |inode: &StoredInode| if let StoredKind::File(content) = &inode.kind { content.source } else { 0 };
    let mut numbers: BTreeMap<u32, u32> = inodes.iter().map(source).filter(|source| *source > 0).map(|source| (source, 0)).collect();
    (1..).zip(numbers.values_mut()).for_each(|(number, new)| *new = number);
    for inode in inodes.iter_mut() {
        if let StoredKind::File(content) = &mut inode.kind
            && let Some(number) = numbers.get(&content.source)
        {
            content.source = *number;
        }
    }
    let digest = |source: &u32| Some(*packages.files.get(usize::try_from(*source).ok()?.checked_sub(1)?)?.0.as_bytes());
    numbers.keys().filter_map(digest).collect()
}

/// Returns the reference to a package that has a content, if the origin of the file refers to one and has the same bytes.
fn packaged(content: &Content, path: &[u8], origin: &RootTree, packages: &Packages) -> io::Result<Option<StoredContent>> {
    // A conffile is unpacked beside its place.
    for path in [path.to_vec(), [path, b".dpkg-new"].concat()] {
        let Some(Kind::File(known)) = origin.lookup(&path).map(|id| &origin.inode(id).kind) else { continue };
        let Content::Extents { file, extents, size } = known else { continue };
        let Some(source) = packages.by_path.get(file.path()) else { continue };
        if *size == content.size() && same(known, content)? {
            let extents = extents.iter().map(|extent| (extent.logical, extent.source, extent.length)).collect();
            return Ok(Some(StoredContent { source: *source, size: *size, extents }));
        }
    }
    Ok(None)
}

/// Compares two contents of the same length.
fn same(left: &Content, right: &Content) -> io::Result<bool> {
    const PIECE: u64 = 256 << 10;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for offset in (0..left.size()).step_by(PIECE as usize) {
        let length = PIECE.min(left.size() - offset) as usize;
        a.resize(length, 0);
        b.resize(length, 0);
        left.read_exact_at(&mut a, offset)?;
        right.read_exact_at(&mut b, offset)?;
        if a != b {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The file of contents, being written.
struct Data {
    file: BufWriter<File>,
    hasher: Hasher,
    length: u64,
}

impl Data {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(1 << 20, File::create(path)?), hasher: Hasher::default(), length: 0 })
    }

    /// Appends the bytes of a content, its holes left out.
    fn append(&mut self, content: &Content) -> io::Result<StoredContent> {
        let whole = [Extent { logical: 0, source: 0, length: content.size() }];
        let pieces = match content {
            Content::Bytes(_) => &whole[..usize::from(content.size() > 0)],
            Content::Extents { extents, .. } => extents,
        };
        let mut extents = Vec::with_capacity(pieces.len());
        let mut buffer = Vec::new();
        for piece in pieces {
            extents.push((piece.logical, self.length, piece.length));
            let mut done = 0;
            while done < piece.length {
                buffer.resize((piece.length - done).min(1 << 20) as usize, 0);
                content.read_exact_at(&mut buffer, piece.logical + done)?;
                self.hasher.update(&buffer);
                self.file.write_all(&buffer)?;
                done += buffer.len() as u64;
            }
            self.length += piece.length;
        }
        Ok(StoredContent { source: 0, size: content.size(), extents })
    }

    fn finish(mut self) -> io::Result<([u8; 32], u64)> {
        self.file.flush()?;
        Ok((*self.hasher.finish().as_bytes(), self.length))
    }
}

/// Reads a tree that [`save`] has written. `packages` must have those that it was written with.
///
/// # Errors
/// Fails when the entry is not whole, or refers to packages that are not there.
pub fn load(folder: &Path, packages: &Packages) -> Result<RootTree, StoredTreeError> {
    let shown = folder.display().to_string();
    let damaged = |reason| StoredTreeError::Damaged { path: shown.clone(), reason };
    let stored = read(folder)?;
    let data = HostFile::open(&folder.join(DATA)).map_err(|source| StoredTreeError::Io { path: shown.clone(), source })?;
    let known: HashMap<&[u8; 32], &Arc<HostFile>> = packages.files.iter().map(|(digest, file)| (digest.as_bytes(), file)).collect();
    let mut sources = vec![&data];
    for digest in &stored.packages {
        sources.push(known.get(digest).copied().ok_or_else(|| damaged("it refers to a package that is not at hand"))?);
    }
    let mut inodes = stored.inodes.into_iter();
    let root = inodes.next().filter(|root| matches!(root.kind, StoredKind::Directory(_)));
    let StoredInode { mode, uid, gid, mtime, xattrs, kind } = root.ok_or_else(|| damaged("it has no root"))?;
    let mut tree = RootTree::new(Metadata { mode, uid, gid, mtime, xattrs: xattrs.into_iter().collect() });
    let mut directories = Vec::new();
    let mut ids = vec![tree.root()];
    if let StoredKind::Directory(names) = kind {
        directories.push((tree.root(), 0, names));
    }
    for (number, StoredInode { mode, uid, gid, mtime, xattrs, kind }) in (1..).zip(inodes) {
        let mut names = None;
        let kind = match kind {
            StoredKind::Directory(found) => {
                names = Some(found);
                Kind::directory()
            }
            StoredKind::File(content) => Kind::File(content_of(content, &sources).ok_or_else(|| damaged("a content is out of range"))?),
            StoredKind::Symlink(target) => Kind::Symlink(target.into()),
            StoredKind::CharDevice(major, minor) => Kind::CharDevice { major, minor },
            StoredKind::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
            StoredKind::Fifo => Kind::Fifo,
            StoredKind::Socket => Kind::Socket,
        };
        let metadata = Metadata { mode, uid, gid, mtime, xattrs: xattrs.into_iter().collect() };
        let id = tree.allocate(Inode { metadata, kind });
        ids.push(id);
        directories.extend(names.map(|names| (id, number, names)));
    }
    let mut has_parent = vec![false; ids.len()];
    for (id, number, names) in directories {
        for (name, child) in names {
            let is_name =
                !name.is_empty() && name.len() <= MAX_NAME && !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..";
            let target = ids.get(child as usize).copied().filter(|_| is_name);
            let target = target.ok_or_else(|| damaged("a directory has an impossible entry"))?;
            // Directories come before what is in them, and have one parent: there are no circles.
            let taken = std::mem::replace(&mut has_parent[child as usize], true);
            if matches!(tree.inode(target).kind, Kind::Directory(_)) && (taken || child <= number) || !tree.attach_to(id, &name, target) {
                return Err(damaged("its directories are no tree"));
            }
        }
    }
    Ok(tree)
}

/// Checks an entry without looking at packages.
///
/// # Errors
/// Fails when it is not what was written.
pub fn verify(folder: &Path) -> Result<(), StoredTreeError> {
    read(folder).map(drop)
}

/// Reads the inodes, after checking both files against their digests.
fn read(folder: &Path) -> Result<StoredTree, StoredTreeError> {
    let path = folder.join(TREE);
    let failed = |path: &Path, source| StoredTreeError::Io { path: path.display().to_string(), source };
    let damaged = |reason| StoredTreeError::Damaged { path: Shown(path.as_os_str().as_encoded_bytes()).to_string(), reason };
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(|source| failed(&path, source))?;
    file.take(MAX_TREE).read_to_end(&mut bytes).map_err(|source| failed(&path, source))?;
    let (digest, body) = bytes.split_at_checked(32).ok_or_else(|| damaged("it is cut short"))?;
    if Sha256Digest::of(body).as_bytes() != digest {
        return Err(damaged("it does not have its digest"));
    }
    let stored: StoredTree = postcard::from_bytes(body).map_err(|_| damaged("it is of another format"))?;
    if stored.version != VERSION {
        return Err(damaged("it is of another version"));
    }
    let data = folder.join(DATA);
    let mut file = File::open(&data).map_err(|source| failed(&data, source))?;
    let length = file.metadata().map_err(|source| failed(&data, source))?.len();
    let found = Sha256Digest::of_reader(&mut file).map_err(|source| failed(&data, source))?;
    if (*found.as_bytes(), length) == stored.data { Ok(stored) } else { Err(damaged("its contents do not have their digest")) }
}

/// Returns a content, if it lies within its source and its pieces are in order.
fn content_of(stored: StoredContent, sources: &[&Arc<HostFile>]) -> Option<Content> {
    let file = *sources.get(stored.source as usize)?;
    let mut end = 0;
    let mut extents = Vec::with_capacity(stored.extents.len());
    for (logical, source, length) in stored.extents {
        let logical_end = logical.checked_add(length).filter(|after| *after <= stored.size)?;
        source.checked_add(length).filter(|after| *after <= file.size())?;
        if logical < end || length == 0 {
            return None;
        }
        end = logical_end;
        extents.push(Extent { logical, source, length });
    }
    Some(Content::Extents { file: file.clone(), extents: extents.into(), size: stored.size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::testing::{difference, listing};

    /// A tree with one file from a package, one that is a conffile there, and what programs make.
    fn sample(folder: &Path) -> (RootTree, RootTree, Packages) {
        let package = folder.join("package");
        fs::write(&package, "packaged content and a conffile").unwrap();
        let file = HostFile::open(&package).unwrap();
        let packages = Packages::new(vec![(Sha256Digest::of(b"package"), file.clone())]);
        let mut origin = RootTree::new(Metadata::root_owned(0o755, 7));
        origin.write_file("/usr/bin/tool", Content::range(file.clone(), 0, 16), 0o755, 7).unwrap();
        origin.write_file("/etc/tool.conf.dpkg-new", Content::range(file.clone(), 23, 8), 0o644, 7).unwrap();
        origin.write_file("/usr/bin/changed", Content::range(file, 0, 8), 0o755, 7).unwrap();

        let disk = folder.join("disk");
        fs::write(&disk, "packaged contentconffilechanged!").unwrap();
        let disk = HostFile::open(&disk).unwrap();
        let mut tree = RootTree::new(Metadata::root_owned(0o755, 9));
        let tool = tree.write_file("/usr/bin/tool", Content::range(disk.clone(), 0, 16), 0o755, 7).unwrap();
        tree.link("/usr/bin/tool-again", tool).unwrap();
        tree.write_file("/etc/tool.conf", Content::range(disk.clone(), 16, 8), 0o644, 7).unwrap();
        tree.write_file("/usr/bin/changed", Content::range(disk.clone(), 24, 8), 0o755, 7).unwrap();
        let holes = [Extent { logical: 4096, source: 24, length: 7 }];
        tree.write_file("/var/sparse", Content::Extents { file: disk, extents: holes.into(), size: 9000 }, 0o600, 8).unwrap();
        tree.write_file("/etc/empty", Content::bytes(Vec::new()), 0o644, 8).unwrap();
        tree.insert("/etc/link", Inode { metadata: Metadata::root_owned(0o777, 8), kind: Kind::Symlink(b"empty".as_slice().into()) })
            .unwrap();
        tree.insert("/dev", Inode { metadata: Metadata::root_owned(0o755, 8), kind: Kind::directory() }).unwrap();
        let xattrs = [(b"security.capability".to_vec(), vec![1, 2])].into();
        let null = Metadata { xattrs, uid: 70_000, ..Metadata::root_owned(0o666, 8) };
        tree.insert("/dev/null", Inode { metadata: null, kind: Kind::CharDevice { major: 1, minor: 3 } }).unwrap();
        (tree, origin, packages)
    }

    #[test]
    fn a_tree_comes_back_as_it_was_and_packaged_contents_are_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, origin, packages) = sample(folder.path());
        let entry = folder.path().join("entry");
        fs::create_dir(&entry).unwrap();
        save(&entry, &tree, &origin, &packages).unwrap();
        let loaded = load(&entry, &packages).unwrap();
        assert_eq!(difference(&listing(&tree), &listing(&loaded)), Vec::<String>::new());
        assert_eq!(fs::read(entry.join(DATA)).unwrap(), b"changed!changed", "what is in no package, without holes");

        let again = folder.path().join("again");
        fs::create_dir(&again).unwrap();
        save(&again, &loaded, &origin, &packages).unwrap();
        for name in [TREE, DATA] {
            assert_eq!(fs::read(again.join(name)).unwrap(), fs::read(entry.join(name)).unwrap(), "{name} depends on where contents were");
        }
        verify(&entry).unwrap();
    }

    #[test]
    fn only_the_packages_that_a_tree_refers_to_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, origin, packages) = sample(folder.path());
        let other = folder.path().join("other");
        fs::write(&other, "another image's package").unwrap();
        let other = (Sha256Digest::of(b"other"), HostFile::open(&other).unwrap());
        let more = Packages::new([vec![other], packages.files.clone()].concat());
        let mut written = Vec::new();
        for (name, packages) in [("alone", &packages), ("among-others", &more)] {
            let entry = folder.path().join(name);
            fs::create_dir(&entry).unwrap();
            save(&entry, &tree, &origin, packages).unwrap();
            written.push(fs::read(entry.join(TREE)).unwrap());
        }
        assert!(written[0] == written[1], "what else there is changes what is written");
        assert!(load(&folder.path().join("among-others"), &packages).is_ok());
    }

    #[test]
    fn a_damaged_entry_is_refused_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, origin, packages) = sample(folder.path());
        let entry = folder.path().join("entry");
        fs::create_dir(&entry).unwrap();
        save(&entry, &tree, &origin, &packages).unwrap();
        assert!(load(&entry, &Packages::default()).is_err(), "without the package");
        for name in [TREE, DATA] {
            let good = fs::read(entry.join(name)).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(entry.join(name), &bad).unwrap();
                assert!(load(&entry, &packages).is_err(), "{name} at {at}");
            }
            fs::write(entry.join(name), &good[..good.len() - 1]).unwrap();
            assert!(verify(&entry).is_err(), "{name} cut short");
            fs::write(entry.join(name), &good).unwrap();
        }
    }

    #[test]
    fn numbers_that_are_no_tree_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = |names: Vec<(Vec<u8>, u32)>| StoredInode {
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Vec::new(),
            kind: StoredKind::Directory(names),
        };
        let name = |name: &str, number| (name.as_bytes().to_vec(), number);
        fs::write(folder.path().join(DATA), "").unwrap();
        let load_these = |inodes| {
            let data = (*Sha256Digest::of(b"").as_bytes(), 0);
            let body = postcard::to_stdvec(&StoredTree { version: VERSION, packages: Vec::new(), data, inodes }).unwrap();
            fs::write(folder.path().join(TREE), [&Sha256Digest::of(&body).as_bytes()[..], &body].concat()).unwrap();
            load(folder.path(), &Packages::default())
        };
        assert!(load_these(vec![directory(vec![name("a", 1)]), directory(vec![])]).is_ok());
        for inodes in [
            vec![],
            vec![directory(vec![name("a", 0)])],
            vec![directory(vec![name("a", 1)]), directory(vec![name("b", 1)])],
            vec![directory(vec![name("a", 1), name("b", 1)]), directory(vec![])],
            vec![directory(vec![name("a", 9)])],
            vec![directory(vec![name("..", 1)]), directory(vec![])],
            vec![directory(vec![name("a/b", 1)]), directory(vec![])],
        ] {
            assert!(load_these(inodes).is_err());
        }
    }
}
