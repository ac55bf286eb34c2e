//! Root filesystems as trees: unpacked from packages, merged, normalised and written as archives.
//!
//! ```text
//! package files → DebCache (decompressed once) → Deb → dpkg::merge → RootTree → tar, disk::ext4, boot …
//! ext4 image of the builder VM → disk::ext4_read → RootTree
//! ```
//!
//! A [`RootTree`] holds names, owners, modes and links; file contents stay in the files that they came from and are read
//! when something is written. Everything here is pure or reads files; nothing needs privilege, because nothing is ever
//! extracted to the host's filesystem.
//!
//! Packages and disks written by a guest are hostile input: lengths and numbers are checked, and damaged input is an error.

pub mod content;
pub mod control;
pub mod cpio;
pub mod deb;
pub mod dpkg;
pub mod normalize;
pub mod path;
pub mod rpm;
pub mod stored;
pub mod tar;
pub mod tar_read;
pub mod tree;

pub use content::{Content, Extent, HostFile};
pub use deb::{Deb, DebCache, DebError};
pub use dpkg::{MergeError, MergedRoot, PackageInput};
pub use tree::{Entry, Inode, InodeId, Kind, Metadata, RootTree, TreeError};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
