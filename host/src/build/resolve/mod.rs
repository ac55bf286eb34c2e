//! From an image spec to the packages of a build, in the store.
//!
//! ```text
//! spec ─SolveInputs─▶ digest ─ the lock's? ─yes─▶ locked section
//!                                         └no──▶ deb │ rpm: refresh ─▶ PackageIndex… ─▶ Universe ─solve─▶ locked section
//! locked section ─fetch─▶ (package, path in the store)…
//! ```
//!
//! A lock that fits is used as it is, without asking any repository. Parsed indexes are kept in the store, by the digest of
//! the verified file that they were made from (`index`).
//!
//! What the two package families do in their own ways is in `deb` and `rpm`: how repositories become a choice of packages, and
//! what a package file must pass beyond its digest. Everything else is here, once.

mod deb;
mod index;
mod keys;
mod rpm;

use std::{collections::BTreeMap, path::PathBuf};

use oic_config::{
    Report,
    spec::{Arch, Ecosystem, ImageSpec, PackageRequest, Repository, RepositoryLocation, Snapshot},
};

use super::{
    LockUse,
    progress::{Event, Level},
};
use crate::{
    fetch::{Download, FetchError},
    lock::{LockDiff, LockedImage, LockedKey, LockedPackage, LockedRepository, LockedTools, PackageLock, SolveInputs, ecosystem_name},
    repository::{self, Access, RepositoryError, RepositoryProblem, RepositoryState, rpm::PackageProblem},
    solve::{BaseSet, SolveError, UniverseTooLarge, rpm as rpm_solve},
    store::{Bucket, Expected, StoreError},
};

pub use keys::repository_keys;

/// The distribution that `oic` takes its own tools from.
const TOOLS_DISTRIBUTION: (&str, &str) = ("debian", "debian13");

/// The component that its tools are in.
const TOOLS_COMPONENT: &str = "main";

/// Why there are no packages.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An index cannot be read.
    #[error(transparent)]
    Index(#[from] RepositoryProblem),
    /// An index is not one.
    #[error("the package index {what} cannot be understood")]
    Parse {
        /// Which.
        what: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The repositories are too large.
    #[error(transparent)]
    TooLarge(#[from] UniverseTooLarge),
    /// The requests cannot be met.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// The requests cannot be met from RPM repositories.
    #[error(transparent)]
    RpmSolve(#[from] rpm_solve::SolveError),
    /// A package of the metadata has no digest that counts.
    #[error("the repository `{repository}` has a {kind} digest of the package {package}; only sha256 counts")]
    Checksum {
        /// The package.
        package: String,
        /// The repository.
        repository: String,
        /// What the metadata has.
        kind: &'static str,
    },
    /// A package file is not what it should be.
    #[error("the package {package} of the repository `{repository}` cannot be used")]
    Package {
        /// The package.
        package: String,
        /// The repository.
        repository: String,
        /// What is wrong with it.
        source: Box<PackageProblem>,
    },
    /// Packages cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no lock for it, and one is required.
    #[error("the lock has nothing for {what}, and it must not be changed (--locked)")]
    NotLocked {
        /// What is to be built.
        what: String,
    },
    /// The lock is for something else, and must not be changed.
    #[error("the lock does not fit the template any more for {what}, and it must not be changed (--locked)")]
    LockOutdated {
        /// What is to be built.
        what: String,
    },
    /// A package of the lock is from a repository that is not configured.
    #[error("the package {package} of the lock is from the repository `{repository}`, which the template does not have")]
    UnknownRepository {
        /// The package.
        package: String,
        /// The repository.
        repository: String,
    },
    /// The user does without a repository that would not be used.
    #[error("there is no repository `{id}` to do without")]
    NoSuchRepository {
        /// What the user says.
        id: String,
        /// What there is.
        known: String,
    },
    /// What the template asks for cannot be resolved by this version.
    #[error("{field} cannot be resolved by this version of oic: {reason}")]
    Unsupported {
        /// The template's field.
        field: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The data of the tools' distribution is damaged.
    #[error("the data of the distribution that oic takes its tools from is of no use: {report}")]
    ToolsData {
        /// What is wrong.
        report: Report,
    },
    /// There are no tools for an architecture.
    #[error("oic has no source of tools for the architecture {arch}")]
    NoTools {
        /// The architecture.
        arch: Arch,
    },
}

impl ResolveError {
    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Index(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::NotLocked { .. } | Self::LockOutdated { .. } => Some("run `oic lock`, or build without --locked".to_owned()),
            Self::UnknownRepository { .. } => Some("run `oic lock`, which chooses the packages anew".to_owned()),
            Self::Package { source, .. } => source.hint(),
            Self::NoSuchRepository { known, .. } => Some(format!("these are used: {known}")),
            Self::Unsupported { field: "snapshot", .. } => Some("use `snapshot: latest`; the lock keeps versions as they are".to_owned()),
            _ => None,
        }
    }
}

/// A section of the lock, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<T> {
    /// The section.
    pub section: T,
    /// Whether it is the one of the lock; otherwise the lock has to be written.
    pub is_from_lock: bool,
    /// What is different from the lock; none when the lock had nothing for it.
    pub diff: Option<LockDiff>,
}

/// Packages in the store, in the order of the lock.
pub type StoredPackages = Vec<(LockedPackage, PathBuf)>;

/// Chooses the packages of an image, or takes the choice that the lock has.
///
/// # Errors
/// Fails when a repository cannot be used, when there is no set of packages that the template asks for, and when the lock does
/// not fit and must not be changed.
pub fn resolve(
    access: &Access<'_>,
    spec: &ImageSpec,
    lock_use: LockUse,
    lock: Option<&PackageLock>,
) -> Result<Resolved<LockedImage>, ResolveError> {
    refuse(spec)?;
    let arch = spec.target.arch;
    let family = spec.provider.ecosystem;
    let repositories = kept(access.without, &spec.repositories);
    for left_out in spec.repositories.iter().filter(|repository| access.without.contains(&repository.id)) {
        let text = format!("no package is taken from the repository `{}`: what it would update or add is not in the image", left_out.id);
        access.observer.event(&Event::Message { level: Level::Warning, text: &text });
    }
    warn_of_unverified(access, &repositories);
    let inputs = image_inputs(spec, &repositories);
    let digest = inputs.digest();
    let known = lock.and_then(|lock| lock.image(arch));
    let what = || format!("{} on {arch}", spec.name);
    if let Some(image) = usable(known, |image| image.spec == digest, lock_use, what)? {
        return Ok(Resolved { section: image.clone(), is_from_lock: true, diff: None });
    }
    let known_keys = known.map_or(&[][..], |image| &image.repositories);
    let Choice { repositories, packages } = match family {
        Ecosystem::Deb => deb::choose(access, &inputs, BaseSet::Required, known_keys)?,
        Ecosystem::Rpm => rpm::choose(access, &inputs, known_keys)?,
    };
    let section = LockedImage {
        arch: arch.name().to_owned(),
        ecosystem: ecosystem_name(family).to_owned(),
        spec: digest,
        source_date_epoch: repositories.iter().map(|repository| repository.date).max().unwrap_or_default(),
        repositories,
        packages,
    };
    let diff = known.map(|image| LockDiff::between(&image.packages, &section.packages));
    Ok(Resolved { section, is_from_lock: false, diff })
}

/// Returns what the choice of an image's packages depends on.
fn image_inputs<'a>(spec: &'a ImageSpec, repositories: &'a [Repository]) -> SolveInputs<'a> {
    let base = match spec.provider.ecosystem {
        Ecosystem::Deb => "required",
        // What every installation has is for the template to say.
        Ecosystem::Rpm => "none",
    };
    let oic_config::spec::System { packages, excludes, weak_dependencies, .. } = &spec.system;
    SolveInputs { arch: spec.target.arch, requests: packages, excludes, repositories, base, recommends: *weak_dependencies }
}

/// Returns the lock's choice for an image without some repositories, if it has one that fits.
#[must_use]
pub fn locked_image<'a>(spec: &ImageSpec, without: &[String], lock: &'a PackageLock) -> Option<&'a LockedImage> {
    let digest = image_inputs(spec, &kept(without, &spec.repositories)).digest();
    lock.image(spec.target.arch).filter(|image| image.spec == digest)
}

/// Returns the lock's choice for tools, if it has one that fits.
///
/// # Errors
/// Fails when there are no tools for the architecture.
pub fn locked_tools(
    name: &str,
    arch: Arch,
    packages: &[&str],
    without: &[String],
    lock: &PackageLock,
) -> Result<Option<LockedTools>, ResolveError> {
    let repositories = kept(without, &tools_repositories(arch)?);
    let requests = tool_requests(name, packages);
    let digest = tool_inputs(arch, &requests, &repositories).digest();
    Ok(lock.tools(name, arch).filter(|tools| tools.spec == digest).cloned())
}

fn tool_requests(name: &str, packages: &[&str]) -> Vec<PackageRequest> {
    let request = |package: &&str| PackageRequest { name: (*package).to_owned(), version: None, origin: format!("oic's tools `{name}`") };
    packages.iter().map(request).collect()
}

fn tool_inputs<'a>(arch: Arch, requests: &'a [PackageRequest], repositories: &'a [Repository]) -> SolveInputs<'a> {
    SolveInputs { arch, requests, excludes: &[], repositories, base: "none", recommends: false }
}

/// Refuses what this version cannot resolve.
fn refuse(spec: &ImageSpec) -> Result<(), ResolveError> {
    if matches!(spec.snapshot, Snapshot::At(_)) {
        return Err(ResolveError::Unsupported { field: "snapshot", reason: "package archives of the past cannot be used" });
    }
    Ok(())
}

/// Returns the lock's section if it is to be used.
fn usable<T>(
    known: Option<&T>,
    fits: impl Fn(&T) -> bool,
    lock_use: LockUse,
    what: impl Fn() -> String,
) -> Result<Option<&T>, ResolveError> {
    match (known, lock_use) {
        (_, LockUse::Renew) => Ok(None),
        (Some(section), _) if fits(section) => Ok(Some(section)),
        (_, LockUse::Prefer) => Ok(None),
        (None, LockUse::Require) => Err(ResolveError::NotLocked { what: what() }),
        (Some(_), LockUse::Require) => Err(ResolveError::LockOutdated { what: what() }),
    }
}

/// Returns the repositories that packages are chosen from.
fn kept(without: &[String], repositories: &[Repository]) -> Vec<Repository> {
    repositories.iter().filter(|repository| !without.contains(&repository.id)).cloned().collect()
}

/// Fails when the user does without a repository that neither the image nor the tools for these architectures would use.
///
/// # Errors
/// As it says, and when the data of the tools' distribution is damaged.
pub fn check_without(access: &Access<'_>, spec: &ImageSpec, tools: &[Arch]) -> Result<(), ResolveError> {
    if access.without.is_empty() {
        return Ok(());
    }
    let mut known: Vec<_> = spec.repositories.iter().map(|repository| repository.id.clone()).collect();
    for arch in tools {
        known.extend(tools_repositories(*arch)?.into_iter().map(|repository| repository.id));
    }
    known.sort();
    known.dedup();
    match access.without.iter().find(|id| !known.contains(id)) {
        Some(id) => Err(ResolveError::NoSuchRepository { id: id.clone(), known: known.join(", ") }),
        None => Ok(()),
    }
}

/// Returns the repositories that `oic` takes its own tools for an architecture from.
///
/// # Errors
/// Fails when there are none.
pub fn tools_repositories(arch: Arch) -> Result<Vec<Repository>, ResolveError> {
    let (os, dist) = TOOLS_DISTRIBUTION;
    let repositories = oic_config::distribution_repositories(None, os, dist, arch).map_err(|report| ResolveError::ToolsData { report })?;
    let mut repositories = repositories.ok_or(ResolveError::NoTools { arch })?;
    for repository in &mut repositories {
        repository.components.retain(|component| component == TOOLS_COMPONENT);
    }
    Ok(repositories)
}

/// The program that installs packages of the RPM family, as the lock and the distributions call it.
const INSTALLER: &str = "rpm";

/// Chooses what installs the packages of an image where it takes the distribution's own program: rpm and what it needs, from
/// the repositories of the image. None for families that do not need it.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_installer(
    access: &Access<'_>,
    spec: &ImageSpec,
    lock_use: LockUse,
    lock: Option<&PackageLock>,
) -> Result<Option<Resolved<LockedTools>>, ResolveError> {
    if spec.provider.ecosystem == Ecosystem::Deb {
        return Ok(None);
    }
    let arch = spec.target.arch;
    let requests = tool_requests(INSTALLER, &[INSTALLER]);
    let repositories = kept(access.without, &spec.repositories);
    let inputs = tool_inputs(arch, &requests, &repositories);
    let digest = inputs.digest();
    let known = lock.and_then(|lock| lock.tools(INSTALLER, arch));
    let what = || format!("the installer `{INSTALLER}` of {}", spec.provider.display_name);
    if let Some(tools) = usable(known, |tools| tools.spec == digest, lock_use, what)? {
        return Ok(Some(Resolved { section: tools.clone(), is_from_lock: true, diff: None }));
    }
    let known_keys = known.map_or(&[][..], |tools| &tools.repositories);
    let Choice { repositories, packages } = rpm::choose(access, &inputs, known_keys)?;
    let section = LockedTools { name: INSTALLER.to_owned(), arch: arch.name().to_owned(), spec: digest, repositories, packages };
    Ok(Some(Resolved { section, is_from_lock: false, diff: None }))
}

/// Returns the lock's choice of what [`resolve_installer`] chooses, if it fits; the outer none says that it does not.
#[must_use]
pub fn locked_installer(spec: &ImageSpec, without: &[String], lock: &PackageLock) -> Option<Option<LockedTools>> {
    if spec.provider.ecosystem == Ecosystem::Deb {
        return Some(None);
    }
    let requests = tool_requests(INSTALLER, &[INSTALLER]);
    let digest = tool_inputs(spec.target.arch, &requests, &kept(without, &spec.repositories)).digest();
    lock.tools(INSTALLER, spec.target.arch).filter(|tools| tools.spec == digest).cloned().map(Some)
}

/// Chooses packages that `oic` itself uses on an architecture, or takes the choice that the lock has. They are only unpacked,
/// so nothing comes along but what they need.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_tools(
    access: &Access<'_>,
    name: &str,
    arch: Arch,
    packages: &[&str],
    lock_use: LockUse,
    lock: Option<&PackageLock>,
) -> Result<Resolved<LockedTools>, ResolveError> {
    let repositories = kept(access.without, &tools_repositories(arch)?);
    let requests = tool_requests(name, packages);
    let inputs = tool_inputs(arch, &requests, &repositories);
    let digest = inputs.digest();
    let known = lock.and_then(|lock| lock.tools(name, arch));
    let what = || format!("oic's tools `{name}` on {arch}");
    if let Some(tools) = usable(known, |tools| tools.spec == digest, lock_use, what)? {
        return Ok(Resolved { section: tools.clone(), is_from_lock: true, diff: None });
    }
    let known_keys = known.map_or(&[][..], |tools| &tools.repositories);
    let Choice { repositories, packages } = deb::choose(access, &inputs, BaseSet::None, known_keys)?;
    let section = LockedTools { name: name.to_owned(), arch: arch.name().to_owned(), spec: digest, repositories, packages };
    let diff = known.map(|tools| LockDiff::between(&tools.packages, &section.packages));
    Ok(Resolved { section, is_from_lock: false, diff })
}

/// What was chosen, and where from.
struct Choice {
    repositories: Vec<LockedRepository>,
    packages: Vec<LockedPackage>,
}

/// Says of which repositories less than everything is verified, in every build.
fn warn_of_unverified(access: &Access<'_>, repositories: &[Repository]) {
    for repository in repositories {
        let what = match Unverified::of(repository) {
            None => continue,
            Some(Unverified::Everything) => "nothing of it is verified, neither its metadata nor its packages",
            Some(Unverified::Metadata) => {
                "its metadata is taken without a signature: whoever is on the way, or runs a mirror, can hold back updates; its packages are verified"
            }
        };
        let text = format!("the repository `{}` [{}]: {what}", repository.id, repository.origin);
        access.observer.event(&Event::Message { level: Level::Warning, text: &text });
    }
}

/// What of a repository is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// Its metadata has no signature, or none that is looked at.
    Metadata,
    /// Its metadata and its packages.
    Everything,
}

impl Unverified {
    /// Returns what of `repository` is not verified, none when all is.
    #[must_use]
    pub fn of(repository: &Repository) -> Option<Self> {
        match repository {
            Repository { trusted: true, .. } => Some(Self::Everything),
            Repository { require_metadata_signature: false, .. } => Some(Self::Metadata),
            _ => None,
        }
    }

    /// Returns the word for it in manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Everything => "everything",
        }
    }
}

/// A key that comes from a URL is believed the first time, and must stay the same from then on.
fn check_keys<'a>(
    repositories: &[Repository],
    states: impl Iterator<Item = &'a RepositoryState>,
    known: &[LockedRepository],
) -> Result<(), RepositoryError> {
    for (repository, state) in repositories.iter().zip(states) {
        let Some(locked) = known.iter().find(|locked| locked.id == state.id) else { continue };
        for (url, found) in &state.fetched_keys {
            if let Some(key) = locked.keys.iter().find(|key| key.url == *url && key.sha256 != *found) {
                let problem = RepositoryProblem::KeyChanged { url: url.clone(), expected: key.sha256, found: *found };
                return Err(RepositoryError::new(repository, None, problem));
            }
        }
    }
    Ok(())
}

fn lock_repository(repository: &Repository, state: &RepositoryState) -> LockedRepository {
    let url = match &repository.location {
        RepositoryLocation::Url(url) => url.clone(),
        RepositoryLocation::Path(path) => format!("path:{}", path.file_name().unwrap_or_default().to_string_lossy()),
    };
    let keys = state.fetched_keys.iter().map(|(url, sha256)| LockedKey { url: url.clone(), sha256: *sha256 }).collect();
    LockedRepository {
        id: repository.id.clone(),
        url,
        suite: repository.suite.clone(),
        components: repository.components.clone(),
        metadata: state.metadata,
        date: state.date,
        signed_by: state.signed_by.clone(),
        keys,
    }
}

/// Brings packages of an image's repositories into the store and verifies what the lock does not vouch for. `locked` are the
/// repositories as they were when the packages were chosen.
///
/// # Errors
/// Fails with the first package that cannot be had, or is not to be used.
pub fn fetch_image(
    access: &Access<'_>,
    spec: &ImageSpec,
    locked: &[LockedRepository],
    packages: &[LockedPackage],
) -> Result<StoredPackages, ResolveError> {
    let packages = fetch_all(access, &spec.repositories, packages)?;
    if spec.provider.ecosystem == Ecosystem::Rpm {
        rpm::verify_all(access, &spec.repositories, locked, &packages)?;
    }
    Ok(packages)
}

/// Brings packages into the store, each with the size and SHA-256 that the lock states, and returns where they are.
/// `repositories` say where to fetch from: those of the spec, or [`tools_repositories`].
///
/// # Errors
/// Fails with the first package that cannot be had.
pub fn fetch_all(access: &Access<'_>, repositories: &[Repository], packages: &[LockedPackage]) -> Result<StoredPackages, ResolveError> {
    let mut places = BTreeMap::new();
    for repository in repositories {
        let canonical = repository::canonical_url(repository)?;
        places.insert(repository.id.as_str(), access.mirrors.urls(&repository.mirror_key, &canonical));
    }
    let download = |package: &LockedPackage| {
        let bases = places
            .get(package.repository.as_str())
            .ok_or_else(|| ResolveError::UnknownRepository { package: package.name.clone(), repository: package.repository.clone() })?;
        Ok(Download {
            what: format!("{} {}", package.name, package.version),
            urls: bases.iter().map(|base| base.below(&package.path)).collect(),
            expected: Expected { size: package.size, sha256: package.sha256 },
        })
    };
    let downloads = packages.iter().map(download).collect::<Result<Vec<_>, ResolveError>>()?;
    let paths = access.fetcher.download(access.store, Bucket::Packages, &downloads, access.stage, access.observer)?;
    Ok(packages.iter().cloned().zip(paths).collect())
}

#[cfg(test)]
mod rpm_tests;
#[cfg(test)]
mod tests;
