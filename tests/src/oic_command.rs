//! One run of the program.

use std::{
    fmt,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{Sandbox, redact};

/// A command line to run in a sandbox.
#[derive(Debug)]
pub struct Oic<'a> {
    sandbox: &'a Sandbox,
    command: Command,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output with placeholders for what differs from run to run.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// Returns the program that the tests run: cargo puts it two folders above the test itself.
///
/// # Panics
/// Panics when this is not a test that cargo built.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a process has a program");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("cargo puts tests into `deps`");
    folder.join("oic-under-test")
}

impl<'a> Oic<'a> {
    /// Returns a command line with an environment that has only what every user has.
    #[must_use]
    pub fn new(sandbox: &'a Sandbox, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(sandbox.cwd())
            .env_clear()
            .env("HOME", sandbox.home())
            .env("TMPDIR", sandbox.root().join("tmp"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        Self { sandbox, command }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Returns the command itself, for tests that want its streams and its process.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// Panics when the program cannot be started.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that runs the program under test")]
    pub fn run(mut self) -> Output {
        let output = self.command.output().unwrap_or_else(|error| panic!("{} does not start: {error}", program().display()));
        let text = |bytes: &[u8]| redact(&String::from_utf8_lossy(bytes), self.sandbox);
        Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit {code}")?,
            None => writeln!(f, "ended by a signal")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "--- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}
