//! Runs the steps of a plan in order and stops at the first that fails.

use oic_protocol::{AgentError, ComposePlan, ComposeReport, KernelReport, Outcome, Step};

use crate::{
    events::{Channel, Events},
    exec::{self, Shell},
    failure, network, step, sys,
    target::Target,
};

/// What the steps have in common.
#[expect(missing_debug_implementations, reason = "the shell holds a channel")]
pub struct Context<'a, 'e, 'c> {
    /// The target.
    pub target: &'a Target,
    /// Starts programs in it.
    pub shell: &'a mut Shell<'e, 'c>,
    /// The kernels with their initramfs, as far as they are known.
    pub kernels: &'a mut Vec<KernelReport>,
}

/// Runs a plan and says how it ended. The target is unmounted then.
pub fn run(plan: &ComposePlan, channel: &mut dyn Channel) -> ComposeReport {
    let mut events = Events::new(channel);
    let mut kernels = Vec::new();
    let outcome = match run_in_target(plan, &mut events, &mut kernels) {
        Ok(()) => Outcome::Succeeded,
        Err(Stopped { step, error }) => Outcome::Failed { step, error },
    };
    ComposeReport { outcome, kernels, memory_low_bytes: events.memory_low_bytes() }
}

/// A step that failed, or was about to start when something around it failed.
struct Stopped {
    step: u32,
    error: AgentError,
}

/// Mounts, runs, unmounts. What fails outside of the steps is told as the failure of the first or the last one.
fn run_in_target(plan: &ComposePlan, events: &mut Events<'_>, kernels: &mut Vec<KernelReport>) -> Result<(), Stopped> {
    let last = u32::try_from(plan.steps.len().saturating_sub(1)).unwrap_or(u32::MAX);
    network::bring_up_loopback();
    let target = prepare(plan).map_err(|error| Stopped { step: 0, error })?;
    let ran = run_steps(plan, &target, events, kernels);
    let unmounted = target.unmount();
    ran?;
    unmounted.map_err(|error| Stopped { step: last, error })
}

/// Sets the stage for the first step.
fn prepare(plan: &ComposePlan) -> Result<Target, AgentError> {
    let target = Target::mount(plan)?;
    let prepared = if plan.network {
        network::bring_up(&target.rootfs)
    } else {
        // Certificates of the network are judged by the true time; without a network every build may live at the same one.
        sys::set_wall_clock(plan.source_date_epoch).map_err(|error| failure::system("set", "the clock", error))
    };
    match prepared {
        Ok(()) => Ok(target),
        Err(error) => {
            // The first failure is the one to tell.
            let _ = target.unmount();
            Err(error)
        }
    }
}

/// Runs the steps.
fn run_steps(plan: &ComposePlan, target: &Target, events: &mut Events<'_>, kernels: &mut Vec<KernelReport>) -> Result<(), Stopped> {
    let env = exec::environment(plan.source_date_epoch);
    for (index, wanted) in (0..).zip(&plan.steps) {
        let began = sys::uptime();
        events.start(index);
        let mut shell = Shell { events, env: &env };
        let done = run_step(wanted, &mut Context { target, shell: &mut shell, kernels });
        sys::kill_everything();
        done.map_err(|error| Stopped { step: index, error: failure::refine(error, began, || target.rootfs.filesystem_bytes()) })?;
        events.finish();
    }
    Ok(())
}

/// Runs one step.
fn run_step(wanted: &Step, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    match wanted {
        Step::InstallDeb(install) => step::install_deb::run(install, context),
        Step::InstallRpm(install) => step::install_rpm::run(install, context),
        Step::WriteFiles(files) => step::files::run(files, context),
        Step::CreateUsers(users) => step::users::run(users, context),
        Step::Services(services) => step::services::run(services, context),
        Step::Hook(hook) => step::hook::run(hook, context),
        Step::Initramfs(plan) => step::initramfs::run(plan, context),
        Step::Seal(seal) => step::seal::run(seal, context),
    }
}
