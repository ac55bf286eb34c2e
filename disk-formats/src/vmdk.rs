//! VMware disks in one file: `monolithicSparse`, and `streamOptimized` with compressed grains.
//!
//! ```text
//! sparse  header | descriptor | directory and tables, twice | grains of 64 KiB
//! stream  header | descriptor | (marker and compressed grain)… (marker and table)… | marker and directory | marker and footer | end
//! ```
//!
//! All numbers are little-endian; places are sectors. Each table finds 512 grains, the directory finds the tables. The
//! header of a stream says that the directory is at its end, where the footer repeats the header with its place.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::unix::fs::FileExt,
};

use rayon::prelude::*;

use crate::{
    DiskReader, MAX_DISK, OpenError, SECTOR, SparseFile, Stamp,
    open::{Head, damaged, unsupported},
    table::{Block, BlockTable, TableCache, TableReader},
    writer::{self, Fields},
};

const GRAIN: u64 = 64 << 10;
/// Grains that one table finds.
const ENTRIES: u64 = 512;
const TABLE_SECTORS: u64 = ENTRIES * 4 / SECTOR;
/// Sectors for the descriptor.
const DESCRIPTOR: u64 = 20;
const MAGIC: &[u8] = b"KDMV";
/// Flags of the header: the line ends are there to be checked, there are two directories, grains are compressed, markers are there.
const LINE_ENDS: u32 = 1;
const TWO_DIRECTORIES: u32 = 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// The directory is where the footer says.
const AT_END: u64 = u64::MAX;
/// Kinds of markers.
const END_MARKER: u32 = 0;
const TABLE_MARKER: u32 = 1;
const DIRECTORY_MARKER: u32 = 2;
const FOOTER_MARKER: u32 = 3;
/// Grains that one round compresses.
const ROUND: usize = 256;
/// Grains that are read are not larger.
const MAX_GRAIN: u64 = 16 << 20;
/// A grain that does not get smaller takes this much more, with its marker.
const PACKED_OVERHEAD: u64 = 1024;

/// Where the parts of a sparse file are, in sectors.
struct Plan {
    tables: u64,
    directory_sectors: u64,
    data: u64,
}

impl Plan {
    fn new(sectors: u64) -> Self {
        let tables = sectors.div_ceil(ENTRIES * GRAIN / SECTOR);
        let directory_sectors = (tables * 4).div_ceil(SECTOR);
        let metadata = 1 + DESCRIPTOR + 2 * (directory_sectors + tables * TABLE_SECTORS);
        Self { tables, directory_sectors, data: metadata.next_multiple_of(GRAIN / SECTOR) }
    }

    /// Returns where the first or the second directory is; its tables follow it.
    fn directory(&self, copy: u64) -> u64 {
        1 + DESCRIPTOR + copy * (self.directory_sectors + self.tables * TABLE_SECTORS)
    }

    fn table(&self, copy: u64, number: u64) -> u64 {
        self.directory(copy) + self.directory_sectors + number * TABLE_SECTORS
    }
}

/// Writes a sparse file.
pub(crate) fn write_sparse(disk: &dyn DiskReader, stamp: &Stamp, output: &File) -> io::Result<()> {
    let sectors = disk.size().div_ceil(SECTOR);
    let plan = Plan::new(sectors);
    let used = writer::used_blocks(disk, GRAIN)?;
    let place = |position: u64| plan.data + position * (GRAIN / SECTOR);
    let mut entries = vec![0; (plan.tables * ENTRIES * 4) as usize];
    for (position, grain) in (0..).zip(&used) {
        let at = *grain as usize * 4;
        entries[at..at + 4].copy_from_slice(&sector_number(place(position))?);
    }
    output.set_len(place(used.len() as u64) * SECTOR)?;
    let places = (plan.directory(0), plan.directory(1));
    output.write_all_at(&header(1, LINE_ENDS | TWO_DIRECTORIES, sectors, places, plan.data), 0)?;
    output.write_all_at(&descriptor(sectors, "monolithicSparse", stamp)?, SECTOR)?;
    for copy in [0, 1] {
        let directory = (0..plan.tables).map(|number| sector_number(plan.table(copy, number))).collect::<io::Result<Vec<_>>>()?;
        output.write_all_at(&directory.concat(), plan.directory(copy) * SECTOR)?;
        output.write_all_at(&entries, plan.table(copy, 0) * SECTOR)?;
    }
    writer::copy_blocks(disk, GRAIN, &used, output, |position| place(position) * SECTOR)
}

/// Writes a stream.
pub(crate) fn write_stream(disk: &dyn DiskReader, stamp: &Stamp, output: impl Write) -> io::Result<()> {
    const FLAGS: u32 = LINE_ENDS | COMPRESSED | MARKERS;
    let sectors = disk.size().div_ceil(SECTOR);
    let overhead = GRAIN / SECTOR;
    let mut stream = Stream { output: BufWriter::new(output), sector: 0 };
    stream.put(&header(3, FLAGS, sectors, (0, AT_END), overhead))?;
    stream.put(&descriptor(sectors, "streamOptimized", stamp)?)?;
    stream.put(&vec![0; ((overhead - stream.sector) * SECTOR) as usize])?;
    let tables = sectors.div_ceil(ENTRIES * GRAIN / SECTOR);
    let mut directory = vec![0_u8; (tables * 4) as usize];
    let used = writer::used_blocks(disk, GRAIN)?;
    for group in used.chunk_by(|first, second| first / ENTRIES == second / ENTRIES) {
        let mut table = vec![0; (ENTRIES * 4) as usize];
        for round in group.chunks(ROUND) {
            let packed: Vec<Vec<u8>> = round.par_iter().map(|grain| packed_grain(disk, *grain)).collect::<io::Result<_>>()?;
            for (grain, bytes) in round.iter().zip(packed) {
                let at = (grain % ENTRIES * 4) as usize;
                table[at..at + 4].copy_from_slice(&sector_number(stream.sector)?);
                stream.put(&bytes)?;
            }
        }
        stream.marker(TABLE_SECTORS, TABLE_MARKER)?;
        let at = (group[0] / ENTRIES * 4) as usize;
        directory[at..at + 4].copy_from_slice(&sector_number(stream.sector)?);
        stream.put(&table)?;
    }
    directory.resize(directory.len().next_multiple_of(SECTOR as usize), 0);
    stream.marker(directory.len() as u64 / SECTOR, DIRECTORY_MARKER)?;
    let place = stream.sector;
    stream.put(&directory)?;
    stream.marker(1, FOOTER_MARKER)?;
    stream.put(&header(3, FLAGS, sectors, (0, place), overhead))?;
    stream.marker(0, END_MARKER)?;
    stream.output.flush()
}

/// A stream being written, always at the start of a sector.
struct Stream<W: Write> {
    output: BufWriter<W>,
    sector: u64,
}

impl<W: Write> Stream<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sector += bytes.len() as u64 / SECTOR;
        self.output.write_all(bytes)
    }

    /// Writes what announces `sectors` of metadata.
    fn marker(&mut self, sectors: u64, kind: u32) -> io::Result<()> {
        let mut marker = Fields::new(SECTOR as usize);
        marker.put(0, &sectors.to_le_bytes());
        marker.put(12, &kind.to_le_bytes());
        self.put(&marker.0)
    }
}

/// Returns a grain compressed, behind its marker, in whole sectors.
fn packed_grain(disk: &dyn DiskReader, grain: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; GRAIN as usize];
    disk.read_at(&mut bytes, grain * GRAIN)?;
    let mut encoder = flate2::write::ZlibEncoder::new(vec![0; 12], flate2::Compression::new(6));
    encoder.write_all(&bytes)?;
    let mut packed = encoder.finish()?;
    let length = packed.len() as u32 - 12;
    packed[..8].copy_from_slice(&(grain * GRAIN / SECTOR).to_le_bytes());
    packed[8..12].copy_from_slice(&length.to_le_bytes());
    packed.resize(packed.len().next_multiple_of(SECTOR as usize), 0);
    Ok(packed)
}

fn sector_number(sector: u64) -> io::Result<[u8; 4]> {
    let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "the disk has more data than the 2 TiB that vmdk takes");
    u32::try_from(sector).map(u32::to_le_bytes).map_err(too_large)
}

fn header(version: u32, flags: u32, sectors: u64, directories: (u64, u64), overhead: u64) -> Vec<u8> {
    let mut header = Fields::new(SECTOR as usize);
    header.put(0, MAGIC);
    header.put(4, &version.to_le_bytes());
    header.put(8, &flags.to_le_bytes());
    header.put(12, &sectors.to_le_bytes());
    header.put(20, &(GRAIN / SECTOR).to_le_bytes());
    header.put(28, &1_u64.to_le_bytes());
    header.put(36, &DESCRIPTOR.to_le_bytes());
    header.put(44, &(ENTRIES as u32).to_le_bytes());
    header.put(48, &directories.0.to_le_bytes());
    header.put(56, &directories.1.to_le_bytes());
    header.put(64, &overhead.to_le_bytes());
    header.put(73, b"\n \r\n");
    header.put(77, &u16::from(flags & COMPRESSED != 0).to_le_bytes());
    header.0
}

fn descriptor(sectors: u64, kind: &str, stamp: &Stamp) -> io::Result<Vec<u8>> {
    let id = stamp.derive("vmdk content").as_u64_pair().0 as u32;
    let cylinders = (sectors / (255 * 63)).clamp(1, 65535);
    let name = &stamp.name;
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n# Extent description\n\
         RW {sectors} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"10\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.adapterType = \"lsilogic\"\nddb.uuid.image = \"{}\"\n",
        stamp.derive("vmdk image"),
    );
    let mut bytes = text.into_bytes();
    if bytes.len() > (DESCRIPTOR * SECTOR) as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file's name is too long for a vmdk"));
    }
    bytes.resize((DESCRIPTOR * SECTOR) as usize, 0);
    Ok(bytes)
}

/// Returns whether a file begins like one.
pub(crate) fn is_one(head: &Head) -> bool {
    head.starts_with(MAGIC)
}

/// Returns whether a file is the description of extents in other files.
pub(crate) fn is_description(head: &Head) -> bool {
    head.starts_with(b"# Disk DescriptorFile")
}

/// Returns whether the grains are compressed.
pub(crate) fn is_stream(head: &Head) -> bool {
    head.u32_le(8) & COMPRESSED != 0
}

/// Opens one.
pub(crate) fn open(file: SparseFile, head: &Head) -> Result<TableReader<Grains>, OpenError> {
    let mut header = head.clone();
    if header.u64_le(56) == AT_END {
        let footer = file.size().checked_sub(2 * SECTOR).ok_or_else(|| damaged("it has no footer"))?;
        header = Head::new(file.read_table(footer, SECTOR)?);
        if !header.starts_with(MAGIC) {
            return Err(damaged("it has no footer: it was cut off"));
        }
    }
    let flags = header.u32_le(8);
    let compressed = flags & COMPRESSED != 0;
    if !matches!(header.u32_le(4), 1..=3) || compressed && header.bytes(77, 2) != [1, 0] {
        return Err(unsupported("its version or compression is not known"));
    }
    let description = head.u64_le(28).saturating_mul(SECTOR);
    if description > 0 {
        let text = file.read_table(description, head.u64_le(36).saturating_mul(SECTOR).min(64 << 10))?;
        let text = String::from_utf8_lossy(&text);
        if text.lines().any(|line| line.strip_prefix("parentCID=").is_some_and(|id| !id.trim().eq_ignore_ascii_case("ffffffff"))) {
            return Err(unsupported("it is a difference to another file"));
        }
    }
    let size = header.u64_le(12).checked_mul(SECTOR).filter(|size| *size <= MAX_DISK);
    let size = size.ok_or_else(|| damaged("its disk is larger than any that is read"))?;
    let grain = header.u64_le(20).checked_mul(SECTOR).filter(|grain| grain.is_power_of_two() && *grain <= MAX_GRAIN);
    let grain = grain.ok_or_else(|| unsupported("its grains have an unusual size"))?;
    let entries = u64::from(header.u32_le(44));
    if !(1..=1 << 16).contains(&entries) {
        return Err(unsupported("its tables have an unusual size"));
    }
    let tables = size.div_ceil(grain * entries);
    let at = header.u64_le(56).checked_mul(SECTOR).ok_or_else(|| damaged("its directory is outside of the file"))?;
    let directory = file.read_table(at, tables * 4)?;
    let directory = directory.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
    // An entry of 1 stands for zeros where version 2 or the flag say so; sector 1 is the description's, never a grain's.
    Ok(TableReader::new(file, size, grain, Grains { directory, entries, compressed, grain, tables: TableCache::default() }))
}

/// The directory and its tables.
#[derive(Debug)]
pub(crate) struct Grains {
    directory: Vec<u32>,
    entries: u64,
    compressed: bool,
    grain: u64,
    tables: TableCache,
}

impl BlockTable for Grains {
    fn block(&self, file: &SparseFile, index: u64) -> io::Result<Block> {
        let table = usize::try_from(index / self.entries).ok().and_then(|table| self.directory.get(table)).copied().unwrap_or(0);
        if table == 0 {
            return Ok(Block::Hole);
        }
        let table = self.tables.get(file, u64::from(table) * SECTOR, self.entries * 4)?;
        let entry = table.as_chunks::<4>().0.get((index % self.entries) as usize).map_or(0, |entry| u32::from_le_bytes(*entry));
        let place = u64::from(entry) * SECTOR;
        Ok(match entry {
            0 | 1 => Block::Hole,
            _ if self.compressed => Block::Packed(place, self.grain + PACKED_OVERHEAD),
            _ => Block::At(place),
        })
    }

    fn unpack(&self, packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a compressed grain of the image is damaged");
        let length = packed.get(8..12).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize);
        let bytes = packed.get(12..).and_then(|rest| rest.get(..length?)).ok_or_else(invalid)?;
        let mut unpacked = Vec::with_capacity(size);
        flate2::read::ZlibDecoder::new(bytes).take(size as u64).read_to_end(&mut unpacked).map_err(|_| invalid())?;
        Ok(unpacked)
    }
}
