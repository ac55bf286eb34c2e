//! The scratch folder of one build, and the way of finished files out of it.
//!
//! ```text
//! WORK_DIR/build-<random>/        removed on drop
//! WORK_DIR/build-<random>/guard   held by the process that owns the folder, as long as it lives
//! ```
//!
//! A process that is killed leaves its folder; the next build sees that nobody holds its guard and removes it. Outputs are
//! finished here and then renamed into place, so that no half file is ever where a user looks for one.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// The name of the file that is locked as long as a folder is in use.
const GUARD: &str = "guard";
/// How scratch folders begin.
const PREFIX: &str = "build-";

/// A scratch folder or an output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`", .path.display())]
pub struct WorkError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

/// Returns a function that words a failure.
fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkError {
    move |source| WorkError { operation, path: path.to_owned(), source }
}

/// The scratch folders that are in use. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Scratch(Arc<Mutex<Vec<PathBuf>>>);

impl Scratch {
    /// Adds a folder that somebody else removes unless the program ends before.
    pub(super) fn add(&self, path: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }

    /// Removes all of them, in use or not, for a program that is about to end.
    pub fn remove(&self) {
        for path in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // What cannot be removed now is removed by the next build.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A scratch folder.
#[derive(Debug)]
pub(super) struct WorkDir {
    path: PathBuf,
    scratch: Scratch,
    _guard: File,
}

impl WorkDir {
    /// Makes a folder below `base`, after removing those that killed processes have left there.
    ///
    /// # Errors
    /// Fails when `base` cannot be written.
    pub(super) fn create(base: &Path, scratch: &Scratch) -> Result<Self, WorkError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(failed("make the work folder", base))?;
        sweep(base);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base).map_err(failed("make a folder in", base))?;
        let guard = File::create(folder.path().join(GUARD)).map_err(failed("write in", folder.path()))?;
        guard.lock().map_err(failed("guard", folder.path()))?;
        let path = folder.keep();
        scratch.add(&path);
        Ok(Self { path, scratch: scratch.clone(), _guard: guard })
    }

    /// Returns the path of a file in it.
    #[must_use]
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the folder.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build.
        let _ = fs::remove_dir_all(&self.path);
        self.scratch.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.path);
    }
}

/// Removes the folders whose guard nobody holds.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A folder without a guard is being made at this moment, or was never more than made: only old ones are removed.
        let abandoned = match File::open(path.join(GUARD)) {
            Ok(guard) => guard.try_lock().is_ok(),
            Err(_) => entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 3600)),
        };
        if abandoned {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Moves a finished file to `destination`, replacing what is there. Across filesystems it is copied to a file without a name
/// first, so that the destination appears whole or not at all, whatever happens to this process.
///
/// # Errors
/// Fails when the destination cannot be written.
pub(super) fn place(file: &Path, destination: &Path) -> Result<(), WorkError> {
    match fs::rename(file, destination) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_whole(file, destination).map_err(failed("write", destination)),
        Err(error) => Err(failed("write", destination)(error)),
    }
}

/// Copies a file, holes kept, and gives the copy its name when it is complete.
fn copy_whole(file: &Path, destination: &Path) -> io::Result<()> {
    let folder = destination.parent().unwrap_or_else(|| Path::new("."));
    let mut source = File::open(file)?;
    let nameless = rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666));
    match nameless {
        Ok(target) => {
            let mut target = File::from(target);
            copy_sparse(&mut source, &mut target)?;
            match fs::symlink_metadata(destination) {
                Ok(metadata) if metadata.file_type().is_block_device() => return Err(io::ErrorKind::AlreadyExists.into()),
                Ok(_) => fs::remove_file(destination)?,
                Err(_) => {}
            }
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&target));
            rustix::fs::linkat(CWD, link, CWD, destination, AtFlags::SYMLINK_FOLLOW)?;
        }
        // Filesystems without nameless files: a temporary name beside the destination.
        Err(_) => {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            let mut target = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
            copy_sparse(&mut source, target.as_file_mut())?;
            target.persist(destination).map_err(|error| error.error)?;
        }
    }
    fs::remove_file(file)
}

/// Copies the data of a file to the same places of another, leaving its holes.
fn copy_sparse(source: &mut File, target: &mut File) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut offset = 0;
    while offset < length {
        let Ok(data) = rustix::fs::seek(&*source, rustix::fs::SeekFrom::Data(offset)) else { break };
        let hole = rustix::fs::seek(&*source, rustix::fs::SeekFrom::Hole(data)).unwrap_or(length);
        source.seek(SeekFrom::Start(data))?;
        target.seek(SeekFrom::Start(data))?;
        io::copy(&mut io::Read::take(&*source, hole - data), target)?;
        offset = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Seek as _, SeekFrom, Write as _},
        os::unix::fs::MetadataExt as _,
    };

    use super::*;

    #[test]
    fn a_folder_is_removed_with_its_owner_and_a_dead_ones_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let dead = base.path().join("build-dead");
        fs::create_dir(&dead).unwrap();
        File::create(dead.join(GUARD)).unwrap();
        let first = WorkDir::create(base.path(), &Scratch::default()).unwrap();
        assert!(!dead.exists(), "nobody holds its guard");
        let path = first.path().to_owned();
        let second = WorkDir::create(base.path(), &Scratch::default()).unwrap();
        assert!(path.exists(), "its owner lives");
        drop(first);
        assert!(!path.exists());
        assert!(second.path().exists());
    }

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut file = File::create(&from).unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(b"end").unwrap();
        file.set_len(128 << 20).unwrap();
        let bytes = fs::read(&from).unwrap();
        fs::write(&to, "old").unwrap();
        copy_whole(&from, &to).unwrap();
        assert!(fs::read(&to).unwrap() == bytes);
        assert!(!from.exists());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20, "holes are kept");
    }
}
