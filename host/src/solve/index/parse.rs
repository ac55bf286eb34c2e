//! Reads the text of a `Packages` file.
//!
//! Takes the text in pieces, so that a reader that decompresses never holds the whole of it, and looks at each byte about twice: once
//! to find the lines, once for the fields that count. A general deb822 reader keeps every field of every stanza as a string
//! of its own, three times slower and larger on Debian's main index.

use std::io::{self, Read};

use super::{Atom, MultiArch, NO_VERSION, PackageIndex, Priority, RelationKind, Stanza};
use crate::{
    digest::Sha256Digest,
    solve::{
        relation::{self, Comparison, RelationError},
        strings::{Interner, StringTable, TableFull},
        version,
    },
};

/// How much text is read at once.
const CHUNK: usize = 1 << 20;

/// The longest stanza that is accepted. The longest in Debian has some 100 KB.
const MAX_STANZA: usize = 8 << 20;

/// The text is not a `Packages` file.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The text could not be read to its end.
    #[error("the package index cannot be read")]
    Read(#[source] io::Error),
    /// A stanza is malformed.
    #[error("line {line} of the package index{}: {reason}", of_package(.package))]
    Stanza {
        /// Line of the field, or of the stanza's beginning where no field is at fault.
        line: u64,
        /// The stanza's package; empty when that is unknown.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// There is more in it than an index can hold.
    #[error("the package index is too large: its strings exceed 4 GiB")]
    TooLarge,
}

fn of_package(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!(", package {package}") }
}

impl From<TableFull> for IndexError {
    fn from(TableFull: TableFull) -> Self {
        Self::TooLarge
    }
}

/// The fields that are kept; the relation fields follow in [`RelationKind`]'s order.
const FIELDS: [&str; 26] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Essential",
    "Important",
    "Protected",
    "Priority",
    "Section",
    "Source",
    "Filename",
    "Size",
    "SHA256",
    "Installed-Size",
    "Description",
    "Homepage",
    "Maintainer",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
];

const PACKAGE: usize = 0;
const VERSION: usize = 1;
const ARCHITECTURE: usize = 2;
const MULTI_ARCH: usize = 3;
const ESSENTIAL: usize = 4;
const IMPORTANT: usize = 5;
const PROTECTED: usize = 6;
const PRIORITY: usize = 7;
const SECTION: usize = 8;
const SOURCE: usize = 9;
const FILENAME: usize = 10;
const SIZE: usize = 11;
const SHA256: usize = 12;
const INSTALLED_SIZE: usize = 13;
const DESCRIPTION: usize = 14;
const HOMEPAGE: usize = 15;
const MAINTAINER: usize = 16;
const FIRST_RELATION: usize = 17;

impl PackageIndex {
    /// Parses the text of a `Packages` file.
    ///
    /// # Errors
    /// Fails when reading fails and at the first malformed stanza.
    pub fn parse(mut reader: impl Read) -> Result<Self, IndexError> {
        let mut parser = Parser::default();
        let mut buffer = Vec::new();
        loop {
            let kept = buffer.len();
            let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut buffer).map_err(IndexError::Read)?;
            if read == 0 {
                parser.take(&buffer)?;
                return parser.finish();
            }
            // A blank line may have begun in the last piece.
            if let Some(end) = last_blank_line(&buffer, kept.saturating_sub(1)) {
                parser.take(&buffer[..end])?;
                buffer.drain(..end);
            } else if buffer.len() > MAX_STANZA {
                return Err(parser.fail_at(parser.line, "", format!("the stanza is longer than {MAX_STANZA} bytes")));
            }
        }
    }
}

/// Returns the place after the last empty line that ends at or after `from`.
fn last_blank_line(text: &[u8], from: usize) -> Option<usize> {
    text[from..].windows(2).rposition(|pair| pair == b"\n\n").map(|at| from + at + 2)
}

#[derive(Default)]
struct Parser {
    names: Interner,
    /// Strings that recur: versions, sections, maintainers, source packages.
    strings: Interner,
    /// Strings that do not: file names and descriptions. Numbered after the others when the index is finished.
    unique: StringTable,
    stanzas: Vec<Stanza>,
    atoms: Vec<Atom>,
    /// Number of the line that comes next.
    line: u64,
}

/// One field of a stanza: its text with the lines that continue it, and its line.
type Field<'a> = Option<(&'a str, u64)>;

impl Parser {
    fn fail_at(&self, line: u64, package: &str, reason: impl Into<String>) -> IndexError {
        IndexError::Stanza { line: line + 1, package: package.chars().take(80).collect(), reason: reason.into() }
    }

    /// Takes whole stanzas.
    fn take(&mut self, text: &[u8]) -> Result<(), IndexError> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let line = text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            self.fail_at(self.line + line as u64, "", "it is not UTF-8")
        })?;
        let mut fields: [Field<'_>; FIELDS.len()] = [None; FIELDS.len()];
        let mut open: Option<(usize, usize)> = None;
        let mut any = false;
        let mut start = self.line;
        let mut at = 0;
        while at < text.len() {
            let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
            let line = &text[at..end];
            let first = line.as_bytes().first().copied();
            if matches!(first, Some(b' ' | b'\t')) && !line.trim_ascii().is_empty() {
                if !any {
                    return Err(self.fail_at(self.line, "", "a line that continues a field stands alone"));
                }
                if let Some((field, from)) = open
                    && let Some(content) = &mut fields[field]
                {
                    content.0 = &text[from..end];
                }
            } else if line.trim_ascii().is_empty() {
                self.finish_stanza(&mut fields, any, start)?;
                (open, any, start) = (None, false, self.line + 1);
            } else if first != Some(b'#') {
                let Some(colon) = line.find(':') else {
                    return Err(self.fail_at(self.line, package_of(&fields), "a field needs a colon after its name"));
                };
                any = true;
                open = field_number(&line[..colon]).map(|field| (field, at + colon + 1));
                if let Some((field, from)) = open {
                    if fields[field].is_some() {
                        return Err(self.fail_at(self.line, package_of(&fields), format!("the field {} occurs twice", FIELDS[field])));
                    }
                    fields[field] = Some((&text[from..end], self.line));
                }
            }
            self.line += 1;
            at = end + 1;
        }
        self.finish_stanza(&mut fields, any, start)
    }

    /// Adds the stanza that was read, if there is one, and clears the fields.
    fn finish_stanza<'a>(&mut self, fields: &mut [Field<'a>; FIELDS.len()], any: bool, start: u64) -> Result<(), IndexError> {
        if any {
            self.add_stanza(fields, start)?;
            *fields = [None; FIELDS.len()];
        }
        Ok(())
    }

    fn add_stanza(&mut self, fields: &[Field<'_>; FIELDS.len()], start: u64) -> Result<(), IndexError> {
        let package = package_of(fields);
        let text = |field: usize| fields[field].map_or("", |(text, _)| text.trim_ascii());
        let line = |field: usize| fields[field].map_or(start, |(_, line)| line);
        let needed = [PACKAGE, VERSION, ARCHITECTURE, FILENAME, SIZE, SHA256];
        if let Some(missing) = needed.into_iter().find(|&field| text(field).is_empty()) {
            return Err(self.fail_at(line(missing), package, format!("the field {} is missing or empty", FIELDS[missing])));
        }
        let checks = [
            (PACKAGE, relation::is_package_name(text(PACKAGE))),
            (VERSION, version::is_well_formed(text(VERSION))),
            (ARCHITECTURE, text(ARCHITECTURE).bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')),
            (FILENAME, stays_below(text(FILENAME))),
            (SECTION, !text(SECTION).contains('\n')),
        ];
        if let Some((wrong, _)) = checks.into_iter().find(|(_, right)| !right) {
            return Err(self.fail_at(line(wrong), package, format!("`{}` is not a valid {}", shown(text(wrong)), FIELDS[wrong])));
        }
        let number = |field: usize| -> Result<u64, IndexError> {
            let not_a_number = |_| self.fail_at(line(field), package, format!("`{}` is not a number", shown(text(field))));
            text(field).parse().map_err(not_a_number)
        };
        let size = number(SIZE)?;
        let installed_kib = if text(INSTALLED_SIZE).is_empty() { 0 } else { number(INSTALLED_SIZE)? };
        let sha256 = *text(SHA256)
            .to_ascii_lowercase()
            .parse::<Sha256Digest>()
            .map_err(|error| self.fail_at(line(SHA256), package, error.to_string()))?
            .as_bytes();
        let yes = |field: usize| text(field).eq_ignore_ascii_case("yes");
        let (source, source_version) = split_source(text(SOURCE), package, text(VERSION));

        let name = self.names.intern(text(PACKAGE))?;
        for (at, kind) in RelationKind::ALL.into_iter().enumerate() {
            if let Some((text, line)) = fields[FIRST_RELATION + at] {
                self.add_relations(kind, text)?.map_err(|error| self.fail_at(line, package, format!("{}: {error}", kind.field())))?;
            }
        }
        let stanza = Stanza {
            name,
            version: self.strings.intern(text(VERSION))?,
            architecture: self.strings.intern(text(ARCHITECTURE))?,
            section: self.strings.intern(text(SECTION))?,
            source: self.strings.intern(source)?,
            source_version: self.strings.intern(source_version)?,
            filename: self.unique.push(text(FILENAME))?,
            description: self.unique.push(text(DESCRIPTION).lines().next().unwrap_or(""))?,
            homepage: self.strings.intern(text(HOMEPAGE))?,
            maintainer: self.strings.intern(text(MAINTAINER))?,
            atoms_end: u32::try_from(self.atoms.len()).map_err(|_| IndexError::TooLarge)?,
            priority: parse_priority(text(PRIORITY)),
            multi_arch: parse_multi_arch(text(MULTI_ARCH)),
            essential: yes(ESSENTIAL),
            protected: yes(IMPORTANT) || yes(PROTECTED),
            size,
            installed_kib,
            sha256,
        };
        self.stanzas.push(stanza);
        Ok(())
    }

    /// Adds the atoms of one field.
    fn add_relations(&mut self, kind: RelationKind, field: &str) -> Result<Result<(), RelationError>, IndexError> {
        let mut full = Ok(());
        let parsed = relation::parse_field(field, |alternative, more| {
            let mut add = || -> Result<(), TableFull> {
                let name = self.names.intern(alternative.name)?;
                let (comparison, version) = match alternative.constraint {
                    None => (Comparison::Equal, NO_VERSION),
                    Some((comparison, version)) => (comparison, self.strings.intern(version)?),
                };
                self.atoms.push(Atom { name, version, kind, comparison, more });
                Ok(())
            };
            if full.is_ok() {
                full = add();
            }
        });
        full?;
        Ok(parsed)
    }

    fn finish(self) -> Result<PackageIndex, IndexError> {
        let Self { names, strings, unique, mut stanzas, mut atoms, .. } = self;
        let mut strings = strings.into_strings();
        let shift = u32::try_from(strings.len()).map_err(|_| IndexError::TooLarge)?;
        strings.append(&unique)?;
        for stanza in &mut stanzas {
            stanza.filename += shift;
            stanza.description += shift;
        }
        stanzas.shrink_to_fit();
        atoms.shrink_to_fit();
        Ok(PackageIndex { names: names.into_strings(), strings, stanzas, atoms })
    }
}

fn package_of<'a>(fields: &[Field<'a>; FIELDS.len()]) -> &'a str {
    fields[PACKAGE].map_or("", |(text, _)| text.trim_ascii())
}

/// Shortens hostile text for messages.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns the number of a field that is kept. Names of fields ignore case; few fields begin alike, so that the first letter sorts most out.
fn field_number(name: &str) -> Option<usize> {
    let first = name.bytes().next()?.to_ascii_uppercase();
    FIELDS.iter().position(|field| field.as_bytes()[0] == first && field.eq_ignore_ascii_case(name))
}

/// Returns whether a path is relative and never leaves the folder that it is relative to.
fn stays_below(path: &str) -> bool {
    !path.starts_with('/')
        && !path.split('/').any(|part| part == "..")
        && !path.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\')
}

/// Splits `Source: name (version)`, where both parts default to the binary package's.
fn split_source<'a>(field: &'a str, package: &'a str, version: &'a str) -> (&'a str, &'a str) {
    match field.split_once('(') {
        _ if field.is_empty() => (package, version),
        None => (field, version),
        Some((source, rest)) => (source.trim_ascii_end(), rest.trim_end_matches(')').trim_ascii()),
    }
}

fn parse_priority(text: &str) -> Priority {
    match text {
        "required" => Priority::Required,
        "important" => Priority::Important,
        "standard" => Priority::Standard,
        "optional" => Priority::Optional,
        _ => Priority::Extra,
    }
}

fn parse_multi_arch(text: &str) -> MultiArch {
    match text {
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}
