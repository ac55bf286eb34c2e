//! Parsed indexes in the store: read when they are there, else made of the verified file and kept.

use std::{fs, io};

use super::ResolveError;
use crate::{
    digest::Sha256Digest,
    repository::{Access, IndexFile},
    solve::{self, StoredIndexError, rpm},
    store::Bucket,
};

/// An index that has a stored form.
pub(super) trait StoredIndex: Sized {
    /// The kind, with the version of the stored form: part of the name in the store.
    fn kind() -> String;
    /// Makes it of the file's text.
    fn parse(text: &[u8]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>>;
    /// Reads the stored form.
    fn read(bytes: &[u8]) -> Result<Self, StoredIndexError>;
    /// Writes the stored form.
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()>;
}

impl StoredIndex for solve::PackageIndex {
    fn kind() -> String {
        format!("deb index {}", solve::index::INDEX_FORMAT)
    }

    fn parse(text: &[u8]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::parse(text)?)
    }

    fn read(bytes: &[u8]) -> Result<Self, StoredIndexError> {
        Self::read(bytes)
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.write(out)
    }
}

impl StoredIndex for rpm::PackageIndex {
    fn kind() -> String {
        format!("rpm index {}", rpm::index::INDEX_FORMAT)
    }

    fn parse(text: &[u8]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::parse(text)?)
    }

    fn read(bytes: &[u8]) -> Result<Self, StoredIndexError> {
        Self::read(bytes)
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.write(out)
    }
}

/// Returns the parsed form of an index.
pub(super) fn load<I: StoredIndex>(access: &Access<'_>, file: &IndexFile) -> Result<I, ResolveError> {
    let store = access.store;
    let key = Sha256Digest::of(format!("{} {}", I::kind(), file.file.sha256).as_bytes());
    if let Some(path) = store.entry(Bucket::Indexes, &key) {
        match fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| I::read(&bytes).map_err(|error| error.to_string())) {
            Ok(index) => return Ok(index),
            Err(reason) => {
                tracing::debug!(path = %path.display(), reason, "a parsed index is of no use");
                store.discard(Bucket::Indexes, &key);
            }
        }
    }
    let text = file.read(store)?;
    let index = I::parse(&text).map_err(|source| ResolveError::Parse { what: file.what.clone(), source })?;
    let mut bytes = Vec::new();
    match index.write(&mut bytes) {
        Ok(()) => drop(store.put(Bucket::Indexes, &key, &bytes)?),
        Err(error) => tracing::debug!(%error, "a parsed index cannot be kept"),
    }
    Ok(index)
}
