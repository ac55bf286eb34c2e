//! What is where on the device: chunks, and the blocks and extents in them.

use uuid::Uuid;

use super::{
    DATA, DATA_CHUNK, FIRST_CHUNK, METADATA, NODE, Needs, SECTOR, SPARE_DATA, SYSTEM, SYSTEM_CHUNK,
    trees::{CHUNK_TREE, Fields, GENERATION, Item, Key},
};

/// Where copies of the superblock are that lie in chunks, and what is left free for them.
const COPIES: [u64; 2] = [64 << 20, 256 << 30];
const COPY_ROOM: u64 = 64 << 10;
/// The largest extent of a file.
const MAX_EXTENT: u64 = 128 << 20;
/// Chunks begin and end at multiples of this.
const STRIPE: u64 = 64 << 10;

/// Types of items.
const EXTENT_ITEM: u8 = 168;
const METADATA_ITEM: u8 = 169;
const TREE_BLOCK_REF: u8 = 176;
const EXTENT_DATA_REF: u8 = 178;
const BLOCK_GROUP_ITEM: u8 = 192;
const FREE_SPACE_INFO: u8 = 198;
const FREE_SPACE_EXTENT: u8 = 199;
const DEV_EXTENT: u8 = 204;
/// What chunks belong to.
pub(super) const CHUNK_OBJECT: u64 = 256;

/// A chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) kind: u64,
    /// The first byte that nothing is at.
    next: u64,
}

/// A piece of a file on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataExtent {
    pub(super) place: u64,
    pub(super) size: u64,
    /// The tree and the inode that it belongs to, and where in the file it is.
    pub(super) owner: (u64, u64, u64),
}

/// The device.
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) size: u64,
    pub(super) chunks: Vec<Chunk>,
    pub(super) extents: Vec<DataExtent>,
    /// Blocks of trees: place, level, tree.
    pub(super) blocks: Vec<(u64, u8, u64)>,
    data_left: u64,
}

impl Space {
    pub(super) fn new(size: u64, needs: &Needs) -> Self {
        let chunk = |start, size, kind| Chunk { start, size, kind, next: start };
        let system = chunk(FIRST_CHUNK, SYSTEM_CHUNK, SYSTEM);
        let metadata = chunk(FIRST_CHUNK + SYSTEM_CHUNK, needs.metadata, METADATA);
        let mut space = Self { size, chunks: vec![system, metadata], extents: Vec::new(), blocks: Vec::new(), data_left: needs.data };
        space.add_data_chunk();
        space
    }

    /// Adds a data chunk behind the others, if there is room for one.
    fn add_data_chunk(&mut self) -> bool {
        let start = self.chunks.last().map_or(FIRST_CHUNK, |chunk| chunk.start + chunk.size);
        let size = DATA_CHUNK.min(self.data_left + SPARE_DATA).min(self.size.saturating_sub(start)) / STRIPE * STRIPE;
        self.data_left = self.data_left.saturating_sub(size);
        if size > 0 {
            self.chunks.push(Chunk { start, size, kind: DATA, next: start });
        }
        size > 0
    }

    /// Takes the place of one block of the chunk tree.
    pub(super) fn take_system(&mut self) -> u64 {
        take(&mut self.chunks[0], NODE)
    }

    /// Takes the place of one block of another tree.
    pub(super) fn take_metadata(&mut self) -> u64 {
        take(&mut self.chunks[1], NODE)
    }

    /// Returns whether more blocks were taken than there is room for.
    pub(super) fn is_metadata_full(&self) -> bool {
        self.chunks[..2].iter().any(|chunk| chunk.next > chunk.start + chunk.size)
    }

    /// Takes room for a piece of a file, as much of `wanted` as there is in one piece; none when the device is full.
    pub(super) fn take_data(&mut self, wanted: u64, owner: (u64, u64, u64)) -> Option<DataExtent> {
        loop {
            let chunk = self.chunks.last_mut()?;
            skip_copy(&mut chunk.next, SECTOR);
            let before_copy = COPIES.iter().find(|copy| **copy > chunk.next).map_or(u64::MAX, |copy| copy - chunk.next);
            let room = (chunk.start + chunk.size).saturating_sub(chunk.next).min(before_copy);
            let size = wanted.min(room).min(MAX_EXTENT);
            if size > 0 {
                let extent = DataExtent { place: chunk.next, size, owner };
                chunk.next += size;
                self.extents.push(extent);
                return Some(extent);
            }
            if !self.add_data_chunk() {
                return None;
            }
        }
    }

    fn used(&self, chunk: &Chunk) -> u64 {
        let inside = |place: u64| place >= chunk.start && place < chunk.start + chunk.size;
        let data: u64 = self.extents.iter().filter(|extent| inside(extent.place)).map(|extent| extent.size).sum();
        data + self.blocks.iter().filter(|(place, ..)| inside(*place)).count() as u64 * NODE
    }

    /// Returns the bytes that are in use.
    pub(super) fn all_used(&self) -> u64 {
        self.chunks.iter().map(|chunk| self.used(chunk)).sum()
    }

    /// Returns the items of the device tree.
    pub(super) fn device_items(&self, chunk_tree: Uuid) -> Vec<Item> {
        let item = |chunk: &Chunk| {
            let fields = Fields::default().u64(CHUNK_TREE).u64(CHUNK_OBJECT).u64(chunk.start).u64(chunk.size);
            (Key(1, DEV_EXTENT, chunk.start), fields.bytes(chunk_tree.as_bytes()).0)
        };
        self.chunks.iter().map(item).collect()
    }

    /// Returns the items of the tree of extents.
    pub(super) fn extent_items(&self) -> Vec<Item> {
        let group = |chunk: &Chunk| {
            let fields = Fields::default().u64(self.used(chunk)).u64(CHUNK_OBJECT).u64(chunk.kind);
            (Key(chunk.start, BLOCK_GROUP_ITEM, chunk.size), fields.0)
        };
        let data = |extent: &DataExtent| {
            let (tree, inode, position) = extent.owner;
            let fields = Fields::default().u64(1).u64(GENERATION).u64(1);
            let fields = fields.u8(EXTENT_DATA_REF).u64(tree).u64(inode).u64(position).u32(1);
            (Key(extent.place, EXTENT_ITEM, extent.size), fields.0)
        };
        let block = |(place, level, owner): &(u64, u8, u64)| {
            let fields = Fields::default().u64(1).u64(GENERATION).u64(2).u8(TREE_BLOCK_REF).u64(*owner);
            (Key(*place, METADATA_ITEM, u64::from(*level)), fields.0)
        };
        let groups = self.chunks.iter().map(group);
        groups.chain(self.extents.iter().map(data)).chain(self.blocks.iter().map(block)).collect()
    }

    /// Returns the items of the tree of free space.
    pub(super) fn free_items(&self) -> Vec<Item> {
        let mut used: Vec<(u64, u64)> = self.extents.iter().map(|extent| (extent.place, extent.size)).collect();
        used.extend(self.blocks.iter().map(|(place, ..)| (*place, NODE)));
        used.sort_unstable();
        let mut items = Vec::new();
        for chunk in &self.chunks {
            let end = chunk.start + chunk.size;
            let inside = &used[used.partition_point(|(place, _)| *place < chunk.start)..used.partition_point(|(place, _)| *place < end)];
            let (mut next, mut count) = (chunk.start, 0);
            for (place, size) in inside.iter().copied().chain([(end, 0)]) {
                if place > next {
                    items.push((Key(next, FREE_SPACE_EXTENT, place - next), Vec::new()));
                    count += 1;
                }
                next = place + size;
            }
            items.push((Key(chunk.start, FREE_SPACE_INFO, chunk.size), Fields::default().u32(count).u32(0).0));
        }
        items
    }
}

/// Takes room from a chunk.
fn take(chunk: &mut Chunk, size: u64) -> u64 {
    skip_copy(&mut chunk.next, size);
    let place = chunk.next;
    chunk.next += size;
    place
}

/// Moves a place beyond a copy of the superblock that it would run into.
fn skip_copy(next: &mut u64, size: u64) {
    if let Some(copy) = COPIES.iter().find(|copy| *next < **copy + COPY_ROOM && *next + size > **copy) {
        *next = copy + COPY_ROOM;
    }
}
