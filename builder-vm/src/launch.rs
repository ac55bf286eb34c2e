//! From a configuration to an agent that said hello. Each state is a type, and what a state cannot do it has no method for.
//!
//! ```text
//! Prepared ──launch──► Launched ──connect──► Connected ──run──► ComposeReport
//!    │                    │                      │
//!    └────────────────────┴── dropped at any point: every process is killed, the private folder is removed
//! ```
//!
//! [`Prepared`] holds the private folder and what was checked; [`Launched`] the running processes. A VM can be launched long
//! before its plan is known: it boots while packages are still being downloaded.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FallocateFlags, MemfdFlags, fallocate, fstat, memfd_create},
};

use crate::{
    BootSource, Cancel, Console, ConsoleOutput, Firmware, VmConfig,
    backend::qemu::{self, Wiring},
    process::{Child, Launch},
    runtime::RuntimeDir,
    share,
};

/// Why a VM could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file that the VM needs is missing or cannot be read.
    #[error("cannot use {what} `{path}`")]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The private folder of the VM could not be made.
    #[error("cannot make a private folder in `{base}`")]
    Folder {
        /// Where.
        base: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A socket or thread of the VM could not be made.
    #[error("cannot make {what}")]
    Wiring {
        /// What.
        what: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// A VM that can be started.
#[derive(Debug)]
pub struct Prepared {
    config: VmConfig,
    runtime: RuntimeDir,
    firmware_vars: Option<PathBuf>,
}

impl Prepared {
    /// Checks that everything is there and makes the private folder under `runtime_base`. Folders that killed processes left
    /// there are removed.
    ///
    /// # Errors
    /// Fails when a file of the configuration cannot be read, or the folder cannot be made.
    pub fn new(config: VmConfig, runtime_base: &Path) -> Result<Self, LaunchError> {
        let mut files: Vec<(&'static str, &Path)> = Vec::new();
        match &config.boot {
            BootSource::Kernel { kernel, initramfs, .. } | BootSource::Initramfs { kernel, initramfs, .. } => {
                files.extend([("the kernel", kernel.as_path()), ("the initramfs", initramfs)]);
            }
            BootSource::Firmware(Firmware::Bios) => {}
            BootSource::Firmware(Firmware::Uefi { code, vars }) => {
                files.extend([("the firmware", code.as_path()), ("the firmware's variables", vars)]);
            }
        }
        files.extend(config.disks.iter().map(|disk| ("the disk", disk.path.as_path())));
        for (what, path) in files {
            fs::File::open(path).map_err(|source| LaunchError::File { what, path: path.to_owned(), source })?;
        }
        for share in &config.shares {
            fs::read_dir(&share.path).map_err(|source| LaunchError::File { what: "the share", path: share.path.clone(), source })?;
        }
        let runtime = RuntimeDir::create(runtime_base).map_err(|source| LaunchError::Folder { base: runtime_base.to_owned(), source })?;
        let firmware_vars = match &config.boot {
            BootSource::Firmware(Firmware::Uefi { vars, .. }) => Some(copy_vars(vars, runtime.path())?),
            BootSource::Firmware(Firmware::Bios) | BootSource::Kernel { .. } | BootSource::Initramfs { .. } => None,
        };
        Ok(Self { config, runtime, firmware_vars })
    }

    /// Starts the share servers and QEMU.
    ///
    /// # Errors
    /// Fails when one of them cannot be started; whatever was started is gone then.
    pub fn launch(self, output: ConsoleOutput) -> Result<Launched, LaunchError> {
        let pair = |what| UnixStream::pair().map_err(|source| LaunchError::Wiring { what, source });
        let (console, guest_console) = pair("the console")?;
        let has_agent = matches!(self.config.boot, BootSource::Kernel { .. });
        let control = if has_agent { Some(pair("the control channel")?) } else { None };
        let mut servers = Vec::new();
        let mut inherited: Vec<OwnedFd> = vec![guest_console.into()];
        let kernel = self.config.kernel_to_release().map(Loaded::new).transpose()?;
        let mut wiring = Wiring {
            console: inherited[0].as_raw_fd(),
            kernel: None,
            control: None,
            shares: Vec::new(),
            fast_firmware: fast_firmware(&self.config),
            firmware_vars: self.firmware_vars,
        };
        for share in &self.config.shares {
            let served = share::serve(share, &self.config.share_server, self.runtime.path())
                .map_err(|source| LaunchError::Start { program: format!("the server of share `{}`", share.tag), source })?;
            wiring.shares.push(served.socket.as_raw_fd());
            inherited.push(served.socket);
            servers.push(served.child);
        }
        let control = control.map(|(ours, guests)| {
            wiring.control = Some(guests.as_raw_fd());
            inherited.push(guests.into());
            ours
        });
        if let Some(kernel) = &kernel {
            let file = kernel.0.try_clone().map_err(|source| LaunchError::Wiring { what: "the kernel's file", source })?;
            wiring.kernel = Some(file.as_raw_fd());
            inherited.push(file);
        }
        let mut argv = self.config.qemu.argv.clone();
        argv.extend(qemu::arguments(&self.config, &wiring));
        tracing::debug!(?argv, "starting QEMU");
        let program = argv.first().map_or_else(|| "QEMU".to_owned(), |first| first.to_string_lossy().into_owned());
        let launch = Launch { name: "QEMU".to_owned(), argv, env: self.config.qemu.env.clone(), inherited, stdin: None };
        let started = Instant::now();
        let vmm = Child::start(launch).map_err(|source| LaunchError::Start { program, source })?;
        let console = Console::open(console, output).map_err(|source| LaunchError::Wiring { what: "the console's reader", source })?;
        Ok(Launched { vm: Vm { vmm, servers, console, kernel, started, config: self.config, runtime: self.runtime }, control })
    }
}

/// Where distributions put the firmware of a QEMU that knows its own folders.
const QEMU_DATA: [&str; 2] = ["/usr/share/qemu", "/usr/local/share/qemu"];

/// Returns the machine's fast firmware if QEMU came with it: it is optional in some distributions.
fn fast_firmware(config: &VmConfig) -> Option<PathBuf> {
    let name = config.machine().fast_firmware?;
    let own = config.qemu.data_dirs.iter().map(PathBuf::as_path);
    let usual = QEMU_DATA.iter().map(Path::new).filter(|_| config.qemu.data_dirs.is_empty());
    own.chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Copies the template of the variable store: each VM writes its own.
fn copy_vars(template: &Path, folder: &Path) -> Result<PathBuf, LaunchError> {
    let copy = folder.join("vars.fd");
    let file = |source| LaunchError::File { what: "the firmware's variables", path: template.to_owned(), source };
    // Not `fs::copy`: it would keep the read-only mode of the template.
    fs::read(template).and_then(|bytes| fs::write(&copy, bytes)).map_err(file)?;
    Ok(copy)
}

/// A kernel's file in memory. QEMU maps an ELF kernel and keeps it to start the machine a second time, which a builder VM never is.
#[derive(Debug)]
pub(crate) struct Loaded(OwnedFd);

impl Loaded {
    fn new(path: &Path) -> Result<Self, LaunchError> {
        let copy = || {
            let memory = memfd_create("oic-kernel", MemfdFlags::CLOEXEC)?;
            let mut file = fs::File::from(memory);
            io::copy(&mut fs::File::open(path)?, &mut file)?;
            Ok(Self(file.into()))
        };
        copy().map_err(|source| LaunchError::File { what: "the kernel", path: path.to_owned(), source })
    }

    /// Gives the memory back. The kernel must have been started.
    fn release(&self) {
        let length = fstat(&self.0).map_or(0, |facts| u64::try_from(facts.st_size).unwrap_or(0));
        // Memory is all that is at stake.
        let _ = fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, length);
    }
}

/// A VM whose processes run.
#[derive(Debug)]
pub struct Launched {
    pub(crate) vm: Vm,
    pub(crate) control: Option<UnixStream>,
}

/// The processes of a VM. Dropping it kills them, QEMU first, so that no server goes away under it.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) vmm: Child,
    pub(crate) servers: Vec<Child>,
    pub(crate) console: Console,
    kernel: Option<Loaded>,
    pub(crate) started: Instant,
    pub(crate) config: VmConfig,
    runtime: RuntimeDir,
}

/// How waiting for QEMU's end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

impl Vm {
    /// Lets go of what only starting the guest took.
    pub(crate) fn has_booted(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            kernel.release();
        }
    }

    /// Waits until QEMU has ended, at most for `timeout`; for ever without one.
    pub(crate) fn wait(&self, timeout: Option<Duration>, cancel: &Cancel) -> Ended {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(status) = self.vmm.status() {
                return Ended::Exited(status);
            }
            if cancel.is_cancelled() {
                return Ended::Cancelled;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ended::TimedOut;
            }
            let timeout = left
                .map(|left| Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() });
            let mut fds =
                [PollFd::from_borrowed_fd(self.vmm.ended(), PollFlags::IN), PollFd::from_borrowed_fd(cancel.signal(), PollFlags::IN)];
            // Interrupted or not, the loop looks again.
            let _ = poll(&mut fds, timeout.as_ref());
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.vmm.kill();
        for server in &mut self.servers {
            server.kill();
        }
        self.console.join();
    }
}

impl Launched {
    /// Returns the console.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.vm.console
    }

    /// Returns the private folder, which a program that ends without dropping this value has to remove itself.
    #[must_use]
    pub fn private_folder(&self) -> &Path {
        self.vm.runtime.path()
    }

    /// Returns the process id of QEMU while it runs, for measurements.
    #[must_use]
    pub fn vmm_id(&self) -> Option<u32> {
        self.vm.vmm.id()
    }

    /// Returns the process ids of the share servers that run.
    #[must_use]
    pub fn server_ids(&self) -> Vec<u32> {
        self.vm.servers.iter().filter_map(Child::id).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_kernel_takes_no_memory_once_it_is_released() {
        let path = std::env::temp_dir().join(format!("oic-kernel-{}", std::process::id()));
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        let kernel = Loaded::new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let file = fs::File::from(kernel.0.try_clone().unwrap());
        assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().blocks()), (1 << 20, 2048));
        kernel.release();
        assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().blocks()), (1 << 20, 0));
        assert!(matches!(Loaded::new(&path), Err(LaunchError::File { .. })));
    }
}
