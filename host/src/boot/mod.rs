//! What firmware starts: unified kernel images, systemd-boot and GRUB, put together natively from what is in the target's
//! own tree.
//!
//! ```text
//! root tree (+ kernels under /boot, boot programs under /usr/lib) → ESP tree, files for the root tree
//! ```
//!
//! Programs always come from the target, so that image and boot programs fit each other and nothing of the host matters;
//! names and places by architecture are one table, [`EfiNames`]. The removable path (`EFI/BOOT`) is always filled: images
//! start on firmware that has never seen them.

pub mod fstab;
pub mod grub;
pub mod initramfs;
pub mod systemd_boot;
pub mod uki;

#[cfg(test)]
mod tests;

use std::{cmp::Ordering, io, path::PathBuf, str::FromStr};

use debversion::Version;
use oic_config::spec::Arch;

use crate::{
    exec::ExecError,
    rootfs::{
        content::Content,
        path::{PathError, Shown},
        tree::{Kind, RootTree, TreeError},
    },
};

/// The largest boot program that is read into memory.
pub(crate) const MAX_PROGRAM: u64 = 64 << 20;

/// Why an image cannot be made bootable.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file that must be in the target is not.
    #[error("the image has no `{path}`: it comes with package `{package}`")]
    MissingFile {
        /// The file.
        path: String,
        /// The package that brings it, as Debian calls it.
        package: String,
    },
    /// There is no kernel.
    #[error("the image has no kernel under `/boot` or `/usr/lib/modules`: add a kernel package")]
    NoKernel,
    /// The kernel that the template wants is not there.
    #[error("the image has no kernel `{release}`; it has {found}")]
    NoSuchKernel {
        /// The release.
        release: String,
        /// Those that are there.
        found: String,
    },
    /// A stub or kernel is not a usable program.
    #[error("`{path}` is not a usable EFI program: {reason}")]
    Program {
        /// The file in the target.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file of the target cannot be read.
    #[error("cannot read `{path}` of the image")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the host cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be put into a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name cannot be a path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A program failed.
    #[error("cannot make GRUB's image")]
    Exec(#[from] ExecError),
    /// GRUB is to be put together, and no program for it is there.
    #[error("the image has no signed GRUB, and `grub-mkimage` is not among the tools")]
    NoGrubTool,
}

/// Names of boot programs, by architecture (UEFI specification, section 3.5).
#[derive(Debug, Clone, Copy)]
pub struct EfiNames {
    /// The ending of names: `x64`.
    pub suffix: &'static str,
    /// The file that firmware looks for on removable media.
    pub removable: &'static str,
    /// GRUB's name of the platform.
    pub grub_platform: &'static str,
}

impl EfiNames {
    /// Returns the names for an architecture.
    #[must_use]
    pub fn of(arch: Arch) -> Self {
        let (suffix, removable, grub_platform) = match arch {
            Arch::X86_64 => ("x64", "BOOTX64.EFI", "x86_64-efi"),
            Arch::Aarch64 => ("aa64", "BOOTAA64.EFI", "arm64-efi"),
            Arch::Riscv64 => ("riscv64", "BOOTRISCV64.EFI", "riscv64-efi"),
        };
        Self { suffix, removable, grub_platform }
    }
}

/// A kernel of the target.
#[derive(Debug, Clone)]
pub struct BootKernel {
    /// Its release, the name of its folder under `/lib/modules`.
    pub release: String,
    /// Path of the kernel.
    pub kernel: String,
    /// Path of its initramfs, when there is one.
    pub initramfs: Option<String>,
}

/// Returns the kernels of a tree, the newest first.
#[must_use]
pub fn kernels(tree: &RootTree) -> Vec<BootKernel> {
    let mut kernels = Vec::new();
    // Debian calls kernels `vmlinux` on architectures where they do not unpack themselves (riscv64). Elsewhere that name is
    // for debuggers: a program that firmware does not start.
    for prefix in ["vmlinuz-", "vmlinux-"] {
        for (name, _) in tree.names("/boot") {
            let Some(release) = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix(prefix)) else { continue };
            let path = format!("/boot/{prefix}{release}");
            let starts = tree.file(&path).is_some_and(|content| prefix == "vmlinuz-" || is_efi_program(content));
            if is_plain(release) && starts && !kernels.iter().any(|known: &BootKernel| known.release == release) {
                kernels.push(boot_kernel(tree, release, path));
            }
        }
    }
    // Distributions that leave /boot to kernel-install have kernels beside their modules only.
    for (name, _) in tree.names("/usr/lib/modules") {
        let Some(release) = std::str::from_utf8(name).ok().filter(|release| is_plain(release)) else { continue };
        let path = format!("/usr/lib/modules/{release}/vmlinuz");
        if tree.file(&path).is_some() && !kernels.iter().any(|known: &BootKernel| known.release == release) {
            kernels.push(boot_kernel(tree, release, path));
        }
    }
    kernels.sort_by(|a, b| newest_first(&a.release, &b.release));
    kernels
}

/// Returns the kernel to start: the one that is asked for, else the newest.
///
/// # Errors
/// Fails when there is none.
pub fn choose_kernel<'a>(kernels: &'a [BootKernel], release: Option<&str>) -> Result<&'a BootKernel, BootError> {
    let newest = kernels.first().ok_or(BootError::NoKernel)?;
    let Some(release) = release else { return Ok(newest) };
    kernels.iter().find(|kernel| kernel.release == release).ok_or_else(|| BootError::NoSuchKernel {
        release: release.to_owned(),
        found: kernels.iter().map(|kernel| format!("`{}`", kernel.release)).collect::<Vec<_>>().join(", "),
    })
}

/// Returns whether a file begins as programs for UEFI firmware do.
fn is_efi_program(content: &Content) -> bool {
    let mut magic = [0; 2];
    content.read_exact_at(&mut magic, 0).is_ok() && magic == *b"MZ"
}

/// Returns whether a release can be part of a file name and a configuration line without further ado.
fn is_plain(release: &str) -> bool {
    !release.is_empty() && release.len() < 128 && release.chars().all(|c| c.is_ascii_alphanumeric() || "+-._~".contains(c))
}

fn boot_kernel(tree: &RootTree, release: &str, kernel: String) -> BootKernel {
    let names = [format!("/boot/initrd.img-{release}"), format!("/boot/initramfs-{release}.img"), format!("/boot/initrd-{release}")];
    let initramfs = names.into_iter().find(|path| tree.file(path).is_some());
    BootKernel { release: release.to_owned(), kernel, initramfs }
}

fn newest_first(a: &str, b: &str) -> Ordering {
    match (Version::from_str(a), Version::from_str(b)) {
        (Ok(x), Ok(y)) => y.cmp(&x).then_with(|| b.cmp(a)),
        _ => b.cmp(a),
    }
}

/// What the target says of itself in `os-release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsRelease {
    /// The file as it is.
    pub text: Vec<u8>,
    /// `ID`, `linux` where there is none.
    pub id: String,
    /// `PRETTY_NAME`, `Linux` where there is none.
    pub name: String,
}

impl OsRelease {
    /// Reads the file from a tree; a tree without one has the defaults.
    #[must_use]
    pub fn read(tree: &RootTree) -> Self {
        let file = tree.file("/etc/os-release").or_else(|| tree.file("/usr/lib/os-release"));
        let text = file.and_then(|content| content.read_all(1 << 16).ok()).unwrap_or_default();
        let value = |key: &str| {
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            let value: String = line.trim().trim_matches(['"', '\'']).chars().filter(|c| !c.is_control()).collect();
            Some(value).filter(|value| !value.is_empty())
        };
        let id = value("ID").filter(|id| is_plain(id)).unwrap_or_else(|| "linux".to_owned());
        let name = value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
        Self { text, id, name }
    }
}

/// Returns the content of a file that must be in the target.
pub(crate) fn required<'a>(tree: &'a RootTree, path: &str, package: &str) -> Result<&'a Content, BootError> {
    tree.file(path).ok_or_else(|| BootError::MissingFile { path: path.to_owned(), package: package.to_owned() })
}

/// Reads a boot program of the target.
pub(crate) fn read(content: &Content, path: &str) -> Result<Vec<u8>, BootError> {
    content.read_all(MAX_PROGRAM).map_err(|source| BootError::Read { path: path.to_owned(), source })
}

/// Returns the path of each regular file below a folder.
pub(crate) fn files_below(tree: &RootTree, folder: &str) -> Vec<(String, Content)> {
    let files = tree.names(folder).filter_map(|(name, id)| match &tree.inode(id).kind {
        Kind::File(content) => Some((Shown(name).to_string(), content.clone())),
        _ => None,
    });
    files.collect()
}
