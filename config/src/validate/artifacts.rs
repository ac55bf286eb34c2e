//! `disk.artifacts`: the output files.

use super::Context;
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, ArtifactName, CompressionName, Layer, Located, Text};
use crate::source::Origin;
use crate::spec::{ArtifactFormat, ArtifactSpec, Compression, Disk, Filesystem, ImageType, PartitionArtifact};

/// Returns the output files, and those that are copies of partitions: the usual one of the image type when the template names none.
pub(crate) fn artifacts(layer: &Layer, disk: Option<&Disk>, cx: &mut Context<'_>) -> (Vec<ArtifactSpec>, Vec<PartitionArtifact>) {
    let given = layer.disk.as_ref().and_then(|disk| disk.artifacts.as_ref());
    let (mut artifacts, mut copies) = (Vec::new(), Vec::new());
    for artifact in given.map_or(&[][..], |list| list.value()) {
        let Some(spec) = self::artifact(artifact, cx) else { continue };
        let twice = match artifact.partition.as_ref() {
            None if artifacts.contains(&spec) => true,
            None => {
                artifacts.push(spec);
                false
            }
            Some(partition) => {
                let Some(copy) = copy(spec, partition, artifact, disk, cx) else { continue };
                let twice = copies.contains(&copy);
                copies.extend((!twice).then_some(copy));
                twice
            }
        };
        if twice {
            cx.warn(artifact.origin, "disk.artifacts", "the same output file is asked for twice");
        }
    }
    if artifacts.is_empty() && copies.is_empty() {
        let (format, compression) = match cx.image_type {
            ImageType::Raw | ImageType::Iso => (ArtifactFormat::Raw, Compression::None),
            ImageType::Container => (ArtifactFormat::Oci, Compression::None),
            ImageType::Wsl2 => (ArtifactFormat::Wsl2, Compression::None),
            ImageType::Img => (ArtifactFormat::Initrd, Compression::Zstd),
        };
        artifacts.push(ArtifactSpec { format, compression });
    }
    (artifacts, copies)
}

/// Returns an output file that is a copy of a partition.
fn copy(
    spec: ArtifactSpec,
    partition: &Located<Text>,
    given: &Located<layer::Artifact>,
    disk: Option<&Disk>,
    cx: &mut Context<'_>,
) -> Option<PartitionArtifact> {
    let id = partition.value.0.trim();
    // Without a disk there is something else to say first.
    let disk = disk?;
    let Some(found) = disk.partitions.iter().find(|one| one.id == id) else {
        let finding = Finding::error(Code::InvalidValue, "the disk has no such partition").found(format!("`{id}`"));
        let ids = disk.partitions.iter().map(|one| one.id.as_str());
        cx.report(finding.allowed(ids), partition.origin, "disk.artifacts[].partition");
        return None;
    };
    let ending = match (spec.format, found.filesystem) {
        (ArtifactFormat::Raw, _) => "raw",
        (ArtifactFormat::Ext4, Some(Filesystem::Ext4)) => "ext4",
        (ArtifactFormat::Squashfs, Some(Filesystem::Squashfs)) => "squashfs",
        _ => {
            let message = format!("`{id}` does not hold that, and a copy of a partition has the bytes that the partition has");
            let origin = given.format.as_ref().map_or(given.origin, |format| format.origin);
            let finding = Finding::error(Code::Contradiction, message).allowed(["raw", "ext4 or squashfs where that is its `fsType`"]);
            cx.report(finding, origin, "disk.artifacts[].type");
            return None;
        }
    };
    Some(PartitionArtifact { partition: id.to_owned(), ending: ending.to_owned(), compression: spec.compression })
}

fn artifact(given: &Located<layer::Artifact>, cx: &mut Context<'_>) -> Option<ArtifactSpec> {
    let name = given.format.as_ref()?;
    let format = match *name.value() {
        ArtifactName::Raw => ArtifactFormat::Raw,
        ArtifactName::Qcow2 => ArtifactFormat::Qcow2,
        ArtifactName::Vhd => ArtifactFormat::Vhd,
        ArtifactName::VhdDynamic => ArtifactFormat::VhdDynamic,
        ArtifactName::Vhdx => ArtifactFormat::Vhdx,
        ArtifactName::Vmdk => ArtifactFormat::Vmdk,
        ArtifactName::VmdkStream => ArtifactFormat::VmdkStream,
        ArtifactName::Vdi => ArtifactFormat::Vdi,
        ArtifactName::Ext4 => ArtifactFormat::Ext4,
        ArtifactName::Squashfs => ArtifactFormat::Squashfs,
        ArtifactName::Tar if cx.image_type == ImageType::Wsl2 => ArtifactFormat::Wsl2,
        ArtifactName::Tar => ArtifactFormat::Tar,
        ArtifactName::Oci => ArtifactFormat::Oci,
        ArtifactName::Ova => ArtifactFormat::Ova,
        ArtifactName::Initrd => ArtifactFormat::Initrd,
    };
    check_source(format, name.origin, cx);
    let compression = match given.compression.as_ref().map(|compression| *compression.value()) {
        None if format == ArtifactFormat::Initrd => Compression::Zstd,
        None | Some(CompressionName::None) => Compression::None,
        Some(CompressionName::Gz | CompressionName::Gzip) => Compression::Gz,
        Some(CompressionName::Xz) => Compression::Xz,
        Some(CompressionName::Zstd) => Compression::Zstd,
        Some(CompressionName::Bz2) => Compression::Bz2,
    };
    let origin = given.compression.as_ref().map_or(given.origin, |compression| compression.origin);
    Some(ArtifactSpec { format, compression: fitting(format, compression, origin, cx) })
}

/// Checks that an image of this type has what an output file is made of.
fn check_source(format: ArtifactFormat, origin: Origin, cx: &mut Context<'_>) {
    const BARE: [ArtifactFormat; 4] = [ArtifactFormat::Tar, ArtifactFormat::Oci, ArtifactFormat::Squashfs, ArtifactFormat::Ext4];
    let (of_it, allowed): (bool, &[&str]) = match cx.image_type {
        // What goes into an ISO is not known yet; it is refused as a whole.
        ImageType::Iso => return,
        ImageType::Raw => (
            format != ArtifactFormat::Initrd,
            &["raw", "qcow2", "vhd", "vhd-dynamic", "vhdx", "vmdk", "vmdk-stream", "vdi", "ova", "ext4", "squashfs", "tar", "oci"],
        ),
        ImageType::Container => (BARE.contains(&format), &["oci", "tar", "squashfs", "ext4"]),
        ImageType::Wsl2 => (BARE.contains(&format) || format == ArtifactFormat::Wsl2, &["tar", "oci", "squashfs", "ext4"]),
        ImageType::Img => (BARE.contains(&format) || format == ArtifactFormat::Initrd, &["initrd", "tar", "oci", "squashfs", "ext4"]),
    };
    if !of_it {
        let message = match format {
            ArtifactFormat::Initrd => "an initramfs of the whole system is what `imageType: img` makes".to_owned(),
            _ => format!("an image of type `{}` has no disk", cx.image_type.name()),
        };
        let finding = Finding::error(Code::Contradiction, message);
        cx.report(finding.allowed(allowed.iter().copied()), origin, "disk.artifacts[].type");
    }
}

/// Returns the compression of a file whose readers do not take every one.
fn fitting(format: ArtifactFormat, compression: Compression, origin: Origin, cx: &mut Context<'_>) -> Compression {
    let (message, allowed): (_, &[&str]) = match (format, compression) {
        // Part of the format.
        (ArtifactFormat::Wsl2, Compression::Gz | Compression::None) => return Compression::None,
        (ArtifactFormat::Wsl2, _) => ("a WSL distribution is compressed with gzip", &["gz"]),
        (ArtifactFormat::Initrd, Compression::Bz2) => {
            ("not every kernel decompresses an initramfs of this kind", &["zstd", "gz", "xz", "none"])
        }
        _ => return compression,
    };
    cx.report(Finding::error(Code::Contradiction, message).allowed(allowed.iter().copied()), origin, "disk.artifacts[].compression");
    compression
}
