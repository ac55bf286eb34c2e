//! The check that every solution passes before it leaves the solver. Works on the text of dependencies, and shares nothing with rules,
//! normal forms and search.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dependency::{Capability, Dependency},
    evr::Sense,
    index::RelationKind,
    select::{Selection, Wanted},
    universe::{PackageId, Universe},
};

/// Checks that a set of packages holds together: one version per name, everything asked for, every dependency met, no conflict.
///
/// # Errors
/// Fails with a sentence about the first thing that is wrong.
pub(super) fn check(universe: &Universe, selection: &Selection, packages: &[PackageId]) -> Result<(), String> {
    let set = Set::new(universe, packages);
    let mut by_name: BTreeMap<&str, PackageId> = BTreeMap::new();
    for &package in packages {
        if let Some(other) = by_name.insert(universe.record(package).name(), package) {
            return Err(format!("{} and {} have the same name", universe.shown(package), universe.shown(other)));
        }
    }
    for job in &selection.jobs {
        match &job.wanted {
            Wanted::OneOf(candidates) if !candidates.iter().any(|candidate| packages.contains(candidate)) => {
                let candidates: Vec<_> = candidates.iter().map(|&candidate| universe.shown(candidate)).collect();
                return Err(format!("one of {} is asked for, and none is chosen", candidates.join(", ")));
            }
            Wanted::Conditional { package, requires } if set.has(requires) && !set.has(package) => {
                return Err(format!("{package} is asked for if {requires} is there, and is not chosen"));
            }
            _ => {}
        }
    }
    packages.iter().try_for_each(|&package| set.check_package(package))
}

/// What chosen packages offer, by name: who, and which versions.
struct Set<'a> {
    universe: &'a Universe,
    packages: &'a [PackageId],
    offers: BTreeMap<&'a str, Vec<(PackageId, Sense, &'a str)>>,
}

impl<'a> Set<'a> {
    fn new(universe: &'a Universe, packages: &'a [PackageId]) -> Self {
        let mut offers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for &package in packages {
            for (kind, capability) in universe.record(package).relations() {
                if matches!(kind, RelationKind::Provides | RelationKind::File) {
                    offers.entry(capability.name).or_default().push((package, capability.sense, capability.evr));
                }
            }
            let checksum = universe.record(package).checksum().1;
            for owner in universe.repository(package).files.iter().filter(|owner| owner.checksum == checksum) {
                offers.entry(&owner.path).or_default().push((package, Sense::ANY, ""));
            }
        }
        Self { universe, packages, offers }
    }

    fn has(&self, name: &str) -> bool {
        self.offers.contains_key(name)
    }

    /// Returns the chosen packages that offer a capability.
    fn offering(&self, capability: &Capability<'_>) -> BTreeSet<PackageId> {
        let offers = self.offers.get(capability.name).into_iter().flatten();
        offers.filter(|(_, sense, evr)| capability.allows(*sense, evr)).map(|(package, ..)| *package).collect()
    }

    /// Returns the chosen packages that meet a dependency each on its own.
    fn meeting(&self, dependency: &Dependency<'_>) -> BTreeSet<PackageId> {
        match dependency {
            Dependency::Simple(capability) => self.offering(capability),
            Dependency::With(parts) => {
                let mut sets = parts.iter().map(|part| self.meeting(part));
                let first = sets.next().unwrap_or_default();
                sets.fold(first, |kept, set| kept.intersection(&set).copied().collect())
            }
            Dependency::Without(pair) => self.meeting(&pair[0]).difference(&self.meeting(&pair[1])).copied().collect(),
            Dependency::And(parts) | Dependency::Or(parts) => parts.iter().flat_map(|part| self.meeting(part)).collect(),
            Dependency::If(pair, _) | Dependency::Unless(pair, _) => self.meeting(&pair[0]),
        }
    }

    fn is_met(&self, dependency: &Dependency<'_>) -> bool {
        match dependency {
            Dependency::Simple(_) | Dependency::With(_) | Dependency::Without(_) => !self.meeting(dependency).is_empty(),
            Dependency::And(parts) => parts.iter().all(|part| self.is_met(part)),
            Dependency::Or(parts) => parts.iter().any(|part| self.is_met(part)),
            Dependency::If(pair, otherwise) => match self.is_met(&pair[1]) {
                true => self.is_met(&pair[0]),
                false => otherwise.as_ref().is_none_or(|part| self.is_met(part)),
            },
            Dependency::Unless(pair, otherwise) => match self.is_met(&pair[1]) {
                true => otherwise.as_ref().is_some_and(|part| self.is_met(part)),
                false => self.is_met(&pair[0]),
            },
        }
    }

    fn check_package(&self, package: PackageId) -> Result<(), String> {
        let shown = || self.universe.shown(package);
        for (kind, capability) in self.universe.record(package).relations() {
            let dependency = || match capability.sense {
                Sense::ANY => Dependency::parse(capability.name).unwrap_or(Dependency::Simple(capability)),
                _ => Dependency::Simple(capability),
            };
            match kind {
                RelationKind::Requires if !self.is_met(&dependency()) => {
                    return Err(format!("{} requires {capability}, and nothing chosen offers that", shown()));
                }
                RelationKind::Conflicts => {
                    let dependency = dependency();
                    let other = match dependency {
                        Dependency::Simple(_) | Dependency::With(_) | Dependency::Without(_) => {
                            self.meeting(&dependency).into_iter().find(|other| *other != package)
                        }
                        _ => self.is_met(&dependency).then_some(package),
                    };
                    if let Some(other) = other {
                        return Err(format!("{} conflicts with {capability}, and {} is chosen", shown(), self.universe.shown(other)));
                    }
                }
                RelationKind::Obsoletes if !super::rules::is_installonly(self.universe, package) => {
                    let is_meant = |other: &&PackageId| **other != package && self.universe.is_itself(**other, &capability);
                    if let Some(&other) = self.packages.iter().find(is_meant) {
                        return Err(format!("{} obsoletes {capability}, and {} is chosen", shown(), self.universe.shown(other)));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
