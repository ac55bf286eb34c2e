//! QEMU's copy-on-write format: version 3 written, 2 and 3 read, without backing files, snapshots' content and encryption.
//!
//! ```text
//! header | L1 table | refcount table | refcount blocks | L2 tables | data clusters, in the order of the disk
//! ```
//!
//! Every part starts at a cluster of 64 KiB; all numbers are big-endian. Every cluster is used once.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crate::{
    DiskReader, MAX_DISK, OpenError, SECTOR, SparseFile,
    open::{Head, damaged, unsupported},
    table::{Block, BlockTable, TableCache, TableReader},
    writer,
};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table that fills a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Clusters that one refcount block counts, 16 bits each.
const COUNTED: u64 = CLUSTER / 2;
/// Flag of table entries whose cluster is used once.
const ONCE: u64 = 1 << 63;
const MAGIC: &[u8] = b"QFI\xfb";
/// Flag of table entries whose cluster is compressed, and of those that are zeros whatever their cluster holds.
const PACKED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// The bits of a table entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Incompatible features that do not matter to a reader: the counts of clusters may be wrong, compression has a type.
const HARMLESS: u64 = 1 | 1 << 3;

/// Where the parts are, in clusters.
struct Plan {
    l1: u64,
    refcount_table: u64,
    refcount_blocks: u64,
    l2: u64,
    data: u64,
    end: u64,
}

impl Plan {
    fn new(l1_clusters: u64, l2_tables: u64, data_clusters: u64) -> Self {
        // Refcount blocks count themselves: go up until they count everything.
        let (mut blocks, mut tables) = (1, 1);
        loop {
            let end = 1 + l1_clusters + tables + blocks + l2_tables + data_clusters;
            let (needed, table) = (end.div_ceil(COUNTED), end.div_ceil(COUNTED).div_ceil(ENTRIES));
            if needed <= blocks && table <= tables {
                let l1 = 1;
                let refcount_table = l1 + l1_clusters;
                let refcount_blocks = refcount_table + tables;
                let l2 = refcount_blocks + blocks;
                return Self { l1, refcount_table, refcount_blocks, l2, data: l2 + l2_tables, end };
            }
            (blocks, tables) = (needed.max(blocks), table.max(tables));
        }
    }
}

/// Writes a disk into an empty file.
pub(crate) fn write(input: &dyn DiskReader, output: &File) -> io::Result<()> {
    let used = writer::used_blocks(input, CLUSTER)?;
    let disk_clusters = input.size().div_ceil(CLUSTER);
    let l1_entries = disk_clusters.div_ceil(ENTRIES).max(1);
    // The clusters of each L2 table that is there at all.
    let mut l2: Vec<u64> = used.iter().map(|cluster| cluster / ENTRIES).collect();
    l2.dedup();
    let plan = Plan::new(l1_entries.div_ceil(ENTRIES), l2.len() as u64, used.len() as u64);
    output.set_len(plan.end * CLUSTER)?;
    output.write_all_at(&header(input.size().next_multiple_of(SECTOR), l1_entries, &plan), 0)?;
    for (number, table) in (0..).zip(&l2) {
        output.write_all_at(&(((plan.l2 + number) * CLUSTER) | ONCE).to_be_bytes(), plan.l1 * CLUSTER + table * 8)?;
    }
    for block in 0..plan.end.div_ceil(COUNTED) {
        let offset = (plan.refcount_blocks + block) * CLUSTER;
        output.write_all_at(&offset.to_be_bytes(), plan.refcount_table * CLUSTER + block * 8)?;
        let counted = (plan.end - block * COUNTED).min(COUNTED) as usize;
        output.write_all_at(&[0, 1].repeat(counted), offset)?;
    }
    let mut tables = vec![0; l2.len() * CLUSTER as usize];
    let mut table = 0;
    for (position, cluster) in (0..).zip(&used) {
        while l2[table] != cluster / ENTRIES {
            table += 1;
        }
        let at = table * CLUSTER as usize + (cluster % ENTRIES * 8) as usize;
        tables[at..at + 8].copy_from_slice(&(((plan.data + position) * CLUSTER) | ONCE).to_be_bytes());
    }
    output.write_all_at(&tables, plan.l2 * CLUSTER)?;
    writer::copy_blocks(input, CLUSTER, &used, output, |position| (plan.data + position) * CLUSTER)
}

fn header(size: u64, l1_entries: u64, plan: &Plan) -> Vec<u8> {
    let mut header = vec![0; 112];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, MAGIC);
    put(4, &3_u32.to_be_bytes());
    put(20, &CLUSTER_BITS.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(l1_entries as u32).to_be_bytes());
    put(40, &(plan.l1 * CLUSTER).to_be_bytes());
    put(48, &(plan.refcount_table * CLUSTER).to_be_bytes());
    put(56, &((plan.refcount_blocks - plan.refcount_table) as u32).to_be_bytes());
    // Refcounts of 2^4 bits; the header's own length; then the end of the header extensions.
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    header
}

/// Returns whether a file begins like one.
pub(crate) fn is_one(head: &Head) -> bool {
    head.starts_with(MAGIC)
}

/// Opens one.
pub(crate) fn open(file: SparseFile, head: &Head) -> Result<TableReader<Clusters>, OpenError> {
    let version = head.u32_be(4);
    if !matches!(version, 2 | 3) {
        return Err(unsupported("its version is neither 2 nor 3"));
    }
    let features = if version == 3 { head.u64_be(72) } else { 0 };
    if head.u64_be(8) != 0 {
        return Err(unsupported("it is a difference to a backing file: `qemu-img convert` makes one file of them"));
    }
    if head.u32_be(32) != 0 {
        return Err(unsupported("it is encrypted"));
    }
    if features & !HARMLESS != 0 {
        return Err(unsupported("it is marked as damaged, or has its data in another file or in parts of clusters"));
    }
    let zstd = features & 1 << 3 != 0 && head.bytes(104, 1) == [1];
    let bits = head.u32_be(20);
    if !(9..=21).contains(&bits) {
        return Err(damaged("its clusters have no possible size"));
    }
    let (size, cluster) = (head.u64_be(24), 1_u64 << bits);
    if size > MAX_DISK {
        return Err(damaged("its disk is larger than any that is read"));
    }
    let entries = size.div_ceil(cluster).div_ceil(cluster / 8);
    if u64::from(head.u32_be(36)) < entries {
        return Err(damaged("its first table is smaller than the disk"));
    }
    let l1 = file.read_table(head.u64_be(40), entries * 8)?;
    let l1 = l1.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry) & OFFSET).collect();
    Ok(TableReader::new(file, size, cluster, Clusters { l1, bits, zstd, tables: TableCache::default() }))
}

/// The tables.
#[derive(Debug)]
pub(crate) struct Clusters {
    l1: Vec<u64>,
    bits: u32,
    zstd: bool,
    tables: TableCache,
}

impl BlockTable for Clusters {
    fn block(&self, file: &SparseFile, index: u64) -> io::Result<Block> {
        let entries = (1_u64 << self.bits) / 8;
        let table = usize::try_from(index / entries).ok().and_then(|table| self.l1.get(table)).copied().unwrap_or(0);
        if table == 0 {
            return Ok(Block::Hole);
        }
        let table = self.tables.get(file, table, 1 << self.bits)?;
        let entry = table.as_chunks::<8>().0.get((index % entries) as usize).map_or(0, |entry| u64::from_be_bytes(*entry));
        if entry & PACKED != 0 {
            // The upper bits count further sectors, the lower ones are the place.
            let shift = 62 - (self.bits - 8);
            let offset = entry & ((1 << shift) - 1);
            let sectors = (entry & (PACKED - 1)) >> shift;
            return Ok(Block::Packed(offset, (sectors + 1) * 512 - offset % 512));
        }
        Ok(if entry & ZERO != 0 || entry & OFFSET == 0 { Block::Hole } else { Block::At(entry & OFFSET) })
    }

    fn unpack(&self, packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut unpacked = Vec::with_capacity(size);
        let read = if self.zstd {
            zstd::stream::read::Decoder::new(packed)?.single_frame().take(size as u64).read_to_end(&mut unpacked)
        } else {
            flate2::read::DeflateDecoder::new(packed).take(size as u64).read_to_end(&mut unpacked)
        };
        match read {
            Ok(_) if unpacked.len() == size => Ok(unpacked),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a compressed cluster of the image is damaged")),
        }
    }
}
