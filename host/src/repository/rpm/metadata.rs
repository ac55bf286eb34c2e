//! The metadata of RPM repositories: `repomd.xml` fetched or remembered, verified, and the files that it vouches for.

use oic_config::spec::Repository;

use super::{
    folder,
    repomd::{REPOMD_LIMIT, Record, RecordKind, Repomd},
};
use crate::{
    build::progress::{Event, Level},
    digest::Sha256Digest,
    fetch::{Document, DocumentRequest, Download, FetchError, Url},
    repository::{
        Access, IndexCompression, IndexFile, RepositoryError, RepositoryProblem, RepositoryState, TrustError,
        known::{CLOCK_TOLERANCE, Known, Raw},
        site::Site,
        trust::KEY_LIMIT,
    },
    store::{Bucket, Expected},
};

/// Where the metadata begins.
const REPOMD: &str = "repodata/repomd.xml";

/// Its signature.
const SIGNATURE: &str = "repodata/repomd.xml.asc";

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
    let known: Vec<_> = sites.iter().map(|site| site.known_repomd(access)).collect();
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
                Raw::Detached(bytes.clone(), signature)
            }
            (None, Some(known)) => known.raw(self.access).ok_or_else(lost)?,
            (None, None) => return Err(lost().into()),
        };
        let signed = self.examine(&raw)?;
        Known::save(self.access, &self.site.repomd_record(), &raw, &document.url, &document.validators)?;
        Ok(signed)
    }

    /// Verifies and understands the file.
    fn examine(&self, raw: &Raw) -> Result<Signed, RepositoryProblem> {
        let (file, signature) = match raw {
            Raw::Detached(file, signature) => (file, signature.as_ref()),
            // No such file of a repository of this family is ever remembered.
            Raw::Inline(file) => (file, None),
        };
        let now = self.access.now;
        let keyring = self.site.keyring.as_ref().filter(|_| self.site.repository.require_metadata_signature);
        let signed_by = match (keyring, signature) {
            (Some(keyring), Some(signature)) => keyring.verify_repomd(file, signature, now)?,
            (Some(keyring), None) => return Err(TrustError::Unsigned { expected: keyring.fingerprints() }.into()),
            (None, _) => String::new(),
        };
        let repomd = Repomd::parse(file)?;
        if repomd.date > now.saturating_add(CLOCK_TOLERANCE) {
            return Err(RepositoryProblem::RepomdOfTheFuture { date: repomd.date, now });
        }
        Ok(Signed { repomd, digest: Sha256Digest::of(file), signed_by })
    }
}

impl Site<'_> {
    fn repomd_record(&self) -> String {
        format!("repomd {}", self.place())
    }

    /// Returns what is remembered of the repository, unless that was taken unsigned and a signature is needed.
    fn known_repomd(&self, access: &Access<'_>) -> Option<Known> {
        let is_unsigned_enough = !self.repository.require_metadata_signature || self.keyring.is_none();
        Known::load(access, &self.repomd_record()).filter(|known| known.signature.is_some() || is_unsigned_enough)
    }

    fn repomd_name(&self) -> String {
        format!("repomd.xml of {}", self.repository.id)
    }

    fn request(&self, path: &str, bases: &[Url], known: Option<&Known>) -> DocumentRequest {
        let urls: Vec<_> = bases.iter().map(|base| base.below(path)).collect();
        let known = known.and_then(|known| known.validators(&urls));
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
