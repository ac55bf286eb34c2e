//! GRUB, on EFI and on BIOS firmware, and the menu for `/boot`.
//!
//! ```text
//! EFI    firmware → shim → GRUB → EFI/<distribution>/grub.cfg → /boot/grub/grub.cfg     signed programs, as they are
//!        firmware → shim → GRUB → boot/grub2/grub.cfg → /boot/grub2/grub.cfg            those of Azure Linux
//!        firmware → GRUB made here → /boot/grub/grub.cfg                                where there are none
//! BIOS   firmware → boot sector → core made here → /boot/grub/grub.cfg
//! ```
//!
//! What is made here is `grub-mkimage`'s work from the modules in the target, with all modules that the menu needs inside, so
//! that nothing but the menu and the kernels is read from a filesystem. All ways find the filesystem with `/boot` by its UUID.

pub mod bios;
pub mod efi;

use std::path::{Path, PathBuf};

use oic_config::spec::{Disk, PartitionType};

use super::{BootError, BootInput, BootKernel, files_below, required};
use crate::{disk::ImageIdentity, exec, rootfs::RootTree};

/// Modules of an image that is made here: enough to find `/boot`, show a menu and start Linux. Platforms lack some of them.
const MODULES: [&str; 38] = [
    "all_video",
    "biosdisk",
    "boot",
    "btrfs",
    "cat",
    "chain",
    "configfile",
    "echo",
    "efifwsetup",
    "ext2",
    "f2fs",
    "fat",
    "font",
    "gfxterm",
    "gzio",
    "halt",
    "help",
    "linux",
    "loadenv",
    "ls",
    "lvm",
    "minicmd",
    "normal",
    "part_gpt",
    "part_msdos",
    "reboot",
    "regexp",
    "search",
    "search_fs_file",
    "search_fs_uuid",
    "serial",
    "sleep",
    "squash4",
    "terminal",
    "test",
    "true",
    "xfs",
    "zstd",
];

/// Where GRUB finds what the system has under `/boot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootVolume {
    /// The UUID of the filesystem, as GRUB writes it.
    pub uuid: String,
    /// What of a path is the mount point of that filesystem.
    mount_point: String,
    /// The UUID of the EFI system partition, where unified kernel images lie.
    esp: Option<String>,
    /// The subvolume that the mount point is, with a slash before it; empty where there is none.
    subvolume: String,
}

impl BootVolume {
    /// Returns the filesystem of a disk that holds `/boot`.
    #[must_use]
    pub fn of(disk: &Disk, identity: &ImageIdentity) -> Option<Self> {
        let (partition, subvolume) = disk.holder("/boot")?;
        let uuid = identity.filesystem_text(partition);
        let mount_point = subvolume.map_or(&partition.mount_point, |subvolume| &subvolume.mount_point).clone().unwrap_or_default();
        let esp = disk.partitions.iter().find(|partition| partition.kind == PartitionType::Esp);
        Some(Self {
            uuid,
            esp: esp.map(|esp| identity.filesystem_text(esp)),
            mount_point: mount_point.trim_end_matches('/').to_owned(),
            subvolume: subvolume.map(|subvolume| format!("/{}", subvolume.name)).unwrap_or_default(),
        })
    }

    /// Returns a path of the system as GRUB finds it on that filesystem.
    fn path(&self, path: &str) -> String {
        format!("{}{}", self.subvolume, path.strip_prefix(&self.mount_point).unwrap_or(path))
    }

    /// Returns what leads a GRUB that has read nothing yet to the menu in a folder of the system.
    fn early_configuration(&self, folder: &str) -> String {
        format!("search.fs_uuid {} root\nset prefix=($root){}\n", self.uuid, self.path(folder))
    }
}

/// Returns the folder of the menu: distributions of the RPM family have it where their `grub2-mkconfig` writes.
#[must_use]
pub fn folder(root: &RootTree) -> &'static str {
    let has = |path: &str| root.lookup(path).is_some();
    if has("/boot/grub2") || has("/usr/sbin/grub2-mkconfig") { "/boot/grub2" } else { "/boot/grub" }
}

/// Makes a GRUB image for a platform from the modules of the target, and returns it as a file in the work folder.
fn make_image(input: &BootInput<'_>, volume: &BootVolume, platform: &str, package: &str, prefix: &str) -> Result<PathBuf, BootError> {
    let mkimage = input.mkimage.ok_or(BootError::NoGrubTool)?;
    let source = format!("/usr/lib/grub/{platform}");
    required(input.root, &format!("{source}/kernel.img"), package)?;
    let modules = input.work_folder.join(format!("grub-{platform}"));
    std::fs::create_dir_all(&modules).map_err(failed(&modules))?;
    for (name, content) in files_below(input.root, &source) {
        let path = modules.join(&name);
        std::fs::write(&path, super::read(&content, &format!("{source}/{name}"))?).map_err(failed(&path))?;
    }
    let early = input.work_folder.join(format!("grub-{platform}.cfg"));
    let output = input.work_folder.join(format!("grub-{platform}.img"));
    std::fs::write(&early, volume.early_configuration(folder(input.root))).map_err(failed(&early))?;
    let mut command = mkimage.command();
    command.arg("-d").arg(&modules).args(["-O", platform, "-p", prefix, "-c"]).arg(&early);
    command.arg("-o").arg(&output).env("LC_ALL", "C.UTF-8").env("SOURCE_DATE_EPOCH", input.epoch.to_string());
    command.args(MODULES.iter().filter(|name| modules.join(format!("{name}.mod")).exists()));
    exec::run(&mut command)?;
    Ok(output)
}

/// Returns what becomes of an error with a file of the host.
fn failed(path: &Path) -> impl Fn(std::io::Error) -> BootError + use<> {
    let path = path.to_owned();
    move |source| BootError::Write { path: path.clone(), source }
}

/// Returns the menu, `grub.cfg` in [`folder`].
#[must_use]
pub fn menu(input: &BootInput<'_>, volume: &BootVolume) -> String {
    let mut menu = "set default=0\nset timeout=1\n".to_owned();
    if let Some((unit, speed)) = serial_console(input.cmdline) {
        // EFI firmware shows its console on the serial line by itself.
        menu.push_str("if [ x$grub_platform = xpc ]; then\n");
        menu.push_str(&format!("\tserial --unit={unit} --speed={speed}\n"));
        menu.push_str("\tterminal_input console serial\n\tterminal_output console serial\nfi\n");
    }
    for kernel in input.kernels {
        // Quotes would end the title; nothing else means anything inside single ones.
        let title = input.os.name.replace('\'', "");
        menu.push_str(&format!("\nmenuentry '{title}, {}' --class os {{\n", kernel.release));
        if let Some(esp) = volume.esp.as_ref().filter(|_| input.unified_image) {
            menu.push_str(&format!("\tsearch --no-floppy --fs-uuid --set=root {esp}\n\tchainloader {}\n}}\n", unified_path(input, kernel)));
            continue;
        }
        menu.push_str(&format!("\tsearch --no-floppy --fs-uuid --set=root {}\n", volume.uuid));
        menu.push_str(&format!("\tlinux {} {}\n", volume.path(&kernel.kernel), input.cmdline));
        if let Some(initramfs) = &kernel.initramfs {
            menu.push_str(&format!("\tinitrd {}\n", volume.path(initramfs)));
        }
        menu.push_str("}\n");
    }
    menu
}

/// Returns where on the EFI system partition the unified image of a kernel lies.
fn unified_path(input: &BootInput<'_>, kernel: &BootKernel) -> String {
    format!("/EFI/Linux/{}-{}.efi", input.os.id, kernel.release)
}

/// Puts the unified images of all kernels into the tree of the EFI system partition.
///
/// # Errors
/// Fails when the target lacks systemd's stub or a kernel, or files cannot be read or written.
pub fn add_unified_images(input: &BootInput<'_>, esp: &mut RootTree) -> Result<(), BootError> {
    for kernel in input.kernels {
        let image = super::systemd_boot::unified(input, kernel, &format!("{}-{}", input.os.id, kernel.release))?;
        esp.write_file(unified_path(input, kernel), image, 0o644, input.epoch)?;
    }
    Ok(())
}

/// Returns unit and speed of the serial console that a kernel command line names.
fn serial_console(cmdline: &str) -> Option<(u32, u32)> {
    let console = cmdline.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("console=ttyS"))?;
    let (unit, options) = console.split_once(',').unwrap_or((console, ""));
    let speed: String = options.chars().take_while(char::is_ascii_digit).collect();
    Some((unit.parse().ok()?, speed.parse().unwrap_or(9600)))
}
