//! Inodes, and the contents of files.
//!
//! All inodes are numbered first, then written one after the other with what belongs to them.

use std::collections::BTreeMap;

use super::{
    BLOCK, INODE, Put as _, Writer, XfsError, attributes,
    directory::{self, Child},
    groups::{Groups, Run},
    pieces,
};
use crate::rootfs::{
    content::Content,
    path::Shown,
    tree::{InodeId, Kind, Metadata, RootTree},
};

/// What is behind the fields of an inode: its content or where that is, then its extended attributes.
const FIELDS: usize = 176;
const ROOM: usize = INODE as usize - FIELDS;
/// The size of an extent, and how much is read of a file at once.
const EXTENT: usize = 16;
const CHUNK: u64 = 1 << 20;
/// How a content is stored.
const DEVICE: u8 = 0;
const LOCAL: u8 = 1;
const EXTENTS: u8 = 2;
/// Times count from 2^31 seconds before 1970.
const EARLIEST: i64 = 1 << 31;
const TIMES_BEYOND_2038: u64 = 1 << 3;
/// The bitmap of the real-time device, which there is none of, is of the newer kind.
const NEW_BITMAP: u16 = 1 << 2;

/// One inode before its checksum.
#[derive(Debug, Default)]
struct Fork {
    format: u8,
    size: u64,
    blocks: u64,
    extents: u32,
    bytes: Vec<u8>,
}

/// Writes all inodes with their contents, and returns whether any has extended attributes.
pub(super) fn write_all(writer: &Writer<'_>, groups: &mut Groups, tree: &RootTree) -> Result<bool, XfsError> {
    let full = || Writer::refuse(b"/", "there is no room for all inodes");
    let entries: Vec<_> = tree.walk().filter(|entry| entry.link_to.is_none()).collect();
    let count = entries.len() as u64 + 2;
    let taken = groups.take_inodes(count).ok_or_else(full)?;
    // After the root come the two inodes of the real-time device.
    let mut free = taken.iter().copied();
    let root = free.next().ok_or_else(full)?;
    let real_time: Vec<u64> = free.by_ref().take(2).collect();
    let mut numbers: BTreeMap<InodeId, u64> = BTreeMap::from([(tree.root(), root)]);
    for entry in &entries[1..] {
        numbers.insert(entry.id, free.next().ok_or_else(full)?);
    }
    let links = tree.link_counts();
    let mut parents: BTreeMap<InodeId, u64> = BTreeMap::from([(tree.root(), root)]);
    let mut has_attributes = false;
    for entry in &entries {
        let number = numbers[&entry.id];
        let attributes = attributes::short_form(&entry.inode.metadata, &entry.path)?;
        has_attributes |= !attributes.is_empty();
        // The content has what the attributes leave, in units of 8 bytes.
        let room = ROOM.checked_sub(attributes.len().next_multiple_of(8)).filter(|room| *room >= 5 * EXTENT);
        let room = room.ok_or_else(|| Writer::refuse(&entry.path, "its extended attributes are larger than 256 bytes"))?;
        let fork = match &entry.inode.kind {
            Kind::Directory(names) => {
                let children = names.iter().map(|(name, id)| {
                    if matches!(tree.inode(*id).kind, Kind::Directory(_)) {
                        parents.insert(*id, number);
                    }
                    Child { name, number: numbers[id], kind: tree.inode(*id).kind.types().1 }
                });
                let children: Vec<Child<'_>> = children.collect();
                let parent = parents.get(&entry.id).copied().unwrap_or(root);
                directory_fork(writer, groups, (number, parent), &children, room, &entry.path)?
            }
            kind => other_fork(writer, groups, kind, room, &entry.path)?,
        };
        let links = links.get(&entry.id).copied().unwrap_or(1);
        let inode = inode(writer, number, &entry.inode.metadata, entry.inode.kind.types().0, links, &fork, &attributes, room);
        writer.write_summed(inode, 100, groups.inode_place(number))?;
    }
    let nobody = Metadata { mtime: writer.options.epoch.cast_signed(), ..Metadata::default() };
    for (index, number) in real_time.into_iter().enumerate() {
        let fork = Fork { format: EXTENTS, ..Fork::default() };
        let mut inode = inode(writer, number, &nobody, 0o100_000, 1, &fork, &[], ROOM);
        inode.put16(90, if index == 0 { NEW_BITMAP } else { 0 });
        writer.write_summed(inode, 100, groups.inode_place(number))?;
    }
    for number in &taken[count as usize..] {
        let fork = Fork { format: DEVICE, ..Fork::default() };
        let mut inode = inode(writer, *number, &Metadata::default(), 0, 0, &fork, &[], ROOM);
        inode[32..56].fill(0);
        inode[83] = DEVICE;
        inode[120..128].fill(0);
        inode[144..152].fill(0);
        writer.write_summed(inode, 100, groups.inode_place(*number))?;
    }
    Ok(has_attributes)
}

#[expect(clippy::too_many_arguments, reason = "an inode is what it is made of")]
fn inode(
    writer: &Writer<'_>,
    number: u64,
    metadata: &Metadata,
    kind: u16,
    links: u32,
    fork: &Fork,
    attributes: &[u8],
    room: usize,
) -> Vec<u8> {
    let mut bytes = vec![0; INODE as usize];
    bytes.put(0, b"IN");
    bytes.put16(2, kind | metadata.mode);
    bytes.put(4, &[3, fork.format]);
    for (at, value) in [(8, metadata.uid), (12, metadata.gid), (16, links), (76, fork.extents), (96, u32::MAX)] {
        bytes.put32(at, value);
    }
    let time = (metadata.mtime.clamp(-EARLIEST, i64::MAX / 4_000_000_000) + EARLIEST).cast_unsigned() * 1_000_000_000;
    for at in [32, 40, 48, 144] {
        bytes.put64(at, time);
    }
    for (at, value) in [(56, fork.size), (64, fork.blocks), (120, TIMES_BEYOND_2038), (152, number)] {
        bytes.put64(at, value);
    }
    // Without attributes there is no place for them, and where they would be is given by extents.
    let (place, format) = if attributes.is_empty() { (0, EXTENTS) } else { ((room / 8) as u8, LOCAL) };
    bytes.put(82, &[place, format]);
    bytes.put32(92, 1);
    bytes.put(160, writer.options.uuid.as_bytes());
    bytes.put(FIELDS, &fork.bytes);
    if !attributes.is_empty() {
        bytes.put(FIELDS + room, attributes);
    }
    bytes
}

/// Returns the extents of pieces, each with its first block in the file.
fn extents(groups: &Groups, runs: &[(u64, Run)]) -> Fork {
    let mut fork = Fork { format: EXTENTS, ..Fork::default() };
    for (position, run) in runs {
        let block = groups.number(*run);
        fork.bytes.extend((position << 9 | block >> 43).to_be_bytes());
        fork.bytes.extend((block << 21 | run.blocks).to_be_bytes());
        fork.blocks += run.blocks;
        fork.extents += 1;
    }
    fork
}

/// Takes room for blocks of a file from `position` on, and joins it to what was taken before where it follows.
fn take(groups: &mut Groups, runs: &mut Vec<(u64, Run)>, position: u64, blocks: u64, path: &[u8]) -> Result<(), XfsError> {
    let mut done = 0;
    while done < blocks {
        let run = groups.take(blocks - done).ok_or_else(|| Writer::refuse(path, "the filesystem is full"))?;
        runs.push((position + done, run));
        done += run.blocks;
    }
    Ok(())
}

fn directory_fork(
    writer: &Writer<'_>,
    groups: &mut Groups,
    (number, parent): (u64, u64),
    children: &[Child<'_>],
    room: usize,
    path: &[u8],
) -> Result<Fork, XfsError> {
    if let Some(bytes) = directory::short_form(children, parent).filter(|bytes| bytes.len() <= room) {
        return Ok(Fork { format: LOCAL, size: bytes.len() as u64, bytes, ..Fork::default() });
    }
    let blocks = directory::blocks(children, number, parent);
    let mut runs = Vec::new();
    for (position, count) in blocks.ranges() {
        take(groups, &mut runs, position, count, path)?;
    }
    for (position, run) in &runs {
        for index in 0..run.blocks {
            let place = groups.place(run.group, run.start + index);
            let (bytes, sum_at) = blocks.finished(position + index, place, number, writer.options.uuid);
            writer.write_summed(bytes, sum_at, place)?;
        }
    }
    let mut fork = extents(groups, &runs);
    fork.size = blocks.data_blocks() * BLOCK;
    if fork.bytes.len() > room {
        return Err(Writer::refuse(path, "it is in too many pieces"));
    }
    Ok(fork)
}

fn other_fork(writer: &Writer<'_>, groups: &mut Groups, kind: &Kind, room: usize, path: &[u8]) -> Result<Fork, XfsError> {
    match kind {
        Kind::File(content) => file_fork(writer, groups, content, room, path),
        Kind::Symlink(target) => {
            if target.len() > room {
                return Err(Writer::refuse(path, "its target is longer than 336 bytes, less its extended attributes"));
            }
            Ok(Fork { format: LOCAL, size: target.len() as u64, bytes: target.to_vec(), ..Fork::default() })
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            let bytes = (major << 18 | minor & 0x3_ffff).to_be_bytes().to_vec();
            Ok(Fork { format: DEVICE, bytes, ..Fork::default() })
        }
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => Ok(Fork { format: DEVICE, bytes: vec![0; 4], ..Fork::default() }),
    }
}

fn file_fork(writer: &Writer<'_>, groups: &mut Groups, content: &Content, room: usize, path: &[u8]) -> Result<Fork, XfsError> {
    let mut ranges = pieces(content, BLOCK);
    // An inode has room for some pieces, of which a few are kept for the borders of groups; holes are filled in files with more.
    if (ranges.len() + 4) * EXTENT > room {
        ranges = vec![(0, content.size().next_multiple_of(BLOCK))];
    }
    ranges.retain(|(from, to)| to > from);
    let mut runs = Vec::new();
    for (from, to) in ranges {
        take(groups, &mut runs, from / BLOCK, (to - from) / BLOCK, path)?;
    }
    let mut buffer = vec![0; CHUNK as usize];
    for (position, run) in &runs {
        let (start, end) = (position * BLOCK, ((position + run.blocks) * BLOCK).min(content.size()));
        let place = groups.place(run.group, run.start);
        let mut at = start;
        while at < end {
            let length = CHUNK.min(end - at);
            let bytes = &mut buffer[..length as usize];
            content.read_exact_at(bytes, at).map_err(|source| XfsError::Read { path: Shown(path).to_string(), source })?;
            writer.write(bytes, place + (at - start))?;
            at += length;
        }
    }
    let mut fork = extents(groups, &runs);
    fork.size = content.size();
    if fork.bytes.len() > room {
        return Err(Writer::refuse(path, "it is in too many pieces"));
    }
    Ok(fork)
}
