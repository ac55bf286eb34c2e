//! The handshake.

use serde::{Deserialize, Serialize};

use crate::ProtocolVersion;

/// The agent's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The protocol that the agent speaks.
    pub version: ProtocolVersion,
    /// The agent's own version, for messages.
    pub agent_version: String,
    /// The machine hardware name as `uname -m` prints it.
    pub machine: String,
    /// The kernel release as `uname -r` prints it.
    pub kernel_release: String,
    /// Milliseconds from the kernel's start to this frame (`CLOCK_BOOTTIME`).
    pub uptime_ms: u64,
    /// Memory of the guest in bytes.
    pub memory_bytes: u64,
    /// Processors of the guest.
    pub cpus: u32,
}

/// The host's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloAck {
    /// The protocol that the host speaks.
    pub version: ProtocolVersion,
}
