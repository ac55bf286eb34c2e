//! Extent trees: where the blocks of a file are.

use crate::rootfs::content::Extent;

use super::{EXTENTS_FLAG, Ext4ReadError, RawInode, Reader};

/// First two bytes of every node.
const MAGIC: u16 = 0xf30a;
/// The deepest tree that a kernel makes.
const MAX_DEPTH: u16 = 5;
/// Extents that are longer are this much shorter, and allocated but not written.
const UNWRITTEN: u16 = 32768;

impl Reader {
    /// Returns the extents of an inode in bytes, ascending; what is not written is left out.
    pub(super) fn extents(&mut self, raw: &RawInode) -> Result<Vec<Extent>, Ext4ReadError> {
        if raw.flags() & EXTENTS_FLAG == 0 {
            // Files without blocks may have either kind of map.
            let is_empty = raw.size() == 0 || raw.map().iter().all(|byte| *byte == 0);
            return if is_empty { Ok(Vec::new()) } else { Err(self.damaged(raw.number, "it has a block map without extents")) };
        }
        let mut walk = Walk { inode: raw.number, next_logical: 0, extents: Vec::new() };
        let depth = u16_at(raw.map(), 6);
        if depth > MAX_DEPTH {
            return Err(self.damaged(raw.number, "its extent tree is too deep"));
        }
        self.node(&mut walk, raw.map(), depth)?;
        Ok(walk.extents)
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
