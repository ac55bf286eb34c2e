//! The installed packages of both families: dpkg's `status`, and RPM's database.

use super::{
    report::{PackageReport, PackagesReport},
    sqlite::{Database, Value},
};
use crate::{
    causes,
    report::relations,
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
pub(super) const ARCH: u32 = 1022;
pub(super) const SOURCE: u32 = 1044;
/// The most entries of a header.
const MAX_TAGS: usize = 4096;

/// Reads the packages of a root filesystem; what cannot be read is added to `problems`.
pub(super) fn read(tree: &RootTree, problems: &mut Vec<String>) -> Option<PackagesReport> {
    if let Some(content) = tree.file("/var/lib/dpkg/status") {
        return match content.read_all(MAX_STATUS) {
            Ok(bytes) if !bytes.is_empty() => {
                // Distroless images have one file for each package beside it.
                Some(sorted("deb", dpkg(&String::from_utf8_lossy(&bytes))))
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
    if separate.is_empty() { rpm(tree, problems) } else { Some(sorted("deb", separate)) }
}

fn sorted(family: &'static str, mut packages: Vec<(PackageReport, Option<Stanza>)>) -> PackagesReport {
    packages.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (packages, stanzas): (Vec<PackageReport>, Vec<Option<Stanza>>) = packages.into_iter().unzip();
    let versions: Vec<_> = packages.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
    let dependencies = relations::of_debs(&versions, &stanzas);
    PackagesReport { family, packages, dependencies }
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
        Ok(rows) => Some(sorted("rpm", rows.unwrap_or_default().iter().take(MAX_PACKAGES).filter_map(|(_, row)| header_of(row)).collect())),
        Err(error) => {
            problems.push(format!("RPM's database cannot be read: {}", causes::in_one_line(&error)));
            None
        }
    }
}

fn header_of(row: &[Value]) -> Option<(PackageReport, Option<Stanza>)> {
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
    };
    Some((package, None))
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

    fn value(&self, tag: u32) -> Option<(u32, &'a [u8])> {
        let [_, kind, offset, _] = self.index.iter().find(|[known, ..]| *known == tag)?;
        Some((*kind, self.data.get(*offset as usize..)?))
    }

    /// Returns a string, the first of several.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        let (kind, data) = self.value(tag)?;
        let text = data.split(|byte| *byte == 0).next().filter(|_| matches!(kind, 6 | 8 | 9))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Returns a number of 32 bits, the first of several.
    pub(super) fn number(&self, tag: u32) -> Option<u32> {
        let (kind, data) = self.value(tag)?;
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
        let report = sorted("deb", packages);
        let named = |at: usize| report.packages[at].name.as_str();
        let found: Vec<_> = report.dependencies.iter().map(|needs| (named(needs.from), named(needs.to), needs.pre)).collect();
        assert_eq!(found, [("bash", "libc6", true), ("bash", "mawk", false)]);
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
