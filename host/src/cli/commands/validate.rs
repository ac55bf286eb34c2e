//! `oic validate`: everything that is wrong with templates, without a network and without a virtual machine.

use oic_config::{LoadRequest, Loaded, load, merge};

use crate::cli::{Context, command_error::CommandError, exit_code::ExitCode, findings, settings::ValidateSettings, template::plural};

/// Validates templates. With `merged`, also prints each with everything that it inherits, and where each value comes from.
pub(crate) fn validate(settings: &ValidateSettings, context: &Context) -> Result<(), CommandError> {
    let (mut errors, mut bad, mut count) = (0, 0, 0);
    for file in &settings.files {
        for request in settings.template.requests(file, &context.settings) {
            count += 1;
            let found = validate_one(&request, settings.merged, context)?;
            errors += found;
            bad += usize::from(found > 0);
        }
    }
    if bad == 0 {
        return Ok(());
    }
    let of = if count == 1 { settings.files[0].display().to_string() } else { format!("{bad} of {count} templates") };
    Err(CommandError::message(ExitCode::Template, format!("{} in {of}", plural(errors, "error"))))
}

/// Validates one template for one architecture, and returns how many errors it has.
fn validate_one(request: &LoadRequest, merged: bool, context: &Context) -> Result<usize, CommandError> {
    let printer = &context.printer;
    let name = match request.arch {
        Some(arch) => format!("{} ({arch})", request.template.display()),
        None => request.template.display().to_string(),
    };
    match load(request) {
        Ok(Loaded { merged: template, spec, warnings }) => {
            findings::show(&warnings, printer);
            findings::show_unsupported(&spec.unsupported, printer);
            if merged {
                printer.raw_result(template.to_yaml_with_origins().as_bytes())?;
            } else {
                let count = warnings.len() + spec.unsupported.len();
                let note = if count == 0 { String::new() } else { format!(", {}", plural(count, "warning")) };
                printer.result(&format!("{name}: valid{note}"))?;
            }
            Ok(0)
        }
        Err(report) => {
            let errors = findings::show(&report.findings, printer);
            // What inherits from where is most wanted when something is wrong.
            if merged && let Ok(template) = merge(request) {
                printer.raw_result(template.to_yaml_with_origins().as_bytes())?;
            }
            Ok(errors.max(1))
        }
    }
}
