//! Runs a command of the template.

use oic_protocol::{AgentError, AgentErrorKind, Hook};

use crate::{exec::Program, runner::Context};

/// Runs the command, to the letter, in the target's bash.
///
/// # Errors
/// Fails when bash cannot be started or the command ends with a status other than 0.
pub fn run(hook: &Hook, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let ended = context.shell.run(&program(hook), None)?;
    if ended.succeeded() {
        return Ok(());
    }
    Err(AgentError { kind: AgentErrorKind::HookFailed { index: hook.index, exit_code: ended.exit_code }, output: ended.output })
}

fn program(hook: &Hook) -> Program {
    Program::new(["/bin/bash", "-euo", "pipefail", "-c", &hook.command])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_word_whatever_it_holds() {
        let command = "echo \"$HOME\" | cat; {status} 'x'\n";
        assert_eq!(program(&Hook { index: 0, command: command.into() }).argv(), ["/bin/bash", "-euo", "pipefail", "-c", command]);
    }
}
