//! Inodes, what they hold, and the nodes between them and their blocks.
//!
//! ```text
//! inode   923 blocks │ 2 nodes of 1018 blocks │ 2 nodes of such nodes │ 1 node of nodes of nodes
//! ```
//!
//! Inodes are numbered first, in the order of the tree, then written with what belongs to them.

use std::collections::BTreeMap;

use super::{
    BLOCK, F2fsError, Put as _, ROOT, SEGMENT, Writer,
    directory::{self, Child},
    logs::{Log, Logs, Owner},
    refuse,
};
use crate::{
    disk::pieces::pieces,
    rootfs::{
        content::Content,
        path::Shown,
        tree::{InodeId, Kind, Metadata, RootTree},
    },
};

/// Block addresses in an inode and in a node, and numbers of nodes in a node.
const IN_INODE: u64 = 923;
const IN_NODE: u64 = 1018;
/// Where in an inode the block addresses are, and the numbers of its nodes.
const ADDRESSES: usize = 360;
const NODES: usize = 4052;
/// Where content begins that is in the inode: its first address stays 0.
const INLINE: usize = ADDRESSES + 4;
const INLINE_LIMIT: u64 = 3488;
/// What an inode holds itself: data, entries; and that there are data.
const INLINE_DATA: u8 = 2;
const INLINE_ENTRIES: u8 = 4;
const DATA_EXIST: u8 = 8;
/// The parent that an inode names is not its only one.
const LOST_PARENT: u8 = 2;
/// The place of the node with extended attributes among an inode's.
const ATTRIBUTES_NODE: u32 = 0x1fff_ffff;
const ATTRIBUTES_MAGIC: u32 = 0xf2f5_2011;
/// What a node has beside its footer.
const NODE_ROOM: usize = 4072;
/// Prefixes of extended attributes' names with the numbers of their namespaces.
const NAMESPACES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const LISTS: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// Where an address of a file's block is: the number of the node that holds it, the inode being 0, and the place in it.
fn slot(index: u64) -> (u64, u16) {
    match index.checked_sub(IN_INODE) {
        None => (0, index as u16),
        Some(rest) => (1 + rest / IN_NODE, (rest % IN_NODE) as u16),
    }
}

/// Returns the place of such a node among all nodes of an inode, as the kernel counts them.
fn node_offset(node: u64) -> u32 {
    let offset = match node.checked_sub(3) {
        None => node,
        Some(rest) if rest < 2 * IN_NODE => 4 + rest / IN_NODE + rest,
        Some(rest) => {
            let (group, place) = (rest / IN_NODE - 2, rest % IN_NODE);
            7 + 2 * IN_NODE + group * (IN_NODE + 1) + place
        }
    };
    offset as u32
}

/// Returns the place of the node that refers to a group of such nodes.
fn group_offset(group: u64) -> u32 {
    let offset = match group {
        0 => 3,
        1 => 4 + IN_NODE,
        _ => 6 + 2 * IN_NODE + (group - 2) * (IN_NODE + 1),
    };
    offset as u32
}

/// Tells whether a content is in its inode.
fn is_inline(size: u64) -> bool {
    (1..=INLINE_LIMIT).contains(&size)
}

/// Returns how many nodes and how many blocks in all a tree takes.
pub(super) fn count(tree: &RootTree) -> (u64, u64) {
    let (mut nodes, mut blocks) = (0, 0);
    for entry in tree.walk().filter(|entry| entry.link_to.is_none()) {
        nodes += 1 + u64::from(!entry.inode.metadata.xattrs.is_empty());
        let indexes: Vec<(u64, u64)> = match &entry.inode.kind {
            Kind::File(content) if !is_inline(content.size()) => {
                pieces(content, BLOCK).into_iter().map(|(from, to)| (from / BLOCK, to / BLOCK)).collect()
            }
            Kind::Symlink(target) if !is_inline(target.len() as u64) => vec![(0, 1)],
            Kind::Directory(names) => {
                let children: Vec<Child<'_>> = children(names.keys().map(|name| (&name[..], ROOT, 1)), ROOT, ROOT);
                match directory::inline(&children).filter(|_| entry.id != tree.root()) {
                    Some(_) => Vec::new(),
                    None => directory::blocks(&children).blocks.keys().map(|index| (*index, index + 1)).collect(),
                }
            }
            _ => Vec::new(),
        };
        blocks += indexes.iter().map(|(from, to)| to - from).sum::<u64>();
        // As if no two pieces were found by the same node, and each by nodes of nodes.
        nodes += indexes.iter().filter(|(_, to)| *to > IN_INODE).map(|(from, to)| (to - from) / IN_NODE * 1020 / IN_NODE + 5).sum::<u64>();
    }
    (nodes, nodes + blocks)
}

/// Returns the entries of a directory with the two that every one has.
fn children<'a>(names: impl Iterator<Item = (&'a [u8], u32, u8)>, own: u32, parent: u32) -> Vec<Child<'a>> {
    let dots = [(&b"."[..], own, 2), (&b".."[..], parent, 2)];
    dots.into_iter().chain(names).map(|(name, number, kind)| Child { name, number, kind }).collect()
}

/// An inode being made.
struct Inode<'a> {
    number: u32,
    /// The log of its nodes.
    log: Log,
    path: &'a [u8],
    bytes: Vec<u8>,
    /// The nodes that hold addresses, by their numbers, with the numbers that they have in the filesystem.
    nodes: BTreeMap<u64, (u32, Vec<u8>)>,
    /// Blocks that belong to it, itself included.
    blocks: u64,
}

impl Inode<'_> {
    /// Notes the address of a block.
    fn set(&mut self, index: u64, address: u64) {
        let (node, place) = slot(index);
        let (bytes, at) = match self.nodes.get_mut(&node) {
            Some((_, bytes)) => (bytes, usize::from(place) * 4),
            None => (&mut self.bytes, ADDRESSES + usize::from(place) * 4),
        };
        bytes.put32(at, address as u32);
        self.blocks += 1;
    }

    /// Returns who refers to a block, a node with a number of its own where there was none.
    fn owner(&mut self, logs: &mut Logs, index: u64) -> Owner {
        let (node, place) = slot(index);
        let number = match node {
            0 => self.number,
            _ => self.nodes.entry(node).or_insert_with(|| (logs.number(), vec![0; BLOCK as usize])).0,
        };
        Owner { node: number, place }
    }

    fn full(&self) -> F2fsError {
        refuse(self.path, "the filesystem is full")
    }

    /// Writes blocks from `index` on, whose bytes `read` returns for a place and a length in blocks.
    fn write_blocks(
        &mut self,
        writer: &Writer<'_>,
        logs: &mut Logs,
        log: Log,
        (index, count): (u64, u64),
        mut read: impl FnMut(u64, u64) -> Result<Vec<u8>, F2fsError>,
    ) -> Result<(), F2fsError> {
        let mut done = 0;
        while done < count {
            let wanted = (count - done).min(SEGMENT);
            let owners: Vec<Owner> = (0..wanted).map(|place| self.owner(logs, index + done + place)).collect();
            let (first, taken) = logs.take(log, &owners).ok_or_else(|| self.full())?;
            writer.write(&read(index + done, taken as u64)?, first)?;
            for place in 0..taken as u64 {
                self.set(index + done + place, first + place);
            }
            done += taken as u64;
        }
        Ok(())
    }

    fn write_node(
        &mut self,
        writer: &Writer<'_>,
        logs: &mut Logs,
        log: Log,
        number: u32,
        offset: u32,
        bytes: Vec<u8>,
    ) -> Result<(), F2fsError> {
        self.blocks += 1;
        if logs.write_node(writer, log, (self.number, number, offset), bytes)? { Ok(()) } else { Err(self.full()) }
    }

    /// Writes the nodes between the inode and its blocks, then the inode.
    fn finish(mut self, writer: &Writer<'_>, logs: &mut Logs) -> Result<(), F2fsError> {
        let mut groups: BTreeMap<u64, (u32, Vec<u8>)> = BTreeMap::new();
        for (node, (number, bytes)) in std::mem::take(&mut self.nodes) {
            match node.checked_sub(3) {
                None => self.bytes.put32(NODES + (node as usize - 1) * 4, number),
                Some(rest) => {
                    let group = groups.entry(rest / IN_NODE).or_insert_with(|| (logs.number(), vec![0; BLOCK as usize]));
                    group.1.put32((rest % IN_NODE) as usize * 4, number);
                }
            }
            self.write_node(writer, logs, self.log, number, node_offset(node), bytes)?;
        }
        let mut last: Option<(u32, Vec<u8>)> = None;
        for (group, (number, bytes)) in groups {
            match group.checked_sub(2) {
                None => self.bytes.put32(NODES + 8 + group as usize * 4, number),
                Some(rest) => last.get_or_insert_with(|| (logs.number(), vec![0; BLOCK as usize])).1.put32(rest as usize * 4, number),
            }
            self.write_node(writer, logs, Log::IndirectNodes, number, group_offset(group), bytes)?;
        }
        if let Some((number, bytes)) = last {
            self.bytes.put32(NODES + 16, number);
            self.write_node(writer, logs, Log::IndirectNodes, number, (5 + 2 * IN_NODE) as u32, bytes)?;
        }
        self.bytes.put64(24, self.blocks);
        let (number, log, full) = (self.number, self.log, self.full());
        if logs.write_node(writer, log, (number, number, 0), self.bytes)? { Ok(()) } else { Err(full) }
    }
}

/// Writes all inodes with their contents.
pub(super) fn write_all(writer: &Writer<'_>, logs: &mut Logs, tree: &RootTree) -> Result<(), F2fsError> {
    let entries: Vec<_> = tree.walk().filter(|entry| entry.link_to.is_none()).collect();
    let numbers: BTreeMap<InodeId, u32> = entries.iter().map(|entry| entry.id).zip(ROOT..).collect();
    let links = tree.link_counts();
    let mut parents: BTreeMap<InodeId, (u32, &[u8])> = BTreeMap::new();
    for entry in &entries {
        let number = numbers[&entry.id];
        let (parent, name) = parents.get(&entry.id).copied().unwrap_or((number, &[]));
        let links = links.get(&entry.id).copied().unwrap_or(1);
        let is_directory = matches!(entry.inode.kind, Kind::Directory(_));
        let mut inode = Inode {
            number,
            log: if is_directory { Log::DirectoryNodes } else { Log::Nodes },
            path: &entry.path,
            bytes: fields(&entry.inode.metadata, entry.inode.kind.types().0, links),
            nodes: BTreeMap::new(),
            blocks: 1,
        };
        inode.bytes.put32(84, parent);
        inode.bytes.put32(88, name.len() as u32);
        inode.bytes.put(92, name);
        if links > 1 && !is_directory {
            inode.bytes[2] = LOST_PARENT;
        }
        attributes(writer, logs, &mut inode, &entry.inode.metadata)?;
        match &entry.inode.kind {
            Kind::Directory(names) => {
                for (name, id) in names {
                    parents.entry(*id).or_insert((number, name));
                }
                let names = names.iter().map(|(name, id)| (&name[..], numbers[id], tree.inode(*id).kind.types().1));
                write_directory(writer, logs, &mut inode, &children(names, number, parent))?;
            }
            Kind::File(content) => write_file(writer, logs, &mut inode, content)?,
            Kind::Symlink(target) => write_file(writer, logs, &mut inode, &Content::bytes(target.to_vec()))?,
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => device(&mut inode.bytes, *major, *minor),
            Kind::Fifo | Kind::Socket => {}
        }
        inode.finish(writer, logs)?;
    }
    Ok(())
}

/// Returns an inode with what every one has.
fn fields(metadata: &Metadata, kind: u16, links: u32) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    bytes.put16(0, kind | metadata.mode);
    bytes.put32(4, metadata.uid);
    bytes.put32(8, metadata.gid);
    bytes.put32(12, links);
    for at in [32, 40, 48] {
        bytes.put64(at, metadata.mtime.cast_unsigned());
    }
    bytes
}

/// Puts the number of a device where addresses would be: in the older form, or behind it in the newer one.
fn device(inode: &mut [u8], major: u32, minor: u32) {
    if major < 256 && minor < 256 {
        inode.put32(ADDRESSES, major << 8 | minor);
    } else {
        inode.put32(ADDRESSES + 4, minor & 0xff | major << 8 | (minor & !0xff) << 12);
    }
}

fn write_directory(writer: &Writer<'_>, logs: &mut Logs, inode: &mut Inode<'_>, children: &[Child<'_>]) -> Result<(), F2fsError> {
    inode.bytes.put32(72, 1);
    // The kernel takes a root without a block of its own for damaged.
    if let Some(entries) = directory::inline(children).filter(|_| inode.number != ROOT) {
        inode.bytes[3] = INLINE_ENTRIES;
        inode.bytes.put(INLINE, &entries);
        inode.bytes.put64(16, INLINE_LIMIT);
        return Ok(());
    }
    let mut blocks = directory::blocks(children);
    inode.bytes.put32(72, blocks.depth);
    let end = blocks.blocks.keys().next_back().map_or(0, |last| last + 1);
    inode.bytes.put64(16, end * BLOCK);
    while let Some((index, bytes)) = blocks.blocks.pop_first() {
        inode.write_blocks(writer, logs, Log::Entries, (index, 1), |_, _| Ok(bytes.clone()))?;
    }
    Ok(())
}

fn write_file(writer: &Writer<'_>, logs: &mut Logs, inode: &mut Inode<'_>, content: &Content) -> Result<(), F2fsError> {
    let size = content.size();
    inode.bytes.put64(16, size);
    let path = inode.path;
    let failed = |source| F2fsError::Read { path: Shown(path).to_string(), source };
    if is_inline(size) {
        inode.bytes[3] = INLINE_DATA | DATA_EXIST;
        return content.read_exact_at(&mut inode.bytes[INLINE..INLINE + size as usize], 0).map_err(failed);
    }
    for (from, to) in pieces(content, BLOCK).into_iter().filter(|(from, to)| to > from) {
        inode.write_blocks(writer, logs, Log::Data, (from / BLOCK, (to - from) / BLOCK), |index, count| {
            let mut bytes = vec![0; (count * BLOCK) as usize];
            let there = (size - index * BLOCK).min(count * BLOCK) as usize;
            content.read_exact_at(&mut bytes[..there], index * BLOCK).map_err(failed)?;
            Ok(bytes)
        })?;
    }
    Ok(())
}

/// Writes the node with the extended attributes of an inode, where it has any.
fn attributes(writer: &Writer<'_>, logs: &mut Logs, inode: &mut Inode<'_>, metadata: &Metadata) -> Result<(), F2fsError> {
    if metadata.xattrs.is_empty() {
        return Ok(());
    }
    let mut bytes = vec![0; 24];
    bytes.put32(0, ATTRIBUTES_MAGIC);
    bytes.put32(4, 1);
    for (name, value) in &metadata.xattrs {
        let (index, name, value) = stored(name, value, inode.path)?;
        let too_long = |_| refuse(inode.path, "it has an extended attribute with a name of more than 255 bytes");
        bytes.push(index);
        bytes.push(u8::try_from(name.len()).map_err(too_long)?);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(name);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    // Four zeros end the list.
    if bytes.len() + 4 > NODE_ROOM {
        return Err(refuse(inode.path, "its extended attributes are larger than 4044 bytes"));
    }
    bytes.resize(BLOCK as usize, 0);
    let number = logs.number();
    inode.bytes.put32(76, number);
    inode.write_node(writer, logs, inode.log, number, ATTRIBUTES_NODE, bytes)
}

/// Returns the namespace, the name and the value of an attribute as they are stored.
fn stored(name: &[u8], value: &[u8], path: &[u8]) -> Result<(u8, Vec<u8>, Vec<u8>), F2fsError> {
    if let Some((_, index)) = LISTS.iter().find(|(known, _)| *known == name) {
        let list = access_list(value).ok_or_else(|| refuse(path, "its access control list is malformed"))?;
        return Ok((*index, Vec::new(), list));
    }
    let known = NAMESPACES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?.to_vec(), value.to_vec())));
    known.ok_or_else(|| refuse(path, "it has an extended attribute of a namespace that F2FS does not have"))
}

/// Returns an access control list as F2FS stores it: the version; tag, permissions, and an identity where the tag has one.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&[2, 0, 0, 0])?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut list = 1_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        // Named users and groups are tags 2 and 8.
        let length = if matches!(entry[0], 2 | 8) { 8 } else { 4 };
        list.extend(&entry[..length]);
    }
    Some(list)
}
