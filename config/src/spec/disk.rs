//! Disks, partitions and output files.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Arch;
use crate::units::ByteSize;

/// `disk`: the table and the partitions of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// `disk.name`.
    pub name: String,
    /// Size of the disk.
    pub size: DiskSize,
    /// Kind of the partition table.
    pub table: PartitionTableKind,
    /// Partitions in the order of the table; sizes and places are resolved against [`Self::size`] when the content is known.
    pub partitions: Vec<Partition>,
    /// Whether the last partition and its filesystem grow over the disk at first boot.
    pub grows_at_first_boot: bool,
    /// Files that are written onto it as they are.
    pub raw_binaries: Vec<RawBinary>,
}

/// One entry of `disk.rawBinaries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RawBinary {
    /// The file on the host, absolute.
    pub local: PathBuf,
    /// Where on the disk its first byte lies.
    pub offset: ByteSize,
    /// Where the template asks for it.
    pub origin: String,
}

/// `mountIdentifier`: what fstab and the kernel command line name a partition by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountIdentifier {
    /// What the table says of the partition.
    #[default]
    PartUuid,
    /// The UUID of the filesystem.
    Uuid,
    /// The partition's label in a GPT.
    PartLabel,
}

impl Disk {
    /// Returns the partition that holds a path of the image, and the subvolume of it: the one with the longest mount point above
    /// the path.
    #[must_use]
    pub fn holder(&self, path: &str) -> Option<(&Partition, Option<&Subvolume>)> {
        let above = |mount_point: &str| mount_point == "/" || path == mount_point || path.starts_with(&format!("{mount_point}/"));
        let whole = self.partitions.iter().filter_map(|partition| Some((partition.mount_point.as_deref()?, partition, None)));
        let parts = self.partitions.iter().flat_map(|partition| {
            partition.subvolumes.iter().filter_map(move |subvolume| Some((subvolume.mount_point.as_deref()?, partition, Some(subvolume))))
        });
        let holder = whole.chain(parts).filter(|(mount_point, ..)| above(mount_point)).max_by_key(|(mount_point, ..)| mount_point.len());
        holder.map(|(_, partition, subvolume)| (partition, subvolume))
    }
}

/// `disk.size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DiskSize {
    /// Exactly this much.
    Fixed(ByteSize),
    /// As much as the content needs and headroom.
    Auto,
}

/// `disk.partitionTableType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionTableKind {
    /// GUID partition table (UEFI specification, chapter 5).
    Gpt,
    /// Master boot record.
    Mbr,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// `id`, unique on the disk.
    pub id: String,
    /// `name`: the GPT partition label; the id when the template gives none.
    pub label: String,
    /// What it is for.
    pub kind: PartitionType,
    /// First byte; none: right after the partition before, aligned to 1 MiB.
    pub start: Option<ByteSize>,
    /// One past the last byte; none with `size` none: the rest of the disk.
    pub end: Option<ByteSize>,
    /// Size, where the template gives that instead of an end.
    pub size: Option<ByteSize>,
    /// Takes what is left of the disk.
    pub grow: bool,
    /// What is made in it; none: left empty.
    pub filesystem: Option<Filesystem>,
    /// `fsLabel`.
    pub filesystem_label: Option<String>,
    /// Absolute path where the system mounts it.
    pub mount_point: Option<String>,
    /// Options for fstab; `defaults` when the template gives none.
    pub mount_options: String,
    /// What fstab and the kernel command line name it by.
    pub mount_identifier: MountIdentifier,
    /// Attribute bits of a GPT entry (UEFI specification, chapter 5; Discoverable Partitions Specification).
    pub attributes: u64,
    /// Whether it is the active partition of an MBR.
    pub active: bool,
    /// Whether it lies inside of the extended partition of an MBR.
    pub logical: bool,
    /// Subvolumes of a Btrfs filesystem.
    pub subvolumes: Vec<Subvolume>,
}

/// One subvolume of a Btrfs filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subvolume {
    /// Its name in the filesystem's top folder.
    pub name: String,
    /// Absolute path where the system mounts it.
    pub mount_point: Option<String>,
    /// Options for fstab, without `subvol=`.
    pub mount_options: String,
}

/// The purpose of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PartitionType {
    /// EFI system partition.
    Esp,
    /// Extended boot loader partition.
    Xbootldr,
    /// Root of an architecture.
    Root(Arch),
    /// Swap.
    Swap,
    /// `/home`.
    Home,
    /// `/srv`.
    Srv,
    /// `/var`.
    Var,
    /// `/var/tmp`.
    Tmp,
    /// Space for GRUB's core image on BIOS machines.
    BiosBoot,
    /// Plain Linux data.
    LinuxData,
    /// The container of the logical partitions of an MBR.
    Extended,
    /// Any other type, by its GUID.
    Other(Guid),
    /// Any other type of an MBR, by its number.
    OtherMbr(u8),
}

impl PartitionType {
    /// Returns the type that an MBR has for it; none for what only a GPT can say.
    #[must_use]
    pub fn mbr(&self, filesystem: Option<Filesystem>) -> Option<u8> {
        Some(match (self, filesystem) {
            (Self::Esp, _) => 0xef,
            (Self::Xbootldr, _) => 0xea,
            (Self::Extended, _) => 0x0f,
            (Self::Swap, _) | (Self::LinuxData, Some(Filesystem::Swap)) => 0x82,
            (Self::LinuxData, Some(Filesystem::Fat32)) => 0x0c,
            (Self::LinuxData, Some(Filesystem::Fat16)) => 0x0e,
            (Self::Root(_) | Self::Home | Self::Srv | Self::Var | Self::Tmp | Self::LinuxData, _) => 0x83,
            (Self::OtherMbr(number), _) => *number,
            (Self::Other(guid), _) if *guid == LINUX_LVM => 0x8e,
            (Self::Other(guid), _) if *guid == LINUX_RAID => 0xfd,
            (Self::Other(_) | Self::BiosBoot, _) => return None,
        })
    }

    /// Returns the GPT type GUID (Discoverable Partitions Specification); that of plain Linux data for what only an MBR can say.
    #[must_use]
    pub fn guid(&self) -> Guid {
        match self {
            Self::Esp => Guid(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b),
            Self::Xbootldr => Guid(0xbc13_c2ff_59e6_4262_a352_b275_fd6f_7172),
            Self::Root(Arch::X86_64) => Guid(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709),
            Self::Root(Arch::Aarch64) => Guid(0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae),
            Self::Root(Arch::Riscv64) => Guid(0x72ec_70a6_cf74_40e6_bd49_4bda_08e8_f224),
            Self::Swap => Guid(0x0657_fd6d_a4ab_43c4_84e5_0933_c84b_4f4f),
            Self::Home => Guid(0x933a_c7e1_2eb4_4f13_b844_0e14_e2ae_f915),
            Self::Srv => Guid(0x3b8f_8425_20e0_4f3b_907f_1a25_a76f_98e8),
            Self::Var => Guid(0x4d21_b016_b534_45c2_a9fb_5c16_e091_fd2d),
            Self::Tmp => Guid(0x7ec6_f557_3bc5_4aca_b293_16ef_5df6_39d1),
            Self::BiosBoot => Guid(0x2168_6148_6449_6e6f_744e_6565_6445_4649),
            Self::LinuxData | Self::Extended | Self::OtherMbr(_) => Guid(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4),
            Self::Other(guid) => *guid,
        }
    }
}

/// Volumes of the logical volume manager.
pub const LINUX_LVM: Guid = Guid(0xe6d6_d379_f507_44c2_a23c_238f_2a3d_f928);
/// Members of a software RAID.
pub const LINUX_RAID: Guid = Guid(0xa19d_880f_05fc_4d3b_a006_743f_0f84_911e);

/// A GUID as one number, most significant first: the order in which its text form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub u128);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

impl Serialize for Guid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `fsType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// FAT with 16-bit entries.
    Fat16,
    /// FAT with 32-bit entries.
    Fat32,
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
    Swap,
}

impl Filesystem {
    /// Returns whether a running system can make it larger.
    #[must_use]
    pub fn can_grow(self) -> bool {
        matches!(self, Self::Ext3 | Self::Ext4 | Self::Xfs | Self::Btrfs)
    }

    /// Returns whether nothing can ever be written to it.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs)
    }
}

/// One entry of `disk.artifacts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ArtifactSpec {
    /// The format.
    pub format: ArtifactFormat,
    /// How the file is compressed.
    pub compression: Compression,
}

/// One entry of `disk.artifacts` with `partition`: a copy of that partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PartitionArtifact {
    /// The partition's id.
    pub partition: String,
    /// What its name ends in: `raw`, or the kind of filesystem that is in it.
    pub ending: String,
    /// How the file is compressed.
    pub compression: Compression,
}

/// `disk.artifacts[].type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactFormat {
    /// The disk, byte for byte.
    Raw,
    /// QEMU copy on write, version 3.
    Qcow2,
    /// Virtual PC fixed disk.
    Vhd,
    /// Virtual PC dynamic disk.
    #[serde(rename = "vhd-dynamic")]
    VhdDynamic,
    /// Hyper-V virtual hard disk v2.
    Vhdx,
    /// VMware, one sparse file.
    Vmdk,
    /// VMware, compressed for transport.
    #[serde(rename = "vmdk-stream")]
    VmdkStream,
    /// VirtualBox.
    Vdi,
    /// Bare root filesystem.
    Ext4,
    /// Root filesystem as SquashFS.
    Squashfs,
    /// Root filesystem as a tar archive.
    Tar,
    /// OCI image layout.
    Oci,
    /// Open Virtualization Format, one file.
    Ova,
    /// A tarball that WSL 2 imports.
    Wsl2,
    /// The whole system as an initramfs, with its kernel and command line beside it.
    Initrd,
}

/// `disk.artifacts[].compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    None,
    /// gzip (RFC 1952).
    Gz,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bz2,
}
