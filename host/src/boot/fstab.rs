//! `/etc/fstab`, by the identities that [`crate::disk::identity`] gives.

use oic_config::spec::{Disk, Filesystem, MountIdentifier, Partition};

use crate::disk::identity::ImageIdentity;

/// How `/proc` is mounted where users are not to see the processes of others: as the Azure Linux toolkit writes it.
const HIDDEN_PROCESSES: &str = "proc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=2 0 0\n";

/// Returns the table for all partitions and subvolumes that the system mounts, `/proc` where it hides processes, and swap.
#[must_use]
pub fn render(disk: &Disk, identity: &ImageIdentity, hide_processes: bool) -> String {
    let last = disk.partitions.len().saturating_sub(1);
    let mut lines: Vec<(String, String)> = Vec::new();
    for (index, partition) in disk.partitions.iter().enumerate() {
        let grows = disk.grows_at_first_boot && index == last;
        let source = identifier(disk, identity, partition);
        lines.extend(swap(partition, &source));
        lines.extend(line(partition, &source, (partition.mount_point.as_deref(), &partition.mount_options), None, grows));
        for (number, subvolume) in partition.subvolumes.iter().enumerate() {
            let mounted = (subvolume.mount_point.as_deref(), subvolume.mount_options.as_str());
            lines.extend(line(partition, &source, mounted, Some(&subvolume.name), grows && number == 0));
        }
    }
    lines.extend(hide_processes.then(|| ("/proc".to_owned(), HIDDEN_PROCESSES.to_owned())));
    // Parents are mounted before what is in them; swap comes last.
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Returns what names a partition, as the template wants it named.
fn identifier(disk: &Disk, identity: &ImageIdentity, partition: &Partition) -> String {
    match partition.mount_identifier {
        MountIdentifier::PartUuid => format!("PARTUUID={}", identity.partuuid(disk, &partition.id)),
        MountIdentifier::Uuid => format!("UUID={}", identity.filesystem_text(partition)),
        MountIdentifier::PartLabel => format!("PARTLABEL={}", partition.label),
    }
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

/// Returns the kernel's arguments for the root partition, writable from the start on where it can be written at all. The template's
/// own `root=` wins.
#[must_use]
pub fn root_argument(disk: &Disk, identity: &ImageIdentity, own: Option<&str>) -> Option<String> {
    let (root, subvolume) = disk.holder("/")?;
    let access = if root.filesystem.is_some_and(Filesystem::is_read_only) { "ro" } else { "rw" };
    let subvolume = subvolume.map(|subvolume| format!(" rootflags=subvol={}", subvolume.name)).unwrap_or_default();
    let source = own.map_or_else(|| identifier(disk, identity, root), str::to_owned);
    Some(format!("root={source} {access}{subvolume}"))
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
            mount_identifier: MountIdentifier::default(),
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
            raw_binaries: Vec::new(),
        };
        let identity = ImageIdentity::new("test");
        let (esp, swap, root) = (identity.partition("esp"), identity.partition("swap"), identity.partition("root"));
        let expected =
            format!("PARTUUID={root} / ext4 noatime 0 1\nPARTUUID={esp} /boot/efi vfat umask=0077 0 2\nPARTUUID={swap} none swap sw 0 0\n");
        assert_eq!(render(&disk, &identity, false), expected);
        assert_eq!(root_argument(&disk, &identity, None).unwrap(), format!("root=PARTUUID={root} rw"));
        assert_eq!(root_argument(&disk, &identity, Some("/dev/nfs")).unwrap(), "root=/dev/nfs rw");

        let mut disk = disk;
        disk.partitions[0].mount_identifier = MountIdentifier::Uuid;
        disk.partitions[1].mount_identifier = MountIdentifier::Uuid;
        disk.partitions[2].mount_identifier = MountIdentifier::PartLabel;
        let (volume, swap) = (identity.fat_volume("esp"), identity.filesystem("swap"));
        let expected = format!(
            "PARTLABEL=root / ext4 noatime 0 1\nUUID={:04X}-{:04X} /boot/efi vfat umask=0077 0 2\n\
             proc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=2 0 0\nUUID={swap} none swap sw 0 0\n",
            volume >> 16,
            volume & 0xffff
        );
        assert_eq!(render(&disk, &identity, true), expected);
        assert_eq!(root_argument(&disk, &identity, None).unwrap(), "root=PARTLABEL=root rw");
    }
}
