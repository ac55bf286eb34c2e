//! What differs between two images: plain data, written as JSON and YAML as it stands.

use serde::Serialize;

/// The version of the report's format.
pub const COMPARISON_VERSION: u32 = 1;

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Version of this format.
    pub version: u32,
    /// The first image.
    pub left: String,
    /// The second image.
    pub right: String,
    /// Whether the disks are the same, byte for byte.
    pub identical: bool,
    /// What differs; nothing exactly when the images are equal.
    pub differences: Vec<Difference>,
    /// How many differences there are beyond those that are listed.
    pub omitted: u64,
    /// What could not be compared.
    pub problems: Vec<String>,
}

impl Comparison {
    /// Returns whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.omitted == 0
    }
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What it is about.
    pub area: Area,
    /// The partition, file, package …
    pub subject: String,
    /// Which property of it.
    pub property: String,
    /// What the first image has; none: it lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// What the second image has; none: it lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    /// Whether it can matter to who runs the image.
    pub weight: Weight,
    /// Why it has this weight, where that is not plain.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
}

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The disk and its table.
    Disk,
    /// A partition and the filesystem in it.
    Partition,
    /// An entry of a boot menu.
    Boot,
    /// A program for the firmware.
    Efi,
    /// A package.
    Package,
    /// The system and its users.
    System,
    /// A file.
    File,
}

impl Area {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 7] = [Self::Disk, Self::Partition, Self::Boot, Self::Efi, Self::Package, Self::System, Self::File];

    /// Returns its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Partition => "partitions",
            Self::Boot => "boot entries",
            Self::Efi => "EFI programs",
            Self::Package => "packages",
            Self::System => "system",
            Self::File => "files",
        }
    }
}

/// Whether a difference can matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The images can behave differently.
    Matters,
    /// No program should notice: times, logs, caches, places of blocks, identifiers.
    Harmless,
}
