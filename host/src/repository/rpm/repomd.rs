//! `repomd.xml`: the table of contents of an RPM repository.
//!
//! Only the records that `oic` uses are looked into: primary, filelists and groups. Others are passed over, whatever they are: zchunk
//! variants, databases, modules, update information. A record that is used must have a SHA-256 checksum and a size, and a path
//! below the repository.

use std::collections::BTreeMap;

use crate::{
    digest::Sha256Digest,
    repository::{IndexCompression, release::is_plain_path},
    solve::rpm::xml::{Step, Tag, XmlError, XmlReader},
    store::Expected,
};

/// No `repomd.xml` is larger than this.
pub(super) const REPOMD_LIMIT: u64 = 16 << 20;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The packages.
    Primary,
    /// The files of all packages.
    Filelists,
    /// Groups of packages.
    Groups,
}

impl RecordKind {
    /// Returns what metadata calls it, the best form first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Primary => &["primary"],
            Self::Filelists => &["filelists"],
            Self::Groups => &["group_gz", "group_xz", "group_zst", "group"],
        }
    }

    const ALL: [Self; 3] = [Self::Primary, Self::Filelists, Self::Groups];
}

/// A file that the metadata consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Path below the repository.
    pub path: String,
    /// Size and digest of the file.
    pub file: Expected,
    /// Size when unpacked.
    pub open_size: Option<u64>,
    /// Digest when unpacked.
    pub open_sha256: Option<Sha256Digest>,
}

impl Record {
    /// Returns how it is compressed.
    #[must_use]
    pub fn compression(&self) -> IndexCompression {
        IndexCompression::of_name(&self.path)
    }
}

/// The parsed file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repomd {
    /// When the newest record was made, seconds since 1970-01-01 UTC; 0 when no record says.
    pub date: u64,
    /// The records that are used.
    pub records: BTreeMap<RecordKind, Record>,
}

/// Why it makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RepomdError {
    /// It is not the XML that it should be.
    #[error("{reason}, near byte {at}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// About where.
        at: u64,
    },
    /// It has no packages.
    #[error("it has no record `primary`")]
    NoPrimary,
    /// A record that is needed makes no sense.
    #[error("its record `{kind}` {reason}")]
    Record {
        /// `type`.
        kind: String,
        /// What is wrong.
        reason: String,
    },
}

/// A record while it is read: texts as they stand.
#[derive(Debug, Default)]
struct Draft {
    kind: String,
    checksum: (String, String),
    open_checksum: (String, String),
    path: String,
    has_base: bool,
    size: String,
    open_size: String,
    timestamp: String,
}

impl Repomd {
    /// Parses the file; whether it is authentic has been seen to before.
    ///
    /// # Errors
    /// Fails when it is no repomd.xml, or a record that is used makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, RepomdError> {
        let mut xml = XmlReader::new(bytes);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut element = String::new();
        loop {
            let depth = xml.depth();
            let step = match xml.next() {
                Ok(Step::Open(tag)) => {
                    tag.name().clone_into(&mut element);
                    open(&mut drafts, &tag, depth)
                }
                Ok(Step::Close(text)) => {
                    // The element that a text belongs to is the one that was opened last.
                    close(&mut drafts, &std::mem::take(&mut element), depth, text.trim());
                    Ok(())
                }
                Ok(Step::End) => return Self::of(&drafts),
                Err(XmlError::Malformed(reason)) => Err(reason),
                Err(XmlError::Read(error)) => Err(error.to_string()),
            };
            step.map_err(|reason| RepomdError::Syntax { reason, at: xml.position() })?;
        }
    }

    fn of(drafts: &[Draft]) -> Result<Self, RepomdError> {
        let mut repomd = Self::default();
        for kind in RecordKind::ALL {
            let Some(name) = kind.names().iter().find(|name| drafts.iter().any(|draft| draft.kind == **name)) else { continue };
            let fail = |reason: &str| RepomdError::Record { kind: (*name).to_owned(), reason: reason.to_owned() };
            let mut found = drafts.iter().filter(|draft| draft.kind == *name);
            let (Some(draft), None) = (found.next(), found.next()) else { return Err(fail("is there twice")) };
            repomd.records.insert(kind, draft.record().map_err(|reason| fail(&reason))?);
        }
        if !repomd.records.contains_key(&RecordKind::Primary) {
            return Err(RepomdError::NoPrimary);
        }
        // Some writers put fractions of a second there.
        let seconds = |draft: &Draft| draft.timestamp.split('.').next().and_then(|text| text.parse().ok());
        repomd.date = drafts.iter().filter_map(seconds).max().unwrap_or_default();
        Ok(repomd)
    }
}

fn open(drafts: &mut Vec<Draft>, tag: &Tag<'_>, depth: usize) -> Result<(), String> {
    let attribute = |name: &str| tag.attribute(name).map(Option::unwrap_or_default);
    match (depth, tag.name()) {
        (0, "repomd") => {}
        (0, other) => return Err(format!("its root is `{other}` rather than `repomd`")),
        (1, "data") => drafts.push(Draft { kind: attribute("type")?, ..Draft::default() }),
        (2, name) => {
            let Some(draft) = drafts.last_mut() else { return Ok(()) };
            match name {
                "checksum" => draft.checksum.0 = attribute("type")?,
                "open-checksum" => draft.open_checksum.0 = attribute("type")?,
                "location" => {
                    draft.path = attribute("href")?;
                    draft.has_base = tag.attribute("base")?.is_some();
                }
                _ => {}
            }
        }
        _ => {}
    }
    Ok(())
}

fn close(drafts: &mut [Draft], element: &str, depth: usize, text: &str) {
    let Some(draft) = drafts.last_mut().filter(|_| depth == 3) else { return };
    let place = match element {
        "checksum" => &mut draft.checksum.1,
        "open-checksum" => &mut draft.open_checksum.1,
        "size" => &mut draft.size,
        "open-size" => &mut draft.open_size,
        "timestamp" => &mut draft.timestamp,
        _ => return,
    };
    text.clone_into(place);
}

impl Draft {
    fn record(&self) -> Result<Record, String> {
        if self.has_base {
            return Err("is at another place than the repository (`xml:base`), which is not supported".to_owned());
        }
        if !is_plain_path(&self.path) {
            return Err(format!("has the path `{}`, which does not lead into the repository", shortened(&self.path)));
        }
        if self.path.ends_with(".zck") {
            return Err("is compressed with zchunk, which is not supported".to_owned());
        }
        let sha256 = checksum(&self.checksum)?.ok_or("has no checksum")?;
        let size = self.size.parse().map_err(|_| "has no size".to_owned())?;
        let open_sha256 = checksum(&self.open_checksum)?;
        Ok(Record { path: self.path.clone(), file: Expected { size, sha256 }, open_size: self.open_size.parse().ok(), open_sha256 })
    }
}

/// Returns a checksum of the only kind that counts.
fn checksum((kind, text): &(String, String)) -> Result<Option<Sha256Digest>, String> {
    match (&**kind, &**text) {
        ("", "") => Ok(None),
        ("sha256", text) => text.parse().map(Some).map_err(|_| format!("has the checksum `{}`, which is none", shortened(text))),
        (other, _) => Err(format!("has a checksum of the kind `{}`; only sha256 counts", shortened(other))),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
