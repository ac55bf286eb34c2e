//! The only place that starts programs.
//!
//! A program runs in the target's root with a fixed environment and no input (or the bytes given). Its standard output and
//! standard error share one pipe, so their lines keep their order; a second pipe carries dpkg's status lines where
//! asked for. The run ends when the program itself ends: what it left in the background is reaped while we wait and
//! killed by the runner after the step, and cannot keep the pipe from ending.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use oic_protocol::{AgentError, AgentErrorKind};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe, pipe_with},
    process::{Pid, PidfdFlags, WaitStatus, pidfd_open},
};

use crate::{
    applet,
    events::{Events, LINE_LIMIT},
    failure::{self, TAIL_LINES},
    sys,
};

/// The agent's own file, in its own tree.
pub const SELF: &str = "/init";

/// A program of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    input: Option<Vec<u8>>,
    enter: &'static str,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or none when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines that it printed.
    pub output: Vec<String>,
}

impl Program {
    /// Returns a program with its arguments. It is looked for along the fixed `PATH` unless it is a path.
    pub fn new<'a>(argv: impl IntoIterator<Item = &'a str>) -> Self {
        Self { argv: argv.into_iter().map(str::to_owned).collect(), env: Vec::new(), input: None, enter: applet::ENTER }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.argv.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Takes it from the tools disk, which becomes its root, instead of from the target.
    #[must_use]
    pub fn in_tools(mut self) -> Self {
        self.enter = applet::ENTER_TOOLS;
        self
    }

    /// Gives it bytes on standard input: where secrets go, never into the arguments.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Returns its arguments.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Returns what it is given on standard input.
    #[must_use]
    pub fn input_bytes(&self) -> Option<&[u8]> {
        self.input.as_deref()
    }

    /// Runs it and fails unless it ends with status 0.
    ///
    /// # Errors
    /// Fails when it cannot be started or ends with another status.
    pub fn check(self, shell: &mut Shell<'_, '_>) -> Result<Ended, AgentError> {
        let ended = shell.run(&self, None)?;
        if ended.succeeded() { Ok(ended) } else { Err(ended.program_failed(self.argv)) }
    }
}

impl Ended {
    /// Returns whether it ended with status 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// Returns the error for a program that should have ended well.
    #[must_use]
    pub fn program_failed(self, argv: Vec<String>) -> AgentError {
        AgentError { kind: AgentErrorKind::ProgramFailed { argv, exit_code: self.exit_code, signal: self.signal }, output: self.output }
    }
}

/// Returns whether whoever started this program set a variable to something.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that knows of the environment")]
pub fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Runs a program where the caller is, for an applet inside the target: with the applet's own streams but no output.
///
/// # Errors
/// Fails when it cannot be started.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> io::Result<ExitStatus> {
    Command::new(program).args(arguments).current_dir(folder).stdout(Stdio::null()).status()
}

/// Returns what a program of the machine prints, for tests that compare with it.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Receives dpkg's status lines; the events are there to tell the host.
pub type StatusLines<'s> = &'s mut dyn FnMut(&str, &mut Events<'_>);

/// Looks at each line of output before it goes to the host.
pub type Lookout<'s> = &'s mut dyn FnMut(&str, &mut Events<'_>) -> Verdict;

/// What becomes of a line of output, and of the program that printed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The line goes to the host.
    Show,
    /// The line is for the agent alone.
    Hide,
    /// The program is killed.
    Stop,
}

/// What programs are started with.
#[expect(missing_debug_implementations, reason = "events have nothing to show")]
pub struct Shell<'a, 'c> {
    /// Where their output goes.
    pub events: &'a mut Events<'c>,
    /// The environment of all of them.
    pub env: &'a [(String, String)],
}

/// Returns the environment that every program of a build has.
#[must_use]
pub fn environment(source_date_epoch: u64) -> Vec<(String, String)> {
    let epoch = source_date_epoch.to_string();
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
        ("SYSTEMD_OFFLINE", "1"),
        // Programs that write hash tables in their order write the same order every time.
        ("PERL_HASH_SEED", "0"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl Shell<'_, '_> {
    /// Runs a program to its end, whatever that is.
    ///
    /// With `status`, the word `{status}` in its arguments becomes the number of the descriptor for status lines.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn run(&mut self, program: &Program, status: Option<StatusLines<'_>>) -> Result<Ended, AgentError> {
        self.run_watched(program, status, None)
    }

    /// Runs a program to its end, or until `lookout` has seen enough.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn watch(&mut self, program: &Program, lookout: Lookout<'_>) -> Result<Ended, AgentError> {
        self.run_watched(program, None, Some(lookout))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn run_watched(
        &mut self,
        program: &Program,
        status: Option<StatusLines<'_>>,
        lookout: Option<Lookout<'_>>,
    ) -> Result<Ended, AgentError> {
        let name = program.argv.first().cloned().unwrap_or_default();
        let broken = |error: io::Error| failure::system("start", &name, error);
        let (output, output_end) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| broken(error.into()))?;
        // Inherited on purpose: dpkg is told its number.
        let (status_lines, status_end) =
            if status.is_some() { pipe().map(|(a, b)| (Some(a), Some(b))).map_err(|error| broken(error.into()))? } else { (None, None) };
        let number = status_end.as_ref().map(|end| end.as_raw_fd().to_string()).unwrap_or_default();
        if let Some(reader) = &status_lines {
            rustix::io::fcntl_setfd(reader, rustix::io::FdFlags::CLOEXEC).map_err(|error| broken(error.into()))?;
        }
        // A reason left by an earlier program must not be taken for this one's.
        let _ = fs::remove_file(applet::ENTER_FAILURE);
        let mut command = Command::new(SELF);
        let takes_number = |word: &String| status_end.is_some() && word == "{status}";
        command.arg0(program.enter).args(program.argv.iter().map(|word| if takes_number(word) { &number } else { word }));
        command.env_clear().envs(self.env.iter().cloned()).envs(program.env.iter().cloned());
        command.stdin(if program.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(output_end.try_clone().map_err(broken)?).stderr(output_end);
        let mut child = command.spawn().map_err(broken)?;
        drop((command, status_end));
        if let (Some(bytes), Some(mut pipe)) = (&program.input, child.stdin.take()) {
            // A program that does not read its input says why with its exit status.
            let _ = pipe.write_all(bytes);
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| broken(io::ErrorKind::InvalidData.into()))?;
        let mut watch = Watch::new(output, status_lines).map_err(broken)?;
        let ended = watch.wait(pid, self.events, status, lookout).map_err(broken)?;
        match fs::read_to_string(applet::ENTER_FAILURE) {
            Ok(reason) if !reason.is_empty() => {
                Err(AgentError { kind: AgentErrorKind::NotStarted { program: name, reason }, output: Vec::new() })
            }
            _ => Ok(Ended { exit_code: ended.exit_status(), signal: ended.terminating_signal(), output: watch.tail.into() }),
        }
    }
}

/// Reads what a running program says.
struct Watch {
    output: Lines,
    status: Option<Lines>,
    tail: VecDeque<String>,
    /// Whether the lookout has had the program killed.
    stopped: bool,
}

impl Watch {
    fn new(output: OwnedFd, status: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self { output: Lines::new(output)?, status: status.map(Lines::new).transpose()?, tail: VecDeque::new(), stopped: false })
    }

    /// Passes lines on until the program ends, and then those that are left in the pipes.
    fn wait(
        &mut self,
        pid: Pid,
        events: &mut Events<'_>,
        mut sink: Option<StatusLines<'_>>,
        mut lookout: Option<Lookout<'_>>,
    ) -> io::Result<WaitStatus> {
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let pause = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
        loop {
            let mut sources = vec![PollFd::new(&process, PollFlags::IN)];
            sources.extend(self.output.is_open().then(|| PollFd::new(&self.output.file, PollFlags::IN)));
            sources.extend(self.status.as_ref().filter(|status| status.is_open()).map(|status| PollFd::new(&status.file, PollFlags::IN)));
            match poll(&mut sources, Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => events.note_memory(),
                Err(error) => return Err(error.into()),
            }
            // Asked before the last reading: whatever the program wrote is in the pipes by then.
            let ended = sys::reap(Some(pid));
            self.read(events, &mut sink, &mut lookout)?;
            if self.stopped {
                // One that has just ended is what we want.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            if events.is_broken() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if let Some(status) = ended {
                self.finish(events, &mut sink, &mut lookout);
                return Ok(status);
            }
        }
    }

    /// Reads what is in the pipes now.
    fn read(&mut self, events: &mut Events<'_>, sink: &mut Option<StatusLines<'_>>, lookout: &mut Option<Lookout<'_>>) -> io::Result<()> {
        if let (Some(status), Some(sink)) = (&mut self.status, sink) {
            status.read(&mut |line| sink(line, events))?;
        }
        let (tail, stopped) = (&mut self.tail, &mut self.stopped);
        self.output.read(&mut |line| look(tail, stopped, line, events, lookout))
    }

    /// Passes on lines that have no end.
    fn finish(&mut self, events: &mut Events<'_>, sink: &mut Option<StatusLines<'_>>, lookout: &mut Option<Lookout<'_>>) {
        if let (Some(status), Some(sink)) = (&mut self.status, sink) {
            status.finish(&mut |line| sink(line, events));
        }
        let (tail, stopped) = (&mut self.tail, &mut self.stopped);
        self.output.finish(&mut |line| look(tail, stopped, line, events, lookout));
    }
}

/// Does with a line of output what the lookout says; what a program prints after it was stopped is of no interest.
fn look(tail: &mut VecDeque<String>, stopped: &mut bool, line: &str, events: &mut Events<'_>, lookout: &mut Option<Lookout<'_>>) {
    if *stopped {
        return;
    }
    match lookout.as_mut().map_or(Verdict::Show, |lookout| lookout(line, events)) {
        Verdict::Show => remember(tail, line, events),
        Verdict::Hide => {}
        Verdict::Stop => {
            remember(tail, line, events);
            *stopped = true;
        }
    }
}

/// Sends a line of output and keeps it among the last ones.
fn remember(tail: &mut VecDeque<String>, line: &str, events: &mut Events<'_>) {
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(line.to_owned());
    events.output(line);
}

/// Cuts a pipe's bytes into lines of bounded length.
struct Lines {
    file: File,
    open: bool,
    partial: Vec<u8>,
}

impl Lines {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { file: fd.into(), open: true, partial: Vec::new() })
    }

    fn is_open(&self) -> bool {
        self.open
    }

    /// Reads until the pipe is empty for now; at most a few MiB, so that the other pipe and the process get their turn.
    fn read(&mut self, line: &mut dyn FnMut(&str)) -> io::Result<()> {
        let mut buffer = [0; 16384];
        for _ in 0..256 {
            if !self.open {
                return Ok(());
            }
            match self.file.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(length) => self.push(&buffer[..length], line),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Splits at line ends; a carriage return ends a line too, as progress displays use it.
    fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.finish(line);
            } else {
                self.partial.push(byte);
                if self.partial.len() == LINE_LIMIT {
                    self.finish(line);
                }
            }
        }
    }

    fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            let text = String::from_utf8_lossy(&self.partial).into_owned();
            self.partial.clear();
            line(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (reader, _writer) = pipe().unwrap();
        let mut lines = Lines::new(reader).unwrap();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.push(chunk, &mut |line| seen.push(line.to_owned()));
        }
        lines.finish(&mut |line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn lines_are_put_together_across_reads_and_bounded() {
        assert_eq!(lines(&[b"Setting up ", b"libc6\nSet", b"ting up x\n", b"end"]), ["Setting up libc6", "Setting up x", "end"]);
        assert_eq!(lines(&[b"10%\r20%\r\n\n\xff\n"]), ["10%", "20%", "\u{fffd}"]);
        let long = vec![b'x'; LINE_LIMIT * 2 + 1];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LINE_LIMIT, LINE_LIMIT, 1]);
    }

    #[test]
    fn an_empty_pipe_does_not_block_and_a_closed_one_is_noticed() {
        let (reader, writer) = pipe().unwrap();
        let mut lines = Lines::new(reader).unwrap();
        lines.read(&mut |_| panic!("nothing was written")).unwrap();
        assert!(lines.is_open());
        rustix::io::write(&writer, b"last").unwrap();
        drop(writer);
        lines.read(&mut |_| panic!("the line has no end yet")).unwrap();
        assert!(!lines.is_open());
    }

    #[test]
    fn the_environment_is_fixed_but_for_the_epoch() {
        let env = environment(1_700_000_000);
        assert!(env.contains(&("SOURCE_DATE_EPOCH".into(), "1700000000".into())));
        assert!(env.contains(&("DEBIAN_FRONTEND".into(), "noninteractive".into())));
        let names: std::collections::BTreeSet<_> = env.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), env.len());
    }
}
