//! From verified package files to the disk that the guest works on.
//!
//! ```text
//! .deb ──DebCache──► decompressed packages ──merge──► RootTree ──mke2fs -d──► root disk
//! .rpm ──RpmCache──► stored packages, which rpm installs in the guest; the root disk is empty
//!      rpm and what it needs ──tools_tree──► RootTree ──mke2fs -d──► tools disk, in the store
//! ```

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use oic_config::{
    spec::{Arch, Ecosystem},
    units::ByteSize,
};
use oic_protocol::{RpmInstall, Step, StoreBlob};

use super::resolve::StoredPackages;
use crate::{
    digest::Hasher,
    disk::ext4::{self, Ext4Error, Ext4Options, Ext4Tools, Profile},
    repository::rpm::PackageProblem,
    rootfs::{
        Deb, DebCache, DebError, MergeError, PackageInput, RootTree, dpkg,
        rpm::{self, Rpm, RpmCache, RpmError, ToolsError},
        tree::Metadata,
    },
    store::{Bucket, Slot, Store, StoreError},
};

/// Room on the root disk beyond what the packages take: the initramfs, caches that scripts write, the template's files.
const HEADROOM: u64 = 2 << 30;

/// Why there is no root disk.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A package is not one.
    #[error(transparent)]
    Package(#[from] DebError),
    /// A package is not one.
    #[error(transparent)]
    RpmPackage(#[from] RpmError),
    /// A package does not say what it is.
    #[error("the package {package} is of no use")]
    Unnamed {
        /// What the lock calls it.
        package: String,
        /// What is wrong with it.
        source: PackageProblem,
    },
    /// The programs that install packages cannot be unpacked.
    #[error("cannot unpack the distribution's rpm, which installs the packages")]
    Tools(#[from] ToolsError),
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
    pub(super) install: Step,
    /// The packages themselves, in the order of the lock.
    pub(super) packages: Packages,
}

/// The packages of an image.
#[derive(Debug)]
pub(super) enum Packages {
    /// Of the Debian family.
    Deb(Vec<Deb>),
    /// Of the RPM family.
    Rpm(Vec<Rpm>),
}

/// Makes the packages of an image ready for the guest: unpacked into a tree, or stored for rpm beside an empty tree.
///
/// # Errors
/// Fails when a package is malformed or two packages do not fit together.
pub(super) fn unpack(
    store: &Store,
    packages: &StoredPackages,
    (family, arch): (Ecosystem, Arch),
    epoch: u64,
) -> Result<UnpackedRoot, RootError> {
    match family {
        Ecosystem::Deb => unpack_deb(store, packages, arch, epoch),
        Ecosystem::Rpm => store_rpm(store, packages, epoch),
    }
}

fn unpack_deb(store: &Store, packages: &StoredPackages, arch: Arch, epoch: u64) -> Result<UnpackedRoot, RootError> {
    let cache = DebCache::new(&store.bucket_folder(Bucket::Unpacked)?);
    let files: Vec<_> = packages.iter().map(|(package, path)| (path.clone(), package.sha256)).collect();
    let debs = cache.open_all(&files)?;
    let inputs = packages.iter().zip(&debs).map(|((package, path), deb)| {
        let blob = StoreBlob { name: package.name.clone(), path: below(store, path), size: package.size };
        PackageInput { deb: deb.clone(), blob }
    });
    let merged = dpkg::merge(inputs.collect(), arch.deb_name(), i64::try_from(epoch).unwrap_or(i64::MAX))?;
    let (tree, install) = merged.into_install();
    Ok(UnpackedRoot { tree, install: Step::InstallDeb(install), packages: Packages::Deb(debs) })
}

fn store_rpm(store: &Store, packages: &StoredPackages, epoch: u64) -> Result<UnpackedRoot, RootError> {
    let cache = RpmCache::new(&store.bucket_folder(Bucket::Unpacked)?);
    let files: Vec<_> = packages.iter().map(|(package, path)| (path.clone(), package.sha256)).collect();
    let rpms = cache.open_all(&files)?;
    let blobs = packages.iter().zip(&rpms).map(|((package, _), rpm)| {
        let id = rpm.header.id().map_err(|source| RootError::Unnamed { package: package.name.clone(), source })?;
        Ok(StoreBlob { name: id.to_string(), path: below(store, &rpm.path), size: package.size })
    });
    let install = RpmInstall { packages: blobs.collect::<Result<_, RootError>>()? };
    let tree = RootTree::new(Metadata::root_owned(0o755, i64::try_from(epoch).unwrap_or(i64::MAX)));
    Ok(UnpackedRoot { tree, install: Step::InstallRpm(install), packages: Packages::Rpm(rpms) })
}

/// Returns the path of a file of the store as the guest sees it.
fn below(store: &Store, path: &Path) -> String {
    path.strip_prefix(store.root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Makes the disk with the distribution's rpm, or finds it in the store.
///
/// # Errors
/// Fails when a package is malformed or the disk cannot be made.
pub(super) fn tools_disk(store: &Store, tools: &Ext4Tools, packages: &StoredPackages) -> Result<PathBuf, RootError> {
    const DISK: &str = "tools.img";
    let mut key = Hasher::default();
    key.update(b"rpm tools disk 1");
    packages.iter().for_each(|(package, _)| key.update(package.sha256.as_bytes()));
    let entry = match store.begin(Bucket::Tools, &key.finish())? {
        Slot::Present(folder) => return Ok(folder.join(DISK)),
        Slot::Vacant(entry) => entry,
    };
    let files: Vec<_> = packages.iter().map(|(_, path)| path.clone()).collect();
    let tree = rpm::tools_tree(&files)?;
    let size = ext4::minimal_size(&tree, Profile::Scratch).next_multiple_of(1 << 20);
    make_disk(tools, &tree, &entry.path().join(DISK), ByteSize(size), 0)?;
    Ok(entry.commit()?.join(DISK))
}

/// Returns how large the root disk of these packages is.
#[must_use]
pub(super) fn disk_size(packages: &StoredPackages, asked: Option<ByteSize>) -> ByteSize {
    asked.unwrap_or_else(|| {
        let installed: u64 = packages.iter().map(|(package, _)| package.installed_kib * 1024).sum();
        ByteSize((installed + installed / 4 + HEADROOM).next_multiple_of(1 << 20))
    })
}

/// Returns how much of the host's disk the root filesystem takes before scripts have run.
#[must_use]
pub(super) fn scratch_need(unpacked: &UnpackedRoot, packages: &StoredPackages) -> u64 {
    match unpacked.packages {
        Packages::Deb(_) => ext4::minimal_size(&unpacked.tree, Profile::Scratch),
        Packages::Rpm(_) => packages.iter().map(|(package, _)| package.installed_kib * 1024).sum(),
    }
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
