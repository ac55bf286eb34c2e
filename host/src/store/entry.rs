//! Directory entries: made in `staging/` under a guard, renamed into their bucket when complete.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    Bucket, Store, StoreError, create_folder,
    guard::{self, Guard},
};
use crate::digest::Sha256Digest;

/// The answer to a wish for a directory entry.
#[derive(Debug)]
pub enum Slot {
    /// It is there.
    Present(PathBuf),
    /// It is the caller's to make.
    Vacant(PendingEntry),
}

/// A directory entry that is being made by this process alone. Dropped without [`Self::commit`], it leaves nothing.
#[derive(Debug)]
pub struct PendingEntry {
    path: PathBuf,
    target: PathBuf,
    guard: Option<Guard>,
}

impl PendingEntry {
    /// Returns the empty folder to fill.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder an entry and returns its final path.
    ///
    /// # Errors
    /// Fails when the folder cannot be renamed.
    pub fn commit(mut self) -> Result<PathBuf, StoreError> {
        if let Some(parent) = self.target.parent() {
            create_folder(parent)?;
        }
        fs::rename(&self.path, &self.target).map_err(|source| StoreError::io("make the entry", &self.target, 0, source))?;
        if let Some(guard) = self.guard.take() {
            guard.remove();
        }
        Ok(std::mem::take(&mut self.target))
    }
}

impl Drop for PendingEntry {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            remove_tree(&self.path);
            guard.remove();
        }
    }
}

impl Store {
    /// Returns the directory entry with the given key, or the right to make it. Waits while another process makes the same one.
    ///
    /// # Errors
    /// Fails when the store cannot be written.
    pub fn begin(&self, bucket: Bucket, key: &Sha256Digest) -> Result<Slot, StoreError> {
        if let Some(path) = self.entry(bucket, key) {
            return Ok(Slot::Present(path));
        }
        let name = format!("{}.{key}", bucket.folder());
        let guard_path = self.root.join("guards").join(&name);
        let guard = guard::acquire(&guard_path).map_err(|source| StoreError::io("lock", &guard_path, 0, source))?;
        if let Some(path) = self.entry(bucket, key) {
            guard.remove();
            return Ok(Slot::Present(path));
        }
        let staging = self.root.join("staging").join(&name);
        remove_tree(&staging);
        create_folder(&staging)?;
        Ok(Slot::Vacant(PendingEntry { path: staging, target: self.entry_path(bucket, key), guard: Some(guard) }))
    }
}

/// Removes a folder and everything in it, as far as that is possible. Folders in it may be read-only, as unpacked packages
/// have them: those are made writable first.
pub(super) fn remove_tree(path: &Path) {
    let removed = fs::remove_dir_all(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        io::ErrorKind::NotADirectory => fs::remove_file(path),
        _ => {
            make_folders_writable(path);
            fs::remove_dir_all(path)
        }
    });
    if let Err(error) = removed {
        tracing::debug!(path = %path.display(), %error, "cannot remove a folder of the store");
    }
}

/// Gives the owner full access to a folder and those below, without following links.
fn make_folders_writable(path: &Path) {
    let mut pending = vec![path.to_owned()];
    while let Some(folder) = pending.pop() {
        if fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).is_err() {
            continue;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        pending.extend(entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}
