//! Loads templates for commands: what the command line adds to them, and what is shown when they are wrong.

use std::path::{Path, PathBuf};

use oic_config::{
    LoadRequest, Loaded, load,
    spec::{Arch, ImageSpec},
};

use super::{command_error::CommandError, exit_code::ExitCode, findings, printer::Printer, settings::GlobalSettings};

/// What the command line says about a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TemplateSettings {
    /// Architectures instead of the template's own; empty: that.
    pub(crate) archs: Vec<Arch>,
    /// `--set path=value`, in order.
    pub(crate) sets: Vec<String>,
    /// `--var NAME=value`, in order.
    pub(crate) vars: Vec<(String, String)>,
    /// Whether files that the template names may be missing.
    pub(crate) no_file_checks: bool,
}

impl TemplateSettings {
    /// Returns the requests to load `template`: one per architecture.
    pub(crate) fn requests(&self, template: &Path, global: &GlobalSettings) -> Vec<LoadRequest> {
        let archs = if self.archs.is_empty() { vec![None] } else { self.archs.iter().copied().map(Some).collect() };
        let request = |arch| LoadRequest {
            template: template.to_owned(),
            config_dir: global.config_dir.as_ref().map(|dir| dir.value.clone()),
            sets: self.sets.clone(),
            vars: self.vars.clone(),
            arch,
            no_file_checks: self.no_file_checks,
        };
        archs.into_iter().map(request).collect()
    }

    /// Loads `template` for every architecture, and refuses what this version does not build.
    ///
    /// # Errors
    /// Fails when the template has errors, which have been shown then, or fields that are not built.
    pub(crate) fn load(&self, template: &Path, global: &GlobalSettings, printer: &Printer) -> Result<Vec<ImageSpec>, CommandError> {
        let mut specs: Vec<ImageSpec> = Vec::new();
        for request in self.requests(template, global) {
            let Loaded { spec, warnings, .. } = load(&request).map_err(|report| {
                let errors = findings::show(&report.findings, printer);
                CommandError::message(ExitCode::Template, format!("{} in {}", plural(errors, "error"), template.display()))
            })?;
            // What is wrong for every architecture is told once.
            if specs.is_empty() {
                findings::show(&warnings, printer);
            }
            refuse_unsupported(template, &spec)?;
            specs.push(spec);
        }
        Ok(specs)
    }
}

/// Fails when the spec has fields that this version does not build.
fn refuse_unsupported(template: &Path, spec: &ImageSpec) -> Result<(), CommandError> {
    let Some(first) = spec.unsupported.first() else { return Ok(()) };
    let named: Vec<_> = spec.unsupported.iter().map(|field| format!("`{}` ({}): {}", field.field, field.origin, field.reason)).collect();
    let message = format!("this version cannot build {}: {}", template.display(), named.join("; "));
    let hint = format!("remove `{}` from the template, or override it with `--set`", first.field);
    Err(CommandError::message(ExitCode::Template, message).with_hint(hint))
}

/// Returns the lock file of a template when the user names none: beside it.
pub(crate) fn lock_file(template: &Path) -> PathBuf {
    template.with_file_name(crate::lock::LOCK_FILE_NAME)
}

/// Returns a count with its noun.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
