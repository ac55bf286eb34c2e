//! EROFS: superblock → inodes → contents as they are, in chunks, or compressed by LZ4 in clusters of one block.
//!
//! Clusters of several blocks, and contents that share fragments with others, are known and not read: their files are errors when
//! they are read.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Entries, Inodes, Numbers as _, TreeReadError, build, bytes_at, content, device, filled, metadata, slice, special,
    unpack::{Method, Piece, Pieces},
};
use crate::rootfs::{
    content::{Content, Extent, HostFile},
    tree::{Inode, Kind, RootTree},
};

const SUPERBLOCK: u64 = 1024;
/// What contents can be like.
const PLAIN: u16 = 0;
const COMPRESSED_FULL: u16 = 1;
const INLINE: u16 = 2;
const COMPRESSED_COMPACT: u16 = 3;
/// Advice of compressed files: indexes of two bytes, clusters of several blocks, the end in the inode, plain blocks that keep their
/// place, fragments.
const TWO_BYTES: u16 = 1;
const SEVERAL_BLOCKS: u16 = 2 | 4;
const TAIL: u16 = 8;
const IN_PLACE: u16 = 16;
const FRAGMENT: u16 = 32;
/// What a cluster of a compressed file is: as it is, or the first of a compressed extent, or a later one.
const CLUSTER_PLAIN: u16 = 0;
const CLUSTER_HEAD: u16 = 1;
const CLUSTER_LATER: u16 = 2;

const SHORT: TreeReadError = TreeReadError::Damaged("a structure ends too early");

/// Reads the filesystem that fills a file.
pub(super) fn read_tree(file: &Arc<HostFile>) -> Result<RootTree, TreeReadError> {
    let head = bytes_at(file, SUPERBLOCK, 128)?;
    let bits = head[12];
    if !(9..=16).contains(&bits) {
        return Err(TreeReadError::Damaged("its blocks have an impossible size"));
    }
    let mut reader = Reader {
        file: file.clone(),
        pieces: Pieces::new(file),
        bits,
        block: 1 << bits,
        root: u64::from(head.le16(14)?),
        time: head.le64(24)?.cast_signed(),
        inodes: u64::from(head.le32(40)?) << bits,
        shared: u64::from(head.le32(44)?) << bits,
    };
    build(&mut reader, file.size())
}

struct Reader {
    file: Arc<HostFile>,
    pieces: Pieces,
    bits: u8,
    block: u64,
    root: u64,
    /// The time of inodes that have none of their own.
    time: i64,
    /// Where inodes, and attributes that several share, begin.
    inodes: u64,
    shared: u64,
}

/// An inode as it is on the disk.
struct Raw {
    layout: u16,
    mode: u32,
    size: u64,
    /// The first block, the device, or the number of blocks.
    word: u32,
    owner: (u32, u32),
    time: i64,
    /// Where its attributes are, and what is behind them.
    xattrs: (u64, u64),
    end: u64,
}

impl Reader {
    fn raw(&self, number: u64) -> Result<Raw, TreeReadError> {
        let at = number.checked_mul(32).and_then(|offset| offset.checked_add(self.inodes)).ok_or(SHORT)?;
        let format = bytes_at(&self.file, at, 4)?.le16(0)?;
        let is_long = format & 1 != 0;
        let length = if is_long { 64 } else { 32 };
        let bytes = bytes_at(&self.file, at, length)?;
        let count = u64::from(bytes.le16(2)?);
        let xattrs = if count == 0 { 0 } else { 12 + (count - 1) * 4 };
        Ok(Raw {
            layout: format >> 1 & 7,
            mode: u32::from(bytes.le16(4)?),
            size: if is_long { bytes.le64(8)? } else { u64::from(bytes.le32(8)?) },
            word: bytes.le32(16)?,
            owner: if is_long { (bytes.le32(24)?, bytes.le32(28)?) } else { (u32::from(bytes.le16(24)?), u32::from(bytes.le16(26)?)) },
            time: if is_long { bytes.le64(32)?.cast_signed() } else { self.time },
            xattrs: (at + length, xattrs),
            end: at + length + xattrs,
        })
    }

    fn content(&self, raw: &Raw) -> Result<Content, TreeReadError> {
        let start = u64::from(raw.word) << self.bits;
        let whole = Extent { logical: 0, source: start, length: raw.size };
        match raw.layout {
            _ if raw.size == 0 => Ok(Content::bytes(Vec::new())),
            PLAIN => content(&self.file, vec![whole], raw.size),
            INLINE => {
                let tail = raw.size % self.block;
                let blocks = Extent { length: raw.size - tail, ..whole };
                let end = Extent { logical: raw.size - tail, source: raw.end, length: tail };
                content(&self.file, [blocks, end].into_iter().filter(|extent| extent.length > 0).collect(), raw.size)
            }
            COMPRESSED_FULL | COMPRESSED_COMPACT => self.compressed(raw),
            4 => self.chunks(raw),
            _ => Err(TreeReadError::Unsupported("a file is stored in a way that is newer than this program")),
        }
    }

    /// Returns the content of a file in chunks, each with the block where it is.
    fn chunks(&self, raw: &Raw) -> Result<Content, TreeReadError> {
        let format = raw.word as u16;
        let has_devices = format & 32 != 0;
        let chunk = self.block << (format & 31);
        let (entry, align) = if has_devices { (8, 8) } else { (4, 4) };
        let map = bytes_at(&self.file, raw.end.next_multiple_of(align), raw.size.div_ceil(chunk).saturating_mul(entry))?;
        let mut extents = Vec::new();
        for (index, entry) in (0_u64..).zip(map.chunks_exact(entry as usize)) {
            let block = if has_devices { entry.le32(4)? } else { entry.le32(0)? };
            if has_devices && entry.le16(2)? != 0 {
                return Err(TreeReadError::Unsupported("it is on several devices"));
            }
            if block != u32::MAX {
                extents.push(Extent { logical: index * chunk, source: u64::from(block) << self.bits, length: chunk });
            }
        }
        content(&self.file, extents, raw.size)
    }

    /// Returns the content of a compressed file.
    fn compressed(&self, raw: &Raw) -> Result<Content, TreeReadError> {
        let map = raw.end.next_multiple_of(8);
        let header = bytes_at(&self.file, map, 8)?;
        let (advice, algorithms, sizes) = (header.le16(4)?, header[6], header[7]);
        let unknown = if advice & (SEVERAL_BLOCKS | TAIL | FRAGMENT) != 0 || sizes & 0x80 != 0 {
            Some("EROFS with large clusters or fragments")
        } else if algorithms & 15 != 0 {
            Some("EROFS with another algorithm than LZ4")
        } else if sizes & 15 != 0 {
            Some("EROFS with other clusters than blocks")
        } else {
            None
        };
        if let Some(name) = unknown {
            // The file is there, and what is in it is not known.
            let piece = |length| Piece { source: 0, stored: 0, method: Method::Unknown(name), unpacked: length, skip: 0, length };
            let extents = (0..raw.size).step_by(1 << 20).map(|logical| {
                let length = (raw.size - logical).min(1 << 20);
                Ok(Extent { logical, source: self.pieces.add(piece(length))?, length })
            });
            return content(&self.pieces.file, extents.collect::<Result<_, TreeReadError>>()?, raw.size);
        }
        let clusters = if raw.layout == COMPRESSED_FULL {
            self.full_index(map + 16, raw.size)?
        } else {
            self.compact_index(map + 8, raw.size, advice & TWO_BYTES != 0)?
        };
        let mut heads: Vec<(u64, u16, u64)> = Vec::new();
        for (index, (kind, offset, block)) in (0_u64..).zip(clusters) {
            match kind {
                CLUSTER_PLAIN | CLUSTER_HEAD => heads.push(((index << self.bits) + u64::from(offset), kind, block)),
                CLUSTER_LATER => {}
                _ => return Err(TreeReadError::Unsupported("a file has two algorithms")),
            }
        }
        let mut extents = Vec::new();
        for (index, (logical, kind, block)) in heads.iter().enumerate() {
            let end = heads.get(index + 1).map_or(raw.size, |(next, ..)| *next).min(raw.size);
            let Some(length) = end.checked_sub(*logical).filter(|length| *length > 0) else { continue };
            let source = block.checked_mul(self.block).ok_or(SHORT)?;
            let piece = if *kind == CLUSTER_HEAD {
                Piece { source, stored: self.block, method: Method::Lz4, unpacked: length, skip: 0, length }
            } else {
                let skip = if advice & IN_PLACE == 0 { 0 } else { logical % self.block };
                Piece { source, stored: self.block, method: Method::Plain, unpacked: self.block, skip, length }
            };
            extents.push(Extent { logical: *logical, source: self.pieces.add(piece)?, length });
        }
        content(&self.pieces.file, extents, raw.size)
    }

    /// Returns kind, offset and block of each cluster where each has an entry of its own.
    fn full_index(&self, at: u64, size: u64) -> Result<Vec<(u16, u16, u64)>, TreeReadError> {
        let index = bytes_at(&self.file, at, size.div_ceil(self.block).saturating_mul(8))?;
        index.chunks_exact(8).map(|entry| Ok((entry.le16(0)? & 3, entry.le16(2)?, u64::from(entry.le32(4)?)))).collect()
    }

    /// Returns the same where entries are packed, two by two in 8 bytes or 16 by 16 in 32, with one block for all of them.
    fn compact_index(&self, at: u64, size: u64, has_two_bytes: bool) -> Result<Vec<(u16, u16, u64)>, TreeReadError> {
        let count = size.div_ceil(self.block);
        let before = ((32 - at % 32) / 4 % 8).min(count);
        let short = if has_two_bytes { (count - before) / 16 * 16 } else { 0 };
        let mut clusters = Vec::new();
        let mut place = at;
        while (clusters.len() as u64) < count {
            let done = clusters.len() as u64;
            let (entries, length) = if (before..before + short).contains(&done) { (16_usize, 32_usize) } else { (2, 8) };
            let pack = bytes_at(&self.file, place, length as u64)?;
            let first = u64::from(pack.le32(length - 4)?);
            let bits = (length - 4) * 8 / entries;
            let offset_bits = usize::from(self.bits).max(12);
            let mut heads = 0;
            for entry in 0..entries {
                let at = entry * bits;
                // At most 16 bits from any bit on: three bytes.
                let word = (0..3).fold(0_u32, |word, byte| word | u32::from(pack.get(at / 8 + byte).copied().unwrap_or(0)) << (8 * byte));
                let word = word >> (at % 8);
                let (offset, kind) = (word & ((1 << offset_bits) - 1), (word >> offset_bits & 3) as u16);
                let block = if kind == CLUSTER_LATER {
                    0
                } else {
                    heads += 1;
                    first + heads
                };
                clusters.push((kind, offset as u16, block));
            }
            place += length as u64;
        }
        clusters.truncate(count as usize);
        Ok(clusters)
    }

    fn xattrs(&self, raw: &Raw) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TreeReadError> {
        let mut found = BTreeMap::new();
        if raw.xattrs.1 == 0 {
            return Ok(found);
        }
        let bytes = bytes_at(&self.file, raw.xattrs.0, raw.xattrs.1)?;
        let shared = usize::from(bytes[4]);
        let mut at = 12 + shared * 4;
        while at + 4 <= bytes.len() && bytes.le32(at)? != 0 {
            at += add_xattr(&bytes[at..], &mut found)?;
        }
        for index in 0..shared {
            let place = self.shared.saturating_add(u64::from(bytes.le32(12 + index * 4)?) * 4);
            let head = bytes_at(&self.file, place, 4)?;
            let length = 4 + u64::from(head[0]) + u64::from(head.le16(2)?);
            add_xattr(&bytes_at(&self.file, place, length)?, &mut found)?;
        }
        Ok(found)
    }
}

/// Adds the attribute that bytes begin with, and returns how long it is.
fn add_xattr(bytes: &[u8], found: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<usize, TreeReadError> {
    let head = slice(bytes, 0, 4)?;
    let (name, value) = (usize::from(head[0]), usize::from(head.le16(2)?));
    let prefix: &[u8] = match head[1] {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        _ => return Err(TreeReadError::Unsupported("an extended attribute has a prefix of its own")),
    };
    found.insert([prefix, slice(bytes, 4, name)?].concat(), slice(bytes, 4 + name, value)?.to_vec());
    Ok((4 + name + value).next_multiple_of(4))
}

impl Inodes for Reader {
    type Number = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&mut self, number: u64) -> Result<Inode, TreeReadError> {
        let raw = self.raw(number)?;
        let kind: Kind = match special(raw.mode, device(raw.word))? {
            Some(kind) => kind,
            None => filled(raw.mode, self.content(&raw)?)?,
        };
        Ok(Inode { metadata: metadata(raw.mode, raw.owner.0, raw.owner.1, raw.time, self.xattrs(&raw)?), kind })
    }

    fn entries(&mut self, number: u64) -> Result<Entries<u64>, TreeReadError> {
        let raw = self.raw(number)?;
        let blocks = self.content(&raw)?.read_all(super::MAX_INDEX.min(self.file.size()))?;
        let mut entries = Vec::new();
        for block in blocks.chunks(self.block as usize) {
            let count = usize::from(block.le16(8)?) / 12;
            for index in 0..count {
                let (child, start) = (block.le64(index * 12)?, usize::from(block.le16(index * 12 + 8)?));
                let end = if index + 1 < count { usize::from(block.le16(index * 12 + 20)?) } else { block.len() };
                let name = block.get(start..end).ok_or(SHORT)?;
                // The last name of a block ends with it, or with a zero.
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name != b"." && name != b".." {
                    entries.push((name.to_vec(), child));
                }
            }
        }
        Ok(entries)
    }
}
