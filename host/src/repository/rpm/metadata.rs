//! The metadata of RPM repositories: `repomd.xml` fetched or remembered, verified, and the files that it vouches for.

use std::fs;

use oic_config::spec::{Repository, RepositoryLocation};
use serde::{Deserialize, Serialize};

use super::{
    folder,
    repomd::{REPOMD_LIMIT, Record, RecordKind, Repomd},
};
use crate::{
    build::progress::{Event, Level},
    digest::Sha256Digest,
    fetch::{Document, DocumentRequest, Download, FetchError, Url, Validators},
    repository::{
        Access, IndexCompression, IndexFile, RepositoryError, RepositoryProblem, RepositoryState, TrustError, site::Site, trust::KEY_LIMIT,
    },
    store::{Bucket, Expected, StoreError},
};

/// Where the metadata begins.
const REPOMD: &str = "repodata/repomd.xml";

/// Its signature.
const SIGNATURE: &str = "repodata/repomd.xml.asc";

/// It may be this much younger than the clock of this machine.
const CLOCK_TOLERANCE: u64 = 3600;

/// A repository whose metadata is verified and in the store.
#[derive(Debug)]
pub struct RpmRepository {
    /// What is to be said of it; without indexes.
    pub state: RepositoryState,
    /// The packages.
    pub primary: IndexFile,
    /// Groups of packages.
    pub groups: Option<IndexFile>,
    filelists: Option<Record>,
    bases: Vec<Url>,
}

/// A verified `repomd.xml`.
#[derive(Debug)]
struct Signed {
    repomd: Repomd,
    digest: Sha256Digest,
    signed_by: String,
}

/// What a server has.
#[derive(Debug)]
struct Raw {
    repomd: Vec<u8>,
    signature: Option<Vec<u8>>,
}

/// What the store remembers of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    repomd: Sha256Digest,
    signature: Option<Sha256Digest>,
    /// Digest of the URL that had it: the URL may have a password in it.
    url: Sha256Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Brings the metadata of repositories up to date, all of them at the same time, and returns them in the same order.
///
/// # Errors
/// Fails with the first repository that cannot be had, verified or understood.
pub fn refresh(access: &Access<'_>, repositories: &[Repository]) -> Result<Vec<RpmRepository>, RepositoryError> {
    let sites = repositories.iter().map(|repository| Site::new(access, repository)).collect::<Result<Vec<_>, _>>()?;
    let (mut folders, mut served) = (Vec::new(), Vec::new());
    for (at, site) in sites.into_iter().enumerate() {
        match folder::packages_folder(&site.repository.location) {
            Some(path) => folders.push((at, of_folder(access, &site, path)?)),
            None => served.push((at, site)),
        }
    }
    let (places, sites): (Vec<_>, Vec<_>) = served.into_iter().unzip();
    let mut all: Vec<_> = places.into_iter().zip(of_sites(access, sites)?).chain(folders).collect();
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, repository)| repository).collect())
}

fn of_sites(access: &Access<'_>, sites: Vec<Site<'_>>) -> Result<Vec<RpmRepository>, RepositoryError> {
    let mut signed = repomds(access, &sites)?;
    if let Err(error) = bring(access, &sites, &signed) {
        // A mirror may have been updated in between: then its repomd.xml is another one now.
        let is_moving = matches!(&*error.problem, RepositoryProblem::Fetch(fetch) if fetch.is_other_content() || fetch.is_not_found());
        if !is_moving || access.fetcher.is_offline() {
            return Err(error);
        }
        let after = repomds(access, &sites)?;
        if after.iter().map(|signed| signed.digest).eq(signed.iter().map(|signed| signed.digest)) {
            return Err(error);
        }
        let text = "a mirror was updated while its metadata was fetched; it is fetched again";
        access.observer.event(&Event::Message { level: Level::Note, text });
        bring(access, &sites, &after)?;
        signed = after;
    }
    let repository = |(site, mut signed): (Site<'_>, Signed)| {
        let records = &mut signed.repomd.records;
        let index = |kind: &str, record: Record| record.index(format!("{} {kind}", site.repository.id));
        let primary = records.remove(&RecordKind::Primary).map(|record| index("primary", record));
        let groups = records.remove(&RecordKind::Groups).map(|record| index("groups", record));
        let filelists = records.remove(&RecordKind::Filelists);
        let primary = primary.ok_or_else(|| site.error(None, super::RepomdError::NoPrimary.into()))?;
        let state = RepositoryState {
            id: site.repository.id.clone(),
            metadata: signed.digest,
            date: signed.repomd.date,
            signed_by: signed.signed_by,
            fetched_keys: site.fetched_keys,
            indexes: Vec::new(),
        };
        Ok(RpmRepository { state, primary, groups, filelists, bases: site.bases })
    };
    sites.into_iter().zip(signed).map(repository).collect()
}

/// Makes a repository of a folder of package files.
fn of_folder(access: &Access<'_>, site: &Site<'_>, path: &std::path::Path) -> Result<RpmRepository, RepositoryError> {
    let made = folder::primary(path).map_err(|problem| site.error(None, problem))?;
    let sha256 = access.store.put_bytes(Bucket::Metadata, &made.xml).map_err(|error| site.error(None, error.into()))?;
    let size = made.xml.len() as u64;
    let state = RepositoryState {
        id: site.repository.id.clone(),
        metadata: sha256,
        date: made.date,
        signed_by: String::new(),
        fetched_keys: site.fetched_keys.clone(),
        indexes: Vec::new(),
    };
    let primary = IndexFile {
        what: format!("{} primary", site.repository.id),
        file: Expected { size, sha256 },
        component: String::new(),
        compression: IndexCompression::None,
        unpacked_size: Some(size),
        unpacked_sha256: None,
    };
    Ok(RpmRepository { state, primary, groups: None, filelists: None, bases: site.bases.clone() })
}

impl RpmRepository {
    /// Brings the list of all files, which is large and rarely needed. None when the repository has none.
    ///
    /// # Errors
    /// Fails when it cannot be had.
    pub fn filelists(&self, access: &Access<'_>) -> Result<Option<IndexFile>, RepositoryProblem> {
        let Some(record) = &self.filelists else { return Ok(None) };
        let download = record.download(&self.bases, format!("the file list of {}", self.state.id));
        access.fetcher.download(access.store, Bucket::Metadata, &[download], access.stage, access.observer)?;
        Ok(Some(record.clone().index(format!("{} filelists", self.state.id))))
    }
}

impl Record {
    fn index(self, what: String) -> IndexFile {
        let compression = self.compression();
        let (unpacked_size, unpacked_sha256) = (self.open_size, self.open_sha256);
        IndexFile { what, file: self.file, component: String::new(), compression, unpacked_size, unpacked_sha256 }
    }

    fn download(&self, bases: &[Url], what: String) -> Download {
        Download { what, urls: bases.iter().map(|base| base.below(&self.path)).collect(), expected: self.file }
    }
}

/// Brings what every solve needs of all repositories.
fn bring(access: &Access<'_>, sites: &[Site<'_>], signed: &[Signed]) -> Result<(), RepositoryError> {
    let kinds = [(RecordKind::Primary, "package index"), (RecordKind::Groups, "groups")];
    let downloads_of = |(site, signed): (&Site<'_>, &Signed)| {
        let of = |(kind, words): &(RecordKind, &str)| {
            Some(signed.repomd.records.get(kind)?.download(&site.bases, format!("the {words} of {}", site.repository.id)))
        };
        kinds.iter().filter_map(of).collect::<Vec<_>>()
    };
    let downloads: Vec<Vec<_>> = sites.iter().zip(signed).map(downloads_of).collect();
    let download = |files: &[Download]| access.fetcher.download(access.store, Bucket::Metadata, files, access.stage, access.observer);
    if download(&downloads.concat()).is_ok() {
        return Ok(());
    }
    // One repository at a time, so that it is named.
    sites.iter().zip(&downloads).try_for_each(|(site, files)| download(files).map(drop).map_err(|error| site.error(None, error.into())))
}

/// Returns the current repomd.xml of each repository; all are asked at the same time.
fn repomds(access: &Access<'_>, sites: &[Site<'_>]) -> Result<Vec<Signed>, RepositoryError> {
    let known: Vec<_> = sites.iter().map(|site| Known::load(access, site)).collect();
    let is_remembered = |site: &Site<'_>| access.fetcher.is_offline() && !site.bases.iter().any(Url::is_file);
    let asked: Vec<_> = sites.iter().zip(&known).filter(|(site, _)| !is_remembered(site)).collect();
    let requests: Vec<_> = asked.iter().map(|(site, known)| site.request(REPOMD, &site.bases, known.as_ref())).collect();
    let documents = access.fetcher.documents(&requests);
    let wanted: Vec<_> = asked.iter().zip(&documents).map(|((site, _), document)| site.signature_request(document.as_ref().ok())).collect();
    let mut signatures = access.fetcher.documents(&wanted.iter().flatten().cloned().collect::<Vec<_>>()).into_iter();
    let mut outcomes: Vec<_> =
        documents.into_iter().zip(wanted.iter().map(|wanted| wanted.as_ref().and_then(|_| signatures.next()))).collect();
    outcomes.reverse();
    let signed = |(site, known): (&Site<'_>, &Option<Known>)| {
        let candidate = Candidate { access, site, known: known.as_ref() };
        if is_remembered(site) {
            return candidate.remembered();
        }
        let what = site.repomd_name();
        let (document, signature) = outcomes.pop().unwrap_or_else(|| (Err(FetchError::Lost { what }), None));
        candidate.settle(document, signature)
    };
    sites.iter().zip(&known).map(signed).collect()
}

struct Candidate<'a> {
    access: &'a Access<'a>,
    site: &'a Site<'a>,
    known: Option<&'a Known>,
}

impl Candidate<'_> {
    /// Returns what the store has.
    fn remembered(&self) -> Result<Signed, RepositoryError> {
        let what = self.site.repomd_name();
        let raw = self.known.and_then(|known| known.raw(self.access));
        let raw = raw.ok_or_else(|| self.site.error(None, FetchError::Offline { what }.into()))?;
        self.examine(&raw).map_err(|problem| self.site.error(self.site.bases.first(), problem))
    }

    /// Makes a verified file of what came first, or of what another mirror has when that was of no use. The first mirror is asked
    /// twice: it may have been updated between the file and its signature.
    fn settle(
        &self,
        first: Result<Document, FetchError>,
        signature: Option<Result<Document, FetchError>>,
    ) -> Result<Signed, RepositoryError> {
        let (access, site) = (self.access, self.site);
        let document = first.map_err(|error| site.error(None, error.into()))?;
        let mut bases: Vec<_> = site.bases.iter().collect();
        bases.sort_by_key(|base| base.below(REPOMD) != document.url);
        let mut bases = bases.into_iter();
        let (mut outcome, mut url) = (self.of_documents(&document, signature), document.url);
        let mut earlier: Option<RepositoryError> = None;
        loop {
            let problem = match outcome {
                Ok(signed) => return Ok(signed),
                Err(problem) => problem,
            };
            let is_hopeful = earlier.is_some() || problem.is_of_mirror();
            let error = site.error(Some(&url), problem);
            let Some(base) = bases.next().filter(|_| is_hopeful) else { return Err(earlier.unwrap_or(error)) };
            if earlier.is_some() || base.below(REPOMD) != url {
                let text = format!("{error}: {}; trying another mirror", error.problem);
                access.observer.event(&Event::Message { level: Level::Warning, text: &text });
            }
            earlier.get_or_insert(error);
            let bases = std::slice::from_ref(base);
            url = base.below(REPOMD);
            outcome = access.fetcher.document(&site.request(REPOMD, bases, None)).map_err(RepositoryProblem::from).and_then(|document| {
                let signature = site.signature_request(Some(&document)).map(|request| access.fetcher.document(&request));
                self.of_documents(&document, signature)
            });
        }
    }

    fn of_documents(&self, document: &Document, signature: Option<Result<Document, FetchError>>) -> Result<Signed, RepositoryProblem> {
        let lost = || FetchError::Lost { what: self.site.repomd_name() };
        let raw = match (&document.bytes, self.known) {
            (Some(bytes), _) => {
                let signature = match signature {
                    None => None,
                    Some(Ok(signature)) => Some(signature.bytes.ok_or_else(lost)?),
                    Some(Err(error)) if error.is_not_found() => None,
                    Some(Err(error)) => return Err(error.into()),
                };
                Raw { repomd: bytes.clone(), signature }
            }
            (None, Some(known)) => known.raw(self.access).ok_or_else(lost)?,
            (None, None) => return Err(lost().into()),
        };
        let signed = self.examine(&raw)?;
        Known::save(self.access, self.site, &raw, &document.url, &document.validators)?;
        Ok(signed)
    }

    /// Verifies and understands the file.
    fn examine(&self, raw: &Raw) -> Result<Signed, RepositoryProblem> {
        let now = self.access.now;
        let keyring = self.site.keyring.as_ref().filter(|_| self.site.repository.require_metadata_signature);
        let signed_by = match (keyring, &raw.signature) {
            (Some(keyring), Some(signature)) => keyring.verify_repomd(&raw.repomd, signature, now)?,
            (Some(keyring), None) => return Err(TrustError::Unsigned { expected: keyring.fingerprints() }.into()),
            (None, _) => String::new(),
        };
        let repomd = Repomd::parse(&raw.repomd)?;
        if repomd.date > now.saturating_add(CLOCK_TOLERANCE) {
            return Err(RepositoryProblem::RepomdOfTheFuture { date: repomd.date, now });
        }
        Ok(Signed { repomd, digest: Sha256Digest::of(&raw.repomd), signed_by })
    }
}

impl Site<'_> {
    fn repomd_name(&self) -> String {
        format!("repomd.xml of {}", self.repository.id)
    }

    fn request(&self, path: &str, bases: &[Url], known: Option<&Known>) -> DocumentRequest {
        let urls: Vec<_> = bases.iter().map(|base| base.below(path)).collect();
        let known = known.and_then(|known| {
            let url = urls.iter().find(|url| url.digest() == known.url)?;
            Some((url.clone(), Validators { etag: known.etag.clone(), last_modified: known.last_modified.clone() }))
        });
        DocumentRequest { what: self.repomd_name(), urls, limit: REPOMD_LIMIT, known }
    }

    /// Returns what to ask for beside a document that has come, if its signature is needed.
    fn signature_request(&self, document: Option<&Document>) -> Option<DocumentRequest> {
        let document = document.filter(|document| document.bytes.is_some())?;
        if self.keyring.is_none() || !self.repository.require_metadata_signature {
            return None;
        }
        let base = self.bases.iter().find(|base| base.below(REPOMD) == document.url)?;
        let what = format!("the signature of {}", self.repomd_name());
        Some(DocumentRequest { what, urls: vec![base.below(SIGNATURE)], limit: KEY_LIMIT, known: None })
    }
}

impl Known {
    /// Returns the name of the record: a repository is known by its canonical place, whichever mirror had it.
    fn name(site: &Site<'_>) -> String {
        match &site.repository.location {
            RepositoryLocation::Url(url) => format!("repomd {url}"),
            RepositoryLocation::Path(path) => format!("repomd {}", path.display()),
        }
    }

    fn load(access: &Access<'_>, site: &Site<'_>) -> Option<Self> {
        let record = access.store.record(&Self::name(site))?;
        let known: Self = serde_json::from_slice(&record).ok()?;
        // What was taken unsigned is no help when a signature is needed.
        let is_enough = known.signature.is_some() || !site.repository.require_metadata_signature || site.keyring.is_none();
        // Without its file the server must not be told that the version is known.
        access.store.entry(Bucket::Metadata, &known.repomd).filter(|_| is_enough).map(|_| known)
    }

    fn save(access: &Access<'_>, site: &Site<'_>, raw: &Raw, url: &Url, validators: &Validators) -> Result<(), StoreError> {
        let known = Self {
            repomd: access.store.put_bytes(Bucket::Metadata, &raw.repomd)?,
            signature: raw.signature.as_ref().map(|bytes| access.store.put_bytes(Bucket::Metadata, bytes)).transpose()?,
            url: url.digest(),
            etag: validators.etag.clone(),
            last_modified: validators.last_modified.clone(),
        };
        if Self::load(access, site).as_ref() == Some(&known) {
            return Ok(());
        }
        access.store.set_record(&Self::name(site), &serde_json::to_vec(&known).unwrap_or_default())
    }

    fn raw(&self, access: &Access<'_>) -> Option<Raw> {
        let read = |digest| fs::read(access.store.entry(Bucket::Metadata, digest)?).ok();
        let signature = self.signature.as_ref().map(read);
        Some(Raw { repomd: read(&self.repomd)?, signature: signature.flatten() })
    }
}
