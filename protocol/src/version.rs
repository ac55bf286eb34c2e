//! Versions of the protocol and the rule that makes two of them fit.

use serde::{Deserialize, Serialize};

/// The version that this build speaks.
pub const PROTOCOL_VERSION: ProtocolVersion = ProtocolVersion { major: 2, minor: 0 };

/// A protocol version. Sides with equal `major` understand each other; `minor` only counts additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolVersion {
    /// Changes when a frame that exists changes its meaning or its bytes.
    pub major: u16,
    /// Changes when something is added that the older side never sends.
    pub minor: u16,
}

impl ProtocolVersion {
    /// Returns whether a peer that speaks `other` can be talked to.
    #[must_use]
    pub fn is_compatible_with(self, other: Self) -> bool {
        self.major == other.major
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
