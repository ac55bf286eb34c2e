//! File contents by reference: bytes in memory, or pieces of a file on the host that are read when they are needed.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use oic_disk_formats::DiskReader;

/// An open file of the host that contents refer to, or a part of a disk in one. Reads name their offset, so that any number
/// of threads can share it.
#[derive(Debug)]
pub struct HostFile {
    source: Source,
    path: PathBuf,
    size: u64,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    File(File),
    /// In a disk, from this offset on.
    Disk(Arc<dyn DiskReader>, u64),
}

impl HostFile {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// Fails when the file cannot be opened; the error does not name the path.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Arc::new(Self { source: Source::File(file), path: path.to_owned(), size }))
    }

    /// Returns `size` bytes of a disk from `start` on, for example a partition; `path` is for messages.
    #[must_use]
    pub fn window(disk: Arc<dyn DiskReader>, start: u64, size: u64, path: &Path) -> Arc<Self> {
        let size = size.min(disk.size().saturating_sub(start));
        Arc::new(Self { source: Source::Disk(disk, start), path: path.to_owned(), size })
    }

    /// Returns where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how long the file was when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns another handle of the open file.
    ///
    /// # Errors
    /// Fails when there is no file of its own, or no descriptor left.
    pub fn try_clone(&self) -> io::Result<File> {
        match &self.source {
            Source::File(file) => file.try_clone(),
            Source::Disk(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// Fails when reading does or the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = match &self.source {
            Source::File(file) => file.read_exact_at(buffer, offset),
            Source::Disk(disk, start) => match offset.checked_add(buffer.len() as u64) {
                Some(end) if end <= self.size => disk.read_at(buffer, start + offset),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

/// A piece of a content that is data; what lies between the pieces reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where the piece is in the content.
    pub logical: u64,
    /// Where it is in the file of the host.
    pub source: u64,
    /// Its length in bytes, never 0.
    pub length: u64,
}

/// The content of a regular file.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// Pieces of a file of the host.
    Extents {
        /// The file.
        file: Arc<HostFile>,
        /// The pieces, ascending, without overlaps, none beyond `size`.
        extents: Arc<[Extent]>,
        /// Length of the content.
        size: u64,
    },
}

impl Content {
    /// Returns a content of these bytes.
    #[must_use]
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// Returns one range of a file.
    #[must_use]
    pub fn range(file: Arc<HostFile>, offset: u64, size: u64) -> Self {
        let extents: Arc<[Extent]> = if size == 0 { Arc::new([]) } else { Arc::new([Extent { logical: 0, source: offset, length: size }]) };
        Self::Extents { file, extents, size }
    }

    /// Returns the whole of a file.
    ///
    /// # Errors
    /// Fails when the file cannot be opened.
    pub fn whole_file(path: &Path) -> io::Result<Self> {
        let file = HostFile::open(path)?;
        let size = file.size();
        Ok(Self::range(file, 0, size))
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Extents { size, .. } => *size,
        }
    }

    /// Returns how many bytes are data rather than holes.
    #[must_use]
    pub fn data_size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Extents { extents, .. } => extents.iter().map(|extent| extent.length).sum(),
        }
    }

    /// Returns a reader of the content, holes as zeros.
    #[must_use]
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { content: self, position: 0, next: 0 }
    }

    /// Fills `buffer` from `offset` on, holes as zeros.
    ///
    /// # Errors
    /// Fails when reading does or the content ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size());
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match self {
            Self::Bytes(bytes) => buffer.copy_from_slice(&bytes[offset as usize..end as usize]),
            Self::Extents { file, extents, .. } => {
                buffer.fill(0);
                let first = extents.partition_point(|extent| extent.logical + extent.length <= offset);
                for extent in extents[first..].iter().take_while(|extent| extent.logical < end) {
                    let (from, to) = (extent.logical.max(offset), (extent.logical + extent.length).min(end));
                    let target = &mut buffer[(from - offset) as usize..(to - offset) as usize];
                    file.read_exact_at(target, extent.source + (from - extent.logical))?;
                }
            }
        }
        Ok(())
    }

    /// Returns all bytes.
    ///
    /// # Errors
    /// Fails when reading does, or the content is longer than `limit`.
    pub fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.size() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} bytes are more than the {limit} allowed here", self.size()),
            ));
        }
        let mut bytes = vec![0; self.size() as usize];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Reads a [`Content`] from its start.
#[derive(Debug)]
pub struct ContentReader<'a> {
    content: &'a Content,
    position: u64,
    next: usize,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size() - self.position;
        let wanted = (buffer.len() as u64).min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let count = match self.content {
            Content::Bytes(_) => wanted,
            Content::Extents { extents, .. } => {
                while extents.get(self.next).is_some_and(|extent| extent.logical + extent.length <= self.position) {
                    self.next += 1;
                }
                // One read is either within one extent or within one hole.
                match extents.get(self.next) {
                    Some(extent) if extent.logical > self.position => wanted.min(extent.logical - self.position),
                    Some(extent) => wanted.min(extent.logical + extent.length - self.position),
                    None => wanted,
                }
            }
        };
        self.content.read_exact_at(&mut buffer[..count as usize], self.position)?;
        self.position += count;
        Ok(count as usize)
    }
}
