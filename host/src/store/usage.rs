//! What the store holds, and what of it may go.
//!
//! Builds hold the store's *use* together with each other ([`Store::share`]); who removes entries asks for it alone. While builds
//! run, entries that were used within the last day stay, whatever the limits say: a build notes the use of whatever it takes.
//! An entry goes by one rename out of its place, so that no half entry is ever found.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use oic_config::units::ByteSize;
use rayon::prelude::*;
use rustix::fs::{Dir, Mode, OFlags};

use super::{Bucket, Store, StoreError, entry::remove_tree, guard, seconds};
use crate::{clock, digest::Sha256Digest, rootfs::stored};

/// While builds run, what was used within this many seconds stays.
const IN_USE: u64 = 24 * 3600;

/// An entry of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its bucket.
    pub bucket: Bucket,
    /// Where it is, a file or a folder.
    pub path: PathBuf,
    /// What it takes of the disk, in bytes.
    pub size: u64,
    /// When it was last used, seconds since 1970-01-01 UTC.
    pub used: u64,
}

/// How large and how old the store may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// All entries together; none: any size.
    pub size: Option<ByteSize>,
    /// Seconds since the last use of an entry; none: any age.
    pub age: Option<u64>,
}

/// What removing entries did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removal {
    /// The entries that went.
    pub removed: Vec<StoredEntry>,
    /// How many more would have gone if no build had run.
    pub in_use: usize,
}

impl Removal {
    /// Returns what all entries that went took of the disk.
    #[must_use]
    pub fn size(&self) -> ByteSize {
        ByteSize(self.removed.iter().map(|entry| entry.size).sum())
    }
}

/// The store in use, with others, until dropped.
#[derive(Debug)]
pub struct Shared(#[expect(dead_code, reason = "held for its lock")] File);

impl Store {
    /// Takes the store into use. Waits while somebody is removing entries, which takes a moment.
    ///
    /// # Errors
    /// Fails when the guard's file cannot be made.
    pub fn share(&self) -> Result<Shared, StoreError> {
        let path = self.use_path();
        let file = open_use(&path).and_then(|file| file.lock_shared().map(|()| file));
        file.map(Shared).map_err(|source| StoreError::io("guard", &path, 0, source))
    }

    fn use_path(&self) -> PathBuf {
        // Not in `guards/`, whose files are swept.
        self.root().join("in-use")
    }

    /// Returns all entries, in no order.
    #[must_use]
    pub fn entries(&self) -> Vec<StoredEntry> {
        let places: Vec<(Bucket, PathBuf)> = Bucket::ALL.into_iter().flat_map(|bucket| self.places(bucket)).collect();
        places.into_par_iter().filter_map(|(bucket, path)| stored_entry(bucket, path)).collect()
    }

    /// Returns the paths of a bucket's entries: below folders of two digits, or, where others make them, in the bucket itself.
    fn places(&self, bucket: Bucket) -> Vec<(Bucket, PathBuf)> {
        let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        let is_part = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 2) && path.is_dir();
        let (parts, mut places): (Vec<_>, Vec<_>) = list(&self.root().join(bucket.folder())).into_iter().partition(is_part);
        places.extend(parts.iter().flat_map(|part| list(part)));
        places.into_iter().map(|path| (bucket, path)).collect()
    }

    /// Removes what is older than the limits allow, then what was used longest ago until the rest is as small as they ask for.
    ///
    /// # Errors
    /// Fails when an entry cannot be removed.
    pub fn trim(&self, limits: Limits, dry_run: bool) -> Result<Removal, StoreError> {
        let mut entries = self.entries();
        entries.sort_by(|left, right| (left.used, &left.path).cmp(&(right.used, &right.path)));
        let now = clock::unix_now();
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        let chosen = entries.into_iter().filter(|entry| {
            let too_old = limits.age.is_some_and(|age| now.saturating_sub(entry.used) > age);
            let too_much = limits.size.is_some_and(|size| total > size.0);
            let goes = too_old || too_much;
            total -= if goes { entry.size } else { 0 };
            goes
        });
        let chosen = chosen.collect();
        self.remove(chosen, dry_run)
    }

    /// Removes all entries of buckets.
    ///
    /// # Errors
    /// Fails when an entry cannot be removed.
    pub fn clean(&self, buckets: &[Bucket], dry_run: bool) -> Result<Removal, StoreError> {
        self.remove(self.entries().into_iter().filter(|entry| buckets.contains(&entry.bucket)).collect(), dry_run)
    }

    /// Removes entries; while builds run, only those that were not used for a while.
    fn remove(&self, entries: Vec<StoredEntry>, dry_run: bool) -> Result<Removal, StoreError> {
        let path = self.use_path();
        let file = open_use(&path).map_err(|source| StoreError::io("guard", &path, 0, source))?;
        let is_alone = file.try_lock().is_ok();
        let mut removal = Removal::default();
        for entry in entries {
            // It may have been used since the list was made.
            let used = fs::symlink_metadata(&entry.path).map_or(0, |metadata| seconds(metadata.atime()));
            if !is_alone && clock::unix_now().saturating_sub(used) < IN_USE {
                removal.in_use += 1;
                continue;
            }
            if !dry_run {
                self.take_away(&entry.path)?;
            }
            removal.removed.push(entry);
        }
        Ok(removal)
    }

    /// Moves something out of its place, then removes it.
    fn take_away(&self, path: &Path) -> Result<(), StoreError> {
        let aside = tempfile::Builder::new().prefix("").tempdir_in(self.root().join("writing"));
        let aside = aside.map_err(|source| StoreError::io("make a folder for", path, 0, source))?;
        match fs::rename(path, aside.path().join("entry")) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::io("remove the entry", path, 0, source)),
        }
        remove_tree(&aside.keep());
        Ok(())
    }

    /// Removes a directory entry that turned out to be damaged. Who uses it at this moment keeps what is open.
    ///
    /// # Errors
    /// Fails when it cannot be taken out of its place.
    pub fn discard_folder(&self, bucket: Bucket, key: &Sha256Digest) -> Result<(), StoreError> {
        self.take_away(&self.entry_path(bucket, key))
    }

    /// Checks every entry that tells what it must be, and removes those that are damaged: they are fetched or made again when
    /// they are wanted. Returns how many were checked, and the damaged ones.
    ///
    /// # Errors
    /// Fails when a damaged entry cannot be removed.
    pub fn verify(&self) -> Result<(usize, Vec<StoredEntry>), StoreError> {
        let checked: Vec<(StoredEntry, bool)> =
            self.entries().into_par_iter().filter_map(|entry| check(&entry).map(|good| (entry, good))).collect();
        let count = checked.len();
        let damaged: Vec<StoredEntry> = checked.into_iter().filter(|(_, good)| !good).map(|(entry, _)| entry).collect();
        damaged.iter().try_for_each(|entry| self.take_away(&entry.path))?;
        Ok((count, damaged))
    }

    /// Forgets everything that records say: what repositories said last, what output folders hold. Interrupted downloads go, too.
    ///
    /// # Errors
    /// Fails when a record cannot be removed.
    pub fn forget(&self) -> Result<(), StoreError> {
        for path in self.list("records-v1") {
            self.take_away(&path)?;
        }
        for path in self.list("partial") {
            if let Ok(Some(guard)) = guard::try_acquire(&path) {
                guard.remove();
            }
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Vec<PathBuf> {
        fs::read_dir(self.root().join(folder)).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

fn open_use(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Looks at an entry; none when it is gone.
fn stored_entry(bucket: Bucket, path: PathBuf) -> Option<StoredEntry> {
    let metadata = fs::symlink_metadata(&path).ok()?;
    let mut size = metadata.blocks() * 512;
    let mut pending: Vec<PathBuf> = if metadata.is_dir() { vec![path.clone()] } else { Vec::new() };
    while let Some(folder) = pending.pop() {
        for path in list_unnoticed(&folder) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            size += metadata.blocks() * 512;
            if metadata.is_dir() {
                pending.push(path);
            }
        }
    }
    Some(StoredEntry { bucket, path, size, used: seconds(metadata.atime()) })
}

/// Lists a folder without changing its time of access, which is its last use.
fn list_unnoticed(folder: &Path) -> Vec<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |flags| rustix::fs::open(folder, flags, Mode::empty());
    // Only the owner may ask for it; of others' entries the last use is not this user's to know.
    let names = open(flags | OFlags::NOATIME).or_else(|_| open(flags)).and_then(Dir::new);
    let names = names.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name().to_bytes().to_vec());
    names.filter(|name| name != b"." && name != b"..").map(|name| folder.join(OsStr::from_bytes(&name))).collect()
}

/// Returns whether an entry is what it must be; none when nothing tells.
fn check(entry: &StoredEntry) -> Option<bool> {
    let digest = || File::open(&entry.path).and_then(|mut file| Sha256Digest::of_reader(&mut file)).ok();
    let name = entry.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Sha256Digest>().ok());
    match entry.bucket {
        Bucket::Packages | Bucket::Metadata => Some(name.is_some() && digest() == name),
        Bucket::Layers if entry.path.is_dir() => Some(stored::verify(&entry.path).is_ok()),
        // The first 32 bytes are the digest of the others, and the name.
        Bucket::Layers => {
            let bytes = fs::read(&entry.path).ok()?;
            let body = bytes.get(32..).map(Sha256Digest::of);
            Some(body.is_some() && body == name && bytes.get(..32) == body.as_ref().map(|digest| &digest.as_bytes()[..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Slot;

    /// Makes a store with three entries of 100 KiB that were used 3, 2 and 1 days ago.
    fn store(folder: &Path) -> (Store, Vec<PathBuf>) {
        let store = Store::open(folder).unwrap();
        let bytes = |byte| vec![byte; 100 << 10];
        let mut paths: Vec<PathBuf> = [1, 2]
            .map(|byte| {
                let digest = store.put_bytes(Bucket::Packages, &bytes(byte)).unwrap();
                store.package(&digest).unwrap()
            })
            .into();
        let Slot::Vacant(pending) = store.begin(Bucket::Tools, &Sha256Digest::of(b"tool")).unwrap() else { panic!("it is there") };
        fs::create_dir(pending.path().join("bin")).unwrap();
        fs::write(pending.path().join("bin/tool"), bytes(3)).unwrap();
        paths.push(pending.commit().unwrap());
        for (days, path) in (1..=3).rev().zip(&paths) {
            let ago = i64::try_from(clock::unix_now()).unwrap() - days * 86400 - 60;
            let time = |tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time(ago), last_modification: time(ago) };
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
        }
        (store, paths)
    }

    fn left(paths: &[PathBuf]) -> Vec<bool> {
        paths.iter().map(|path| path.exists()).collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_only_as_much_as_must() {
        let folder = tempfile::tempdir().unwrap();
        let (store, paths) = store(folder.path());
        assert_eq!(store.entries().len(), 3);
        let limits = Limits { size: Some(ByteSize(250 << 10)), age: None };
        assert_eq!(store.trim(limits, true).unwrap().removed.len(), 1);
        assert_eq!(left(&paths), [true, true, true], "a dry run removes nothing");
        let removal = store.trim(limits, false).unwrap();
        assert_eq!((removal.removed.len(), removal.in_use, removal.size().0 >= 100 << 10), (1, 0, true));
        assert_eq!(left(&paths), [false, true, true]);
        store.trim(Limits { size: None, age: Some(36 * 3600) }, false).unwrap();
        assert_eq!(left(&paths), [false, false, true]);
        assert!(store.trim(Limits::default(), false).unwrap().removed.is_empty());
        store.clean(&[Bucket::Packages], false).unwrap();
        assert_eq!(left(&paths), [false, false, true]);
        store.clean(&Bucket::ALL, false).unwrap();
        assert_eq!(left(&paths), [false, false, false]);
    }

    #[test]
    fn what_a_running_build_uses_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (store, paths) = store(folder.path());
        let build = store.share().unwrap();
        let taken: Sha256Digest = paths[1].file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(store.package(&taken).is_some());
        let removal = store.clean(&Bucket::ALL, false).unwrap();
        assert_eq!((removal.removed.len(), removal.in_use), (2, 1));
        assert_eq!(left(&paths), [false, true, false]);
        drop(build);
        // A process that another test has just forked holds the lock, too, until it runs its program.
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            store.clean(&Bucket::ALL, false).unwrap().removed.len() == 1
        });
        assert!(gone);
    }

    #[test]
    fn damage_is_found_and_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (store, paths) = store(folder.path());
        assert_eq!(store.verify().unwrap(), (2, Vec::new()), "tools do not tell what they must be");
        fs::set_permissions(&paths[0], fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&paths[0], "damaged").unwrap();
        let (checked, damaged) = store.verify().unwrap();
        assert_eq!((checked, damaged.len(), left(&paths)), (2, 1, vec![false, true, true]));
    }
}
