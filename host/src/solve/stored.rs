//! What the stored forms of all indexes have in common: how they begin, their numbers, tables and errors.
//!
//! All numbers are little-endian.
//!
//! ```text
//! magic       8 bytes  which kind of index
//! format      u32      another one is not read
//! checksum    u64      of everything that follows
//! body                 the index's own
//! ```
//!
//! The checksum finds accidents, not attacks; whatever the bytes are, reading ends in valid parts or an error.

use std::io::{self, Write};

use super::strings::StringTable;

/// The bytes are not an index that this program wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredIndexError {
    /// They begin differently.
    #[error("the stored package index is not one")]
    NotAnIndex,
    /// Another version of the program wrote them.
    #[error("the stored package index has format {found}, and another one is expected")]
    Format {
        /// The format found.
        found: u32,
    },
    /// They were changed or cut off.
    #[error("the stored package index is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
}

/// Returns the error for parts that do not fit.
pub(super) fn damaged(what: &'static str) -> StoredIndexError {
    StoredIndexError::Damaged { what }
}

/// An index that has a stored form.
pub trait StoredIndex: Sized {
    /// What the stored form begins with: the kind of index.
    const MAGIC: [u8; 8];
    /// The version of the stored form. Part of the name of cache entries, so that another version's are left alone.
    const FORMAT: u32;

    /// Returns the index's own part of its stored form.
    fn body(&self) -> Vec<u8>;

    /// Reads an index from its own part.
    ///
    /// # Errors
    /// Fails when the parts do not fit together.
    fn from_body(body: &[u8]) -> Result<Self, StoredIndexError>;

    /// Writes the index in its stored form.
    ///
    /// # Errors
    /// Fails when writing does.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let body = self.body();
        out.write_all(&Self::MAGIC)?;
        out.write_all(&Self::FORMAT.to_le_bytes())?;
        out.write_all(&checksum(&body).to_le_bytes())?;
        out.write_all(&body)?;
        out.flush()
    }

    /// Reads an index from its stored form.
    ///
    /// # Errors
    /// Fails when the bytes are not an index of this kind and format, whole and unchanged.
    fn read(bytes: &[u8]) -> Result<Self, StoredIndexError> {
        let mut reader = Reader(bytes);
        if reader.bytes(8) != Ok(&Self::MAGIC) {
            return Err(StoredIndexError::NotAnIndex);
        }
        let found = reader.number32()?;
        if found != Self::FORMAT {
            return Err(StoredIndexError::Format { found });
        }
        if reader.number64()? != checksum(reader.0) {
            return Err(damaged("its checksum is wrong"));
        }
        Self::from_body(reader.0)
    }
}

/// Mixes the bytes eight at a time.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| mix(sum, u64::from(byte)))
}

/// Appends how long tables are.
pub(super) fn put_counts(counts: &[usize], body: &mut Vec<u8>) {
    counts.iter().for_each(|&count| body.extend_from_slice(&(count as u64).to_le_bytes()));
}

/// Appends a string table: the ends, then the text.
pub(super) fn put_table(table: &StringTable, body: &mut Vec<u8>) {
    table.ends().iter().for_each(|end| body.extend_from_slice(&end.to_le_bytes()));
    body.extend_from_slice(table.text().as_bytes());
}

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], StoredIndexError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoredIndexError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn number32(&mut self) -> Result<u32, StoredIndexError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn number64(&mut self) -> Result<u64, StoredIndexError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn counts<const N: usize>(&mut self) -> Result<[usize; N], StoredIndexError> {
        let mut counts = [0; N];
        for count in &mut counts {
            *count = usize::try_from(self.number64()?).map_err(|_| damaged("it announces too much"))?;
        }
        Ok(counts)
    }

    pub(super) fn rows(&mut self, count: usize, width: usize) -> Result<&'a [u8], StoredIndexError> {
        self.bytes(count.checked_mul(width).ok_or_else(|| damaged("it announces too much"))?)
    }

    pub(super) fn table(&mut self, strings: usize, text: usize) -> Result<StringTable, StoredIndexError> {
        let (ends, _) = self.rows(strings, 4)?.as_chunks::<4>();
        let ends = ends.iter().map(|end| u32::from_le_bytes(*end)).collect();
        let text = std::str::from_utf8(self.bytes(text)?).map_err(|_| damaged("a string is not UTF-8"))?;
        StringTable::from_parts(text.to_owned(), ends).ok_or_else(|| damaged("its strings do not add up"))
    }

    /// Fails when something is left.
    pub(super) fn finish(&self) -> Result<(), StoredIndexError> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("something follows its end")) }
    }
}
