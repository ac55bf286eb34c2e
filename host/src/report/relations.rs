//! Which package of an image needs which, from what packages say of themselves.

use std::collections::BTreeMap;

use super::packages::Dependency;
use crate::rootfs::control::{Relation, Stanza};

/// Returns which package needs which: of each relation, every package of the image that satisfies it. `packages` are names and
/// versions, `stanzas` what each says, none where that is not known.
#[must_use]
pub fn of_debs(packages: &[(&str, &str)], stanzas: &[Option<Stanza>]) -> Vec<Dependency> {
    let mut providers: BTreeMap<String, Vec<(usize, Option<String>)>> = BTreeMap::new();
    for (index, ((name, version), stanza)) in packages.iter().zip(stanzas).enumerate() {
        providers.entry((*name).to_owned()).or_default().push((index, Some((*version).to_owned())));
        for provided in stanza.iter().filter_map(|stanza| stanza.relations("Provides").ok()).flatten().flatten() {
            providers.entry(provided.name).or_default().push((index, provided.version.map(|(_, version)| version)));
        }
    }
    let satisfies = |relation: &Relation, version: Option<&String>| match version {
        Some(version) => relation.is_satisfied_by(version),
        // A virtual package without a version satisfies relations without one (Debian Policy §7.5).
        None => relation.version.is_none(),
    };
    let mut found = Vec::new();
    for (from, stanza) in stanzas.iter().enumerate() {
        for (field, pre) in [("Pre-Depends", true), ("Depends", false)] {
            let relations = stanza.iter().filter_map(|stanza| stanza.relations(field).ok()).flatten().flatten();
            for relation in relations {
                for (to, version) in providers.get(&relation.name).into_iter().flatten() {
                    if *to != from && satisfies(&relation, version.as_ref()) {
                        found.push(Dependency { from, to: *to, pre });
                    }
                }
            }
        }
    }
    strongest(found)
}

/// What a package of RPM says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpmRelations {
    /// What it provides, its files among it.
    pub provides: Vec<String>,
    /// What it requires, with the flags of each.
    pub requires: Vec<(String, u64)>,
}

/// Returns which package of RPM needs which: of each requirement, every package that provides its name or has its file.
/// Conditions (`(a if b)`) are left out: which of their parts holds is not said by the packages.
#[must_use]
pub fn of_rpms(packages: &[RpmRelations]) -> Vec<Dependency> {
    /// The requirement must be met before a script of the package runs.
    const BEFORE_SCRIPTS: u64 = 1 << 6 | 1 << 9 | 1 << 10;
    let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, package) in packages.iter().enumerate() {
        package.provides.iter().for_each(|name| providers.entry(name).or_default().push(index));
    }
    let mut found = Vec::new();
    for (from, package) in packages.iter().enumerate() {
        for (name, flags) in &package.requires {
            let to = providers.get(name.as_str()).into_iter().flatten().filter(|to| **to != from);
            found.extend(to.map(|to| Dependency { from, to: *to, pre: flags & BEFORE_SCRIPTS != 0 }));
        }
    }
    strongest(found)
}

/// Returns each dependency once.
#[must_use]
fn strongest(mut found: Vec<Dependency>) -> Vec<Dependency> {
    found.sort();
    // Of two that differ only in `pre`, the stronger one stays.
    found.dedup_by(|next, kept| {
        let same = (next.from, next.to) == (kept.from, kept.to);
        kept.pre |= same && next.pre;
        same
    });
    found
}
