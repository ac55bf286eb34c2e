//! Repositories of Debian packages: from the Release file to the package indexes.

use super::{
    Access, IndexCompression, IndexFile, Release, RepositoryError, RepositoryProblem, RepositoryState, folder,
    signed::{self, SignedRelease},
    site::Site,
};
use crate::{
    build::progress::{Event, Level},
    fetch::{Download, FetchError},
    store::{Bucket, Expected},
};
use oic_config::spec::Repository;

/// An index that a repository must have, in all the forms in which it has it.
#[derive(Debug)]
struct Wanted {
    /// Position of the repository.
    site: usize,
    what: String,
    component: String,
    /// Compression, path beside the Release file, size and digest; the best first.
    forms: Vec<(IndexCompression, String, Expected)>,
    unpacked_size: Option<u64>,
}

/// Brings the metadata of repositories up to date, and makes that of local folders of packages.
pub(super) fn refresh(access: &Access<'_>, repositories: &[Repository], arch: &str) -> Result<Vec<RepositoryState>, RepositoryError> {
    let mut folders = Vec::new();
    let mut served = Vec::new();
    for (at, repository) in repositories.iter().enumerate() {
        match folder::packages_folder(&repository.location) {
            Some(path) => folders.push((at, folder::debian(access, repository, path)?)),
            None => served.push(repository),
        }
    }
    let mut states = refresh_served(access, &served, arch)?;
    for (at, state) in folders {
        states.insert(at, state);
    }
    Ok(states)
}

/// Brings the metadata of repositories that have some.
fn refresh_served(access: &Access<'_>, repositories: &[&Repository], arch: &str) -> Result<Vec<RepositoryState>, RepositoryError> {
    let sites = repositories.iter().map(|repository| Site::new(access, repository)).collect::<Result<Vec<_>, _>>()?;
    let before = signed::releases(access, &sites)?;
    let error = match indexes(access, &sites, &before, arch) {
        Ok(indexes) => return Ok(states(sites, before, indexes)),
        Err(error) => error,
    };
    // A mirror may have been updated between its Release file and its indexes: then its Release file is another one now.
    let is_moving = matches!(&*error.problem, RepositoryProblem::Fetch(fetch) if fetch.is_other_content() || fetch.is_not_found());
    if !is_moving || access.fetcher.is_offline() {
        return Err(error);
    }
    let after = signed::releases(access, &sites)?;
    if after.iter().map(|signed| signed.digest).eq(before.iter().map(|signed| signed.digest)) {
        return Err(error);
    }
    let text = "a mirror was updated while its metadata was fetched; it is fetched again";
    access.observer.event(&Event::Message { level: Level::Note, text });
    let indexes = indexes(access, &sites, &after, arch)?;
    Ok(states(sites, after, indexes))
}

fn states(sites: Vec<Site<'_>>, releases: Vec<SignedRelease>, indexes: Vec<(usize, IndexFile)>) -> Vec<RepositoryState> {
    let mut states: Vec<_> = sites
        .into_iter()
        .zip(releases)
        .map(|(site, signed)| RepositoryState {
            id: site.repository.id.clone(),
            metadata: signed.digest,
            date: signed.release.date,
            signed_by: signed.signed_by,
            fetched_keys: site.fetched_keys,
            indexes: Vec::new(),
        })
        .collect();
    for (site, index) in indexes {
        states[site].indexes.push(index);
    }
    states
}

/// Brings the indexes of all repositories, all at the same time.
fn indexes(
    access: &Access<'_>,
    sites: &[Site<'_>],
    releases: &[SignedRelease],
    arch: &str,
) -> Result<Vec<(usize, IndexFile)>, RepositoryError> {
    let (mut wanted, mut lacking) = (Vec::new(), Vec::new());
    for (position, (site, signed)) in sites.iter().zip(releases).enumerate() {
        match wanted_of(position, site, &signed.release, arch) {
            Ok(found) => wanted.extend(found),
            Err(problem) if signed.release.lacks(arch) => lacking.push(site.error(None, problem)),
            Err(problem) => return Err(site.error(None, problem)),
        }
    }
    // What one repository does not have for this architecture may not be needed; the solver tells. Without any there is nothing.
    if wanted.is_empty() && !lacking.is_empty() {
        return Err(lacking.remove(0));
    }
    for left_out in &lacking {
        let text = format!("the repository `{}` has no packages for {arch}, says its Release file: it is left out", left_out.repository);
        access.observer.event(&Event::Message { level: Level::Note, text: &text });
    }
    let downloads: Vec<_> = wanted.iter().map(|index| index.download(sites, releases, 0)).collect();
    if access.fetcher.download(access.store, Bucket::Metadata, &downloads, access.stage, access.observer).is_ok() {
        return Ok(wanted.iter().map(|index| (index.site, index.file(0))).collect());
    }
    // One by one, so that a form that is announced and not there, or of another time, which happens, is replaced by the next.
    wanted.iter().map(|index| index.bring(access, sites, releases).map(|file| (index.site, file))).collect()
}

/// Returns the indexes of a repository for an architecture.
fn wanted_of(position: usize, site: &Site<'_>, release: &Release, arch: &str) -> Result<Vec<Wanted>, RepositoryProblem> {
    let has_all = !release.has_no_index_for_all && release.architectures.iter().any(|name| name == "all");
    let suite = &site.repository.suite;
    let of = |what: String, component: &str, stem: String| {
        let form = |compression: IndexCompression| {
            let path = format!("{stem}{}", compression.suffix());
            release.files.get(&path).map(|expected| (compression, path, *expected))
        };
        let forms: Vec<_> = IndexCompression::ALL.into_iter().filter_map(form).collect();
        let unpacked_size = release.files.get(&stem).map(|expected| expected.size);
        (!forms.is_empty()).then_some(Wanted { site: position, what, component: component.to_owned(), forms, unpacked_size })
    };
    let missing = |component: &str| RepositoryProblem::NoIndex {
        component: component.to_owned(),
        arch: arch.to_owned(),
        components: list(&release.components),
        architectures: list(&release.architectures),
    };
    if site.is_flat() {
        return of(format!("{} {suite}", site.repository.id), "", "Packages".to_owned())
            .map(|index| vec![index])
            .ok_or_else(|| missing(""));
    }
    let mut wanted = Vec::new();
    for component in &site.repository.components {
        let before = wanted.len();
        for arch in [Some(arch), has_all.then_some("all")].into_iter().flatten() {
            wanted.extend(of(format!("{suite} {component} {arch}"), component, format!("{component}/binary-{arch}/Packages")));
        }
        if wanted.len() == before {
            return Err(missing(component));
        }
    }
    Ok(wanted)
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "not named".to_owned() } else { words.join(", ") }
}

impl Wanted {
    fn file(&self, form: usize) -> IndexFile {
        let (compression, _, file) = &self.forms[form];
        let (what, component) = (self.what.clone(), self.component.clone());
        IndexFile { what, component, file: *file, compression: *compression, unpacked_size: self.unpacked_size, unpacked_sha256: None }
    }

    /// By digest first: that name never means another version.
    fn download(&self, sites: &[Site<'_>], releases: &[SignedRelease], form: usize) -> Download {
        let (site, release) = (&sites[self.site], &releases[self.site].release);
        let (_, path, expected) = &self.forms[form];
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let by_hash = release.acquire_by_hash.then(|| format!("{folder}by-hash/SHA256/{}", expected.sha256));
        let paths = by_hash.iter().chain([path]);
        let urls = paths.flat_map(|path| site.bases.iter().map(|base| site.file(base, path))).collect();
        Download { what: format!("the package index {}", self.what), urls, expected: *expected }
    }

    fn bring(&self, access: &Access<'_>, sites: &[Site<'_>], releases: &[SignedRelease]) -> Result<IndexFile, RepositoryError> {
        let mut first: Option<FetchError> = None;
        for form in 0..self.forms.len() {
            let download = self.download(sites, releases, form);
            match access.fetcher.download(access.store, Bucket::Metadata, &[download], access.stage, access.observer) {
                Ok(_) => return Ok(self.file(form)),
                // Another disk or another network does not come with another form.
                Err(error @ (FetchError::Store { .. } | FetchError::Offline { .. } | FetchError::Cancelled)) => {
                    return Err(sites[self.site].error(None, error.into()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a form of an index is of no use");
                    first.get_or_insert(error);
                }
            }
        }
        let error = first.unwrap_or_else(|| FetchError::Lost { what: self.what.clone() });
        Err(sites[self.site].error(None, error.into()))
    }
}
