//! What is installed and configured in the image.

use std::path::PathBuf;

use serde::Serialize;

use super::PackageRequest;

/// `systemConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct System {
    /// `systemConfig.name`.
    pub name: String,
    /// Host name; none: the distribution's default.
    pub hostname: Option<String>,
    /// Packages asked for, kernel and bootloader packages included.
    pub packages: Vec<PackageRequest>,
    /// Whether packages that others recommend are installed with them.
    pub weak_dependencies: bool,
    /// User accounts.
    pub users: Vec<User>,
    /// Files to put into the image.
    pub files: Vec<AdditionalFile>,
    /// Commands to run in the image.
    pub commands: Vec<Command>,
    /// The bootloader; none for images without a disk.
    pub bootloader: Option<Bootloader>,
    /// The kernel; none for images without one.
    pub kernel: Option<Kernel>,
}

/// One entry of `users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// How the user may log in.
    pub password: Password,
    /// Days after which the password must be changed.
    pub password_max_age_days: Option<u32>,
    /// Replaces the login shell by this program.
    pub startup_script: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// Whether the user may become root.
    pub sudo: bool,
    /// Home folder; none: `/home/NAME`.
    pub home: Option<String>,
    /// Login shell; none: `/bin/bash`.
    pub shell: Option<String>,
    /// Lines for `authorized_keys`.
    pub authorized_keys: Vec<String>,
}

/// A password, never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// No password opens the account.
    Locked,
    /// To be hashed on the host before anything leaves it.
    Plain {
        /// The password.
        text: String,
        /// How to hash it.
        hash: PasswordHash,
    },
    /// A crypt(5) hash.
    Hashed(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locked => "Locked",
            Self::Plain { .. } => "Plain(…)",
            Self::Hashed(_) => "Hashed(…)",
        })
    }
}

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Locked => "locked",
            Self::Plain { .. } | Self::Hashed(_) => "(set)",
        })
    }
}

/// How plain-text passwords are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordHash {
    /// SHA-512 crypt (`$6$`).
    Sha512,
    /// SHA-256 crypt (`$5$`).
    Sha256,
    /// yescrypt (`$y$`).
    Yescrypt,
}

/// One entry of `additionalFiles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdditionalFile {
    /// The file on the host, absolute.
    pub local: PathBuf,
    /// Absolute path in the image.
    pub destination: String,
    /// Permission bits; none: those of the local file.
    pub mode: Option<u32>,
    /// Owner in the image.
    pub owner: String,
    /// Group in the image.
    pub group: String,
    /// Whether it must be there before the initramfs is made.
    pub before_initramfs: bool,
    /// Where the template asks for it.
    pub origin: String,
}

/// One entry of `configurations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// The command for `/bin/bash -euo pipefail -c`, to the letter.
    pub command: String,
    /// Where the template gives it.
    pub origin: String,
}

/// `bootloader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bootloader {
    /// Firmware that starts it.
    pub boot_type: BootType,
    /// Which program.
    pub provider: BootloaderProvider,
}

/// `bootloader.bootType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BootType {
    /// UEFI firmware.
    Efi,
    /// BIOS firmware.
    Legacy,
}

/// `bootloader.provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BootloaderProvider {
    /// GNU GRUB 2.
    #[serde(rename = "grub")]
    Grub,
    /// systemd-boot.
    #[serde(rename = "systemd-boot")]
    SystemdBoot,
}

/// `kernel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// `kernel.version`: a release that must be among the installed kernels.
    pub version: Option<String>,
    /// The kernel command line, without `root=`.
    pub cmdline: String,
    /// Kernel packages, also among the system's packages.
    pub packages: Vec<String>,
    /// Modules that the initramfs must include.
    pub extra_modules: Vec<String>,
    /// Which program makes the initramfs.
    pub initramfs: InitramfsGenerator,
    /// Whether kernel, initramfs and command line become one file.
    pub unified_image: bool,
}

/// The program that makes the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitramfsGenerator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
}
