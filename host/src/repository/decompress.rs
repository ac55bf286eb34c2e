//! Decompression of indexes, bounded: what a small file unpacks to may be large, but not without end.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// How an index is compressed, the best first: what is quick to unpack and small to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexCompression {
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// Not at all.
    None,
}

impl IndexCompression {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [Self::Zstd, Self::Xz, Self::Gzip, Self::Bzip2, Self::None];

    /// Returns the end of the file name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Xz => ".xz",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::None => "",
        }
    }

    /// Returns how a file of this name is compressed.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|compression| name.ends_with(compression.suffix())).unwrap_or(Self::None)
    }
}

/// No index is larger than this.
pub(super) const INDEX_LIMIT: u64 = 1 << 30;

/// How much memory the xz decoder may take.
const XZ_MEMORY: u64 = 256 << 20;

/// Reads and decompresses a file of at most `limit` bytes, and exactly `size` bytes where that is known.
///
/// # Errors
/// Fails when the file cannot be read, is damaged, or has another size.
pub(super) fn read(path: &Path, compression: IndexCompression, size: Option<u64>, limit: u64) -> io::Result<Vec<u8>> {
    let file = BufReader::with_capacity(128 * 1024, File::open(path)?);
    let mut reader: Box<dyn Read> = match compression {
        IndexCompression::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        IndexCompression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        IndexCompression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        IndexCompression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        IndexCompression::None => Box::new(file),
    };
    let limit = size.unwrap_or(limit).min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(size.unwrap_or(0).min(limit)).unwrap_or(0));
    reader.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
    let found = bytes.len() as u64;
    match size {
        _ if found > limit => Err(io::Error::other(format!("it unpacks to more than {limit} bytes"))),
        Some(size) if size != found => Err(io::Error::other(format!("it unpacks to {found} bytes where {size} were expected"))),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn compressed(compression: IndexCompression, bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content = match compression {
            IndexCompression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            IndexCompression::Xz => liblzma::encode_all(bytes, 0).unwrap(),
            IndexCompression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            IndexCompression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            IndexCompression::None => bytes.to_vec(),
        };
        file.write_all(&content).unwrap();
        file
    }

    #[test]
    fn every_compression_is_read_and_bounded() {
        let bytes = vec![b'x'; 1 << 20];
        for compression in IndexCompression::ALL {
            let file = compressed(compression, &bytes);
            assert_eq!(read(file.path(), compression, None, 1 << 20).unwrap(), bytes);
            assert_eq!(read(file.path(), compression, Some(1 << 20), INDEX_LIMIT).unwrap(), bytes);
            assert!(read(file.path(), compression, None, (1 << 20) - 1).is_err());
            assert!(read(file.path(), compression, Some(1 << 19), INDEX_LIMIT).is_err());
            assert!(read(file.path(), compression, Some(1 << 21), INDEX_LIMIT).is_err());
            if compression != IndexCompression::None {
                file.as_file().set_len(20).unwrap();
                assert!(read(file.path(), compression, None, INDEX_LIMIT).is_err(), "{compression:?}");
            }
        }
    }
}
