//! The Release file of a repository: fetched or remembered, verified, and of the right suite and time.

use super::{
    Access, Release, RepositoryError, RepositoryProblem, TrustError, Verified,
    known::{CLOCK_TOLERANCE, Known, Raw},
    site::Site,
    trust::{RELEASE_LIMIT, clearsigned_text},
};
use crate::{
    build::progress::{Event, Level},
    digest::Sha256Digest,
    fetch::{Document, DocumentRequest, FetchError, Url, Validators},
};

/// A verified Release file.
#[derive(Debug)]
pub(super) struct SignedRelease {
    pub(super) release: Release,
    /// SHA-256 of the signed text.
    pub(super) digest: Sha256Digest,
    pub(super) signed_by: String,
}

/// Returns the current Release file of each repository; all are asked at the same time.
pub(super) fn releases(access: &Access<'_>, sites: &[Site<'_>]) -> Result<Vec<SignedRelease>, RepositoryError> {
    let known: Vec<_> = sites.iter().map(|site| Known::load(access, &site.release_record())).collect();
    let is_remembered = |site: &Site<'_>| access.fetcher.is_offline() && !site.bases.iter().any(Url::is_file);
    let requests: Vec<_> = sites
        .iter()
        .zip(&known)
        .filter(|(site, _)| !is_remembered(site))
        .map(|(site, known)| site.inline_request(&site.bases, known.as_ref()))
        .collect();
    let mut outcomes = access.fetcher.documents(&requests).into_iter();
    let mut releases = Vec::new();
    for (site, known) in sites.iter().zip(&known) {
        let release = if is_remembered(site) {
            remembered(access, site, known.as_ref())?
        } else {
            let outcome = outcomes.next().unwrap_or_else(|| Err(FetchError::Lost { what: site.release_name() }));
            Candidate { access, site, known: known.as_ref() }.settle(outcome)?
        };
        releases.push(release);
    }
    Ok(releases)
}

/// Returns the Release file that the store has.
fn remembered(access: &Access<'_>, site: &Site<'_>, known: Option<&Known>) -> Result<SignedRelease, RepositoryError> {
    let what = site.release_name();
    let raw = known.and_then(|known| known.raw(access)).ok_or_else(|| site.error(None, FetchError::Offline { what }.into()))?;
    examine(access, site, &raw).map_err(|problem| site.error(site.bases.first(), problem))
}

struct Candidate<'a> {
    access: &'a Access<'a>,
    site: &'a Site<'a>,
    known: Option<&'a Known>,
}

impl Candidate<'_> {
    /// Makes a verified Release file of what came first, or of what another mirror has when that was of no use.
    fn settle(&self, first: Result<Document, FetchError>) -> Result<SignedRelease, RepositoryError> {
        let (access, site) = (self.access, self.site);
        let mut bases = site.bases.clone();
        let mut outcome = first;
        let mut earlier: Option<RepositoryError> = None;
        loop {
            let (problem, url) = match outcome {
                Ok(document) => match self.of_document(&document) {
                    Ok(release) => return Ok(release),
                    Err(problem) => (problem, document.url),
                },
                Err(error) if error.is_not_found() => return self.detached(&bases, error).map_err(|error| earlier.unwrap_or(error)),
                Err(error) => return Err(earlier.unwrap_or_else(|| site.error(None, error.into()))),
            };
            let is_hopeful = problem.is_of_mirror();
            let error = site.error(Some(&url), problem);
            bases.retain(|base| site.file(base, "InRelease") != url);
            if !is_hopeful || bases.is_empty() {
                return Err(earlier.unwrap_or(error));
            }
            warn(access, &format!("{error}: {}; trying another mirror", error.problem));
            earlier.get_or_insert(error);
            outcome = access.fetcher.document(&site.inline_request(&bases, None));
        }
    }

    fn of_document(&self, document: &Document) -> Result<SignedRelease, RepositoryProblem> {
        let raw = match (&document.bytes, self.known) {
            (Some(bytes), _) => Raw::Inline(bytes.clone()),
            (None, Some(known)) => known.raw(self.access).ok_or(FetchError::Lost { what: self.site.release_name() })?,
            (None, None) => return Err(FetchError::Lost { what: self.site.release_name() }.into()),
        };
        let release = examine(self.access, self.site, &raw)?;
        Known::save(self.access, &self.site.release_record(), &raw, &document.url, &document.validators)?;
        Ok(release)
    }

    /// Uses `Release` and `Release.gpg` of the first mirror that has them good.
    fn detached(&self, bases: &[Url], missing: FetchError) -> Result<SignedRelease, RepositoryError> {
        let (access, site) = (self.access, self.site);
        let fetch = |url: Url| {
            let what = site.release_name();
            access.fetcher.document(&DocumentRequest { what, urls: vec![url], limit: RELEASE_LIMIT, known: None })
        };
        let mut earlier = None;
        for base in bases {
            let url = site.file(base, "Release");
            let release = match fetch(url.clone()) {
                Ok(document) => document.bytes.unwrap_or_default(),
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    earlier.get_or_insert_with(|| site.error(None, error.into()));
                    continue;
                }
            };
            let signature = match fetch(site.file(base, "Release.gpg")) {
                Ok(document) => document.bytes,
                Err(error) if error.is_not_found() => None,
                Err(error) => {
                    earlier.get_or_insert_with(|| site.error(None, error.into()));
                    continue;
                }
            };
            let raw = Raw::Detached(release, signature);
            let examined = examine(access, site, &raw).and_then(|release| {
                Known::save(access, &site.release_record(), &raw, &url, &Validators::default())?;
                Ok(release)
            });
            match examined {
                Ok(release) => return Ok(release),
                Err(problem) => drop(earlier.get_or_insert_with(|| site.error(Some(&url), problem))),
            }
        }
        Err(earlier.unwrap_or_else(|| site.error(None, missing.into())))
    }
}

impl Site<'_> {
    fn release_record(&self) -> String {
        format!("release {} {}", self.repository.suite, self.place())
    }

    fn release_name(&self) -> String {
        format!("the Release file of {}", self.repository.id)
    }

    fn inline_request(&self, bases: &[Url], known: Option<&Known>) -> DocumentRequest {
        let urls: Vec<_> = bases.iter().map(|base| self.file(base, "InRelease")).collect();
        let what = self.release_name();
        let known = known.filter(|known| known.is_inline).and_then(|known| known.validators(&urls));
        DocumentRequest { what, urls, limit: RELEASE_LIMIT, known }
    }
}

/// Verifies and understands a Release file, and checks that it is the one that was asked for.
fn examine(access: &Access<'_>, site: &Site<'_>, raw: &Raw) -> Result<SignedRelease, RepositoryProblem> {
    let verified = match (&site.keyring, raw) {
        (Some(keyring), Raw::Inline(bytes)) => keyring.verify_inline(bytes, access.now)?,
        (Some(keyring), Raw::Detached(bytes, Some(signature))) => keyring.verify_detached(bytes, signature, access.now)?,
        (Some(keyring), Raw::Detached(_, None)) => return Err(TrustError::Unsigned { expected: keyring.fingerprints() }.into()),
        (None, Raw::Inline(bytes)) => Verified { text: clearsigned_text(bytes), signed_by: String::new() },
        (None, Raw::Detached(bytes, _)) => Verified { text: bytes.clone(), signed_by: String::new() },
    };
    let release = Release::parse(&verified.text)?;
    check_suite(site, &release)?;
    check_dates(access, site, &release)?;
    Ok(SignedRelease { release, digest: Sha256Digest::of(&verified.text), signed_by: verified.signed_by })
}

/// A signature says who made a Release file, not that it is the one that was asked for: a mirror could give an old suite's.
fn check_suite(site: &Site<'_>, release: &Release) -> Result<(), RepositoryProblem> {
    let expected = &site.repository.suite;
    let names = [&release.suite, &release.codename];
    if site.is_flat() || names.contains(&expected) || names.iter().all(|name| name.is_empty()) {
        return Ok(());
    }
    Err(RepositoryProblem::OtherSuite {
        expected: expected.clone(),
        found_suite: release.suite.clone(),
        found_codename: release.codename.clone(),
    })
}

fn check_dates(access: &Access<'_>, site: &Site<'_>, release: &Release) -> Result<(), RepositoryProblem> {
    let now = access.now;
    if release.date > now.saturating_add(CLOCK_TOLERANCE) {
        return Err(RepositoryProblem::OfTheFuture { date: release.date, now });
    }
    let Some(valid_until) = release.valid_until.filter(|end| *end < now) else { return Ok(()) };
    let expired = RepositoryProblem::Expired { valid_until, date: release.date, now };
    if !access.allow_expired {
        return Err(expired);
    }
    warn(access, &format!("{}: {expired}", site.repository.id));
    Ok(())
}

fn warn(access: &Access<'_>, text: &str) {
    access.observer.event(&Event::Message { level: Level::Warning, text });
}
