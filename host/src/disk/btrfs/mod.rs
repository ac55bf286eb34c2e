//! Makes Btrfs filesystems from trees, natively.
//!
//! ```text
//! 1 MiB  system chunk: the chunk tree │ metadata chunk: all other trees, block after block │ data chunks: files, one after the other
//! ```
//!
//! One device, nothing duplicated, logical addresses are places on the device. Trees are packed full in the order of their keys;
//! everything has generation 1. The free space tree is there, so that no kernel has to search for room. Files up to half a
//! block are in the tree itself; holes stay holes. Directories at the top that the caller names become subvolumes.
//!
//! Nothing depends on the host: the same tree, identity and size give the same bytes. Structures and their names are those of
//! the kernel's `btrfs_tree.h`.

mod files;
mod space;
mod superblock;
#[cfg(test)]
mod tests;
mod trees;

use std::{fs::File, io};

use oic_config::units::ByteSize;
use uuid::Uuid;

use crate::rootfs::{
    path::Shown,
    tree::{Kind, RootTree},
};
use files::Filling;
use space::Space;
use trees::Packed;

/// Size of a block of data, and of a block of a tree.
const SECTOR: u64 = 4096;
const NODE: u64 = 16384;
/// The first MiB belongs to nobody but the superblock.
const FIRST_CHUNK: u64 = 1 << 20;
const SYSTEM_CHUNK: u64 = 8 << 20;
/// Data chunks as large as the kernel makes them.
const DATA_CHUNK: u64 = 1 << 30;
/// Room for the trees of a running system beyond those that are made.
const SPARE_METADATA: u64 = 24 << 20;
/// Room for a running system to write anything at all.
const SPARE_DATA: u64 = 16 << 20;

/// Kinds of chunks.
const DATA: u64 = 1;
const SYSTEM: u64 = 2;
const METADATA: u64 = 4;

/// The longest label.
pub const MAX_LABEL: usize = 255;

/// What makes a filesystem the one it is.
#[derive(Debug, Clone)]
pub struct BtrfsOptions<'a> {
    /// UUID of the filesystem; all others are derived from it.
    pub uuid: Uuid,
    /// Label; none: empty.
    pub label: Option<&'a str>,
    /// Names of the directories in the tree's root that become subvolumes.
    pub subvolumes: Vec<&'a str>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
}

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BtrfsError {
    /// The content needs more room.
    #[error("the content does not fit into {size}: it needs at least {needed}")]
    TooSmall {
        /// The size that the filesystem was to have.
        size: ByteSize,
        /// The size that is enough.
        needed: ByteSize,
    },
    /// The label is too long.
    #[error("the filesystem label `{label}` is longer than 255 bytes")]
    Label {
        /// The label.
        label: String,
    },
    /// An entry of the tree cannot be in Btrfs.
    #[error("`{path}` cannot be on a Btrfs filesystem: {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The content of a file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write the Btrfs filesystem")]
    Write(#[from] io::Error),
}

/// Returns the size in bytes, in whole MiB, that is enough for a tree.
#[must_use]
pub fn minimal_size(tree: &RootTree) -> u64 {
    let needs = Needs::of(tree);
    (FIRST_CHUNK + SYSTEM_CHUNK + needs.metadata + needs.data + SPARE_DATA).next_multiple_of(1 << 20)
}

/// Upper bounds of what a tree takes.
#[derive(Debug)]
struct Needs {
    metadata: u64,
    data: u64,
}

impl Needs {
    fn of(tree: &RootTree) -> Self {
        let (mut items, mut data) = (0_u64, 0_u64);
        for entry in tree.walk() {
            // An inode, its name in three items, and one of content or its sums.
            items += 700 + 4 * entry.path.len() as u64;
            items += entry.inode.metadata.xattrs.iter().map(|(name, value)| name.len() + value.len() + 60).sum::<usize>() as u64;
            if let (Kind::File(content), None) = (&entry.inode.kind, &entry.link_to) {
                let size = content.size().next_multiple_of(SECTOR);
                items += if content.size() <= SECTOR / 2 { content.size() } else { size / 900 };
                data += content.data_size().next_multiple_of(SECTOR) + SECTOR;
            }
        }
        // Blocks are never filled to the last byte, and those above the leaves come on top.
        let metadata = (items + items / 4 + SPARE_METADATA).next_multiple_of(1 << 20);
        Self { metadata, data: data.next_multiple_of(1 << 16) }
    }
}

/// A filesystem being made.
struct Writer<'a> {
    file: &'a File,
    /// Where the filesystem begins in the file.
    offset: u64,
    options: &'a BtrfsOptions<'a>,
}

impl Writer<'_> {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self.file, bytes, self.offset + at)
    }

    /// Returns an error with an entry.
    fn refuse(path: &[u8], reason: &'static str) -> BtrfsError {
        BtrfsError::Entry { path: Shown(path).to_string(), reason }
    }

    /// Returns a UUID of something in this filesystem.
    fn derive(&self, what: &str) -> Uuid {
        Uuid::new_v5(&self.options.uuid, what.as_bytes())
    }
}

/// Makes a filesystem of `size` bytes at `offset` in a file, which must read as zeros there.
///
/// # Errors
/// Fails when the tree does not fit or cannot be on a Btrfs filesystem.
pub fn make(tree: &RootTree, file: &File, offset: u64, size: u64, options: &BtrfsOptions<'_>) -> Result<(), BtrfsError> {
    let size = size / SECTOR * SECTOR;
    let needed = minimal_size(tree);
    if size < needed {
        return Err(BtrfsError::TooSmall { size: ByteSize(size), needed: ByteSize(needed) });
    }
    if let Some(label) = options.label.filter(|label| label.len() > MAX_LABEL) {
        return Err(BtrfsError::Label { label: label.to_owned() });
    }
    let writer = Writer { file, offset, options };
    let needs = Needs::of(tree);
    let mut space = Space::new(size, &needs);
    let filled = Filling::fill(&writer, &mut space, tree)?;
    let mut packed: Vec<Packed> = filled.trees.into_iter().map(|(owner, items)| Packed::new(owner, items)).collect();
    packed.push(Packed::new(trees::CSUM_TREE, filled.sums));
    packed.push(Packed::new(trees::DATA_RELOC_TREE, files::empty_root(options.epoch)));
    packed.push(Packed::new(trees::DEV_TREE, space.device_items(writer.derive("chunk tree"))));
    let chunks = Packed::new(trees::CHUNK_TREE, superblock::chunk_items(&writer, &space));
    let chunk_places: Vec<u64> = chunks.levels().iter().map(|_| space.take_system()).collect();
    let chunk_root = chunks.emit(&writer, &chunk_places)?;
    let mut roots = Vec::new();
    for tree in &packed {
        let places: Vec<u64> = tree.levels().iter().map(|_| space.take_metadata()).collect();
        space.blocks.extend(places.iter().zip(tree.levels()).map(|(place, level)| (*place, level, tree.owner)));
        let (place, level) = tree.emit(&writer, &places)?;
        roots.push(Root { owner: tree.owner, place, level, blocks: places.len() as u64 });
    }
    space.blocks.extend(chunk_places.iter().zip(chunks.levels()).map(|(place, level)| (*place, level, trees::CHUNK_TREE)));
    let root = finish(&writer, &mut space, &filled.subvolumes, roots)?;
    if space.is_metadata_full() {
        return Err(BtrfsError::TooSmall { size: ByteSize(size), needed: ByteSize(needed + needs.metadata) });
    }
    superblock::write(&writer, &space, root, chunk_root)?;
    Ok(())
}

/// Where a tree is.
#[derive(Debug, Clone, Copy)]
struct Root {
    owner: u64,
    place: u64,
    level: u8,
    blocks: u64,
}

/// Writes the trees that list blocks, their own among them: those of roots, free space and extents. Returns where the tree of
/// roots is.
fn finish(writer: &Writer<'_>, space: &mut Space, subvolumes: &[(u64, String)], mut roots: Vec<Root>) -> Result<(u64, u8), BtrfsError> {
    let unplaced = |owner| Root { owner, place: 0, level: 0, blocks: 0 };
    let placeholders = [unplaced(trees::FREE_SPACE_TREE), unplaced(trees::EXTENT_TREE)];
    let all: Vec<Root> = roots.iter().copied().chain(placeholders).collect();
    // Items have the same size wherever trees are, so their number is known before their places.
    let root_levels = Packed::new(trees::ROOT_TREE, superblock::root_items(writer, &all, subvolumes)).levels();
    let (mut free_leaves, mut extent_leaves) = (1, 1);
    loop {
        let mut tried = space.clone();
        let mut place = |levels: &[u8], owner| {
            let places: Vec<u64> = levels.iter().map(|_| tried.take_metadata()).collect();
            tried.blocks.extend(places.iter().zip(levels).map(|(place, level)| (*place, *level, owner)));
            places
        };
        let root_places = place(&root_levels, trees::ROOT_TREE);
        let free_places = place(&trees::shape(free_leaves), trees::FREE_SPACE_TREE);
        let extent_places = place(&trees::shape(extent_leaves), trees::EXTENT_TREE);
        let free = Packed::new(trees::FREE_SPACE_TREE, tried.free_items());
        let extents = Packed::new(trees::EXTENT_TREE, tried.extent_items());
        if (free.leaves(), extents.leaves()) != (free_leaves, extent_leaves) {
            // Both numbers only ever grow with each other, so this ends.
            (free_leaves, extent_leaves) = (free.leaves().max(free_leaves), extents.leaves().max(extent_leaves));
            continue;
        }
        for (tree, places) in [(&free, &free_places), (&extents, &extent_places)] {
            let (place, level) = tree.emit(writer, places)?;
            roots.push(Root { owner: tree.owner, place, level, blocks: places.len() as u64 });
        }
        *space = tried;
        return Ok(Packed::new(trees::ROOT_TREE, superblock::root_items(writer, &roots, subvolumes)).emit(writer, &root_places)?);
    }
}
