//! Partition tables and filesystems, made from trees without mounting anything.

pub mod ext4;
pub mod ext4_read;
