//! How RPM repositories become a choice of packages, and what a package file must pass before it is used.
//!
//! The list of all files of a repository is asked for only when some package needs a file that the package index does not list.
//!
//! A package file that has passed is remembered by its digest and the keys that it has passed with: what is in the store does not
//! change.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use oic_config::spec::{PackageRequest, Repository};
use rayon::prelude::*;

use super::{Choice, ResolveError, check_keys, index, keys, lock_repository};
use crate::{
    digest::Sha256Digest,
    lock::{LockedPackage, LockedRepository, SolveInputs},
    repository::{
        Access, Keyring,
        rpm::{self, PackageProblem, RpmRepository, package::verify},
    },
    solve::rpm::{
        ChecksumKind, Comps, FileOwner, IndexedRepository, PackageIndex, Reason, SolveRequest, SolvedPackage, Universe, filelists, solve,
    },
};

/// Rises when packages that have passed must be looked at again.
const VERIFICATION: u32 = 1;

/// Asks the repositories and solves.
pub(super) fn choose(access: &Access<'_>, inputs: &SolveInputs<'_>, known: &[LockedRepository]) -> Result<Choice, ResolveError> {
    let sources = rpm::refresh(access, inputs.repositories)?;
    check_keys(inputs.repositories, sources.iter().map(|source| &source.state), known)?;
    let mut indexed =
        inputs.repositories.par_iter().zip(&sources).map(|pair| load(access, inputs, pair)).collect::<Result<Vec<_>, ResolveError>>()?;
    let specs: Vec<_> = inputs.requests.iter().map(spec).collect();
    let mut universe = Universe::new(inputs.arch, indexed.clone())?;
    let wanted = universe.unknown_files(&specs);
    if !wanted.is_empty() {
        for (repository, source) in indexed.iter_mut().zip(&sources) {
            repository.files = owners(access, source, &wanted)?;
        }
        universe = Universe::new(inputs.arch, indexed)?;
    }
    let solution = solve(&universe, &SolveRequest { specs, weak: inputs.recommends, best: false })?;
    let repositories =
        inputs.repositories.iter().zip(&sources).map(|(repository, source)| lock_repository(repository, &source.state)).collect();
    let mut packages = solution.packages.into_iter().map(lock_package).collect::<Result<Vec<_>, _>>()?;
    packages.sort_by(|left, right| (&left.name, &left.arch, &left.version).cmp(&(&right.name, &right.arch, &right.version)));
    Ok(Choice { repositories, packages })
}

fn load(
    access: &Access<'_>,
    inputs: &SolveInputs<'_>,
    (repository, source): (&Repository, &RpmRepository),
) -> Result<IndexedRepository, ResolveError> {
    let comps = source.groups.as_ref().map(|file| {
        let text = file.read(access.store)?;
        Comps::parse(text.as_slice()).map_err(|error| ResolveError::Parse { what: file.what.clone(), source: error.into() })
    });
    Ok(IndexedRepository {
        id: repository.id.clone(),
        priority: repository.priority,
        allow_packages: repository.allow_packages.clone(),
        excludes: inputs.excludes_of(repository),
        index: Arc::new(index::load(access, &source.primary, |text| PackageIndex::parse(text))?),
        comps: comps.transpose()?.map(Arc::new),
        files: Vec::new(),
    })
}

/// Finds who has files that the package index does not list.
fn owners(access: &Access<'_>, source: &RpmRepository, wanted: &BTreeSet<String>) -> Result<Vec<FileOwner>, ResolveError> {
    let Some(file) = source.filelists(access)? else { return Ok(Vec::new()) };
    let text = file.read(access.store)?;
    filelists::find_owners(text.as_slice(), wanted).map_err(|error| ResolveError::Parse { what: file.what, source: error.into() })
}

/// Returns a request as the solver has it.
fn spec(request: &PackageRequest) -> String {
    match &request.version {
        None => request.name.clone(),
        Some(pin) => format!("{} {pin}", request.name),
    }
}

fn lock_package(package: SolvedPackage) -> Result<LockedPackage, ResolveError> {
    let sha256 = package.checksum.parse().ok().filter(|_| package.checksum_kind == ChecksumKind::Sha256);
    let sha256 = sha256.ok_or_else(|| ResolveError::Checksum {
        package: package.nevra(),
        repository: package.repository.clone(),
        kind: package.checksum_kind.name(),
    })?;
    Ok(LockedPackage {
        version: package.evr(),
        name: package.name,
        arch: package.architecture,
        repository: package.repository,
        path: package.location,
        size: package.size,
        sha256,
        installed_kib: package.installed_size.div_ceil(1024),
        requested: package.reason == Reason::Requested,
    })
}

/// Verifies packages: their digests, their signatures by the keys of their repository, and that they are what the metadata says.
pub(super) fn verify_all(
    access: &Access<'_>,
    repositories: &[Repository],
    locked: &[LockedRepository],
    packages: &[(LockedPackage, PathBuf)],
) -> Result<(), ResolveError> {
    let mut of_repository: BTreeMap<&str, Vec<&(LockedPackage, PathBuf)>> = BTreeMap::new();
    for package in packages {
        of_repository.entry(package.0.repository.as_str()).or_default().push(package);
    }
    for (id, packages) in of_repository {
        let Some(repository) = repositories.iter().find(|repository| repository.id == id) else { continue };
        let keys = keys::load(access, repository, locked.iter().find(|locked| locked.id == id))?;
        let mut passed = Passed::load(access, &keys.identity);
        let left: Vec<_> = packages.into_iter().filter(|(package, _)| !passed.has(package)).collect();
        if left.is_empty() {
            continue;
        }
        let keyring = keys.keyring(repository)?;
        left.par_iter().try_for_each(|(package, path)| verify_one(access, package, path, keyring.as_ref()))?;
        passed.add(access, left.iter().map(|(package, _)| package))?;
    }
    Ok(())
}

fn verify_one(access: &Access<'_>, package: &LockedPackage, path: &Path, keyring: Option<&Keyring>) -> Result<(), ResolveError> {
    let expected = rpm::PackageId { name: package.name.clone(), version: package.version.clone(), arch: package.arch.clone() };
    let problem = match verify(path, keyring, access.now) {
        Ok(verified) if verified.id == expected => return Ok(()),
        Ok(verified) => PackageProblem::OtherPackage { found: verified.id.to_string(), expected: expected.to_string() },
        Err(problem) => problem,
    };
    Err(ResolveError::Package { package: expected.to_string(), repository: package.repository.clone(), source: Box::new(problem) })
}

/// The packages that have passed with some keys: a record of the store.
struct Passed {
    name: String,
    digests: BTreeSet<Sha256Digest>,
}

impl Passed {
    fn load(access: &Access<'_>, identity: &Sha256Digest) -> Self {
        let name = format!("verified {VERIFICATION} {identity}");
        let digests = access.store.record(&name).unwrap_or_default();
        let digests = digests.chunks_exact(32).filter_map(|bytes| Some(Sha256Digest::from(<[u8; 32]>::try_from(bytes).ok()?))).collect();
        Self { name, digests }
    }

    /// The name and version count too: they were compared with the metadata.
    fn key(package: &LockedPackage) -> Sha256Digest {
        let LockedPackage { name, version, arch, sha256, .. } = package;
        Sha256Digest::of(format!("{name} {version} {arch} {sha256}").as_bytes())
    }

    fn has(&self, package: &LockedPackage) -> bool {
        self.digests.contains(&Self::key(package))
    }

    fn add<'a>(&mut self, access: &Access<'_>, packages: impl Iterator<Item = &'a LockedPackage>) -> Result<(), ResolveError> {
        self.digests.extend(packages.map(Self::key));
        let bytes: Vec<u8> = self.digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
        Ok(access.store.set_record(&self.name, &bytes)?)
    }
}
