//! How long a build took, as a page: stages and what they worked on, side by side on one line of time.

use std::fmt::Write as _;

use super::page::{badge, escaped, page, section, table};

/// The most steps that are shown, the longest ones.
const MOST_STEPS: usize = 400;
/// Shorter steps are not shown; milliseconds.
const SHORTEST: u64 = 5;
const COLORS: [&str; 6] = ["#3457d5", "#0e8a7d", "#b4541a", "#7a3fb5", "#a32f5b", "#4a6b1e"];

/// A part of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The stage.
    pub stage: &'static str,
    /// The step or file that it worked on; none: the stage itself.
    pub item: Option<String>,
    /// When it began, in milliseconds from the build's beginning.
    pub start: u64,
    /// How long it took, in milliseconds.
    pub elapsed: u64,
    /// Whether its result came from the store.
    pub cached: bool,
}

/// Returns the page of a build that took `total` milliseconds.
#[must_use]
pub fn render(image: &str, total: u64, spans: &[Span]) -> String {
    let stages: Vec<&Span> = spans.iter().filter(|span| span.item.is_none()).collect();
    let cached = stages.iter().filter(|span| span.cached).count();
    let longest = stages.iter().max_by_key(|span| span.elapsed);
    let tiles = [
        ("in all", seconds(total)),
        ("stages from the cache", format!("{cached} of {}", stages.len())),
        ("longest stage", longest.map_or_else(String::new, |span| format!("{} · {}", span.stage, seconds(span.elapsed)))),
    ];
    let tiles: String =
        tiles.iter().map(|(name, value)| format!("<div class=\"tile\"><b>{}</b><span>{name}</span></div>", escaped(value))).collect();
    let mut body = format!("<section><div class=\"tiles\">{tiles}</div></section>\n");
    let color = |stage: &str| COLORS[stages.iter().position(|span| span.stage == stage).unwrap_or(0) % COLORS.len()];
    let rows: Vec<Vec<String>> = stages.iter().map(|span| row(span, span.stage, total, color(span.stage))).collect();
    body.push_str(&section("Stages", &table(None, &["Stage", "", "Time", ""], &rows)));
    let mut steps: Vec<&Span> = spans.iter().filter(|span| span.item.is_some() && span.elapsed >= SHORTEST).collect();
    steps.sort_by_key(|span| std::cmp::Reverse(span.elapsed));
    steps.truncate(MOST_STEPS);
    steps.sort_by_key(|span| span.start);
    if !steps.is_empty() {
        let rows: Vec<Vec<String>> = steps
            .iter()
            .map(|span| row(span, &format!("{} · {}", span.stage, span.item.as_deref().unwrap_or_default()), total, color(span.stage)))
            .collect();
        body.push_str(&section("Steps", &table(Some("steps"), &["Step", "", "Time", ""], &rows)));
    }
    page(&format!("Build of {image}"), &format!("{} in all", seconds(total)), &body)
}

fn row(span: &Span, name: &str, total: u64, color: &str) -> Vec<String> {
    let share = |part: u64| part as f64 * 100.0 / total.max(1) as f64;
    let mut lane = String::from("<div class=\"lane\">");
    // Writing to a string does not fail.
    let _ = write!(
        lane,
        "<span style=\"left:{:.2}%;width:{:.2}%;background:{color}\"></span></div>",
        share(span.start).min(100.0),
        share(span.elapsed).min(100.0)
    );
    let cached = if span.cached { badge("good", "cached") } else { String::new() };
    vec![escaped(name), lane, format!("<span class=\"n\">{}</span>", seconds(span.elapsed)), cached]
}

fn seconds(milliseconds: u64) -> String {
    match milliseconds as f64 / 1000.0 {
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds => format!("{} min {:02} s", seconds as u64 / 60, seconds as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_steps_are_shown_with_their_share_of_the_time() {
        let span = |stage, item: Option<&str>, start: u64, elapsed: u64, cached| Span {
            stage,
            item: item.map(str::to_owned),
            start: start * 1000,
            elapsed: elapsed * 1000,
            cached,
        };
        let spans = [
            span("fetch", None, 0, 10, true),
            span("compose", None, 10, 90, false),
            span("compose", Some("configure <bash>"), 20, 40, false),
        ];
        let page = render("debian", 100_000, &spans);
        assert!(page.contains("left:20.00%;width:40.00%") && page.contains("configure &lt;bash&gt;"), "{page}");
        assert!(page.contains("1 of 2") && page.contains("compose · 90.0 s"));
    }
}
