//! The closing table: stage, time, cached or not.

use std::time::Duration;

use super::text;
use crate::build::progress::Stage;

/// A finished stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Which.
    pub(super) stage: Stage,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// Whether its result was there already.
    pub(super) cached: bool,
}

/// Returns the table. `total` is the time by the clock, less than the sum where stages ran side by side.
pub(super) fn render(image: &str, rows: &[Row], total: Duration) -> String {
    let mut lines = Vec::new();
    if !image.is_empty() {
        lines.push(image.to_owned());
    }
    let line = |name: &str, elapsed: Duration, note: &str| format!("{name:<10} {:>12}{note}", text::duration(elapsed));
    lines.extend(rows.iter().map(|row| line(row.stage.name(), row.elapsed, if row.cached { "  cached" } else { "" })));
    lines.push(line("total", total, ""));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_below_each_other() {
        let row = |stage, millis, cached| Row { stage, elapsed: Duration::from_millis(millis), cached };
        let rows = [row(Stage::Resolve, 421, true), row(Stage::Fetch, 12_345, false), row(Stage::Compose, 125_000, false)];
        insta::assert_snapshot!(render("minimal-x86_64", &rows, Duration::from_secs(130)), @"
        minimal-x86_64
        resolve          0.42 s  cached
        fetch            12.3 s
        compose       2 min 5 s
        total        2 min 10 s
        ");
    }
}
