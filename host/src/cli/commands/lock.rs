//! `oic lock`: the exact packages of a template, for everybody who builds it.

use std::sync::Arc;

use oic_builder_vm::Cancel;

use super::build::interrupted;
use crate::{
    build::{self, HostOptions, LockOptions},
    cli::{Context, command_error::CommandError, interrupt, progress::Progress, settings::LockSettings, template::plural},
};

/// Resolves the template for every architecture that is asked for, and writes the lock file.
pub(crate) fn lock(settings: LockSettings, context: Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let progress = context.progress();
    let (stop, shown) = (cancel.clone(), Arc::clone(&progress));
    let ended = interrupt::run(&cancel, move || lock_all(&settings, &context, &stop, &shown)).map_err(interrupt::no_thread)?;
    let result = ended.unwrap_or_else(|| Err(interrupted()));
    progress.finish(result.as_ref().err());
    result
}

/// Locks one architecture after the other: they share a file.
fn lock_all(settings: &LockSettings, context: &Context, cancel: &Cancel, progress: &Arc<Progress>) -> Result<(), CommandError> {
    let specs = settings.overrides.load(&settings.template, &context.settings, &context.printer)?;
    let host = HostOptions {
        without_repositories: settings.without_repositories.clone(),
        ..context.settings.host_options(settings.offline, cancel.clone())
    };
    let options = LockOptions { host, lock_file: settings.lock_file.clone() };
    for spec in &specs {
        let image = progress.image(if specs.len() == 1 { "" } else { spec.target.arch.name() });
        let locked = build::lock(spec, &options, &image).map_err(CommandError::from);
        let outcome = locked.map_err(|error| if cancel.is_cancelled() { interrupted() } else { error })?;
        let file = settings.lock_file.display();
        let did = if outcome.changed { "wrote" } else { "is up to date:" };
        let (arch, packages) = (spec.target.arch, plural(outcome.packages, "package"));
        let line =
            if outcome.changed { format!("{did} {file}: {packages} for {arch}") } else { format!("{file} {did} {packages} for {arch}") };
        if progress.owns_stdout() {
            context.printer.note(&line);
        } else {
            context.printer.result(&line)?;
        }
    }
    Ok(())
}
