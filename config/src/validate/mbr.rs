//! What only a master boot record demands of its partitions.

use super::Context;
use crate::diagnostic::{Code, Finding};
use crate::source::Origin;
use crate::spec::{DiskSize, Partition, PartitionType};
use crate::units::ByteSize;

/// Entries of the table.
const ENTRIES: usize = 4;

/// The largest disk whose sectors the table can count.
const LARGEST: ByteSize = ByteSize((1 << 32) * 512);

/// Checks primary, extended and logical partitions against each other.
pub(crate) fn check(partitions: &[(Partition, Origin)], size: DiskSize, disk: Origin, cx: &mut Context<'_>) {
    if let DiskSize::Fixed(size) = size
        && size > LARGEST
    {
        let finding = Finding::error(Code::Contradiction, format!("an MBR counts sectors up to {LARGEST}, and the disk has {size}"));
        cx.report(finding.hint("use `partitionTableType: gpt`"), disk, "disk.size");
    }
    let field = |partition: &Partition| format!("disk.partitions[{}]", partition.id);
    let mut primary = partitions.iter().filter(|(partition, _)| !partition.logical).skip(ENTRIES);
    if let Some((fifth, origin)) = primary.next() {
        let finding = Finding::error(Code::Contradiction, "an MBR has room for four partitions that are not logical, and this is one more");
        let hint = "add a partition with `type: extended` and give those after it `flags: [logical]`, or use `partitionTableType: gpt`";
        cx.report(finding.hint(hint), *origin, &field(fifth));
    }
    let mut extended = partitions.iter().filter(|(partition, _)| partition.kind == PartitionType::Extended).skip(1);
    if let Some((second, origin)) = extended.next() {
        cx.error(Code::Contradiction, *origin, &field(second), "an MBR has one extended partition");
    }
    let mut active = partitions.iter().filter(|(partition, _)| partition.active).skip(1);
    if let Some((second, origin)) = active.next() {
        cx.error(Code::Contradiction, *origin, &format!("{}.flags", field(second)), "an MBR has one active partition");
    }
    // Whether the partition before is one that a logical one can follow.
    let mut inside = false;
    for (partition, origin) in partitions {
        if partition.logical && !inside {
            let finding = Finding::error(Code::Contradiction, "a logical partition lies in an extended one, and none is before it");
            cx.report(
                finding.hint("put a partition with `type: extended` directly before it"),
                *origin,
                &format!("{}.flags", field(partition)),
            );
        }
        if partition.logical && (partition.active || partition.kind == PartitionType::Extended) {
            let message = "a logical partition can be neither active nor extended";
            cx.error(Code::Contradiction, *origin, &format!("{}.flags", field(partition)), message);
        }
        inside = partition.kind == PartitionType::Extended || (inside && partition.logical);
    }
    for (index, (partition, origin)) in partitions.iter().enumerate() {
        let is_empty = partition.kind == PartitionType::Extended && partitions.get(index + 1).is_none_or(|(next, _)| !next.logical);
        if is_empty {
            let finding = Finding::error(Code::Contradiction, "an extended partition is there for logical ones, and none follows it");
            cx.report(finding.hint("give the partitions after it `flags: [logical]`, or leave it out"), *origin, &field(partition));
        }
    }
}
