//! An index as bytes in the cache: written once, read in some milliseconds.
//!
//! The beginning is that of all stored indexes (`stored`), with the magic "oicindex"; then:
//!
//! ```text
//! counts      u64 × 6  names: strings, bytes; strings: strings, bytes; packages; atoms
//! names       u32 × n  ends, then the text
//! strings     u32 × n  ends, then the text
//! packages    96 bytes each
//! atoms       12 bytes each
//! ```
//!
//! Whatever the bytes are, reading ends in a valid index or an error.

use super::{Atom, MultiArch, NO_VERSION, PackageIndex, Priority, RelationKind, Stanza};
pub use crate::solve::stored::StoredIndexError;
use crate::solve::{
    relation::{self, Comparison},
    stored::{Reader, StoredIndex, damaged, put_counts, put_table},
};

const STANZA_BYTES: usize = 96;
const ATOM_BYTES: usize = 12;

const MULTI_ARCH: [MultiArch; 4] = [MultiArch::No, MultiArch::Same, MultiArch::Foreign, MultiArch::Allowed];
const PRIORITY: [Priority; 5] = [Priority::Required, Priority::Important, Priority::Standard, Priority::Optional, Priority::Extra];

impl StoredIndex for PackageIndex {
    const MAGIC: [u8; 8] = *b"oicindex";
    const FORMAT: u32 = 1;

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.stored_size());
        let counts = [
            self.names.len(),
            self.names.text().len(),
            self.strings.len(),
            self.strings.text().len(),
            self.stanzas.len(),
            self.atoms.len(),
        ];
        put_counts(&counts, &mut body);
        put_table(&self.names, &mut body);
        put_table(&self.strings, &mut body);
        self.stanzas.iter().for_each(|stanza| write_stanza(stanza, &mut body));
        self.atoms.iter().for_each(|atom| write_atom(*atom, &mut body));
        body
    }

    fn from_body(body: &[u8]) -> Result<Self, StoredIndexError> {
        let mut reader = Reader(body);
        let [names, names_text, strings, strings_text, stanzas, atoms] = reader.counts()?;
        let names = reader.table(names, names_text)?;
        let strings = reader.table(strings, strings_text)?;
        let stanzas = reader.rows(stanzas, STANZA_BYTES)?.chunks_exact(STANZA_BYTES).map(read_stanza).collect::<Option<Vec<_>>>();
        let atoms = reader.rows(atoms, ATOM_BYTES)?.chunks_exact(ATOM_BYTES).map(read_atom).collect::<Option<Vec<_>>>();
        let (Some(stanzas), Some(atoms)) = (stanzas, atoms) else {
            return Err(damaged("it holds an unknown kind of entry"));
        };
        reader.finish()?;
        let index = Self { names, strings, stanzas, atoms };
        index.check()?;
        Ok(index)
    }
}

impl PackageIndex {
    fn stored_size(&self) -> usize {
        let tables = [&self.names, &self.strings].map(|table| table.len() * 4 + table.text().len());
        48 + tables[0] + tables[1] + self.stanzas.len() * STANZA_BYTES + self.atoms.len() * ATOM_BYTES
    }

    /// Checks the invariants that the accessors rely on.
    fn check(&self) -> Result<(), StoredIndexError> {
        let (names, strings) = (self.names.len(), self.strings.len());
        let mut atoms_end = 0;
        for stanza in &self.stanzas {
            let numbers = stanza.string_numbers();
            if stanza.name as usize >= names || numbers.iter().any(|&number| number as usize >= strings) {
                return Err(damaged("a package refers to a string that is not there"));
            }
            if !relation::is_package_name(self.names.get(stanza.name)) {
                return Err(damaged("a package has an impossible name"));
            }
            if stanza.atoms_end < atoms_end || stanza.atoms_end as usize > self.atoms.len() {
                return Err(damaged("the relations of a package are out of order"));
            }
            let last = (stanza.atoms_end > atoms_end).then(|| &self.atoms[stanza.atoms_end as usize - 1]);
            if last.is_some_and(|atom| atom.more) {
                return Err(damaged("the last relation of a package has no end"));
            }
            atoms_end = stanza.atoms_end;
        }
        let atom_in_range = |atom: &Atom| (atom.name as usize) < names && (atom.version == NO_VERSION || (atom.version as usize) < strings);
        if !self.atoms.iter().all(atom_in_range) {
            return Err(damaged("a relation refers to a string that is not there"));
        }
        Ok(())
    }
}

impl Stanza {
    fn string_numbers(&self) -> [u32; 9] {
        [
            self.version,
            self.architecture,
            self.section,
            self.source,
            self.source_version,
            self.filename,
            self.description,
            self.homepage,
            self.maintainer,
        ]
    }
}

fn write_stanza(stanza: &Stanza, out: &mut Vec<u8>) {
    let numbers = stanza.string_numbers();
    for number in [stanza.name].iter().chain(&numbers).chain(&[stanza.atoms_end]) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&[stanza.priority as u8, stanza.multi_arch as u8, u8::from(stanza.essential), u8::from(stanza.protected)]);
    out.extend_from_slice(&stanza.size.to_le_bytes());
    out.extend_from_slice(&stanza.installed_kib.to_le_bytes());
    out.extend_from_slice(&stanza.sha256);
}

fn read_stanza(row: &[u8]) -> Option<Stanza> {
    let mut reader = Reader(row);
    let mut numbers = [0; 11];
    for number in &mut numbers {
        *number = reader.number32().ok()?;
    }
    let [name, version, architecture, section, source, source_version, filename, description, homepage, maintainer, atoms_end] = numbers;
    let &[priority, multi_arch, essential, protected] = reader.bytes(4).ok()? else {
        return None;
    };
    let flag = |byte: u8| [false, true].get(usize::from(byte)).copied();
    Some(Stanza {
        name,
        version,
        architecture,
        section,
        source,
        source_version,
        filename,
        description,
        homepage,
        maintainer,
        atoms_end,
        priority: *PRIORITY.get(usize::from(priority))?,
        multi_arch: *MULTI_ARCH.get(usize::from(multi_arch))?,
        essential: flag(essential)?,
        protected: flag(protected)?,
        size: reader.number64().ok()?,
        installed_kib: reader.number64().ok()?,
        sha256: reader.bytes(32).ok()?.try_into().ok()?,
    })
}

fn write_atom(atom: Atom, out: &mut Vec<u8>) {
    out.extend_from_slice(&atom.name.to_le_bytes());
    out.extend_from_slice(&atom.version.to_le_bytes());
    out.extend_from_slice(&[atom.kind as u8, atom.comparison as u8, u8::from(atom.more), 0]);
}

fn read_atom(row: &[u8]) -> Option<Atom> {
    let mut reader = Reader(row);
    let (name, version) = (reader.number32().ok()?, reader.number32().ok()?);
    let &[kind, comparison, more, 0] = reader.bytes(4).ok()? else {
        return None;
    };
    let kind = *RelationKind::ALL.get(usize::from(kind))?;
    let comparison = *Comparison::ALL.get(usize::from(comparison))?;
    Some(Atom { name, version, kind, comparison, more: more == 1 })
}
