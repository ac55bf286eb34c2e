//! What a VM is made of, as the caller wants it. Pure data; [`crate::backend`] turns it into a command line.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{GuestArch, Machine};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accelerator {
    /// The host's processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's emulation, for every architecture.
    Tcg,
}

impl Accelerator {
    /// Returns how many times longer than on hardware a deadline must be.
    #[must_use]
    pub fn patience(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 10,
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// How QEMU is started: possibly through a dynamic loader of its own, with data folders of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The first words of the command line; never empty.
    pub argv: Vec<OsString>,
    /// Environment variables that it needs.
    pub env: Vec<(OsString, OsString)>,
    /// Folders for `-L`, none for a QEMU that knows its own.
    pub data_dirs: Vec<PathBuf>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// The guest's architecture.
    pub arch: GuestArch,
    /// What runs its instructions; [`crate::probe_kvm`] tells whether KVM can.
    pub accelerator: Accelerator,
    /// The emulator of that architecture.
    pub qemu: Qemu,
    /// Virtual processors; none for the table's choice.
    pub cpus: Option<u32>,
    /// Memory of the guest in MiB.
    pub memory_mib: u32,
    /// What the VM starts.
    pub boot: BootSource,
    /// Disks, in the order in which the guest names them: `/dev/vda`, `/dev/vdb` …
    pub disks: Vec<Disk>,
    /// Host folders that the guest may read.
    pub shares: Vec<Share>,
    /// The program that serves [`Self::shares`]: the first words of a command line that ends up in [`crate::virtiofs_main`].
    pub share_server: Vec<OsString>,
    /// Whether the guest has a network.
    pub network: Network,
    /// The guest's clock at start, seconds since 1970-01-01 UTC; none for the host's.
    pub clock: Option<u64>,
}

impl VmConfig {
    /// Returns the row of the machine table for this VM.
    #[must_use]
    pub fn machine(&self) -> &'static Machine {
        Machine::of(self.arch, self.accelerator)
    }

    /// Returns the number of virtual processors.
    #[must_use]
    pub fn cpu_count(&self) -> u32 {
        let usual = match self.boot {
            BootSource::Kernel { .. } => self.machine().cpus,
            // The services of an image start side by side.
            BootSource::Firmware { .. } | BootSource::Initramfs { .. } => self.machine().cpus.max(2),
        };
        self.cpus.unwrap_or(usual)
    }

    /// Returns the kernel if QEMU keeps its whole file in memory although nothing needs it once the guest has booted: an ELF file is
    /// mapped for good, an `Image` copied into the guest.
    pub(crate) fn kernel_to_release(&self) -> Option<&Path> {
        match &self.boot {
            BootSource::Kernel { kernel, .. } if self.arch == GuestArch::X86_64 => Some(kernel),
            BootSource::Kernel { .. } | BootSource::Initramfs { .. } | BootSource::Firmware(_) => None,
        }
    }
}

/// What a VM starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSource {
    /// A kernel that QEMU loads itself: an ELF `vmlinux` with a PVH entry for x86_64, an `Image` for the others.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// A cpio archive with `/init`.
        initramfs: PathBuf,
        /// Kernel parameters beyond those that the machine needs.
        parameters: String,
    },
    /// An image that is one initramfs, started as a boot loader starts it: nothing of ours inside.
    Initramfs {
        /// The kernel.
        kernel: PathBuf,
        /// The whole system.
        initramfs: PathBuf,
        /// The whole command line.
        cmdline: String,
    },
    /// Firmware, which finds the boot loader on the disk.
    Firmware(Firmware),
}

/// What finds the boot loader on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI.
    Uefi {
        /// The code, mapped read-only.
        code: PathBuf,
        /// The template of the variable store; the VM gets a copy of its own.
        vars: PathBuf,
    },
    /// BIOS: SeaBIOS, which comes with QEMU. Machines of x86_64 have it.
    Bios,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// What the file is.
    pub format: DiskFormat,
    /// What becomes of writes.
    pub access: DiskAccess,
}

/// The format of a disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's first.
    Vpc,
    /// Hyper-V's second.
    Vhdx,
}

impl DiskFormat {
    /// Returns QEMU's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
        }
    }
}

/// What becomes of writes to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskAccess {
    /// They go to the file, without ever waiting for the medium: the caller syncs what it keeps.
    Write,
    /// They go to a temporary file that disappears with the VM.
    Discard,
    /// There are none.
    ReadOnly,
}

/// A host folder that the guest may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The tag that the guest mounts, at most 36 bytes.
    pub tag: String,
    /// The folder.
    pub path: PathBuf,
}

/// Whether the guest has a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// No device at all.
    None,
    /// QEMU's user-mode network: connections go out through the host's sockets, none come in.
    User,
}
