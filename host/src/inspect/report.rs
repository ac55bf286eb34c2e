//! What is said of an image: plain data, written as JSON and YAML as it stands.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{digest::Sha256Digest, report::packages::Dependency};

/// The version of the report's format.
pub const REPORT_VERSION: u32 = 1;

/// Everything that was found in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// Version of this format.
    pub version: u32,
    /// The file.
    pub file: FileReport,
    /// The partition table; none on a bare filesystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableReport>,
    /// The partitions in the order of the table; a bare filesystem is the only one.
    pub partitions: Vec<PartitionReport>,
    /// What the firmware and bootloaders offer.
    pub boot_entries: Vec<BootEntry>,
    /// Programs for the firmware.
    pub efi: Vec<EfiReport>,
    /// The system on the root filesystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemReport>,
    /// Installed packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackagesReport>,
    /// What is wrong, or could not be looked at.
    pub problems: Vec<String>,
}

/// The image as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// The container.
    pub format: String,
    /// How the file is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Bytes of the disk in it.
    pub disk_size: u64,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// `gpt` or `mbr`.
    pub kind: &'static str,
    /// GUID or number of the disk.
    pub id: String,
    /// Bytes of a sector, as the table counts.
    pub sector: u64,
    /// Whether there is code to start in the first sector.
    pub boot_code: bool,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionReport {
    /// Its number; 0 for a bare filesystem.
    pub number: u32,
    /// Its label in the table.
    pub label: String,
    /// GUID or number of its type.
    pub type_id: String,
    /// What the type means.
    pub type_name: String,
    /// Its own GUID, `PARTUUID=`.
    pub uuid: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Attributes by name.
    pub attributes: Vec<String>,
    /// What is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<FilesystemReport>,
}

/// A filesystem, or what else a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemReport {
    /// `ext4`, `vfat`, `swap`, `dm-verity` …
    pub kind: String,
    /// Label; empty: none.
    pub label: String,
    /// UUID, what `UUID=` refers to; empty: none.
    pub uuid: String,
    /// Bytes of the filesystem.
    pub size: u64,
    /// Bytes that are free, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// How many files and folders it has, where they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Whatever else is of interest: features, hash algorithm, data size.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Something that can be booted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BootEntry {
    /// `type1`, `uki`, `grub`.
    pub kind: &'static str,
    /// Number of the partition.
    pub partition: u32,
    /// The file that says so.
    pub path: String,
    /// What a menu shows.
    pub title: String,
    /// The kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initramfs, or several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub initramfs: Vec<String>,
    /// The kernel command line.
    pub cmdline: String,
}

/// A program for the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EfiReport {
    /// Number of the partition.
    pub partition: u32,
    /// Where it is there.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// `uki`, `shim`, `grub`, `systemd-boot`, `linux`, `mok-manager`, `shim-fallback`, `systemd-stub`, `application`.
    pub kind: &'static str,
    /// `x86_64`, `aarch64` …
    pub arch: String,
    /// Digest of the file.
    pub sha256: String,
    /// Who signed it, by name; empty: nobody.
    pub signed_by: Vec<String>,
    /// SBAT: component and generation.
    pub sbat: Vec<SbatEntry>,
    /// The parts of a unified kernel image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uki: Option<UkiReport>,
}

/// One line of SBAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SbatEntry {
    /// The component.
    pub component: String,
    /// Its generation.
    pub generation: u32,
    /// Its version, as the vendor writes it.
    pub version: String,
}

/// A unified kernel image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UkiReport {
    /// The sections: name, size, digest.
    pub sections: Vec<SectionReport>,
    /// The kernel command line.
    pub cmdline: String,
    /// The kernel's release.
    pub uname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
}

/// A section of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SectionReport {
    /// `.linux`, `.initrd` …
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: String,
}

/// The system on the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemReport {
    /// Number of the root partition.
    pub partition: u32,
    /// The subvolume that the system is in, where it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subvolume: Option<String>,
    /// `os-release`.
    pub os_release: BTreeMap<String, String>,
    /// `/etc/hostname`; empty: none.
    pub hostname: String,
    /// Where filesystems are mounted: the lines of fstab.
    pub fstab: Vec<String>,
    /// Kernels that have modules.
    pub kernels: Vec<String>,
    /// Users.
    pub users: Vec<UserReport>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserReport {
    /// User id.
    pub uid: u32,
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Home.
    pub home: String,
    /// Shell.
    pub shell: String,
    /// `none`: logs in without one; `locked`; `set`.
    pub password: &'static str,
    /// Whether there is an authorized key for SSH.
    pub ssh_key: bool,
}

/// The installed packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackagesReport {
    /// `deb` or `rpm`.
    pub family: &'static str,
    /// Sorted by name, version and architecture.
    pub packages: Vec<PackageReport>,
    /// Which needs which, as positions in the list: for the SBOM.
    #[serde(skip)]
    pub dependencies: Vec<Dependency>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageReport {
    /// Name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Source package, with its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Licence, where the package says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What dpkg says when it is not `installed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Digest of the package's header, where RPM has it. That of the package's file is in no database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_sha256: Option<Sha256Digest>,
}
