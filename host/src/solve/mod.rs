//! The solver: from package indexes and requests to a set of packages that can be installed together.
//!
//! Owns the parsed form of Debian's package indexes, the choice of versions among repositories, the search for a set that holds
//! together, its check, and the explanation when there is none. Pure: reads and writes only what it is given.
//!
//! ```text
//! text of Packages ──PackageIndex──┐
//! text of Packages ──PackageIndex──┤
//!                                  ├─ Universe ─┐
//! priorities, allowPackages ───────┘            ├─ solve ─→ Solution | SolveError
//!                          SolveRequest ────────┘
//! ```
//!
//! # Invariants
//!
//! A [`Solution`] has passed a check that shares no code with the searches. The same universe and request give the same solution.
//! The choice is apt's where apt finds one: see `docs/solver.md` for how that is tested, and for the differences.
//!
//! Elsewhere: whether an index is authentic, and where packages are fetched from (the repository and fetch stages).

mod check;
mod engine;
mod error;
pub mod explain;
pub mod glob;
mod greedy;
mod groups;
pub mod index;
mod numbers;
mod order;
pub mod relation;
pub mod rpm;
#[cfg(test)]
mod scenario;
mod search;
mod selection;
mod solution;
mod stored;
mod strings;
#[cfg(test)]
mod tests;
mod universe;
pub mod version;

pub use engine::solve;
pub use explain::Conflict;
pub use index::{IndexError, PackageIndex, PackageRecord, StoredIndexError};
pub use numbers::UniverseTooLarge;
pub use solution::{BaseSet, FoundBy, Solution, SolutionEdge, SolveError, SolveRequest, SolvedPackage};
pub use stored::StoredIndex;
pub use universe::{DEFAULT_PRIORITY, IndexedRepository, Universe};
