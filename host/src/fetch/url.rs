//! URLs whose text form never shows a user name or a password.

use std::fmt;

use super::FetchError;
use crate::digest::Sha256Digest;

/// An `http`, `https` or `file` URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url(reqwest::Url);

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    /// Fails when the text is not a URL, or one with another scheme.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let invalid = |reason: String| FetchError::InvalidUrl { url: without_user(text), reason };
        let url = reqwest::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            "file" if url.to_file_path().is_ok() => Ok(Self(url)),
            "file" => Err(invalid("a file URL needs an absolute path of this machine".to_owned())),
            other => Err(invalid(format!("the scheme `{other}` is not known; http, https and file are"))),
        }
    }

    /// Returns the URL of a path below this one. The path is taken literally: what has a meaning in URLs is escaped, and `.`
    /// and `..` are dropped.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/').filter(|segment| !segment.is_empty()));
        }
        Self(url)
    }

    /// Returns the URL of a file or folder of this machine.
    ///
    /// # Errors
    /// Fails when the path is not absolute.
    pub fn of_path(path: &std::path::Path) -> Result<Self, FetchError> {
        let invalid = |()| FetchError::InvalidUrl { url: path.display().to_string(), reason: "the path is not absolute".to_owned() };
        reqwest::Url::from_file_path(path).map(Self).map_err(invalid)
    }

    /// Returns the URL with another last part of the path.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().pop().push(name);
        }
        Self(url)
    }

    /// Returns the last part of the path that is not empty.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.0.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Tells whether it is a file of this machine.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.scheme() == "file"
    }

    /// Tells whether nobody on the way can change what comes from it.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.0.scheme() != "http"
    }

    /// Returns the digest of the whole URL, credentials included: a name for it that can be written down.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.0.as_str().as_bytes())
    }

    /// Returns what identifies the server: scheme, host and port.
    pub(super) fn server(&self) -> String {
        format!("{}://{}:{}", self.0.scheme(), self.0.host_str().unwrap_or_default(), self.0.port_or_known_default().unwrap_or_default())
    }

    /// Returns the URL as the HTTP client takes it, credentials included.
    pub(super) fn inner(&self) -> &reqwest::Url {
        &self.0
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_user(self.0.as_str()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Returns the text of a URL, valid or not, without what stands before the host.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("//") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}//***@{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        let cases = [
            ("http://user:secret@host/path", "http://***@host/path"),
            ("http://secret@host", "http://***@host/"),
            ("https://user:sec%40ret@host:8080/a@b?c=d", "https://***@host:8080/a@b?c=d"),
            ("http://host/a@b", "http://host/a@b"),
        ];
        for (text, shown) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        for bad in ["ftp://user:secret@host/path", "http://user:secret@ho st/", "file://user:secret@host/path"] {
            let error = Url::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn paths_below_are_taken_literally_and_stay_below() {
        let base = Url::parse("http://host/debian/?x#y").unwrap();
        let cases = [
            ("pool/main/g/g++_1%3a2~rc+1.deb", "http://host/debian/pool/main/g/g++_1%253a2~rc+1.deb"),
            ("./a//b", "http://host/debian/a/b"),
            ("../../etc/passwd", "http://host/debian/etc/passwd"),
            ("a?b#c", "http://host/debian/a%3Fb%23c"),
        ];
        for (path, url) in cases {
            assert_eq!(base.below(path).to_string(), url);
        }
        assert_eq!(base.last_segment(), "debian");
        assert_eq!(Url::parse("http://u:p@host/a/debian/").unwrap().sibling("other").inner().as_str(), "http://u:p@host/a/other");
        assert_eq!(Url::of_path("/a b/c".as_ref()).unwrap().to_string(), "file:///a%20b/c");
        assert!(Url::of_path("a".as_ref()).is_err());
    }
}
