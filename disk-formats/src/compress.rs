//! Compression on all processors with the same result on any number of them, and its inverse.
//!
//! The input is cut into pieces of a fixed size, and each piece becomes a complete gzip member, xz or bzip2 stream or zstd
//! frame. A file of several of them is as valid as a file of one, in all four formats. Pieces without any data are
//! compressed once and written as often as they occur, so that holes cost nothing.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Write},
    os::unix::fs::FileExt,
    str::FromStr,
};

use rayon::prelude::*;

use crate::{DiskReader, writer::is_zero};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// gzip.
    Gz,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bz2,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gz, Self::Xz, Self::Zstd, Self::Bz2];

    /// Returns its name on the command line and in templates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gz => "gz",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bz2 => "bz2",
        }
    }

    /// Returns the ending of its files' names, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Zstd => "zst",
            other => other.name(),
        }
    }

    /// Returns the compression of a file that begins with these bytes.
    #[must_use]
    pub fn detect(head: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Compression); 4] = [
            (b"\x1f\x8b", Compression::Gz),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"BZh", Compression::Bz2),
        ];
        MAGIC.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, compression)| compression)
    }

    /// Returns how it is written.
    fn method(self) -> Method {
        match self {
            Self::Gz => Method { piece: 2 << 20, compress: gzip },
            Self::Xz => Method { piece: 16 << 20, compress: xz },
            Self::Zstd => Method { piece: 8 << 20, compress: zstandard },
            Self::Bz2 => Method { piece: 9_000_000, compress: bzip2 },
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|compression| compression.name() == text).ok_or("there is no such compression")
    }
}

/// How a compression is written.
struct Method {
    /// Size of a piece. Larger ones compress a little better and take more memory for each processor.
    piece: u64,
    compress: fn(&[u8]) -> io::Result<Vec<u8>>,
}

/// Writes a disk compressed.
///
/// # Errors
/// Fails when reading or writing does.
pub fn compress(input: &dyn DiskReader, compression: Compression, output: &mut dyn Write) -> io::Result<()> {
    let Method { piece, compress } = compression.method();
    let length = |index: u64| piece.min(input.size() - index * piece);
    let pieces = input.size().div_ceil(piece).max(1);
    let batch = rayon::current_num_threads().max(1) as u64 * 2;
    let mut empty: Option<Vec<u8>> = None;
    let mut first = 0;
    while first < pieces {
        let end = (first + batch).min(pieces);
        let compressed: Vec<Option<Vec<u8>>> = (first..end)
            .into_par_iter()
            .map(|index| {
                if length(index) == piece && input.is_hole(index * piece, piece) {
                    return Ok(None);
                }
                let mut bytes = vec![0; length(index) as usize];
                input.read_at(&mut bytes, index * piece)?;
                compress(&bytes).map(Some)
            })
            .collect::<io::Result<_>>()?;
        for piece_bytes in compressed {
            match piece_bytes {
                Some(bytes) => output.write_all(&bytes)?,
                None => {
                    if empty.is_none() {
                        empty = Some(compress(&vec![0; piece as usize])?);
                    }
                    output.write_all(empty.as_deref().unwrap_or_default())?;
                }
            }
        }
        first = end;
    }
    Ok(())
}

/// Decompresses a file into an empty one, leaving out what is zeros, and returns the length.
///
/// # Errors
/// Fails when the input is damaged, gives more than `limit` bytes, or cannot be read, or the output cannot be written.
pub fn decompress(input: &File, compression: Compression, output: &File, limit: u64) -> io::Result<u64> {
    let input = BufReader::with_capacity(1 << 20, input);
    let mut reader: Box<dyn Read + '_> = match compression {
        Compression::Gz => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
        Compression::Bz2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    };
    let mut buffer = vec![0; 64 << 10];
    let mut position = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match reader.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        if position + filled as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it decompresses to more than {limit} bytes")));
        }
        if !is_zero(&buffer[..filled]) {
            output.write_all_at(&buffer[..filled], position)?;
        }
        position += filled as u64;
    }
    output.set_len(position)?;
    Ok(position)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // No time, no name, and an operating system of "unknown".
    let mut encoder = flate2::GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn xz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let stream = liblzma::stream::Stream::new_easy_encoder(6, liblzma::stream::Check::Crc64)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn zstandard(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(9)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

fn bzip2(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
