//! [`TableReader`]: a disk in blocks that a table finds, what all containers but raw are.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{DiskReader, SparseFile};

/// How many decompressed blocks are kept.
const KEPT: usize = 32;

/// Where a block of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// Nowhere: it is all zeros.
    Hole,
    /// In the file from this offset on.
    At(u64),
    /// In the file, compressed: offset and the most bytes that it takes there.
    Packed(u64, u64),
}

/// Finds blocks.
pub(crate) trait BlockTable: fmt::Debug + Send + Sync {
    /// Returns where a block is. It is one of the disk.
    ///
    /// # Errors
    /// Fails when a table cannot be read or makes no sense.
    fn block(&self, file: &SparseFile, index: u64) -> io::Result<Block>;

    /// Decompresses a block of at most `size` bytes.
    ///
    /// # Errors
    /// Fails when it is damaged.
    fn unpack(&self, _packed: &[u8], _size: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A disk in blocks.
pub(crate) struct TableReader<T> {
    file: SparseFile,
    size: u64,
    block: u64,
    table: T,
    unpacked: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl<T: BlockTable> TableReader<T> {
    /// Returns a disk of `size` bytes in blocks of `block`.
    pub(crate) fn new(file: SparseFile, size: u64, block: u64, table: T) -> Self {
        Self { file, size, block, table, unpacked: Mutex::default() }
    }

    /// Fills `buffer` from a place within one block.
    fn read_within(&self, buffer: &mut [u8], index: u64, within: u64) -> io::Result<()> {
        match self.table.block(&self.file, index)? {
            Block::Hole => buffer.fill(0),
            Block::At(offset) => self.file.read_at(buffer, offset.saturating_add(within))?,
            Block::Packed(offset, length) => {
                let block = self.unpacked(offset, length)?;
                let part = block.get(within as usize..).unwrap_or_default();
                let there = part.len().min(buffer.len());
                buffer[..there].copy_from_slice(&part[..there]);
                buffer[there..].fill(0);
            }
        }
        Ok(())
    }

    fn unpacked(&self, offset: u64, length: u64) -> io::Result<Arc<[u8]>> {
        let known = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner).get(&offset).cloned();
        if let Some(block) = known {
            return Ok(block);
        }
        let there = self.file.size().saturating_sub(offset).min(length);
        let mut packed = vec![0; there as usize];
        self.file.read_at(&mut packed, offset)?;
        let block: Arc<[u8]> = self.table.unpack(&packed, self.block as usize)?.into();
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if unpacked.len() >= KEPT {
            unpacked.clear();
        }
        unpacked.insert(offset, block.clone());
        Ok(block)
    }
}

impl<T: BlockTable> fmt::Debug for TableReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableReader").field("size", &self.size).field("block", &self.block).finish_non_exhaustive()
    }
}

impl<T: BlockTable> DiskReader for TableReader<T> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (mut left, behind) = buffer.split_at_mut(there);
        behind.fill(0);
        let mut position = offset;
        while !left.is_empty() {
            let within = position % self.block;
            let count = (self.block - within).min(left.len() as u64);
            let (part, rest) = left.split_at_mut(count as usize);
            self.read_within(part, position / self.block, within)?;
            left = rest;
            position += count;
        }
        Ok(())
    }

    fn is_hole(&self, start: u64, length: u64) -> bool {
        let end = start.saturating_add(length).min(self.size);
        if start >= end {
            return true;
        }
        (start / self.block..end.div_ceil(self.block)).all(|index| match self.table.block(&self.file, index) {
            Ok(Block::Hole) => true,
            Ok(Block::At(offset)) => self.file.is_hole(offset, self.block),
            Ok(Block::Packed(..)) | Err(_) => false,
        })
    }
}

/// Tables of tables: parts that are read when they are needed, a bounded number of them kept.
#[derive(Debug, Default)]
pub(crate) struct TableCache(Mutex<HashMap<u64, Arc<[u8]>>>);

impl TableCache {
    /// How many tables are kept; the largest ones have 2 MiB.
    const KEPT: usize = 64;

    /// Returns the table of `length` bytes at an offset of the file.
    pub(crate) fn get(&self, file: &SparseFile, offset: u64, length: u64) -> io::Result<Arc<[u8]>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&offset).cloned();
        if let Some(table) = known {
            return Ok(table);
        }
        let mut bytes = vec![0; length as usize];
        file.read_at(&mut bytes, offset)?;
        let table: Arc<[u8]> = bytes.into();
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= Self::KEPT {
            tables.clear();
        }
        tables.insert(offset, table.clone());
        Ok(table)
    }
}
