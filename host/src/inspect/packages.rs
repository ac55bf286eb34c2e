//! The installed packages of both families: dpkg's `status`, and RPM's database.

use super::{
    report::{PackageReport, PackagesReport},
    sqlite::{Database, Value},
};
use crate::{
    causes,
    report::{
        packages::Dependency,
        relations::{self, RpmRelations},
    },
    rootfs::{RootTree, control::Stanza, path::Shown},
};

/// The largest database of dpkg.
const MAX_STATUS: u64 = 256 << 20;
/// The most packages.
const MAX_PACKAGES: usize = 200_000;
/// Where RPM's database is.
pub(super) const RPM: [&str; 2] = ["/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"];
/// Older kinds of RPM's database, which are not read.
const RPM_OLD: [&str; 4] =
    ["/usr/lib/sysimage/rpm/Packages.db", "/var/lib/rpm/Packages.db", "/usr/lib/sysimage/rpm/Packages", "/var/lib/rpm/Packages"];

/// Tags of a header.
pub(super) const NAME: u32 = 1000;
pub(super) const VERSION: u32 = 1001;
pub(super) const RELEASE: u32 = 1002;
pub(super) const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const REQUIRE_FLAGS: u32 = 1048;
const REQUIRE_NAME: u32 = 1049;
const PROVIDE_NAME: u32 = 1047;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;
/// The digest of the header as it is in the package's file.
const SHA256_HEADER: u32 = 273;
pub(super) const ARCH: u32 = 1022;
pub(super) const SOURCE: u32 = 1044;
/// The most entries of a header, and the most values of one of them.
const MAX_TAGS: usize = 4096;
const MAX_VALUES: usize = 1 << 18;

/// Reads the packages of a root filesystem; what cannot be read is added to `problems`.
pub(super) fn read(tree: &RootTree, problems: &mut Vec<String>) -> Option<PackagesReport> {
    if let Some(content) = tree.file("/var/lib/dpkg/status") {
        return match content.read_all(MAX_STATUS) {
            Ok(bytes) if !bytes.is_empty() => {
                // Distroless images have one file for each package beside it.
                Some(debs(dpkg(&String::from_utf8_lossy(&bytes))))
            }
            Ok(_) => rpm(tree, problems),
            Err(error) => {
                problems.push(format!("dpkg's database cannot be read: {error}"));
                None
            }
        };
    }
    let separate: Vec<_> = tree
        .names("/var/lib/dpkg/status.d")
        .filter(|(name, _)| !name.ends_with(b".md5sums"))
        .filter_map(|(name, _)| tree.file(format!("/var/lib/dpkg/status.d/{}", Shown(name)))?.read_all(1 << 20).ok())
        .flat_map(|bytes| dpkg(&String::from_utf8_lossy(&bytes)))
        .collect();
    if separate.is_empty() { rpm(tree, problems) } else { Some(debs(separate)) }
}

/// Sorts packages; what each says of its relations becomes who needs whom.
fn sorted<R>(
    family: &'static str,
    mut packages: Vec<(PackageReport, R)>,
    dependencies: impl FnOnce(&[PackageReport], &[R]) -> Vec<Dependency>,
) -> PackagesReport {
    packages.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (packages, relations): (Vec<PackageReport>, Vec<R>) = packages.into_iter().unzip();
    let dependencies = dependencies(&packages, &relations);
    PackagesReport { family, packages, dependencies }
}

fn debs(packages: Vec<(PackageReport, Option<Stanza>)>) -> PackagesReport {
    sorted("deb", packages, |packages, stanzas| {
        let versions: Vec<_> = packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
        relations::of_debs(&versions, stanzas)
    })
}

/// Reads paragraphs of dpkg: each package, and what it says where it is installed.
fn dpkg(text: &str) -> Vec<(PackageReport, Option<Stanza>)> {
    let paragraph = |paragraph: &str| {
        let field = |name: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let state = field("Status").map(|status| status.rsplit(' ').next().unwrap_or_default().to_owned());
        let state = state.filter(|state| state != "installed");
        if state.as_deref() == Some("not-installed") {
            return None;
        }
        let stanza = if state.is_none() { Stanza::parse(paragraph.as_bytes()).ok() } else { None };
        let package = PackageReport {
            name: field("Package")?,
            version: field("Version").unwrap_or_default(),
            arch: field("Architecture").unwrap_or_default(),
            source: field("Source"),
            license: None,
            state,
            header_sha256: None,
        };
        Some((package, stanza))
    };
    text.split("\n\n").filter_map(paragraph).take(MAX_PACKAGES).collect()
}

fn rpm(tree: &RootTree, problems: &mut Vec<String>) -> Option<PackagesReport> {
    let Some(content) = RPM.iter().find_map(|path| tree.file(path)) else {
        if let Some(path) = RPM_OLD.iter().find(|path| tree.file(path).is_some()) {
            problems.push(format!("`{path}` is a database of an old RPM, which is not read; sqlite databases are"));
        }
        return None;
    };
    let log = RPM.iter().find_map(|path| tree.file(format!("{path}-wal"))).filter(|log| log.size() > 0);
    if log.is_some() {
        problems.push("RPM's database has changes in a write-ahead log, which is not read".to_owned());
    }
    let rows = Database::open(content).and_then(|mut database| database.rows("Packages"));
    match rows {
        Ok(rows) => {
            let packages = rows.unwrap_or_default().iter().take(MAX_PACKAGES).filter_map(|(_, row)| header_of(row)).collect();
            Some(sorted("rpm", packages, |_, relations| relations::of_rpms(relations)))
        }
        Err(error) => {
            problems.push(format!("RPM's database cannot be read: {}", causes::in_one_line(&error)));
            None
        }
    }
}

fn header_of(row: &[Value]) -> Option<(PackageReport, RpmRelations)> {
    let Value::Blob(blob) = row.get(1)? else { return None };
    let header = Header::parse(blob)?;
    let name = header.text(NAME)?;
    // Keys are kept as packages, and are none.
    if name == "gpg-pubkey" {
        return None;
    }
    let (version, release) = (header.text(VERSION)?, header.text(RELEASE)?);
    let epoch = header.number(EPOCH).filter(|epoch| *epoch > 0).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    let package = PackageReport {
        name,
        version: format!("{epoch}{version}-{release}"),
        arch: header.text(ARCH).unwrap_or_default(),
        source: header.text(SOURCE),
        license: header.text(LICENSE),
        state: None,
        header_sha256: header.text(SHA256_HEADER).and_then(|text| text.parse().ok()),
    };
    let mut provides = header.texts(PROVIDE_NAME);
    let folders = header.texts(DIR_NAMES);
    let files = header.texts(BASE_NAMES).into_iter().zip(header.numbers(DIR_INDEXES));
    provides.extend(files.filter_map(|(name, folder)| Some(folders.get(folder as usize)?.clone() + &name)));
    let flags = header.numbers(REQUIRE_FLAGS).into_iter().map(u64::from);
    Some((package, RpmRelations { provides, requires: header.texts(REQUIRE_NAME).into_iter().zip(flags).collect() }))
}

/// A header as the database has it: two counts, the index, the data.
pub(super) struct Header<'a> {
    index: Vec<[u32; 4]>,
    data: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header.
    pub(super) fn parse(blob: &'a [u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(blob.get(at..at.checked_add(4)?)?.try_into().ok()?));
        let (count, length) = (number(0)? as usize, number(4)? as usize);
        if count > MAX_TAGS {
            return None;
        }
        let entry = |index: usize| {
            let at = 8 + index * 16;
            Some([number(at)?, number(at + 4)?, number(at + 8)?, number(at + 12)?])
        };
        let index = (0..count).map(entry).collect::<Option<Vec<_>>>()?;
        let start = 8 + count * 16;
        Some(Self { index, data: blob.get(start..start.checked_add(length)?.min(blob.len()))? })
    }

    fn value(&self, tag: u32) -> Option<(u32, &'a [u8], usize)> {
        let [_, kind, offset, count] = self.index.iter().find(|[known, ..]| *known == tag)?;
        Some((*kind, self.data.get(*offset as usize..)?, *count as usize))
    }

    /// Returns all strings of a tag.
    fn texts(&self, tag: u32) -> Vec<String> {
        let Some((8, data, count)) = self.value(tag) else { return Vec::new() };
        let mut parts = data.split(|byte| *byte == 0);
        // Behind the last zero there is nothing, or what belongs to another tag.
        (0..count.min(MAX_VALUES)).map_while(|_| parts.next()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    /// Returns all numbers of a tag.
    fn numbers(&self, tag: u32) -> Vec<u32> {
        let Some((4, data, count)) = self.value(tag) else { return Vec::new() };
        data.chunks_exact(4).take(count.min(MAX_VALUES)).map(|part| u32::from_be_bytes([part[0], part[1], part[2], part[3]])).collect()
    }

    /// Returns a string, the first of several.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        let (kind, data, _) = self.value(tag)?;
        let text = data.split(|byte| *byte == 0).next().filter(|_| matches!(kind, 6 | 8 | 9))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Returns a number of 32 bits, the first of several.
    pub(super) fn number(&self, tag: u32) -> Option<u32> {
        let (kind, data, _) = self.value(tag)?;
        Some(u32::from_be_bytes(data.get(..4).filter(|_| kind == 4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_of_dpkg() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nPre-Depends: libc6 (>= 2)\nDepends: awk, libc6\n\nPackage: mawk\nStatus: install ok installed\nVersion: 1\nProvides: awk\n\nPackage: libc6\nStatus: install ok installed\nVersion: 2.41-1\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: never\nStatus: install ok not-installed\n";
        let packages = dpkg(text);
        assert_eq!(packages.len(), 4);
        assert_eq!((packages[0].0.version.as_str(), packages[0].0.state.as_deref()), ("5.2-1", None));
        assert_eq!(packages[3].0.state.as_deref(), Some("config-files"));
        let report = debs(packages);
        let named = |at: usize| report.packages[at].name.as_str();
        let found: Vec<_> = report.dependencies.iter().map(|needs| (named(needs.from), named(needs.to), needs.pre)).collect();
        assert_eq!(found, [("bash", "libc6", true), ("bash", "mawk", false)]);
    }

    /// Returns a row of the database with a header of these tags: type, number of values, bytes.
    fn row(tags: &[(u32, u32, u32, &[u8])]) -> [Value; 2] {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, count, bytes) in tags {
            index.extend([*tag, *kind, data.len() as u32, *count]);
            data.extend_from_slice(bytes);
        }
        let numbers = [tags.len() as u32, data.len() as u32].into_iter().chain(index);
        [Value::Other, Value::Blob(numbers.flat_map(u32::to_be_bytes).chain(data).collect())]
    }

    #[test]
    fn who_needs_whom_in_a_database_of_rpm() {
        let digest = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d\0";
        let package = |name: &'static [u8], more: &[(u32, u32, u32, &'static [u8])]| {
            let own: [(u32, u32, u32, &[u8]); 3] = [(NAME, 6, 1, name), (VERSION, 6, 1, b"1\0"), (RELEASE, 6, 1, b"1\0")];
            header_of(&row(&[&own[..], more].concat())).unwrap()
        };
        let packages = vec![
            package(
                b"bash\0",
                &[
                    (SHA256_HEADER, 6, 1, digest.as_bytes()),
                    (PROVIDE_NAME, 8, 2, b"bash\0config(bash)\0"),
                    (DIR_NAMES, 8, 2, b"/etc/\0/usr/bin/\0"),
                    (BASE_NAMES, 8, 2, b"profile\0bash\0"),
                    (DIR_INDEXES, 4, 2, &[0, 0, 0, 0, 0, 0, 0, 1]),
                    (REQUIRE_NAME, 8, 2, b"libc.so.6\0nobody\0"),
                    (REQUIRE_FLAGS, 4, 2, &[0; 8]),
                ],
            ),
            package(b"glibc\0", &[(PROVIDE_NAME, 8, 1, b"libc.so.6\0")]),
            package(b"setup\0", &[(REQUIRE_NAME, 8, 1, b"/usr/bin/bash\0"), (REQUIRE_FLAGS, 4, 1, &[0, 0, 2, 0])]),
        ];
        assert_eq!(packages[0].0.header_sha256.map(|digest| digest.to_string()).as_deref(), digest.strip_suffix('\0'));
        let report = sorted("rpm", packages, |_, relations| relations::of_rpms(relations));
        let needs = |from, to, pre| Dependency { from, to, pre };
        assert_eq!(report.dependencies, [needs(0, 1, false), needs(2, 0, true)]);
    }

    #[test]
    fn a_header_of_rpm() {
        let data = [&b"bash\0"[..], b"5.2\0", b"3.el10\0", b"x86_64\0", &[0; 3], &[0, 0, 0, 2]].concat();
        let entries: [[u32; 4]; 5] = [[NAME, 6, 0, 1], [VERSION, 6, 5, 1], [RELEASE, 6, 9, 1], [ARCH, 6, 16, 1], [EPOCH, 4, 26, 1]];
        let mut blob = Vec::new();
        for number in [entries.len() as u32, data.len() as u32].into_iter().chain(entries.into_iter().flatten()) {
            blob.extend_from_slice(&number.to_be_bytes());
        }
        blob.extend_from_slice(&data);
        let (package, _) = header_of(&[Value::Integer(1), Value::Blob(blob.clone())]).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str(), package.arch.as_str()), ("bash", "2:5.2-3.el10", "x86_64"));
        for length in 0..blob.len() {
            let _ = header_of(&[Value::Other, Value::Blob(blob[..length].to_vec())]);
        }
    }
}
