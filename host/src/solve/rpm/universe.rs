//! All packages that a solve may choose from: several indexes under one numbering, and who offers what.
//!
//! ```text
//! PackageIndex…  --architecture, allowPackages, excludes-->  packages  --Provides, files-->  offers by name
//! ```
//!
//! # Invariants
//!
//! Packages are numbered in the order of the repositories, and in each in the order of its document: libsolv numbers them so too, and
//! decides its last ties by that. Offers of a name are in the order of their packages. Packages for other architectures than the
//! target's and `noarch` do not exist here, which keeps multilib out.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use oic_config::spec::{Arch, Exclude};

use super::{
    comps::Comps,
    dependency::{Capability, Dependency, is_rich},
    evr,
    filelists::FileOwner,
    index::{Atom, PackageIndex, PackageRecord, RelationKind},
};
pub(super) use crate::solve::numbers::{NameId, PackageId};
use crate::solve::{
    glob,
    groups::Groups,
    numbers::{Packages, Place, UniverseTooLarge, number_names},
    strings::Interner,
};

/// The priority that repositories have by default, as dnf counts.
pub const DEFAULT_PRIORITY: i32 = 99;

/// The index of one repository, and what is to be taken of it.
#[derive(Debug, Clone)]
pub struct IndexedRepository {
    /// The repository's name.
    pub id: String,
    /// Priority as dnf counts it: the lowest number wins.
    pub priority: i32,
    /// Only packages that one of these globs matches are taken; empty: all. A glob is compared with the name, `NAME.ARCH` and the NEVRA.
    pub allow_packages: Vec<String>,
    /// Packages that one of these globs matches are not taken, even if they are allowed.
    pub excludes: Vec<Exclude>,
    /// The packages.
    pub index: Arc<PackageIndex>,
    /// Groups, if the repository has any.
    pub comps: Option<Arc<Comps>>,
    /// Owners of files that `primary.xml` does not list: see [`Universe::unknown_files`].
    pub files: Vec<FileOwner>,
}

/// A package offers a name.
#[derive(Debug, Clone, Copy)]
struct Offer {
    package: PackageId,
    /// None for a file that `filelists.xml` lists.
    atom: Option<Atom>,
}

/// All packages that a solve may choose from.
#[derive(Debug)]
pub struct Universe {
    arch: Arch,
    repositories: Vec<IndexedRepository>,
    names: Interner,
    /// For each index, the number of each of its names.
    name_maps: Vec<Vec<NameId>>,
    packages: Packages,
    by_name: Groups<PackageId>,
    offers: Groups<Offer>,
}

impl Universe {
    /// Returns the universe of the given indexes for one architecture.
    ///
    /// # Errors
    /// Fails when there is more in them than can be numbered.
    pub fn new(arch: Arch, repositories: Vec<IndexedRepository>) -> Result<Self, UniverseTooLarge> {
        let mut names = Interner::default();
        let mut name_maps = Vec::with_capacity(repositories.len());
        let mut packages = Packages::default();
        let mut extra = Vec::new();
        for (number, repository) in repositories.iter().enumerate() {
            let index = &repository.index;
            let map = number_names(index.names(), &mut names, |name| name)?;
            let mut by_checksum: HashMap<&str, PackageId> = HashMap::new();
            for (at, record) in index.packages().enumerate().filter(|(_, record)| refusal(repository, arch, record).is_none()) {
                let id = packages.push(Place { repository: number, at, name: map[record.name_id() as usize] })?;
                if !repository.files.is_empty() {
                    by_checksum.insert(record.checksum().1, id);
                }
            }
            for owner in &repository.files {
                if let Some(&package) = by_checksum.get(&*owner.checksum) {
                    extra.push((names.intern(&owner.path)? as usize, Offer { package, atom: None }));
                }
            }
            name_maps.push(map);
        }
        // Literals of the solver are signed.
        i32::try_from(packages.len() + 1).map_err(|_| UniverseTooLarge)?;
        let (by_name, offers) = (Groups::default(), Groups::default());
        let mut universe = Self { arch, repositories, names, name_maps, packages, by_name, offers };
        universe.group(extra);
        Ok(universe)
    }

    /// Fills the tables from names.
    fn group(&mut self, mut offers: Vec<(usize, Offer)>) {
        let count = self.names.strings().len();
        self.by_name = Groups::new(count, self.package_ids().map(|id| (self.name(id).at(), id)));
        for package in self.package_ids() {
            for atom in self.atoms(package).iter().filter(|atom| atom.kind.is_offer()) {
                offers.push((self.atom_name(package, atom).at(), Offer { package, atom: Some(*atom) }));
            }
        }
        offers.sort_by_key(|(_, offer)| offer.package);
        self.offers = Groups::new(count, offers.iter().copied());
    }

    /// Returns the architecture.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Returns the repositories.
    #[must_use]
    pub fn repositories(&self) -> &[IndexedRepository] {
        &self.repositories
    }

    /// Returns how many packages there are to choose from.
    #[must_use]
    pub fn package_count(&self) -> usize {
        self.packages.len()
    }

    /// Returns the names of all packages that can be chosen, in no particular order.
    pub fn package_names(&self) -> impl Iterator<Item = &str> {
        self.named().map(|name| self.name_text(name))
    }

    /// Returns the files that packages require and no package is known to have, with those of `requests` among them.
    ///
    /// Where this is not empty, `filelists.xml` may know who has them: [`super::filelists::find_owners`] finds out, and a universe with
    /// its result as [`IndexedRepository::files`] knows more. Paths that `primary.xml` would list are not among them.
    #[must_use]
    pub fn unknown_files(&self, requests: &[String]) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        let mut seen = vec![false; self.names.strings().len()];
        let mut look_at = |path: &str| {
            let offered = self.find_name(path).is_some_and(|name| !self.offers.get(name.at()).is_empty());
            if path.starts_with('/') && !offered && !super::filelists::is_in_primary(path) {
                unknown.insert(path.to_owned());
            }
        };
        requests.iter().for_each(|request| look_at(request));
        for package in self.package_ids() {
            for atom in self.atoms(package).iter().filter(|atom| !atom.kind.is_offer()) {
                let name = self.atom_name(package, atom);
                if std::mem::replace(&mut seen[name.at()], true) {
                    continue;
                }
                match self.name_text(name) {
                    text if is_rich(text) => for_each_name(&Dependency::parse(text).ok(), &mut look_at),
                    text => look_at(text),
                }
            }
        }
        unknown
    }

    pub(super) fn named(&self) -> impl Iterator<Item = NameId> {
        let count = u32::try_from(self.names.strings().len()).unwrap_or(u32::MAX);
        (0..count).map(NameId).filter(|name| !self.by_name.get(name.at()).is_empty())
    }

    pub(super) fn find_name(&self, name: &str) -> Option<NameId> {
        self.names.find(name).map(NameId)
    }

    pub(super) fn name_text(&self, name: NameId) -> &str {
        self.names.strings().get(name.0)
    }

    /// Returns the names that something offers, packages' own names included.
    pub(super) fn offered_names(&self) -> impl Iterator<Item = NameId> {
        let count = u32::try_from(self.names.strings().len()).unwrap_or(u32::MAX);
        (0..count).map(NameId).filter(|name| !self.offers.get(name.at()).is_empty())
    }

    /// Returns all packages.
    pub(super) fn package_ids(&self) -> impl Iterator<Item = PackageId> + Clone + use<> {
        self.packages.ids()
    }

    pub(super) fn name(&self, id: PackageId) -> NameId {
        self.packages.place(id).name
    }

    pub(super) fn repository_number(&self, id: PackageId) -> usize {
        self.packages.place(id).repository
    }

    pub(super) fn repository(&self, id: PackageId) -> &IndexedRepository {
        &self.repositories[self.repository_number(id)]
    }

    pub(super) fn record(&self, id: PackageId) -> PackageRecord<'_> {
        self.repository(id).index.record(self.packages.place(id).at)
    }

    pub(super) fn atoms(&self, id: PackageId) -> &[Atom] {
        self.repository(id).index.atoms(self.packages.place(id).at)
    }

    /// Returns the atoms of one kind.
    pub(super) fn atoms_of(&self, id: PackageId, kind: RelationKind) -> impl Iterator<Item = &Atom> {
        self.atoms(id).iter().filter(move |atom| atom.kind == kind)
    }

    /// Returns the name of an atom of a package.
    pub(super) fn atom_name(&self, id: PackageId, atom: &Atom) -> NameId {
        self.name_maps[self.repository_number(id)][atom.name as usize]
    }

    /// Returns an atom of a package as a capability.
    pub(super) fn capability(&self, id: PackageId, atom: &Atom) -> Capability<'_> {
        self.repository(id).index.capability(atom)
    }

    /// Returns all packages of a name.
    pub(super) fn versions(&self, name: NameId) -> &[PackageId] {
        self.by_name.get(name.at())
    }

    /// Returns the packages that offer a capability, each once, in order of number.
    pub(super) fn providers(&self, capability: &Capability<'_>) -> Vec<PackageId> {
        self.find_name(capability.name).map_or_else(Vec::new, |name| self.providers_of(name, capability))
    }

    /// Returns the packages that offer a capability whose name has a number.
    pub(super) fn providers_of(&self, name: NameId, capability: &Capability<'_>) -> Vec<PackageId> {
        let mut found: Vec<PackageId> = Vec::new();
        for offer in self.offers.get(name.at()) {
            let matches = || match &offer.atom {
                None => true,
                Some(atom) => capability.allows(atom.sense, self.repository(offer.package).index.evr_text(atom.evr)),
            };
            if found.last() != Some(&offer.package) && matches() {
                found.push(offer.package);
            }
        }
        found
    }

    /// Compares the versions of two packages.
    pub(super) fn compare_versions(&self, left: PackageId, right: PackageId) -> Ordering {
        evr::compare(self.record(left).evr_text(), self.record(right).evr_text())
    }

    /// Orders versions of one name, the one to take first.
    pub(super) fn by_preference(&self, left: PackageId, right: PackageId) -> Ordering {
        let priority = |id: PackageId| self.repository(id).priority;
        priority(left).cmp(&priority(right)).then_with(|| self.compare_versions(right, left)).then(left.cmp(&right))
    }

    /// Returns the packages of a name, the one to take first.
    pub(super) fn by_preference_of(&self, name: NameId) -> Vec<PackageId> {
        let mut versions = self.versions(name).to_vec();
        versions.sort_by(|&left, &right| self.by_preference(left, right));
        versions
    }

    /// Returns whether a package's own name and version are meant, whatever it provides.
    pub(super) fn is_itself(&self, id: PackageId, capability: &Capability<'_>) -> bool {
        let record = self.record(id);
        record.name() == capability.name && capability.allows(super::evr::Sense::EQUAL, record.evr_text())
    }

    /// Returns how libsolv would order repositories: the best has the highest number.
    pub(super) fn rank(&self, id: PackageId) -> Reverse<i32> {
        Reverse(self.repository(id).priority)
    }

    /// Returns a package as `NAME-VERSION-RELEASE.ARCH`, with its epoch unless that is 0.
    pub(super) fn shown(&self, id: PackageId) -> String {
        let record = self.record(id);
        let evr = record.evr_text();
        format!("{}-{}.{}", record.name(), evr.strip_prefix("0:").unwrap_or(evr), record.architecture())
    }
}

/// Why a package of a repository does not exist for the solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal<'a> {
    /// It is for another architecture.
    Architecture,
    /// The packages that are taken from the repository are listed, and this is none of them.
    NotAllowed,
    /// It is to be kept out.
    Excluded(&'a Exclude),
}

/// Returns why a package may not be chosen, none if it may.
pub(super) fn refusal<'a>(repository: &'a IndexedRepository, arch: Arch, record: &PackageRecord<'_>) -> Option<Refusal<'a>> {
    let architecture = record.architecture();
    let matches = |glob: &String| {
        glob::matches(glob, record.name())
            || (glob.contains(['.', '*', '?', '['])
                && (glob::matches(glob, &format!("{}.{architecture}", record.name())) || is_nevra(glob, record)))
    };
    if architecture != "noarch" && architecture != arch.name() {
        Some(Refusal::Architecture)
    } else if !repository.allow_packages.is_empty() && !repository.allow_packages.iter().any(matches) {
        Some(Refusal::NotAllowed)
    } else {
        repository.excludes.iter().find(|exclude| matches(&exclude.glob)).map(Refusal::Excluded)
    }
}

/// Returns whether a glob matches a package's full name, with the epoch or, if that is 0, without.
fn is_nevra(glob: &str, record: &PackageRecord<'_>) -> bool {
    let (name, evr, arch) = (record.name(), record.evr_text(), record.architecture());
    glob::matches(glob, &format!("{name}-{evr}.{arch}"))
        || evr.strip_prefix("0:").is_some_and(|evr| glob::matches(glob, &format!("{name}-{evr}.{arch}")))
}

/// Calls `take` for each name in a rich dependency.
fn for_each_name(dependency: &Option<Dependency<'_>>, take: &mut impl FnMut(&str)) {
    let mut open: Vec<&Dependency<'_>> = dependency.iter().collect();
    while let Some(next) = open.pop() {
        match next {
            Dependency::Simple(capability) => take(capability.name),
            Dependency::And(parts) | Dependency::Or(parts) | Dependency::With(parts) => open.extend(parts),
            Dependency::Without(pair) => open.extend(pair.iter()),
            Dependency::If(pair, otherwise) | Dependency::Unless(pair, otherwise) => {
                open.extend(pair.iter());
                open.extend(otherwise.as_deref());
            }
        }
    }
}
