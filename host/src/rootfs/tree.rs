//! [`RootTree`]: a filesystem in memory, without its files' contents.
//!
//! Like in a real filesystem, directories map names to inodes, and hard links are several names of one inode. Names are
//! sorted, so every walk yields the same order on every machine, parents before what is in them.
//!
//! Paths are absolute or relative to the root alike; `..` is refused. Functions that create entries resolve symbolic links
//! among the parents inside the tree, as the kernel would do with the tree as its root.

use std::collections::BTreeMap;

use super::{
    content::Content,
    path::{self, PathError, Shown},
};

/// How many symbolic links are followed in one resolution, as the kernel does.
const MAX_LINKS: usize = 40;

/// Why an operation on a tree is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path cannot be in a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A parent is not there.
    #[error("`{path}`: there is no such file or directory")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A parent is something else than a directory.
    #[error("`{path}`: a parent is not a directory")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// There is something already.
    #[error("`{path}` exists already")]
    Exists {
        /// The path.
        path: String,
    },
    /// Symbolic links lead in a circle.
    #[error("`{path}`: too many symbolic links")]
    TooManyLinks {
        /// The path.
        path: String,
    },
}

/// Identifies an inode of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

/// What every inode has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification, seconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Extended attributes with their full names (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Returns metadata of something that root owns.
    #[must_use]
    pub fn root_owned(mode: u16, mtime: i64) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// What an inode is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory and what is in it.
    Directory(BTreeMap<Box<[u8]>, InodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link to this target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Returns an empty directory.
    #[must_use]
    pub fn directory() -> Self {
        Self::Directory(BTreeMap::new())
    }

    /// Returns the type as it stands in the mode of an inode (`S_IFMT`), and as it stands in the entries of directories on disk (`FT_*`).
    #[must_use]
    pub fn types(&self) -> (u16, u8) {
        match self {
            Self::File(_) => (0o100_000, 1),
            Self::Directory(_) => (0o040_000, 2),
            Self::CharDevice { .. } => (0o020_000, 3),
            Self::BlockDevice { .. } => (0o060_000, 4),
            Self::Fifo => (0o010_000, 5),
            Self::Socket => (0o140_000, 6),
            Self::Symlink(_) => (0o120_000, 7),
        }
    }

    /// Returns what an inode of a mode is, where the mode and a device's major and minor number tell: not for files and symbolic links,
    /// and not for types that there are none of. A directory is empty.
    #[must_use]
    pub fn without_content(mode: u32, (major, minor): (u32, u32)) -> Option<Self> {
        match mode & 0o170_000 {
            0o040_000 => Some(Self::directory()),
            0o020_000 => Some(Self::CharDevice { major, minor }),
            0o060_000 => Some(Self::BlockDevice { major, minor }),
            0o010_000 => Some(Self::Fifo),
            0o140_000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// Returns the word for it in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::File(_) => "file",
            Self::Symlink(_) => "symbolic link",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        }
    }
}

/// One inode.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Owner, mode and so on.
    pub metadata: Metadata,
    /// What it is.
    pub kind: Kind,
}

/// One step of a walk over a tree.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Absolute path.
    pub path: Vec<u8>,
    /// The inode's identity.
    pub id: InodeId,
    /// The inode.
    pub inode: &'a Inode,
    /// Path of the inode's first name in the order of the walk, when this is a further one.
    pub link_to: Option<Vec<u8>>,
}

/// A filesystem in memory.
#[derive(Debug, Clone)]
pub struct RootTree {
    inodes: Vec<Inode>,
}

impl RootTree {
    /// Returns a tree of an empty root directory.
    #[must_use]
    pub fn new(root: Metadata) -> Self {
        Self { inodes: vec![Inode { metadata: root, kind: Kind::directory() }] }
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> InodeId {
        InodeId(0)
    }

    /// Returns an inode of this tree.
    ///
    /// # Panics
    /// Panics when the identity is another tree's.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    /// Returns an inode of this tree to change it.
    ///
    /// # Panics
    /// Panics when the identity is another tree's.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.0 as usize]
    }

    /// Returns what is at a path; symbolic links are followed in its parents, not at its end.
    #[must_use]
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Option<InodeId> {
        self.locate(path.as_ref(), false).ok()?.target
    }

    /// Returns what is at a path; symbolic links are followed everywhere.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Option<InodeId> {
        self.locate(path.as_ref(), true).ok()?.target
    }

    /// Returns the inode at a path, links followed.
    #[must_use]
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Inode> {
        self.resolve(path).map(|id| self.inode(id))
    }

    /// Returns the content of the regular file at a path, links followed.
    #[must_use]
    pub fn file(&self, path: impl AsRef<[u8]>) -> Option<&Content> {
        match &self.get(path)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Returns the names in the directory at a path, links followed; none when there is no directory.
    pub fn names(&self, path: impl AsRef<[u8]>) -> impl Iterator<Item = (&[u8], InodeId)> {
        let directory = self.get(path).and_then(|inode| match &inode.kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        });
        directory.into_iter().flatten().map(|(name, id)| (&**name, *id))
    }

    /// Returns the absolute path that a path leads to when the links among its parents are followed. The last name need not exist.
    ///
    /// # Errors
    /// Fails when the path cannot be in a tree or a parent is missing or no directory.
    pub fn real_path(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, TreeError> {
        let located = self.locate(path.as_ref(), false)?;
        Ok(path::normalize(&located.real)?)
    }

    /// Adds a new inode. Its parents must be there.
    ///
    /// # Errors
    /// Fails when something is there already or a parent is not.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, inode: Inode) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        let located = self.locate(path, false)?;
        if located.target.is_some() {
            return Err(TreeError::Exists { path: Shown(path).to_string() });
        }
        let id = self.allocate(inode);
        self.attach(&located, id);
        Ok(id)
    }

    /// Adds an inode, or puts it where another one was.
    ///
    /// # Errors
    /// Fails when a parent is missing or is no directory.
    pub fn replace(&mut self, path: impl AsRef<[u8]>, inode: Inode) -> Result<InodeId, TreeError> {
        let located = self.locate(path.as_ref(), false)?;
        let id = self.allocate(inode);
        self.attach(&located, id);
        Ok(id)
    }

    /// Gives an inode a further name.
    ///
    /// # Errors
    /// Fails when something is there already or a parent is not.
    pub fn link(&mut self, path: impl AsRef<[u8]>, id: InodeId) -> Result<(), TreeError> {
        let path = path.as_ref();
        let located = self.locate(path, false)?;
        if located.target.is_some() || matches!(self.inode(id).kind, Kind::Directory(_)) {
            return Err(TreeError::Exists { path: Shown(path).to_string() });
        }
        self.attach(&located, id);
        Ok(())
    }

    /// Returns the directory at a path, links followed; it and its parents are made with mode 0755, owned by root, where they are missing.
    ///
    /// # Errors
    /// Fails when a part of the path is something else than a directory.
    pub fn make_directories(&mut self, path: impl AsRef<[u8]>, mtime: i64) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        let names = path::components(path)?;
        let mut prefix = Vec::new();
        let mut id = self.root();
        for name in names {
            prefix.push(b'/');
            prefix.extend_from_slice(name);
            id = match self.locate(&prefix, true)? {
                Located { target: Some(id), .. } => id,
                located => {
                    let id = self.allocate(Inode { metadata: Metadata::root_owned(0o755, mtime), kind: Kind::directory() });
                    self.attach(&located, id);
                    id
                }
            };
            if !matches!(self.inode(id).kind, Kind::Directory(_)) {
                return Err(TreeError::NotADirectory { path: Shown(&prefix).to_string() });
            }
        }
        Ok(id)
    }

    /// Writes a file that root owns; missing parents are made, a file that is there is replaced.
    ///
    /// # Errors
    /// Fails when a parent is something else than a directory.
    pub fn write_file(&mut self, path: impl AsRef<[u8]>, content: Content, mode: u16, mtime: i64) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..slash]);
        self.make_directories(parent, mtime)?;
        self.replace(path, Inode { metadata: Metadata::root_owned(mode, mtime), kind: Kind::File(content) })
    }

    /// Takes a name away, with all that is below it. Returns whether it was there.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> bool {
        let Ok(located) = self.locate(path.as_ref(), false) else { return false };
        if located.name.is_empty() {
            return false;
        }
        let Kind::Directory(names) = &mut self.inode_mut(located.parent).kind else { return false };
        names.remove(&*located.name).is_some()
    }

    /// Cuts what is below a directory out into a tree of its own and leaves an empty directory: a mount point.
    ///
    /// # Errors
    /// Fails when there is no directory at the path.
    pub fn split_off(&mut self, path: impl AsRef<[u8]>) -> Result<Self, TreeError> {
        let path = path.as_ref();
        let id = self.locate(path, true)?.target.ok_or_else(|| TreeError::NotFound { path: Shown(path).to_string() })?;
        let Kind::Directory(names) = &mut self.inode_mut(id).kind else {
            return Err(TreeError::NotADirectory { path: Shown(path).to_string() });
        };
        let names = std::mem::take(names);
        let mut part = Self::new(self.inode(id).metadata.clone());
        let mut moved = BTreeMap::new();
        let mut pending: Vec<(InodeId, Box<[u8]>, InodeId)> = names.into_iter().rev().map(|(name, old)| (part.root(), name, old)).collect();
        while let Some((parent, name, old)) = pending.pop() {
            let new = *moved.entry(old).or_insert_with(|| {
                let inode = self.inode(old).clone();
                let (inode, below) = match inode.kind {
                    Kind::Directory(below) => (Inode { metadata: inode.metadata, kind: Kind::directory() }, below),
                    _ => (inode, BTreeMap::new()),
                };
                let new = part.allocate(inode);
                pending.extend(below.into_iter().rev().map(|(name, old)| (new, name, old)));
                new
            });
            if let Kind::Directory(names) = &mut part.inode_mut(parent).kind {
                names.insert(name, new);
            }
        }
        Ok(part)
    }

    /// Puts a tree where a directory is or is made: what it has replaces what is there under the same names.
    ///
    /// # Errors
    /// Fails when something else than a directory is at the path.
    pub fn graft(&mut self, path: impl AsRef<[u8]>, part: &Self) -> Result<(), TreeError> {
        let metadata = &part.inode(part.root()).metadata;
        let top = self.make_directories(path, metadata.mtime)?;
        self.inode_mut(top).metadata = metadata.clone();
        let mut moved = BTreeMap::from([(part.root(), top)]);
        for entry in part.walk() {
            let Kind::Directory(names) = &entry.inode.kind else { continue };
            let parent = moved[&entry.id];
            for (name, id) in names {
                let new = *moved.entry(*id).or_insert_with(|| {
                    let inode = part.inode(*id).clone();
                    let is_directory = matches!(inode.kind, Kind::Directory(_));
                    self.allocate(if is_directory { Inode { kind: Kind::directory(), ..inode } } else { inode })
                });
                if let Kind::Directory(children) = &mut self.inode_mut(parent).kind {
                    children.insert(name.clone(), new);
                }
            }
        }
        Ok(())
    }

    /// Returns a walk over all entries: the root first, parents before children, names sorted.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk { tree: self, pending: vec![(vec![b'/'], self.root())], first: BTreeMap::new() }
    }

    /// Returns how many names lead to each inode, and 2 and more for directories as `stat` counts them.
    #[must_use]
    pub fn link_counts(&self) -> BTreeMap<InodeId, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.walk() {
            *counts.entry(entry.id).or_insert(0) += 1;
            if let Kind::Directory(names) = &entry.inode.kind {
                let below = names.values().filter(|id| matches!(self.inode(**id).kind, Kind::Directory(_))).count();
                counts.insert(entry.id, 2 + u32::try_from(below).unwrap_or(u32::MAX - 2));
            }
        }
        counts
    }

    /// Changes the metadata of every inode.
    pub fn update_metadata(&mut self, mut change: impl FnMut(&mut Metadata)) {
        self.inodes.iter_mut().for_each(|inode| change(&mut inode.metadata));
    }

    /// Adds an inode that no name leads to yet. Only for readers that know a filesystem by its inodes.
    pub(crate) fn allocate(&mut self, inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).expect("a tree has fewer than 4 billion inodes"));
        self.inodes.push(inode);
        id
    }

    /// Gives a directory a further entry; returns whether the directory was one and the name was free.
    pub(crate) fn attach_to(&mut self, directory: InodeId, name: &[u8], id: InodeId) -> bool {
        match &mut self.inode_mut(directory).kind {
            Kind::Directory(names) if !names.contains_key(name) => names.insert(name.into(), id).is_none(),
            _ => false,
        }
    }

    fn attach(&mut self, located: &Located, id: InodeId) {
        if let Kind::Directory(names) = &mut self.inode_mut(located.parent).kind {
            names.insert(located.name.clone(), id);
        }
    }

    /// Walks down a path. Links among the parents are followed, and at the end when `follow` says so.
    fn locate(&self, path: &[u8], follow: bool) -> Result<Located, TreeError> {
        let failed = || Shown(path).to_string();
        // The names still to go, last first.
        let mut names: Vec<Box<[u8]>> = path::components(path)?.into_iter().rev().map(Into::into).collect();
        let mut trail: Vec<(InodeId, Box<[u8]>)> = Vec::new();
        let mut current = self.root();
        let mut links = 0;
        while let Some(name) = names.pop() {
            if &*name == b".." {
                if let Some((parent, _)) = trail.pop() {
                    current = parent;
                }
                continue;
            }
            let Kind::Directory(children) = &self.inode(current).kind else {
                return Err(TreeError::NotADirectory { path: failed() });
            };
            let child = children.get(&name).copied();
            match child.map(|id| (id, &self.inode(id).kind)) {
                Some((_, Kind::Symlink(target))) if follow || !names.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS || target.len() > path::MAX_PATH {
                        return Err(TreeError::TooManyLinks { path: failed() });
                    }
                    if target.starts_with(b"/") {
                        trail.clear();
                        current = self.root();
                    }
                    // `..` is legal in a link's target and means the parent of where the walk is.
                    let parts = target.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
                    let parts: Vec<Box<[u8]>> = parts.map(Into::into).collect();
                    names.extend(parts.into_iter().rev());
                }
                Some((id, _)) => {
                    trail.push((current, name));
                    current = id;
                }
                None if names.is_empty() => return Ok(Located::missing(current, name, &trail)),
                None => return Err(TreeError::NotFound { path: failed() }),
            }
        }
        Ok(Located::found(current, &trail))
    }
}

/// Where a path leads.
struct Located {
    /// The directory that has or would have the last name.
    parent: InodeId,
    /// The last name; empty for the root itself.
    name: Box<[u8]>,
    /// What is there.
    target: Option<InodeId>,
    /// The path without links.
    real: Vec<u8>,
}

impl Located {
    fn found(target: InodeId, trail: &[(InodeId, Box<[u8]>)]) -> Self {
        let (parent, name) = trail.last().map_or((target, Box::default()), |(parent, name)| (*parent, name.clone()));
        Self { parent, name, target: Some(target), real: join(trail) }
    }

    fn missing(parent: InodeId, name: Box<[u8]>, trail: &[(InodeId, Box<[u8]>)]) -> Self {
        let mut real = join(trail);
        real.push(b'/');
        real.extend_from_slice(&name);
        Self { parent, name, target: None, real }
    }
}

fn join(trail: &[(InodeId, Box<[u8]>)]) -> Vec<u8> {
    let mut path = Vec::new();
    for (_, name) in trail {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

/// A walk over a tree, see [`RootTree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a RootTree,
    /// What is still to visit, last first.
    pending: Vec<(Vec<u8>, InodeId)>,
    /// The first path of every inode that may have several.
    first: BTreeMap<InodeId, Vec<u8>>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (path, id) = self.pending.pop()?;
        let inode = self.tree.inode(id);
        if let Kind::Directory(names) = &inode.kind {
            let prefix = if path == b"/" { &[][..] } else { &path[..] };
            self.pending.extend(names.iter().rev().map(|(name, child)| ([prefix, b"/", name].concat(), *child)));
            return Some(Entry { path, id, inode, link_to: None });
        }
        let link_to = self.first.get(&id).cloned();
        if link_to.is_none() {
            self.first.insert(id, path.clone());
        }
        Some(Entry { path, id, inode, link_to })
    }
}
