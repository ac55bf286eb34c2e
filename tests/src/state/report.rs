//! `docs/installed-state.md`: what was compared, what differs, and why that is right.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, bail};

use super::{Difference, RULES};

/// Between these lines of the page everything is rewritten.
const MARKERS: [&str; 2] = ["<!-- compared: begin -->", "<!-- compared: end -->"];

/// Returns the tables for several sets, each with its title, the paths that it has, and its differences.
#[must_use]
pub fn page(sets: &[(String, usize, Vec<Difference>)]) -> String {
    let mut text = String::from("| packages | paths | differences | without a reason |\n|---|--:|--:|--:|\n");
    let unjustified = |found: &[Difference]| found.iter().filter(|one| !RULES.iter().any(|rule| rule.covers(one))).count();
    for (title, paths, found) in sets {
        let _ = writeln!(text, "| {title} | {paths} | {} | {} |", found.len(), unjustified(found));
    }
    text.push_str("\n| path | what | how many | why |\n|---|---|---|---|\n");
    for rule in RULES {
        // A difference belongs to the first rule that covers it, as when they are judged.
        let first = |one: &&Difference| RULES.iter().find(|rule| rule.covers(one)).is_some_and(|first| std::ptr::eq(first, rule));
        let counts: Vec<String> = sets.iter().map(|(_, _, found)| found.iter().filter(first).count().to_string()).collect();
        let aspects: BTreeMap<_, _> = rule.aspects.iter().map(|aspect| (*aspect, aspect.name())).collect();
        let aspects = if aspects.is_empty() { "anything".to_owned() } else { aspects.into_values().collect::<Vec<_>>().join(", ") };
        let _ = writeln!(text, "| `{}` | {aspects} | {} | {} |", rule.path, counts.join(" · "), rule.reason);
    }
    text
}

/// Replaces what stands between the markers of the page.
///
/// # Errors
/// Fails when the page cannot be read or written, or has no markers.
pub fn write_page(page: &Path, tables: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let Some((before, rest)) = text.split_once(MARKERS[0]) else { bail!("{} has no line `{}`", page.display(), MARKERS[0]) };
    let Some((_, after)) = rest.split_once(MARKERS[1]) else { bail!("{} has no line `{}`", page.display(), MARKERS[1]) };
    fs::write(page, format!("{before}{}\n\n{tables}\n{}{after}", MARKERS[0], MARKERS[1]))?;
    Ok(())
}
