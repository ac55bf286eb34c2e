//! The way out: what happens becomes events on the channel.
//!
//! Lines are cut at 4 KiB, and a step may send at most [`LOG_BUDGET`] bytes of them: a program that prints without end
//! costs a bounded amount of the host's disk and time. The end of its output still reaches the host with the error.

use std::{
    io::{Read, Write},
    time::Duration,
};

use oic_protocol::{
    AgentEvent, AgentMessage, LogLevel,
    codec::{self, CodecError},
};

use crate::sys;

/// The longest line that is sent, in bytes.
pub const LINE_LIMIT: usize = 4096;
/// How much log one step may send, in bytes.
pub const LOG_BUDGET: usize = 16 * 1024 * 1024;

/// A channel to the host.
pub trait Channel: Read + Write {}
impl<T: Read + Write> Channel for T {}

/// Sends events of one step after another.
#[expect(missing_debug_implementations, reason = "a channel has nothing to show")]
pub struct Events<'a> {
    channel: &'a mut dyn Channel,
    step: u32,
    began: Duration,
    budget: usize,
    memory_low: u64,
    memory_seen: Duration,
    broken: Option<CodecError>,
}

impl<'a> Events<'a> {
    /// Returns events that go to `channel`.
    pub fn new(channel: &'a mut dyn Channel) -> Self {
        Self {
            channel,
            step: 0,
            began: Duration::ZERO,
            budget: LOG_BUDGET,
            memory_low: u64::MAX,
            memory_seen: Duration::ZERO,
            broken: None,
        }
    }

    /// Begins a step.
    pub fn start(&mut self, step: u32) {
        self.step = step;
        self.began = sys::monotonic();
        self.budget = LOG_BUDGET;
        self.send(AgentEvent::StepStarted { step });
    }

    /// Ends the step well.
    pub fn finish(&mut self) {
        let elapsed = sys::monotonic().saturating_sub(self.began);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.send(AgentEvent::StepFinished { step: self.step, elapsed_ms });
    }

    /// Says how far the step is.
    pub fn progress(&mut self, done: usize, total: usize, item: &str) {
        self.send(AgentEvent::Progress { step: self.step, done: done as u64, total: total as u64, item: item.to_owned() });
    }

    /// Passes on a line of a program.
    pub fn output(&mut self, line: &str) {
        self.log(LogLevel::Info, line);
    }

    /// Says something that a user should see.
    pub fn warn(&mut self, line: &str) {
        self.log(LogLevel::Warning, line);
    }

    /// Sends a line within the budget.
    fn log(&mut self, level: LogLevel, line: &str) {
        if self.budget == 0 {
            return;
        }
        let line = cut(line, LINE_LIMIT).to_owned();
        let Some(left) = self.budget.checked_sub(line.len() + 1) else {
            self.budget = 0;
            let line = format!("more than {LOG_BUDGET} bytes of output: the rest of this step's output is dropped");
            self.send(AgentEvent::Log { step: self.step, level: LogLevel::Warning, line });
            return;
        };
        self.budget = left;
        self.send(AgentEvent::Log { step: self.step, level, line });
    }

    /// Remembers the lowest amount of available memory; looks at most every quarter of a second.
    pub fn note_memory(&mut self) {
        let now = sys::monotonic();
        if now.saturating_sub(self.memory_seen) < Duration::from_millis(250) {
            return;
        }
        self.memory_seen = now;
        let available = sys::memory_available_bytes();
        if available > 0 {
            self.memory_low = self.memory_low.min(available);
        }
    }

    /// Returns the lowest amount of available memory that was seen, in bytes; 0 when none was.
    #[must_use]
    pub fn memory_low_bytes(&self) -> u64 {
        if self.memory_low == u64::MAX { 0 } else { self.memory_low }
    }

    /// Sends an event. The first failure is kept and ends the session after the program that is running.
    fn send(&mut self, event: AgentEvent) {
        if self.broken.is_none() {
            self.broken = codec::write_message(&mut self.channel, &AgentMessage::Event(event)).err();
        }
    }

    /// Returns whether the host can no longer be reached.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }
}

/// Returns the longest beginning of `text` with at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn sent(channel: Cursor<Vec<u8>>) -> Vec<AgentMessage> {
        let mut wire = &channel.into_inner()[..];
        std::iter::from_fn(|| codec::read_message(&mut wire).ok()).collect()
    }

    #[test]
    fn output_without_end_is_bounded() {
        let mut channel = Cursor::new(Vec::new());
        let mut events = Events::new(&mut channel);
        events.start(7);
        let line = "x".repeat(1 << 20);
        for _ in 0..5000 {
            events.output(&line);
        }
        events.finish();
        let messages = sent(channel);
        let bytes: usize = messages
            .iter()
            .map(|message| if let AgentMessage::Event(AgentEvent::Log { line, .. }) = message { line.len() } else { 0 })
            .sum();
        assert!(bytes <= LOG_BUDGET + 200, "{bytes}");
        let warnings =
            messages.iter().filter(|message| matches!(message, AgentMessage::Event(AgentEvent::Log { level: LogLevel::Warning, .. })));
        assert_eq!(warnings.count(), 1);
        assert!(matches!(messages.last(), Some(AgentMessage::Event(AgentEvent::StepFinished { step: 7, .. }))));
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("ab", 9), "ab");
    }
}
