//! One solve from request to checked solution.
//!
//! ```text
//! SolveRequest --Selection--> jobs --rules--> clauses --search--> set --check--> Solution
//!                                                         │ none
//!                                                         └--explain--> Conflict
//! ```

use std::collections::HashMap;

use super::{
    check::check,
    condition::{Conditions, package},
    explain::{self, Conflict},
    index::RelationKind,
    rules,
    search::{self, NoSolution, Why},
    select::{Selection, Wanted},
    solution::{Reason, Solution, SolutionEdge, SolveError, SolveRequest, SolvedPackage},
    universe::{PackageId, Universe},
};

/// Finds a set of packages that has everything asked for and holds together: the one that dnf would choose.
///
/// The result depends on the universe and the request alone.
///
/// # Errors
/// Fails with a [`Conflict`] that explains why there is no such set.
pub fn solve(universe: &Universe, request: &SolveRequest) -> Result<Solution, SolveError> {
    let selection = Selection::new(universe, request).map_err(SolveError::Conflict)?;
    let conditions = Conditions::new(universe);
    let mut rules = rules::make(&conditions, &selection, request.best);
    let found = match search::search(&conditions, &mut rules, request.weak) {
        Ok(found) => found,
        Err(NoSolution::Impossible(core)) => {
            let conflict = explain::explain(&conditions, request, &selection, &rules, &core);
            return Err(SolveError::Conflict(Box::new(conflict)));
        }
        Err(NoSolution::TooHard) => return Err(SolveError::Conflict(Box::new(Conflict::too_hard()))),
    };
    let mut chosen: Vec<PackageId> = found.iter().map(|(id, _)| *id).collect();
    chosen.sort_by_key(|&id| (universe.record(id).name(), id));
    check(universe, &selection, &chosen).map_err(SolveError::Unsound)?;
    Ok(describe(&conditions, &selection, request.weak, &chosen, &reasons(&rules, &selection, &found)))
}

/// Returns why each package is there.
fn reasons(rules: &rules::Rules, selection: &Selection, found: &[(PackageId, Why)]) -> HashMap<PackageId, Reason> {
    let mut reasons: HashMap<PackageId, Reason> = HashMap::new();
    for &(id, why) in found {
        let reason = match why {
            Why::Weak => Reason::Weak,
            Why::Unit(rule) | Why::Chosen(rule) if rules.job_rules.contains(&rule) || rules.best_rules.contains(&rule) => Reason::Requested,
            Why::Unit(_) | Why::Chosen(_) => Reason::Dependency,
        };
        reasons.insert(id, reason);
    }
    // What is asked for may have come as a dependency before its request was looked at.
    for job in &selection.jobs {
        if let Wanted::OneOf(candidates) = &job.wanted {
            let there: Vec<_> = candidates.iter().filter(|id| reasons.contains_key(id)).copied().collect();
            if let [only] = there[..] {
                reasons.insert(only, Reason::Requested);
            }
        }
    }
    reasons
}

/// Turns chosen packages into a solution.
fn describe(
    conditions: &Conditions<'_>,
    selection: &Selection,
    weak: bool,
    chosen: &[PackageId],
    reasons: &HashMap<PackageId, Reason>,
) -> Solution {
    let universe = conditions.universe;
    let packages = chosen.iter().map(|&id| describe_package(universe, id, reasons.get(&id).copied().unwrap_or(Reason::Dependency)));
    let missing_members = selection.missing_members.iter().cloned().collect();
    Solution { packages: packages.collect(), edges: edges(conditions, weak, chosen), missing_members }
}

fn describe_package(universe: &Universe, id: PackageId, reason: Reason) -> SolvedPackage {
    let (record, evr) = (universe.record(id), universe.record(id).evr());
    let (checksum_kind, checksum) = record.checksum();
    SolvedPackage {
        name: record.name().to_owned(),
        epoch: evr.epoch.parse().unwrap_or(0),
        version: evr.version.to_owned(),
        release: evr.release.unwrap_or_default().to_owned(),
        architecture: record.architecture().to_owned(),
        repository: universe.repository(id).id.clone(),
        repository_number: universe.repository_number(id),
        location: record.location().to_owned(),
        checksum_kind,
        checksum: checksum.to_owned(),
        size: record.size(),
        installed_size: record.installed_size(),
        source: record.source().to_owned(),
        license: record.license().to_owned(),
        vendor: record.vendor().to_owned(),
        url: record.url().to_owned(),
        summary: record.summary().to_owned(),
        reason,
    }
}

/// Returns which package is there for which.
fn edges(conditions: &Conditions<'_>, weak: bool, chosen: &[PackageId]) -> Vec<SolutionEdge> {
    let universe = conditions.universe;
    let numbers: HashMap<PackageId, usize> = chosen.iter().enumerate().map(|(number, &id)| (id, number)).collect();
    let mut edges = Vec::new();
    for (from, &id) in chosen.iter().enumerate() {
        for atom in universe.atoms(id) {
            let forward = match atom.kind {
                RelationKind::Requires => true,
                RelationKind::Recommends if weak => true,
                RelationKind::Supplements if weak => false,
                _ => continue,
            };
            let mut others = Vec::new();
            conditions.condition(id, atom).for_each_wanted(&mut |wanted| others.extend(numbers.get(&package(wanted)).copied()));
            // One provider suffices; of a rich dependency all parts count.
            if !conditions.is_rich(id, atom) {
                others.truncate(1);
            }
            for other in others.into_iter().filter(|other| *other != from) {
                let (from, to) = if forward { (from, other) } else { (other, from) };
                edges.push(SolutionEdge { from, to, kind: atom.kind });
            }
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}
