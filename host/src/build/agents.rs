//! The guest agents that this program carries.
//!
//! They are part of the program so that agent and host are always of one tree; the build script embeds those that
//! `cargo xtask agents` has left in `target/agents`.

use std::io;

use crate::digest::Sha256Digest;

/// Architecture and zstd-compressed file of each agent.
const AGENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/agents.rs"));

/// The largest agent that is unpacked: far more than any has.
const SIZE_LIMIT: usize = 16 * 1024 * 1024;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum MissingAgent {
    /// The program was built without it.
    #[error("this oic carries no guest agent for {arch} (it carries: {})", listed(.carried))]
    NotEmbedded {
        /// The architecture.
        arch: String,
        /// The architectures that it has agents for.
        carried: Vec<&'static str>,
    },
    /// The embedded file is damaged.
    #[error("the embedded guest agent for {arch} does not unpack")]
    Damaged {
        /// The architecture.
        arch: String,
        /// What the decoder said.
        source: io::Error,
    },
}

impl MissingAgent {
    /// Returns what a user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotEmbedded { arch, .. } | Self::Damaged { arch, .. } => {
                format!("run `cargo xtask agents {arch}` in the source tree and build oic again")
            }
        }
    }
}

/// Names the architectures, or says that there is none.
fn listed(carried: &[&str]) -> String {
    if carried.is_empty() { "none".to_owned() } else { carried.join(", ") }
}

/// Returns the architectures that this program carries an agent for.
#[must_use]
pub fn carried() -> Vec<&'static str> {
    AGENTS.iter().map(|(arch, _)| *arch).collect()
}

/// Returns the digest of the agent for an architecture as this program carries it; none when it carries none.
#[must_use]
pub fn digest(arch: &str) -> Option<Sha256Digest> {
    AGENTS.iter().find(|(name, _)| *name == arch).map(|(_, packed)| Sha256Digest::of(packed))
}

/// Returns the agent for an architecture: one static executable, `/init` of the builder VM.
///
/// # Errors
/// Fails when this program was built without it.
pub fn agent(arch: &str) -> Result<Vec<u8>, MissingAgent> {
    let found = AGENTS.iter().find(|(name, _)| *name == arch);
    let (_, packed) = found.ok_or_else(|| MissingAgent::NotEmbedded { arch: arch.to_owned(), carried: carried() })?;
    zstd::bulk::decompress(packed, SIZE_LIMIT).map_err(|source| MissingAgent::Damaged { arch: arch.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_is_a_program_of_its_architecture() {
        if AGENTS.is_empty() {
            eprintln!("skipped: no agent is embedded; run `cargo xtask agents` first");
        }
        for arch in carried() {
            let bytes = agent(arch).unwrap();
            // The machine field of ELF, little-endian for all three.
            let machine = u16::from_le_bytes([bytes[18], bytes[19]]);
            let expected = match arch {
                "x86_64" => 62,
                "aarch64" => 183,
                "riscv64" => 243,
                other => panic!("{other} is no architecture of images"),
            };
            assert_eq!((&bytes[..4], machine), (&b"\x7fELF"[..], expected), "{arch}");
        }
    }

    #[test]
    fn an_architecture_without_agent_says_how_to_add_it() {
        let error = agent("sparc").unwrap_err();
        assert!(error.to_string().starts_with("this oic carries no guest agent for sparc (it carries: "));
        assert_eq!(error.hint(), "run `cargo xtask agents sparc` in the source tree and build oic again");
    }
}
