//! `oic inspect`: what is in an image.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oic_config::spec::Ecosystem;
use serde::Serialize;

use super::build::interrupted;
use crate::{
    artifact::open::{ImageOpenError, OpenedImage},
    cli::{
        Context,
        args::{ReportArgs, ReportFormat},
        command_error::{CommandError, Hint},
        exit_code::ExitCode,
        interrupt,
        printer::sanitized,
        settings::InspectSettings,
    },
    inspect::{
        InspectError, html, inspect as inspect_image,
        report::{ImageReport, PackageReport},
        text,
    },
    report::{
        packages::{Origin, PackageRecord},
        spdx::{self, ImageIdentity},
    },
};

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
struct ReportFileError {
    path: PathBuf,
    source: io::Error,
}

impl Hint for ReportFileError {}
impl Hint for ImageOpenError {}
impl Hint for InspectError {}

/// Writes what is in an image.
pub(crate) fn inspect(settings: InspectSettings, context: Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let ended = interrupt::run(&cancel, move || run(&settings, &context)).map_err(interrupt::no_thread)?;
    ended.unwrap_or_else(|| Err(interrupted()))
}

fn run(settings: &InspectSettings, context: &Context) -> Result<(), CommandError> {
    let report = look(&settings.image, context)?;
    emit(&settings.report, context, &report, text::render, html::render)?;
    let Some(path) = &settings.sbom else { return Ok(()) };
    let document = sbom(&report).ok_or_else(|| {
        CommandError::message(ExitCode::Output, format!("`{}` has no packages to make an SBOM of", settings.image.display()))
    })?;
    write(path, &document)?;
    context.printer.note(&format!("wrote {}", path.display()));
    Ok(())
}

/// Opens an image and looks at it.
pub(super) fn look(image: &Path, context: &Context) -> Result<ImageReport, CommandError> {
    let opened = open(image, context)?;
    Ok(inspect_image(&opened).map_err(|error| CommandError::new(ExitCode::Usage, error))?.report)
}

/// Opens an image.
pub(super) fn open(image: &Path, context: &Context) -> Result<OpenedImage, CommandError> {
    OpenedImage::open(image, &context.settings.work_dir.value).map_err(|error| CommandError::new(ExitCode::Usage, error))
}

/// Writes a report in the form that is asked for, to where it is asked for.
pub(super) fn emit<T: Serialize>(
    how: &ReportArgs,
    context: &Context,
    report: &T,
    text: impl Fn(&T) -> String,
    html: impl Fn(&T) -> String,
) -> Result<(), CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::message(ExitCode::Internal, format!("the report has no such form: {error}"));
    let rendered = match how.format {
        ReportFormat::Text => text(report),
        ReportFormat::Json => serde_json::to_string_pretty(report).map_err(|error| failed(&error))? + "\n",
        ReportFormat::Yaml => serde_saphyr::to_string(report).map_err(|error| failed(&error))?,
        ReportFormat::Html => html(report),
    };
    match &how.output {
        Some(path) => write(path, &rendered),
        // Everything in an image is somebody else's text.
        None => Ok(context.printer.raw_result(sanitized(&rendered).as_bytes())?),
    }
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(|source| CommandError::new(ExitCode::Output, ReportFileError { path: path.to_owned(), source }))
}

/// Returns the SPDX document of the packages in an image; none when it has none.
fn sbom(report: &ImageReport) -> Option<String> {
    let packages = report.packages.as_ref()?;
    let release = |name: &str| report.system.as_ref().and_then(|system| system.os_release.get(name)).cloned().unwrap_or_default();
    let (vendor, version) = (release("ID"), release("VERSION_ID"));
    let origin = Origin {
        ecosystem: if packages.family == "rpm" { Ecosystem::Rpm } else { Ecosystem::Deb },
        release: if version.is_empty() { String::new() } else { format!("{vendor}-{version}") },
        vendor,
    };
    let source = |package: &PackageReport| {
        let text = package.source.as_ref()?;
        Some(match text.split_once(" (") {
            Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
            None => (text.clone(), package.version.clone()),
        })
    };
    let records: Vec<PackageRecord> = packages
        .packages
        .iter()
        .map(|package| PackageRecord {
            name: package.name.clone(),
            arch: package.arch.clone(),
            version: package.version.clone(),
            source: source(package),
            url: None,
            sha256: None,
            header_sha256: package.header_sha256,
            license: package.license.clone(),
            requested: false,
        })
        .collect();
    let identity = ImageIdentity {
        name: report.file.name.clone(),
        version,
        arch: report.efi.first().map_or_else(|| "unknown".to_owned(), |program| program.arch.clone()),
        source_date_epoch: 0,
        oic_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Some(spdx::render(&identity, &origin, &records, &packages.dependencies))
}
