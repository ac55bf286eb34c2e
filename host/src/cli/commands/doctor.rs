//! `oic doctor`: what this machine offers, and what to do about what it lacks.
//!
//! A lack that makes builds slower or narrower is told and no more; one that makes them impossible ends with status 6.

mod probes;

use serde::Serialize;

use crate::cli::{
    Context,
    command_error::CommandError,
    exit_code::ExitCode,
    interrupt,
    printer::{Printer, Style, sanitized},
    settings::DoctorSettings,
    template::plural,
};

/// The version of `--json`'s format.
const VERSION: u32 = 1;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Good,
    /// Builds work, and could be better.
    Lack,
    /// Builds do not work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at.
    name: &'static str,
    status: Status,
    /// What was found.
    finding: String,
    /// What to do about a lack.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn good(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, status: Status::Good, finding: finding.into(), fix: None }
    }

    fn lack(name: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Lack, finding: finding.into(), fix: Some(fix.into()) }
    }

    fn missing(name: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Missing, finding: finding.into(), fix: Some(fix.into()) }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    usable: bool,
    checks: &'a [Check],
}

/// Looks at the machine and tells what was found.
pub(crate) fn doctor(settings: &DoctorSettings, context: &Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let checks = probes::run(settings, &context.settings, &cancel);
    let missing = checks.iter().filter(|check| check.status == Status::Missing).count();
    if settings.json {
        let report = Report { version: VERSION, usable: missing == 0, checks: &checks };
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        context.printer.raw_result(format!("{text}\n").as_bytes())?;
    } else {
        for check in &checks {
            context.printer.raw_result(lines(check, &context.printer).as_bytes())?;
        }
    }
    if missing == 0 {
        return Ok(());
    }
    Err(CommandError::message(ExitCode::Host, format!("builds do not work on this machine: {} missing", plural(missing, "thing"))))
}

/// Returns a check as lines of text.
fn lines(check: &Check, printer: &Printer) -> String {
    let (style, mark) = match check.status {
        Status::Good => (Style::Good, "good"),
        Status::Lack => (Style::Warning, "lack"),
        Status::Missing => (Style::Error, "missing"),
    };
    let mark = printer.styled_result(style, &format!("{mark:<7}"));
    let mut text = format!("{mark}  {:<12}  {}\n", check.name, sanitized(&check.finding));
    if let Some(fix) = &check.fix {
        text.push_str(&format!("{:25}{}\n", "", printer.styled_result(Style::Dim, &sanitized(fix))));
    }
    text
}
