//! XFS, versions 4 and 5: superblock → inodes → extents, in the inode or in a tree of blocks → directories in inodes or blocks.
//!
//! Of extended attributes those are read that are in the inode. What is on a real-time device is refused.

use std::{collections::BTreeMap, sync::Arc};

use super::{Entries, Inodes, MAX_BLOCK, Numbers as _, TreeReadError, build, bytes_at, content, filled, metadata, slice, special};
use crate::rootfs::{
    content::{Content, Extent, HostFile},
    tree::{Inode, Kind, RootTree},
};

/// Where blocks of a directory begin that are no entries.
const ENTRIES_END: u64 = 32 << 30;
/// Times count from 2^31 seconds before 1970 where they reach beyond 2038.
const EARLIEST: i64 = 1 << 31;
/// Types in directories, of versions 5 and 4; and counts of extents with more bits.
const TYPES_5: u32 = 1;
const TYPES_4: u32 = 0x200;
/// What of the features that a reader must know is known: types, sparse chunks of inodes, UUIDs, times, needing repair, counts.
const KNOWN: u32 = 0x3f;
/// Names of access control lists.
const LISTS: [(&[u8], &[u8]); 2] = [(b"SGI_ACL_FILE", b"system.posix_acl_access"), (b"SGI_ACL_DEFAULT", b"system.posix_acl_default")];

const SHORT: TreeReadError = TreeReadError::Damaged("a structure ends too early");

/// Reads the filesystem that fills a file.
pub(super) fn read_tree(file: &Arc<HostFile>) -> Result<RootTree, TreeReadError> {
    let head = bytes_at(file, 0, 512)?;
    let version = head.be16(100)? & 0xf;
    let block = u64::from(head.be32(4)?);
    let inode_size = u64::from(head.be16(104)?);
    let [inodes_log, group_log, directory_log] = [123, 124, 192].map(|at| u32::from(head[at]));
    let is_possible = (512..=MAX_BLOCK).contains(&block)
        && block.is_power_of_two()
        && (256..=2048).contains(&inode_size)
        && inodes_log < 32
        && group_log < 32
        && block << directory_log.min(16) <= MAX_BLOCK;
    if !is_possible || !matches!(version, 4 | 5) {
        return Err(TreeReadError::Unsupported("its superblock is not one of versions 4 and 5"));
    }
    if version == 5 && head.be32(216)? & !KNOWN != 0 {
        return Err(TreeReadError::Unsupported("it has features that are newer than this program"));
    }
    let has_types = if version == 5 { head.be32(216)? & TYPES_5 != 0 } else { head.be32(200)? & TYPES_4 != 0 };
    let mut reader = Reader {
        file: file.clone(),
        is_5: version == 5,
        has_types,
        block,
        inode_size,
        inodes_log,
        group_log,
        group_blocks: u64::from(head.be32(84)?),
        directory_block: block << directory_log,
        root: head.be64(56)?,
        visits: file.size() / block,
    };
    build(&mut reader, file.size())
}

struct Reader {
    file: Arc<HostFile>,
    is_5: bool,
    has_types: bool,
    block: u64,
    inode_size: u64,
    inodes_log: u32,
    group_log: u32,
    group_blocks: u64,
    directory_block: u64,
    root: u64,
    /// How many blocks of trees may still be visited.
    visits: u64,
}

/// An inode as it is on the disk.
struct Raw {
    bytes: Vec<u8>,
    mode: u32,
    size: u64,
    /// The part with the content, and that with the attributes.
    fork: (usize, usize),
    attributes: Option<(usize, u8)>,
}

impl Reader {
    fn raw(&self, number: u64) -> Result<Raw, TreeReadError> {
        let bits = self.inodes_log + self.group_log;
        let (group, within) = (number >> bits, number & ((1 << bits) - 1));
        let group = group.checked_mul(self.group_blocks).and_then(|blocks| blocks.checked_mul(self.block));
        let at = group.and_then(|at| at.checked_add(within * self.inode_size)).ok_or(SHORT)?;
        let bytes = bytes_at(&self.file, at, self.inode_size)?;
        let core = if bytes[4] >= 3 { 176 } else { 100 };
        if &bytes[..2] != b"IN" || self.is_5 && bytes.be64(152)? != number {
            return Err(TreeReadError::Damaged("an entry leads to something that is no inode"));
        }
        let attributes = core + usize::from(bytes[82]) * 8;
        let end = if bytes[82] == 0 { bytes.len() } else { attributes };
        if end > bytes.len() {
            return Err(SHORT);
        }
        Ok(Raw {
            mode: u32::from(bytes.be16(2)?),
            size: bytes.be64(56)?,
            fork: (core, end),
            attributes: (bytes[82] != 0).then_some((attributes, bytes[83])),
            bytes,
        })
    }

    /// Returns where a block of the filesystem is.
    fn place(&self, block: u64) -> Result<u64, TreeReadError> {
        let (group, within) = (block >> self.group_log, block & ((1 << self.group_log) - 1));
        let blocks = group.checked_mul(self.group_blocks).and_then(|blocks| blocks.checked_add(within));
        blocks.and_then(|blocks| blocks.checked_mul(self.block)).ok_or(SHORT)
    }

    /// Adds the extents of records that are one behind the other; what was never written is a hole.
    fn records(&self, bytes: &[u8], count: usize, extents: &mut Vec<Extent>) -> Result<(), TreeReadError> {
        for record in slice(bytes, 0, count.checked_mul(16).ok_or(SHORT)?)?.chunks_exact(16) {
            let (high, low) = (record.be64(0)?, record.be64(8)?);
            if high >> 63 == 0 {
                let source = self.place((high & 0x1ff) << 43 | low >> 21)?;
                let logical = (high >> 9 & ((1 << 54) - 1)).checked_mul(self.block).ok_or(SHORT)?;
                extents.push(Extent { logical, source, length: (low & ((1 << 21) - 1)) * self.block });
            }
        }
        Ok(())
    }

    fn extents(&mut self, raw: &Raw) -> Result<Vec<Extent>, TreeReadError> {
        let fork = &raw.bytes[raw.fork.0..raw.fork.1];
        let mut extents = Vec::new();
        match raw.bytes[5] {
            2 => {
                // Bit 4 of the newer flags: the count has 64 bits and is where it was padding.
                let is_wide = raw.bytes[4] >= 3 && raw.bytes.be64(120)? & 1 << 4 != 0;
                let count = if is_wide { raw.bytes.be64(24)? } else { u64::from(raw.bytes.be32(76)?) };
                self.records(fork, usize::try_from(count).map_err(|_| SHORT)?, &mut extents)?;
            }
            3 => {
                let (level, count) = (fork.be16(0)?, usize::from(fork.be16(2)?));
                let pointers = 4 + (fork.len() - 4) / 16 * 8;
                for index in 0..count {
                    self.tree(fork.be64(pointers + index * 8)?, level, &mut extents)?;
                }
            }
            _ => return Err(TreeReadError::Damaged("an inode has no content")),
        }
        Ok(extents)
    }

    /// Adds the extents below a block of a tree.
    fn tree(&mut self, block: u64, above: u16, extents: &mut Vec<Extent>) -> Result<(), TreeReadError> {
        self.visits = self.visits.checked_sub(1).ok_or(TreeReadError::Damaged("a tree has more blocks than there are"))?;
        let bytes = bytes_at(&self.file, self.place(block)?, self.block)?;
        let (level, count) = (bytes.be16(4)?, usize::from(bytes.be16(6)?));
        if level >= above || level > 8 {
            return Err(TreeReadError::Damaged("a tree goes in circles"));
        }
        let header = if self.is_5 { 72 } else { 24 };
        if level == 0 {
            return self.records(&bytes[header..], count, extents);
        }
        let pointers = header + (bytes.len() - header) / 16 * 8;
        for index in 0..count {
            self.tree(bytes.be64(pointers + index * 8)?, level, extents)?;
        }
        Ok(())
    }

    fn kind(&mut self, raw: &Raw) -> Result<Kind, TreeReadError> {
        let fork = &raw.bytes[raw.fork.0..raw.fork.1];
        let device = fork.be32(0)?;
        if let Some(kind) = special(raw.mode, (device >> 18, device & 0x3_ffff))? {
            return Ok(kind);
        }
        if raw.bytes.be16(90)? & 1 != 0 {
            return Err(TreeReadError::Unsupported("files are on a real-time device"));
        }
        if raw.bytes[5] == 1 {
            let length = usize::try_from(raw.size).map_err(|_| SHORT)?;
            return filled(raw.mode, Content::bytes(slice(fork, 0, length)?));
        }
        let mut extents = self.extents(raw)?;
        if raw.mode & 0o170_000 == 0o120_000 && self.is_5 {
            // Each block of a link has a header.
            const HEADER: u64 = 56;
            let mut logical = 0;
            for extent in &mut extents {
                if extent.length <= HEADER || extent.length > MAX_BLOCK {
                    return Err(SHORT);
                }
                *extent = Extent { logical, source: extent.source + HEADER, length: extent.length - HEADER };
                logical += extent.length;
            }
        }
        filled(raw.mode, content(&self.file, extents, raw.size)?)
    }

    fn attributes(&self, raw: &Raw) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TreeReadError> {
        let mut found = BTreeMap::new();
        // In blocks of their own they are not read.
        let Some((start, 1)) = raw.attributes else { return Ok(found) };
        let bytes = &raw.bytes[start..];
        let mut at = 4;
        for _ in 0..*bytes.get(2).ok_or(SHORT)? {
            let header = slice(bytes, at, 3)?;
            let (name, value) = (usize::from(header[0]), usize::from(header[1]));
            let (name, value, flags) = (slice(bytes, at + 3, name)?, slice(bytes, at + 3 + name, value)?, header[2]);
            at += 3 + name.len() + value.len();
            if let Some((_, known)) = LISTS.iter().find(|(stored, _)| flags & 2 != 0 && *stored == name) {
                found.insert(known.to_vec(), access_list(value).ok_or(SHORT)?);
                continue;
            }
            let prefix: &[u8] = match flags & 6 {
                2 => b"trusted.",
                4 => b"security.",
                _ => b"user.",
            };
            found.insert([prefix, name].concat(), value.to_vec());
        }
        Ok(found)
    }

    /// Returns the entries of a directory that is in its inode.
    fn short(&self, fork: &[u8]) -> Result<Entries<u64>, TreeReadError> {
        let (count, is_wide) = (usize::from(*fork.first().ok_or(SHORT)?), fork.get(1).is_some_and(|wide| *wide > 0));
        let number_size = if is_wide { 8 } else { 4 };
        // Where there are wide numbers, their count is what the narrow one would be.
        let count = if is_wide { count.max(usize::from(fork[1])) } else { count };
        let mut at = 2 + number_size;
        let mut entries = Vec::new();
        for _ in 0..count {
            let length = usize::from(*fork.get(at).ok_or(SHORT)?);
            let name = slice(fork, at + 3, length)?;
            let number = at + 3 + length + usize::from(self.has_types);
            let number_of = if is_wide { fork.be64(number)? } else { u64::from(fork.be32(number)?) };
            entries.push((name.to_vec(), number_of));
            at = number + number_size;
        }
        Ok(entries)
    }

    /// Adds the entries of a block of a directory.
    fn block_entries(&self, block: &[u8], entries: &mut Entries<u64>) -> Result<(), TreeReadError> {
        let (mut at, has_hashes) = match block.get(..4).ok_or(SHORT)? {
            b"XDB3" => (64, true),
            b"XDD3" => (64, false),
            b"XD2B" => (16, true),
            b"XD2D" => (16, false),
            _ => return Err(TreeReadError::Damaged("a block of a directory is not one")),
        };
        let end = if has_hashes {
            let hashes = (block.be32(block.len() - 8)? as usize).checked_mul(8).ok_or(SHORT)?;
            (block.len() - 8).checked_sub(hashes).ok_or(SHORT)?
        } else {
            block.len()
        };
        while at < end {
            if block.be16(at)? == 0xffff {
                at += usize::from(block.be16(at + 2)?).max(8);
                continue;
            }
            let (number, length) = (block.be64(at)?, usize::from(*block.get(at + 8).ok_or(SHORT)?));
            let name = slice(block, at + 9, length)?;
            if name != b"." && name != b".." {
                entries.push((name.to_vec(), number));
            }
            at += (8 + 1 + length + usize::from(self.has_types) + 2).next_multiple_of(8);
        }
        Ok(())
    }
}

impl Inodes for Reader {
    type Number = u64;

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&mut self, number: u64) -> Result<Inode, TreeReadError> {
        let raw = self.raw(number)?;
        let kind = self.kind(&raw)?;
        let bytes = &raw.bytes;
        let is_beyond_2038 = bytes[4] >= 3 && bytes.be64(120)? & 1 << 3 != 0;
        let mtime = if is_beyond_2038 {
            (bytes.be64(40)? / 1_000_000_000).cast_signed() - EARLIEST
        } else {
            i64::from(bytes.be32(40)?.cast_signed())
        };
        Ok(Inode { metadata: metadata(raw.mode, bytes.be32(8)?, bytes.be32(12)?, mtime, self.attributes(&raw)?), kind })
    }

    fn entries(&mut self, number: u64) -> Result<Entries<u64>, TreeReadError> {
        let raw = self.raw(number)?;
        if raw.bytes[5] == 1 {
            return self.short(&raw.bytes[raw.fork.0..raw.fork.1]);
        }
        if raw.size > self.file.size() {
            return Err(TreeReadError::Damaged("a directory is larger than the filesystem"));
        }
        let extents = self.extents(&raw)?.into_iter().filter(|extent| extent.logical < ENTRIES_END).collect();
        let blocks = content(&self.file, extents, raw.size)?;
        let mut entries = Vec::new();
        let mut block = vec![0; self.directory_block as usize];
        for at in 0..raw.size / self.directory_block {
            blocks.read_exact_at(&mut block, at * self.directory_block)?;
            // Blocks that were emptied are holes.
            if block.iter().any(|byte| *byte != 0) {
                self.block_entries(&block, &mut entries)?;
            }
        }
        Ok(entries)
    }
}

/// Returns an access control list as programs see it, from how XFS stores it.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.get(4..)?;
    let mut list = vec![2, 0, 0, 0];
    for entry in entries.chunks_exact(12) {
        let number = |at: usize| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        list.extend((number(0) as u16).to_le_bytes());
        list.extend(u16::from_be_bytes([entry[8], entry[9]]).to_le_bytes());
        list.extend(number(4).to_le_bytes());
    }
    Some(list)
}
