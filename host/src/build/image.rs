//! From the finished root disk to the disk of the image, or to what an image without a disk is made of.
//!
//! ```text
//! root disk ──read_tree──► RootTree ──clean──► RootTree ──boot files──► ESP tree
//!                                                 │                        │
//!                                                 └── split at mount points ┴──► partitions ──► raw disk
//! ```

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use oic_config::{
    spec::{BootloaderProvider, Disk, Filesystem, ImageSpec, ImageType, Kernel, Partition, PartitionType},
    units::ByteSize,
};

use super::plain_modules::PlainModules;
use crate::{
    artifact::bare::BareKernel,
    boot::{
        self, BootError, BootInput, BootKernel, OsRelease,
        grub::{self, BootVolume, bios::BiosProgram},
        initramfs::{self, Compressor, InitramfsError},
        systemd_boot::{self, KernelPlace},
    },
    disk::{
        DiskTools,
        ext4_read::{self, Ext4ReadError},
        identity::ImageIdentity,
        image::{ImageError, ImageInput},
        layout::{self, Layout, LayoutError},
        raw_files::RawFile,
    },
    exec::Program,
    inspect::container_manifest::{self, ManifestError},
    rootfs::{Content, HostFile, Inode, InodeId, Kind, RootTree, TreeError, normalize, tree::Metadata},
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
    "/usr/lib/sysimage/rpm/.rpm.lock",
    "/var/lib/rpm/.rpm.lock",
    "/root/.bash_history",
    "/root/.gnupg",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/cache/debconf/config.dat-old",
    "/var/cache/debconf/passwords.dat-old",
    "/var/cache/debconf/templates.dat-old",
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

/// Where package managers of the RPM family keep what they have fetched, when a command of the template lets them.
const PACKAGE_CACHES: [&str; 3] = ["/var/cache/tdnf", "/var/cache/dnf", "/var/cache/libdnf5"];

/// What `ldconfig` knows of files that it has seen, by their times on the machine that built the image.
const LDCONFIG_CACHE: &str = "/var/cache/ldconfig";

/// What the processes that use rpm's database have in common, of no meaning when there is none. The file itself must be there, since
/// users who may not write cannot make it and could not read the database.
const RPM_SHARED_MEMORY: [&str; 2] = ["/usr/lib/sysimage/rpm/rpmdb.sqlite-shm", "/var/lib/rpm/rpmdb.sqlite-shm"];

/// dpkg's database, which tells the families apart.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// What whoever runs a root filesystem writes for it: WSL and container engines would write through a link to another place.
const GIVEN_BY_RUNTIME: &[&str] = &["/etc/resolv.conf"];

/// Where the first program of a system is, the first one that is there.
const INIT: [&str; 2] = ["/sbin/init", "/usr/lib/systemd/systemd"];

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
    /// A file of the root filesystem cannot be read.
    #[error("cannot read the root filesystem")]
    Content(#[from] io::Error),
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
    /// The database of the packages cannot be replaced.
    #[error("cannot make an image without the database of its packages")]
    Manifest(#[from] ManifestError),
    /// An initramfs has no first program.
    #[error("the image has no `{}`, which its kernel could start", INIT.join("` and no `"))]
    NoInit,
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
            Self::NoInit => Some("add the package with the system's first program: `systemd-sysv`, `init` or `systemd`".to_owned()),
            Self::Read(_) => Some("build again; if it happens again, please report it with build.log".to_owned()),
            Self::Initramfs { source: InitramfsError::StandIn { .. }, .. } => {
                Some("please report it with the name of the package whose hook copies that program into the initramfs".to_owned())
            }
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
pub(super) fn check_room(spec: &ImageSpec, identity: ImageIdentity, epoch: u64, tree: &RootTree) -> Result<(), FinishError> {
    let Some(disk) = &spec.disk else { return Ok(()) };
    let time = i64::try_from(epoch).unwrap_or(i64::MAX);
    let mut files = BootFiles::default();
    let unified = spec.system.kernel.as_ref().is_some_and(|kernel| kernel.unified_image);
    if spec.system.bootloader.is_some_and(|bootloader| unified || bootloader.provider == BootloaderProvider::SystemdBoot) {
        let mut esp = RootTree::new(Metadata::root_owned(0o755, time));
        for kernel in boot::kernels(tree) {
            let Some(content) = tree.file(&kernel.kernel) else { continue };
            esp.write_file(format!("/EFI/Linux/{}.efi", kernel.release), content.clone(), 0o644, time)?;
        }
        files.esp = Some(esp);
    }
    let trees = split(disk, tree.clone(), &mut files, time)?;
    match (ImageInput { disk, trees, identity, epoch, bios: None, raw_files: &[] }.layout()) {
        Ok(_) => Ok(()),
        Err(ImageError::Layout(LayoutError::TooSmall { id, size, needed })) => Err(FinishError::NoRoom { id, size, needed }),
        Err(error) => Err(error.into()),
    }
}

/// What firmware and bootloaders read, beside what is in the root tree.
#[derive(Debug, Default)]
struct BootFiles {
    /// For the EFI system partition.
    esp: Option<RootTree>,
    /// For the extended boot loader partition.
    xbootldr: Option<RootTree>,
    /// For BIOS firmware.
    bios: Option<BiosProgram>,
}

impl BootFiles {
    /// Takes the files for a partition.
    fn take(&mut self, partition: &Partition) -> Option<RootTree> {
        match partition.kind {
            PartitionType::Esp => self.esp.take(),
            PartitionType::Xbootldr => self.xbootldr.take(),
            _ => None,
        }
    }
}

/// Returns the tree of each partition. What is mounted deeper is split off first; boot files come to what is there. Subvolumes are
/// directories at the top of their partition's tree.
fn split(disk: &Disk, mut root: RootTree, boot: &mut BootFiles, time: i64) -> Result<Vec<Option<RootTree>>, FinishError> {
    let empty = || RootTree::new(Metadata::root_owned(0o755, time));
    let mut trees: Vec<Option<RootTree>> = disk.partitions.iter().map(|_| None).collect();
    let mut mounts: Vec<(&str, usize, Option<&str>)> = Vec::new();
    for (index, partition) in disk.partitions.iter().enumerate().filter(|(_, partition)| partition.filesystem != Some(Filesystem::Swap)) {
        mounts.extend(partition.mount_point.as_deref().map(|path| (path, index, None)));
        for subvolume in &partition.subvolumes {
            // There is a directory for those that are mounted nowhere, too.
            trees[index].get_or_insert_with(empty).make_directories(&subvolume.name, time)?;
            mounts.extend(subvolume.mount_point.as_deref().map(|path| (path, index, Some(subvolume.name.as_str()))));
        }
    }
    mounts.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
    for (mount_point, index, subvolume) in mounts {
        let part = if mount_point == "/" {
            std::mem::replace(&mut root, empty())
        } else {
            root.make_directories(mount_point, time)?;
            let split = root.split_off(mount_point);
            split.map_err(|source| FinishError::Split { mount_point: mount_point.to_owned(), source })?
        };
        match (&mut trees[index], subvolume) {
            (tree @ None, None) => *tree = Some(part),
            (tree, place) => tree.get_or_insert_with(empty).graft(place.unwrap_or("/"), &part)?,
        }
    }
    for (partition, tree) in disk.partitions.iter().zip(&mut trees) {
        if let Some(files) = boot.take(partition) {
            add(tree.get_or_insert_with(empty), &files, time)?;
        }
    }
    Ok(trees)
}

/// Adds the files of a tree to that of a partition that firmware reads, where names that differ in case alone are one name.
fn add(tree: &mut RootTree, files: &RootTree, time: i64) -> Result<(), TreeError> {
    for entry in files.walk() {
        if let Kind::File(content) = &entry.inode.kind {
            let path = known_spelling(tree, &entry.path);
            tree.write_file(&path, content.clone(), entry.inode.metadata.mode, time)?;
        }
    }
    Ok(())
}

/// Returns a path as far as a tree has it, in the spelling of the tree.
fn known_spelling(tree: &RootTree, path: &[u8]) -> Vec<u8> {
    let mut known = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let folder = if known.is_empty() { b"/".to_vec() } else { known.clone() };
        let name = tree.names(&folder).map(|(name, _)| name).find(|name| name.eq_ignore_ascii_case(part)).unwrap_or(part).to_vec();
        known.push(b'/');
        known.extend(name);
    }
    known
}

/// Returns the root filesystem of an image without a disk, and the kernel that starts it where it has one.
///
/// # Errors
/// Fails when an initramfs has no kernel, or nothing that it could start.
fn without_disk(spec: &ImageSpec, mut root: RootTree, cmdline: &str, epoch: u64) -> Result<(RootTree, Option<BareKernel>), FinishError> {
    if spec.target.image_type != ImageType::Img {
        normalize::drop_paths(&mut root, GIVEN_BY_RUNTIME.iter().copied());
    }
    let Some(kernel) = &spec.system.kernel else { return Ok((root, None)) };
    let kernels = kernels(&root, kernel)?;
    let Some(content) = kernels.first().and_then(|first| root.file(&first.kernel)).cloned() else { return Err(BootError::NoKernel.into()) };
    // They would only take memory: nobody can start them from there.
    for kernel in &kernels {
        normalize::drop_paths(&mut root, [kernel.kernel.as_str()].into_iter().chain(kernel.initramfs.as_deref()));
    }
    if root.lookup("/init").is_none() {
        let init = INIT.into_iter().find(|path| root.resolve(path).is_some()).ok_or(FinishError::NoInit)?;
        let metadata = Metadata::root_owned(0o777, i64::try_from(epoch).unwrap_or(i64::MAX));
        root.insert("/init", Inode { metadata, kind: Kind::Symlink(init.as_bytes().into()) })?;
    }
    Ok((root, Some(BareKernel { content, cmdline: cmdline.to_owned() })))
}

/// What an image's disk is made with.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    /// The image.
    pub(super) spec: &'a ImageSpec,
    /// What its UUIDs are derived from.
    pub(super) identity: ImageIdentity,
    /// The kernel command line, `root=` included.
    pub(super) cmdline: &'a str,
    /// `SOURCE_DATE_EPOCH`.
    pub(super) epoch: u64,
    /// Makers of filesystems.
    pub(super) tools: DiskTools,
    /// `grub-mkimage`.
    pub(super) mkimage: Program,
    /// Folder for files that trees refer to.
    pub(super) work: &'a Path,
    /// Files that are written onto the disk as they are.
    pub(super) binaries: &'a [RawFile],
}

/// What a finished image is.
#[derive(Debug)]
pub(super) struct Finished {
    /// The root filesystem before it was split at mount points.
    pub(super) root: RootTree,
    /// The kernel of an initramfs.
    pub(super) kernel: Option<BareKernel>,
    /// Where the partitions of the disk are.
    pub(super) layout: Layout,
}

impl Finish<'_> {
    /// Makes the raw disk `target`, where the image has one, from the finished root filesystem.
    ///
    /// # Errors
    /// Fails when the image cannot boot or its content does not fit.
    pub(super) fn run(&self, mut root: RootTree, target: &Path) -> Result<Finished, FinishError> {
        self.settle_choices(&mut root)?;
        if self.spec.system.remove_package_database {
            container_manifest::replace_database(&mut root, self.epoch_time())?;
        }
        let Some(disk) = &self.spec.disk else {
            let (root, kernel) = without_disk(self.spec, root, self.cmdline, self.epoch)?;
            return Ok(Finished { root, kernel, layout: Layout { size: 0, partitions: Vec::new() } });
        };
        let kernels = match &self.spec.system.kernel {
            Some(kernel) => kernels(&root, kernel)?,
            None => Vec::new(),
        };
        let mut boot = self.boot_files(disk, &mut root, &kernels)?;
        let whole = root.clone();
        let trees = split(disk, root, &mut boot, self.epoch_time())?;
        let input =
            ImageInput { disk, trees, identity: self.identity, epoch: self.epoch, bios: boot.bios.as_ref(), raw_files: self.binaries };
        let layout = input.make(&self.tools, target)?;
        Ok(Finished { root: whole, kernel: None, layout })
    }

    /// Does what the template says of traces that a build leaves: caches of package managers, and the state of the first boot.
    fn settle_choices(&self, root: &mut RootTree) -> Result<(), FinishError> {
        if !self.spec.system.keep_package_cache {
            normalize::empty_directories(root, PACKAGE_CACHES.iter().copied());
        }
        // An empty file is for images of which each boot is like any other (machine-id(5)).
        if self.spec.system.enable_systemd_firstboot && root.lookup(MACHINE_ID).is_some() {
            root.write_file(MACHINE_ID, Content::bytes(b"uninitialized\n".to_vec()), 0o444, self.epoch_time())?;
        }
        Ok(())
    }

    fn epoch_time(&self) -> i64 {
        i64::try_from(self.epoch).unwrap_or(i64::MAX)
    }

    /// Puts the bootloader's files into the root tree and returns those that are elsewhere.
    fn boot_files(&self, disk: &Disk, root: &mut RootTree, kernels: &[BootKernel]) -> Result<BootFiles, FinishError> {
        let (Some(bootloader), Some(kernel)) = (self.spec.system.bootloader, &self.spec.system.kernel) else {
            return Ok(BootFiles::default());
        };
        let input = BootInput {
            os: OsRelease::read(root),
            root,
            arch: self.spec.target.arch,
            kernels,
            cmdline: self.cmdline,
            unified_image: kernel.unified_image,
            mkimage: Some(&self.mkimage),
            work_folder: self.work,
            epoch: self.epoch_time(),
        };
        if bootloader.provider == BootloaderProvider::SystemdBoot {
            let of_kind = |kind| disk.partitions.iter().find(move |partition| partition.kind == kind);
            let xbootldr = of_kind(PartitionType::Xbootldr);
            let holder = xbootldr.or_else(|| of_kind(PartitionType::Esp));
            let mount_point = holder.and_then(|partition| partition.mount_point.as_deref());
            let trees = systemd_boot::trees(&input, KernelPlace { is_xbootldr: xbootldr.is_some(), mount_point })?;
            return Ok(BootFiles { esp: Some(trees.esp), xbootldr: trees.xbootldr, bios: None });
        }
        let volume = BootVolume::of(disk, &self.identity).ok_or(BootError::NoVolume)?;
        let boot_type = bootloader.boot_type;
        let mut esp = boot_type.has_efi().then(|| grub::efi::esp_tree(&input, &volume)).transpose()?;
        if let Some(esp) = esp.as_mut().filter(|_| kernel.unified_image) {
            grub::add_unified_images(&input, esp)?;
        }
        let bios = boot_type.has_bios().then(|| grub::bios::program(&input, &volume)).transpose()?;
        let menu = grub::menu(&input, &volume);
        let folder = grub::folder(root);
        root.make_directories(folder, self.epoch_time())?;
        root.write_file(format!("{folder}/grub.cfg"), Content::bytes(menu.into_bytes()), 0o600, self.epoch_time())?;
        Ok(BootFiles { esp, xbootldr: None, bios })
    }
}

/// Reads what a session has left on the root disk and cleans it. Tells what a step that notes accesses may have read, too.
///
/// # Errors
/// Fails when the disk is damaged.
pub(super) fn settle(root_disk: &Path, modules: &PlainModules, epoch: u64) -> Result<(RootTree, HashSet<InodeId>), FinishError> {
    let time = i64::try_from(epoch).unwrap_or(i64::MAX);
    let file = HostFile::open(root_disk).map_err(|source| FinishError::Open { path: root_disk.to_owned(), source })?;
    let (mut root, read) = ext4_read::read_tree_with_access(&file, time)?;
    modules.put_back(&mut root)?;
    clean(&mut root, time)?;
    Ok((root, read))
}

/// Compresses the initramfs images that the guest left uncompressed, with the packages' own files for plain modules in them. `agent` is
/// the guest's agent, which plays programs of the image while a generator runs, and which a generator must not have packed.
///
/// # Errors
/// Fails when an initramfs is none, or has the agent in it.
pub(super) fn compress_initramfs(root: &mut RootTree, modules: &PlainModules, agent: &[u8], epoch: u64) -> Result<(), FinishError> {
    let replace = |name: &[u8], bytes: &[u8]| {
        if bytes == agent {
            return Err(InitramfsError::StandIn { name: String::from_utf8_lossy(name).into_owned() });
        }
        Ok(modules.original_of(bytes)?)
    };
    let time = i64::try_from(epoch).unwrap_or(i64::MAX);
    for path in boot::kernels(root).into_iter().filter_map(|kernel| kernel.initramfs) {
        let failed = |source| FinishError::Initramfs { path: path.clone(), source };
        let (Some(content), Some(mode)) = (root.file(&path), root.get(&path).map(|inode| inode.metadata.mode)) else { continue };
        if content.size() > MAX_INITRAMFS {
            return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge).into()));
        }
        let bytes = initramfs::replace_contents(content, replace).map_err(failed)?;
        let compressor = Compressor::of(root).map_err(failed)?;
        let compressed = initramfs::compress(&bytes, compressor).map_err(failed)?;
        root.write_file(&path, Content::bytes(compressed), mode, time)?;
    }
    Ok(())
}

/// Returns the kernels, the one to start first.
fn kernels(root: &RootTree, kernel: &Kernel) -> Result<Vec<BootKernel>, FinishError> {
    let mut kernels = boot::kernels(root);
    let first = boot::choose_kernel(&kernels, kernel.version.as_deref())?.release.clone();
    kernels.sort_by_key(|kernel| kernel.release != first);
    Ok(kernels)
}

/// Makes the tree a function of its inputs.
fn clean(root: &mut RootTree, epoch: i64) -> Result<(), TreeError> {
    normalize::drop_paths(root, LEFT_BEHIND.iter().copied());
    let partial = root.get(APT_PARTIAL).filter(|inode| matches!(inode.kind, Kind::Directory(_))).map(|inode| inode.metadata.clone());
    normalize::empty_directories(root, EMPTIED.iter().copied());
    if let Some(metadata) = partial {
        root.insert(APT_PARTIAL, Inode { metadata, kind: Kind::directory() })?;
    }
    // The folder of ldconfig's cache belongs to a package of the RPM family; Debian's ldconfig makes it.
    if root.lookup(DPKG_STATUS).is_some() {
        normalize::drop_paths(root, [LDCONFIG_CACHE]);
    } else {
        normalize::empty_directories(root, [LDCONFIG_CACHE]);
    }
    for path in RPM_SHARED_MEMORY {
        if let Some(Inode { kind: Kind::File(content), .. }) = root.lookup(path).map(|id| root.inode_mut(id)) {
            *content = Content::bytes(Vec::new());
        }
    }
    if root.lookup(MACHINE_ID).is_some() {
        root.write_file(MACHINE_ID, Content::bytes(Vec::new()), 0o444, epoch)?;
    }
    normalize::clamp_times(root, epoch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::cpio;

    #[test]
    fn an_initramfs_with_the_agent_in_it_is_no_initramfs() {
        let mut inside = RootTree::new(Metadata::root_owned(0o755, 0));
        inside.write_file("/usr/bin/xz", Content::bytes(b"of the agent".to_vec()), 0o755, 0).unwrap();
        let mut packed = Vec::new();
        cpio::write_tree(&inside, &mut packed).unwrap();
        let mut root = RootTree::new(Metadata::root_owned(0o755, 0));
        root.write_file("/boot/vmlinuz-6.1", Content::bytes(b"kernel".to_vec()), 0o644, 0).unwrap();
        root.write_file("/boot/initrd.img-6.1", Content::bytes(packed), 0o644, 0).unwrap();

        let error = compress_initramfs(&mut root, &PlainModules::default(), b"of the agent", 0).unwrap_err();
        assert!(error.hint().is_some());
        let FinishError::Initramfs { source: InitramfsError::StandIn { name }, .. } = error else { panic!("{error}") };
        assert_eq!(name, "usr/bin/xz");
        compress_initramfs(&mut root, &PlainModules::default(), b"another", 0).unwrap();
        let compressed = root.file("/boot/initrd.img-6.1").unwrap().read_all(1 << 20).unwrap();
        assert!(compressed.starts_with(b"\x1f\x8b"), "gzip, since the image has no zstd");
    }
}
