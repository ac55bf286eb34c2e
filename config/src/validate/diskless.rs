//! Images without a disk: what they cannot have.

use super::Context;
use crate::diagnostic::{Code, Finding};
use crate::layer::Layer;
use crate::source::Origin;
use crate::spec::ImageType;

/// Reports what only an image with a disk can have.
pub(crate) fn check(layer: &Layer, cx: &mut Context<'_>) {
    if let Some(disk) = &layer.disk {
        let fields: [(&str, Option<Origin>); 7] = [
            ("size", disk.size.as_ref().map(|value| value.origin)),
            ("partitionTableType", disk.partition_table_type.as_ref().map(|value| value.origin)),
            ("partitions", disk.partitions.as_ref().map(|value| value.origin)),
            ("maxSize", disk.max_size.as_ref().map(|value| value.origin)),
            ("path", disk.path.as_ref().map(|value| value.origin)),
            ("selectionPolicy", disk.selection_policy.as_ref().map(|value| value.origin)),
            ("extendLastPartitionToFillDisk", disk.extend_last_partition_to_fill_disk.as_ref().map(|value| value.origin)),
        ];
        for (name, origin) in fields.into_iter().filter_map(|(name, origin)| Some((name, origin?))) {
            contradiction(&format!("disk.{name}"), "has no disk", origin, cx);
        }
    }
    let Some(system) = &layer.system_config else { return };
    if let Some(bootloader) = &system.bootloader {
        let message = format!("an image of type `{}` has no disk that a bootloader could be on: this is left out", cx.image_type.name());
        cx.warn(bootloader.origin, "systemConfig.bootloader", message);
    }
    if let Some(kernel) = system.kernel.as_ref().filter(|_| !cx.image_type.has_kernel()) {
        contradiction("systemConfig.kernel", "runs on a kernel that is there already", kernel.origin, cx);
    }
    let network = system.network.as_ref().filter(|_| cx.image_type == ImageType::Wsl2);
    if let Some(network) = network {
        contradiction("systemConfig.network", "has the network that WSL makes", network.origin, cx);
    }
}

fn contradiction(field: &str, what: &str, origin: Origin, cx: &mut Context<'_>) {
    let finding = Finding::error(Code::Contradiction, format!("an image of type `{}` {what}", cx.image_type.name()));
    cx.report(finding.hint("leave it out, or use `imageType: raw`"), origin, field);
}
