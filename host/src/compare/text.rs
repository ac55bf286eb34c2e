//! A comparison as text for a terminal.

use std::fmt::Write as _;

use super::report::{Area, Comparison, Difference, Weight};

/// The most differences of one area that are written out.
const MOST: usize = 200;
/// Longer values are cut.
const LONGEST: usize = 160;

/// Returns the comparison as text.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    if comparison.is_equal() {
        let how = if comparison.identical { "identical" } else { "equal" };
        let _ = writeln!(text, "{} and {} are {how}", comparison.left, comparison.right);
    } else {
        let matters = comparison.differences.iter().filter(|difference| difference.weight == Weight::Matters).count();
        let all = comparison.differences.len() as u64 + comparison.omitted;
        let noun = if all == 1 { "difference" } else { "differences" };
        let _ = writeln!(text, "{} and {} differ: {all} {noun}, {matters} of which can matter", comparison.left, comparison.right);
    }
    for area in Area::ALL {
        let found: Vec<&Difference> = comparison.differences.iter().filter(|difference| difference.area == area).collect();
        if found.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{}", area.title());
        for difference in found.iter().take(MOST) {
            let mark = if difference.weight == Weight::Matters { '!' } else { '.' };
            let values = match (&difference.left, &difference.right) {
                (Some(left), Some(right)) => format!(": {} → {}", cut(left), cut(right)),
                (Some(value), None) | (None, Some(value)) if !value.is_empty() => format!(": {}", cut(value)),
                _ => String::new(),
            };
            let reason = if difference.reason.is_empty() { String::new() } else { format!(" ({})", difference.reason) };
            let _ = writeln!(text, "  {mark} {}  {}{values}{reason}", difference.subject, difference.property);
        }
        if found.len() > MOST {
            let _ = writeln!(text, "    … and {} more: `--format json` has all", found.len() - MOST);
        }
    }
    if !comparison.problems.is_empty() {
        text.push_str("\nproblems\n");
        comparison.problems.iter().for_each(|problem| {
            let _ = writeln!(text, "  {problem}");
        });
    }
    text
}

fn cut(text: &str) -> String {
    let line = text.replace('\n', " / ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}
