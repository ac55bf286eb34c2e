//! The only place that starts programs. Every failure carries the argument vector and what the program said.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

/// Why a program's run is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("cannot start `{argv}`")]
    NotStarted {
        /// The command line.
        argv: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It ended with a status other than 0.
    #[error("`{argv}` ended with {status}{}", said(.stderr))]
    Failed {
        /// The command line.
        argv: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
}

/// Words what a program wrote to standard error, if anything.
fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(" and said: {stderr}") }
}

/// Returns a command line as text.
#[must_use]
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a program to its end without standard input and returns its standard output.
///
/// # Errors
/// Fails when the program cannot be started or ends with a status other than 0.
pub fn run(command: &mut Command) -> Result<Vec<u8>, ExecError> {
    run_for_messages(command).map(|(output, _)| output)
}

/// Runs a program to its end without standard input and returns what it wrote to standard output and standard error.
///
/// # Errors
/// Fails when the program cannot be started or ends with a status other than 0.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn run_for_messages(command: &mut Command) -> Result<(Vec<u8>, Vec<u8>), ExecError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| ExecError::NotStarted { argv: command_line(command), source })?;
    if output.status.success() {
        return Ok((output.stdout, output.stderr));
    }
    Err(ExecError::Failed { argv: command_line(command), status: output.status, stderr: last_lines(&output.stderr) })
}

/// Runs a program to its end and gives it what `feed` writes as standard input. Returns its standard output and what `feed` said.
///
/// A program that ends with status 0 without reading all of it is no failure here; `feed` has seen a broken pipe then.
///
/// # Errors
/// Fails when the program cannot be started or ends with a status other than 0, whatever `feed` said.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn run_with_input<T: Send>(
    command: &mut Command,
    feed: impl FnOnce(&mut dyn io::Write) -> T + Send,
) -> Result<(Vec<u8>, T), ExecError> {
    let argv = command_line(command);
    let failed = |source| ExecError::NotStarted { argv: argv.clone(), source };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut input = child.stdin.take().expect("standard input is piped");
    let (output, fed) = std::thread::scope(|scope| {
        // Dropping the pipe at the end of the thread is what tells the program that there is no more.
        let feeder = scope.spawn(move || feed(&mut input));
        let output = child.wait_with_output();
        (output, feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok((output.stdout, fed));
    }
    Err(ExecError::Failed { argv: argv.clone(), status: output.status, stderr: last_lines(&output.stderr) })
}

/// Returns the last lines of a program's output as one line.
fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(8)..].join("; ")
}

/// A program to start: what goes in front of its arguments, and its environment.
///
/// Programs unpacked from packages are started through the dynamic loader that came with them, so that nothing of the
/// host's libraries matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The first words of the command line; never empty.
    pub argv: Vec<OsString>,
    /// Environment variables that it needs.
    pub env: Vec<(OsString, OsString)>,
}

impl Program {
    /// Returns a program of the host.
    #[must_use]
    pub fn host(path: &Path) -> Self {
        Self { argv: vec![path.into()], env: Vec::new() }
    }

    /// Returns a command that starts it; arguments are added by the caller.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}
