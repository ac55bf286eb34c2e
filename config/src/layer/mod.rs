//! The template format as types: one field per key, nothing checked beyond its shape.
//!
//! These types are the single definition of the format. The JSON Schema that editors use is generated from them
//! ([`crate::schema`]), the loader checks every file against that same schema (so unknown keys and wrong kinds are found all at
//! once, each with its place), and merged templates are decoded into them before validation gives them meaning.
//!
//! Every field is optional here, because any layer may leave out what another one has.

mod disk;
mod located;
mod packages;
mod provisioning;
mod system;

use schemars::JsonSchema;
use serde::Deserialize;

pub use disk::*;
pub(crate) use located::MARKER;
pub use located::{Keyed, Located, Secret, Text};
pub use packages::*;
pub use provisioning::*;
pub use system::*;

/// A template for building an operating system image with oic.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "oic image template")]
pub struct Layer {
    /// What the template is for, for people and searches; not inherited.
    pub metadata: Option<Metadata>,
    /// A template to start from, relative to this one.
    pub extends: Option<Located<String>>,
    /// Name and version of the image.
    #[schemars(required)]
    pub image: Option<Located<Image>>,
    /// What the image is an image of.
    #[schemars(required)]
    pub target: Option<Located<Target>>,
    /// The disk and the output files.
    pub disk: Option<Located<Disk>>,
    /// What is installed and configured.
    pub system_config: Option<Located<SystemConfig>>,
    /// Package repositories beside those of the distribution.
    pub package_repositories: Option<Keyed<PackageRepository>>,
    /// An existing image to change instead of making a new one.
    pub baseline: Option<Located<Baseline>>,
    /// What a change of an existing image may do.
    pub overlay_policy: Option<Located<OverlayPolicy>>,
    /// Written by an installer that passes package descriptions on.
    pub sbom_package_metadata: Option<Located<Vec<SbomPackage>>>,
    /// Written for an installer, which installs these kernels.
    pub resolved_kernel_packages: Option<Located<Vec<Located<String>>>>,
    /// The virtual machine that builds, not the image.
    pub builder: Option<Located<Builder>>,
    /// Package archives as of then, `20261101T000000Z`, or `latest`.
    pub snapshot: Option<Located<Text>>,
    /// What makes two builds the same.
    pub reproducible: Option<Located<Reproducible>>,
}

/// What a template is for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// One sentence.
    pub description: Option<String>,
    /// What one would use it for.
    pub use_cases: Option<Vec<String>>,
    /// Words to find it by.
    pub keywords: Option<Vec<String>>,
}

/// Name and version of the image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Letters, digits, `-` and `_`; part of the names of the output files.
    #[schemars(required)]
    pub name: Option<Located<Text>>,
    /// One to three numbers, and more after `+` or `-`.
    #[schemars(required)]
    pub version: Option<Located<Text>>,
}

/// What the image is an image of.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Operating system: azure-linux, debian, edge-microvisor-toolkit, redhat-compatible-distro, ubuntu, wind-river-elxr.
    #[schemars(required)]
    pub os: Option<Located<String>>,
    /// Distribution: azl3, debian12, debian13, el10, elxr12, elxr13, emt3, ubuntu24, ubuntu26.
    #[schemars(required)]
    pub dist: Option<Located<String>>,
    /// Processor architecture.
    #[schemars(required)]
    pub arch: Option<Located<ArchName>>,
    /// Kind of image.
    #[schemars(required)]
    pub image_type: Option<Located<ImageTypeName>>,
}

/// Processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ArchName {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[serde(rename = "aarch64")]
    Aarch64,
    /// 64-bit RISC-V.
    #[serde(rename = "riscv64")]
    Riscv64,
    /// 32-bit Arm, which no distribution has data for.
    #[serde(rename = "armv7hl")]
    Armv7hl,
}

/// Kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageTypeName {
    /// A disk.
    Raw,
    /// An initramfs that holds a whole system.
    Img,
    /// An installer.
    Iso,
    /// A root filesystem for WSL 2.
    Wsl2,
    /// A root filesystem for containers, without kernel and disk.
    Container,
}

/// An existing image to change.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Baseline {
    /// Whether the image is made anew or changed.
    pub mode: Option<Located<BaselineMode>>,
    /// The image to change.
    pub source: Option<Located<BaselineSource>>,
}

/// Whether the image is made anew or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaselineMode {
    /// Made anew.
    Create,
    /// Changed.
    Overlay,
}

/// The image to change.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaselineSource {
    /// A file.
    pub path: Option<Located<String>>,
    /// An https URL.
    pub url: Option<Located<String>>,
    /// Its format.
    pub format: Option<Located<BaselineFormat>>,
    /// Where in it the SBOM is.
    pub sbom_path: Option<Located<String>>,
}

/// Format of an image to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaselineFormat {
    /// Byte for byte.
    Raw,
    /// QEMU.
    Qcow2,
    /// Virtual PC.
    Vhd,
    /// Hyper-V.
    Vhdx,
}

/// What a change of an existing image may do.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverlayPolicy {
    /// What may happen to packages.
    pub package_operation: Option<Located<PackageOperation>>,
    /// What happens on a conflict.
    pub conflict_policy: Option<Located<ConflictPolicy>>,
    /// Kernel command line to set.
    pub kernel_cmdline: Option<Located<String>>,
    /// GRUB's default entry.
    pub grub_default: Option<Located<Text>>,
    /// Whether the disk may grow.
    pub allow_disk_resize: Option<Located<bool>>,
    /// Whether packages may be removed.
    pub allow_package_removal: Option<Located<bool>>,
    /// Another kernel.
    pub replace_kernel: Option<Located<ReplaceKernel>>,
}

/// What may happen to packages of an existing image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PackageOperation {
    /// They may be added.
    AdditiveOnly,
    /// They may be added and upgraded.
    AdditiveAndUpgrade,
}

/// What happens on a conflict with an existing image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// The build fails.
    Fail,
    /// What the template allows by name happens.
    AllowExplicit,
}

/// Another kernel for an existing image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplaceKernel {
    /// Its package.
    #[schemars(required)]
    pub package: Option<Located<String>>,
    /// More packages of it, such as its headers.
    pub additional_packages: Option<Vec<Located<String>>>,
    /// Modules that its initramfs must include, separated by spaces.
    pub enable_extra_modules: Option<Located<Text>>,
    /// Its version, for people.
    pub version: Option<Located<Text>>,
}

/// What an installer knows of a package.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SbomPackage {
    /// Name.
    pub name: Option<Located<Text>>,
    /// Version.
    pub version: Option<Located<Text>>,
    /// Architecture.
    pub arch: Option<Located<Text>>,
    /// Licence.
    pub license: Option<Located<Text>>,
    /// Where it came from.
    pub url: Option<Located<Text>>,
    /// SHA-256.
    pub sha256: Option<Located<Text>>,
}

/// The virtual machine that builds, not the image.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Builder {
    /// Its memory, `2GiB`.
    pub memory: Option<Located<Text>>,
    /// Its processors.
    pub cpus: Option<Located<u32>>,
    /// Size of its scratch disk, or `auto`.
    pub disk: Option<Located<Text>>,
    /// Whether `configurations` reach the network.
    pub network: Option<Located<BuilderNetwork>>,
}

/// Whether `configurations` reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuilderNetwork {
    /// They do not.
    None,
    /// They have the network of the user who builds.
    User,
}

/// What makes two builds the same.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reproducible {
    /// Seconds since 1970-01-01 UTC that stand for the time of the build; default: newest date of the package archives.
    pub source_date_epoch: Option<Located<u64>>,
}
