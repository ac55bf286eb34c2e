//! What is valid and cannot be built yet, apart from what the modules of disk, packages and system find in their own fields.

use super::Context;
use crate::layer::{BaselineMode, Layer};
use crate::spec::ImageType;

/// Notes everything in `layer` that this version does not build.
pub(crate) fn check(layer: &Layer, cx: &mut Context<'_>) {
    target(layer, cx);
    overlay(layer, cx);
    immutability(layer, cx);
    encryption(layer, cx);
    installer(layer, cx);
}

fn target(layer: &Layer, cx: &mut Context<'_>) {
    let Some(target) = &layer.target else { return };
    if cx.image_type == ImageType::Iso {
        let origin = target.image_type.as_ref().map_or(target.origin, |image_type| image_type.origin);
        cx.unsupported(origin, "target.imageType", "installer images (`iso`) cannot be built yet; use `raw`");
    }
}

fn overlay(layer: &Layer, cx: &mut Context<'_>) {
    if let Some(baseline) = &layer.baseline {
        let overlay = baseline.mode.as_ref().is_some_and(|mode| *mode.value() == BaselineMode::Overlay);
        if overlay || baseline.source.is_some() {
            cx.unsupported(baseline.origin, "baseline", "an existing image cannot be changed yet; leave `baseline` out to make a new one");
        }
    }
    if let Some(policy) = &layer.overlay_policy {
        cx.unsupported(policy.origin, "overlayPolicy", "an existing image cannot be changed yet; leave `overlayPolicy` out");
    }
}

fn immutability(layer: &Layer, cx: &mut Context<'_>) {
    let Some(immutability) = layer.system_config.as_ref().and_then(|system| system.immutability.as_ref()) else { return };
    if let Some(enabled) = immutability.enabled.as_ref().filter(|enabled| *enabled.value()) {
        let reason = "a verified read-only root cannot be built yet; write `enabled: false`";
        cx.unsupported(enabled.origin, "systemConfig.immutability.enabled", reason);
    }
    let keys = [
        ("secureBootDBKey", &immutability.secure_boot_db_key),
        ("secureBootDBCrt", &immutability.secure_boot_db_crt),
        ("secureBootDBCer", &immutability.secure_boot_db_cer),
    ];
    for (name, file) in keys {
        if let Some(file) = file {
            let field = format!("systemConfig.immutability.{name}");
            if !cx.is_placeholder(file.value(), file.origin, &field) {
                cx.unsupported(file.origin, field, "boot files cannot be signed yet; leave it out and switch Secure Boot off");
            }
        }
    }
}

fn encryption(layer: &Layer, cx: &mut Context<'_>) {
    let Some(system) = &layer.system_config else { return };
    if let Some(fde) = system.fde.as_ref().filter(|fde| fde.enabled.as_ref().is_none_or(|enabled| *enabled.value())) {
        cx.unsupported(fde.origin, "systemConfig.fde", "disks cannot be encrypted yet; write `enabled: false` or leave it out");
    }
}

/// What only an installer does.
fn installer(layer: &Layer, cx: &mut Context<'_>) {
    if let Some(list) = &layer.sbom_package_metadata {
        let reason =
            "what an installer says of the packages that it installs belongs to an installer; leave it out, oic writes an SBOM anyway";
        cx.unsupported(list.origin, "sbomPackageMetadata", reason);
    }
    let has_no_installer = cx.image_type != ImageType::Iso;
    if let Some(list) = &layer.resolved_kernel_packages {
        let reason = "an installer that passes its kernels on writes it; name kernels in `systemConfig.kernel.packages`";
        cx.unsupported(list.origin, "resolvedKernelPackages", reason);
    }
    if let Some(size) = layer.disk.as_ref().and_then(|disk| disk.max_size.as_ref()) {
        let reason = "only the disk of an existing image grows while it is changed, and none can be changed yet; write `size`";
        cx.unsupported(size.origin, "disk.maxSize", reason);
    }
    if let Some(disk) = layer.disk.as_ref().filter(|_| cx.image_type == ImageType::Raw) {
        if let Some(path) = disk.path.as_ref().filter(|path| !path.value().is_empty()) {
            cx.unsupported(path.origin, "disk.path", "a raw image is a file: `path` is the disk of an installer; leave it out");
        }
        if let Some(policy) = &disk.selection_policy {
            cx.unsupported(policy.origin, "disk.selectionPolicy", "only an installer chooses a disk; leave it out");
        }
    }
    let system = layer.system_config.as_ref();
    let payload = system.and_then(|system| system.installer_payload.as_ref());
    if let Some(payload) = payload.filter(|payload| payload.enabled.as_ref().is_none_or(|enabled| *enabled.value())) {
        cx.unsupported(payload.origin, "systemConfig.installerPayload", "only an installer writes an image to a disk; leave it out");
    }
    let policy = system.and_then(|system| system.bootloader.as_ref()?.boot_entry_policy.as_ref());
    if let Some(policy) = policy.filter(|_| has_no_installer) {
        let reason = "only an installer changes the firmware's boot entries; leave it out";
        cx.unsupported(policy.origin, "systemConfig.bootloader.bootEntryPolicy", reason);
    }
    let initramfs = system.and_then(|system| system.initramfs.as_ref());
    if let Some(initramfs) = initramfs.filter(|_| has_no_installer) {
        cx.unsupported(initramfs.origin, "systemConfig.initramfs", "an initramfs template belongs to an installer; leave it out");
    }
}
