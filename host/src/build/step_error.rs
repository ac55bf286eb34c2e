//! Words for what the agent reports: one sentence with the cause, and what the user can change.

use oic_config::units::ByteSize;
use oic_protocol::{AgentError, AgentErrorKind, Step};

use super::session::hook_command;

/// Returns the sentence.
pub(super) fn describe(error: &AgentError, step: Option<&Step>) -> String {
    let ended = |exit_code: Option<i32>, signal: Option<i32>| match (exit_code, signal) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    };
    match &error.kind {
        AgentErrorKind::System { operation, subject, reason } => format!("cannot {operation} `{subject}`: {reason}"),
        AgentErrorKind::NotStarted { program, reason } => format!("cannot start `{program}` in the image: {reason}"),
        AgentErrorKind::ProgramFailed { argv, exit_code, signal } => format!("`{}` {}", argv.join(" "), ended(*exit_code, *signal)),
        AgentErrorKind::PackageScript { package, script, exit_code } => {
            format!("the {script} script of package `{package}` {}", ended(*exit_code, None))
        }
        AgentErrorKind::HookFailed { index, exit_code } => {
            let command = hook_command(step).map(|command| format!(", `{command}`,")).unwrap_or_default();
            format!("command {} of `configurations`{command} {}", index + 1, ended(*exit_code, None))
        }
        AgentErrorKind::PostCondition { expected, found } => format!("the image is not as it must be: {expected}; found: {found}"),
        AgentErrorKind::NoSpace { operation, filesystem_bytes } => {
            format!("the builder's disk of {} is full ({operation})", ByteSize(*filesystem_bytes))
        }
        AgentErrorKind::OutOfMemory { program, memory_bytes } => {
            format!("the builder VM ran out of its {} of memory and its kernel killed `{program}`", ByteSize(*memory_bytes))
        }
        AgentErrorKind::InvalidPlan { reason } => format!("the agent does not understand the plan: {reason}"),
    }
}

/// Returns what the user can change.
#[must_use]
pub fn hint(error: &AgentError) -> Option<&'static str> {
    Some(match &error.kind {
        AgentErrorKind::NoSpace { .. } => "give the builder a larger disk: `builder: {disk: 8GiB}` in the template",
        AgentErrorKind::OutOfMemory { .. } => "give the builder VM more memory: `builder: {memory: 2GiB}` in the template",
        AgentErrorKind::HookFailed { .. } => {
            "commands run in the image with `/bin/bash -euo pipefail -c` and without network; `builder: {network: user}` gives them one"
        }
        AgentErrorKind::PackageScript { .. } => "the last lines that it printed are above; the whole output is in the build log",
        _ => return None,
    })
}
