//! What all writers share: finding the blocks of a disk that hold anything, and copying them.

use std::{fs::File, io, os::unix::fs::FileExt};

use rayon::prelude::*;

use crate::DiskReader;

/// Bytes that one task looks at or copies.
const BATCH: u64 = 16 << 20;

/// Returns the blocks of the disk that are not all zeros, ascending.
pub(crate) fn used_blocks(disk: &dyn DiskReader, block: u64) -> io::Result<Vec<u64>> {
    let blocks = disk.size().div_ceil(block);
    let batch = (BATCH / block).max(1);
    let used: io::Result<Vec<Vec<u64>>> = (0..blocks.div_ceil(batch))
        .into_par_iter()
        .map(|number| {
            let (first, end) = (number * batch, blocks.min((number + 1) * batch));
            if disk.is_hole(first * block, (end - first) * block) {
                return Ok(Vec::new());
            }
            let mut used = Vec::new();
            let mut buffer = vec![0; block as usize];
            for index in first..end {
                if disk.is_hole(index * block, block) {
                    continue;
                }
                disk.read_at(&mut buffer, index * block)?;
                if !is_zero(&buffer) {
                    used.push(index);
                }
            }
            Ok(used)
        })
        .collect();
    Ok(used?.concat())
}

/// Copies blocks of a disk; `place` says where in the output the n-th of them goes.
pub(crate) fn copy_blocks(
    disk: &dyn DiskReader,
    block: u64,
    used: &[u64],
    output: &File,
    place: impl Fn(u64) -> u64 + Sync,
) -> io::Result<()> {
    let batch = (BATCH / block).max(1) as usize;
    used.par_chunks(batch).enumerate().try_for_each(|(number, blocks)| {
        let mut buffer = vec![0; block as usize];
        for (position, index) in (number * batch..).zip(blocks) {
            disk.read_at(&mut buffer, index * block)?;
            output.write_all_at(&buffer, place(position as u64))?;
        }
        Ok(())
    })
}

/// Copies a whole disk to the start of a file of `size` bytes, leaving out what is zeros.
pub(crate) fn copy(disk: &dyn DiskReader, output: &File, size: u64) -> io::Result<()> {
    const BLOCK: u64 = 64 << 10;
    output.set_len(size)?;
    let batches = disk.size().div_ceil(BATCH);
    (0..batches).into_par_iter().try_for_each(|number| {
        let start = number * BATCH;
        let length = BATCH.min(disk.size() - start);
        if disk.is_hole(start, length) {
            return Ok(());
        }
        let mut buffer = vec![0; length as usize];
        disk.read_at(&mut buffer, start)?;
        for (index, block) in (0..).zip(buffer.chunks(BLOCK as usize)) {
            if !is_zero(block) {
                output.write_all_at(block, start + index * BLOCK)?;
            }
        }
        Ok(())
    })
}

/// Returns whether all bytes are zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Eight at a time, which the compiler turns into wide instructions.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Fields of headers by their offsets.
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    /// Returns `size` zeros.
    pub(crate) fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    /// Writes bytes at a place.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
