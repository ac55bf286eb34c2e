//! One partition: its type, filesystem, mount point, flags and subvolumes.

use super::Context;
use super::disk::SMALLEST_FAT32;
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, FilesystemName, Located, Text};
use crate::source::Origin;
use crate::spec::{
    Arch, DiskSize, Filesystem, Guid, LINUX_LVM, LINUX_RAID, MountIdentifier, Partition, PartitionTableKind, PartitionType, Subvolume,
};
use crate::units::ByteSize;

/// Partition types by the names that templates use.
const TYPE_NAMES: [(&str, PartitionType); 18] = [
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
    ("extended", PartitionType::Extended),
    ("linux-lvm", PartitionType::Other(LINUX_LVM)),
    ("linux-raid", PartitionType::Other(LINUX_RAID)),
    ("linux-luks", PartitionType::Other(Guid(0xca7d_7ccb_63ed_4c53_861c_1742_5360_59cc))),
    ("linux-dm-crypt", PartitionType::Other(Guid(0x7ffe_c5c9_2d00_49b7_8941_3ea1_0a55_86b7))),
];

/// Flags with a bit in a GPT (UEFI specification, chapter 5; Discoverable Partitions Specification).
const ATTRIBUTES: [(&str, u32); 7] =
    [("required", 0), ("legacy-boot", 2), ("grow-file-system", 59), ("read-only", 60), ("hidden", 62), ("no-auto", 63), ("noauto", 63)];

/// Flags that say what the type says anyway.
const SAID_BY_TYPE: [(&str, PartitionType); 7] = [
    ("boot", PartitionType::Esp),
    ("esp", PartitionType::Esp),
    ("bios-grub", PartitionType::BiosBoot),
    ("swap", PartitionType::Swap),
    ("bls-boot", PartitionType::Xbootldr),
    ("lvm", PartitionType::Other(LINUX_LVM)),
    ("raid", PartitionType::Other(LINUX_RAID)),
];

/// Returns one partition.
pub(crate) fn partition(
    given: &Located<layer::Partition>,
    (table, disk): (PartitionTableKind, DiskSize),
    cx: &mut Context<'_>,
) -> Partition {
    let text = |text: &Option<Located<Text>>| text.as_ref().map(|text| text.value.0.trim().to_owned()).filter(|text| !text.is_empty());
    let id = text(&given.id).unwrap_or_default();
    let field = format!("disk.partitions[{id}]");
    let label = text(&given.name).unwrap_or_else(|| id.clone());
    if label.encode_utf16().count() > 36 {
        let origin = given.name.as_ref().map_or(given.origin, |name| name.origin);
        let finding = Finding::error(Code::InvalidValue, "a partition label has at most 36 characters").found(format!("`{label}`"));
        cx.report(finding, origin, &format!("{field}.name"));
    }
    let kind = kind(given, table, &field, cx);
    let mut size_of = |value: &Option<Located<Text>>, key: &str| {
        let value = value.as_ref()?;
        Some((cx.size(&value.value.0, value.origin, &format!("{field}.{key}"))?, value.origin))
    };
    let size = size_of(&given.size, "size");
    let start = place(&given.start, disk, &format!("{field}.start"), cx).map(|(start, _)| start);
    let end = place(&given.end, disk, &format!("{field}.end"), cx);
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
    let mount_point = mount_point(given.mount_point.as_ref(), filesystem, &field, cx);
    let filesystem_label = filesystem_label(given, filesystem, &field, cx);
    let Flags { attributes, active, logical } = flags(given, table, &kind, &field, cx);
    if let Some(name) = given.name.as_ref().filter(|_| table == PartitionTableKind::Mbr) {
        cx.warn(name.origin, &format!("{field}.name"), "partitions of an MBR have no labels: the name is left out");
    }
    Partition {
        mount_options: mount_options(given.mount_options.as_ref(), &format!("{field}.mountOptions"), cx),
        mount_identifier: mount_identifier(given, (table, filesystem), &label, &field, cx),
        attributes,
        active,
        logical,
        subvolumes: subvolumes(given, filesystem, &field, cx),
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

/// Returns a place on the disk. One that begins with `-` counts from the disk's end, in whole MiB.
fn place(given: &Option<Located<Text>>, disk: DiskSize, field: &str, cx: &mut Context<'_>) -> Option<(ByteSize, Origin)> {
    let given = given.as_ref()?;
    let Some(distance) = given.value.0.trim().strip_prefix('-') else {
        return Some((cx.size(&given.value.0, given.origin, field)?, given.origin));
    };
    let distance = cx.size(distance, given.origin, field)?;
    let DiskSize::Fixed(size) = disk else {
        let finding = Finding::error(Code::MissingField, "a place counted from the end needs a disk of a given size");
        cx.report(finding.hint("write `disk.size`"), given.origin, field);
        return None;
    };
    match size.checked_sub(distance).filter(|place| place.0 > 0 && distance.0 > 0) {
        Some(place) => Some((place.align_down(1 << 20), given.origin)),
        None => {
            let finding = Finding::error(Code::InvalidValue, format!("not a place on a disk of {size}"));
            cx.report(finding.found(format!("`{}`", given.value.0)), given.origin, field);
            None
        }
    }
}

fn kind(given: &Located<layer::Partition>, table: PartitionTableKind, field: &str, cx: &mut Context<'_>) -> PartitionType {
    let arch = cx.arch;
    let mut origin = given.origin;
    let mut kind = None;
    if let Some(uuid) = &given.type_uuid {
        origin = uuid.origin;
        kind = parse_type(uuid.value());
        if kind.is_none() {
            let finding = Finding::error(Code::InvalidValue, "not a GUID").found(format!("`{}`", uuid.value()));
            let allowed = ["0fc63daf-8483-4772-8e79-3d69d8477de4", "0x83 in an MBR"];
            cx.report(finding.allowed(allowed), uuid.origin, &format!("{field}.typeUUID"));
        } else if table == PartitionTableKind::Gpt && parse_mbr_type(uuid.value()).is_some() {
            let finding = Finding::error(Code::Contradiction, "types of a GPT are GUIDs, and this is the number of a type in an MBR");
            cx.report(finding.hint("give the GUID, or the purpose in `type`"), uuid.origin, &format!("{field}.typeUUID"));
        }
    }
    if let Some(name) = given.kind.as_ref().filter(|_| kind.is_none()) {
        origin = name.origin;
        kind = match name.value().as_str() {
            "linux-root" => Some(PartitionType::Root(arch)),
            text => TYPE_NAMES.iter().find(|(known, _)| *known == text).map(|(_, kind)| kind.clone()),
        };
        if kind.is_none() && given.type_uuid.is_none() {
            unknown_type(name, field, cx);
        }
    }
    let kind = kind.unwrap_or(PartitionType::LinuxData);
    check_table_has(&kind, table, (origin, field), cx);
    match kind {
        // A template that was copied from another architecture: its root would not be found by type.
        PartitionType::Root(other) if other != arch => {
            cx.warn(
                origin,
                &format!("{field}.type"),
                format!("root partition type of {other} in an image for {arch}: taken as {arch}'s; write `linux-root`"),
            );
            PartitionType::Root(arch)
        }
        kind => kind,
    }
}

/// Reports a type that is none.
fn unknown_type(name: &Located<String>, field: &str, cx: &mut Context<'_>) {
    let names = || TYPE_NAMES.iter().map(|(name, _)| *name).chain(["linux-root"]);
    let finding = Finding::error(Code::InvalidValue, "not a partition type").found(format!("`{}`", name.value())).allowed(names());
    let finding = finding.hint(match crate::suggest::closest(name.value(), names()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "any other type can be given by its GUID in `typeUUID`".to_owned(),
    });
    cx.report(finding, name.origin, &format!("{field}.type"));
}

/// Checks that a table can say what a partition is.
fn check_table_has(kind: &PartitionType, table: PartitionTableKind, (origin, field): (Origin, &str), cx: &mut Context<'_>) {
    let (message, hint) = match (table, kind) {
        (PartitionTableKind::Gpt, PartitionType::Extended) => {
            ("only an MBR has an extended partition, and this table is a GPT", "leave it out: a GPT has room for 128 partitions")
        }
        (PartitionTableKind::Mbr, PartitionType::BiosBoot) => (
            "an MBR has no BIOS boot partition: GRUB lies before its first partition",
            "leave the partition out, or use `partitionTableType: gpt`",
        ),
        (PartitionTableKind::Mbr, kind) if kind.mbr(None).is_none() => {
            ("an MBR has no number for this type", "give one, such as `typeUUID: \"0x83\"`, or use `partitionTableType: gpt`")
        }
        _ => return,
    };
    cx.report(Finding::error(Code::Contradiction, message).hint(hint), origin, &format!("{field}.type"));
}

/// Reads a type that is given by its GUID, or by its number in an MBR.
fn parse_type(text: &str) -> Option<PartitionType> {
    let of_number = |number| match number {
        0x05 | 0x0f | 0x85 => PartitionType::Extended,
        0x82 => PartitionType::Swap,
        0x83 => PartitionType::LinuxData,
        0xea => PartitionType::Xbootldr,
        0xef => PartitionType::Esp,
        other => PartitionType::OtherMbr(other),
    };
    parse_mbr_type(text).map(of_number).or_else(|| parse_guid(text).map(kind_of))
}

/// Reads the number of a type in an MBR, `0x83`.
fn parse_mbr_type(text: &str) -> Option<u8> {
    let digits = text.trim().strip_prefix("0x").filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok().filter(|number| *number != 0)
}

/// Tells whether a template gives a partition this type, by name or by GUID.
pub(crate) fn names_type(given: &layer::Partition, kind: &PartitionType) -> bool {
    match &given.type_uuid {
        Some(uuid) => parse_type(uuid.value()).as_ref() == Some(kind),
        None => TYPE_NAMES.iter().any(|(name, known)| known == kind && given.kind.as_ref().is_some_and(|given| given.value() == name)),
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
    if *kind == PartitionType::Extended {
        let finding = Finding::error(Code::Contradiction, "an extended partition holds logical partitions, not a filesystem");
        cx.report(finding.hint("leave `fsType` out, and add partitions with `flags: [logical]`"), name.origin, &field);
        return None;
    }
    let small = size.is_some_and(|size| size < SMALLEST_FAT32);
    Some(match *name.value() {
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
    })
}

fn mount_point(given: Option<&Located<String>>, filesystem: Option<Filesystem>, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let point = given?;
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

/// Returns what fstab names a partition by, and checks that there is such a thing.
fn mount_identifier(
    given: &layer::Partition,
    (table, filesystem): (PartitionTableKind, Option<Filesystem>),
    label: &str,
    field: &str,
    cx: &mut Context<'_>,
) -> MountIdentifier {
    let Some(identifier) = &given.mount_identifier else { return MountIdentifier::default() };
    let (message, hint) = match (*identifier.value(), table, filesystem) {
        (MountIdentifier::Uuid, _, None) => ("a partition without a filesystem has no UUID", "give `fsType`, or leave it out"),
        (MountIdentifier::Uuid, _, Some(Filesystem::Squashfs)) => ("a squashfs has no UUID", "use `partuuid` or `partlabel`"),
        (MountIdentifier::PartLabel, PartitionTableKind::Mbr, _) => {
            ("partitions of an MBR have no labels", "use `partuuid` or `uuid`, or `partitionTableType: gpt`")
        }
        (MountIdentifier::PartLabel, ..) if !label.chars().all(|c| c.is_ascii_alphanumeric() || "_.-+:@".contains(c)) => {
            ("a kernel command line cannot name this partition's label", "use letters, digits and `_.-+:@` in `name`")
        }
        (known, ..) => return known,
    };
    cx.report(Finding::error(Code::Contradiction, message).hint(hint), identifier.origin, &format!("{field}.mountIdentifier"));
    *identifier.value()
}

fn mount_options(given: Option<&Located<Text>>, field: &str, cx: &mut Context<'_>) -> String {
    let Some(options) = given.filter(|options| !options.value.0.trim().is_empty()) else {
        return "defaults".to_owned();
    };
    let text = options.value.0.trim();
    let tight: Vec<&str> = text.split(',').map(str::trim).collect();
    let tight = tight.join(",");
    if tight.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let finding =
            Finding::error(Code::InvalidValue, "mount options are separated by commas, without spaces").found(format!("`{text}`"));
        cx.report(finding, options.origin, field);
    } else if tight != text {
        cx.warn(options.origin, field, format!("`{text}` is taken as `{tight}`: mount options have no spaces"));
    }
    tight
}

/// What flags say.
#[derive(Debug, Default)]
struct Flags {
    attributes: u64,
    active: bool,
    logical: bool,
}

fn flags(given: &Located<layer::Partition>, table: PartitionTableKind, kind: &PartitionType, field: &str, cx: &mut Context<'_>) -> Flags {
    let mut flags = Flags::default();
    let field = format!("{field}.flags");
    for flag in given.flags.iter().flatten() {
        let name = flag.value().to_lowercase().replace('_', "-");
        let attribute = ATTRIBUTES.iter().find(|(known, _)| *known == name);
        match (name.as_str(), table, attribute) {
            ("boot", PartitionTableKind::Mbr, _) | ("active", PartitionTableKind::Mbr, _) => flags.active = true,
            ("logical", PartitionTableKind::Mbr, _) => flags.logical = true,
            (_, PartitionTableKind::Gpt, Some((_, bit))) => flags.attributes |= 1 << bit,
            ("logical", PartitionTableKind::Gpt, _) => {
                let finding = Finding::error(Code::Contradiction, "only an MBR has logical partitions, and this table is a GPT");
                cx.report(finding.hint("leave the flag out: a GPT has room for 128 partitions"), flag.origin, &field);
            }
            (_, PartitionTableKind::Mbr, Some(_)) => {
                let message = format!("`{}` is an attribute of GPT partitions, and this table is an MBR", flag.value());
                cx.error(Code::Contradiction, flag.origin, &field, message);
            }
            // What the type says anyway.
            _ if SAID_BY_TYPE.iter().any(|(known, said)| *known == name && said == kind) => {}
            _ => {
                let known = ATTRIBUTES.iter().map(|(known, _)| *known).chain(SAID_BY_TYPE.iter().map(|(known, _)| *known));
                let message = format!("flag `{}` says nothing about a partition of this type", flag.value());
                let finding = Finding::error(Code::InvalidValue, message).allowed(known.chain(["active", "logical"]));
                cx.report(finding.hint("give the partition's purpose in `type`, and leave the flag out"), flag.origin, &field);
            }
        }
    }
    flags
}

fn subvolumes(given: &Located<layer::Partition>, filesystem: Option<Filesystem>, field: &str, cx: &mut Context<'_>) -> Vec<Subvolume> {
    let Some(list) = &given.subvolumes else { return Vec::new() };
    let field = format!("{field}.subvolumes");
    if filesystem != Some(Filesystem::Btrfs) {
        let finding = Finding::error(Code::Contradiction, "only btrfs has subvolumes");
        cx.report(finding.hint("write `fsType: btrfs`"), list.origin, &field);
    }
    let mut subvolumes: Vec<Subvolume> = Vec::new();
    for given in list.value() {
        let Some(name) = &given.name else { continue };
        let text = name.value.0.trim();
        let plain = !text.is_empty() && text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || "@._+-".contains(c));
        if !plain || matches!(text, "." | "..") || subvolumes.iter().any(|other| other.name == text) {
            let finding = Finding::error(Code::InvalidValue, "not a name of a subvolume, or one that is given twice");
            let allowed = ["letters, digits, `@`, `.`, `_`, `+` and `-`"];
            cx.report(finding.found(format!("`{text}`")).allowed(allowed), name.origin, &format!("{field}[].name"));
        }
        subvolumes.push(Subvolume {
            name: text.to_owned(),
            mount_point: mount_point(given.mount_point.as_ref(), filesystem, &field, cx),
            mount_options: mount_options(given.mount_options.as_ref(), &format!("{field}[{text}].mountOptions"), cx),
        });
    }
    subvolumes
}
