//! One attempt at one URL.

use std::{
    error::Error as _,
    fs::File,
    io::{self, Read as _, Seek as _},
    time::{Duration, Instant},
};

use reqwest::{StatusCode, header};

use super::{Failure, Settings, Shared, Url, Validators};

/// Less than this in one stall limit is a stall: a server that sends a byte now and then does not keep a build waiting.
const TRICKLE: u64 = 1024;

/// How much is read from a file of the host at a time.
const FILE_PIECE: usize = 64 * 1024;

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Opened {
    source: Source,
    stall: StallWatch,
    /// Position of the first byte that will come.
    pub(super) offset: u64,
    /// Size of the whole file, where the server states it.
    pub(super) total: Option<u64>,
    /// What to ask for the next time.
    pub(super) validators: Validators,
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Here it comes.
    Opened(Opened),
    /// It is as it was.
    NotModified,
}

#[derive(Debug)]
enum Source {
    Http(Box<reqwest::Response>),
    File(File),
}

#[derive(Debug)]
struct StallWatch {
    limit: Duration,
    since: Instant,
    received_before: u64,
    received: u64,
}

impl StallWatch {
    fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), received_before: 0, received: 0 }
    }

    /// Notes that bytes came. Fails when too few came since the last time that enough had.
    fn note(&mut self, count: usize) -> Result<(), Failure> {
        self.received += count as u64;
        if self.received - self.received_before >= TRICKLE {
            self.since = Instant::now();
            self.received_before = self.received;
        }
        if self.since.elapsed() > self.limit { Err(self.stalled()) } else { Ok(()) }
    }

    fn stalled(&self) -> Failure {
        Failure::Stalled { limit: self.limit, received: self.received }
    }
}

impl Opened {
    /// Returns the next bytes, none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let piece = match &mut self.source {
            Source::File(file) => {
                let mut piece = vec![0; FILE_PIECE];
                let count = file.read(&mut piece).map_err(|source| Failure::File { source })?;
                piece.truncate(count);
                (count > 0).then_some(piece)
            }
            Source::Http(response) => match tokio::time::timeout(self.stall.limit, response.chunk()).await {
                Err(_) => return Err(self.stall.stalled()),
                Ok(Err(error)) => return Err(Failure::Interrupted { received: self.stall.received, reason: reason(&error) }),
                Ok(Ok(piece)) => piece.map(Vec::from),
            },
        };
        self.stall.note(piece.as_ref().map_or(0, Vec::len))?;
        Ok(piece)
    }
}

/// Asks for a URL from an offset on.
pub(super) async fn open(shared: &Shared, url: &Url, offset: u64, validators: &Validators) -> Result<Answer, Failure> {
    if url.is_file() { open_file(url, offset, &shared.settings) } else { open_http(shared, url, offset, validators).await }
}

fn open_file(url: &Url, offset: u64, settings: &Settings) -> Result<Answer, Failure> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::NotFound { status: None },
        _ => Failure::File { source },
    };
    let path = url.inner().to_file_path().map_err(|()| Failure::NotFound { status: None })?;
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::NotFound { status: None });
    }
    file.seek(io::SeekFrom::Start(offset)).map_err(failed)?;
    let (source, stall, total) = (Source::File(file), StallWatch::new(settings.stall), Some(metadata.len()));
    Ok(Answer::Opened(Opened { source, stall, offset, total, validators: Validators::default() }))
}

async fn open_http(shared: &Shared, url: &Url, offset: u64, validators: &Validators) -> Result<Answer, Failure> {
    let mut request = shared.client.get(url.inner().clone());
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    if let Some(tag) = &validators.etag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    if let Some(date) = &validators.last_modified {
        request = request.header(header::IF_MODIFIED_SINCE, date);
    }
    let stall = StallWatch::new(shared.settings.stall);
    let response = match tokio::time::timeout(stall.limit, request.send()).await {
        Err(_) => return Err(stall.stalled()),
        Ok(Err(error)) => return Err(request_failure(&error)),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    match status {
        StatusCode::OK => Ok(Answer::Opened(opened(response, stall, 0, None))),
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = content_range(&response).ok_or_else(|| invalid("a part without a range"))?;
            if start != offset {
                return Err(invalid("another part than was asked for"));
            }
            Ok(Answer::Opened(opened(response, stall, start, Some(total))))
        }
        StatusCode::NOT_MODIFIED if !validators.is_empty() => Ok(Answer::NotModified),
        _ => Err(status_failure(&response)),
    }
}

fn opened(response: reqwest::Response, stall: StallWatch, offset: u64, total: Option<u64>) -> Opened {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let validators = Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) };
    let total = total.or_else(|| response.content_length());
    Opened { source: Source::Http(Box::new(response)), stall, offset, total, validators }
}

/// Returns the first position and the total of `Content-Range: bytes 10-19/20` (RFC 9110, 14.4).
fn content_range(response: &reqwest::Response) -> Option<(u64, u64)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()?))
}

fn invalid(reason: &str) -> Failure {
    Failure::Invalid { reason: reason.to_owned() }
}

fn status_failure(response: &reqwest::Response) -> Failure {
    let status = response.status();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Failure::NotFound { status: Some(status.as_u16()) },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => server_failure(response),
        _ if status.is_server_error() => server_failure(response),
        _ if status.is_client_error() => Failure::Refused { status: status.as_u16() },
        _ => invalid(&format!("HTTP status {status}")),
    }
}

fn server_failure(response: &reqwest::Response) -> Failure {
    // The other form of Retry-After, a date, is rare, and the usual pause serves as well.
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Failure::Server { status: response.status().as_u16(), retry_after: seconds.map(Duration::from_secs) }
}

fn request_failure(error: &reqwest::Error) -> Failure {
    if error.is_redirect() {
        return Failure::Redirects;
    }
    if error.is_connect() || error.is_timeout() {
        return Failure::Unreachable { reason: reason(error) };
    }
    Failure::Interrupted { received: 0, reason: reason(error) }
}

/// Returns the innermost words of an error: the outer ones repeat the URL, credentials included.
fn reason(error: &reqwest::Error) -> String {
    let mut inner: Option<&dyn std::error::Error> = error.source();
    while let Some(next) = inner.and_then(std::error::Error::source) {
        inner = Some(next);
    }
    inner.map_or_else(|| "no reason given".to_owned(), ToString::to_string)
}
