//! What goes wrong with a folder of files.

use std::{
    io,
    path::{Path, PathBuf},
};

use oic_config::units::ByteSize;

use crate::digest::Sha256Digest;

/// Why the store cannot do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or this user's share of it, is full.
    #[error("no space left for {}: {needed} more bytes are needed, {} are free", path.display(), words_for(*free))]
    Full {
        /// What was being written.
        path: PathBuf,
        /// Bytes that were still to be written, as far as known.
        needed: u64,
        /// Bytes that are free for this user; none when the system does not say.
        free: Option<u64>,
    },
    /// The operating system refuses.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `write`, `read` …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// More bytes came than were expected.
    #[error("{name} is larger than the {} that were expected", ByteSize(*expected))]
    TooLong {
        /// The digest by which the file was wanted.
        name: Sha256Digest,
        /// The expected size.
        expected: u64,
    },
    /// Fewer bytes came than were expected.
    #[error("{name} has {found} bytes where {expected} were expected")]
    TooShort {
        /// The digest by which the file was wanted.
        name: Sha256Digest,
        /// The expected size.
        expected: u64,
        /// The size so far.
        found: u64,
    },
    /// The bytes are not those that were expected.
    #[error("the SHA-256 is {found} where {expected} was expected")]
    WrongDigest {
        /// What was expected.
        expected: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
}

impl StoreError {
    /// Makes the error for a failed system call; `needed` is how many bytes were still to be written.
    pub(super) fn io(action: &'static str, path: &Path, needed: u64, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let free = path.ancestors().find_map(free_space);
            return Self::Full { path: path.to_owned(), needed, free };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Full { .. } => Some("free some space, or choose a cache folder on another disk with --cache-dir".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("choose a cache folder that you may write with --cache-dir".to_owned())
            }
            _ => None,
        }
    }
}

/// Words a number of bytes that may be unknown.
fn words_for(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "not enough".to_owned(), |bytes| bytes.to_string())
}

/// Returns how many bytes this user may still write on the file system of `path`.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}
