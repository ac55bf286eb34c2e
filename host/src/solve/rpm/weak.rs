//! Weak dependencies: what is recommended, and what supplements, is added to a set that already holds together.
//!
//! Supplementing packages come first, then recommended ones in the order of the decisions that recommend them. What cannot be added is
//! left out. Suggestions only count where there is a choice.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    condition::{Condition, Literal, Normal, package},
    policy,
    search::{NoSolution, Search, Why},
};

impl Search<'_> {
    /// Adds weak dependencies. Returns the new level and whether there was anything to add.
    pub(super) fn add_weak(&mut self, level: i32) -> Result<(i32, bool), NoSolution> {
        let (mut wanted, mut supplementing) = (Vec::new(), Vec::new());
        for candidate in self.considered() {
            let Some(weak) = self.weak[package(candidate).at()].as_deref() else {
                continue;
            };
            if self.is_there(candidate) {
                weak.recommends.iter().for_each(|condition| self.collect(condition, None, &mut wanted));
            } else if self.is_open(candidate) && !weak.supplements.is_empty() && self.supplements(package(candidate)) {
                supplementing.push(candidate);
            }
        }
        for &candidate in &supplementing {
            if !wanted.contains(&candidate) {
                wanted.push(candidate);
            }
        }
        if let [only] = wanted[..] {
            return Ok((self.try_decision(level, only, Why::Weak)?, true));
        }
        if wanted.is_empty() {
            return Ok((level, false));
        }
        policy::keep_best(self.universe, &mut wanted);
        let best: BTreeSet<Literal> = wanted.into_iter().collect();
        supplementing.retain(|candidate| best.contains(candidate));
        if supplementing.len() > 1 {
            self.update_marks();
            policy::reorder(self.universe, &mut supplementing, self);
        }
        Ok((self.add_in_order(level, &supplementing, &best)?, true))
    }

    /// Adds supplementing packages, then recommended ones, until something has to be taken back.
    fn add_in_order(&mut self, mut level: i32, supplementing: &[Literal], best: &BTreeSet<Literal>) -> Result<i32, NoSolution> {
        let decisions = self.trail.len();
        for &candidate in supplementing {
            if self.is_open(candidate) {
                let before = level;
                level = self.try_decision(level, candidate, Why::Weak)?;
                if level <= before {
                    return Ok(level);
                }
            }
        }
        for at in 0..decisions {
            let decision = self.trail[at];
            let recommends = match self.weak[package(decision).at()].as_deref() {
                Some(weak) if decision > 0 => weak.recommends.clone(),
                _ => continue,
            };
            for condition in recommends {
                let mut candidates = Vec::new();
                self.collect(&condition, Some(best), &mut candidates);
                if candidates.is_empty() {
                    continue;
                }
                if candidates.len() > 1 {
                    self.rank(&mut candidates);
                }
                self.branch(level, &candidates);
                let before = level;
                level = self.try_decision(level, candidates[0], Why::Weak)?;
                if level <= before || self.trail.len() < decisions {
                    return Ok(level);
                }
            }
        }
        Ok(level)
    }

    /// Adds the undecided packages that would meet a recommendation, unless it is met; only those of a set if there is one.
    fn collect(&self, condition: &Rc<Condition>, only: Option<&BTreeSet<Literal>>, wanted: &mut Vec<Literal>) {
        let mut add_clause = |clause: &[Literal]| {
            let start = wanted.len();
            for &literal in clause {
                if literal < 0 {
                    if !self.is_there(-literal) {
                        return;
                    }
                } else if self.is_there(literal) {
                    wanted.truncate(start);
                    return;
                } else if self.is_open(literal) && only.is_none_or(|set| set.contains(&literal)) && !wanted.contains(&literal) {
                    wanted.push(literal);
                }
            }
        };
        match condition.simple() {
            Some(packages) => add_clause(packages),
            None => {
                if let Ok(Normal::Blocks(clauses)) = condition.clauses() {
                    clauses.iter().for_each(|clause| add_clause(clause));
                }
            }
        }
    }
}
