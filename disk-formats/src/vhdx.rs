//! Hyper-V disks, version 2 of the format ([MS-VHDX]), without a log to replay.
//!
//! ```text
//! 0        file identifier
//! 64 KiB   header, twice
//! 192 KiB  region table, twice
//! 1 MiB    log, empty
//! 2 MiB    metadata: block size, disk size, sector sizes, identity
//! 3 MiB    block table, 8 bytes for each block, and one more after each chunk for sector bitmaps
//! then     data, in blocks of 1 MiB
//! ```
//!
//! All numbers are little-endian; headers and region tables are protected by CRC-32C.

use std::{fs::File, io, os::unix::fs::FileExt};

use uuid::{Uuid, uuid};

use crate::{
    DiskReader, MAX_DISK, OpenError, SECTOR, SparseFile, Stamp,
    crc32c::crc32c,
    open::{Head, damaged, unsupported},
    table::{Block, BlockTable, TableReader},
    writer::{self, Fields},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const BLOCK: u64 = MIB;
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const HEADER: usize = 4096;
const REGIONS: [u64; 2] = [192 * KIB, 256 * KIB];
const TABLE: usize = 64 << 10;
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const BLOCKS: u64 = 3 * MIB;
/// Sectors that one sector bitmap covers.
const CHUNK_SECTORS: u64 = 1 << 23;
/// States of a block that have no data: never written, undefined, zeros, given back.
const EMPTY: [u64; 4] = [0, 1, 2, 3];
const PRESENT: u64 = 6;
/// Blocks that are read are not larger; the format's own limit.
const MAX_BLOCK: u64 = 256 << 20;

const BAT_REGION: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA_REGION: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
/// Metadata flags: it describes the disk, and readers must know it.
const OF_DISK: u32 = 2;
const REQUIRED: u32 = 4;

/// Writes a disk.
pub(crate) fn write(disk: &dyn DiskReader, stamp: &Stamp, output: &File) -> io::Result<()> {
    let size = disk.size().next_multiple_of(SECTOR);
    let blocks = size.div_ceil(BLOCK);
    let used = writer::used_blocks(disk, BLOCK)?;
    let ratio = CHUNK_SECTORS * SECTOR / BLOCK;
    let entries = blocks + blocks.saturating_sub(1) / ratio;
    let table_size = (entries * 8).next_multiple_of(MIB).max(MIB);
    let data = BLOCKS + table_size;
    let mut table = vec![0; (entries * 8) as usize];
    for (position, block) in (0..).zip(&used) {
        let at = ((block + block / ratio) * 8) as usize;
        table[at..at + 8].copy_from_slice(&((data + position * BLOCK) | PRESENT).to_le_bytes());
    }
    output.set_len(data + used.len() as u64 * BLOCK)?;
    let mut identifier = Fields::new(8 + 512);
    identifier.put(0, b"vhdxfile");
    for (index, unit) in "oic".encode_utf16().enumerate() {
        identifier.put(8 + index * 2, &unit.to_le_bytes());
    }
    output.write_all_at(&identifier.0, 0)?;
    for (sequence, at) in (1..).zip(HEADERS) {
        output.write_all_at(&header(sequence, stamp), at)?;
    }
    let regions = region_table(table_size);
    for at in REGIONS {
        output.write_all_at(&regions, at)?;
    }
    output.write_all_at(&metadata(size, stamp), METADATA)?;
    output.write_all_at(&table, BLOCKS)?;
    writer::copy_blocks(disk, BLOCK, &used, output, |position| data + position * BLOCK)
}

fn header(sequence: u64, stamp: &Stamp) -> Vec<u8> {
    let mut header = Fields::new(HEADER);
    header.put(0, b"head");
    header.put(8, &sequence.to_le_bytes());
    header.put(16, &stamp.derive("vhdx file").to_bytes_le());
    header.put(32, &stamp.derive("vhdx data").to_bytes_le());
    header.put(66, &1_u16.to_le_bytes());
    header.put(68, &(MIB as u32).to_le_bytes());
    header.put(72, &LOG.to_le_bytes());
    sealed(header)
}

fn region_table(table_size: u64) -> Vec<u8> {
    let mut table = Fields::new(TABLE);
    table.put(0, b"regi");
    table.put(8, &2_u32.to_le_bytes());
    for (at, id, offset, length) in [(16, BAT_REGION, BLOCKS, table_size), (48, METADATA_REGION, METADATA, MIB)] {
        table.put(at, &id.to_bytes_le());
        table.put(at + 16, &offset.to_le_bytes());
        table.put(at + 24, &(length as u32).to_le_bytes());
        table.put(at + 28, &1_u32.to_le_bytes());
    }
    sealed(table)
}

/// Puts the checksum into a structure.
fn sealed(mut fields: Fields) -> Vec<u8> {
    let checksum = crc32c(&fields.0);
    fields.put(4, &checksum.to_le_bytes());
    fields.0
}

fn metadata(size: u64, stamp: &Stamp) -> Vec<u8> {
    let items: [(Uuid, Vec<u8>, u32); 5] = [
        (FILE_PARAMETERS, [(BLOCK as u32).to_le_bytes(), [0; 4]].concat(), REQUIRED),
        (DISK_SIZE, size.to_le_bytes().to_vec(), REQUIRED | OF_DISK),
        (DISK_ID, stamp.derive("vhdx disk").to_bytes_le().to_vec(), REQUIRED | OF_DISK),
        (LOGICAL_SECTOR, (SECTOR as u32).to_le_bytes().to_vec(), REQUIRED | OF_DISK),
        (PHYSICAL_SECTOR, 4096_u32.to_le_bytes().to_vec(), REQUIRED | OF_DISK),
    ];
    let mut fields = Fields::new(TABLE + 512);
    fields.put(0, b"metadata");
    fields.put(10, &(items.len() as u16).to_le_bytes());
    for (index, (id, value, flags)) in items.iter().enumerate() {
        let (entry, place) = (32 + index * 32, TABLE + index * 16);
        fields.put(entry, &id.to_bytes_le());
        fields.put(entry + 16, &(place as u32).to_le_bytes());
        fields.put(entry + 20, &(value.len() as u32).to_le_bytes());
        fields.put(entry + 24, &flags.to_le_bytes());
        fields.put(place, value);
    }
    fields.0
}

/// Returns whether a file begins like one.
pub(crate) fn is_one(head: &Head) -> bool {
    head.starts_with(b"vhdxfile")
}

/// Opens one.
pub(crate) fn open(file: SparseFile) -> Result<TableReader<Map>, OpenError> {
    let header = newest_header(&file)?;
    if header.bytes(48, 16).iter().any(|byte| *byte != 0) {
        return Err(unsupported("changes are waiting in its log: `qemu-img check -r all` replays them"));
    }
    let (blocks, metadata) = regions(&file)?;
    let parameters = Parameters::read(&file, metadata)?;
    let ratio = (CHUNK_SECTORS * parameters.sector / parameters.block).max(1);
    let needed = parameters.size.div_ceil(parameters.block);
    let entries = needed + needed.saturating_sub(1) / ratio;
    if blocks.1 < entries * 8 {
        return Err(damaged("its block table is smaller than the disk"));
    }
    let bytes = file.read_table(blocks.0, entries * 8)?;
    let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry)).collect();
    Ok(TableReader::new(file, parameters.size, parameters.block, Map { entries, ratio }))
}

/// Returns the valid header with the higher number.
fn newest_header(file: &SparseFile) -> Result<Head, OpenError> {
    let mut newest: Option<Head> = None;
    for at in HEADERS {
        let header = Head::new(file.read_table(at, HEADER as u64)?);
        if header.starts_with(b"head")
            && is_sealed(&header, HEADER)
            && newest.as_ref().is_none_or(|known| known.u64_le(8) < header.u64_le(8))
        {
            newest = Some(header);
        }
    }
    newest.ok_or_else(|| damaged("neither of its headers is valid"))
}

fn is_sealed(structure: &Head, size: usize) -> bool {
    let mut bytes = structure.bytes(0, size);
    bytes[4..8].fill(0);
    crc32c(&bytes) == structure.u32_le(4)
}

/// Returns offsets and lengths of the block table and of the metadata.
fn regions(file: &SparseFile) -> Result<((u64, u64), u64), OpenError> {
    for at in REGIONS {
        let table = Head::new(file.read_table(at, TABLE as u64)?);
        if !table.starts_with(b"regi") || !is_sealed(&table, TABLE) {
            continue;
        }
        let (mut blocks, mut metadata) = (None, None);
        for entry in (0..table.u32_le(8).min(2047) as usize).map(|index| 16 + index * 32) {
            let id = table.guid(entry);
            let place = (table.u64_le(entry + 16), u64::from(table.u32_le(entry + 24)));
            if id == BAT_REGION {
                blocks = Some(place);
            } else if id == METADATA_REGION {
                metadata = Some(place.0);
            } else if table.u32_le(entry + 28) & 1 == 1 {
                return Err(unsupported("it has a region that is not known and must be"));
            }
        }
        return blocks.zip(metadata).ok_or_else(|| damaged("it has no block table or no metadata"));
    }
    Err(damaged("neither of its region tables is valid"))
}

/// What the metadata says.
struct Parameters {
    block: u64,
    size: u64,
    sector: u64,
}

impl Parameters {
    fn read(file: &SparseFile, at: u64) -> Result<Self, OpenError> {
        let table = Head::new(file.read_table(at, TABLE as u64)?);
        if !table.starts_with(b"metadata") {
            return Err(damaged("its metadata is none"));
        }
        let (mut block, mut size, mut sector) = (None, None, None);
        for entry in (0..usize::from(table.u16_le(10)).min(2047)).map(|index| 32 + index * 32) {
            let place = at.saturating_add(u64::from(table.u32_le(entry + 16)));
            match table.guid(entry) {
                FILE_PARAMETERS => {
                    let value = Head::new(file.read_table(place, 8)?);
                    if value.u32_le(4) & 2 != 0 {
                        return Err(unsupported("it is a difference to another file"));
                    }
                    block = Some(u64::from(value.u32_le(0)));
                }
                DISK_SIZE => size = Some(Head::new(file.read_table(place, 8)?).u64_le(0)),
                LOGICAL_SECTOR => sector = Some(u64::from(Head::new(file.read_table(place, 4)?).u32_le(0))),
                DISK_ID | PHYSICAL_SECTOR => {}
                _ if table.u32_le(entry + 24) & REQUIRED != 0 => {
                    return Err(unsupported("it has metadata that is not known and must be"));
                }
                _ => {}
            }
        }
        let (Some(block), Some(size), Some(sector)) = (block, size, sector) else {
            return Err(damaged("its metadata lacks a size"));
        };
        if !block.is_power_of_two() || !(MIB..=MAX_BLOCK).contains(&block) || !matches!(sector, 512 | 4096) {
            return Err(damaged("its block or sector size is none"));
        }
        if size > MAX_DISK {
            return Err(damaged("its disk is larger than any that is read"));
        }
        Ok(Self { block, size, sector })
    }
}

/// The block table.
#[derive(Debug)]
pub(crate) struct Map {
    entries: Vec<u64>,
    ratio: u64,
}

impl BlockTable for Map {
    fn block(&self, _: &SparseFile, index: u64) -> io::Result<Block> {
        let entry = usize::try_from(index + index / self.ratio).ok().and_then(|index| self.entries.get(index)).copied().unwrap_or(0);
        match entry & 7 {
            state if EMPTY.contains(&state) => Ok(Block::Hole),
            PRESENT => Ok(Block::At(entry >> 20 << 20)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a block of the image has an unknown state")),
        }
    }
}
