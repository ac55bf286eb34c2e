//! Shows what is wrong with a template: with the lines concerned on a terminal, as plain text elsewhere.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};
use oic_config::{Finding, Severity, spec::UnsupportedField};

use super::printer::{Printer, Style, sanitized};

/// Lines of the template shown on either side of the one concerned.
const CONTEXT_LINES: usize = 1;

/// Shows findings, and returns how many are errors.
pub(super) fn show(findings: &[Finding], printer: &Printer) -> usize {
    for finding in findings {
        printer.message(&render(finding, printer));
    }
    findings.iter().filter(|finding| finding.severity == Severity::Error).count()
}

/// Warns of fields that are valid and that this version does not build.
pub(super) fn show_unsupported(fields: &[UnsupportedField], printer: &Printer) {
    for UnsupportedField { field, reason, origin } in fields {
        printer.warning(&format!("this version does not build `{field}` ({origin}): {reason}"));
    }
}

/// Returns a finding as text.
fn render(finding: &Finding, printer: &Printer) -> String {
    if printer.is_fancy() {
        return fancy(finding, printer.has_color(), printer.width());
    }
    let text = sanitized(&finding.to_string()).into_owned();
    let (style, label) = match finding.severity {
        Severity::Error => (Style::Error, "error"),
        Severity::Warning => (Style::Warning, "warning"),
    };
    match text.strip_prefix(label) {
        Some(rest) => format!("{}{rest}", printer.styled(style, label)),
        None => text,
    }
}

/// Returns a finding with the lines of the template that it is about.
fn fancy(finding: &Finding, color: bool, width: usize) -> String {
    let severity = match finding.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let mut message = sanitized(&finding.message).into_owned();
    if !finding.field.is_empty() {
        message = format!("{}: {message}", sanitized(&finding.field));
    }
    let mut diagnostic = MietteDiagnostic::new(message).with_severity(severity).with_code(finding.code.name());
    let mut help = Vec::new();
    if !finding.allowed.is_empty() {
        help.push(format!("allowed: {}", sanitized(&finding.allowed.join(", "))));
    }
    help.extend(finding.hint.as_deref().map(|hint| sanitized(hint).into_owned()));
    if !help.is_empty() {
        diagnostic = diagnostic.with_help(help.join("\n"));
    }
    let placed = finding.location.as_ref().filter(|location| location.line > 0);
    if let Some(location) = placed {
        let label = finding.found.as_deref().map(|found| sanitized(found).into_owned());
        diagnostic = diagnostic.with_label(LabeledSpan::new(label, location.span.0, location.span.1));
    } else if let Some(location) = &finding.location {
        diagnostic.message = format!("{}: {}", sanitized(&location.file), diagnostic.message);
    }
    let mut report = miette::Report::new(diagnostic);
    if let Some(location) = placed {
        // Spans count bytes, so what is made visible must not change the length: one mark for each control character.
        let visible: String =
            location.text.chars().map(|c| if c.is_control() && c.is_ascii() && !"\n\t".contains(c) { '?' } else { c }).collect();
        report = report.with_source_code(NamedSource::new(&location.file, visible));
    }
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(CONTEXT_LINES).with_links(false);
    let mut text = String::new();
    // Writing to a string does not fail; a place outside the text, which would, is shown in the plain form.
    match handler.render_report(&mut text, report.as_ref()) {
        Ok(()) => text.trim_end().to_owned(),
        Err(_) => sanitized(&finding.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use oic_config::{Code, Location};

    use super::*;

    const TEXT: &str = "image:\n  name: a\u{1b}[2Jb\ntarget:\n  arch: x86\n";

    fn finding(span: (usize, usize)) -> Finding {
        let location = Location { file: "template.yml".into(), line: 4, column: 9, span, text: TEXT.into() };
        Finding::error(Code::InvalidValue, "no architecture of that name")
            .at(location)
            .field("target.arch")
            .found("x86")
            .allowed(["x86_64", "aarch64"])
            .hint("did you mean `x86_64`?")
    }

    #[test]
    fn a_terminal_shows_the_line() {
        insta::assert_snapshot!(fancy(&finding((TEXT.find("x86").unwrap(), 3)), false, 80), @"
        invalid-value

          × target.arch: no architecture of that name
           ╭─[template.yml:4:9]
         3 │ target:
         4 │   arch: x86
           ·         ─┬─
           ·          ╰── x86
           ╰────
          help: allowed: x86_64, aarch64
                did you mean `x86_64`?
        ");
    }

    #[test]
    fn a_place_outside_the_text_is_no_panic() {
        assert!(fancy(&finding((4000, 3)), true, 80).contains("no architecture of that name"));
    }

    #[test]
    fn what_has_no_place_names_its_file() {
        let mut finding = finding((0, 0));
        finding.location.as_mut().unwrap().line = 0;
        assert!(fancy(&finding, false, 80).contains("template.yml: target.arch: no architecture"));
    }
}
