//! `disk.artifacts`: the output files.

use super::Context;
use crate::layer::{self, ArtifactName, CompressionName, Layer, Located};
use crate::spec::{ArtifactFormat, ArtifactSpec, Compression, ImageType};

/// Returns the output files: the disk itself when the template names none.
pub(crate) fn artifacts(layer: &Layer, cx: &mut Context<'_>) -> Vec<ArtifactSpec> {
    let (fallback, given) = match cx.image_type {
        ImageType::Raw => (ArtifactFormat::Raw, layer.disk.as_ref().and_then(|disk| disk.artifacts.as_ref())),
        ImageType::Container => (ArtifactFormat::Oci, layer.disk.as_ref().and_then(|disk| disk.artifacts.as_ref())),
        ImageType::Wsl2 => (ArtifactFormat::Wsl2, layer.disk.as_ref().and_then(|disk| disk.artifacts.as_ref())),
        ImageType::Img | ImageType::Iso => (ArtifactFormat::Raw, None),
    };
    let mut artifacts = Vec::new();
    for artifact in given.map_or(&[][..], |list| list.value()) {
        let Some(spec) = self::artifact(artifact, cx) else { continue };
        if artifacts.contains(&spec) {
            cx.warn(artifact.origin, "disk.artifacts", "the same output file is asked for twice");
        } else {
            artifacts.push(spec);
        }
    }
    if artifacts.is_empty() {
        artifacts.push(ArtifactSpec { format: fallback, compression: Compression::None });
    }
    artifacts
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
    };
    if format == ArtifactFormat::Squashfs {
        let reason = "a root filesystem alone cannot be written as SquashFS yet; use `ext4`, `tar` or `oci`";
        cx.unsupported(name.origin, "disk.artifacts[].type", reason);
    }
    let compression = match given.compression.as_ref().map(|compression| *compression.value()) {
        None | Some(CompressionName::None) => Compression::None,
        Some(CompressionName::Gz | CompressionName::Gzip) => Compression::Gz,
        Some(CompressionName::Xz) => Compression::Xz,
        Some(CompressionName::Zstd) => Compression::Zstd,
        Some(CompressionName::Bz2) => Compression::Bz2,
    };
    Some(ArtifactSpec { format, compression })
}
