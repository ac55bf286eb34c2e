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
    Accelerator, BootSource, Cancel, ConsoleOutput, Deadlines, Disk, DiskAccess, DiskFormat, GuestArch, Network, Prepared, Qemu,
    SessionError, Share, VmConfig,
};
use oic_protocol::{ComposePlan, FileContent, FileEntry, Outcome, PROTOCOL_VERSION, Step, StoreBlob};

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

/// Says how long it takes from starting QEMU to the hello: five times, with the memory and the disk that a build has. The processor's time is that
/// of all threads of QEMU, which the machine's load changes little.
#[test]
#[ignore = "a measurement, and needs QEMU, a kernel and an initramfs: see the top of this file"]
fn the_time_to_the_hello() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    std::fs::File::create(&disk).and_then(|file| file.set_len(3 << 30)).unwrap();
    let mut times: Vec<(Duration, f64)> = Vec::new();
    for _ in 0..5 {
        let disk = Disk { path: disk.clone(), format: DiskFormat::Raw, access: DiskAccess::Write };
        let launched = launch(VmConfig { memory_mib: 1024, disks: vec![disk], ..config() });
        let stat = format!("/proc/{}/stat", launched.vmm_id().unwrap());
        let connected = launched.connect(Deadlines::of(Accelerator::Tcg), &Cancel::new().unwrap()).unwrap();
        // User and system time in hundredths of a second: the 14th and 15th field, the name in parentheses being the second.
        let stat = std::fs::read_to_string(stat).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        times.push((connected.boot_time(), fields.map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / 100.0));
    }
    times.sort_by_key(|(boot, _)| *boot);
    eprintln!("median {:?}; all, with the processor's seconds: {times:.2?}", times[2].0);
    assert!(times.iter().all(|(boot, seconds)| boot.as_millis() > 50 && *seconds > 0.05), "no kernel is that fast");
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

/// Runs a program of the host that a test needs.
#[expect(clippy::disallowed_methods, reason = "a test makes and reads a disk with the host's tools")]
fn run(words: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
#[ignore = "needs QEMU, a kernel and an initramfs: see the top of this file; and mke2fs and debugfs"]
fn a_file_of_the_share_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, store, disk) = (folder.path().join("tree"), folder.path().join("store"), folder.path().join("root.raw"));
    for name in ["proc", "sys", "dev", "run", "tmp", "etc"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    std::fs::create_dir(&store).unwrap();
    // Larger than any buffer on the way, and different everywhere.
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    std::fs::write(store.join("blob"), &content).unwrap();
    run(&["mke2fs", "-q", "-t", "ext4", "-d", tree.to_str().unwrap(), disk.to_str().unwrap(), "64M"]);

    let mut config = config();
    config.disks = vec![Disk { path: disk.clone(), format: DiskFormat::Raw, access: DiskAccess::Write }];
    config.shares = vec![Share { tag: "store".to_owned(), path: store }];
    // The example ends up in `virtiofs_main` when it is told so; cargo builds it with the tests.
    let server = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/boot_time");
    config.share_server = vec![server.into(), "__virtiofsd".into()];
    let content_entry = FileContent::Store(StoreBlob { name: "blob".to_owned(), path: "blob".to_owned(), size: content.len() as u64 });
    let entry =
        FileEntry { path: "/etc/blob".to_owned(), content: content_entry, mode: 0o640, owner: "0".to_owned(), group: "0".to_owned() };
    let plan = ComposePlan {
        source_date_epoch: 1_767_225_600,
        store_tag: Some("store".to_owned()),
        network: false,
        steps: vec![Step::WriteFiles(vec![entry])],
    };
    let connected = launch(config).connect(Deadlines::of(Accelerator::Tcg), &Cancel::new().unwrap()).unwrap();
    let mut events = 0;
    let report = connected.run(plan, |_| events += 1).unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert!(events >= 2);
    assert_eq!(run(&["debugfs", "-R", "cat /etc/blob", disk.to_str().unwrap()]), content);
}
