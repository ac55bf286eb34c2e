//! Puts GRUB's boot sector and core image where BIOS firmware and the boot sector find them, as `grub-bios-setup` does.
//!
//! ```text
//! sector 0   boot sector: 0x5c first sector of the core · 0x66 two bytes that trust the firmware's drive number · 440 the table's
//! core       first sector: 0x1f4 list of blocks to load, one entry: where, how many sectors, to which segment
//! MBR        the core lies between the table and the first partition
//! GPT        the core lies in the BIOS boot partition
//! ```
//!
//! The core is in one piece and has no parity: nothing else writes to where it lies.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use oic_config::{
    spec::{Disk, PartitionTableKind, PartitionType},
    units::ByteSize,
};

use super::layout::{Layout, SECTOR};
use crate::boot::grub::bios::BiosProgram;

/// Where the boot sector has the first sector of the core.
const CORE_PLACE: usize = 0x5c;
/// Where the boot sector decides whether to trust the firmware's drive number, and two instructions that do nothing.
const DRIVE_CHECK: usize = 0x66;
const TRUST_DRIVE: [u8; 2] = [0x90, 0x90];
/// Code ends here: the rest of the sector is the table's.
const CODE_END: usize = 440;
/// Where the first sector of the core has the only entry of its list of blocks, and the segment that the rest is loaded to.
const BLOCK_LIST: usize = 0x1f4;
const LOAD_SEGMENT: u16 = 0x820;
/// The largest core that fits into the memory that firmware leaves.
const LARGEST_CORE: usize = 0x78000;

/// Why GRUB cannot be put on the disk.
#[derive(Debug, thiserror::Error)]
pub enum BiosError {
    /// There is no place for it, or a too small one.
    #[error("GRUB's core image needs {needed}, and {place} has {size}: {advice}")]
    NoRoom {
        /// What the core needs.
        needed: ByteSize,
        /// Where it is to lie.
        place: String,
        /// What is there.
        size: ByteSize,
        /// What to do.
        advice: &'static str,
    },
    /// The programs are not those of GRUB.
    #[error("`{program}` of the image is not a program of GRUB's: {reason}")]
    Program {
        /// Which.
        program: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// Writing failed.
    #[error("cannot write the boot sector")]
    Write(#[from] io::Error),
}

/// Writes the programs into a disk whose table is there already.
///
/// # Errors
/// Fails when there is no room, the programs are not GRUB's or writing fails.
pub fn write(file: &File, disk: &Disk, layout: &Layout, program: &BiosProgram) -> Result<(), BiosError> {
    let (place, size) = room(disk, layout)?;
    let needed = program.core.len() as u64;
    if needed.next_multiple_of(SECTOR) > size {
        let (what, advice) = match disk.table {
            PartitionTableKind::Gpt => ("the BIOS boot partition".to_owned(), "make it larger, 1MiB is enough"),
            PartitionTableKind::Mbr => ("the space before the first partition".to_owned(), "let the first partition start at 1MiB"),
        };
        return Err(BiosError::NoRoom { needed: ByteSize(needed), place: what, size: ByteSize(size), advice });
    }
    if program.boot.len() != SECTOR as usize || !program.boot.ends_with(&[0x55, 0xaa]) {
        return Err(BiosError::Program { program: "boot.img", reason: "it is not one sector of 512 bytes with the mark of a boot sector" });
    }
    let mut core = program.core.clone();
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let count = u16::try_from(core.len() / SECTOR as usize - 1).unwrap_or(u16::MAX);
    if core.len() < 2 * SECTOR as usize || core.len() > LARGEST_CORE {
        return Err(BiosError::Program { program: "core.img", reason: "it has less than two sectors or more than 480 KiB" });
    }
    let first = place / SECTOR;
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(first + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&count.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&LOAD_SEGMENT.to_le_bytes());
    let mut boot = program.boot[..CODE_END].to_vec();
    boot[CORE_PLACE..CORE_PLACE + 8].copy_from_slice(&first.to_le_bytes());
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&TRUST_DRIVE);
    file.write_all_at(&core, place)?;
    file.write_all_at(&boot, 0)?;
    Ok(())
}

/// Returns where the core may lie, first byte and size.
fn room(disk: &Disk, layout: &Layout) -> Result<(u64, u64), BiosError> {
    let parts = disk.partitions.iter().zip(&layout.partitions);
    match disk.table {
        PartitionTableKind::Gpt => {
            let found = parts.clone().find(|(partition, _)| partition.kind == PartitionType::BiosBoot);
            let place = found.map(|(_, placed)| (placed.start, placed.size));
            place.ok_or_else(|| BiosError::NoRoom {
                needed: ByteSize::mib(1),
                place: "a disk without a BIOS boot partition".to_owned(),
                size: ByteSize(0),
                advice: "add a partition with `type: bios` and `size: 1MiB`",
            })
        }
        PartitionTableKind::Mbr => {
            let first = parts.map(|(_, placed)| placed.start).min().unwrap_or(layout.size);
            Ok((SECTOR, first.saturating_sub(SECTOR)))
        }
    }
}

#[cfg(test)]
mod tests {
    use oic_config::spec::{DiskSize, Partition};

    use super::*;
    use crate::disk::layout;

    fn disk(table: PartitionTableKind) -> Disk {
        let partition = Partition {
            id: "first".to_owned(),
            label: "first".to_owned(),
            kind: if table == PartitionTableKind::Gpt { PartitionType::BiosBoot } else { PartitionType::LinuxData },
            start: None,
            end: None,
            size: Some(ByteSize::mib(1)),
            grow: false,
            filesystem: None,
            filesystem_label: None,
            mount_point: None,
            mount_options: String::new(),
            mount_identifier: oic_config::spec::MountIdentifier::default(),
            attributes: 0,
            active: false,
            logical: false,
            subvolumes: Vec::new(),
        };
        let size = DiskSize::Fixed(ByteSize::mib(4));
        Disk { name: String::new(), size, table, partitions: vec![partition], grows_at_first_boot: false, raw_binaries: Vec::new() }
    }

    fn program(core: usize) -> BiosProgram {
        let mut boot = vec![0xeb; 512];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        BiosProgram { boot, core: vec![7; core] }
    }

    #[test]
    fn the_boot_sector_knows_where_the_core_is_and_the_core_where_it_goes_on() {
        for (table, sector) in [(PartitionTableKind::Gpt, 2048_u64), (PartitionTableKind::Mbr, 1)] {
            let disk = disk(table);
            let layout = layout::resolve(&disk, &[0]).unwrap();
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&[0x11; 72], 440).unwrap();
            write(&file, &disk, &layout, &program(1500)).unwrap();
            let mut first = [0; 512];
            file.read_exact_at(&mut first, 0).unwrap();
            assert_eq!(first[CORE_PLACE..CORE_PLACE + 8], sector.to_le_bytes());
            assert_eq!((first[0], first[DRIVE_CHECK], &first[440..]), (0xeb, 0x90, &[0x11; 72][..]));
            let mut list = [0; 12];
            file.read_exact_at(&mut list, sector * SECTOR + BLOCK_LIST as u64).unwrap();
            assert_eq!(list[..8], (sector + 1).to_le_bytes());
            assert_eq!(list[8..], [2, 0, 0x20, 0x08]);
        }
    }

    #[test]
    fn a_core_without_room_says_what_would_do() {
        let disk = disk(PartitionTableKind::Mbr);
        let layout = layout::resolve(&disk, &[0]).unwrap();
        let file = tempfile::tempfile().unwrap();
        let error = write(&file, &disk, &layout, &program(2 << 20)).unwrap_err().to_string();
        assert!(error.starts_with("GRUB's core image needs 2MiB, and the space before the first partition has"), "{error}");
        assert!(error.ends_with("let the first partition start at 1MiB"), "{error}");
        assert!(write(&file, &disk, &layout, &BiosProgram { boot: vec![0; 512], core: vec![0; 2048] }).is_err());
    }
}
