//! The check that every solution passes before it leaves the solver. Shares nothing with the searches but the universe's tables.

use std::collections::BTreeMap;

use super::{
    index::RelationKind,
    relation::Alternative,
    selection::Selection,
    universe::{NameId, PackageId, Universe},
};

/// Checks that a set of packages holds together: one version per name, everything asked for, every dependency met, no conflict.
///
/// # Errors
/// Fails with a sentence about the first thing that is wrong.
pub(super) fn check(universe: &Universe, selection: &Selection, packages: &[PackageId]) -> Result<(), String> {
    let mut chosen: BTreeMap<NameId, PackageId> = BTreeMap::new();
    for &package in packages {
        if let Some(other) = chosen.insert(universe.name(package), package) {
            return Err(format!("{} is chosen twice, as {} too", shown(universe, package), shown(universe, other)));
        }
    }
    for name in selection.names() {
        let Some(&package) = chosen.get(&name) else {
            return Err(format!("{} is asked for and not chosen", universe.name_text(name)));
        };
        if selection.pins.get(&name).is_some_and(|allowed| !allowed.contains(&package)) {
            return Err(format!("{} is chosen although another version is asked for", shown(universe, package)));
        }
    }
    let provided = provided_names(universe, packages);
    packages.iter().try_for_each(|&package| check_package(universe, &provided, package))
}

/// A name as a chosen package offers it: who, and with what version.
type Offers<'a> = BTreeMap<&'a str, Vec<(PackageId, Option<&'a str>)>>;

fn provided_names<'a>(universe: &'a Universe, packages: &[PackageId]) -> Offers<'a> {
    let mut offers = Offers::new();
    for &package in packages {
        let record = universe.record(package);
        offers.entry(record.name()).or_default().push((package, Some(record.version())));
        for (kind, alternative, _) in record.relations() {
            if kind == RelationKind::Provides {
                let version = alternative.constraint.map(|(_, version)| version);
                offers.entry(universe.plain_name(alternative.name)).or_default().push((package, version));
            }
        }
    }
    offers
}

fn check_package(universe: &Universe, offers: &Offers<'_>, package: PackageId) -> Result<(), String> {
    let mut group = Vec::new();
    let mut met = false;
    for (kind, alternative, more) in universe.record(package).relations() {
        let takers = takers(universe, offers, &alternative);
        if kind.is_negative() {
            let own = universe.name(package);
            if let Some(&other) = takers.iter().find(|&&other| universe.name(other) != own) {
                let field = kind.field();
                return Err(format!("{} has {field}: {alternative}, and {} is chosen", shown(universe, package), shown(universe, other)));
            }
        } else if kind.is_required() {
            met |= !takers.is_empty();
            group.push(alternative.to_string());
            if !more {
                if !met {
                    return Err(format!(
                        "{} has {}: {}, and nothing chosen meets that",
                        shown(universe, package),
                        kind.field(),
                        group.join(" | ")
                    ));
                }
                group.clear();
                met = false;
            }
        }
    }
    Ok(())
}

/// Returns the chosen packages that an alternative is about.
fn takers(universe: &Universe, offers: &Offers<'_>, alternative: &Alternative<'_>) -> Vec<PackageId> {
    let plain = universe.plain_name(alternative.name);
    let (name, only_allowed) = match plain.strip_suffix(":any") {
        Some(name) => (name, true),
        None => (plain, false),
    };
    let right = |package: PackageId, version: Option<&str>| {
        let record = universe.record(package);
        let allowed = !only_allowed || (record.name() == name && record.multi_arch() == super::index::MultiArch::Allowed);
        let in_bounds = match (alternative.constraint, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((comparison, bound)), Some(version)) => comparison.holds(version, bound),
        };
        allowed && in_bounds
    };
    offers.get(name).into_iter().flatten().filter(|(package, version)| right(*package, *version)).map(|(package, _)| *package).collect()
}

fn shown(universe: &Universe, package: PackageId) -> String {
    let record = universe.record(package);
    format!("{} {}", record.name(), record.version())
}
