//! `oic man`: man pages, for packagers.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::cli::{
    command,
    command_error::{CommandError, Hint},
    exit_code::ExitCode,
    printer::Printer,
};

/// Why a man page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write man pages into `{}`", dir.display())]
pub(crate) struct ManError {
    dir: PathBuf,
    source: io::Error,
}

impl Hint for ManError {}

/// Writes one page per command into `dir`.
pub(crate) fn man(dir: &Path, printer: &Printer) -> Result<(), CommandError> {
    write_man_pages(dir).map_err(|source| CommandError::new(ExitCode::Output, ManError { dir: dir.to_owned(), source }))?;
    printer.note(&format!("wrote man pages into {}", dir.display()));
    Ok(())
}

/// Makes `dir` and the pages in it.
fn write_man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // No date: the pages of one version are the same bytes whenever they are made.
    clap_mangen::generate_to(command(), dir)
}
