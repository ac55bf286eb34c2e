//! Writes QEMU's copy-on-write format, version 3, from a raw disk. Clusters that are all zeros are left out.
//!
//! ```text
//! header | L1 table | refcount table | refcount blocks | L2 tables | data clusters, in the order of the disk
//! ```
//!
//! Every part starts at a cluster of 64 KiB; all numbers are big-endian. Every cluster is used once.

use std::{fs::File, io, os::unix::fs::FileExt};

use rayon::prelude::*;

use super::sparse::SparseFile;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table that fills a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Clusters that one refcount block counts, 16 bits each.
const COUNTED: u64 = CLUSTER / 2;
/// Flag of table entries whose cluster is used once.
const ONCE: u64 = 1 << 63;
/// Clusters that one task looks at.
const BATCH: u64 = 256;

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

/// Writes a raw disk into an empty file.
///
/// # Errors
/// Fails when reading or writing does.
pub fn convert(input: &SparseFile, output: &File) -> io::Result<()> {
    let used = used_clusters(input)?;
    let disk_clusters = input.size().div_ceil(CLUSTER);
    let l1_entries = disk_clusters.div_ceil(ENTRIES).max(1);
    // The clusters of each L2 table that is there at all.
    let mut l2: Vec<u64> = used.iter().map(|cluster| cluster / ENTRIES).collect();
    l2.dedup();
    let plan = Plan::new(l1_entries.div_ceil(ENTRIES), l2.len() as u64, used.len() as u64);
    output.set_len(plan.end * CLUSTER)?;
    output.write_all_at(&header(input.size(), l1_entries, &plan), 0)?;
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
    used.par_chunks(BATCH as usize).enumerate().try_for_each(|(batch, clusters)| {
        let mut bytes = vec![0; clusters.len() * CLUSTER as usize];
        for (buffer, cluster) in bytes.chunks_exact_mut(CLUSTER as usize).zip(clusters) {
            input.read_at(buffer, cluster * CLUSTER)?;
        }
        output.write_all_at(&bytes, (plan.data + batch as u64 * BATCH) * CLUSTER)
    })
}

/// Returns the clusters of the disk that are not all zeros.
fn used_clusters(input: &SparseFile) -> io::Result<Vec<u64>> {
    let clusters = input.size().div_ceil(CLUSTER);
    let batches: io::Result<Vec<Vec<u64>>> = (0..clusters.div_ceil(BATCH))
        .into_par_iter()
        .map(|batch| {
            let mut used = Vec::new();
            let mut buffer = vec![0; CLUSTER as usize];
            for cluster in batch * BATCH..clusters.min((batch + 1) * BATCH) {
                if input.is_hole(cluster * CLUSTER, CLUSTER) {
                    continue;
                }
                input.read_at(&mut buffer, cluster * CLUSTER)?;
                if buffer.iter().any(|byte| *byte != 0) {
                    used.push(cluster);
                }
            }
            Ok(used)
        })
        .collect();
    Ok(batches?.concat())
}

fn header(size: u64, l1_entries: u64, plan: &Plan) -> Vec<u8> {
    let mut header = vec![0; 112];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
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
