//! `oic build`: from a template to files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use oic_builder_vm::Cancel;
use oic_config::spec::ImageSpec;

use crate::{
    build::{self, BuildOptions, HostOptions, Scratch},
    cli::{
        Context,
        command_error::{CommandError, Hint},
        exit_code::ExitCode,
        interrupt,
        progress::{FinishedOutput, ImageProgress, Progress},
        settings::BuildSettings,
        template::plural,
    },
};

/// The log in the output folder.
const LOG_FILE_NAME: &str = "build.log";

/// The output folder cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the output folder `{}`", path.display())]
struct OutputDirError {
    path: PathBuf,
    source: io::Error,
}

impl Hint for OutputDirError {
    fn hints(&self) -> Vec<String> {
        vec!["name another folder with `--output`".into()]
    }
}

/// Builds the template's image for every architecture that is asked for.
pub(crate) fn build(settings: BuildSettings, context: Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let progress = context.progress();
    let stop = Stop { cancel: cancel.clone(), scratch: Scratch::default() };
    let (shown, scratch) = (Arc::clone(&progress), stop.scratch.clone());
    let ended = interrupt::run(&cancel, move || build_all(&settings, &context, &stop, &shown)).map_err(interrupt::no_thread)?;
    let result = ended.unwrap_or_else(|| {
        scratch.remove();
        Err(interrupted())
    });
    progress.finish(result.as_ref().err());
    result
}

/// What ends a build before its time.
#[derive(Debug)]
struct Stop {
    cancel: Cancel,
    scratch: Scratch,
}

/// Builds the images side by side. One that fails does not stop the others.
fn build_all(settings: &BuildSettings, context: &Context, stop: &Stop, progress: &Arc<Progress>) -> Result<(), CommandError> {
    let specs = settings.overrides.load(&settings.template, &context.settings, &context.printer)?;
    if specs.len() > 1 && settings.dotfile.is_some() {
        return Err(CommandError::usage(format!("`--dotfile` names one file, and {} images are built", specs.len()))
            .with_hint("leave it out: each output folder has its own deps.dot"));
    }
    let images: Vec<_> =
        specs.iter().map(|spec| (spec, progress.image(if specs.len() == 1 { "" } else { spec.target.arch.name() }))).collect();
    let one = |(spec, image): &(&ImageSpec, ImageProgress)| {
        let output_dir = output_dir(settings, spec, specs.len() > 1);
        let result = build_image(spec, image, &output_dir, settings, context, stop);
        let result = result.map_err(|error| if stop.cancel.is_cancelled() { interrupted() } else { error });
        if let Err(error) = &result {
            image.fail(error);
        }
        result.map(|()| output_dir)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = images.iter().map(|image| scope.spawn(move || one(image))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    if stop.cancel.is_cancelled() && results.iter().any(Result::is_err) {
        return Err(interrupted());
    }
    let names = specs.iter().map(|spec| spec.target.arch.name());
    conclude(names.zip(results).collect(), context, progress)
}

/// Tells the folders of what succeeded and, when several images were built, why others failed.
fn conclude(results: Vec<(&str, Result<PathBuf, CommandError>)>, context: &Context, progress: &Progress) -> Result<(), CommandError> {
    let count = results.len();
    let mut errors = Vec::new();
    for (name, result) in results {
        match result {
            Ok(_) if progress.owns_stdout() => {}
            Ok(folder) => context.printer.result(&folder.display().to_string())?,
            Err(error) => errors.push((name, error)),
        }
    }
    if count == 1 || errors.is_empty() {
        return errors.pop().map_or(Ok(()), |(_, error)| Err(error));
    }
    errors.iter().for_each(|(name, error)| error.report_about(name, &context.printer));
    // The one of the stage that came last: what failed there got the farthest.
    let code = errors.iter().map(|(_, error)| error.exit_code()).max().unwrap_or(ExitCode::Internal);
    Err(CommandError::message(code, format!("{} of {} not built", errors.len(), plural(count, "image"))))
}

/// Builds one image into `output_dir`.
fn build_image(
    spec: &ImageSpec,
    progress: &ImageProgress,
    output_dir: &Path,
    settings: &BuildSettings,
    context: &Context,
    stop: &Stop,
) -> Result<(), CommandError> {
    fs::create_dir_all(output_dir)
        .map_err(|source| CommandError::new(ExitCode::Output, OutputDirError { path: output_dir.to_owned(), source }))?;
    progress.open_log(&output_dir.join(LOG_FILE_NAME))?;
    let options = BuildOptions {
        host: HostOptions { scratch: stop.scratch.clone(), ..context.settings.host_options(settings.offline, stop.cancel.clone()) },
        output_dir: output_dir.to_owned(),
        lock_file: settings.lock_file.clone(),
        lock_use: settings.lock_use,
        dotfile: settings.dotfile.clone(),
    };
    let outcome = build::build(spec, &options, progress)?;
    let outputs = outcome.outputs.into_iter().map(|output| FinishedOutput {
        path: output_dir.join(&output.name).to_string_lossy().into_owned(),
        size: output.size,
        sha256: output.sha256,
    });
    progress.succeed(&outputs.collect::<Vec<_>>());
    Ok(())
}

/// Returns the folder for the outputs of one image.
fn output_dir(settings: &BuildSettings, spec: &ImageSpec, several: bool) -> PathBuf {
    let own = format!("{}-{}-{}", spec.name, spec.version, spec.target.arch);
    match &settings.output {
        Some(folder) if several => folder.join(own),
        Some(folder) => folder.clone(),
        None => Path::new("out").join(own),
    }
}

/// Returns the error of a command that the user has stopped.
pub(super) fn interrupted() -> CommandError {
    CommandError::message(ExitCode::Interrupted, "interrupted")
}
