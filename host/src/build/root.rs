//! From verified package files to the disk that the guest works on.
//!
//! ```text
//! .deb ──DebCache──► decompressed packages ──dpkg::merge…──► RootTree ──mke2fs -d──► root disk
//! .rpm ──RpmCache──► stored packages, which rpm installs in the guest on a root disk that is empty
//!      rpm and what it needs ──tools_tree──► RootTree ──mke2fs -d──► tools disk, in the store
//! ```

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use oic_config::{
    spec::{Arch, Ecosystem, System},
    units::ByteSize,
};
use oic_protocol::{RpmInstall, StoreBlob};

use super::resolve::StoredPackages;
use crate::{
    digest::Hasher,
    disk::ext4::{self, Ext4Error, Ext4Options, Ext4Tools, Profile},
    lock::LockedPackage,
    repository::rpm::PackageProblem,
    rootfs::{
        DebCache, DebError, MergeError, PackageInput, RootTree, dpkg,
        rpm::{self, Rpm, RpmCache, RpmError, ToolsError},
        stored,
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
    /// The packages do not fit together.
    #[error("the packages cannot be unpacked together")]
    Merge(#[from] MergeError),
    /// A package of the RPM family is not one.
    #[error(transparent)]
    Rpm(#[from] RpmError),
    /// A package of the RPM family does not say its own name.
    #[error("package `{package}` cannot be installed")]
    Unnamed {
        /// The package.
        package: String,
        /// What is wrong with it.
        source: PackageProblem,
    },
    /// The installer cannot be unpacked.
    #[error("cannot unpack the program that installs packages")]
    Installer(#[from] ToolsError),
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

/// The packages of an image, open for reading.
#[derive(Debug)]
pub(super) struct OpenPackages {
    /// What the lock says of each, and where its file is.
    pub(super) locked: Vec<(LockedPackage, PathBuf)>,
    /// The packages themselves, in the order of the lock.
    pub(super) opened: Opened,
    /// The files that contents of layers may be in.
    pub(super) stored: stored::Packages,
}

/// Packages by their family.
#[derive(Debug)]
pub(super) enum Opened {
    /// Of the Debian family, which the host unpacks.
    Deb(Vec<PackageInput>),
    /// Of the RPM family, which rpm unpacks in the guest.
    Rpm(Vec<Rpm>),
}

/// Opens the packages of an image, decompressed.
///
/// # Errors
/// Fails when a package is malformed.
pub(super) fn open(store: &Store, packages: StoredPackages, family: Ecosystem) -> Result<OpenPackages, RootError> {
    match family {
        Ecosystem::Deb => open_debs(store, packages),
        Ecosystem::Rpm => {
            let cache = RpmCache::new(&store.bucket_folder(Bucket::Unpacked)?);
            let files: Vec<_> = packages.iter().map(|(package, path)| (path.clone(), package.sha256)).collect();
            let opened = Opened::Rpm(cache.open_all(&files)?);
            Ok(OpenPackages { locked: packages, opened, stored: stored::Packages::default() })
        }
    }
}

fn open_debs(store: &Store, packages: StoredPackages) -> Result<OpenPackages, RootError> {
    let cache = DebCache::new(&store.bucket_folder(Bucket::Unpacked)?);
    let files: Vec<_> = packages.iter().map(|(package, path)| (path.clone(), package.sha256)).collect();
    let debs = cache.open_all(&files)?;
    let mut known: Vec<_> = packages.iter().zip(&debs).map(|((package, _), deb)| (package.sha256, deb.file.clone())).collect();
    known.sort_by_key(|(digest, _)| *digest);
    let inputs = packages.iter().zip(debs).map(|((package, path), deb)| {
        let blob = StoreBlob { name: package.name.clone(), path: below(store, path), size: package.size };
        PackageInput { deb, blob }
    });
    let opened = Opened::Deb(inputs.collect());
    Ok(OpenPackages { locked: packages, opened, stored: stored::Packages::new(known) })
}

/// Returns the path of a file of the store as the guest sees it.
fn below(store: &Store, path: &Path) -> String {
    path.strip_prefix(store.root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Returns what rpm is to install.
///
/// # Errors
/// Fails when a package does not say its name.
pub(super) fn rpm_install(store: &Store, locked: &StoredPackages, rpms: &[Rpm], system: &System) -> Result<RpmInstall, RootError> {
    let blobs = locked.iter().zip(rpms).map(|((package, _), rpm)| {
        let id = rpm.header.id().map_err(|source| RootError::Unnamed { package: package.name.clone(), source })?;
        Ok(StoreBlob { name: id.to_string(), path: below(store, &rpm.path), size: package.size })
    });
    let packages = blobs.collect::<Result<_, RootError>>()?;
    Ok(RpmInstall { packages, docs: system.package_docs, languages: system.package_languages.clone() })
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

/// Unpacks all packages of an image into one tree.
///
/// # Errors
/// Fails when two packages do not fit together.
pub(super) fn merge_all(packages: &[PackageInput], arch: Arch, epoch: u64) -> Result<RootTree, RootError> {
    let merged = dpkg::merge(packages.to_vec(), arch.deb_name(), i64::try_from(epoch).unwrap_or(i64::MAX))?;
    Ok(merged.into_install().0)
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
