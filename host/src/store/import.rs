//! File entries that are named by their digest: written to `partial/`, hashed on the way, renamed when size and digest are
//! right. The partial file is its own guard.

use std::{
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    Bucket, Expected, Store, StoreError, create_folder,
    guard::{self, Guard},
};
use crate::digest::Hasher;

/// The answer to a wish to import a file.
#[derive(Debug)]
pub enum ImportSlot {
    /// It is there.
    Present(PathBuf),
    /// Another process, or another part of this one, is at it.
    Busy,
    /// It is the caller's to bring.
    Open(Import),
}

/// A file on its way into the store. Dropped without [`Self::commit`], the bytes so far stay and are the beginning of the
/// next import of the same file.
#[derive(Debug)]
pub struct Import {
    guard: Guard,
    path: PathBuf,
    expected: Expected,
    hasher: Hasher,
    length: u64,
}

impl Import {
    /// Returns how many bytes are there: where to go on.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns what the file must be.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Fails when they cannot be written, or are more than the expected size has room for.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = self.length + bytes.len() as u64;
        if length > self.expected.size {
            return Err(StoreError::TooLong { name: self.expected.sha256, expected: self.expected.size });
        }
        if let Err(source) = self.guard.file().write_all(bytes) {
            let error = self.failed("write", source);
            // How much of it was written is unknown: only what was hashed counts.
            self.truncate(self.length)?;
            return Err(error);
        }
        self.hasher.update(bytes);
        self.length = length;
        Ok(())
    }

    /// Drops all bytes and starts over.
    ///
    /// # Errors
    /// Fails when the file cannot be emptied.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.hasher = Hasher::default();
        self.length = 0;
        self.truncate(0)
    }

    /// Makes the file an entry, when it has the expected size and digest, and returns its path. With a wrong digest all
    /// bytes are dropped: which of them were wrong cannot be known.
    ///
    /// # Errors
    /// Fails when size or digest are not as expected, and when the file cannot be renamed.
    pub fn commit(mut self) -> Result<PathBuf, StoreError> {
        if self.length < self.expected.size {
            return Err(StoreError::TooShort { name: self.expected.sha256, expected: self.expected.size, found: self.length });
        }
        let found = std::mem::take(&mut self.hasher).finish();
        if found != self.expected.sha256 {
            self.guard.remove();
            return Err(StoreError::WrongDigest { expected: self.expected.sha256, found });
        }
        if let Some(parent) = self.path.parent() {
            create_folder(parent)?;
        }
        let permissions = fs::Permissions::from_mode(0o444);
        self.guard.file().set_permissions(permissions).map_err(|source| self.failed("write", source))?;
        fs::rename(self.guard.path(), &self.path).map_err(|source| self.failed("make the entry", source))?;
        Ok(self.path)
    }

    fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        let file = self.guard.file();
        let result = file.set_len(length).and_then(|()| file.seek(io::SeekFrom::Start(length)));
        result.map(|_| ()).map_err(|source| self.failed("write", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::io(action, self.guard.path(), self.expected.size - self.length, source)
    }

    /// Hashes what an earlier import left.
    fn resume(&mut self) -> Result<(), StoreError> {
        let size = self.expected.size;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match self.guard.file().read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) if self.length + count as u64 > size => return self.restart(),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", source)),
            }
        }
    }
}

impl Store {
    /// Returns the file with the expected digest, or the right to bring it, or the news that somebody else is bringing it.
    /// Reads what an earlier import left, so this may take a moment.
    ///
    /// # Errors
    /// Fails when the store cannot be written.
    pub fn try_import(&self, bucket: Bucket, expected: Expected) -> Result<ImportSlot, StoreError> {
        self.import_with(bucket, expected, guard::try_acquire)
    }

    /// Like [`Self::try_import`], but waits while somebody else is bringing the file.
    ///
    /// # Errors
    /// Fails when the store cannot be written.
    pub fn import(&self, bucket: Bucket, expected: Expected) -> Result<ImportSlot, StoreError> {
        self.import_with(bucket, expected, |path| guard::acquire(path).map(Some))
    }

    fn import_with(
        &self,
        bucket: Bucket,
        expected: Expected,
        acquire: impl FnOnce(&Path) -> io::Result<Option<Guard>>,
    ) -> Result<ImportSlot, StoreError> {
        if let Some(path) = self.file(bucket, &expected) {
            return Ok(ImportSlot::Present(path));
        }
        let partial = self.root.join("partial").join(expected.sha256.to_string());
        let guard = acquire(&partial).map_err(|source| StoreError::io("write", &partial, expected.size, source))?;
        let Some(guard) = guard else { return Ok(ImportSlot::Busy) };
        if let Some(path) = self.file(bucket, &expected) {
            guard.remove();
            return Ok(ImportSlot::Present(path));
        }
        let path = self.entry_path(bucket, &expected.sha256);
        let mut import = Import { guard, path, expected, hasher: Hasher::default(), length: 0 };
        import.resume()?;
        Ok(ImportSlot::Open(import))
    }
}
