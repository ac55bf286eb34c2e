//! `packageRepositories`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Located, Text};

/// One package repository.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageRepository {
    /// deb: the suite below `dists/`; rpm: a name.
    #[schemars(required)]
    pub codename: Option<Located<Text>>,
    /// Base URL; `<URL>` skips the repository.
    pub url: Option<Located<String>>,
    /// A folder on this machine: a repository, or just package files.
    pub path: Option<Located<String>>,
    /// Key that signs it: URL, absolute path, or `[trusted=yes]`.
    pub pkey: Option<Located<String>>,
    /// Keys, any of which signs it.
    pub pkeys: Option<Located<Vec<Located<String>>>>,
    /// deb: components, separated by spaces; default: main.
    pub component: Option<Located<Text>>,
    /// deb: as apt counts, the highest wins, -9999 to 9999, default 500; rpm: as dnf counts, the lowest wins, 1 to 9999, default 99.
    pub priority: Option<Located<i32>>,
    /// Names or globs of the only packages to take from it.
    pub allow_packages: Option<Vec<Located<String>>>,
    /// Names or globs of packages not to take from it, even if they are allowed.
    pub excludes: Option<Vec<Located<String>>>,
    /// Packages to make a repository of.
    pub packages: Option<Located<Vec<Located<String>>>>,
    /// rpm: whether `repomd.xml` must be signed; default: yes.
    #[serde(rename = "repoGPGCheck")]
    pub repo_gpg_check: Option<Located<bool>>,
    /// Whether the server's certificate goes unchecked.
    pub insecure_skip_verify: Option<Located<bool>>,
}
