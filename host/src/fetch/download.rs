//! Files with a known size and digest, brought into the store.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Failure, FetchError, Fetcher, Shared, Url, Validators,
    retry::Attempts,
    transfer::{self, Answer, Opened},
};
use crate::{
    build::progress::{Event, Level, Observer, Stage, Unit},
    digest::Sha256Digest,
    store::{Bucket, Expected, Import, ImportSlot, Store, StoreError},
};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// How often a file that another process is downloading is looked for.
const BUSY_POLL: Duration = Duration::from_millis(100);

/// After this long the wait for another process is told.
const BUSY_NOTICE: Duration = Duration::from_secs(2);

/// What file systems need beside the bytes of the files.
const SPACE_MARGIN: u64 = 16 << 20;

/// A file to bring.
#[derive(Debug, Clone)]
pub struct Download {
    /// What it is, for messages and progress.
    pub what: String,
    /// Where it is: any of these.
    pub urls: Vec<Url>,
    /// What it must be.
    pub expected: Expected,
}

/// How far all files are together.
#[derive(Debug)]
struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    item: Mutex<String>,
    notices: Mutex<Vec<String>>,
}

impl Meter {
    fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Bytes that count as done have to come again.
    fn again(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    fn tell(&self, observer: &dyn Observer, stage: Stage) {
        for text in self.notices.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            observer.event(&Event::Message { level: Level::Note, text: &text });
        }
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let item = self.item.lock().unwrap_or_else(PoisonError::into_inner).clone();
        observer.event(&Event::Progress { stage, done, total: Some(total), unit: Unit::Bytes, item: &item });
    }
}

impl Fetcher {
    /// Brings files into the store, several at a time, and returns their paths in the order of `files`. Those that are there
    /// already are not touched. The first file that cannot be had ends it; what has come of the others is kept for the next
    /// time.
    ///
    /// # Errors
    /// Fails when a file cannot be had from any of its URLs, when the disk has no room for all, and when the network is off.
    pub fn download(
        &self,
        store: &Store,
        bucket: Bucket,
        files: &[Download],
        stage: Stage,
        observer: &dyn Observer,
    ) -> Result<Vec<PathBuf>, FetchError> {
        let mut paths: HashMap<Sha256Digest, PathBuf> = HashMap::new();
        let mut missing: HashMap<Sha256Digest, &Download> = HashMap::new();
        for file in files {
            match store.file(bucket, &file.expected) {
                Some(path) => drop(paths.insert(file.expected.sha256, path)),
                None => drop(missing.entry(file.expected.sha256).or_insert(file)),
            }
        }
        if !missing.is_empty() {
            // In the caller's order, which is stable, so that two runs ask for the same things first.
            let files: Vec<_> = files.iter().filter(|file| missing.remove(&file.expected.sha256).is_some()).cloned().collect();
            // Before anything is under way, so that it is always the same file that is named.
            for file in &files {
                self.shared.usable(&file.what, &file.urls)?;
            }
            check_space(store, &files)?;
            paths.extend(self.block_on(download_all(&self.shared, store, bucket, files, stage, observer))??);
        }
        let path = |file: &Download| paths.get(&file.expected.sha256).cloned().ok_or_else(|| FetchError::Lost { what: file.what.clone() });
        files.iter().map(path).collect()
    }
}

/// Fails when the disk has no room for the files.
fn check_space(store: &Store, files: &[Download]) -> Result<(), FetchError> {
    let needed = files.iter().fold(SPACE_MARGIN, |sum, file| sum.saturating_add(file.expected.size));
    match store.free_space() {
        Some(free) if free < needed => Err(FetchError::Store {
            what: if files.len() == 1 { files[0].what.clone() } else { format!("{} files", files.len()) },
            source: StoreError::Full { path: store.root().to_owned(), needed, free: Some(free) },
        }),
        _ => Ok(()),
    }
}

async fn download_all(
    shared: &Arc<Shared>,
    store: &Store,
    bucket: Bucket,
    files: Vec<Download>,
    stage: Stage,
    observer: &dyn Observer,
) -> Result<HashMap<Sha256Digest, PathBuf>, FetchError> {
    let total = files.iter().map(|file| file.expected.size).fold(0, u64::saturating_add);
    let meter = Arc::new(Meter { done: 0.into(), total: total.into(), item: Mutex::default(), notices: Mutex::default() });
    let mut tasks = JoinSet::new();
    for file in files {
        let (shared, store, meter) = (Arc::clone(shared), store.clone(), Arc::clone(&meter));
        tasks.spawn(async move {
            let path = download_one(&shared, &store, bucket, &file, &meter).await?;
            file.what.clone_into(&mut meter.item.lock().unwrap_or_else(PoisonError::into_inner));
            Ok((file.expected.sha256, path))
        });
    }
    let mut paths = HashMap::new();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            joined = tasks.join_next() => match joined {
                None => break,
                Some(Ok(outcome)) => {
                    let (digest, path): (_, PathBuf) = outcome?;
                    paths.insert(digest, path);
                }
                Some(Err(_)) => return Err(FetchError::Lost { what: "a file".to_owned() }),
            },
            _ = ticks.tick() => meter.tell(observer, stage),
        }
    }
    meter.tell(observer, stage);
    Ok(paths)
}

async fn download_one(shared: &Arc<Shared>, store: &Store, bucket: Bucket, file: &Download, meter: &Meter) -> Result<PathBuf, FetchError> {
    let urls = shared.usable(&file.what, &file.urls)?;
    let _slot = shared.slots.acquire().await;
    let failed = |source| FetchError::Store { what: file.what.clone(), source };
    let mut import = match begin(store, bucket, file, meter).await.map_err(failed)? {
        ImportSlot::Present(path) => {
            meter.add(file.expected.size);
            return Ok(path);
        }
        ImportSlot::Open(import) => import,
        ImportSlot::Busy => return Err(FetchError::Lost { what: file.what.clone() }),
    };
    meter.add(import.length());
    let mut attempts = Attempts::new(&shared.settings, &shared.health, &urls);
    loop {
        for at in attempts.round() {
            let before = import.length();
            let url = attempts.url(at).clone();
            let failure = match attempt(shared, &url, &mut import, meter).await.map_err(failed)? {
                Some(failure) => failure,
                None => match import.commit() {
                    Ok(path) => {
                        attempts.succeeded(at);
                        return Ok(path);
                    }
                    Err(StoreError::WrongDigest { expected, found }) => {
                        meter.again(file.expected.size);
                        import = match begin(store, bucket, file, meter).await.map_err(failed)? {
                            ImportSlot::Present(path) => return Ok(path),
                            ImportSlot::Open(import) => import,
                            ImportSlot::Busy => return Err(FetchError::Lost { what: file.what.clone() }),
                        };
                        wrong_digest(before, expected, found)
                    }
                    Err(source) => return Err(failed(source)),
                },
            };
            attempts.failed(at, failure, import.length().saturating_sub(before));
        }
        match attempts.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(attempts.into_error(&file.what)),
        }
    }
}

/// Says what wrong bytes mean: when some of them came earlier, or from another mirror, this URL deserves another try.
fn wrong_digest(before: u64, expected: Sha256Digest, found: Sha256Digest) -> Failure {
    if before > 0 {
        Failure::Interrupted { received: before, reason: "what an earlier download left was not the beginning of the file".to_owned() }
    } else {
        Failure::WrongDigest { expected, found }
    }
}

/// Waits until the file is there or can be brought.
async fn begin(store: &Store, bucket: Bucket, file: &Download, meter: &Meter) -> Result<ImportSlot, StoreError> {
    let since = Instant::now();
    let mut is_told = false;
    loop {
        let (store, expected) = (store.clone(), file.expected);
        let slot = tokio::task::spawn_blocking(move || store.try_import(bucket, expected)).await;
        match slot.unwrap_or(Ok(ImportSlot::Busy))? {
            ImportSlot::Busy => tokio::time::sleep(BUSY_POLL).await,
            slot => return Ok(slot),
        }
        if !is_told && since.elapsed() > BUSY_NOTICE {
            is_told = true;
            let text = format!("waiting for another oic that downloads {}", file.what);
            meter.notices.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

/// Brings what is missing of a file from one URL. Returns why it is not complete, if it is not.
async fn attempt(shared: &Shared, url: &Url, import: &mut Import, meter: &Meter) -> Result<Option<Failure>, StoreError> {
    let Expected { size, .. } = *import.expected();
    if import.length() == size {
        return Ok(None);
    }
    let mut opened = match transfer::open(shared, url, import.length(), &Validators::default()).await {
        Ok(Answer::Opened(opened)) => opened,
        Ok(Answer::NotModified) => return Ok(Some(Failure::Invalid { reason: "unchanged since never".to_owned() })),
        Err(failure) => {
            // A server that takes offence at a range (416) may still have the file.
            if matches!(failure, Failure::Refused { status: 416 }) && import.length() > 0 {
                meter.again(import.length());
                import.restart()?;
                return Ok(Some(Failure::Interrupted { received: 0, reason: "the server has no such range".to_owned() }));
            }
            return Ok(Some(failure));
        }
    };
    if opened.total.is_some_and(|total| total != size) {
        return Ok(Some(Failure::WrongSize { expected: size, found: opened.total }));
    }
    if opened.offset != import.length() {
        meter.again(import.length());
        import.restart()?;
    }
    receive(&mut opened, import, meter).await
}

async fn receive(opened: &mut Opened, import: &mut Import, meter: &Meter) -> Result<Option<Failure>, StoreError> {
    let Expected { size, .. } = *import.expected();
    loop {
        match opened.next().await {
            Ok(Some(piece)) => match import.write(&piece) {
                Ok(()) => meter.add(piece.len() as u64),
                Err(StoreError::TooLong { .. }) => {
                    meter.again(import.length());
                    import.restart()?;
                    return Ok(Some(Failure::WrongSize { expected: size, found: None }));
                }
                Err(error) => return Err(error),
            },
            Ok(None) if import.length() == size => return Ok(None),
            Ok(None) => return Ok(Some(Failure::Interrupted { received: import.length(), reason: "it ended early".to_owned() })),
            Err(failure) => return Ok(Some(failure)),
        }
    }
}
