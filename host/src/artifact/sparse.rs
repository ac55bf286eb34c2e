//! Files with holes: which parts are data, and reading that does not touch the rest.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::fs::{SeekFrom, seek};

/// A file whose holes are known.
#[derive(Debug)]
pub struct SparseFile {
    file: File,
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
        let file = File::open(path)?;
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
        Ok(Self { file, size, data })
    }

    /// Returns the length of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns start and end of the parts that are data.
    #[must_use]
    pub fn data(&self) -> &[(u64, u64)] {
        &self.data
    }

    /// Returns whether the `length` bytes from `start` on are all in a hole.
    #[must_use]
    pub fn is_hole(&self, start: u64, length: u64) -> bool {
        let next = self.data.partition_point(|(_, end)| *end <= start);
        self.data.get(next).is_none_or(|(data, _)| *data >= start + length)
    }

    /// Fills `buffer` from `offset` on; what is behind the end of the file is zeros.
    ///
    /// # Errors
    /// Fails when reading does.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        buffer[there..].fill(0);
        if self.is_hole(offset, there as u64) {
            buffer[..there].fill(0);
            return Ok(());
        }
        self.file.read_exact_at(&mut buffer[..there], offset)
    }

    /// Copies the data to another file, which has the same holes then.
    ///
    /// # Errors
    /// Fails when reading or writing does.
    pub fn copy_to(&self, output: &File) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        output.set_len(self.size)?;
        for (start, end) in &self.data {
            let mut position = *start;
            while position < *end {
                let count = (end - position).min(buffer.len() as u64) as usize;
                self.read_at(&mut buffer[..count], position)?;
                output.write_all_at(&buffer[..count], position)?;
                position += count as u64;
            }
        }
        Ok(())
    }
}
