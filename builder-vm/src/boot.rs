//! Booting an image as a user sees it: firmware, disk, serial console, nothing of ours inside.
//!
//! The image is never written: what the guest writes goes to a temporary file of QEMU that has no name. The console goes to
//! a callback or to the terminal, and [`BootedVm::expect`] and [`BootedVm::send_line`] are enough to log in and look around.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr},
};

use crate::{
    Accelerator, BootSource, Cancel, Console, ConsoleOutput, ConsoleTail, Disk, DiskAccess, DiskFormat, Expectation, GuestArch,
    LaunchError, Network, Prepared, Qemu, VmConfig,
    launch::{Ended, Launched},
};

/// The key that leaves the terminal: Ctrl-].
pub const ESCAPE_KEY: u8 = 0x1d;

/// An image to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootConfig {
    /// The image's architecture.
    pub arch: GuestArch,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// The emulator of that architecture.
    pub qemu: Qemu,
    /// What starts it: firmware, or a kernel where the image is an initramfs.
    pub boot: BootSource,
    /// The image.
    pub image: PathBuf,
    /// Its format, where it is a disk.
    pub format: DiskFormat,
    /// Virtual processors; none for the table's choice.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Whether the guest has a network.
    pub network: Network,
}

/// Why an image did not do what was expected.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The VM could not be started.
    #[error("cannot boot `{image}`")]
    Launch {
        /// The image.
        image: PathBuf,
        /// Why.
        source: LaunchError,
    },
    /// What was waited for was not printed in time.
    #[error("`{pattern}` did not appear on the console within {} s", .waited.as_secs())]
    TimedOut {
        /// What was waited for.
        pattern: String,
        /// How long.
        waited: Duration,
        /// What was printed last.
        console: ConsoleTail,
    },
    /// The VM ended while something was waited for.
    #[error("the VM ended{} before `{pattern}` appeared on the console", ending(.status, .said))]
    Ended {
        /// What was waited for.
        pattern: String,
        /// How QEMU ended, where that is known.
        status: Option<ExitStatus>,
        /// What QEMU wrote to standard error.
        said: String,
        /// What was printed last.
        console: ConsoleTail,
    },
    /// The console or the terminal cannot be used.
    #[error("cannot use the {what}")]
    Io {
        /// Which.
        what: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Words how QEMU ended, when that tells something.
fn ending(status: &Option<ExitStatus>, said: &str) -> String {
    match status {
        Some(status) if !status.success() && !said.is_empty() => format!(" (QEMU: {status}, {said})"),
        Some(status) if !status.success() => format!(" (QEMU: {status})"),
        _ => String::new(),
    }
}

impl BootError {
    /// Returns what was printed last, where that may explain the error.
    #[must_use]
    pub fn console(&self) -> Option<&ConsoleTail> {
        match self {
            Self::TimedOut { console, .. } | Self::Ended { console, .. } => Some(console),
            Self::Launch { .. } | Self::Io { .. } | Self::Cancelled => None,
        }
    }
}

/// A running image. Dropping it ends the VM.
#[derive(Debug)]
pub struct BootedVm {
    launched: Launched,
    /// How much of the console the expectations have consumed.
    position: u64,
}

/// How a terminal session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminalEnd {
    /// The VM ended.
    PoweredOff(ExitStatus),
    /// The user typed [`ESCAPE_KEY`].
    Left,
    /// The caller cancelled.
    Cancelled,
}

impl BootedVm {
    /// Starts an image.
    ///
    /// # Errors
    /// Fails when a file is missing or QEMU cannot be started.
    pub fn start(config: BootConfig, output: ConsoleOutput, runtime_base: &Path) -> Result<Self, BootError> {
        let image = config.image.clone();
        let disk = Disk { path: config.image, format: config.format, access: DiskAccess::Discard };
        let disks = if matches!(config.boot, BootSource::Firmware(_)) { vec![disk] } else { Vec::new() };
        let vm = VmConfig {
            arch: config.arch,
            accelerator: config.accelerator,
            qemu: config.qemu,
            cpus: config.cpus,
            memory_mib: config.memory_mib,
            boot: config.boot,
            disks,
            shares: Vec::new(),
            share_server: Vec::new(),
            network: config.network,
            clock: None,
        };
        let launched = Prepared::new(vm, runtime_base)
            .and_then(|prepared| prepared.launch(output))
            .map_err(|source| BootError::Launch { image, source })?;
        Ok(Self { launched, position: 0 })
    }

    /// Returns the console.
    #[must_use]
    pub fn console(&self) -> &Console {
        self.launched.console()
    }

    /// Waits until `pattern` is printed after whatever was expected before.
    ///
    /// # Errors
    /// Fails when it does not come in time, the VM ends or the caller cancels.
    pub fn expect(&mut self, pattern: &str, timeout: Duration, cancel: &Cancel) -> Result<(), BootError> {
        let mut expect = self.launched.console().expect_at(self.position);
        let outcome = expect.wait_for(pattern, timeout, cancel);
        self.position = expect.position();
        let pattern = pattern.to_owned();
        match outcome {
            Expectation::Seen => Ok(()),
            Expectation::TimedOut => Err(BootError::TimedOut { pattern, waited: timeout, console: self.tail() }),
            Expectation::Cancelled => Err(BootError::Cancelled),
            Expectation::Closed => {
                let status = match self.launched.vm.wait(Some(Duration::from_secs(2)), cancel) {
                    Ended::Exited(status) => Some(status),
                    Ended::TimedOut | Ended::Cancelled => None,
                };
                Err(BootError::Ended { pattern, status, said: self.launched.vm.vmm.stderr(), console: self.tail() })
            }
        }
    }

    /// Types a line and the return key.
    ///
    /// # Errors
    /// Fails when the VM is gone.
    pub fn send_line(&self, line: &str) -> Result<(), BootError> {
        let text = format!("{line}\r");
        self.console().send(text.as_bytes()).map_err(|source| BootError::Io { what: "console", source })
    }

    /// Waits until the VM has ended, at most for `timeout`.
    ///
    /// # Errors
    /// Fails when it has not, or the caller cancels.
    pub fn wait(&self, timeout: Duration, cancel: &Cancel) -> Result<ExitStatus, BootError> {
        match self.launched.vm.wait(Some(timeout), cancel) {
            Ended::Exited(status) => Ok(status),
            Ended::TimedOut => Err(BootError::TimedOut { pattern: "the end of the VM".to_owned(), waited: timeout, console: self.tail() }),
            Ended::Cancelled => Err(BootError::Cancelled),
        }
    }

    /// Passes what is typed on the terminal to the console, byte for byte, until the VM ends or [`ESCAPE_KEY`] is typed. The
    /// output is the business of the [`ConsoleOutput`] that the VM was started with.
    ///
    /// # Errors
    /// Fails when the terminal cannot be read or put into raw mode.
    pub fn attach_terminal(&self, cancel: &Cancel) -> Result<TerminalEnd, BootError> {
        let terminal = |source| BootError::Io { what: "terminal", source };
        let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(terminal)?);
        let _raw = RawMode::enter(&stdin).map_err(terminal)?;
        let mut open = true;
        loop {
            let vm = &self.launched.vm;
            if let Some(status) = vm.vmm.status() {
                return Ok(TerminalEnd::PoweredOff(status));
            }
            if cancel.is_cancelled() {
                return Ok(TerminalEnd::Cancelled);
            }
            let ended = PollFd::from_borrowed_fd(vm.vmm.ended(), PollFlags::IN);
            let cancelled = PollFd::from_borrowed_fd(cancel.signal(), PollFlags::IN);
            let mut fds = vec![ended, cancelled];
            if open {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut fds, Some(&second)).is_err() || fds.get(2).is_none_or(|stdin| stdin.revents().is_empty()) {
                continue;
            }
            let mut keys = [0; 256];
            let count = stdin.read(&mut keys).map_err(terminal)?;
            // A closed standard input is no wish to leave: the output is still wanted.
            open = count > 0;
            let typed = &keys[..count];
            let end = typed.iter().position(|key| *key == ESCAPE_KEY);
            self.console().send(&typed[..end.unwrap_or(count)]).map_err(|source| BootError::Io { what: "console", source })?;
            if end.is_some() {
                return Ok(TerminalEnd::Left);
            }
        }
    }

    fn tail(&self) -> ConsoleTail {
        ConsoleTail(self.console().tail())
    }
}

/// A terminal that passes every key on, as long as this value lives.
#[derive(Debug)]
struct RawMode {
    terminal: Option<(File, Termios)>,
}

impl RawMode {
    fn enter(stdin: &File) -> io::Result<Self> {
        if !isatty(stdin) {
            return Ok(Self { terminal: None });
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self { terminal: Some((stdin.try_clone()?, before)) })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.terminal {
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
            // Ends the line that the guest may have left unfinished.
            let _ = io::stdout().flush();
        }
    }
}
