//! What is installed and configured in the image.

use std::path::PathBuf;

use serde::Serialize;

use super::{Exclude, PackageRequest};

/// `systemConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct System {
    /// `systemConfig.name`.
    pub name: String,
    /// Host name; none: the distribution's default.
    pub hostname: Option<String>,
    /// `LANG` of the system; none: the distribution's default.
    pub locale: Option<String>,
    /// Time zone by its name in the IANA database; none: the distribution's default.
    pub timezone: Option<String>,
    /// Packages asked for, kernel and bootloader packages included.
    pub packages: Vec<PackageRequest>,
    /// Packages that are taken from no repository.
    pub excludes: Vec<Exclude>,
    /// Whether packages that others recommend are installed with them.
    pub weak_dependencies: bool,
    /// Whether files are installed that packages of the RPM family mark as documentation.
    pub package_docs: bool,
    /// The languages of which such packages' files are installed, as rpm writes them (`de:fr`, `NONE`); none: all.
    pub package_languages: Option<String>,
    /// Whether the image is without the database of its packages, and has lists of them instead.
    pub remove_package_database: bool,
    /// Whether what package managers of the RPM family keep below `/var/cache` stays in the image.
    pub keep_package_cache: bool,
    /// Whether users see no processes of others.
    pub hide_processes: bool,
    /// Whether systemd takes the first boot for one that asks for what the image leaves open.
    pub enable_systemd_firstboot: bool,
    /// Groups, made before the users.
    pub groups: Vec<Group>,
    /// User accounts.
    pub users: Vec<User>,
    /// Units to enable, disable and mask.
    pub services: Services,
    /// Network interfaces; none: the distribution's default.
    pub network: Option<Network>,
    /// Files to put into the image.
    pub files: Vec<AdditionalFile>,
    /// Files that settings of the template come to.
    pub written: Vec<WrittenFile>,
    /// Commands to run in the image.
    pub commands: Vec<Command>,
    /// The bootloader; none for images without a disk.
    pub bootloader: Option<Bootloader>,
    /// The kernel; none for images without one.
    pub kernel: Option<Kernel>,
}

/// One entry of `groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; none: the next free one.
    pub gid: Option<u32>,
}

/// `services`: names of units as systemctl takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Services {
    /// To enable.
    pub enable: Vec<String>,
    /// To disable.
    pub disable: Vec<String>,
    /// To mask.
    pub mask: Vec<String>,
}

/// `network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// What reads the configuration.
    pub backend: NetworkBackend,
    /// Interfaces in the order of the template.
    pub interfaces: Vec<Interface>,
}

/// `network.backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkBackend {
    /// systemd-networkd (systemd.network(5)).
    SystemdNetworkd,
    /// netplan (netplan(5)).
    Netplan,
}

/// One entry of `network.interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name, `enp1s0`, or a glob over names.
    pub name: String,
    /// The hardware address that it is found by, instead of its name.
    pub mac_address: Option<String>,
    /// Whether an IPv4 address is asked for by DHCP.
    pub dhcp4: bool,
    /// Whether an IPv6 address is asked for by DHCP.
    pub dhcp6: bool,
    /// Addresses with prefix length, `192.0.2.7/24`.
    pub addresses: Vec<String>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Addresses of name servers.
    pub nameservers: Vec<String>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Destination with prefix length; none: everything.
    pub to: Option<String>,
    /// Address of the gateway.
    pub via: String,
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
    /// Number of the account; none: the next free one.
    pub uid: Option<u32>,
    /// Primary group; none: the distribution's default, a group of the user's name.
    pub primary_group: Option<String>,
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
    /// What is in it.
    pub source: FileSource,
    /// Absolute path in the image.
    pub destination: String,
    /// Permission bits; none: those of the local file, 0644 for a text.
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

/// What is in an additional file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum FileSource {
    /// A file on the host, absolute.
    Local(PathBuf),
    /// The template's own text.
    Text(String),
}

/// A text file that a setting of the template comes to; owned by root, for everybody to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenFile {
    /// Absolute path in the image.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// One entry of `configurations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// The command for `/bin/bash -euo pipefail -c`, to the letter. With a script: its arguments, as a shell reads them.
    pub command: String,
    /// A script on the host, absolute, that runs with these arguments instead.
    pub script: Option<PathBuf>,
    /// Whether it runs after the initramfs is made.
    pub finalize: bool,
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
    /// Both: the disk has a place for either's boot program.
    Hybrid,
}

impl BootType {
    /// Returns whether UEFI firmware starts the image.
    #[must_use]
    pub fn has_efi(self) -> bool {
        self != Self::Legacy
    }

    /// Returns whether BIOS firmware starts the image.
    #[must_use]
    pub fn has_bios(self) -> bool {
        self != Self::Efi
    }
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
    /// `root=` as the template gives it, where that is not the root partition of the disk.
    pub root: Option<String>,
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
