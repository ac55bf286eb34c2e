//! `oic convert`: from one format of images to another.

use std::sync::Arc;

use super::build::interrupted;
use crate::{
    artifact::convert::{ConvertError, ConvertRequest, convert as convert_image},
    build::progress::{Stage, stage},
    cli::{Context, command_error::CommandError, exit_code::ExitCode, interrupt, settings::ConvertSettings},
    report::page::bytes,
};

/// Converts an image.
pub(crate) fn convert(settings: ConvertSettings, context: Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let progress = context.progress();
    let (shown, printer, stop) = (Arc::clone(&progress), context.printer.clone(), cancel.clone());
    let work = move || {
        let request = ConvertRequest {
            input: settings.input,
            output: settings.output,
            format: settings.format,
            compression: settings.compression,
            scratch: context.settings.work_dir.value.clone(),
        };
        let observer = shown.image("");
        let outcome = stage(&observer, Stage::Artifacts, || Ok::<_, ConvertError>((convert_image(&request, &stop, &observer)?, false)))?;
        let (disk, written) = (bytes(outcome.disk), bytes(outcome.written));
        let format = request.compression.map_or_else(|| request.format.to_string(), |packed| format!("{} in {packed}", request.format));
        let line = format!("wrote {}: {format}, {written}, a disk of {disk} from {}", request.output.display(), outcome.from);
        if shown.owns_stdout() {
            printer.note(&line);
        } else {
            printer.result(&line)?;
        }
        Ok(())
    };
    let ended = interrupt::run(&cancel, work).map_err(interrupt::no_thread)?;
    let result = ended.unwrap_or_else(|| Err(interrupted()));
    progress.finish(result.as_ref().err());
    result
}

impl From<ConvertError> for CommandError {
    fn from(error: ConvertError) -> Self {
        let code = match &error {
            ConvertError::Open(_) => ExitCode::Usage,
            ConvertError::NotAFile(_) | ConvertError::Write(_) => ExitCode::Output,
            ConvertError::Cancelled => ExitCode::Interrupted,
        };
        Self::new(code, error)
    }
}
