//! A comparison as a page.

use super::report::{Area, Comparison, Difference, Weight};
use crate::report::page::{badge, code, escaped, page, section, table};

/// The most rows of one area.
const MOST: usize = 5000;

/// Returns the comparison as a page.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let count = |weight| comparison.differences.iter().filter(|difference| difference.weight == weight).count();
    let (matters, harmless) = (count(Weight::Matters), count(Weight::Harmless));
    let verdict = if comparison.identical {
        badge("good", "identical") + "every byte of the disks is the same"
    } else if comparison.is_equal() {
        badge("good", "equal") + "nothing differs"
    } else if matters == 0 {
        badge("warn", "different") + "in nothing that should matter"
    } else {
        badge("bad", "different") + &format!("in {matters} things that can matter")
    };
    let mut tiles = vec![("can matter", matters as u64), ("harmless", harmless as u64)];
    tiles.extend(Area::ALL.into_iter().filter_map(|area| {
        let found = comparison.differences.iter().filter(|difference| difference.area == area).count();
        (found > 0).then_some((area.title(), found as u64))
    }));
    if comparison.omitted > 0 {
        tiles.push(("not listed", comparison.omitted));
    }
    let tiles: String = tiles.iter().map(|(name, value)| format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")).collect();
    let mut body = format!("<section><p class=\"verdict\">{verdict}</p><div class=\"tiles\">{tiles}</div></section>\n");
    if !comparison.problems.is_empty() {
        let items: String = comparison.problems.iter().map(|problem| format!("<li>{}</li>", escaped(problem))).collect();
        body.push_str(&section("Problems", &format!("<ul class=\"plain\">{items}</ul>")));
    }
    for area in Area::ALL {
        let mut found: Vec<&Difference> = comparison.differences.iter().filter(|difference| difference.area == area).collect();
        found.sort_by_key(|difference| difference.weight);
        if !found.is_empty() {
            let rows: Vec<Vec<String>> = found.iter().take(MOST).map(|difference| row(difference)).collect();
            let id = format!("area-{}", area as u8);
            let filter = (rows.len() > 12).then_some(id.as_str());
            body.push_str(&section(&capitalized(area.title()), &table(filter, &["", "What", "Property", "First", "Second"], &rows)));
        }
    }
    page("Comparison", &format!("{} · {}", comparison.left, comparison.right), &body)
}

fn row(difference: &Difference) -> Vec<String> {
    let mark = match difference.weight {
        Weight::Matters => badge("bad", "can matter"),
        Weight::Harmless => badge("", "harmless"),
    };
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "<span class=\"dim\">–</span>".to_owned(), |value| code(value));
    let reason =
        if difference.reason.is_empty() { String::new() } else { format!("<br><span class=\"dim\">{}</span>", escaped(difference.reason)) };
    vec![mark, code(&difference.subject), escaped(&difference.property) + &reason, value(&difference.left), value(&difference.right)]
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
