//! Where a repository can be fetched from instead of its canonical URL.
//!
//! In this order:
//!
//! 1. What the user has configured (`mirrors.<key>`, `OIC_MIRROR_<KEY>`) for the repository's
//!    [`mirror_key`](oic_config::spec::Repository::mirror_key): then only that. One that is set for `debian` also says where
//!    `debian-security` is: beside it. That is a guess, so the other places are tried after it.
//! 2. On a host of the same family, the places of its own apt sources that have the same archive.
//! 3. The canonical URL.
//!
//! Mirrors are only places to fetch from; nothing here is trusted. Locks and images never name them.

use std::{collections::BTreeMap, path::Path};

use super::apt_sources;
use crate::fetch::Url;

/// The mirrors of this user and this host.
#[derive(Debug, Clone, Default)]
pub struct MirrorTable {
    configured: BTreeMap<String, Vec<Url>>,
    /// Distribution of the host (`debian`), and where its archive is.
    host: Vec<HostArchive>,
}

/// An archive that the host's own apt uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostArchive {
    /// `debian`, `ubuntu`: the family that the host belongs to.
    pub(super) family: String,
    /// Where it is.
    pub(super) url: Url,
}

impl MirrorTable {
    /// Returns the table for the configured mirrors, by key, and the host in `root`, which is `/` but for tests.
    #[must_use]
    pub fn load(configured: &BTreeMap<String, Url>, root: &Path) -> Self {
        let configured = configured.iter().map(|(key, url)| (key.clone(), vec![url.clone()])).collect();
        Self { configured, host: apt_sources::load(root) }
    }

    /// Returns a table of nothing but the given mirrors, by key.
    #[must_use]
    pub fn only(configured: BTreeMap<String, Vec<Url>>) -> Self {
        Self { configured, host: Vec::new() }
    }

    /// Returns where a repository with this key and this canonical URL is, the best place first.
    #[must_use]
    pub fn urls(&self, key: &str, canonical: &Url) -> Vec<Url> {
        if key.is_empty() || canonical.is_file() {
            return vec![canonical.clone()];
        }
        let mut guesses = Vec::new();
        for candidate in [key, key.split('-').next().unwrap_or(key)] {
            let found = self.configured.get(candidate).cloned().unwrap_or_default();
            let beside: Vec<_> = found.iter().map(|url| beside(url, candidate, canonical)).collect();
            if !found.is_empty() && candidate == key && beside == found {
                return found;
            }
            guesses.extend(beside);
        }
        let host = self
            .host
            .iter()
            .filter(|archive| key.split('-').next() == Some(&*archive.family) && archive.url.last_segment() == canonical.last_segment());
        let mut urls = Vec::new();
        for url in guesses.iter().chain(host.map(|archive| &archive.url)).chain([canonical]) {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
        urls
    }
}

/// Returns the place of a canonical archive at a mirror that is configured for `key`: where the mirror's last part is the
/// key's own archive and the canonical one is another, they are taken to be neighbours.
fn beside(mirror: &Url, key: &str, canonical: &Url) -> Url {
    let (has, wants) = (mirror.last_segment(), canonical.last_segment());
    if has == key && has != wants && wants.starts_with(key) { mirror.sibling(wants) } else { mirror.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn table(configured: &[(&str, &str)], host: &[(&str, &str)]) -> MirrorTable {
        let configured = configured.iter().map(|(key, mirror)| ((*key).to_owned(), vec![url(mirror)])).collect();
        let host = host.iter().map(|(family, mirror)| HostArchive { family: (*family).to_owned(), url: url(mirror) }).collect();
        MirrorTable { configured, host }
    }

    fn shown(table: &MirrorTable, key: &str, canonical: &str) -> String {
        table.urls(key, &url(canonical)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn mirrors_in_order() {
        let (main, security) = ("https://canonical/debian", "https://canonical/debian-security");
        let host = [("debian", "http://host/debian"), ("debian", "http://host/debian-security"), ("ubuntu", "http://host/ubuntu")];
        let none = table(&[], &host);
        assert_eq!(shown(&none, "debian", main), "http://host/debian https://canonical/debian");
        assert_eq!(shown(&none, "debian", security), "http://host/debian-security https://canonical/debian-security");
        assert_eq!(shown(&none, "debian-security", security), "http://host/debian-security https://canonical/debian-security");
        assert_eq!(shown(&none, "", main), main);
        assert_eq!(shown(&none, "ubuntu", "http://ports/ubuntu-ports"), "http://ports/ubuntu-ports");

        let set = table(&[("debian", "http://mine/debian")], &host);
        assert_eq!(shown(&set, "debian", main), "http://mine/debian");
        let guessed = "http://mine/debian-security http://host/debian-security https://canonical/debian-security";
        assert_eq!(shown(&set, "debian", security), guessed);
        assert_eq!(shown(&set, "debian-security", security), guessed);

        let both = table(&[("debian", "http://mine/debian"), ("debian-security", "http://mine/sec")], &host);
        assert_eq!(shown(&both, "debian-security", security), "http://mine/sec");
        assert_eq!(shown(&both, "ubuntu", "http://canonical/ubuntu"), "http://host/ubuntu http://canonical/ubuntu");
    }
}
