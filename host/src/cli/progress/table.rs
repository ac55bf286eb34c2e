//! The closing tables: stage, time, cached or not; and why each part was made or not.

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

/// Why something was made or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// What.
    pub(super) subject: String,
    /// Whether it was taken from an earlier build.
    pub(super) reused: bool,
    /// Why.
    pub(super) reason: String,
}

/// Returns the word for how something was decided.
pub(super) fn verdict(reused: bool) -> &'static str {
    if reused { "reused" } else { "made" }
}

/// Returns the table of decisions, in their order.
pub(super) fn explain(image: &str, decisions: &[Decision]) -> String {
    let mut lines = Vec::new();
    if !image.is_empty() {
        lines.push(image.to_owned());
    }
    lines.extend(decisions.iter().map(|decision| format!("{:<14} {:<6}  {}", decision.subject, verdict(decision.reused), decision.reason)));
    lines.join("\n")
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
    fn decisions_stand_below_each_other() {
        let decision = |subject: &str, reused, reason: &str| Decision { subject: subject.into(), reused, reason: reason.into() };
        let decisions = [decision("outputs", false, "changed: file /etc/motd"), decision("base layer", true, "the same 129 packages")];
        insta::assert_snapshot!(explain("minimal-x86_64", &decisions), @"
        minimal-x86_64
        outputs        made    changed: file /etc/motd
        base layer     reused  the same 129 packages
        ");
    }

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
