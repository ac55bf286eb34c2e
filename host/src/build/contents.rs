//! What reports say of an image's packages: from the lock and from the packages' own control files, so that it is the same
//! whether the lock was just made or is a year old.

use std::collections::BTreeMap;

use oic_config::spec::{Ecosystem, ImageSpec};

use crate::{
    lock::{LockedImage, LockedPackage},
    report::packages::{Dependency, Origin, PackageRecord},
    rootfs::{
        Deb,
        control::{Relation, Stanza},
    },
};

/// The packages of an image and how they depend on each other.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// What they have in common.
    pub(super) origin: Origin,
    /// The packages, in the order of the lock.
    pub(super) packages: Vec<PackageRecord>,
    /// Who needs whom.
    pub(super) dependencies: Vec<Dependency>,
}

/// Returns the contents of an image. `debs` are the packages of `lock`, in its order.
#[must_use]
pub(super) fn contents<'a>(spec: &ImageSpec, lock: &LockedImage, debs: impl IntoIterator<Item = &'a Deb>) -> Contents {
    let release = spec.target.dist.strip_prefix(&spec.target.os).filter(|version| !version.is_empty());
    let origin = Origin {
        ecosystem: Ecosystem::Deb,
        vendor: spec.target.os.clone(),
        release: release.map_or_else(|| spec.target.dist.clone(), |version| format!("{}-{version}", spec.target.os)),
    };
    // A control file that cannot be read has stopped the build before: what is left here is a package without relations.
    let stanzas: Vec<Option<Stanza>> = debs.into_iter().map(|deb| Stanza::parse(deb.control_file("control")?).ok()).collect();
    let packages = lock.packages.iter().zip(&stanzas).map(|(package, stanza)| record(lock, package, stanza.as_ref())).collect();
    Contents { origin, packages, dependencies: dependencies(lock, &stanzas) }
}

/// Returns what reports say of one package.
fn record(lock: &LockedImage, package: &LockedPackage, stanza: Option<&Stanza>) -> PackageRecord {
    let repository = lock.repositories.iter().find(|repository| repository.id == package.repository);
    let url =
        repository.filter(|repository| repository.url.contains("://")).map(|repository| format!("{}/{}", repository.url, package.path));
    PackageRecord {
        name: package.name.clone(),
        arch: package.arch.clone(),
        version: package.version.clone(),
        source: Some(source(package, stanza)),
        url,
        sha256: Some(package.sha256),
        license: None,
        requested: package.requested,
    }
}

/// Returns name and version of the source package (Debian Policy §5.6.1: `Source: name (version)`, each part only if it differs).
fn source(package: &LockedPackage, stanza: Option<&Stanza>) -> (String, String) {
    let Some(field) = stanza.and_then(|stanza| stanza.get("Source")) else { return (package.name.clone(), package.version.clone()) };
    match field.split_once(" (") {
        Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
        None => (field.to_owned(), package.version.clone()),
    }
}

/// Returns which package needs which: of each relation, every package of the image that satisfies it.
fn dependencies(lock: &LockedImage, stanzas: &[Option<Stanza>]) -> Vec<Dependency> {
    let mut providers: BTreeMap<String, Vec<(usize, Option<String>)>> = BTreeMap::new();
    for (index, (package, stanza)) in lock.packages.iter().zip(stanzas).enumerate() {
        providers.entry(package.name.clone()).or_default().push((index, Some(package.version.clone())));
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
    found.sort();
    // Of two that differ only in `pre`, the stronger one stays.
    found.dedup_by(|next, kept| {
        let same = (next.from, next.to) == (kept.from, kept.to);
        kept.pre |= same && next.pre;
        same
    });
    found
}
