//! A booted image with a user at its serial console.

use std::{
    fmt,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use oic::{
    build::{self, HostOptions, progress::Silent},
    toolchain::guest_arch,
};
use oic_builder_vm::{BootConfig, BootSource, BootedVm, Cancel, ConsoleOutput, DiskFormat, Network};
use oic_config::spec::{Arch, BootType};

use crate::{Lab, Sandbox};

/// How long a boot may take; emulated ones on a busy machine take minutes.
const BOOT: Duration = Duration::from_secs(900);
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(300);
/// Memory of the VM in MiB.
const MEMORY_MIB: u32 = 1024;

/// A running image. Dropping it ends the VM; the image is never changed.
#[derive(Debug)]
pub struct Guest {
    vm: BootedVm,
    cancel: Cancel,
    console: Arc<Mutex<Vec<u8>>>,
    commands: usize,
}

/// What a command in the guest gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it wrote, without white space at the end.
    pub text: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}: {}", self.status, self.text)
    }
}

impl Guest {
    /// Boots an image to its login prompt.
    ///
    /// # Errors
    /// Fails when the tools cannot be had or the prompt does not come.
    pub fn boot(lab: &Lab, sandbox: &Sandbox, image: &Path, format: DiskFormat, arch: Arch) -> anyhow::Result<Self> {
        let cancel = Cancel::new()?;
        let temp_dir = sandbox.root().join("tmp");
        let options = HostOptions {
            workers: NonZeroUsize::MIN,
            cache_dir: lab.cache().to_owned(),
            work_dir: temp_dir.clone(),
            temp_dir: temp_dir.clone(),
            mirrors: std::collections::BTreeMap::new(),
            without_repositories: Vec::new(),
            offline: false,
            cancel: cancel.clone(),
            scratch: build::Scratch::default(),
        };
        let (emulator, firmware, accelerator) = build::boot_tools(&options, (arch, BootType::Efi), &Silent)?;
        let config = BootConfig {
            arch: guest_arch(arch),
            accelerator,
            qemu: emulator.qemu,
            boot: BootSource::Firmware(firmware),
            image: image.to_owned(),
            format,
            cpus: None,
            memory_mib: MEMORY_MIB,
            network: Network::User,
        };
        let console = Arc::new(Mutex::new(Vec::new()));
        let copy = console.clone();
        let sink = Box::new(move |bytes: &[u8]| copy.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes));
        let vm = BootedVm::start(config, ConsoleOutput { file: None, sink: Some(sink) }, &temp_dir)?;
        let mut guest = Self { vm, cancel, console, commands: 0 };
        guest.expect("login: ", BOOT)?;
        Ok(guest)
    }

    /// Logs in, and waits until the system has started everything: its messages would stand between a command's lines.
    ///
    /// # Errors
    /// Fails when the login is refused.
    pub fn log_in(&mut self, user: &str, password: &str) -> anyhow::Result<()> {
        self.vm.send_line(user)?;
        self.expect("Password: ", COMMAND)?;
        self.vm.send_line(password)?;
        self.expect("$ ", COMMAND)?;
        // A pager or a clever terminal would add to what commands print.
        self.run("export TERM=dumb SYSTEMD_PAGER=cat SYSTEMD_COLORS=0")?;
        self.run("systemctl is-system-running --wait")?;
        Ok(())
    }

    /// Runs a command line in the shell of the user who is logged in.
    ///
    /// # Errors
    /// Fails when the VM ends or no answer comes.
    pub fn run(&mut self, command: &str) -> anyhow::Result<Answer> {
        self.commands += 1;
        let number = self.commands;
        // The quotes keep the echo of the typed line from looking like what it prints.
        self.vm.send_line(&format!("echo 'BEG''IN'{number}; {{ {command}; }} 2>&1; echo; echo 'E''ND'{number}:$?:"))?;
        self.expect(&format!("END{number}:"), COMMAND).with_context(|| format!("`{command}` in the guest"))?;
        self.expect("$ ", COMMAND)?;
        let console = self.console();
        let found = console.rsplit_once(&format!("BEGIN{number}\n")).and_then(|(_, rest)| rest.split_once(&format!("END{number}:")));
        let (text, rest) = found.ok_or_else(|| anyhow!("the answer to `{command}` is not on the console:\n{console}"))?;
        let status = rest.split(':').next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| anyhow!("`{command}` gave no status:\n{console}"))?;
        Ok(Answer { status, text: text.trim_end().to_owned() })
    }

    /// Returns everything that the console has shown.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn expect(&mut self, pattern: &str, timeout: Duration) -> anyhow::Result<()> {
        self.vm.expect(pattern, timeout, &self.cancel).with_context(|| format!("the console:\n{}", self.console()))
    }
}
