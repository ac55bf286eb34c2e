//! Compression on all processors with the same result on any number of them.
//!
//! The input is cut into pieces of a fixed size, and each piece becomes a complete gzip member, xz stream or zstd frame.
//! A file of several of them is as valid as a file of one, in all three formats. Pieces without any data are
//! compressed once and written as often as they occur, so that holes cost nothing.

use std::io::{self, Write};

use oic_config::spec::Compression;
use rayon::prelude::*;

use super::sparse::SparseFile;

/// How a format is written.
struct Method {
    /// Size of a piece. Larger ones compress a little better and take more memory for each processor.
    piece: u64,
    compress: fn(&[u8]) -> io::Result<Vec<u8>>,
}

/// Returns how a format is written, none for those that are not.
fn method(compression: Compression) -> Option<Method> {
    match compression {
        Compression::Gz => Some(Method { piece: 2 << 20, compress: gzip }),
        Compression::Xz => Some(Method { piece: 16 << 20, compress: xz }),
        Compression::Zstd => Some(Method { piece: 8 << 20, compress: zstandard }),
        Compression::None | Compression::Bz2 => None,
    }
}

/// Writes a file compressed.
///
/// # Errors
/// Fails when reading or writing does, or the format is none that is written.
pub fn compress(input: &SparseFile, compression: Compression, output: &mut impl Write) -> io::Result<()> {
    let unsupported = || io::Error::new(io::ErrorKind::Unsupported, format!("compression {compression:?} is not written"));
    let Method { piece, compress } = method(compression).ok_or_else(unsupported)?;
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
