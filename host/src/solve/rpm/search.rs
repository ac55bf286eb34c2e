//! The search: decides packages one by one, goes on to what follows, and learns from contradictions.
//!
//! ```text
//! facts → what is asked for → open dependencies → weak dependencies → another look at choices that turned out needless
//!   ↑                                                                                     │
//!   └────────────── learnt rule, back to the level that it concerns ◂── contradiction ◂───┘
//! ```
//!
//! Conflict-driven with two watched literals, which finds a solution if there is one. Where there is a choice it is the policy's, and
//! the order in which rules are looked at is libsolv's: first those that leave one sensible choice, then the others, in the order
//! of the rules.
//!
//! # Invariants
//!
//! Level 1 holds facts; each free decision opens a level. `decided` and `trail` say the same: a package's level, negative where it is
//! ruled out. Nothing depends on hashes or addresses.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    condition::{Condition, Conditions, Literal, Normal, literal, package},
    index::RelationKind,
    policy::{self, There},
    rules::{RuleId, Rules},
    universe::{PackageId, Universe},
};

/// How many contradictions a search may meet. Real requests meet some hundred at most.
const MAX_CONTRADICTIONS: usize = 200_000;

/// How a search ended without a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoSolution {
    /// There is none: these rules, none of them learnt, contradict each other.
    Impossible(BTreeSet<RuleId>),
    /// It was not found within [`MAX_CONTRADICTIONS`].
    TooHard,
}

/// Why a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A rule leaves nothing else.
    Unit(RuleId),
    /// It is the best way to meet a rule.
    Chosen(RuleId),
    /// It is recommended, or supplements what is there.
    Weak,
}

/// A decision with other candidates.
#[derive(Debug, Clone)]
struct Branch {
    /// The level before the decision.
    level: i32,
    /// Candidates, best first, and whether each was tried.
    candidates: Vec<(Literal, bool)>,
    why: Why,
}

/// The weak dependencies of a package.
#[derive(Debug, Default)]
pub(super) struct WeakDependencies {
    pub(super) recommends: Vec<Rc<Condition>>,
    pub(super) suggests: Vec<Rc<Condition>>,
    pub(super) supplements: Vec<Rc<Condition>>,
    pub(super) enhances: Vec<Rc<Condition>>,
}

/// What is recommended and suggested by what is there.
#[derive(Debug, Default)]
struct Marks {
    recommended: Vec<bool>,
    suggested: Vec<bool>,
    /// How many decisions were looked at; none when all must be looked at again.
    seen: Option<usize>,
    /// Rich dependencies that may come to mark more: whether they are recommendations, and their clauses.
    pending: Vec<(bool, Vec<Vec<Literal>>)>,
}

pub(super) struct Search<'a> {
    pub(super) universe: &'a Universe,
    rules: &'a mut Rules,
    /// For each package (by its literal), the level at which it was decided, negative when it was ruled out; 0: not decided.
    decided: Vec<i32>,
    /// Decisions in order.
    pub(super) trail: Vec<Literal>,
    why: Vec<Why>,
    propagated: usize,
    /// For each literal, the first rule that watches it.
    watches: Vec<RuleId>,
    branches: Vec<Branch>,
    pub(super) weak: Vec<Option<Box<WeakDependencies>>>,
    marks: Marks,
    /// For each learnt rule, the rules that it was learnt from.
    learnt_from: Vec<Vec<RuleId>>,
    first_learnt: RuleId,
}

/// Searches for packages that obey the rules; returns them with the reasons for them, in the order of the decisions.
pub(super) fn search(conditions: &Conditions<'_>, rules: &mut Rules, with_weak: bool) -> Result<Vec<(PackageId, Why)>, NoSolution> {
    let universe = conditions.universe;
    let count = universe.package_count() + 1;
    let first_learnt = rules.end();
    let weak = weak_dependencies(conditions, rules);
    let marks = Marks { recommended: vec![false; count], suggested: vec![false; count], seen: None, pending: Vec::new() };
    let mut search = Search {
        universe,
        rules,
        decided: vec![0; count],
        trail: Vec::new(),
        why: Vec::new(),
        propagated: 0,
        watches: vec![0; 2 * count],
        branches: Vec::new(),
        weak,
        marks,
        learnt_from: Vec::new(),
        first_learnt,
    };
    search.watch_all();
    search.run(with_weak)?;
    let found = search.trail.iter().zip(&search.why).filter(|(literal, _)| **literal > 0);
    Ok(found.map(|(&literal, &why)| (package(literal), why)).collect())
}

/// Collects the weak dependencies of all packages that come into question.
fn weak_dependencies(conditions: &Conditions<'_>, rules: &Rules) -> Vec<Option<Box<WeakDependencies>>> {
    let universe = conditions.universe;
    let mut all = Vec::new();
    all.resize_with(universe.package_count(), || None);
    for &of in &rules.considered {
        for atom in universe.atoms(of) {
            let place = &mut all[of.at()];
            let mut weak = |pick: fn(&mut WeakDependencies) -> &mut Vec<Rc<Condition>>| {
                pick(place.get_or_insert_with(Box::<WeakDependencies>::default)).push(conditions.condition(of, atom));
            };
            match atom.kind {
                RelationKind::Recommends => weak(|weak| &mut weak.recommends),
                RelationKind::Suggests => weak(|weak| &mut weak.suggests),
                RelationKind::Supplements => weak(|weak| &mut weak.supplements),
                RelationKind::Enhances => weak(|weak| &mut weak.enhances),
                _ => {}
            }
        }
    }
    all
}

impl There for Search<'_> {
    fn is_recommended(&self, candidate: Literal) -> bool {
        self.marks.recommended[place(candidate)] || self.supplements(package(candidate))
    }

    fn is_suggested(&self, candidate: Literal) -> bool {
        let enhances = |weak: &WeakDependencies| weak.enhances.iter().any(|condition| condition.holds(&|other| self.is_there(other)));
        self.marks.suggested[place(candidate)] || self.weak[package(candidate).at()].as_deref().is_some_and(enhances)
    }
}

fn place(literal: Literal) -> usize {
    literal.unsigned_abs() as usize
}

impl Search<'_> {
    /// Returns the level at which a package was decided, negative when it was ruled out.
    pub(super) fn level_of(&self, literal: Literal) -> i32 {
        self.decided[place(literal)]
    }

    pub(super) fn is_there(&self, positive: Literal) -> bool {
        self.decided[place(positive)] > 0
    }

    pub(super) fn is_open(&self, literal: Literal) -> bool {
        self.decided[place(literal)] == 0
    }

    fn is_true(&self, literal: Literal) -> bool {
        self.decided[place(literal)] * literal.signum() > 0
    }

    fn is_false(&self, literal: Literal) -> bool {
        self.decided[place(literal)] * literal.signum() < 0
    }

    /// Returns whether a package supplements something that is there.
    pub(super) fn supplements(&self, id: PackageId) -> bool {
        let holds = |condition: &Rc<Condition>| condition.holds(&|other| self.is_there(other));
        self.weak[id.at()].as_deref().is_some_and(|weak| weak.supplements.iter().any(holds))
    }

    fn watch_place(&self, literal: Literal) -> usize {
        if literal > 0 { place(literal) } else { self.decided.len() + place(literal) }
    }

    /// Puts a rule in front of those that watch a literal.
    fn watch(&mut self, rule: RuleId, which: usize) {
        let place = self.watch_place(self.rules.rule(rule).watched[which]);
        self.rules.rule_mut(rule).next[which] = std::mem::replace(&mut self.watches[place], rule);
    }

    fn watch_all(&mut self) {
        for rule in (1..self.rules.end()).rev().filter(|&rule| self.rules.literals(rule).len() > 1).collect::<Vec<_>>() {
            self.watch(rule, 0);
            self.watch(rule, 1);
        }
    }

    fn decide(&mut self, literal: Literal, level: i32, why: Why) {
        self.decided[place(literal)] = level * literal.signum();
        self.trail.push(literal);
        self.why.push(why);
    }

    fn run(&mut self, with_weak: bool) -> Result<(), NoSolution> {
        let mut level = self.decide_facts()?;
        // Below this level, what is asked for has to be looked at again.
        let mut asked_from = level + 1;
        loop {
            if level < asked_from {
                let before = level;
                level = self.meet_jobs(level)?;
                if level < before {
                    continue;
                }
                asked_from = level + 1;
            }
            asked_from = asked_from.min(level);
            let before = level;
            level = self.meet_dependencies(level)?;
            if level < before {
                continue;
            }
            if with_weak {
                let (new_level, changed) = self.add_weak(level)?;
                level = new_level;
                if changed {
                    continue;
                }
            }
            match self.needless_choice() {
                Some((branch, candidate)) => level = self.take_branch(branch, candidate)?,
                None => return Ok(()),
            }
        }
    }

    /// Decides what rules with one literal say.
    fn decide_facts(&mut self) -> Result<i32, NoSolution> {
        for rule in 1..self.rules.end() {
            match *self.rules.literals(rule) {
                [] => return Err(NoSolution::Impossible([rule].into())),
                [only] if self.is_false(only) => {
                    let at = self.trail.iter().position(|&literal| literal == -only);
                    let other = at.and_then(|at| match self.why[at] {
                        Why::Unit(rule) => Some(rule),
                        _ => None,
                    });
                    return Err(NoSolution::Impossible(other.into_iter().chain([rule]).collect()));
                }
                [only] if self.is_open(only) => self.decide(only, 1, Why::Unit(rule)),
                _ => {}
            }
        }
        match self.propagate(1) {
            Some(rule) => Err(self.impossible(rule)),
            None => Ok(1),
        }
    }

    /// Decides what follows from the decisions; returns a rule that they contradict.
    fn propagate(&mut self, level: i32) -> Option<RuleId> {
        while let Some(&decision) = self.trail.get(self.propagated) {
            self.propagated += 1;
            let gone = -decision;
            let head = self.watch_place(gone);
            // The rule before the current one in the list of those that watch `gone`, and which of its watches does.
            let mut before: Option<(RuleId, usize)> = None;
            let mut current = self.watches[head];
            while current != 0 {
                let rule = *self.rules.rule(current);
                let which = usize::from(rule.watched[0] != gone);
                let (other, next) = (rule.watched[1 - which], rule.next[which]);
                if self.is_true(other) {
                    (before, current) = (Some((current, which)), next);
                    continue;
                }
                let literals = self.rules.literals(current);
                let moved = (literals.len() > 2).then(|| literals.iter().copied().find(|&l| l != other && !self.is_false(l))).flatten();
                if let Some(moved) = moved {
                    match before {
                        None => self.watches[head] = next,
                        Some((rule, which)) => self.rules.rule_mut(rule).next[which] = next,
                    }
                    self.rules.rule_mut(current).watched[which] = moved;
                    self.watch(current, which);
                    current = next;
                    continue;
                }
                if self.is_false(other) {
                    return Some(current);
                }
                self.decide(other, level, Why::Unit(current));
                (before, current) = (Some((current, which)), next);
            }
        }
        None
    }

    /// Opens a level with a decision and goes on to what follows, back where that ends in contradictions. Returns the new level.
    pub(super) fn try_decision(&mut self, level: i32, decision: Literal, why: Why) -> Result<i32, NoSolution> {
        let mut level = level + 1;
        self.decide(decision, level, why);
        while let Some(rule) = self.propagate(level) {
            if level == 1 {
                return Err(self.impossible(rule));
            }
            if self.learnt_from.len() == MAX_CONTRADICTIONS {
                return Err(NoSolution::TooHard);
            }
            let learnt = self.learn(level, rule);
            level = learnt.1;
            let decision = self.rules.literals(learnt.0)[0];
            self.decide(decision, level, Why::Unit(learnt.0));
        }
        Ok(level)
    }

    /// Learns a rule from a contradicted one, and goes back to the level where it says something new.
    fn learn(&mut self, level: i32, contradicted: RuleId) -> (RuleId, i32) {
        let mut seen = vec![false; self.decided.len()];
        let (mut reasons, mut literals, mut back_to) = (vec![contradicted], vec![0], 1);
        // How many literals of this level are still to be explained.
        let mut open = 0;
        let mut at = self.trail.len();
        let mut rule = contradicted;
        loop {
            for &literal in self.rules.literals(rule) {
                if self.is_true(literal) || std::mem::replace(&mut seen[place(literal)], true) {
                    continue;
                }
                match self.level_of(literal).abs() {
                    1 => {}
                    same if same == level => open += 1,
                    lower => {
                        literals.push(literal);
                        back_to = back_to.max(lower);
                    }
                }
            }
            at -= 1;
            while !seen[place(self.trail[at])] {
                at -= 1;
            }
            open -= 1;
            if open == 0 {
                literals[0] = -self.trail[at];
                break;
            }
            if let Why::Unit(next) = self.why[at] {
                rule = next;
                reasons.push(rule);
            }
        }
        self.explain_facts(&mut seen, &mut reasons);
        self.go_back(back_to);
        let learnt = self.rules.add(&literals);
        self.learnt_from.push(reasons);
        if literals.len() > 1 {
            let mut highest = literals[1];
            for &literal in &literals[2..] {
                if self.level_of(literal).abs() > self.level_of(highest).abs() {
                    highest = literal;
                }
            }
            self.rules.rule_mut(learnt).watched[1] = highest;
            self.watch(learnt, 0);
            self.watch(learnt, 1);
        }
        (learnt, back_to)
    }

    /// Adds the rules that facts among the seen packages come from.
    fn explain_facts(&self, seen: &mut [bool], reasons: &mut Vec<RuleId>) {
        for at in (0..self.trail.len()).rev() {
            let decision = self.trail[at];
            if !seen[place(decision)] || self.level_of(decision).abs() != 1 {
                continue;
            }
            if let Why::Unit(rule) = self.why[at] {
                reasons.push(rule);
                self.rules.literals(rule).iter().for_each(|&literal| seen[place(literal)] = true);
            }
        }
    }

    /// Returns the rules, none of them learnt, that make a rule contradict facts.
    fn impossible(&self, contradicted: RuleId) -> NoSolution {
        let mut seen = vec![false; self.decided.len()];
        let mut open = vec![contradicted];
        self.rules.literals(contradicted).iter().for_each(|&literal| seen[place(literal)] = true);
        self.explain_facts(&mut seen, &mut open);
        let mut core = BTreeSet::new();
        let mut visited = BTreeSet::new();
        while let Some(rule) = open.pop() {
            match rule.checked_sub(self.first_learnt) {
                None => drop(core.insert(rule)),
                Some(learnt) if visited.insert(learnt) => open.extend(&self.learnt_from[learnt as usize]),
                Some(_) => {}
            }
        }
        NoSolution::Impossible(core)
    }

    /// Takes back all decisions above a level.
    fn go_back(&mut self, level: i32) {
        while let Some(&last) = self.trail.last()
            && self.level_of(last).abs() > level
        {
            self.decided[place(last)] = 0;
            self.trail.pop();
            self.why.pop();
        }
        self.propagated = self.propagated.min(self.trail.len());
        while self.branches.last().is_some_and(|branch| branch.level >= level) {
            self.branches.pop();
        }
        if self.marks.seen.is_some_and(|seen| seen > self.trail.len()) {
            self.marks.seen = None;
        }
    }

    /// Meets the rules of what is asked for.
    fn meet_jobs(&mut self, mut level: i32) -> Result<i32, NoSolution> {
        let lowest = level;
        let mut rule = self.rules.job_rules.start;
        while rule < self.rules.job_rules.end {
            let Some(candidates) = self.candidates(rule) else {
                rule += 1;
                continue;
            };
            let before = level;
            level = self.choose(level, candidates, Why::Chosen(rule))?;
            if level > before {
                rule += 1;
            } else if level < lowest {
                return Ok(level);
            } else if level < before {
                rule = self.rules.job_rules.start;
            }
        }
        Ok(level)
    }

    /// Returns the undecided packages that would meet a rule, none if it is met.
    fn candidates(&self, rule: RuleId) -> Option<Vec<Literal>> {
        let mut candidates = Vec::new();
        for &literal in self.rules.literals(rule) {
            if literal < 0 {
                if self.level_of(literal) <= 0 {
                    return None;
                }
            } else {
                match self.level_of(literal) {
                    0 => candidates.push(literal),
                    there if there > 0 => return None,
                    _ => {}
                }
            }
        }
        (!candidates.is_empty()).then_some(candidates)
    }

    /// Meets all rules, those without a choice first.
    fn meet_dependencies(&mut self, mut level: i32) -> Result<i32, NoSolution> {
        let lowest = level;
        let (mut rule, mut looked_at) = (1, 1);
        // The first rule that leaves a choice, as long as choices are put off.
        let mut put_off: Option<RuleId> = None;
        let mut choosing = false;
        loop {
            if looked_at >= self.rules.end() {
                match put_off.take() {
                    Some(first) if !choosing => (rule, looked_at, choosing) = (first, 1, true),
                    _ => return Ok(level),
                }
            }
            if rule >= self.rules.end() {
                rule = 1;
            }
            if let Some(mut candidates) = self.open_candidates(rule) {
                if !choosing {
                    policy::keep_best(self.universe, &mut candidates);
                    self.keep_recommended(&mut candidates);
                }
                if candidates.len() > 1 && !choosing {
                    put_off.get_or_insert(rule);
                } else {
                    level = self.choose(level, candidates, Why::Chosen(rule))?;
                    if level < lowest {
                        return Ok(level);
                    }
                    // Everything has to be looked at again.
                    looked_at = 0;
                }
            }
            rule += 1;
            looked_at += 1;
        }
    }

    /// Returns the candidates of a rule that is not met; rules with one literal are facts and need none.
    fn open_candidates(&self, rule: RuleId) -> Option<Vec<Literal>> {
        let literals = self.rules.literals(rule);
        match literals {
            [] | [_] => None,
            // Requirements come from packages that mostly are not there.
            [first, second, ..] if *first < 0 && (self.level_of(*first) <= 0 || (literals.len() == 2 && *second < 0)) => None,
            _ => self.candidates(rule),
        }
    }

    fn keep_recommended(&mut self, candidates: &mut Vec<Literal>) {
        if candidates.len() > 1 {
            self.update_marks();
            policy::keep_recommended(candidates, self);
        }
    }

    /// Brings the candidates into the order in which they are tried, the best alone if others are worse.
    pub(super) fn rank(&mut self, candidates: &mut Vec<Literal>) {
        policy::keep_best(self.universe, candidates);
        self.keep_recommended(candidates);
        if candidates.len() > 1 {
            policy::reorder(self.universe, candidates, self);
        }
    }

    /// Decides for the best of some candidates.
    pub(super) fn choose(&mut self, level: i32, mut candidates: Vec<Literal>, why: Why) -> Result<i32, NoSolution> {
        if candidates.len() > 1 {
            self.rank(&mut candidates);
        }
        let best = candidates[0];
        if candidates.len() > 1 {
            let candidates = candidates.into_iter().map(|candidate| (candidate, candidate == best)).collect();
            self.branches.push(Branch { level, candidates, why });
        }
        self.try_decision(level, best, why)
    }

    /// Marks what is recommended and suggested by what was decided since the last time.
    pub(super) fn update_marks(&mut self) {
        let from = self.marks.seen.unwrap_or_else(|| {
            self.marks.recommended.fill(false);
            self.marks.suggested.fill(false);
            self.marks.pending.clear();
            0
        });
        let mut marks = std::mem::take(&mut self.marks);
        for at in from..self.trail.len() {
            let decision = self.trail[at];
            let Some(weak) = (decision > 0).then(|| self.weak[package(decision).at()].as_deref()).flatten() else {
                continue;
            };
            let all = weak.recommends.iter().map(|condition| (true, condition));
            for (is_recommended, condition) in all.chain(weak.suggests.iter().map(|condition| (false, condition))) {
                let marked = if is_recommended { &mut marks.recommended } else { &mut marks.suggested };
                match condition.simple() {
                    Some(packages) => packages.iter().for_each(|&package| marked[place(package)] = true),
                    None => {
                        if let Ok(Normal::Blocks(clauses)) = condition.clauses() {
                            marks.pending.push((is_recommended, clauses));
                        }
                    }
                }
            }
        }
        for (is_recommended, clauses) in &marks.pending {
            let marked = if *is_recommended { &mut marks.recommended } else { &mut marks.suggested };
            for clause in clauses {
                let (negative, positive): (Vec<Literal>, Vec<Literal>) = clause.iter().partition(|literal| **literal < 0);
                if negative.iter().all(|&literal| self.is_there(-literal)) {
                    positive.iter().for_each(|&literal| marked[place(literal)] = true);
                }
            }
        }
        marks.seen = Some(self.trail.len());
        self.marks = marks;
    }

    /// Finds a choice that another candidate would have made needless, or whose choice is not the recommended one.
    fn needless_choice(&mut self) -> Option<(usize, usize)> {
        self.update_marks();
        let mut found = None;
        for (number, branch) in self.branches.iter().enumerate().rev() {
            let untried = || branch.candidates.iter().enumerate().filter(|(_, (_, tried))| !tried).map(|(at, (literal, _))| (at, *literal));
            if let Some((at, _)) = untried().find(|(_, candidate)| self.level_of(*candidate) > branch.level) {
                found = Some((number, at));
                continue;
            }
            let Some((recommended, _)) = untried().find(|(_, candidate)| self.is_recommended(*candidate)) else {
                continue;
            };
            let tried = branch.candidates.iter().filter(|(_, tried)| *tried).map(|(literal, _)| *literal);
            let mut current = tried.filter(|candidate| self.level_of(*candidate) == branch.level + 1);
            if current.any(|candidate| !self.is_recommended(candidate)) {
                found = Some((number, recommended));
            }
        }
        found
    }

    /// Goes back to a choice and takes another candidate.
    fn take_branch(&mut self, number: usize, candidate: usize) -> Result<i32, NoSolution> {
        self.branches.truncate(number + 1);
        let branch = &mut self.branches[number];
        let level = branch.level;
        branch.candidates[candidate].1 = true;
        let (literal, why) = (branch.candidates[candidate].0, branch.why);
        // Going back takes away all branches of this level and above: this one is to stay.
        branch.level = 0;
        self.go_back(level);
        self.branches[number].level = level;
        self.try_decision(level, literal, why)
    }

    /// Opens a branch and decides for the best of some candidates that are ranked already.
    pub(super) fn branch(&mut self, level: i32, candidates: &[Literal]) {
        if let [best, _, ..] = *candidates {
            let candidates = candidates.iter().map(|&candidate| (candidate, candidate == best)).collect();
            self.branches.push(Branch { level, candidates, why: Why::Weak });
        }
    }

    /// Returns the literals of packages that come into question, in order of number.
    pub(super) fn considered(&self) -> Vec<Literal> {
        self.rules.considered.iter().map(|&id| literal(id)).collect()
    }
}
