//! Repositories of RPM packages, and the packages themselves.
//!
//! ```text
//! repomd.xml + repomd.xml.asc ─trust─▶ repomd ─checksum─▶ primary, filelists, comps … in the store ─▶ `solve`
//! package file ─header─▶ digests, signatures, name ─▶ verified, in the store
//! ```

pub mod header;
pub mod package;

pub use header::{Header, HeaderError};
pub use package::{PackageHeader, PackageId, PackageProblem, VerifiedPackage};
