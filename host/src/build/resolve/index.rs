//! Parsed indexes in the store: read when they are there, else made of the verified file and kept.

use std::{error::Error, fs};

use super::ResolveError;
use crate::{
    digest::Sha256Digest,
    repository::{Access, IndexFile},
    solve::StoredIndex,
    store::Bucket,
};

/// Returns the parsed form of an index, which `parse` makes of the file's text.
pub(super) fn load<I: StoredIndex, E: Error + Send + Sync + 'static>(
    access: &Access<'_>,
    file: &IndexFile,
    parse: impl FnOnce(&[u8]) -> Result<I, E>,
) -> Result<I, ResolveError> {
    let store = access.store;
    let key = Sha256Digest::of(format!("{} {} {}", String::from_utf8_lossy(&I::MAGIC), I::FORMAT, file.file.sha256).as_bytes());
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
    let index = parse(&text).map_err(|source| ResolveError::Parse { what: file.what.clone(), source: Box::new(source) })?;
    let mut bytes = Vec::new();
    match index.write(&mut bytes) {
        Ok(()) => drop(store.put(Bucket::Indexes, &key, &bytes)?),
        Err(error) => tracing::debug!(%error, "a parsed index cannot be kept"),
    }
    Ok(index)
}
