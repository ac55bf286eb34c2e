//! The keys of repositories, for packages and for the image: the bytes that were configured, or those that the lock vouches for.

use std::collections::BTreeMap;

use oic_config::spec::{Repository, RepositoryKey};

use super::ResolveError;
use crate::{
    digest::Sha256Digest,
    lock::LockedRepository,
    repository::{self, Access, Keyring, RepositoryError, RepositoryProblem},
};

/// The keys of one repository.
pub(super) struct Keys {
    /// Names and bytes of the files.
    files: Vec<(String, Vec<u8>)>,
    /// What tells these keys from all others; the same for no keys at all.
    pub(super) identity: Sha256Digest,
}

impl Keys {
    /// Returns the keys to verify with, none when nothing is to be verified.
    pub(super) fn keyring(&self, repository: &Repository) -> Result<Option<Keyring>, ResolveError> {
        if repository.trusted {
            return Ok(None);
        }
        let files = self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        Ok(Some(Keyring::parse(files).map_err(|error| RepositoryError::new(repository, None, error.into()))?))
    }
}

/// Loads the keys of a repository. One that is fetched must be the one of the lock.
pub(super) fn load(access: &Access<'_>, repository: &Repository, locked: Option<&LockedRepository>) -> Result<Keys, ResolveError> {
    let known = |url: &str| locked?.keys.iter().find(|key| key.url == url).map(|key| key.sha256);
    let files = repository::key_files(access, repository, known)?;
    for (url, bytes) in &files {
        let found = Sha256Digest::of(bytes);
        if let Some(expected) = known(url).filter(|expected| *expected != found) {
            let problem = RepositoryProblem::KeyChanged { url: url.clone(), expected, found };
            return Err(RepositoryError::new(repository, None, problem).into());
        }
    }
    let mut digests: Vec<_> = files.iter().map(|(_, bytes)| Sha256Digest::of(bytes).to_string()).collect();
    digests.sort();
    let trust = if repository.trusted { "nothing" } else { "keys" };
    Ok(Keys { files, identity: Sha256Digest::of(format!("{trust} {}", digests.join(" ")).as_bytes()) })
}

/// Returns the keys of each repository that the image is to list, by the repository's id. What the distribution's own packages bring
/// is left to them.
///
/// # Errors
/// Fails when a key cannot be had, or is another one than the lock's.
pub fn repository_keys(
    access: &Access<'_>,
    repositories: &[Repository],
    locked: &[LockedRepository],
) -> Result<BTreeMap<String, Vec<u8>>, ResolveError> {
    let mut keys = BTreeMap::new();
    for repository in repositories.iter().filter(|repository| repository.in_image && !repository.keys.is_empty()) {
        let locked = locked.iter().find(|locked| locked.id == repository.id);
        if locked.is_none() && repository.keys.iter().any(|key| matches!(key, RepositoryKey::Url(_))) {
            // The build does without it, maybe because it cannot be reached.
            continue;
        }
        let files = load(access, repository, locked)?.files;
        keys.insert(repository.id.clone(), joined(repository, &files)?);
    }
    Ok(keys)
}

/// Returns all keys of a repository as one file: armored, unless all of them are binary.
fn joined(repository: &Repository, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ResolveError> {
    let armored = files.iter().filter(|(_, bytes)| bytes.starts_with(b"-----BEGIN")).count();
    if armored == 0 || armored == files.len() {
        return Ok(files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect());
    }
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let bytes = Keyring::parse(files).and_then(|keyring| keyring.armored());
    Ok(bytes.map_err(|error| RepositoryError::new(repository, None, error.into()))?)
}
