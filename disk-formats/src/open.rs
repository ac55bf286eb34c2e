//! Finding out what a file is, and opening it.

use std::{fs::File, io, path::Path};

use uuid::Uuid;

use crate::{DiskReader, Format, SECTOR, SparseFile, ova, qcow2, vdi, vhd, vhdx, vmdk};

/// How much of a file says what it is.
const HEAD: usize = 4096;

/// Why a disk image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The container contradicts itself.
    #[error("the image is damaged: {0}")]
    Damaged(&'static str),
    /// The container has something that is not read.
    #[error("the image cannot be read: {0}")]
    Unsupported(&'static str),
}

pub(crate) fn damaged(reason: &'static str) -> OpenError {
    OpenError::Damaged(reason)
}

pub(crate) fn unsupported(reason: &'static str) -> OpenError {
    OpenError::Unsupported(reason)
}

/// A disk and what it is in.
#[derive(Debug)]
pub struct OpenedDisk {
    /// The container.
    pub format: Format,
    /// The disk.
    pub disk: Box<dyn DiskReader>,
}

/// Returns the container of a file: what its first bytes say, or its last; raw where neither says anything.
///
/// # Errors
/// Fails when the file cannot be read.
pub fn detect(file: &SparseFile) -> io::Result<Format> {
    let (head, tail) = ends(file)?;
    Ok(if qcow2::is_one(&head) {
        Format::Qcow2
    } else if vhdx::is_one(&head) {
        Format::Vhdx
    } else if vmdk::is_one(&head) || vmdk::is_description(&head) {
        if vmdk::is_one(&head) && vmdk::is_stream(&head) { Format::VmdkStream } else { Format::Vmdk }
    } else if vdi::is_one(&head) {
        Format::Vdi
    } else if ova::is_one(&head) {
        Format::Ova
    } else if vhd::is_one(&head, &tail) {
        if head.starts_with(b"conectix") { Format::VhdDynamic } else { Format::Vhd }
    } else {
        Format::Raw
    })
}

/// Opens a disk image.
///
/// # Errors
/// Fails when the file cannot be read, is damaged, or is a difference to another file.
pub fn open(path: &Path) -> Result<OpenedDisk, OpenError> {
    open_file(File::open(path)?)
}

/// Opens a disk image in an open file.
///
/// # Errors
/// Fails as [`open`] does.
pub fn open_file(file: File) -> Result<OpenedDisk, OpenError> {
    let file = SparseFile::new(file)?;
    let format = detect(&file)?;
    let (head, tail) = ends(&file)?;
    let disk: Box<dyn DiskReader> = match format {
        Format::Raw => Box::new(file),
        Format::Qcow2 => Box::new(qcow2::open(file, &head)?),
        Format::Vhd | Format::VhdDynamic => vhd::open(file, &head, &tail)?,
        Format::Vhdx => Box::new(vhdx::open(file)?),
        Format::Vmdk if vmdk::is_description(&head) => return Err(unsupported("its data is in other files")),
        Format::Vmdk | Format::VmdkStream => Box::new(vmdk::open(file, &head)?),
        Format::Vdi => Box::new(vdi::open(file, &head)?),
        Format::Ova => Box::new(ova::open(file)?),
    };
    Ok(OpenedDisk { format, disk })
}

/// Returns the first bytes of a file and its last sector.
fn ends(file: &SparseFile) -> io::Result<(Head, Head)> {
    let mut head = vec![0; HEAD];
    file.read_at(&mut head, 0)?;
    let mut tail = vec![0; SECTOR as usize];
    file.read_at(&mut tail, file.size().saturating_sub(SECTOR))?;
    Ok((Head::new(head), Head::new(tail)))
}

/// Bytes of a file, whose fields read as zeros behind the end.
#[derive(Debug, Clone)]
pub(crate) struct Head(Vec<u8>);

impl Head {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn starts_with(&self, magic: &[u8]) -> bool {
        self.0.starts_with(magic)
    }

    /// Returns `count` bytes.
    pub(crate) fn bytes(&self, at: usize, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().skip(at).take(count).copied().collect();
        bytes.resize(count, 0);
        bytes
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0.get(at + index).copied().unwrap_or(0))
    }

    pub(crate) fn u16_le(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32_le(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(crate) fn u64_le(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32_be(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub(crate) fn u64_be(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    /// Returns the GUID at a place, stored as Windows does.
    pub(crate) fn guid(&self, at: usize) -> Uuid {
        Uuid::from_bytes_le(self.array(at))
    }
}
