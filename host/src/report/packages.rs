//! The packages of an image as reports see them, and `packages.txt`: one line per package, sorted, made for `diff` and `grep`.
//!
//! ```text
//! NAME VERSION ARCHITECTURE
//! ```

use oic_config::spec::Ecosystem;

use crate::digest::Sha256Digest;

/// A package that is in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageRecord {
    /// Name.
    pub name: String,
    /// Architecture as the ecosystem writes it.
    pub arch: String,
    /// Full version, epoch and revision included.
    pub version: String,
    /// Name and version of the source package, where they are known.
    pub source: Option<(String, String)>,
    /// Canonical URL of the package file; none for a package from a local folder.
    pub url: Option<String>,
    /// Digest of the package file, where it is known.
    pub sha256: Option<Sha256Digest>,
    /// Digest of the package's header alone, which is what a database of RPM has.
    pub header_sha256: Option<Sha256Digest>,
    /// Licence as an SPDX expression, where it is known.
    pub license: Option<String>,
    /// Whether the template asks for it by name.
    pub requested: bool,
}

/// What packages of one image have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The package family.
    pub ecosystem: Ecosystem,
    /// The vendor as package URLs have it: `debian`, `ubuntu`, `azurelinux`.
    pub vendor: String,
    /// The release as package URLs have it: `debian-13`; empty: left out.
    pub release: String,
}

/// One package needs another. Both are positions in the list of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The one that needs.
    pub from: usize,
    /// The one that is needed.
    pub to: usize,
    /// Whether it must be configured before the other is unpacked (Pre-Depends).
    pub pre: bool,
}

/// Returns `packages.txt`.
#[must_use]
pub fn render(packages: &[PackageRecord]) -> String {
    let mut lines: Vec<_> = packages.iter().map(|package| format!("{} {} {}\n", package.name, package.version, package.arch)).collect();
    lines.sort();
    lines.concat()
}

/// Packages and dependencies for the tests of all reports: awkward names, two versions of one name, a cycle.
#[cfg(test)]
pub(super) fn example() -> (Vec<PackageRecord>, Vec<Dependency>) {
    let package = |name: &str, version: &str, arch: &str, requested| PackageRecord {
        name: name.into(),
        version: version.into(),
        arch: arch.into(),
        source: (name == "libstdc++6").then(|| ("gcc-14".into(), "14.2.0-19".into())),
        url: (name != "local").then(|| format!("https://mirrors.kernel.org/debian/pool/{name}_{version}_{arch}.deb")),
        sha256: Some(Sha256Digest::of(name.as_bytes())),
        header_sha256: None,
        license: (name == "bash").then(|| "GPL-3.0-or-later".into()),
        requested,
    };
    let packages = vec![
        package("libc6", "2.41-12+deb13u1", "amd64", false),
        package("libstdc++6", "14.2.0-19", "amd64", false),
        package("libstdc--6", "1:1~rc 1", "amd64", false),
        package("bash", "5.2.37-2+b5", "amd64", true),
        package("libc6", "2.41-12+deb13u1", "i386", false),
        package("local", "1", "all", true),
    ];
    let edge = |from, to, pre| Dependency { from, to, pre };
    (packages, vec![edge(3, 0, true), edge(1, 0, false), edge(0, 1, false), edge(5, 3, false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_whatever_the_order() {
        let (mut packages, _) = example();
        let text = render(&packages);
        packages.reverse();
        assert_eq!(text, render(&packages));
        insta::assert_snapshot!(text, @"
        bash 5.2.37-2+b5 amd64
        libc6 2.41-12+deb13u1 amd64
        libc6 2.41-12+deb13u1 i386
        libstdc++6 14.2.0-19 amd64
        libstdc--6 1:1~rc 1 amd64
        local 1 all
        ");
    }
}
