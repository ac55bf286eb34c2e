//! SquashFS 4: superblock → inodes and directories, in blocks of 8 KiB that are compressed → blocks of files, and what is left of
//! them in shared fragments.
//!
//! What gzip, xz, zstd and LZ4 have compressed is read. Inodes are known by where they are, so that hard links are one inode.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Entries, Inodes, Numbers as _, TreeReadError, build, bytes_at, content, device, filled, metadata, slice, special,
    unpack::{Method, Piece, Pieces, unpack},
};
use crate::rootfs::{
    content::{Content, Extent, HostFile},
    tree::{Inode, RootTree},
};

/// Bytes of a block of metadata, unpacked.
const METADATA: usize = 8192;
/// The largest block of a file.
const MAX_FILE_BLOCK: u64 = 1 << 20;
/// What says that there is no fragment, or no extended attributes.
const NONE: u32 = u32::MAX;
/// The most blocks of metadata that are kept.
const MAX_KEPT: usize = 4096;

/// Reads the filesystem that fills a file.
pub(super) fn read_tree(file: &Arc<HostFile>) -> Result<RootTree, TreeReadError> {
    let head = bytes_at(file, 0, 96)?;
    if head.le16(28)? != 4 {
        return Err(TreeReadError::Unsupported("its version is not 4"));
    }
    let block = u64::from(head.le32(12)?);
    if !(4096..=MAX_FILE_BLOCK).contains(&block) {
        return Err(TreeReadError::Damaged("its blocks have an impossible size"));
    }
    let method = match head.le16(20)? {
        1 => Method::Zlib,
        2 => Method::Unknown("LZMA"),
        3 => Method::Unknown("LZO"),
        4 => Method::Xz,
        5 => Method::Lz4,
        6 => Method::Zstd,
        _ => Method::Unknown("an unknown program"),
    };
    let places = |at: usize| head.le64(at);
    let mut reader = Reader {
        file: file.clone(),
        pieces: Pieces::new(file),
        method,
        block,
        root: places(32)?,
        inodes: places(64)?,
        directories: places(72)?,
        kept: HashMap::new(),
        ids: Vec::new(),
        fragments: Vec::new(),
        xattrs: Vec::new(),
        xattr_values: 0,
    };
    reader.ids = reader.table(places(48)?, usize::from(head.le16(26)?), 4)?;
    let fragments = head.le32(16)?;
    if fragments > 0 {
        reader.fragments = reader.table(places(80)?, fragments as usize, 16)?;
    }
    let xattrs = places(56)?;
    if xattrs != u64::MAX {
        let header = bytes_at(file, xattrs, 16)?;
        reader.xattr_values = header.le64(0)?;
        reader.xattrs = reader.table(xattrs + 16, header.le32(8)? as usize, 16)?;
    }
    build(&mut reader, file.size())
}

struct Reader {
    file: Arc<HostFile>,
    pieces: Pieces,
    method: Method,
    block: u64,
    root: u64,
    inodes: u64,
    directories: u64,
    /// Blocks of metadata by place, each with where the next one is.
    kept: HashMap<u64, (Arc<[u8]>, u64)>,
    ids: Vec<u8>,
    fragments: Vec<u8>,
    xattrs: Vec<u8>,
    xattr_values: u64,
}

/// A place in a stream of metadata: a block, and how far into it.
#[derive(Clone, Copy)]
struct Cursor(u64, usize);

impl Reader {
    /// Returns a table of `count` entries, whose blocks of metadata are listed at a place.
    fn table(&mut self, at: u64, count: usize, entry: usize) -> Result<Vec<u8>, TreeReadError> {
        let size = count.checked_mul(entry).filter(|size| *size as u64 <= super::MAX_INDEX);
        let size = size.ok_or(TreeReadError::Damaged("a table is too large"))?;
        let blocks = bytes_at(&self.file, at, size.div_ceil(METADATA) as u64 * 8)?;
        let mut table = Vec::with_capacity(size.min(1 << 20));
        for block in blocks.chunks_exact(8) {
            let (bytes, _) = self.metadata_block(block.le64(0)?)?;
            table.extend_from_slice(&bytes);
        }
        table.truncate(size);
        Ok(table)
    }

    fn metadata_block(&mut self, place: u64) -> Result<(Arc<[u8]>, u64), TreeReadError> {
        if let Some(known) = self.kept.get(&place) {
            return Ok(known.clone());
        }
        let header = bytes_at(&self.file, place, 2)?.le16(0)?;
        let stored = bytes_at(&self.file, place + 2, u64::from(header & 0x7fff))?;
        let method = if header & 0x8000 != 0 { Method::Plain } else { self.method };
        let bytes = unpack(&stored, method, METADATA)?;
        if bytes.is_empty() {
            return Err(TreeReadError::Damaged("a block of metadata is empty"));
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        let block: (Arc<[u8]>, u64) = (bytes.into(), place + 2 + stored.len() as u64);
        self.kept.insert(place, block.clone());
        Ok(block)
    }

    /// Reads `length` bytes of metadata and moves behind them.
    fn take(&mut self, at: &mut Cursor, length: usize) -> Result<Vec<u8>, TreeReadError> {
        let mut bytes = Vec::with_capacity(length.min(METADATA));
        while bytes.len() < length {
            let (block, next) = self.metadata_block(at.0)?;
            let left = block.get(at.1..).ok_or(TreeReadError::Damaged("a reference leads behind a block of metadata"))?;
            let count = left.len().min(length - bytes.len());
            bytes.extend_from_slice(&left[..count]);
            at.1 += count;
            if at.1 == block.len() {
                *at = Cursor(next, 0);
            }
        }
        Ok(bytes)
    }

    /// Returns where a reference of an inode leads.
    fn cursor(&self, start: u64, reference: u64) -> Result<Cursor, TreeReadError> {
        let place = start.checked_add(reference >> 16).ok_or(TreeReadError::Damaged("a reference leads out of it"))?;
        Ok(Cursor(place, (reference & 0xffff) as usize))
    }

    fn id(&self, index: u16) -> Result<u32, TreeReadError> {
        self.ids.le32(usize::from(index) * 4)
    }

    /// Returns the content of a file whose list of blocks is next.
    fn file_content(&mut self, at: &mut Cursor, start: u64, size: u64, fragment: (u32, u32)) -> Result<Content, TreeReadError> {
        let tail = if fragment.0 == NONE { 0 } else { size % self.block };
        let count = (size - tail).div_ceil(self.block);
        if count > super::MAX_INDEX / 4 {
            return Err(TreeReadError::Damaged("a file is too large"));
        }
        let sizes = self.take(at, count as usize * 4)?;
        let mut extents = Vec::new();
        let (mut place, mut logical) = (start, 0);
        for entry in sizes.chunks_exact(4) {
            let word = entry.le32(0)?;
            let stored = u64::from(word & 0xff_ffff);
            let length = self.block.min(size - logical);
            if stored > 0 {
                let method = if word & 1 << 24 != 0 { Method::Plain } else { self.method };
                let piece = Piece { source: place, stored, method, unpacked: self.block, skip: 0, length };
                extents.push(Extent { logical, source: self.pieces.add(piece)?, length });
                place = place.checked_add(stored).ok_or(TreeReadError::Damaged("a file has no end"))?;
            }
            logical += length;
        }
        if tail > 0 {
            let entry = slice(&self.fragments, (fragment.0 as usize).saturating_mul(16), 16)?;
            let (place, word) = (entry.le64(0)?, entry.le32(8)?);
            let method = if word & 1 << 24 != 0 { Method::Plain } else { self.method };
            let stored = u64::from(word & 0xff_ffff);
            let piece = Piece { source: place, stored, method, unpacked: self.block, skip: u64::from(fragment.1), length: tail };
            extents.push(Extent { logical, source: self.pieces.add(piece)?, length: tail });
        }
        content(&self.pieces.file, extents, size)
    }

    fn xattrs(&mut self, index: u32) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TreeReadError> {
        let mut found = BTreeMap::new();
        if index == NONE {
            return Ok(found);
        }
        let entry = slice(&self.xattrs, (index as usize).saturating_mul(16), 16)?;
        let (reference, count) = (entry.le64(0)?, entry.le32(8)?);
        let mut at = self.cursor(self.xattr_values, reference)?;
        for _ in 0..count {
            let header = self.take(&mut at, 4)?;
            let kind = header.le16(0)?;
            let prefix: &[u8] = match kind & 0xff {
                0 => b"user.",
                1 => b"trusted.",
                2 => b"security.",
                _ => return Err(TreeReadError::Damaged("an extended attribute has no namespace")),
            };
            let name = self.take(&mut at, usize::from(header.le16(2)?))?;
            let mut value = self.xattr_value(&mut at)?;
            if kind & 0x100 != 0 {
                // The value is elsewhere, where another inode has the same one.
                let mut elsewhere = self.cursor(self.xattr_values, value.le64(0)?)?;
                value = self.xattr_value(&mut elsewhere)?;
            }
            found.insert([prefix, &name].concat(), value);
        }
        Ok(found)
    }

    fn xattr_value(&mut self, at: &mut Cursor) -> Result<Vec<u8>, TreeReadError> {
        let size = self.take(at, 4)?.le32(0)?;
        if size > 1 << 16 {
            return Err(TreeReadError::Damaged("an extended attribute is too long"));
        }
        self.take(at, size as usize)
    }
}

impl Inodes for Reader {
    type Number = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&mut self, number: u64) -> Result<Inode, TreeReadError> {
        let mut at = self.cursor(self.inodes, number)?;
        let head = self.take(&mut at, 16)?;
        let kind = head.le16(0)?;
        let mut xattrs = NONE;
        let format = [0o040_000, 0o100_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000, 0o140_000];
        let format = kind.checked_sub(1).and_then(|kind| format.get(usize::from(kind % 7)).filter(|_| kind < 14));
        let format: u32 = *format.ok_or(TreeReadError::Damaged("the type of an inode is unknown"))?;
        let is_long = kind > 7;
        let mode = format | u32::from(head.le16(2)?);
        let mut rdev = 0;
        let mut filling = None;
        match format {
            0o040_000 if is_long => xattrs = self.take(&mut at, 24)?.le32(20)?,
            0o100_000 => {
                let (start, size, fragment) = if is_long {
                    let more = self.take(&mut at, 40)?;
                    xattrs = more.le32(36)?;
                    (more.le64(0)?, more.le64(8)?, (more.le32(28)?, more.le32(32)?))
                } else {
                    let more = self.take(&mut at, 16)?;
                    (u64::from(more.le32(0)?), u64::from(more.le32(12)?), (more.le32(4)?, more.le32(8)?))
                };
                filling = Some(self.file_content(&mut at, start, size, fragment)?);
            }
            0o120_000 => {
                let size = self.take(&mut at, 8)?.le32(4)?;
                if size > 4096 {
                    return Err(TreeReadError::Damaged("the target of a link is too long"));
                }
                filling = Some(Content::bytes(self.take(&mut at, size as usize)?));
                if is_long {
                    xattrs = self.take(&mut at, 4)?.le32(0)?;
                }
            }
            0o020_000 | 0o060_000 => {
                rdev = self.take(&mut at, 8)?.le32(4)?;
                if is_long {
                    xattrs = self.take(&mut at, 4)?.le32(0)?;
                }
            }
            _ if is_long => xattrs = self.take(&mut at, 8)?.le32(4)?,
            _ => {}
        }
        let kind = match (special(mode, device(rdev))?, filling) {
            (Some(kind), _) => kind,
            (None, Some(content)) => filled(mode, content)?,
            (None, None) => return Err(TreeReadError::Damaged("a file has no content")),
        };
        let xattrs = self.xattrs(xattrs)?;
        let (uid, gid) = (self.id(head.le16(4)?)?, self.id(head.le16(6)?)?);
        Ok(Inode { metadata: metadata(mode, uid, gid, i64::from(head.le32(8)?), xattrs), kind })
    }

    fn entries(&mut self, number: u64) -> Result<Entries<u64>, TreeReadError> {
        let mut at = self.cursor(self.inodes, number)?;
        let is_long = self.take(&mut at, 16)?.le16(0)? == 8;
        let more = self.take(&mut at, if is_long { 24 } else { 16 })?;
        let (start, size, offset) = if is_long {
            (more.le32(8)?, more.le32(4)?, more.le16(18)?)
        } else {
            (more.le32(0)?, u32::from(more.le16(8)?), more.le16(10)?)
        };
        // Three bytes more than there are: for the two entries that are not here.
        let mut left = (size as usize).saturating_sub(3);
        let mut at = Cursor(self.directories.saturating_add(u64::from(start)), usize::from(offset));
        let mut entries = Vec::new();
        while left > 0 {
            let head = self.take(&mut at, 12)?;
            let (count, block) = (head.le32(0)?, u64::from(head.le32(4)?));
            left = left.saturating_sub(12);
            for _ in 0..=count.min(256) {
                let entry = self.take(&mut at, 8)?;
                let name = self.take(&mut at, usize::from(entry.le16(6)?) + 1)?;
                left = left.saturating_sub(8 + name.len());
                entries.push((name, block << 16 | u64::from(entry.le16(0)?)));
            }
        }
        Ok(entries)
    }
}
