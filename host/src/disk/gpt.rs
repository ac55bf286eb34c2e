//! Writes GUID partition tables: protective record, both headers and entries (UEFI specification, chapter 5).

use std::{collections::BTreeMap, fs::File, io};

use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    mbr::ProtectiveMBR,
    partition::Partition as TableEntry,
    partition_types::{OperatingSystem, Type},
};
use oic_config::spec::Disk;

use super::{
    identity::{ImageIdentity, guid},
    layout::{Layout, SECTOR},
};

/// The most UTF-16 units of a partition's label.
const MAX_LABEL: usize = 36;

/// Why a partition table cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A label is too long.
    #[error("the label `{label}` of partition `{id}` is longer than 36 characters")]
    Label {
        /// The partition.
        id: String,
        /// Its label.
        label: String,
    },
    /// An MBR has no number for a type, no room for an entry, or cannot count the sectors of a place.
    #[error("partition `{id}` cannot be in an MBR: {reason}")]
    Mbr {
        /// The partition.
        id: String,
        /// What is wrong.
        reason: &'static str,
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
            flags: partition.attributes,
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
