//! `sbom.spdx.json`: the packages of an image as an SPDX 2.3 document.
//!
//! The document describes one package, the image, which contains every installed package; packages depend on packages. All
//! of it follows from the lock: licences that the metadata does not state are `NOASSERTION`, the creation time is the
//! lock's `SOURCE_DATE_EPOCH`, and the namespace is derived from the content that it names.

use std::collections::{BTreeMap, BTreeSet};

use oic_config::spec::Ecosystem;
use serde::Serialize;
use uuid::Uuid;

use super::packages::{Dependency, Origin, PackageRecord};
use crate::digest::Sha256Digest;

/// The name of the file in the output folder.
pub const SBOM_FILE_NAME: &str = "sbom.spdx.json";

/// SPDX's word for "nobody has looked".
const NO_ASSERTION: &str = "NOASSERTION";

/// What the document is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIdentity {
    /// `image.name`.
    pub name: String,
    /// `image.version`.
    pub version: String,
    /// `target.arch`.
    pub arch: String,
    /// `SOURCE_DATE_EPOCH` of the build.
    pub source_date_epoch: u64,
    /// Version of `oic`.
    pub oic_version: String,
}

/// Returns the document's text. Dependencies on positions that do not exist are left out.
///
/// # Panics
/// Never: every part of the document has a JSON form.
#[must_use]
pub fn render(image: &ImageIdentity, origin: &Origin, packages: &[PackageRecord], dependencies: &[Dependency]) -> String {
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|index| &packages[*index]);
    let ids = package_ids(packages);
    let image_id = "SPDXRef-Image".to_owned();

    let mut described = vec![image_package(image, &image_id)];
    described.extend(order.iter().map(|index| package(&packages[*index], &ids[*index], origin)));
    let mut relationships = vec![Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &image_id)];
    relationships.extend(order.iter().map(|index| Relationship::new(&image_id, "CONTAINS", &ids[*index])));
    let known = |edge: &Dependency| Some((ids.get(edge.from)?, ids.get(edge.to)?));
    let edges: BTreeSet<_> = dependencies.iter().filter_map(known).collect();
    relationships.extend(edges.into_iter().map(|(from, to)| Relationship::new(from, "DEPENDS_ON", to)));

    let name = format!("{}-{}-{}", image.name, image.version, image.arch);
    let content = serde_json::to_vec(&(&name, image.source_date_epoch, &described, &relationships)).expect("the parts have a JSON form");
    let digest = Sha256Digest::of(&content);
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_URL, digest.as_bytes());
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        spdx_id: "SPDXRef-DOCUMENT",
        document_namespace: format!("https://spdx.org/spdxdocs/{}-{uuid}", percent_encoded(&name)),
        name,
        creation_info: CreationInfo {
            created: timestamp(image.source_date_epoch),
            creators: vec![format!("Tool: oic-{}", image.oic_version)],
        },
        packages: described,
        relationships,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("the document has a JSON form");
    text.push('\n');
    text
}

/// The document; field names are SPDX's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    spdx_id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    spdx_id: String,
    name: String,
    version_info: String,
    download_location: String,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

impl Relationship {
    fn new(from: &str, kind: &'static str, to: &str) -> Self {
        Self { spdx_element_id: from.to_owned(), relationship_type: kind, related_spdx_element: to.to_owned() }
    }
}

/// Describes the image itself.
fn image_package(image: &ImageIdentity, id: &str) -> Package {
    Package {
        spdx_id: id.to_owned(),
        name: image.name.clone(),
        version_info: image.version.clone(),
        download_location: NO_ASSERTION.to_owned(),
        files_analyzed: false,
        source_info: None,
        license_concluded: NO_ASSERTION,
        license_declared: NO_ASSERTION.to_owned(),
        copyright_text: NO_ASSERTION,
        comment: None,
        checksums: Vec::new(),
        external_refs: Vec::new(),
        primary_package_purpose: Some("OPERATING_SYSTEM"),
    }
}

/// Describes an installed package.
fn package(package: &PackageRecord, id: &str, origin: &Origin) -> Package {
    let purl =
        ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator: package_url(package, origin) };
    Package {
        spdx_id: id.to_owned(),
        name: package.name.clone(),
        version_info: package.version.clone(),
        download_location: package.url.as_deref().map_or_else(|| NO_ASSERTION.to_owned(), escaped_url),
        files_analyzed: false,
        source_info: package.source.as_ref().map(|(name, version)| format!("built from source package {name} {version}")),
        license_concluded: NO_ASSERTION,
        license_declared: package.license.clone().unwrap_or_else(|| NO_ASSERTION.to_owned()),
        copyright_text: NO_ASSERTION,
        comment: package.header_sha256.map(|digest| format!("SHA256 of the package's header, not of its file: {digest}")),
        checksums: package.sha256.iter().map(|digest| Checksum { algorithm: "SHA256", checksum_value: digest.to_string() }).collect(),
        external_refs: vec![purl],
        primary_package_purpose: None,
    }
}

/// Returns an identifier for each package: readable, made of the allowed characters only, unique in the document.
fn package_ids(packages: &[PackageRecord]) -> Vec<String> {
    let readable = |package: &PackageRecord| format!("SPDXRef-Package-{}-{}", id_text(&package.name), id_text(&package.arch));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for package in packages {
        *counts.entry(readable(package)).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    let id = |package: &PackageRecord| {
        let mut id = readable(package);
        if counts[&id] > 1 {
            // Names that differ only in characters that are not allowed, or versions side by side.
            let digest = package.sha256.map(|digest| digest.to_string()).unwrap_or_default();
            let identity = format!("{}\0{}\0{}\0{digest}", package.name, package.arch, package.version);
            id = format!("{id}-{}", &Sha256Digest::of(identity.as_bytes()).to_string()[..16]);
        }
        while !taken.insert(id.clone()) {
            id.push_str("-again");
        }
        id
    };
    packages.iter().map(id).collect()
}

/// Replaces what identifiers may not have.
fn id_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' }).collect()
}

/// Returns the package URL (purl) of a package.
fn package_url(package: &PackageRecord, origin: &Origin) -> String {
    let (kind, version, epoch) = match origin.ecosystem {
        Ecosystem::Deb => ("deb", package.version.as_str(), None),
        Ecosystem::Rpm => match package.version.split_once(':') {
            Some((epoch, rest)) => ("rpm", rest, Some(epoch).filter(|epoch| *epoch != "0")),
            None => ("rpm", package.version.as_str(), None),
        },
    };
    let mut url = format!(
        "pkg:{kind}/{}/{}@{}?arch={}",
        percent_encoded(&origin.vendor),
        percent_encoded(&package.name),
        percent_encoded(version),
        percent_encoded(&package.arch)
    );
    if !origin.release.is_empty() {
        url.push_str(&format!("&distro={}", percent_encoded(&origin.release)));
    }
    if let Some(epoch) = epoch {
        url.push_str(&format!("&epoch={}", percent_encoded(epoch)));
    }
    url
}

/// Encodes text as a component of a package URL; the colon stays, as their specification has it.
fn percent_encoded(text: &str) -> String {
    encoded(text, |byte| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte))
}

/// Encodes what may not stand in a URL, separators staying what they are.
fn escaped_url(url: &str) -> String {
    encoded(url, |byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

fn encoded(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let byte = |byte: u8| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// Returns seconds since 1970-01-01 UTC as SPDX writes times, and others that follow RFC 3339.
pub(crate) fn timestamp(seconds: u64) -> String {
    // Days to a date of the Gregorian calendar: eras of 400 years that begin in March, so that leap days come last.
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::packages::example;

    fn image() -> ImageIdentity {
        ImageIdentity {
            name: "minimal".into(),
            version: "1.0 beta".into(),
            arch: "x86_64".into(),
            source_date_epoch: 1_767_225_600,
            oic_version: "0.1.0".into(),
        }
    }

    fn origin() -> Origin {
        Origin { ecosystem: Ecosystem::Deb, vendor: "debian".into(), release: "debian-13".into() }
    }

    #[test]
    fn the_document_is_as_it_was_released() {
        let (packages, dependencies) = example();
        insta::assert_snapshot!("sbom", render(&image(), &origin(), &packages, &dependencies));
    }

    #[test]
    fn the_official_schema_accepts_the_document_and_refuses_a_broken_one() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("fixtures/spdx-2.3.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (packages, dependencies) = example();
        let mut document: serde_json::Value = serde_json::from_str(&render(&image(), &origin(), &packages, &dependencies)).unwrap();
        let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        document["packages"][1]["checksums"][0]["algorithm"] = "CRC32".into();
        assert!(!validator.is_valid(&document));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let (packages, dependencies) = example();
        let reversed: Vec<_> = packages.iter().rev().cloned().collect();
        let mirrored =
            |edge: &Dependency| Dependency { from: packages.len() - 1 - edge.from, to: packages.len() - 1 - edge.to, pre: edge.pre };
        let mirrored: Vec<_> = dependencies.iter().map(mirrored).collect();
        assert_eq!(render(&image(), &origin(), &packages, &dependencies), render(&image(), &origin(), &reversed, &mirrored));
    }

    #[test]
    fn every_reference_leads_somewhere_and_identifiers_are_unique_and_allowed() {
        let (packages, dependencies) = example();
        let document: serde_json::Value = serde_json::from_str(&render(&image(), &origin(), &packages, &dependencies)).unwrap();
        let ids: Vec<&str> = document["packages"].as_array().unwrap().iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        let unique: BTreeSet<_> = ids.iter().copied().chain(["SPDXRef-DOCUMENT"]).collect();
        assert_eq!(unique.len(), ids.len() + 1);
        for id in &unique {
            let text = id.strip_prefix("SPDXRef-").unwrap();
            assert!(!text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'), "{id}");
        }
        for relationship in document["relationships"].as_array().unwrap() {
            for end in ["spdxElementId", "relatedSpdxElement"] {
                assert!(unique.contains(relationship[end].as_str().unwrap()), "{relationship}");
            }
        }
        assert_eq!(document["relationships"].as_array().unwrap().len(), 1 + packages.len() + dependencies.len());
    }

    #[test]
    fn another_content_has_another_namespace() {
        let (packages, dependencies) = example();
        let namespace = |packages: &[PackageRecord], dependencies: &[Dependency]| {
            let document: serde_json::Value = serde_json::from_str(&render(&image(), &origin(), packages, dependencies)).unwrap();
            document["documentNamespace"].as_str().unwrap().to_owned()
        };
        assert_ne!(namespace(&packages, &dependencies), namespace(&packages, &dependencies[1..]));
        assert_eq!(namespace(&packages, &dependencies), namespace(&packages, &dependencies));
    }

    #[test]
    fn package_urls_follow_their_ecosystem() {
        let (packages, _) = example();
        assert_eq!(package_url(&packages[1], &origin()), "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13");
        let rpm = Origin { ecosystem: Ecosystem::Rpm, vendor: "azurelinux".into(), release: String::new() };
        let package = PackageRecord { version: "1:9.2-3.azl3".into(), arch: "x86_64".into(), ..packages[3].clone() };
        assert_eq!(package_url(&package, &rpm), "pkg:rpm/azurelinux/bash@9.2-3.azl3?arch=x86_64&epoch=1");
        let package = PackageRecord { version: "0:9.2-3.azl3".into(), ..package };
        assert_eq!(package_url(&package, &rpm), "pkg:rpm/azurelinux/bash@9.2-3.azl3?arch=x86_64");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }
}
