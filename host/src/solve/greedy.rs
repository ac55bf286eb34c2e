//! Chooses packages in the order and by the preferences of apt, so that the result is what `apt-get install` would take.
//!
//! Works depth first: a package is marked, then each of its relations is met before the next one is looked at. What is asked for is
//! *protected*, and so is what follows from it without a choice; a protected package's conflicts take their targets out
//! of the choice for good. Of several packages that satisfy an alternative the order is: protected, called as the relation says,
//! essential, protected by its author, higher priority of the package, mentioned later in the indexes. A choice that fails is
//! taken back, its name is not tried again, and what it had pulled in is swept out at the end.
//!
//! This is no complete search: it may end in a set that does not hold together. [`super::check`] finds that out, and
//! [`super::search`] takes over.

use super::{
    index::{Atom, RelationKind},
    selection::Selection,
    universe::{NameId, PackageId, Universe},
};

/// How deep one choice may lead to another. Debian needs some hundred.
const MAX_DEPTH: usize = 3000;

/// Enough for [`MAX_DEPTH`] choices inside each other.
const STACK_BYTES: usize = 64 << 20;

/// What is decided of one name.
#[derive(Debug, Clone, Copy)]
struct State {
    /// The version that may be chosen; none once it is given up.
    candidate: Option<PackageId>,
    install: Option<PackageId>,
    protected: bool,
}

/// One run.
struct Greedy<'a> {
    universe: &'a Universe,
    recommends: bool,
    states: Vec<State>,
    /// Names that were marked at some time, in order; what is not marked any more is left out at the end.
    marked: Vec<NameId>,
}

/// Returns the packages that apt would choose, sorted by number; they need not hold together.
pub(super) fn choose(universe: &Universe, selection: &Selection, recommends: bool) -> Vec<PackageId> {
    let run = || Greedy::new(universe, selection, recommends).run(selection);
    let on_its_own_stack = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("solve".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, run);
        thread.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // Without a thread there is no proposal, and the search does all the work.
    on_its_own_stack.unwrap_or_default()
}

impl<'a> Greedy<'a> {
    fn new(universe: &'a Universe, selection: &Selection, recommends: bool) -> Self {
        let candidates = (0..universe.name_count()).map(|at| {
            #[expect(clippy::cast_possible_truncation, reason = "names are numbered with 32 bits")]
            let name = NameId(at as u32);
            State { candidate: selection.candidate(universe, name), install: None, protected: false }
        });
        Self { universe, recommends, states: candidates.collect(), marked: Vec::new() }
    }

    fn run(mut self, selection: &Selection) -> Vec<PackageId> {
        let roots: Vec<_> = selection.names().collect();
        for &name in &roots {
            self.states[name.at()].protected = true;
            self.set_install(name);
        }
        for &name in &roots {
            self.mark(name, true, 0, true);
        }
        self.sweep(&roots)
    }

    fn state(&mut self, name: NameId) -> &mut State {
        &mut self.states[name.at()]
    }

    fn set_install(&mut self, name: NameId) {
        let state = self.state(name);
        state.install = state.candidate;
        self.marked.push(name);
    }

    /// Marks a name for installation, with all that it needs when `deep`.
    fn mark(&mut self, name: NameId, deep: bool, depth: usize, asked_for: bool) -> bool {
        let State { candidate, install, protected } = *self.state(name);
        let allowed = asked_for || install.is_some() || !protected;
        if depth > MAX_DEPTH || !allowed {
            return false;
        }
        let Some(package) = candidate else {
            return false;
        };
        if !protected && install.is_some() && !self.is_broken(package) {
            return true;
        }
        if deep && !self.is_satisfiable(package) {
            if !protected {
                *self.state(name) = State { candidate: None, install: None, protected };
            }
            return false;
        }
        let fail_early = !protected && !asked_for;
        let mut failed = false;
        let (positive, negative) = if deep { self.open_relations(package, protected) } else { Default::default() };
        if !self.give_up_conflicting(package, &negative, protected, asked_for) {
            if fail_early {
                return false;
            }
            failed = true;
        }
        if install.is_none() {
            self.set_install(name);
        }
        if deep {
            // While its needs are met nothing may take it back.
            self.state(name).protected = true;
            let met = self.meet(package, &positive, depth, protected, asked_for);
            self.state(name).protected = protected;
            if !met && fail_early {
                *self.state(name) = State { candidate: None, install: None, protected };
                return false;
            }
            failed |= !met;
        }
        !failed
    }

    /// Returns whether relations of this kind are to be met.
    fn counts(&self, kind: RelationKind) -> bool {
        kind.is_required() || kind.is_negative() || (self.recommends && kind == RelationKind::Recommends)
    }

    fn is_installed(&self, package: PackageId) -> bool {
        self.states[self.universe.name(package).at()].install == Some(package)
    }

    fn is_candidate(&self, package: PackageId) -> bool {
        self.states[self.universe.name(package).at()].candidate == Some(package)
    }

    /// Returns whether some alternative of a group is met by what is marked.
    fn is_met(&self, of: PackageId, group: &[Atom]) -> bool {
        group.iter().any(|atom| self.universe.satisfiers(of, atom).any(|id| self.is_installed(id)))
    }

    /// Returns the packages that a negative relation is about; never the package itself.
    fn targets(&self, of: PackageId, atom: &'a Atom) -> impl Iterator<Item = PackageId> {
        let own = self.universe.name(of);
        self.universe.satisfiers(of, atom).filter(move |&id| self.universe.name(id) != own)
    }

    /// Returns whether a marked package lacks something, or conflicts with something, as things stand.
    fn is_broken(&self, package: PackageId) -> bool {
        let universe = self.universe;
        universe.relation_groups(package).any(|group| match group {
            [first, ..] if first.kind.is_negative() => self.targets(package, first).any(|id| self.is_installed(id)),
            [first, ..] if self.counts(first.kind) => !self.is_met(package, group),
            _ => false,
        })
    }

    /// Returns whether each dependency of a package is met or could be.
    fn is_satisfiable(&self, package: PackageId) -> bool {
        let universe = self.universe;
        universe.relation_groups(package).filter(|group| group[0].kind.is_required()).all(|group| {
            let possible = |id| self.is_installed(id) || self.is_candidate(id);
            group.iter().any(|atom| universe.satisfiers(package, atom).any(possible))
        })
    }

    /// Returns the relations that need a decision: groups to meet, and conflicts to avoid. A protected package's count even if they hold now.
    fn open_relations(&self, package: PackageId, protected: bool) -> (Vec<&'a [Atom]>, Vec<&'a Atom>) {
        let universe = self.universe;
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        for group in universe.relation_groups(package) {
            let kind = group[0].kind;
            if kind.is_negative() {
                negative.extend(group.iter().filter(|atom| protected || self.targets(package, atom).any(|id| self.is_installed(id))));
            } else if self.counts(kind) && (protected || !self.is_met(package, group)) {
                positive.push(group);
            }
        }
        (positive, negative)
    }

    /// Takes back or rules out what a package conflicts with.
    fn give_up_conflicting(&mut self, package: PackageId, negative: &[&'a Atom], protected: bool, asked_for: bool) -> bool {
        let mut done = true;
        for atom in negative {
            let targets: Vec<_> = self.targets(package, atom).filter(|&id| self.is_candidate(id)).collect();
            for target in targets {
                let name = self.universe.name(target);
                let state = self.state(name);
                if state.install.is_some() && state.protected {
                    done = false;
                    if !protected && !asked_for {
                        return false;
                    }
                } else {
                    state.install = None;
                    if protected {
                        *state = State { candidate: None, install: None, protected: true };
                    }
                }
            }
        }
        done
    }

    /// Meets groups one after the other.
    fn meet(&mut self, package: PackageId, groups: &[&'a [Atom]], depth: usize, protected: bool, asked_for: bool) -> bool {
        let mut done = true;
        for group in groups {
            let required = group[0].kind.is_required();
            if self.is_met(package, group) {
                if protected && required {
                    done &= self.protect_only_solution(package, group, depth);
                }
                continue;
            }
            if !self.meet_one(package, group, depth, protected) && required {
                done = false;
                if !protected && !asked_for {
                    break;
                }
            }
        }
        done
    }

    /// Meets one group by the first package that can be installed.
    fn meet_one(&mut self, package: PackageId, group: &[Atom], depth: usize, protected: bool) -> bool {
        let solutions = self.solutions(package, group);
        let only = solutions.len() == 1 && protected && group[0].kind.is_required();
        for solution in solutions {
            let name = self.universe.name(solution);
            if !self.is_candidate(solution) {
                continue;
            }
            if only {
                if !self.mark(name, false, depth + 1, false) {
                    continue;
                }
                self.state(name).protected = true;
            }
            if self.mark(name, true, depth + 1, false) {
                return true;
            }
        }
        false
    }

    /// Passes protection on to the package that meets a group, where no other could.
    fn protect_only_solution(&mut self, package: PackageId, group: &[Atom], depth: usize) -> bool {
        let universe = self.universe;
        let mut possible: Vec<_> =
            group.iter().flat_map(|atom| universe.satisfiers(package, atom)).filter(|&id| self.is_candidate(id)).collect();
        possible.sort_unstable();
        possible.dedup();
        possible.retain(|&id| !self.is_ruled_out(id));
        let [only] = possible[..] else {
            return true;
        };
        let name = universe.name(only);
        if self.state(name).protected {
            return true;
        }
        self.state(name).protected = true;
        self.mark(name, true, depth + 1, false)
    }

    fn is_ruled_out(&self, package: PackageId) -> bool {
        let state = self.states[self.universe.name(package).at()];
        state.protected && state.install.is_none()
    }

    /// Returns the packages that could meet a group, best first.
    fn solutions(&self, package: PackageId, group: &[Atom]) -> Vec<PackageId> {
        let mut solutions = Vec::new();
        for atom in group {
            let from = solutions.len();
            solutions.extend(self.universe.satisfiers(package, atom).filter(|&id| self.is_candidate(id)));
            let target = self.universe.atom_name(package, atom);
            solutions[from..].sort_by_cached_key(|&id| self.preference(id, target));
        }
        solutions.dedup();
        solutions.retain(|&id| !self.is_ruled_out(id));
        solutions
    }

    /// Returns the sort key of a package as a solution of a relation on `target`.
    fn preference(&self, package: PackageId, target: NameId) -> impl Ord + use<> {
        let universe = self.universe;
        let name = universe.name(package);
        (
            !self.states[name.at()].protected,
            name != target,
            !universe.is_essential(name),
            !universe.is_protected(name),
            universe.record(package).priority(),
            std::cmp::Reverse(name),
        )
    }

    /// Returns what is marked and still of use: the roots, and whatever meets a relation of something of use.
    fn sweep(&self, roots: &[NameId]) -> Vec<PackageId> {
        let universe = self.universe;
        let mut used = vec![false; self.states.len()];
        let stays = |name: &NameId| universe.is_essential(*name) || universe.is_protected(*name) || self.states[name.at()].protected;
        let mut stack: Vec<_> = roots.iter().copied().chain(self.marked.iter().copied().filter(stays)).collect();
        let mut packages = Vec::new();
        while let Some(name) = stack.pop() {
            let Some(package) = self.states[name.at()].install else {
                continue;
            };
            if std::mem::replace(&mut used[name.at()], true) {
                continue;
            }
            packages.push(package);
            let useful = |kind: RelationKind| kind.is_required() || matches!(kind, RelationKind::Recommends | RelationKind::Suggests);
            for atom in universe.atoms(package).iter().filter(|atom| useful(atom.kind)) {
                stack.extend(universe.satisfiers(package, atom).filter(|&id| self.is_installed(id)).map(|id| universe.name(id)));
            }
        }
        packages.sort_unstable();
        packages
    }
}
