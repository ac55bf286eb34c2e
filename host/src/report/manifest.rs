//! `manifest.json`: what an image was built from and what came out, by digest.
//!
//! The format's `version` comes first and is raised when a field changes its meaning or goes; fields may be added without.
//! The file is the same, byte for byte, for the same inputs: it has no times but the lock's, and no paths of the host.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;

/// The version of the format that this program writes.
pub const MANIFEST_VERSION: ManifestVersion = ManifestVersion(1);

/// The name of the file in the output folder.
pub const MANIFEST_FILE_NAME: &str = "manifest.json";

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ManifestVersion(pub u32);

impl std::fmt::Display for ManifestVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildManifest {
    /// [`MANIFEST_VERSION`].
    pub version: ManifestVersion,
    /// What it is an image of.
    pub image: ImageRecord,
    /// What it was built from.
    pub inputs: InputsRecord,
    /// What it was built with.
    pub builder: BuilderRecord,
    /// The files that came out, sorted by name; not the manifest itself, the log and the checksums.
    pub outputs: Vec<OutputRecord>,
}

/// An image's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageRecord {
    /// `image.name`.
    pub name: String,
    /// `image.version`.
    pub version: String,
    /// `target.os`.
    pub os: String,
    /// `target.dist`.
    pub dist: String,
    /// `target.arch`.
    pub arch: String,
    /// `target.imageType`.
    pub image_type: String,
}

/// Everything that decides the outputs' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputsRecord {
    /// Digest of the complete image spec.
    pub spec: Sha256Digest,
    /// Digest of the lock's section for this image.
    pub lock: Sha256Digest,
    /// `SOURCE_DATE_EPOCH` of the build.
    pub source_date_epoch: u64,
    /// How many packages are in the image; `packages.txt` and the SBOM list them.
    pub packages: usize,
    /// The repositories' signed metadata, sorted by URL.
    pub repositories: Vec<RepositoryRecord>,
    /// Local files that were put into the image, sorted by destination.
    pub files: Vec<FileRecord>,
}

/// A repository's state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositoryRecord {
    /// Canonical URL.
    pub url: String,
    /// deb: the suite.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
    /// Digest of its signed metadata.
    pub metadata: Sha256Digest,
    /// What of it was taken without verification: `metadata`, or `everything`; nothing is the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// A local file in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRecord {
    /// Path in the image.
    pub destination: String,
    /// Digest of its content.
    pub sha256: Sha256Digest,
}

/// The programs that built it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuilderRecord {
    /// Version of `oic`.
    pub oic: String,
    /// Version of the protocol between `oic` and the agent.
    pub protocol: String,
    /// Packages that the builder VM and the tools were made of, sorted.
    pub tools: Vec<ToolRecord>,
}

/// A package of the builder's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRecord {
    /// What it is for, as the lock names it.
    pub used_for: String,
    /// Name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// Architecture as the ecosystem writes it.
    pub arch: String,
    /// Digest of the package file.
    pub sha256: Sha256Digest,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputRecord {
    /// File name in the output folder.
    pub name: String,
    /// What it is: an artifact format with its compression (`raw`, `qcow2`, `raw.zst`), or `spdx`, `packages`, `dot`.
    pub format: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its content.
    pub sha256: Sha256Digest,
}

impl BuildManifest {
    /// Returns the file's text; lists are sorted here, whatever their order.
    ///
    /// # Panics
    /// Never: every part of a manifest has a JSON form.
    #[must_use]
    pub fn render(mut self) -> String {
        self.outputs.sort();
        self.inputs.repositories.sort();
        self.inputs.files.sort();
        self.builder.tools.sort();
        let mut text = serde_json::to_string_pretty(&self).expect("strings, numbers and lists have a JSON form");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> BuildManifest {
        let digest = Sha256Digest::of(b"");
        let output = |name: &str, format: &str| OutputRecord { name: name.into(), format: format.into(), size: 42, sha256: digest };
        let repository = |suite: &str| RepositoryRecord {
            url: "https://mirrors.kernel.org/debian".into(),
            suite: suite.into(),
            metadata: digest,
            unverified: None,
        };
        let tool = |name: &str| ToolRecord {
            used_for: "kernel".into(),
            name: name.into(),
            version: "6.12.57-1".into(),
            arch: "amd64".into(),
            sha256: digest,
        };
        BuildManifest {
            version: MANIFEST_VERSION,
            image: ImageRecord {
                name: "minimal".into(),
                version: "1.0.0".into(),
                os: "debian".into(),
                dist: "debian13".into(),
                arch: "x86_64".into(),
                image_type: "raw".into(),
            },
            inputs: InputsRecord {
                spec: digest,
                lock: digest,
                source_date_epoch: 1_767_225_600,
                packages: 160,
                repositories: vec![repository("trixie-updates"), repository("trixie")],
                files: vec![FileRecord { destination: "/etc/motd".into(), sha256: digest }],
            },
            builder: BuilderRecord {
                oic: "0.1.0".into(),
                protocol: "1.0".into(),
                tools: vec![tool("linux-image-cloud-amd64"), tool("busybox")],
            },
            outputs: vec![output("minimal.raw", "raw"), output("deps.dot", "dot")],
        }
    }

    #[test]
    fn the_format_is_as_it_was_released() {
        insta::assert_snapshot!(example().render(), @r#"
        {
          "version": 1,
          "image": {
            "name": "minimal",
            "version": "1.0.0",
            "os": "debian",
            "dist": "debian13",
            "arch": "x86_64",
            "imageType": "raw"
          },
          "inputs": {
            "spec": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "lock": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sourceDateEpoch": 1767225600,
            "packages": 160,
            "repositories": [
              {
                "url": "https://mirrors.kernel.org/debian",
                "suite": "trixie",
                "metadata": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
              },
              {
                "url": "https://mirrors.kernel.org/debian",
                "suite": "trixie-updates",
                "metadata": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
              }
            ],
            "files": [
              {
                "destination": "/etc/motd",
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
              }
            ]
          },
          "builder": {
            "oic": "0.1.0",
            "protocol": "1.0",
            "tools": [
              {
                "usedFor": "kernel",
                "name": "busybox",
                "version": "6.12.57-1",
                "arch": "amd64",
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
              },
              {
                "usedFor": "kernel",
                "name": "linux-image-cloud-amd64",
                "version": "6.12.57-1",
                "arch": "amd64",
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
              }
            ]
          },
          "outputs": [
            {
              "name": "deps.dot",
              "format": "dot",
              "size": 42,
              "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            },
            {
              "name": "minimal.raw",
              "format": "raw",
              "size": 42,
              "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            }
          ]
        }
        "#);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = example().render();
        let read: BuildManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read.render(), text);
    }

    #[test]
    fn the_order_of_lists_does_not_matter() {
        let mut shuffled = example();
        shuffled.outputs.reverse();
        shuffled.inputs.repositories.reverse();
        shuffled.builder.tools.reverse();
        assert_eq!(shuffled.render(), example().render());
    }
}
