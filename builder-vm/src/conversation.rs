//! The host's side of the protocol over any channel: handshake, one plan, events in order, one report.
//!
//! Knows nothing of processes. What goes wrong is a [`Fault`], which [`crate::session`] turns into an error by looking at what
//! else is known of the VM.

use std::time::{Duration, Instant};

use oic_protocol::{
    AgentEvent, AgentMessage, ComposePlan, ComposeReport, Hello, HelloAck, HostMessage, Outcome, PROTOCOL_VERSION, ProtocolVersion,
    codec::{CodecError, read_message, write_message},
};

use crate::{
    Accelerator,
    channel::{Channel, Stop, stop_reason},
};

/// The longest item or line that is passed on; the protocol promises less.
const LONGEST_TEXT: usize = 4096;

/// How long a session waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From starting QEMU to the agent's hello.
    pub boot: Duration,
    /// Between two frames of the agent.
    pub idle: Duration,
    /// For one step.
    pub step: Duration,
    /// From the report to the end of QEMU.
    pub shutdown: Duration,
}

impl Deadlines {
    /// Returns generous ones: an accelerator that is slower gets longer.
    #[must_use]
    pub fn of(accelerator: Accelerator) -> Self {
        let patience = accelerator.patience();
        Self {
            boot: Duration::from_secs(12) * patience,
            idle: Duration::from_secs(120) * patience,
            step: Duration::from_secs(900) * patience,
            shutdown: Duration::from_secs(12) * patience,
        }
    }
}

/// What ended a conversation early.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The agent speaks another major version.
    Version { agent: ProtocolVersion, agent_version: String },
    /// Nothing came for as long as the boot or idle deadline allows.
    Silent { waited: Duration },
    /// A step took longer than its deadline.
    StepTooLong { step: u32, limit: Duration },
    /// The channel ended, orderly or not.
    Lost,
    /// The bytes are no message.
    Frame(CodecError),
    /// A message that may not come at this point.
    Order { reason: String },
    /// The caller cancelled.
    Cancelled,
}

/// Waits for the agent's hello and answers it.
pub(crate) fn greet(channel: &mut Channel, begin: Instant, boot: Duration) -> Result<Hello, Fault> {
    channel.set_deadline(begin + boot);
    let hello = match read(channel, boot)? {
        AgentMessage::Hello(hello) => hello,
        AgentMessage::Event(_) | AgentMessage::Report(_) => return Err(order("the first frame is not a hello")),
    };
    if !hello.version.is_compatible_with(PROTOCOL_VERSION) {
        return Err(Fault::Version { agent: hello.version, agent_version: clean(hello.agent_version) });
    }
    send(channel, &HostMessage::HelloAck(HelloAck { version: PROTOCOL_VERSION }), boot)?;
    Ok(Hello {
        agent_version: clean(hello.agent_version),
        machine: clean(hello.machine),
        kernel_release: clean(hello.kernel_release),
        ..hello
    })
}

/// Sends the plan, passes events on and returns the report.
pub(crate) fn converse(
    channel: &mut Channel,
    plan: ComposePlan,
    deadlines: Deadlines,
    on_event: &mut dyn FnMut(AgentEvent),
) -> Result<ComposeReport, Fault> {
    let steps = u32::try_from(plan.steps.len()).unwrap_or(u32::MAX);
    channel.set_deadline(Instant::now() + deadlines.idle);
    send(channel, &HostMessage::Plan(plan), deadlines.idle)?;
    let mut progress = Progress { steps, next: 0, running: None };
    loop {
        let idle_end = Instant::now() + deadlines.idle;
        let step_end = progress.running.map(|(step, begin)| (step, begin + deadlines.step));
        channel.set_deadline(step_end.map_or(idle_end, |(_, end)| end.min(idle_end)));
        let message = match read(channel, deadlines.idle) {
            Err(Fault::Silent { waited }) => {
                let overdue = step_end.filter(|(_, end)| *end < idle_end);
                return Err(overdue.map_or(Fault::Silent { waited }, |(step, _)| Fault::StepTooLong { step, limit: deadlines.step }));
            }
            other => other?,
        };
        match message {
            AgentMessage::Hello(_) => return Err(order("a second hello")),
            AgentMessage::Event(event) => on_event(progress.accept(event)?),
            AgentMessage::Report(report) => return progress.conclude(report),
        }
        // A guest that never stops talking must not outlast its step either.
        if let Some((step, begin)) = progress.running
            && begin.elapsed() >= deadlines.step
        {
            return Err(Fault::StepTooLong { step, limit: deadlines.step });
        }
    }
}

/// How far the plan is, by the events so far.
#[derive(Debug)]
struct Progress {
    steps: u32,
    /// The first step that has not begun.
    next: u32,
    /// The step that runs, and since when.
    running: Option<(u32, Instant)>,
}

impl Progress {
    /// Checks that an event may come now and returns it with bounded texts.
    fn accept(&mut self, event: AgentEvent) -> Result<AgentEvent, Fault> {
        let running = self.running.map(|(step, _)| step);
        Ok(match event {
            AgentEvent::StepStarted { step } => {
                if running.is_some() || step != self.next || step >= self.steps {
                    return Err(order(format!("step {step} of {} began{}", self.steps, self.position())));
                }
                self.running = Some((step, Instant::now()));
                self.next += 1;
                event
            }
            AgentEvent::StepFinished { step, .. } => {
                if running != Some(step) {
                    return Err(order(format!("step {step} ended{}", self.position())));
                }
                self.running = None;
                event
            }
            AgentEvent::Progress { step, done, total, item } => {
                if running != Some(step) {
                    return Err(order(format!("step {step} got further{}", self.position())));
                }
                AgentEvent::Progress { step, done, total, item: clean(item) }
            }
            // Remarks between two steps belong to the one before or the one after.
            AgentEvent::Log { step, level, line } => {
                let near = match running {
                    Some(running) => step == running,
                    None => step == self.next || Some(step) == self.next.checked_sub(1),
                };
                if !near || step >= self.steps.max(1) {
                    return Err(order(format!("step {step} printed a line{}", self.position())));
                }
                AgentEvent::Log { step, level, line: clean(line) }
            }
        })
    }

    /// Checks that a report fits the events before it.
    fn conclude(&self, report: ComposeReport) -> Result<ComposeReport, Fault> {
        let running = self.running.map(|(step, _)| step);
        match &report.outcome {
            Outcome::Succeeded if running.is_none() && self.next == self.steps => Ok(report),
            Outcome::Succeeded => Err(order(format!("success was reported{}", self.position()))),
            // The step that runs, or one that could not begin; after the last one, unmounting is that one's.
            Outcome::Failed { step, .. } => match running {
                Some(running) if running == *step => Ok(report),
                None if *step == self.next || Some(*step) == self.next.checked_sub(1) => Ok(report),
                _ => Err(order(format!("a failure of step {step} was reported{}", self.position()))),
            },
        }
    }

    /// Says where the plan is, for messages about what should not have come.
    fn position(&self) -> String {
        match self.running {
            Some((step, _)) => format!(" while step {step} of {} runs", self.steps),
            None => format!(" while {} of {} steps have ended", self.next, self.steps),
        }
    }
}

fn order(reason: impl Into<String>) -> Fault {
    Fault::Order { reason: reason.into() }
}

/// Reads one message; `limit` is the deadline's length, for the message.
fn read(channel: &mut Channel, limit: Duration) -> Result<AgentMessage, Fault> {
    read_message(channel).map_err(|error| fault(error, limit))
}

/// Sends one message.
fn send(channel: &mut Channel, message: &HostMessage, limit: Duration) -> Result<(), Fault> {
    write_message(channel, message).map_err(|error| fault(error, limit))
}

fn fault(error: CodecError, limit: Duration) -> Fault {
    match error {
        CodecError::Closed => Fault::Lost,
        CodecError::Io(error) => match stop_reason(&error) {
            Some(Stop::Cancelled) => Fault::Cancelled,
            Some(Stop::Deadline) => Fault::Silent { waited: limit },
            None => Fault::Lost,
        },
        error @ (CodecError::TooLong { .. } | CodecError::Invalid { .. }) => Fault::Frame(error),
    }
}

/// Cuts a text of the guest and removes control characters: it may end up on a terminal.
fn clean(text: String) -> String {
    let harmless = |character: char| !character.is_control() || character == '\t';
    if text.len() <= LONGEST_TEXT && text.chars().all(harmless) {
        return text;
    }
    let mut kept = String::new();
    for character in text.chars().filter(|character| harmless(*character)) {
        if kept.len() + character.len_utf8() > LONGEST_TEXT {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream};

    use oic_protocol::{AgentError, AgentErrorKind, LogLevel, Step};

    use super::*;
    use crate::Cancel;

    /// Short enough for tests; nothing that is expected to succeed waits for them.
    const DEADLINES: Deadlines = Deadlines {
        boot: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        step: Duration::from_secs(20),
        shutdown: Duration::from_secs(1),
    };

    fn hello(version: ProtocolVersion) -> AgentMessage {
        AgentMessage::Hello(Hello {
            version,
            agent_version: "0.1.0".into(),
            machine: "x86_64".into(),
            kernel_release: "6.12".into(),
            uptime_ms: 900,
            memory_bytes: 1 << 30,
            cpus: 2,
        })
    }

    fn started(step: u32) -> AgentMessage {
        AgentMessage::Event(AgentEvent::StepStarted { step })
    }

    fn finished(step: u32) -> AgentMessage {
        AgentMessage::Event(AgentEvent::StepFinished { step, elapsed_ms: 1 })
    }

    fn line(step: u32, line: &str) -> AgentMessage {
        AgentMessage::Event(AgentEvent::Log { step, level: LogLevel::Info, line: line.into() })
    }

    fn report(outcome: Outcome) -> AgentMessage {
        AgentMessage::Report(ComposeReport { outcome, kernels: Vec::new(), memory_low_bytes: 1 })
    }

    fn failed(step: u32) -> AgentMessage {
        let error = AgentError { kind: AgentErrorKind::InvalidPlan { reason: "test".into() }, output: Vec::new() };
        report(Outcome::Failed { step, error })
    }

    fn plan(steps: usize) -> ComposePlan {
        ComposePlan { source_date_epoch: 0, store_tag: None, network: false, steps: vec![Step::WriteFiles(Vec::new()); steps] }
    }

    /// Holds a whole session of two steps with an agent that does as `agent` says after the handshake.
    fn session(agent: impl FnOnce(&mut UnixStream) + Send + 'static) -> (Result<ComposeReport, Fault>, Vec<AgentEvent>) {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(host, Cancel::new().unwrap()).unwrap();
        let agent = std::thread::spawn(move || {
            write_message(&mut guest, &hello(PROTOCOL_VERSION)).unwrap();
            assert!(matches!(read_message(&mut guest).unwrap(), HostMessage::HelloAck(_)));
            assert!(matches!(read_message(&mut guest).unwrap(), HostMessage::Plan(_)));
            agent(&mut guest);
        });
        let begin = Instant::now();
        let greeting = greet(&mut channel, begin, Duration::from_secs(20)).unwrap();
        assert_eq!(greeting.kernel_release, "6.12");
        let mut events = Vec::new();
        let outcome = converse(&mut channel, plan(2), DEADLINES, &mut |event| events.push(event));
        drop(channel);
        agent.join().unwrap();
        (outcome, events)
    }

    /// A session in which the agent sends these frames and then closes.
    fn frames(messages: Vec<AgentMessage>) -> (Result<ComposeReport, Fault>, Vec<AgentEvent>) {
        session(move |guest| {
            for message in messages {
                if write_message(guest, &message).is_err() {
                    return;
                }
            }
        })
    }

    /// How a handshake ends when the agent does as `agent` says.
    fn greeting(agent: impl FnOnce(&mut UnixStream)) -> Result<Hello, Fault> {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(host, Cancel::new().unwrap()).unwrap();
        agent(&mut guest);
        greet(&mut channel, Instant::now(), DEADLINES.boot)
    }

    #[test]
    fn a_session_in_order_passes_every_event_on_and_returns_the_report() {
        let (outcome, events) = frames(vec![
            line(0, "mounting"),
            started(0),
            line(0, "a"),
            finished(0),
            started(1),
            line(1, "b"),
            finished(1),
            report(Outcome::Succeeded),
        ]);
        assert_eq!(outcome.unwrap().outcome, Outcome::Succeeded);
        assert_eq!(events.len(), 7);
    }

    #[test]
    fn a_failed_step_is_a_report() {
        for messages in [vec![started(0), failed(0)], vec![failed(0)], vec![started(0), finished(0), failed(1)]] {
            let (outcome, _) = frames(messages);
            assert!(matches!(outcome.unwrap().outcome, Outcome::Failed { .. }));
        }
    }

    #[test]
    fn messages_out_of_order_end_the_session() {
        let success = || report(Outcome::Succeeded);
        let cases = [
            (vec![hello(PROTOCOL_VERSION)], "a second hello"),
            (vec![started(1)], "step 1 of 2 began while 0 of 2 steps have ended"),
            (vec![started(0), started(1)], "step 1 of 2 began while step 0 of 2 runs"),
            (vec![finished(0)], "step 0 ended while 0 of 2 steps have ended"),
            (vec![started(0), finished(0), started(1), finished(1), started(2)], "step 2 of 2 began while 2 of 2 steps have ended"),
            (vec![started(0), line(1, "x")], "step 1 printed a line while step 0 of 2 runs"),
            (vec![line(7, "x")], "step 7 printed a line while 0 of 2 steps have ended"),
            (vec![success()], "success was reported while 0 of 2 steps have ended"),
            (vec![started(0), finished(0), started(1), success()], "success was reported while step 1 of 2 runs"),
            (vec![started(0), failed(1)], "a failure of step 1 was reported while step 0 of 2 runs"),
        ];
        for (messages, expected) in cases {
            match frames(messages).0 {
                Err(Fault::Order { reason }) => {
                    assert_eq!(reason, expected);
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_agent_that_dies_is_lost_wherever_it_was() {
        assert!(matches!(greeting(|guest| guest.shutdown(std::net::Shutdown::Both).unwrap()), Err(Fault::Lost)));
        assert!(matches!(frames(vec![started(0)]).0, Err(Fault::Lost)));
        let (inside_a_frame, _) = session(|guest| guest.write_all(&[40, 0, 0, 0, 1, 2, 3]).unwrap());
        assert!(matches!(inside_a_frame, Err(Fault::Lost)));
        let (inside_a_header, _) = session(|guest| guest.write_all(&[40, 0]).unwrap());
        assert!(matches!(inside_a_header, Err(Fault::Lost)));
    }

    #[test]
    fn bytes_that_are_no_message_end_the_session() {
        let (garbage, _) = session(|guest| guest.write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff]).unwrap());
        assert!(matches!(garbage, Err(Fault::Frame(CodecError::Invalid { length: 3, .. }))));
        let (oversized, _) = session(|guest| guest.write_all(&u32::MAX.to_le_bytes()).unwrap());
        assert!(matches!(oversized, Err(Fault::Frame(CodecError::TooLong { .. }))));
    }

    #[test]
    fn silence_ends_at_the_deadline_that_applies() {
        let wait = || std::thread::sleep(Duration::from_millis(600));
        assert!(matches!(greeting(|_| {}), Err(Fault::Silent { waited }) if waited == DEADLINES.boot));
        let (silent, _) = session(move |_| wait());
        assert!(matches!(silent, Err(Fault::Silent { waited }) if waited == DEADLINES.idle));
    }

    #[test]
    fn a_step_that_keeps_talking_still_ends_at_its_deadline() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(host, Cancel::new().unwrap()).unwrap();
        let agent = std::thread::spawn(move || {
            let _ = read_message::<HostMessage>(&mut guest);
            let _ = write_message(&mut guest, &started(0));
            while write_message(&mut guest, &line(0, "still here")).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let deadlines = Deadlines { step: Duration::from_millis(100), ..DEADLINES };
        let outcome = converse(&mut channel, plan(1), deadlines, &mut |_| {});
        drop(channel);
        agent.join().unwrap();
        assert!(matches!(outcome, Err(Fault::StepTooLong { step: 0, limit }) if limit == deadlines.step), "{outcome:?}");
    }

    #[test]
    fn another_major_version_is_refused_before_anything_is_sent() {
        let foreign = ProtocolVersion { major: PROTOCOL_VERSION.major + 1, minor: 0 };
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(host, Cancel::new().unwrap()).unwrap();
        write_message(&mut guest, &hello(foreign)).unwrap();
        let outcome = greet(&mut channel, Instant::now(), Duration::from_secs(20));
        assert!(matches!(outcome, Err(Fault::Version { agent, .. }) if agent == foreign));
        drop(channel);
        assert!(matches!(read_message::<HostMessage>(&mut guest), Err(CodecError::Closed)));
        let newer = ProtocolVersion { major: PROTOCOL_VERSION.major, minor: PROTOCOL_VERSION.minor + 1 };
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(host, Cancel::new().unwrap()).unwrap();
        write_message(&mut guest, &hello(newer)).unwrap();
        greet(&mut channel, Instant::now(), Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn cancelling_ends_a_session_within_100_ms() {
        let (_guest, host) = UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        let mut channel = Channel::new(host, cancel.clone()).unwrap();
        let session = std::thread::spawn(move || (greet(&mut channel, Instant::now(), Duration::from_secs(60)), Instant::now()));
        std::thread::sleep(Duration::from_millis(50));
        let cancelled = Instant::now();
        cancel.cancel();
        let (outcome, ended) = session.join().unwrap();
        assert!(matches!(outcome, Err(Fault::Cancelled)));
        assert!(ended - cancelled < Duration::from_millis(100));
    }

    #[test]
    fn texts_of_the_guest_are_bounded_and_harmless() {
        let hostile = format!("\x1b[31mred\x07{}", "é".repeat(4000));
        let (_, events) = frames(vec![started(0), line(0, &hostile)]);
        let Some(AgentEvent::Log { line, .. }) = events.last() else { panic!("{events:?}") };
        assert!(line.starts_with("[31mred") && line.len() <= LONGEST_TEXT && !line.contains(char::is_control));
    }
}
