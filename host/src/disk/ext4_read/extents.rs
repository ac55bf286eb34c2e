//! Where the blocks of a file are: extent trees, and the block maps of ext2 and ext3.
//!
//! A block map has the numbers of the first twelve blocks, then those of three blocks that hold numbers themselves: of blocks, of blocks
//! of numbers, and once more. 0 is a hole.

use crate::rootfs::content::Extent;

use super::{EXTENTS_FLAG, Ext4ReadError, RawInode, Reader};

/// First two bytes of every node.
const MAGIC: u16 = 0xf30a;
/// The deepest tree that a kernel makes.
const MAX_DEPTH: u16 = 5;
/// Extents that are longer are this much shorter, and allocated but not written.
const UNWRITTEN: u16 = 32768;
/// How many blocks a block map names itself.
const DIRECT: u32 = 12;

impl Reader {
    /// Returns the extents of an inode in bytes, ascending; what is not written is left out.
    pub(super) fn extents(&mut self, raw: &RawInode) -> Result<Vec<Extent>, Ext4ReadError> {
        if raw.flags() & EXTENTS_FLAG == 0 {
            // Files without blocks may have either kind of map.
            let is_empty = raw.size() == 0 || raw.map().iter().all(|byte| *byte == 0);
            return if is_empty { Ok(Vec::new()) } else { self.block_map(raw) };
        }
        let mut walk = Walk { inode: raw.number, next_logical: 0, extents: Vec::new() };
        let depth = u16_at(raw.map(), 6);
        if depth > MAX_DEPTH {
            return Err(self.damaged(raw.number, "its extent tree is too deep"));
        }
        self.node(&mut walk, raw.map(), depth)?;
        Ok(walk.extents)
    }

    fn block_map(&mut self, raw: &RawInode) -> Result<Vec<Extent>, Ext4ReadError> {
        let mut walk = Walk { inode: raw.number, next_logical: 0, extents: Vec::new() };
        for (index, entry) in (0_u32..).zip(raw.map().chunks_exact(4)) {
            self.mapped(&mut walk, u64::from(u32_at(entry, 0)), (index + 1).saturating_sub(DIRECT))?;
        }
        Ok(walk.extents)
    }

    /// Adds a block, or with a level above 0 the blocks below it.
    fn mapped(&mut self, walk: &mut Walk, block: u64, level: u32) -> Result<(), Ext4ReadError> {
        let size = self.superblock.block_size;
        if block == 0 {
            walk.next_logical += (size / 4).pow(level);
            return Ok(());
        }
        self.visit(walk.inode, 1)?;
        if level > 0 {
            let numbers = self.block(walk.inode, block)?;
            return numbers.chunks_exact(4).try_for_each(|entry| self.mapped(walk, u64::from(u32_at(entry, 0)), level - 1));
        }
        if block <= self.superblock.first_block || block >= self.superblock.blocks {
            return Err(self.damaged(walk.inode, "a block number is out of range"));
        }
        walk.add(Extent { logical: walk.next_logical * size, source: block * size, length: size });
        walk.next_logical += 1;
        Ok(())
    }

    fn node(&mut self, walk: &mut Walk, node: &[u8], depth: u16) -> Result<(), Ext4ReadError> {
        let count = usize::from(u16_at(node, 2));
        if u16_at(node, 0) != MAGIC || u16_at(node, 6) != depth || 12 + count * 12 > node.len() {
            return Err(self.damaged(walk.inode, "a node of its extent tree is malformed"));
        }
        for entry in node[12..12 + count * 12].chunks_exact(12) {
            if depth > 0 {
                let child = u64::from(u32_at(entry, 4)) | u64::from(u16_at(entry, 8)) << 32;
                self.visit(walk.inode, 1)?;
                let child = self.block(walk.inode, child)?;
                self.node(walk, &child, depth - 1)?;
                continue;
            }
            let (length, is_written) = match u16_at(entry, 4) {
                length @ 0..=UNWRITTEN => (u64::from(length), true),
                length => (u64::from(length - UNWRITTEN), false),
            };
            let logical = u64::from(u32_at(entry, 0));
            let start = u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32;
            let is_in_range =
                start > self.superblock.first_block && start.checked_add(length).is_some_and(|end| end <= self.superblock.blocks);
            if length == 0 || logical < walk.next_logical || !is_in_range {
                return Err(self.damaged(walk.inode, "an extent is out of range or out of order"));
            }
            self.visit(walk.inode, length)?;
            walk.next_logical = logical + length;
            if is_written {
                let size = self.superblock.block_size;
                walk.add(Extent { logical: logical * size, source: start * size, length: length * size });
            }
        }
        Ok(())
    }
}

struct Walk {
    inode: u32,
    /// First block that the next extent may start at.
    next_logical: u64,
    extents: Vec<Extent>,
}

impl Walk {
    /// Adds an extent, to the one before where both are one piece.
    fn add(&mut self, extent: Extent) {
        match self.extents.last_mut() {
            Some(last) if last.logical + last.length == extent.logical && last.source + last.length == extent.source => {
                last.length += extent.length;
            }
            _ => self.extents.push(extent),
        }
    }
}

/// Reads two bytes. The callers know that they are there.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
