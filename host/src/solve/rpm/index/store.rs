//! An index as bytes in the cache: written once, read in some milliseconds.
//!
//! The beginning is that of all stored indexes (`solve::stored`), with the magic "oicrpmix"; then:
//!
//! ```text
//! counts      u64 × 6  names: strings, bytes; strings: strings, bytes; packages; atoms
//! names       u32 × n  ends, then the text
//! strings     u32 × n  ends, then the text
//! packages    64 bytes each: 11 numbers, kind of the checksum (u32), size, installed size (u64)
//! atoms       12 bytes each: name, version, kind, sense, two zeros
//! ```
//!
//! Whatever the bytes are, reading ends in a valid index or an error.

use super::{Atom, ChecksumKind, PackageIndex, RelationKind, Row, parse};
use crate::solve::{
    rpm::{
        dependency::{Dependency, is_rich},
        evr::Sense,
    },
    stored::{Reader, StoredIndex, StoredIndexError, damaged, put_counts, put_table},
};

const ROW_BYTES: usize = 64;
const ATOM_BYTES: usize = 12;

impl StoredIndex for PackageIndex {
    const MAGIC: [u8; 8] = *b"oicrpmix";
    const FORMAT: u32 = 1;

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.stored_size());
        let counts =
            [self.names.len(), self.names.text().len(), self.strings.len(), self.strings.text().len(), self.rows.len(), self.atoms.len()];
        put_counts(&counts, &mut body);
        put_table(&self.names, &mut body);
        put_table(&self.strings, &mut body);
        self.rows.iter().for_each(|row| write_row(row, &mut body));
        self.atoms.iter().for_each(|atom| write_atom(*atom, &mut body));
        body
    }

    fn from_body(body: &[u8]) -> Result<Self, StoredIndexError> {
        let mut reader = Reader(body);
        let [names, names_text, strings, strings_text, rows, atoms] = reader.counts()?;
        let names = reader.table(names, names_text)?;
        let strings = reader.table(strings, strings_text)?;
        let rows = reader.rows(rows, ROW_BYTES)?.chunks_exact(ROW_BYTES).map(read_row).collect::<Option<Vec<_>>>();
        let atoms = reader.rows(atoms, ATOM_BYTES)?.chunks_exact(ATOM_BYTES).map(read_atom).collect::<Option<Vec<_>>>();
        let (Some(rows), Some(atoms)) = (rows, atoms) else {
            return Err(damaged("it holds an unknown kind of entry"));
        };
        reader.finish()?;
        let index = Self { names, strings, rows, atoms };
        index.check()?;
        Ok(index)
    }
}

impl PackageIndex {
    fn stored_size(&self) -> usize {
        let tables = [&self.names, &self.strings].map(|table| table.len() * 4 + table.text().len());
        48 + tables[0] + tables[1] + self.rows.len() * ROW_BYTES + self.atoms.len() * ATOM_BYTES
    }

    /// Checks the invariants that the accessors and their users rely on.
    fn check(&self) -> Result<(), StoredIndexError> {
        let (names, strings) = (self.names.len(), self.strings.len());
        let mut atoms_end = 0;
        for row in &self.rows {
            if row.name as usize >= names || row.string_numbers().iter().any(|&number| number as usize >= strings) {
                return Err(damaged("a package refers to a string that is not there"));
            }
            if !parse::is_package_name(self.names.get(row.name)) {
                return Err(damaged("a package has an impossible name"));
            }
            if !parse::is_safe_location(self.strings.get(row.location)) {
                return Err(damaged("a package has an impossible location"));
            }
            if !parse::is_digest(row.checksum_kind, self.strings.get(row.checksum)) {
                return Err(damaged("a package has an impossible checksum"));
            }
            if row.atoms_end < atoms_end || row.atoms_end as usize > self.atoms.len() {
                return Err(damaged("the dependencies of a package are out of order"));
            }
            atoms_end = row.atoms_end;
        }
        if self.atoms.iter().any(|atom| atom.name as usize >= names || atom.evr as usize >= strings) {
            return Err(damaged("a dependency refers to a string that is not there"));
        }
        for number in 0..self.names.ends().len() {
            #[expect(clippy::cast_possible_truncation, reason = "a string table numbers its strings with 32 bits")]
            let name = self.names.get(number as u32);
            if is_rich(name) && Dependency::parse(name).is_err() {
                return Err(damaged("a rich dependency does not follow its grammar"));
            }
        }
        Ok(())
    }
}

impl Row {
    fn string_numbers(&self) -> [u32; 9] {
        [self.evr, self.arch, self.location, self.checksum, self.source, self.summary, self.license, self.vendor, self.url]
    }
}

fn write_row(row: &Row, out: &mut Vec<u8>) {
    for number in [row.name].iter().chain(&row.string_numbers()).chain(&[row.atoms_end, row.checksum_kind as u32]) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&row.size.to_le_bytes());
    out.extend_from_slice(&row.installed_size.to_le_bytes());
}

fn read_row(row: &[u8]) -> Option<Row> {
    let mut reader = Reader(row);
    let mut numbers = [0; 12];
    for number in &mut numbers {
        *number = reader.number32().ok()?;
    }
    let [name, evr, arch, location, checksum, source, summary, license, vendor, url, atoms_end, kind] = numbers;
    Some(Row {
        name,
        evr,
        arch,
        location,
        checksum,
        source,
        summary,
        license,
        vendor,
        url,
        atoms_end,
        checksum_kind: *ChecksumKind::ALL.get(kind as usize)?,
        size: reader.number64().ok()?,
        installed_size: reader.number64().ok()?,
    })
}

fn write_atom(atom: Atom, out: &mut Vec<u8>) {
    out.extend_from_slice(&atom.name.to_le_bytes());
    out.extend_from_slice(&atom.evr.to_le_bytes());
    out.extend_from_slice(&[atom.kind as u8, atom.sense.number(), 0, 0]);
}

fn read_atom(row: &[u8]) -> Option<Atom> {
    let mut reader = Reader(row);
    let (name, evr) = (reader.number32().ok()?, reader.number32().ok()?);
    let &[kind, sense, 0, 0] = reader.bytes(4).ok()? else {
        return None;
    };
    Some(Atom { name, evr, kind: *RelationKind::ALL.get(usize::from(kind))?, sense: Sense::from_number(sense)? })
}
