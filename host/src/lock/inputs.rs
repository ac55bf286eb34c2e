//! What a solution depends on, as one digest: a lock fits a spec as long as these are the same.

use oic_config::spec::{Arch, Exclude, PackageRequest, Repository, RepositoryFormat, RepositoryLocation, VersionPin};
use serde::Serialize;

use crate::digest::Sha256Digest;

/// Everything that the choice of packages depends on, apart from what the repositories hold.
///
/// Keys of repositories are left out: they decide whether metadata is believed, not what is chosen, and a renewed keyring in a
/// new version of `oic` is no reason to make every lock anew. So is the order of requests and the place of a local folder.
#[derive(Debug, Clone, Copy)]
pub struct SolveInputs<'a> {
    /// The architecture.
    pub arch: Arch,
    /// The packages asked for.
    pub requests: &'a [PackageRequest],
    /// Packages that are taken from no repository.
    pub excludes: &'a [Exclude],
    /// Where from; the order counts.
    pub repositories: &'a [Repository],
    /// The base set.
    pub base: &'a str,
    /// Whether recommended packages are taken.
    pub recommends: bool,
}

#[derive(Serialize)]
struct Canonical<'a> {
    /// Rises when the same inputs come to mean another solution.
    version: u32,
    arch: &'a str,
    base: &'a str,
    recommends: bool,
    requests: Vec<(&'a str, Option<&'a str>)>,
    repositories: Vec<CanonicalRepository<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excludes: Vec<&'a str>,
}

#[derive(Serialize)]
struct CanonicalRepository<'a> {
    id: &'a str,
    format: &'static str,
    url: Option<&'a str>,
    suite: &'a str,
    components: &'a [String],
    priority: i32,
    allow_packages: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excludes: Vec<&'a str>,
}

impl SolveInputs<'_> {
    /// Returns the packages that are not taken from a repository.
    #[must_use]
    pub fn excludes_of(&self, repository: &Repository) -> Vec<Exclude> {
        repository.excludes.iter().chain(self.excludes).cloned().collect()
    }

    /// Returns the digest.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        let version = |request: &PackageRequest| match request.version.as_ref()? {
            VersionPin::Exact(version) => Some(version.clone()),
            pin @ VersionPin::Bound(..) => Some(pin.to_string()),
        };
        let owned: Vec<_> = self.requests.iter().map(|request| (request.name.clone(), version(request))).collect();
        let mut requests: Vec<_> = owned.iter().map(|(name, version)| (name.as_str(), version.as_deref())).collect();
        requests.sort_unstable();
        requests.dedup();
        let repositories = self.repositories.iter().map(canonical).collect();
        let (arch, base, recommends) = (self.arch.name(), self.base, self.recommends);
        let excludes = globs(self.excludes);
        let canonical = Canonical { version: 1, arch, base, recommends, requests, repositories, excludes };
        Sha256Digest::of(&serde_json::to_vec(&canonical).expect("words and numbers always have a JSON form"))
    }
}

fn globs(excludes: &[Exclude]) -> Vec<&str> {
    excludes.iter().map(|exclude| exclude.glob.as_str()).collect()
}

fn canonical(repository: &Repository) -> CanonicalRepository<'_> {
    CanonicalRepository {
        id: &repository.id,
        format: match repository.format {
            RepositoryFormat::Deb => "deb",
            RepositoryFormat::Rpm => "rpm",
        },
        url: match &repository.location {
            RepositoryLocation::Url(url) => Some(url),
            RepositoryLocation::Path(_) => None,
        },
        suite: &repository.suite,
        components: &repository.components,
        priority: repository.priority,
        allow_packages: &repository.allow_packages,
        excludes: globs(&repository.excludes),
    }
}
