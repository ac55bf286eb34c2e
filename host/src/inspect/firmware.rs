//! Which firmware would start a disk: what BIOS loads from its first sector, what UEFI firmware looks for on its FAT filesystems.

use std::io;

use oic_config::spec::Arch;

use super::table;
use crate::{
    artifact::open::OpenedImage,
    boot::EfiNames,
    disk::fat_read::{self, FatVolume},
    rootfs::{HostFile, Kind, RootTree},
};

/// What starts a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Startable {
    /// There is code in the first sector.
    pub bios: bool,
    /// There is a program at the place where firmware of these architectures looks that knows nothing of the disk.
    pub efi: Vec<Arch>,
}

/// Returns what starts a disk; none where that cannot be told, because it has no partition table or a filesystem that firmware
/// reads is damaged.
///
/// # Errors
/// Fails when the disk cannot be read.
pub fn startable(image: &OpenedImage) -> io::Result<Option<Startable>> {
    let Some((table, partitions)) = table::read(&*image.disk, &mut Vec::new())? else { return Ok(None) };
    let mut found = Startable { bios: table.boot_code, efi: Vec::new() };
    for partition in &partitions {
        let file = HostFile::window(image.disk.clone(), partition.start, partition.size, &image.path);
        if FatVolume::read(&file)?.is_none() {
            continue;
        }
        let Ok((tree, _)) = fat_read::read_tree(&file) else { return Ok(None) };
        found.efi.extend(Arch::ALL.into_iter().filter(|arch| has_program(&tree, *arch)));
    }
    Ok(Some(found))
}

fn has_program(tree: &RootTree, arch: Arch) -> bool {
    // Names on FAT have no case.
    let mut at = tree.root();
    for wanted in ["EFI", "BOOT", EfiNames::of(arch).removable] {
        let Kind::Directory(names) = &tree.inode(at).kind else { return false };
        let Some((_, id)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())) else { return false };
        at = *id;
    }
    matches!(tree.inode(at).kind, Kind::File(_))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileExt as _, path::Path};

    use super::*;
    use crate::inspect::tests::image;

    fn found(path: &Path) -> Option<Startable> {
        startable(&OpenedImage::open(path, Path::new("/nonexistent")).unwrap()).unwrap()
    }

    #[test]
    fn boot_code_and_programs_tell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        image(&path, 1 << 20, 64 << 20, &[("EFI/BOOT/bootaa64.efi", b"MZ")]);
        assert_eq!(found(&path), None, "there is no table");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let mut sector = [0; 512];
        sector[446..462].copy_from_slice(&[0, 0, 0, 0, 0xef, 0, 0, 0, 0, 8, 0, 0, 0, 0xc0, 0, 0]);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        file.write_all_at(&sector, 0).unwrap();
        let both = vec![Arch::X86_64, Arch::Aarch64];
        assert_eq!(found(&path), Some(Startable { bios: false, efi: both.clone() }));
        file.write_all_at(b"\xeb\x63\x90", 0).unwrap();
        assert_eq!(found(&path), Some(Startable { bios: true, efi: both }));
        // Without a filesystem that firmware reads.
        file.write_all_at(&[0; 512], 1 << 20).unwrap();
        assert_eq!(found(&path), Some(Startable { bios: true, efi: Vec::new() }));
    }
}
