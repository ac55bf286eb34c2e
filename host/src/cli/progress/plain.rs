//! One line for each thing worth a line: for logs of CI runs and terminals that cannot be drawn on.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Display, labelled, text};
use crate::{
    build::progress::{Event, Level, Stage},
    cli::printer::{Printer, Style, sanitized},
};

/// A stage that goes on says so this often: shorter than the ten minutes after which CI services end a silent job.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows plain lines.
#[derive(Debug)]
pub(super) struct Plain {
    printer: Printer,
    interval: Duration,
    stages: Mutex<BTreeMap<(String, Stage), Running>>,
}

/// A stage under way.
#[derive(Debug)]
struct Running {
    started: Instant,
    last_line: Instant,
}

impl Plain {
    pub(super) fn new(printer: Printer) -> Self {
        Self { printer, interval: INTERVAL, stages: Mutex::default() }
    }

    /// Returns the line for an event, if it is worth one.
    fn line(&self, image: &str, event: &Event<'_>) -> Option<String> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let name = |stage: &Stage| self.printer.styled(Style::Accent, &format!("{stage:<10}"));
        match event {
            Event::StageStarted { stage } => {
                stages.insert((image.to_owned(), *stage), Running { started: now, last_line: now });
                Some(format!("{} started", name(stage)))
            }
            Event::Progress { stage, done, total, unit, item } => {
                let running = stages.get_mut(&(image.to_owned(), *stage))?;
                if now - running.last_line < self.interval {
                    return None;
                }
                running.last_line = now;
                let mut words = vec![name(stage), text::count(*done, *total, *unit)];
                words.extend(text::rate(*done, *unit, now - running.started));
                words.push(sanitized(item).into_owned());
                Some(words.join(" ").trim_end().to_owned())
            }
            Event::Message { .. } | Event::Decision { .. } => None,
            Event::StageFinished { stage, elapsed, cached } => {
                stages.remove(&(image.to_owned(), *stage));
                let done = self.printer.styled(Style::Good, "done");
                let cached = if *cached { " (cached)" } else { "" };
                Some(format!("{} {done} in {}{cached}", name(stage), text::duration(*elapsed)))
            }
        }
    }
}

impl Display for Plain {
    fn event(&self, image: &str, event: &Event<'_>) {
        match event {
            Event::Message { level: Level::Warning, text } => self.printer.warning(&labelled(image, text)),
            Event::Message { level: Level::Note, text } => self.printer.note(&labelled(image, text)),
            Event::Message { level: Level::Detail, text } => tracing::info!("{}", labelled(image, text)),
            _ => {
                if let Some(line) = self.line(image, event) {
                    self.printer.styled_note(&labelled(image, &line));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{build::progress::Unit, cli::printer::Colors};

    #[test]
    fn a_stage_says_when_it_starts_goes_on_and_ends() {
        let mut plain = Plain::new(Printer::new(false, Colors::Never));
        let progress = |done| Event::Progress { stage: Stage::Unpack, done, total: Some(9), unit: Unit::Items, item: "libc6" };
        assert_eq!(plain.line("", &progress(1)), None, "a stage that has not started");
        assert_eq!(plain.line("", &Event::StageStarted { stage: Stage::Unpack }).unwrap(), "unpack     started");
        assert_eq!(plain.line("", &progress(2)), None, "too soon for another line");
        plain.interval = Duration::ZERO;
        assert_eq!(plain.line("", &progress(3)).unwrap(), "unpack     3/9 libc6");
        let finished = Event::StageFinished { stage: Stage::Unpack, elapsed: Duration::from_millis(1500), cached: true };
        assert_eq!(plain.line("", &finished).unwrap(), "unpack     done in 1.5 s (cached)");
        assert_eq!(plain.line("", &progress(4)), None, "a stage that has ended");
    }
}
