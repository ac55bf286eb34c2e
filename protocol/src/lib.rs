//! The contract between `oic` on the host and `oic-guest-agent`, PID 1 of the builder VM.
//!
//! # Sequence
//!
//! ```text
//! agent                                   host
//!   |  Hello {version, build id, facts}     |   the guest speaks first, as soon as the port is open
//!   |-------------------------------------->|
//!   |           HelloAck {version}          |   or the host closes: the versions do not fit
//!   |<--------------------------------------|
//!   |           ComposePlan {steps}         |   exactly one plan per session
//!   |<--------------------------------------|
//!   |  Event StepStarted / Progress / Log   |   any number, in the order of the steps
//!   |-------------------------------------->|
//!   |  Report {outcome}                     |   the last frame; then the agent syncs, unmounts, powers off
//!   |-------------------------------------->|
//! ```
//!
//! # Wire layout
//!
//! Every frame is a little-endian `u32` length followed by that many bytes of [postcard], at most
//! [`codec::MAX_FRAME`]. Postcard does not describe itself, so both sides must agree on
//! [`ProtocolVersion`]: the host and the agent that it embeds are built from one tree, and a
//! major version that differs ends the session with a clear error. The golden bytes in the tests
//! fail when a type changes without its version.
//!
//! # Trust
//!
//! The agent is trusted until it runs the first package script; after that everything it says is
//! input from an untrusted machine. The host bounds each frame, accepts events only in the
//! sequence above and never acts on a path or a size that the guest names. The guest receives no
//! secret.
//!
//! This crate does no I/O beyond the `Read` and `Write` it is given, and depends on no other crate
//! of this workspace.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

#![deny(missing_docs)]

pub mod codec;
mod event;
mod hello;
mod plan;
mod report;
mod version;

pub use event::{AgentEvent, LogLevel};
pub use hello::{Hello, HelloAck};
pub use plan::{
    AccountPassword, ComposePlan, DebInstall, FileContent, FileEntry, Hook, InitramfsCompression, InitramfsPlan, RpmInstall,
    ScriptedPackage, Seal, ServicePlan, Step, StoreBlob, UserAccount,
};
pub use report::{AgentError, AgentErrorKind, ComposeReport, KernelReport, Outcome};
pub use version::{PROTOCOL_VERSION, ProtocolVersion};

use serde::{Deserialize, Serialize};

/// A frame that the agent sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum AgentMessage {
    /// The first frame of a session.
    Hello(Hello),
    /// Something happened while the plan ran.
    Event(AgentEvent),
    /// The last frame of a session.
    Report(ComposeReport),
}

/// A frame that the host sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum HostMessage {
    /// Accepts the agent's hello.
    HelloAck(HelloAck),
    /// What the agent is to do. Sent once.
    Plan(ComposePlan),
}
