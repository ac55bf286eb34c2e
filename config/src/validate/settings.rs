//! `systemConfig`: locale, time zone, services and commands.

use super::Context;
use super::packages::missing_file;
use crate::diagnostic::{Code, Finding};
use crate::layer::{CommandStage, Configuration, Located, SystemConfig, Text};
use crate::source::Origin;
use crate::spec::{Command, Ecosystem, Services};

/// Returns `LANG`.
pub(super) fn locale(given: &SystemConfig, cx: &mut Context<'_>) -> Option<String> {
    let locale = given.locale.as_ref()?;
    let text = locale.value.0.trim();
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if !first || !text.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c)) {
        let finding = Finding::error(Code::InvalidValue, "not a locale").found(format!("`{text}`"));
        cx.report(finding.allowed(["C.UTF-8", "en_US.UTF-8", "de_DE.UTF-8@euro"]), locale.origin, "systemConfig.locale");
    }
    Some(text.to_owned())
}

/// Returns whether documentation is installed.
pub(super) fn package_docs(given: &SystemConfig, cx: &mut Context<'_>) -> bool {
    let Some(docs) = &given.package_docs else { return true };
    if !*docs.value() {
        only_rpm(docs.origin, "systemConfig.packageDocs", cx);
    }
    *docs.value()
}

/// Returns the languages of which files are installed, as rpm writes them.
pub(super) fn package_languages(given: &SystemConfig, cx: &mut Context<'_>) -> Option<String> {
    const FIELD: &str = "systemConfig.packageLanguages";
    let languages = given.package_languages.as_ref()?;
    let text = languages.value.0.trim();
    let language = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
    };
    if !text.split(':').all(language) {
        let finding = Finding::error(Code::InvalidValue, "not a list of languages").found(format!("`{text}`"));
        cx.report(finding.allowed(["none", "en", "de:fr:pt_BR"]), languages.origin, FIELD);
    }
    only_rpm(languages.origin, FIELD, cx);
    Some(if text.eq_ignore_ascii_case("none") { "NONE".to_owned() } else { text.to_owned() })
}

/// Refuses what only rpm can do.
fn only_rpm(origin: Origin, field: &str, cx: &mut Context<'_>) {
    if cx.provider.facts.ecosystem == Ecosystem::Deb {
        cx.error(Code::Contradiction, origin, field, "only packages of the RPM family say which of their files it concerns");
    }
}

/// Returns the time zone. Whether the image knows it is seen when it is built.
pub(super) fn timezone(given: &SystemConfig, cx: &mut Context<'_>) -> Option<String> {
    let zone = given.timezone.as_ref()?;
    let text = zone.value.0.trim();
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    if !text.split('/').all(part) {
        let finding = Finding::error(Code::InvalidValue, "not the name of a time zone").found(format!("`{text}`"));
        cx.report(finding.allowed(["UTC", "Europe/Berlin", "America/New_York"]), zone.origin, "systemConfig.timezone");
    }
    Some(text.to_owned())
}

/// Returns the units to enable, disable and mask.
pub(super) fn services(given: &SystemConfig, cx: &mut Context<'_>) -> Services {
    let Some(services) = &given.services else { return Services::default() };
    let mut list = |units: &Option<Vec<Located<Text>>>, key: &str| -> Vec<String> {
        let field = format!("systemConfig.services.{key}");
        let check = |unit: &Located<Text>| {
            let text = unit.value.0.trim();
            let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            // The characters that systemd.unit(5) allows in a unit's name.
            if !starts || text.len() > 255 || !text.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)) {
                let finding = Finding::error(Code::InvalidValue, "not the name of a unit").found(format!("`{text}`"));
                cx.report(finding.allowed(["ssh", "chrony.service", "getty@ttyS1.service"]), unit.origin, &field);
            }
            text.to_owned()
        };
        units.iter().flatten().map(check).collect()
    };
    let found = Services {
        enable: list(&services.enable, "enable"),
        disable: list(&services.disable, "disable"),
        mask: list(&services.mask, "mask"),
    };
    for (unit, origin) in services.enable.iter().flatten().map(|unit| (&unit.value.0, unit.origin)) {
        let other = [("disable", &found.disable), ("mask", &found.mask)].into_iter().find(|(_, units)| units.contains(unit));
        if let Some((key, _)) = other {
            let message = format!("`{unit}` is in `enable` and in `{key}`");
            cx.error(Code::Contradiction, origin, "systemConfig.services", message);
        }
    }
    found
}

/// Returns the commands and scripts, in order.
pub(super) fn commands(given: &SystemConfig, cx: &mut Context<'_>) -> Vec<Command> {
    given.configurations.iter().flatten().filter_map(|one| command(one, cx)).collect()
}

fn command(given: &Located<Configuration>, cx: &mut Context<'_>) -> Option<Command> {
    const FIELD: &str = "systemConfig.configurations[]";
    let finalize = given.stage.as_ref().is_some_and(|stage| *stage.value() == CommandStage::Finalize);
    let origin = cx.origin(given.origin);
    match (&given.cmd, &given.script) {
        (Some(cmd), Some(_)) => {
            cx.error(Code::Contradiction, cmd.origin, FIELD, "an entry has either `cmd` or `script`, and here are both");
            None
        }
        (None, None) => {
            let finding = Finding::error(Code::MissingField, "an entry needs `cmd` or `script`");
            cx.report(finding.hint("`cmd`: a command; `script`: a file of this machine to run in the image"), given.origin, FIELD);
            None
        }
        (Some(cmd), None) => {
            if cmd.value.0.trim().is_empty() || cmd.value.0.contains('\0') {
                cx.error(Code::InvalidValue, cmd.origin, &format!("{FIELD}.cmd"), "a command is a text of at least one word");
            }
            if let Some(args) = &given.args {
                cx.error(Code::Contradiction, args.origin, &format!("{FIELD}.args"), "`args` belong to a `script`; write them into `cmd`");
            }
            Some(Command { command: cmd.value.0.clone(), script: None, finalize, origin })
        }
        (None, Some(script)) => {
            let field = format!("{FIELD}.script");
            let path = cx.sources.resolve_path(script.origin, script.value());
            if cx.is_placeholder(script.value(), script.origin, &field) {
                return None;
            }
            if !path.is_file() {
                missing_file(&path, script.origin, &field, cx);
            }
            let command = given.args.as_ref().map(|args| args.value.0.clone()).unwrap_or_default();
            Some(Command { command, script: Some(path), finalize, origin })
        }
    }
}
