//! Finished files: conversion to other disk formats, and compression.
//!
//! ```text
//! raw disk ─┬─► container ─┬─► as it is
//!           │              └─► compressed
//!           ├─► compressed
//!           └─► renamed (last, so that nothing is copied)
//! ```
//!
//! All outputs are made at the same time, from the one raw disk; the containers are [`oic_disk_formats`]'. Holes are
//! skipped. Output bytes depend on the input alone. Files appear under their names only when they are complete.

pub mod bare;
pub mod convert;
pub mod open;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use oic_config::spec::{ArtifactFormat, ArtifactSpec, Compression, Disk, PartitionArtifact};
use oic_disk_formats::{self as disk_formats, Format, SparseFile, Stamp};
use rayon::prelude::*;

use crate::disk::layout::Layout;
use bare::{BareError, BareRoot};

/// Every format.
const ALL: [ArtifactFormat; 15] = [
    ArtifactFormat::Raw,
    ArtifactFormat::Qcow2,
    ArtifactFormat::Vhd,
    ArtifactFormat::VhdDynamic,
    ArtifactFormat::Vhdx,
    ArtifactFormat::Vmdk,
    ArtifactFormat::VmdkStream,
    ArtifactFormat::Vdi,
    ArtifactFormat::Ova,
    ArtifactFormat::Ext4,
    ArtifactFormat::Squashfs,
    ArtifactFormat::Tar,
    ArtifactFormat::Oci,
    ArtifactFormat::Wsl2,
    ArtifactFormat::Initrd,
];

/// The ends of the names of the kernel and the command line that go with an initramfs.
pub const KERNEL_SUFFIX: &str = ".vmlinuz";
/// See [`KERNEL_SUFFIX`].
pub const CMDLINE_SUFFIX: &str = ".cmdline";
/// The end of an initramfs's name, without compression.
pub const INITRD_SUFFIX: &str = ".initrd";

/// Why an output file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The format is none that is made of a disk or of this root filesystem.
    #[error("output files of type {format:?} cannot be made of this image")]
    NoSource {
        /// The format.
        format: ArtifactFormat,
    },
    /// There is no such partition.
    #[error("there is no partition `{id}` to make an output file of")]
    NoPartition {
        /// Its id.
        id: String,
    },
    /// A root filesystem cannot be written.
    #[error(transparent)]
    Bare(#[from] BareError),
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Returns the container of an output file, none for those that hold no disk.
#[must_use]
pub fn disk_format(format: ArtifactFormat) -> Option<Format> {
    match format {
        ArtifactFormat::Raw => Some(Format::Raw),
        ArtifactFormat::Qcow2 => Some(Format::Qcow2),
        ArtifactFormat::Vhd => Some(Format::Vhd),
        ArtifactFormat::VhdDynamic => Some(Format::VhdDynamic),
        ArtifactFormat::Vhdx => Some(Format::Vhdx),
        ArtifactFormat::Vmdk => Some(Format::Vmdk),
        ArtifactFormat::VmdkStream => Some(Format::VmdkStream),
        ArtifactFormat::Vdi => Some(Format::Vdi),
        ArtifactFormat::Ova => Some(Format::Ova),
        ArtifactFormat::Ext4 | ArtifactFormat::Squashfs | ArtifactFormat::Tar | ArtifactFormat::Oci => None,
        ArtifactFormat::Wsl2 | ArtifactFormat::Initrd => None,
    }
}

/// Returns how an output file is compressed.
#[must_use]
pub fn compression(compression: Compression) -> Option<disk_formats::Compression> {
    match compression {
        Compression::None => None,
        Compression::Gz => Some(disk_formats::Compression::Gz),
        Compression::Xz => Some(disk_formats::Compression::Xz),
        Compression::Zstd => Some(disk_formats::Compression::Zstd),
        Compression::Bz2 => Some(disk_formats::Compression::Bz2),
    }
}

/// Returns the end of an output file's name, without compression.
fn suffix(format: ArtifactFormat) -> &'static str {
    match format {
        ArtifactFormat::Raw => ".raw",
        ArtifactFormat::Qcow2 => ".qcow2",
        ArtifactFormat::Vhd => ".vhd",
        // Beside the fixed one, which has the same ending.
        ArtifactFormat::VhdDynamic => "-dynamic.vhd",
        ArtifactFormat::Vhdx => ".vhdx",
        ArtifactFormat::Vmdk => ".vmdk",
        ArtifactFormat::VmdkStream => "-stream.vmdk",
        ArtifactFormat::Vdi => ".vdi",
        ArtifactFormat::Ova => ".ova",
        ArtifactFormat::Ext4 => ".ext4",
        ArtifactFormat::Squashfs => ".squashfs",
        ArtifactFormat::Tar => ".tar",
        ArtifactFormat::Oci => ".oci.tar",
        ArtifactFormat::Wsl2 => ".wsl",
        ArtifactFormat::Initrd => INITRD_SUFFIX,
    }
}

/// Returns the name of an output file.
#[must_use]
pub fn file_name(base: &str, spec: ArtifactSpec) -> String {
    let compression = compression(spec.compression).map(|compression| format!(".{}", compression.extension())).unwrap_or_default();
    format!("{base}{}{compression}", suffix(spec.format))
}

/// Returns what the name of an output file says of its format, compression included: `raw.zst`, `dynamic.vhd`.
#[must_use]
pub fn format_in_name(name: &str) -> Option<&str> {
    let found = ALL.into_iter().filter_map(|format| Some((name.rfind(suffix(format))?, suffix(format).len())));
    // Of two that end alike, the longer one says more.
    let (at, _) = found.max_by_key(|(at, length)| (at + length, *length))?;
    Some(&name[at + 1..])
}

/// The names of output files, by what they are made from.
type Names = Result<Vec<Vec<String>>, ArtifactError>;

/// Makes all output files of a raw disk, where there is one, and of the root filesystem in a folder and returns their names. The
/// raw disk is gone afterwards: it has been renamed if it is wanted as it is, and removed if not.
///
/// # Errors
/// Fails when a format is made of neither, or files cannot be read or written.
pub fn emit_all(
    raw: Option<&Path>,
    root: Option<&BareRoot<'_>>,
    specs: &[ArtifactSpec],
    folder: &Path,
    base: &str,
    epoch: u64,
) -> Result<Vec<String>, ArtifactError> {
    let mut formats: BTreeMap<Format, Vec<ArtifactSpec>> = BTreeMap::new();
    let mut bare: BTreeMap<&str, Vec<ArtifactSpec>> = BTreeMap::new();
    for spec in specs {
        match (disk_format(spec.format), raw, root) {
            (Some(format), Some(_), _) => formats.entry(format).or_default().push(*spec),
            (None, _, Some(_)) => bare.entry(suffix(spec.format)).or_default().push(*spec),
            _ => return Err(ArtifactError::NoSource { format: spec.format }),
        }
    }
    let open = |raw: &Path| SparseFile::open(raw).map_err(|source| ArtifactError::Io { operation: "read", path: raw.to_owned(), source });
    let disk = raw.map(open).transpose()?;
    let emit = |(format, specs): (&Format, &Vec<ArtifactSpec>)| {
        disk.as_ref().map_or_else(|| Ok(Vec::new()), |disk| emit(disk, *format, specs, folder, base, epoch))
    };
    let emit_bare = |specs: &Vec<ArtifactSpec>| root.map_or_else(|| Ok(Vec::new()), |root| emit_root(root, specs, folder, base));
    let (disks, roots): (Names, Names) =
        rayon::join(|| formats.par_iter().map(emit).collect(), || bare.par_iter().map(|(_, specs)| emit_bare(specs)).collect());
    let mut names = [disks?.concat(), roots?.concat()].concat();
    let plain_raw = specs.iter().find(|spec| spec.format == ArtifactFormat::Raw && spec.compression == Compression::None);
    match (raw, plain_raw) {
        (Some(raw), Some(spec)) => {
            let name = file_name(base, *spec);
            rename(raw, &folder.join(&name))?;
            names.push(name);
        }
        (Some(raw), None) => remove(raw)?,
        (None, _) => {}
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Makes the output files that are copies of partitions, and returns their names.
///
/// # Errors
/// Fails when files cannot be read or written.
pub fn copy_partitions(
    raw: &Path,
    disk: &Disk,
    layout: &Layout,
    specs: &[PartitionArtifact],
    folder: &Path,
    base: &str,
) -> Result<Vec<String>, ArtifactError> {
    let one = |spec: &PartitionArtifact| {
        let compression = compression(spec.compression);
        let ending = compression.map(|compression| format!(".{}", compression.extension())).unwrap_or_default();
        let name = format!("{base}-{}.{}{ending}", spec.partition, spec.ending);
        let found = disk.partitions.iter().zip(&layout.partitions).find(|(partition, _)| partition.id == spec.partition);
        let Some((_, placed)) = found else { return Err(ArtifactError::NoPartition { id: spec.partition.clone() }) };
        let failed = |source| ArtifactError::Io { operation: "read", path: raw.to_owned(), source };
        let part = SparseFile::open(raw).map_err(failed)?.part(placed.start, placed.size);
        place(&folder.join(&name), |output| match compression {
            Some(compression) => disk_formats::compress(&part, compression, output),
            None => disk_formats::write(&part, Format::Raw, &Stamp::new(&part, 0, "")?, output),
        })?;
        Ok(name)
    };
    specs.par_iter().map(one).collect()
}

/// Makes the output files of one container, all but the raw disk itself.
fn emit(
    disk: &SparseFile,
    format: Format,
    specs: &[ArtifactSpec],
    folder: &Path,
    base: &str,
    epoch: u64,
) -> Result<Vec<String>, ArtifactError> {
    let (plain, compressed): (Vec<ArtifactSpec>, Vec<ArtifactSpec>) =
        specs.iter().copied().partition(|spec| spec.compression == Compression::None);
    if format == Format::Raw {
        return compress_all(disk, &compressed, folder, base);
    }
    let Some(name) = specs.first().map(|spec| file_name(base, ArtifactSpec { compression: Compression::None, ..*spec })) else {
        return Ok(Vec::new());
    };
    let path = folder.join(&name);
    place(&path, |file| disk_formats::write(disk, format, &Stamp::new(disk, epoch, &name)?, file))?;
    packed(&path, name, &plain, &compressed, folder, base)
}

/// Makes the output files of one form of the root filesystem.
fn emit_root(root: &BareRoot<'_>, specs: &[ArtifactSpec], folder: &Path, base: &str) -> Result<Vec<String>, ArtifactError> {
    let (plain, compressed): (Vec<ArtifactSpec>, Vec<ArtifactSpec>) =
        specs.iter().copied().partition(|spec| spec.compression == Compression::None);
    let Some(spec) = specs.first() else { return Ok(Vec::new()) };
    if spec.format == ArtifactFormat::Initrd {
        return emit_initramfs(root, specs, folder, base);
    }
    let name = file_name(base, ArtifactSpec { compression: Compression::None, ..*spec });
    let path = folder.join(&name);
    match spec.format {
        ArtifactFormat::Ext4 => root.ext4(&path)?,
        ArtifactFormat::Oci => root.oci(&path)?,
        ArtifactFormat::Squashfs => root.squashfs(&path)?,
        ArtifactFormat::Wsl2 => root.wsl(&path)?,
        _ => root.tar(&path)?,
    }
    packed(&path, name, &plain, &compressed, folder, base)
}

/// Makes initramfs images and the kernel that starts them.
fn emit_initramfs(root: &BareRoot<'_>, specs: &[ArtifactSpec], folder: &Path, base: &str) -> Result<Vec<String>, ArtifactError> {
    let one = |spec: &ArtifactSpec| {
        let name = file_name(base, *spec);
        root.initramfs(&folder.join(&name), spec.compression)?;
        Ok(name)
    };
    let mut names: Vec<String> = specs.par_iter().map(one).collect::<Result<_, ArtifactError>>()?;
    let own = [KERNEL_SUFFIX, CMDLINE_SUFFIX].map(|suffix| format!("{base}{suffix}"));
    root.kernel(&folder.join(&own[0]), &folder.join(&own[1]))?;
    names.extend(own);
    Ok(names)
}

/// Compresses a finished file as often as it is wanted, and removes it where it is not wanted itself.
fn packed(
    path: &Path,
    name: String,
    plain: &[ArtifactSpec],
    compressed: &[ArtifactSpec],
    folder: &Path,
    base: &str,
) -> Result<Vec<String>, ArtifactError> {
    let container = SparseFile::open(path).map_err(|source| ArtifactError::Io { operation: "read", path: path.to_owned(), source })?;
    let mut names = compress_all(&container, compressed, folder, base)?;
    if plain.is_empty() {
        remove(path)?;
    } else {
        names.push(name);
    }
    Ok(names)
}

fn compress_all(file: &SparseFile, specs: &[ArtifactSpec], folder: &Path, base: &str) -> Result<Vec<String>, ArtifactError> {
    let one = |spec: &ArtifactSpec| {
        let name = file_name(base, *spec);
        if let Some(compression) = compression(spec.compression) {
            place(&folder.join(&name), |output| disk_formats::compress(file, compression, output))?;
        }
        Ok(name)
    };
    specs.par_iter().map(one).collect()
}

/// Makes a file under a temporary name and gives it its own when it is complete.
pub(crate) fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::Io { operation: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable as far as the umask lets it: outputs are no secrets of their maker.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".oic-").permissions(permissions).tempfile_in(folder).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Renames the raw disk, or copies its data where the folder is on another filesystem.
fn rename(from: &Path, to: &Path) -> Result<(), ArtifactError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            place(to, |file| {
                let disk = SparseFile::open(from)?;
                disk_formats::write(&disk, Format::Raw, &Stamp::new(&disk, 0, "")?, file)
            })?;
            remove(from)
        }
        Err(source) => Err(ArtifactError::Io { operation: "write", path: to.to_owned(), source }),
    }
}

fn remove(path: &Path) -> Result<(), ArtifactError> {
    std::fs::remove_file(path).map_err(|source| ArtifactError::Io { operation: "remove", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
