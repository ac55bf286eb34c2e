//! The superblock and the group descriptors.

use crate::rootfs::content::HostFile;

use super::Ext4ReadError;

/// Features that a reader must understand, and this one does: file types in directories, extents, 64-bit block numbers,
/// flexible groups, a checksum seed of its own, directories beyond 2 GiB.
const UNDERSTOOD: u32 = 0x2 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000;
/// The feature flag of a journal with changes that are not in the filesystem yet.
const NEEDS_RECOVERY: u32 = 0x4;
/// The feature flag of 64-bit block numbers.
const WIDE: u32 = 0x80;
/// The most groups: a filesystem of 8 TiB.
const MAX_GROUPS: u64 = 65536;

/// What is needed of the superblock, all of it checked.
pub(super) struct Superblock {
    pub(super) block_size: u64,
    pub(super) blocks: u64,
    pub(super) first_block: u64,
    pub(super) inode_size: usize,
    inodes: u32,
    inodes_per_group: u32,
    /// First block of the inode table of each group.
    tables: Vec<u64>,
}

impl Superblock {
    pub(super) fn read(file: &HostFile) -> Result<Self, Ext4ReadError> {
        let unsupported = |reason: &str| Ext4ReadError::Unsupported { reason: reason.to_owned() };
        let mut bytes = [0; 1024];
        file.read_exact_at(&mut bytes, 1024).map_err(|_| unsupported("it is too small"))?;
        let u16 = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32 = |at: usize| u32::from(u16(at)) | u32::from(u16(at + 2)) << 16;
        if u16(0x38) != 0xef53 {
            return Err(unsupported("it has no ext4 superblock"));
        }
        let incompatible = u32(0x60);
        if incompatible & NEEDS_RECOVERY != 0 || u16(0x3a) & 1 == 0 {
            return Err(Ext4ReadError::NotClean);
        }
        if incompatible & !UNDERSTOOD != 0 {
            return Err(Ext4ReadError::Unsupported { reason: format!("it has the unknown features {:#x}", incompatible & !UNDERSTOOD) });
        }
        if u32(0x18) > 2 || u32(0x18) != u32(0x1c) {
            return Err(unsupported("its block size is not 1, 2 or 4 KiB"));
        }
        let block_size = 1024 << u32(0x18);
        let is_wide = incompatible & WIDE != 0;
        let blocks = u64::from(u32(0x4)) | if is_wide { u64::from(u32(0x150)) << 32 } else { 0 };
        let first_block = u64::from(u32(0x14));
        let (blocks_per_group, inodes_per_group, inodes) = (u64::from(u32(0x20)), u32(0x28), u32(0x0));
        let inode_size = usize::from(u16(0x58));
        let descriptor = if is_wide { u64::from(u16(0xfe)) } else { 32 };
        let fits = blocks.checked_mul(block_size).is_some_and(|size| size <= file.size());
        if !fits || first_block != u64::from(block_size == 1024) || blocks <= first_block + 1 {
            return Err(unsupported("it is larger than the disk, or empty"));
        }
        if !(8..=block_size * 8).contains(&blocks_per_group) || inodes_per_group == 0 || u64::from(inodes_per_group) > block_size * 8 {
            return Err(unsupported("the size of its groups is impossible"));
        }
        if !inode_size.is_power_of_two() || !(128..=block_size as usize).contains(&inode_size) {
            return Err(unsupported("the size of its inodes is impossible"));
        }
        if !(if is_wide { 64..=1024 } else { 32..=32 }).contains(&descriptor) || !descriptor.is_power_of_two() {
            return Err(unsupported("the size of its group descriptors is impossible"));
        }
        let groups = (blocks - first_block).div_ceil(blocks_per_group);
        if groups > MAX_GROUPS || u64::from(inodes) > groups * u64::from(inodes_per_group) {
            return Err(unsupported("the number of its groups is impossible"));
        }
        let mut table = vec![0; (groups * descriptor) as usize];
        file.read_exact_at(&mut table, (first_block + 1) * block_size)?;
        let table_blocks = (u64::from(inodes_per_group) * inode_size as u64).div_ceil(block_size);
        let tables = table.chunks_exact(descriptor as usize).map(|group| {
            let word = |at: usize| u64::from(u32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]]));
            let start = word(8) | if is_wide { word(0x28) << 32 } else { 0 };
            let fits = start > first_block && start.checked_add(table_blocks).is_some_and(|end| end <= blocks);
            fits.then_some(start).ok_or_else(|| unsupported("an inode table is out of range"))
        });
        let tables = tables.collect::<Result<_, _>>()?;
        Ok(Self { block_size, blocks, first_block, inode_size, inodes, inodes_per_group, tables })
    }

    /// Returns where an inode is.
    pub(super) fn inode_offset(&self, number: u32) -> Option<u64> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes)?;
        let table = self.tables.get((index / self.inodes_per_group) as usize)?;
        Some(table * self.block_size + u64::from(index % self.inodes_per_group) * self.inode_size as u64)
    }
}
