//! Files that are written onto a disk as they are, beside its partitions or into one that is otherwise empty.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use oic_config::{
    spec::{Disk, PartitionTableKind},
    units::ByteSize,
};

use super::layout::Layout;
use crate::boot::grub::bios::BiosProgram;

/// One such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// What messages call it.
    pub name: String,
    /// Where on the disk its first byte lies.
    pub offset: u64,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Why such a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RawFileError {
    /// Something else is there.
    #[error("`{name}` would lie on the disk from {from} to {to}, where {what} is")]
    Taken {
        /// The file.
        name: String,
        /// Its first byte.
        from: ByteSize,
        /// One past its last byte.
        to: ByteSize,
        /// What is there.
        what: String,
    },
    /// Writing failed.
    #[error("cannot write `{name}` onto the disk")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// A part of a disk that has an owner.
struct Area {
    start: u64,
    end: u64,
    what: String,
}

/// Writes files onto a disk whose tables and partitions are written.
///
/// # Errors
/// Fails when a file would lie where something else is, or cannot be written.
pub fn write(image: &File, (disk, layout): (&Disk, &Layout), bios: Option<&BiosProgram>, files: &[RawFile]) -> Result<(), RawFileError> {
    let mut areas = areas(disk, layout, bios);
    for file in files {
        let (start, end) = (file.offset, file.offset.saturating_add(file.bytes.len() as u64));
        if let Some(area) = areas.iter().find(|area| start < area.end && area.start < end) {
            let what = area.what.clone();
            return Err(RawFileError::Taken { name: file.name.clone(), from: ByteSize(start), to: ByteSize(end), what });
        }
        image.write_all_at(&file.bytes, start).map_err(|source| RawFileError::Write { name: file.name.clone(), source })?;
        areas.push(Area { start, end, what: format!("`{}`", file.name) });
    }
    Ok(())
}

/// Returns what no file may overwrite: tables, GRUB, filesystems, the edges of partitions, and what is behind the end of the disk.
fn areas(disk: &Disk, layout: &Layout, bios: Option<&BiosProgram>) -> Vec<Area> {
    let area = |start, end, what: &str| Area { start, end, what: what.to_owned() };
    let boot_code = if bios.is_some() { 0 } else { 440 };
    let mut areas = vec![area(layout.size, u64::MAX, "the end of the disk")];
    match disk.table {
        PartitionTableKind::Gpt => {
            areas.push(area(boot_code, 34 * 512, "the partition table"));
            areas.push(area(layout.size.saturating_sub(33 * 512), layout.size, "the second partition table"));
        }
        PartitionTableKind::Mbr => areas.push(area(boot_code, 512, "the partition table")),
    }
    if let Some(program) = bios.filter(|_| disk.table == PartitionTableKind::Mbr) {
        areas.push(area(512, 512 + program.core.len() as u64, "GRUB"));
    }
    for (partition, placed) in disk.partitions.iter().zip(&layout.partitions) {
        let end = placed.start + placed.size;
        let what = format!("partition `{}`", partition.id);
        let has_content = partition.filesystem.is_some()
            || partition.kind == oic_config::spec::PartitionType::Extended
            || partition.kind == oic_config::spec::PartitionType::BiosBoot && bios.is_some();
        if has_content {
            areas.push(area(placed.start, end, &what));
        }
    }
    areas
}

#[cfg(test)]
mod tests {
    use oic_config::spec::{DiskSize, Filesystem, MountIdentifier, Partition, PartitionType};

    use super::*;
    use crate::disk::layout::Placed;

    fn partition(id: &str, filesystem: Option<Filesystem>) -> Partition {
        Partition {
            id: id.to_owned(),
            label: id.to_owned(),
            kind: PartitionType::LinuxData,
            start: None,
            end: None,
            size: None,
            grow: false,
            filesystem,
            filesystem_label: None,
            mount_point: None,
            mount_options: String::new(),
            mount_identifier: MountIdentifier::default(),
            attributes: 0,
            active: false,
            logical: false,
            subvolumes: Vec::new(),
        }
    }

    #[test]
    fn a_file_lies_where_nothing_else_is() {
        let disk = Disk {
            name: String::new(),
            size: DiskSize::Auto,
            table: PartitionTableKind::Gpt,
            partitions: vec![partition("firmware", None), partition("root", Some(Filesystem::Ext4))],
            grows_at_first_boot: false,
            raw_binaries: Vec::new(),
        };
        let layout =
            Layout { size: 8 << 20, partitions: vec![Placed { start: 1 << 20, size: 1 << 20 }, Placed { start: 2 << 20, size: 5 << 20 }] };
        let image = tempfile::tempfile().unwrap();
        image.set_len(layout.size).unwrap();
        let write = |places: &[(u64, usize)]| {
            let file = |(index, (offset, size)): (usize, &(u64, usize))| RawFile {
                name: format!("f{index}"),
                offset: *offset,
                bytes: vec![7; *size],
            };
            let files: Vec<RawFile> = places.iter().enumerate().map(file).collect();
            super::write(&image, (&disk, &layout), None, &files).map_err(|error| error.to_string())
        };
        assert_eq!(write(&[(0, 440), (17408, 600_000), (1 << 20, 1 << 20)]), Ok(()));
        let mut bytes = [0; 2];
        image.read_exact_at(&mut bytes, 439).unwrap();
        assert_eq!(bytes, [7, 0]);
        for (place, what) in [
            ((0, 441), "the partition table"),
            ((16 << 10, 4), "the partition table"),
            ((2 << 20, 1), "partition `root`"),
            (((2 << 20) - 1, 2), "partition `root`"),
            (((8 << 20) - 4, 4), "the second partition table"),
            ((9 << 20, 1), "the end of the disk"),
        ] {
            assert!(write(&[place]).unwrap_err().ends_with(&format!("where {what} is")), "{place:?}: {:?}", write(&[place]));
        }
        let error = write(&[(1 << 20, 100), ((1 << 20) + 99, 1)]).unwrap_err();
        assert!(error.starts_with("`f1` would lie on the disk from ") && error.ends_with("where `f0` is"), "{error}");
    }
}
