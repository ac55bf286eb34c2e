//! The plan: a flat list of steps. A closed set, so that the host cannot ask for anything that is not
//! written down here; commands of the template are one declared kind of step.
//!
//! Before the first step the agent has mounted: the root disk (`/dev/vda`, ext4) on `/target`, the API
//! filesystems inside it, and the read-only share [`ComposePlan::store_tag`] on `/store`. After the last
//! one it unmounts, syncs and powers off. Paths inside the target are absolute and are resolved inside
//! the target, never through it into the agent's own tree.

use serde::{Deserialize, Serialize};

/// What one session does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposePlan {
    /// `SOURCE_DATE_EPOCH` of the build in seconds since 1970-01-01 UTC; the environment of every program.
    pub source_date_epoch: u64,
    /// The virtiofs tag of the package store, or none when no step needs it.
    pub store_tag: Option<String>,
    /// Whether programs may use the network (`builder.network: user`).
    pub network: bool,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Step {
    /// Configures packages of the Debian family that the host has unpacked.
    InstallDeb(DebInstall),
    /// Writes files, folders and links.
    WriteFiles(Vec<FileEntry>),
    /// Creates groups with the target's own tools.
    CreateGroups(Vec<GroupAccount>),
    /// Creates or changes accounts with the target's own tools.
    CreateUsers(Vec<UserAccount>),
    /// Generates a locale with the target's own `locale-gen`.
    GenerateLocale(LocalePlan),
    /// Enables, disables and masks units with the target's own `systemctl`.
    Services(ServicePlan),
    /// Runs one command of the template.
    Hook(Hook),
    /// Generates the initramfs of every kernel, once.
    Initramfs(InitramfsPlan),
    /// Removes what must not be in an image and checks what must.
    Seal(Seal),
    /// Installs packages of the RPM family.
    InstallRpm(RpmInstall),
}

/// What rpm installs in one transaction into an empty root.
///
/// The second disk (`/dev/vdb`, ext4, read-only) has the distribution's own rpm with all that it needs to run, and the empty
/// folders `/target`, `/store` and `/tmp`. rpm runs with that disk as its root, installs into `/target` and reads packages from `/store`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpmInstall {
    /// The packages, each by name, version and architecture as rpm writes them. Their order means nothing: rpm finds its own.
    pub packages: Vec<StoreBlob>,
    /// Whether files that packages mark as documentation are installed.
    pub docs: bool,
    /// The languages of which files are installed, as rpm writes them (`de:fr`, `NONE`); none: all.
    pub languages: Option<String>,
}

/// How the host left the packages, and what the agent does with them.
///
/// The host has written every package that is not in [`Self::unpack`] as dpkg's unpacking would have left it: files in place,
/// conffiles as `*.dpkg-new`, status `install ok unpacked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebInstall {
    /// Packages whose `preinst install` runs first, in this order.
    pub preinst: Vec<ScriptedPackage>,
    /// Packages that dpkg itself unpacks in the guest, in this order: those that divert other packages' files.
    pub unpack: Vec<StoreBlob>,
    /// All packages in the order in which dpkg is asked to configure them.
    pub configure: Vec<String>,
}

/// A package with a script that runs before configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedPackage {
    /// Its name, with `:arch` where dpkg's database files carry it.
    pub name: String,
    /// Its own architecture, for `DPKG_MAINTSCRIPT_ARCH`.
    pub architecture: String,
    /// Packages that must be configured before: its Pre-Depends.
    pub after: Vec<String>,
}

/// A file of the store that the guest reads through the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreBlob {
    /// What it is, for messages: a package name or a path.
    pub name: String,
    /// Its path below the share.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A file, folder or link to write into the target. Parent folders are made with mode 0755, owned by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Absolute path in the target.
    pub path: String,
    /// What is written there. An existing file is replaced.
    pub content: FileContent,
    /// Permission bits; without effect on links.
    pub mode: u32,
    /// Owner: a name or a number, resolved in the target.
    pub owner: String,
    /// Group: a name or a number, resolved in the target.
    pub group: String,
}

/// The content of a [`FileEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FileContent {
    /// These bytes.
    Inline(Vec<u8>),
    /// A file of the store.
    Store(StoreBlob),
    /// A symbolic link to this target.
    Symlink(String),
    /// A folder.
    Directory,
}

/// A group. One that exists keeps its number, and the step fails when the plan gives another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAccount {
    /// Its name.
    pub name: String,
    /// Its number; none: the next free one.
    pub gid: Option<u32>,
}

/// A locale that `/etc/locale.gen` is to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalePlan {
    /// The line of `/etc/locale.gen`: a name and a character set, `de_DE.UTF-8 UTF-8`.
    pub line: String,
}

/// A user account. Fields that are `None` keep the target's default, or what an existing account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAccount {
    /// Login name.
    pub name: String,
    /// Password entry.
    pub password: AccountPassword,
    /// Home folder.
    pub home: Option<String>,
    /// Login shell; none: `/bin/bash` for a new account, unchanged for one that is there.
    pub shell: Option<String>,
    /// Supplementary groups; missing ones are created.
    pub groups: Vec<String>,
    /// Number of the account.
    pub uid: Option<u32>,
    /// Primary group; a missing one is created.
    pub primary_group: Option<String>,
    /// Days after which the password must be changed.
    pub password_max_age_days: Option<u32>,
    /// Lines for `~/.ssh/authorized_keys`.
    pub authorized_keys: Vec<String>,
}

/// The password field of `/etc/shadow`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AccountPassword {
    /// `!`: no password opens the account.
    Locked,
    /// A crypt(5) hash.
    Hash(String),
    /// An existing account keeps what it has; a new one is locked.
    Keep,
}

impl std::fmt::Debug for AccountPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locked => "Locked",
            Self::Hash(_) => "Hash(…)",
            Self::Keep => "Keep",
        })
    }
}

/// Units to enable, disable and mask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePlan {
    /// Units to enable; one that does not exist fails the step.
    pub enable: Vec<String>,
    /// Units to enable when they exist.
    pub enable_if_present: Vec<String>,
    /// Units to disable.
    pub disable: Vec<String>,
    /// Units to mask.
    pub mask: Vec<String>,
}

/// One command of `configurations`: run in the target as `/bin/bash -euo pipefail -c COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Index in the template's list, for messages.
    pub index: u32,
    /// The command, to the letter.
    pub command: String,
}

/// How the initramfs images are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitramfsPlan {
    /// Extra kernel modules to include.
    pub modules: Vec<String>,
    /// Whether an initramfs must exist for every kernel afterwards.
    pub required: bool,
    /// How the guest packs it.
    pub compression: InitramfsCompression,
}

/// How the guest packs an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitramfsCompression {
    /// With the distribution's own program, in the guest.
    Distribution,
    /// Not at all: the agent stands in for the compressor and the host compresses natively.
    Host,
}

/// Cleaning and final checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Packages that dpkg must list as `install ok installed`.
    pub installed_deb: Vec<String>,
    /// Paths that must exist in the target.
    pub must_exist: Vec<String>,
    /// Absolute paths to remove, files or trees; missing ones are fine.
    pub remove: Vec<String>,
    /// Absolute paths of files to empty when they exist.
    pub truncate: Vec<String>,
}
