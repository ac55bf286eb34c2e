//! The complete search, for what apt's order of choices cannot solve: a conflict-driven solver (`resolvo`) that tries the same preferences first.
//!
//! The model, package by package as the search gets to them:
//!
//! * a name is what the solver calls a package name, each of its versions a candidate, at most one of them in a solution;
//! * a group of alternatives is a union over the names of all packages that meet it, virtual names resolved, in apt's order of preference;
//! * `Conflicts` and `Breaks` allow, of each name that they touch, the versions that they do not.
//!
//! Asked for the same, it finds the same.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    fmt::Display,
};

use resolvo::{
    Candidates, Condition, ConditionId, Dependencies, DependencyProvider, Interner, KnownDependencies, NameId as SearchName, Problem,
    Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use super::{
    index::Atom,
    selection::Selection,
    universe::{NameId, PackageId, Universe},
};

/// How many rounds of propagation a search may take. Debian's hardest requests take some ten thousand.
const MAX_ROUNDS: u64 = 5_000_000;

/// How a search ended without a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSolution {
    /// There is none.
    Impossible,
    /// It was not found within [`MAX_ROUNDS`].
    TooHard,
}

/// Searches for packages that meet the selection, trying `favoured` ones first; sorted by number.
pub(super) fn search(
    universe: &Universe,
    selection: &Selection,
    favoured: &[PackageId],
    keep: &[PackageId],
) -> Result<Vec<PackageId>, NoSolution> {
    let model = Model::new(universe, selection, favoured);
    let requirements = selection.names().map(|name| {
        let allowed = match selection.pins.get(&name) {
            Some(pins) => pins.clone(),
            None => universe.versions(name).to_vec(),
        };
        Requirement::from(model.version_set(name, allowed)).into()
    });
    let problem = Problem::new().requirements(requirements.collect());
    let problem = problem.soft_requirements(keep.iter().map(|&id| solvable(id)).collect::<Vec<_>>());
    match Solver::new(model).solve(problem) {
        Ok(solvables) => {
            let mut packages: Vec<_> = solvables.into_iter().map(package).collect();
            packages.sort_unstable();
            Ok(packages)
        }
        Err(UnsolvableOrCancelled::Unsolvable(_)) => Err(NoSolution::Impossible),
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(NoSolution::TooHard),
    }
}

fn solvable(id: PackageId) -> SolvableId {
    SolvableId::from_raw(id.0)
}

fn package(id: SolvableId) -> PackageId {
    PackageId(id.into_raw())
}

/// The versions of one name that are meant.
type Allowed = (NameId, Vec<PackageId>);

/// The universe as the solver asks for it.
struct Model<'a> {
    universe: &'a Universe,
    selection: &'a Selection,
    favoured: HashSet<PackageId>,
    sets: RefCell<(Vec<Allowed>, HashMap<Allowed, VersionSetId>)>,
    unions: RefCell<Vec<Vec<VersionSetId>>>,
    rounds: Cell<u64>,
}

impl<'a> Model<'a> {
    fn new(universe: &'a Universe, selection: &'a Selection, favoured: &[PackageId]) -> Self {
        Self {
            universe,
            selection,
            favoured: favoured.iter().copied().collect(),
            sets: RefCell::default(),
            unions: RefCell::default(),
            rounds: Cell::new(0),
        }
    }

    fn version_set(&self, name: NameId, mut allowed: Vec<PackageId>) -> VersionSetId {
        allowed.sort_unstable();
        let (sets, numbers) = &mut *self.sets.borrow_mut();
        *numbers.entry((name, allowed)).or_insert_with_key(|set| {
            sets.push(set.clone());
            #[expect(clippy::cast_possible_truncation, reason = "there are fewer sets than atoms, which are numbered with 32 bits")]
            VersionSetId(sets.len() as u32 - 1)
        })
    }

    fn set(&self, id: VersionSetId) -> Allowed {
        self.sets.borrow().0[id.0 as usize].clone()
    }

    /// Returns the version of a name to try first.
    fn first_choice(&self, name: NameId) -> Option<PackageId> {
        let favoured = self.universe.versions(name).iter().copied().find(|id| self.favoured.contains(id));
        favoured.or_else(|| self.selection.candidate(self.universe, name))
    }

    /// Returns a group of alternatives as a requirement: names in order of preference, each with the versions that meet it.
    fn requirement(&self, of: PackageId, group: &[Atom]) -> Requirement {
        let universe = self.universe;
        let mut names: Vec<(NameId, Vec<PackageId>)> = Vec::new();
        for atom in group {
            let from = names.len();
            for id in universe.satisfiers(of, atom) {
                let name = universe.name(id);
                match names.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, versions)) if versions.contains(&id) => {}
                    Some((_, versions)) => versions.push(id),
                    None => names.push((name, vec![id])),
                }
            }
            let target = universe.atom_name(of, atom);
            names[from..].sort_by_key(|(name, versions)| {
                let priority = universe.record(versions[0]).priority();
                (*name != target, !universe.is_essential(*name), !universe.is_protected(*name), priority, std::cmp::Reverse(*name))
            });
        }
        names.sort_by_key(|(_, versions)| !versions.iter().any(|id| self.favoured.contains(id)));
        let mut sets: Vec<_> = names.into_iter().map(|(name, versions)| self.version_set(name, versions)).collect();
        if sets.is_empty() {
            // Nothing meets it: an empty set of versions of the name itself says so.
            sets.push(self.version_set(universe.atom_name(of, &group[0]), Vec::new()));
        }
        if let [only] = sets[..] {
            return only.into();
        }
        let mut unions = self.unions.borrow_mut();
        unions.push(sets);
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer unions than atoms, which are numbered with 32 bits")]
        VersionSetUnionId(unions.len() as u32 - 1).into()
    }

    /// Returns what a conflict allows of the names that it touches.
    fn constraints(&self, of: PackageId, atom: &Atom, constraints: &mut Vec<VersionSetId>) {
        let universe = self.universe;
        let own = universe.name(of);
        let mut refused: Vec<_> = universe.satisfiers(of, atom).filter(|&id| universe.name(id) != own).collect();
        refused.sort_unstable_by_key(|&id| (universe.name(id), id));
        for refused in refused.chunk_by(|&left, &right| universe.name(left) == universe.name(right)) {
            let name = universe.name(refused[0]);
            let allowed = universe.versions(name).iter().copied().filter(|id| !refused.contains(id)).collect();
            constraints.push(self.version_set(name, allowed));
        }
    }
}

impl Interner for Model<'_> {
    type NameId = SearchName;
    type SolvableId = SolvableId;

    fn display_solvable(&self, id: SolvableId) -> impl Display + '_ {
        let record = self.universe.record(package(id));
        format!("{} {}", record.name(), record.version())
    }

    fn display_name(&self, name: SearchName) -> impl Display + '_ {
        self.universe.name_text(NameId(name.into_raw()))
    }

    fn display_version_set(&self, id: VersionSetId) -> impl Display + '_ {
        let versions: Vec<_> = self.set(id).1.into_iter().map(|id| self.universe.record(id).version()).collect();
        versions.join(" | ")
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        ""
    }

    fn version_set_name(&self, id: VersionSetId) -> SearchName {
        SearchName::from_raw(self.sets.borrow().0[id.0 as usize].0.0)
    }

    fn solvable_name(&self, id: SolvableId) -> SearchName {
        SearchName::from_raw(self.universe.name(package(id)).0)
    }

    fn version_sets_in_union(&self, id: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.unions.borrow()[id.0 as usize].clone().into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("no requirement of this model has a condition")
    }
}

impl DependencyProvider for Model<'_> {
    async fn filter_candidates(&self, candidates: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let (_, allowed) = self.set(set);
        candidates.iter().copied().filter(|&id| allowed.binary_search(&package(id)).is_ok() != inverse).collect()
    }

    async fn get_candidates(&self, name: SearchName) -> Option<Candidates<SolvableId>> {
        let name = NameId(name.into_raw());
        let candidates = self.universe.versions(name).iter().copied().map(solvable).collect();
        Some(Candidates { candidates, favored: self.first_choice(name).map(solvable), ..Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables.sort_by(|&left, &right| self.universe.by_policy(package(left), package(right)));
    }

    async fn get_dependencies(&self, id: SolvableId) -> Dependencies {
        let of = package(id);
        let mut known = KnownDependencies::default();
        for group in self.universe.relation_groups(of) {
            if group[0].kind.is_required() {
                known.requirements.push(self.requirement(of, group).into());
            } else if group[0].kind.is_negative() {
                group.iter().for_each(|atom| self.constraints(of, atom, &mut known.constrains));
            }
        }
        Dependencies::Known(known)
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        self.rounds.set(self.rounds.get() + 1);
        (self.rounds.get() > MAX_ROUNDS).then(|| Box::new(()) as Box<dyn Any>)
    }
}
