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
                let near = step == self.next || Some(step) == self.next.checked_sub(1);
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
