//! How Debian repositories become a choice of packages.

use std::sync::Arc;

use oic_config::spec::Repository;
use rayon::prelude::*;

use super::{Choice, ResolveError, check_keys, index, lock_repository};
use crate::{
    lock::{LockedPackage, LockedRepository, SolveInputs},
    repository::{self, Access, IndexFile, RepositoryState},
    solve::{self, BaseSet, IndexedRepository, PackageIndex, Solution, SolveRequest, Universe},
};

/// Asks the repositories and solves.
pub(super) fn choose(
    access: &Access<'_>,
    inputs: &SolveInputs<'_>,
    base: BaseSet,
    known: &[LockedRepository],
) -> Result<Choice, ResolveError> {
    let states = repository::refresh(access, inputs.repositories, inputs.arch.deb_name())?;
    check_keys(inputs.repositories, states.iter(), known)?;
    let universe = universe(access, inputs, &states)?;
    let request = SolveRequest { packages: inputs.requests.to_vec(), base, recommends: inputs.recommends };
    let solution = solve::solve(&universe, &request)?;
    let repositories = inputs.repositories.iter().zip(&states).map(|(repository, state)| lock_repository(repository, state)).collect();
    Ok(Choice { repositories, packages: lock_packages(solution) })
}

/// Loads all indexes, several at a time.
fn universe(access: &Access<'_>, inputs: &SolveInputs<'_>, states: &[RepositoryState]) -> Result<Universe, ResolveError> {
    let files: Vec<_> = inputs
        .repositories
        .iter()
        .zip(states)
        .flat_map(|(repository, state)| state.indexes.iter().map(move |file| (repository, file)))
        .collect();
    let load = |(repository, file): &(&Repository, &IndexFile)| {
        Ok(IndexedRepository {
            id: repository.id.clone(),
            component: file.component.clone(),
            priority: repository.priority,
            allow_packages: repository.allow_packages.clone(),
            excludes: inputs.excludes_of(repository),
            index: Arc::new(index::load(access, file, |text| PackageIndex::parse(text))?),
        })
    };
    let indexes = files.par_iter().map(load).collect::<Result<Vec<_>, ResolveError>>()?;
    Ok(Universe::new(inputs.arch, indexes)?)
}

fn lock_packages(solution: Solution) -> Vec<LockedPackage> {
    let mut packages: Vec<_> = solution
        .packages
        .into_iter()
        .map(|package| LockedPackage {
            name: package.name,
            version: package.version,
            arch: package.architecture,
            repository: package.repository,
            path: package.filename,
            size: package.size,
            sha256: package.sha256,
            installed_kib: package.installed_kib,
            requested: package.requested,
        })
        .collect();
    packages.sort_by(|left, right| (&left.name, &left.arch).cmp(&(&right.name, &right.arch)));
    packages
}
