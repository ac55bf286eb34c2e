//! Programs that chores start.
//!
//! This crate depends on no other crate of the workspace, so that a newcomer's first chore, which builds the agents, does not
//! compile all of `oic` before it begins. What a chore needs of them it gets by having cargo run them.

#![expect(clippy::disallowed_methods, reason = "chores start programs and read the environment themselves")]

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

/// Returns the command for cargo in the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a program to its end with this chore's own output.
pub(crate) fn execute(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}

/// Runs a program and returns what it printed, as it is.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{} ended with {}", command.get_program().to_string_lossy(), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", command.get_program().to_string_lossy()))
}
