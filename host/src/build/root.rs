//! From verified package files to the disk that the guest works on.
//!
//! ```text
//! package files ──DebCache──► decompressed packages ──merge──► RootTree ──mke2fs -d──► root disk
//! ```

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use oic_config::{spec::Arch, units::ByteSize};
use oic_protocol::{DebInstall, StoreBlob};

use crate::{
    disk::ext4::{self, Ext4Error, Ext4Options, Ext4Tools, Profile},
    lock::LockedPackage,
    rootfs::{Deb, DebCache, DebError, MergeError, PackageInput, RootTree, dpkg},
    store::{Bucket, Store, StoreError},
};

/// Room on the root disk beyond what the packages take: the initramfs, caches that scripts write, the template's files.
const HEADROOM: u64 = 2 << 30;

/// Why there is no root disk.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A package is not one.
    #[error(transparent)]
    Package(#[from] DebError),
    /// The packages do not fit together.
    #[error("the packages cannot be unpacked together")]
    Merge(#[from] MergeError),
    /// The file of the disk cannot be made.
    #[error("cannot make the root disk `{}`", .path.display())]
    Reserve {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filesystem cannot be made.
    #[error("cannot make the root disk `{}`", .path.display())]
    Filesystem {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: Ext4Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Packages, unpacked.
#[derive(Debug)]
pub(super) struct UnpackedRoot {
    /// The tree.
    pub(super) tree: RootTree,
    /// What is left for the guest to do.
    pub(super) install: DebInstall,
    /// The packages themselves, in the order of the lock.
    pub(super) packages: Vec<Deb>,
}

/// Unpacks the packages of an image into a tree.
///
/// # Errors
/// Fails when a package is malformed or two packages do not fit together.
pub(super) fn unpack(store: &Store, packages: &[(LockedPackage, PathBuf)], arch: Arch, epoch: u64) -> Result<UnpackedRoot, RootError> {
    let cache = DebCache::new(&store.bucket_folder(Bucket::Unpacked)?);
    let files: Vec<_> = packages.iter().map(|(package, path)| (path.clone(), package.sha256)).collect();
    let debs = cache.open_all(&files)?;
    let inputs = packages.iter().zip(&debs).map(|((package, path), deb)| {
        let below = path.strip_prefix(store.root()).unwrap_or(path);
        let blob = StoreBlob { name: package.name.clone(), path: below.to_string_lossy().into_owned(), size: package.size };
        PackageInput { deb: deb.clone(), blob }
    });
    let merged = dpkg::merge(inputs.collect(), arch.deb_name(), i64::try_from(epoch).unwrap_or(i64::MAX))?;
    let (tree, install) = merged.into_install();
    Ok(UnpackedRoot { tree, install, packages: debs })
}

/// Returns how large the root disk of these packages is.
#[must_use]
pub(super) fn disk_size(packages: &[(LockedPackage, PathBuf)], asked: Option<ByteSize>) -> ByteSize {
    asked.unwrap_or_else(|| {
        let installed: u64 = packages.iter().map(|(package, _)| package.installed_kib * 1024).sum();
        ByteSize((installed + installed / 4 + HEADROOM).next_multiple_of(1 << 20))
    })
}

/// Returns how much of the host's disk a filesystem of the tree takes.
#[must_use]
pub(super) fn scratch_need(tree: &RootTree) -> u64 {
    ext4::minimal_size(tree, Profile::Scratch)
}

/// Makes the file of the root disk, with nothing in it.
///
/// # Errors
/// Fails when it cannot be written.
pub(super) fn reserve_disk(path: &Path, size: ByteSize) -> Result<(), RootError> {
    let made = File::create(path).and_then(|file| file.set_len(size.0));
    made.map_err(|source| RootError::Reserve { path: path.to_owned(), source })
}

/// Makes the root disk's filesystem in the file that was reserved for it, which a VM may have open already.
///
/// # Errors
/// Fails when the tree does not fit or the disk cannot be written.
pub(super) fn make_disk(tools: &Ext4Tools, tree: &RootTree, path: &Path, size: ByteSize, epoch: u64) -> Result<(), RootError> {
    let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"oic root disk");
    let options = Ext4Options { profile: Profile::Scratch, uuid, label: None, epoch };
    ext4::make(tools, tree, path, 0, size.0, &options).map_err(|source| RootError::Filesystem { path: path.to_owned(), source })
}
