//! What the agent tells while a plan runs.

use serde::{Deserialize, Serialize};

/// One thing that happened. `step` is always the index of a step in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AgentEvent {
    /// A step began.
    StepStarted {
        /// Index of the step.
        step: u32,
    },
    /// A step got further.
    Progress {
        /// Index of the step.
        step: u32,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// What the unit being worked on is, for example a package name.
        item: String,
    },
    /// A line that a program printed, or a remark of the agent.
    Log {
        /// Index of the step.
        step: u32,
        /// How much it matters.
        level: LogLevel,
        /// The line, without its end, at most 4 KiB, invalid UTF-8 replaced.
        line: String,
    },
    /// A step ended well. A step that fails ends the session with the report instead.
    StepFinished {
        /// Index of the step.
        step: u32,
        /// How long it took, by the guest's monotonic clock.
        elapsed_ms: u64,
    },
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// Output of a program, for the log file.
    Info,
    /// Something a user should see.
    Warning,
}
