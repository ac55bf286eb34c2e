//! The one place that writes to standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. Text that others had a hand in (packages, mirrors,
//! guests, files) passes [`sanitized`] on its way, so that nobody can steer the terminal.
//!
//! A closed standard output ends the command quietly, as for any filter whose reader has had enough. A closed standard
//! error loses messages and nothing else: a build goes on.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::MultiProgress;

/// Columns where nothing says how many there are, and the least and most that text is laid out for.
const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 40;
const MAX_WIDTH: usize = 120;

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// The reader of standard output has gone.
    #[error("standard output was closed")]
    Closed,
    /// Standard output failed for another reason: a full disk behind a redirection, for example.
    #[error("cannot write to standard output")]
    Failed(#[source] io::Error),
}

/// A colour or weight on terminals that have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Errors.
    Error,
    /// Warnings.
    Warning,
    /// Hints and names of things.
    Accent,
    /// What went well.
    Good,
    /// What matters less.
    Dim,
}

impl Style {
    /// Returns the escape sequence that begins it.
    fn code(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warning => "\x1b[1;33m",
            Self::Accent => "\x1b[1;36m",
            Self::Good => "\x1b[32m",
            Self::Dim => "\x1b[2m",
        }
    }
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colors {
    /// On terminals.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// Decides every byte that the user sees. Clones share one live display.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    quiet: bool,
    color_stdout: bool,
    color_stderr: bool,
    fancy: bool,
    live: Arc<Mutex<Option<MultiProgress>>>,
}

impl Printer {
    /// Returns a printer. A quiet one drops notes and keeps results, warnings and errors.
    #[must_use]
    pub(crate) fn new(quiet: bool, colors: Colors) -> Self {
        let chosen = |terminal: bool| match colors {
            Colors::Always => true,
            Colors::Never => false,
            Colors::Auto => terminal,
        };
        Self {
            quiet,
            color_stdout: chosen(io::stdout().is_terminal()),
            color_stderr: chosen(io::stderr().is_terminal()),
            fancy: io::stderr().is_terminal() || colors == Colors::Always,
            live: Arc::default(),
        }
    }

    /// Returns whether notes are dropped.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether standard error shows more than plain lines.
    #[must_use]
    pub(crate) fn is_fancy(&self) -> bool {
        self.fancy
    }

    /// Returns how many columns standard error has.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { DEFAULT_WIDTH } else { columns.clamp(MIN_WIDTH, MAX_WIDTH) }
    }

    /// Returns whether standard error takes colours.
    #[must_use]
    pub(crate) fn has_color(&self) -> bool {
        self.color_stderr
    }

    /// Returns whether standard output takes colours.
    #[must_use]
    pub(crate) fn has_result_color(&self) -> bool {
        self.color_stdout
    }

    /// Writes a line of the command's result to standard output.
    ///
    /// # Errors
    /// Fails when standard output is closed or cannot be written.
    pub(crate) fn result(&self, line: &str) -> Result<(), PrintError> {
        self.raw_result(format!("{}\n", sanitized(line)).as_bytes())
    }

    /// Writes bytes of the command's result to standard output as they are.
    ///
    /// # Errors
    /// Fails when standard output is closed or cannot be written.
    pub(crate) fn raw_result(&self, bytes: &[u8]) -> Result<(), PrintError> {
        let written = self.suspended(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => PrintError::Closed,
            _ => PrintError::Failed(error),
        })
    }

    /// Writes a note to standard error unless the user wants quiet.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            self.message(&sanitized(line));
        }
    }

    /// Writes a note whose text is ours, styles and all, to standard error unless the user wants quiet.
    pub(crate) fn styled_note(&self, line: &str) {
        if !self.quiet {
            self.message(line);
        }
    }

    /// Writes a warning to standard error.
    pub(crate) fn warning(&self, text: &str) {
        self.message(&format!("{} {}", self.styled(Style::Warning, "warning:"), sanitized(text)));
    }

    /// Writes a line to standard error as it is, above the live display if there is one.
    pub(crate) fn message(&self, line: &str) {
        self.raw_message(format!("{line}\n").as_bytes());
    }

    /// Writes bytes to standard error as they are.
    pub(crate) fn raw_message(&self, bytes: &[u8]) {
        // Nobody is left to tell when standard error is closed, and what is being done does not depend on it.
        let _ = self.suspended(|| io::stderr().lock().write_all(bytes));
    }

    /// Returns `text` in a style, as far as standard error takes it.
    #[must_use]
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        styled(self.color_stderr, style, text)
    }

    /// Returns `text` in a style, as far as standard output takes it.
    #[must_use]
    pub(crate) fn styled_result(&self, style: Style, text: &str) -> String {
        styled(self.color_stdout, style, text)
    }

    /// Makes `display` the live display that other output keeps clear of; none when it has ended.
    pub(crate) fn set_live(&self, display: Option<MultiProgress>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = display;
    }

    /// Runs `write` while the live display is out of the way.
    fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match live {
            Some(display) => display.suspend(write),
            None => write(),
        }
    }
}

/// Puts `text` between the escape sequences of a style where colours are wanted.
fn styled(color: bool, style: Style, text: &str) -> String {
    if color { format!("{}{text}\x1b[0m", style.code()) } else { text.to_owned() }
}

/// Returns `text` with control characters made visible; line ends and tabs stay.
#[must_use]
pub(crate) fn sanitized(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let visible = text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_default().to_string() });
    Cow::Owned(visible.collect())
}

/// Writes to standard error through a printer, for the log of `-v`.
#[derive(Debug, Clone)]
pub(crate) struct MessageWriter(pub(crate) Printer);

impl io::Write for MessageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.raw_message(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert!(matches!(sanitized("libc6 2.41\n\tok é"), Cow::Borrowed(_)));
        assert_eq!(sanitized("a\x1b[2Jb\rc\u{9b}d"), "a\\u{1b}[2Jb\\rc\\u{9b}d");
    }
}
