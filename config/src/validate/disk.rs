//! `disk`: what each partition is, and the output files. Where partitions lie is checked in [`super::layout`].

use super::{Context, layout};
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, FilesystemName, Layer, Located, Text};
use crate::source::Origin;
use crate::spec::{Arch, BootType, Bootloader, Disk, DiskSize, Filesystem, Guid, ImageType, Partition, PartitionTableKind, PartitionType};
use crate::units::ByteSize;

/// Smallest file system with 32-bit FAT entries: 65,525 clusters of 512 bytes and its tables.
const SMALLEST_FAT32: ByteSize = ByteSize::mib(34);

/// Partition types by the names that templates use.
const TYPE_NAMES: [(&str, PartitionType); 17] = [
    ("linux", PartitionType::LinuxData),
    ("esp", PartitionType::Esp),
    ("xbootldr", PartitionType::Xbootldr),
    ("linux-root-amd64", PartitionType::Root(Arch::X86_64)),
    ("linux-root-arm64", PartitionType::Root(Arch::Aarch64)),
    ("linux-root-riscv64", PartitionType::Root(Arch::Riscv64)),
    ("linux-swap", PartitionType::Swap),
    ("linux-home", PartitionType::Home),
    ("linux-srv", PartitionType::Srv),
    ("linux-var", PartitionType::Var),
    ("linux-tmp", PartitionType::Tmp),
    ("bios", PartitionType::BiosBoot),
    ("bios-boot", PartitionType::BiosBoot),
    ("linux-lvm", PartitionType::Other(Guid(0xe6d6_d379_f507_44c2_a23c_238f_2a3d_f928))),
    ("linux-raid", PartitionType::Other(Guid(0xa19d_880f_05fc_4d3b_a006_743f_0f84_911e))),
    ("linux-luks", PartitionType::Other(Guid(0xca7d_7ccb_63ed_4c53_861c_1742_5360_59cc))),
    ("linux-dm-crypt", PartitionType::Other(Guid(0x7ffe_c5c9_2d00_49b7_8941_3ea1_0a55_86b7))),
];

/// Returns the disk; none for images without one.
pub(crate) fn disk(layer: &Layer, bootloader: Option<Bootloader>, cx: &mut Context<'_>) -> Option<Disk> {
    if cx.image_type != ImageType::Raw {
        return None;
    }
    let Some(disk) = &layer.disk else {
        let finding = Finding::error(Code::MissingField, "a raw image needs a disk, and no layer gives one");
        cx.report(finding, cx.root, "disk");
        return None;
    };
    let table = match disk.partition_table_type.as_ref() {
        Some(table) if *table.value() == layer::TableName::Mbr => {
            cx.unsupported(table.origin, "disk.partitionTableType", "MBR partition tables cannot be made yet; use `gpt`");
            PartitionTableKind::Mbr
        }
        _ => PartitionTableKind::Gpt,
    };
    let size = disk_size(disk, cx);
    let given = disk.partitions.as_ref().map_or(&[][..], |partitions| partitions.value());
    let order = order(given, cx);
    let mut partitions: Vec<(Partition, Origin)> =
        order.iter().map(|index| (partition(&given[*index], cx), given[*index].origin)).collect();
    layout::check(&mut partitions, size, disk.origin, cx);
    check_roles(&partitions, bootloader, disk.origin, cx);
    let name = disk.name.as_ref().map_or_else(|| "disk".to_owned(), |name| name.value.0.clone());
    Some(Disk { name, size, table, partitions: partitions.into_iter().map(|(partition, _)| partition).collect() })
}

fn disk_size(disk: &Located<layer::Disk>, cx: &mut Context<'_>) -> DiskSize {
    let Some(text) = disk.size.as_ref().filter(|text| text.value.0.trim() != "auto") else { return DiskSize::Auto };
    match cx.size(&text.value.0, text.origin, "disk.size") {
        Some(size) if size < ByteSize::mib(4) || !size.0.is_multiple_of(512) => {
            let finding = Finding::error(Code::InvalidValue, "not the size of a disk").found(size.to_string());
            cx.report(finding.allowed(["auto", "4MiB or more, in whole sectors of 512 bytes"]), text.origin, "disk.size");
            DiskSize::Auto
        }
        Some(size) => DiskSize::Fixed(size),
        None => DiskSize::Auto,
    }
}

/// Returns the partitions in the order of the table: by `index` where given, else as listed.
fn order(given: &[Located<layer::Partition>], cx: &mut Context<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..given.len()).collect();
    let count = given.iter().filter(|partition| partition.index.is_some()).count();
    if count == 0 {
        return order;
    }
    for (position, partition) in given.iter().enumerate() {
        let Some(index) = &partition.index else { continue };
        let taken = given[..position].iter().any(|other| other.index.as_ref().is_some_and(|other| other.value() == index.value()));
        if taken || *index.value() == 0 || count != given.len() {
            let finding = Finding::error(Code::Contradiction, "`index` must be given for all partitions or none, each its own, from 1");
            cx.report(finding.found(index.to_string()), index.origin, "disk.partitions[].index");
        }
    }
    order.sort_by_key(|position| given[*position].index.as_ref().map(|index| *index.value()));
    order
}

fn partition(given: &Located<layer::Partition>, cx: &mut Context<'_>) -> Partition {
    let text = |text: &Option<Located<Text>>| text.as_ref().map(|text| text.value.0.trim().to_owned()).filter(|text| !text.is_empty());
    let id = text(&given.id).unwrap_or_default();
    let field = format!("disk.partitions[{id}]");
    let label = text(&given.name).unwrap_or_else(|| id.clone());
    if label.encode_utf16().count() > 36 {
        let origin = given.name.as_ref().map_or(given.origin, |name| name.origin);
        let finding = Finding::error(Code::InvalidValue, "a partition label has at most 36 characters").found(format!("`{label}`"));
        cx.report(finding, origin, &format!("{field}.name"));
    }
    let kind = kind(given, &field, cx);
    let mut size_of = |value: &Option<Located<Text>>, key: &str| {
        let value = value.as_ref()?;
        Some((cx.size(&value.value.0, value.origin, &format!("{field}.{key}"))?, value.origin))
    };
    let start = size_of(&given.start, "start").map(|(size, _)| size);
    let end = size_of(&given.end, "end");
    let size = size_of(&given.size, "size");
    if let (Some((end, origin)), Some(_)) = (end, size)
        && end.0 != 0
    {
        cx.error(Code::Contradiction, origin, &field, "a partition has either `end` or `size`, and here are both");
    }
    let mut grow = given.grow.as_ref().is_some_and(|grow| *grow.value());
    if let (Some(flag), Some(_)) = (given.grow.as_ref().filter(|_| grow), size.or(end.filter(|(end, _)| end.0 != 0))) {
        cx.error(Code::Contradiction, flag.origin, &format!("{field}.grow"), "a partition that grows has neither `end` nor `size`");
    }
    grow |= end.is_some_and(|(end, _)| end.0 == 0);
    let filesystem = filesystem(given, &kind, size.map(|(size, _)| size), &field, cx);
    let mount_point = mount_point(given, filesystem, &field, cx);
    let filesystem_label = filesystem_label(given, filesystem, &field, cx);
    Partition {
        mount_options: mount_options(given, &field, cx),
        flags: flags(given, &kind, &field, cx),
        id,
        label,
        kind,
        start,
        end: end.map(|(end, _)| end).filter(|end| end.0 != 0),
        size: size.map(|(size, _)| size),
        grow,
        filesystem,
        filesystem_label,
        mount_point,
    }
}

fn kind(given: &Located<layer::Partition>, field: &str, cx: &mut Context<'_>) -> PartitionType {
    let arch = cx.arch;
    let mut origin = given.origin;
    let mut kind = None;
    if let Some(uuid) = &given.type_uuid {
        origin = uuid.origin;
        match parse_guid(uuid.value()) {
            Some(guid) => kind = Some(kind_of(guid)),
            None => {
                let finding = Finding::error(Code::InvalidValue, "not a GUID").found(format!("`{}`", uuid.value()));
                cx.report(finding.allowed(["0fc63daf-8483-4772-8e79-3d69d8477de4"]), uuid.origin, &format!("{field}.typeUUID"));
            }
        }
    }
    if let Some(name) = given.kind.as_ref().filter(|_| kind.is_none()) {
        origin = name.origin;
        kind = match name.value().as_str() {
            "linux-root" => Some(PartitionType::Root(arch)),
            text => TYPE_NAMES.iter().find(|(known, _)| *known == text).map(|(_, kind)| kind.clone()),
        };
        if kind.is_none() && given.type_uuid.is_none() {
            let names = || TYPE_NAMES.iter().map(|(name, _)| *name).chain(["linux-root"]);
            let mut finding =
                Finding::error(Code::InvalidValue, "not a partition type").found(format!("`{}`", name.value())).allowed(names());
            finding = finding.hint(match crate::suggest::closest(name.value(), names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "any other type can be given by its GUID in `typeUUID`".to_owned(),
            });
            cx.report(finding, origin, &format!("{field}.type"));
        }
    }
    match kind {
        // A template that was copied from another architecture: its root would not be found by type.
        Some(PartitionType::Root(other)) if other != arch => {
            cx.warn(
                origin,
                &format!("{field}.type"),
                format!("root partition type of {other} in an image for {arch}: taken as {arch}'s; write `linux-root`"),
            );
            PartitionType::Root(arch)
        }
        Some(kind) => kind,
        None => PartitionType::LinuxData,
    }
}

fn kind_of(guid: Guid) -> PartitionType {
    TYPE_NAMES.iter().map(|(_, kind)| kind).find(|kind| kind.guid() == guid).cloned().unwrap_or(PartitionType::Other(guid))
}

fn parse_guid(text: &str) -> Option<Guid> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let fits = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
    let digits = parts.concat();
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (fits && hex).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(Guid)
}

fn filesystem(
    given: &Located<layer::Partition>,
    kind: &PartitionType,
    size: Option<ByteSize>,
    field: &str,
    cx: &mut Context<'_>,
) -> Option<Filesystem> {
    let name = given.fs_type.as_ref()?;
    let field = format!("{field}.fsType");
    if *kind == PartitionType::BiosBoot {
        cx.warn(name.origin, &field, "a BIOS boot partition holds code, not a filesystem: none is made");
        return None;
    }
    let small = size.is_some_and(|size| size < SMALLEST_FAT32);
    let filesystem = match *name.value() {
        FilesystemName::Fat32 => Filesystem::Fat32,
        FilesystemName::Fat16 => Filesystem::Fat16,
        FilesystemName::Vfat if small => Filesystem::Fat16,
        FilesystemName::Vfat => Filesystem::Fat32,
        FilesystemName::Ext2 => Filesystem::Ext2,
        FilesystemName::Ext3 => Filesystem::Ext3,
        FilesystemName::Ext4 => Filesystem::Ext4,
        FilesystemName::Xfs => Filesystem::Xfs,
        FilesystemName::Btrfs => Filesystem::Btrfs,
        FilesystemName::F2fs => Filesystem::F2fs,
        FilesystemName::Squashfs => Filesystem::Squashfs,
        FilesystemName::Erofs => Filesystem::Erofs,
        FilesystemName::LinuxSwap | FilesystemName::Swap => Filesystem::Swap,
    };
    match filesystem {
        Filesystem::Ext4 | Filesystem::Swap => {}
        Filesystem::Fat16 | Filesystem::Fat32 if *kind == PartitionType::Esp => {}
        Filesystem::Fat16 | Filesystem::Fat32 => {
            cx.unsupported(name.origin, field, "FAT is made on the EFI system partition only so far; use `ext4`");
        }
        _ => cx.unsupported(name.origin, field, "this filesystem cannot be made yet; use `ext4`"),
    }
    Some(filesystem)
}

fn mount_point(given: &Located<layer::Partition>, filesystem: Option<Filesystem>, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let point = given.mount_point.as_ref()?;
    let text = point.value().trim();
    if text.is_empty() || matches!(text, "none" | "swap") {
        return None;
    }
    let field = format!("{field}.mountPoint");
    let normal = text == "/" || (text.starts_with('/') && text[1..].split('/').all(|part| !matches!(part, "" | "." | "..")));
    if !normal || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let finding = Finding::error(Code::InvalidValue, "not a mount point").found(format!("`{text}`"));
        cx.report(finding.allowed(["an absolute path such as /home", "none"]), point.origin, &field);
        return None;
    }
    match filesystem {
        Some(Filesystem::Swap) => cx.error(Code::Contradiction, point.origin, &field, "swap space is not mounted anywhere; write `none`"),
        None => cx.error(Code::Contradiction, point.origin, &field, "a partition without a filesystem cannot be mounted; give `fsType`"),
        Some(_) => return Some(text.to_owned()),
    }
    None
}

fn filesystem_label(
    given: &Located<layer::Partition>,
    filesystem: Option<Filesystem>,
    field: &str,
    cx: &mut Context<'_>,
) -> Option<String> {
    let label = given.fs_label.as_ref().filter(|label| !label.value.0.is_empty())?;
    let limit = match filesystem {
        Some(Filesystem::Fat16 | Filesystem::Fat32) => 11,
        Some(Filesystem::Xfs) => 12,
        _ => 16,
    };
    if label.value.0.len() > limit {
        let finding = Finding::error(Code::InvalidValue, format!("a label of this filesystem has at most {limit} bytes"));
        cx.report(finding.found(format!("`{}`", label.value.0)), label.origin, &format!("{field}.fsLabel"));
    }
    Some(label.value.0.clone())
}

fn mount_options(given: &Located<layer::Partition>, field: &str, cx: &mut Context<'_>) -> String {
    let Some(options) = given.mount_options.as_ref().filter(|options| !options.value.0.trim().is_empty()) else {
        return "defaults".to_owned();
    };
    let text = options.value.0.trim();
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let finding =
            Finding::error(Code::InvalidValue, "mount options are separated by commas, without spaces").found(format!("`{text}`"));
        cx.report(finding, options.origin, &format!("{field}.mountOptions"));
    }
    text.to_owned()
}

fn flags(given: &Located<layer::Partition>, kind: &PartitionType, field: &str, cx: &mut Context<'_>) -> Vec<String> {
    let mut flags = Vec::new();
    for flag in given.flags.iter().flatten() {
        let name = flag.value().to_lowercase();
        match (name.as_str(), kind) {
            ("boot" | "esp", PartitionType::Esp) | ("bios_grub", PartitionType::BiosBoot) | ("swap", PartitionType::Swap) => {
                flags.push(name);
            }
            _ => {
                let reason =
                    format!("flag `{name}` has no effect on a partition of this type; give its purpose in `type`, and leave the flag out");
                cx.unsupported(flag.origin, format!("{field}.flags"), reason);
            }
        }
    }
    flags
}

/// Checks that the partitions make a system that boots.
fn check_roles(partitions: &[(Partition, Origin)], bootloader: Option<Bootloader>, disk: Origin, cx: &mut Context<'_>) {
    for (index, (partition, origin)) in partitions.iter().enumerate() {
        if let Some(point) = &partition.mount_point
            && partitions[..index].iter().any(|(other, _)| other.mount_point.as_ref() == Some(point))
        {
            let field = format!("disk.partitions[{}].mountPoint", partition.id);
            cx.error(Code::Contradiction, *origin, &field, format!("two partitions are mounted at {point}"));
        }
    }
    match partitions.iter().find(|(partition, _)| partition.mount_point.as_deref() == Some("/")) {
        None => cx.error(Code::MissingField, disk, "disk.partitions", "no partition is mounted at `/`"),
        Some((root, origin)) if matches!(root.filesystem, Some(Filesystem::Fat16 | Filesystem::Fat32)) => {
            let field = format!("disk.partitions[{}].fsType", root.id);
            cx.error(Code::Contradiction, *origin, &field, "FAT cannot hold a Linux system; use `ext4`");
        }
        Some(_) => {}
    }
    if bootloader.is_some_and(|bootloader| bootloader.boot_type == BootType::Efi) {
        let esp: Vec<&(Partition, Origin)> = partitions.iter().filter(|(partition, _)| partition.kind == PartitionType::Esp).collect();
        match esp.as_slice() {
            [] => {
                let finding = Finding::error(Code::MissingField, "UEFI firmware needs an EFI system partition, and there is none");
                cx.report(finding.hint("add a partition with `type: esp`, `fsType: fat32` and 512MiB"), disk, "disk.partitions");
            }
            [(esp, origin)] => {
                if !matches!(esp.filesystem, Some(Filesystem::Fat16 | Filesystem::Fat32)) {
                    let field = format!("disk.partitions[{}].fsType", esp.id);
                    cx.error(Code::Contradiction, *origin, &field, "an EFI system partition must be fat32 or fat16");
                }
            }
            [.., (esp, origin)] => {
                cx.error(Code::Contradiction, *origin, &format!("disk.partitions[{}]", esp.id), "a disk has one EFI system partition");
            }
        }
    }
}

/// Checks a FAT filesystem against the size of its partition.
pub(crate) fn check_fat_size(partition: &Partition, size: ByteSize, origin: Origin, cx: &mut Context<'_>) {
    if partition.filesystem == Some(Filesystem::Fat32) && size < SMALLEST_FAT32 {
        let message = format!("fat32 needs at least {SMALLEST_FAT32}, and this partition has {size}");
        let finding = Finding::error(Code::Contradiction, message).hint("make it larger (512MiB holds two kernels), or use `fat16`");
        cx.report(finding, origin, &format!("disk.partitions[{}]", partition.id));
    }
}
