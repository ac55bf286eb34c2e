//! The solver for RPM repositories: from metadata and requests to a set of packages that can be installed together.
//!
//! Owns the parsed forms of `primary.xml`, `filelists.xml` and `comps.xml`, RPM's versions and dependencies, the meaning of what is asked
//! for, the search for a set that holds together, its check, and the explanation when there is none. Pure: reads and writes only what
//! it is given.
//!
//! ```text
//! primary.xml ──PackageIndex──┐
//! comps.xml ────Comps─────────┤
//! filelists.xml ─FileOwner────┼─ Universe ─┐
//! priority, allowPackages, ───┘            ├─ solve ─→ Solution | SolveError
//! excludes                  SolveRequest ──┘
//! ```
//!
//! # Invariants
//!
//! A [`Solution`] has passed a check that shares no code with the search. The same universe and request give the same solution.
//! The choice is dnf's: see `docs/solver.md` for how that is tested, and for the differences.
//!
//! Elsewhere: whether a document is authentic, its compression, which documents a repository has (`updateinfo`, `modules`, zchunk
//! forms and databases are not needed and not asked for), and where packages are fetched from (the repository and fetch stages).

mod check;
pub mod comps;
mod condition;
pub mod dependency;
mod engine;
pub mod evr;
pub mod explain;
pub mod filelists;
pub mod index;
mod policy;
mod rules;
mod search;
pub mod select;
mod solution;
#[cfg(test)]
mod tests;
mod universe;
mod weak;
pub(crate) mod xml;

pub use comps::Comps;
pub use engine::solve;
pub use explain::{Conflict, Problem};
pub use filelists::FileOwner;
pub use index::{ChecksumKind, IndexError, PackageIndex, PackageRecord, RelationKind};
pub use solution::{Reason, Solution, SolutionEdge, SolveError, SolveRequest, SolvedPackage};
pub use universe::{DEFAULT_PRIORITY, IndexedRepository, Universe};

pub use crate::solve::{StoredIndexError, UniverseTooLarge};
