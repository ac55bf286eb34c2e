//! Package repositories: from a configured [`Repository`] to verified indexes in the store.
//!
//! ```text
//! Repository ─mirror─▶ URLs ─fetch─▶ InRelease │ Release + Release.gpg ─trust─▶ signed text ─release─▶ Release
//!            ─deb─▶ Packages.{zst,xz,gz} per component and architecture, in the store ─decompress─▶ text for `solve`
//! ```
//!
//! # Trust
//!
//! Signed Release → size and SHA-256 of each index → size and SHA-256 of each package: each link is checked before what it
//! vouches for is looked into, and each fails closed. Keys are those that the repository is bound to, and no others. A
//! mirror is never trusted: it is only a place to fetch from. What the store has kept of a Release file is verified again
//! each time.
//!
//! A repository that the template calls trusted (`[trusted=yes]`) is not verified; its Release file still is what digests
//! are taken from.
//!
//! # What the store keeps
//!
//! Release files and indexes by their digests, and for each repository a record of which Release file it had last and how
//! the server calls that version, so that asking again is cheap and `--offline` works.
//!
//! # Elsewhere
//!
//! Parsing of packages and their relations ([`crate::solve`]), choice of packages and the lock ([`crate::build::resolve`]).

mod apt_sources;
mod date;
mod deb;
mod decompress;
mod error;
mod folder;
mod known;
pub mod mirror;
pub(crate) mod release;
pub mod rpm;
mod signed;
mod site;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trust;

use oic_config::spec::Repository;

pub use decompress::IndexCompression;
pub use error::{RepositoryError, RepositoryProblem};
pub use mirror::MirrorTable;
pub use release::{Release, ReleaseError};
pub(crate) use site::{canonical_url, key_files};
pub use trust::{Fingerprints, Keyring, TrustError, Verified};

use crate::{
    build::progress::{Observer, Stage},
    digest::Sha256Digest,
    fetch::Fetcher,
    store::{Bucket, Expected, Store},
};

/// What is needed to use repositories.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// The network.
    pub fetcher: &'a Fetcher,
    /// Where else repositories are.
    pub mirrors: &'a MirrorTable,
    /// The stage that this is part of.
    pub stage: Stage,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// The time, seconds since 1970-01-01 UTC.
    pub now: u64,
    /// Whether Release files may be used after their end.
    pub allow_expired: bool,
    /// Repositories that the user does without, by [`Repository::id`].
    pub without: &'a [String],
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("store", self.store).field("now", &self.now).finish_non_exhaustive()
    }
}

/// The verified state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryState {
    /// [`Repository::id`].
    pub id: String,
    /// SHA-256 of the signed text of the Release file, or of `repomd.xml`.
    pub metadata: Sha256Digest,
    /// The date of that, seconds since 1970-01-01 UTC.
    pub date: u64,
    /// Fingerprint of the key that signed it; empty for a trusted repository.
    pub signed_by: String,
    /// URL and digest of each key that was fetched rather than configured.
    pub fetched_keys: Vec<(String, Sha256Digest)>,
    /// Its indexes: for each component those of the architecture, then those for all architectures.
    pub indexes: Vec<IndexFile>,
}

/// A verified index in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// What it is, for messages: `trixie main amd64`.
    pub what: String,
    /// Size and digest of the file as it is stored.
    pub file: Expected,
    /// deb: the component; empty for a flat repository.
    pub component: String,
    /// How it is compressed.
    pub compression: IndexCompression,
    /// Its size when unpacked, where the metadata says so.
    pub unpacked_size: Option<u64>,
    /// Its digest when unpacked, where the metadata says so.
    pub unpacked_sha256: Option<Sha256Digest>,
}

impl IndexFile {
    /// Returns the text of the index.
    ///
    /// # Errors
    /// Fails when it is not in the store any more, or does not unpack to what was announced.
    pub fn read(&self, store: &Store) -> Result<Vec<u8>, RepositoryProblem> {
        let failed = |source| RepositoryProblem::Index { what: self.what.clone(), source };
        let path = store.file(Bucket::Metadata, &self.file).ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let bytes = decompress::read(&path, self.compression, self.unpacked_size, decompress::INDEX_LIMIT).map_err(failed)?;
        match self.unpacked_sha256.map(|expected| (expected, Sha256Digest::of(&bytes))) {
            Some((expected, found)) if expected != found => {
                Err(failed(std::io::Error::other(format!("it unpacks to SHA-256 {found} where {expected} was expected"))))
            }
            _ => Ok(bytes),
        }
    }
}

/// Brings the metadata of repositories up to date, all of them at the same time, and returns their states in the same
/// order. `arch` is an architecture as Debian calls it.
///
/// # Errors
/// Fails with the first repository that cannot be had, verified or understood.
pub fn refresh(access: &Access<'_>, repositories: &[Repository], arch: &str) -> Result<Vec<RepositoryState>, RepositoryError> {
    deb::refresh(access, repositories, arch)
}
