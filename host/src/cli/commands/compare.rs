//! `oic compare`: what differs between two images.

use std::path::Path;

use super::{
    build::interrupted,
    inspect::{emit, look, open},
};
use crate::{
    cli::{
        Context,
        args::CompareMode,
        command_error::{CommandError, Hint},
        exit_code::ExitCode,
        interrupt,
        settings::CompareSettings,
    },
    compare::{CompareError, SbomError, compare as compare_images, compare_packages, html, load_packages, text},
    inspect::report::PackageReport,
};

impl Hint for CompareError {}

impl Hint for SbomError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { .. } => Vec::new(),
            Self::Parse { .. } => vec!["`oic inspect --extract-sbom` writes one of an image".into()],
        }
    }
}

/// Compares two images; ends with status 10 when they differ.
pub(crate) fn compare(settings: CompareSettings, context: Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let ended = interrupt::run(&cancel, move || run(&settings, &context)).map_err(interrupt::no_thread)?;
    ended.unwrap_or_else(|| Err(interrupted()))
}

fn run(settings: &CompareSettings, context: &Context) -> Result<(), CommandError> {
    let comparison = match settings.mode {
        CompareMode::Full => {
            let (left, right) = (open(&settings.left, context)?, open(&settings.right, context)?);
            compare_images(&left, &right).map_err(|error| CommandError::new(ExitCode::Usage, error))?
        }
        CompareMode::Spdx => {
            let (left, right) = (packages(&settings.left, context)?, packages(&settings.right, context)?);
            let name = |path: &Path| path.display().to_string();
            compare_packages((name(&settings.left), &left), (name(&settings.right), &right))
        }
    };
    emit(&settings.report, context, &comparison, text::render, html::render)?;
    if comparison.is_equal() { Ok(()) } else { Err(CommandError::told(ExitCode::Differences)) }
}

/// Returns the packages of an SPDX document or of an image.
fn packages(path: &Path, context: &Context) -> Result<Vec<PackageReport>, CommandError> {
    if let Some(packages) = load_packages(path).map_err(|error| CommandError::new(ExitCode::Usage, error))? {
        return Ok(packages);
    }
    let report = look(path, context)?;
    let found = report.packages.map(|packages| packages.packages);
    found.ok_or_else(|| {
        CommandError::message(ExitCode::Usage, format!("`{}` is no SPDX document, and no image whose packages are known", path.display()))
    })
}
