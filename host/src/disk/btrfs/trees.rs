//! Packs items into the blocks of a tree.
//!
//! ```text
//! block  header 101: checksum 32, filesystem 16, place 8, flags 8, chunk tree 16, generation 8, owner 8, items 4, level 1
//! leaf   items (key 17, offset 4, size 4)… → room ← data of the items, the first one's at the end
//! node   (first key below 17, place 8, generation 8)…
//! ```

use std::io;

use super::{NODE, Writer};
use crate::disk::crc32c;

/// Identities of trees.
pub(super) const ROOT_TREE: u64 = 1;
pub(super) const EXTENT_TREE: u64 = 2;
pub(super) const CHUNK_TREE: u64 = 3;
pub(super) const DEV_TREE: u64 = 4;
pub(super) const FS_TREE: u64 = 5;
pub(super) const CSUM_TREE: u64 = 7;
pub(super) const FREE_SPACE_TREE: u64 = 10;
pub(super) const DATA_RELOC_TREE: u64 = -9_i64 as u64;
/// The first identity of a subvolume, and the first inode of a tree of files.
pub(super) const FIRST_FREE: u64 = 256;

/// The only generation that there is.
pub(super) const GENERATION: u64 = 1;

const HEADER: usize = 101;
const ITEM: usize = 25;
const POINTER: usize = 33;
/// Room for items and their data in a leaf.
pub(super) const LEAF_ROOM: usize = NODE as usize - HEADER;
/// Blocks that one node leads to.
const FAN_OUT: usize = LEAF_ROOM / POINTER;
/// The block is written, and its references are of the newer kind.
const HEADER_FLAGS: u64 = 1 | 1 << 56;

/// The key of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64, pub(super) u8, pub(super) u64);

impl Key {
    pub(super) fn bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8] = self.1;
        bytes[9..].copy_from_slice(&self.2.to_le_bytes());
        bytes
    }
}

/// An item.
pub(super) type Item = (Key, Vec<u8>);

/// Bytes of a structure, field after field.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<u8>);

impl Fields {
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a time without a fraction of a second.
    pub(super) fn time(self, seconds: i64) -> Self {
        self.u64(seconds.cast_unsigned()).u32(0)
    }
}

/// A tree, its items packed into leaves.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) owner: u64,
    leaves: Vec<Vec<Item>>,
}

/// Returns the level of each block of a tree with that many leaves, in the order in which blocks are placed.
pub(super) fn shape(leaves: usize) -> Vec<u8> {
    let mut levels = vec![0; leaves];
    let (mut level, mut blocks) = (0, leaves);
    while blocks > 1 {
        level += 1;
        blocks = blocks.div_ceil(FAN_OUT);
        levels.extend(std::iter::repeat_n(level, blocks));
    }
    levels
}

impl Packed {
    /// Packs items; they are sorted here.
    pub(super) fn new(owner: u64, mut items: Vec<Item>) -> Self {
        items.sort_by_key(|(key, _)| *key);
        let mut leaves = vec![Vec::new()];
        let mut used = 0;
        for item in items {
            let size = ITEM + item.1.len();
            if used + size > LEAF_ROOM {
                leaves.push(Vec::new());
                used = 0;
            }
            used += size;
            if let Some(leaf) = leaves.last_mut() {
                leaf.push(item);
            }
        }
        Self { owner, leaves }
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Returns the level of each block, in the order of their places.
    pub(super) fn levels(&self) -> Vec<u8> {
        shape(self.leaves.len())
    }

    /// Writes the blocks to their places, and returns place and level of the root.
    pub(super) fn emit(&self, writer: &Writer<'_>, places: &[u64]) -> io::Result<(u64, u8)> {
        let mut below: Vec<(Key, u64)> = Vec::new();
        let mut places = places.iter().copied();
        for leaf in &self.leaves {
            let place = places.next().unwrap_or(0);
            let mut block = vec![0; NODE as usize];
            let mut end = LEAF_ROOM;
            for (index, (key, data)) in leaf.iter().enumerate() {
                end -= data.len();
                block[HEADER + end..][..data.len()].copy_from_slice(data);
                let item = &mut block[HEADER + index * ITEM..][..ITEM];
                item[..17].copy_from_slice(&key.bytes());
                item[17..21].copy_from_slice(&(end as u32).to_le_bytes());
                item[21..].copy_from_slice(&(data.len() as u32).to_le_bytes());
            }
            self.finish(writer, block, place, leaf.len(), 0)?;
            below.push((leaf.first().map_or(Key(0, 0, 0), |(key, _)| *key), place));
        }
        let mut level = 0;
        while below.len() > 1 {
            level += 1;
            let mut nodes = Vec::new();
            for pointers in below.chunks(FAN_OUT) {
                let place = places.next().unwrap_or(0);
                let mut block = vec![0; NODE as usize];
                for (index, (key, below)) in pointers.iter().enumerate() {
                    let pointer = &mut block[HEADER + index * POINTER..][..POINTER];
                    pointer[..17].copy_from_slice(&key.bytes());
                    pointer[17..25].copy_from_slice(&below.to_le_bytes());
                    pointer[25..].copy_from_slice(&GENERATION.to_le_bytes());
                }
                self.finish(writer, block, place, pointers.len(), level)?;
                nodes.push((pointers[0].0, place));
            }
            below = nodes;
        }
        Ok((below.first().map_or(0, |(_, place)| *place), level))
    }

    /// Fills in the header of a block and writes it.
    fn finish(&self, writer: &Writer<'_>, mut block: Vec<u8>, place: u64, items: usize, level: u8) -> io::Result<()> {
        let header = Fields::default()
            .bytes(writer.options.uuid.as_bytes())
            .u64(place)
            .u64(HEADER_FLAGS)
            .bytes(writer.derive("chunk tree").as_bytes())
            .u64(GENERATION)
            .u64(self.owner)
            .u32(items as u32)
            .u8(level);
        block[32..HEADER].copy_from_slice(&header.0);
        let sum = crc32c::of(&block[32..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
        writer.write(&block, place)
    }
}
