//! Downloads into the store: parallel, resumed, retried; the only module that touches the network.
//!
//! ```text
//! Fetcher ──documents()──▶ small files in memory         (Release, keys: nothing is known of them before)
//!         ──download()───▶ store::Import ─▶ store entry  (indexes, packages: size and SHA-256 are known before)
//! ```
//!
//! # One file
//!
//! Every file has one or more URLs, the mirrors first that have not failed in this process. In each *round* every URL that
//! has not failed for good is tried once; between rounds there is a pause that doubles, with jitter. A URL fails for good
//! with what will not change by asking again: not found, not allowed, too many redirects, wrong size, wrong bytes.
//! Connections refused, cut or stalled and answers 408, 429 and 5xx are tried again. Rounds are bounded, and a round that
//! brought a good piece of the file is not counted: an interrupted download goes on where it stopped, as HTTP range request.
//!
//! A download stalls when almost nothing arrives for [`Settings::stall`]; there is no limit on the total time.
//!
//! # Trust
//!
//! Nothing that comes from the network is believed: a download becomes a store entry only when size and SHA-256 are right,
//! documents are bounded in size and verified by their caller. URLs are shown without user names and passwords, which
//! [`Url`] sees to.
//!
//! # Concurrency
//!
//! A [`Fetcher`] owns a tokio runtime; its methods block. Observers are called from the caller's thread.
//!
//! `http_proxy`, `https_proxy` and `no_proxy` count as curl has them.

mod client;
mod document;
mod download;
mod error;
mod retry;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transfer;
mod url;

use std::{sync::Arc, time::Duration};

use oic_builder_vm::Cancel;
use tokio::sync::Semaphore;

pub use document::{Document, DocumentRequest, Validators};
pub use download::Download;
pub use error::{Failure, FetchError, Try};
pub use url::Url;

use retry::MirrorHealth;

/// How downloads are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many files are under way at a time.
    pub workers: usize,
    /// How long a connection may bring almost nothing.
    pub stall: Duration,
    /// How many rounds without progress are made.
    pub rounds: u32,
    /// The pause after the first round; it doubles with each.
    pub backoff: Duration,
    /// Whether the network is not to be used at all. Files of the host are.
    pub offline: bool,
    /// Ends every download at once when it is cancelled. What has come is kept.
    pub cancel: Option<Cancel>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: 8, stall: Duration::from_secs(30), rounds: 5, backoff: Duration::from_millis(500), offline: false, cancel: None }
    }
}

/// How often the user's wish to stop is looked for.
const CANCEL_POLL: Duration = Duration::from_millis(50);

impl Settings {
    /// Returns when the user wishes to stop, and never otherwise.
    async fn stopped(&self) {
        let Some(cancel) = &self.cancel else { return std::future::pending().await };
        while !cancel.is_cancelled() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }
}

/// Makes downloads.
#[derive(Debug)]
pub struct Fetcher {
    runtime: tokio::runtime::Runtime,
    shared: Arc<Shared>,
}

/// What all transfers of a fetcher share.
#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    settings: Settings,
    health: MirrorHealth,
    slots: Semaphore,
}

impl Fetcher {
    /// Makes a fetcher.
    ///
    /// # Errors
    /// Fails when threads or the HTTP client cannot be started.
    pub fn new(settings: Settings) -> Result<Self, FetchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, |count| count.get().min(4)))
            .thread_name("fetch")
            .enable_all()
            .build()
            .map_err(|source| FetchError::Runtime { source })?;
        let client = client::build(&settings)?;
        let slots = Semaphore::new(settings.workers.clamp(1, 256));
        Ok(Self { runtime, shared: Arc::new(Shared { client, settings, health: MirrorHealth::default(), slots }) })
    }

    /// Runs to the end, or to the user's wish to stop.
    fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, FetchError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.shared.settings.stopped() => Err(FetchError::Cancelled),
                outcome = work => Ok(outcome),
            }
        })
    }

    /// Tells whether the network is off.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.shared.settings.offline
    }
}
