//! Virtual PC disks: fixed (all bytes, then a footer) and dynamic (blocks that a table finds).
//!
//! ```text
//! fixed    disk | footer
//! dynamic  footer | header, 1024 bytes | table, 4 bytes for each block | blocks, each a bitmap and 2 MiB | footer
//! ```
//!
//! All numbers are big-endian; the table's entries are sectors. Bitmaps of written blocks have all bits set. Disks are whole
//! numbers of MiB, because Azure takes no others.

use std::{fs::File, io, os::unix::fs::FileExt};

use crate::{
    DiskReader, MAX_DISK, OpenError, SECTOR, SparseFile, Stamp,
    open::{Head, damaged, unsupported},
    table::{Block, BlockTable, TableReader},
    writer::{self, Fields},
};

const BLOCK: u64 = 2 << 20;
/// Sectors that a block's bitmap fills.
const BITMAP: u64 = BLOCK / SECTOR / 8;
/// What disks are rounded to.
const ALIGNMENT: u64 = 1 << 20;
/// The table of a dynamic disk begins here.
const TABLE: u64 = 1536;
/// The first second of 2000, from which the format counts.
const YEAR_2000: u64 = 946_684_800;
const COOKIE: &[u8] = b"conectix";
const HEADER_COOKIE: &[u8] = b"cxsparse";
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
/// An entry of a block without data.
const UNUSED: u32 = u32::MAX;
/// Blocks that are read are not larger.
const MAX_BLOCK: u64 = 64 << 20;

/// Writes a disk with all its bytes.
pub(crate) fn write_fixed(disk: &dyn DiskReader, stamp: &Stamp, output: &File) -> io::Result<()> {
    let size = disk.size().next_multiple_of(ALIGNMENT);
    writer::copy(disk, output, size + SECTOR)?;
    output.write_all_at(&footer(size, FIXED, stamp), size)
}

/// Writes a disk without its empty blocks.
pub(crate) fn write_dynamic(disk: &dyn DiskReader, stamp: &Stamp, output: &File) -> io::Result<()> {
    let size = disk.size().next_multiple_of(ALIGNMENT);
    let blocks = size.div_ceil(BLOCK);
    let used = writer::used_blocks(disk, BLOCK)?;
    let data = (TABLE + blocks * 4).next_multiple_of(SECTOR);
    let place = |position: u64| data + position * (BITMAP + BLOCK);
    let mut table = vec![0xff; (data - TABLE) as usize];
    for (position, block) in (0..).zip(&used) {
        let at = *block as usize * 4;
        table[at..at + 4].copy_from_slice(&((place(position) / SECTOR) as u32).to_be_bytes());
    }
    let end = place(used.len() as u64);
    let footer = footer(size, DYNAMIC, stamp);
    output.set_len(end + SECTOR)?;
    output.write_all_at(&footer, 0)?;
    output.write_all_at(&header(blocks), SECTOR)?;
    output.write_all_at(&table, TABLE)?;
    for position in 0..used.len() as u64 {
        output.write_all_at(&[0xff; BITMAP as usize], place(position))?;
    }
    writer::copy_blocks(disk, BLOCK, &used, output, |position| place(position) + BITMAP)?;
    output.write_all_at(&footer, end)
}

fn footer(size: u64, kind: u32, stamp: &Stamp) -> Vec<u8> {
    let mut footer = Fields::new(SECTOR as usize);
    footer.put(0, COOKIE);
    footer.put(8, &2_u32.to_be_bytes());
    footer.put(12, &0x1_0000_u32.to_be_bytes());
    footer.put(16, &(if kind == FIXED { u64::MAX } else { SECTOR }).to_be_bytes());
    footer.put(24, &(stamp.time.saturating_sub(YEAR_2000).min(u64::from(u32::MAX)) as u32).to_be_bytes());
    // The creator: readers take the exact size, not that of the geometry, only from makers that they know.
    footer.put(28, b"win ");
    footer.put(32, &0xa_0000_u32.to_be_bytes());
    footer.put(36, b"Wi2k");
    footer.put(40, &size.to_be_bytes());
    footer.put(48, &size.to_be_bytes());
    let (cylinders, heads, sectors) = geometry(size / SECTOR);
    footer.put(56, &cylinders.to_be_bytes());
    footer.put(58, &[heads, sectors]);
    footer.put(60, &kind.to_be_bytes());
    footer.put(68, stamp.derive("vhd").as_bytes());
    let checksum = checksum(&footer.0, 64);
    footer.put(64, &checksum.to_be_bytes());
    footer.0
}

fn header(blocks: u64) -> Vec<u8> {
    let mut header = Fields::new(1024);
    header.put(0, HEADER_COOKIE);
    header.put(8, &u64::MAX.to_be_bytes());
    header.put(16, &TABLE.to_be_bytes());
    header.put(24, &0x1_0000_u32.to_be_bytes());
    header.put(28, &(blocks as u32).to_be_bytes());
    header.put(32, &(BLOCK as u32).to_be_bytes());
    let checksum = checksum(&header.0, 36);
    header.put(36, &checksum.to_be_bytes());
    header.0
}

/// Returns the complement of the sum of all bytes but those of the checksum itself.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let outside = |index: &usize| !(at..at + 4).contains(index);
    !(0..bytes.len()).filter(outside).fold(0_u32, |sum, index| sum.wrapping_add(u32::from(bytes[index])))
}

/// Returns cylinders, heads and sectors per track as the specification's appendix computes them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let sectors = sectors.min(65535 * 16 * 255);
    if sectors >= 65535 * 16 * 63 {
        return ((sectors / 255 / 16) as u16, 16, 255);
    }
    let mut per_track = 17;
    let mut tracks = sectors / per_track;
    let mut heads = tracks.div_ceil(1024).max(4);
    if tracks >= heads * 1024 || heads > 16 {
        (per_track, heads) = (31, 16);
        tracks = sectors / per_track;
    }
    if tracks >= heads * 1024 {
        (per_track, heads) = (63, 16);
        tracks = sectors / per_track;
    }
    ((tracks / heads) as u16, heads as u8, per_track as u8)
}

/// Returns whether a file is one: a dynamic one begins like it, a fixed one ends like it.
pub(crate) fn is_one(head: &Head, tail: &Head) -> bool {
    head.starts_with(COOKIE) || tail.starts_with(COOKIE)
}

/// Opens one.
pub(crate) fn open(file: SparseFile, head: &Head, tail: &Head) -> Result<Box<dyn DiskReader>, OpenError> {
    // The footer is the master; its copy in front is for those whose end is lost.
    let footer = if tail.starts_with(COOKIE) { tail } else { head };
    let footer_bytes = footer.bytes(0, SECTOR as usize);
    if checksum(&footer_bytes, 64) != footer.u32_be(64) {
        return Err(damaged("the checksum of its footer is wrong"));
    }
    let size = footer.u64_be(48);
    if size > MAX_DISK {
        return Err(damaged("its disk is larger than any that is read"));
    }
    match footer.u32_be(60) {
        FIXED if size.checked_add(SECTOR).is_some_and(|end| end <= file.size()) => Ok(Box::new(file.first(size))),
        FIXED => Err(damaged("the file is shorter than its disk")),
        DYNAMIC => Ok(Box::new(open_dynamic(file, footer.u64_be(16), size)?)),
        _ => Err(unsupported("it is a difference to another file")),
    }
}

fn open_dynamic(file: SparseFile, at: u64, size: u64) -> Result<TableReader<Map>, OpenError> {
    let header = Head::new(file.read_table(at, 1024)?);
    if !header.starts_with(HEADER_COOKIE) || checksum(&header.bytes(0, 1024), 36) != header.u32_be(36) {
        return Err(damaged("its header is not one, or the checksum is wrong"));
    }
    let (table, entries, block) = (header.u64_be(16), u64::from(header.u32_be(28)), u64::from(header.u32_be(32)));
    if !block.is_power_of_two() || !(SECTOR * 8..=MAX_BLOCK).contains(&block) {
        return Err(unsupported("its blocks have an unusual size"));
    }
    let needed = size.div_ceil(block);
    if entries < needed {
        return Err(damaged("its block table is smaller than the disk"));
    }
    let bytes = file.read_table(table, needed * 4)?;
    let entries = bytes.chunks_exact(4).map(|entry| u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]])).collect();
    let bitmap = (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
    Ok(TableReader::new(file, size, block, Map { entries, bitmap }))
}

/// The block table.
#[derive(Debug)]
struct Map {
    entries: Vec<u32>,
    bitmap: u64,
}

impl BlockTable for Map {
    // The bitmaps are not looked at: sectors that were never written are zeros in the block, as in every maker's files.
    fn block(&self, _: &SparseFile, index: u64) -> io::Result<Block> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index)).copied().unwrap_or(UNUSED);
        Ok(if entry == UNUSED { Block::Hole } else { Block::At(u64::from(entry) * SECTOR + self.bitmap) })
    }
}
