//! The lock file (`oic.lock`): exactly which packages and tools a build uses.
//!
//! Goals, in this order: complete (nothing that decides the output's bytes is missing), verifiable (every file with its
//! size and SHA-256, every index with the digest of the signed Release that vouches for it), readable and reviewable (TOML,
//! one short entry per package, sorted, small diffs), reproducible byte for byte from the same inputs, and independent of
//! the machine: URLs are the canonical ones of the configuration, never those of a mirror, and no path of the host appears.
//!
//! ```toml
//! version = 1
//!
//! [[image]]                       # one per architecture
//! arch = "x86_64"
//! spec = "…"                      # digest of what the solution depends on: requests and repositories
//! source-date-epoch = 1767225600  # newest Release date of the image's repositories
//! [[image.repository]]
//! [[image.package]]
//!
//! [[tools]]                       # one per use and architecture: "qemu-x86_64" on "x86_64", "disk" on "x86_64",
//! name = "disk"                   # "kernel" for "aarch64"
//! arch = "x86_64"
//! [[tools.repository]]
//! [[tools.package]]
//! ```
//!
//! The `version` is checked before anything else is read. A newer one is refused with the version of `oic` to use.

mod diff;
mod file;
mod inputs;
#[cfg(test)]
mod tests;

use oic_config::spec::{Arch, Ecosystem};
use serde::{Deserialize, Serialize};

pub use diff::LockDiff;
pub use file::{LockError, load, parse, render, save};
pub use inputs::SolveInputs;

use crate::digest::Sha256Digest;

/// The version of the format that this program writes and reads.
pub const LOCK_VERSION: u32 = 1;

/// The name of the lock file beside a template.
pub const LOCK_FILE_NAME: &str = "oic.lock";

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackageLock {
    /// Always [`LOCK_VERSION`].
    pub version: u32,
    /// One solution per architecture, sorted by architecture.
    #[serde(rename = "image", default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<LockedImage>,
    /// The builder's own packages, sorted by name and architecture.
    #[serde(rename = "tools", default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<LockedTools>,
}

/// The packages of an image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedImage {
    /// Architecture, as in templates.
    pub arch: String,
    /// Package family: `deb` or `rpm`.
    pub ecosystem: String,
    /// Digest of the part of the image spec that the solution depends on. A build whose spec has another one needs a new lock.
    pub spec: Sha256Digest,
    /// `SOURCE_DATE_EPOCH` of builds with this lock: the newest date of the repositories' Release files.
    pub source_date_epoch: u64,
    /// The repositories that packages come from.
    #[serde(rename = "repository")]
    pub repositories: Vec<LockedRepository>,
    /// The packages, sorted by name, then architecture.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
}

/// Packages that `oic` itself uses: programs of the host, or a kernel for the builder VM. Only ever unpacked, never installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedTools {
    /// What they are for: `disk`, `kernel`, `qemu-x86_64` …
    pub name: String,
    /// The architecture that they run on.
    pub arch: String,
    /// Digest of what the solution depends on.
    pub spec: Sha256Digest,
    /// The repositories that packages come from.
    #[serde(rename = "repository")]
    pub repositories: Vec<LockedRepository>,
    /// The packages, sorted by name.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
}

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRepository {
    /// Its name, as packages refer to it.
    pub id: String,
    /// Its canonical base URL, or `path:` and the path in the template for a local folder.
    pub url: String,
    /// deb: the suite.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
    /// deb: the components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// SHA-256 of the signed metadata: of the text inside InRelease or Release, or of `repomd.xml`.
    pub metadata: Sha256Digest,
    /// The date of that metadata, seconds since 1970-01-01 UTC.
    pub date: u64,
    /// Fingerprint of the key that signed it; empty for a repository that the template trusts without signature.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signed_by: String,
    /// Keys that the template names by URL, as they were when the lock was first written.
    #[serde(rename = "key", default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<LockedKey>,
}

/// A key that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedKey {
    /// Where it is.
    pub url: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Full version, epoch and revision included.
    pub version: String,
    /// Architecture as the ecosystem writes it: `amd64`, `all`, `x86_64`, `noarch`.
    pub arch: String,
    /// [`LockedRepository::id`].
    pub repository: String,
    /// Path below the repository's URL.
    pub path: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// SHA-256 of the package file.
    pub sha256: Sha256Digest,
    /// Size when installed, in KiB, as the package states it.
    pub installed_kib: u64,
    /// Whether the template asks for it by name, rather than a dependency or the base set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requested: bool,
}

impl Default for PackageLock {
    fn default() -> Self {
        Self { version: LOCK_VERSION, images: Vec::new(), tools: Vec::new() }
    }
}

impl PackageLock {
    /// Returns the section of an architecture.
    #[must_use]
    pub fn image(&self, arch: Arch) -> Option<&LockedImage> {
        self.images.iter().find(|image| image.arch == arch.name())
    }

    /// Puts a section in place of the one for the same architecture, in order.
    pub fn set_image(&mut self, image: LockedImage) {
        self.images.retain(|other| other.arch != image.arch);
        self.images.push(image);
        self.images.sort_by(|left, right| left.arch.cmp(&right.arch));
    }

    /// Puts a section in place of the one for the same use and architecture, in order.
    pub fn set_tools(&mut self, tools: LockedTools) {
        let key = |tools: &LockedTools| (tools.name.clone(), tools.arch.clone());
        self.tools.retain(|other| key(other) != key(&tools));
        self.tools.push(tools);
        self.tools.sort_by_key(key);
    }

    /// Returns the packages that the builder uses for `name` on `arch`.
    #[must_use]
    pub fn tools(&self, name: &str, arch: Arch) -> Option<&LockedTools> {
        self.tools.iter().find(|tools| tools.name == name && tools.arch == arch.name())
    }
}

/// Returns the word for an ecosystem in lock files.
#[must_use]
pub fn ecosystem_name(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Deb => "deb",
        Ecosystem::Rpm => "rpm",
    }
}
