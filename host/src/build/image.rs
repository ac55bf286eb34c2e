//! From the finished root disk to the disk of the image.
//!
//! ```text
//! root disk ──read_tree──► RootTree ──clean──► RootTree ──boot files──► ESP tree
//!                                                 │                        │
//!                                                 └── split at mount points ┴──► partitions ──► raw disk
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use oic_config::{
    spec::{BootloaderProvider, Disk, Filesystem, ImageSpec, Kernel, PartitionType},
    units::ByteSize,
};

use crate::{
    boot::{
        self, BootError, BootKernel,
        grub::{self, GrubInput},
        initramfs::{self, Compressor, InitramfsError},
        systemd_boot::{self, SystemdBootInput},
    },
    disk::{
        ext4::Ext4Tools,
        ext4_read::{self, Ext4ReadError},
        identity::ImageIdentity,
        image::{ImageError, ImageInput},
        layout::{self, LayoutError},
    },
    exec::Program,
    rootfs::{Content, HostFile, Inode, Kind, RootTree, TreeError, normalize, tree::Metadata},
};

/// Files and folders that a run of scripts leaves behind and that are in no image: logs, caches, backups, identities.
const LEFT_BEHIND: &[&str] = &[
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ecdsa_key.pub",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/lost+found",
    "/root/.bash_history",
    "/root/.gnupg",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/cache/debconf/config.dat-old",
    "/var/cache/debconf/passwords.dat-old",
    "/var/cache/debconf/templates.dat-old",
    "/var/cache/ldconfig",
    "/var/lib/dbus/machine-id",
    "/var/lib/dpkg/available-old",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/statoverride-old",
    "/var/lib/dpkg/status-old",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/log/alternatives.log",
    "/var/log/apt/eipp.log.xz",
    "/var/log/apt/history.log",
    "/var/log/apt/term.log",
    "/var/log/bootstrap.log",
    "/var/log/dpkg.log",
    "/var/log/fontconfig.log",
];

/// Folders that are empty in an image.
const EMPTIED: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/var/cache/apt/archives/partial", "/var/lib/apt/lists"];

/// A folder in one of these that is not left behind: it belongs to the package apt.
const APT_PARTIAL: &str = "/var/lib/apt/lists/partial";

/// The file that holds the identity of a machine: empty, the first boot fills it.
const MACHINE_ID: &str = "/etc/machine-id";

/// The largest initramfs that is compressed in memory.
const MAX_INITRAMFS: u64 = 1 << 30;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The root disk cannot be read.
    #[error("cannot read the root disk that the builder VM has finished")]
    Read(#[from] Ext4ReadError),
    /// The root disk cannot be opened.
    #[error("cannot open `{}`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A mount point cannot be split off.
    #[error("cannot put `{mount_point}` on a partition of its own")]
    Split {
        /// Where it is mounted.
        mount_point: String,
        /// Why.
        source: TreeError,
    },
    /// A file cannot be written into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An initramfs cannot be compressed.
    #[error("cannot compress the initramfs `{path}`")]
    Initramfs {
        /// Its path in the image.
        path: String,
        /// Why.
        source: InitramfsError,
    },
    /// The image cannot boot.
    #[error("the image cannot be made bootable")]
    Boot(#[from] BootError),
    /// The disk cannot be made.
    #[error("cannot make the disk")]
    Image(#[from] ImageError),
    /// A partition is too small, which shows before anything has run.
    #[error("partition `{id}` has {size}, but what is known to go into it needs {needed}")]
    NoRoom {
        /// The partition.
        id: String,
        /// Its size.
        size: ByteSize,
        /// What the packages alone need.
        needed: ByteSize,
    },
}

impl FinishError {
    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(_) => Some("build again; if it happens again, please report it with build.log".to_owned()),
            Self::NoRoom { id, needed, .. } => {
                let enough = ByteSize(layout::with_headroom(needed.0));
                Some(format!(
                    "make `{id}` {enough} large, with room for what scripts write, and `disk.size` larger with it, or say `disk.size: auto`"
                ))
            }
            Self::Image(ImageError::Layout(LayoutError::TooSmall { id, .. })) => {
                Some(format!("correct `size` or `end` of `{id}` in the template, and `disk.size` with it"))
            }
            _ => None,
        }
    }
}

/// Checks that the partitions have room for what is known before anything has run: the packages' files and the kernels. What
/// scripts write comes on top, and is checked when it is there.
///
/// # Errors
/// Fails when a partition or the disk is too small.
pub(super) fn check_room(spec: &ImageSpec, disk: &Disk, identity: ImageIdentity, epoch: u64, tree: &RootTree) -> Result<(), FinishError> {
    let time = i64::try_from(epoch).unwrap_or(i64::MAX);
    let mut esp = None;
    if spec.system.bootloader.is_some_and(|bootloader| bootloader.provider == BootloaderProvider::SystemdBoot) {
        let mut files = RootTree::new(Metadata::root_owned(0o755, time));
        for kernel in boot::kernels(tree) {
            let Some(content) = tree.file(&kernel.kernel) else { continue };
            files.write_file(format!("/EFI/Linux/{}.efi", kernel.release), content.clone(), 0o644, time)?;
        }
        esp = Some(files);
    }
    let trees = split(disk, tree.clone(), esp, time)?;
    match (ImageInput { disk, trees, identity, epoch }.layout()) {
        Ok(_) => Ok(()),
        Err(ImageError::Layout(LayoutError::TooSmall { id, size, needed })) => Err(FinishError::NoRoom { id, size, needed }),
        Err(error) => Err(error.into()),
    }
}

/// Returns the tree of each partition. What is mounted deeper is split off first.
fn split(disk: &Disk, mut root: RootTree, mut esp: Option<RootTree>, time: i64) -> Result<Vec<Option<RootTree>>, FinishError> {
    let partitions = &disk.partitions;
    let mut trees: Vec<Option<RootTree>> = partitions.iter().map(|_| None).collect();
    let mut order: Vec<usize> = (0..partitions.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(partitions[*index].mount_point.as_ref().map_or(0, String::len)));
    for index in order {
        let partition = &partitions[index];
        let mounted = partition.mount_point.as_deref().filter(|path| path.starts_with('/') && *path != "/");
        if let Some(mount_point) = mounted {
            root.make_directories(mount_point, time)?;
        }
        if partition.kind == PartitionType::Esp {
            trees[index] = esp.take();
        } else if let Some(mount_point) = mounted.filter(|_| partition.filesystem.is_some_and(|kind| kind != Filesystem::Swap)) {
            let split = root.split_off(mount_point);
            trees[index] = Some(split.map_err(|source| FinishError::Split { mount_point: mount_point.to_owned(), source })?);
        }
    }
    if let Some(index) = partitions.iter().position(|partition| partition.mount_point.as_deref() == Some("/")) {
        trees[index] = Some(root);
    }
    Ok(trees)
}

/// What an image's disk is made with.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    /// The image.
    pub(super) spec: &'a ImageSpec,
    /// Its disk.
    pub(super) disk: &'a Disk,
    /// What its UUIDs are derived from.
    pub(super) identity: ImageIdentity,
    /// The kernel command line, `root=` included.
    pub(super) cmdline: &'a str,
    /// `SOURCE_DATE_EPOCH`.
    pub(super) epoch: u64,
    /// Makers of ext4.
    pub(super) ext4: Ext4Tools,
    /// `grub-mkimage`.
    pub(super) mkimage: Program,
    /// Folder for files that trees refer to.
    pub(super) work: &'a Path,
}

impl Finish<'_> {
    /// Makes the raw disk `target` from the root disk.
    ///
    /// # Errors
    /// Fails when the root disk is damaged, the image cannot boot or its content does not fit.
    pub(super) fn run(&self, root_disk: &Path, target: &Path) -> Result<(), FinishError> {
        let file = HostFile::open(root_disk).map_err(|source| FinishError::Open { path: root_disk.to_owned(), source })?;
        let mut root = ext4_read::read_tree(&file)?;
        clean(&mut root, self.epoch_time())?;
        let kernels = match &self.spec.system.kernel {
            Some(kernel) => self.kernels(&mut root, kernel)?,
            None => Vec::new(),
        };
        let esp = self.boot_files(&mut root, &kernels)?;
        let trees = split(self.disk, root, esp, self.epoch_time())?;
        ImageInput { disk: self.disk, trees, identity: self.identity, epoch: self.epoch }.make(&self.ext4, target)?;
        Ok(())
    }

    fn epoch_time(&self) -> i64 {
        i64::try_from(self.epoch).unwrap_or(i64::MAX)
    }

    /// Compresses what the guest left uncompressed, and returns the kernels, the one to start first.
    fn kernels(&self, root: &mut RootTree, kernel: &Kernel) -> Result<Vec<BootKernel>, FinishError> {
        let mut kernels = boot::kernels(root);
        let first = boot::choose_kernel(&kernels, kernel.version.as_deref())?.release.clone();
        kernels.sort_by_key(|kernel| kernel.release != first);
        for kernel in &kernels {
            let Some(path) = &kernel.initramfs else { continue };
            let failed = |source| FinishError::Initramfs { path: path.clone(), source };
            let Some(content) = root.file(path) else { continue };
            let bytes = content.read_all(MAX_INITRAMFS).map_err(|error| failed(error.into()))?;
            let compressor = Compressor::of(root).map_err(failed)?;
            let compressed = initramfs::compress(&bytes, compressor).map_err(failed)?;
            root.write_file(path, Content::bytes(compressed), 0o644, self.epoch_time())?;
        }
        Ok(kernels)
    }

    /// Puts the bootloader's files into the root tree and returns those of the EFI system partition.
    fn boot_files(&self, root: &mut RootTree, kernels: &[BootKernel]) -> Result<Option<RootTree>, FinishError> {
        let (Some(bootloader), Some(kernel)) = (self.spec.system.bootloader, &self.spec.system.kernel) else { return Ok(None) };
        let arch = self.spec.target.arch;
        if bootloader.provider == BootloaderProvider::SystemdBoot {
            let input = SystemdBootInput {
                root,
                arch,
                kernels,
                cmdline: self.cmdline,
                unified_image: kernel.unified_image,
                work_folder: self.work,
                epoch: self.epoch_time(),
            };
            return Ok(Some(systemd_boot::esp_tree(&input)?));
        }
        let boot = self.disk.partitions.iter().find(|partition| partition.mount_point.as_deref() == Some("/boot"));
        let holder = boot.or_else(|| self.disk.partitions.iter().find(|partition| partition.mount_point.as_deref() == Some("/")));
        let input = GrubInput {
            root,
            arch,
            kernels,
            cmdline: self.cmdline,
            boot_filesystem: self.identity.filesystem(holder.map_or("", |partition| &partition.id)),
            boot_is_separate: boot.is_some(),
            mkimage: Some(&self.mkimage),
            work_folder: self.work,
            epoch: self.epoch_time(),
        };
        let (esp, menu) = (grub::esp_tree(&input)?, grub::menu(&input));
        root.make_directories("/boot/grub", self.epoch_time())?;
        root.write_file("/boot/grub/grub.cfg", Content::bytes(menu.into_bytes()), 0o600, self.epoch_time())?;
        Ok(Some(esp))
    }
}

/// Makes the tree a function of its inputs.
fn clean(root: &mut RootTree, epoch: i64) -> Result<(), TreeError> {
    normalize::drop_paths(root, LEFT_BEHIND.iter().copied());
    let partial = root.get(APT_PARTIAL).filter(|inode| matches!(inode.kind, Kind::Directory(_))).map(|inode| inode.metadata.clone());
    normalize::empty_directories(root, EMPTIED.iter().copied());
    if let Some(metadata) = partial {
        root.insert(APT_PARTIAL, Inode { metadata, kind: Kind::directory() })?;
    }
    if root.lookup(MACHINE_ID).is_some() {
        root.write_file(MACHINE_ID, Content::bytes(Vec::new()), 0o444, epoch)?;
    }
    normalize::clamp_times(root, epoch);
    Ok(())
}
