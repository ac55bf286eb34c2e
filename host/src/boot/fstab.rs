//! `/etc/fstab`, by the identities that [`crate::disk::identity`] gives.

use oic_config::spec::{Disk, Filesystem, Partition};

use crate::disk::identity::ImageIdentity;

/// Returns the table for all partitions that the system mounts, and swap.
#[must_use]
pub fn render(disk: &Disk, identity: &ImageIdentity) -> String {
    let mut lines: Vec<(String, String)> = disk.partitions.iter().filter_map(|partition| line(partition, identity)).collect();
    // Parents are mounted before what is in them; swap comes last.
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn line(partition: &Partition, identity: &ImageIdentity) -> Option<(String, String)> {
    let source = format!("PARTUUID={}", identity.partition(&partition.id));
    let options = if partition.mount_options.is_empty() { "defaults" } else { &partition.mount_options };
    if partition.filesystem == Some(Filesystem::Swap) {
        return Some((format!("~{}", partition.id), format!("{source} none swap sw 0 0\n")));
    }
    let (path, filesystem) = (partition.mount_point.as_deref()?, partition.filesystem?);
    let (name, pass) = match filesystem {
        // The EFI system partition must not be readable by everybody: boot loaders keep a random seed there.
        Filesystem::Fat16 | Filesystem::Fat32 => ("vfat", 2),
        Filesystem::Ext2 => ("ext2", 2),
        Filesystem::Ext3 => ("ext3", 2),
        Filesystem::Ext4 => ("ext4", 2),
        Filesystem::Xfs => ("xfs", 0),
        Filesystem::Btrfs => ("btrfs", 0),
        Filesystem::F2fs => ("f2fs", 2),
        Filesystem::Squashfs => ("squashfs", 0),
        Filesystem::Erofs => ("erofs", 0),
        Filesystem::Swap => return None,
    };
    let options = if name == "vfat" && options == "defaults" { "umask=0077" } else { options };
    let pass = if path == "/" { pass.min(1) } else { pass };
    let escaped = path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    Some((path.to_owned(), format!("{source} {escaped} {name} {options} 0 {pass}\n")))
}

/// Returns the kernel's argument for the root partition, writable from the start on.
#[must_use]
pub fn root_argument(disk: &Disk, identity: &ImageIdentity) -> Option<String> {
    let root = disk.partitions.iter().find(|partition| partition.mount_point.as_deref() == Some("/"))?;
    Some(format!("root=PARTUUID={} rw", identity.partition(&root.id)))
}

#[cfg(test)]
mod tests {
    use oic_config::{
        spec::{Arch, DiskSize, PartitionTableKind, PartitionType},
        units::ByteSize,
    };

    use super::*;

    #[test]
    fn the_table_names_partitions_by_identity_and_parents_first() {
        let partition = |id: &str, filesystem, mount_point: Option<&str>, options: &str| Partition {
            id: id.to_owned(),
            label: id.to_owned(),
            kind: PartitionType::Root(Arch::X86_64),
            start: None,
            end: None,
            size: None,
            grow: false,
            filesystem: Some(filesystem),
            filesystem_label: None,
            mount_point: mount_point.map(str::to_owned),
            mount_options: options.to_owned(),
            flags: Vec::new(),
        };
        let partitions = vec![
            partition("esp", Filesystem::Fat32, Some("/boot/efi"), "defaults"),
            partition("swap", Filesystem::Swap, None, "defaults"),
            partition("root", Filesystem::Ext4, Some("/"), "noatime"),
            partition("spare", Filesystem::Ext4, None, "defaults"),
        ];
        let disk = Disk { name: String::new(), size: DiskSize::Fixed(ByteSize(1)), table: PartitionTableKind::Gpt, partitions };
        let identity = ImageIdentity::new("test");
        let (esp, swap, root) = (identity.partition("esp"), identity.partition("swap"), identity.partition("root"));
        let expected =
            format!("PARTUUID={root} / ext4 noatime 0 1\nPARTUUID={esp} /boot/efi vfat umask=0077 0 2\nPARTUUID={swap} none swap sw 0 0\n");
        assert_eq!(render(&disk, &identity), expected);
        assert_eq!(root_argument(&disk, &identity).unwrap(), format!("root=PARTUUID={root} rw"));
    }
}
