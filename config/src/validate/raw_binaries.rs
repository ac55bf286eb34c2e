//! `disk.rawBinaries`: files that are written onto the disk as they are. Whether they would overwrite a partition is known when the
//! partitions have places, which is when the disk is made.

use super::Context;
use super::packages::missing_file;
use crate::diagnostic::{Code, Finding};
use crate::layer;
use crate::spec::{DiskSize, PartitionTableKind, RawBinary};

/// Where the boot code of the first sector ends, which belongs to no table.
const BOOT_CODE: u64 = 440;

/// Returns the files, and checks them against the table and the end of the disk.
pub(super) fn raw_binaries(disk: &layer::Disk, table: PartitionTableKind, size: DiskSize, cx: &mut Context<'_>) -> Vec<RawBinary> {
    let mut found: Vec<RawBinary> = Vec::new();
    for given in disk.raw_binaries.iter().flat_map(|list| list.value()) {
        let (Some(local), Some(offset)) = (&given.local, &given.offset) else { continue };
        let field = format!("disk.rawBinaries[{}]", local.value());
        if cx.is_placeholder(local.value(), local.origin, &format!("{field}.local")) {
            continue;
        }
        let Some(place) = cx.size(&offset.value.0, offset.origin, &format!("{field}.offset")) else { continue };
        let path = cx.sources.resolve_path(local.origin, local.value());
        let length = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => {
                missing_file(&path, local.origin, &format!("{field}.local"), cx);
                0
            }
        };
        let end = place.0.saturating_add(length);
        let (name, table_end) = match table {
            PartitionTableKind::Gpt => ("GPT", 34 * 512),
            PartitionTableKind::Mbr => ("MBR", 512),
        };
        if end > BOOT_CODE && place.0 < table_end {
            let finding = Finding::error(Code::Contradiction, format!("the {name} lies there, up to byte {table_end}"));
            let finding = finding.found(place.to_string()).allowed(["a place behind it", "boot code of at most 440 bytes at 0"]);
            cx.report(finding, offset.origin, &format!("{field}.offset"));
        }
        if let DiskSize::Fixed(size) = size
            && end > size.0
        {
            let message = format!("it would end at byte {end}, and the disk ends at {size}");
            cx.error(Code::Contradiction, offset.origin, &format!("{field}.offset"), message);
        }
        found.push(RawBinary { local: path, offset: place, origin: cx.origin(given.origin) });
    }
    found
}
