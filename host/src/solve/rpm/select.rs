//! What a request means in a universe.
//!
//! The forms of a spec, in the order in which they are tried, as dnf has them:
//!
//! ```text
//! @ID                              a group: its mandatory, default and conditional packages
//! @ID, @^ID                        an environment: its groups
//! NAME-[EPOCH:]VERSION-RELEASE.ARCH, NAME.ARCH, NAME, NAME-[EPOCH:]VERSION-RELEASE, NAME-[EPOCH:]VERSION
//! NAME OPERATOR VERSION, PROVIDED  what packages provide
//! /PATH                            a file
//! ```
//!
//! All but groups may have globs in each part. A glob over names asks for one package of each name that matches. A plain name also accepts
//! packages that obsolete those of the name.

use std::collections::{BTreeSet, HashMap};

use super::{
    comps::{Environment, Group, Membership},
    dependency::{Capability, Dependency},
    evr::Evr,
    explain::{Conflict, Problem},
    index::{Atom, RelationKind},
    solution::SolveRequest,
    universe::{NameId, PackageId, Universe},
};
use crate::solve::glob;

/// One thing that must be installed.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Number of the spec that asks for it.
    pub(super) spec: usize,
    pub(super) wanted: Wanted,
}

/// What a job wants.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// One of these, in order of number.
    OneOf(Vec<PackageId>),
    /// A package of one name if there is one of another.
    Conditional {
        /// The name.
        package: String,
        /// The other name.
        requires: String,
    },
}

/// What is to be installed, before dependencies.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// In the order in which it is asked for: choices depend on it.
    pub(super) jobs: Vec<Job>,
    /// Names in groups that no repository has a package for.
    pub(super) missing_members: BTreeSet<String>,
}

/// Who obsoletes a name.
type Obsoleters<'a> = HashMap<NameId, Vec<(PackageId, &'a Atom)>>;

impl Selection {
    /// Returns what `request` means.
    ///
    /// # Errors
    /// Fails when something that is asked for does not exist.
    pub(super) fn new(universe: &Universe, request: &SolveRequest) -> Result<Self, Box<Conflict>> {
        let mut obsoleters = Obsoleters::new();
        for package in universe.package_ids() {
            for atom in universe.atoms_of(package, RelationKind::Obsoletes) {
                obsoleters.entry(universe.atom_name(package, atom)).or_default().push((package, atom));
            }
        }
        let selector = Selector { universe, obsoleters };
        let mut selection = Self::default();
        let mut problems = Vec::new();
        for (at, spec) in request.specs.iter().enumerate() {
            let found = match spec.strip_prefix('@') {
                Some(id) => selector.group(at, spec, id, &mut selection),
                None => selector.packages(at, spec, &mut selection),
            };
            problems.extend(found.err());
        }
        if problems.is_empty() { Ok(selection) } else { Err(Box::new(Conflict { problems })) }
    }
}

struct Selector<'a> {
    universe: &'a Universe,
    obsoleters: Obsoleters<'a>,
}

impl Selector<'_> {
    fn group(&self, at: usize, spec: &str, id: &str, selection: &mut Selection) -> Result<(), Problem> {
        let only_environment = id.strip_prefix('^');
        if only_environment.is_none()
            && let Some(group) = self.merged_group(id)
        {
            self.members(at, &group, selection);
            return Ok(());
        }
        let Some(environment) = self.environment(only_environment.unwrap_or(id)) else {
            return Err(Problem::unknown_group(self.universe, spec, only_environment.unwrap_or(id)));
        };
        for id in &environment.groups {
            let group = self.merged_group(id).ok_or_else(|| Problem::unknown_group(self.universe, spec, id))?;
            self.members(at, &group, selection);
        }
        Ok(())
    }

    /// Returns a group with what all repositories have in it.
    fn merged_group(&self, id: &str) -> Option<Group> {
        let found = self.universe.repositories().iter().filter_map(|repository| repository.comps.as_ref()?.groups.get(id));
        found.cloned().reduce(|mut merged, group| {
            merged.merge(group);
            merged
        })
    }

    fn environment(&self, id: &str) -> Option<&Environment> {
        self.universe.repositories().iter().find_map(|repository| repository.comps.as_ref()?.environments.get(id))
    }

    fn members(&self, at: usize, group: &Group, selection: &mut Selection) {
        for member in &group.members {
            let candidates = self.universe.find_name(&member.package).map_or(&[][..], |name| self.universe.versions(name));
            let wanted = match member.membership {
                Membership::Optional => continue,
                _ if candidates.is_empty() => {
                    selection.missing_members.insert(member.package.clone());
                    continue;
                }
                Membership::Conditional if !member.requires.is_empty() => {
                    Wanted::Conditional { package: member.package.clone(), requires: member.requires.clone() }
                }
                Membership::Mandatory | Membership::Default | Membership::Conditional => Wanted::OneOf(self.with_obsoleters(candidates)),
            };
            selection.jobs.push(Job { spec: at, wanted });
        }
    }

    fn packages(&self, at: usize, spec: &str, selection: &mut Selection) -> Result<(), Problem> {
        let mut push = |wanted: Vec<PackageId>| selection.jobs.push(Job { spec: at, wanted: Wanted::OneOf(wanted) });
        if let Some((found, just_name)) = self.by_nevra(spec) {
            if glob::is_glob(spec) {
                for of_name in self.per_name(&found) {
                    push(if just_name { self.with_obsoleters(&of_name) } else { of_name });
                }
            } else {
                push(if just_name { self.with_obsoleters(&found) } else { found });
            }
            return Ok(());
        }
        let found = self.by_provides(spec)?;
        if found.is_empty() {
            return Err(Problem::unknown(self.universe, spec));
        }
        if glob::is_glob(spec) && !spec.starts_with('/') {
            self.per_name(&found).into_iter().for_each(push);
        } else {
            push(found);
        }
        Ok(())
    }

    /// Returns the packages that a name, perhaps with version or architecture, means, and whether it is just a name.
    fn by_nevra(&self, spec: &str) -> Option<(Vec<PackageId>, bool)> {
        if spec.contains(['(', '/', '=', '<', '>', ' ']) {
            return None;
        }
        forms(spec).into_iter().find_map(|form| {
            let mut found: Vec<PackageId> = match glob::is_glob(form.name) {
                false => self.universe.find_name(form.name).map_or_else(Vec::new, |name| self.universe.versions(name).to_vec()),
                true => {
                    let names = self.universe.named().filter(|&name| glob::matches(form.name, self.universe.name_text(name)));
                    let mut found: Vec<_> = names.flat_map(|name| self.universe.versions(name).iter().copied()).collect();
                    found.sort_unstable();
                    found
                }
            };
            found.retain(|&package| form.fits(self.universe, package));
            (!found.is_empty()).then_some((found, form.is_just_name()))
        })
    }

    fn by_provides(&self, spec: &str) -> Result<Vec<PackageId>, Problem> {
        let capability = match Dependency::parse(spec) {
            Ok(Dependency::Simple(capability)) => capability,
            Ok(_) => return Err(Problem::Malformed { spec: spec.to_owned(), reason: "rich dependencies cannot be asked for".to_owned() }),
            // Paths may have white space.
            Err(_) if spec.starts_with('/') => Capability::any(spec),
            Err(error) => return Err(Problem::Malformed { spec: spec.to_owned(), reason: error.reason.to_owned() }),
        };
        if !glob::is_glob(capability.name) {
            return Ok(self.universe.providers(&capability));
        }
        let names = self.universe.offered_names().filter(|&name| glob::matches(capability.name, self.universe.name_text(name)));
        let found: BTreeSet<_> = names.flat_map(|name| self.universe.providers_of(name, &capability)).collect();
        Ok(found.into_iter().collect())
    }

    /// Returns packages in groups of the same name, in the order of the names' first packages.
    fn per_name(&self, packages: &[PackageId]) -> Vec<Vec<PackageId>> {
        let mut groups: Vec<Vec<PackageId>> = Vec::new();
        let mut numbers = HashMap::new();
        for &package in packages {
            let number = *numbers.entry(self.universe.name(package)).or_insert(groups.len());
            match groups.get_mut(number) {
                Some(group) => group.push(package),
                None => groups.push(vec![package]),
            }
        }
        groups
    }

    /// Returns packages and those that obsolete one of them, in order of number.
    fn with_obsoleters(&self, packages: &[PackageId]) -> Vec<PackageId> {
        let mut all: BTreeSet<_> = packages.iter().copied().collect();
        for &package in packages {
            for (obsoleter, atom) in self.obsoleters.get(&self.universe.name(package)).into_iter().flatten() {
                if self.universe.is_itself(package, &self.universe.capability(*obsoleter, atom)) {
                    all.insert(*obsoleter);
                }
            }
        }
        all.into_iter().collect()
    }
}

/// A spec split in one of the ways that are possible; empty parts are not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form<'a> {
    name: &'a str,
    epoch: &'a str,
    version: &'a str,
    release: &'a str,
    arch: &'a str,
}

impl Form<'_> {
    fn is_just_name(&self) -> bool {
        self.version.is_empty() && self.arch.is_empty()
    }

    fn fits(&self, universe: &Universe, package: PackageId) -> bool {
        let record = universe.record(package);
        let Evr { epoch, version, release } = record.evr();
        let part = |pattern: &str, text: &str| pattern.is_empty() || glob::matches(pattern, text);
        part(self.arch, record.architecture())
            && (self.epoch.is_empty() || self.epoch.trim_start_matches('0') == epoch.trim_start_matches('0'))
            && part(self.version, version)
            && part(self.release, release.unwrap_or_default())
    }
}

/// Returns the ways to split a spec, in the order in which dnf tries them.
fn forms(spec: &str) -> Vec<Form<'_>> {
    let name_only = |name| Form { name, epoch: "", version: "", release: "", arch: "" };
    let with_version = |text: &'_ str| -> Option<(usize, usize)> {
        let at = text.rfind('-')?;
        (at > 0 && at + 1 < text.len()).then_some((at, at + 1))
    };
    let versioned = |text, arch, has_release: bool| {
        let (rest, release) = if has_release {
            let (end, start) = with_version(text)?;
            (&text[..end], &text[start..])
        } else {
            (text, "")
        };
        let (end, start) = with_version(rest)?;
        let (name, version) = (&rest[..end], &rest[start..]);
        let (epoch, version) = version.split_once(':').unwrap_or(("", version));
        let fine = !version.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
        fine.then_some(Form { name, epoch, version, release, arch })
    };
    let arch = spec.rsplit_once('.').filter(|(rest, arch)| !rest.is_empty() && !arch.is_empty() && !arch.contains(['-', ':']));
    let with_arch = arch.and_then(|(rest, arch)| versioned(rest, arch, true));
    let name_arch = arch.map(|(name, arch)| Form { arch, ..name_only(name) });
    [with_arch, name_arch, Some(name_only(spec)), versioned(spec, "", true), versioned(spec, "", false)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn specs_are_split_in_all_ways() {
        let form = |name, epoch, version, release, arch| Form { name, epoch, version, release, arch };
        for (spec, expected) in [
            ("bash", vec![form("bash", "", "", "", "")]),
            ("bash.x86_64", vec![form("bash", "", "", "", "x86_64"), form("bash.x86_64", "", "", "", "")]),
            (
                "dbus-1:1.12-5.el9.x86_64",
                vec![
                    form("dbus", "1", "1.12", "5.el9", "x86_64"),
                    form("dbus-1:1.12-5.el9", "", "", "", "x86_64"),
                    form("dbus-1:1.12-5.el9.x86_64", "", "", "", ""),
                    form("dbus", "1", "1.12", "5.el9.x86_64", ""),
                    form("dbus-1:1.12", "", "5.el9.x86_64", "", ""),
                ],
            ),
            ("python3-libs", vec![form("python3-libs", "", "", "", ""), form("python3", "", "libs", "", "")]),
        ] {
            assert_eq!(forms(spec), expected, "{spec}");
        }
    }

    proptest! {
        #[test]
        fn any_spec_can_be_split(spec in "[a-c.:0-9*-]{0,20}") {
            prop_assert!(forms(&spec).iter().any(|form| form.name == spec));
        }
    }
}
