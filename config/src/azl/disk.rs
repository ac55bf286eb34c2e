//! `Disks` and the `PartitionSettings` that mount its partitions.

use std::collections::BTreeMap;

use super::{Object, Reader, Tree, join};
use crate::diagnostic::Code;
use crate::node::Node;
use crate::source::Origin;

/// Sizes below this have too few clusters for FAT32; the toolkit's mkfs makes FAT16 of them.
const LEAST_FAT32_MIB: u64 = 33;

/// What a disk comes to.
pub(super) struct Disk {
    /// `disk` of the template.
    pub(super) tree: Tree,
    /// Name of the first artifact.
    pub(super) name: Option<String>,
    /// `target.imageType`.
    pub(super) image_type: &'static str,
}

/// A partition's entry in `PartitionSettings`.
struct Setting<'n> {
    mount_point: Option<(&'n str, Origin)>,
    options: Option<(&'n str, Origin)>,
    identifier: Option<(&'n str, Origin)>,
    origin: Origin,
    used: bool,
}

/// Translates the first disk.
pub(super) fn disk(config: &Object<'_>, system: Option<&Object<'_>>, reader: &mut Reader<'_>) -> Disk {
    const FIELDS: &[&str] = &["PartitionTableType", "MaxSize", "TargetDisk", "Artifacts", "Partitions", "RawBinaries"];
    let disks = config.list("Disks");
    let mut settings = system.map(|system| settings(system, reader)).unwrap_or_default();
    let Some(first) = disks.first() else {
        reader.unsupported(config.origin, "Disks", "a config without disks is for an installer, which cannot be built yet");
        return Disk { tree: Tree::new(config.origin), name: None, image_type: "iso" };
    };
    if let Some(second) = disks.get(1) {
        reader.unsupported(second.origin, "Disks[1]", "images have one disk; more are for an installer, which cannot be built yet");
    }
    let path = "Disks[0]";
    let disk = reader.object(first, path, FIELDS);
    if let Some(target) = disk.get("TargetDisk").filter(|target| target.as_map().is_some_and(|map| !map.0.is_empty())) {
        let target = reader.object(target, &join(path, "TargetDisk"), &["Type", "Value"]);
        if target.text("Type").is_some() {
            let reason = "a disk to install on belongs to an installer, which cannot be built yet; leave it out and give `MaxSize`";
            reader.unsupported(target.origin, join(path, "TargetDisk"), reason);
        }
    }
    let mut tree = Tree::new(disk.origin);
    let partitions = disk.list("Partitions");
    // Without partitions the image is a root filesystem, and what the config says of a disk has no meaning.
    let has_partitions = !partitions.is_empty();
    if let Some((kind, origin)) = reader.choice(&disk, path, "PartitionTableType", &["gpt", "mbr"]).filter(|_| has_partitions) {
        tree.text("partitionTableType", origin, kind);
    }
    match reader.number(&disk, path, "MaxSize").filter(|(size, _)| *size > 0) {
        Some(_) if !has_partitions => {}
        Some((size, origin)) => tree.text("size", origin, format!("{size}MiB")),
        None if has_partitions && disk.get("TargetDisk").is_none() && disk.get("MaxSize").is_none() => {
            reader.error(Code::MissingField, disk.origin, path, "a disk with partitions needs [MaxSize], its size in MiB");
        }
        None => {}
    }
    let mut artifacts = Artifacts::default();
    for (index, artifact) in disk.list("Artifacts").iter().enumerate() {
        artifacts.add(artifact, &format!("{path}.Artifacts[{index}]"), None, reader);
    }
    let nodes: Vec<Node> = partitions
        .iter()
        .enumerate()
        .map(|(index, node)| partition(node, &format!("{path}.Partitions[{index}]"), &mut settings, &mut artifacts, reader))
        .collect();
    // Partitions of other disks, which are refused as a whole.
    let elsewhere: Vec<&str> = disks[1..].iter().flat_map(partition_ids).collect();
    for (id, setting) in settings.iter().filter(|(id, setting)| !setting.used && !elsewhere.contains(id)) {
        let message = format!("no disk has a partition with the ID `{id}`");
        reader.error(Code::InvalidValue, setting.origin, "SystemConfigs[].PartitionSettings", message);
    }
    tree.list("partitions", disk.origin, nodes);
    tree.list("artifacts", disk.origin, artifacts.nodes);
    let binaries = disk.list("RawBinaries").iter().enumerate();
    let binaries = binaries.filter_map(|(index, node)| raw_binary(node, &format!("{path}.RawBinaries[{index}]"), reader)).collect();
    tree.list("rawBinaries", disk.origin, binaries);
    let image_type = match (artifacts.initrd, has_partitions) {
        (true, _) => "img",
        (false, true) => "raw",
        (false, false) => "container",
    };
    Disk { tree, name: artifacts.name, image_type }
}

/// Returns the IDs of a disk's partitions.
fn partition_ids(disk: &Node) -> Vec<&str> {
    field(disk, "Partitions").and_then(Node::as_list).unwrap_or(&[]).iter().filter_map(|one| field(one, "ID")?.as_text()).collect()
}

/// Returns a field of an object whose other fields are not looked at.
fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.as_map()?.0.iter().find(|field| field.key.eq_ignore_ascii_case(key)).map(|field| &field.node)
}

/// Returns the settings of partitions by ID.
fn settings<'n>(system: &Object<'n>, reader: &mut Reader<'_>) -> BTreeMap<&'n str, Setting<'n>> {
    const FIELDS: &[&str] = &["ID", "MountPoint", "MountOptions", "MountIdentifier", "OverlayBaseImage", "RdiffBaseImage", "RemoveDocs"];
    let mut found = BTreeMap::new();
    for (index, node) in system.list("PartitionSettings").iter().enumerate() {
        let path = format!("SystemConfigs[].PartitionSettings[{index}]");
        let setting = reader.object(node, &path, FIELDS);
        let Some((id, origin)) = setting.text("ID") else {
            reader.error(Code::MissingField, node.origin, &path, "missing [ID] field");
            continue;
        };
        for key in ["OverlayBaseImage", "RdiffBaseImage"] {
            if let Some((_, origin)) = setting.text(key) {
                reader.unsupported(origin, join(&path, key), "differences from another image cannot be made yet");
            }
        }
        let entry = Setting {
            mount_point: setting.text("MountPoint"),
            options: setting.text("MountOptions"),
            identifier: reader.choice(&setting, &path, "MountIdentifier", &["uuid", "partuuid", "partlabel"]),
            origin,
            used: false,
        };
        if found.insert(id, entry).is_some() {
            reader.error(Code::Duplicate, origin, &path, format!("partition `{id}` has two settings"));
        }
    }
    found
}

fn partition(
    node: &Node,
    path: &str,
    settings: &mut BTreeMap<&str, Setting<'_>>,
    artifacts: &mut Artifacts,
    reader: &mut Reader<'_>,
) -> Node {
    const FIELDS: &[&str] = &["ID", "Name", "Start", "End", "FsType", "Flags", "Type", "TypeUUID", "Artifacts"];
    let partition = reader.object(node, path, FIELDS);
    let mut tree = Tree::new(node.origin);
    let setting = partition.text("ID").and_then(|(id, _)| settings.get_mut(id));
    let (mount_point, options, identifier) = setting.map_or((None, None, None), |setting| {
        setting.used = true;
        (setting.mount_point, setting.options, setting.identifier)
    });
    if let Some((id, origin)) = partition.text("ID") {
        tree.text("id", origin, id);
    }
    if let Some((name, origin)) = partition.text("Name") {
        tree.text("name", origin, name);
    }
    let flags: Vec<&str> = partition.list("Flags").iter().filter_map(Node::as_text).collect();
    for (flag, origin) in partition.list("Flags").iter().filter_map(|node| Some((node.as_text()?, node.origin))) {
        match flag {
            "esp" | "boot" | "grub" | "bios_grub" | "bios-grub" => {}
            "dmroot" => reader.unsupported(origin, join(path, "Flags"), "a verified or encrypted root cannot be built yet"),
            _ => reader.error(Code::InvalidValue, origin, &join(path, "Flags"), format!("unknown flag `{flag}`")),
        }
    }
    let bios = flags.iter().any(|flag| matches!(*flag, "grub" | "bios_grub" | "bios-grub"));
    let esp = flags.contains(&"esp") || mount_point.is_some_and(|(point, _)| point == "/boot/efi");
    let filesystem = partition.text("FsType");
    match (partition.text("Type"), partition.text("TypeUUID")) {
        (Some((_, origin)), Some(_)) => {
            reader.error(Code::Contradiction, origin, path, "a partition has either [Type] or [TypeUUID], and here are both");
        }
        (Some((kind, origin)), None) => tree.text("type", origin, kind),
        (None, Some((uuid, origin))) => tree.text("typeUUID", origin, uuid),
        (None, None) => {
            let kind = match () {
                () if bios => "bios",
                () if esp => "esp",
                () if filesystem.is_some_and(|(kind, _)| kind == "linux-swap") => "linux-swap",
                () if mount_point.is_some_and(|(point, _)| point == "/") => "linux-root",
                () => "linux",
            };
            tree.text("type", node.origin, kind);
        }
    }
    let start = reader.number(&partition, path, "Start");
    let end = reader.number(&partition, path, "End");
    if let Some((start, origin)) = start {
        tree.text("start", origin, format!("{start}MiB"));
    }
    match end {
        Some((end, origin)) if end > 0 => tree.text("end", origin, format!("{end}MiB")),
        _ => tree.text("end", end.map_or(node.origin, |(_, origin)| origin), "0"),
    }
    // A BIOS boot partition holds GRUB's core image; the file system that the toolkit's configs name for it is overwritten there, too.
    if let Some((kind, origin)) = filesystem.filter(|_| !bios) {
        let size = end.map_or(0, |(end, _)| end).saturating_sub(start.map_or(0, |(start, _)| start));
        let small = kind == "fat32" && size > 0 && size < LEAST_FAT32_MIB;
        tree.text("fsType", origin, if small { "fat16" } else { kind });
    }
    if let Some((point, origin)) = mount_point {
        tree.text("mountPoint", origin, point);
    }
    if let Some((options, origin)) = options {
        tree.text("mountOptions", origin, options);
    }
    if let Some((identifier, origin)) = identifier {
        if identifier == "partlabel" && partition.text("Name").is_none() {
            reader.error(Code::MissingField, origin, &join(path, "Name"), "a partition that is mounted by its label needs [Name]");
        }
        tree.text("mountIdentifier", origin, identifier);
    }
    for (index, artifact) in partition.list("Artifacts").iter().enumerate() {
        artifacts.add(artifact, &format!("{path}.Artifacts[{index}]"), partition.text("ID"), reader);
    }
    tree.0
}

/// Returns a file that is written onto the disk as it is; the toolkit counts its place in blocks of a size of its own.
fn raw_binary(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Node> {
    let binary = reader.object(node, path, &["BinPath", "BlockSize", "Seek"]);
    let Some((file, file_origin)) = binary.text("BinPath") else {
        reader.error(Code::MissingField, node.origin, path, "a raw binary needs [BinPath]");
        return None;
    };
    let (size, seek) = (reader.number(&binary, path, "BlockSize"), reader.number(&binary, path, "Seek"));
    let (size, seek) = (size.map_or((0, node.origin), |size| size), seek.map_or(0, |(seek, _)| seek));
    if size.0 == 0 {
        reader.error(Code::MissingField, size.1, &join(path, "BlockSize"), "a raw binary needs [BlockSize], the unit of [Seek] in bytes");
        return None;
    }
    let Some(offset) = size.0.checked_mul(seek) else {
        reader.error(Code::InvalidValue, size.1, path, "[BlockSize] times [Seek] is larger than any disk");
        return None;
    };
    let mut tree = Tree::new(node.origin);
    tree.text("local", file_origin, file);
    tree.text("offset", size.1, offset.to_string());
    Some(tree.0)
}

/// The output files.
#[derive(Default)]
struct Artifacts {
    nodes: Vec<Node>,
    name: Option<String>,
    initrd: bool,
}

impl Artifacts {
    /// Adds an artifact of the disk, or of a partition.
    fn add(&mut self, node: &Node, path: &str, partition: Option<(&str, Origin)>, reader: &mut Reader<'_>) {
        let artifact = reader.object(node, path, &["Name", "Type", "Compression"]);
        if let Some((name, _)) = artifact.text("Name").filter(|_| self.name.is_none()) {
            self.name = Some(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect());
        }
        let given = (artifact.text("Type"), artifact.text("Compression"));
        let (Some(origin), words) = (given.0.or(given.1).map(|(_, origin)| origin), [given.0, given.1]) else {
            reader.error(Code::MissingField, node.origin, path, "an artifact needs [Type] or [Compression]");
            return;
        };
        let (mut format, mut compression) = (None, None);
        for word in words.into_iter().flatten().map(|(word, _)| word) {
            match word {
                "raw" | "vhd" | "vhdx" | "qcow2" | "ova" | "ext4" | "squashfs" => format = Some(word),
                "gz" | "xz" => compression = Some(word),
                "tar.gz" => (format, compression) = (Some("tar"), Some("gz")),
                "tar.xz" => (format, compression) = (Some("tar"), Some("xz")),
                "initrd" => self.initrd = true,
                "diff" | "rdiff" => {
                    reader.unsupported(origin, path, format!("`{word}` is the difference to another image, which cannot be made yet"));
                    return;
                }
                _ => {
                    reader.error(Code::InvalidValue, origin, path, format!("unknown artifact type `{word}`"));
                    return;
                }
            }
        }
        if self.initrd {
            return;
        }
        let mut tree = Tree::new(node.origin);
        tree.text("type", origin, format.unwrap_or("raw"));
        if let Some((id, origin)) = partition {
            tree.text("partition", origin, id);
        }
        if let Some(compression) = compression {
            tree.text("compression", origin, compression);
        }
        self.nodes.push(tree.0);
    }
}
