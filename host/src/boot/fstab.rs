//! `/etc/fstab`, by the identities that [`crate::disk::identity`] gives.

use oic_config::spec::{Disk, Filesystem, Partition};

use crate::disk::identity::ImageIdentity;

/// Returns the table for all partitions and subvolumes that the system mounts, and swap.
#[must_use]
pub fn render(disk: &Disk, identity: &ImageIdentity) -> String {
    let last = disk.partitions.len().saturating_sub(1);
    let mut lines: Vec<(String, String)> = Vec::new();
    for (index, partition) in disk.partitions.iter().enumerate() {
        let grows = disk.grows_at_first_boot && index == last;
        let source = format!("PARTUUID={}", identity.partuuid(disk, &partition.id));
        lines.extend(swap(partition, &source));
        lines.extend(line(partition, &source, (partition.mount_point.as_deref(), &partition.mount_options), None, grows));
        for (number, subvolume) in partition.subvolumes.iter().enumerate() {
            let mounted = (subvolume.mount_point.as_deref(), subvolume.mount_options.as_str());
            lines.extend(line(partition, &source, mounted, Some(&subvolume.name), grows && number == 0));
        }
    }
    // Parents are mounted before what is in them; swap comes last.
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn swap(partition: &Partition, source: &str) -> Option<(String, String)> {
    let is_swap = partition.filesystem == Some(Filesystem::Swap);
    is_swap.then(|| (format!("~{}", partition.id), format!("{source} none swap sw 0 0\n")))
}

/// Returns a line and the key that it is sorted by.
fn line(
    partition: &Partition,
    source: &str,
    (mount_point, options): (Option<&str>, &str),
    subvolume: Option<&str>,
    grows: bool,
) -> Option<(String, String)> {
    let (path, filesystem) = (mount_point?, partition.filesystem?);
    let (name, pass) = kind(filesystem)?;
    let options = if options.is_empty() { "defaults" } else { options };
    // The EFI system partition must not be readable by everybody: boot loaders keep a random seed there.
    let mut options = if name == "vfat" && options == "defaults" { "umask=0077".to_owned() } else { options.to_owned() };
    if filesystem.is_read_only() && !options.split(',').any(|option| option == "ro") {
        options.push_str(",ro");
    }
    if let Some(subvolume) = subvolume {
        options.push_str(&format!(",subvol={subvolume}"));
    }
    if grows && !options.split(',').any(|option| option == "x-systemd.growfs") {
        options.push_str(",x-systemd.growfs");
    }
    let pass = if path == "/" { pass.min(1) } else { pass };
    let escaped = path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    Some((path.to_owned(), format!("{source} {escaped} {name} {options} 0 {pass}\n")))
}

/// Returns the kernel's name of a filesystem, and when it is checked at boot.
fn kind(filesystem: Filesystem) -> Option<(&'static str, u32)> {
    Some(match filesystem {
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
    })
}

/// Returns the kernel's arguments for the root partition, writable from the start on where it can be written at all.
#[must_use]
pub fn root_argument(disk: &Disk, identity: &ImageIdentity) -> Option<String> {
    let (root, subvolume) = disk.holder("/")?;
    let access = if root.filesystem.is_some_and(Filesystem::is_read_only) { "ro" } else { "rw" };
    let subvolume = subvolume.map(|subvolume| format!(" rootflags=subvol={}", subvolume.name)).unwrap_or_default();
    Some(format!("root=PARTUUID={} {access}{subvolume}", identity.partuuid(disk, &root.id)))
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
            attributes: 0,
            active: false,
            logical: false,
            subvolumes: Vec::new(),
        };
        let partitions = vec![
            partition("esp", Filesystem::Fat32, Some("/boot/efi"), "defaults"),
            partition("swap", Filesystem::Swap, None, "defaults"),
            partition("root", Filesystem::Ext4, Some("/"), "noatime"),
            partition("spare", Filesystem::Ext4, None, "defaults"),
        ];
        let disk = Disk {
            name: String::new(),
            size: DiskSize::Fixed(ByteSize(1)),
            table: PartitionTableKind::Gpt,
            partitions,
            grows_at_first_boot: false,
        };
        let identity = ImageIdentity::new("test");
        let (esp, swap, root) = (identity.partition("esp"), identity.partition("swap"), identity.partition("root"));
        let expected =
            format!("PARTUUID={root} / ext4 noatime 0 1\nPARTUUID={esp} /boot/efi vfat umask=0077 0 2\nPARTUUID={swap} none swap sw 0 0\n");
        assert_eq!(render(&disk, &identity), expected);
        assert_eq!(root_argument(&disk, &identity).unwrap(), format!("root=PARTUUID={root} rw"));
    }
}
