//! What a new lock changes, for people.

use std::{collections::BTreeMap, fmt};

use super::LockedPackage;

/// The difference between two sets of packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockDiff {
    /// Name and version of packages that are new.
    pub added: Vec<(String, String)>,
    /// Name and version of packages that are gone.
    pub removed: Vec<(String, String)>,
    /// Name, old and new version of packages with another version. An unchanged version means other bytes.
    pub changed: Vec<(String, String, String)>,
}

impl LockDiff {
    /// Compares two sets.
    #[must_use]
    pub fn between(old: &[LockedPackage], new: &[LockedPackage]) -> Self {
        fn by_name(packages: &[LockedPackage]) -> BTreeMap<(&str, &str), &LockedPackage> {
            packages.iter().map(|package| ((package.name.as_str(), family(&package.arch)), package)).collect()
        }
        let (old, new) = (by_name(old), by_name(new));
        let entry = |package: &LockedPackage| (package.name.clone(), package.version.clone());
        let both = new.iter().filter_map(|(key, package)| Some((*package, *old.get(key)?)));
        let changed = both.filter(|(new, old)| (&new.version, new.sha256) != (&old.version, old.sha256));
        Self {
            added: new.iter().filter(|(key, _)| !old.contains_key(*key)).map(|(_, package)| entry(package)).collect(),
            removed: old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, package)| entry(package)).collect(),
            changed: changed.map(|(new, old)| (new.name.clone(), old.version.clone(), new.version.clone())).collect(),
        }
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A package that becomes one for all architectures, or the reverse, is still the same package.
fn family(arch: &str) -> &str {
    if ["all", "noarch"].contains(&arch) { "" } else { arch }
}

impl fmt::Display for LockDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no package changes");
        }
        write!(f, "{} added, {} removed, {} changed", self.added.len(), self.removed.len(), self.changed.len())?;
        for (name, version) in &self.added {
            write!(f, "\n  + {name} {version}")?;
        }
        for (name, version) in &self.removed {
            write!(f, "\n  - {name} {version}")?;
        }
        for (name, old, new) in &self.changed {
            if old == new {
                write!(f, "\n  ~ {name} {new} (same version, other content)")?;
            } else {
                write!(f, "\n  ~ {name} {old} -> {new}")?;
            }
        }
        Ok(())
    }
}
