//! The planning of a build, for every architecture that `oic` runs on and every one that it builds for. Nothing runs here: what
//! is looked at is which tools are taken for which machine, what VM is made, what the guest is told to do, and what the
//! bootloader's files are called.

use std::path::Path;

use oic_builder_vm::{
    Accelerator, Cancel, GuestArch, Qemu,
    backend::qemu::{Wiring, arguments},
};
use oic_config::{LoadRequest, load, spec::PartitionType};
use oic_protocol::{DebInstall, Step};

use super::{prepare::tool_sets, session::VmNeeds, session::vm_config, *};
use crate::{
    boot::EfiNames,
    lock::LockedImage,
    store::Store,
    toolchain::{Emulator, ToolSet, guest_arch, kvm_verdict},
};
use oic_config::spec::Arch;

/// Each machine with each target.
fn pairs() -> impl Iterator<Item = (Arch, Arch)> {
    Arch::ALL.into_iter().flat_map(|host| Arch::ALL.map(|target| (host, target)))
}

/// Returns what the x86_64 template becomes for a target.
fn spec(target: Arch) -> ImageSpec {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
    load(&LoadRequest { template, arch: Some(target), ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{report}")).spec
}

/// Returns the plan that the guest of a target gets.
fn plan(spec: &ImageSpec) -> oic_protocol::ComposePlan {
    let lock = LockedImage {
        arch: spec.target.arch.name().to_owned(),
        ecosystem: "deb".to_owned(),
        spec: Sha256Digest::of(b"spec"),
        source_date_epoch: 1,
        repositories: Vec::new(),
        packages: Vec::new(),
    };
    let disk = spec.disk.as_ref().unwrap();
    let identity = ImageIdentity::new("test");
    compose::lower(ComposeInput {
        spec,
        lock: &lock,
        source_date_epoch: 1,
        install: Some(DebInstall { preinst: Vec::new(), unpack: Vec::new(), configure: vec!["base-files".to_owned()] }),
        fstab: Some(fstab::render(disk, &identity, false)),
        cmdline: command_line(spec, Some(disk), &identity),
        keys: Default::default(),
        scripts: Vec::new(),
        files: Vec::new(),
    })
    .unwrap()
}

fn guest(target: Arch, accelerator: Accelerator) -> Guest<'static> {
    Guest {
        arch: guest_arch(target),
        accelerator,
        qemu: Qemu { argv: vec!["qemu".into()], env: Vec::new(), data_dirs: Vec::new() },
        kernel: "/vm/kernel".into(),
        initramfs: "/vm/initramfs".into(),
        disk: Path::new("/work/root.img"),
        tools_disk: None,
        store: Path::new("/store"),
        share_server: vec!["oic".into()],
        memory: None,
        cpus: None,
        runtime_base: Path::new("/tmp"),
        console: "/work/console.log".into(),
    }
}

#[test]
fn programs_are_taken_for_the_host_and_the_kernel_for_the_target() {
    for (host, target) in pairs() {
        for has_emulator in [true, false] {
            let sets = tool_sets(host, target, has_emulator);
            for (set, arch) in &sets {
                assert_eq!(*arch, if *set == ToolSet::Kernel { target } else { host }, "{host} {target} {set:?}");
                assert!(!set.packages(*arch).is_empty());
                let repositories = resolve::tools_repositories(*arch).unwrap();
                assert!(!repositories.is_empty(), "{host} {target} {set:?}");
            }
            let has = |set: ToolSet| sets.iter().any(|(known, _)| *known == set);
            assert!(has(ToolSet::Disk) && has(ToolSet::Kernel));
            assert_eq!(has(ToolSet::Qemu(target)), !has_emulator, "{host} {target}");
        }
        let kernel = ToolSet::Kernel.packages(target)[0];
        assert!(kernel.ends_with(target.deb_name()), "{kernel} is for another architecture than {target}");
    }
}

#[test]
fn kvm_is_for_guests_of_the_hosts_own_architecture() {
    let (cache, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(cache.path()).unwrap();
    let qemu = Qemu { argv: vec!["/nonexistent/qemu".into()], env: Vec::new(), data_dirs: Vec::new() };
    let emulator = Emulator { qemu, description: String::new() };
    let cancel = Cancel::new().unwrap();
    for (host, target) in pairs().filter(|(host, target)| host != target) {
        let verdict = kvm_verdict(&store, (host, target), &emulator, runtime.path(), &cancel);
        assert_eq!(verdict.accelerator(), Accelerator::Tcg, "{host} {target}");
    }
}

#[test]
fn the_builder_vm_is_the_targets_machine() {
    for (host, target) in pairs() {
        let accelerators = if host == target { &[Accelerator::Tcg, Accelerator::Kvm][..] } else { &[Accelerator::Tcg] };
        for &accelerator in accelerators {
            let config = vm_config(&guest(target, accelerator), &VmNeeds::from(&plan(&spec(target))));
            assert_eq!((config.arch, config.accelerator), (guest_arch(target), accelerator));
            assert_eq!(config.machine().emulator, format!("qemu-system-{target}"));
            let wiring = Wiring {
                console: 3,
                kernel: None,
                control: Some(4),
                shares: vec![5; config.shares.len()],
                fast_firmware: None,
                firmware_vars: None,
            };
            let words = arguments(&config, &wiring);
            let after = |option: &str| {
                let at = words.iter().position(|word| word == option).unwrap_or_else(|| panic!("no {option} in {words:?}"));
                words[at + 1].to_string_lossy().into_owned()
            };
            assert!(after("-append").starts_with(&format!("console={} ", target.serial_console())), "{host} {target}");
            assert_eq!(after("-cpu") == "host", accelerator == Accelerator::Kvm, "{host} {target}");
            assert_eq!(after("-machine").starts_with("q35"), target == Arch::X86_64, "{host} {target}");
        }
    }
    assert_eq!(Arch::ALL.map(|arch| guest_arch(arch).name()), GuestArch::ALL.map(GuestArch::name));
}

#[test]
fn the_guest_does_the_same_on_every_architecture() {
    let plans = Arch::ALL.map(|target| plan(&spec(target)));
    let names = |plan: &oic_protocol::ComposePlan| plan.steps.iter().map(compose::step_name).collect::<Vec<_>>();
    assert_eq!(names(&plans[0]), names(&plans[1]));
    assert_eq!(names(&plans[0]), names(&plans[2]));
    for (target, plan) in Arch::ALL.into_iter().zip(&plans) {
        let text = format!("{:?}", plan.steps.iter().filter(|step| matches!(step, Step::WriteFiles(_))).collect::<Vec<_>>());
        assert!(!text.contains("x86"), "{target}: {text}");
    }
}

#[test]
fn images_boot_by_the_names_of_their_architecture() {
    for target in Arch::ALL {
        let spec = spec(target);
        let disk = spec.disk.as_ref().unwrap();
        assert!(disk.partitions.iter().any(|partition| partition.kind == PartitionType::Root(target)), "{target}");
        let cmdline = command_line(&spec, Some(disk), &ImageIdentity::new("test"));
        let consoles: Vec<_> = cmdline.split(' ').filter_map(|word| word.strip_prefix("console=")).collect();
        assert_eq!(consoles, ["tty0", &format!("{},115200", target.serial_console())], "{target}");
        let names = EfiNames::of(target);
        assert_eq!(names.removable.to_lowercase(), format!("boot{}.efi", names.suffix), "{target}");
        let kernels = &spec.system.kernel.as_ref().unwrap().packages;
        assert!(kernels.iter().all(|name| name.ends_with(target.deb_name())), "{target}: {kernels:?}");
    }
}

#[test]
fn firmware_and_emulator_are_named_for_every_architecture() {
    for (host, target) in pairs() {
        for set in [ToolSet::Firmware(target), ToolSet::Qemu(target)] {
            assert_eq!(set.packages(host), set.packages(target), "which package emulates {target} does not depend on the host");
            assert!(set.name().ends_with(target.name()));
        }
    }
}
