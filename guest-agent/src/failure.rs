//! Making the structured errors of the protocol, and seeing through them to a full disk or a lack of memory.

use std::{fmt::Display, io, time::Duration};

use oic_protocol::{AgentError, AgentErrorKind};

use crate::sys;

/// How many of a program's last lines an error carries.
pub const TAIL_LINES: usize = 40;

/// Returns the error for a system call that failed.
pub fn system(operation: &str, subject: impl Display, reason: impl Into<io::Error>) -> AgentError {
    let reason = reason.into();
    let full = reason.kind() == io::ErrorKind::StorageFull;
    let operation = operation.to_owned();
    let kind = if full {
        AgentErrorKind::NoSpace { operation: format!("{operation} {subject}"), filesystem_bytes: 0 }
    } else {
        AgentErrorKind::System { operation, subject: subject.to_string(), reason: reason.to_string() }
    };
    AgentError { kind, output: Vec::new() }
}

/// Returns the error for a plan that cannot be followed.
pub fn invalid_plan(reason: impl Into<String>) -> AgentError {
    AgentError { kind: AgentErrorKind::InvalidPlan { reason: reason.into() }, output: Vec::new() }
}

/// Returns the error for something that must hold and does not.
pub fn post_condition(expected: impl Into<String>, found: impl Into<String>) -> AgentError {
    AgentError { kind: AgentErrorKind::PostCondition { expected: expected.into(), found: found.into() }, output: Vec::new() }
}

/// Replaces an error by its cause where the kernel knows one: memory ran out, or the filesystem is full.
///
/// `began` is the kernel's clock when the step started; `filesystem_bytes` asks for the size of the target.
#[must_use]
pub fn refine(error: AgentError, began: Duration, filesystem_bytes: impl FnOnce() -> u64) -> AgentError {
    if let Some(program) = sys::out_of_memory_victim(began) {
        let kind = AgentErrorKind::OutOfMemory { program, memory_bytes: sys::memory_bytes() };
        return AgentError { kind, output: error.output };
    }
    refine_space(error, filesystem_bytes)
}

/// Recognises a full filesystem by the words that every program takes from libc.
fn refine_space(error: AgentError, filesystem_bytes: impl FnOnce() -> u64) -> AgentError {
    let said_full = error.output.iter().any(|line| line.contains("No space left on device"));
    let operation = match error.kind {
        AgentErrorKind::NoSpace { operation, .. } => operation,
        AgentErrorKind::ProgramFailed { ref argv, .. } if said_full => argv.first().cloned().unwrap_or_default(),
        AgentErrorKind::PackageScript { ref package, ref script, .. } if said_full => format!("{script} of {package}"),
        AgentErrorKind::HookFailed { index, .. } if said_full => format!("command {index} of the configurations"),
        _ => return error,
    };
    AgentError { kind: AgentErrorKind::NoSpace { operation, filesystem_bytes: filesystem_bytes() }, output: error.output }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_as_such_whoever_noticed() {
        let own = system("write", "/etc/motd", rustix::io::Errno::NOSPC);
        let kind = refine_space(own, || 4096).kind;
        assert_eq!(kind, AgentErrorKind::NoSpace { operation: "write /etc/motd".into(), filesystem_bytes: 4096 });

        let kind = AgentErrorKind::PackageScript { package: "man-db".into(), script: "postinst".into(), exit_code: Some(1) };
        let output = vec!["mandb: can't write to /var/cache/man: No space left on device".to_owned()];
        let refined = refine_space(AgentError { kind, output: output.clone() }, || 8192);
        assert_eq!(refined.kind, AgentErrorKind::NoSpace { operation: "postinst of man-db".into(), filesystem_bytes: 8192 });
        assert_eq!(refined.output, output);
    }

    #[test]
    fn other_failures_stay_what_they_are() {
        let error = system("mount", "/dev/vda", rustix::io::Errno::NODEV);
        assert_eq!(refine_space(error.clone(), || 0), error);
    }
}
