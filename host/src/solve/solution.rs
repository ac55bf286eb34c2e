//! What a solve is asked and what it answers.

use oic_config::spec::PackageRequest;

use super::{
    explain::Conflict,
    index::{MultiArch, Priority, RelationKind},
};
use crate::digest::Sha256Digest;

/// The packages that every installation has, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseSet {
    /// None: only what is asked for and what that needs.
    None,
    /// Packages that are essential.
    Essential,
    /// Packages that are essential or of priority `required`: what `debootstrap --variant=minbase` takes, except apt itself.
    Required,
}

/// What to solve.
#[derive(Debug, Clone)]
pub struct SolveRequest {
    /// Packages asked for, by name or glob.
    pub packages: Vec<PackageRequest>,
    /// Packages that are there in any case.
    pub base: BaseSet,
    /// Whether `Recommends` are followed.
    pub recommends: bool,
}

/// A set of packages that can be installed together and lacks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The packages, sorted by name.
    pub packages: Vec<SolvedPackage>,
    /// Which package is there for which, sorted.
    pub edges: Vec<SolutionEdge>,
    /// Numbers of [`Self::packages`] in the order in which dpkg can configure them: each after what it depends on, save in
    /// cycles; of those that are free to go, essential ones first, then by name.
    pub configure_order: Vec<usize>,
    /// How it was found.
    pub found_by: FoundBy,
}

/// How a solution was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// By choosing as apt chooses, without having to go back.
    AptOrder,
    /// By a complete search, because apt's order of choices led into a conflict.
    Search,
}

/// One package of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolvedPackage {
    /// Name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// Architecture as Debian writes it: the target's or `all`.
    pub architecture: String,
    /// The repository's id.
    pub repository: String,
    /// The repository's component.
    pub component: String,
    /// Path below the repository's URL.
    pub filename: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// SHA-256 of the package file.
    pub sha256: Sha256Digest,
    /// Size when installed in KiB, as the package states it.
    pub installed_kib: u64,
    /// Name of the source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
    /// Section; may be empty.
    pub section: String,
    /// Priority.
    pub priority: Priority,
    /// Multi-Arch.
    pub multi_arch: MultiArch,
    /// Whether it is essential.
    pub essential: bool,
    /// First line of the description; may be empty.
    pub description: String,
    /// Homepage; may be empty.
    pub homepage: String,
    /// Maintainer; may be empty.
    pub maintainer: String,
    /// Whether a request names it, itself or by a glob.
    pub requested: bool,
    /// Whether it belongs to the base set.
    pub base: bool,
}

/// One package is there for another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SolutionEdge {
    /// Number of the package that has the relation.
    pub from: usize,
    /// Number of the package that satisfies it.
    pub to: usize,
    /// [`RelationKind::PreDepends`], [`RelationKind::Depends`] or, when they are followed, [`RelationKind::Recommends`].
    pub kind: RelationKind,
}

/// Why there is no solution to hand out.
pub type SolveError = super::error::SolveError<Conflict>;
