//! Partition tables and filesystems, made from trees without mounting anything.
//!
//! ```text
//! Disk + one RootTree per partition → layout → filesystems at their places in one sparse file → GPT → image
//! scratch disk of the builder VM → ext4_read → RootTree
//! ```
//!
//! UUIDs come from [`identity`], times from the build, sizes from the template and the content: the same input gives the
//! same bytes. Only ext filesystems need a program, `mke2fs`, started from the private tools.

pub mod ext4;
pub mod ext4_read;
pub mod fat;
pub mod fat_read;
pub mod gpt;
pub mod gpt_read;
pub mod identity;
pub mod image;
pub mod layout;
pub mod swap;

pub use ext4::{Ext4Options, Ext4Tools, Profile};
pub use identity::ImageIdentity;
pub use image::{ImageError, ImageInput};
pub use layout::{Layout, LayoutError, Placed};
