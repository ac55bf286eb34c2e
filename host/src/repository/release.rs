//! Release files: the table of contents of a repository (Debian repository format).

use std::collections::BTreeMap;

use super::date;
use crate::{digest::Sha256Digest, store::Expected};

/// What a Release file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// `Suite`; empty when it is not given.
    pub suite: String,
    /// `Codename`; empty when it is not given.
    pub codename: String,
    /// `Date`, seconds since 1970-01-01 UTC.
    pub date: u64,
    /// `Valid-Until`, likewise.
    pub valid_until: Option<u64>,
    /// Whether files can be asked for by their digest.
    pub acquire_by_hash: bool,
    /// `Components`.
    pub components: Vec<String>,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// Whether packages for all architectures are listed in the indexes of each architecture rather than in their own.
    pub has_no_index_for_all: bool,
    /// Size and digest of each index, by its path below the Release file.
    pub files: BTreeMap<String, Expected>,
}

/// Why a Release file makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A line belongs to no field.
    #[error("line {line} is not a field")]
    NotAField {
        /// Its number, from 1.
        line: usize,
    },
    /// A field that is needed is not there.
    #[error("it has no field `{field}`")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field's value cannot be understood.
    #[error("`{field}` is `{value}`, which makes no sense")]
    Invalid {
        /// Which.
        field: &'static str,
        /// Its value, or the beginning of it.
        value: String,
    },
}

impl Release {
    /// Tells whether it names its architectures, and this one is none of them.
    pub(super) fn lacks(&self, arch: &str) -> bool {
        !self.architectures.is_empty() && !self.architectures.iter().any(|name| name == arch)
    }

    /// Parses the text of a Release file whose signature has been verified.
    ///
    /// # Errors
    /// Fails when it is no Release file, or has no date or no SHA-256 digests.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ReleaseError::NotText)?;
        let fields = fields(text)?;
        let value = |name: &str| fields.get(name).map(|lines| lines[0]).unwrap_or_default();
        let words = |name: &str| value(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let date = |field: &'static str| match value(field) {
            "" => Ok(None),
            text => date::parse(text).map(Some).ok_or_else(|| invalid(field, text)),
        };
        let sums = fields.get("sha256").ok_or(ReleaseError::Missing { field: "SHA256" })?;
        Ok(Self {
            suite: value("suite").to_owned(),
            codename: value("codename").to_owned(),
            date: date("date")?.ok_or(ReleaseError::Missing { field: "Date" })?,
            valid_until: date("valid-until")?,
            acquire_by_hash: value("acquire-by-hash").eq_ignore_ascii_case("yes"),
            components: words("components"),
            architectures: words("architectures"),
            has_no_index_for_all: words("no-support-for-architecture-all").iter().any(|word| word == "Packages"),
            files: files(sums)?,
        })
    }
}

fn invalid(field: &'static str, value: &str) -> ReleaseError {
    ReleaseError::Invalid { field, value: value.chars().take(80).collect() }
}

/// Returns the lines of each field by its name in lower case. The first line is what stands behind the colon. Of a field
/// that comes twice the first counts.
fn fields(text: &str) -> Result<BTreeMap<String, Vec<&str>>, ReleaseError> {
    let mut fields: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut current: Option<(String, Vec<&str>)> = None;
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let (_, lines) = current.as_mut().ok_or(ReleaseError::NotAField { line: number + 1 })?;
            lines.push(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(ReleaseError::NotAField { line: number + 1 })?;
        if let Some((name, lines)) = current.replace((name.trim().to_ascii_lowercase(), vec![value.trim()])) {
            fields.entry(name).or_insert(lines);
        }
    }
    if let Some((name, lines)) = current {
        fields.entry(name).or_insert(lines);
    }
    Ok(fields)
}

/// Parses the lines `DIGEST SIZE PATH` of the field `SHA256`.
fn files(lines: &[&str]) -> Result<BTreeMap<String, Expected>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let parsed = (|| {
            let mut words = line.split_whitespace();
            let sha256: Sha256Digest = words.next()?.parse().ok()?;
            let size = words.next()?.parse().ok()?;
            let path = words.next()?;
            (words.next().is_none() && is_plain_path(path)).then(|| (path.to_owned(), Expected { size, sha256 }))
        })();
        let (path, expected) = parsed.ok_or_else(|| invalid("SHA256", line))?;
        files.entry(path).or_insert(expected);
    }
    Ok(files)
}

/// Tells whether a path stays below the folder that it is relative to.
#[must_use]
pub(crate) fn is_plain_path(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "Origin: Test\nSuite: stable\nCodename: trixie\nDate: Sat, 08 Nov 2026 10:00:00 UTC\n\
        Valid-Until: Sat, 15 Nov 2026 10:00:00 UTC\nAcquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\n\
        Architectures: all amd64\nComponents: main contrib\nMD5Sum:\n 0 1 main/x\nSHA256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 main/binary-amd64/Packages\n";

    #[test]
    fn a_release_file_is_understood() {
        let release = Release::parse(TEXT.as_bytes()).unwrap();
        insta::assert_debug_snapshot!(release, @r#"
        Release {
            suite: "stable",
            codename: "trixie",
            date: 1794132000,
            valid_until: Some(
                1794736800,
            ),
            acquire_by_hash: true,
            components: [
                "main",
                "contrib",
            ],
            architectures: [
                "all",
                "amd64",
            ],
            has_no_index_for_all: true,
            files: {
                "main/binary-amd64/Packages": Expected {
                    size: 3,
                    sha256: sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad,
                },
            },
        }
        "#);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let told = |text: String| Release::parse(text.as_bytes()).unwrap_err().to_string();
        insta::assert_snapshot!(told(TEXT.replace("Date: Sat", "X: ")), @"it has no field `Date`");
        insta::assert_snapshot!(told(TEXT.replace("08 Nov", "08 Foo")), @"`date` is `Sat, 08 Foo 2026 10:00:00 UTC`, which makes no sense");
        insta::assert_snapshot!(told(TEXT.replace("SHA256", "SHA512")), @"it has no field `SHA256`");
        insta::assert_snapshot!(told(TEXT.replace("main/binary", "../binary")), @"`SHA256` is `ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 ../binary-amd`, which makes no sense");
        insta::assert_snapshot!(told(TEXT.replace("ba7816", "ba78")), @"`SHA256` is `ba78bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 main/binary-amd`, which makes no sense");
        insta::assert_snapshot!(told("<html>\n".to_owned()), @"line 1 is not a field");
        insta::assert_snapshot!(told(" x\n".to_owned()), @"line 1 is not a field");
        assert_eq!(Release::parse(b"\xff"), Err(ReleaseError::NotText));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            drop(Release::parse(&bytes));
        }

        #[test]
        fn a_changed_release_file_is_taken_without_panic(at in 0..TEXT.len(), byte: u8, cut in 0..TEXT.len()) {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[at] = byte;
            drop(Release::parse(&bytes));
            drop(Release::parse(&bytes[cut..]));
            drop(Release::parse(&bytes[..cut]));
        }

        #[test]
        fn every_listed_file_is_found(names in proptest::collection::btree_set("[a-z]{1,8}(/[a-z.]{1,8})?", 0..20)) {
            let names: Vec<_> = names.into_iter().filter(|name| is_plain_path(name)).collect();
            let mut text = "Date: Sat, 08 Nov 2026 10:00:00 UTC\nSHA256:\n".to_owned();
            for (size, name) in names.iter().enumerate() {
                text += &format!(" {} {size} {name}\n", Sha256Digest::of(name.as_bytes()));
            }
            let release = Release::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(release.files.len(), names.len());
            for (size, name) in names.iter().enumerate() {
                let expected = Expected { size: size as u64, sha256: Sha256Digest::of(name.as_bytes()) };
                prop_assert_eq!(release.files.get(name), Some(&expected));
            }
        }
    }
}
