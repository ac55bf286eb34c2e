//! Reading and writing lock files.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{LOCK_VERSION, LockedPackage, LockedRepository, PackageLock};

/// No lock file is larger than this.
const LOCK_LIMIT: u64 = 64 << 20;

/// The first lines of every lock file.
const HEADER: &str = "# Written by oic: exactly what a build uses. Keep this file with the template, and renew it with `oic lock`.\n";

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("cannot {action} the lock file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It was written by a newer program.
    #[error("the lock file {} has version {found}, and this version of oic knows version {LOCK_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version.
        found: i64,
    },
    /// It is not a lock file.
    #[error("the lock file {} is damaged at line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// It contradicts itself.
    #[error("the lock file {} makes no sense: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl LockError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => None,
            Self::Version { .. } => Some("use the version of oic that wrote it or a newer one, or renew it with `oic lock`"),
            Self::Syntax { .. } | Self::Content { .. } => {
                Some("restore it from version control, or remove it and run `oic lock` to make a new one")
            }
        }
    }
}

/// Reads a lock file; none when there is none.
///
/// # Errors
/// Fails when it cannot be read or understood.
pub fn load(path: &Path) -> Result<Option<PackageLock>, LockError> {
    let failed = |source| LockError::Io { action: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > LOCK_LIMIT => return Err(failed(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => {}
    }
    parse(path, &fs::read_to_string(path).map_err(failed)?).map(Some)
}

/// Understands the text of a lock file; `path` is for messages. The version comes first: what else a newer version holds is
/// not looked at.
///
/// # Errors
/// Fails when it is of another version, is no lock file, or contradicts itself.
pub fn parse(path: &Path, text: &str) -> Result<PackageLock, LockError> {
    let syntax = |error: &toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        LockError::Syntax { path: path.to_owned(), line, column, message: error.message().trim().replace('\n', "; ") }
    };
    let table: toml::Table = text.parse().map_err(|error| syntax(&error))?;
    if let Some(found) = table.get("version").and_then(toml::Value::as_integer).filter(|found| *found != i64::from(LOCK_VERSION)) {
        return Err(LockError::Version { path: path.to_owned(), found });
    }
    let lock: PackageLock = toml::from_str(text).map_err(|error| syntax(&error))?;
    let sections = lock.images.iter().map(|image| (&image.repositories, &image.packages));
    let sections = sections.chain(lock.tools.iter().map(|tools| (&tools.repositories, &tools.packages)));
    for (repositories, packages) in sections {
        check(repositories, packages).map_err(|message| LockError::Content { path: path.to_owned(), message })?;
    }
    Ok(lock)
}

fn check(repositories: &[LockedRepository], packages: &[LockedPackage]) -> Result<(), String> {
    for LockedPackage { name, repository, path, .. } in packages {
        if !repositories.iter().any(|known| known.id == *repository) {
            return Err(format!("the package {name} is from the repository `{repository}`, which is not in it"));
        }
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!("the package {name} has the path `{path}`, which leads out of its repository"));
        }
    }
    Ok(())
}

/// Returns the text of a lock file: always the same for the same lock.
#[must_use]
pub fn render(lock: &PackageLock) -> String {
    let body = toml::to_string(lock).expect("a lock has nothing that TOML cannot say");
    format!("{HEADER}{body}")
}

/// Writes a lock file in place of the one that is there, or not at all. Returns whether it is another one than before.
///
/// # Errors
/// Fails when it cannot be written.
pub fn save(path: &Path, lock: &PackageLock) -> Result<bool, LockError> {
    let failed = |source| LockError::Io { action: "write", path: path.to_owned(), source };
    let text = render(lock);
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Temporary files are private; a lock is to be read by everybody who may read the template, as far as the umask lets them.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".oic.lock.").permissions(readable).tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    if let Ok(metadata) = fs::metadata(path) {
        file.as_file().set_permissions(metadata.permissions()).map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(true)
}
