//! Headers of RPM packages: a table of tagged values (rpm's file format, versions 3 to 6).
//!
//! ```text
//! 8e ad e8 01  0000 0000  entries: u32  size: u32      numbers are big-endian
//! entries ×  tag: u32  kind: u32  offset: u32  count: u32
//! size bytes: the values
//! ```
//!
//! # Invariants
//!
//! A [`Header`] has passed every check that rpm makes: values lie within the data, are aligned, do not overlap, strings end. So
//! reading a value never fails for its place, and the work for one header is linear in its size, whoever made it. Memory is
//! taken as bytes arrive, not as they are announced.

use std::io::{self, Read};

/// The first bytes of every header.
const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];

/// Bytes before the entries.
const INTRO: usize = 16;

/// Bytes of an entry.
const ENTRY: usize = 16;

/// rpm takes no header with more entries.
const MAX_ENTRIES: u32 = 0xffff;

/// rpm takes no header with more data.
const MAX_DATA: u32 = 256 << 20;

/// Lower tags than this are regions and other marks of the format itself.
const FIRST_TAG: u32 = 100;

/// Why bytes are no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The bytes cannot be read, or end too early.
    #[error("it ends too early, or cannot be read")]
    Read(#[from] io::Error),
    /// It does not begin like one.
    #[error("it does not begin like a header")]
    Magic,
    /// It is larger than any header may be.
    #[error("it says that it has {entries} entries and {size} bytes of data, which is too much or nothing")]
    Size {
        /// How many entries.
        entries: u32,
        /// How many bytes of data.
        size: u32,
    },
    /// An entry makes no sense.
    #[error("its entry with the tag {tag} {reason}")]
    Entry {
        /// The tag.
        tag: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Char,
    Int8,
    Int16,
    Int32,
    Int64,
    Text,
    Binary,
    TextArray,
    Translated,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        let kinds = [
            Self::Null,
            Self::Char,
            Self::Int8,
            Self::Int16,
            Self::Int32,
            Self::Int64,
            Self::Text,
            Self::Binary,
            Self::TextArray,
            Self::Translated,
        ];
        kinds.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of one value; none for texts.
    fn width(self) -> Option<usize> {
        match self {
            Self::Null => Some(0),
            Self::Char | Self::Int8 | Self::Binary => Some(1),
            Self::Int16 => Some(2),
            Self::Int32 => Some(4),
            Self::Int64 => Some(8),
            Self::Text | Self::TextArray | Self::Translated => None,
        }
    }
}

/// One entry; its range is within the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u32,
    kind: Kind,
    start: usize,
    end: usize,
}

/// A header whose entries have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As in the file, the intro included.
    bytes: Vec<u8>,
    /// Where the data begins.
    data: usize,
    entries: Vec<Entry>,
    is_whole_region: bool,
}

impl Header {
    /// Reads a header; what follows it in `reader` is left there. `region` is the tag of the mark that says which entries a
    /// signature covers.
    ///
    /// # Errors
    /// Fails when it is damaged.
    pub fn read(reader: &mut impl Read, region: u32) -> Result<Self, HeaderError> {
        let mut intro = [0; INTRO];
        reader.read_exact(&mut intro)?;
        if intro[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let (entries, size) = (be32(&intro, 8), be32(&intro, 12));
        if entries == 0 || entries > MAX_ENTRIES || size == 0 || size > MAX_DATA {
            return Err(HeaderError::Size { entries, size });
        }
        let table = entries as usize * ENTRY;
        let rest = table + size as usize;
        let mut bytes = Vec::from(intro);
        reader.by_ref().take(rest as u64).read_to_end(&mut bytes)?;
        if bytes.len() != INTRO + rest {
            return Err(HeaderError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut header = Self { bytes, data: INTRO + table, entries: Vec::new(), is_whole_region: false };
        let mut end = 0;
        for at in 0..entries as usize {
            let entry = header.entry(INTRO + at * ENTRY, end)?;
            let is_region = entry.tag < FIRST_TAG;
            if is_region && (at != 0 || entry.tag != region) {
                return Err(HeaderError::Entry { tag: entry.tag, reason: "is out of place" });
            }
            if is_region {
                header.is_whole_region = header.covers_all(&entry, entries);
            } else {
                // Values come in the order of their entries and never twice, as rpm itself demands.
                end = entry.end;
                header.entries.push(entry);
            }
        }
        Ok(header)
    }

    /// Checks one entry, whose value must not begin before `from`.
    fn entry(&self, at: usize, from: usize) -> Result<Entry, HeaderError> {
        let tag = be32(&self.bytes, at);
        let wrong = |reason| HeaderError::Entry { tag, reason };
        let kind = Kind::of(be32(&self.bytes, at + 4)).ok_or_else(|| wrong("is of no known kind"))?;
        let data = &self.bytes[self.data..];
        let (start, count) = (be32(&self.bytes, at + 8) as usize, be32(&self.bytes, at + 12) as usize);
        if start >= data.len() || count == 0 || count > data.len() {
            return Err(wrong("leads out of the header"));
        }
        // The region's value stands behind all others.
        if tag >= FIRST_TAG && start < from {
            return Err(wrong("overlaps another"));
        }
        let end = match kind.width() {
            Some(width) if width > 1 && start % width != 0 => return Err(wrong("is not aligned")),
            Some(width) => start + count * width,
            None if kind == Kind::Text && count != 1 => return Err(wrong("is one text and more")),
            None => end_of_texts(data, start, count).ok_or_else(|| wrong("is a text without an end"))?,
        };
        if end > data.len() { Err(wrong("leads out of the header")) } else { Ok(Entry { tag, kind, start, end }) }
    }

    /// Tells whether the region's mark says that it covers all entries and all data.
    fn covers_all(&self, mark: &Entry, entries: u32) -> bool {
        let data = &self.bytes[self.data..];
        let is_last = mark.kind == Kind::Binary && mark.end - mark.start == ENTRY && mark.end == data.len();
        let covered = entries.checked_mul(ENTRY as u32).map(|bytes| bytes.wrapping_neg());
        is_last
            && be32(data, mark.start) == mark.tag
            && be32(data, mark.start + 4) == Kind::Binary as u32
            && Some(be32(data, mark.start + 8)) == covered
            && be32(data, mark.start + 12) == ENTRY as u32
    }

    /// Returns the header as it stands in the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tells whether every entry belongs to the part that signatures cover.
    #[must_use]
    pub fn is_whole_region(&self) -> bool {
        self.is_whole_region
    }

    fn find(&self, tag: u32) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        Some((entry, &self.bytes[self.data..][entry.start..entry.end]))
    }

    /// Tells whether a tag is there.
    #[must_use]
    pub fn has(&self, tag: u32) -> bool {
        self.find(tag).is_some()
    }

    /// Returns the bytes of a binary value.
    #[must_use]
    pub fn binary(&self, tag: u32) -> Option<&[u8]> {
        self.find(tag).filter(|(entry, _)| entry.kind == Kind::Binary).map(|(_, bytes)| bytes)
    }

    /// Returns the first text of a tag, if it is UTF-8.
    #[must_use]
    pub fn text(&self, tag: u32) -> Option<&str> {
        self.texts(tag).into_iter().flatten().next()
    }

    /// Returns the texts of a tag; one that is not UTF-8 is none.
    #[must_use]
    pub fn texts(&self, tag: u32) -> Option<impl Iterator<Item = &str>> {
        let (_, bytes) = self.find(tag).filter(|(entry, _)| entry.kind.width().is_none())?;
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Some(bytes.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()))
    }

    /// Returns the first number of a tag.
    #[must_use]
    pub fn number(&self, tag: u32) -> Option<u64> {
        self.numbers(tag)?.next()
    }

    /// Returns the numbers of a tag.
    #[must_use]
    pub fn numbers(&self, tag: u32) -> Option<impl Iterator<Item = u64>> {
        let (entry, bytes) = self.find(tag)?;
        let width = match entry.kind {
            Kind::Char | Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 => entry.kind.width()?,
            _ => return None,
        };
        Some(bytes.chunks_exact(width).map(|number| number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }
}

fn end_of_texts(data: &[u8], start: usize, count: usize) -> Option<usize> {
    let mut at = start;
    for _ in 0..count {
        at += data.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
    }
    Some(at)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
