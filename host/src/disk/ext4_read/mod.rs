//! Reads an ext4 filesystem that a guest has written back into a tree, without mounting it.
//!
//! # What is read
//!
//! Superblock → group descriptors → inodes, from the root directory down: directories (linear and hashed ones, whose index
//! blocks look empty to a linear reader), extent trees, fast and slow symbolic links, device numbers, hard links by inode
//! number, extended attributes in inodes and in blocks. Contents are not read: a file becomes the list of its extents in
//! the image; what was allocated and never written is a hole.
//!
//! # Trust
//!
//! The guest may have written anything. Every number is checked against the filesystem's size before it is used; no block
//! is worth more than one visit, because the visits of a whole read are limited by the number of blocks that there are;
//! directories have one parent each; files are not larger than the disk. Damage is an error, never a panic, and never more
//! work than a full filesystem of that size takes.
//!
//! Filesystems with features that [`super::ext4::Profile::Scratch`] does not have and a kernel does not add are refused.

mod directory;
mod extents;
mod superblock;
mod xattr;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

use superblock::Superblock;

use crate::rootfs::{
    content::{Content, Extent, HostFile},
    path::{MAX_PATH, Shown},
    tree::{Inode, InodeId, Kind, Metadata, RootTree},
};

/// Inode number of the root directory.
const ROOT: u32 = 2;
/// Flag of inodes whose block map is an extent tree.
const EXTENTS_FLAG: u32 = 0x8_0000;
/// Flags of inodes that are stored in a way that is not understood: compressed, encrypted, inline data, casefolded.
const REFUSED_FLAGS: u32 = 0x4 | 0x800 | 0x1000_0000 | 0x4000_0000;
/// Longest target of a symbolic link that is stored in the inode itself.
const FAST_LINK: u64 = 60;
/// All files together may be as large as this many disks, holes included.
const MAX_APPARENT_DISKS: u64 = 4;

/// Why a filesystem cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Ext4ReadError {
    /// Reading the image failed.
    #[error("cannot read the filesystem")]
    Read(#[from] io::Error),
    /// It is not an ext4 filesystem that this module understands.
    #[error("the filesystem is not usable: {reason}")]
    Unsupported {
        /// What is the matter.
        reason: String,
    },
    /// It was not unmounted.
    #[error("the filesystem was not unmounted cleanly")]
    NotClean,
    /// Its structures contradict each other.
    #[error("the filesystem is damaged: inode {inode}: {reason}")]
    Damaged {
        /// The inode that was being read.
        inode: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file cannot be taken over.
    #[error("`{path}` cannot be taken from the filesystem: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

/// Reads the filesystem that fills a file.
///
/// `lost+found` is left out: every new filesystem makes its own.
///
/// # Errors
/// Fails when the filesystem is damaged, was not unmounted, or has features that are not understood.
pub fn read_tree(file: &Arc<HostFile>) -> Result<RootTree, Ext4ReadError> {
    read_tree_with_access(file, 0).map(|(tree, _)| tree)
}

/// Reads the filesystem that fills a file, and tells which inodes may have been accessed while access times were noted.
///
/// `epoch` is the time of everything that was there before the guest began, in seconds since 1970-01-01 UTC. What the guest has
/// made has the same time of access as of birth until it is accessed.
///
/// # Errors
/// As [`read_tree`].
pub fn read_tree_with_access(file: &Arc<HostFile>, epoch: i64) -> Result<(RootTree, HashSet<InodeId>), Ext4ReadError> {
    let superblock = Superblock::read(file)?;
    let budget = superblock.blocks;
    let mut reader =
        Reader { file: file.clone(), superblock, budget, apparent: 0, xattr_blocks: HashMap::new(), epoch, accessed: HashSet::new() };
    let root = reader.inode(ROOT)?;
    if root.format() != 0o040_000 {
        return Err(reader.damaged(ROOT, "the root is not a directory"));
    }
    let metadata = reader.metadata(&root)?;
    let mut tree = RootTree::new(metadata);
    if root.may_be_accessed(epoch) {
        reader.accessed.insert(tree.root());
    }
    let mut known = BTreeMap::from([(ROOT, tree.root())]);
    let mut pending = vec![(Vec::new(), root, tree.root())];
    while let Some((path, raw, id)) = pending.pop() {
        for (name, number) in reader.directory(&raw)? {
            if raw.number == ROOT && name == b"lost+found" {
                continue;
            }
            let path = [&path[..], b"/", &name].concat();
            if path.len() > MAX_PATH {
                return Err(Ext4ReadError::File { path: Shown(&path[..128]).to_string(), reason: "its path is too long" });
            }
            let child = match known.get(&number) {
                Some(child) => *child,
                None => reader.add(&mut tree, number, &path, &mut pending)?,
            };
            if known.insert(number, child).is_some() && matches!(tree.inode(child).kind, Kind::Directory(_)) {
                return Err(reader.damaged(number, "the directory has two parents"));
            }
            if !tree.attach_to(id, &name, child) {
                return Err(reader.damaged(raw.number, "a name is there twice"));
            }
        }
    }
    Ok((tree, reader.accessed))
}

/// A filesystem being read.
struct Reader {
    file: Arc<HostFile>,
    superblock: Superblock,
    /// How many blocks may still be visited.
    budget: u64,
    /// The sizes of all files so far.
    apparent: u64,
    /// Blocks of extended attributes; several inodes may share one.
    xattr_blocks: HashMap<u64, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// When the guest began.
    epoch: i64,
    /// What may have been accessed since.
    accessed: HashSet<InodeId>,
}

/// An inode as it is on the disk.
struct RawInode {
    number: u32,
    bytes: Vec<u8>,
}

impl RawInode {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn format(&self) -> u16 {
        self.u16(0) & 0o170_000
    }

    fn size(&self) -> u64 {
        u64::from(self.u32(4)) | u64::from(self.u32(108)) << 32
    }

    fn flags(&self) -> u32 {
        self.u32(32)
    }

    /// Returns the 60 bytes of the block map.
    fn map(&self) -> &[u8] {
        &self.bytes[40..100]
    }

    fn xattr_block(&self) -> u64 {
        u64::from(self.u32(104)) | u64::from(self.u16(118)) << 32
    }

    /// Returns how long the part after the first 128 bytes is that fields are in; 0 where there is none.
    fn extra_size(&self) -> usize {
        if self.bytes.len() > 128 + 2 { usize::from(self.u16(128)) } else { 0 }
    }

    /// Returns a time as it is on the disk, in seconds and nanoseconds: at `at`, and at `extra` what does not fit there.
    fn time(&self, at: usize, extra: usize) -> Option<(i64, u32)> {
        if self.extra_size() + 128 < extra + 4 || self.bytes.len() < extra + 4 {
            return None;
        }
        let more = self.u32(extra);
        Some((i64::from(self.u32(at).cast_signed()) + (i64::from(more & 3) << 32), more >> 2))
    }

    /// Returns whether it may have been accessed since `epoch`; when times do not tell, it may.
    fn may_be_accessed(&self, epoch: i64) -> bool {
        let (Some(accessed), Some(born)) = (self.time(8, 140), self.time(144, 148)) else { return true };
        // The guest's clock starts at the epoch: what it makes at once is born within the same second.
        if born <= (epoch, 0) { accessed > (epoch, 0) } else { accessed != born }
    }

    /// Returns the time of modification in seconds. Two more bits extend it beyond 2038.
    fn mtime(&self) -> i64 {
        let seconds = i64::from(self.u32(16).cast_signed());
        let has_extra = self.extra_size() >= 12 && self.bytes.len() >= 140;
        if has_extra { seconds + (i64::from(self.u32(136) & 3) << 32) } else { seconds }
    }
}

impl Reader {
    fn damaged(&self, inode: u32, reason: &'static str) -> Ext4ReadError {
        Ext4ReadError::Damaged { inode, reason }
    }

    /// Notes that blocks are visited; no two structures share blocks, so that all visits together are limited.
    fn visit(&mut self, inode: u32, blocks: u64) -> Result<(), Ext4ReadError> {
        self.budget = self.budget.checked_sub(blocks).ok_or_else(|| self.damaged(inode, "its blocks belong to other inodes too"))?;
        Ok(())
    }

    /// Reads a block.
    fn block(&self, inode: u32, number: u64) -> Result<Vec<u8>, Ext4ReadError> {
        if number <= self.superblock.first_block || number >= self.superblock.blocks {
            return Err(self.damaged(inode, "a block number is out of range"));
        }
        let mut bytes = vec![0; self.superblock.block_size as usize];
        self.file.read_exact_at(&mut bytes, number * self.superblock.block_size)?;
        Ok(bytes)
    }

    fn inode(&self, number: u32) -> Result<RawInode, Ext4ReadError> {
        let offset = self.superblock.inode_offset(number).ok_or_else(|| self.damaged(number, "there is no such inode"))?;
        let mut bytes = vec![0; self.superblock.inode_size];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(RawInode { number, bytes })
    }

    fn metadata(&mut self, raw: &RawInode) -> Result<Metadata, Ext4ReadError> {
        Ok(Metadata {
            mode: raw.u16(0) & 0o7777,
            uid: u32::from(raw.u16(2)) | u32::from(raw.u16(120)) << 16,
            gid: u32::from(raw.u16(24)) | u32::from(raw.u16(122)) << 16,
            mtime: raw.mtime(),
            xattrs: self.xattrs(raw)?,
        })
    }

    /// Adds the inode with a number to the tree; a directory's entries are read later.
    fn add(
        &mut self,
        tree: &mut RootTree,
        number: u32,
        path: &[u8],
        pending: &mut Vec<(Vec<u8>, RawInode, InodeId)>,
    ) -> Result<InodeId, Ext4ReadError> {
        let raw = self.inode(number)?;
        if raw.u16(26) == 0 || number < 11 && number != ROOT {
            return Err(self.damaged(number, "an entry leads to an inode that is not in use"));
        }
        if raw.flags() & REFUSED_FLAGS != 0 {
            return Err(Ext4ReadError::File {
                path: Shown(path).to_string(),
                reason: "its inode is stored in a way that is not understood",
            });
        }
        let kind = match raw.format() {
            0o100_000 => Kind::File(self.content(&raw, path)?),
            0o120_000 => Kind::Symlink(self.symlink(&raw, path)?.into()),
            format => Kind::without_content(format.into(), device(&raw)).ok_or_else(|| self.damaged(number, "its type is unknown"))?,
        };
        let is_directory = matches!(kind, Kind::Directory(_));
        let metadata = self.metadata(&raw)?;
        let id = tree.allocate(Inode { metadata, kind });
        if raw.may_be_accessed(self.epoch) {
            self.accessed.insert(id);
        }
        if is_directory {
            pending.push((path.to_vec(), raw, id));
        }
        Ok(id)
    }

    fn content(&mut self, raw: &RawInode, path: &[u8]) -> Result<Content, Ext4ReadError> {
        let size = raw.size();
        let disk = self.superblock.blocks * self.superblock.block_size;
        self.apparent = self.apparent.saturating_add(size);
        if size > disk || self.apparent > disk.saturating_mul(MAX_APPARENT_DISKS) {
            return Err(Ext4ReadError::File { path: Shown(path).to_string(), reason: "it is larger than the disk, holes included" });
        }
        let extents: Vec<Extent> = self.extents(raw)?.into_iter().filter_map(|extent| clip(extent, size)).collect();
        Ok(Content::Extents { file: self.file.clone(), extents: extents.into(), size })
    }

    fn symlink(&mut self, raw: &RawInode, path: &[u8]) -> Result<Vec<u8>, Ext4ReadError> {
        let size = raw.size();
        let invalid = |reason| Ext4ReadError::File { path: Shown(path).to_string(), reason };
        if size == 0 || size >= MAX_PATH as u64 {
            return Err(invalid("its target is empty or too long"));
        }
        let target = if size < FAST_LINK && raw.flags() & EXTENTS_FLAG == 0 {
            raw.map()[..size as usize].to_vec()
        } else {
            self.content(raw, path)?.read_all(MAX_PATH as u64)?
        };
        if target.contains(&0) { Err(invalid("its target contains a zero byte")) } else { Ok(target) }
    }
}

/// Returns the part of an extent that is within the file.
fn clip(extent: Extent, size: u64) -> Option<Extent> {
    let length = extent.length.min(size.checked_sub(extent.logical)?);
    (length > 0).then_some(Extent { length, ..extent })
}

/// Reads a device's major and minor number: the old form if it is there, else the new one.
fn device(raw: &RawInode) -> (u32, u32) {
    let (old, new) = (raw.u32(40), raw.u32(44));
    if old != 0 {
        return (old >> 8 & 0xff, old & 0xff);
    }
    (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
}
