//! The containers that disk images travel in: raw, qcow2, VHD, VHDX, VMDK, VDI and OVA, and what compresses them.
//!
//! ```text
//! file ──[decompress]──► file ──open──► dyn DiskReader ──write──► file ──compress──► file
//! ```
//!
//! # Writing
//!
//! Blocks that are all zeros are left out. Everything runs on all processors, and the bytes depend on the disk and the
//! [`Stamp`] alone: identifiers are derived, no clock is asked, and work is cut into pieces of fixed size, whatever the
//! number of processors.
//!
//! # Reading
//!
//! Images may be hostile. Every number is checked before it is used, tables are no larger than the file that they are in,
//! caches are bounded, and a disk claims at most [`MAX_DISK`]. No reader ever opens a second file: images with a backing
//! file, a parent or separate extents are refused.

mod compress;
mod crc32c;
mod open;
mod ova;
mod qcow2;
mod reader;
mod sparse;
mod stamp;
mod table;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod writer;

#[cfg(test)]
mod tests;

use std::{fmt, fs::File, io, str::FromStr};

pub use compress::{Compression, compress, decompress};
pub use open::{OpenError, OpenedDisk, detect, open, open_file};
pub use reader::DiskReader;
pub use sparse::SparseFile;
pub use stamp::Stamp;

/// The largest disk that is read: 16 TiB, what ext4 holds with blocks of 4 KiB.
pub const MAX_DISK: u64 = 16 << 40;

/// Bytes of a sector, the unit of most containers.
pub(crate) const SECTOR: u64 = 512;

/// A container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// The disk, byte for byte.
    Raw,
    /// QEMU copy on write.
    Qcow2,
    /// Virtual PC, all blocks there, a whole number of MiB as Azure wants it.
    Vhd,
    /// Virtual PC, without empty blocks.
    VhdDynamic,
    /// Hyper-V.
    Vhdx,
    /// VMware's sparse file (`monolithicSparse`).
    Vmdk,
    /// VMware's compressed file for transport (`streamOptimized`), as OVF packages hold it.
    VmdkStream,
    /// VirtualBox.
    Vdi,
    /// A whole virtual machine: description, checksums and a streamed VMware disk (OVF package in one file).
    Ova,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Raw, Self::Qcow2, Self::Vhd, Self::VhdDynamic, Self::Vhdx, Self::Vmdk, Self::VmdkStream, Self::Vdi, Self::Ova];

    /// Returns its name on the command line and in templates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::VhdDynamic => "vhd-dynamic",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::VmdkStream => "vmdk-stream",
            Self::Vdi => "vdi",
            Self::Ova => "ova",
        }
    }

    /// Returns the ending of its files' names, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::VhdDynamic => "vhd",
            Self::VmdkStream => "vmdk",
            other => other.name(),
        }
    }

    /// Returns the largest disk that the container takes.
    fn limit(self) -> u64 {
        match self {
            Self::Vhd | Self::VhdDynamic => 2040 << 30,
            _ => MAX_DISK,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or("there is no such disk format")
    }
}

/// Writes a disk into an empty file.
///
/// # Errors
/// Fails when reading or writing does, or the disk is larger than the container takes.
pub fn write(disk: &dyn DiskReader, format: Format, stamp: &Stamp, output: &File) -> io::Result<()> {
    if disk.size() > format.limit() {
        let message = format!("a disk of {} bytes is larger than the {} that {format} takes", disk.size(), format.limit());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    match format {
        Format::Raw => writer::copy(disk, output, disk.size()),
        Format::Qcow2 => qcow2::write(disk, output),
        Format::Vhd => vhd::write_fixed(disk, stamp, output),
        Format::VhdDynamic => vhd::write_dynamic(disk, stamp, output),
        Format::Vhdx => vhdx::write(disk, stamp, output),
        Format::Vmdk => vmdk::write_sparse(disk, stamp, output),
        Format::VmdkStream => vmdk::write_stream(disk, stamp, output),
        Format::Vdi => vdi::write(disk, stamp, output),
        Format::Ova => ova::write(disk, stamp, output),
    }
}
