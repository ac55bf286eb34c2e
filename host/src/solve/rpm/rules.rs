//! The rules that a solution must obey: clauses made from the dependencies of all packages that may come into question.
//!
//! ```text
//! package rules   -n | p1 | p2 …   n requires something that p1, p2, … offer
//!                 -n | -p          n conflicts with, obsoletes, or has the same name as p
//!                 -n               n lacks something
//! job rules       p1 | p2 …        one of them is asked for
//! best rules      p1               the best of those that are asked for
//! learnt rules                     what the search found out
//! ```
//!
//! The order of rules and of literals in them decides between solutions of equal worth. It is the one that libsolv has, so that choices
//! come out as dnf's do: package rules are sorted by their literals, jobs are as asked for.

use std::{cmp::Ordering, collections::VecDeque, ops::Range};

use super::{
    condition::{Condition, Conditions, Literal, Normal, TooComplex, literal, package},
    index::RelationKind,
    policy,
    select::{Selection, Wanted},
    universe::{PackageId, Universe},
};

/// The number of a rule.
pub(super) type RuleId = u32;

/// One clause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    start: u32,
    end: u32,
    /// The two literals that are watched; 0: a rule of one literal has no second one.
    pub(super) watched: [Literal; 2],
    /// The next rule that watches the same literal, for each of the two; 0: none.
    pub(super) next: [RuleId; 2],
}

/// All rules; number 0 is none.
#[derive(Debug)]
pub(super) struct Rules {
    literals: Vec<Literal>,
    rules: Vec<Rule>,
    /// Numbers of the rules that come from dependencies.
    pub(super) package_rules: Range<RuleId>,
    /// Numbers of the rules that come from what is asked for.
    pub(super) job_rules: Range<RuleId>,
    /// For each job rule, the number of its job.
    pub(super) jobs_of_rules: Vec<usize>,
    /// Numbers of the rules that ask for the best.
    pub(super) best_rules: Range<RuleId>,
    /// For each best rule, the number of its job.
    pub(super) jobs_of_best: Vec<usize>,
    /// Packages that came into question.
    pub(super) considered: Vec<PackageId>,
}

impl Rules {
    /// Returns the literals of a rule.
    pub(super) fn literals(&self, rule: RuleId) -> &[Literal] {
        let Rule { start, end, .. } = self.rules[rule as usize];
        &self.literals[start as usize..end as usize]
    }

    pub(super) fn rule(&self, rule: RuleId) -> &Rule {
        &self.rules[rule as usize]
    }

    pub(super) fn rule_mut(&mut self, rule: RuleId) -> &mut Rule {
        &mut self.rules[rule as usize]
    }

    /// Returns one more than the highest number.
    #[expect(clippy::cast_possible_truncation, reason = "checked when a rule is added")]
    pub(super) fn end(&self) -> RuleId {
        self.rules.len() as RuleId
    }

    /// Adds a rule with these literals, the first two watched.
    pub(super) fn add(&mut self, literals: &[Literal]) -> RuleId {
        let place = |at: usize| u32::try_from(at).expect("there is no memory for 2^32 literals");
        let (start, number) = (place(self.literals.len()), place(self.rules.len()));
        self.literals.extend_from_slice(literals);
        let watched = [literals.first().copied().unwrap_or(0), literals.get(1).copied().unwrap_or(0)];
        self.rules.push(Rule { start, end: place(self.literals.len()), watched, next: [0; 2] });
        number
    }
}

/// Makes the rules of a selection.
pub(super) fn make(conditions: &Conditions<'_>, selection: &Selection, best: bool) -> Rules {
    let mut maker = Maker {
        conditions,
        universe: conditions.universe,
        visited: vec![false; conditions.universe.package_count()],
        queue: VecDeque::new(),
        found: Vec::new(),
    };
    for job in &selection.jobs {
        match &job.wanted {
            Wanted::OneOf(candidates) => candidates.iter().for_each(|&candidate| maker.visit_from(candidate)),
            Wanted::Conditional { package, .. } => {
                let named = maker.universe.find_name(package).map_or(&[][..], |name| maker.universe.versions(name));
                named.iter().for_each(|&candidate| maker.visit_from(candidate));
            }
        }
    }
    maker.visit_weak();
    maker.finish(selection, best)
}

struct Maker<'a, 'u> {
    conditions: &'a Conditions<'u>,
    universe: &'u Universe,
    visited: Vec<bool>,
    queue: VecDeque<PackageId>,
    found: Vec<Vec<Literal>>,
}

impl Maker<'_, '_> {
    /// Makes the rules of a package and of all that may come with it.
    fn visit_from(&mut self, package: PackageId) {
        self.queue.push_back(package);
        while let Some(next) = self.queue.pop_front() {
            if !std::mem::replace(&mut self.visited[next.at()], true) {
                self.visit(next);
            }
        }
    }

    fn visit(&mut self, of: PackageId) {
        let universe = self.universe;
        for atom in universe.atoms(of) {
            match atom.kind {
                RelationKind::Requires => {
                    let condition = self.conditions.condition(of, atom);
                    match condition.simple() {
                        Some(providers) => self.require(of, providers),
                        None => self.add_clauses(of, condition.clauses()),
                    }
                }
                RelationKind::Conflicts => {
                    let condition = self.conditions.condition(of, atom);
                    match condition.simple() {
                        Some(providers) => self.refuse(of, providers.iter().copied()),
                        None => self.add_clauses(of, condition.refusals()),
                    }
                }
                RelationKind::Obsoletes if !is_installonly(universe, of) => {
                    let capability = universe.capability(of, atom);
                    let named = universe.versions(universe.atom_name(of, atom)).iter();
                    self.refuse(of, named.copied().filter(|&other| universe.is_itself(other, &capability)).map(literal));
                }
                RelationKind::Recommends | RelationKind::Suggests => {
                    let (visited, queue) = (&self.visited, &mut self.queue);
                    self.conditions.condition(of, atom).for_each_wanted(&mut |wanted| {
                        if !visited[package(wanted).at()] {
                            queue.push_back(package(wanted));
                        }
                    });
                }
                _ => {}
            }
        }
        self.refuse(of, universe.versions(universe.name(of)).iter().copied().map(literal));
    }

    fn want(&mut self, wanted: Literal) {
        if !self.visited[package(wanted).at()] {
            self.queue.push_back(package(wanted));
        }
    }

    fn require(&mut self, of: PackageId, providers: &[Literal]) {
        let own = literal(of);
        if providers.binary_search(&own).is_ok() {
            return;
        }
        self.found.push([-own].iter().chain(providers).copied().collect());
        providers.iter().for_each(|&provider| self.want(provider));
    }

    fn refuse(&mut self, of: PackageId, others: impl Iterator<Item = Literal>) {
        let own = literal(of);
        let rules = others.filter(|other| *other != own).map(|other| vec![(-own).min(-other), (-own).max(-other)]);
        self.found.extend(rules);
    }

    /// Adds the rules that say that something holds if a package is there.
    fn add_clauses(&mut self, of: PackageId, normal: Result<Normal, TooComplex>) {
        let own = literal(of);
        let clauses = match normal {
            Ok(Normal::Always) => return,
            Ok(Normal::Blocks(clauses)) => clauses,
            // What is too complex to be looked at cannot be met.
            Ok(Normal::Never) | Err(TooComplex) => vec![Vec::new()],
        };
        for mut clause in clauses {
            if clause.contains(&own) {
                continue;
            }
            if let Err(at) = clause.binary_search(&-own) {
                clause.insert(at, -own);
            }
            clause.iter().filter(|wanted| **wanted > 0).for_each(|&wanted| self.want(wanted));
            self.found.push(clause);
        }
    }

    /// Visits packages that supplement or enhance what was visited, until there is none left.
    fn visit_weak(&mut self) {
        let universe = self.universe;
        let is_weak = |kind| matches!(kind, RelationKind::Supplements | RelationKind::Enhances);
        let weak = |id: &PackageId| universe.atoms(*id).iter().any(|atom| is_weak(atom.kind));
        let mut waiting: Vec<PackageId> = universe.package_ids().filter(weak).collect();
        loop {
            let before = waiting.len();
            let mut still = Vec::new();
            for of in waiting {
                let known = |wanted| self.visited[package(wanted).at()];
                let atoms = universe.atoms(of).iter().filter(|atom| is_weak(atom.kind));
                if self.visited[of.at()] {
                    continue;
                }
                if atoms.map(|atom| self.conditions.condition(of, atom)).any(|condition| condition.may_hold(&known)) {
                    self.visit_from(of);
                } else {
                    still.push(of);
                }
            }
            if still.len() == before || still.is_empty() {
                return;
            }
            waiting = still;
        }
    }

    fn finish(mut self, selection: &Selection, best: bool) -> Rules {
        self.found.sort_unstable_by(|left, right| compare(left, right));
        self.found.dedup();
        let considered = self.universe.package_ids().filter(|id| self.visited[id.at()]).collect();
        let empty = 0..0;
        let mut rules = Rules {
            literals: Vec::new(),
            rules: Vec::with_capacity(self.found.len() + 1),
            package_rules: empty.clone(),
            job_rules: empty.clone(),
            jobs_of_rules: Vec::new(),
            best_rules: empty,
            jobs_of_best: Vec::new(),
            considered,
        };
        rules.add(&[]);
        let start = rules.end();
        for literals in &self.found {
            rules.add(literals);
        }
        rules.package_rules = start..rules.end();
        self.found = Vec::new();
        for (number, job) in selection.jobs.iter().enumerate() {
            for clause in self.job_clauses(&job.wanted) {
                rules.add(&clause);
                rules.jobs_of_rules.push(number);
            }
        }
        rules.job_rules = rules.package_rules.end..rules.end();
        if best {
            self.add_best(&mut rules);
        }
        rules.best_rules = rules.job_rules.end..rules.end();
        rules
    }

    fn job_clauses(&self, wanted: &Wanted) -> Vec<Vec<Literal>> {
        match wanted {
            Wanted::OneOf(candidates) => vec![candidates.iter().copied().map(literal).collect()],
            Wanted::Conditional { package, requires } => {
                let offering = |name: &str| {
                    let found = self.universe.providers(&super::dependency::Capability::any(name));
                    Condition::Any(found.into_iter().map(literal).collect())
                };
                match Condition::If(Box::new([offering(package), offering(requires)]), None).clauses() {
                    Ok(Normal::Blocks(clauses)) => clauses,
                    Ok(Normal::Always) => Vec::new(),
                    Ok(Normal::Never) | Err(TooComplex) => vec![Vec::new()],
                }
            }
        }
    }

    fn add_best(&self, rules: &mut Rules) {
        for (at, rule) in rules.job_rules.clone().enumerate() {
            let (mut candidates, mut conditions): (Vec<_>, Vec<_>) = rules.literals(rule).iter().partition(|literal| **literal > 0);
            let count = candidates.len();
            policy::keep_best(self.universe, &mut candidates);
            if count > 0 && candidates.len() < count {
                conditions.append(&mut candidates);
                rules.add(&conditions);
                rules.jobs_of_best.push(rules.jobs_of_rules[at]);
            }
        }
    }
}

/// Orders rules by their first literal; then, in effect, by the others with a zero at the end.
fn compare(left: &[Literal], right: &[Literal]) -> Ordering {
    let at = |literals: &[Literal], place: usize| literals.get(place).copied().unwrap_or(0);
    (0..left.len().max(right.len())).map(|place| at(left, place).cmp(&at(right, place))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// Returns whether dnf installs packages like this one beside their older versions, which is why their `Obsoletes` do not count.
pub(super) fn is_installonly(universe: &Universe, id: PackageId) -> bool {
    const OFFERS: [&str; 6] =
        ["kernel", "kernel-PAE", "installonlypkg(kernel)", "installonlypkg(kernel-module)", "installonlypkg(vm)", "multiversion(kernel)"];
    universe.atoms_of(id, RelationKind::Provides).any(|atom| OFFERS.contains(&universe.capability(id, atom).name))
}
