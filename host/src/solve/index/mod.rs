//! A Debian `Packages` file in the form that the solver works on.
//!
//! Owns the compact, immutable tables of one index: the packages, their relations as atoms of 12 bytes, and two string tables. Names of
//! packages are numbered in the order in which they are first mentioned, in relations too: apt decides its last ties by that order.
//!
//! ```text
//! text of Packages --parse--> PackageIndex --write--> bytes in the cache --read--> PackageIndex
//! ```
//!
//! # Invariants
//!
//! Every number in a table is in range and every string is UTF-8: [`PackageIndex::parse`] makes them so and
//! [`StoredIndex::read`](crate::solve::StoredIndex::read) checks them, so that the accessors need no errors. Names and versions follow dpkg's rules, and
//! [`PackageRecord::filename`] stays below the repository's base. Nothing else in a record is trusted.
//!
//! Elsewhere: which repository an index came from and what it is worth (`universe`), and whether it is authentic
//! (the repository stage, before it gets here).

mod parse;
mod store;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use parse::IndexError;
pub use store::StoredIndexError;

use super::{
    relation::{Alternative, Comparison},
    strings::StringTable,
};
use crate::digest::Sha256Digest;

/// What a relation field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelationKind {
    /// `Pre-Depends`
    PreDepends,
    /// `Depends`
    Depends,
    /// `Conflicts`
    Conflicts,
    /// `Breaks`
    Breaks,
    /// `Recommends`
    Recommends,
    /// `Suggests`
    Suggests,
    /// `Replaces`
    Replaces,
    /// `Enhances`
    Enhances,
    /// `Provides`
    Provides,
}

impl RelationKind {
    /// All of them, in the order in which apt reads the fields of a stanza; also that of their numbers in stored indexes.
    pub const ALL: [Self; 9] = [
        Self::PreDepends,
        Self::Depends,
        Self::Conflicts,
        Self::Breaks,
        Self::Recommends,
        Self::Suggests,
        Self::Replaces,
        Self::Enhances,
        Self::Provides,
    ];

    /// Returns the name of the field.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
            Self::Recommends => "Recommends",
            Self::Suggests => "Suggests",
            Self::Replaces => "Replaces",
            Self::Enhances => "Enhances",
            Self::Provides => "Provides",
        }
    }

    /// Returns whether a package cannot be installed without it.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(self, Self::PreDepends | Self::Depends)
    }

    /// Returns whether it names packages that must not be there.
    #[must_use]
    pub fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }
}

/// `Multi-Arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MultiArch {
    /// No such field.
    No,
    /// Several architectures can be installed together.
    Same,
    /// Satisfies relations of packages of any architecture.
    Foreign,
    /// Satisfies relations with the qualifier `:any`.
    Allowed,
}

/// `Priority`, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Without it the package system does not work.
    Required,
    /// What one expects on any Unix-like system.
    Important,
    /// What the installer adds by default.
    Standard,
    /// Everything else.
    Optional,
    /// The old name for what conflicts with others; also stands for an unknown or missing priority.
    Extra,
}

/// The packages of one `Packages` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageIndex {
    /// Package names, qualifiers included, in order of mention.
    names: StringTable,
    /// All other strings.
    strings: StringTable,
    stanzas: Vec<Stanza>,
    atoms: Vec<Atom>,
}

/// No version: the relation holds for all.
const NO_VERSION: u32 = u32::MAX;

/// One alternative of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Atom {
    /// Number in [`PackageIndex::names`].
    pub(super) name: u32,
    /// Number in [`PackageIndex::strings`], or [`NO_VERSION`].
    version: u32,
    pub(super) kind: RelationKind,
    comparison: Comparison,
    /// Whether the next atom is another alternative of the same group.
    pub(super) more: bool,
}

/// A package; the numbers are those of [`PackageIndex::strings`] unless named otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stanza {
    /// Number in [`PackageIndex::names`].
    name: u32,
    version: u32,
    architecture: u32,
    section: u32,
    source: u32,
    source_version: u32,
    filename: u32,
    description: u32,
    homepage: u32,
    maintainer: u32,
    /// End of its atoms; they begin where those of the stanza before end.
    atoms_end: u32,
    priority: Priority,
    multi_arch: MultiArch,
    essential: bool,
    protected: bool,
    size: u64,
    installed_kib: u64,
    sha256: [u8; 32],
}

impl PackageIndex {
    /// Returns how many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stanzas.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stanzas.is_empty()
    }

    /// Returns the packages in the order of the file.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = PackageRecord<'_>> {
        (0..self.stanzas.len()).map(|at| self.record(at))
    }

    /// Returns the package at a place in the file.
    pub(super) fn record(&self, at: usize) -> PackageRecord<'_> {
        PackageRecord { index: self, at }
    }

    /// Returns the names, in order of mention.
    pub(super) fn names(&self) -> &StringTable {
        &self.names
    }

    fn atom_range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.stanzas[at - 1].atoms_end };
        start as usize..self.stanzas[at].atoms_end as usize
    }

    /// Returns the relations of the package at a place in the file.
    pub(super) fn atoms(&self, at: usize) -> &[Atom] {
        &self.atoms[self.atom_range(at)]
    }

    /// Returns the version that an atom of this index asks for.
    pub(super) fn constraint(&self, atom: &Atom) -> Option<(Comparison, &str)> {
        (atom.version != NO_VERSION).then(|| (atom.comparison, self.strings.get(atom.version)))
    }

    /// Returns an atom of this index as an alternative.
    pub(super) fn alternative(&self, atom: &Atom) -> Alternative<'_> {
        Alternative { name: self.names.get(atom.name), constraint: self.constraint(atom) }
    }
}

/// One package of an index.
#[derive(Debug, Clone, Copy)]
pub struct PackageRecord<'a> {
    index: &'a PackageIndex,
    at: usize,
}

impl<'a> PackageRecord<'a> {
    fn stanza(&self) -> &'a Stanza {
        &self.index.stanzas[self.at]
    }

    /// Returns the number of its name.
    pub(super) fn name_id(&self) -> u32 {
        self.stanza().name
    }

    /// Returns `Package`.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.index.names.get(self.stanza().name)
    }

    /// Returns `Version`.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.index.strings.get(self.stanza().version)
    }

    /// Returns `Architecture`.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        self.index.strings.get(self.stanza().architecture)
    }

    /// Returns `Section`, empty when there is none.
    #[must_use]
    pub fn section(&self) -> &'a str {
        self.index.strings.get(self.stanza().section)
    }

    /// Returns the name of the source package.
    #[must_use]
    pub fn source(&self) -> &'a str {
        self.index.strings.get(self.stanza().source)
    }

    /// Returns the version of the source package.
    #[must_use]
    pub fn source_version(&self) -> &'a str {
        self.index.strings.get(self.stanza().source_version)
    }

    /// Returns `Filename`: a relative path without `..`.
    #[must_use]
    pub fn filename(&self) -> &'a str {
        self.index.strings.get(self.stanza().filename)
    }

    /// Returns the first line of `Description`, empty when there is none.
    #[must_use]
    pub fn description(&self) -> &'a str {
        self.index.strings.get(self.stanza().description)
    }

    /// Returns `Homepage`, empty when there is none.
    #[must_use]
    pub fn homepage(&self) -> &'a str {
        self.index.strings.get(self.stanza().homepage)
    }

    /// Returns `Maintainer`, empty when there is none.
    #[must_use]
    pub fn maintainer(&self) -> &'a str {
        self.index.strings.get(self.stanza().maintainer)
    }

    /// Returns `Priority`.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.stanza().priority
    }

    /// Returns `Multi-Arch`.
    #[must_use]
    pub fn multi_arch(&self) -> MultiArch {
        self.stanza().multi_arch
    }

    /// Returns `Essential`.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.stanza().essential
    }

    /// Returns `Protected`, or its older name `Important`.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.stanza().protected
    }

    /// Returns `Size`, of the package file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stanza().size
    }

    /// Returns `Installed-Size` in KiB, 0 when there is none.
    #[must_use]
    pub fn installed_kib(&self) -> u64 {
        self.stanza().installed_kib
    }

    /// Returns `SHA256`.
    #[must_use]
    pub fn sha256(&self) -> Sha256Digest {
        self.stanza().sha256.into()
    }

    /// Returns its relations, one item per alternative, with its kind and whether another alternative of the same group follows.
    pub fn relations(&self) -> impl Iterator<Item = (RelationKind, Alternative<'a>, bool)> {
        let index = self.index;
        index.atoms(self.at).iter().map(move |atom| (atom.kind, index.alternative(atom), atom.more))
    }
}
