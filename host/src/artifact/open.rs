//! Opening a finished image: any container, compressed or not.
//!
//! A compressed image is decompressed into a nameless file in the scratch folder, which is gone with the process; holes stay
//! holes. Everything else is read where it is.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use oic_disk_formats::{self as disk_formats, Compression, DiskReader, Format, OpenError};

/// The most bytes that an image decompresses to.
const LIMIT: u64 = 1 << 40;

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ImageOpenError {
    /// The file cannot be read.
    #[error("cannot read the image `{}`", path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be decompressed.
    #[error("cannot decompress the image `{}`", path.display())]
    Decompress {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The container cannot be read.
    #[error("cannot open the image `{}`", path.display())]
    Container {
        /// The image.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
}

/// An image that is open.
#[derive(Debug, Clone)]
pub struct OpenedImage {
    /// Where it is.
    pub path: PathBuf,
    /// The container.
    pub format: Format,
    /// How the file is compressed as a whole.
    pub compression: Option<Compression>,
    /// Bytes of the file itself.
    pub file_size: u64,
    /// The disk.
    pub disk: Arc<dyn DiskReader>,
    /// Where to put what has to be unpacked to be read.
    pub scratch: PathBuf,
}

impl OpenedImage {
    /// Opens an image; what has to be decompressed is put into the folder `scratch`.
    ///
    /// # Errors
    /// Fails when the file cannot be read or decompressed, or is a damaged container.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, ImageOpenError> {
        let unreadable = |source| ImageOpenError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let mut head = Vec::new();
        file.by_ref().take(16).read_to_end(&mut head).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let compression = Compression::detect(&head);
        if let Some(compression) = compression {
            let failed = |source| ImageOpenError::Decompress { path: path.to_owned(), source };
            std::fs::create_dir_all(scratch).map_err(failed)?;
            let unpacked = tempfile::tempfile_in(scratch).map_err(failed)?;
            disk_formats::decompress(&file, compression, &unpacked, LIMIT).map_err(failed)?;
            file = unpacked;
        }
        let opened = disk_formats::open_file(file).map_err(|source| ImageOpenError::Container { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            format: opened.format,
            compression,
            file_size: metadata.len(),
            disk: opened.disk.into(),
            scratch: scratch.to_owned(),
        })
    }
}
