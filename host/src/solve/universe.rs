//! All packages that a solve may choose from: several indexes under one numbering, and which version of each name counts.
//!
//! Owns the numbers of names and packages, the tables from names to packages and to providers, and the choice of a candidate:
//!
//! ```text
//! PackageIndex…  --allowPackages, excludes, architecture-->  packages  --priority, then version, then order-->  candidates
//! ```
//!
//! # Invariants
//!
//! Names are numbered in the order of first mention over the indexes in the order given, as apt numbers packages. A relation's
//! `name:any` is a name of its own that every `Multi-Arch: allowed` package provides; `name:native` and `name:ARCH` for the
//! target's architecture are the plain name; other architectures exist only as names without packages.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use oic_config::spec::{Arch, Exclude};

pub(super) use super::numbers::{NameId, PackageId};
use super::{
    glob,
    groups::Groups,
    index::{Atom, MultiArch, PackageIndex, PackageRecord, RelationKind},
    numbers::{Packages, Place, UniverseTooLarge, number_names},
    relation::Alternative,
    strings::Interner,
    version::DebVersion,
};

/// The priority that repositories have by default, as apt counts.
pub const DEFAULT_PRIORITY: i32 = 500;

/// One index of a repository.
#[derive(Debug, Clone)]
pub struct IndexedRepository {
    /// The repository's name.
    pub id: String,
    /// The component that the index is of; empty for flat repositories.
    pub component: String,
    /// Priority as apt counts it: the highest wins, below 0 nothing is ever taken.
    pub priority: i32,
    /// Only packages whose names match one of these globs are taken; empty: all.
    pub allow_packages: Vec<String>,
    /// Packages whose names match one of these globs are not taken, even if they are allowed.
    pub excludes: Vec<Exclude>,
    /// The packages.
    pub index: Arc<PackageIndex>,
}

/// Who provides a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider {
    pub(super) package: PackageId,
    /// The atom of the provider's index that says so; none: `name:any`, provided with the package's own version.
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
    providers: Groups<Provider>,
    candidates: Vec<Option<PackageId>>,
    /// Names of which some version is essential, or protected.
    essential: Vec<bool>,
    protected: Vec<bool>,
}

impl Universe {
    /// Returns the universe of the given indexes for one architecture.
    ///
    /// # Errors
    /// Fails when there is more in them than can be numbered.
    pub fn new(arch: Arch, repositories: Vec<IndexedRepository>) -> Result<Self, UniverseTooLarge> {
        let mut names = Interner::default();
        let mut name_maps = Vec::with_capacity(repositories.len());
        for repository in &repositories {
            name_maps.push(number_names(repository.index.names(), &mut names, |name| plain_name(name, arch))?);
        }
        let mut packages = Packages::default();
        for (number, (repository, name_map)) in repositories.iter().zip(&name_maps).enumerate() {
            for (at, record) in repository.index.packages().enumerate() {
                if refusal(repository, arch, &record).is_none() {
                    packages.push(Place { repository: number, at, name: name_map[record.name_id() as usize] })?;
                }
            }
        }
        let count = names.strings().len();
        let mut universe = Self {
            arch,
            repositories,
            names,
            name_maps,
            packages,
            by_name: Groups::default(),
            providers: Groups::default(),
            candidates: vec![None; count],
            essential: vec![false; count],
            protected: vec![false; count],
        };
        universe.group();
        Ok(universe)
    }

    /// Fills the tables from names.
    fn group(&mut self) {
        let count = self.names.strings().len();
        self.by_name = Groups::new(count, self.package_ids().map(|id| (self.name(id).at(), id)));
        let mut provided = Vec::new();
        for id in self.package_ids() {
            let record = self.record(id);
            for atom in self.atoms(id).iter().filter(|atom| atom.kind == RelationKind::Provides) {
                provided.push((self.atom_name(id, atom).at(), Provider { package: id, atom: Some(*atom) }));
            }
            if record.multi_arch() == MultiArch::Allowed
                && let Some(any) = self.names.find(&format!("{}:any", record.name()))
            {
                provided.push((NameId(any).at(), Provider { package: id, atom: None }));
            }
        }
        self.providers = Groups::new(count, provided.iter().copied());
        for id in self.package_ids() {
            let record = self.record(id);
            let (name, essential, protected) = (self.name(id).at(), record.is_essential(), record.is_protected());
            self.essential[name] |= essential;
            self.protected[name] |= protected;
        }
        self.candidates = (0..count).map(|name| self.choose_candidate(self.by_name.get(name))).collect();
    }

    /// Chooses among the versions of a name: the highest priority, then the highest version, then the repository named first.
    fn choose_candidate(&self, versions: &[PackageId]) -> Option<PackageId> {
        match versions {
            [] => None,
            [only] => Some(*only),
            _ => versions.iter().copied().min_by(|&left, &right| self.by_policy(left, right)),
        }
    }

    /// Orders versions of one name, the one to take first.
    pub(super) fn by_policy(&self, left: PackageId, right: PackageId) -> Ordering {
        let key = |id: PackageId| (Reverse(self.repository(id).priority), Reverse(DebVersion::new(self.record(id).version())), id);
        key(left).cmp(&key(right))
    }

    /// Returns a name as relations of this architecture mean it: without a qualifier that says this very architecture.
    pub(super) fn plain_name<'a>(&self, name: &'a str) -> &'a str {
        plain_name(name, self.arch)
    }

    /// Returns the architecture.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Returns the indexes.
    #[must_use]
    pub fn repositories(&self) -> &[IndexedRepository] {
        &self.repositories
    }

    /// Returns the names of all packages that can be chosen, in no particular order.
    pub fn package_names(&self) -> impl Iterator<Item = &str> {
        self.names_with_candidate().map(|name| self.name_text(name))
    }

    pub(super) fn names_with_candidate(&self) -> impl Iterator<Item = NameId> {
        (0..).zip(&self.candidates).filter(|(_, candidate)| candidate.is_some()).map(|(name, _)| NameId(name))
    }

    pub(super) fn name_count(&self) -> usize {
        self.candidates.len()
    }

    pub(super) fn find_name(&self, name: &str) -> Option<NameId> {
        self.names.find(name).map(NameId)
    }

    pub(super) fn name_text(&self, name: NameId) -> &str {
        self.names.strings().get(name.0)
    }

    /// Returns all packages.
    pub(super) fn package_ids(&self) -> impl Iterator<Item = PackageId> + Clone + use<> {
        self.packages.ids()
    }

    pub(super) fn name(&self, id: PackageId) -> NameId {
        self.packages.place(id).name
    }

    pub(super) fn record(&self, id: PackageId) -> PackageRecord<'_> {
        self.index(id).record(self.packages.place(id).at)
    }

    pub(super) fn repository(&self, id: PackageId) -> &IndexedRepository {
        &self.repositories[self.packages.place(id).repository]
    }

    fn index(&self, id: PackageId) -> &PackageIndex {
        &self.repository(id).index
    }

    /// Returns the relations of a package.
    pub(super) fn atoms(&self, id: PackageId) -> &[Atom] {
        self.index(id).atoms(self.packages.place(id).at)
    }

    /// Returns the name that an atom of a package is about.
    pub(super) fn atom_name(&self, id: PackageId, atom: &Atom) -> NameId {
        self.name_maps[self.packages.place(id).repository][atom.name as usize]
    }

    /// Returns an atom of a package as an alternative.
    pub(super) fn alternative(&self, id: PackageId, atom: &Atom) -> Alternative<'_> {
        self.index(id).alternative(atom)
    }

    /// Returns the groups of alternatives of a package, in the order of its fields.
    pub(super) fn relation_groups(&self, id: PackageId) -> impl Iterator<Item = &[Atom]> {
        self.atoms(id).split_inclusive(|atom| !atom.more)
    }

    /// Returns the version of a name that is chosen unless one is asked for.
    pub(super) fn candidate(&self, name: NameId) -> Option<PackageId> {
        self.candidates[name.at()]
    }

    /// Returns all versions of a name.
    pub(super) fn versions(&self, name: NameId) -> &[PackageId] {
        self.by_name.get(name.at())
    }

    /// Returns who provides a name by a relation rather than by being called so.
    pub(super) fn providers(&self, name: NameId) -> &[Provider] {
        self.providers.get(name.at())
    }

    pub(super) fn is_essential(&self, name: NameId) -> bool {
        self.essential[name.at()]
    }

    pub(super) fn is_protected(&self, name: NameId) -> bool {
        self.protected[name.at()]
    }

    /// Returns the packages that satisfy an atom of `of`: those of its name, then those that provide it, each once.
    pub(super) fn satisfiers(&self, of: PackageId, atom: &Atom) -> impl Iterator<Item = PackageId> {
        let name = self.atom_name(of, atom);
        let constraint = self.index(of).constraint(atom);
        let right_version = move |version: Option<&str>| match (constraint, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((comparison, bound)), Some(version)) => comparison.holds(version, bound),
        };
        let named = self.versions(name).iter().copied().filter(move |&id| right_version(Some(self.record(id).version())));
        let provided = self.providers(name).iter().filter(move |provider| right_version(self.provided_version(provider)));
        // A package may provide a name twice, and its own.
        let provided = provided.map(|provider| provider.package).filter(move |&id| self.name(id) != name);
        let mut last = None;
        named.chain(provided.filter(move |&id| last.replace(id) != Some(id)))
    }

    fn provided_version(&self, provider: &Provider) -> Option<&str> {
        match &provider.atom {
            None => Some(self.record(provider.package).version()),
            Some(atom) => self.index(provider.package).constraint(atom).map(|(_, version)| version),
        }
    }
}

/// Why a package of a repository does not exist for the solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal<'a> {
    /// Nothing is taken from the repository.
    Priority,
    /// It is for another architecture.
    Architecture,
    /// The names that are taken from the repository are listed, and this is none of them.
    NotAllowed,
    /// It is to be kept out.
    Excluded(&'a Exclude),
}

/// Returns why a package is not taken, none if it is.
pub(super) fn refusal<'a>(repository: &'a IndexedRepository, arch: Arch, record: &PackageRecord<'_>) -> Option<Refusal<'a>> {
    let matches = |glob: &String| glob::matches(glob, record.name());
    if repository.priority < 0 {
        Some(Refusal::Priority)
    } else if !matches_arch(record, arch) {
        Some(Refusal::Architecture)
    } else if !repository.allow_packages.is_empty() && !repository.allow_packages.iter().any(matches) {
        Some(Refusal::NotAllowed)
    } else {
        repository.excludes.iter().find(|exclude| matches(&exclude.glob)).map(Refusal::Excluded)
    }
}

/// Returns whether a package can be installed on an architecture.
fn matches_arch(record: &PackageRecord<'_>, arch: Arch) -> bool {
    let architecture = record.architecture();
    architecture == "all" || architecture == arch.deb_name()
}

fn plain_name(name: &str, arch: Arch) -> &str {
    match name.split_once(':') {
        Some((plain, qualifier)) if qualifier == "native" || qualifier == arch.deb_name() => plain,
        _ => name,
    }
}
