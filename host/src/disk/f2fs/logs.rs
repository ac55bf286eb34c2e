//! Segments of the main area, which logs they belong to, and the tables that find everything.

use std::io;

use super::{BLOCK, Geometry, LOGS, MAGIC, NAT_ENTRIES, Put as _, ROOT, SEGMENT, SIT_ENTRIES, Writer};

/// The version of the checkpoint that counts; the other one is older.
const VERSION: u64 = 1;
/// The filesystem was unmounted.
const UNMOUNTED: u32 = 1;
/// Where in a checkpoint its checksum and the bitmaps are.
const SUM: usize = 4092;
/// Blocks of a checkpoint: itself, the summaries of the logs, itself again.
const PACK: u64 = LOGS + 2;
/// Size of a summary's entry, and where its footer is.
const ENTRY: usize = 7;
const FOOTER: usize = 4091;
/// A block address that says that a number is taken by something that is nowhere.
const RESERVED: u32 = 1;

/// What is written one after the other, in the order of the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// Entries of directories.
    Entries = 0,
    /// Contents of files.
    Data = 1,
    /// Contents of files that hardly change; nothing here.
    Cold = 2,
    /// Inodes of directories and what they refer to.
    DirectoryNodes = 3,
    /// Inodes of everything else and what they refer to.
    Nodes = 4,
    /// Nodes that refer to nodes.
    IndirectNodes = 5,
}

const ALL: [Log; LOGS as usize] = [Log::Entries, Log::Data, Log::Cold, Log::DirectoryNodes, Log::Nodes, Log::IndirectNodes];

impl Log {
    fn is_of_nodes(self) -> bool {
        self as u32 >= Self::DirectoryNodes as u32
    }
}

/// Who refers to a block: a node, and the place in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) node: u32,
    pub(super) place: u16,
}

/// A segment in use.
#[derive(Debug)]
struct Used {
    log: Log,
    owners: Vec<Owner>,
}

/// The main area while it is filled.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) geometry: Geometry,
    /// From the first on, without gaps.
    segments: Vec<Used>,
    /// The segment that each log is in.
    current: [Option<usize>; LOGS as usize],
    /// Of each node the inode that it belongs to and its block; none yet: 0.
    nodes: Vec<(u32, u32)>,
    inodes: u32,
}

impl Logs {
    /// Returns an empty area; the numbers of all inodes are taken.
    pub(super) fn new(geometry: Geometry, inodes: u32) -> Self {
        let mut nodes = vec![(0, 0), (1, RESERVED), (2, RESERVED)];
        nodes.resize((ROOT + inodes) as usize, (0, 0));
        Self { geometry, segments: Vec::new(), current: [None; LOGS as usize], nodes, inodes }
    }

    /// Takes a number for a node that is no inode.
    pub(super) fn number(&mut self) -> u32 {
        self.nodes.push((0, 0));
        self.nodes.len() as u32 - 1
    }

    /// Returns the segment that a log goes on in; none: there is no room.
    fn open(&mut self, log: Log) -> Option<usize> {
        let open = self.current[log as usize].filter(|segment| self.segments[*segment].owners.len() < SEGMENT as usize);
        let segment = open.unwrap_or(self.segments.len());
        if segment == self.segments.len() {
            if segment as u64 >= self.geometry.main {
                return None;
            }
            self.segments.push(Used { log, owners: Vec::new() });
            self.current[log as usize] = Some(segment);
        }
        Some(segment)
    }

    /// Takes up to `owners.len()` blocks that follow each other, and returns the first one and how many; none: there is no room.
    pub(super) fn take(&mut self, log: Log, owners: &[Owner]) -> Option<(u64, usize)> {
        let segment = self.open(log)?;
        let used = &mut self.segments[segment].owners;
        let count = owners.len().min(SEGMENT as usize - used.len());
        let first = self.geometry.main() + segment as u64 * SEGMENT + used.len() as u64;
        used.extend(&owners[..count]);
        Some((first, count))
    }

    /// Writes a node of an inode with its footer; `offset` is its place among the nodes of the inode. False: there is no room.
    pub(super) fn write_node(
        &mut self,
        writer: &Writer<'_>,
        log: Log,
        (inode, number, offset): (u32, u32, u32),
        mut bytes: Vec<u8>,
    ) -> io::Result<bool> {
        let Some((block, _)) = self.take(log, &[Owner { node: number, place: 0 }]) else { return Ok(false) };
        // Nodes of directories are apart from the others, which this bit tells.
        let cold = u32::from(log != Log::DirectoryNodes);
        let footer = &mut bytes[4072..];
        footer.put32(0, number);
        footer.put32(4, inode);
        footer.put32(8, offset << 3 | cold);
        footer.put64(12, VERSION);
        footer.put32(20, block as u32 + 1);
        self.nodes[number as usize] = (inode, block as u32);
        writer.write(&bytes, block)?;
        Ok(true)
    }

    /// Writes the tables and the checkpoints.
    pub(super) fn write_tables(&mut self, writer: &Writer<'_>) -> io::Result<()> {
        for log in ALL {
            // A log stands before the block that it writes next.
            if self.open(log).is_none() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.write_nat(writer)?;
        self.write_sit(writer)?;
        let summaries: Vec<Vec<u8>> = self.segments.iter().map(summary).collect();
        for (segment, summary) in summaries.iter().enumerate() {
            writer.write(summary, self.geometry.ssa() + segment as u64)?;
        }
        for (pack, version) in [(0, VERSION), (1, VERSION - 1)] {
            let at = self.geometry.checkpoint() + pack * SEGMENT;
            let checkpoint = self.checkpoint(version);
            writer.write(&checkpoint, at)?;
            for (log, segment) in (1..).zip(self.current.iter().flatten()) {
                writer.write(&summaries[*segment], at + log)?;
            }
            writer.write(&checkpoint, at + PACK - 1)?;
        }
        Ok(())
    }

    /// Writes the table of nodes. Its two copies take turns by segments; the first one counts.
    fn write_nat(&self, writer: &Writer<'_>) -> io::Result<()> {
        for (index, nodes) in self.nodes.chunks(NAT_ENTRIES as usize).enumerate() {
            let mut block = vec![0; BLOCK as usize];
            for (place, (inode, address)) in nodes.iter().enumerate() {
                block.put32(place * 9 + 1, *inode);
                block.put32(place * 9 + 5, *address);
            }
            let index = index as u64;
            writer.write(&block, self.geometry.nat() + index / SEGMENT * 2 * SEGMENT + index % SEGMENT)?;
        }
        Ok(())
    }

    /// Writes the table of segments, the first of its two copies.
    fn write_sit(&self, writer: &Writer<'_>) -> io::Result<()> {
        for (index, segments) in self.segments.chunks(SIT_ENTRIES as usize).enumerate() {
            let mut block = vec![0; BLOCK as usize];
            for (place, used) in segments.iter().enumerate() {
                let (at, count) = (place * 74, used.owners.len());
                block.put16(at, (used.log as u16) << 10 | count as u16);
                for number in 0..count {
                    block[at + 2 + number / 8] |= 0x80 >> (number % 8);
                }
            }
            writer.write(&block, self.geometry.sit() + index as u64)?;
        }
        Ok(())
    }

    /// Returns the block of a checkpoint.
    fn checkpoint(&self, version: u64) -> Vec<u8> {
        let geometry = &self.geometry;
        let valid: usize = self.segments.iter().map(|used| used.owners.len()).sum();
        let nodes: usize = self.segments.iter().filter(|used| used.log.is_of_nodes()).map(|used| used.owners.len()).sum();
        let mut block = vec![0; BLOCK as usize];
        block.put64(0, version);
        block.put64(8, geometry.user_blocks());
        block.put64(16, valid as u64);
        block.put32(24, geometry.reserved as u32);
        block.put32(28, geometry.overprovision as u32);
        block.put32(32, (geometry.main - self.segments.len() as u64) as u32);
        for (index, segment) in self.current.iter().enumerate() {
            let segment = segment.unwrap_or_default();
            let (numbers, offsets, index) = if index < 3 { (84, 116, index) } else { (36, 68, index - 3) };
            block.put32(numbers + index * 4, segment as u32);
            block.put16(offsets + index * 2, self.segments[segment].owners.len() as u16);
        }
        // There are eight places for each kind of log, and the others are nowhere.
        for index in 3..8 {
            block.put32(36 + index * 4, u32::MAX);
            block.put32(84 + index * 4, u32::MAX);
        }
        block.put32(132, UNMOUNTED);
        block.put32(136, PACK as u32);
        block.put32(140, 1);
        block.put32(144, nodes as u32);
        block.put32(148, self.inodes);
        block.put32(152, self.nodes.len() as u32);
        block.put32(156, (geometry.sit_segments * SEGMENT / 8) as u32);
        block.put32(160, (geometry.nat_segments * SEGMENT / 8) as u32);
        block.put32(164, SUM as u32);
        let sum = checksum(&block[..SUM]);
        block.put32(SUM, sum);
        block
    }
}

/// Returns the summary of a segment: who refers to each of its blocks.
fn summary(used: &Used) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    for (index, owner) in used.owners.iter().enumerate() {
        block.put32(index * ENTRY, owner.node);
        block.put16(index * ENTRY + 5, owner.place);
    }
    block[FOOTER] = u8::from(used.log.is_of_nodes());
    block
}

/// Returns a checksum: CRC-32 that begins with the magic number, without inversion at either end.
fn checksum(bytes: &[u8]) -> u32 {
    static CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = CRC.digest_with_initial(MAGIC.reverse_bits());
    digest.update(bytes);
    !digest.finalize()
}
