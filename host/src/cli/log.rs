//! Log files: one line for each thing that happened, with the seconds since the start.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tracing_subscriber::{
    EnvFilter, Layer as _,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{
    command_error::{CommandError, Hint},
    config_file::LogLevel,
    exit_code::ExitCode,
    printer::{MessageWriter, Printer, sanitized},
    settings::GlobalSettings,
};

/// A log file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log file `{}`", path.display())]
pub(crate) struct LogError {
    path: PathBuf,
    source: io::Error,
}

impl Hint for LogError {}

/// A log file. Clones write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    file: Arc<Mutex<File>>,
    clock: Clock,
}

impl LogFile {
    /// Makes the file, replacing one that is there.
    ///
    /// # Errors
    /// Fails when the file cannot be made.
    pub(crate) fn create(path: &Path, clock: Clock) -> Result<Self, CommandError> {
        let file = File::create(path).map_err(|source| CommandError::new(ExitCode::Output, LogError { path: path.to_owned(), source }))?;
        Ok(Self { file: Arc::new(Mutex::new(file)), clock })
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) {
        self.raw(format!("{} {}\n", self.clock.stamp(), sanitized(text)).as_bytes());
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        // A log that cannot be written, on a full disk for example, must not stop what it tells about.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
    }
}

impl io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the time since the program's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts counting.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time as log lines begin with it.
    fn stamp(self) -> String {
        format!("[{:9.3}]", self.0.elapsed().as_secs_f64())
    }
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&self.stamp())
    }
}

/// Opens the log file that the settings name, and sends what libraries trace to it and, as `-v` asks, to standard error.
///
/// # Errors
/// Fails when the log file cannot be made.
pub(crate) fn start(settings: &GlobalSettings, verbose: u8, printer: &Printer) -> Result<(Clock, Option<LogFile>), CommandError> {
    let clock = Clock::start();
    let file = settings.log_file.as_ref().map(|path| LogFile::create(&path.value, clock)).transpose()?;
    let shown = match verbose {
        0 => LogLevel::Warn,
        1 => LogLevel::Info,
        2 => LogLevel::Debug,
        _ => LogLevel::Trace,
    };
    let writer = MessageWriter(printer.clone());
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(printer.has_color())
        .with_timer(clock)
        .with_target(verbose > 1)
        .with_filter(filter(shown));
    let logged = file.clone().map(|file| {
        let layer = tracing_subscriber::fmt::layer().with_writer(move || file.clone()).with_ansi(false).with_timer(clock);
        layer.with_filter(filter(settings.log_level.value))
    });
    // A second start within one process, as in tests, keeps the first one's subscriber.
    let _ = tracing_subscriber::registry().with(terminal).with(logged).try_init();
    Ok((clock, file))
}

/// Returns the filter for a level: our own crates in full, others only when they complain.
fn filter(level: LogLevel) -> EnvFilter {
    let name = level.name();
    EnvFilter::new(format!("error,oic={name},oic_builder_vm={name},oic_config={name},oic_protocol={name}"))
}
