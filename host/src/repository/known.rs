//! What the store remembers of a repository: the file that vouches for everything else, its signature, and what the server said of it.

use std::fs;

use oic_config::spec::RepositoryLocation;
use serde::{Deserialize, Serialize};

use super::{Access, site::Site};
use crate::{
    digest::Sha256Digest,
    fetch::{Url, Validators},
    store::{Bucket, StoreError},
};

/// What repositories sign may be this much younger than the clock of this machine, in seconds.
pub(super) const CLOCK_TOLERANCE: u64 = 3600;

/// The file that a repository signs, as the server has it.
#[derive(Debug)]
pub(super) enum Raw {
    /// With its signature in it: `InRelease`.
    Inline(Vec<u8>),
    /// `Release` or `repomd.xml`, and the file with the signature, which may be missing.
    Detached(Vec<u8>, Option<Vec<u8>>),
}

/// What the store remembers of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    file: Sha256Digest,
    pub(super) is_inline: bool,
    pub(super) signature: Option<Sha256Digest>,
    /// Digest of the URL that had it: the URL may have a password in it.
    url: Sha256Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Known {
    /// Returns what is remembered under a name.
    pub(super) fn load(access: &Access<'_>, name: &str) -> Option<Self> {
        let record = access.store.record(name)?;
        let known: Self = serde_json::from_slice(&record).ok()?;
        // Without its file the server must not be told that the version is known.
        access.store.entry(Bucket::Metadata, &known.file).map(|_| known)
    }

    /// Remembers what a server had.
    pub(super) fn save(access: &Access<'_>, name: &str, raw: &Raw, url: &Url, validators: &Validators) -> Result<(), StoreError> {
        let (file, is_inline, signature) = match raw {
            Raw::Inline(bytes) => (bytes, true, None),
            Raw::Detached(bytes, signature) => (bytes, false, signature.as_ref()),
        };
        let known = Self {
            file: access.store.put_bytes(Bucket::Metadata, file)?,
            is_inline,
            signature: signature.map(|bytes| access.store.put_bytes(Bucket::Metadata, bytes)).transpose()?,
            url: url.digest(),
            etag: validators.etag.clone(),
            last_modified: validators.last_modified.clone(),
        };
        if Self::load(access, name).as_ref() == Some(&known) {
            return Ok(());
        }
        access.store.set_record(name, &serde_json::to_vec(&known).unwrap_or_default())
    }

    /// Returns the files, if the store still has them.
    pub(super) fn raw(&self, access: &Access<'_>) -> Option<Raw> {
        let read = |digest| fs::read(access.store.entry(Bucket::Metadata, digest)?).ok();
        let file = read(&self.file)?;
        Some(if self.is_inline { Raw::Inline(file) } else { Raw::Detached(file, self.signature.as_ref().and_then(read)) })
    }

    /// Returns the one of some URLs that had the file, with what to ask the server so that it need not send it again.
    pub(super) fn validators(&self, urls: &[Url]) -> Option<(Url, Validators)> {
        let url = urls.iter().find(|url| url.digest() == self.url)?;
        Some((url.clone(), Validators { etag: self.etag.clone(), last_modified: self.last_modified.clone() }))
    }
}

impl Site<'_> {
    /// Returns the repository's canonical place, by which it is remembered, whichever mirror had it.
    pub(super) fn place(&self) -> String {
        match &self.repository.location {
            RepositoryLocation::Url(url) => url.clone(),
            RepositoryLocation::Path(path) => path.display().to_string(),
        }
    }
}
