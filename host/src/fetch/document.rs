//! Small files whose content is not known before: signed Release files, keys.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    FetchError, Fetcher, Shared, Url,
    error::Failure,
    retry::Attempts,
    transfer::{self, Answer},
};

/// What a server said to recognise a version of a document by (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Validators {
    /// Tells whether there is nothing to recognise the document by.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// A wish for a document.
#[derive(Debug, Clone)]
pub struct DocumentRequest {
    /// What it is, for messages.
    pub what: String,
    /// Where it is: any of these.
    pub urls: Vec<Url>,
    /// No document of its kind is larger.
    pub limit: u64,
    /// The version that is in the store, so that it need not come again, and the URL that said so.
    pub known: Option<(Url, Validators)>,
}

/// A document.
#[derive(Debug, Clone)]
pub struct Document {
    /// The URL that had it.
    pub url: Url,
    /// Its bytes; none when it is still the known version.
    pub bytes: Option<Vec<u8>>,
    /// What to recognise it by the next time.
    pub validators: Validators,
}

impl Fetcher {
    /// Fetches documents, several at a time, and returns the outcomes in the order of the requests.
    #[must_use]
    pub fn documents(&self, requests: &[DocumentRequest]) -> Vec<Result<Document, FetchError>> {
        let outcomes = self.block_on(async {
            let mut tasks = JoinSet::new();
            for (at, request) in requests.iter().cloned().enumerate() {
                let shared = Arc::clone(&self.shared);
                tasks.spawn(async move { (at, fetch(&shared, &request).await) });
            }
            let mut outcomes: Vec<_> = requests.iter().map(|request| Err(FetchError::Lost { what: request.what.clone() })).collect();
            while let Some(joined) = tasks.join_next().await {
                if let Ok((at, outcome)) = joined {
                    outcomes[at] = outcome;
                }
            }
            outcomes
        });
        outcomes.unwrap_or_else(|_| requests.iter().map(|_| Err(FetchError::Cancelled)).collect())
    }

    /// Fetches one document.
    ///
    /// # Errors
    /// Fails when no URL has it, and when the network is off.
    pub fn document(&self, request: &DocumentRequest) -> Result<Document, FetchError> {
        self.block_on(fetch(&self.shared, request))?
    }
}

async fn fetch(shared: &Shared, request: &DocumentRequest) -> Result<Document, FetchError> {
    let urls = shared.usable(&request.what, &request.urls)?;
    let _slot = shared.slots.acquire().await;
    let mut attempts = Attempts::new(&shared.settings, &shared.health, &urls);
    loop {
        for at in attempts.round() {
            match attempt(shared, request, attempts.url(at)).await {
                Ok(document) => {
                    attempts.succeeded(at);
                    return Ok(document);
                }
                Err(failure) => attempts.failed(at, failure, 0),
            }
        }
        match attempts.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(attempts.into_error(&request.what)),
        }
    }
}

async fn attempt(shared: &Shared, request: &DocumentRequest, url: &Url) -> Result<Document, Failure> {
    let none = Validators::default();
    let known = request.known.as_ref().filter(|(known, _)| known == url).map_or(&none, |(_, validators)| validators);
    let mut opened = match transfer::open(shared, url, 0, known).await? {
        Answer::Opened(opened) => opened,
        Answer::NotModified => return Ok(Document { url: url.clone(), bytes: None, validators: known.clone() }),
    };
    let too_large = || Failure::TooLarge { limit: request.limit };
    if opened.total.is_some_and(|total| total > request.limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = opened.next().await? {
        if (bytes.len() + piece.len()) as u64 > request.limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Document { url: url.clone(), bytes: Some(bytes), validators: opened.validators })
}

impl Shared {
    /// Returns the URLs that may be used now.
    pub(super) fn usable(&self, what: &str, urls: &[Url]) -> Result<Vec<Url>, FetchError> {
        let usable: Vec<_> = urls.iter().filter(|url| url.is_file() || !self.settings.offline).cloned().collect();
        if usable.is_empty() { Err(FetchError::Offline { what: what.to_owned() }) } else { Ok(usable) }
    }
}
