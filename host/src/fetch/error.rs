//! Why something could not be fetched.

use std::{fmt, io, time::Duration};

use super::Url;
use crate::{digest::Sha256Digest, store::StoreError};

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is not a URL that can be fetched.
    #[error("`{url}` is not a URL to fetch from: {reason}")]
    InvalidUrl {
        /// The text, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every URL failed.
    #[error("cannot fetch {what}: {}", list(.tries))]
    Failed {
        /// What was to be fetched.
        what: String,
        /// The last failure of each URL.
        tries: Vec<Try>,
    },
    /// The network is not to be used and the file is not there.
    #[error("{what} is not in the store, and the network is off")]
    Offline {
        /// What was to be fetched.
        what: String,
    },
    /// The file was fetched and cannot be kept.
    #[error("cannot store {what}")]
    Store {
        /// What was fetched.
        what: String,
        /// The reason.
        source: StoreError,
    },
    /// The HTTP client cannot be made.
    #[error("cannot start the HTTP client")]
    Client {
        /// The reason.
        source: reqwest::Error,
    },
    /// No threads.
    #[error("cannot start threads for downloads")]
    Runtime {
        /// The reason.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// A download ended without a result, which is a fault of this program.
    #[error("a download of {what} ended without a result")]
    Lost {
        /// What was to be fetched.
        what: String,
    },
}

impl FetchError {
    /// Tells whether all that is wrong is that no URL has the file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { tries, .. } if tries.iter().all(|one| matches!(one.failure, Failure::NotFound { .. })))
    }

    /// Tells whether some URL had a file with other bytes than expected: the metadata may be newer on that mirror.
    #[must_use]
    pub fn is_other_content(&self) -> bool {
        let other = |one: &Try| matches!(one.failure, Failure::WrongDigest { .. } | Failure::WrongSize { .. });
        matches!(self, Self::Failed { tries, .. } if tries.iter().any(other))
    }

    /// Returns what the user can do about it, if something helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.hint_with(Some("OIC_MIRROR_<DISTRIBUTION>"))
    }

    /// Returns what the user can do about it, where `mirror` is the variable that chooses another place to fetch from; without one,
    /// what the template says is the only place.
    #[must_use]
    pub fn hint_with(&self, mirror: Option<&str>) -> Option<String> {
        match self {
            Self::Failed { tries, .. } => tries.iter().find_map(|one| one.failure.hint(mirror)),
            Self::Offline { .. } => Some("run once without --offline, so that it is fetched".to_owned()),
            Self::Store { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// What became of one URL.
#[derive(Debug)]
pub struct Try {
    /// The URL.
    pub url: Url,
    /// How its last attempt failed.
    pub failure: Failure,
}

/// How an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("no connection ({reason})")]
    Unreachable {
        /// The network's words.
        reason: String,
    },
    /// The server, or the disk, does not have it.
    #[error("not found{}", status_words(*.status))]
    NotFound {
        /// The HTTP status; none for files.
        status: Option<u16>,
    },
    /// The server does not give it.
    #[error("refused by the server (HTTP status {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The server cannot give it now.
    #[error("the server failed (HTTP status {status})")]
    Server {
        /// The HTTP status.
        status: u16,
        /// How long to wait before asking again.
        retry_after: Option<Duration>,
    },
    /// Redirects without end.
    #[error("too many redirects")]
    Redirects,
    /// Nothing came any more.
    #[error("stalled: almost nothing came for {limit:?} after {received} bytes")]
    Stalled {
        /// The limit.
        limit: Duration,
        /// How many bytes had come.
        received: u64,
    },
    /// The connection was cut.
    #[error("the connection was cut after {received} bytes ({reason})")]
    Interrupted {
        /// How many bytes had come.
        received: u64,
        /// The network's words.
        reason: String,
    },
    /// The file has another size.
    #[error("it has {} where {expected} bytes were expected", size_words(*.found))]
    WrongSize {
        /// The expected size.
        expected: u64,
        /// The size that the server states; none when it turned out to be too long.
        found: Option<u64>,
    },
    /// The file has another digest.
    #[error("its SHA-256 is {found} where {expected} was expected")]
    WrongDigest {
        /// What was expected.
        expected: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
    /// A document is larger than anything of its kind.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The answer makes no sense.
    #[error("the server's answer makes no sense: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the host cannot be read.
    #[error("cannot be read ({source})")]
    File {
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// Tells whether asking again would give the same.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::Server { .. } | Self::Stalled { .. } | Self::Interrupted { .. })
    }

    /// Tells whether it says something about the server rather than the file.
    pub(super) fn is_of_server(&self) -> bool {
        !matches!(self, Self::NotFound { .. } | Self::Interrupted { .. })
    }

    fn hint(&self, mirror: Option<&str>) -> Option<String> {
        let (words, with_mirror) = match self {
            Self::Unreachable { .. } => ("check the network and http_proxy/https_proxy", "or choose a mirror that you can reach with"),
            Self::Refused { status: 407 } => {
                return Some("the proxy wants a user name and password: http_proxy=http://user:password@host:port".to_owned());
            }
            Self::Refused { .. } => return Some("check user name and password in the repository's URL".to_owned()),
            Self::Server { .. } | Self::Stalled { .. } | Self::Interrupted { .. } => {
                ("run again later: what has been downloaded is kept", "or choose another mirror with")
            }
            Self::WrongSize { .. } | Self::WrongDigest { .. } => (
                "the mirror, or something on the way such as a proxy, gives other bytes than the signed index says",
                "choose another mirror with",
            ),
            _ => return None,
        };
        let separator = match self {
            Self::Unreachable { .. } => ", ",
            Self::WrongSize { .. } | Self::WrongDigest { .. } => ": ",
            _ => "; ",
        };
        let more = if matches!(self, Self::Unreachable { .. }) { " or `mirrors` in oic.yml" } else { "" };
        Some(match (mirror, self) {
            (Some(variable), _) => format!("{words}{separator}{with_mirror} {variable}{more}"),
            (None, Self::Unreachable { .. }) => format!("{words}, and the URL of the repository"),
            (None, _) => words.to_owned(),
        })
    }
}

/// Words an HTTP status that may not be there.
fn status_words(status: Option<u16>) -> String {
    status.map_or_else(String::new, |status| format!(" (HTTP status {status})"))
}

/// Words a size that may not be known.
fn size_words(size: Option<u64>) -> String {
    size.map_or_else(|| "more bytes".to_owned(), |size| format!("{size} bytes"))
}

/// Words the failures of all URLs.
fn list(tries: &[Try]) -> impl fmt::Display {
    let words: Vec<_> = tries.iter().map(|one| format!("{}: {}", one.url, one.failure)).collect();
    words.join("; ")
}
