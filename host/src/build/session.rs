//! The part of a build that needs root: one session with the agent in the builder VM.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use oic_builder_vm::{
    Accelerator, BootSource, Cancel, ConsoleOutput, Deadlines, Disk, DiskAccess, DiskFormat, GuestArch, LaunchError, Launched, Network,
    Prepared, Qemu, SessionError, Share, VmConfig,
};
use oic_config::units::ByteSize;
use oic_protocol::{AgentError, AgentEvent, ComposePlan, LogLevel, Outcome, Step};

use super::progress::{Event, Level, Observer, Stage, Unit, stage};
use crate::compose::step_name;

/// Memory of the guest when the template does not say: enough for every initramfs generator, little enough for any laptop.
pub(crate) const DEFAULT_MEMORY: ByteSize = ByteSize(1 << 30);

/// What a session runs on.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    /// Architecture.
    pub(super) arch: GuestArch,
    /// What runs its instructions.
    pub(super) accelerator: Accelerator,
    /// The emulator.
    pub(super) qemu: Qemu,
    /// Kernel.
    pub(super) kernel: PathBuf,
    /// Initramfs with the agent.
    pub(super) initramfs: PathBuf,
    /// The disk with the unpacked packages.
    pub(super) disk: &'a Path,
    /// The disk with the programs that install packages, for families that need one.
    pub(super) tools_disk: Option<&'a Path>,
    /// The folder that the plan's store tag stands for.
    pub(super) store: &'a Path,
    /// The program that serves it.
    pub(super) share_server: Vec<OsString>,
    /// `builder.memory`.
    pub(super) memory: Option<ByteSize>,
    /// `builder.cpus`.
    pub(super) cpus: Option<u32>,
    /// Folder for the short-lived runtime folder.
    pub(super) runtime_base: &'a Path,
    /// Where the console is written to.
    pub(super) console: PathBuf,
}

/// Why the guest has not finished the root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The VM could not be started.
    #[error("cannot start the builder VM")]
    Launch(#[from] LaunchError),
    /// The session broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A step failed.
    #[error("the builder VM could not {step}")]
    Step {
        /// What the step does.
        step: String,
        /// Why it failed.
        #[source]
        source: StepError,
    },
    /// The console's log cannot be written.
    #[error("cannot write `{}`", .path.display())]
    Console {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a step failed, in words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// The sentence.
    pub message: String,
    /// What the agent said.
    pub error: AgentError,
}

/// What of a plan decides what the VM is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VmNeeds {
    /// The tag under which the guest sees the store, if it needs it.
    pub(super) store_tag: Option<String>,
    /// Whether the guest has a network.
    pub(super) network: bool,
    /// The guest's clock at start.
    pub(super) clock: u64,
}

impl From<&ComposePlan> for VmNeeds {
    fn from(plan: &ComposePlan) -> Self {
        Self { store_tag: plan.store_tag.clone(), network: plan.network, clock: plan.source_date_epoch }
    }
}

/// A VM that boots while the host makes what it will work on. Its disk has its size and no content: nothing in the guest looks at
/// it before the plan says so, and the kernel keeps nothing of what it read in search of partitions.
#[derive(Debug)]
pub(super) struct StartingVm {
    launched: Launched,
    needs: VmNeeds,
}

impl StartingVm {
    /// Returns the VM's private folder, which a program that ends without dropping this value has to remove itself.
    pub(super) fn private_folder(&self) -> &std::path::Path {
        self.launched.private_folder()
    }
}

/// Starts a builder VM and does not wait for it.
///
/// # Errors
/// Fails when one of its processes cannot be started.
pub(super) fn start(guest: &Guest<'_>, needs: VmNeeds) -> Result<StartingVm, ComposeError> {
    let output = ConsoleOutput::to_file(&guest.console).map_err(|source| ComposeError::Console { path: guest.console.clone(), source })?;
    let launched = Prepared::new(vm_config(guest, &needs), guest.runtime_base)?.launch(output)?;
    Ok(StartingVm { launched, needs })
}

/// Runs a plan in a builder VM: the one that was started for it if it is as the plan needs it, else a new one. Every line that a
/// program in the guest prints becomes a message.
///
/// # Errors
/// Fails when the VM does not start, the session breaks or a step fails.
pub(super) fn compose(
    guest: &Guest<'_>,
    started: StartingVm,
    plan: ComposePlan,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), ComposeError> {
    let connected = stage(observer, Stage::Vm, || {
        let vm = if started.needs == VmNeeds::from(&plan) {
            started
        } else {
            // Gone before the next one takes the disk.
            drop(started);
            start(guest, VmNeeds::from(&plan))?
        };
        Ok::<_, ComposeError>((vm.launched.connect(Deadlines::of(guest.accelerator), cancel)?, false))
    })?;

    let names: Vec<String> = plan.steps.iter().map(step_name).collect();
    let steps = plan.steps.clone();
    observer.event(&Event::StageStarted { stage: Stage::Compose });
    let start = std::time::Instant::now();
    let report = connected.run(plan, |event| relay(&event, &names, observer))?;
    if let Outcome::Failed { step, error } = &report.outcome {
        let index = *step as usize;
        let step = names.get(index).cloned().unwrap_or_else(|| "run the plan".to_owned());
        let message = super::step_error::describe(error, steps.get(index));
        return Err(ComposeError::Step { step, source: StepError { message, error: error.clone() } });
    }
    observer.event(&Event::StageFinished { stage: Stage::Compose, elapsed: start.elapsed(), cached: false });
    let low = ByteSize(report.memory_low_bytes >> 20 << 20);
    observer.event(&Event::Message { level: Level::Detail, text: &format!("the builder VM had at least {low} of memory left") });
    Ok(())
}

/// Returns the VM for what a plan needs.
pub(super) fn vm_config(guest: &Guest<'_>, needs: &VmNeeds) -> VmConfig {
    let shares = needs.store_tag.iter().map(|tag| Share { tag: tag.clone(), path: guest.store.to_owned() }).collect();
    let memory = guest.memory.unwrap_or(DEFAULT_MEMORY);
    // The agent knows them by their order.
    let disks = std::iter::once((guest.disk, DiskAccess::Write)).chain(guest.tools_disk.map(|disk| (disk, DiskAccess::ReadOnly)));
    let disks = disks.map(|(path, access)| Disk { path: path.to_owned(), format: DiskFormat::Raw, access });
    VmConfig {
        arch: guest.arch,
        accelerator: guest.accelerator,
        qemu: guest.qemu.clone(),
        cpus: guest.cpus,
        memory_mib: u32::try_from(memory.0 >> 20).unwrap_or(u32::MAX),
        boot: BootSource::Kernel { kernel: guest.kernel.clone(), initramfs: guest.initramfs.clone(), parameters: String::new() },
        disks: disks.collect(),
        shares,
        share_server: guest.share_server.clone(),
        network: if needs.network { Network::User } else { Network::None },
        clock: Some(needs.clock),
    }
}

/// Passes on what the agent says.
fn relay(event: &AgentEvent, names: &[String], observer: &dyn Observer) {
    let name = |step: u32| names.get(step as usize).map_or("", String::as_str);
    let write = |line: &str| observer.event(&Event::Message { level: Level::Detail, text: line });
    let total = Some(names.len() as u64);
    let progress = |done: u64, item: &str| observer.event(&Event::Progress { stage: Stage::Compose, done, total, unit: Unit::Items, item });
    match event {
        AgentEvent::StepStarted { step } => {
            write(&format!("== {}", name(*step)));
            progress(u64::from(*step), name(*step));
        }
        AgentEvent::Progress { step, done, total, item } => progress(u64::from(*step), &format!("{}: {done}/{total} {item}", name(*step))),
        AgentEvent::Log { line, level: LogLevel::Info, .. } => write(line),
        AgentEvent::Log { line, level: LogLevel::Warning, .. } => observer.event(&Event::Message { level: Level::Warning, text: line }),
        AgentEvent::StepFinished { step, elapsed_ms } => {
            write(&format!("== {} took {}.{:03} s", name(*step), elapsed_ms / 1000, elapsed_ms % 1000));
            progress(u64::from(*step) + 1, name(*step));
        }
    }
}

/// Returns the commands of a plan's hooks by their index.
pub(super) fn hook_command(step: Option<&Step>) -> Option<&str> {
    match step {
        Some(Step::Hook(hook)) => Some(&hook.command),
        _ => None,
    }
}
