//! What a solve is asked and what it answers.

use super::{
    explain::Conflict,
    index::{ChecksumKind, RelationKind},
};

/// What to solve.
#[derive(Debug, Clone, Default)]
pub struct SolveRequest {
    /// What is asked for: see [`super::select`] for the forms.
    pub specs: Vec<String>,
    /// Whether packages that others recommend are installed with them.
    pub weak: bool,
    /// Whether what is asked for must be there in its best version rather than in any that fits.
    pub best: bool,
}

/// A set of packages that can be installed together and lacks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The packages, sorted by name.
    pub packages: Vec<SolvedPackage>,
    /// Which package is there for which, sorted.
    pub edges: Vec<SolutionEdge>,
    /// Names in groups that no repository has a package for. Groups often list packages of other architectures.
    pub missing_members: Vec<String>,
}

/// Why a package is in a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is asked for, itself or by a group, a glob, or something that it provides.
    Requested,
    /// Another package needs it.
    Dependency,
    /// Another package recommends it, or it supplements another one.
    Weak,
}

/// One package of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolvedPackage {
    /// Name.
    pub name: String,
    /// Epoch, 0 when there is none.
    pub epoch: u64,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Architecture: the target's or `noarch`.
    pub architecture: String,
    /// The repository's id.
    pub repository: String,
    /// The repository's number among those of the universe.
    pub repository_number: usize,
    /// Path below the repository's URL.
    pub location: String,
    /// Kind of the package file's digest.
    pub checksum_kind: ChecksumKind,
    /// The digest: lowercase hexadecimal digits.
    pub checksum: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// Size when installed in bytes, as the package states it.
    pub installed_size: u64,
    /// File name of the source package; may be empty.
    pub source: String,
    /// License as the packager wrote it; may be empty.
    pub license: String,
    /// Vendor; may be empty.
    pub vendor: String,
    /// Homepage; may be empty.
    pub url: String,
    /// Summary; may be empty.
    pub summary: String,
    /// Why it is there.
    pub reason: Reason,
}

impl SolvedPackage {
    /// Returns `[EPOCH:]VERSION-RELEASE`, without an epoch of 0.
    #[must_use]
    pub fn evr(&self) -> String {
        match self.epoch {
            0 => format!("{}-{}", self.version, self.release),
            epoch => format!("{epoch}:{}-{}", self.version, self.release),
        }
    }

    /// Returns `NAME-EPOCH:VERSION-RELEASE.ARCH`.
    #[must_use]
    pub fn nevra(&self) -> String {
        format!("{}-{}:{}-{}.{}", self.name, self.epoch, self.version, self.release, self.architecture)
    }
}

/// One package is there for another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SolutionEdge {
    /// Number of the package that has the relation.
    pub from: usize,
    /// Number of the package that it is about.
    pub to: usize,
    /// [`RelationKind::Requires`], [`RelationKind::Recommends`] or, from what is supplemented, [`RelationKind::Supplements`].
    pub kind: RelationKind,
}

/// Why there is no solution to hand out.
pub type SolveError = crate::solve::error::SolveError<Conflict>;
