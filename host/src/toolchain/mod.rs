//! Programs and the builder VM, unpacked from Debian packages without running any script of theirs.
//!
//! ```text
//! LockedTools + package files ──unpack──► Tools: a folder in the store, programs started through their own dynamic loader
//! kernel package + agent ──VmImage::make──► kernel and initramfs, in the store
//! ```
//!
//! Nothing is needed of the host but its kernel: a program runs with the loader and the libraries that were unpacked with
//! it. Only regular files, folders and links inside the folder are unpacked, so that packages can leave nothing else behind.

mod initramfs;
mod kernel;
mod qemu;
mod unpack;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use oic_config::spec::Arch;

pub use initramfs::{VmImage, VmImageError};
pub use kernel::KernelError;
pub use qemu::{Emulator, guest_arch, host_emulator, kvm_verdict};

use crate::{
    build::resolve::StoredPackages,
    digest::{Hasher, Sha256Digest},
    exec::Program,
    rootfs::DebError,
    store::{Bucket, Slot, Store, StoreError},
};

/// A set of packages for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolSet {
    /// Makers of filesystems, and `grub-mkimage`.
    Disk,
    /// The emulator of an architecture.
    Qemu(Arch),
    /// The firmware that images of an architecture boot with.
    Firmware(Arch),
    /// The kernel of the builder VM.
    Kernel,
}

impl ToolSet {
    /// Returns its name in the lock.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Disk => "disk".to_owned(),
            Self::Qemu(arch) => format!("qemu-{arch}"),
            Self::Firmware(arch) => format!("firmware-{arch}"),
            Self::Kernel => "kernel".to_owned(),
        }
    }

    /// Returns the packages that are asked for, when the set is to run on `arch`.
    #[must_use]
    pub fn packages(self, arch: Arch) -> &'static [&'static str] {
        match self {
            // mke2fs reads tar archives when it finds libarchive.
            Self::Disk => &["e2fsprogs", "libarchive13t64", "squashfs-tools", "erofs-utils", "grub-common"],
            Self::Qemu(Arch::X86_64) => &["qemu-system-x86"],
            Self::Qemu(Arch::Aarch64) => &["qemu-system-arm"],
            Self::Qemu(Arch::Riscv64) => &["qemu-system-riscv"],
            Self::Firmware(Arch::X86_64) => &["ovmf"],
            Self::Firmware(Arch::Aarch64) => &["qemu-efi-aarch64"],
            Self::Firmware(Arch::Riscv64) => &["qemu-efi-riscv64"],
            Self::Kernel => match arch {
                Arch::X86_64 => &["linux-image-cloud-amd64"],
                Arch::Aarch64 => &["linux-image-cloud-arm64"],
                Arch::Riscv64 => &["linux-image-riscv64"],
            },
        }
    }

    /// Returns whether a package of the set's solution is of use: a kernel needs none of what its package depends on.
    #[must_use]
    pub fn wants(self, package: &str) -> bool {
        !matches!(self, Self::Kernel) || package.starts_with("linux-image-")
    }
}

/// Why a tool set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A package is malformed.
    #[error("cannot unpack a package of oic's own tools")]
    Package(#[from] DebError),
    /// A file cannot be written.
    #[error("cannot unpack `{}` of package `{package}`", .path.display())]
    Unpack {
        /// The package.
        package: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path of a package leads out of its folder.
    #[error("package `{package}` has the path `{path}`, which leads out of its folder")]
    Escape {
        /// The package.
        package: String,
        /// The path.
        path: String,
    },
    /// A program is not where it should be.
    #[error("the tools `{set}` have no `{path}`")]
    Missing {
        /// The set.
        set: String,
        /// The path.
        path: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the key of everything that is made of these packages and nothing else.
fn key(purpose: &str, packages: &StoredPackages) -> Sha256Digest {
    let mut hasher = Hasher::default();
    hasher.update(purpose.as_bytes());
    for (package, _) in packages {
        hasher.update(package.sha256.as_bytes());
    }
    hasher.finish()
}

/// An unpacked tool set.
#[derive(Debug, Clone)]
pub struct Tools {
    name: String,
    root: PathBuf,
    arch: Arch,
}

impl Tools {
    /// Unpacks a tool set for `arch` into the store; the second value says whether it was there already.
    ///
    /// # Errors
    /// Fails when a package is malformed or the store cannot be written.
    pub fn unpack(store: &Store, set: ToolSet, arch: Arch, packages: &StoredPackages) -> Result<(Self, bool), ToolError> {
        let (root, cached) = match store.begin(Bucket::Tools, &key("tools 1", packages))? {
            Slot::Present(root) => (root, true),
            Slot::Vacant(entry) => {
                unpack::unpack_all(packages, entry.path())?;
                (entry.commit()?, false)
            }
        };
        Ok((Self { name: set.name(), root, arch }, cached))
    }

    /// Returns the folder that the set was unpacked to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a file of the set.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn file(&self, path: &str) -> Result<PathBuf, ToolError> {
        let found = self.root.join(path);
        if found.exists() { Ok(found) } else { Err(ToolError::Missing { set: self.name.clone(), path: path.to_owned() }) }
    }

    /// Returns a program of the set, to be started through the set's own dynamic loader.
    ///
    /// # Errors
    /// Fails when the program or the loader is missing.
    pub fn program(&self, path: &str) -> Result<Program, ToolError> {
        let (triplet, loader) = match self.arch {
            Arch::X86_64 => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
            Arch::Aarch64 => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
            Arch::Riscv64 => ("riscv64-linux-gnu", "ld-linux-riscv64-lp64d.so.1"),
        };
        let libraries = self.root.join("usr/lib").join(triplet);
        let loader = self.file(&format!("usr/lib/{triplet}/{loader}"))?;
        let argv = [loader.into_os_string(), "--library-path".into(), library_path(&libraries), self.file(path)?.into_os_string()];
        Ok(Program { argv: argv.to_vec(), env: vec![("QEMU_MODULE_DIR".into(), libraries.join("qemu").into_os_string())] })
    }
}

/// Returns the folders that libraries are in: that of the architecture, and those below it that hold private ones.
fn library_path(libraries: &Path) -> OsString {
    let mut path = libraries.as_os_str().to_owned();
    for private in ["pulseaudio", "blas", "lapack"] {
        let folder = libraries.join(private);
        if folder.is_dir() {
            path.push(":");
            path.push(folder);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is unpacked for an architecture runs with that architecture's loader and libraries.
    #[test]
    fn programs_start_through_the_loader_of_the_host() {
        for (arch, triplet, loader) in [
            (Arch::X86_64, "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
            (Arch::Aarch64, "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
            (Arch::Riscv64, "riscv64-linux-gnu", "ld-linux-riscv64-lp64d.so.1"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let tools = Tools { name: "disk".to_owned(), root: root.path().to_owned(), arch };
            let libraries = root.path().join("usr/lib").join(triplet);
            for file in [libraries.join(loader), root.path().join("usr/sbin/mke2fs")] {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
            let program = tools.program("usr/sbin/mke2fs").unwrap();
            assert_eq!(program.argv[0], libraries.join(loader));
            assert_eq!(program.argv[2], libraries);
            assert!(tools.program("usr/sbin/none").is_err());
        }
    }
}
