//! Mutual exclusion between processes by kernel locks on files.
//!
//! A guard's file is removed by its holder, so a name can come to mean another file between opening and locking it. Whoever
//! gets a lock therefore compares the file behind the name with the one it holds, and starts over when they differ.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A held guard; it ends when dropped or when the process ends.
#[derive(Debug)]
pub struct Guard {
    file: File,
    path: PathBuf,
}

impl Guard {
    /// Returns the locked file.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the name of the locked file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file and lets go.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the file of a guard");
        }
    }

    /// Tells whether the locked file is still the one that has the name.
    fn is_current(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Opens the file of a guard, which is made when it is not there. A link is refused: it would never be the file itself.
fn open(path: &Path) -> io::Result<Guard> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options().read(true).write(true).create(true).truncate(false).custom_flags(no_link).open(path)?;
    Ok(Guard { file, path: path.to_owned() })
}

/// Waits for the guard with the given file.
pub(super) fn acquire(path: &Path) -> io::Result<Guard> {
    loop {
        let guard = open(path)?;
        guard.file.lock()?;
        if guard.is_current()? {
            return Ok(guard);
        }
    }
}

/// Takes the guard with the given file unless somebody holds it.
pub(super) fn try_acquire(path: &Path) -> io::Result<Option<Guard>> {
    loop {
        let guard = open(path)?;
        match guard.file.try_lock() {
            Ok(()) if guard.is_current()? => return Ok(Some(guard)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
