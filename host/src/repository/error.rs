//! What is wrong with a repository.

use std::io;

use oic_config::spec::Repository;

use super::{ReleaseError, TrustError, date, rpm::RepomdError};
use crate::{
    digest::Sha256Digest,
    fetch::{FetchError, Url},
    store::StoreError,
};

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the repository `{repository}`{} cannot be used{}", words_of(.url.as_deref()), origin_words(.origin))]
pub struct RepositoryError {
    /// [`Repository::id`].
    pub repository: String,
    /// The file that it is about.
    pub url: Option<Box<Url>>,
    /// Where the repository is configured.
    pub origin: String,
    /// The variable that chooses a mirror of it; none for a repository of the template, which has no mirrors.
    pub mirror_variable: Option<String>,
    /// What is wrong.
    #[source]
    pub problem: Box<RepositoryProblem>,
}

impl RepositoryError {
    pub(crate) fn new(repository: &Repository, url: Option<&Url>, problem: RepositoryProblem) -> Self {
        Self {
            repository: repository.id.clone(),
            url: url.cloned().map(Box::new),
            origin: repository.origin.clone(),
            mirror_variable: (!repository.mirror_key.is_empty())
                .then(|| format!("OIC_MIRROR_{}", repository.mirror_key.to_uppercase().replace('-', "_"))),
            problem: Box::new(problem),
        }
    }

    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match &*self.problem {
            RepositoryProblem::Fetch(error) => error.hint_with(self.mirror_variable.as_deref()),
            problem => problem.hint(),
        };
        match &*self.problem {
            // The Release file is there and fits, so what lacks is a part of this mirror.
            RepositoryProblem::Fetch(error) if self.url.is_none() && (error.is_not_found() || error.is_other_content()) => {
                let without = format!("do without it for now: --without-repository {}", self.repository);
                Some(hint.map_or_else(|| without.clone(), |hint| format!("{hint}; or {without}")))
            }
            _ => hint,
        }
    }
}

/// What is wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryProblem {
    /// A file cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not signed as it should be.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The Release file makes no sense.
    #[error("the Release file cannot be understood: {0}")]
    Release(#[from] ReleaseError),
    /// It is the Release file of another suite.
    #[error("it is the Release file of suite `{found_suite}`, code name `{found_codename}`, where `{expected}` was expected")]
    OtherSuite {
        /// What is configured.
        expected: String,
        /// `Suite`.
        found_suite: String,
        /// `Codename`.
        found_codename: String,
    },
    /// The Release file's time is over.
    #[error("the Release file expired on {} and is of {}; it is {} now", date::words(*.valid_until), date::words(*.date), date::words(*.now))]
    Expired {
        /// `Valid-Until`.
        valid_until: u64,
        /// `Date`.
        date: u64,
        /// What this machine takes for now.
        now: u64,
    },
    /// The Release file is of the future.
    #[error("the Release file is of {}, and it is {} now", date::words(*.date), date::words(*.now))]
    OfTheFuture {
        /// `Date`.
        date: u64,
        /// What this machine takes for now.
        now: u64,
    },
    /// There is no index of a component.
    #[error(
        "it has no packages for component `{component}` and architecture `{arch}`; its components are {components}, its architectures {architectures}"
    )]
    NoIndex {
        /// What is configured.
        component: String,
        /// The architecture.
        arch: String,
        /// What there is.
        components: String,
        /// What there is.
        architectures: String,
    },
    /// An index cannot be unpacked.
    #[error("the package index {what} cannot be read")]
    Index {
        /// Which.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// A key that is fetched has changed since the lock was written.
    #[error("the key at {url} has changed: its SHA-256 is {found}, and {expected} in the lock")]
    KeyChanged {
        /// Where the key is.
        url: String,
        /// What the lock has.
        expected: Sha256Digest,
        /// What is there now.
        found: Sha256Digest,
    },
    /// A key file cannot be read.
    #[error("the key file {path} cannot be read")]
    KeyFile {
        /// Which.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// `repomd.xml` makes no sense.
    #[error("repomd.xml cannot be understood")]
    Repomd(#[from] RepomdError),
    /// `repomd.xml` is of the future.
    #[error("repomd.xml is of {}, and it is {} now", date::words(*.date), date::words(*.now))]
    RepomdOfTheFuture {
        /// When its newest record was made.
        date: u64,
        /// What this machine takes for now.
        now: u64,
    },
    /// A local folder of packages cannot be read.
    #[error("the folder {path} cannot be read")]
    Folder {
        /// Which.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A package in a local folder cannot be used.
    #[error("the package file {path} cannot be used: {reason}")]
    FolderPackage {
        /// Which.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A local folder has no packages.
    #[error("the folder {path} has no {extension} file and no repository in it")]
    EmptyFolder {
        /// Which.
        path: String,
        /// What was looked for.
        extension: &'static str,
    },
    /// Nothing in a folder of Debian packages is signed.
    #[error("the folder {path} has packages and no Release file: nothing in it is signed, so that no key can vouch for it")]
    UnsignedFolder {
        /// Which.
        path: String,
    },
}

impl RepositoryProblem {
    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Fetch(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Trust(error) => error.hint(),
            Self::OtherSuite { .. } => "correct the repository's suite (`codename`) or URL in the template, or choose another mirror",
            Self::Expired { .. } => {
                "the mirror is out of date, or this machine's clock is wrong; choose another mirror with OIC_MIRROR_<DISTRIBUTION> or `mirrors` in oic.yml"
            }
            Self::OfTheFuture { .. } | Self::RepomdOfTheFuture { .. } => "check this machine's clock",
            Self::NoIndex { .. } => "correct the repository's components, or the target's architecture, in the template",
            Self::KeyChanged { .. } => {
                "check with the repository's owner; if the new key is right, remove the `key` entry of this repository from the lock and update it"
            }
            Self::KeyFile { path, .. } if !path.starts_with('/') => {
                "name a folder as `config_dir` in oic.yml, and put the repository's OpenPGP public key there, below that folder, after you have checked its fingerprint with the repository's owner"
            }
            Self::KeyFile { .. } => {
                "put the repository's OpenPGP public key there, after you have checked its fingerprint with the repository's owner"
            }
            Self::EmptyFolder { .. } => "correct `path`, or leave the repository out",
            Self::UnsignedFolder { .. } => "write `pkey: \"[trusted=yes]\"` to take the packages as they are",
            Self::Release(_) | Self::Repomd(_) | Self::Index { .. } | Self::Folder { .. } | Self::FolderPackage { .. } => return None,
        };
        Some(words.to_owned())
    }

    /// Tells whether another mirror may do better.
    pub(super) fn is_of_mirror(&self) -> bool {
        matches!(
            self,
            Self::Trust(_)
                | Self::Release(_)
                | Self::Repomd(_)
                | Self::OtherSuite { .. }
                | Self::Expired { .. }
                | Self::OfTheFuture { .. }
                | Self::RepomdOfTheFuture { .. }
        )
    }
}

fn words_of(url: Option<&Url>) -> String {
    url.map_or_else(String::new, |url| format!(" ({url})"))
}

fn origin_words(origin: &str) -> String {
    if origin.is_empty() { String::new() } else { format!(" [{origin}]") }
}
