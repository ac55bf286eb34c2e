//! Progress for programs: one JSON object per line on standard output, described by `docs/schemas/progress-v1.schema.json`.
//!
//! Every object begins with the format's `version`. Fields and events may be added without raising it; readers pass over
//! what they do not know. The last line is always the event `finished`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::Display;
use crate::{
    build::progress::{Event, Level, Stage, Unit},
    cli::{command_error::CommandError, exit_code::ExitCode, printer::Printer},
    digest::Sha256Digest,
};

/// The version of the format.
const VERSION: u32 = 1;

/// The least time between two `progress` events of one stage.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a line says, after the version.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Body<'a> {
    StageStarted { image: &'a str, stage: &'a str },
    Progress { image: &'a str, stage: &'a str, done: u64, total: Option<u64>, unit: &'a str, item: &'a str },
    Message { image: &'a str, level: &'a str, text: &'a str },
    Decision { image: &'a str, subject: &'a str, reused: bool, reason: &'a str },
    StageFinished { image: &'a str, stage: &'a str, elapsed_ms: u64, cached: bool },
    ImageFinished { image: &'a str, outputs: &'a [FinishedOutput] },
    Finished { exit_code: u8, error: Vec<String>, hints: &'a [String] },
}

/// A file that came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FinishedOutput {
    /// Where it is.
    pub(crate) path: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The digest of its content.
    pub(crate) sha256: Sha256Digest,
}

/// Writes JSON lines.
#[derive(Debug)]
pub(super) struct Json {
    printer: Printer,
    last: Mutex<BTreeMap<(String, Stage), Instant>>,
}

impl Json {
    pub(super) fn new(printer: Printer) -> Self {
        Self { printer, last: Mutex::default() }
    }

    fn write(&self, body: &Body<'_>) {
        // A reader that has gone does not stop the build.
        let _ = self.printer.raw_result(&line(body));
    }

    /// Returns whether a stage may speak again; its end always may.
    fn due(&self, image: &str, stage: Stage, done: u64, total: Option<u64>) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.get(&(image.to_owned(), stage)).copied();
        if total != Some(done) && before.is_some_and(|before| now - before < INTERVAL) {
            return false;
        }
        last.insert((image.to_owned(), stage), now);
        true
    }
}

/// Returns a line with its end.
fn line(body: &Body<'_>) -> Vec<u8> {
    let mut object = serde_json::Map::from_iter([("version".to_owned(), VERSION.into())]);
    // A body is always an object: every variant has named fields.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(body) {
        object.extend(fields);
    }
    format!("{}\n", serde_json::Value::Object(object)).into_bytes()
}

/// Returns what a build's event looks like.
fn body<'a>(image: &'a str, event: &Event<'a>) -> Body<'a> {
    match *event {
        Event::StageStarted { stage } => Body::StageStarted { image, stage: stage.name() },
        Event::Progress { stage, done, total, unit, item } => {
            let unit = match unit {
                Unit::Bytes => "bytes",
                Unit::Items => "items",
            };
            Body::Progress { image, stage: stage.name(), done, total, unit, item }
        }
        Event::Message { level, text } => {
            let level = match level {
                Level::Detail => "detail",
                Level::Note => "note",
                Level::Warning => "warning",
            };
            Body::Message { image, level, text }
        }
        Event::Decision { subject, reused, reason } => Body::Decision { image, subject, reused, reason },
        Event::StageFinished { stage, elapsed, cached } => {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            Body::StageFinished { image, stage: stage.name(), elapsed_ms, cached }
        }
    }
}

impl Display for Json {
    fn event(&self, image: &str, event: &Event<'_>) {
        match *event {
            Event::Progress { stage, done, total, .. } if !self.due(image, stage, done, total) => {}
            _ => self.write(&body(image, event)),
        }
    }

    fn owns_stdout(&self) -> bool {
        true
    }

    fn image_finished(&self, image: &str, outputs: &[FinishedOutput]) {
        self.write(&Body::ImageFinished { image, outputs });
    }

    fn finish(&self, error: Option<&CommandError>) {
        let exit_code = error.map_or(ExitCode::Success, CommandError::exit_code).number();
        let chain = error.map(CommandError::chain).unwrap_or_default();
        self.write(&Body::Finished { exit_code, error: chain, hints: error.map(CommandError::hints).unwrap_or_default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let output = FinishedOutput { path: "out/a.raw".into(), size: 3, sha256: Sha256Digest::of(b"abc") };
        let error = CommandError::message(ExitCode::Fetch, "no connection").with_hint("check the network");
        let bodies = [
            body("a", &Event::StageStarted { stage: Stage::Fetch }),
            body("a", &Event::Progress { stage: Stage::Fetch, done: 1, total: Some(2), unit: Unit::Bytes, item: "libc6" }),
            body("", &Event::Progress { stage: Stage::Fetch, done: 1, total: None, unit: Unit::Items, item: "\x1b[2J" }),
            body("a", &Event::Message { level: Level::Warning, text: "old" }),
            body("a", &Event::Decision { subject: "outputs", reused: false, reason: "changed: file /etc/motd" }),
            body("a", &Event::StageFinished { stage: Stage::Fetch, elapsed: Duration::from_millis(1500), cached: true }),
            Body::ImageFinished { image: "a", outputs: std::slice::from_ref(&output) },
            Body::Finished { exit_code: error.exit_code().number(), error: error.chain(), hints: error.hints() },
        ];
        bodies.into_iter().map(|body| String::from_utf8(line(&body)).unwrap()).collect()
    }

    #[test]
    fn the_format_is_as_it_was_released() {
        insta::assert_snapshot!(lines().concat(), @r#"
        {"version":1,"event":"stage-started","image":"a","stage":"fetch"}
        {"version":1,"event":"progress","image":"a","stage":"fetch","done":1,"total":2,"unit":"bytes","item":"libc6"}
        {"version":1,"event":"progress","image":"","stage":"fetch","done":1,"total":null,"unit":"items","item":"\u001b[2J"}
        {"version":1,"event":"message","image":"a","level":"warning","text":"old"}
        {"version":1,"event":"decision","image":"a","subject":"outputs","reused":false,"reason":"changed: file /etc/motd"}
        {"version":1,"event":"stage-finished","image":"a","stage":"fetch","elapsedMs":1500,"cached":true}
        {"version":1,"event":"image-finished","image":"a","outputs":[{"path":"out/a.raw","size":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}
        {"version":1,"event":"finished","exitCode":5,"error":["no connection"],"hints":["check the network"]}
        "#);
    }

    #[test]
    fn the_documented_schema_describes_every_line() {
        let text = include_str!("../../../../docs/schemas/progress-v1.schema.json");
        let validator = jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap();
        for line in lines() {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{line}: {errors:?}");
        }
        assert!(!validator.is_valid(&serde_json::json!({"version": 1, "event": "stage-started", "image": "a"})));
        assert!(!validator.is_valid(&serde_json::json!({"version": 2, "event": "finished", "exitCode": 0, "error": [], "hints": []})));
    }

    #[test]
    fn progress_comes_in_measure_and_ends_are_not_lost() {
        let json = Json::new(Printer::new(true, crate::cli::printer::Colors::Never));
        assert!(json.due("a", Stage::Fetch, 1, Some(9)));
        assert!(!json.due("a", Stage::Fetch, 2, Some(9)));
        assert!(json.due("b", Stage::Fetch, 2, Some(9)));
        assert!(json.due("a", Stage::Fetch, 9, Some(9)));
    }
}
