//! Self-contained HTML pages: one file, no script from elsewhere, light and dark by the reader's wish.

use std::fmt::Write as _;

/// The look of every page.
const STYLE: &str = include_str!("page.css");

/// Filters the rows of a table by what is typed; the only script of a page.
const FILTER: &str = "document.querySelectorAll('input[data-for]').forEach(i=>i.addEventListener('input',()=>{const q=i.value.toLowerCase();\
    document.querySelectorAll('#'+i.dataset.for+' tbody tr').forEach(r=>{r.hidden=!r.textContent.toLowerCase().includes(q)})}));";

/// Returns a page. `body` is HTML.
#[must_use]
pub fn page(title: &str, subtitle: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><header><h1>{title}</h1><p>{subtitle}</p></header>\n<main>\n{body}</main>\n\
         <script>{FILTER}</script></body></html>\n",
        title = escaped(title),
        subtitle = escaped(subtitle),
    )
}

/// Returns text that means itself in HTML, in attributes too. Control characters become visible.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            '\n' | '\t' => result.push(c),
            c if c.is_control() => result.push('\u{fffd}'),
            c => result.push(c),
        }
    }
    result
}

/// Returns a section with a heading. `body` is HTML.
#[must_use]
pub fn section(title: &str, body: &str) -> String {
    format!("<section><h2>{}</h2>\n{body}</section>\n", escaped(title))
}

/// Returns a table; cells are HTML. With an id, it gets a field that filters its rows.
#[must_use]
pub fn table(id: Option<&str>, head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    if let Some(id) = id {
        let _ = writeln!(text, "<input type=\"search\" data-for=\"{id}\" placeholder=\"filter {} rows\">", rows.len());
    }
    let _ = write!(text, "<div class=\"scroll\"><table{}><thead><tr>", id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default());
    for title in head {
        let _ = write!(text, "<th>{}</th>", escaped(title));
    }
    text.push_str("</tr></thead><tbody>\n");
    for row in rows {
        text.push_str("<tr>");
        for cell in row {
            let _ = write!(text, "<td>{cell}</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Returns a word in a coloured frame; `kind` is `good`, `warn`, `bad`, `info` or empty.
#[must_use]
pub fn badge(kind: &str, text: &str) -> String {
    format!("<span class=\"badge {kind}\">{}</span>", escaped(text))
}

/// Returns a size as people read it: `224.3 MiB`.
#[must_use]
pub fn bytes(size: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (0..units.len() - 1).take_while(|step| size >> (10 * (step + 1)) > 0).count();
    let value = size as f64 / (1_u64 << (10 * step)) as f64;
    if step == 0 || value.fract() < 0.05 { format!("{value:.0} {}", units[step]) } else { format!("{value:.1} {}", units[step]) }
}

/// Returns text in the letters of code.
#[must_use]
pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<code>{}</code>", escaped(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (size, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1 << 20, "1 MiB"),
            (235_203_072, "224.3 MiB"),
            (3 << 40, "3 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escaped("<a href=\"x\" b='y'>&\x1b</a>"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;\u{fffd}&lt;/a&gt;");
        assert!(page("<x>", "", "").contains("<title>&lt;x&gt;</title>"));
    }
}
