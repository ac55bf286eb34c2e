//! Partition tables and filesystems, made from trees without mounting anything.
//!
//! ```text
//! Disk + one RootTree per partition → layout → filesystems at their places in one sparse file → table → boot sector → image
//! scratch disk of the builder VM → ext4_read → RootTree
//! ```
//!
//! UUIDs come from [`identity`], times from the build, sizes from the template and the content: the same input gives the
//! same bytes. FAT, XFS, Btrfs and swap space are written natively; ext, SquashFS and EROFS by their own programs, started from
//! the private tools, which take the tree as an archive.

pub mod bios;
pub mod btrfs;
mod crc32c;
pub mod ext4;
pub mod ext4_read;
pub mod f2fs;
pub mod fat;
pub mod fat_read;
pub mod gpt;
pub mod gpt_read;
pub mod identity;
pub mod image;
pub mod layout;
pub mod mbr;
pub mod packed;
mod pieces;
pub mod raw_files;
pub mod swap;
pub mod tree_read;
pub mod xfs;

use crate::exec::Program;

/// The programs that filesystems are made with, where they are not made natively.
#[derive(Debug, Clone)]
pub struct DiskTools {
    /// Those of e2fsprogs.
    pub ext4: Ext4Tools,
    /// `mksquashfs` of squashfs-tools, 4.6 or newer.
    pub mksquashfs: Program,
    /// `mkfs.erofs` of erofs-utils, 1.8 or newer.
    pub mkfs_erofs: Program,
}

pub use ext4::{Ext4Options, Ext4Tools, Profile};
pub use identity::ImageIdentity;
pub use image::{ImageError, ImageInput};
pub use layout::{Layout, LayoutError, Placed};
