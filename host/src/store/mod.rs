//! The content-addressed cache on the host.
//!
//! # Layout
//!
//! ```text
//! CACHE/
//!   CACHEDIR.TAG             tells backup programs to pass over
//!   packages-v1/ab/<sha256>  package files, named by the SHA-256 of their bytes
//!   metadata-v1/ab/<sha256>  signed Release files and compressed package indexes, named likewise
//!   indexes-v1/ab/<key>      parsed package indexes in binary form, named by what they were made from
//!   unpacked-v1/ab/<key>/    decompressed packages
//!   tools-v1/ab/<key>/       programs that `oic` itself uses, unpacked
//!   vm-v1/ab/<key>/          builder VMs: kernel, initramfs, tools disk
//!   layers-v1/ab/<key>/      composed root filesystems
//!   records-v1/<key>         what a repository said last: the only thing that is ever replaced
//!   partial/<sha256>         downloads under way or interrupted
//!   staging/<bucket>.<key>/  directory entries under way
//!   writing/                 small files under way
//!   guards/<bucket>.<key>    who is making a directory entry
//!   in-use                   held by every build, together; by who removes entries, alone
//! ```
//!
//! `ab` is the first two digits of the name. The number of a bucket rises when the meaning of its entries changes; buckets
//! with other numbers are left to the program version that made them.
//!
//! # Invariants
//!
//! - An entry appears by one rename of something complete, is read-only, and is never changed: whoever finds one may use
//!   it without asking anybody. [`Import`] and [`PendingEntry`] are the only ways to make one.
//! - An entry that is named by its digest had that digest when it was made; [`Import::commit`] sees to it.
//! - Nothing is synced to the disk: an entry that a power cut emptied is found by its size and made anew.
//!
//! # Concurrency
//!
//! Any number of processes share a store. Who writes an entry holds a guard, a lock of the kernel on an open file, that
//! ends with the process however it ends. A guard's file may be removed only by its holder; `guard::acquire` makes sure
//! that the file that was locked is still the one with the name. What a killed process leaves in `partial/` is resumed by
//! the next that wants the same file, what it leaves in `staging/` is removed by the next that makes the same entry or by
//! [`Store::sweep`], which also removes what is old in `partial/` and `writing/`.
//!
//! # Last use
//!
//! The access time of an entry is set to the wall clock when it is used, at most once an hour, whatever the mount options
//! say about access times. The modification time is left alone.

mod entry;
mod error;
mod guard;
mod import;
#[cfg(test)]
mod tests;
mod usage;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

pub use entry::{PendingEntry, Slot};
pub use error::StoreError;
pub(crate) use error::free_space;
pub use guard::Guard;
pub use import::{Import, ImportSlot};
pub use usage::{Limits, Removal, Shared, StoredEntry};

use crate::{clock, digest::Sha256Digest};

/// Access times are renewed when they are older than this many seconds.
const LAST_USE_RESOLUTION: u64 = 3600;

/// Interrupted downloads that nobody wanted for this many seconds are removed.
const PARTIAL_LIFETIME: u64 = 14 * 24 * 3600;

/// A small file takes no time to write: one this many seconds old has lost its writer.
const WRITING_LIFETIME: u64 = 24 * 3600;

/// The text of `CACHEDIR.TAG`; the first line is given by the Cache Directory Tagging Specification.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is the cache of oic. It can be removed at any time.\n";

/// A kind of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Package files by digest.
    Packages,
    /// Repository metadata by digest.
    Metadata,
    /// Parsed indexes by key.
    Indexes,
    /// Decompressed packages by key.
    Unpacked,
    /// Programs for the host by key.
    Tools,
    /// Builder VMs by key.
    Vm,
    /// Composed layers by key.
    Layers,
    /// Large files of templates by digest.
    Files,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Packages, Self::Metadata, Self::Indexes, Self::Unpacked, Self::Tools, Self::Vm, Self::Layers, Self::Files];

    /// Returns its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.folder().trim_end_matches("-v1")
    }

    /// Returns the name of its folder.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Packages => "packages-v1",
            Self::Metadata => "metadata-v1",
            Self::Indexes => "indexes-v1",
            Self::Unpacked => "unpacked-v1",
            Self::Tools => "tools-v1",
            Self::Vm => "vm-v1",
            Self::Layers => "layers-v1",
            Self::Files => "files-v1",
        }
    }
}

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expected {
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, and makes the folder when there is none.
    ///
    /// # Errors
    /// Fails when the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(|source| StoreError::io("use", root, 0, source))?;
        let store = Self { root };
        for folder in ["partial", "staging", "writing", "guards", "records-v1"] {
            create_folder(&store.root.join(folder))?;
        }
        let tag = store.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            store.replace_file(&tag, CACHE_TAG.as_bytes())?;
        }
        Ok(store)
    }

    /// Returns the folder of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of a bucket whose entries others make, and makes it when there is none.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub fn bucket_folder(&self, bucket: Bucket) -> Result<PathBuf, StoreError> {
        let folder = self.root.join(bucket.folder());
        create_folder(&folder)?;
        Ok(folder)
    }

    /// Returns the file of a package that is in the store.
    #[must_use]
    pub fn package(&self, sha256: &Sha256Digest) -> Option<PathBuf> {
        self.entry(Bucket::Packages, sha256)
    }

    /// Returns the path of an entry, a file or a folder, that is in the store, and notes its use.
    #[must_use]
    pub fn entry(&self, bucket: Bucket, key: &Sha256Digest) -> Option<PathBuf> {
        let path = self.entry_path(bucket, key);
        let metadata = fs::symlink_metadata(&path).ok()?;
        note_use(&path, &metadata);
        Some(path)
    }

    /// Returns the path of a file that is in the store and has the expected size. One of another size, which a power cut can
    /// leave behind, counts as absent.
    #[must_use]
    pub fn file(&self, bucket: Bucket, expected: &Expected) -> Option<PathBuf> {
        let path = self.entry(bucket, &expected.sha256)?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == expected.size).then_some(path)
    }

    /// Makes a file entry from bytes in memory under a key that is not its digest. One that is there is left alone.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn put(&self, bucket: Bucket, key: &Sha256Digest, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.entry_path(bucket, key);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Ok(path);
        }
        self.replace_file(&path, bytes)?;
        Ok(path)
    }

    /// Makes a file entry from bytes in memory, named by their digest.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn put_bytes(&self, bucket: Bucket, bytes: &[u8]) -> Result<Sha256Digest, StoreError> {
        let digest = Sha256Digest::of(bytes);
        self.put(bucket, &digest, bytes)?;
        Ok(digest)
    }

    /// Removes a file entry that turned out to be damaged.
    pub fn discard(&self, bucket: Bucket, key: &Sha256Digest) {
        let path = self.entry_path(bucket, key);
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "cannot discard a damaged entry");
        }
    }

    /// Returns what was last recorded under a name.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.record_path(name)).ok()
    }

    /// Records something under a name, in place of what was there.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn set_record(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace_file(&self.record_path(name), bytes)
    }

    /// Takes the guard of that name unless somebody holds it: for files outside the store that several builds change together.
    ///
    /// # Errors
    /// Fails when the guard's file cannot be made.
    pub fn try_guard(&self, name: &str) -> Result<Option<Guard>, StoreError> {
        let path = self.root.join("guards").join(Sha256Digest::of(name.as_bytes()).to_string());
        guard::try_acquire(&path).map_err(|source| StoreError::io("guard", &path, 0, source))
    }

    /// Returns how many bytes the file system of the store has free for this user; none when it does not say.
    #[must_use]
    pub fn free_space(&self) -> Option<u64> {
        error::free_space(&self.root)
    }

    /// Removes what killed processes left behind: unfinished directory entries that nobody is making, interrupted downloads
    /// that nobody wanted for two weeks, small files that nobody finished in a day. What cannot be removed stays for the next
    /// time.
    pub fn sweep(&self) {
        let now = clock::unix_now();
        self.sweep_staging();
        self.sweep_partial(now);
        self.sweep_writing(now);
    }

    fn sweep_staging(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("staging")) else { return };
        for entry in entries.flatten() {
            let guard = self.root.join("guards").join(entry.file_name());
            if let Ok(Some(guard)) = guard::try_acquire(&guard) {
                entry::remove_tree(&entry.path());
                guard.remove();
            }
        }
    }

    fn sweep_partial(&self, now: u64) {
        let Ok(entries) = fs::read_dir(self.root.join("partial")) else { return };
        for entry in entries.flatten() {
            let old = entry.metadata().is_ok_and(|metadata| now.saturating_sub(seconds(metadata.mtime())) > PARTIAL_LIFETIME);
            if old && let Ok(Some(guard)) = guard::try_acquire(&entry.path()) {
                guard.remove();
            }
        }
    }

    fn sweep_writing(&self, now: u64) {
        let Ok(entries) = fs::read_dir(self.root.join("writing")) else { return };
        for entry in entries.flatten() {
            if entry.metadata().is_ok_and(|metadata| now.saturating_sub(seconds(metadata.mtime())) > WRITING_LIFETIME) {
                entry::remove_tree(&entry.path());
            }
        }
    }

    fn entry_path(&self, bucket: Bucket, key: &Sha256Digest) -> PathBuf {
        let name = key.to_string();
        self.root.join(bucket.folder()).join(&name[..2]).join(name)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.root.join("records-v1").join(Sha256Digest::of(name.as_bytes()).to_string())
    }

    /// Writes a read-only file under a temporary name and renames it.
    fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        use std::os::unix::fs::PermissionsExt as _;
        let failed = |source| StoreError::io("write", path, bytes.len() as u64, source);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        let mut file = tempfile::Builder::new().prefix("").tempfile_in(self.root.join("writing")).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Makes a folder and those above it.
fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|source| StoreError::io("make the folder", path, 0, source))
}

/// Sets the access time of an entry. A store that this user may read but not write does without.
pub(crate) fn note_use(path: &Path, metadata: &fs::Metadata) {
    if clock::unix_now().saturating_sub(seconds(metadata.atime())) < LAST_USE_RESOLUTION {
        return;
    }
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    };
    if let Err(error) = rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        tracing::debug!(path = %path.display(), %error, "cannot note the use of an entry");
    }
}

/// Returns a file time as seconds since 1970, which no file of a store precedes.
fn seconds(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}
