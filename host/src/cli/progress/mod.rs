//! Shows what a build says: live on a terminal, as plain lines, as JSON, or not at all; and writes it to log files.
//!
//! ```text
//! build ──Event──▶ ImageProgress ──┬─▶ Display (live | plain | json | none)
//!  (any thread)     one per image  ├─▶ build.log of that image
//!                                  ├─▶ --log-file, shared by all images
//!                                  └─▶ rows of the closing table
//! ```
//!
//! Text of packages and guests passes through the printer or a log file, which make control characters visible.

mod json;
mod live;
mod plain;
mod table;
pub(crate) mod text;

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{
    args::ProgressMode,
    command_error::CommandError,
    log::{Clock, LogFile},
    printer::Printer,
};
use crate::build::progress::{Event, Level, Observer, Stage, Unit};

pub(crate) use json::FinishedOutput;
use table::{Decision, Row};

/// Lines kept until the folder of the log is known; there are few.
const PENDING_LINES: usize = 10_000;

/// How events are shown. Called from any thread.
trait Display: Send + Sync + std::fmt::Debug {
    /// Shows one event of the image called `image`, which is empty when there is only one.
    fn event(&self, image: &str, event: &Event<'_>);

    /// Tells the files that came out.
    fn image_finished(&self, _image: &str, _outputs: &[FinishedOutput]) {}

    /// Returns whether standard output belongs to it.
    fn owns_stdout(&self) -> bool {
        false
    }

    /// Takes down what is still on the screen.
    fn suspend(&self) {}

    /// Takes down what is still on the screen, and tells how everything ended.
    fn finish(&self, _error: Option<&CommandError>) {}
}

/// Shows nothing but warnings.
#[derive(Debug)]
struct Quiet(Printer);

impl Display for Quiet {
    fn event(&self, image: &str, event: &Event<'_>) {
        if let Event::Message { level: Level::Warning, text } = event {
            self.0.warning(&labelled(image, text));
        }
    }
}

/// The progress of a command, of one image or several at a time.
#[derive(Debug)]
pub(crate) struct Progress {
    display: Box<dyn Display>,
    printer: Printer,
    log: Option<LogFile>,
    clock: Clock,
}

impl Progress {
    /// Starts showing progress as the settings ask for.
    #[must_use]
    pub(crate) fn start(mode: ProgressMode, printer: &Printer, clock: Clock, log: Option<LogFile>) -> Arc<Self> {
        let display: Box<dyn Display> = match mode {
            ProgressMode::Json => Box::new(json::Json::new(printer.clone())),
            ProgressMode::None => Box::new(Quiet(printer.clone())),
            _ if printer.is_quiet() => Box::new(Quiet(printer.clone())),
            ProgressMode::Auto if live::possible() => Box::new(live::Live::start(printer.clone())),
            ProgressMode::Auto | ProgressMode::Plain => Box::new(plain::Plain::new(printer.clone())),
        };
        Arc::new(Self { display, printer: printer.clone(), log, clock })
    }

    /// Returns the observer for one image. The name is shown with each event; it is empty when there is only one image.
    #[must_use]
    pub(crate) fn image(self: &Arc<Self>, name: &str) -> ImageProgress {
        let state = ImageState {
            log: BuildLog::Pending(Vec::new()),
            items: BTreeMap::new(),
            rows: Vec::new(),
            decisions: Vec::new(),
            started: Instant::now(),
        };
        ImageProgress { shared: Arc::clone(self), name: name.to_owned(), state: Mutex::new(state) }
    }

    /// Returns whether standard output belongs to the display.
    #[must_use]
    pub(crate) fn owns_stdout(&self) -> bool {
        self.display.owns_stdout()
    }

    /// Takes down what is drawn, for something else that wants the terminal.
    pub(crate) fn suspend(&self) {
        self.display.suspend();
    }

    /// Takes down the display and tells how everything ended.
    pub(crate) fn finish(&self, error: Option<&CommandError>) {
        self.display.finish(error);
        if let Some(log) = &self.log {
            log_end(error, |line| log.line(line));
        }
    }
}

/// Writes how something ended to a log.
fn log_end(error: Option<&CommandError>, line: impl Fn(&str)) {
    let Some(error) = error else {
        line("done");
        return;
    };
    for (index, text) in error.chain().iter().enumerate() {
        line(&format!("{}: {text}", if index == 0 { "error" } else { "caused by" }));
    }
    error.details().iter().for_each(|text| line(&format!("| {text}")));
}

/// Takes the events of one image.
#[derive(Debug)]
pub(crate) struct ImageProgress {
    shared: Arc<Progress>,
    name: String,
    state: Mutex<ImageState>,
}

#[derive(Debug)]
struct ImageState {
    log: BuildLog,
    /// What each stage last worked on, so that the log has each item once.
    items: BTreeMap<Stage, String>,
    rows: Vec<Row>,
    decisions: Vec<Decision>,
    started: Instant,
}

/// `build.log`, which has everything from the start although its folder is known only when the template is read.
#[derive(Debug)]
enum BuildLog {
    Pending(Vec<String>),
    Open(LogFile),
}

impl BuildLog {
    fn line(&mut self, line: &str) {
        match self {
            Self::Pending(lines) if lines.len() < PENDING_LINES => lines.push(line.to_owned()),
            Self::Pending(_) => {}
            Self::Open(file) => file.line(line),
        }
    }
}

impl ImageProgress {
    /// Makes the image's own log in the output folder.
    ///
    /// # Errors
    /// Fails when the file cannot be made.
    pub(crate) fn open_log(&self, path: &Path) -> Result<(), CommandError> {
        let file = LogFile::create(path, self.shared.clock)?;
        let mut state = self.state();
        if let BuildLog::Pending(lines) = &state.log {
            lines.iter().for_each(|line| file.line(line));
        }
        state.log = BuildLog::Open(file);
        Ok(())
    }

    /// Tells the files that came out, why each part was made or not when that is asked for, and shows the closing table.
    pub(crate) fn succeed(&self, outputs: &[FinishedOutput], explain: bool) {
        self.log("done");
        self.shared.display.image_finished(&self.name, outputs);
        let state = self.state();
        if explain && !self.shared.display.owns_stdout() {
            self.shared.printer.note(&table::explain(&self.name, &state.decisions));
        }
        if !state.rows.is_empty() {
            self.shared.printer.note(&table::render(&self.name, &state.rows, state.started.elapsed()));
        }
    }

    /// Writes to the log why the image was not built.
    pub(crate) fn fail(&self, error: &CommandError) {
        log_end(Some(error), |line| self.log(line));
    }

    /// Writes a line to this image's log and the shared one.
    fn log(&self, line: &str) {
        self.state().log.line(line);
        if let Some(log) = &self.shared.log {
            log.line(&labelled(&self.name, line));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ImageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the log's line for an event; none for those that would only fill it.
    fn log_line(&self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::StageStarted { stage } => Some(format!("{stage}: started")),
            Event::Progress { stage, done, total, unit: Unit::Items, item } if !item.is_empty() => {
                let before = self.state().items.insert(*stage, (*item).to_owned());
                (before.as_deref() != Some(*item)).then(|| format!("{stage}: {} {item}", text::count(*done, *total, Unit::Items)))
            }
            Event::Progress { .. } => None,
            Event::Message { level: Level::Warning, text } => Some(format!("warning: {text}")),
            Event::Message { text, .. } => Some((*text).to_owned()),
            Event::Decision { subject, reused, reason } => Some(format!("{subject}: {}: {reason}", table::verdict(*reused))),
            Event::StageFinished { stage, elapsed, cached } => {
                let cached = if *cached { ", cached" } else { "" };
                Some(format!("{stage}: done in {}{cached}", text::duration(*elapsed)))
            }
        }
    }
}

impl Observer for ImageProgress {
    fn event(&self, event: &Event<'_>) {
        if let Some(line) = self.log_line(event) {
            self.log(&line);
        }
        match event {
            Event::StageFinished { stage, elapsed, cached } => {
                self.state().rows.push(Row { stage: *stage, elapsed: *elapsed, cached: *cached });
            }
            Event::Decision { subject, reused, reason } => {
                let decision = Decision { subject: (*subject).to_owned(), reused: *reused, reason: (*reason).to_owned() };
                self.state().decisions.push(decision);
            }
            _ => {}
        }
        self.shared.display.event(&self.name, event);
    }
}

/// Puts the image's name in front of a text where there are several images.
fn labelled(image: &str, text: &str) -> String {
    if image.is_empty() { text.to_owned() } else { format!("{image}: {text}") }
}

/// Returns whether standard error is a terminal that can be drawn on.
fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal() && crate::env::get_text(crate::env::TERM).is_none_or(|term| term != "dumb")
}
