//! [`DiskReader`]: a disk, whatever it is stored in.

use std::{fmt, io};

/// A disk that can be read from any number of threads.
pub trait DiskReader: fmt::Debug + Send + Sync {
    /// Returns the size of the disk in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on; what is behind the end of the disk is zeros.
    ///
    /// # Errors
    /// Fails when reading does, or the container is damaged there.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns whether the `length` bytes from `start` on are known to be zeros without reading them.
    fn is_hole(&self, start: u64, length: u64) -> bool;
}
