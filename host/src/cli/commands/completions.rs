//! `oic completions`: a completion script for a shell.

use std::{fs, io, path::Path};

use clap_complete::Shell;

use crate::cli::{command, command_error::CommandError, printer::Printer};

/// Writes the script for `shell` to standard output.
pub(crate) fn completions(shell: Shell, printer: &Printer) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "oic", &mut script);
    Ok(printer.raw_result(&script)?)
}

/// Writes the scripts for bash, zsh and fish into `dir`, which is made when there is none, under the names that these shells
/// look for.
///
/// # Errors
/// Fails when the folder or a script cannot be written.
pub fn write_completions(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command(), "oic", dir)?;
    }
    Ok(())
}
