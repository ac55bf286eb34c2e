//! What is in an image, found without mounting anything.
//!
//! ```text
//! OpenedImage → table → partitions → filesystem + RootTree ─┬─► boot entries, EFI programs
//!                                                           └─► system, users, packages
//! ```
//!
//! The report ([`report::ImageReport`]) is plain data; [`text`] and [`html`] render it. The trees stay for `compare`.
//!
//! Images may be hostile: whatever is read is bounded, what is damaged becomes a problem in the report, and nothing in an image
//! makes any of this panic. Of filesystems that are not read (F2FS, ISO 9660) kind, label, UUID and size are told.

mod archive;
mod boot_entries;
mod certificate;
pub mod container_manifest;
mod efi;
mod filesystem;
pub mod firmware;
pub mod html;
mod packages;
pub mod report;
mod sqlite;
mod system;
mod table;
pub mod text;

#[cfg(test)]
pub(crate) mod tests;

use std::{borrow::Cow, io};

use crate::{
    artifact::open::OpenedImage,
    rootfs::{HostFile, Kind, RootTree, path::Shown},
};
use report::{FileReport, ImageReport, PartitionReport, REPORT_VERSION, SystemReport};

/// The most problems that are told.
const MAX_PROBLEMS: usize = 100;

/// The most lines of an fstab that are followed.
const MAX_MOUNTS: usize = 64;

/// An image cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the disk in `{}`", path.display())]
pub struct InspectError {
    /// The image.
    pub path: std::path::PathBuf,
    /// Why.
    pub source: io::Error,
}

/// An image with everything that was read of it.
#[derive(Debug)]
pub struct Inspected {
    /// What was found.
    pub report: ImageReport,
    /// The files of each partition whose filesystem is read, in the order of the report's partitions.
    pub trees: Vec<Option<RootTree>>,
}

/// Looks at an image.
///
/// # Errors
/// Fails when the image cannot be read; damage in it is in the report.
pub fn inspect(image: &OpenedImage) -> Result<Inspected, InspectError> {
    look(image).map_err(|source| InspectError { path: image.path.clone(), source })
}

fn look(image: &OpenedImage) -> io::Result<Inspected> {
    let mut problems = Vec::new();
    let (table, mut partitions) = match table::read(&*image.disk, &mut problems)? {
        Some((table, partitions)) => (Some(table), partitions),
        None => (None, vec![whole(image)]),
    };
    let mut trees = Vec::new();
    for partition in &mut partitions {
        let file = HostFile::window(image.disk.clone(), partition.start, partition.size, &image.path);
        let mut own = Vec::new();
        let probed = filesystem::probe(&file, &image.scratch, &mut own);
        let (report, tree) = probed
            .unwrap_or_else(|error| {
                own.push(format!("cannot be read: {error}"));
                None
            })
            .unzip();
        problems.extend(own.into_iter().map(|problem| format!("partition {}: {problem}", partition.number)));
        partition.filesystem = report;
        trees.push(tree.flatten());
    }
    let mut efi = Vec::new();
    let mut boot_entries = Vec::new();
    for (partition, tree) in partitions.iter().zip(&trees) {
        let Some(tree) = tree else { continue };
        boot_entries.extend(boot_entries::find(partition.number, tree));
        for entry in tree.walk() {
            let Kind::File(content) = &entry.inode.kind else { continue };
            if !is_program(&entry.path) || entry.link_to.is_some() {
                continue;
            }
            match efi::describe(partition.number, &Shown(&entry.path).to_string(), content) {
                Ok(program) => efi.extend(program),
                Err(error) => problems.push(format!("partition {}: `{}` cannot be read: {error}", partition.number, Shown(&entry.path))),
            }
        }
    }
    boot_entries.extend(boot_entries::unified(&efi));
    let root = partitions.iter().zip(&trees).find_map(|(partition, tree)| system_in(partition, tree.as_ref()?));
    let root = root.map(|(system, tree)| with_mounts(system, tree, &partitions, &trees));
    if let Some((system, tree)) = root.as_ref().filter(|(system, _)| system.subvolume.is_some()) {
        boot_entries.extend(boot_entries::find(system.partition, tree));
    }
    let packages = root.as_ref().and_then(|(_, tree)| packages::read(tree, &mut problems));
    problems.truncate(MAX_PROBLEMS);
    let report = ImageReport {
        version: REPORT_VERSION,
        file: FileReport {
            name: image.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size: image.file_size,
            format: image.format.name().to_owned(),
            compression: image.compression.map(|compression| compression.name().to_owned()),
            disk_size: image.disk.size(),
        },
        table,
        partitions,
        boot_entries,
        efi,
        system: root.map(|(system, _)| system),
        packages,
        problems,
    };
    Ok(Inspected { report, trees })
}

/// Returns the system on a partition with its files: at the top, or on Btrfs in a subvolume there.
fn system_in<'a>(partition: &PartitionReport, tree: &'a RootTree) -> Option<(SystemReport, Cow<'a, RootTree>)> {
    if let Some(system) = system::describe(partition.number, tree) {
        return Some((system, Cow::Borrowed(tree)));
    }
    if partition.filesystem.as_ref().is_none_or(|filesystem| filesystem.kind != "btrfs") {
        return None;
    }
    tree.names("/").find_map(|(name, _)| {
        let has = |path: &str| tree.lookup([b"/", name, path.as_bytes()].concat()).is_some();
        if !has("/etc") || !has("/usr") {
            return None;
        }
        let part = tree.clone().split_off([b"/", name].concat()).ok()?;
        let mut system = system::describe(partition.number, &part)?;
        system.subvolume = Some(Shown(name).to_string());
        Some((system, Cow::Owned(part)))
    })
}

/// Returns a system with what its fstab mounts from the image: its accounts' homes and its packages may be on other partitions.
fn with_mounts<'a>(
    system: SystemReport,
    mut tree: Cow<'a, RootTree>,
    partitions: &[PartitionReport],
    trees: &[Option<RootTree>],
) -> (SystemReport, Cow<'a, RootTree>) {
    for line in system.fstab.iter().take(MAX_MOUNTS) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [source, mount_point, _, options, ..] = fields[..] else { continue };
        let Some(wanted) = source.strip_prefix("PARTUUID=") else { continue };
        let found = partitions.iter().position(|partition| partition.uuid.eq_ignore_ascii_case(wanted));
        let Some(part) = found.and_then(|index| trees[index].as_ref()) else { continue };
        if mount_point == "/" || !mount_point.starts_with('/') {
            continue;
        }
        let subvolume = options.split(',').find_map(|option| option.strip_prefix("subvol="));
        let part = match subvolume.map(|name| part.clone().split_off(name)) {
            None => Cow::Borrowed(part),
            Some(Ok(part)) => Cow::Owned(part),
            Some(Err(_)) => continue,
        };
        // Where something else than a directory is, nothing is mounted.
        let _ = tree.to_mut().graft(mount_point, &part);
    }
    let subvolume = system.subvolume.clone();
    let system = system::describe(system.partition, &tree).map_or(system, |found| SystemReport { subvolume, ..found });
    (system, tree)
}

/// Returns whether a path is that of a program for the firmware, or of a kernel.
fn is_program(path: &[u8]) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.ends_with(b".efi") || (path.starts_with(b"/boot/") || !path[1..].contains(&b'/')) && name.starts_with(b"vmlinu")
}

/// Returns the disk as the one partition that a bare filesystem is.
fn whole(image: &OpenedImage) -> PartitionReport {
    PartitionReport {
        number: 0,
        label: String::new(),
        type_id: String::new(),
        type_name: "the whole disk".to_owned(),
        uuid: String::new(),
        start: 0,
        size: image.disk.size(),
        attributes: Vec::new(),
        filesystem: None,
    }
}
