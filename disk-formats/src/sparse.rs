//! Files with holes: which parts are data, and reading that does not touch the rest.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::fs::{SeekFrom, seek};

use crate::{DiskReader, OpenError, open::damaged};

/// The largest table that is read: the block map of a dynamic VHD of 2 TiB in blocks of 64 KiB.
const MAX_TABLE: u64 = 128 << 20;

/// A file whose holes are known.
#[derive(Debug)]
pub struct SparseFile {
    file: File,
    /// Where in the file it begins.
    start: u64,
    size: u64,
    /// Start and end of the parts that are data, ascending.
    data: Vec<(u64, u64)>,
}

impl SparseFile {
    /// Opens a file and finds its holes.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Takes an open file and finds its holes.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut data = Vec::new();
        let mut position = 0;
        while position < size {
            let start = match seek(&file, SeekFrom::Data(position)) {
                Ok(start) => start,
                // There is no data after this place.
                Err(rustix::io::Errno::NXIO) => break,
                // The filesystem knows no holes: all is data.
                Err(rustix::io::Errno::INVAL) => {
                    data = vec![(0, size)];
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let end = seek(&file, SeekFrom::Hole(start))?.min(size);
            if end <= start {
                break;
            }
            data.push((start, end));
            position = end;
        }
        Ok(Self { file, start: 0, size, data })
    }

    /// Returns the first `size` bytes as a disk; no more than there are.
    #[must_use]
    pub(crate) fn first(mut self, size: u64) -> Self {
        self.size = self.size.min(size);
        self
    }

    /// Returns a part of the file, which must lie inside of it.
    #[must_use]
    pub fn part(mut self, start: u64, size: u64) -> Self {
        self.data = self.data.into_iter().filter(|(_, end)| *end > start).map(|(from, to)| (from.max(start) - start, to - start)).collect();
        (self.start, self.size) = (self.start + start, size);
        self
    }

    /// Reads a table of a container, which must be in the file.
    pub(crate) fn read_table(&self, offset: u64, length: u64) -> Result<Vec<u8>, OpenError> {
        if length > MAX_TABLE || offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(damaged("a table is outside of the file, or too large"));
        }
        let mut bytes = vec![0; length as usize];
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl DiskReader for SparseFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_hole(&self, start: u64, length: u64) -> bool {
        let next = self.data.partition_point(|(_, end)| *end <= start);
        self.data.get(next).is_none_or(|(data, _)| *data >= start.saturating_add(length))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        buffer[there..].fill(0);
        if self.is_hole(offset, there as u64) {
            buffer[..there].fill(0);
            return Ok(());
        }
        self.file.read_exact_at(&mut buffer[..there], self.start + offset)
    }
}
