//! The private folder of one run of a VM, and the removal of those that a killed process left.
//!
//! ```text
//! BASE/oic-vm-XXXXXX/      mode 0700
//!     guard                locked while its owner lives
//!     …                    copies of firmware variables; for an instant, sockets
//! ```
//!
//! The kernel releases the lock whatever happens to the owner, so a folder whose guard can be locked belongs to nobody.
//! The lock is taken before the folder gets its final name, so no sweep can find one that is still being made.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// How the folders' names begin.
const PREFIX: &str = "oic-vm-";
/// The longest base folder under which a socket's name still fits: `sockaddr_un` holds 108 bytes.
const LONGEST_BASE: usize = 70;

/// A private folder that disappears with this value.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    _guard: File,
}

impl RuntimeDir {
    /// Makes a folder under `base`, or under `/tmp` when the names of sockets in `base` would be too long, and removes those
    /// that nobody owns any more.
    pub(crate) fn create(base: &Path) -> io::Result<Self> {
        let base = if base.as_os_str().len() <= LONGEST_BASE { base } else { Path::new("/tmp") };
        sweep(base);
        let staged =
            tempfile::Builder::new().prefix(&format!(".{PREFIX}")).permissions(fs::Permissions::from_mode(0o700)).tempdir_in(base)?;
        let guard = File::create_new(staged.path().join("guard"))?;
        guard.lock()?;
        let name = staged.path().file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidData)?;
        let path = base.join(name.trim_start_matches('.'));
        // Never takes over an existing folder: it would have to be empty, and nobody makes one without a guard.
        fs::rename(staged.path(), &path)?;
        // Renamed away: there is nothing left to remove under the old name.
        let _ = staged.keep();
        Ok(Self { path, _guard: guard })
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a private folder");
        }
    }
}

/// Removes this user's folders under `base` whose owners are gone. Failing to is no reason not to go on.
fn sweep(base: &Path) {
    let user = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let folder = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
        if ours && folder && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns whether nobody holds the guard of a folder.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join("guard")) {
        Ok(guard) => !matches!(guard.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_))),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_disappears_with_its_value() {
        let base = tempfile::tempdir().unwrap();
        let folder = RuntimeDir::create(base.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_abandoned_folders_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let living = RuntimeDir::create(base.path()).unwrap();
        let dead = base.path().join("oic-vm-dead");
        fs::create_dir(&dead).unwrap();
        File::create_new(dead.join("guard")).unwrap();
        fs::write(dead.join("vars.fd"), b"x").unwrap();
        let stranger = base.path().join("somebody-elses");
        fs::create_dir(&stranger).unwrap();
        let second = RuntimeDir::create(base.path()).unwrap();
        assert!(!dead.exists() && stranger.exists() && living.path().exists() && second.path().exists());
    }

    #[test]
    fn a_base_too_long_for_sockets_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let long = base.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        let folder = RuntimeDir::create(&long).unwrap();
        assert!(folder.path().starts_with("/tmp"));
    }
}
