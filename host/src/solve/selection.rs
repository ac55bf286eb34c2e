//! What a request means in a universe: names, and versions where they are asked for.

use std::collections::{BTreeMap, BTreeSet};

use oic_config::spec::{PackageRequest, VersionPin, VersionRelation};

use super::{
    explain::{Conflict, Problem},
    glob,
    index::Priority,
    relation::Comparison,
    solution::{BaseSet, SolveRequest},
    universe::{NameId, PackageId, Universe},
    version::{self, DebVersion},
};
use std::cmp::Ordering;

/// What is to be installed, before dependencies.
#[derive(Debug)]
pub(super) struct Selection {
    /// The base set's names, in order of number.
    pub(super) base: Vec<NameId>,
    /// Names asked for, each once, in the order in which they are asked for: apt's choices depend on it.
    pub(super) requested: Vec<NameId>,
    /// The places of the requests of each name asked for.
    pub(super) places: BTreeMap<NameId, Vec<usize>>,
    /// The versions that may be taken of names of which versions are asked for, the best first; never empty.
    pub(super) pins: BTreeMap<NameId, Vec<PackageId>>,
}

impl Selection {
    /// Returns what `request` means.
    ///
    /// # Errors
    /// Fails when a name or a version does not exist, or two requests ask for different versions.
    pub(super) fn new(universe: &Universe, request: &SolveRequest) -> Result<Self, Box<Conflict>> {
        let mut selection =
            Self { base: base_names(universe, request.base), requested: Vec::new(), places: BTreeMap::new(), pins: BTreeMap::new() };
        let mut problems = Vec::new();
        for (at, wanted) in request.packages.iter().enumerate() {
            if let Err(problem) = selection.add(universe, request, at, wanted) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(selection) } else { Err(Box::new(Conflict { problems })) }
    }

    fn add(&mut self, universe: &Universe, request: &SolveRequest, at: usize, wanted: &PackageRequest) -> Result<(), Problem> {
        for name in matching_names(universe, wanted)? {
            if let Some(pin) = &wanted.version {
                let mut allowed = pinned(universe, name, pin);
                if allowed.is_empty() {
                    return Err(Problem::unknown_version(universe, wanted, name));
                }
                if let Some(before) = self.pins.get(&name) {
                    let version = |id: &PackageId| universe.record(*id).version();
                    allowed.retain(|id| before.iter().any(|other| version(other) == version(id)));
                }
                if allowed.is_empty() {
                    let origins = self.places.get(&name).into_iter().flatten().map(|&other| &request.packages[other]);
                    return Err(Problem::two_versions(universe, name, origins.chain([wanted])));
                }
                self.pins.insert(name, allowed);
            }
            let places = self.places.entry(name).or_default();
            if places.is_empty() {
                self.requested.push(name);
            }
            places.push(at);
        }
        Ok(())
    }

    /// Returns the version that is to be installed of a name, if that name is.
    pub(super) fn candidate(&self, universe: &Universe, name: NameId) -> Option<PackageId> {
        self.pins.get(&name).and_then(|allowed| allowed.first().copied()).or_else(|| universe.candidate(name))
    }

    /// Returns all names that are to be installed, those of the base set first.
    pub(super) fn names(&self) -> impl Iterator<Item = NameId> {
        let base: BTreeSet<_> = self.base.iter().copied().collect();
        let rest = self.requested.iter().copied().filter(move |name| !base.contains(name));
        self.base.iter().copied().chain(rest)
    }
}

/// Returns the names of the base set.
fn base_names(universe: &Universe, base: BaseSet) -> Vec<NameId> {
    let belongs = |id: PackageId| {
        let record = universe.record(id);
        match base {
            BaseSet::None => false,
            BaseSet::Essential => record.is_essential(),
            BaseSet::Required => record.is_essential() || record.priority() == Priority::Required,
        }
    };
    universe.names_with_candidate().filter(|&name| universe.candidate(name).is_some_and(belongs)).collect()
}

/// Returns the names that a request means: the name itself, all that match a glob, or the only package that provides the name.
fn matching_names(universe: &Universe, wanted: &PackageRequest) -> Result<Vec<NameId>, Problem> {
    if glob::is_glob(&wanted.name) {
        let names: Vec<_> = universe.names_with_candidate().filter(|&name| glob::matches(&wanted.name, universe.name_text(name))).collect();
        return if names.is_empty() { Err(Problem::unknown_name(universe, wanted)) } else { Ok(names) };
    }
    let name = universe.find_name(&wanted.name).ok_or_else(|| Problem::unknown_name(universe, wanted))?;
    if universe.candidate(name).is_some() {
        return Ok(vec![name]);
    }
    let mut providers: Vec<_> = universe.providers(name).iter().map(|provider| universe.name(provider.package)).collect();
    providers.sort_unstable();
    providers.dedup();
    match providers[..] {
        [] => Err(Problem::unknown_name(universe, wanted)),
        [only] => Ok(vec![only]),
        _ => Err(Problem::only_virtual(universe, wanted, &providers)),
    }
}

/// Returns the packages of a name that a version request means, the best first.
fn pinned(universe: &Universe, name: NameId, pin: &VersionPin) -> Vec<PackageId> {
    let (comparison, bound) = match pin {
        VersionPin::Exact(version) => return exactly(universe, name, version).into_iter().collect(),
        VersionPin::Bound(VersionRelation::Earlier, version) => (Comparison::Earlier, version),
        VersionPin::Bound(VersionRelation::EarlierOrEqual, version) => (Comparison::EarlierOrEqual, version),
        VersionPin::Bound(VersionRelation::LaterOrEqual, version) => (Comparison::LaterOrEqual, version),
        VersionPin::Bound(VersionRelation::Later, version) => (Comparison::Later, version),
    };
    let versions = universe.versions(name).iter().copied();
    let mut allowed: Vec<_> = versions.filter(|&id| comparison.holds(universe.record(id).version(), bound)).collect();
    allowed.sort_by(|&left, &right| universe.by_policy(left, right));
    allowed
}

/// Returns the package of a name in that very version, or else in the newest revision of that upstream version.
fn exactly(universe: &Universe, name: NameId, version: &str) -> Option<PackageId> {
    let versions = || universe.versions(name).iter().copied();
    let of = |id: PackageId| universe.record(id).version();
    let best = |left: &PackageId, right: &PackageId| {
        let priority = |id: &PackageId| universe.repository(*id).priority;
        version::compare(of(*left), of(*right)).then(priority(left).cmp(&priority(right))).then(right.cmp(left))
    };
    let exact = versions().filter(|&id| version::compare(of(id), version) == Ordering::Equal).max_by(best);
    let asked = version.split_once(':').map_or(version, |(_, rest)| rest);
    exact.or_else(|| versions().filter(|&id| DebVersion::new(of(id)).upstream() == asked).max_by(best))
}
