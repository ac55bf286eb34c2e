//! One repository with all that is needed to ask for it: its places and its keys.

use std::fs;

use oic_config::spec::{Repository, RepositoryKey, RepositoryLocation};

use super::{
    Access, Keyring, RepositoryError, RepositoryProblem, TrustError,
    trust::{self, KEY_LIMIT},
};
use crate::{
    build::progress::{Event, Level},
    digest::Sha256Digest,
    fetch::{DocumentRequest, Url},
    store::Bucket,
};

/// A repository, ready to be fetched.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) repository: &'a Repository,
    /// Where it is: folders with `dists/` or `repodata/` in them, the best place first.
    pub(super) bases: Vec<Url>,
    /// None for a trusted repository.
    pub(super) keyring: Option<Keyring>,
    /// Keys that were fetched.
    pub(super) fetched_keys: Vec<(String, Sha256Digest)>,
}

impl<'a> Site<'a> {
    pub(super) fn new(access: &Access<'_>, repository: &'a Repository) -> Result<Self, RepositoryError> {
        let of = |problem| RepositoryError::new(repository, None, problem);
        let canonical = canonical_url(repository)?;
        let bases = access.mirrors.urls(&repository.mirror_key, &canonical);
        let mut site = Self { repository, bases, keyring: None, fetched_keys: Vec::new() };
        if !repository.trusted {
            site.keyring = Some(site.load_keys(access).map_err(of)?);
        }
        Ok(site)
    }

    /// Tells whether the repository is one folder rather than suites and components.
    pub(super) fn is_flat(&self) -> bool {
        self.repository.suite.ends_with('/')
    }

    /// Returns the URL of a file beside the Release file in one of the repository's places.
    pub(super) fn file(&self, base: &Url, path: &str) -> Url {
        let folder = if self.is_flat() { base.clone() } else { base.below("dists") };
        folder.below(&self.repository.suite).below(path)
    }

    pub(super) fn error(&self, url: Option<&Url>, problem: RepositoryProblem) -> RepositoryError {
        RepositoryError::new(self.repository, url, problem)
    }

    fn load_keys(&mut self, access: &Access<'_>) -> Result<Keyring, RepositoryProblem> {
        let files = read_keys(access, self.repository, |_| None)?;
        let fetched = self.repository.keys.iter().zip(&files).filter(|(key, _)| matches!(key, RepositoryKey::Url(_)));
        self.fetched_keys = fetched.map(|(_, (url, bytes))| (url.clone(), Sha256Digest::of(bytes))).collect();
        let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        Ok(Keyring::parse(files)?)
    }
}

/// Returns the names and bytes of a repository's keys. Those that are fetched may be `known` by their digest: then what the store
/// has is enough.
pub(crate) fn key_files(
    access: &Access<'_>,
    repository: &Repository,
    known: impl Fn(&str) -> Option<Sha256Digest>,
) -> Result<Vec<(String, Vec<u8>)>, RepositoryError> {
    read_keys(access, repository, known).map_err(|problem| RepositoryError::new(repository, None, problem))
}

fn read_keys(
    access: &Access<'_>,
    repository: &Repository,
    known: impl Fn(&str) -> Option<Sha256Digest>,
) -> Result<Vec<(String, Vec<u8>)>, RepositoryProblem> {
    let mut files = Vec::new();
    for key in &repository.keys {
        let bytes = match key {
            RepositoryKey::Embedded { bytes, .. } => bytes.clone(),
            RepositoryKey::File(path) => {
                fs::read(path).map_err(|source| RepositoryProblem::KeyFile { path: path.display().to_string(), source })?
            }
            RepositoryKey::Url(url) => {
                let stored = known(url).and_then(|digest| fs::read(access.store.entry(Bucket::Metadata, &digest)?).ok());
                stored.map_or_else(|| fetch_key(access, url), Ok)?
            }
        };
        files.push((trust::key_name(key), bytes));
    }
    Ok(files)
}

/// Returns the base URL of a repository, the one that locks and images name.
pub(crate) fn canonical_url(repository: &Repository) -> Result<Url, RepositoryError> {
    let url = match &repository.location {
        RepositoryLocation::Url(url) => Url::parse(url),
        RepositoryLocation::Path(path) => Url::of_path(path),
    };
    url.map_err(|source| RepositoryError::new(repository, None, source.into()))
}

/// Fetches a key. Without the network, the one that was fetched last counts.
fn fetch_key(access: &Access<'_>, text: &str) -> Result<Vec<u8>, RepositoryProblem> {
    let url = Url::parse(text)?;
    let name = format!("key {text}");
    if access.fetcher.is_offline() && !url.is_file() {
        let digest = access.store.record(&name).and_then(|record| String::from_utf8(record).ok()?.parse().ok());
        let known = digest.and_then(|digest| fs::read(access.store.entry(Bucket::Metadata, &digest)?).ok());
        return known.ok_or_else(|| crate::fetch::FetchError::Offline { what: format!("the key {url}") }.into());
    }
    if !url.is_protected() {
        let text = format!("the key {url} is fetched without encryption: anybody on the way can replace it");
        access.observer.event(&Event::Message { level: Level::Warning, text: &text });
    }
    let request = DocumentRequest { what: "the repository's key".to_owned(), urls: vec![url], limit: KEY_LIMIT, known: None };
    let bytes = access.fetcher.document(&request)?.bytes.ok_or(TrustError::NoKeys)?;
    let digest = access.store.put_bytes(Bucket::Metadata, &bytes)?;
    access.store.set_record(&name, digest.to_string().as_bytes())?;
    Ok(bytes)
}
