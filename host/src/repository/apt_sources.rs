//! The archives that a Debian-family host's own apt uses: they are the ones that this machine can reach.
//!
//! Both formats of sources.list(5) are read, and what is not understood is passed over: this only ever finds more places to
//! fetch from. Third-party repositories are kept out as far as they can be told: an archive counts when it has the component
//! `main` and no key of its own beside the distribution's.

use std::{fs, path::Path};

use super::mirror::HostArchive;
use crate::fetch::Url;

/// Keyrings of distributions are called so; sources signed by any other are somebody else's.
const ARCHIVE_KEYRINGS: [&str; 2] = ["debian-archive", "ubuntu-archive"];

/// No file of sources is larger than this.
const SOURCES_LIMIT: u64 = 1 << 20;

/// One source, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    urls: Vec<String>,
    components: Vec<String>,
    signed_by: String,
}

/// Returns the archives of the host in `root`; none when it is no Debian-family host.
pub(super) fn load(root: &Path) -> Vec<HostArchive> {
    let Some(family) = read(&root.join("etc/os-release")).as_deref().and_then(family_of) else { return Vec::new() };
    let mut sources = read(&root.join("etc/apt/sources.list")).map(|text| parse_list(&text)).unwrap_or_default();
    let parts = fs::read_dir(root.join("etc/apt/sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    for path in parts {
        let parse = match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        sources.extend(read(&path).map(|text| parse(&text)).unwrap_or_default());
    }
    let archives = sources.iter().filter(|source| is_archive(source)).flat_map(|source| &source.urls);
    archives.filter_map(|url| Some(HostArchive { family: family.clone(), url: Url::parse(url.trim_end_matches('/')).ok()? })).collect()
}

fn is_archive(source: &Source) -> bool {
    let key = &source.signed_by;
    source.components.iter().any(|component| component == "main")
        && (key.is_empty() || ARCHIVE_KEYRINGS.iter().any(|name| key.contains(name)))
}

fn read(path: &Path) -> Option<String> {
    let is_small = fs::metadata(path).ok()?.len() <= SOURCES_LIMIT;
    is_small.then(|| fs::read_to_string(path).ok())?
}

/// Returns the distribution of a host by os-release(5). Derivatives have archives of their own, so only `ID` counts.
fn family_of(os_release: &str) -> Option<String> {
    let id = os_release.lines().find_map(|line| line.strip_prefix("ID="))?.trim_matches(['"', '\'']);
    ["debian", "ubuntu"].contains(&id).then(|| id.to_owned())
}

/// Parses the one-line format: `deb [option=value …] URL SUITE COMPONENT…`.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut signed_by = String::new();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, behind) = options.split_once(']')?;
        signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).unwrap_or_default().to_owned();
        rest = behind;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (url, _suite) = (words.next()?, words.next()?);
    Some(Source { urls: vec![url], components: words.collect(), signed_by })
}

/// Parses the deb822 format: stanzas of fields.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(source_of(&std::mem::take(&mut stanza)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            stanza.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(stanza: &[(String, String)]) -> Option<Source> {
    let value = |name: &str| stanza.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
    let words = |name: &str| value(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let is_on = !["no", "false", "0", "off", "disable", "without"].contains(&value("enabled").to_ascii_lowercase().as_str());
    let is_binary = words("types").iter().any(|kind| kind == "deb");
    (is_on && is_binary).then(|| Source { urls: words("uris"), components: words("components"), signed_by: value("signed-by").to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> String {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        load(root.path()).iter().map(|archive| format!("{} {}", archive.family, archive.url)).collect::<Vec<_>>().join("\n")
    }

    const DEBIAN: (&str, &str) = ("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n");

    #[test]
    fn debian_with_stanzas() {
        let sources = "Types: deb\n# http://other.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            Types: deb deb-src\nURIs: http://mirror.example/debian-security\n https://second.example/debian-security\n\
            Suites: bookworm-security\nComponents: main non-free-firmware\n\n\
            Types: deb-src\nURIs: http://source.example/debian\nSuites: bookworm\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n\n\
            Types: deb\nURIs: https://vendor.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\n\
            Types: deb\nURIs: cdrom:[Debian] mirror+file:/etc/mirrors\nSuites: bookworm\nComponents: main\n";
        insta::assert_snapshot!(host(&[DEBIAN, ("etc/apt/sources.list.d/debian.sources", sources)]), @"
        debian http://mirror.example/debian
        debian http://mirror.example/debian-security
        debian https://second.example/debian-security
        ");
    }

    #[test]
    fn debian_with_lines() {
        let list = "# comment\ndeb http://mirror.example/debian bookworm main contrib # end\n\
            deb-src http://source.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian-security/ bookworm-security main\n\
            deb [signed-by=/etc/apt/keyrings/docker.asc] https://download.vendor.example/linux/debian bookworm main\n\
            deb https://download.vendor.example/linux/debian bookworm stable\ndeb\ndeb [\n";
        let files = [DEBIAN, ("etc/apt/sources.list", list), ("etc/apt/sources.list.d/off.list.save", list)];
        insta::assert_snapshot!(host(&files), @"
        debian http://mirror.example/debian
        debian http://mirror.example/debian-security
        ");
    }

    #[test]
    fn other_hosts_have_none() {
        let list = ("etc/apt/sources.list", "deb http://mirror.example/debian bookworm main\n");
        assert_eq!(host(&[list]), "");
        assert_eq!(host(&[("etc/os-release", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), list]), "");
        assert_eq!(host(&[("etc/os-release", "ID=fedora\n"), list]), "");
        assert_eq!(host(&[("etc/os-release", "ID=\"ubuntu\"\n"), list]), "ubuntu http://mirror.example/debian");
    }
}
