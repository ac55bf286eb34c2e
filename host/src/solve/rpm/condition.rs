//! Dependencies with the packages that meet them, and their normal forms.
//!
//! A literal is a package's number plus one, positive when the package is there and negative when it is not. A clause is a list of
//! literals, sorted, of which one must hold.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use super::{
    dependency::{Capability, Dependency, is_rich},
    evr::Sense,
    index::Atom,
    universe::{NameId, PackageId, Universe},
};

/// A package's number plus one, negative when it is not there.
pub(super) type Literal = i32;

/// How many literals the normal form of one dependency may have: `and` within `or` multiplies.
const MAX_LITERALS: usize = 1 << 18;

/// Returns the literal that says that a package is there.
pub(super) fn literal(package: PackageId) -> Literal {
    // The universe has fewer packages than literals: it checks that.
    package.0.cast_signed() + 1
}

/// Returns the package of a literal.
pub(super) fn package(literal: Literal) -> PackageId {
    PackageId(literal.unsigned_abs() - 1)
}

/// A dependency with the packages that meet its parts.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// One of these packages, in order of number.
    Any(Rc<[Literal]>),
    And(Vec<Self>),
    Or(Vec<Self>),
    If(Box<[Self; 2]>, Option<Box<Self>>),
    Unless(Box<[Self; 2]>, Option<Box<Self>>),
}

/// What is asked for of a name: sense and version.
type Versions<'a> = (NameId, Sense, &'a str);

/// Finds the packages that meet dependencies, once for each.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    pub(super) universe: &'a Universe,
    providers: RefCell<HashMap<Versions<'a>, Rc<[Literal]>>>,
    rich: RefCell<HashMap<NameId, Rc<Condition>>>,
    nothing: Rc<[Literal]>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(universe: &'a Universe) -> Self {
        Self { universe, providers: RefCell::default(), rich: RefCell::default(), nothing: Rc::new([]) }
    }

    /// Returns the packages that meet an atom that is not a rich dependency.
    pub(super) fn providers(&self, of: PackageId, atom: &Atom) -> Rc<[Literal]> {
        self.offering(self.universe.atom_name(of, atom), self.universe.capability(of, atom))
    }

    fn offering(&self, name: NameId, capability: Capability<'a>) -> Rc<[Literal]> {
        let key = (name, capability.sense, capability.evr);
        if let Some(known) = self.providers.borrow().get(&key) {
            return Rc::clone(known);
        }
        let found: Rc<[Literal]> = self.universe.providers_of(name, &capability).into_iter().map(literal).collect();
        self.providers.borrow_mut().insert(key, Rc::clone(&found));
        found
    }

    fn simple(&self, capability: Capability<'a>) -> Rc<[Literal]> {
        match self.universe.find_name(capability.name) {
            Some(name) => self.offering(name, capability),
            None => Rc::clone(&self.nothing),
        }
    }

    /// Returns whether an atom is a rich dependency.
    pub(super) fn is_rich(&self, of: PackageId, atom: &Atom) -> bool {
        is_rich(self.universe.capability(of, atom).name)
    }

    /// Returns an atom with the packages that meet it.
    pub(super) fn condition(&self, of: PackageId, atom: &Atom) -> Rc<Condition> {
        if !self.is_rich(of, atom) {
            return Rc::new(Condition::Any(self.providers(of, atom)));
        }
        let name = self.universe.atom_name(of, atom);
        if let Some(known) = self.rich.borrow().get(&name) {
            return Rc::clone(known);
        }
        let condition = match Dependency::parse(self.universe.capability(of, atom).name) {
            Ok(dependency) => self.of_dependency(&dependency),
            // Indexes hold no other; nothing meets what cannot be understood.
            Err(_) => Condition::Any(Rc::clone(&self.nothing)),
        };
        let condition = Rc::new(condition);
        self.rich.borrow_mut().insert(name, Rc::clone(&condition));
        condition
    }

    /// Returns a dependency with the packages that meet it.
    pub(super) fn of_dependency(&self, dependency: &Dependency<'a>) -> Condition {
        let all = |parts: &[Dependency<'a>]| parts.iter().map(|part| self.of_dependency(part)).collect::<Vec<_>>();
        let two = |pair: &[Dependency<'a>; 2]| Box::new([self.of_dependency(&pair[0]), self.of_dependency(&pair[1])]);
        let third = |part: &Option<Box<Dependency<'a>>>| part.as_deref().map(|part| Box::new(self.of_dependency(part)));
        match dependency {
            Dependency::Simple(capability) => Condition::Any(self.simple(*capability)),
            Dependency::And(parts) => Condition::And(all(parts)),
            Dependency::Or(parts) => {
                let parts = all(parts);
                let simple: Option<Vec<_>> = parts.iter().map(Condition::simple).collect();
                match simple {
                    Some(lists) => {
                        let mut merged: Vec<Literal> = lists.into_iter().flat_map(|list| list.iter().copied()).collect();
                        merged.sort_unstable();
                        merged.dedup();
                        Condition::Any(merged.into())
                    }
                    None => Condition::Or(parts),
                }
            }
            Dependency::With(_) | Dependency::Without(_) => Condition::Any(self.single(dependency).into()),
            Dependency::If(pair, otherwise) => Condition::If(two(pair), third(otherwise)),
            Dependency::Unless(pair, otherwise) => Condition::Unless(two(pair), third(otherwise)),
        }
    }

    /// Returns the packages that meet a dependency each on its own.
    fn single(&self, dependency: &Dependency<'a>) -> Vec<Literal> {
        match dependency {
            Dependency::Simple(capability) => self.simple(*capability).to_vec(),
            Dependency::With(parts) => {
                let mut lists = parts.iter().map(|part| self.single(part));
                let first = lists.next().unwrap_or_default();
                lists.fold(first, |kept, list| kept.into_iter().filter(|package| list.binary_search(package).is_ok()).collect())
            }
            Dependency::Without(pair) => {
                let excluded = self.single(&pair[1]);
                self.single(&pair[0]).into_iter().filter(|package| excluded.binary_search(package).is_err()).collect()
            }
            Dependency::And(parts) | Dependency::Or(parts) => {
                let mut merged: Vec<Literal> = parts.iter().flat_map(|part| self.single(part)).collect();
                merged.sort_unstable();
                merged.dedup();
                merged
            }
            Dependency::If(pair, _) | Dependency::Unless(pair, _) => self.single(&pair[0]),
        }
    }
}

/// A normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Normal {
    /// Nothing meets it.
    Never,
    /// It is met in any case.
    Always,
    /// Clauses that must all hold, or products of which one must hold.
    Blocks(Vec<Vec<Literal>>),
}

/// The normal form would be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooComplex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All blocks, each met by one of its literals.
    Clauses,
    /// One of the blocks, met by all of its literals.
    Products,
}

impl Shape {
    fn other(self) -> Self {
        match self {
            Self::Clauses => Self::Products,
            Self::Products => Self::Clauses,
        }
    }
}

impl Condition {
    /// Returns the packages that meet it, if it is no more than such a list.
    pub(super) fn simple(&self) -> Option<&Rc<[Literal]>> {
        match self {
            Self::Any(packages) => Some(packages),
            _ => None,
        }
    }

    /// Returns clauses that say that the condition holds.
    ///
    /// # Errors
    /// Fails when they would be too many.
    pub(super) fn clauses(&self) -> Result<Normal, TooComplex> {
        self.normal(Shape::Clauses)
    }

    /// Returns clauses that say that the condition does not hold.
    ///
    /// # Errors
    /// Fails when they would be too many.
    pub(super) fn refusals(&self) -> Result<Normal, TooComplex> {
        self.normal(Shape::Products).map(invert)
    }

    fn normal(&self, shape: Shape) -> Result<Normal, TooComplex> {
        let of = |part: &Self| part.normal(shape);
        let not = |part: &Self| part.normal(shape.other()).map(invert);
        match self {
            Self::Any(packages) if packages.is_empty() => Ok(Normal::Never),
            Self::Any(packages) => Ok(Normal::Blocks(match shape {
                Shape::Clauses => vec![packages.to_vec()],
                Shape::Products => packages.iter().map(|&package| vec![package]).collect(),
            })),
            Self::And(parts) => parts.iter().try_fold(Normal::Always, |all, part| both(all, of(part)?, shape)),
            Self::Or(parts) => parts.iter().try_fold(Normal::Never, |all, part| either(all, of(part)?, shape)),
            Self::If(pair, None) => either(of(&pair[0])?, not(&pair[1])?, shape),
            Self::If(pair, Some(otherwise)) => {
                both(either(of(&pair[0])?, not(&pair[1])?, shape)?, either(of(&pair[1])?, of(otherwise)?, shape)?, shape)
            }
            Self::Unless(pair, None) => both(of(&pair[0])?, not(&pair[1])?, shape),
            Self::Unless(pair, Some(otherwise)) => {
                either(both(of(&pair[0])?, not(&pair[1])?, shape)?, both(of(&pair[1])?, of(otherwise)?, shape)?, shape)
            }
        }
    }

    /// Returns whether it holds where `there` tells which packages are there.
    pub(super) fn holds(&self, there: &impl Fn(Literal) -> bool) -> bool {
        match self {
            Self::Any(packages) => packages.iter().any(|&package| there(package)),
            Self::And(parts) => parts.iter().all(|part| part.holds(there)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(there)),
            Self::If(pair, None) => pair[0].holds(there) || !pair[1].holds(there),
            Self::If(pair, Some(otherwise)) => {
                if pair[1].holds(there) {
                    pair[0].holds(there)
                } else {
                    otherwise.holds(there)
                }
            }
            Self::Unless(pair, None) => pair[0].holds(there) && !pair[1].holds(there),
            Self::Unless(pair, Some(otherwise)) => {
                if pair[1].holds(there) {
                    otherwise.holds(there)
                } else {
                    pair[0].holds(there)
                }
            }
        }
    }

    /// Returns whether it may hold if only packages that `known` tells are there.
    pub(super) fn may_hold(&self, known: &impl Fn(Literal) -> bool) -> bool {
        match self {
            Self::Any(packages) => packages.iter().any(|&package| known(package)),
            Self::And(parts) => parts.iter().all(|part| part.may_hold(known)),
            Self::Or(parts) => parts.iter().any(|part| part.may_hold(known)),
            Self::If(..) | Self::Unless(..) => true,
        }
    }

    /// Calls `take` for each package that may be wanted because of it.
    pub(super) fn for_each_wanted(&self, take: &mut impl FnMut(Literal)) {
        match self {
            Self::Any(packages) => packages.iter().for_each(|&package| take(package)),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.for_each_wanted(take)),
            Self::If(pair, otherwise) | Self::Unless(pair, otherwise) => {
                pair[0].for_each_wanted(take);
                otherwise.iter().for_each(|part| part.for_each_wanted(take));
            }
        }
    }
}

/// Negates all literals, which turns clauses into products and products into clauses.
fn invert(normal: Normal) -> Normal {
    match normal {
        Normal::Never => Normal::Always,
        Normal::Always => Normal::Never,
        Normal::Blocks(blocks) => {
            Normal::Blocks(blocks.into_iter().map(|block| block.into_iter().rev().map(|literal| -literal).collect()).collect())
        }
    }
}

fn either(left: Normal, right: Normal, shape: Shape) -> Result<Normal, TooComplex> {
    match (left, right) {
        (Normal::Always, _) | (_, Normal::Always) => Ok(Normal::Always),
        (Normal::Never, other) | (other, Normal::Never) => Ok(other),
        (Normal::Blocks(left), Normal::Blocks(right)) => match shape {
            Shape::Clauses => distribute(&left, &right, Normal::Always),
            Shape::Products => Ok(Normal::Blocks(left.into_iter().chain(right).collect())),
        },
    }
}

fn both(left: Normal, right: Normal, shape: Shape) -> Result<Normal, TooComplex> {
    match (left, right) {
        (Normal::Never, _) | (_, Normal::Never) => Ok(Normal::Never),
        (Normal::Always, other) | (other, Normal::Always) => Ok(other),
        (Normal::Blocks(left), Normal::Blocks(right)) => match shape {
            Shape::Clauses => Ok(Normal::Blocks(left.into_iter().chain(right).collect())),
            Shape::Products => distribute(&left, &right, Normal::Never),
        },
    }
}

/// Joins each block of one side with each of the other. Blocks with a literal and its opposite say nothing: `empty` if none is left.
fn distribute(left: &[Vec<Literal>], right: &[Vec<Literal>], empty: Normal) -> Result<Normal, TooComplex> {
    if left.len().saturating_mul(right.len()) > MAX_LITERALS {
        return Err(TooComplex);
    }
    let mut blocks = Vec::new();
    let mut literals = 0;
    for one in left {
        for other in right {
            let mut joined: Vec<Literal> = one.iter().chain(other).copied().collect();
            joined.sort_unstable();
            joined.dedup();
            if joined.iter().take_while(|literal| **literal < 0).any(|literal| joined.binary_search(&-literal).is_ok()) {
                continue;
            }
            literals += joined.len();
            if literals > MAX_LITERALS {
                return Err(TooComplex);
            }
            blocks.push(joined);
        }
    }
    Ok(if blocks.is_empty() { empty } else { Normal::Blocks(blocks) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_condition() -> impl Strategy<Value = Condition> {
        let leaf = proptest::collection::btree_set(1..=5_i32, 0..3).prop_map(|set| Condition::Any(set.into_iter().collect()));
        leaf.prop_recursive(3, 12, 3, |inner| {
            let pair = (inner.clone(), inner.clone()).prop_map(|(one, other)| Box::new([one, other]));
            let third = proptest::option::of(inner.clone().prop_map(Box::new));
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..3).prop_map(Condition::And),
                proptest::collection::vec(inner, 1..3).prop_map(Condition::Or),
                (pair.clone(), third.clone()).prop_map(|(pair, third)| Condition::If(pair, third)),
                (pair, third).prop_map(|(pair, third)| Condition::Unless(pair, third)),
            ]
        })
    }

    fn hold(normal: &Normal, there: &impl Fn(Literal) -> bool) -> bool {
        match normal {
            Normal::Never => false,
            Normal::Always => true,
            Normal::Blocks(clauses) => clauses.iter().all(|clause| clause.iter().any(|&l| if l > 0 { there(l) } else { !there(-l) })),
        }
    }

    proptest! {
        /// Clauses hold exactly where the condition does, whatever is there.
        #[test]
        fn normal_forms_mean_the_same(condition in any_condition(), set in 0..32_u32) {
            let there = |package: Literal| set >> (package - 1) & 1 == 1;
            prop_assert_eq!(hold(&condition.clauses().unwrap(), &there), condition.holds(&there));
            prop_assert_eq!(hold(&condition.refusals().unwrap(), &there), !condition.holds(&there));
        }
    }

    #[test]
    fn a_normal_form_that_explodes_is_refused() {
        let pair = |at: i32| Condition::And(vec![Condition::Any([at].into()), Condition::Any([at + 1].into())]);
        let explosive = Condition::Or((0..40).map(|at| pair(at * 2 + 1)).collect());
        assert_eq!(explosive.clauses(), Err(TooComplex));
        assert!(explosive.refusals().is_ok());
    }
}
