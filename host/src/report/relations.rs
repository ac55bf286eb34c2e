//! Which package of an image needs which, from what packages of Debian's family say of themselves.

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

/// Returns each dependency once.
#[must_use]
pub fn strongest(mut found: Vec<Dependency>) -> Vec<Dependency> {
    found.sort();
    // Of two that differ only in `pre`, the stronger one stays.
    found.dedup_by(|next, kept| {
        let same = (next.from, next.to) == (kept.from, kept.to);
        kept.pre |= same && next.pre;
        same
    });
    found
}
