//! Reads the rows of one table of an SQLite database (format 3), which is what RPM keeps its packages in.
//!
//! ```text
//! page 1: header, 100 bytes, then the schema's tree → root page of the table → interior pages → leaf pages → cells → payload,
//! the end of which may be on a chain of overflow pages
//! ```
//!
//! Only that much is needed, and the file comes from an image that may be hostile: every page is visited once at most, so that
//! neither circles nor shared subtrees cost anything, and payloads are bounded. A write-ahead log beside the database is not
//! read. This is a few hundred lines instead of an engine written in C, which would want the file on the host's disk.

use crate::rootfs::Content;

/// The largest database.
const MAX_DATABASE: u64 = 1 << 30;
/// The largest row.
const MAX_PAYLOAD: u64 = 64 << 20;
/// How deep a tree may be.
const MAX_DEPTH: u32 = 24;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    /// The file cannot be read.
    #[error("cannot read the database")]
    Read(#[from] std::io::Error),
    /// It contradicts itself.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, or a number with a fraction, which no caller wants.
    Other,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A row: its number, and its values.
pub(super) type Row = (i64, Vec<Value>);

/// A database in memory.
pub(super) struct Database {
    bytes: Vec<u8>,
    page: usize,
    /// Bytes of a page that are used.
    usable: usize,
    visited: Vec<bool>,
}

impl Database {
    /// Reads a database.
    pub(super) fn open(content: &Content) -> Result<Self, SqliteError> {
        let bytes = content.read_all(MAX_DATABASE)?;
        Self::parse(bytes)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, SqliteError> {
        if !bytes.starts_with(b"SQLite format 3\0") || bytes.len() < 512 {
            return Err(SqliteError::Damaged("it is no SQLite database"));
        }
        let page = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => usize::from(size),
        };
        let usable = page.saturating_sub(usize::from(bytes[20]));
        if !page.is_power_of_two() || page < 512 || usable < 480 {
            return Err(SqliteError::Damaged("its pages have no possible size"));
        }
        let pages = bytes.len() / page;
        Ok(Self { bytes, page, usable, visited: vec![false; pages + 1] })
    }

    /// Returns the rows of a table, each with its number; none when there is no such table.
    pub(super) fn rows(&mut self, table: &str) -> Result<Option<Vec<Row>>, SqliteError> {
        let schema = self.tree(1)?;
        // sqlite_schema(type, name, tbl_name, rootpage, sql)
        let root = schema.into_iter().find_map(|(_, row)| match &row[..] {
            [Value::Text(kind), Value::Text(name), _, Value::Integer(root), ..] if kind == "table" && name == table => Some(*root),
            _ => None,
        });
        let Some(root) = root else { return Ok(None) };
        let root = usize::try_from(root).map_err(|_| SqliteError::Damaged("a table has no root"))?;
        Ok(Some(self.tree(root)?))
    }

    fn tree(&mut self, root: usize) -> Result<Vec<Row>, SqliteError> {
        let mut rows = Vec::new();
        let mut pending = vec![(root, 0)];
        while let Some((number, depth)) = pending.pop() {
            if depth > MAX_DEPTH {
                return Err(SqliteError::Damaged("a tree is too deep"));
            }
            let start = self.visit(number)?;
            let page = self.bytes[start..start + self.page].to_vec();
            let header = if number == 1 { 100 } else { 0 };
            let u16_at = |at: usize| page.get(at..at + 2).map_or(0, |part| usize::from(u16::from_be_bytes([part[0], part[1]])));
            let u32_at =
                |at: usize| page.get(at..at + 4).map_or(0, |part| u32::from_be_bytes([part[0], part[1], part[2], part[3]]) as usize);
            let cells = u16_at(header + 3);
            match page[header] {
                // Interior page: each cell is a page and the largest key in it; the last page stands in the header.
                5 => {
                    pending.push((u32_at(header + 8), depth + 1));
                    pending.extend((0..cells).rev().map(|index| (u32_at(u16_at(header + 12 + index * 2)), depth + 1)));
                }
                13 => {
                    for index in 0..cells {
                        rows.push(self.row(&page, u16_at(header + 8 + index * 2))?);
                    }
                }
                _ => return Err(SqliteError::Damaged("a page is of a kind that no table has")),
            }
        }
        Ok(rows)
    }

    /// Notes that a page is read and returns where it is.
    fn visit(&mut self, number: usize) -> Result<usize, SqliteError> {
        match self.visited.get_mut(number) {
            Some(visited) if number > 0 && (!*visited || number == 1) => *visited = true,
            _ => return Err(SqliteError::Damaged("a page is not in the file, or is used twice")),
        }
        Ok((number - 1) * self.page)
    }

    /// Reads the row of a cell: length, number, then the payload, whose end may be elsewhere.
    fn row(&mut self, page: &[u8], at: usize) -> Result<Row, SqliteError> {
        let cut = SqliteError::Damaged("a row is cut off");
        let mut rest = page.get(at..self.usable.min(page.len())).ok_or(SqliteError::Damaged("a row is outside of its page"))?;
        let size = u64::try_from(varint(&mut rest).ok_or(cut)?).unwrap_or(u64::MAX);
        let number = varint(&mut rest).ok_or(SqliteError::Damaged("a row is cut off"))?;
        if size > MAX_PAYLOAD {
            return Err(SqliteError::Damaged("a row is too large"));
        }
        let (size, usable) = (size as usize, self.usable);
        let local = if size <= usable - 35 {
            size
        } else {
            let least = (usable - 12) * 32 / 255 - 23;
            let fitting = least + (size - least) % (usable - 4);
            if fitting <= usable - 35 { fitting } else { least }
        };
        let mut payload = rest.get(..local).ok_or(SqliteError::Damaged("a row is cut off"))?.to_vec();
        let mut next = rest.get(local..local + 4).map_or(0, |part| u32::from_be_bytes([part[0], part[1], part[2], part[3]]) as usize);
        while payload.len() < size {
            let start = self.visit(next)?;
            let overflow = &self.bytes[start..start + self.usable];
            next = u32::from_be_bytes([overflow[0], overflow[1], overflow[2], overflow[3]]) as usize;
            let count = (size - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(&overflow[4..4 + count]);
        }
        Ok((number, record(&payload).ok_or(SqliteError::Damaged("a row makes no sense"))?))
    }
}

/// Takes a number of one to nine bytes, seven bits each.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for index in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == 8 {
            return Some((value << 8 | u64::from(byte)).cast_signed());
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value.cast_signed())
}

/// Splits a payload into its values: a header of types, then the values one after the other.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut start = payload;
    let header = usize::try_from(varint(&mut start)?).ok()?;
    let taken = payload.len() - start.len();
    let mut types = payload.get(taken..header)?;
    let mut values = payload.get(header..)?;
    let mut row = Vec::new();
    while !types.is_empty() {
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = values.get(..length)?;
        values = &values[length..];
        row.push(match kind {
            1..=6 => {
                let negative = bytes[0] & 0x80 != 0;
                Value::Integer(bytes.iter().fold(if negative { -1 } else { 0 }, |value: i64, byte| value << 8 | i64::from(*byte)))
            }
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            12.. if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            13.. => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
            _ => Value::Other,
        });
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exec, rootfs::testing};

    /// A database as another program writes it: small and large rows, a deep tree.
    fn database(folder: &std::path::Path) -> Option<Vec<u8>> {
        let Some(python) = testing::tool("python3") else {
            testing::skip("there is no python3 to write a database");
            return None;
        };
        let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('pragma page_size=1024')\n\
                      c.execute('create table Other (a)')\n\
                      c.execute('create table Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)')\n\
                      [c.execute('insert into Packages(blob) values(?)', (bytes([i%251])*(i*37),)) for i in range(600)]\n\
                      c.execute('delete from Packages where hnum%7=0')\nc.commit()";
        let path = folder.join("db");
        exec::run(python.command().args(["-c", script]).arg(&path)).unwrap();
        Some(std::fs::read(path).unwrap())
    }

    #[test]
    fn every_row_of_a_table_that_another_program_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let Some(bytes) = database(folder.path()) else { return };
        let rows = Database::parse(bytes.clone()).unwrap().rows("Packages").unwrap().unwrap();
        assert_eq!(rows.len(), 600 - 600 / 7);
        for (number, row) in &rows {
            let index = number - 1;
            let expected = vec![(index % 251) as u8; index as usize * 37];
            assert!(row[1] == Value::Blob(expected), "{number}");
        }
        assert!(Database::parse(bytes).unwrap().rows("None").unwrap().is_none());
    }

    #[test]
    fn no_damage_makes_it_panic_or_run_forever() {
        let folder = tempfile::tempdir().unwrap();
        let Some(bytes) = database(folder.path()) else { return };
        let mut state = 7_u64;
        for _ in 0..300 {
            let mut bytes = bytes.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[if state >> 62 == 0 { at % 200 } else { at }] = (state >> 20) as u8;
            }
            if let Ok(mut database) = Database::parse(bytes) {
                let _ = database.rows("Packages");
            }
        }
    }
}
