//! The live display: one line per stage under way, drawn over and over at the bottom of the terminal; a finished stage
//! becomes a line above.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Display, labelled, stderr_is_terminal, text};
use crate::{
    build::progress::{Event, Level, Stage, Unit},
    cli::{
        command_error::CommandError,
        printer::{Printer, Style, sanitized},
    },
};

/// How often the display is drawn, per second.
const FRAME_RATE: u8 = 10;

/// Draws the live display.
#[derive(Debug)]
pub(super) struct Live {
    printer: Printer,
    bars: MultiProgress,
    stages: Mutex<BTreeMap<(String, Stage), Running>>,
}

/// A stage under way.
#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    /// What the bar's shape was chosen for.
    shape: Option<(Unit, bool)>,
}

/// Returns whether there is a terminal to draw on.
pub(super) fn possible() -> bool {
    stderr_is_terminal()
}

impl Live {
    /// Starts drawing.
    pub(super) fn start(printer: Printer) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAME_RATE));
        printer.set_live(Some(bars.clone()));
        Self { printer, bars, stages: Mutex::default() }
    }

    fn started(&self, image: &str, stage: Stage) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(self.style(None));
        bar.set_prefix(labelled(image, stage.name()));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.stages().insert((image.to_owned(), stage), Running { bar, shape: None });
    }

    fn progressed(&self, image: &str, event: &Event<'_>) {
        let Event::Progress { stage, done, total, unit, item } = event else { return };
        let mut stages = self.stages();
        let Some(running) = stages.get_mut(&(image.to_owned(), *stage)) else { return };
        let shape = Some((*unit, total.is_some()));
        if running.shape != shape {
            running.bar.set_style(self.style(shape));
            running.shape = shape;
        }
        if let Some(total) = total {
            running.bar.set_length(*total);
        }
        running.bar.set_position(*done);
        running.bar.set_message(sanitized(item).replace(['\n', '\t'], " "));
    }

    fn finished(&self, image: &str, stage: Stage, elapsed: Duration, cached: bool) {
        let running = self.stages().remove(&(image.to_owned(), stage));
        let counted = running.as_ref().and_then(|running| {
            let (unit, _) = running.shape?;
            Some(text::count(running.bar.position(), None, unit) + if unit == Unit::Items { " items" } else { "" })
        });
        if let Some(running) = running {
            running.bar.finish_and_clear();
            self.bars.remove(&running.bar);
        }
        let name = self.printer.styled(Style::Good, &format!("{:>12}", labelled(image, stage.name())));
        let mut words = vec![text::duration(elapsed)];
        words.extend(counted);
        if cached {
            words.push("cached".to_owned());
        }
        self.printer.styled_note(&format!("{name} {}", words.join(", ")));
    }

    /// Returns the shape of a bar: for what is counted, if anything is, and whether the end is known.
    fn style(&self, shape: Option<(Unit, bool)>) -> ProgressStyle {
        let template = match shape {
            None => "{prefix:>12} {spinner} {elapsed}",
            Some((Unit::Items, true)) => "{prefix:>12} {bar:24} {pos}/{len} {elapsed} {wide_msg}",
            Some((Unit::Items, false)) => "{prefix:>12} {spinner} {pos} {elapsed} {wide_msg}",
            Some((Unit::Bytes, true)) => {
                "{prefix:>12} {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {elapsed} {wide_msg}"
            }
            Some((Unit::Bytes, false)) => "{prefix:>12} {spinner} {binary_bytes} {binary_bytes_per_sec} {elapsed} {wide_msg}",
        };
        let colored = if self.printer.has_color() {
            template
                .replace("{prefix:>12}", "{prefix:>12.cyan.bold}")
                .replace("{bar:24}", "{bar:24.cyan/dim}")
                .replace("{wide_msg}", "{wide_msg:.dim}")
        } else {
            template.to_owned()
        };
        ProgressStyle::with_template(&colored).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
    }

    fn stages(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, Stage), Running>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Live {
    fn event(&self, image: &str, event: &Event<'_>) {
        match event {
            Event::StageStarted { stage } => self.started(image, *stage),
            Event::Progress { .. } => self.progressed(image, event),
            Event::Message { level: Level::Warning, text } => self.printer.warning(&labelled(image, text)),
            Event::Message { level: Level::Note, text } => self.printer.note(&labelled(image, text)),
            Event::Decision { .. } => {}
            Event::Message { level: Level::Detail, text } => tracing::info!("{}", labelled(image, text)),
            Event::StageFinished { stage, elapsed, cached } => self.finished(image, *stage, *elapsed, *cached),
        }
    }

    fn suspend(&self) {
        for running in std::mem::take(&mut *self.stages()).into_values() {
            running.bar.finish_and_clear();
        }
        self.printer.set_live(None);
    }

    fn finish(&self, _error: Option<&CommandError>) {
        self.suspend();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.suspend();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::printer::Colors;

    #[test]
    fn every_shape_is_a_valid_template() {
        for colors in [Colors::Always, Colors::Never] {
            let live = Live {
                printer: Printer::new(false, colors),
                bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
                stages: Mutex::default(),
            };
            let shapes =
                [None, Some((Unit::Items, true)), Some((Unit::Items, false)), Some((Unit::Bytes, true)), Some((Unit::Bytes, false))];
            for shape in shapes {
                let bar = ProgressBar::hidden().with_style(live.style(shape));
                bar.set_position(3);
            }
        }
    }
}
