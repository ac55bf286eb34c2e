//! The guest's serial console: always read, the end of it kept, passed on to whoever listens.
//!
//! One thread reads it for as long as the VM lives, so a guest never waits for a reader. What it prints is untrusted: memory
//! and file are bounded, and what goes into error messages is stripped of control characters.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::Cancel;

/// Bytes kept in memory.
const KEPT: usize = 256 * 1024;
/// Bytes written to a console file; a guest that floods its console does not fill the host's disk.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Lines that an error shows.
const TAIL_LINES: usize = 15;
/// How often a wait looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Called with every piece of console output.
pub type ConsoleSink = Box<dyn FnMut(&[u8]) + Send>;

/// Where console output goes besides memory.
#[derive(Default)]
pub struct ConsoleOutput {
    /// A file, cut at 16 MiB.
    pub file: Option<File>,
    /// A callback.
    pub sink: Option<ConsoleSink>,
}

impl std::fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleOutput").field("file", &self.file).field("sink", &self.sink.is_some()).finish()
    }
}

impl ConsoleOutput {
    /// Returns an output that goes to a new file.
    ///
    /// # Errors
    /// Fails when the file cannot be created.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Some(File::create(path)?), sink: None })
    }
}

/// The console of a running VM.
#[derive(Debug)]
pub struct Console {
    shared: Arc<Shared>,
    input: UnixStream,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    grown: Condvar,
}

/// The end of what the guest printed.
#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    /// How many bytes came before [`Self::bytes`].
    dropped: u64,
    closed: bool,
}

/// How a wait for a pattern ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// The pattern came.
    Seen,
    /// It did not come in time.
    TimedOut,
    /// The console ended: the VM is gone.
    Closed,
    /// The wait was cancelled.
    Cancelled,
}

impl Shared {
    /// No thread panics while it holds the lock, so a poisoned one still guards a whole log.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// Reads the console from `stream` until it ends.
    pub(crate) fn open(stream: UnixStream, output: ConsoleOutput) -> io::Result<Self> {
        let input = stream.try_clone()?;
        let shared = Arc::new(Shared { log: Mutex::default(), grown: Condvar::new() });
        let for_reader = Arc::clone(&shared);
        let reader = std::thread::Builder::new()
            .name("console".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || read(stream, output, &for_reader))?;
        Ok(Self { shared, input, reader: Some(reader) })
    }

    /// Returns the last lines that the guest printed, without control characters.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let log = self.shared.log();
        let lines = printable_lines(&log.bytes);
        lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
    }

    /// Returns the first line, among those kept, in which one of `patterns` occurs.
    #[must_use]
    pub fn find_line(&self, patterns: &[&str]) -> Option<String> {
        let log = self.shared.log();
        printable_lines(&log.bytes).into_iter().find(|line| patterns.iter().any(|pattern| line.contains(pattern)))
    }

    /// Returns a reader that sees what comes from now on, and what is still kept when `from_start`.
    #[must_use]
    pub fn expect_from(&self, from_start: bool) -> Expect<'_> {
        let log = self.shared.log();
        let position = if from_start { 0 } else { log.dropped + log.bytes.len() as u64 };
        drop(log);
        Expect { console: self, position }
    }

    /// Returns a reader that sees what comes after a position that another one has reached.
    pub(crate) fn expect_at(&self, position: u64) -> Expect<'_> {
        Expect { console: self, position }
    }

    /// Types bytes into the console.
    ///
    /// # Errors
    /// Fails when the VM is gone.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.input).write_all(bytes)
    }

    /// Returns when the console has ended; the VM must be gone or going.
    pub(crate) fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.input.shutdown(Shutdown::Both);
        self.join();
    }
}

/// A place in the console's output, moving forward with every pattern seen.
#[derive(Debug)]
pub struct Expect<'a> {
    console: &'a Console,
    position: u64,
}

impl Expect<'_> {
    /// Returns how many bytes of output have been searched.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Waits until `pattern` is printed after the last one seen, and moves behind it.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration, cancel: &Cancel) -> Expectation {
        let deadline = Instant::now() + timeout;
        let mut log = self.console.shared.log();
        loop {
            let start = usize::try_from(self.position.saturating_sub(log.dropped)).unwrap_or(usize::MAX).min(log.bytes.len());
            if let Some(found) = find(&log.bytes[start..], pattern.as_bytes()) {
                self.position = log.dropped + (start + found + pattern.len()) as u64;
                return Expectation::Seen;
            }
            // What has been searched needs no second look, save for a beginning of the pattern at its end.
            let searched = log.bytes.len().saturating_sub(pattern.len());
            self.position = self.position.max(log.dropped + searched as u64);
            let now = Instant::now();
            if log.closed {
                return Expectation::Closed;
            } else if cancel.is_cancelled() {
                return Expectation::Cancelled;
            } else if now >= deadline {
                return Expectation::TimedOut;
            }
            let wait = CANCEL_POLL.min(deadline - now);
            log = self.console.shared.grown.wait_timeout(log, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Returns where `needle` begins in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The reader thread.
fn read(mut stream: UnixStream, mut output: ConsoleOutput, shared: &Shared) {
    let mut buffer = [0; 4096];
    let mut room = FILE_LIMIT;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let piece = &buffer[..count];
        if let Some(file) = &mut output.file {
            let part = &piece[..usize::try_from(room).unwrap_or(usize::MAX).min(count)];
            room -= part.len() as u64;
            if let Err(error) = file.write_all(part) {
                tracing::warn!(%error, "cannot write the console file");
                output.file = None;
            }
        }
        if let Some(sink) = &mut output.sink {
            sink(piece);
        }
        let mut log = shared.log();
        log.bytes.extend_from_slice(piece);
        if log.bytes.len() > 2 * KEPT {
            let excess = log.bytes.len() - KEPT;
            log.bytes.drain(..excess);
            log.dropped += excess as u64;
        }
        drop(log);
        shared.grown.notify_all();
    }
    shared.log().closed = true;
    shared.grown.notify_all();
}

/// Splits console output into lines that are safe to print: no escape sequences, no control characters, no empty lines.
fn printable_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split(['\n', '\r']).map(printable).filter(|line| !line.trim().is_empty()).collect()
}

/// Removes escape sequences and control characters from a line.
fn printable(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A control sequence ends with a letter or `@`, `~` …; any other escape is one character long.
            if characters.next_if_eq(&'[').is_some() {
                while characters.next().is_some_and(|parameter| !('@'..='~').contains(&parameter)) {}
            } else {
                characters.next();
            }
        } else if !character.is_control() || character == '\t' {
            kept.push(character);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (UnixStream, Console) {
        let (guest, host) = UnixStream::pair().unwrap();
        (guest, Console::open(host, ConsoleOutput::default()).unwrap())
    }

    #[test]
    fn a_pattern_is_found_across_pieces_and_only_once() {
        let (mut guest, console) = open();
        let cancel = Cancel::new().unwrap();
        let mut expect = console.expect_from(true);
        guest.write_all(b"Debian 13\r\nho").unwrap();
        assert_eq!(expect.wait_for("host login:", Duration::from_millis(60), &cancel), Expectation::TimedOut);
        guest.write_all(b"st login: ").unwrap();
        assert_eq!(expect.wait_for("host login:", Duration::from_secs(5), &cancel), Expectation::Seen);
        assert_eq!(expect.wait_for("login:", Duration::from_millis(60), &cancel), Expectation::TimedOut);
        guest.shutdown(Shutdown::Both).unwrap();
        assert_eq!(expect.wait_for("login:", Duration::from_secs(5), &cancel), Expectation::Closed);
    }

    #[test]
    fn a_wait_notices_cancellation_within_100_ms() {
        let (_guest, console) = open();
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        let begin = Instant::now();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            other.cancel();
            Instant::now()
        });
        let mut expect = console.expect_from(true);
        assert_eq!(expect.wait_for("never", Duration::from_secs(30), &cancel), Expectation::Cancelled);
        let cancelled = canceller.join().unwrap();
        assert!(cancelled.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    }

    #[test]
    fn memory_and_file_are_bounded_and_the_end_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut console = Console::open(host, ConsoleOutput::to_file(&path).unwrap()).unwrap();
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            guest.write_all(&block).unwrap();
        }
        guest.write_all(b"\nthe end\n").unwrap();
        drop(guest);
        console.join();
        assert!(console.shared.log().bytes.len() <= 2 * KEPT);
        assert_eq!(console.tail().last().unwrap(), "the end");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_LIMIT);
    }

    #[test]
    fn messages_get_no_control_characters() {
        let text = b"\x1b[2J\x1b[1;31mred\x1b[0m\x07\r\n\x1b]0;title\n\n\xff\x00plain\tx";
        assert_eq!(printable_lines(text), ["red", "0;title", "\u{fffd}plain\tx"]);
    }

    #[test]
    fn what_is_sent_reaches_the_guest() {
        let (mut guest, console) = open();
        console.send(b"root\n").unwrap();
        let mut line = [0; 5];
        guest.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"root\n");
    }
}
