//! `oic build`: from a template to files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use oic_builder_vm::{Accelerator, Cancel, Machine};
use oic_config::spec::ImageSpec;

use crate::{
    build::{self, BuildOptions, HostOptions, Scratch},
    cli::{
        Context,
        command_error::{CommandError, Hint},
        exit_code::ExitCode,
        interrupt, machine,
        progress::{FinishedOutput, ImageProgress, Progress},
        settings::BuildSettings,
        template::plural,
    },
    toolchain::guest_arch,
};

/// The log in the output folder.
const LOG_FILE_NAME: &str = "build.log";

/// What a build takes beside the memory of its VM: the emulator's translated code, and the packages and trees in this process.
const MEMORY_BESIDE_VM: u64 = 768 << 20;

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

/// Builds the images, as many side by side as this machine can bear. One that fails does not stop the others.
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
    let lanes = lanes(&specs, machine::processors(), machine::available_memory());
    if lanes < specs.len() {
        context.printer.note(&format!("building {lanes} of {} images at a time: more would be too much for this machine", specs.len()));
    }
    let results = in_lanes(lanes, &images, one);
    if stop.cancel.is_cancelled() && results.iter().any(Result::is_err) {
        return Err(interrupted());
    }
    let names = specs.iter().map(|spec| spec.target.arch.name());
    conclude(names.zip(results).collect(), context, progress)
}

/// Returns how many images are built at a time: no more than there are processors and memory for, and at least one.
fn lanes(specs: &[ImageSpec], processors: usize, memory: Option<u64>) -> usize {
    let own = |spec: &ImageSpec| Machine::of(guest_arch(spec.target.arch), Accelerator::Tcg).cpus;
    let cpus = specs.iter().map(|spec| spec.builder.cpus.unwrap_or_else(|| own(spec))).max().unwrap_or(1);
    let size = specs.iter().map(|spec| spec.builder.memory.unwrap_or(build::DEFAULT_MEMORY).0).max().unwrap_or(0);
    let by_processors = processors / usize::try_from(cpus.max(1)).unwrap_or(usize::MAX);
    let by_memory =
        memory.map_or(usize::MAX, |memory| usize::try_from(memory / size.saturating_add(MEMORY_BESIDE_VM)).unwrap_or(usize::MAX));
    by_processors.min(by_memory).min(specs.len()).max(1)
}

/// Calls `work` for each item, for `lanes` of them at a time, and returns what it gave in the order of the items.
fn in_lanes<T: Sync, R: Send>(lanes: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let lane = || -> Vec<(usize, R)> {
        let take = || next.fetch_add(1, Ordering::Relaxed);
        std::iter::repeat_with(take).map_while(|index| Some((index, work(items.get(index)?)))).collect()
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
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
        host: HostOptions {
            scratch: stop.scratch.clone(),
            without_repositories: settings.without_repositories.clone(),
            ..context.settings.host_options(settings.offline, stop.cancel.clone())
        },
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
    progress.succeed(&outputs.collect::<Vec<_>>(), settings.explain);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use oic_config::{LoadRequest, spec::Arch, units::ByteSize};

    use super::*;

    fn specs() -> Vec<ImageSpec> {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
        let load = |arch| oic_config::load(&LoadRequest { template: template.clone(), arch: Some(arch), ..LoadRequest::default() });
        Arch::ALL.into_iter().map(|arch| load(arch).unwrap().spec).collect()
    }

    #[test]
    fn processors_and_memory_bound_how_many_images_are_built_at_a_time() {
        let mut specs = specs();
        for (processors, memory, expected) in
            [(1, None, 1), (2, None, 1), (4, None, 2), (64, None, 3), (64, Some(0), 1), (64, Some(4 << 30), 2), (4, Some(64 << 30), 2)]
        {
            assert_eq!(lanes(&specs, processors, memory), expected, "{processors} {memory:?}");
        }
        specs[2].builder.memory = Some(ByteSize(8 << 30));
        specs[1].builder.cpus = Some(8);
        assert_eq!(lanes(&specs, 64, Some(20 << 30)), 2);
        assert_eq!(lanes(&specs, 16, Some(200 << 30)), 2);
    }

    #[test]
    fn lanes_share_the_work_and_keep_the_order() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |item: &usize| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            item * 2
        };
        assert_eq!(in_lanes(2, &[1, 2, 3, 4, 5], work), [2, 4, 6, 8, 10]);
        assert!(most.load(Ordering::SeqCst) <= 2);
    }
}
