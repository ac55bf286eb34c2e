//! The package sources that an image lists: one file per repository, each bound to its own keys.
//!
//! The distribution's own repositories are listed where no package of the distribution does it: always for apt, never for dnf, whose
//! distributions ship a package with them. What the template adds is always listed.

use std::collections::BTreeMap;

use oic_config::spec::{ImageSpec, Repository, RepositoryFormat, RepositoryLocation};
use oic_protocol::FileEntry;

use super::files::root_file;

/// The keys of repositories, by their ids: one file each.
pub type RepositoryKeys = BTreeMap<String, Vec<u8>>;

/// apt's priority of a source that says nothing.
const APT_PRIORITY: i32 = 500;

/// apt's priority of a source that packages can be installed from and that upgrades none: below 100, that of what is installed.
const NO_UPGRADES: i32 = 50;

/// dnf's priority of a source that says nothing.
const DNF_PRIORITY: i32 = 99;

/// Programs that read `/etc/yum.repos.d`.
const DNF: [&str; 5] = ["dnf", "dnf5", "tdnf", "microdnf", "yum"];

/// Returns the files of all sources. `installed` tells whether a package is in the image.
pub(super) fn files(spec: &ImageSpec, keys: &RepositoryKeys, installed: &impl Fn(&str) -> bool) -> Vec<FileEntry> {
    let mut files = Vec::new();
    let listed = || spec.repositories.iter().filter(|repository| repository.in_image);
    if installed("apt") {
        let keyring = format!("{}-archive-keyring", spec.target.os);
        let packaged = (installed(&keyring) || installed("ubuntu-keyring")).then(|| format!("/usr/share/keyrings/{keyring}.gpg"));
        for repository in listed().filter(|repository| repository.format == RepositoryFormat::Deb) {
            files.extend(apt_source(spec, repository, keys.get(&repository.id), packaged.as_deref()));
        }
    }
    if DNF.into_iter().any(installed) {
        for repository in listed().filter(|repository| repository.format == RepositoryFormat::Rpm && !repository.is_base) {
            files.extend(dnf_source(repository, keys.get(&repository.id)));
        }
    }
    files
}

/// Returns a deb822 source, its key, and its pin.
///
/// The distribution's own repositories name the keyring that a package keeps up to date, where there is one; every other key
/// is written beside the source.
fn apt_source(spec: &ImageSpec, repository: &Repository, key: Option<&Vec<u8>>, packaged_keyring: Option<&str>) -> Vec<FileEntry> {
    let RepositoryLocation::Url(url) = &repository.location else { return Vec::new() };
    let mut files = Vec::new();
    let stem = file_stem(&repository.id);
    let mut source = format!("Types: deb\nURIs: {url}\nSuites: {}\n", repository.suite);
    if !repository.suite.ends_with('/') {
        source += &format!("Components: {}\n", repository.components.join(" "));
    }
    match (packaged_keyring.filter(|_| repository.is_base), key.filter(|_| !repository.trusted)) {
        (Some(path), _) => source += &format!("Signed-By: {path}\n"),
        (None, Some(bytes)) => {
            let extension = if bytes.starts_with(b"-----BEGIN") { "asc" } else { "gpg" };
            let path = format!("/etc/apt/keyrings/{stem}.{extension}");
            files.push(root_file(&path, bytes.clone()));
            source += &format!("Signed-By: {path}\n");
        }
        (None, None) if repository.trusted => source += "Trusted: yes\n",
        // Without its key it would be bound to all keys that apt has.
        (None, None) => return Vec::new(),
    }
    files.push(root_file(&format!("/etc/apt/sources.list.d/{stem}.sources"), source));
    if let Some(pins) = apt_pins(spec, repository) {
        files.push(root_file(&format!("/etc/apt/preferences.d/{stem}.pref"), pins));
    }
    files
}

/// Returns what apt needs to prefer a repository as the template does. apt knows repositories by their server, so that nothing can be
/// said of one whose server has another repository of the image, too.
fn apt_pins(spec: &ImageSpec, repository: &Repository) -> Option<String> {
    let server = |repository: &Repository| match &repository.location {
        RepositoryLocation::Url(url) => url.split_once("://")?.1.split(['/', ':']).next().map(str::to_owned),
        RepositoryLocation::Path(_) => None,
    };
    let own = server(repository)?;
    let limits_nothing = repository.allow_packages.is_empty() && repository.excludes.is_empty();
    let priority = if repository.upgrades { repository.priority } else { repository.priority.min(NO_UPGRADES) };
    let is_plain = priority == APT_PRIORITY && limits_nothing;
    let is_shared = spec.repositories.iter().any(|other| other.id != repository.id && server(other).as_ref() == Some(&own));
    if repository.is_base || is_plain || is_shared {
        return None;
    }
    let pin = |packages: &str, priority: i32| format!("Package: {packages}\nPin: origin \"{own}\"\nPin-Priority: {priority}\n");
    // Of the pins with names the first that matches counts; the one for all comes after them wherever it stands.
    let mut pins = Vec::new();
    if !repository.excludes.is_empty() {
        pins.push(pin(&excluded(repository), -1));
    }
    if repository.allow_packages.is_empty() {
        pins.push(pin("*", priority));
    } else {
        pins.push(pin(&repository.allow_packages.join(" "), priority));
        pins.push(pin("*", -1));
    }
    Some(pins.join("\n"))
}

/// Returns what is not taken from a repository, as apt and dnf list it.
fn excluded(repository: &Repository) -> String {
    repository.excludes.iter().map(|exclude| exclude.glob.as_str()).collect::<Vec<_>>().join(" ")
}

/// Returns a `.repo` file and its key.
fn dnf_source(repository: &Repository, key: Option<&Vec<u8>>) -> Vec<FileEntry> {
    let RepositoryLocation::Url(url) = &repository.location else { return Vec::new() };
    let stem = file_stem(&repository.id);
    let mut files = Vec::new();
    let flag = |is_on: bool| if is_on { 1 } else { 0 };
    let mut source = format!("[{stem}]\nname={stem}\nbaseurl={url}\nenabled=1\n");
    source += &format!("gpgcheck={}\nrepo_gpgcheck={}\n", flag(!repository.trusted), flag(repository.require_metadata_signature));
    if key.is_none() && !repository.trusted {
        return Vec::new();
    }
    if let Some(bytes) = key.filter(|_| !repository.trusted) {
        let path = format!("/etc/pki/rpm-gpg/RPM-GPG-KEY-{stem}");
        files.push(root_file(&path, bytes.clone()));
        source += &format!("gpgkey=file://{path}\n");
    }
    if repository.priority != DNF_PRIORITY {
        source += &format!("priority={}\n", repository.priority);
    }
    if !repository.allow_packages.is_empty() {
        source += &format!("includepkgs={}\n", repository.allow_packages.join(" "));
    }
    if !repository.excludes.is_empty() {
        source += &format!("excludepkgs={}\n", excluded(repository));
    }
    files.push(root_file(&format!("/etc/yum.repos.d/{stem}.repo"), source));
    files
}

/// Returns a repository's name as part of a file name that apt and dnf read.
fn file_stem(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use oic_config::{
        LoadRequest,
        spec::{Exclude, RepositoryKey},
    };
    use oic_protocol::FileContent;

    use super::*;

    fn shown(files: &[FileEntry]) -> String {
        let content = |file: &FileEntry| match &file.content {
            FileContent::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "not inline".to_owned(),
        };
        files.iter().map(|file| format!("== {}\n{}\n", file.path, content(file).trim_end())).collect()
    }

    fn spec() -> ImageSpec {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
        let mut spec = oic_config::load(&LoadRequest { template, ..LoadRequest::default() }).unwrap().spec;
        spec.repositories.truncate(1);
        let extra = Repository {
            id: "x.org/extra".to_owned(),
            location: RepositoryLocation::Url("https://x.org/debian".to_owned()),
            suite: "stable".to_owned(),
            components: vec!["main".to_owned()],
            keys: vec![RepositoryKey::Url("https://x.org/key".to_owned())],
            is_base: false,
            priority: 600,
            allow_packages: vec!["hello".to_owned(), "lib*".to_owned()],
            excludes: vec![Exclude { glob: "libx*".to_owned(), origin: "template.yml:3:1".to_owned() }],
            ..spec.repositories[0].clone()
        };
        let folder = Repository { id: "local".to_owned(), location: RepositoryLocation::Path("/srv/packages".into()), ..extra.clone() };
        spec.repositories.extend([extra, folder]);
        spec
    }

    #[test]
    fn every_source_is_bound_to_its_own_key() {
        let keys = RepositoryKeys::from([("x.org/extra".to_owned(), b"-----BEGIN KEY".to_vec())]);
        let mut spec = spec();
        insta::assert_snapshot!(shown(&files(&spec, &keys, &|name: &str| ["apt", "debian-archive-keyring"].contains(&name))), @r#"
        == /etc/apt/sources.list.d/debian13.sources
        Types: deb
        URIs: https://mirrors.kernel.org/debian
        Suites: trixie
        Components: main contrib non-free non-free-firmware
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        == /etc/apt/keyrings/x-org-extra.asc
        -----BEGIN KEY
        == /etc/apt/sources.list.d/x-org-extra.sources
        Types: deb
        URIs: https://x.org/debian
        Suites: stable
        Components: main
        Signed-By: /etc/apt/keyrings/x-org-extra.asc
        == /etc/apt/preferences.d/x-org-extra.pref
        Package: libx*
        Pin: origin "x.org"
        Pin-Priority: -1

        Package: hello lib*
        Pin: origin "x.org"
        Pin-Priority: 600

        Package: *
        Pin: origin "x.org"
        Pin-Priority: -1
        "#);
        spec.repositories.iter_mut().for_each(|repository| {
            repository.format = RepositoryFormat::Rpm;
            repository.priority = 50;
        });
        insta::assert_snapshot!(shown(&files(&spec, &keys, &|name: &str| name == "tdnf")), @"
        == /etc/pki/rpm-gpg/RPM-GPG-KEY-x-org-extra
        -----BEGIN KEY
        == /etc/yum.repos.d/x-org-extra.repo
        [x-org-extra]
        name=x-org-extra
        baseurl=https://x.org/debian
        enabled=1
        gpgcheck=1
        repo_gpgcheck=1
        gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-x-org-extra
        priority=50
        includepkgs=hello lib*
        excludepkgs=libx*
        ");
        assert!(files(&spec, &keys, &|_: &str| false).is_empty());
    }

    #[test]
    fn a_source_that_may_not_upgrade_is_pinned_below_what_is_installed() {
        let mut spec = spec();
        let pins = |spec: &ImageSpec| apt_pins(spec, &spec.repositories[1]);
        spec.repositories[1].upgrades = false;
        assert!(pins(&spec).is_some_and(|text| text.contains("Pin-Priority: 50\n") && text.contains("Pin-Priority: -1\n")));
        spec.repositories[1].allow_packages.clear();
        spec.repositories[1].excludes.clear();
        assert!(pins(&spec).is_some_and(|text| text.starts_with("Package: *\n") && text.ends_with("Pin-Priority: 50\n")));
        spec.repositories[1].priority = -10;
        assert!(pins(&spec).is_some_and(|text| text.ends_with("Pin-Priority: -10\n")), "what is never installed stays so");
    }
}
