//! The packages of two images, or of two SBOMs.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Findings, by_name,
    report::{Area, Comparison, Difference, Weight},
};
use crate::inspect::report::PackageReport;

/// The largest SBOM.
const MAX_SBOM: u64 = 512 << 20;

/// Why an SBOM cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no SPDX document.
    #[error("`{}` is no SPDX document in JSON", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// What is wanted of an SPDX document; whatever else it has is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "spdxVersion")]
    _version: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    #[serde(default)]
    version_info: String,
    #[serde(default)]
    license_declared: Option<String>,
    #[serde(default)]
    primary_package_purpose: Option<String>,
    #[serde(default)]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    reference_locator: String,
}

/// Reads the packages of an SPDX document; none when the file is something else than JSON.
///
/// # Errors
/// Fails when the file cannot be read or is JSON that is no SPDX document.
pub fn load_packages(path: &Path) -> Result<Option<Vec<PackageReport>>, SbomError> {
    let failed = |source| SbomError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?;
    (&mut file).take(64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Ok(None);
    }
    file.take(MAX_SBOM).read_to_end(&mut bytes).map_err(failed)?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|source| SbomError::Parse { path: path.to_owned(), source })?;
    let packages = document.packages.into_iter().filter(|package| package.primary_package_purpose.as_deref() != Some("OPERATING_SYSTEM"));
    Ok(Some(packages.map(report).collect()))
}

fn report(package: Package) -> PackageReport {
    // Package URLs say the architecture: `pkg:deb/debian/bash@5.2?arch=amd64&distro=…`.
    let arch = package.external_refs.iter().find_map(|reference| {
        let (_, query) = reference.reference_locator.strip_prefix("pkg:")?.split_once('?')?;
        query.split('&').find_map(|part| part.strip_prefix("arch=")).map(str::to_owned)
    });
    PackageReport {
        name: package.name,
        version: package.version_info,
        arch: arch.unwrap_or_default(),
        source: None,
        license: package.license_declared.filter(|license| license != "NOASSERTION"),
        state: None,
        header_sha256: None,
    }
}

/// Compares two lists of packages alone.
#[must_use]
pub fn compare_packages(left: (String, &[PackageReport]), right: (String, &[PackageReport])) -> Comparison {
    let mut findings = Findings::default();
    differences(left.1, right.1, &mut findings);
    let identical = findings.list.is_empty() && findings.omitted == 0;
    findings.finish(left.0, right.0, identical, Vec::new())
}

/// Adds what differs between two lists.
pub(super) fn differences(left: &[PackageReport], right: &[PackageReport], findings: &mut Findings) {
    let show = |packages: &Vec<&PackageReport>| packages.iter().map(|package| package.version.clone()).collect::<Vec<_>>().join(", ");
    findings.keyed(Area::Package, &by_name(left), &by_name(right), show, |findings, key, left, right| {
        findings.values(Area::Package, key, "version", &show(left), &show(right));
        let property = |packages: &[&PackageReport], get: fn(&PackageReport) -> Option<&String>| {
            packages.iter().filter_map(|package| get(package)).cloned().collect::<Vec<_>>().join(", ")
        };
        let state = |packages: &[&PackageReport]| property(packages, |package| package.state.as_ref());
        findings.values(Area::Package, key, "state", &state(left), &state(right));
        let license = |packages: &[&PackageReport]| property(packages, |package| package.license.as_ref());
        let (own, other) = (license(left), license(right));
        if own != other {
            let difference = Difference::new(Area::Package, key, "licence").values(Some(&own), Some(&other));
            findings.push(difference.weight(Weight::Harmless).reason("no program notices"));
        }
    });
}
