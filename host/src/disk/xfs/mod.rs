//! Makes XFS filesystems from trees, natively.
//!
//! ```text
//! each of four groups   superblock · free space · inodes · free list │ roots of the trees │ … │ free to the end
//! first group           from block 8 on: inodes, 64 by 64, then directories and files one after the other
//! third group           the log first
//! ```
//!
//! Version 5 with checksums, types in directories and times beyond 2038: what every kernel since 5.10 and GRUB since 2.06 read.
//! Nothing is fragmented, so that free space is one piece at the end of each group and every file has its extents in its inode;
//! access control lists and other small extended attributes are in the inode, too. The log is that of a clean unmount.
//!
//! Nothing depends on the host: the same tree, identity and size give the same bytes. Structures and their names are those of
//! the kernel's `xfs_format.h` and `xfs_da_format.h`; numbers are big-endian, checksums little-endian.

mod attributes;
mod directory;
mod groups;
mod inodes;
#[cfg(test)]
mod tests;

use std::{fs::File, io};

use oic_config::units::ByteSize;
use uuid::Uuid;

use super::{crc32c, pieces::pieces};
use crate::rootfs::{
    path::Shown,
    tree::{Kind, RootTree},
};
use groups::Groups;

/// Size of a block, of a sector and of an inode, and how many inodes are made at once.
const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
const INODE: u64 = 512;
const INODES_PER_BLOCK: u64 = BLOCK / INODE;
const CHUNK_INODES: u64 = 64;
const CHUNK_BLOCKS: u64 = CHUNK_INODES / INODES_PER_BLOCK;
/// Groups of a filesystem, as many as `mkfs.xfs` makes.
const GROUPS: u64 = 4;
/// Inode numbers have 32 bits in directories up to this size.
const LARGEST: u64 = 4 << 40;
/// Room for a running system to write anything at all.
const SPARE: u64 = 16 << 20;
/// The longest label.
pub const MAX_LABEL: usize = 12;

/// What makes a filesystem the one it is.
#[derive(Debug, Clone)]
pub struct XfsOptions<'a> {
    /// UUID of the filesystem.
    pub uuid: Uuid,
    /// Label, at most 12 bytes; none: empty.
    pub label: Option<&'a str>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
}

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum XfsError {
    /// The content needs more room.
    #[error("the content does not fit into {size}: it needs at least {needed}")]
    TooSmall {
        /// The size that the filesystem was to have.
        size: ByteSize,
        /// The size that is enough.
        needed: ByteSize,
    },
    /// The filesystem is larger than what is made here.
    #[error("an XFS filesystem of {size} cannot be made: 4 TiB can")]
    TooLarge {
        /// The size that the filesystem was to have.
        size: ByteSize,
    },
    /// The label is too long.
    #[error("the filesystem label `{label}` is longer than 12 bytes")]
    Label {
        /// The label.
        label: String,
    },
    /// An entry of the tree cannot be in XFS.
    #[error("`{path}` cannot be on an XFS filesystem: {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The content of a file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write the XFS filesystem")]
    Write(#[from] io::Error),
}

/// Returns the size in bytes, in whole MiB, that is enough for a tree.
#[must_use]
pub fn minimal_size(tree: &RootTree) -> u64 {
    let (mut blocks, mut inodes) = (0, 4_u64);
    for entry in tree.walk().filter(|entry| entry.link_to.is_none()) {
        inodes += 1;
        blocks += match &entry.inode.kind {
            Kind::File(content) => pieces(content, BLOCK).iter().map(|(from, to)| (to - from) / BLOCK).sum(),
            // Entries with their hashes, and blocks that are not filled to the last byte.
            Kind::Directory(names) => names.keys().map(|name| name.len() as u64 + 40).sum::<u64>() * 9 / 8 / BLOCK + 3,
            _ => 0,
        };
    }
    blocks += inodes.div_ceil(CHUNK_INODES) * (CHUNK_BLOCKS + 1);
    let content = blocks * BLOCK + SPARE;
    // The log is part of what it depends on; groups have to be larger than it.
    let log = groups::log_blocks(content + (64 << 20)) * BLOCK;
    (content + log + GROUPS * 8 * BLOCK).max(GROUPS * (log + (1 << 20))).next_multiple_of(1 << 20)
}

/// A filesystem being made.
struct Writer<'a> {
    file: &'a File,
    /// Where the filesystem begins in the file.
    offset: u64,
    options: &'a XfsOptions<'a>,
}

impl Writer<'_> {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self.file, bytes, self.offset + at)
    }

    /// Writes a structure after its checksum has been filled in.
    fn write_summed(&self, mut bytes: Vec<u8>, sum_at: usize, at: u64) -> io::Result<()> {
        bytes[sum_at..sum_at + 4].fill(0);
        let sum = crc32c::of(&bytes);
        bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
        self.write(&bytes, at)
    }

    fn refuse(path: &[u8], reason: &'static str) -> XfsError {
        XfsError::Entry { path: Shown(path).to_string(), reason }
    }
}

/// Puts big-endian numbers into a structure.
trait Put {
    fn put(&mut self, at: usize, bytes: &[u8]);
    fn put16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_be_bytes());
    }
    fn put32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_be_bytes());
    }
    fn put64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_be_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Makes a filesystem of `size` bytes at `offset` in a file, which must read as zeros there.
///
/// # Errors
/// Fails when the tree does not fit or cannot be on an XFS filesystem.
pub fn make(tree: &RootTree, file: &File, offset: u64, size: u64, options: &XfsOptions<'_>) -> Result<(), XfsError> {
    let needed = minimal_size(tree);
    if size < needed {
        return Err(XfsError::TooSmall { size: ByteSize(size), needed: ByteSize(needed) });
    }
    if size > LARGEST {
        return Err(XfsError::TooLarge { size: ByteSize(size) });
    }
    if let Some(label) = options.label.filter(|label| label.len() > MAX_LABEL) {
        return Err(XfsError::Label { label: label.to_owned() });
    }
    let writer = Writer { file, offset, options };
    let mut groups = Groups::new(size / BLOCK);
    let has_attributes = inodes::write_all(&writer, &mut groups, tree)?;
    groups.write(&writer, has_attributes)?;
    Ok(())
}
