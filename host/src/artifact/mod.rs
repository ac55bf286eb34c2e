//! Finished files: conversion to other disk formats, compression, checksums.
//!
//! ```text
//! raw disk → qcow2 → compressed → SHA256SUMS
//!          → compressed
//!          → renamed (last, so that nothing is copied)
//! ```
//!
//! Everything runs on all processors and skips holes. Output bytes depend on the input alone: work is cut into pieces of fixed
//! size, whatever the number of processors, and nothing records times or names. Files appear under their names only when
//! they are complete.

pub mod compress;
pub mod qcow2;
mod sparse;

use std::{
    io,
    path::{Path, PathBuf},
};

use oic_config::spec::{ArtifactFormat, ArtifactSpec, Compression};
use rayon::prelude::*;
pub use sparse::SparseFile;

use crate::digest::Sha256Digest;

/// Name of the file with the checksums of all others.
pub const CHECKSUMS_NAME: &str = "SHA256SUMS";

/// Why an output file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The format is none that is made yet.
    #[error(
        "output files of type {format:?} with compression {compression:?} cannot be made: types raw and qcow2 with none, gz, xz or zstd can"
    )]
    Unsupported {
        /// The format.
        format: ArtifactFormat,
        /// The compression.
        compression: Compression,
    },
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

/// Returns the name of an output file.
#[must_use]
pub fn file_name(base: &str, spec: ArtifactSpec) -> String {
    let format = match spec.format {
        ArtifactFormat::Raw => "raw",
        ArtifactFormat::Qcow2 => "qcow2",
        ArtifactFormat::Vhd => "vhd",
        ArtifactFormat::Vhdx => "vhdx",
        ArtifactFormat::Vmdk => "vmdk",
        ArtifactFormat::Vdi => "vdi",
        ArtifactFormat::Ext4 => "ext4",
        ArtifactFormat::Squashfs => "squashfs",
        ArtifactFormat::Tar | ArtifactFormat::Wsl2 => "tar",
        ArtifactFormat::Oci => "oci",
    };
    let compression = match spec.compression {
        Compression::None => "",
        Compression::Gz => ".gz",
        Compression::Xz => ".xz",
        Compression::Zstd => ".zst",
        Compression::Bz2 => ".bz2",
    };
    format!("{base}.{format}{compression}")
}

/// Makes all output files of a raw disk in a folder and returns their names. The raw disk is gone afterwards: it has been
/// renamed if it is wanted as it is, and removed if not.
///
/// # Errors
/// Fails when a format is none that is made, or files cannot be read or written.
pub fn emit_all(raw: &Path, specs: &[ArtifactSpec], folder: &Path, base: &str) -> Result<Vec<String>, ArtifactError> {
    for spec in specs {
        let can = matches!(spec.format, ArtifactFormat::Raw | ArtifactFormat::Qcow2) && spec.compression != Compression::Bz2;
        if !can {
            return Err(ArtifactError::Unsupported { format: spec.format, compression: spec.compression });
        }
    }
    let mut names = Vec::new();
    let mut qcow2 = None;
    let wants =
        |format, compressed: bool| specs.iter().find(|spec| spec.format == format && (spec.compression != Compression::None) == compressed);
    if specs.iter().any(|spec| spec.format == ArtifactFormat::Qcow2) {
        let path = folder.join(file_name(base, ArtifactSpec { format: ArtifactFormat::Qcow2, compression: Compression::None }));
        place(&path, |file| qcow2::convert(&SparseFile::open(raw)?, file))?;
        qcow2 = Some(path);
    }
    for spec in specs.iter().filter(|spec| spec.compression != Compression::None) {
        let source = if spec.format == ArtifactFormat::Qcow2 { qcow2.as_deref().unwrap_or(raw) } else { raw };
        let name = file_name(base, *spec);
        place(&folder.join(&name), |file| compress::compress(&SparseFile::open(source)?, spec.compression, file))?;
        names.push(name);
    }
    if let Some(path) = qcow2 {
        match wants(ArtifactFormat::Qcow2, false) {
            Some(spec) => names.push(file_name(base, *spec)),
            None => remove(&path)?,
        }
    }
    match wants(ArtifactFormat::Raw, false) {
        Some(spec) => {
            let name = file_name(base, *spec);
            rename(raw, &folder.join(&name))?;
            names.push(name);
        }
        None => remove(raw)?,
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Writes [`CHECKSUMS_NAME`] for files of a folder.
///
/// # Errors
/// Fails when a file cannot be read or the checksums cannot be written.
pub fn write_checksums(folder: &Path, names: &[String]) -> Result<(), ArtifactError> {
    let line = |name: &String| {
        let path = folder.join(name);
        let failed = |source| ArtifactError::Io { operation: "read", path: path.clone(), source };
        let mut file = std::fs::File::open(&path).map_err(failed)?;
        Ok(format!("{}  {name}\n", Sha256Digest::of_reader(&mut file).map_err(failed)?))
    };
    let mut sorted = names.to_vec();
    sorted.sort();
    let lines: Result<Vec<String>, ArtifactError> = sorted.par_iter().map(line).collect();
    let text = lines?.concat();
    place(&folder.join(CHECKSUMS_NAME), |file| io::Write::write_all(file, text.as_bytes()))
}

/// Makes a file under a temporary name and gives it its own when it is complete.
fn place(path: &Path, write: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::Io { operation: "write", path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".oic-").tempfile_in(folder).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Renames the raw disk, or copies its data where the folder is on another filesystem.
fn rename(from: &Path, to: &Path) -> Result<(), ArtifactError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            place(to, |file| SparseFile::open(from)?.copy_to(file))?;
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
