//! Files and directories: the items of the trees of files, the sums of their contents, and the contents themselves.

use std::collections::BTreeMap;

use super::{
    BtrfsError, SECTOR, Writer,
    space::Space,
    trees::{FIRST_FREE, FS_TREE, Fields, GENERATION, Item, Key, LEAF_ROOM},
};
use crate::{
    disk::{crc32c, pieces::pieces},
    rootfs::{
        content::Content,
        path::Shown,
        tree::{Inode, InodeId, Kind, Metadata, RootTree},
    },
};

/// Types of items.
const INODE_ITEM: u8 = 1;
const INODE_REF: u8 = 12;
const XATTR_ITEM: u8 = 24;
const DIR_ITEM: u8 = 84;
const DIR_INDEX: u8 = 96;
const EXTENT_DATA: u8 = 108;
const EXTENT_CSUM: u8 = 128;
const ROOT_ITEM: u8 = 132;
/// What sums of contents belong to.
const SUMS: u64 = -10_i64 as u64;
/// Contents up to this are in the tree.
const INLINE: u64 = SECTOR / 2;
/// The most sums of one item.
const SUMS_PER_ITEM: usize = 2048;
/// How much of a file is read at once.
const CHUNK: u64 = 1 << 20;
/// The type of an extended attribute where others have that of a file.
const XATTR: u8 = 8;

/// What filling gives.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// The items of each tree of files.
    pub(super) trees: Vec<(u64, Vec<Item>)>,
    /// The items of the tree of sums.
    pub(super) sums: Vec<Item>,
    /// Subvolumes by identity and name.
    pub(super) subvolumes: Vec<(u64, String)>,
}

impl Filling {
    /// Writes all contents and returns the items that lead to them.
    pub(super) fn fill(writer: &Writer<'_>, space: &mut Space, tree: &RootTree) -> Result<Self, BtrfsError> {
        let mut filling = Self::default();
        let mut subvolumes: Vec<(u64, InodeId)> = Vec::new();
        let links = tree.link_counts();
        let mut top = TreeOfFiles { writer, space, source: tree, links: &links, owner: FS_TREE, items: Vec::new(), sums: Vec::new() };
        for (owner, name) in (FIRST_FREE..).zip(&writer.options.subvolumes) {
            let id = tree.lookup(name).filter(|id| matches!(tree.inode(*id).kind, Kind::Directory(_)));
            let id =
                id.ok_or_else(|| Writer::refuse(name.as_bytes(), "it is to be a subvolume, and no directory of that name is at the top"))?;
            subvolumes.push((owner, id));
            filling.subvolumes.push((owner, (*name).to_owned()));
        }
        top.walk(tree.root(), &subvolumes)?;
        filling.trees.push((FS_TREE, std::mem::take(&mut top.items)));
        for (owner, id) in &subvolumes {
            top.owner = *owner;
            top.walk(*id, &[])?;
            filling.trees.push((*owner, std::mem::take(&mut top.items)));
        }
        filling.sums = top.sums;
        Ok(filling)
    }
}

/// Returns the items of a tree of files with nothing in it.
pub(super) fn empty_root(epoch: u64) -> Vec<Item> {
    let metadata = Metadata::root_owned(0o755, epoch.cast_signed());
    vec![
        (Key(FIRST_FREE, INODE_ITEM, 0), inode_item(&metadata, (0, 0), 1, 0o040_000, 0)),
        (Key(FIRST_FREE, INODE_REF, FIRST_FREE), Fields::default().u64(0).u16(2).bytes(b"..").0),
    ]
}

/// Returns an inode. Its type is among the bits of its mode.
pub(super) fn inode_item(metadata: &Metadata, (size, bytes): (u64, u64), links: u32, kind: u32, device: u64) -> Vec<u8> {
    let mode = kind | u32::from(metadata.mode);
    let fields = Fields::default().u64(GENERATION).u64(GENERATION).u64(size).u64(bytes).u64(0);
    let fields = fields.u32(links).u32(metadata.uid).u32(metadata.gid).u32(mode).u64(device).u64(0).u64(0).bytes(&[0; 32]);
    fields.time(metadata.mtime).time(metadata.mtime).time(metadata.mtime).time(metadata.mtime).0
}

/// Returns an entry of a directory, or an extended attribute.
pub(super) fn dir_entry(location: Key, kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let fields = Fields::default().bytes(&location.bytes()).u64(GENERATION).u16(value.len() as u16).u16(name.len() as u16);
    fields.u8(kind).bytes(name).bytes(value).0
}

/// Returns what entries with a name are found by.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(crc32c::raw(!1, name))
}

/// A tree of files as it grows.
struct TreeOfFiles<'a, 'w> {
    writer: &'a Writer<'w>,
    space: &'a mut Space,
    source: &'a RootTree,
    links: &'a BTreeMap<InodeId, u32>,
    owner: u64,
    items: Vec<Item>,
    sums: Vec<Item>,
}

impl TreeOfFiles<'_, '_> {
    /// Adds everything below a directory, which becomes the root.
    fn walk(&mut self, top: InodeId, subvolumes: &[(u64, InodeId)]) -> Result<(), BtrfsError> {
        let mut numbers: BTreeMap<InodeId, u64> = BTreeMap::from([(top, FIRST_FREE)]);
        let mut next = FIRST_FREE + 1;
        let mut references: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::from([((FIRST_FREE, FIRST_FREE), reference(0, b".."))]);
        let mut pending = vec![(top, FIRST_FREE, b"/".to_vec())];
        while let Some((id, number, path)) = pending.pop() {
            let source = self.source;
            let inode = source.inode(id);
            self.attributes(number, inode, &path)?;
            let Kind::Directory(names) = &inode.kind else {
                self.leaf(number, id, inode, &path)?;
                continue;
            };
            let size = names.keys().map(|name| name.len() as u64 * 2).sum();
            self.put(Key(number, INODE_ITEM, 0), inode_item(&inode.metadata, (size, 0), 1, 0o040_000, 0));
            let mut by_hash: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            for (index, (name, child)) in (2_u64..).zip(names) {
                let below = [&path[..], if path.ends_with(b"/") { b"" } else { b"/" }, name].concat();
                let kind = source.inode(*child).kind.types().1;
                let location = match subvolumes.iter().find(|(_, id)| id == child) {
                    Some((owner, _)) => Key(*owner, ROOT_ITEM, u64::MAX),
                    None => {
                        let known = numbers.get(child).copied();
                        let child_number = known.unwrap_or(next);
                        if known.is_none() {
                            numbers.insert(*child, next);
                            next += 1;
                            pending.push((*child, child_number, below.clone()));
                        }
                        references.entry((child_number, number)).or_default().extend(reference(index, name));
                        Key(child_number, INODE_ITEM, 0)
                    }
                };
                let entry = dir_entry(location, kind, name, &[]);
                by_hash.entry(name_hash(name)).or_default().extend(&entry);
                self.put(Key(number, DIR_INDEX, index), entry);
            }
            self.items.extend(by_hash.into_iter().map(|(hash, entries)| (Key(number, DIR_ITEM, hash), entries)));
        }
        for ((number, parent), bytes) in references {
            if bytes.len() > LEAF_ROOM / 2 {
                return Err(Writer::refuse(b"/", "a file in it has more names in one directory than are possible"));
            }
            self.put(Key(number, INODE_REF, parent), bytes);
        }
        Ok(())
    }

    fn put(&mut self, key: Key, bytes: Vec<u8>) {
        self.items.push((key, bytes));
    }

    fn attributes(&mut self, number: u64, inode: &Inode, path: &[u8]) -> Result<(), BtrfsError> {
        let mut by_hash: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (name, value) in &inode.metadata.xattrs {
            by_hash.entry(name_hash(name)).or_default().extend(dir_entry(Key(0, 0, 0), XATTR, name, value));
        }
        for (hash, entries) in by_hash {
            if entries.len() > LEAF_ROOM / 2 {
                return Err(Writer::refuse(path, "it has an extended attribute of more than 8 KiB"));
            }
            self.put(Key(number, XATTR_ITEM, hash), entries);
        }
        Ok(())
    }

    /// Adds something that is no directory.
    fn leaf(&mut self, number: u64, id: InodeId, inode: &Inode, path: &[u8]) -> Result<(), BtrfsError> {
        let links = self.links.get(&id).copied().unwrap_or(1);
        let (size, device) = match &inode.kind {
            Kind::File(content) => ((content.size(), self.content(number, content, path)?), 0),
            Kind::Symlink(target) => {
                if target.len() as u64 >= SECTOR {
                    return Err(Writer::refuse(path, "its target is longer than 4095 bytes"));
                }
                self.put(Key(number, EXTENT_DATA, 0), inline(target));
                ((target.len() as u64, target.len() as u64), 0)
            }
            // As the kernel encodes device numbers on this filesystem.
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                ((0, 0), u64::from(minor & 0xff) | u64::from(*major) << 8 | u64::from(minor & !0xff) << 12)
            }
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => ((0, 0), 0),
        };
        self.put(Key(number, INODE_ITEM, 0), inode_item(&inode.metadata, size, links, inode.kind.types().0.into(), device));
        Ok(())
    }

    /// Writes the content of a file, and returns how many bytes it takes.
    fn content(&mut self, number: u64, content: &Content, path: &[u8]) -> Result<u64, BtrfsError> {
        let failed = |source| BtrfsError::Read { path: Shown(path).to_string(), source };
        if content.size() == 0 {
            return Ok(0);
        }
        if content.size() <= INLINE {
            let bytes = content.read_all(INLINE).map_err(failed)?;
            self.put(Key(number, EXTENT_DATA, 0), inline(&bytes));
            return Ok(bytes.len() as u64);
        }
        let mut total = 0;
        for (start, end) in pieces(content, SECTOR) {
            let mut position = start;
            while position < end {
                let extent = self.space.take_data(end - position, (self.owner, number, position));
                let extent = extent.ok_or_else(|| Writer::refuse(path, "the filesystem is full"))?;
                let fields = Fields::default().u64(GENERATION).u64(extent.size).u8(0).u8(0).u16(0).u8(1);
                let fields = fields.u64(extent.place).u64(extent.size).u64(0).u64(extent.size);
                self.put(Key(number, EXTENT_DATA, position), fields.0);
                self.copy(content, position, extent.place, extent.size).map_err(|(error, reading)| match reading {
                    true => failed(error),
                    false => BtrfsError::Write(error),
                })?;
                position += extent.size;
                total += extent.size;
            }
        }
        Ok(total)
    }

    /// Copies a piece of a file to its place, with the sums of its blocks. The error tells whether reading failed.
    fn copy(&mut self, content: &Content, position: u64, place: u64, size: u64) -> Result<(), (std::io::Error, bool)> {
        let mut done = 0;
        let mut sums: Vec<u8> = Vec::new();
        let mut first = place;
        while done < size {
            let length = CHUNK.min(size - done);
            let mut bytes = vec![0; length as usize];
            // The last block may be longer than the file.
            let there = content.size().saturating_sub(position + done).min(length) as usize;
            content.read_exact_at(&mut bytes[..there], position + done).map_err(|error| (error, true))?;
            self.writer.write(&bytes, place + done).map_err(|error| (error, false))?;
            for block in bytes.chunks(SECTOR as usize) {
                sums.extend(crc32c::of(block).to_le_bytes());
                if sums.len() == SUMS_PER_ITEM * 4 {
                    self.sums.push((Key(SUMS, EXTENT_CSUM, first), std::mem::take(&mut sums)));
                    first += SUMS_PER_ITEM as u64 * SECTOR;
                }
            }
            done += length;
        }
        if !sums.is_empty() {
            self.sums.push((Key(SUMS, EXTENT_CSUM, first), sums));
        }
        Ok(())
    }
}

fn reference(index: u64, name: &[u8]) -> Vec<u8> {
    Fields::default().u64(index).u16(name.len() as u16).bytes(name).0
}

/// Returns the item of a content that is in the tree.
fn inline(bytes: &[u8]) -> Vec<u8> {
    Fields::default().u64(GENERATION).u64(bytes.len() as u64).u8(0).u8(0).u16(0).u8(0).bytes(bytes).0
}
