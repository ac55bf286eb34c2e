//! A real VM. Needs a QEMU, a kernel and an initramfs with the agent:
//!
//! ```text
//! OIC_TEST_VM_ARCH=x86_64 OIC_TEST_VM_QEMU=qemu-system-x86_64 OIC_TEST_VM_KERNEL=vmlinux OIC_TEST_VM_INITRAMFS=initramfs.cpio cargo test --test vm -- --ignored
//! ```
//!
//! Ignored without `--ignored`, as they need what a plain checkout does not have; with it they fail when it is missing.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use oic_builder_vm::{
    Accelerator, BootSource, Cancel, ConsoleOutput, Deadlines, GuestArch, Network, Prepared, Qemu, SessionError, VmConfig,
};
use oic_protocol::{ComposePlan, Outcome, PROTOCOL_VERSION};

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the machine's parts are")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The VM that the environment describes.
fn config() -> VmConfig {
    let needed = |name: &str| setting(name).unwrap_or_else(|| panic!("{name} is not set"));
    VmConfig {
        arch: GuestArch::from_name(&needed("OIC_TEST_VM_ARCH")).unwrap(),
        accelerator: Accelerator::Tcg,
        qemu: Qemu { argv: vec![needed("OIC_TEST_VM_QEMU").into()], env: Vec::new(), data_dirs: Vec::new() },
        cpus: None,
        memory_mib: 512,
        boot: BootSource::Kernel {
            kernel: needed("OIC_TEST_VM_KERNEL").into(),
            initramfs: needed("OIC_TEST_VM_INITRAMFS").into(),
            parameters: String::new(),
        },
        disks: Vec::new(),
        shares: Vec::new(),
        share_server: Vec::new(),
        network: Network::None,
        clock: Some(1_767_225_600),
    }
}

fn launch(config: VmConfig) -> oic_builder_vm::Launched {
    Prepared::new(config, &std::env::temp_dir()).unwrap().launch(ConsoleOutput::default()).unwrap()
}

#[test]
#[ignore = "needs QEMU, a kernel and an initramfs: see the top of this file"]
fn the_agent_says_hello_runs_nothing_and_powers_off() {
    let config = config();
    let machine = config.arch.name();
    let connected = launch(config).connect(Deadlines::of(Accelerator::Tcg), &Cancel::new().unwrap()).unwrap();
    assert_eq!(connected.hello().machine, machine);
    assert!(connected.hello().version.is_compatible_with(PROTOCOL_VERSION));
    let plan = ComposePlan { source_date_epoch: 1_767_225_600, store_tag: None, network: false, steps: Vec::new() };
    // Without a disk the agent cannot mount the target: a failed step, reported in order, and an orderly end.
    let report = connected.run(plan, |_| {}).unwrap();
    assert!(matches!(report.outcome, Outcome::Failed { step: 0, .. }), "{report:?}");
}

#[test]
#[ignore = "needs QEMU, a kernel and an initramfs: see the top of this file"]
fn cancelling_a_boot_leaves_no_process_behind() {
    let config = config();
    let launched = launch(config);
    let pid = launched.vmm_id().unwrap();
    let cancel = Cancel::new().unwrap();
    let canceller = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        canceller.cancel();
        Instant::now()
    });
    let outcome = launched.connect(Deadlines::of(Accelerator::Tcg), &cancel);
    let cancelled = thread.join().unwrap();
    assert!(matches!(outcome, Err(SessionError::Cancelled)));
    drop(outcome);
    assert!(cancelled.elapsed() < Duration::from_secs(1));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
#[ignore = "needs QEMU, a kernel and an initramfs: see the top of this file"]
fn a_kernel_without_init_is_a_panic_with_its_words() {
    let mut config = config();
    if let BootSource::Kernel { parameters, .. } = &mut config.boot {
        *parameters = "rdinit=/nothing".to_owned();
    }
    let error = launch(config).connect(Deadlines::of(Accelerator::Tcg), &Cancel::new().unwrap()).unwrap_err();
    assert!(matches!(&error, SessionError::KernelPanic { message, .. } if message.contains("Kernel panic")), "{error:?}");
    assert!(error.console().is_some_and(|console| !console.0.is_empty()));
}

#[test]
#[ignore = "needs QEMU: see the top of this file"]
fn the_kvm_probe_has_a_verdict_within_a_second() {
    let config = config();
    let begin = Instant::now();
    let verdict = oic_builder_vm::probe_kvm(&config.qemu, config.arch, &std::env::temp_dir(), &Cancel::new().unwrap());
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_millis(1100), "{elapsed:?} for {verdict:?}");
    if let oic_builder_vm::KvmVerdict::Unusable { reason, .. } = verdict {
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
    }
}
