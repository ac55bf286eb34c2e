//! Allocation groups: who has which block, and what each group says of itself.

use super::{BLOCK, CHUNK_BLOCKS, CHUNK_INODES, GROUPS, INODE, INODES_PER_BLOCK, Put as _, SECTOR, Writer, XfsError};

/// What a group begins with: four sectors in block 0 and the roots of three trees.
const BY_START: u64 = 1;
const BY_SIZE: u64 = 2;
const BY_INODE: u64 = 3;
const FIRST_FREE: u64 = 4;
/// Where the first inodes are: what is before it is left to the first group's free list, as `mkfs.xfs` leaves it.
const FIRST_CHUNK: u64 = 8;
/// The group with the log.
const LOG_GROUP: usize = 2;
/// The most blocks of one extent.
const MAX_EXTENT: u64 = (1 << 21) - 1;
/// Room of a tree's block behind its header, in records of inodes and in pointers.
const TREE_HEADER: usize = 56;
const RECORDS: usize = (BLOCK as usize - TREE_HEADER) / 16;
const POINTERS: usize = (BLOCK as usize - TREE_HEADER) / 8;
/// What is no block, and no inode of a group.
const NONE: u32 = u32::MAX;

/// Version 5, more feature bits, directories of version 2, extent flags, log of version 2, aligned inodes, 32-bit link counts.
const VERSION: u16 = 0xb4a5;
/// There are extended attributes.
const VERSION_ATTRIBUTES: u16 = 0x10;
/// Lazy counters, attributes of version 2, 32-bit project identities, checksums.
const FEATURES2: u32 = 0x18a;
/// Types in directories, times beyond 2038.
const INCOMPATIBLE: u32 = 1 | 8;

/// Blocks of the log for a filesystem of that many bytes.
pub(super) fn log_blocks(size: u64) -> u64 {
    if size < 1 << 30 { 4096 } else { 16384 }
}

/// Returns how many blocks below the root list that many chunks.
fn leaves(chunks: usize) -> u64 {
    if chunks <= RECORDS { 0 } else { chunks.div_ceil(RECORDS) as u64 }
}

/// One piece of a file: first block of the filesystem, and number of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) group: u64,
    pub(super) start: u64,
    pub(super) blocks: u64,
}

/// One group.
#[derive(Debug, Clone)]
struct Group {
    blocks: u64,
    /// The first block that nothing is in.
    next: u64,
    /// First blocks of inode chunks.
    chunks: Vec<u64>,
    /// The first of the blocks that list the chunks where one is not enough.
    leaves: u64,
}

/// All groups.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    blocks: u64,
    group_blocks: u64,
    groups: Vec<Group>,
    /// The group that blocks are taken from.
    current: usize,
    log: u64,
    /// Inodes of the last chunk that nobody uses.
    free_inodes: u64,
}

impl Groups {
    pub(super) fn new(blocks: u64) -> Self {
        let group_blocks = blocks.div_ceil(GROUPS);
        let log = log_blocks(blocks * BLOCK);
        let group = |index: u64| {
            let next = match index as usize {
                0 => FIRST_CHUNK,
                LOG_GROUP => FIRST_FREE + log,
                _ => FIRST_FREE,
            };
            Group { blocks: group_blocks.min(blocks - index * group_blocks), next, chunks: Vec::new(), leaves: 0 }
        };
        let groups = (0..GROUPS).map(group).collect();
        Self { blocks, group_blocks, groups, current: 0, log, free_inodes: 0 }
    }

    /// Returns how many bits the number of a block in its group has.
    fn group_log(&self) -> u32 {
        u64::BITS - (self.group_blocks - 1).leading_zeros()
    }

    /// Returns the number that structures have for a block.
    pub(super) fn number(&self, run: Run) -> u64 {
        run.group << self.group_log() | run.start
    }

    /// Returns where a block is on the device.
    pub(super) fn place(&self, group: u64, block: u64) -> u64 {
        (group * self.group_blocks + block) * BLOCK
    }

    /// Takes blocks, as many of `wanted` as there are in one piece; none when the filesystem is full.
    pub(super) fn take(&mut self, wanted: u64) -> Option<Run> {
        loop {
            let group = self.groups.get_mut(self.current)?;
            let blocks = wanted.min(group.blocks - group.next).min(MAX_EXTENT);
            if blocks > 0 {
                let run = Run { group: self.current as u64, start: group.next, blocks };
                group.next += blocks;
                return Some(run);
            }
            self.current += 1;
        }
    }

    /// Takes room for inodes, and returns the numbers of as many as are asked for.
    pub(super) fn take_inodes(&mut self, count: u64) -> Option<Vec<u64>> {
        let mut numbers = Vec::new();
        for _ in 0..count.div_ceil(CHUNK_INODES) {
            // Chunks are taken first, when all that is taken is aligned already.
            let whole = |group: &Group| {
                let end = group.next.next_multiple_of(CHUNK_BLOCKS) + CHUNK_BLOCKS;
                end + leaves(group.chunks.len() + 1) <= group.blocks
            };
            let index = (self.current..self.groups.len()).find(|index| whole(&self.groups[*index]))?;
            self.current = index;
            let shift = self.group_log();
            let group = &mut self.groups[index];
            let start = group.next.next_multiple_of(CHUNK_BLOCKS);
            group.next = start + CHUNK_BLOCKS;
            group.chunks.push(start);
            let first = ((index as u64) << shift | start) * INODES_PER_BLOCK;
            numbers.extend(first..first + CHUNK_INODES);
        }
        for group in &mut self.groups {
            group.leaves = group.next;
            group.next += leaves(group.chunks.len());
        }
        self.free_inodes = numbers.len() as u64 - count;
        Some(numbers)
    }

    /// Returns where an inode is on the device.
    pub(super) fn inode_place(&self, number: u64) -> u64 {
        let shift = self.group_log();
        let block = number / INODES_PER_BLOCK;
        self.place(block >> shift, block & ((1 << shift) - 1)) + number % INODES_PER_BLOCK * INODE
    }

    /// Returns the pieces of a group that nothing is in, as first block and number of blocks.
    fn free(&self, index: usize) -> Vec<(u64, u64)> {
        let group = &self.groups[index];
        let mut free = Vec::new();
        if index == 0 {
            free.push((FIRST_FREE, FIRST_CHUNK - FIRST_FREE));
        } else if let (Some(first), false) = (group.chunks.first(), index == LOG_GROUP)
            && *first > FIRST_FREE
        {
            free.push((FIRST_FREE, first - FIRST_FREE));
        }
        if group.blocks > group.next {
            free.push((group.next, group.blocks - group.next));
        }
        free
    }

    /// Writes what each group says of itself, and the log.
    pub(super) fn write(self, writer: &Writer<'_>, has_attributes: bool) -> Result<(), XfsError> {
        let mut trees = Vec::new();
        for index in 0..self.groups.len() {
            trees.push(self.write_inode_tree(writer, index)?);
        }
        let free: Vec<Vec<(u64, u64)>> = (0..self.groups.len()).map(|index| self.free(index)).collect();
        let all_free = free.iter().flatten().map(|(_, blocks)| blocks).sum();
        for (index, level) in trees.into_iter().enumerate() {
            let group = index as u64;
            self.write_free_tree(writer, group, BY_START, *b"AB3B", &free[index])?;
            let mut by_size = free[index].clone();
            by_size.sort_unstable_by_key(|(start, blocks)| (*blocks, *start));
            self.write_free_tree(writer, group, BY_SIZE, *b"AB3C", &by_size)?;
            let place = self.place(group, 0);
            writer.write_summed(self.superblock(writer, all_free, has_attributes), 224, place)?;
            writer.write_summed(self.free_header(writer, index, &free[index]), 216, place + SECTOR)?;
            writer.write_summed(self.inode_header(writer, index, level), 312, place + 2 * SECTOR)?;
            let mut list = vec![0xff; SECTOR as usize];
            list.put(0, b"XAFL");
            list.put32(4, index as u32);
            list.put(8, writer.options.uuid.as_bytes());
            list[24..36].fill(0);
            writer.write_summed(list, 32, place + 3 * SECTOR)?;
        }
        Ok(self.write_log(writer)?)
    }

    fn superblock(&self, writer: &Writer<'_>, free: u64, has_attributes: bool) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        let root = FIRST_CHUNK * INODES_PER_BLOCK;
        let chunks: u64 = self.groups.iter().map(|group| group.chunks.len() as u64).sum();
        sector.put(0, b"XFSB");
        sector.put32(4, BLOCK as u32);
        sector.put64(8, self.blocks);
        sector.put(32, writer.options.uuid.as_bytes());
        sector.put64(48, (LOG_GROUP as u64) << self.group_log() | FIRST_FREE);
        for (at, number) in [(56, root), (64, root + 1), (72, root + 2)] {
            sector.put64(at, number);
        }
        for (at, value) in [(80, 1), (84, self.group_blocks as u32), (88, self.groups.len() as u32), (96, self.log as u32)] {
            sector.put32(at, value);
        }
        let attributes = if has_attributes { VERSION_ATTRIBUTES } else { 0 };
        for (at, value) in [(100, VERSION | attributes), (102, SECTOR as u16), (104, INODE as u16), (106, INODES_PER_BLOCK as u16)] {
            sector.put16(at, value);
        }
        sector.put(108, writer.options.label.unwrap_or_default().as_bytes());
        // Logarithms of block, sector and inode, of inodes in a block and blocks in a group; and how much inodes may take.
        sector.put(120, &[12, 9, 9, 3, self.group_log() as u8, 0, 0, 25]);
        for (at, value) in [(128, chunks * CHUNK_INODES), (136, self.free_inodes), (144, free)] {
            sector.put64(at, value);
        }
        // Inodes are aligned to four blocks, the log to nothing.
        for (at, value) in [(180, 4), (196, 1), (200, FEATURES2), (204, FEATURES2), (216, INCOMPATIBLE)] {
            sector.put32(at, value);
        }
        sector
    }

    fn free_header(&self, writer: &Writer<'_>, index: usize, free: &[(u64, u64)]) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        sector.put(0, b"XAGF");
        let total: u64 = free.iter().map(|(_, blocks)| blocks).sum();
        let longest = free.iter().map(|(_, blocks)| *blocks).max().unwrap_or(0);
        let numbers = [
            (4, 1),
            (8, index as u64),
            (12, self.groups[index].blocks),
            (16, BY_START),
            (20, BY_SIZE),
            (28, 1),
            (32, 1),
            // An empty free list: from 0 to its last entry, of which there are 119.
            (44, 118),
            (52, total),
            (56, longest),
        ];
        for (at, value) in numbers {
            sector.put32(at, value as u32);
        }
        sector.put(64, writer.options.uuid.as_bytes());
        sector
    }

    fn inode_header(&self, writer: &Writer<'_>, index: usize, level: u32) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        sector.put(0, b"XAGI");
        let chunks = &self.groups[index].chunks;
        let newest = chunks.last().map_or(NONE, |start| (start * INODES_PER_BLOCK) as u32);
        let free = if self.is_last_with_chunks(index) { self.free_inodes as u32 } else { 0 };
        let numbers = [
            (4, 1),
            (8, index as u32),
            (12, self.groups[index].blocks as u32),
            (16, (chunks.len() as u64 * CHUNK_INODES) as u32),
            (20, BY_INODE as u32),
            (24, level),
            (28, free),
            (32, newest),
            (36, NONE),
        ];
        for (at, value) in numbers {
            sector.put32(at, value);
        }
        sector[40..296].fill(0xff);
        sector.put(296, writer.options.uuid.as_bytes());
        sector
    }

    fn is_last_with_chunks(&self, index: usize) -> bool {
        !self.groups[index].chunks.is_empty() && self.groups[index + 1..].iter().all(|group| group.chunks.is_empty())
    }

    /// Returns the header of a tree's block.
    fn tree_block(&self, writer: &Writer<'_>, (group, block): (u64, u64), magic: [u8; 4], level: u16, records: usize) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK as usize];
        bytes.put(0, &magic);
        bytes.put16(4, level);
        bytes.put16(6, records as u16);
        bytes.put32(8, NONE);
        bytes.put32(12, NONE);
        bytes.put64(16, self.place(group, block) / SECTOR);
        bytes.put(32, writer.options.uuid.as_bytes());
        bytes.put32(48, group as u32);
        bytes
    }

    fn write_free_tree(&self, writer: &Writer<'_>, group: u64, block: u64, magic: [u8; 4], free: &[(u64, u64)]) -> Result<(), XfsError> {
        let mut bytes = self.tree_block(writer, (group, block), magic, 0, free.len());
        for (index, (start, blocks)) in free.iter().enumerate() {
            bytes.put32(TREE_HEADER + index * 8, *start as u32);
            bytes.put32(TREE_HEADER + index * 8 + 4, *blocks as u32);
        }
        Ok(writer.write_summed(bytes, 52, self.place(group, block))?)
    }

    /// Writes the tree of a group's inodes, and returns its number of levels.
    fn write_inode_tree(&self, writer: &Writer<'_>, index: usize) -> Result<u32, XfsError> {
        let group = index as u64;
        let chunks = self.groups[index].chunks.clone();
        let last_free = if self.is_last_with_chunks(index) { self.free_inodes } else { 0 };
        let leaf = |this: &Self, block: u64, from: usize, records: &[u64]| {
            let mut bytes = this.tree_block(writer, (group, block), *b"IAB3", 0, records.len());
            for (number, start) in records.iter().enumerate() {
                let free = if from + number + 1 == chunks.len() { last_free } else { 0 };
                let at = TREE_HEADER + number * 16;
                bytes.put32(at, (start * INODES_PER_BLOCK) as u32);
                bytes.put32(at + 4, free as u32);
                // The last ones of a chunk are the free ones.
                bytes.put64(at + 8, u64::MAX.checked_shl((CHUNK_INODES - free) as u32).unwrap_or(0));
            }
            bytes
        };
        if chunks.len() <= RECORDS {
            writer.write_summed(leaf(self, BY_INODE, 0, &chunks), 52, self.place(group, BY_INODE))?;
            return Ok(1);
        }
        let leaves = leaves(chunks.len()) as usize;
        // Blocks below the root are at least half full.
        let each = chunks.len().div_ceil(leaves);
        if leaves > POINTERS {
            return Err(Writer::refuse(b"/", "there are too many files"));
        }
        let first = self.groups[index].leaves;
        let mut root = self.tree_block(writer, (group, BY_INODE), *b"IAB3", 1, leaves);
        for (number, records) in chunks.chunks(each).enumerate() {
            let block = first + number as u64;
            let mut bytes = leaf(self, block, number * each, records);
            if number > 0 {
                bytes.put32(8, (block - 1) as u32);
            }
            if number + 1 < leaves {
                bytes.put32(12, (block + 1) as u32);
            }
            writer.write_summed(bytes, 52, self.place(group, block))?;
            root.put32(TREE_HEADER + number * 4, (records[0] * INODES_PER_BLOCK) as u32);
            root.put32(TREE_HEADER + POINTERS * 4 + number * 4, block as u32);
        }
        writer.write_summed(root, 52, self.place(group, BY_INODE))?;
        Ok(2)
    }

    /// Writes a log with the record of an unmount and nothing else.
    fn write_log(&self, writer: &Writer<'_>) -> std::io::Result<()> {
        const CYCLE: u32 = 1;
        let mut record = vec![0; 2 * SECTOR as usize];
        for (at, value) in [(0, 0xfeed_babe), (4, CYCLE), (8, 2), (12, SECTOR as u32), (16, CYCLE), (24, CYCLE)] {
            record.put32(at, value);
        }
        // No record before this one, one operation; the first word of the operation is replaced by the cycle and kept here.
        for (at, value) in [(36, NONE), (40, 1), (44, 0xb0c0_d0d0), (300, 1), (320, 32768)] {
            record.put32(at, value);
        }
        record.put(304, writer.options.uuid.as_bytes());
        let operation = SECTOR as usize;
        record.put32(operation, CYCLE);
        record.put32(operation + 4, 8);
        // The client is the log itself, and this is an unmount.
        record.put(operation + 8, &[0xaa, 0x20]);
        record.put(operation + 12, b"nU");
        writer.write(&record, self.place(LOG_GROUP as u64, FIRST_FREE))
    }
}
