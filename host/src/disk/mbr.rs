//! Writes master boot records: one table of four entries, and for logical partitions a chain of further ones.
//!
//! ```text
//! sector 0            boot code | 440 signature of the disk | 446 four entries | 510 0x55 0xaa
//! extended partition  first sector: table with the first logical partition, and where the next table is
//! logical partition   its table is in the sector one MiB before it
//! ```
//!
//! Addresses by cylinder, head and sector are those of "beyond what can be said", as every tool writes them today.

use std::{fs::File, os::unix::fs::FileExt as _};

use oic_config::spec::{Disk, Partition, PartitionType};

use super::{
    gpt::TableError,
    identity::ImageIdentity,
    layout::{ALIGNMENT, Layout, Placed, SECTOR},
};

/// Where the entries are in a sector, and how large one is.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
/// Where the disk's signature is.
const SIGNATURE: usize = 440;
/// The type of an entry that leads to the next table of the chain.
const NEXT_TABLE: u8 = 0x05;
/// A cylinder, head and sector that no disk has.
const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];

/// Returns the numbers of the partitions as systems count them: primary ones from 1, logical ones from 5.
#[must_use]
pub fn numbers(disk: &Disk) -> Vec<u32> {
    let (mut primary, mut logical) = (0, 4);
    let number = |partition: &Partition| {
        let next = if partition.logical { &mut logical } else { &mut primary };
        *next += 1;
        *next
    };
    disk.partitions.iter().map(number).collect()
}

/// Writes the tables of a disk into a file that has the disk's size already.
///
/// # Errors
/// Fails when the tables cannot express the partitions or writing fails.
pub fn write(file: &File, disk: &Disk, layout: &Layout, identity: &ImageIdentity) -> Result<(), TableError> {
    let parts: Vec<(&Partition, Placed)> = disk.partitions.iter().zip(layout.partitions.iter().copied()).collect();
    let mut sector = [0; SECTOR as usize];
    sector[SIGNATURE..SIGNATURE + 4].copy_from_slice(&identity.disk_signature().to_le_bytes());
    for (primary, (partition, placed)) in parts.iter().filter(|(partition, _)| !partition.logical).enumerate() {
        if primary == 4 {
            return Err(TableError::Mbr { id: partition.id.clone(), reason: "there are four entries" });
        }
        let kind = kind_of(partition)?;
        put(&mut sector, primary, partition.active, kind, sectors(partition, placed.start)?, sectors(partition, placed.size)?);
    }
    finish(file, sector, 0)?;
    let Some((_, container)) = parts.iter().find(|(partition, _)| partition.kind == PartitionType::Extended) else { return Ok(()) };
    let logical: Vec<_> = parts.iter().filter(|(partition, _)| partition.logical).collect();
    for (index, (partition, placed)) in logical.iter().enumerate() {
        let table = table_of(index, *container, *placed);
        let mut sector = [0; SECTOR as usize];
        put(&mut sector, 0, false, kind_of(partition)?, sectors(partition, placed.start - table)?, sectors(partition, placed.size)?);
        if let Some((next, next_placed)) = logical.get(index + 1) {
            // The size is that of everything from the next table to the end of its partition.
            let next_table = table_of(index + 1, *container, *next_placed);
            let size = next_placed.start + next_placed.size - next_table;
            put(&mut sector, 1, false, NEXT_TABLE, sectors(next, next_table - container.start)?, sectors(next, size)?);
        }
        finish(file, sector, table)?;
    }
    Ok(())
}

/// Returns where the table of a logical partition is: the first begins the extended partition, the others are before theirs.
fn table_of(index: usize, container: Placed, logical: Placed) -> u64 {
    if index == 0 { container.start } else { logical.start - ALIGNMENT }
}

fn kind_of(partition: &Partition) -> Result<u8, TableError> {
    let kind = partition.kind.mbr(partition.filesystem);
    kind.ok_or_else(|| TableError::Mbr { id: partition.id.clone(), reason: "its type has no number there" })
}

fn sectors(partition: &Partition, bytes: u64) -> Result<u32, TableError> {
    u32::try_from(bytes / SECTOR).map_err(|_| TableError::Mbr { id: partition.id.clone(), reason: "it lies beyond 2 TiB" })
}

fn put(sector: &mut [u8; SECTOR as usize], index: usize, active: bool, kind: u8, start: u32, size: u32) {
    let entry = &mut sector[ENTRIES + index * ENTRY..][..ENTRY];
    entry[0] = if active { 0x80 } else { 0 };
    entry[1..4].copy_from_slice(&BEYOND);
    entry[4] = kind;
    entry[5..8].copy_from_slice(&BEYOND);
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&size.to_le_bytes());
}

fn finish(file: &File, mut sector: [u8; SECTOR as usize], at: u64) -> Result<(), TableError> {
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&sector, at).map_err(TableError::Write)
}

#[cfg(test)]
mod tests {
    use oic_config::{
        spec::{DiskSize, Filesystem, PartitionTableKind},
        units::ByteSize,
    };

    use super::*;
    use crate::{disk::layout, exec, rootfs::testing};

    fn disk() -> Disk {
        let partition = |id: &str, kind, filesystem, mib: Option<u64>, logical| Partition {
            id: id.to_owned(),
            label: id.to_owned(),
            kind,
            start: None,
            end: None,
            size: mib.map(ByteSize::mib),
            grow: id == "data",
            filesystem,
            filesystem_label: None,
            mount_point: None,
            mount_options: String::new(),
            mount_identifier: oic_config::spec::MountIdentifier::default(),
            attributes: 0,
            active: id == "boot",
            logical,
            subvolumes: Vec::new(),
        };
        let partitions = vec![
            partition("boot", PartitionType::LinuxData, Some(Filesystem::Ext4), Some(8), false),
            partition("more", PartitionType::Extended, None, None, false),
            partition("swap", PartitionType::Swap, Some(Filesystem::Swap), Some(4), true),
            partition("fat", PartitionType::LinuxData, Some(Filesystem::Fat16), Some(8), true),
            partition("data", PartitionType::OtherMbr(0x93), None, None, true),
        ];
        let size = DiskSize::Fixed(ByteSize::mib(64));
        Disk { name: String::new(), size, table: PartitionTableKind::Mbr, partitions, grows_at_first_boot: false, raw_binaries: Vec::new() }
    }

    #[test]
    fn tables_are_a_chain_that_other_programs_follow() {
        let disk = disk();
        let identity = ImageIdentity::new("test");
        assert_eq!(numbers(&disk), [1, 2, 5, 6, 7]);
        assert_eq!(identity.partuuid(&disk, "fat"), format!("{:08x}-06", identity.disk_signature()));
        let layout = layout::resolve(&disk, &[0; 5]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(layout.size).unwrap();
        write(file.as_file(), &disk, &layout, &identity).unwrap();
        let entry = |table: u64, index: u64| {
            let mut entry = [0; ENTRY];
            file.as_file().read_exact_at(&mut entry, table + ENTRIES as u64 + index * ENTRY as u64).unwrap();
            let number = |at: usize| u64::from(u32::from_le_bytes(entry[at..at + 4].try_into().unwrap())) * SECTOR;
            (entry[0], entry[4], number(8), number(12))
        };
        const MIB: u64 = 1 << 20;
        assert_eq!((entry(0, 0), entry(0, 1)), ((0x80, 0x83, MIB, 8 * MIB), (0, 0x0f, 9 * MIB, 55 * MIB)));
        assert_eq!((entry(9 * MIB, 0), entry(9 * MIB, 1)), ((0, 0x82, MIB, 4 * MIB), (0, 5, 5 * MIB, 9 * MIB)));
        assert_eq!((entry(14 * MIB, 0), entry(14 * MIB, 1)), ((0, 0x0e, MIB, 8 * MIB), (0, 5, 14 * MIB, 41 * MIB)));
        assert_eq!((entry(23 * MIB, 0), entry(23 * MIB, 1)), ((0, 0x93, MIB, 40 * MIB), (0, 0, 0, 0)));
        let Some(sfdisk) = testing::tool("sfdisk") else {
            testing::skip("there is no sfdisk to verify the tables");
            return;
        };
        let said = exec::run(sfdisk.command().arg("--verify").arg(file.path())).unwrap();
        assert!(String::from_utf8_lossy(&said).contains("No errors detected"), "{}", String::from_utf8_lossy(&said));
    }
}
