//! The superblock with its copies, and the items that lead from it to the trees.

use std::io;

use super::{
    Root, SECTOR, SYSTEM, Writer,
    files::{dir_entry, inode_item, name_hash},
    space::{CHUNK_OBJECT, Chunk, Space},
    trees::{EXTENT_TREE, FIRST_FREE, FS_TREE, Fields, GENERATION, Item, Key},
};
use crate::disk::{btrfs::NODE, crc32c};

/// Where the superblock and its copies are.
const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const MAGIC: &[u8] = b"_BHRfS_M";
/// The directory of the tree of roots, and what the default subvolume is called there.
const ROOT_DIRECTORY: u64 = 6;
const DEFAULT: &[u8] = b"default";

/// Types of items.
const INODE_ITEM: u8 = 1;
const INODE_REF: u8 = 12;
const DIR_ITEM: u8 = 84;
const ROOT_ITEM: u8 = 132;
const ROOT_BACKREF: u8 = 144;
const ROOT_REF: u8 = 156;
const DEV_ITEM: u8 = 216;
const CHUNK_ITEM: u8 = 228;

/// Backreferences of the newer kind, large blocks, long references of inodes, short items of blocks, holes without items.
const INCOMPATIBLE: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9;
/// A valid tree of free space.
const COMPATIBLE_READ_ONLY: u64 = 1 | 2;

/// Returns the item of the device.
fn device_item(writer: &Writer<'_>, space: &Space) -> Vec<u8> {
    let used = space.chunks.iter().map(|chunk| chunk.size).sum();
    let fields = Fields::default().u64(1).u64(space.size).u64(used).u32(SECTOR as u32).u32(SECTOR as u32).u32(SECTOR as u32);
    let fields = fields.u64(0).u64(0).u64(0).u32(0).u8(0).u8(0);
    fields.bytes(writer.derive("device").as_bytes()).bytes(writer.options.uuid.as_bytes()).0
}

fn chunk_item(writer: &Writer<'_>, chunk: &Chunk) -> Vec<u8> {
    let fields = Fields::default().u64(chunk.size).u64(EXTENT_TREE).u64(64 << 10).u64(chunk.kind);
    let fields = fields.u32(64 << 10).u32(64 << 10).u32(SECTOR as u32).u16(1).u16(0);
    fields.u64(1).u64(chunk.start).bytes(writer.derive("device").as_bytes()).0
}

/// Returns the items of the chunk tree.
pub(super) fn chunk_items(writer: &Writer<'_>, space: &Space) -> Vec<Item> {
    let chunk = |chunk: &Chunk| (Key(CHUNK_OBJECT, CHUNK_ITEM, chunk.start), chunk_item(writer, chunk));
    let mut items = vec![(Key(1, DEV_ITEM, 1), device_item(writer, space))];
    items.extend(space.chunks.iter().map(chunk));
    items
}

/// Returns the items of the tree of roots.
pub(super) fn root_items(writer: &Writer<'_>, roots: &[Root], subvolumes: &[(u64, String)]) -> Vec<Item> {
    let epoch = writer.options.epoch.cast_signed();
    let mut items = vec![
        (Key(ROOT_DIRECTORY, INODE_ITEM, 0), inode_item(&root_metadata(epoch), (0, 0), 1, 0o040_000, 0)),
        (Key(ROOT_DIRECTORY, INODE_REF, ROOT_DIRECTORY), Fields::default().u64(0).u16(2).bytes(b"..").0),
        (Key(ROOT_DIRECTORY, DIR_ITEM, name_hash(DEFAULT)), dir_entry(Key(FS_TREE, ROOT_ITEM, u64::MAX), 2, DEFAULT, &[])),
    ];
    for root in roots {
        let is_files = root.owner == FS_TREE || (FIRST_FREE..u64::MAX / 2).contains(&root.owner);
        items.push((Key(root.owner, ROOT_ITEM, 0), root_item(writer, root, is_files, epoch)));
    }
    for (index, (owner, name)) in (2_u64..).zip(subvolumes) {
        let reference = Fields::default().u64(FIRST_FREE).u64(index).u16(name.len() as u16).bytes(name.as_bytes()).0;
        items.push((Key(FS_TREE, ROOT_REF, *owner), reference.clone()));
        items.push((Key(*owner, ROOT_BACKREF, FS_TREE), reference));
    }
    items
}

fn root_metadata(epoch: i64) -> crate::rootfs::tree::Metadata {
    crate::rootfs::tree::Metadata::root_owned(0o755, epoch)
}

fn root_item(writer: &Writer<'_>, root: &Root, is_files: bool, epoch: i64) -> Vec<u8> {
    let mut inode = inode_item(&root_metadata(epoch), (3, NODE), 1, 0o040_000, 0);
    // A root item of the newer kind, which says so in the flags of its inode.
    inode[64..72].copy_from_slice(&(1_u64 << 31).to_le_bytes());
    let is_subvolume = is_files && root.owner != FS_TREE;
    let uuid = if is_files { writer.derive(&format!("subvolume {}", root.owner)) } else { uuid::Uuid::nil() };
    let directory = if is_files || root.owner > u64::MAX / 2 { FIRST_FREE } else { 0 };
    let fields = Fields(inode).u64(GENERATION).u64(directory).u64(root.place).u64(0).u64(root.blocks * NODE).u64(0).u64(0).u32(1);
    let fields = fields.bytes(&[0; 17]).u8(0).u8(root.level).u64(GENERATION).bytes(uuid.as_bytes()).bytes(&[0; 32]);
    let (transaction, time) = if is_subvolume { (GENERATION, epoch) } else { (0, 0) };
    let fields = fields.u64(transaction).u64(transaction).u64(0).u64(0).time(time).time(time).time(0).time(0);
    fields.bytes(&[0; 64]).0
}

/// Writes the superblock and those of its copies that the device has room for.
pub(super) fn write(writer: &Writer<'_>, space: &Space, root: (u64, u8), chunk_root: (u64, u8)) -> io::Result<()> {
    let mut system = Vec::new();
    for chunk in space.chunks.iter().filter(|chunk| chunk.kind == SYSTEM) {
        system.extend(Key(CHUNK_OBJECT, CHUNK_ITEM, chunk.start).bytes());
        system.extend(chunk_item(writer, chunk));
    }
    for place in PLACES.into_iter().filter(|place| place + SECTOR <= space.size) {
        let fields = Fields(vec![0; 32]).bytes(writer.options.uuid.as_bytes()).u64(place).u64(1).bytes(MAGIC).u64(GENERATION);
        let fields = fields.u64(root.0).u64(chunk_root.0).u64(0).u64(0).u64(space.size).u64(space.all_used()).u64(ROOT_DIRECTORY).u64(1);
        let fields = fields.u32(SECTOR as u32).u32(NODE as u32).u32(NODE as u32).u32(SECTOR as u32).u32(system.len() as u32);
        let fields = fields.u64(GENERATION).u64(0).u64(COMPATIBLE_READ_ONLY).u64(INCOMPATIBLE).u16(0);
        let mut fields = fields.u8(root.1).u8(chunk_root.1).u8(0).bytes(&device_item(writer, space));
        fields.0.extend(writer.options.label.unwrap_or_default().as_bytes());
        fields.0.resize(555, 0);
        // Neither an older cache of free space nor a tree of UUIDs: kernels make the latter when they first write.
        let mut block = fields.u64(0).u64(0).0;
        block.resize(811, 0);
        block.extend(&system);
        block.resize(SECTOR as usize, 0);
        let sum = crc32c::of(&block[32..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
        writer.write(&block, place)?;
    }
    Ok(())
}
