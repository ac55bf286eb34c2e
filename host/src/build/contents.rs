//! What reports say of an image's packages: from the lock and from the packages' own control files, so that it is the same
//! whether the lock was just made or is a year old.

use oic_config::spec::ImageSpec;

use super::root::Opened;
use crate::{
    lock::{LockedImage, LockedPackage},
    report::{
        packages::{Dependency, Origin, PackageRecord},
        relations::{self, RpmRelations},
    },
    repository::rpm::PackageHeader,
    rootfs::{PackageInput, control::Stanza, rpm::Rpm},
};

/// The packages of an image and how they depend on each other.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// What they have in common.
    pub(super) origin: Origin,
    /// The packages, in the order of the lock.
    pub(super) packages: Vec<PackageRecord>,
    /// Who needs whom.
    pub(super) dependencies: Vec<Dependency>,
}

/// Returns the contents of an image. `packages` are those of `lock`, in its order.
#[must_use]
pub(super) fn contents(spec: &ImageSpec, lock: &LockedImage, packages: &Opened) -> Contents {
    let release = spec.target.dist.strip_prefix(&spec.target.os).filter(|version| !version.is_empty());
    let origin = Origin {
        ecosystem: spec.provider.ecosystem,
        vendor: spec.target.os.clone(),
        release: release.map_or_else(|| spec.target.dist.clone(), |version| format!("{}-{version}", spec.target.os)),
    };
    let (packages, dependencies) = match packages {
        Opened::Deb(inputs) => deb_contents(lock, inputs),
        Opened::Rpm(rpms) => rpm_contents(lock, rpms),
    };
    Contents { origin, packages, dependencies }
}

fn deb_contents(lock: &LockedImage, inputs: &[PackageInput]) -> (Vec<PackageRecord>, Vec<Dependency>) {
    // A control file that cannot be read has stopped the build before: what is left here is a package without relations.
    let stanzas: Vec<Option<Stanza>> = inputs.iter().map(|input| Stanza::parse(input.deb.control_file("control")?).ok()).collect();
    let records = lock.packages.iter().zip(&stanzas).map(|(package, stanza)| record(lock, package, source(package, stanza.as_ref()), None));
    let versions: Vec<_> = lock.packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
    (records.collect(), relations::of_debs(&versions, &stanzas))
}

fn rpm_contents(lock: &LockedImage, rpms: &[Rpm]) -> (Vec<PackageRecord>, Vec<Dependency>) {
    let records = lock.packages.iter().zip(rpms).map(|(package, rpm)| {
        let source = rpm.header.source_package().and_then(rpm_source);
        let license = rpm.header.license().map(str::to_owned);
        record(lock, package, source.unwrap_or_else(|| (package.name.clone(), package.version.clone())), license)
    });
    let relations: Vec<RpmRelations> = rpms.iter().map(|rpm| rpm_relations(&rpm.header, rpm.files())).collect();
    (records.collect(), relations::of_rpms(&relations))
}

/// Returns name and version of a source package from the name of its file, `bash-5.2.15-2.src.rpm`.
fn rpm_source(file: &str) -> Option<(String, String)> {
    let stem = file.strip_suffix(".rpm")?.rsplit_once('.')?.0;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name.to_owned(), format!("{version}-{release}")))
}

fn rpm_relations(header: &PackageHeader, files: Vec<String>) -> RpmRelations {
    RpmRelations {
        provides: header.provides().into_iter().map(str::to_owned).chain(files).collect(),
        requires: header.requires().into_iter().map(|(name, flags)| (name.to_owned(), flags)).collect(),
    }
}

/// Returns what reports say of one package.
fn record(lock: &LockedImage, package: &LockedPackage, source: (String, String), license: Option<String>) -> PackageRecord {
    let repository = lock.repositories.iter().find(|repository| repository.id == package.repository);
    let url =
        repository.filter(|repository| repository.url.contains("://")).map(|repository| format!("{}/{}", repository.url, package.path));
    PackageRecord {
        name: package.name.clone(),
        arch: package.arch.clone(),
        version: package.version.clone(),
        source: Some(source),
        url,
        sha256: Some(package.sha256),
        header_sha256: None,
        license,
        requested: package.requested,
    }
}

/// Returns name and version of the source package (Debian Policy §5.6.1: `Source: name (version)`, each part only if it differs).
fn source(package: &LockedPackage, stanza: Option<&Stanza>) -> (String, String) {
    let Some(field) = stanza.and_then(|stanza| stanza.get("Source")) else { return (package.name.clone(), package.version.clone()) };
    match field.split_once(" (") {
        Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
        None => (field.to_owned(), package.version.clone()),
    }
}
