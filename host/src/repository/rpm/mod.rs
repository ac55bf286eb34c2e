//! Repositories of RPM packages, and the packages themselves.
//!
//! ```text
//! repomd.xml + repomd.xml.asc ─trust─▶ repomd ─checksum─▶ primary, filelists, comps … in the store ─▶ `solve`
//! package file ─header─▶ digests, signatures, name ─▶ verified, in the store
//! ```

mod folder;
pub mod header;
mod metadata;
pub mod package;
pub mod repomd;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use header::{Header, HeaderError};
pub use metadata::{RpmRepository, refresh};
pub use package::{PackageHeader, PackageId, PackageProblem, VerifiedPackage};
pub use repomd::{Record, RecordKind, Repomd, RepomdError};
