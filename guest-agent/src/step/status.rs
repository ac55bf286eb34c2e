//! dpkg's database, read by us.

use oic_protocol::AgentError;

use crate::rootfs::Rootfs;

/// dpkg's folder in the target.
pub(super) const ADMIN: &str = "/var/lib/dpkg";

/// The state of a package that is there and configured.
pub(super) const INSTALLED: &str = "install ok installed";

/// Reads the database as text.
pub(super) fn read(rootfs: &Rootfs) -> Result<String, AgentError> {
    rootfs.read_text(&format!("{ADMIN}/status"))
}

/// What dpkg's database says of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'s> {
    pub(super) package: &'s str,
    pub(super) architecture: &'s str,
    pub(super) state: &'s str,
}

impl Entry<'_> {
    /// Returns whether a name, with `:architecture` or without, means this package.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let (package, architecture) = name.split_once(':').unwrap_or((name, ""));
        self.package == package && (architecture.is_empty() || self.architecture == architecture)
    }
}

/// Reads the entries of dpkg's database that have a state.
pub(super) fn entries(status: &str) -> Vec<Entry<'_>> {
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let package = value(paragraph, "Package:")?;
            Some(Entry {
                package,
                architecture: value(paragraph, "Architecture:").unwrap_or_default(),
                state: value(paragraph, "Status:")?,
            })
        })
        .collect()
}

/// Finds a field of a paragraph.
fn value<'s>(paragraph: &'s str, label: &str) -> Option<&'s str> {
    paragraph.lines().find_map(|line| line.strip_prefix(label)).map(str::trim)
}
