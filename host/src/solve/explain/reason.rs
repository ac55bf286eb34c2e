//! Finds the shortest honest reason why requests cannot be met.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Asked, Conflict, Problem};
use crate::solve::{
    index::Atom,
    search::{self, NoSolution},
    selection::Selection,
    solution::SolveRequest,
    universe::{NameId, PackageId, Universe},
};

/// With more requests than this, a smallest group is not looked for: each try is a search of its own.
const MAX_MINIMISED: usize = 64;

/// Explains why `selection` has no solution.
pub(in crate::solve) fn explain(universe: &Universe, request: &SolveRequest, selection: &Selection) -> Conflict {
    let mut reasons = Reasons::new(universe, request, selection);
    let problem = reasons.missing().or_else(|| reasons.follow()).unwrap_or_else(|| reasons.smallest_group());
    Conflict { problems: vec![problem] }
}

/// Why a package must be there.
#[derive(Debug, Clone, Copy)]
enum Cause<'a> {
    /// It is asked for, or in the base set.
    Root(NameId),
    /// Another package needs it and nothing else will do.
    Needed(PackageId, &'a [Atom]),
}

/// Why a package cannot be there.
#[derive(Debug, Clone, Copy)]
enum Obstacle<'a> {
    /// One of its dependencies cannot be met at all.
    Lacks(&'a [Atom]),
    /// A package that must be there excludes it.
    ExcludedBy(PackageId, &'a Atom),
    /// It excludes a package that must be there.
    Excludes(PackageId, &'a Atom),
    /// Another version must be there.
    OtherVersion(PackageId),
}

struct Reasons<'a> {
    universe: &'a Universe,
    request: &'a SolveRequest,
    selection: &'a Selection,
    needed: HashMap<PackageId, Cause<'a>>,
    obstacles: HashMap<PackageId, Obstacle<'a>>,
    /// For each package, the ones that exclude it; filled when it is first needed.
    excluded_by: Option<HashMap<PackageId, Vec<(PackageId, &'a Atom)>>>,
}

impl<'a> Reasons<'a> {
    fn new(universe: &'a Universe, request: &'a SolveRequest, selection: &'a Selection) -> Self {
        Self { universe, request, selection, needed: HashMap::new(), obstacles: HashMap::new(), excluded_by: None }
    }

    fn required_groups(&self, of: PackageId) -> impl Iterator<Item = &'a [Atom]> + use<'a> {
        let universe = self.universe;
        universe.relation_groups(of).filter(|group| group[0].kind.is_required())
    }

    /// Returns the packages that meet a group, each once.
    fn satisfiers(&self, of: PackageId, group: &'a [Atom]) -> BTreeSet<PackageId> {
        group.iter().flat_map(|atom| self.universe.satisfiers(of, atom)).collect()
    }

    /// Returns the versions that may be taken of a name that is asked for.
    fn allowed(&self, name: NameId) -> Vec<PackageId> {
        self.selection.pins.get(&name).cloned().unwrap_or_else(|| self.universe.versions(name).to_vec())
    }

    /// Finds a request that lacks something whatever is chosen: marks, to a fixed point, the packages that cannot be installed anywhere.
    fn missing(&mut self) -> Option<Problem> {
        let mut reachable = BTreeSet::new();
        let mut queue: VecDeque<_> = self.selection.names().flat_map(|name| self.allowed(name)).collect();
        let mut dependants: HashMap<PackageId, Vec<PackageId>> = HashMap::new();
        while let Some(package) = queue.pop_front() {
            if reachable.insert(package) {
                for taker in self.required_groups(package).flat_map(|group| self.satisfiers(package, group)) {
                    dependants.entry(taker).or_default().push(package);
                    queue.push_back(taker);
                }
            }
        }
        let mut queue: VecDeque<_> = reachable.into_iter().collect();
        while let Some(package) = queue.pop_front() {
            if self.obstacles.contains_key(&package) {
                continue;
            }
            let hopeless = |group: &&[Atom]| self.satisfiers(package, group).iter().all(|taker| self.obstacles.contains_key(taker));
            if let Some(group) = self.required_groups(package).find(|group| hopeless(group)) {
                self.obstacles.insert(package, Obstacle::Lacks(group));
                queue.extend(dependants.get(&package).into_iter().flatten());
            }
        }
        let name = self.selection.names().find(|&name| self.allowed(name).iter().all(|package| self.obstacles.contains_key(package)))?;
        let mut steps = Vec::new();
        if let Some(&package) = self.allowed(name).first() {
            self.tell_lack(package, &mut steps);
        }
        Some(Problem::Impossible { asked: self.asked([name]), steps })
    }

    /// Tells why a package that lacks something does, down to what does not exist.
    fn tell_lack(&self, package: PackageId, steps: &mut Vec<String>) {
        let mut package = package;
        while let Some(Obstacle::Lacks(group)) = self.obstacles.get(&package) {
            steps.push(format!("{} needs {}", self.shown(package), self.group_text(package, group)));
            // Of what could meet the group, each lacks something itself, and did so before: this ends.
            match self.satisfiers(package, group).into_iter().next() {
                Some(next) => package = next,
                None => {
                    steps.extend(self.what_exists(package, group));
                    return;
                }
            }
        }
    }

    /// Says, for each alternative that nothing meets, what there is instead.
    fn what_exists(&self, of: PackageId, group: &[Atom]) -> Vec<String> {
        let universe = self.universe;
        let tell = |atom: &Atom| {
            let name = universe.atom_name(of, atom);
            let versions: Vec<_> = universe.versions(name).iter().map(|&id| self.shown(id)).collect();
            let there = match &versions[..] {
                [] if universe.providers(name).is_empty() => format!("no package is called {} or provides it", universe.name_text(name)),
                [] => format!("{} is only provided in other versions or none", universe.name_text(name)),
                versions => format!("there is only {}", versions.join(", ")),
            };
            match &super::kept_out(universe, universe.name_text(name))[..] {
                [] => there,
                excluded => format!("{there}; {}", excluded.join("; ")),
            }
        };
        group.iter().map(tell).collect()
    }

    /// Follows what must be there without a choice until something must and cannot be there.
    fn follow(&mut self) -> Option<Problem> {
        let mut queue = VecDeque::new();
        for name in self.selection.names() {
            let allowed = self.possible(self.allowed(name));
            if let [only] = allowed[..] {
                queue.push_back((only, Cause::Root(name)));
            }
        }
        let mut waiting: BTreeSet<PackageId> = BTreeSet::new();
        loop {
            while let Some((package, cause)) = queue.pop_front() {
                if self.needed.contains_key(&package) {
                    continue;
                }
                self.needed.insert(package, cause);
                if let Some(obstacle) = self.obstacles.get(&package).copied() {
                    return Some(self.clash(package, obstacle));
                }
                if let Some(problem) = self.exclude(package) {
                    return Some(problem);
                }
                waiting.insert(package);
            }
            for &package in &waiting {
                for group in self.required_groups(package) {
                    let possible = self.possible(self.satisfiers(package, group));
                    match possible[..] {
                        [] => return Some(self.dead_end(package, group)),
                        [only] if !self.needed.contains_key(&only) => queue.push_back((only, Cause::Needed(package, group))),
                        _ => {}
                    }
                }
            }
            if queue.is_empty() {
                return None;
            }
        }
    }

    fn possible(&self, packages: impl IntoIterator<Item = PackageId>) -> Vec<PackageId> {
        packages.into_iter().filter(|package| !self.obstacles.contains_key(package)).collect()
    }

    /// Rules out what cannot be beside a package that must be there; fails when that must be there too.
    fn exclude(&mut self, package: PackageId) -> Option<Problem> {
        let universe = self.universe;
        let own = universe.name(package);
        let mut ruled_out: Vec<(PackageId, Obstacle<'a>)> = Vec::new();
        let versions = universe.versions(own).iter().filter(|&&other| other != package);
        ruled_out.extend(versions.map(|&other| (other, Obstacle::OtherVersion(package))));
        for atom in universe.atoms(package).iter().filter(|atom| atom.kind.is_negative()) {
            let targets = universe.satisfiers(package, atom).filter(|&id| universe.name(id) != own);
            ruled_out.extend(targets.map(|target| (target, Obstacle::ExcludedBy(package, atom))));
        }
        for (&other, obstacle) in ruled_out.iter().map(|(other, obstacle)| (other, *obstacle)) {
            self.obstacles.entry(other).or_insert(obstacle);
            if self.needed.contains_key(&other) {
                return Some(self.clash(other, obstacle));
            }
        }
        for (other, atom) in self.excluders(package) {
            self.obstacles.entry(other).or_insert(Obstacle::Excludes(package, atom));
        }
        None
    }

    /// Returns the packages that exclude a package, each with the relation that says so.
    fn excluders(&mut self, package: PackageId) -> Vec<(PackageId, &'a Atom)> {
        let universe = self.universe;
        let fill = || {
            let mut excluded_by: HashMap<_, Vec<_>> = HashMap::new();
            for of in universe.package_ids() {
                for atom in universe.atoms(of).iter().filter(|atom| atom.kind.is_negative()) {
                    for target in universe.satisfiers(of, atom).filter(|&id| universe.name(id) != universe.name(of)) {
                        excluded_by.entry(target).or_default().push((of, atom));
                    }
                }
            }
            excluded_by
        };
        self.excluded_by.get_or_insert_with(fill).get(&package).cloned().unwrap_or_default()
    }

    /// Two packages must be there and exclude each other.
    fn clash(&self, package: PackageId, obstacle: Obstacle<'a>) -> Problem {
        let mut roots = BTreeSet::new();
        let mut steps = Vec::new();
        self.tell_cause(package, &mut steps, &mut roots);
        self.tell_obstacle(package, obstacle, &mut steps, &mut roots);
        Problem::Impossible { asked: self.asked(roots), steps }
    }

    /// A package must be there, and everything that could meet one of its dependencies cannot.
    fn dead_end(&self, package: PackageId, group: &'a [Atom]) -> Problem {
        let mut roots = BTreeSet::new();
        let mut steps = Vec::new();
        self.tell_cause(package, &mut steps, &mut roots);
        steps.push(format!("{} needs {}", self.shown(package), self.group_text(package, group)));
        for taker in self.satisfiers(package, group) {
            if let Some(&obstacle) = self.obstacles.get(&taker) {
                self.tell_obstacle(taker, obstacle, &mut steps, &mut roots);
            }
        }
        Problem::Impossible { asked: self.asked(roots), steps }
    }

    /// Tells, from the request down, why a package must be there.
    fn tell_cause(&self, package: PackageId, steps: &mut Vec<String>, roots: &mut BTreeSet<NameId>) {
        let mut lines = Vec::new();
        let mut at = package;
        loop {
            match self.needed.get(&at) {
                Some(&Cause::Needed(parent, group)) => {
                    lines.push(format!("{} needs {}", self.shown(parent), self.group_text(parent, group)));
                    at = parent;
                }
                Some(&Cause::Root(name)) => {
                    roots.insert(name);
                    break;
                }
                None => break,
            }
        }
        lines.retain(|line| !steps.contains(line));
        steps.extend(lines.into_iter().rev());
    }

    fn tell_obstacle(&self, package: PackageId, obstacle: Obstacle<'a>, steps: &mut Vec<String>, roots: &mut BTreeSet<NameId>) {
        match obstacle {
            Obstacle::Lacks(_) => self.tell_lack(package, steps),
            Obstacle::ExcludedBy(other, atom) => {
                self.tell_cause(other, steps, roots);
                steps.push(self.exclusion(other, atom, package));
            }
            Obstacle::Excludes(other, atom) => {
                self.tell_cause(other, steps, roots);
                steps.push(self.exclusion(package, atom, other));
            }
            Obstacle::OtherVersion(other) => {
                self.tell_cause(other, steps, roots);
                steps.push(format!("{} is chosen, so {} cannot be", self.shown(other), self.shown(package)));
            }
        }
    }

    fn exclusion(&self, of: PackageId, atom: &Atom, other: PackageId) -> String {
        let verb = if atom.kind == crate::solve::index::RelationKind::Breaks { "breaks" } else { "conflicts with" };
        let alternative = self.universe.alternative(of, atom);
        let shown = self.shown(other);
        if alternative.name == self.universe.record(other).name() {
            return format!("{} {verb} {alternative}, and that is {shown}", self.shown(of));
        }
        format!("{} {verb} {alternative}, which {shown} provides", self.shown(of))
    }

    /// Finds requests none of which can be left out for the rest to be possible.
    fn smallest_group(&self) -> Problem {
        let mut names = self.selection.requested.clone();
        let steps = vec!["each can be installed, but what they need excludes each other".to_owned()];
        if names.len() <= MAX_MINIMISED {
            for name in names.clone() {
                let fewer = Selection {
                    base: self.selection.base.clone(),
                    requested: names.iter().copied().filter(|&other| other != name).collect(),
                    places: BTreeMap::new(),
                    pins: self
                        .selection
                        .pins
                        .iter()
                        .filter(|(other, _)| **other != name && names.contains(other))
                        .map(|(&name, pins)| (name, pins.clone()))
                        .collect(),
                };
                if search::search(self.universe, &fewer, &[], &[]) == Err(NoSolution::Impossible) {
                    names.retain(|&other| other != name);
                }
            }
        }
        Problem::Impossible { asked: self.asked(names), steps }
    }

    /// Returns the requests of names, in the order in which they were asked.
    fn asked(&self, names: impl IntoIterator<Item = NameId>) -> Vec<Asked> {
        let places: BTreeSet<_> = names.into_iter().filter_map(|name| self.selection.places.get(&name)?.first().copied()).collect();
        places.into_iter().map(|at| Asked::new(&self.request.packages[at])).collect()
    }

    fn shown(&self, package: PackageId) -> String {
        let record = self.universe.record(package);
        format!("{} {} [{}]", record.name(), record.version(), self.universe.repository(package).id)
    }

    fn group_text(&self, of: PackageId, group: &[Atom]) -> String {
        group.iter().map(|atom| self.universe.alternative(of, atom).to_string()).collect::<Vec<_>>().join(" | ")
    }
}
