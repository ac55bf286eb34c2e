//! `disk`: the table, what its partitions are together, and the output files. One partition by itself is checked in
//! [`super::partition`], where they lie in [`super::layout`].

use super::{Context, diskless, layout, mbr, partition, raw_binaries};
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, Layer, Located};
use crate::source::Origin;
use crate::spec::{
    Bootloader, BootloaderProvider, Disk, DiskSize, Filesystem, ImageType, MountIdentifier, Partition, PartitionTableKind, PartitionType,
};
use crate::units::ByteSize;

/// Smallest file system with 32-bit FAT entries: 65,525 clusters of 512 bytes and its tables.
pub(crate) const SMALLEST_FAT32: ByteSize = ByteSize::mib(34);

/// Returns the disk; none for images without one.
pub(crate) fn disk(layer: &Layer, bootloader: Option<Bootloader>, cx: &mut Context<'_>) -> Option<Disk> {
    if cx.image_type != ImageType::Raw {
        if cx.image_type != ImageType::Iso {
            diskless::check(layer, cx);
        }
        return None;
    }
    let Some(disk) = &layer.disk else {
        let finding = Finding::error(Code::MissingField, "a raw image needs a disk, and no layer gives one");
        cx.report(finding, cx.root, "disk");
        return None;
    };
    let table = table(disk);
    let size = disk_size(disk, cx);
    let given = disk.partitions.as_ref().map_or(&[][..], |partitions| partitions.value());
    let order = order(given, cx);
    let mut partitions: Vec<(Partition, Origin)> =
        order.iter().map(|index| (partition::partition(&given[*index], (table, size), cx), given[*index].origin)).collect();
    if table == PartitionTableKind::Mbr {
        mbr::check(&partitions, size, disk.origin, cx);
    }
    layout::check(&mut partitions, (table, size), disk.origin, cx);
    check_roles(&partitions, (table, bootloader), disk.origin, cx);
    check_labels(&partitions, cx);
    let grows_at_first_boot = grows(disk, table, &partitions, cx);
    let raw_binaries = raw_binaries::raw_binaries(disk, table, size, cx);
    let name = disk.name.as_ref().map_or_else(|| "disk".to_owned(), |name| name.value.0.clone());
    let partitions = partitions.into_iter().map(|(partition, _)| partition).collect();
    Some(Disk { name, size, table, partitions, grows_at_first_boot, raw_binaries })
}

/// Checks that a label that a partition is mounted by is that of no other.
fn check_labels(partitions: &[(Partition, Origin)], cx: &mut Context<'_>) {
    for (partition, origin) in partitions.iter().filter(|(one, _)| one.mount_identifier == MountIdentifier::PartLabel) {
        let label = &partition.label;
        let same = partitions.iter().filter(|(other, _)| other.label == *label).count();
        if same > 1 {
            let finding =
                Finding::error(Code::Contradiction, format!("{same} partitions have the label `{label}`, that this one is mounted by"));
            cx.report(finding.hint("give each its own `name`"), *origin, &format!("disk.partitions[{}].mountIdentifier", partition.id));
        }
    }
}

/// Returns the kind of the table: GPT unless the template says otherwise.
pub(crate) fn table(disk: &layer::Disk) -> PartitionTableKind {
    disk.partition_table_type.as_ref().map_or(PartitionTableKind::Gpt, |table| *table.value())
}

/// Returns whether the last partition grows at first boot, and reports where it cannot.
fn grows(disk: &layer::Disk, table: PartitionTableKind, partitions: &[(Partition, Origin)], cx: &mut Context<'_>) -> bool {
    let Some(extend) = disk.extend_last_partition_to_fill_disk.as_ref().filter(|extend| *extend.value()) else { return false };
    let field = "disk.extendLastPartitionToFillDisk";
    let last = partitions.last().map(|(partition, _)| partition);
    if table == PartitionTableKind::Mbr {
        let finding =
            Finding::error(Code::Contradiction, "partitions of an MBR do not grow at first boot: systemd-repart changes GPT only");
        cx.report(finding.hint("use `partitionTableType: gpt`, or write `false`"), extend.origin, field);
    } else if let Some(last) = last.filter(|last| !last.filesystem.is_some_and(Filesystem::can_grow)) {
        let message = format!("`{}` is the last partition, and its content cannot grow", last.id);
        let finding = Finding::error(Code::Contradiction, message);
        cx.report(finding.hint("put a partition with ext4, xfs or btrfs last, or write `false`"), extend.origin, field);
    } else if last.is_some_and(|last| !last.subvolumes.is_empty()) {
        cx.unsupported(extend.origin, field, "a btrfs whose subvolumes are mounted cannot grow at first boot yet; write `false`");
    } else if let Some(last) = last.filter(|last| partitions.iter().filter(|(other, _)| other.kind == last.kind).count() > 1) {
        let message = format!("`{}` has the same type as another partition, so that systemd-repart cannot tell which one grows", last.id);
        let finding = Finding::error(Code::Contradiction, message);
        cx.report(finding.hint("give it another `type`, such as linux-home or linux-var"), extend.origin, field);
    }
    true
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

/// Checks that the partitions make a system that boots.
fn check_roles(
    partitions: &[(Partition, Origin)],
    (table, bootloader): (PartitionTableKind, Option<Bootloader>),
    disk: Origin,
    cx: &mut Context<'_>,
) {
    check_mount_points(partitions, disk, cx);
    let Some(bootloader) = bootloader else { return };
    if bootloader.boot_type.has_efi() {
        check_esp(partitions, disk, cx);
    }
    let bios_boot: Vec<_> = partitions.iter().filter(|(partition, _)| partition.kind == PartitionType::BiosBoot).collect();
    if bootloader.boot_type.has_bios() && table == PartitionTableKind::Gpt && bios_boot.is_empty() {
        let message = "BIOS firmware starts GRUB from a BIOS boot partition of the GPT, and there is none";
        let finding = Finding::error(Code::MissingField, message);
        cx.report(
            finding.hint("add a partition with `type: bios` and `size: 1MiB`, or use `partitionTableType: mbr`"),
            disk,
            "disk.partitions",
        );
    }
    if let [_, .., (second, origin)] = bios_boot.as_slice() {
        cx.error(Code::Contradiction, *origin, &format!("disk.partitions[{}]", second.id), "a disk has one BIOS boot partition");
    }
    if bootloader.provider == BootloaderProvider::Grub {
        check_grub_reads_boot(partitions, cx);
    }
}

/// Checks that every mount point is there once and that a system can live on what is mounted at `/`.
fn check_mount_points(partitions: &[(Partition, Origin)], disk: Origin, cx: &mut Context<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for (partition, origin) in partitions {
        let points = partition.mount_point.iter().chain(partition.subvolumes.iter().filter_map(|subvolume| subvolume.mount_point.as_ref()));
        for point in points {
            if seen.contains(&point.as_str()) {
                let field = format!("disk.partitions[{}].mountPoint", partition.id);
                cx.error(Code::Contradiction, *origin, &field, format!("two partitions are mounted at {point}"));
            }
            seen.push(point);
        }
    }
    let holds_root = |partition: &Partition| {
        let mut points = partition.subvolumes.iter().map(|subvolume| &subvolume.mount_point).chain([&partition.mount_point]);
        points.any(|point| point.as_deref() == Some("/"))
    };
    match partitions.iter().find(|(partition, _)| holds_root(partition)) {
        None => cx.error(Code::MissingField, disk, "disk.partitions", "no partition is mounted at `/`"),
        Some((root, origin)) if matches!(root.filesystem, Some(Filesystem::Fat16 | Filesystem::Fat32)) => {
            let field = format!("disk.partitions[{}].fsType", root.id);
            cx.error(Code::Contradiction, *origin, &field, "FAT cannot hold a Linux system; use `ext4`");
        }
        Some(_) => {}
    }
}

/// Checks that there is one EFI system partition with a filesystem that firmware reads.
fn check_esp(partitions: &[(Partition, Origin)], disk: Origin, cx: &mut Context<'_>) {
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

/// Checks that GRUB knows the filesystem that kernels are on.
fn check_grub_reads_boot(partitions: &[(Partition, Origin)], cx: &mut Context<'_>) {
    let at = |point: &str| {
        let mounted = |partition: &&(Partition, Origin)| partition.0.mount_point.as_deref() == Some(point);
        partitions.iter().find(mounted)
    };
    if let Some((holder, origin)) = at("/boot").or_else(|| at("/"))
        && holder.filesystem.is_some_and(Filesystem::is_read_only)
    {
        let field = format!("disk.partitions[{}].fsType", holder.id);
        let finding =
            Finding::error(Code::Contradiction, "GRUB does not find kernels on squashfs and erofs, and they are on this partition");
        cx.report(finding.hint("add a partition for `/boot` with ext4, or use `provider: systemd-boot`"), *origin, &field);
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
