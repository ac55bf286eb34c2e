//! Reads filesystems that `oic` writes but never reads back itself into trees, without mounting them: for looking into images.
//!
//! ```text
//! xfs, btrfs, squashfs, erofs ──► Inodes: metadata, kind, entries by number ──► tree, from the root down
//!                             └─► unpack: pieces that are compressed, as a disk that is unpacked where it is read
//! ```
//!
//! # Trust
//!
//! An image may hold anything. Numbers are checked before they are used, directories have one parent each, names are what names can
//! be, blocks of an index are worth as many visits as there are blocks. All files together are no larger than what a full filesystem
//! of that size holds, compressed as well as can be. Contents are not read here; what is compressed in a way that is not known is an
//! error when it is read. Checksums are not verified. Damage is an error, never a panic.

mod btrfs;
mod erofs;
mod squashfs;
#[cfg(test)]
mod tests;
mod unpack;
mod xfs;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use crate::rootfs::{
    content::{Content, Extent, HostFile},
    path::{MAX_NAME, MAX_PATH},
    tree::{Inode, InodeId, Kind, Metadata, RootTree},
};

/// The most entries of all directories.
const MAX_ENTRIES: usize = 8 << 20;
/// All files together may be as large as this many filesystems, and this much more.
const MAX_RATIO: u64 = 64;
const MAX_BASE: u64 = 4 << 30;
/// The largest index or list of a filesystem that is held in memory.
const MAX_INDEX: u64 = 512 << 20;
/// The largest block that anything is read in.
const MAX_BLOCK: u64 = 64 << 10;

/// Why a filesystem cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeReadError {
    /// Reading the image failed.
    #[error("cannot read the filesystem")]
    Read(#[from] io::Error),
    /// Its structures make no sense.
    #[error("the filesystem is damaged: {0}")]
    Damaged(&'static str),
    /// It is of a kind that is not understood.
    #[error("the filesystem is not understood: {0}")]
    Unsupported(&'static str),
}

/// What reads a filesystem that fills a file.
pub type Reader = fn(&Arc<HostFile>) -> Result<RootTree, TreeReadError>;

/// Returns the reader of a kind of filesystem, by the name that the kernel has for it.
#[must_use]
pub fn reader(kind: &str) -> Option<Reader> {
    match kind {
        "xfs" => Some(xfs::read_tree),
        "btrfs" => Some(btrfs::read_tree),
        "squashfs" => Some(squashfs::read_tree),
        "erofs" => Some(erofs::read_tree),
        _ => None,
    }
}

/// The entries of a directory: names, and what inodes are known by.
type Entries<N> = Vec<(Vec<u8>, N)>;

/// A filesystem as a source of inodes.
trait Inodes {
    /// What inodes are known by.
    type Number: Copy + Ord + std::hash::Hash;

    /// Returns the root directory.
    fn root(&self) -> Self::Number;

    /// Returns an inode; a directory without its entries.
    fn inode(&mut self, number: Self::Number) -> Result<Inode, TreeReadError>;

    /// Returns the entries of a directory.
    fn entries(&mut self, number: Self::Number) -> Result<Entries<Self::Number>, TreeReadError>;
}

/// Reads all of a filesystem of `size` bytes.
fn build<S: Inodes>(source: &mut S, size: u64) -> Result<RootTree, TreeReadError> {
    let damaged = |reason| Err(TreeReadError::Damaged(reason));
    let root = source.root();
    let inode = source.inode(root)?;
    if !matches!(inode.kind, Kind::Directory(_)) {
        return damaged("the root is not a directory");
    }
    let mut tree = RootTree::new(inode.metadata);
    let mut known: HashMap<S::Number, InodeId> = HashMap::from([(root, tree.root())]);
    let mut pending = vec![(root, tree.root(), 0)];
    let (mut left, mut room) = (MAX_ENTRIES, size.saturating_mul(MAX_RATIO).saturating_add(MAX_BASE));
    while let Some((number, id, length)) = pending.pop() {
        for (name, child) in source.entries(number)? {
            let length = length + 1 + name.len();
            left = left.checked_sub(1).ok_or(TreeReadError::Damaged("it has more entries than are possible"))?;
            if name.is_empty() || name.len() > MAX_NAME || name.contains(&b'/') || name.contains(&0) || name == b"." || name == b".." {
                return damaged("a name is not one");
            }
            if length > MAX_PATH {
                return damaged("a path is too long");
            }
            let child_id = match known.get(&child) {
                Some(known) if matches!(tree.inode(*known).kind, Kind::Directory(_)) => return damaged("a directory has two parents"),
                Some(known) => *known,
                None => {
                    let inode = source.inode(child)?;
                    if let Kind::File(content) = &inode.kind {
                        let less = room.checked_sub(content.size());
                        room = less.ok_or(TreeReadError::Damaged("its files are larger than it can hold"))?;
                    }
                    let is_directory = matches!(inode.kind, Kind::Directory(_));
                    let id = tree.allocate(inode);
                    known.insert(child, id);
                    if is_directory {
                        pending.push((child, id, length));
                    }
                    id
                }
            };
            if !tree.attach_to(id, &name, child_id) {
                return damaged("a name is there twice");
            }
        }
    }
    Ok(tree)
}

/// Returns what an inode of a mode is, or nothing where only its content tells.
fn special(mode: u32, device: (u32, u32)) -> Result<Option<Kind>, TreeReadError> {
    match mode & 0o170_000 {
        0o100_000 | 0o120_000 => Ok(None),
        _ => Kind::without_content(mode, device).map(Some).ok_or(TreeReadError::Damaged("the type of an inode is unknown")),
    }
}

/// Returns a regular file or a symbolic link with a content.
fn filled(mode: u32, content: Content) -> Result<Kind, TreeReadError> {
    if mode & 0o170_000 == 0o100_000 {
        return Ok(Kind::File(content));
    }
    let target = content.read_all(MAX_PATH as u64)?;
    if target.is_empty() || target.contains(&0) {
        return Err(TreeReadError::Damaged("the target of a link is not one"));
    }
    Ok(Kind::Symlink(target.into()))
}

/// Returns a device number as the kernel keeps it: 12 bits and 20 bits.
fn device(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

/// Returns a content of extents, which are sorted and cut to its size here.
fn content(file: &Arc<HostFile>, mut extents: Vec<Extent>, size: u64) -> Result<Content, TreeReadError> {
    extents.sort_by_key(|extent| extent.logical);
    let mut end = 0;
    for extent in &mut extents {
        if extent.logical < end || extent.source.checked_add(extent.length).is_none() {
            return Err(TreeReadError::Damaged("the pieces of a file overlap"));
        }
        end = extent.logical.checked_add(extent.length).ok_or(TreeReadError::Damaged("a file has no end"))?;
        extent.length = extent.length.min(size.saturating_sub(extent.logical));
    }
    extents.retain(|extent| extent.length > 0);
    Ok(Content::Extents { file: file.clone(), extents: extents.into(), size })
}

/// Metadata of an inode; the type in the mode is left out.
fn metadata(mode: u32, uid: u32, gid: u32, mtime: i64, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> Metadata {
    Metadata { mode: (mode & 0o7777) as u16, uid, gid, mtime, xattrs }
}

/// Reads `length` bytes, no more than an index may have.
fn bytes_at(file: &HostFile, at: u64, length: u64) -> Result<Vec<u8>, TreeReadError> {
    if length > MAX_INDEX || at.checked_add(length).is_none_or(|end| end > file.size()) {
        return Err(TreeReadError::Damaged("something is outside of it"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Numbers in bytes that may be too short: these are damaged.
trait Numbers {
    fn part<const N: usize>(&self, at: usize) -> Result<[u8; N], TreeReadError>;

    fn le16(&self, at: usize) -> Result<u16, TreeReadError> {
        self.part(at).map(u16::from_le_bytes)
    }

    fn le32(&self, at: usize) -> Result<u32, TreeReadError> {
        self.part(at).map(u32::from_le_bytes)
    }

    fn le64(&self, at: usize) -> Result<u64, TreeReadError> {
        self.part(at).map(u64::from_le_bytes)
    }

    fn be16(&self, at: usize) -> Result<u16, TreeReadError> {
        self.part(at).map(u16::from_be_bytes)
    }

    fn be32(&self, at: usize) -> Result<u32, TreeReadError> {
        self.part(at).map(u32::from_be_bytes)
    }

    fn be64(&self, at: usize) -> Result<u64, TreeReadError> {
        self.part(at).map(u64::from_be_bytes)
    }
}

impl Numbers for [u8] {
    fn part<const N: usize>(&self, at: usize) -> Result<[u8; N], TreeReadError> {
        let part = at.checked_add(N).and_then(|end| self.get(at..end)).and_then(|part| part.try_into().ok());
        part.ok_or(TreeReadError::Damaged("a structure ends too early"))
    }
}

/// Returns a part of bytes that may be too short.
fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], TreeReadError> {
    let part = at.checked_add(length).and_then(|end| bytes.get(at..end));
    part.ok_or(TreeReadError::Damaged("a structure ends too early"))
}
