//! What an image of the RPM family has instead of RPM's database: the lists that the toolkit of Azure Linux writes and that scanners of
//! container images read.
//!
//! ```text
//! container-manifest-1    name-version-release.arch
//! container-manifest-2    ten columns, a tab between two: name, version-release, time of installation, time of building, vendor,
//!                         `(none)`, size, architecture, epoch as a number, source package
//! ```
//!
//! One line for each package in the order of the database, no header. What a package does not have is `(none)`.

use super::{
    packages::{ARCH, EPOCH, Header, NAME, RELEASE, RPM, SOURCE, VERSION},
    sqlite::{Database, SqliteError, Value},
};
use crate::rootfs::{Content, RootTree, TreeError};

/// Tags of a header that only these lists have.
const BUILD_TIME: u32 = 1006;
const INSTALL_TIME: u32 = 1008;
const SIZE: u32 = 1009;
const VENDOR: u32 = 1011;

/// The folder of the lists.
const FOLDER: &str = "/var/lib/rpmmanifest";
/// What RPM writes for what is not there.
const NONE: &str = "(none)";

/// Why there are no lists.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is no database that is read.
    #[error("the image has no `{}`, the database of its packages", RPM.join("` and no `"))]
    NoDatabase,
    /// The database has changes that are not in it yet.
    #[error("`{path}` is a write-ahead log: the database of the packages is not complete without it")]
    Log {
        /// The log.
        path: String,
    },
    /// The database cannot be read.
    #[error("cannot read the database of the packages, `{path}`: {reason}")]
    Database {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A list cannot be written into the image.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl ManifestError {
    fn database(path: &str, error: &SqliteError) -> Self {
        Self::Database { path: path.to_owned(), reason: crate::causes::in_one_line(error) }
    }
}

/// Puts the lists in the place of the database. Times are RPM's own: where `SOURCE_DATE_EPOCH` is set, it counts from there.
///
/// # Errors
/// Fails when the database is not there or cannot be read.
pub fn replace_database(tree: &mut RootTree, time: i64) -> Result<(), ManifestError> {
    let (path, content) = RPM.iter().find_map(|path| Some((*path, tree.file(path)?))).ok_or(ManifestError::NoDatabase)?;
    let log = format!("{path}-wal");
    if tree.file(&log).is_some_and(|content| content.size() > 0) {
        return Err(ManifestError::Log { path: log });
    }
    let rows = Database::open(content).and_then(|mut database| database.rows("Packages"));
    let mut rows = rows.map_err(|error| ManifestError::database(path, &error))?.unwrap_or_default();
    rows.sort_by_key(|(number, _)| *number);
    let (mut first, mut second) = (String::new(), String::new());
    for (number, row) in &rows {
        let header = match row.get(1) {
            Some(Value::Blob(blob)) => Header::parse(blob),
            _ => None,
        };
        let lines = header.as_ref().and_then(lines);
        let (short, long) =
            lines.ok_or_else(|| ManifestError::Database { path: path.to_owned(), reason: format!("entry {number} is no package") })?;
        first += &short;
        second += &long;
    }
    for folder in ["/var/lib/rpm", "/usr/lib/sysimage/rpm"] {
        tree.remove(folder);
    }
    tree.make_directories(FOLDER, time)?;
    for (number, text) in [(1, first), (2, second)] {
        tree.write_file(format!("{FOLDER}/container-manifest-{number}"), Content::bytes(text.into_bytes()), 0o644, time)?;
    }
    Ok(())
}

/// Returns a package's line in either list.
fn lines(header: &Header<'_>) -> Option<(String, String)> {
    let (name, version, release) = (header.text(NAME)?, header.text(VERSION)?, header.text(RELEASE)?);
    let number = |tag| header.number(tag).map_or_else(|| NONE.to_owned(), |number| number.to_string());
    let text = |tag| header.text(tag).unwrap_or_else(|| NONE.to_owned());
    let arch = header.text(ARCH);
    let columns = [
        name.clone(),
        format!("{version}-{release}"),
        number(INSTALL_TIME),
        number(BUILD_TIME),
        text(VENDOR),
        // The toolkit writes this whatever the epoch is; the real one follows further down.
        NONE.to_owned(),
        number(SIZE),
        text(ARCH),
        header.number(EPOCH).unwrap_or(0).to_string(),
        text(SOURCE),
    ];
    let suffix = arch.map(|arch| format!(".{arch}")).unwrap_or_default();
    Some((format!("{name}-{version}-{release}{suffix}\n"), format!("{}\n", columns.join("\t"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a header with texts and numbers.
    fn header(texts: &[(u32, &str)], numbers: &[(u32, u32)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, number) in numbers {
            index.extend([*tag, 4, data.len() as u32, 1]);
            data.extend(number.to_be_bytes());
        }
        for (tag, text) in texts {
            index.extend([*tag, 6, data.len() as u32, 1]);
            data.extend(text.bytes().chain([0]));
        }
        let counts = [(index.len() / 4) as u32, data.len() as u32];
        let numbers = counts.into_iter().chain(index).flat_map(u32::to_be_bytes);
        numbers.chain(data).collect()
    }

    #[test]
    fn a_line_has_ten_columns() {
        let texts =
            [(NAME, "openssl"), (VERSION, "3.3.5"), (RELEASE, "1.azl3"), (ARCH, "x86_64"), (SOURCE, "openssl-3.3.5-1.azl3.src.rpm")];
        let blob = header(&texts, &[(BUILD_TIME, 1_700_000_000), (INSTALL_TIME, 1_800_000_017), (SIZE, 1234)]);
        let (short, long) = lines(&Header::parse(&blob).unwrap()).unwrap();
        assert_eq!(short, "openssl-3.3.5-1.azl3.x86_64\n");
        assert_eq!(long, "openssl\t3.3.5-1.azl3\t1800000017\t1700000000\t(none)\t(none)\t1234\tx86_64\t0\topenssl-3.3.5-1.azl3.src.rpm\n");
        let blob = header(&[(NAME, "gpg-pubkey"), (VERSION, "1"), (RELEASE, "2"), (VENDOR, "Test")], &[(EPOCH, 3)]);
        let (short, long) = lines(&Header::parse(&blob).unwrap()).unwrap();
        assert_eq!(short, "gpg-pubkey-1-2\n");
        assert_eq!(long, "gpg-pubkey\t1-2\t(none)\t(none)\tTest\t(none)\t(none)\t(none)\t3\t(none)\n");
    }

    /// The database of an image, and rpm itself with the format that the toolkit gives it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "only tests read this variable")]
    fn the_lists_are_those_of_rpm() {
        use crate::{exec, rootfs::testing};
        const FORMAT: &str = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{INSTALLTIME}\\t%{BUILDTIME}\\t%{VENDOR}\\t(none)\\t%{SIZE}\\t%{ARCH}\\t%{EPOCHNUM}\\t%{SOURCERPM}\\n";
        let (Some(folder), Some(rpm)) = (std::env::var_os("OIC_TEST_RPMDB"), testing::tool("rpm")) else {
            testing::skip("there is no rpm, or no folder with a database of RPM (OIC_TEST_RPMDB)");
            return;
        };
        let bytes = std::fs::read(std::path::Path::new(&folder).join("rpmdb.sqlite")).unwrap();
        let mut tree = RootTree::new(crate::rootfs::Metadata::root_owned(0o755, 0));
        tree.write_file("/var/lib/rpm/rpmdb.sqlite", Content::bytes(bytes), 0o644, 0).unwrap();
        replace_database(&mut tree, 0).unwrap();
        for (number, format) in [(1, None), (2, Some(FORMAT))] {
            let mut command = rpm.command();
            command.arg("--dbpath").arg(&folder).arg("-qa");
            if let Some(format) = format {
                command.args(["--qf", format]);
            }
            let said = exec::run(&mut command).unwrap();
            let ours = tree.file(format!("{FOLDER}/container-manifest-{number}")).unwrap().read_all(1 << 24).unwrap();
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&said), "container-manifest-{number}");
        }
    }

    #[test]
    fn an_image_without_a_database_is_refused() {
        let mut tree = RootTree::new(crate::rootfs::Metadata::root_owned(0o755, 0));
        let error = replace_database(&mut tree, 0).unwrap_err();
        insta::assert_snapshot!(error, @"the image has no `/usr/lib/sysimage/rpm/rpmdb.sqlite` and no `/var/lib/rpm/rpmdb.sqlite`, the database of its packages");
        tree.write_file("/var/lib/rpm/rpmdb.sqlite", Content::bytes(b"not a database".to_vec()), 0o644, 0).unwrap();
        assert!(matches!(replace_database(&mut tree, 0), Err(ManifestError::Database { .. })));
        assert!(tree.file("/var/lib/rpm/rpmdb.sqlite").is_some(), "nothing is removed before the lists are there");
        tree.write_file("/var/lib/rpm/rpmdb.sqlite-wal", Content::bytes(b"log".to_vec()), 0o644, 0).unwrap();
        assert!(matches!(replace_database(&mut tree, 0), Err(ManifestError::Log { .. })));
    }
}
