//! `primary.xml` of an RPM repository in the form that the solver works on.
//!
//! Owns the compact, immutable tables of one repository: the packages, their dependencies as atoms of 12 bytes, and two string tables.
//!
//! ```text
//! primary.xml --parse--> PackageIndex --write--> bytes in the cache --read--> PackageIndex
//! ```
//!
//! # Invariants
//!
//! Every number in a table is in range and every string is UTF-8: [`PackageIndex::parse`] makes them so and
//! [`StoredIndex::read`](crate::solve::StoredIndex::read) checks them, so that the accessors need no errors. Rich dependencies follow their grammar,
//! names are not empty and hold no white space, and [`PackageRecord::location`] stays below the repository's base.
//! Nothing else in a record is trusted.
//!
//! Elsewhere: which files other than the listed ones a package has (`filelists`), groups (`comps`), what the packages are worth
//! (`universe`), and whether the document is authentic (the repository stage, before it gets here).

mod parse;
mod store;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use parse::Failure;
pub use parse::IndexError;

use super::{
    dependency::Capability,
    evr::{Evr, Sense},
};
use crate::solve::strings::StringTable;

/// What a dependency means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelationKind {
    /// What the package provides, its own name included.
    Provides,
    /// A file of the package, as far as `primary.xml` lists them.
    File,
    /// What must be there.
    Requires,
    /// What must not be there.
    Conflicts,
    /// Packages that it replaces.
    Obsoletes,
    /// What should be there.
    Recommends,
    /// What may be useful.
    Suggests,
    /// With what it should be there.
    Supplements,
    /// With what it may be useful.
    Enhances,
}

impl RelationKind {
    /// All of them, in the order of their numbers in stored indexes.
    pub const ALL: [Self; 9] = [
        Self::Provides,
        Self::File,
        Self::Requires,
        Self::Conflicts,
        Self::Obsoletes,
        Self::Recommends,
        Self::Suggests,
        Self::Supplements,
        Self::Enhances,
    ];

    /// Returns the name that packagers use.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Provides => "Provides",
            Self::File => "File",
            Self::Requires => "Requires",
            Self::Conflicts => "Conflicts",
            Self::Obsoletes => "Obsoletes",
            Self::Recommends => "Recommends",
            Self::Suggests => "Suggests",
            Self::Supplements => "Supplements",
            Self::Enhances => "Enhances",
        }
    }

    /// Returns whether packages offer something by it.
    pub(super) fn is_offer(self) -> bool {
        matches!(self, Self::Provides | Self::File)
    }
}

/// The kind of a package file's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// MD5
    Md5,
    /// SHA-1, also called `sha` in metadata.
    Sha1,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl ChecksumKind {
    /// All of them, in the order of their numbers in stored indexes.
    const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the kind that metadata calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha" => Some(Self::Sha1),
            _ => Self::ALL.into_iter().find(|kind| kind.name() == name),
        }
    }

    /// Returns its name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns how many hexadecimal digits such a digest has.
    #[must_use]
    pub fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// The packages of one `primary.xml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageIndex {
    /// Names of packages, of what they provide and need, files, and rich dependencies as written.
    names: StringTable,
    /// All other strings.
    strings: StringTable,
    rows: Vec<Row>,
    atoms: Vec<Atom>,
}

/// One dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Atom {
    /// Number in [`PackageIndex::names`].
    pub(super) name: u32,
    /// Number of its version in [`PackageIndex::strings`]; that of the empty string when all are meant.
    pub(super) evr: u32,
    pub(super) kind: RelationKind,
    pub(super) sense: Sense,
}

/// A package; the numbers are those of [`PackageIndex::strings`] unless named otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Number in [`PackageIndex::names`].
    name: u32,
    evr: u32,
    arch: u32,
    location: u32,
    checksum: u32,
    source: u32,
    summary: u32,
    license: u32,
    vendor: u32,
    url: u32,
    /// End of its atoms; they begin where those of the row before end.
    atoms_end: u32,
    checksum_kind: ChecksumKind,
    size: u64,
    installed_size: u64,
}

impl PackageIndex {
    /// Returns how many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the packages in the order of the document.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = PackageRecord<'_>> {
        (0..self.rows.len()).map(|at| self.record(at))
    }

    /// Returns the package at a place in the document.
    pub(super) fn record(&self, at: usize) -> PackageRecord<'_> {
        PackageRecord { index: self, at }
    }

    /// Returns the names, in order of mention.
    pub(super) fn names(&self) -> &StringTable {
        &self.names
    }

    fn atom_range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.rows[at - 1].atoms_end };
        start as usize..self.rows[at].atoms_end as usize
    }

    /// Returns the dependencies of the package at a place in the document.
    pub(super) fn atoms(&self, at: usize) -> &[Atom] {
        &self.atoms[self.atom_range(at)]
    }

    /// Returns the version of an atom, empty when all are meant.
    pub(super) fn evr_text(&self, number: u32) -> &str {
        self.strings.get(number)
    }

    /// Returns an atom as a capability; of a rich dependency, the name is all of it.
    pub(super) fn capability(&self, atom: &Atom) -> Capability<'_> {
        Capability { name: self.names.get(atom.name), sense: atom.sense, evr: self.strings.get(atom.evr) }
    }
}

/// One package of an index.
#[derive(Debug, Clone, Copy)]
pub struct PackageRecord<'a> {
    index: &'a PackageIndex,
    at: usize,
}

impl<'a> PackageRecord<'a> {
    fn row(&self) -> &'a Row {
        &self.index.rows[self.at]
    }

    fn string(&self, number: u32) -> &'a str {
        self.index.strings.get(number)
    }

    /// Returns the number of its name.
    pub(super) fn name_id(&self) -> u32 {
        self.row().name
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.index.names.get(self.row().name)
    }

    /// Returns epoch, version and release as one text: `EPOCH:VERSION-RELEASE`, the epoch always there.
    #[must_use]
    pub fn evr_text(&self) -> &'a str {
        self.string(self.row().evr)
    }

    /// Returns epoch, version and release.
    #[must_use]
    pub fn evr(&self) -> Evr<'a> {
        Evr::parse(self.evr_text())
    }

    /// Returns the architecture.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        self.string(self.row().arch)
    }

    /// Returns `NAME-EPOCH:VERSION-RELEASE.ARCH`.
    #[must_use]
    pub fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name(), self.evr_text(), self.architecture())
    }

    /// Returns where the package file is: a relative path without `..`.
    #[must_use]
    pub fn location(&self) -> &'a str {
        self.string(self.row().location)
    }

    /// Returns the package file's digest: its kind, and its lowercase hexadecimal digits.
    #[must_use]
    pub fn checksum(&self) -> (ChecksumKind, &'a str) {
        (self.row().checksum_kind, self.string(self.row().checksum))
    }

    /// Returns the size of the package file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.row().size
    }

    /// Returns the size when installed in bytes, 0 when unknown.
    #[must_use]
    pub fn installed_size(&self) -> u64 {
        self.row().installed_size
    }

    /// Returns the name of the source package's file, empty when there is none.
    #[must_use]
    pub fn source(&self) -> &'a str {
        self.string(self.row().source)
    }

    /// Returns the summary, empty when there is none.
    #[must_use]
    pub fn summary(&self) -> &'a str {
        self.string(self.row().summary)
    }

    /// Returns the license as the packager wrote it, empty when there is none.
    #[must_use]
    pub fn license(&self) -> &'a str {
        self.string(self.row().license)
    }

    /// Returns the vendor, empty when there is none.
    #[must_use]
    pub fn vendor(&self) -> &'a str {
        self.string(self.row().vendor)
    }

    /// Returns the homepage, empty when there is none.
    #[must_use]
    pub fn url(&self) -> &'a str {
        self.string(self.row().url)
    }

    /// Returns its dependencies; of a rich one, the name is all of it.
    pub fn relations(&self) -> impl Iterator<Item = (RelationKind, Capability<'a>)> + use<'a> {
        let index = self.index;
        index.atoms(self.at).iter().map(move |atom| (atom.kind, index.capability(atom)))
    }
}
