//! A place of its own for each test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Oic;

/// A temporary folder with a home and a current folder in it, removed at the end.
#[derive(Debug)]
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// Makes one.
    ///
    /// # Panics
    /// Panics when the system's folder for temporary files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oic-test-").tempdir().expect("a temporary folder can be made");
        for name in ["home", "cwd", "tmp"] {
            fs::create_dir(folder.path().join(name)).expect("a folder can be made in it");
        }
        Self { folder }
    }

    /// Returns the folder that has everything else.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the home folder of the user.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Returns the folder that commands run in.
    #[must_use]
    pub fn cwd(&self) -> PathBuf {
        self.root().join("cwd")
    }

    /// Writes a file below the current folder, with the folders above it.
    ///
    /// # Panics
    /// Panics when it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let file = self.cwd().join(path);
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("folders can be made");
        fs::write(&file, text).expect("a file can be written");
        file
    }

    /// Reads a file below the current folder.
    ///
    /// # Panics
    /// Panics when there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.cwd().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
    }

    /// Returns a command line of `oic` to run here.
    #[must_use]
    pub fn oic(&self, arguments: &[&str]) -> Oic<'_> {
        Oic::new(self, arguments)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}
