//! Writes GUID partition tables: protective record, both headers and entries (UEFI specification, chapter 5).

use std::{collections::BTreeMap, fs::File, io};

use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    mbr::ProtectiveMBR,
    partition::Partition as TableEntry,
    partition_types::{OperatingSystem, Type},
};
use oic_config::spec::{Disk, PartitionTableKind};

use super::{
    identity::{ImageIdentity, guid},
    layout::{Layout, SECTOR},
};

/// Flags of templates that say what the type GUID says anyway.
const TYPE_FLAGS: [&str; 8] = ["esp", "boot", "bios_grub", "bios-grub", "swap", "root", "lvm", "raid"];
/// Flags with a bit in the table (UEFI specification and Discoverable Partitions Specification).
const ATTRIBUTES: [(&str, u32); 8] = [
    ("required", 0),
    ("legacy_boot", 2),
    ("legacy-boot", 2),
    ("grow-file-system", 59),
    ("read-only", 60),
    ("hidden", 62),
    ("no-auto", 63),
    ("noauto", 63),
];
/// The most UTF-16 units of a partition's label.
const MAX_LABEL: usize = 36;

/// Why a partition table cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Only GUID partition tables are made.
    #[error("partition tables of kind `mbr` cannot be made: set `disk.partitionTableType` to `gpt`")]
    Kind,
    /// A label is too long.
    #[error("the label `{label}` of partition `{id}` is longer than 36 characters")]
    Label {
        /// The partition.
        id: String,
        /// Its label.
        label: String,
    },
    /// A flag is not known.
    #[error("partition `{id}` has the unknown flag `{flag}`")]
    Flag {
        /// The partition.
        id: String,
        /// The flag.
        flag: String,
    },
    /// Writing failed.
    #[error("cannot write the partition table")]
    Write(#[source] io::Error),
}

/// Writes the table of a disk into a file that has the disk's size already.
///
/// # Errors
/// Fails when the table cannot express the partitions or writing fails.
pub fn write(file: &mut File, disk: &Disk, layout: &Layout, identity: &ImageIdentity) -> Result<(), TableError> {
    if disk.table != PartitionTableKind::Gpt {
        return Err(TableError::Kind);
    }
    let mut entries = BTreeMap::new();
    for ((number, partition), placed) in (1..).zip(&disk.partitions).zip(&layout.partitions) {
        if partition.label.encode_utf16().count() > MAX_LABEL {
            return Err(TableError::Label { id: partition.id.clone(), label: partition.label.clone() });
        }
        let entry = TableEntry {
            part_type_guid: Type { guid: guid(partition.kind.guid()), os: OperatingSystem::None },
            part_guid: identity.partition(&partition.id),
            first_lba: placed.start / SECTOR,
            last_lba: (placed.start + placed.size) / SECTOR - 1,
            flags: attributes(&partition.id, &partition.flags)?,
            name: partition.label.clone(),
        };
        entries.insert(number, entry);
    }
    let failed = |reason: String| TableError::Write(io::Error::other(reason));
    let sectors = u32::try_from(layout.size / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(file).map_err(|error| failed(error.to_string()))?;
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(file, Some(identity.disk())).map_err(|error| failed(error.to_string()))?;
    table.update_partitions(entries).map_err(|error| failed(error.to_string()))?;
    table.write().map_err(|error| failed(error.to_string()))?;
    Ok(())
}

fn attributes(id: &str, flags: &[String]) -> Result<u64, TableError> {
    flags.iter().filter(|flag| !TYPE_FLAGS.contains(&flag.as_str())).try_fold(0, |bits, flag| {
        let known = ATTRIBUTES.iter().find(|(name, _)| name == flag);
        known.map(|(_, bit)| bits | 1 << bit).ok_or_else(|| TableError::Flag { id: id.to_owned(), flag: flag.clone() })
    })
}
