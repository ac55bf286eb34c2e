//! The choice among packages that would all do, as libsolv makes it.
//!
//! ```text
//! best repository priority → newest of each name → not obsoleted by another → recommended by what is there
//!   → names without a newer package first → newer by a version that several offer → suggested first
//! ```

use std::{cmp::Ordering, collections::HashMap};

use super::{
    condition::{Literal, package},
    index::RelationKind,
    universe::{NameId, PackageId, Universe},
};

/// Keeps the packages of the best priority, of each name the newest, none that another one obsoletes; sorted by name.
pub(super) fn keep_best(universe: &Universe, candidates: &mut Vec<Literal>) {
    if candidates.len() > 1 {
        keep_best_priority(universe, candidates);
    }
    if candidates.len() > 1 {
        keep_newest(universe, candidates);
    }
    if candidates.len() > 1 {
        drop_obsoleted(universe, candidates);
    }
}

fn keep_best_priority(universe: &Universe, candidates: &mut Vec<Literal>) {
    let rank = |candidate: Literal| universe.rank(package(candidate));
    if let Some(best) = candidates.iter().map(|&candidate| rank(candidate)).max() {
        candidates.retain(|&candidate| rank(candidate) == best);
    }
}

fn keep_newest(universe: &Universe, candidates: &mut Vec<Literal>) {
    let name = |candidate: Literal| universe.record(package(candidate)).name();
    candidates.sort_by(|&left, &right| name(left).cmp(name(right)).then(left.cmp(&right)));
    let mut kept: Vec<Literal> = Vec::new();
    for &candidate in &*candidates {
        match kept.last_mut() {
            Some(best) if name(*best) == name(candidate) => {
                if universe.compare_versions(package(*best), package(candidate)) == Ordering::Less {
                    *best = candidate;
                }
            }
            _ => kept.push(candidate),
        }
    }
    *candidates = kept;
}

/// Returns for each candidate the numbers of the others that it obsoletes.
fn obsoleted_by(universe: &Universe, candidates: &[Literal]) -> Vec<Vec<usize>> {
    let mut numbers: HashMap<NameId, Vec<usize>> = HashMap::new();
    for (number, &candidate) in candidates.iter().enumerate() {
        numbers.entry(universe.name(package(candidate))).or_default().push(number);
    }
    let of = |candidate: Literal| -> Vec<usize> {
        let id = package(candidate);
        let mut found = Vec::new();
        for atom in universe.atoms_of(id, RelationKind::Obsoletes) {
            let name = universe.atom_name(id, atom);
            if name == universe.name(id) {
                continue;
            }
            let capability = universe.capability(id, atom);
            let meant = |number: &&usize| universe.is_itself(package(candidates[**number]), &capability);
            found.extend(numbers.get(&name).into_iter().flatten().filter(meant));
        }
        found
    };
    candidates.iter().map(|&candidate| of(candidate)).collect()
}

/// Drops candidates that another one obsoletes, unless they obsolete each other, directly or in a circle.
fn drop_obsoleted(universe: &Universe, candidates: &mut Vec<Literal>) {
    let obsoletes = obsoleted_by(universe, candidates);
    let reachable = |from: usize| {
        let mut seen = vec![false; candidates.len()];
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for &other in &obsoletes[next] {
                if !std::mem::replace(&mut seen[other], true) {
                    open.push(other);
                }
            }
        }
        seen
    };
    if obsoletes.iter().all(Vec::is_empty) {
        return;
    }
    let reached: Vec<_> = (0..candidates.len()).map(reachable).collect();
    let dropped = |number: usize| (0..reached.len()).any(|other| other != number && reached[other][number] && !reached[number][other]);
    *candidates = (0..reached.len()).filter(|&number| !dropped(number)).map(|number| candidates[number]).collect();
}

/// What is there, as the choice asks for it.
pub(super) trait There {
    /// Returns whether something that is there recommends a package, or it supplements something that is there.
    fn is_recommended(&self, candidate: Literal) -> bool;
    /// Returns whether something that is there suggests a package, or it enhances something that is there.
    fn is_suggested(&self, candidate: Literal) -> bool;
}

/// Keeps the recommended ones if there are any.
pub(super) fn keep_recommended(candidates: &mut Vec<Literal>, there: &impl There) {
    let recommended: Vec<_> = candidates.iter().copied().filter(|&candidate| there.is_recommended(candidate)).collect();
    if candidates.len() > 1 && !recommended.is_empty() {
        *candidates = recommended;
    }
}

/// Puts the ones to try first in front.
pub(super) fn reorder(universe: &Universe, candidates: &mut [Literal], there: &impl There) {
    candidates.sort_by_key(|&candidate| has_newer(universe, package(candidate)));
    by_common_versions(universe, candidates);
    candidates.sort_by_key(|&candidate| !there.is_suggested(candidate));
}

/// Returns whether there is a newer package of the same name, or one of a better repository.
fn has_newer(universe: &Universe, id: PackageId) -> bool {
    let arch = universe.record(id).architecture();
    universe.versions(universe.name(id)).iter().any(|&other| {
        let newer = || universe.compare_versions(other, id) == Ordering::Greater;
        other != id
            && universe.record(other).architecture() == arch
            && match universe.rank(other).cmp(&universe.rank(id)) {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal => newer(),
            }
    })
}

/// Puts candidates behind others that offer newer versions of the same things.
fn by_common_versions(universe: &Universe, candidates: &mut [Literal]) {
    // (name, version, whether only versions below it are offered, number of the candidate)
    let mut offered: Vec<(NameId, &str, bool, usize)> = Vec::new();
    for (number, &candidate) in candidates.iter().enumerate() {
        let id = package(candidate);
        for atom in universe.atoms_of(id, RelationKind::Provides).filter(|atom| atom.sense.is_bounded_above()) {
            let capability = universe.capability(id, atom);
            if capability.sense == super::evr::Sense::EQUAL && is_hash(capability.evr) {
                continue;
            }
            let below = capability.sense == super::evr::Sense::LESS;
            offered.push((universe.atom_name(id, atom), capability.evr, below, number));
        }
    }
    let newest_first = |left: &(NameId, &str, bool, usize), right: &(NameId, &str, bool, usize)| {
        let versions = super::evr::compare(right.1, left.1);
        left.0.cmp(&right.0).then(versions).then(left.2.cmp(&right.2))
    };
    offered.sort_by(newest_first);
    let mut penalties = vec![0_usize; candidates.len()];
    let mut penalty = 0;
    for (at, offer) in offered.iter().enumerate() {
        match at.checked_sub(1).map(|before| &offered[before]) {
            Some(before) if before.0 == offer.0 => {
                if before.3 != offer.3 && newest_first(before, offer) == Ordering::Less {
                    penalty += 1;
                }
            }
            _ => penalty = 0,
        }
        penalties[offer.3] += penalty;
    }
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&number| penalties[number]);
    let sorted: Vec<_> = order.into_iter().map(|number| candidates[number]).collect();
    candidates.copy_from_slice(&sorted);
}

/// Returns whether a version looks like a checksum, as kernels have for their symbols.
fn is_hash(version: &str) -> bool {
    version.len() >= 4 && version.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
