//! What a build is asked for, and what it gives.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use oic_builder_vm::Cancel;

use super::workdir::Scratch;
use crate::{fetch::Url, report::manifest::OutputRecord};

/// What holds for everything that one run of the program does.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// How many packages are worked on at a time.
    pub workers: NonZeroUsize,
    /// Downloads and everything made from them.
    pub cache_dir: PathBuf,
    /// Scratch files while a build runs.
    pub work_dir: PathBuf,
    /// Small short-lived files and sockets.
    pub temp_dir: PathBuf,
    /// Mirrors by [`mirror_key`](oic_config::spec::ProviderFacts::mirror_key).
    pub mirrors: BTreeMap<String, Url>,
    /// Repositories to choose no packages from, by [`Repository::id`](oic_config::spec::Repository::id).
    pub without_repositories: Vec<String>,
    /// Whether the network is not to be used.
    pub offline: bool,
    /// The user's wish to stop. Whatever can take long looks at it.
    pub cancel: Cancel,
    /// The scratch folders in use, for a program that ends before the build has noticed.
    pub scratch: Scratch,
}

/// What is done with the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// Use it where it fits the spec, make it anew where it does not or there is none.
    Prefer,
    /// Use it, and fail where it does not fit or there is none (`--locked`).
    Require,
    /// Make it anew from what the repositories have now (`--update`).
    Renew,
}

/// What to build, and where.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// What holds for the whole run.
    pub host: HostOptions,
    /// The folder for the outputs. It exists, with `build.log` in it.
    pub output_dir: PathBuf,
    /// The lock file.
    pub lock_file: PathBuf,
    /// What is done with it.
    pub lock_use: LockUse,
    /// Where the dependency graph goes instead of `deps.dot` in the output folder.
    pub dotfile: Option<PathBuf>,
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOutcome {
    /// The files in the output folder, sorted by name.
    pub outputs: Vec<OutputRecord>,
    /// Whether they were all there already, so that nothing was done.
    pub up_to_date: bool,
}

/// What to lock, and where.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// What holds for the whole run.
    pub host: HostOptions,
    /// The lock file. Sections of other architectures in it stay.
    pub lock_file: PathBuf,
}

/// What locking did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOutcome {
    /// How many packages the image has.
    pub packages: usize,
    /// Whether the file is another one than before.
    pub changed: bool,
}
