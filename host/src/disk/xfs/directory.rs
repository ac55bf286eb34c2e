//! Directories: in the inode while they are short, else in blocks.
//!
//! ```text
//! block 0 …        entries: inode 8, length of the name 1, name, type 1, place of the entry 2, rounded to 8
//! one block        behind the entries in it: hash and place of each, sorted by hash
//! 32 GiB           leaf: hashes and places, and the room in each block of entries; or, when there are more than one leaf,
//!                  node: the largest hash of each leaf, with the leaves behind it
//! 64 GiB           room in each block of entries, when there are more than one leaf
//! ```

use uuid::Uuid;

use super::{BLOCK, Put as _, SECTOR};

/// Where blocks begin that are no entries.
const LEAVES: u64 = (32 << 30) / BLOCK;
const ROOMS: u64 = (64 << 30) / BLOCK;
/// Header of a block, whatever it holds; and what a hash with its place takes.
const HEADER: usize = 64;
const HASH: usize = 8;
const SIZE: usize = BLOCK as usize;
/// Hashes in one leaf of several, leaves below a node, and rooms in one block.
const HASHES: usize = (SIZE - HEADER) / HASH;
const ROOMS_PER_BLOCK: usize = (SIZE - HEADER) / 2;
/// The type of a directory in an entry.
const DIRECTORY: u8 = 2;
/// What is not an entry.
const UNUSED: u16 = 0xffff;

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) name: &'a [u8],
    pub(super) number: u64,
    pub(super) kind: u8,
}

/// Returns what an entry takes in a block.
fn entry_size(name: &[u8]) -> usize {
    (8 + 1 + name.len() + 1 + 2).next_multiple_of(8)
}

/// Returns what names are found by.
pub(super) fn hash(name: &[u8]) -> u32 {
    let mut hash = 0_u32;
    let mut words = name.chunks_exact(4);
    for word in &mut words {
        let [a, b, c, d] = [word[0], word[1], word[2], word[3]].map(u32::from);
        hash = (a << 21) ^ (b << 14) ^ (c << 7) ^ d ^ hash.rotate_left(28);
    }
    match *words.remainder() {
        [a, b, c] => (u32::from(a) << 14) ^ (u32::from(b) << 7) ^ u32::from(c) ^ hash.rotate_left(21),
        [a, b] => (u32::from(a) << 7) ^ u32::from(b) ^ hash.rotate_left(14),
        [a] => u32::from(a) ^ hash.rotate_left(7),
        _ => hash,
    }
}

/// Returns a directory as it is in an inode; none when it has more entries than fit there in any case.
pub(super) fn short_form(children: &[Child<'_>], parent: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![u8::try_from(children.len()).ok()?, 0];
    bytes.extend(u32::try_from(parent).ok()?.to_be_bytes());
    // Where each entry would be in a block, behind the two that are not here.
    let mut place = HEADER + entry_size(b".") + entry_size(b"..");
    for child in children {
        bytes.push(child.name.len() as u8);
        bytes.extend((place as u16).to_be_bytes());
        bytes.extend(child.name);
        bytes.push(child.kind);
        bytes.extend(u32::try_from(child.number).ok()?.to_be_bytes());
        place += entry_size(child.name);
        // Longer ones never fit into an inode.
        if place > SIZE {
            return None;
        }
    }
    Some(bytes)
}

/// The blocks of a directory by their place in it.
#[derive(Debug)]
pub(super) struct Blocks {
    data: Vec<Vec<u8>>,
    leaves: Vec<Vec<u8>>,
    rooms: Vec<Vec<u8>>,
}

/// What a block is, which decides its header.
#[derive(Debug, Clone, Copy)]
enum Sort {
    /// Entries and the like: the checksum is at 4.
    Data,
    /// Hashes: the checksum is at 12.
    Leaf,
}

/// Returns a directory in blocks.
pub(super) fn blocks(children: &[Child<'_>], own: u64, parent: u64) -> Blocks {
    let dots = [Child { name: b".", number: own, kind: DIRECTORY }, Child { name: b"..", number: parent, kind: DIRECTORY }];
    let all: Vec<Child<'_>> = dots.into_iter().chain(children.iter().copied()).collect();
    let size: usize = all.iter().map(|child| entry_size(child.name) + HASH).sum();
    if HEADER + size + HASH <= SIZE {
        return Blocks { data: vec![single(&all)], leaves: Vec::new(), rooms: Vec::new() };
    }
    let mut data: Vec<Vec<u8>> = Vec::new();
    let mut hashes: Vec<(u32, u32)> = Vec::new();
    let mut at = SIZE;
    let mut ends = Vec::new();
    for child in &all {
        if at + entry_size(child.name) > SIZE {
            ends.extend((!data.is_empty()).then_some(at));
            data.push(vec![0; SIZE]);
            at = HEADER;
        }
        let place = (data.len() - 1) * SIZE + at;
        hashes.push((hash(child.name), (place / 8) as u32));
        if let Some(block) = data.last_mut() {
            put_entry(block, at, child);
        }
        at += entry_size(child.name);
    }
    ends.push(at);
    for (block, end) in data.iter_mut().zip(&ends) {
        block.put(0, b"XDD3");
        put_unused(block, *end, SIZE);
    }
    hashes.sort_unstable();
    let rooms: Vec<u16> = ends.iter().map(|end| (SIZE - end) as u16).collect();
    if HEADER + hashes.len() * HASH + rooms.len() * 2 + 4 <= SIZE {
        return Blocks { data, leaves: vec![leaf_of_one(&hashes, &rooms)], rooms: Vec::new() };
    }
    let (leaves, rooms) = (leaves_of_many(&hashes), room_blocks(&rooms));
    Blocks { data, leaves, rooms }
}

/// Writes an entry.
fn put_entry(block: &mut Vec<u8>, at: usize, child: &Child<'_>) {
    block.put64(at, child.number);
    block[at + 8] = child.name.len() as u8;
    block.put(at + 9, child.name);
    block[at + 9 + child.name.len()] = child.kind;
    block.put16(at + entry_size(child.name) - 2, at as u16);
}

/// Marks what is between two places as no entry, and as the largest room of the block.
fn put_unused(block: &mut Vec<u8>, from: usize, to: usize) {
    if to > from {
        block.put16(from, UNUSED);
        block.put16(from + 2, (to - from) as u16);
        block.put16(to - 2, from as u16);
        block.put16(48, from as u16);
        block.put16(50, (to - from) as u16);
    }
}

/// Returns a directory of one block.
fn single(all: &[Child<'_>]) -> Vec<u8> {
    let mut block = vec![0; SIZE];
    block.put(0, b"XDB3");
    let mut at = HEADER;
    let mut hashes = Vec::new();
    for child in all {
        put_entry(&mut block, at, child);
        hashes.push((hash(child.name), (at / 8) as u32));
        at += entry_size(child.name);
    }
    hashes.sort_unstable();
    let table = SIZE - HASH - hashes.len() * HASH;
    put_unused(&mut block, at, table);
    put_hashes(&mut block, table, &hashes);
    block.put32(SIZE - 8, hashes.len() as u32);
    block
}

fn put_hashes(block: &mut Vec<u8>, at: usize, hashes: &[(u32, u32)]) {
    for (index, (hash, place)) in hashes.iter().enumerate() {
        block.put32(at + index * HASH, *hash);
        block.put32(at + index * HASH + 4, *place);
    }
}

/// Returns the only leaf of a directory, with the room in each block of entries.
fn leaf_of_one(hashes: &[(u32, u32)], rooms: &[u16]) -> Vec<u8> {
    let mut block = vec![0; SIZE];
    block.put16(8, 0x3df1);
    block.put16(56, hashes.len() as u16);
    put_hashes(&mut block, HEADER, hashes);
    let table = SIZE - 4 - rooms.len() * 2;
    for (index, room) in rooms.iter().enumerate() {
        block.put16(table + index * 2, *room);
    }
    block.put32(SIZE - 4, rooms.len() as u32);
    block
}

/// Returns a node and the leaves below it. The node is the first of them.
fn leaves_of_many(hashes: &[(u32, u32)]) -> Vec<Vec<u8>> {
    let parts: Vec<_> = hashes.chunks(HASHES).collect();
    let mut node = vec![0; SIZE];
    node.put16(8, 0x3ebe);
    node.put16(56, parts.len() as u16);
    node.put16(58, 1);
    let mut blocks = vec![node];
    for (index, part) in parts.iter().enumerate() {
        let number = LEAVES as u32 + 1 + index as u32;
        let last = part.last().map_or(0, |(hash, _)| *hash);
        blocks[0].put32(HEADER + index * HASH, last);
        blocks[0].put32(HEADER + index * HASH + 4, number);
        let mut leaf = vec![0; SIZE];
        leaf.put16(8, 0x3dff);
        leaf.put16(56, part.len() as u16);
        leaf.put32(0, if index + 1 < parts.len() { number + 1 } else { 0 });
        leaf.put32(4, if index > 0 { number - 1 } else { 0 });
        put_hashes(&mut leaf, HEADER, part);
        blocks.push(leaf);
    }
    blocks
}

/// Returns the blocks with the room in each block of entries.
fn room_blocks(rooms: &[u16]) -> Vec<Vec<u8>> {
    let block = |(index, part): (usize, &[u16])| {
        let mut block = vec![0; SIZE];
        block.put(0, b"XDF3");
        for (at, value) in [(48, index * ROOMS_PER_BLOCK), (52, part.len()), (56, part.len())] {
            block.put32(at, value as u32);
        }
        for (number, room) in part.iter().enumerate() {
            block.put16(HEADER + number * 2, *room);
        }
        block
    };
    rooms.chunks(ROOMS_PER_BLOCK).enumerate().map(block).collect()
}

impl Blocks {
    /// Returns the places of the blocks in the directory: first one and number.
    pub(super) fn ranges(&self) -> Vec<(u64, u64)> {
        let parts = [(0, self.data.len()), (LEAVES, self.leaves.len()), (ROOMS, self.rooms.len())];
        parts.into_iter().filter(|(_, count)| *count > 0).map(|(first, count)| (first, count as u64)).collect()
    }

    /// Returns how many blocks of entries there are.
    pub(super) fn data_blocks(&self) -> u64 {
        self.data.len() as u64
    }

    /// Returns a block with its header for a place on the device, and where its checksum goes.
    pub(super) fn finished(&self, position: u64, place: u64, owner: u64, uuid: Uuid) -> (Vec<u8>, usize) {
        let (block, sort) = match position {
            0..LEAVES => (&self.data[position as usize], Sort::Data),
            LEAVES..ROOMS => (&self.leaves[(position - LEAVES) as usize], Sort::Leaf),
            _ => (&self.rooms[(position - ROOMS) as usize], Sort::Data),
        };
        let mut block = block.clone();
        let (sum_at, header) = match sort {
            Sort::Data => (4, 8),
            Sort::Leaf => (12, 16),
        };
        block.put64(header, place / SECTOR);
        block.put(header + 16, uuid.as_bytes());
        block.put64(header + 32, owner);
        (block, sum_at)
    }
}
