//! `disk`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Located, Text};
use crate::spec::{MountIdentifier, PartitionTableKind};

/// The disk and the output files.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// What messages call it.
    pub name: Option<Located<Text>>,
    /// The disk that an installer writes to.
    pub path: Option<Located<String>>,
    /// Output files.
    pub artifacts: Option<Located<Vec<Located<Artifact>>>>,
    /// Size, `4GiB`, or `auto` for what the content needs.
    pub size: Option<Located<Text>>,
    /// How large the disk of an existing image may become.
    pub max_size: Option<Located<Text>>,
    /// Kind of the partition table.
    pub partition_table_type: Option<Located<PartitionTableKind>>,
    /// Partitions in the order of the table.
    pub partitions: Option<Located<Vec<Located<Partition>>>>,
    /// Files that are written onto the disk as they are, beside its partitions.
    pub raw_binaries: Option<Located<Vec<Located<RawBinary>>>>,
    /// How an installer chooses the disk.
    pub selection_policy: Option<Located<SelectionPolicy>>,
    /// Whether the last partition grows over the disk at first boot.
    pub extend_last_partition_to_fill_disk: Option<Located<bool>>,
}

/// A file that is written onto the disk as it is: what firmware of a board starts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBinary {
    /// The file on this machine, relative to the template.
    #[schemars(required)]
    pub local: Option<Located<String>>,
    /// Where on the disk its first byte lies, `8KiB`.
    #[schemars(required)]
    pub offset: Option<Located<Text>>,
}

/// One output file.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artifact {
    /// Its format.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub format: Option<Located<ArtifactName>>,
    /// How it is compressed.
    pub compression: Option<Located<CompressionName>>,
    /// The partition that it is a copy of, by its id; default: the whole disk.
    pub partition: Option<Located<Text>>,
}

/// Format of an output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactName {
    /// The disk, byte for byte.
    Raw,
    /// QEMU.
    Qcow2,
    /// Virtual PC, with all bytes, as Azure takes it.
    Vhd,
    /// Virtual PC, without empty blocks.
    #[serde(rename = "vhd-dynamic")]
    VhdDynamic,
    /// Hyper-V.
    Vhdx,
    /// VMware.
    Vmdk,
    /// VMware, compressed for transport (streamOptimized).
    #[serde(rename = "vmdk-stream")]
    VmdkStream,
    /// VirtualBox.
    Vdi,
    /// The root filesystem alone.
    Ext4,
    /// The root filesystem as SquashFS.
    Squashfs,
    /// The root filesystem as a tar archive.
    Tar,
    /// An OCI image layout.
    Oci,
    /// A virtual machine in one file: description, checksums and the disk as VMware transports it.
    Ova,
    /// The whole system as an initramfs, with its kernel: of `imageType: img` alone.
    Initrd,
}

/// How an output file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompressionName {
    /// Not at all.
    None,
    /// gzip.
    Gz,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bz2,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Partition {
    /// Unique on the disk.
    #[schemars(required)]
    pub id: Option<Located<Text>>,
    /// Its place in the table, from 1; default: the order of the list.
    pub index: Option<Located<u32>>,
    /// Partition label; default: the id.
    pub name: Option<Located<Text>>,
    /// Purpose: esp, xbootldr, linux, linux-root, linux-root-amd64, linux-root-arm64, linux-root-riscv64, linux-swap, linux-home, linux-srv, linux-var, linux-tmp, bios; extended in an MBR …
    #[serde(rename = "type")]
    pub kind: Option<Located<String>>,
    /// Type GUID, or the type's number in an MBR, `0x83`; wins over `type`.
    #[serde(rename = "typeUUID")]
    pub type_uuid: Option<Located<String>>,
    /// What is made in it.
    pub fs_type: Option<Located<FilesystemName>>,
    /// Label of the filesystem.
    pub fs_label: Option<Located<Text>>,
    /// First byte, `1MiB`, or `-4GiB` from the end of the disk; default: after the partition before.
    pub start: Option<Located<Text>>,
    /// One past the last byte, `-4GiB` from the end of the disk; `"0"`: the rest of the disk.
    pub end: Option<Located<Text>>,
    /// Size, instead of an end.
    pub size: Option<Located<Text>>,
    /// Takes what is left of the disk.
    pub grow: Option<Located<bool>>,
    /// Where the system mounts it; `none`: nowhere.
    pub mount_point: Option<Located<String>>,
    /// Options for fstab.
    pub mount_options: Option<Located<Text>>,
    /// What fstab and the kernel command line name it by; default: partuuid.
    pub mount_identifier: Option<Located<MountIdentifier>>,
    /// boot, esp, bios_grub, legacy_boot, read-only, no-auto …; logical in an MBR.
    pub flags: Option<Vec<Located<String>>>,
    /// Subvolumes of a Btrfs filesystem.
    pub subvolumes: Option<Located<Vec<Located<Subvolume>>>>,
}

/// One subvolume of a Btrfs filesystem.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subvolume {
    /// Its name, `@home`.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// Where the system mounts it; `none`: nowhere.
    pub mount_point: Option<Located<String>>,
    /// Options for fstab, without `subvol=`.
    pub mount_options: Option<Located<Text>>,
}

/// What is made in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemName {
    /// FAT with 32-bit entries.
    Fat32,
    /// FAT with 16-bit entries.
    Fat16,
    /// FAT, of the kind that fits the size.
    Vfat,
    /// ext2.
    Ext2,
    /// ext3.
    Ext3,
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// SquashFS.
    Squashfs,
    /// EROFS.
    Erofs,
    /// Swap space.
    #[serde(rename = "linux-swap")]
    LinuxSwap,
    /// Swap space.
    Swap,
}

/// How an installer chooses the disk.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectionPolicy {
    /// Which of several.
    pub strategy: Option<Located<SelectionStrategy>>,
    /// Whether removable disks are left out.
    pub exclude_removable: Option<Located<bool>>,
    /// Whether only empty disks are taken.
    pub require_empty: Option<Located<bool>>,
}

/// Which of several disks an installer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SelectionStrategy {
    /// The first.
    First,
    /// The largest.
    Largest,
    /// The fastest.
    Fastest,
}
