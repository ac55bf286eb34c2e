//! Package files: their payloads decompressed once into the cache.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{
    cpio::{CpioError, FileFacts},
    stored::Container,
};
use crate::{
    digest::Sha256Digest,
    repository::rpm::{Header, PackageHeader, PackageProblem},
};

/// The most bytes that a payload may have.
const MAX_PAYLOAD: u64 = 16 << 30;
/// Memory that decompressing one package may take.
const MAX_DECODER_MEMORY: u64 = 256 << 20;

/// Tags of the header.
mod tag {
    pub(super) const SIZES: u32 = 1028;
    pub(super) const MODES: u32 = 1030;
    pub(super) const MTIMES: u32 = 1034;
    pub(super) const INODES: u32 = 1096;
    pub(super) const DIRECTORY_INDEXES: u32 = 1116;
    pub(super) const BASE_NAMES: u32 = 1117;
    pub(super) const DIRECTORY_NAMES: u32 = 1118;
    pub(super) const PAYLOAD_COMPRESSOR: u32 = 1125;
    pub(super) const LONG_SIZES: u32 = 5008;
}

/// Why a package file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It is not a package.
    #[error("`{}` is not a usable RPM package", path.display())]
    NotAPackage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PackageProblem,
    },
    /// Its payload is compressed in a way that is not known.
    #[error("the payload of `{}` is compressed with `{compressor}`, and known are gzip, xz, lzma, zstd and bzip2", path.display())]
    Compressor {
        /// The file.
        path: PathBuf,
        /// What its header says.
        compressor: String,
    },
    /// Its archive is damaged.
    #[error("`{}` cannot be unpacked", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CpioError,
    },
}

/// The packages with payloads that are not compressed.
#[derive(Debug, Clone)]
pub struct RpmCache {
    folder: PathBuf,
}

/// A package in the cache.
#[derive(Debug, Clone)]
pub struct Rpm {
    /// What it says of itself.
    pub header: PackageHeader,
    /// The stored form of the file.
    pub path: PathBuf,
}

impl Rpm {
    /// Returns the paths of its files.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let files = files(self.header.header()).into_iter();
        files.map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect()
    }
}

impl RpmCache {
    /// Uses a folder that exists.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns where the stored form of a package is or will be.
    #[must_use]
    pub fn entry(&self, digest: &Sha256Digest) -> PathBuf {
        self.folder.join(format!("{digest}.rpm"))
    }

    /// Returns a package with its stored form, made now if it is not there yet.
    ///
    /// `digest` is that of `package`, which the caller has verified.
    ///
    /// # Errors
    /// Fails when the package is not one or the cache cannot be written.
    pub fn open(&self, package: &Path, digest: &Sha256Digest) -> Result<Rpm, RpmError> {
        let path = self.entry(digest);
        let (header, file) = read_header(package)?;
        if !path.exists() {
            let failed = |source| RpmError::Io { operation: "create", path: path.clone(), source };
            let mut output = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
            store(package, file, &header, output.as_file_mut())?;
            // What another process has put there meanwhile is the same.
            output.persist(&path).map_err(|error| failed(error.error))?;
        }
        Ok(Rpm { header, path })
    }

    /// Opens many packages in parallel. The result has the order of `packages`.
    ///
    /// # Errors
    /// Fails as [`Self::open`] does for the first package that cannot be opened.
    pub fn open_all(&self, packages: &[(PathBuf, Sha256Digest)]) -> Result<Vec<Rpm>, RpmError> {
        packages.par_iter().with_max_len(1).map(|(path, digest)| self.open(path, digest)).collect()
    }
}

/// Reads what a package says of itself, and returns the file, read as far as the payload.
pub(super) fn read_header(path: &Path) -> Result<(PackageHeader, BufReader<File>), RpmError> {
    let file = File::open(path).map_err(|source| RpmError::Io { operation: "open", path: path.to_owned(), source })?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let header = PackageHeader::read(&mut reader).map_err(|source| RpmError::NotAPackage { path: path.to_owned(), source })?;
    Ok((header, reader))
}

/// Returns the name of a package's compressor; rpm takes a package that names none for one with gzip.
fn compressor(header: &PackageHeader) -> &str {
    header.header().text(tag::PAYLOAD_COMPRESSOR).unwrap_or("gzip")
}

/// Returns the decompressed payload of a package that has been read as far as that.
pub(super) fn payload(path: &Path, header: &PackageHeader, reader: BufReader<File>) -> Result<Box<dyn Read>, RpmError> {
    let failed = |source| RpmError::Io { operation: "read", path: path.to_owned(), source };
    Ok(match compressor(header) {
        "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        "xz" | "lzma" => {
            let stream = liblzma::stream::Stream::new_auto_decoder(MAX_DECODER_MEMORY, liblzma::stream::CONCATENATED);
            let stream = stream.map_err(|error| failed(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(failed)?;
            decoder.window_log_max(27).map_err(failed)?;
            Box::new(decoder)
        }
        "bzip2" => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        other => return Err(RpmError::Compressor { path: path.to_owned(), compressor: other.to_owned() }),
    })
}

/// Writes the stored form of a package: everything before the payload as it is, the payload without compression.
fn store(path: &Path, mut reader: BufReader<File>, header: &PackageHeader, output: &mut File) -> Result<(), RpmError> {
    let failed = |operation| move |source| RpmError::Io { operation, path: path.to_owned(), source };
    let mut output = BufWriter::with_capacity(256 << 10, output);
    let container = match compressor(header) {
        "gzip" => Some(Container::Plain),
        "zstd" => Some(Container::Zstd),
        "xz" => Some(Container::Xz),
        // These formats have no way to say it: such packages are stored as they are.
        "lzma" | "bzip2" => None,
        other => return Err(RpmError::Compressor { path: path.to_owned(), compressor: other.to_owned() }),
    };
    reader.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
    let Some(container) = container else {
        io::copy(&mut reader, &mut output).map_err(failed("copy"))?;
        return output.flush().map_err(failed("copy"));
    };
    io::copy(&mut (&mut reader).take(header.payload_start), &mut output).map_err(failed("copy"))?;
    let mut payload = payload(path, header, reader)?.take(MAX_PAYLOAD);
    container.store(&mut payload, &mut output).map_err(failed("decompress"))?;
    if payload.limit() == 0 {
        return Err(failed("decompress")(io::ErrorKind::FileTooLarge.into()));
    }
    output.flush().map_err(failed("copy"))
}

/// Returns the files of a package as its header lists them.
pub(super) fn files(header: &Header) -> Vec<FileFacts> {
    let directories: Vec<&str> = header.texts(tag::DIRECTORY_NAMES).into_iter().flatten().collect();
    let numbers = |tag| header.numbers(tag).into_iter().flatten().map(Some).chain(std::iter::repeat(None));
    let sizes = if header.has(tag::LONG_SIZES) { tag::LONG_SIZES } else { tag::SIZES };
    let names = header.texts(tag::BASE_NAMES).into_iter().flatten();
    let facts = names.zip(numbers(tag::DIRECTORY_INDEXES)).zip(numbers(tag::MODES)).zip(numbers(sizes));
    let facts = facts.zip(numbers(tag::MTIMES)).zip(numbers(tag::INODES));
    let files = facts.map(|(((((name, directory), mode), size), mtime), inode)| {
        let directory = directory.and_then(|index| directories.get(usize::try_from(index).ok()?)).copied().unwrap_or("/");
        FileFacts {
            path: format!("{directory}{name}").into_bytes(),
            mode: mode.unwrap_or_default() as u32 & 0xffff,
            inode: inode.unwrap_or_default(),
            // Links of one file are told apart by their number alone there.
            links: 2,
            mtime: mtime.unwrap_or_default() as i64,
            size: size.unwrap_or_default(),
        }
    });
    files.collect()
}
