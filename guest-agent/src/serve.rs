//! The session: hello, plan, report.

use std::io;

use oic_protocol::{
    AgentMessage, ComposePlan, ComposeReport, Hello, HostMessage, PROTOCOL_VERSION,
    codec::{self, CodecError, read_message, write_message},
};

use crate::{events::Channel, runner, sys};

/// Why a session ended before its report.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The channel failed.
    #[error("the channel to the host failed")]
    Channel(#[from] CodecError),
    /// The host speaks another protocol.
    #[error("the host speaks protocol {0} and this agent {PROTOCOL_VERSION}")]
    Version(oic_protocol::ProtocolVersion),
    /// The host sent something else than what was due.
    #[error("the host sent no {0} when it was due")]
    Sequence(&'static str),
}

/// A host that has answered.
#[derive(Debug)]
pub struct Greeted(());

/// Says hello and waits for a host that understands.
///
/// # Errors
/// Fails when the channel fails or the versions do not fit.
pub fn greet(channel: &mut dyn Channel) -> Result<Greeted, SessionError> {
    let mut channel = channel;
    write_message(&mut channel, &AgentMessage::Hello(hello()))?;
    match codec::read_message(&mut channel)? {
        HostMessage::HelloAck(ack) if PROTOCOL_VERSION.is_compatible_with(ack.version) => Ok(Greeted(())),
        HostMessage::HelloAck(ack) => Err(SessionError::Version(ack.version)),
        HostMessage::Plan(_) => Err(SessionError::Sequence("answer to the hello")),
    }
}

/// Receives the plan, runs it and reports.
///
/// # Errors
/// Fails when the channel fails; a step that fails is reported and no error here.
pub fn run(channel: &mut dyn Channel, _greeted: Greeted) -> Result<(), SessionError> {
    let mut channel = channel;
    let plan = receive_plan(&mut channel)?;
    let report = runner::run(&plan, channel);
    send_report(&mut channel, report)?;
    Ok(())
}

/// Receives the plan.
fn receive_plan(channel: &mut impl io::Read) -> Result<ComposePlan, SessionError> {
    match read_message(channel)? {
        HostMessage::Plan(plan) => Ok(plan),
        HostMessage::HelloAck(_) => Err(SessionError::Sequence("plan")),
    }
}

/// Sends the last frame.
fn send_report(channel: &mut impl io::Write, report: ComposeReport) -> Result<(), CodecError> {
    write_message(channel, &AgentMessage::Report(report))
}

/// Says who we are.
fn hello() -> Hello {
    let names = rustix::system::uname();
    Hello {
        version: PROTOCOL_VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: names.machine().to_string_lossy().into_owned(),
        kernel_release: names.release().to_string_lossy().into_owned(),
        uptime_ms: u64::try_from(sys::uptime().as_millis()).unwrap_or(u64::MAX),
        memory_bytes: sys::memory_bytes(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use oic_protocol::{HelloAck, ProtocolVersion};

    use super::*;

    /// A host whose words are written down beforehand.
    struct Script {
        words: Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.words.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn host(words: &[HostMessage]) -> Script {
        let mut wire = Vec::new();
        for word in words {
            write_message(&mut wire, word).unwrap();
        }
        Script { words: Cursor::new(wire), heard: Vec::new() }
    }

    fn plan() -> HostMessage {
        HostMessage::Plan(ComposePlan { source_date_epoch: 0, store_tag: None, network: false, steps: Vec::new() })
    }

    #[test]
    fn the_agent_speaks_first_and_says_facts() {
        let mut host = host(&[HostMessage::HelloAck(HelloAck { version: PROTOCOL_VERSION })]);
        greet(&mut host).unwrap();
        let AgentMessage::Hello(hello) = read_message(&mut host.heard.as_slice()).unwrap() else { panic!("no hello") };
        assert!(hello.memory_bytes > 0 && hello.cpus > 0 && !hello.machine.is_empty() && hello.uptime_ms > 0);
    }

    #[test]
    fn a_host_of_another_major_version_is_refused() {
        let version = ProtocolVersion { major: PROTOCOL_VERSION.major + 1, minor: 0 };
        assert!(matches!(greet(&mut host(&[HostMessage::HelloAck(HelloAck { version })])), Err(SessionError::Version(v)) if v == version));
    }

    #[test]
    fn frames_out_of_turn_are_refused() {
        assert!(matches!(greet(&mut host(&[plan()])), Err(SessionError::Sequence(_))));
        assert!(matches!(greet(&mut host(&[])), Err(SessionError::Channel(CodecError::Closed))));
        let mut twice = host(&[HostMessage::HelloAck(HelloAck { version: PROTOCOL_VERSION })]);
        assert!(matches!(run(&mut twice, Greeted(())), Err(SessionError::Sequence("plan"))));
    }
}
