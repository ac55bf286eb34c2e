//! Compressed pieces of files as a disk: one behind the other as they are unpacked, each unpacked when it is read.

use std::{
    io::{self, Read as _},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use oic_disk_formats::DiskReader;

use super::TreeReadError;
use crate::rootfs::content::HostFile;

/// How large the disk is said to be: it grows.
const SIZE: u64 = 1 << 62;
/// The largest piece, packed or not.
const MAX_PIECE: u64 = 16 << 20;

/// How a piece is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As it is.
    Plain,
    /// zlib.
    Zlib,
    /// xz.
    Xz,
    /// Zstandard; what is behind the frame does not count.
    Zstd,
    /// A block of LZ4, with zeros before it where it is shorter than its place.
    Lz4,
    /// In a way that is not known.
    Unknown(&'static str),
}

/// Where a piece is and what of it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Where it is in the file, and how many bytes it has there.
    pub(super) source: u64,
    pub(super) stored: u64,
    pub(super) method: Method,
    /// How many bytes it gives at most.
    pub(super) unpacked: u64,
    /// Which of these count.
    pub(super) skip: u64,
    pub(super) length: u64,
}

/// The pieces of a filesystem.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    disk: Arc<PackedDisk>,
    /// The disk as contents refer to it.
    pub(super) file: Arc<HostFile>,
}

#[derive(Debug)]
struct PackedDisk {
    source: Arc<HostFile>,
    /// Each with its place on the disk, ascending.
    pieces: RwLock<Vec<(u64, Piece)>>,
    /// What was unpacked last: files are read from their beginning to their end, and small ones share pieces.
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
}

impl Pieces {
    pub(super) fn new(source: &Arc<HostFile>) -> Self {
        let disk = Arc::new(PackedDisk { source: source.clone(), pieces: RwLock::default(), last: Mutex::default() });
        let file = HostFile::window(disk.clone(), 0, SIZE, source.path());
        Self { disk, file }
    }

    /// Adds a piece and returns its place.
    pub(super) fn add(&self, piece: Piece) -> Result<u64, TreeReadError> {
        let end = piece.skip.checked_add(piece.length);
        if piece.stored > MAX_PIECE || piece.unpacked > MAX_PIECE || piece.length == 0 || end.is_none_or(|end| end > piece.unpacked) {
            return Err(TreeReadError::Damaged("a compressed piece has an impossible size"));
        }
        let mut pieces = self.disk.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let place = pieces.last().map_or(0, |(place, last)| place + last.length);
        if place > SIZE - MAX_PIECE {
            return Err(TreeReadError::Damaged("its files are larger than it can hold"));
        }
        pieces.push((place, piece));
        Ok(place)
    }
}

impl PackedDisk {
    /// Returns the bytes of a piece that count.
    fn piece(&self, place: u64, piece: &Piece) -> io::Result<Arc<[u8]>> {
        if let Some((_, bytes)) = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().filter(|(known, _)| *known == place) {
            return Ok(bytes.clone());
        }
        let mut stored = vec![0; piece.stored as usize];
        self.source.read_exact_at(&mut stored, piece.source)?;
        let unpacked = unpack(&stored, piece.method, piece.unpacked as usize)?;
        let bytes = unpacked.get(piece.skip as usize..(piece.skip + piece.length) as usize);
        let bytes: Arc<[u8]> = bytes.ok_or_else(|| io::Error::other("a compressed piece is shorter than it should be"))?.into();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, bytes.clone()));
        Ok(bytes)
    }
}

impl DiskReader for PackedDisk {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let (place, piece) = {
                let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
                let index = pieces.partition_point(|(place, _)| *place <= offset);
                let found = index.checked_sub(1).and_then(|index| pieces.get(index)).filter(|(place, piece)| offset - place < piece.length);
                *found.ok_or(io::ErrorKind::UnexpectedEof)?
            };
            let bytes = self.piece(place, &piece)?;
            let from = (offset - place) as usize;
            let count = (bytes.len() - from).min(buffer.len());
            let (now, rest) = buffer.split_at_mut(count);
            now.copy_from_slice(&bytes[from..from + count]);
            (buffer, offset) = (rest, offset + count as u64);
        }
        Ok(())
    }

    fn is_hole(&self, _: u64, _: u64) -> bool {
        false
    }
}

/// Unpacks bytes, no more than `limit` of them.
pub(super) fn unpack(stored: &[u8], method: Method, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut read = |reader: &mut dyn io::Read| reader.take(limit as u64).read_to_end(&mut bytes).map(drop);
    match method {
        Method::Plain => bytes.extend_from_slice(&stored[..stored.len().min(limit)]),
        Method::Zlib => read(&mut flate2::read::ZlibDecoder::new(stored))?,
        Method::Xz => read(&mut liblzma::read::XzDecoder::new(stored))?,
        Method::Zstd => read(&mut zstd::Decoder::with_buffer(stored)?.single_frame())?,
        Method::Lz4 => bytes = lz4(stored, limit).ok_or_else(|| io::Error::other("a piece that LZ4 has compressed is damaged"))?,
        Method::Unknown(name) => return Err(io::Error::new(io::ErrorKind::Unsupported, format!("what {name} has compressed is not read"))),
    }
    Ok(bytes)
}

/// Unpacks a block of LZ4 until `limit` bytes are there or it ends.
fn lz4(stored: &[u8], limit: usize) -> Option<Vec<u8>> {
    let start = stored.iter().position(|byte| *byte != 0)?;
    let mut left = stored.get(start..)?.iter().copied();
    let mut bytes: Vec<u8> = Vec::with_capacity(limit);
    // A length of all ones goes on in further bytes.
    let length = |first: u8, left: &mut dyn Iterator<Item = u8>| {
        let mut length = usize::from(first);
        let mut last = if first == 15 { 255 } else { 0 };
        while last == 255 {
            last = left.next()?;
            length = length.checked_add(usize::from(last))?;
        }
        Some(length)
    };
    while let Some(token) = left.next() {
        let literals = length(token >> 4, &mut left)?;
        bytes.extend(left.by_ref().take(literals.min(limit - bytes.len())));
        let (Some(low), Some(high)) = (left.next(), left.next()) else { break };
        if bytes.len() >= limit {
            break;
        }
        let from = bytes.len().checked_sub(usize::from(u16::from_le_bytes([low, high])))?;
        let count = length(token & 15, &mut left)?.checked_add(4)?;
        for index in from..from + count.min(limit - bytes.len()) {
            bytes.push(*bytes.get(index)?);
        }
        if bytes.len() >= limit {
            break;
        }
    }
    Some(bytes)
}
