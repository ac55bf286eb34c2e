//! VirtualBox disk images, version 1.1, dynamically allocated.
//!
//! ```text
//! header, 512 bytes | block map, 4 bytes for each block | data from the next MiB on, in blocks of 1 MiB
//! ```
//!
//! All numbers are little-endian. An entry of the map is the number of a block in the data.

use std::{fs::File, io, os::unix::fs::FileExt};

use crate::{
    DiskReader, MAX_DISK, OpenError, SECTOR, SparseFile, Stamp,
    open::{Head, damaged, unsupported},
    table::{Block, BlockTable, TableReader},
    writer::{self, Fields},
};

const BLOCK: u64 = 1 << 20;
const SIGNATURE: u32 = 0xbeda_107f;
const TEXT: &[u8] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";
/// Entries from here on stand for blocks without data.
const UNUSED: u32 = 0xffff_fffe;
/// Blocks that are read are not larger.
const MAX_BLOCK: u64 = 64 << 20;

/// Writes a disk.
pub(crate) fn write(disk: &dyn DiskReader, stamp: &Stamp, output: &File) -> io::Result<()> {
    let size = disk.size().next_multiple_of(SECTOR);
    let blocks = size.div_ceil(BLOCK);
    let used = writer::used_blocks(disk, BLOCK)?;
    let data = (SECTOR + blocks * 4).next_multiple_of(BLOCK);
    let mut header = Fields::new(SECTOR as usize);
    header.put(0, TEXT);
    let cylinders = (size / SECTOR / (16 * 63)).clamp(1, 16383) as u32;
    let numbers = [
        (64, SIGNATURE),
        (68, 0x1_0001),
        (72, 400),
        (76, 1),
        (340, SECTOR as u32),
        (344, data as u32),
        (348, cylinders),
        (352, 16),
        (356, 63),
        (360, SECTOR as u32),
        (376, BLOCK as u32),
        (384, blocks as u32),
        (388, used.len() as u32),
    ];
    for (at, number) in numbers {
        header.put(at, &number.to_le_bytes());
    }
    header.put(368, &size.to_le_bytes());
    header.put(392, &stamp.derive("vdi image").to_bytes_le());
    header.put(408, &stamp.derive("vdi snapshot").to_bytes_le());
    let mut map = vec![0xff; blocks as usize * 4];
    for (position, block) in (0_u32..).zip(&used) {
        let at = *block as usize * 4;
        map[at..at + 4].copy_from_slice(&position.to_le_bytes());
    }
    output.set_len(data + used.len() as u64 * BLOCK)?;
    output.write_all_at(&header.0, 0)?;
    output.write_all_at(&map, SECTOR)?;
    writer::copy_blocks(disk, BLOCK, &used, output, |position| data + position * BLOCK)
}

/// Returns whether a file begins like one.
pub(crate) fn is_one(head: &Head) -> bool {
    head.u32_le(64) == SIGNATURE
}

/// Opens one.
pub(crate) fn open(file: SparseFile, head: &Head) -> Result<TableReader<Map>, OpenError> {
    if head.u32_le(68) >> 16 != 1 {
        return Err(unsupported("its version is not 1.x"));
    }
    if !matches!(head.u32_le(76), 1 | 2) {
        return Err(unsupported("it is a difference to another file"));
    }
    let (size, block) = (head.u64_le(368), u64::from(head.u32_le(376)));
    let (extra, blocks) = (head.u32_le(380), u64::from(head.u32_le(384)));
    if extra != 0 || !block.is_power_of_two() || !(SECTOR..=MAX_BLOCK).contains(&block) {
        return Err(unsupported("its blocks have an unusual size"));
    }
    if size > MAX_DISK || blocks.checked_mul(block).is_none_or(|total| total < size) {
        return Err(damaged("the block map is smaller than the disk"));
    }
    let (map, data) = (u64::from(head.u32_le(340)), u64::from(head.u32_le(344)));
    let bytes = file.read_table(map, size.div_ceil(block) * 4)?;
    let entries = bytes.chunks_exact(4).map(|entry| u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]])).collect();
    Ok(TableReader::new(file, size, block, Map { entries, data, block }))
}

/// The block map.
#[derive(Debug)]
pub(crate) struct Map {
    entries: Vec<u32>,
    data: u64,
    block: u64,
}

impl BlockTable for Map {
    fn block(&self, _: &SparseFile, index: u64) -> io::Result<Block> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index)).copied().unwrap_or(UNUSED);
        Ok(if entry >= UNUSED { Block::Hole } else { Block::At(self.data + u64::from(entry) * self.block) })
    }
}
