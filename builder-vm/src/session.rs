//! One session: from the agent's hello to its report and the end of QEMU, and every way in which that fails.
//!
//! ```text
//! Launched ──connect──► Connected ──run──► ComposeReport, with the disk synced and released
//! ```
//!
//! A failed step is no error here: it is a [`ComposeReport`] that says so. Errors are what kept the agent from reporting. Each
//! is one variant with the cause, the end of the console and, by [`SessionError::hint`], what to change.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use oic_protocol::{AgentEvent, ComposePlan, ComposeReport, Hello, PROTOCOL_VERSION, ProtocolVersion, codec::CodecError};

use crate::{
    Cancel, Deadlines,
    channel::Channel,
    conversation::{Fault, converse, greet},
    launch::{Ended, Launched, Vm},
};

/// What the kernel prints when it gives up.
const PANIC: &str = "Kernel panic";
/// What the kernel prints when memory runs out.
const OUT_OF_MEMORY: [&str; 3] = ["Out of memory", "out of memory", "System is deadlocked on memory"];
/// How long the end of a connection may come before the end of the QEMU that caused it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What the guest printed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleTail(pub Vec<String>);

impl std::fmt::Display for ConsoleTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&self.0.join("\n")) }
    }
}

/// Why a session has no report.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The agent did not say hello in time.
    #[error("the builder VM did not start within {} s", .waited.as_secs())]
    NoHello {
        /// How long it was waited for.
        waited: Duration,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The guest's kernel gave up.
    #[error("the kernel of the builder VM panicked: {message}")]
    KernelPanic {
        /// Its words.
        message: String,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The guest ran out of memory.
    #[error("the builder VM ran out of its {memory_mib} MiB of memory: {message}")]
    OutOfMemory {
        /// The kernel's words.
        message: String,
        /// What it has.
        memory_mib: u32,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// QEMU ended with an error or was killed.
    #[error("QEMU ended with {status}{}", and_said(.said))]
    VmmFailed {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        said: String,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The server of a share ended before QEMU.
    #[error("{server} ended with {status}{}", and_said(.said))]
    ShareFailed {
        /// Which one.
        server: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        said: String,
    },
    /// The guest powered off without a report.
    #[error("the builder VM powered off without a report")]
    PoweredOff {
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The channel ended while the VM runs on.
    #[error("the agent in the builder VM hung up without a report")]
    LostAgent {
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The agent said nothing for too long.
    #[error("the agent in the builder VM said nothing for {} s", .waited.as_secs())]
    Silent {
        /// How long it was waited for.
        waited: Duration,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// A step took too long.
    #[error("step {step} took longer than {} s", .limit.as_secs())]
    StepTooLong {
        /// Its index in the plan.
        step: u32,
        /// The deadline.
        limit: Duration,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// Host and agent cannot understand each other.
    #[error("the agent {agent_version} speaks protocol {agent}, this program {PROTOCOL_VERSION}")]
    Version {
        /// The agent's protocol.
        agent: ProtocolVersion,
        /// The agent's version.
        agent_version: String,
    },
    /// The agent sent bytes that are no message.
    #[error("the agent in the builder VM sent something that is no message")]
    BadFrame {
        /// What is wrong with it.
        source: CodecError,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The agent sent a message out of order.
    #[error("the agent in the builder VM broke the protocol: {reason}")]
    Protocol {
        /// What came when it should not.
        reason: String,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The guest reported but did not power off, so its disk cannot be trusted.
    #[error("the builder VM reported but did not power off within {} s", .waited.as_secs())]
    NotPoweredOff {
        /// How long it was waited for.
        waited: Duration,
        /// What the guest printed last.
        console: ConsoleTail,
    },
    /// The control channel could not be used.
    #[error("cannot use the control channel of the builder VM")]
    Channel {
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Words what a program wrote to standard error, if anything.
fn and_said(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" and said: {said}") }
}

impl SessionError {
    /// Returns what the guest printed last, where that may explain the error.
    #[must_use]
    pub fn console(&self) -> Option<&ConsoleTail> {
        match self {
            Self::NoHello { console, .. }
            | Self::KernelPanic { console, .. }
            | Self::OutOfMemory { console, .. }
            | Self::VmmFailed { console, .. }
            | Self::PoweredOff { console }
            | Self::LostAgent { console }
            | Self::Silent { console, .. }
            | Self::StepTooLong { console, .. }
            | Self::BadFrame { console, .. }
            | Self::Protocol { console, .. }
            | Self::NotPoweredOff { console, .. } => Some(console),
            Self::ShareFailed { .. } | Self::Version { .. } | Self::Channel { .. } | Self::Cancelled => None,
        }
    }

    /// Returns what the user can change.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::OutOfMemory { .. } => "give the builder VM more memory: `builder.memory` in the template",
            Self::NoHello { .. } | Self::Silent { .. } | Self::NotPoweredOff { .. } => {
                "a busy machine can be too slow: try again with less running beside it; if it happens again, the console shows why"
            }
            Self::StepTooLong { .. } => "a program that waits for input or for the network never ends: the log shows what it printed last",
            Self::VmmFailed { status, .. } if killed(*status) => {
                "something killed QEMU, often the host running out of memory: give the builder VM less, `builder.memory` in the template"
            }
            Self::VmmFailed { .. } => "`oic doctor` shows which QEMU is used; the environment variable OIC_QEMU names another one",
            Self::Version { .. } => "the agent and this program come from different versions: build both from one tree",
            Self::KernelPanic { .. }
            | Self::ShareFailed { .. }
            | Self::PoweredOff { .. }
            | Self::LostAgent { .. }
            | Self::BadFrame { .. }
            | Self::Protocol { .. }
            | Self::Channel { .. }
            | Self::Cancelled => return None,
        })
    }
}

/// Returns whether a signal ended a program.
fn killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status).is_some()
}

/// A VM whose agent said hello.
#[derive(Debug)]
pub struct Connected {
    launched: Launched,
    channel: Channel,
    cancel: Cancel,
    hello: Hello,
    /// From starting QEMU to the hello.
    boot_time: Duration,
    deadlines: Deadlines,
}

impl Launched {
    /// Waits for the agent's hello and answers it.
    ///
    /// # Errors
    /// Fails when the VM does not come up, when its agent cannot be understood, and when cancelled.
    pub fn connect(mut self, deadlines: Deadlines, cancel: &Cancel) -> Result<Connected, SessionError> {
        let stream = self.control.take().ok_or_else(|| SessionError::Channel { source: std::io::ErrorKind::NotConnected.into() })?;
        let mut channel = Channel::new(stream, cancel.clone()).map_err(|source| SessionError::Channel { source })?;
        match greet(&mut channel, self.vm.started, deadlines.boot) {
            Ok(hello) => {
                let boot_time = self.vm.started.elapsed();
                self.vm.has_booted();
                Ok(Connected { launched: self, channel, cancel: cancel.clone(), hello, boot_time, deadlines })
            }
            Err(Fault::Silent { waited }) => Err(match explain(&mut self.vm, Fault::Silent { waited }, cancel) {
                SessionError::Silent { waited, console } => SessionError::NoHello { waited, console },
                other => other,
            }),
            Err(fault) => Err(explain(&mut self.vm, fault, cancel)),
        }
    }
}

impl Connected {
    /// Returns what the agent said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Returns the time from starting QEMU to the hello.
    #[must_use]
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Returns the VM's processes and console.
    #[must_use]
    pub fn launched(&self) -> &Launched {
        &self.launched
    }

    /// Runs one plan and waits until the guest has powered off, so that its disks can be read.
    ///
    /// # Errors
    /// Fails when no report comes, or the guest does not power off after it. A failed step is a report.
    pub fn run(mut self, plan: ComposePlan, mut on_event: impl FnMut(AgentEvent)) -> Result<ComposeReport, SessionError> {
        let outcome = converse(&mut self.channel, plan, self.deadlines, &mut on_event);
        let vm = &mut self.launched.vm;
        let report = outcome.map_err(|fault| explain(vm, fault, &self.cancel))?;
        let begin = Instant::now();
        match vm.wait(Some(self.deadlines.shutdown), &self.cancel) {
            Ended::Exited(status) => {
                vm.console.join();
                tracing::debug!(elapsed = ?begin.elapsed(), "powered off");
                // A kernel that panics while it syncs also ends QEMU.
                if let Some(error) = kernel_trouble(vm, &[PANIC]) {
                    return Err(error);
                }
                if !status.success() {
                    return Err(vmm_failed(vm, status));
                }
                Ok(report)
            }
            Ended::TimedOut => Err(SessionError::NotPoweredOff { waited: self.deadlines.shutdown, console: tail(vm) }),
            Ended::Cancelled => Err(SessionError::Cancelled),
        }
    }
}

/// Returns the end of the console.
fn tail(vm: &Vm) -> ConsoleTail {
    ConsoleTail(vm.console.tail())
}

fn vmm_failed(vm: &Vm, status: ExitStatus) -> SessionError {
    SessionError::VmmFailed { status, said: vm.vmm.stderr(), console: tail(vm) }
}

/// Returns what the kernel itself complained of, when it is among `panics` or out of memory.
fn kernel_trouble(vm: &Vm, panics: &[&str]) -> Option<SessionError> {
    let panic = vm.console.find_line(panics)?;
    let message = vm.console.find_line(&OUT_OF_MEMORY);
    Some(match message {
        Some(message) => SessionError::OutOfMemory { message, memory_mib: vm.config.memory_mib, console: tail(vm) },
        None => SessionError::KernelPanic { message: panic, console: tail(vm) },
    })
}

/// Turns a fault into an error, with what the processes and the console tell.
fn explain(vm: &mut Vm, fault: Fault, cancel: &Cancel) -> SessionError {
    if matches!(fault, Fault::Cancelled) {
        return SessionError::Cancelled;
    }
    // The channel ends a moment before QEMU has; a guest that panics has to print it first.
    let lost = matches!(fault, Fault::Lost | Fault::Frame(_));
    let ended = vm.wait(Some(if lost { AFTERMATH } else { Duration::ZERO }), cancel);
    if let Ended::Exited(_) = ended {
        vm.console.join();
    }
    if let Some(error) = kernel_trouble(vm, &[PANIC, OUT_OF_MEMORY[2]]) {
        return error;
    }
    match (fault, ended) {
        (Fault::Lost, Ended::Exited(status)) if !status.success() => failed_share(vm).unwrap_or_else(|| vmm_failed(vm, status)),
        (Fault::Lost, Ended::Exited(_)) => failed_share(vm).unwrap_or_else(|| SessionError::PoweredOff { console: tail(vm) }),
        (_, Ended::Cancelled) | (Fault::Cancelled, _) => SessionError::Cancelled,
        (Fault::Lost, Ended::TimedOut) => SessionError::LostAgent { console: tail(vm) },
        (Fault::Silent { waited }, _) => failed_share(vm).unwrap_or_else(|| SessionError::Silent { waited, console: tail(vm) }),
        (Fault::StepTooLong { step, limit }, _) => SessionError::StepTooLong { step, limit, console: tail(vm) },
        (Fault::Version { agent, agent_version }, _) => SessionError::Version { agent, agent_version },
        (Fault::Frame(source), _) => SessionError::BadFrame { source, console: tail(vm) },
        (Fault::Order { reason }, _) => SessionError::Protocol { reason, console: tail(vm) },
    }
}

/// Returns the error of a share server that ended badly.
fn failed_share(vm: &Vm) -> Option<SessionError> {
    vm.servers.iter().find_map(|server| {
        let status = server.status().filter(|status| !status.success())?;
        Some(SessionError::ShareFailed { server: server.name().to_owned(), status, said: server.stderr() })
    })
}
