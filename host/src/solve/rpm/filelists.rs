//! `filelists.xml`: all files of all packages. Only asked where `primary.xml` cannot answer, and only for the paths in question.

use std::{collections::BTreeSet, io::BufRead};

use super::{
    index::{Failure, IndexError},
    xml::{Step, XmlReader},
};

/// A package that has a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileOwner {
    /// The digest of the package file, as in `primary.xml`.
    pub checksum: String,
    /// The path.
    pub path: String,
}

/// Returns whether `primary.xml` lists all files with this path.
#[must_use]
pub fn is_in_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

/// Finds the packages that have one of the `wanted` paths, in the order of the document.
///
/// # Errors
/// Fails when reading fails and when the document is malformed.
pub fn find_owners(document: impl BufRead, wanted: &BTreeSet<String>) -> Result<Vec<FileOwner>, IndexError> {
    let mut xml = XmlReader::new(document);
    let mut owners = Vec::new();
    let mut checksum = String::new();
    let mut is_file = false;
    loop {
        let depth = xml.depth();
        let stepped = match xml.next() {
            Ok(Step::Open(tag)) => match (depth, tag.name()) {
                (0, "filelists") => Ok(()),
                (0, other) => Err(Failure::from(format!("its root is `{other}` rather than `filelists`"))),
                (1, "package") => tag.attribute("pkgid").map(|id| checksum = id.unwrap_or_default()).map_err(Failure::from),
                (2, name) => {
                    is_file = name == "file";
                    Ok(())
                }
                _ => Ok(()),
            },
            Ok(Step::Close(path)) => {
                if is_file && depth == 3 && wanted.contains(path) {
                    owners.push(FileOwner { checksum: checksum.to_ascii_lowercase(), path: path.to_owned() });
                }
                is_file = false;
                Ok(())
            }
            Ok(Step::End) => return Ok(owners),
            Err(error) => Err(error.into()),
        };
        stepped.map_err(|failure| failure.at("filelists", xml.position(), ""))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_paths_are_found() {
        let text = r#"<filelists packages="2"><package pkgid="AB" name="a" arch="noarch"><version epoch="0" ver="1" rel="1"/>
            <file>/opt/a</file><file type="dir">/opt</file></package>
            <package pkgid="cd" name="b" arch="noarch"><file>/opt/b</file><file>/opt/a</file></package></filelists>"#;
        let wanted = ["/opt/a", "/opt/none"].map(str::to_owned).into();
        let owners = find_owners(text.as_bytes(), &wanted).unwrap();
        let found: Vec<_> = owners.iter().map(|owner| (&*owner.checksum, &*owner.path)).collect();
        assert_eq!(found, [("ab", "/opt/a"), ("cd", "/opt/a")]);
        assert!(find_owners(&b"<otherdata/>"[..], &wanted).is_err());
        assert!(find_owners(&b"<filelists>"[..], &wanted).is_err());
    }

    #[test]
    fn primary_lists_what_scripts_and_configuration_need() {
        for (path, expected) in [("/usr/bin/vi", true), ("/sbin/ldconfig", true), ("/etc/passwd", true), ("/usr/share/x", false)] {
            assert_eq!(is_in_primary(path), expected, "{path}");
        }
    }
}
