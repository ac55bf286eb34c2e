//! Packages and where they come from.

use std::fmt;

use serde::Serialize;

/// A family of package formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// dpkg.
    Deb,
    /// rpm.
    Rpm,
}

/// One entry of a package list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageRequest {
    /// The name, or a glob over names (`*`, `?`, `[…]`).
    pub name: String,
    /// A version that is asked for.
    pub version: Option<VersionPin>,
    /// Where the template asks for it: `file:line:column`, or the layer's name.
    pub origin: String,
}

/// A version that a template asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum VersionPin {
    /// Exactly this version, or this upstream version in any revision.
    Exact(String),
    /// A version that stands in this relation to this one, as the package family compares.
    Bound(VersionRelation, String),
}

impl fmt::Display for VersionPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(version) => write!(f, "= {version}"),
            Self::Bound(relation, version) => write!(f, "{} {version}", relation.symbol()),
        }
    }
}

/// How a version stands to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum VersionRelation {
    /// `<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `>=`
    LaterOrEqual,
    /// `>`
    Later,
}

impl VersionRelation {
    /// Returns its sign.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Earlier => "<",
            Self::EarlierOrEqual => "<=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">",
        }
    }
}

/// Packages that are not to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exclude {
    /// A glob over names; rpm: also over `NAME.ARCH` and `NAME-[EPOCH:]VERSION-RELEASE.ARCH`.
    pub glob: String,
    /// Where the template says so.
    pub origin: String,
}

/// A package repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// Unique, stable name: what locks and messages call it.
    pub id: String,
    /// Index format.
    pub format: RepositoryFormat,
    /// Where it is.
    pub location: RepositoryLocation,
    /// deb: the suite (`trixie-updates`); rpm: unused.
    pub suite: String,
    /// deb: components; rpm: unused.
    pub components: Vec<String>,
    /// Keys that its metadata must be signed by one of; empty only when `trusted`.
    pub keys: Vec<RepositoryKey>,
    /// The template says that nothing is to be verified (`[trusted=yes]`).
    pub trusted: bool,
    /// rpm: whether `repomd.xml` must be signed.
    pub require_metadata_signature: bool,
    /// deb: as apt counts, the highest wins, 500 by default; rpm: as dnf counts, the lowest wins, 99 by default.
    pub priority: i32,
    /// Only packages whose names match one of these globs are taken; empty: all.
    pub allow_packages: Vec<String>,
    /// Packages that are not taken from it, even if they are allowed.
    pub excludes: Vec<Exclude>,
    /// Whether the running system upgrades its packages from it (`aptPolicy`).
    pub upgrades: bool,
    /// Whether the image itself lists this repository.
    pub in_image: bool,
    /// Key of the mirror setting that replaces the location's base; empty: none.
    pub mirror_key: String,
    /// Whether it belongs to the distribution rather than to the template.
    pub is_base: bool,
    /// Where it is configured.
    pub origin: String,
}

/// The format of a repository's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RepositoryFormat {
    /// `dists/SUITE/InRelease`.
    Deb,
    /// `repodata/repomd.xml`.
    Rpm,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum RepositoryLocation {
    /// Base URL without a trailing slash.
    Url(String),
    /// A folder of packages on the host.
    Path(std::path::PathBuf),
}

/// A key that a repository is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum RepositoryKey {
    /// An OpenPGP keyring, armored or binary, that comes with the distribution's data.
    Embedded {
        /// Its file name, for messages.
        name: String,
        /// Its bytes.
        #[serde(skip)]
        bytes: Vec<u8>,
    },
    /// A file on the host.
    File(std::path::PathBuf),
    /// A URL; its digest is recorded in the lock when it is first fetched.
    Url(String),
}
