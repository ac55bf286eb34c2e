//! Btrfs on one device: superblock → chunks → tree of roots → the tree of files and its subvolumes, which become directories.
//!
//! Contents that zlib or zstd have compressed are read, those of LZO are not. Of mirrored chunks the first copy is read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Entries, Inodes, MAX_BLOCK, Numbers as _, TreeReadError, build, bytes_at, content, device, filled, metadata, slice, special,
    unpack::{Method, Piece, Pieces, unpack},
};
use crate::rootfs::{
    content::{Content, Extent, HostFile},
    tree::{Inode, Kind, Metadata, RootTree},
};

const SUPERBLOCK: u64 = 64 << 10;
const HEADER: usize = 101;
/// Trees and the first number of an inode.
const FS_TREE: u64 = 5;
const FIRST: u64 = 256;
/// Types of items.
const INODE_ITEM: u8 = 1;
const XATTR_ITEM: u8 = 24;
const DIR_INDEX: u8 = 96;
const EXTENT_DATA: u8 = 108;
const ROOT_ITEM: u8 = 132;
const CHUNK_ITEM: u8 = 228;
/// Kinds of chunks whose bytes are not simply in their first stripe.
const STRIPED: u64 = 0x8 | 0x40 | 0x80 | 0x100;
/// The most items of all trees of files.
const MAX_ITEMS: usize = 32 << 20;
/// The largest content in a tree.
const MAX_INLINE: usize = 64 << 10;

type Key = (u64, u8, u64);
/// What is called with each item of a tree: its key and its bytes.
type Each<'a> = &'a mut dyn FnMut(Key, &[u8]) -> Result<(), TreeReadError>;

/// Reads the filesystem that fills a file.
pub(super) fn read_tree(file: &Arc<HostFile>) -> Result<RootTree, TreeReadError> {
    let head = bytes_at(file, SUPERBLOCK, 4096)?;
    let node = u64::from(head.le32(148)?);
    if !(4096..=MAX_BLOCK).contains(&node) {
        return Err(TreeReadError::Damaged("its blocks have an impossible size"));
    }
    if head.le64(136)? != 1 {
        return Err(TreeReadError::Unsupported("it is on several devices"));
    }
    let visits = (file.size() / node).saturating_mul(2);
    let mut disk = Disk { file: file.clone(), node, chunks: Vec::new(), visits };
    let size = head.le32(160)? as usize;
    let mut chunks = slice(&head, 811, size.min(2048))?;
    while !chunks.is_empty() {
        let length = disk.add_chunk(chunks.le64(9)?, slice(chunks, 17, chunks.len() - 17)?)?;
        chunks = chunks.get(17 + length..).unwrap_or_default();
    }
    let mut found = Vec::new();
    disk.walk(head.le64(88)?, head[199], &mut |key, data| {
        if key.1 == CHUNK_ITEM {
            found.push((key.2, data.to_vec()));
        }
        Ok(())
    })?;
    disk.chunks.clear();
    for (logical, chunk) in found {
        disk.add_chunk(logical, &chunk)?;
    }
    let mut roots = BTreeMap::new();
    disk.walk(head.le64(80)?, head[198], &mut |key, data| {
        if key.1 == ROOT_ITEM && (key.0 == FS_TREE || key.0 >= FIRST) {
            roots.insert(key.0, (data.le64(176)?, *data.get(238).ok_or(TreeReadError::Damaged("a root ends too early"))?));
        }
        Ok(())
    })?;
    let pieces = Pieces::new(file);
    let mut reader = Reader { disk, pieces, roots, trees: HashMap::new(), items: 0 };
    build(&mut reader, file.size())
}

/// The device, and where logical addresses are on it.
struct Disk {
    file: Arc<HostFile>,
    node: u64,
    /// First address, length and place.
    chunks: Vec<(u64, u64, u64)>,
    visits: u64,
}

impl Disk {
    /// Adds a chunk and returns how long its item is.
    fn add_chunk(&mut self, logical: u64, item: &[u8]) -> Result<usize, TreeReadError> {
        let (length, kind, stripes) = (item.le64(0)?, item.le64(24)?, usize::from(item.le16(44)?));
        if kind & STRIPED != 0 && stripes > 1 {
            return Err(TreeReadError::Unsupported("its contents are spread over stripes"));
        }
        self.chunks.push((logical, length, item.le64(56)?));
        Ok(48 + stripes * 32)
    }

    /// Returns where `length` bytes from an address on are.
    fn place(&self, logical: u64, length: u64) -> Result<u64, TreeReadError> {
        let within = |(start, size, _): &&(u64, u64, u64)| {
            logical.checked_sub(*start).and_then(|offset| offset.checked_add(length)).is_some_and(|end| end <= *size)
        };
        let found = self.chunks.iter().find(within).and_then(|(start, _, place)| place.checked_add(logical - start));
        found.ok_or(TreeReadError::Damaged("an address is in no chunk"))
    }

    /// Calls a function with all items of a tree, in the order of their keys.
    fn walk(&mut self, block: u64, level: u8, each: Each<'_>) -> Result<(), TreeReadError> {
        self.visits = self.visits.checked_sub(1).ok_or(TreeReadError::Damaged("its trees have more blocks than there are"))?;
        let bytes = bytes_at(&self.file, self.place(block, self.node)?, self.node)?;
        let count = bytes.le32(96)? as usize;
        if bytes.le64(48)? != block || bytes[100] != level || level > 8 || count > bytes.len() / 25 {
            return Err(TreeReadError::Damaged("a block of a tree is not one"));
        }
        for index in 0..count {
            if level == 0 {
                let at = HEADER + index * 25;
                let key = (bytes.le64(at)?, slice(&bytes, at, 25)?[8], bytes.le64(at + 9)?);
                let (offset, size) = (bytes.le32(at + 17)? as usize, bytes.le32(at + 21)? as usize);
                each(key, slice(&bytes, HEADER + offset, size)?)?;
            } else {
                self.walk(bytes.le64(HEADER + index * 33 + 17)?, level - 1, each)?;
            }
        }
        Ok(())
    }
}

/// What items say of one inode.
#[derive(Default)]
struct Node {
    item: Vec<u8>,
    entries: Entries<(u64, u64)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Position in the file and the item.
    extents: Vec<(u64, Vec<u8>)>,
}

struct Reader {
    disk: Disk,
    pieces: Pieces,
    /// Block and level of each tree of files.
    roots: BTreeMap<u64, (u64, u8)>,
    /// The trees that were read.
    trees: HashMap<u64, HashMap<u64, Node>>,
    items: usize,
}

/// Calls a function with location, name and value of each entry in an item.
fn for_entries(mut data: &[u8], mut each: impl FnMut(Key, &[u8], &[u8])) -> Result<(), TreeReadError> {
    while !data.is_empty() {
        let (value, name) = (usize::from(data.le16(25)?), usize::from(data.le16(27)?));
        let location = (data.le64(0)?, data[8], data.le64(9)?);
        each(location, slice(data, 30, name)?, slice(data, 30 + name, value)?);
        data = &data[30 + name + value..];
    }
    Ok(())
}

impl Reader {
    /// Returns an inode of a tree, which is read whole when it is wanted first.
    fn node(&mut self, (tree, number): (u64, u64)) -> Result<&Node, TreeReadError> {
        if !self.trees.contains_key(&tree) {
            let (block, level) = *self.roots.get(&tree).ok_or(TreeReadError::Damaged("a subvolume is not there"))?;
            let mut nodes: HashMap<u64, Node> = HashMap::new();
            let mut items = self.items;
            self.disk.walk(block, level, &mut |(number, kind, offset), data| {
                items += 1;
                if items > MAX_ITEMS {
                    return Err(TreeReadError::Damaged("it has more items than are possible"));
                }
                let node = nodes.entry(number).or_default();
                match kind {
                    INODE_ITEM => node.item = data.to_vec(),
                    EXTENT_DATA => node.extents.push((offset, data.to_vec())),
                    XATTR_ITEM => for_entries(data, |_, name, value| drop(node.xattrs.insert(name.to_vec(), value.to_vec())))?,
                    DIR_INDEX => for_entries(data, |location, name, _| {
                        let child = if location.1 == ROOT_ITEM { (location.0, FIRST) } else { (tree, location.0) };
                        node.entries.push((name.to_vec(), child));
                    })?,
                    _ => {}
                }
                Ok(())
            })?;
            self.items = items;
            self.trees.insert(tree, nodes);
        }
        let node = self.trees.get(&tree).and_then(|nodes| nodes.get(&number));
        node.ok_or(TreeReadError::Damaged("an entry leads to an inode that is not there"))
    }

    /// Returns the content of a file.
    fn content(&self, extents: &[(u64, Vec<u8>)], size: u64) -> Result<Content, TreeReadError> {
        if let [(0, item)] = extents
            && item.get(20) == Some(&0)
        {
            let stored = slice(item, 21, item.len() - 21)?;
            let method = method(item[16]);
            let bytes = unpack(stored, method, MAX_INLINE)?;
            return Ok(Content::bytes(bytes.get(..size as usize).ok_or(TreeReadError::Damaged("a file ends too early"))?));
        }
        let is_packed = extents.iter().any(|(_, item)| item.get(16) != Some(&0));
        let mut found = Vec::new();
        for (logical, item) in extents {
            let (address, stored, offset, length) = (item.le64(21)?, item.le64(29)?, item.le64(37)?, item.le64(45)?);
            // Kind 2 was allocated and never written.
            if address == 0 || item[20] != 1 || length == 0 {
                continue;
            }
            let place = self.disk.place(address, stored)?;
            if !is_packed {
                if offset.checked_add(length).is_none_or(|end| end > stored) {
                    return Err(TreeReadError::Damaged("a piece of a file is outside of its extent"));
                }
                found.push(Extent { logical: *logical, source: place + offset, length });
                continue;
            }
            if item[16] == 0 {
                self.add_plain(&mut found, *logical, place + offset, length)?;
                continue;
            }
            let piece = Piece { source: place, stored, method: method(item[16]), unpacked: item.le64(8)?, skip: offset, length };
            found.push(Extent { logical: *logical, source: self.pieces.add(piece)?, length });
        }
        content(if is_packed { &self.pieces.file } else { &self.disk.file }, found, size)
    }

    /// Adds an extent as it is to a file that has compressed ones too, in pieces as small as these.
    fn add_plain(&self, found: &mut Vec<Extent>, logical: u64, place: u64, length: u64) -> Result<(), TreeReadError> {
        const PIECE: u64 = 1 << 20;
        if length > self.disk.file.size() {
            return Err(TreeReadError::Damaged("a piece of a file is larger than the filesystem"));
        }
        for at in (0..length).step_by(PIECE as usize) {
            let part = PIECE.min(length - at);
            let piece = Piece { source: place + at, stored: part, method: Method::Plain, unpacked: part, skip: 0, length: part };
            found.push(Extent { logical: logical.saturating_add(at), source: self.pieces.add(piece)?, length: part });
        }
        Ok(())
    }
}

/// Returns how a number says that a piece is compressed.
fn method(number: u8) -> Method {
    match number {
        0 => Method::Plain,
        1 => Method::Zlib,
        3 => Method::Zstd,
        2 => Method::Unknown("LZO"),
        _ => Method::Unknown("an unknown program"),
    }
}

impl Inodes for Reader {
    type Number = (u64, u64);

    fn root(&self) -> (u64, u64) {
        (FS_TREE, FIRST)
    }

    fn inode(&mut self, number: (u64, u64)) -> Result<Inode, TreeReadError> {
        let is_subvolume = number.1 == FIRST && number.0 != FS_TREE;
        if is_subvolume && !self.roots.contains_key(&number.0) {
            // One that was deleted leaves an empty directory in snapshots.
            return Ok(Inode { metadata: Metadata::root_owned(0o755, 0), kind: Kind::directory() });
        }
        let node = self.node(number)?;
        let (item, extents, xattrs) = (node.item.clone(), node.extents.clone(), node.xattrs.clone());
        let (mode, number) = (item.le32(52)?, item.le64(56)?);
        let kind = match special(mode, device(number as u32))? {
            Some(kind) => kind,
            None => filled(mode, self.content(&extents, item.le64(16)?)?)?,
        };
        Ok(Inode { metadata: metadata(mode, item.le32(44)?, item.le32(48)?, item.le64(136)?.cast_signed(), xattrs), kind })
    }

    fn entries(&mut self, number: (u64, u64)) -> Result<Entries<(u64, u64)>, TreeReadError> {
        if number.1 == FIRST && !self.roots.contains_key(&number.0) {
            return Ok(Vec::new());
        }
        Ok(self.node(number)?.entries.clone())
    }
}
