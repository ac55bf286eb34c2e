//! Puts a disk image together: every filesystem is made at its place in one sparse file, then the partition table.
//!
//! The file appears under its name only when it is complete. Nothing is copied: the makers write into the image itself, the
//! slow ones in parallel.

use std::{
    io,
    path::{Path, PathBuf},
};

use oic_config::spec::{Disk, Filesystem, Partition, PartitionTableKind, PartitionType};
use rayon::prelude::*;

use super::{
    DiskTools,
    bios::{self, BiosError},
    btrfs::{self, BtrfsError, BtrfsOptions},
    ext4::{self, Ext4Error, Ext4Options, Profile},
    f2fs::{self, F2fsError, F2fsOptions},
    fat::{self, FatError, FatOptions},
    gpt::{self, TableError},
    identity::ImageIdentity,
    layout::{self, Layout, LayoutError, Placed},
    mbr,
    packed::{self, PackError},
    raw_files::{self, RawFile, RawFileError},
    swap::{self, SwapError},
    xfs::{self, XfsError, XfsOptions},
};
use crate::{
    boot::grub::bios::BiosProgram,
    rootfs::tree::{Metadata, RootTree},
};

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The partitions do not fit.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An ext filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    Ext4 {
        /// The partition.
        id: String,
        /// Why.
        source: Ext4Error,
    },
    /// A FAT filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    Fat {
        /// The partition.
        id: String,
        /// Why.
        source: FatError,
    },
    /// Swap space cannot be made.
    #[error("partition `{id}`: no swap space can be made")]
    Swap {
        /// The partition.
        id: String,
        /// Why.
        source: SwapError,
    },
    /// GRUB cannot be put on the disk.
    #[error("the image cannot start on BIOS machines")]
    Bios(#[from] BiosError),
    /// A file cannot be put where it is wanted.
    #[error(transparent)]
    RawFile(#[from] RawFileError),
    /// An XFS filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    Xfs {
        /// The partition.
        id: String,
        /// Why.
        source: XfsError,
    },
    /// An F2FS filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    F2fs {
        /// The partition.
        id: String,
        /// Why.
        source: F2fsError,
    },
    /// A Btrfs filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    Btrfs {
        /// The partition.
        id: String,
        /// Why.
        source: BtrfsError,
    },
    /// A SquashFS or EROFS filesystem cannot be made.
    #[error("partition `{id}`: no filesystem can be made")]
    Packed {
        /// The partition.
        id: String,
        /// Why.
        source: PackError,
    },
    /// A filesystem is of a kind that is not made yet.
    #[error("partition `{id}`: filesystems of kind {kind:?} cannot be made")]
    Unsupported {
        /// The partition.
        id: String,
        /// The kind.
        kind: Filesystem,
    },
    /// The image file cannot be written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a disk image is made from.
#[derive(Debug)]
pub struct ImageInput<'a> {
    /// The table.
    pub disk: &'a Disk,
    /// The content of each partition, one for each in the table's order; none: an empty filesystem, or nothing.
    pub trees: Vec<Option<RootTree>>,
    /// What UUIDs are derived from.
    pub identity: ImageIdentity,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
    /// What BIOS firmware starts.
    pub bios: Option<&'a BiosProgram>,
    /// Files that are written onto the disk as they are.
    pub raw_files: &'a [RawFile],
}

/// A partition with what goes into it.
struct Part<'a> {
    partition: &'a Partition,
    tree: Option<&'a RootTree>,
    /// A filesystem that is finished already.
    packed: Option<tempfile::NamedTempFile>,
}

impl ImageInput<'_> {
    /// Places the partitions by the sizes of their contents. What filesystems that are packed will take is not known, and not
    /// counted.
    ///
    /// # Errors
    /// Fails when they do not fit.
    pub fn layout(&self) -> Result<Layout, ImageError> {
        let parts: Vec<_> = self.parts().collect();
        self.layout_of(&parts)
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let contents = self.disk.partitions.iter().zip(&self.trees);
        contents.map(|(partition, tree)| Part { partition, tree: tree.as_ref(), packed: None })
    }

    fn layout_of(&self, parts: &[Part<'_>]) -> Result<Layout, ImageError> {
        let needs: Result<Vec<u64>, ImageError> = parts.iter().map(|part| self.need(part)).collect();
        Ok(layout::resolve(self.disk, &needs?)?)
    }

    fn need(&self, part: &Part<'_>) -> Result<u64, ImageError> {
        let partition = part.partition;
        if let Some(packed) = &part.packed {
            let size = packed.as_file().metadata().map(|metadata| metadata.len());
            return size.map_err(|source| ImageError::Packed { id: partition.id.clone(), source: source.into() });
        }
        if partition.kind == PartitionType::BiosBoot {
            return Ok(self.bios.map_or(0, |program| program.core.len() as u64));
        }
        let Some(tree) = part.tree else { return Ok(0) };
        match partition.filesystem {
            Some(Filesystem::Fat16 | Filesystem::Fat32) => {
                let needed = fat::minimal_size(tree, &self.fat_options(partition));
                needed.map_err(|source| ImageError::Fat { id: partition.id.clone(), source })
            }
            Some(Filesystem::Xfs) => Ok(xfs::minimal_size(tree)),
            Some(Filesystem::Btrfs) => Ok(btrfs::minimal_size(tree)),
            Some(Filesystem::F2fs) => Ok(f2fs::minimal_size(tree)),
            Some(filesystem) => Ok(profile(filesystem).map_or(0, |profile| ext4::minimal_size(tree, profile))),
            None => Ok(0),
        }
    }

    fn fat_options<'a>(&self, partition: &'a Partition) -> FatOptions<'a> {
        let kind = partition.filesystem.unwrap_or(Filesystem::Fat32);
        FatOptions { kind, volume: self.identity.fat_volume(&partition.id), label: partition.filesystem_label.as_deref() }
    }

    /// Makes the image and returns where its partitions are.
    ///
    /// # Errors
    /// Fails when something does not fit or cannot be written; there is no file under the image's name then that was not there before.
    pub fn make(&self, tools: &DiskTools, path: &Path) -> Result<Layout, ImageError> {
        let failed = |source| ImageError::File { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parts = self.parts().collect::<Vec<_>>();
        let parts = parts.into_par_iter().map(|part| self.pack(tools, part, folder)).collect::<Result<Vec<_>, _>>()?;
        let layout = self.layout_of(&parts)?;
        // Readable as far as the umask lets it: an image is no secret of its maker.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let mut image =
            tempfile::Builder::new().prefix(".oic-").suffix(".raw").permissions(permissions).tempfile_in(folder).map_err(failed)?;
        image.as_file().set_len(layout.size).map_err(failed)?;
        let placed: Vec<_> = parts.iter().zip(&layout.partitions).collect();
        placed.into_par_iter().try_for_each(|(part, placed)| self.fill(tools, &image, part, *placed))?;
        match self.disk.table {
            PartitionTableKind::Gpt => gpt::write(image.as_file_mut(), self.disk, &layout, &self.identity)?,
            PartitionTableKind::Mbr => mbr::write(image.as_file(), self.disk, &layout, &self.identity)?,
        }
        if let Some(program) = self.bios {
            bios::write(image.as_file(), self.disk, &layout, program)?;
        }
        raw_files::write(image.as_file(), (self.disk, &layout), self.bios, self.raw_files)?;
        image.persist(path).map_err(|error| failed(error.error))?;
        Ok(layout)
    }

    /// Makes the filesystem of a partition in a file of its own where its size shows only then.
    fn pack<'a>(&self, tools: &DiskTools, part: Part<'a>, folder: &Path) -> Result<Part<'a>, ImageError> {
        let Some(filesystem) = part.partition.filesystem.filter(|filesystem| filesystem.is_read_only()) else { return Ok(part) };
        let failed = |source| ImageError::Packed { id: part.partition.id.clone(), source };
        let file = tempfile::Builder::new().prefix(".oic-").tempfile_in(folder).map_err(|error| failed(error.into()))?;
        let empty = RootTree::new(Metadata::root_owned(0o755, self.epoch.cast_signed()));
        let uuid = self.identity.filesystem(&part.partition.id);
        packed::make(tools, filesystem, part.tree.unwrap_or(&empty), file.path(), uuid, self.epoch).map_err(failed)?;
        Ok(Part { packed: Some(file), ..part })
    }

    /// Makes the filesystem of a partition in the image.
    fn fill(&self, tools: &DiskTools, image: &tempfile::NamedTempFile, part: &Part<'_>, placed: Placed) -> Result<(), ImageError> {
        let partition = part.partition;
        let id = || partition.id.clone();
        let Some(filesystem) = partition.filesystem else { return Ok(()) };
        let empty = RootTree::new(Metadata::root_owned(0o755, self.epoch.cast_signed()));
        let tree = part.tree.unwrap_or(&empty);
        let (uuid, label, epoch) = (self.identity.filesystem(&partition.id), partition.filesystem_label.as_deref(), self.epoch);
        let Placed { start, size } = placed;
        match filesystem {
            Filesystem::Fat16 | Filesystem::Fat32 => {
                let options = self.fat_options(partition);
                fat::make(tree, image.as_file(), start, size, &options).map_err(|source| ImageError::Fat { id: id(), source })
            }
            Filesystem::Swap => {
                let written = swap::write(image.as_file(), start, size, uuid, label);
                written.map_err(|source| ImageError::Swap { id: id(), source })
            }
            Filesystem::Xfs => {
                let made = xfs::make(tree, image.as_file(), start, size, &XfsOptions { uuid, label, epoch });
                made.map_err(|source| ImageError::Xfs { id: id(), source })
            }
            Filesystem::F2fs => {
                let made = f2fs::make(tree, image.as_file(), start, size, &F2fsOptions { uuid, label });
                made.map_err(|source| ImageError::F2fs { id: id(), source })
            }
            Filesystem::Btrfs => {
                let subvolumes = partition.subvolumes.iter().map(|subvolume| subvolume.name.as_str()).collect();
                let made = btrfs::make(tree, image.as_file(), start, size, &BtrfsOptions { uuid, label, subvolumes, epoch });
                made.map_err(|source| ImageError::Btrfs { id: id(), source })
            }
            Filesystem::Squashfs | Filesystem::Erofs => {
                let Some(file) = &part.packed else { return Ok(()) };
                let copied = packed::place(file.path(), image.as_file(), start);
                copied.map_err(|source| ImageError::Packed { id: id(), source: source.into() })
            }
            _ => {
                let profile = profile(filesystem).ok_or_else(|| ImageError::Unsupported { id: id(), kind: filesystem })?;
                let made = ext4::make(&tools.ext4, tree, image.path(), start, size, &Ext4Options { profile, uuid, label, epoch });
                made.map_err(|source| ImageError::Ext4 { id: id(), source })
            }
        }
    }
}

/// Returns how an ext filesystem is made, none for other kinds.
fn profile(filesystem: Filesystem) -> Option<Profile> {
    match filesystem {
        Filesystem::Ext2 => Some(Profile::Ext2),
        Filesystem::Ext3 => Some(Profile::Ext3),
        Filesystem::Ext4 => Some(Profile::Ext4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use oic_config::{
        spec::{Arch, DiskSize},
        units::ByteSize,
    };

    use super::*;
    use crate::{
        exec,
        rootfs::{
            content::Content,
            testing::{self, EPOCH},
        },
    };

    fn partition(id: &str, kind: PartitionType, filesystem: Filesystem, mib: Option<u64>) -> Partition {
        Partition {
            id: id.to_owned(),
            label: id.to_owned(),
            kind,
            start: None,
            end: None,
            size: mib.map(|mib| ByteSize(mib << 20)),
            grow: false,
            filesystem: Some(filesystem),
            filesystem_label: Some(id.to_owned()),
            mount_point: None,
            mount_options: "defaults".to_owned(),
            mount_identifier: oic_config::spec::MountIdentifier::default(),
            attributes: if id == "root" { 1 << 59 } else { 0 },
            active: false,
            logical: false,
            subvolumes: Vec::new(),
        }
    }

    fn disk() -> Disk {
        let partitions = vec![
            partition("esp", PartitionType::Esp, Filesystem::Fat32, Some(48)),
            partition("swap", PartitionType::Swap, Filesystem::Swap, Some(16)),
            partition("root", PartitionType::Root(Arch::X86_64), Filesystem::Ext4, None),
        ];
        Disk {
            name: "disk".to_owned(),
            size: DiskSize::Fixed(ByteSize(256 << 20)),
            table: PartitionTableKind::Gpt,
            partitions,
            grows_at_first_boot: false,
            raw_binaries: Vec::new(),
        }
    }

    fn input(disk: &Disk) -> ImageInput<'_> {
        let mut root = RootTree::new(Metadata::root_owned(0o755, EPOCH));
        root.write_file("etc/hostname", Content::bytes(b"image\n".to_vec()), 0o644, EPOCH).unwrap();
        let mut esp = RootTree::new(Metadata::root_owned(0o755, EPOCH));
        esp.write_file("EFI/BOOT/BOOTX64.EFI", Content::bytes(vec![1; 5000]), 0o644, EPOCH).unwrap();
        ImageInput {
            disk,
            trees: vec![Some(esp), None, Some(root)],
            identity: ImageIdentity::new("test"),
            epoch: EPOCH as u64,
            bios: None,
            raw_files: &[],
        }
    }

    #[test]
    fn two_runs_give_the_same_image_and_other_programs_read_it() {
        let Some(tools) = testing::disk_tools() else {
            testing::skip("there are no makers of filesystems (OIC_TEST_TOOLS)");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.raw"), folder.path().join("b.raw"));
        let disk = disk();
        let layout = input(&disk).make(&tools, &first).unwrap();
        input(&disk).make(&tools, &second).unwrap();
        let bytes = std::fs::read(&first).unwrap();
        assert!(bytes == std::fs::read(&second).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let table = ::gpt::GptConfig::new().open(&first).unwrap();
        assert_eq!((table.partitions().len(), *table.guid()), (3, ImageIdentity::new("test").disk()));
        assert_eq!(table.partitions()[&3].flags, 1 << 59);
        assert_eq!(table.partitions()[&3].part_guid, ImageIdentity::new("test").partition("root"));
        let root = folder.path().join("root");
        let Placed { start, size } = layout.partitions[2];
        std::fs::write(&root, &bytes[start as usize..(start + size) as usize]).unwrap();
        let tree = crate::disk::ext4_read::read_tree(&crate::rootfs::HostFile::open(&root).unwrap()).unwrap();
        assert_eq!(tree.file("/etc/hostname").unwrap().read_all(100).unwrap(), b"image\n");
        if let Some(sfdisk) = testing::tool("sfdisk") {
            let said = exec::run(sfdisk.command().arg("--verify").arg(&first)).unwrap();
            assert!(String::from_utf8_lossy(&said).contains("No errors detected"), "{}", String::from_utf8_lossy(&said));
        } else {
            testing::skip("there is no sfdisk to verify the table");
        }
        if let Some(e2fsck) = testing::tool("e2fsck") {
            exec::run(e2fsck.command().args(["-f", "-n"]).arg(&root)).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_names_the_partition_and_the_size() {
        let disk = disk();
        let mut input = input(&disk);
        let large = Content::bytes(vec![1; 60 << 20]);
        input.trees[0].as_mut().unwrap().write_file("large", large, 0o644, EPOCH).unwrap();
        let error = input.layout().unwrap_err().to_string();
        assert!(error.starts_with("partition `esp` has 48MiB, but its content needs 61MiB"), "{error}");
    }
}
