//! What tests share that build images and boot them: a cache, and turns at running virtual machines.
//!
//! The cache is a folder that outlives the run, as a user's does, so that packages are downloaded once. Everything else of
//! a test is its own. At most [`VMS`] virtual machines run at a time: more would starve each other where they are emulated.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
};

use crate::{Sandbox, require::skip};

/// How many virtual machines run at a time.
const VMS: usize = 2;

/// How many are running, and who waits for one to end.
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A turn at running a virtual machine, until it is dropped.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    /// Waits for a turn.
    #[must_use]
    pub fn wait() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= VMS {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// The cache that the tests of a run share.
#[derive(Debug)]
pub struct Lab {
    cache: PathBuf,
}

impl Lab {
    /// Returns the lab with its cache below `folder`; none, said aloud, when images of `arch` cannot be built on this machine.
    #[must_use]
    pub fn open(test: &str, arch: &str, folder: &Path) -> Option<Self> {
        let lab = Self { cache: folder.join("cache") };
        if !oic::build::agents::carried().contains(&arch) {
            skip(test, &format!("no guest agent for {arch} is embedded: run `cargo xtask agents {arch}` first"));
            return None;
        }
        static LACK: OnceLock<Option<String>> = OnceLock::new();
        match LACK.get_or_init(|| lab.lack()) {
            Some(lack) => {
                skip(test, lack);
                None
            }
            None => Some(lab),
        }
    }

    /// Returns the cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Asks `oic doctor` what this machine lacks.
    fn lack(&self) -> Option<String> {
        let sandbox = Sandbox::new();
        let output = sandbox.oic(&["doctor", "--json"]).env("OIC_CACHE_DIR", &self.cache).run();
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output}"));
        let checks = report["checks"].as_array().unwrap_or_else(|| panic!("no checks in {output}"));
        let decides = |check: &&serde_json::Value| check["status"] == "missing" || (check["name"] == "mirror" && check["status"] != "good");
        checks.iter().find(decides).map(|check| format!("{}: {}", check["name"], check["finding"]))
    }
}
