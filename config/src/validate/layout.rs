//! Where partitions lie: the checks that need no content.
//!
//! Partitions without a start follow the one before; without an end or size they take what is left, which only one can. Logical
//! partitions lie inside of the extended one, each behind a MiB for its table. What the content needs is known later, and checked
//! then.

use super::Context;
use super::disk::check_fat_size;
use crate::diagnostic::{Code, Finding};
use crate::source::Origin;
use crate::spec::{DiskSize, Partition, PartitionTableKind, PartitionType};
use crate::units::ByteSize;

/// Partitions start at multiples of this.
const ALIGNMENT: u64 = 1 << 20;

/// The unit that places are rounded to: a block of every filesystem that is made here.
const BLOCK: u64 = 4096;

/// What the backup of a GUID partition table takes at the end: 33 sectors, rounded to a block.
const TABLE_AT_END: ByteSize = ByteSize(20 << 10);

/// Checks the places of all partitions, fills in the ends that follow from the next start, and rounds to blocks.
pub(crate) fn check(
    partitions: &mut [(Partition, Origin)],
    (table, size): (PartitionTableKind, DiskSize),
    disk: Origin,
    cx: &mut Context<'_>,
) {
    for (partition, origin) in partitions.iter_mut() {
        round(partition, *origin, cx);
    }
    close_gaps(partitions);
    check_open(partitions, cx);
    let usable = match size {
        DiskSize::Fixed(size) if table == PartitionTableKind::Gpt => Some((size, size.checked_sub(TABLE_AT_END).unwrap_or(ByteSize(0)))),
        DiskSize::Fixed(size) => Some((size, size)),
        DiskSize::Auto => None,
    };
    // The first free byte; none once a partition of unknown size has been passed.
    let mut next = Some(ByteSize(ALIGNMENT));
    // Where the extended partition ends, while its logical ones are looked at.
    let mut container_end = None;
    for index in 0..partitions.len() {
        let (partition, origin) = &partitions[index];
        let field = format!("disk.partitions[{}]", partition.id);
        if partition.logical {
            // Each logical partition has a table of its own before it.
            next = next.and_then(|next| next.checked_add(ByteSize(ALIGNMENT)));
        } else if let Some(end) = container_end.take() {
            next = Some(end);
        }
        if let Some(start) = partition.start {
            check_start(partition, start, next, (index, &partitions[..]), (*origin, &field), cx);
        }
        let start = partition.start.or(next);
        let end = partition.end.or_else(|| partition.size.and_then(|size| start?.checked_add(size)));
        if let (Some(start), Some(end)) = (start, end) {
            match end.checked_sub(start).filter(|size| size.0 > 0) {
                None => cx.error(
                    Code::Contradiction,
                    *origin,
                    &field,
                    format!("partition ends at {end}, which is not after its start at {start}"),
                ),
                Some(size) => check_fat_size(&partitions[index].0, size, partitions[index].1, cx),
            }
        }
        let (partition, origin) = &partitions[index];
        if let (Some(container), Some(end), true) = (container_end, end, partition.logical)
            && end > container
        {
            let message = format!("logical partition ends at {end}, and the extended one around it at {container}");
            cx.error(Code::Contradiction, *origin, &format!("{field}.end"), message);
        }
        check_fits(partition, *origin, (start, end), usable, cx);
        if partition.kind == PartitionType::Extended {
            (container_end, next) = (end, start);
        } else {
            next = end.and_then(|end| end.align_up(ALIGNMENT));
        }
    }
    if partitions.is_empty() {
        cx.error(Code::MissingField, disk, "disk.partitions", "a disk needs partitions, and there are none");
    }
}

/// Checks a start that the template gives against what is before it.
fn check_start(
    partition: &Partition,
    start: ByteSize,
    next: Option<ByteSize>,
    (index, partitions): (usize, &[(Partition, Origin)]),
    (origin, field): (Origin, &str),
    cx: &mut Context<'_>,
) {
    if start.0 < ALIGNMENT {
        let finding = Finding::error(Code::InvalidValue, "the first MiB of a disk belongs to the partition table");
        cx.report(finding.found(format!("start {start}")).hint("write `start: 1MiB`"), origin, &format!("{field}.start"));
    } else if let Some(next) = next.filter(|next| start < *next) {
        let before = index.checked_sub(1).map_or("the table", |before| partitions[before].0.id.as_str());
        let message = if partition.logical {
            format!("logical partition starts at {start}, and needs 1MiB for its table behind `{before}`: it can start at {next}")
        } else {
            format!("partition starts at {start}, and `{before}` before it ends at {next}")
        };
        cx.error(Code::Contradiction, origin, &format!("{field}.start"), message);
    }
}

fn check_fits(
    partition: &Partition,
    origin: Origin,
    (start, end): (Option<ByteSize>, Option<ByteSize>),
    usable: Option<(ByteSize, ByteSize)>,
    cx: &mut Context<'_>,
) {
    let Some((size, usable)) = usable else { return };
    let field = format!("disk.partitions[{}]", partition.id);
    if let Some(end) = end.filter(|end| *end > usable) {
        let message = format!("partition ends at {end}, and a disk of {size} has room up to {usable}");
        let finding =
            Finding::error(Code::Contradiction, message).hint("write `end: \"0\"` for the rest of the disk, or make `disk.size` larger");
        cx.report(finding, origin, &format!("{field}.end"));
    } else if let Some(start) = start.filter(|start| *start >= usable) {
        cx.error(
            Code::Contradiction,
            origin,
            &format!("{field}.start"),
            format!("partition starts at {start}, outside of a disk of {size}"),
        );
    }
}

/// Rounds places that are not on a block, and says so.
fn round(partition: &mut Partition, origin: Origin, cx: &mut Context<'_>) {
    let field = format!("disk.partitions[{}]", partition.id);
    let up = |place: ByteSize| place.align_up(BLOCK).unwrap_or(place);
    let down = |place: ByteSize| place.align_down(BLOCK);
    let (start, end, size) = (partition.start.map(up), partition.end.map(down), partition.size.map(down));
    let places = [("start", &mut partition.start, start), ("end", &mut partition.end, end), ("size", &mut partition.size, size)];
    for (key, place, rounded) in places {
        if let (Some(was), Some(is)) = (*place, rounded)
            && was != is
        {
            cx.warn(
                origin,
                &format!("{field}.{key}"),
                format!("{was} is not a multiple of 4KiB, and is taken as {is}; GB and MB are decimal, GiB and MiB are not"),
            );
            *place = rounded;
        }
    }
    if let Some(start) = partition.start.filter(|start| !start.0.is_multiple_of(ALIGNMENT) && start.0 > ALIGNMENT) {
        cx.warn(origin, &format!("{field}.start"), format!("{start} is not a multiple of 1MiB, which makes some disks slow"));
    }
}

/// Gives a partition without end or size the next one's start as its end.
fn close_gaps(partitions: &mut [(Partition, Origin)]) {
    for index in 1..partitions.len() {
        let next = &partitions[index].0;
        // A logical partition has its own table in the MiB before it.
        let table = ByteSize(if next.logical { ALIGNMENT } else { 0 });
        let start = next.start.and_then(|start| start.checked_sub(table));
        let partition = &mut partitions[index - 1].0;
        if partition.end.is_none() && partition.size.is_none() && start.is_some() && partition.kind != PartitionType::Extended {
            partition.end = start;
            partition.grow = false;
        }
    }
}

/// Checks that only the last partition takes what is left. An extended one without an end ends where the last one in it does.
fn check_open(partitions: &mut [(Partition, Origin)], cx: &mut Context<'_>) {
    let last = partitions.len().saturating_sub(1);
    for (index, (partition, origin)) in partitions.iter_mut().enumerate() {
        if partition.end.is_some() || partition.size.is_some() {
            continue;
        }
        if partition.kind == PartitionType::Extended {
            partition.grow = false;
            continue;
        }
        partition.grow = true;
        if index < last {
            let finding = Finding::error(Code::Contradiction, "only the last partition can take what is left of the disk");
            cx.report(finding.hint("give `end` or `size`"), *origin, &format!("disk.partitions[{}]", partition.id));
        }
    }
}
