//! How a plan ended.

use serde::{Deserialize, Serialize};

/// The agent's last words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeReport {
    /// Whether all steps ended well.
    pub outcome: Outcome,
    /// The kernels found under `/lib/modules` of the target with their initramfs, when the plan asked for one.
    pub kernels: Vec<KernelReport>,
    /// The lowest amount of memory that was available while the plan ran, in bytes.
    pub memory_low_bytes: u64,
}

/// Success, or the step that failed and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Outcome {
    /// Every step ended well, the root filesystem is synced and unmounted.
    Succeeded,
    /// A step failed; later ones were not started.
    Failed {
        /// Index of the step.
        step: u32,
        /// Why.
        error: AgentError,
    },
}

/// A kernel of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelReport {
    /// The release, the name of its folder under `/lib/modules`.
    pub release: String,
    /// Path of the initramfs inside the target.
    pub initramfs: String,
}

/// Why a step failed. Structured: the host words the message and never parses text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentError {
    /// What went wrong.
    pub kind: AgentErrorKind,
    /// The last lines that the failing program printed, oldest first, at most 40.
    pub output: Vec<String>,
}

/// The kinds of failure that a step can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AgentErrorKind {
    /// A system call of the agent failed.
    System {
        /// What was being done, for example "mount".
        operation: String,
        /// The path or device it was done to.
        subject: String,
        /// The operating system's words.
        reason: String,
    },
    /// A program could not be started.
    NotStarted {
        /// The program's path in the target.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// A program ended with a status other than 0.
    ProgramFailed {
        /// Its argument vector, secrets never among them.
        argv: Vec<String>,
        /// Its exit status, or none when a signal ended it.
        exit_code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// A script of a package failed.
    PackageScript {
        /// The package.
        package: String,
        /// `preinst`, `postinst` or `trigger`; rpm's name of it, `%post`, in the RPM family.
        script: String,
        /// The script's exit status where it is known.
        exit_code: Option<i32>,
    },
    /// A command of the template's `configurations` failed.
    HookFailed {
        /// Index in the list.
        index: u32,
        /// Its exit status, or none when a signal ended it.
        exit_code: Option<i32>,
    },
    /// Something that must hold after a step does not.
    PostCondition {
        /// What must hold, as a sentence without a period.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The target's filesystem is full.
    NoSpace {
        /// What was being done.
        operation: String,
        /// Size of the filesystem in bytes.
        filesystem_bytes: u64,
    },
    /// The kernel killed a program because the guest ran out of memory.
    OutOfMemory {
        /// The program.
        program: String,
        /// Memory of the guest in bytes.
        memory_bytes: u64,
    },
    /// The plan asked for something that this agent cannot do.
    InvalidPlan {
        /// What is wrong with it.
        reason: String,
    },
}
