//! Child processes that cannot outlive this one, and the only `unsafe` of the crate.
//!
//! # Lifetime
//!
//! * Each child leads a process group of its own: signals of the terminal do not reach it, and killing it takes along
//!   whatever it started.
//! * The kernel kills it when the thread that started it ends (`PR_SET_PDEATHSIG`), so also when this process is killed.
//!   That thread is a *keeper* that lives exactly as long as the child: it starts it, waits for it, kills the rest of the
//!   group, reaps it and only then says that it ended. So a process id that this module signals is never a stranger's.
//! * [`Child`] kills on drop and returns when nothing is left.
//!
//! # Descriptors
//!
//! A child inherits the descriptors it is given and no others: they lose their close-on-exec flag after the fork, in the
//! child alone, so that two children started at once cannot get each other's.

#![expect(unsafe_code, reason = "std's hook between fork and exec is an unsafe function")]

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::FdFlags,
    process::{Pid, Signal, WaitId, WaitIdOptions},
};

/// Bytes kept of what a child writes to standard error.
const STDERR_KEPT: usize = 8 * 1024;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// What messages call it.
    pub(crate) name: String,
    /// Program and arguments; never empty.
    pub(crate) argv: Vec<OsString>,
    /// Environment variables beyond those of this process.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Descriptors that it inherits under the same numbers.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Its standard input, none for nothing.
    pub(crate) stdin: Option<OwnedFd>,
}

/// A running or ended child.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Becomes readable when the child has ended.
    ended: OwnedFd,
}

#[derive(Debug)]
struct State {
    /// The group to signal, none once it is reaped.
    group: Option<Pid>,
    status: Option<ExitStatus>,
    stderr: Vec<u8>,
}

impl Shared {
    /// No thread panics while it holds the lock, so a poisoned one still guards a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Child {
    /// Starts a child.
    pub(crate) fn start(launch: Launch) -> io::Result<Self> {
        let ended = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { state: Mutex::new(State { group: None, status: None, stderr: Vec::new() }), ended });
        let (started, outcome) = mpsc::sync_channel(1);
        let name = launch.name.clone();
        let for_keeper = Arc::clone(&shared);
        let keeper =
            std::thread::Builder::new().name(format!("keep-{name}")).stack_size(256 * 1024).spawn(move || match spawn(launch) {
                Ok(child) => {
                    for_keeper.state().group = Some(pid(&child));
                    let _ = started.send(Ok(()));
                    keep(child, &for_keeper);
                }
                Err(error) => drop(started.send(Err(error))),
            })?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Self { name, shared, keeper: Some(keeper) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the thread that starts it ended")),
        }
    }

    /// Returns what messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns its process id while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.shared.state().group.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Returns how it ended, none while it runs.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        self.shared.state().status
    }

    /// Returns a descriptor that becomes readable when it has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
    }

    /// Returns the end of what it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.shared.state().stderr).trim().to_owned()
    }

    /// Kills it with everything it started and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        {
            let state = self.shared.state();
            if let Some(group) = state.group {
                // The keeper clears the group under this lock before it reaps: the id is still this child's.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
        }
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the id of a child that has not been reaped.
fn pid(child: &std::process::Child) -> Pid {
    Pid::from_child(child)
}

/// Forks and executes, in the thread that will keep the child.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the crate that spawns")]
fn spawn(launch: Launch) -> io::Result<std::process::Child> {
    let Launch { argv, env, inherited, stdin, .. } = launch;
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(env);
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0);
    let parent = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for fd in &inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three kinds of system calls and touches no lock and no allocator:
    // `io::Error` from an error number or a kind does not allocate. This function upholds it by owning the closure.
    unsafe { command.pre_exec(in_child) };
    // The command owns the descriptors to inherit and closes them here when it goes.
    command.spawn()
}

/// Waits for a child, cleans up after it and publishes how it ended.
fn keep(mut child: std::process::Child, shared: &Arc<Shared>) {
    let group = pid(&child);
    let for_reader = Arc::clone(shared);
    let stderr = child.stderr.take();
    let reader = std::thread::Builder::new().name("stderr".to_owned()).stack_size(128 * 1024).spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut buffer = [0; 2048];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            let kept = &mut for_reader.state().stderr;
            kept.extend_from_slice(&buffer[..count]);
            let excess = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..excess);
        }
    });
    // Not reaped yet, so its id keeps naming its group.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(group), options) {}
    {
        let mut state = shared.state();
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        state.group = None;
    }
    let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0x7f00));
    if let Ok(reader) = reader {
        let _ = reader.join();
    }
    shared.state().status = Some(status);
    let _ = rustix::io::write(&shared.ended, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::fd::AsRawFd as _,
        time::{Duration, Instant},
    };

    use super::*;

    fn launch(script: &str) -> Launch {
        let argv = ["sh", "-c", script].map(OsString::from).to_vec();
        Launch { name: "test".into(), argv, env: Vec::new(), inherited: Vec::new(), stdin: None }
    }

    fn wait(child: &Child) -> ExitStatus {
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(child.ended(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        child.status().unwrap()
    }

    /// Whether a process exists that is more than a corpse.
    fn lives(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !matches!(rest.trim().chars().next(), None | Some('Z' | 'X')))
    }

    #[test]
    fn the_end_of_a_child_is_told_with_its_status_and_words() {
        let child = Child::start(launch("echo broken >&2; exit 3")).unwrap();
        assert_eq!(wait(&child).code(), Some(3));
        assert_eq!(child.stderr(), "broken");
        assert_eq!(child.id(), None);
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_of_start() {
        let argv = vec!["/nonexistent/program".into()];
        let launch = Launch { name: "test".into(), argv, env: Vec::new(), inherited: Vec::new(), stdin: None };
        assert_eq!(Child::start(launch).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn dropping_a_child_kills_what_it_started() {
        // Pipes, and by their names: a plain shell knows no descriptors above 9.
        let (mut ours, theirs) = std::io::pipe().unwrap();
        let number = theirs.as_raw_fd();
        let mut launch = launch(&format!("sleep 1000 & echo $! >/proc/self/fd/{number}; exec sleep 1000"));
        launch.inherited.push(theirs.into());
        let child = Child::start(launch).unwrap();
        let leader = child.id().unwrap();
        let mut line = [0; 16];
        let count = ours.read(&mut line).unwrap();
        let grandchild: u32 = std::str::from_utf8(&line[..count]).unwrap().trim().parse().unwrap();
        assert!(lives(leader) && lives(grandchild));
        let begin = Instant::now();
        drop(child);
        assert!(begin.elapsed() < Duration::from_secs(2));
        let gone = Instant::now() + Duration::from_secs(2);
        while lives(grandchild) && Instant::now() < gone {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!lives(leader) && !lives(grandchild));
    }

    #[test]
    fn a_child_inherits_what_it_is_given_and_nothing_else() {
        let (theirs, mut ours) = std::io::pipe().unwrap();
        let (_kept, other) = std::io::pipe().unwrap();
        let number = theirs.as_raw_fd();
        let script = format!("test -e /proc/self/fd/{} && echo leaked >&2; cat /proc/self/fd/{number} >&2", other.as_raw_fd());
        let mut launch = launch(&script);
        launch.inherited.push(theirs.into());
        ours.write_all(b"hello").unwrap();
        let child = Child::start(launch).unwrap();
        drop(ours);
        assert!(wait(&child).success());
        assert_eq!(child.stderr(), "hello");
    }

    #[test]
    fn what_a_child_says_is_bounded() {
        let child = Child::start(launch("head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2")).unwrap();
        wait(&child);
        assert!(child.stderr().len() <= STDERR_KEPT && child.stderr().ends_with("end"));
    }

    #[test]
    fn children_die_with_the_thread_that_keeps_them_not_with_the_one_that_asked() {
        let child = std::thread::spawn(|| Child::start(launch("exec sleep 1000")).unwrap()).join().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.status().is_none());
    }
}
