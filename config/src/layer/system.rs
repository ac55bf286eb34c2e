//! `systemConfig`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AptPolicy, CloudInit, Dkms, InstallerPayload, Keyed, Located, Provisioning, Proxy, Secret, Text};

/// What is installed and configured.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SystemConfig {
    /// What messages call it.
    pub name: Option<Located<Text>>,
    /// One sentence for people.
    pub description: Option<Located<Text>>,
    /// Host name.
    pub hostname: Option<Located<Text>>,
    /// Language and character set of the system, `en_US.UTF-8`.
    pub locale: Option<Located<Text>>,
    /// Time zone, `Europe/Berlin`.
    pub timezone: Option<Located<Text>>,
    /// The initramfs of an installer.
    pub initramfs: Option<Located<Initramfs>>,
    /// Read-only root with verification, and Secure Boot.
    pub immutability: Option<Located<Immutability>>,
    /// Groups, made before the users.
    pub groups: Option<Keyed<Group>>,
    /// User accounts.
    pub users: Option<Keyed<User>>,
    /// Units that start by themselves, and those that do not.
    pub services: Option<Located<Services>>,
    /// What the firmware starts.
    pub bootloader: Option<Located<Bootloader>>,
    /// Packages: name, glob, `name_version` or `name=version`, `@group` for RPM; `-name` removes one that an earlier layer has.
    pub packages: Option<Vec<Located<String>>>,
    /// Names or globs of packages to take from no repository.
    pub excludes: Option<Vec<Located<String>>>,
    /// Whether packages that others recommend are installed with them.
    pub weak_dependencies: Option<Located<bool>>,
    /// Whether files are installed that packages mark as documentation.
    pub package_docs: Option<Located<bool>>,
    /// Languages of which packages' files are installed, `de:fr`, or `none`.
    pub package_languages: Option<Located<Text>>,
    /// RPM: the image is without the database of its packages, and has lists of them in `/var/lib/rpmmanifest` instead.
    pub remove_package_database: Option<Located<bool>>,
    /// Whether what package managers of the RPM family keep below `/var/cache` stays in the image.
    pub keep_package_cache: Option<Located<bool>>,
    /// Whether users see no processes of others: `/proc` is mounted with `hidepid=2`.
    pub hide_processes: Option<Located<bool>>,
    /// Whether the first boot asks for what the image leaves open, as systemd-firstboot does.
    pub enable_systemd_firstboot: Option<Located<bool>>,
    /// Files to put into the image.
    pub additional_files: Option<Keyed<AdditionalFile>>,
    /// Commands to run in the image, in this order.
    pub configurations: Option<Vec<Located<Configuration>>>,
    /// The kernel.
    pub kernel: Option<Located<Kernel>>,
    /// Disk encryption.
    pub fde: Option<Located<Fde>>,
    /// Network configuration.
    pub network: Option<Located<Network>>,
    /// Proxy servers that the system reaches the network by.
    pub proxy: Option<Located<Proxy>>,
    /// Scripts that run when the system starts.
    pub provisioning: Option<Located<Provisioning>>,
    /// cloud-init, and the data that it finds in the image.
    pub cloud_init: Option<Located<CloudInit>>,
    /// Which repositories of the template may upgrade packages of the running system.
    pub apt_policy: Option<Located<AptPolicy>>,
    /// Kernel modules that are compiled for the image's kernels.
    pub dkms: Option<Located<Dkms>>,
    /// A finished image that an installer writes to the disk.
    pub installer_payload: Option<Located<InstallerPayload>>,
}

/// The initramfs of an installer.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Initramfs {
    /// The template that makes it.
    #[schemars(required)]
    pub template: Option<Located<String>>,
}

/// Read-only root with verification, and Secure Boot.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Immutability {
    /// Whether it is on.
    pub enabled: Option<Located<bool>>,
    /// Private key that signs boot files.
    #[serde(rename = "secureBootDBKey")]
    pub secure_boot_db_key: Option<Located<String>>,
    /// Its certificate, PEM.
    #[serde(rename = "secureBootDBCrt")]
    pub secure_boot_db_crt: Option<Located<String>>,
    /// Its certificate, DER.
    #[serde(rename = "secureBootDBCer")]
    pub secure_boot_db_cer: Option<Located<String>>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// Its name.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// Its number; default: the next free one.
    pub gid: Option<Located<u32>>,
}

/// Units that start by themselves, and those that do not.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Services {
    /// Units to enable.
    pub enable: Option<Vec<Located<Text>>>,
    /// Units to disable.
    pub disable: Option<Vec<Located<Text>>>,
    /// Units that nothing can start.
    pub mask: Option<Vec<Located<Text>>>,
}

/// One user account.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// Plain text or a crypt hash; without one no password opens the account.
    pub password: Option<Located<Secret>>,
    /// How a plain-text password is hashed.
    pub hash_algo: Option<Located<HashName>>,
    /// Days after which the password must be changed.
    #[serde(rename = "passwordMaxAge")]
    pub password_max_age: Option<Located<u32>>,
    /// A program that replaces the login shell.
    #[serde(rename = "startupScript")]
    pub startup_script: Option<Located<String>>,
    /// Supplementary groups.
    pub groups: Option<Vec<Located<Text>>>,
    /// Number of the account; default: the next free one.
    pub uid: Option<Located<u32>>,
    /// Primary group; default: one of the user's name.
    #[serde(rename = "primaryGroup")]
    pub primary_group: Option<Located<Text>>,
    /// Whether the user may become root.
    pub sudo: Option<Located<bool>>,
    /// Home folder.
    pub home: Option<Located<String>>,
    /// Login shell.
    pub shell: Option<Located<String>>,
    /// SSH public keys that may log in.
    #[serde(rename = "authorizedKeys")]
    pub authorized_keys: Option<Vec<Located<String>>>,
    /// The same as `authorizedKeys`.
    #[serde(rename = "sshAuthorizedKeys")]
    pub ssh_authorized_keys: Option<Vec<Located<String>>>,
    /// Files on this machine with such keys, one a line.
    #[serde(rename = "sshAuthorizedKeysFiles")]
    pub authorized_keys_files: Option<Vec<Located<String>>>,
}

/// How a plain-text password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HashName {
    /// SHA-512 crypt.
    Sha512,
    /// SHA-256 crypt.
    Sha256,
    /// yescrypt.
    Yescrypt,
    /// bcrypt; accepted only beside a hash or no password.
    Bcrypt,
    /// MD5 crypt; accepted only beside a hash or no password.
    Md5,
}

/// What the firmware starts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootloader {
    /// The firmware.
    pub boot_type: Option<Located<BootTypeName>>,
    /// The program.
    pub provider: Option<Located<ProviderName>>,
    /// What an installer does with the firmware's other boot entries.
    pub boot_entry_policy: Option<Located<BootEntryPolicy>>,
}

/// What an installer does with the firmware's other boot entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootEntryPolicy {
    /// They are kept behind the new one.
    Preserve,
    /// They are never started.
    Exclusive,
}

/// The firmware that starts an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootTypeName {
    /// UEFI.
    Efi,
    /// BIOS.
    Legacy,
    /// None: the disk has no bootloader of oic's.
    None,
}

/// The program that the firmware starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderName {
    /// GNU GRUB 2.
    Grub,
    /// GNU GRUB 2.
    Grub2,
    /// systemd-boot with a unified kernel image.
    SystemdBoot,
}

/// One file to put into the image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdditionalFile {
    /// File or folder on this machine, relative to the template.
    pub local: Option<Located<String>>,
    /// Instead of a file, its text.
    pub content: Option<Located<Text>>,
    /// Absolute path in the image.
    #[serde(rename = "final")]
    #[schemars(required)]
    pub destination: Option<Located<String>>,
    /// When it must be there.
    pub stage: Option<Located<FileStage>>,
    /// Permission bits in octal, `"0644"`; default: those of the local file.
    pub mode: Option<Located<Text>>,
    /// Owner; default: root.
    pub owner: Option<Located<Text>>,
    /// Group; default: root.
    pub group: Option<Located<Text>>,
}

/// When an additional file must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum FileStage {
    /// At the end.
    #[serde(rename = "")]
    Default,
    /// Before the initramfs is made.
    #[serde(rename = "pre-initramfs")]
    PreInitramfs,
}

/// One command or script to run in the image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// A command for `/bin/bash -euo pipefail -c`.
    pub cmd: Option<Located<Text>>,
    /// Instead of a command, a script of this machine, relative to the template.
    pub script: Option<Located<String>>,
    /// Arguments of the script, as one writes them in a shell.
    pub args: Option<Located<Text>>,
    /// When it runs.
    pub stage: Option<Located<CommandStage>>,
}

/// When a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandStage {
    /// After packages, files and users, before the initramfs is made.
    Configure,
    /// After the initramfs is made, last of all.
    Finalize,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kernel {
    /// The kernel's package, where `packages` gives none.
    pub name: Option<Located<Text>>,
    /// A release that must be among the installed kernels.
    pub version: Option<Located<Text>>,
    /// Kernel command line.
    pub cmdline: Option<Located<Text>>,
    /// Modules that the initramfs must include, separated by spaces.
    pub enable_extra_modules: Option<Located<Text>>,
    /// Whether kernel, initramfs and command line become one file.
    pub uki: Option<Located<bool>>,
    /// Kernel packages; replaces those of earlier layers.
    pub packages: Option<Vec<Located<String>>>,
}

/// Disk encryption.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fde {
    /// Whether it is on.
    pub enabled: Option<Located<bool>>,
    /// File that holds the passphrase.
    pub passphrase_file: Option<Located<String>>,
    /// Partitions to encrypt.
    pub partitions: Option<Vec<Located<Text>>>,
    /// How it is opened at boot.
    pub unlock: Option<Located<UnlockName>>,
}

/// How an encrypted disk is opened at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnlockName {
    /// By itself.
    Auto,
    /// By a person.
    Manual,
}

/// Network configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// What configures it.
    pub backend: Option<Located<NetworkBackend>>,
    /// Interfaces.
    pub interfaces: Option<Keyed<Interface>>,
}

/// What configures the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkBackend {
    /// systemd-networkd.
    SystemdNetworkd,
    /// netplan.
    Netplan,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// Its hardware address; then `name` is only what the configuration calls it.
    pub mac_address: Option<Located<Text>>,
    /// Whether an IPv4 address is asked for.
    pub dhcp4: Option<Located<bool>>,
    /// Whether an IPv6 address is asked for.
    pub dhcp6: Option<Located<bool>>,
    /// Addresses with prefix length.
    pub addresses: Option<Vec<Located<String>>>,
    /// Routes.
    pub routes: Option<Vec<Located<Route>>>,
    /// Name servers.
    pub nameservers: Option<Vec<Located<String>>>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Destination.
    pub to: Option<Located<Text>>,
    /// Gateway.
    pub via: Option<Located<Text>>,
}
