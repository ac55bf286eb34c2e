//! One solve from request to checked solution.
//!
//! ```text
//! SolveRequest --Selection--> names, pins --greedy (apt's order)--> set --check--> Solution
//!                                                │ fails
//!                                                └--search (complete)--> set --check--> Solution
//!                                                        │ none
//!                                                        └--explain--> Conflict
//! ```

use std::collections::HashMap;

use super::{
    check::check,
    explain::{self, Conflict},
    greedy,
    index::RelationKind,
    order::configure_order,
    search::{self, NoSolution},
    selection::Selection,
    solution::{FoundBy, Solution, SolutionEdge, SolveError, SolveRequest, SolvedPackage},
    universe::{NameId, PackageId, Universe},
};

/// Finds a set of packages that has everything asked for and holds together.
///
/// The result depends on the universe and the request alone.
///
/// # Errors
/// Fails with a [`Conflict`] that explains why there is no such set.
pub fn solve(universe: &Universe, request: &SolveRequest) -> Result<Solution, SolveError> {
    let selection = Selection::new(universe, request).map_err(SolveError::Conflict)?;
    let greedy = greedy::choose(universe, &selection, request.recommends);
    let (packages, found_by) = match check(universe, &selection, &greedy) {
        Ok(()) => (greedy, FoundBy::AptOrder),
        Err(reason) => {
            tracing::debug!(reason, "apt's order of choices does not lead to a solution");
            (complete(universe, request, &selection, &greedy)?, FoundBy::Search)
        }
    };
    check(universe, &selection, &packages).map_err(SolveError::Unsound)?;
    Ok(describe(universe, &selection, request.recommends, &packages, found_by))
}

/// Searches, and explains why when there is nothing to find.
fn complete(
    universe: &Universe,
    request: &SolveRequest,
    selection: &Selection,
    greedy: &[PackageId],
) -> Result<Vec<PackageId>, SolveError> {
    let keep = if request.recommends { greedy } else { &[] };
    match search::search(universe, selection, greedy, keep) {
        Ok(packages) => Ok(packages),
        Err(NoSolution::Impossible) => Err(SolveError::Conflict(Box::new(explain::explain(universe, request, selection)))),
        Err(NoSolution::TooHard) => Err(SolveError::Conflict(Box::new(Conflict::too_hard()))),
    }
}

/// Turns chosen packages into a solution.
fn describe(universe: &Universe, selection: &Selection, recommends: bool, chosen: &[PackageId], found_by: FoundBy) -> Solution {
    let mut chosen = chosen.to_vec();
    chosen.sort_unstable_by_key(|&id| universe.record(id).name());
    let base: HashMap<NameId, ()> = selection.base.iter().map(|&name| (name, ())).collect();
    let packages: Vec<_> =
        chosen.iter().map(|&id| describe_package(universe, id, selection, base.contains_key(&universe.name(id)))).collect();
    let edges = edges(universe, recommends, &chosen);
    let configure_order = configure_order(&packages, &edges);
    Solution { packages, edges, configure_order, found_by }
}

fn describe_package(universe: &Universe, id: PackageId, selection: &Selection, base: bool) -> SolvedPackage {
    let (record, repository) = (universe.record(id), universe.repository(id));
    SolvedPackage {
        name: record.name().to_owned(),
        version: record.version().to_owned(),
        architecture: record.architecture().to_owned(),
        repository: repository.id.clone(),
        component: repository.component.clone(),
        filename: record.filename().to_owned(),
        size: record.size(),
        sha256: record.sha256(),
        installed_kib: record.installed_kib(),
        source: record.source().to_owned(),
        source_version: record.source_version().to_owned(),
        section: record.section().to_owned(),
        priority: record.priority(),
        multi_arch: record.multi_arch(),
        essential: record.is_essential(),
        description: record.description().to_owned(),
        homepage: record.homepage().to_owned(),
        maintainer: record.maintainer().to_owned(),
        requested: selection.places.contains_key(&universe.name(id)),
        base,
    }
}

/// Returns, for each relation that counts, the chosen package that meets it: that of the first alternative that is met.
fn edges(universe: &Universe, recommends: bool, chosen: &[PackageId]) -> Vec<SolutionEdge> {
    let numbers: HashMap<PackageId, usize> = chosen.iter().enumerate().map(|(number, &id)| (id, number)).collect();
    let counts = |kind: RelationKind| kind.is_required() || (recommends && kind == RelationKind::Recommends);
    let mut edges = Vec::new();
    for (from, &id) in chosen.iter().enumerate() {
        for group in universe.relation_groups(id).filter(|group| counts(group[0].kind)) {
            let met_by = group.iter().flat_map(|atom| universe.satisfiers(id, atom)).find_map(|taker| numbers.get(&taker).copied());
            edges.extend(met_by.map(|to| SolutionEdge { from, to, kind: group[0].kind }));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}
