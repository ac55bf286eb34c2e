//! The validated, complete description of one image: what every later stage works from.
//!
//! Values here have been checked against each other; nothing is optional that a later stage needs, and nothing is filled
//! in later. Types follow the vocabulary of the UAPI Group's Discoverable Partitions Specification and of systemd.

mod arch;
mod disk;
mod packages;
mod system;

use std::path::PathBuf;

use serde::Serialize;

pub use arch::Arch;
pub use disk::{
    ArtifactFormat, ArtifactSpec, Compression, Disk, DiskSize, Filesystem, Guid, LINUX_LVM, LINUX_RAID, MountIdentifier, Partition,
    PartitionArtifact, PartitionTableKind, PartitionType, RawBinary, Subvolume,
};
pub use packages::{
    Ecosystem, Exclude, PackageRequest, Repository, RepositoryFormat, RepositoryKey, RepositoryLocation, VersionPin, VersionRelation,
};
pub use system::{
    AdditionalFile, BootType, Bootloader, BootloaderProvider, Command, FileSource, Group, InitramfsGenerator, Interface, Kernel, Network,
    NetworkBackend, Password, PasswordHash, Route, Services, System, User, WrittenFile,
};

use crate::units::ByteSize;

/// One image, ready to be resolved and built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSpec {
    /// `image.name`.
    pub name: String,
    /// `image.version`.
    pub version: String,
    /// What it is an image of.
    pub target: Target,
    /// The disk; none for image types that have no disk.
    pub disk: Option<Disk>,
    /// Output files, at least one.
    pub artifacts: Vec<ArtifactSpec>,
    /// Output files that are copies of partitions.
    pub partition_artifacts: Vec<PartitionArtifact>,
    /// What is installed and configured.
    pub system: System,
    /// All package repositories: the distribution's, then the template's.
    pub repositories: Vec<Repository>,
    /// What the distribution calls things.
    pub provider: ProviderFacts,
    /// The virtual machine that builds.
    pub builder: BuilderSettings,
    /// The state of the package archive to build from.
    pub snapshot: Snapshot,
    /// `reproducible.sourceDateEpoch`, seconds since 1970-01-01 UTC.
    pub source_date_epoch: Option<u64>,
    /// Every file that took part, in merge order: the first is the outermost default, the last the user's template.
    pub sources: Vec<PathBuf>,
    /// Fields that validation accepts and this version cannot build yet, by path, with what to do instead.
    pub unsupported: Vec<UnsupportedField>,
}

/// A field that is valid, but that this version of `oic` does not build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnsupportedField {
    /// The field's path in the template, for example `systemConfig.immutability.enabled`.
    pub field: String,
    /// Why, and what to use instead.
    pub reason: String,
    /// Where it is set: `file:line:column`, or the layer's name.
    pub origin: String,
}

/// `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Operating system, `debian`.
    pub os: String,
    /// Distribution, `debian13`.
    pub dist: String,
    /// Architecture.
    pub arch: Arch,
    /// What kind of image.
    pub image_type: ImageType,
}

/// `target.imageType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageType {
    /// A disk with a partition table.
    Raw,
    /// An initramfs with the whole system, and its kernel.
    Img,
    /// A bootable ISO with an installer.
    Iso,
    /// A root filesystem tarball for WSL 2.
    Wsl2,
    /// A root filesystem for containers: no kernel, no bootloader, no disk.
    Container,
}

impl ImageType {
    /// Returns its name in templates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Img => "img",
            Self::Iso => "iso",
            Self::Wsl2 => "wsl2",
            Self::Container => "container",
        }
    }

    /// Returns whether such an image starts with a kernel of its own.
    #[must_use]
    pub fn has_kernel(self) -> bool {
        !matches!(self, Self::Wsl2 | Self::Container)
    }
}

/// What a distribution calls things: facts from `config/osv/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderFacts {
    /// Human name, "Debian 13 (trixie)".
    pub display_name: String,
    /// Package family.
    pub ecosystem: Ecosystem,
    /// The release's code name, `trixie`; empty where there is none.
    pub codename: String,
    /// Key of the mirror setting, `debian`: `mirrors.debian`, `OIC_MIRROR_DEBIAN`.
    pub mirror_key: String,
    /// Where the root password hash may be yescrypt.
    pub password_hash: PasswordHash,
    /// The initramfs generator that the distribution uses by default.
    pub initramfs: InitramfsGenerator,
    /// Packages that make an image with this bootloader bootable: (provider, packages).
    pub bootloader_packages: Vec<(BootloaderProvider, Vec<String>)>,
    /// Packages that make an image with GRUB bootable on BIOS machines; none where there are no such machines.
    pub grub_bios_packages: Vec<String>,
    /// Packages that grow partitions at first boot.
    pub grow_packages: Vec<String>,
    /// The group that `sudo: true` puts a user in.
    pub sudo_group: String,
}

/// `builder`: the virtual machine that builds, not the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuilderSettings {
    /// Memory of the guest; none: `oic` chooses.
    pub memory: Option<ByteSize>,
    /// Processors of the guest; none: `oic` chooses.
    pub cpus: Option<u32>,
    /// Size of the scratch disk that the root filesystem is built on; none: from the lock's installed sizes.
    pub disk: Option<ByteSize>,
    /// Whether hooks have the user's network.
    pub network: bool,
}

/// `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Snapshot {
    /// Whatever the mirror has now.
    Latest,
    /// The archive as it was at this time, `20261101T000000Z`.
    At(String),
}
