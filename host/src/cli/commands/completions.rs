//! `oic completions`: a completion script for a shell.

use clap_complete::Shell;

use crate::cli::{command, command_error::CommandError, printer::Printer};

/// Writes the script for `shell` to standard output.
pub(crate) fn completions(shell: Shell, printer: &Printer) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "oic", &mut script);
    Ok(printer.raw_result(&script)?)
}
