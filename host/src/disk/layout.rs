//! Where partitions are: resolves a template's starts, ends and sizes once the sizes of the contents are known.
//!
//! All places are multiples of 1 MiB unless the template gives another one. The first MiB and that of the second GPT belong to
//! the partition table; an end that the template puts there means the end of the usable space. Logical partitions follow each
//! other inside of the extended one, each behind a MiB for its table.

use oic_config::{
    spec::{Disk, DiskSize, Partition, PartitionTableKind, PartitionType},
    units::ByteSize,
};

/// Alignment of partitions.
pub const ALIGNMENT: u64 = 1 << 20;
/// Size of a sector.
pub const SECTOR: u64 = 512;
/// Bytes at both ends that the table takes: the protective record or nothing, a header, and 128 entries.
const TABLE_START: u64 = 34 * SECTOR;
const TABLE_END: u64 = 33 * SECTOR;
/// What a partition without a size gets beyond what its content needs: this much and a quarter.
const HEADROOM: u64 = 64 << 20;

/// Why the partitions cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A partition is smaller than what goes into it.
    #[error("partition `{id}` has {size}, but its content needs {needed}: give it at least that")]
    TooSmall {
        /// The partition.
        id: String,
        /// Its size.
        size: ByteSize,
        /// What it needs, rounded up to whole MiB.
        needed: ByteSize,
    },
    /// The disk is smaller than its partitions.
    #[error("the disk has {size}, but its partitions need {needed}: set `disk.size` to at least that")]
    DiskTooSmall {
        /// The disk's size.
        size: ByteSize,
        /// What is needed.
        needed: ByteSize,
    },
    /// A partition begins before the one before it ends.
    #[error("partition `{id}` begins at {start}, before the end of `{before}` at {end}")]
    Overlap {
        /// The partition.
        id: String,
        /// Its start.
        start: ByteSize,
        /// What is before it.
        before: String,
        /// The end of that.
        end: ByteSize,
    },
    /// A partition has no size at all, ends before it begins, or is not made of whole sectors.
    #[error("partition `{id}`: {reason}")]
    Impossible {
        /// The partition.
        id: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// A placed partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// First byte.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A resolved disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Its partitions, in the template's order.
    pub partitions: Vec<Placed>,
}

/// Places the partitions of a disk. `needs` are the sizes of their contents, one for each partition.
///
/// # Errors
/// Fails when something does not fit or overlaps.
pub fn resolve(disk: &Disk, needs: &[u64]) -> Result<Layout, LayoutError> {
    let size = match disk.size {
        DiskSize::Fixed(size) => size.0 / SECTOR * SECTOR,
        DiskSize::Auto => automatic_size(disk, needs)?,
    };
    let end_of_space = size.saturating_sub(table_at_end(disk));
    let mut partitions: Vec<Placed> = Vec::with_capacity(disk.partitions.len());
    let mut previous_end = TABLE_START;
    let mut previous = "the partition table";
    // The extended partition whose logical ones are being placed.
    let mut container: Option<usize> = None;
    for (index, partition) in disk.partitions.iter().enumerate() {
        if !partition.logical
            && let Some(container) = container.take()
        {
            close_container(&mut partitions, container, &disk.partitions[container], previous_end);
            previous_end = partitions[container].start + partitions[container].size;
        }
        let start = start_of(partition, previous_end);
        if start < previous_end {
            return Err(LayoutError::Overlap {
                id: partition.id.clone(),
                start: ByteSize(start),
                before: previous.to_owned(),
                end: ByteSize(previous_end),
            });
        }
        let space = container.map_or(end_of_space, |container| partitions[container].start + partitions[container].size);
        let end = match stated_end(partition, start, size, end_of_space) {
            Some(end) if !partition.grow => end,
            // What is not known yet: as far as it may go, until the last logical partition is placed.
            None if partition.kind == PartitionType::Extended => usable_end(end_of_space),
            stated => limit(disk, needs, index, space).max(stated.unwrap_or(0)),
        };
        check_place(disk, needs, index, (start, end), (size, space))?;
        partitions.push(Placed { start, size: end - start });
        if partition.kind == PartitionType::Extended {
            (container, previous_end) = (Some(index), start);
        } else {
            (previous_end, previous) = (end, &partition.id);
        }
    }
    if let Some(container) = container {
        close_container(&mut partitions, container, &disk.partitions[container], previous_end);
    }
    Ok(Layout { size, partitions })
}

/// Lets an extended partition without an end of its own end where the last one in it does.
fn close_container(partitions: &mut [Placed], container: usize, partition: &Partition, end: u64) {
    if partition.end.is_none() && partition.size.is_none() {
        partitions[container].size = end.max(partitions[container].start + ALIGNMENT) - partitions[container].start;
    }
}

/// Checks one place against the disk and the content.
fn check_place(disk: &Disk, needs: &[u64], index: usize, (start, end): (u64, u64), (size, space): (u64, u64)) -> Result<(), LayoutError> {
    let partition = &disk.partitions[index];
    let impossible = |reason| LayoutError::Impossible { id: partition.id.clone(), reason };
    if !start.is_multiple_of(SECTOR) || !end.is_multiple_of(SECTOR) {
        return Err(impossible("its start and end must be multiples of 512 bytes"));
    }
    if end > space || end <= start {
        let needed = automatic_size(disk, needs)?.max(end.saturating_add(ALIGNMENT));
        return if needed > size {
            Err(LayoutError::DiskTooSmall { size: ByteSize(size), needed: ByteSize(needed.next_multiple_of(ALIGNMENT)) })
        } else if end > space {
            Err(impossible("it ends beyond the extended partition around it"))
        } else {
            Err(impossible("it ends before it begins"))
        };
    }
    let needed = needs.get(index).copied().unwrap_or(0);
    if end - start < needed {
        let (size, needed) = (ByteSize(end - start), ByteSize(needed.next_multiple_of(ALIGNMENT)));
        return Err(LayoutError::TooSmall { id: partition.id.clone(), size, needed });
    }
    Ok(())
}

/// Returns what a table takes at the end of the disk: a GPT has its copy there.
fn table_at_end(disk: &Disk) -> u64 {
    if disk.table == PartitionTableKind::Gpt { TABLE_END } else { 0 }
}

/// Returns where a partition begins after another one's end. A logical one leaves a MiB for its table.
fn start_of(partition: &Partition, previous_end: u64) -> u64 {
    let table = if partition.logical { ALIGNMENT } else { 0 };
    partition.start.map_or(previous_end.next_multiple_of(ALIGNMENT) + table, |start| start.0)
}

/// Returns where the template says that a partition ends.
fn stated_end(partition: &Partition, start: u64, disk: u64, end_of_space: u64) -> Option<u64> {
    let end = partition.end.map(|end| end.0).or(partition.size.map(|size| start.saturating_add(size.0)))?;
    // The last MiB is where the second table is; who asks for it means the end.
    Some(if !partition.logical && end > end_of_space && end <= disk { usable_end(end_of_space) } else { end })
}

/// Returns the end of the space for partitions, aligned.
fn usable_end(end_of_space: u64) -> u64 {
    end_of_space / ALIGNMENT * ALIGNMENT
}

/// Returns how far a partition that takes the rest may go: to the next fixed start, less what is between.
fn limit(disk: &Disk, needs: &[u64], index: usize, end_of_space: u64) -> u64 {
    let followers = disk.partitions.iter().enumerate().skip(index + 1);
    let mut between = 0_u64;
    for (follower, partition) in followers {
        let table = if partition.logical { ALIGNMENT } else { 0 };
        if let Some(start) = partition.start {
            return start.0.saturating_sub(between + table) / ALIGNMENT * ALIGNMENT;
        }
        let size = partition.size.map_or_else(|| with_headroom(needs.get(follower).copied().unwrap_or(0)), |size| size.0);
        between = between.saturating_add(table).saturating_add(size.next_multiple_of(ALIGNMENT));
    }
    usable_end(end_of_space).saturating_sub(between) / ALIGNMENT * ALIGNMENT
}

/// Returns the size of a disk that is as large as its content and its partitions need.
fn automatic_size(disk: &Disk, needs: &[u64]) -> Result<u64, LayoutError> {
    let mut end = TABLE_START;
    let mut container_end = 0;
    for (index, partition) in disk.partitions.iter().enumerate() {
        if !partition.logical {
            end = end.max(std::mem::take(&mut container_end));
        }
        let start = start_of(partition, end);
        let needed = with_headroom(needs.get(index).copied().unwrap_or(0));
        let stated = partition.end.map(|end| end.0).or(partition.size.map(|size| start.saturating_add(size.0)));
        if partition.kind == PartitionType::Extended {
            (end, container_end) = (start, stated.unwrap_or(0));
        } else {
            end = stated.unwrap_or_else(|| start.saturating_add(needed));
        }
        if end.max(container_end) > u64::MAX / 4 {
            return Err(LayoutError::Impossible { id: partition.id.clone(), reason: "it ends beyond every disk" });
        }
    }
    Ok(end.max(container_end).next_multiple_of(ALIGNMENT) + ALIGNMENT)
}

/// Returns the size that content of a known size gets where nothing else is asked for.
#[must_use]
pub fn with_headroom(needed: u64) -> u64 {
    needed.saturating_add(needed / 4).saturating_add(HEADROOM).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use oic_config::spec::Arch;
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn partition(id: &str, start: Option<u64>, end: Option<u64>, size: Option<u64>, grow: bool) -> Partition {
        Partition {
            id: id.to_owned(),
            label: id.to_owned(),
            kind: PartitionType::Root(Arch::X86_64),
            start: start.map(|mib| ByteSize(mib * MIB)),
            end: end.map(|mib| ByteSize(mib * MIB)),
            size: size.map(|mib| ByteSize(mib * MIB)),
            grow,
            filesystem: None,
            filesystem_label: None,
            mount_point: None,
            mount_options: "defaults".to_owned(),
            mount_identifier: oic_config::spec::MountIdentifier::default(),
            attributes: 0,
            active: false,
            logical: false,
            subvolumes: Vec::new(),
        }
    }

    fn disk(size: Option<u64>, partitions: Vec<Partition>) -> Disk {
        let size = size.map_or(DiskSize::Auto, |mib| DiskSize::Fixed(ByteSize(mib * MIB)));
        Disk {
            name: "disk".to_owned(),
            size,
            table: PartitionTableKind::Gpt,
            partitions,
            grows_at_first_boot: false,
            raw_binaries: Vec::new(),
        }
    }

    fn places(disk: &Disk, needs: &[u64]) -> Result<Vec<(u64, u64)>, String> {
        let layout = resolve(disk, needs).map_err(|error| error.to_string())?;
        Ok(layout.partitions.iter().map(|placed| (placed.start / MIB, placed.size / MIB)).collect())
    }

    #[test]
    fn partitions_follow_each_other_and_the_last_takes_the_rest() {
        let table = disk(Some(1024), vec![partition("esp", Some(1), Some(101), None, false), partition("root", None, None, None, false)]);
        assert_eq!(places(&table, &[0, 0]).unwrap(), [(1, 100), (101, 922)]);
        let table = disk(Some(1024), vec![partition("root", None, None, None, true), partition("swap", None, None, Some(100), false)]);
        assert_eq!(places(&table, &[0, 0]).unwrap(), [(1, 922), (923, 100)]);
        let table =
            disk(Some(1024), vec![partition("esp", None, None, Some(100), false), partition("root", Some(101), Some(1024), None, false)]);
        assert_eq!(places(&table, &[0, 0]).unwrap(), [(1, 100), (101, 922)]);
    }

    #[test]
    fn an_automatic_disk_has_room_for_the_content() {
        let table = disk(None, vec![partition("esp", None, None, Some(64), false), partition("root", None, None, None, false)]);
        assert_eq!(places(&table, &[0, 400 * MIB]).unwrap(), [(1, 64), (65, 564)]);
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let table = disk(Some(100), vec![partition("esp", None, None, Some(64), false), partition("root", None, None, Some(64), false)]);
        assert_eq!(
            places(&table, &[0, 0]).unwrap_err(),
            "the disk has 100MiB, but its partitions need 130MiB: set `disk.size` to at least that"
        );
        let table = disk(Some(1000), vec![partition("esp", None, None, Some(64), false)]);
        assert_eq!(
            places(&table, &[65 * MIB + 1]).unwrap_err(),
            "partition `esp` has 64MiB, but its content needs 66MiB: give it at least that"
        );
        let table = disk(Some(1000), vec![partition("a", None, None, Some(64), false), partition("b", Some(30), None, None, false)]);
        assert_eq!(places(&table, &[0, 0]).unwrap_err(), "partition `b` begins at 30MiB, before the end of `a` at 65MiB");
        let table = disk(Some(1000), vec![partition("a", Some(10), Some(5), None, false)]);
        assert_eq!(places(&table, &[0]).unwrap_err(), "partition `a`: it ends before it begins");
    }

    #[test]
    fn logical_partitions_lie_in_the_extended_one_behind_their_tables() {
        let mut parts = vec![
            partition("boot", None, None, Some(100), false),
            partition("extended", None, None, None, false),
            partition("root", None, None, Some(300), false),
            partition("home", None, None, None, true),
        ];
        parts[1].kind = PartitionType::Extended;
        parts[2].logical = true;
        parts[3].logical = true;
        let mut table = disk(Some(1024), parts);
        table.table = PartitionTableKind::Mbr;
        assert_eq!(places(&table, &[0; 4]).unwrap(), [(1, 100), (101, 923), (102, 300), (403, 621)]);
        table.partitions[3].size = Some(ByteSize(100 * MIB));
        table.partitions[3].grow = false;
        table.partitions.push(partition("last", None, None, Some(50), false));
        assert_eq!(places(&table, &[0; 5]).unwrap(), [(1, 100), (101, 402), (102, 300), (403, 100), (503, 50)]);
        table.partitions[1].size = Some(ByteSize(350 * MIB));
        let error = places(&table, &[0; 5]).unwrap_err();
        assert_eq!(error, "partition `home`: it ends beyond the extended partition around it");
    }

    proptest! {
        #[test]
        fn placed_partitions_never_overlap_and_hold_their_content(
            size in 1_u64..4096,
            parts in prop::collection::vec((prop::option::of(0_u64..4096), prop::option::of(0_u64..2048), any::<bool>(), 0_u64..512), 0..6),
        ) {
            let partitions = parts.iter().enumerate()
                .map(|(index, (start, size, grow, _))| partition(&format!("p{index}"), *start, None, *size, *grow)).collect();
            let needs: Vec<u64> = parts.iter().map(|part| part.3 * MIB).collect();
            if let Ok(layout) = resolve(&disk(Some(size), partitions), &needs) {
                let mut end = TABLE_START;
                for (placed, need) in layout.partitions.iter().zip(&needs) {
                    prop_assert!(placed.start >= end && placed.size >= *need && placed.size > 0);
                    end = placed.start + placed.size;
                }
                prop_assert!(end <= layout.size - TABLE_END);
            }
        }
    }
}
