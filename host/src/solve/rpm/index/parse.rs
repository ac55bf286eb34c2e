//! Reads `primary.xml`.
//!
//! Goes through the document tag by tag and holds one package at a time; what does not count for the solver or the SBOM is passed over.

use std::{
    borrow::Cow,
    collections::HashSet,
    io::{self, BufRead},
};

use super::{Atom, ChecksumKind, PackageIndex, RelationKind, Row};
use crate::solve::{
    rpm::{
        dependency::{Dependency, is_rich},
        evr::Sense,
        xml::{Step, Tag, XmlError, XmlReader},
    },
    strings::{Interner, TableFull},
};

/// How many dependencies one package may have. The most in Fedora are some 20,000, of kernels.
const MAX_ATOMS: usize = 1 << 20;

/// The document is not one of the kind that is expected.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It could not be read to its end.
    #[error("the {document} document cannot be read")]
    Read {
        /// Which kind of document: `primary`, `filelists`, `comps`, `updateinfo`.
        document: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is malformed.
    #[error("byte {position} of the {document} document{}: {reason}", of_package(.package))]
    Malformed {
        /// Which kind of document: `primary`, `filelists`, `comps`, `updateinfo`.
        document: &'static str,
        /// How many bytes were read.
        position: u64,
        /// The package or group; empty when that is unknown.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// There is more in it than an index can hold.
    #[error("the {document} document is too large: its strings exceed 4 GiB")]
    TooLarge {
        /// Which kind of document: `primary`, `filelists`, `comps`, `updateinfo`.
        document: &'static str,
    },
}

fn of_package(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!(", {package}") }
}

/// Why a step fails, before its place is known.
pub(in crate::solve::rpm) enum Failure {
    Xml(XmlError),
    Content(String),
    Full,
}

impl Failure {
    /// Returns the error of a document at a place.
    pub(in crate::solve::rpm) fn at(self, document: &'static str, position: u64, package: &str) -> IndexError {
        let malformed = |reason| IndexError::Malformed { document, position, package: package.to_owned(), reason };
        match self {
            Self::Xml(XmlError::Read(source)) => IndexError::Read { document, source },
            Self::Xml(XmlError::Malformed(reason)) | Self::Content(reason) => malformed(reason),
            Self::Full => IndexError::TooLarge { document },
        }
    }
}

impl From<XmlError> for Failure {
    fn from(error: XmlError) -> Self {
        Self::Xml(error)
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Content(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Content(reason.to_owned())
    }
}

impl From<TableFull> for Failure {
    fn from(TableFull: TableFull) -> Self {
        Self::Full
    }
}

impl PackageIndex {
    /// Parses `primary.xml`. Source packages are passed over, and so are packages whose digest occurred before.
    ///
    /// # Errors
    /// Fails when reading fails and at the first thing that is malformed.
    pub fn parse(document: impl BufRead) -> Result<Self, IndexError> {
        let mut xml = XmlReader::new(document);
        let mut parser = Parser::default();
        loop {
            // The position is that of the tag after which something was found wrong.
            let stepped = match xml.next() {
                Ok(Step::Open(tag)) => parser.open(&tag),
                Ok(Step::Close(text)) => parser.close(text),
                Ok(Step::End) => break,
                Err(error) => Err(error.into()),
            };
            stepped.map_err(|failure| failure.at("primary", xml.position(), &parser.current.label()))?;
        }
        if !parser.saw_root {
            return Err(Failure::from("it has no `metadata` element").at("primary", xml.position(), ""));
        }
        Ok(parser.finish())
    }
}

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Root,
    Package,
    Format,
    Text(Field),
    Relations(RelationKind),
    File,
    Other,
}

/// The fields that are an element's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arch,
    Checksum,
    Summary,
    Url,
    License,
    Vendor,
    Source,
}

/// The package that is being read.
#[derive(Debug, Default)]
struct Current {
    is_rpm: bool,
    name: String,
    arch: String,
    evr: String,
    location: String,
    checksum: String,
    checksum_kind: Option<ChecksumKind>,
    source: String,
    summary: String,
    license: String,
    vendor: String,
    url: String,
    size: u64,
    installed_size: u64,
}

impl Current {
    fn label(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("package {}", self.name) }
    }

    fn text(&mut self, field: Field) -> &mut String {
        match field {
            Field::Name => &mut self.name,
            Field::Arch => &mut self.arch,
            Field::Checksum => &mut self.checksum,
            Field::Summary => &mut self.summary,
            Field::Url => &mut self.url,
            Field::License => &mut self.license,
            Field::Vendor => &mut self.vendor,
            Field::Source => &mut self.source,
        }
    }
}

#[derive(Default)]
struct Parser {
    names: Interner,
    strings: Interner,
    rows: Vec<Row>,
    atoms: Vec<Atom>,
    digests: HashSet<u32>,
    open: Vec<Element>,
    current: Current,
    /// A version while it is put together.
    evr: String,
    saw_root: bool,
}

impl Parser {
    fn open(&mut self, tag: &Tag<'_>) -> Result<(), Failure> {
        let name = tag.name();
        let element = match (self.open.last(), name) {
            (None, "metadata") => {
                self.saw_root = true;
                Element::Root
            }
            (None, other) => return Err(format!("its root is `{other}` rather than `metadata`").into()),
            (Some(Element::Root), "package") => {
                let is_rpm = tag.attribute("type")?.as_deref().is_none_or(|kind| kind == "rpm");
                self.current = Current { is_rpm, ..Current::default() };
                Element::Package
            }
            (Some(Element::Package), "format") => Element::Format,
            (Some(Element::Package), _) => self.open_in_package(name, tag)?,
            (Some(Element::Format), _) => in_format(name),
            (Some(Element::Relations(kind)), "entry") => {
                self.relation(*kind, tag)?;
                Element::Other
            }
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn open_in_package(&mut self, name: &str, tag: &Tag<'_>) -> Result<Element, Failure> {
        let current = &mut self.current;
        match name {
            "name" => return Ok(Element::Text(Field::Name)),
            "arch" => return Ok(Element::Text(Field::Arch)),
            "summary" => return Ok(Element::Text(Field::Summary)),
            "url" => return Ok(Element::Text(Field::Url)),
            "checksum" => {
                let kind = tag.attribute("type")?.unwrap_or_default();
                current.checksum_kind =
                    Some(ChecksumKind::from_name(&kind).ok_or_else(|| format!("its checksum is of an unknown kind, `{kind}`"))?);
                return Ok(Element::Text(Field::Checksum));
            }
            "version" => {
                current.evr.clear();
                put_evr(tag, &mut current.evr, true)?;
            }
            "size" => tag.attributes(|key, value| {
                let number = || value.parse().map_err(|_| format!("its {key} size is no number: `{value}`"));
                match key {
                    "package" => current.size = number()?,
                    "installed" => current.installed_size = number()?,
                    _ => {}
                }
                Ok(())
            })?,
            "location" => {
                if tag.attribute("base")?.is_some() {
                    return Err("it is at another base URL than its repository".into());
                }
                current.location = tag.attribute("href")?.unwrap_or_default();
            }
            _ => {}
        }
        Ok(Element::Other)
    }

    fn close(&mut self, text: &str) -> Result<(), Failure> {
        match self.open.pop() {
            Some(Element::Text(field)) => text.trim().clone_into(self.current.text(field)),
            Some(Element::File) if self.current.is_rpm => self.file(text)?,
            Some(Element::Package) => self.close_package()?,
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<(), Failure> {
        if !path.starts_with('/') {
            return Err(format!("its file `{path}` has no absolute path").into());
        }
        let name = self.names.intern(path)?;
        let evr = self.strings.intern("")?;
        self.push(Atom { name, evr, kind: RelationKind::File, sense: Sense::ANY })
    }

    fn push(&mut self, atom: Atom) -> Result<(), Failure> {
        let start = self.rows.last().map_or(0, |row| row.atoms_end) as usize;
        if self.atoms.len() - start >= MAX_ATOMS {
            return Err("it has too many dependencies".into());
        }
        self.atoms.push(atom);
        Ok(())
    }

    fn relation(&mut self, kind: RelationKind, tag: &Tag<'_>) -> Result<(), Failure> {
        if !self.current.is_rpm {
            return Ok(());
        }
        let (mut name, mut sense) = (String::new(), Sense::ANY);
        tag.attributes(|key, value| {
            match key {
                "name" => name = value.into_owned(),
                "flags" => sense = Sense::from_flags(&value).ok_or_else(|| format!("`{value}` is no comparison of versions"))?,
                _ => {}
            }
            Ok(())
        })?;
        let tag_name = kind.tag();
        if name.is_empty() || name.contains(|c: char| c.is_control()) {
            return Err(format!("one of its {tag_name} has an impossible name, `{}`", name.escape_debug()).into());
        }
        if is_rich(&name) {
            if kind.is_offer() || kind == RelationKind::Obsoletes {
                return Err(format!("one of its {tag_name} is a rich dependency: `{name}`").into());
            }
            Dependency::parse(&name).map_err(|error| error.to_string())?;
        } else if kind == RelationKind::Requires && name.starts_with("rpmlib(") {
            // What the RPM that installs it must be able to do: that is found out when it installs.
            return Ok(());
        }
        self.evr.clear();
        if sense != Sense::ANY {
            put_evr(tag, &mut self.evr, false)?;
        }
        let sense = if self.evr.is_empty() { Sense::ANY } else { sense };
        let (name, evr) = (self.names.intern(&name)?, self.strings.intern(&self.evr)?);
        self.push(Atom { name, evr, kind, sense })
    }

    fn close_package(&mut self) -> Result<(), Failure> {
        let current = std::mem::take(&mut self.current);
        let atoms_start = self.rows.last().map_or(0, |row| row.atoms_end);
        if !current.is_rpm || matches!(&*current.arch, "src" | "nosrc") {
            self.atoms.truncate(atoms_start as usize);
            return Ok(());
        }
        let checked = check_package(&current);
        let Ok(checksum_kind) = checked else {
            self.current = current;
            return checked.map(drop);
        };
        let checksum = self.strings.intern(&current.checksum.to_ascii_lowercase())?;
        if !self.digests.insert(checksum) {
            self.atoms.truncate(atoms_start as usize);
            return Ok(());
        }
        let atoms_end = u32::try_from(self.atoms.len()).map_err(|_| TableFull)?;
        let mut intern = |text: &str| self.strings.intern(text);
        self.rows.push(Row {
            name: self.names.intern(&current.name)?,
            evr: intern(&current.evr)?,
            arch: intern(&current.arch)?,
            location: intern(&current.location)?,
            checksum,
            source: intern(&current.source)?,
            summary: intern(&current.summary)?,
            license: intern(&current.license)?,
            vendor: intern(&current.vendor)?,
            url: intern(&current.url)?,
            atoms_end,
            checksum_kind,
            size: current.size,
            installed_size: current.installed_size,
        });
        Ok(())
    }

    fn finish(self) -> PackageIndex {
        let (mut rows, mut atoms) = (self.rows, self.atoms);
        rows.shrink_to_fit();
        atoms.shrink_to_fit();
        PackageIndex { names: self.names.into_strings(), strings: self.strings.into_strings(), rows, atoms }
    }
}

/// Returns what an element of `format` means.
fn in_format(name: &str) -> Element {
    match name {
        "license" => Element::Text(Field::License),
        "vendor" => Element::Text(Field::Vendor),
        "sourcerpm" => Element::Text(Field::Source),
        "file" => Element::File,
        _ => RelationKind::ALL
            .into_iter()
            .find(|kind| *kind != RelationKind::File && kind.tag().eq_ignore_ascii_case(name))
            .map_or(Element::Other, Element::Relations),
    }
}

/// Appends the version that the attributes of an element tell. An epoch of 0 is only written when it is asked for.
fn put_evr(tag: &Tag<'_>, evr: &mut String, always_epoch: bool) -> Result<(), Failure> {
    let (mut epoch, mut version, mut release) = (String::new(), String::new(), String::new());
    tag.attributes(|key, value| {
        match key {
            "epoch" => epoch = value.into_owned(),
            "ver" => version = value.into_owned(),
            "rel" => release = value.into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    if !epoch.bytes().all(|byte| byte.is_ascii_digit()) || epoch.len() > 10 {
        return Err(format!("its epoch is no number: `{epoch}`").into());
    }
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable(&version) || !printable(&release) {
        return Err(format!("its version has characters that no version has: `{version}-{release}`").into());
    }
    if version.is_empty() {
        return Ok(());
    }
    if always_epoch || !(epoch.is_empty() || epoch == "0") {
        evr.push_str(if epoch.is_empty() { "0" } else { &epoch });
        evr.push(':');
    }
    evr.push_str(&version);
    if !release.is_empty() {
        evr.push('-');
        evr.push_str(&release);
    }
    Ok(())
}

fn check_package(current: &Current) -> Result<ChecksumKind, Failure> {
    let what =
        |what: &str, text: &str| -> Cow<'static, str> { format!("its {what} is missing or impossible: `{}`", text.escape_debug()).into() };
    let fail = |text: Cow<'static, str>| Failure::Content(text.into_owned());
    if !is_package_name(&current.name) {
        return Err(fail(what("name", &current.name)));
    }
    if current.arch.is_empty() || !current.arch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(fail(what("architecture", &current.arch)));
    }
    if current.evr.is_empty() {
        return Err(fail(what("version", &current.evr)));
    }
    if !is_safe_location(&current.location) {
        return Err(fail(what("location", &current.location)));
    }
    match current.checksum_kind {
        Some(kind) if is_digest(kind, &current.checksum.to_ascii_lowercase()) => Ok(kind),
        _ => Err(fail(what("checksum", &current.checksum))),
    }
}

/// Returns whether `name` can be a package's name.
pub(super) fn is_package_name(name: &str) -> bool {
    let forbidden = b"/:()<>=,;*?[]{}'\"\\`$&|!#";
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_graphic() && !forbidden.contains(&byte))
}

/// Returns whether `location` is a path that stays below the repository's base.
pub(super) fn is_safe_location(location: &str) -> bool {
    let safe_part = |part: &str| !matches!(part, "" | "." | "..");
    location.split('/').all(safe_part) && !location.contains(|c: char| c.is_control() || c == '\\') && !location.contains("://")
}

/// Returns whether `text` is a lowercase hexadecimal digest of the kind.
pub(super) fn is_digest(kind: ChecksumKind, text: &str) -> bool {
    text.len() == kind.digits() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
