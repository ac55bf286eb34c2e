//! Whether `/dev/kvm` can run a guest, found out by running one.
//!
//! That the device opens says little, and that it makes a VM not much more: on nested or paravirtual hosts QEMU may fail to
//! set up the processor, or the guest spins on its first privileged instructions. So a few instructions are executed under
//! the very QEMU, with the very CPU model, that a session would use:
//!
//! ```text
//! x86_64   from 32-bit mode: page tables, CR4, CR3, EFER, CR0, GDT, 64-bit mode, CPUID, SSE, TSC, then the debug-exit port
//! aarch64  a PSCI call that powers off
//! riscv64  a write to the test device that powers off
//! ```
//!
//! QEMU's exit status tells that the last instruction was reached. Everything else, a deadline included, is a verdict of
//! one line. The payloads are the bytes of the listings beside them; under TCG they run everywhere, which the tests use.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Accelerator, Cancel, GuestArch, Machine, Qemu,
    process::{Child, Launch},
    runtime::RuntimeDir,
};

/// Hardware needs a few milliseconds; the rest is QEMU's own start on a busy machine.
const PROBE_DEADLINE: Duration = Duration::from_millis(900);
/// What the debug-exit device makes of the value 42.
const DEBUG_EXIT_STATUS: i32 = 42 << 1 | 1;
/// Where the x86_64 payload is loaded, as its absolute addresses know.
const X86_LOAD_ADDRESS: u64 = 0x10_0000;

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvmVerdict {
    /// Guest code ran to its end.
    Usable,
    /// It did not.
    Unusable {
        /// Why, in one line.
        reason: String,
        /// What the user can do about it.
        fix: Option<String>,
        /// Whether asking again would get the same answer: not so when a busy machine may have been the reason.
        lasting: bool,
    },
}

impl KvmVerdict {
    /// Returns the accelerator to use.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        match self {
            Self::Usable => Accelerator::Kvm,
            Self::Unusable { .. } => Accelerator::Tcg,
        }
    }

    /// Returns whether asking again would get the same answer.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Usable | Self::Unusable { lasting: true, .. })
    }

    fn unusable(reason: impl Into<String>) -> Self {
        Self::Unusable { reason: reason.into(), fix: None, lasting: true }
    }

    fn this_time(reason: impl Into<String>) -> Self {
        Self::Unusable { reason: reason.into(), fix: None, lasting: false }
    }
}

/// Finds out whether KVM runs guests of `arch` with this QEMU. Takes less than a second, and a few milliseconds where the answer is
/// plain. The answer holds until the machine, its kernel or the QEMU changes; callers may keep it.
#[must_use]
pub fn probe_kvm(qemu: &Qemu, arch: GuestArch, runtime_base: &Path, cancel: &Cancel) -> KvmVerdict {
    if GuestArch::host() != Some(arch) {
        return KvmVerdict::unusable(format!("this machine is not {arch}"));
    }
    if let Some(verdict) = device_verdict(Path::new("/dev/kvm")) {
        return verdict;
    }
    run_payload(qemu, Machine::of(arch, Accelerator::Kvm), PROBE_DEADLINE, runtime_base, cancel)
}

/// Returns why the device cannot be opened, if so.
fn device_verdict(device: &Path) -> Option<KvmVerdict> {
    let error = fs::OpenOptions::new().read(true).write(true).open(device).err()?;
    let name = device.display();
    Some(match error.kind() {
        io::ErrorKind::NotFound => KvmVerdict::Unusable {
            reason: format!("there is no {name}"),
            fix: Some("enable virtualisation in the firmware settings and load the module `kvm_intel` or `kvm_amd`".to_owned()),
            lasting: false,
        },
        io::ErrorKind::PermissionDenied => {
            let group = fs::metadata(device).ok().and_then(|metadata| group_name(metadata.gid()));
            let fix = match group.as_deref() {
                None | Some("root") => format!("ask an administrator for access to {name}"),
                Some(group) => format!("join the group `{group}` (`sudo usermod -aG {group} $USER`, then log in again)"),
            };
            KvmVerdict::Unusable { reason: format!("this user may not open {name}"), fix: Some(fix), lasting: false }
        }
        _ => KvmVerdict::this_time(format!("cannot open {name}: {error}")),
    })
}

/// Returns the name of a group.
fn group_name(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let gid = gid.to_string();
    groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&gid.as_str()))
        .map(|fields| fields[0].to_owned())
}

/// Runs the payload of a machine and judges how it ended.
fn run_payload(qemu: &Qemu, machine: &Machine, deadline: Duration, runtime_base: &Path, cancel: &Cancel) -> KvmVerdict {
    let prepared = RuntimeDir::create(runtime_base).and_then(|folder| {
        fs::write(folder.path().join("payload"), payload(machine.arch))?;
        Ok(folder)
    });
    let folder = match prepared {
        Ok(folder) => folder,
        Err(error) => return KvmVerdict::this_time(format!("cannot prepare the probe: {error}")),
    };
    let mut argv = qemu.argv.clone();
    argv.extend(arguments(qemu, machine, &folder.path().join("payload")));
    let launch = Launch { name: "QEMU".to_owned(), argv, env: qemu.env.clone(), inherited: Vec::new(), stdin: None };
    let begin = Instant::now();
    let child = match Child::start(launch) {
        Ok(child) => child,
        Err(error) => return KvmVerdict::this_time(format!("cannot start QEMU: {error}")),
    };
    let status = loop {
        if let Some(status) = child.status() {
            break status;
        }
        let left = deadline.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return KvmVerdict::this_time("a guest of a few instructions does not come to its end");
        }
        if cancel.is_cancelled() {
            return KvmVerdict::this_time("cancelled");
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(child.ended(), PollFlags::IN), PollFd::from_borrowed_fd(cancel.signal(), PollFlags::IN)];
        // Interrupted or not, the loop looks again.
        let _ = poll(&mut fds, Some(&timeout));
    };
    let expected = if machine.arch == GuestArch::X86_64 { DEBUG_EXIT_STATUS } else { 0 };
    if status.code() == Some(expected) {
        return KvmVerdict::Usable;
    }
    KvmVerdict::unusable(complaint(&child.stderr()).unwrap_or_else(|| format!("QEMU ended with {status}")))
}

/// Returns the line of QEMU's words that says most.
fn complaint(stderr: &str) -> Option<String> {
    let telling = ["failed to set MSR", "emulation failure", "failed to initialize", "Could not access KVM", "internal error"];
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| telling.iter().any(|words| line.contains(words))).or_else(|| lines().next())?;
    // The program's name in front is noise, and where it lies is nobody's business.
    let line = line.split_once(": ").filter(|(program, _)| program.contains("qemu-system")).map_or(line, |(_, rest)| rest);
    let plain: String = line.chars().filter(|character| !character.is_control()).take(160).collect();
    Some(format!("QEMU says: {plain}"))
}

/// The command line of a probe: the machine without anything in it.
fn arguments(qemu: &Qemu, machine: &Machine, payload: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let fixed = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "none", "-nic", "none"];
    words.extend(fixed.map(OsString::from));
    for folder in &qemu.data_dirs {
        words.extend(["-L".into(), folder.into()]);
    }
    let options = [("-accel", machine.accel), ("-machine", machine.machine), ("-cpu", machine.cpu), ("-m", "64M"), ("-smp", "1")];
    words.extend(options.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
    match machine.arch {
        GuestArch::X86_64 => words.extend(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"].map(OsString::from)),
        GuestArch::Riscv64 => words.extend(["-bios", "none"].map(OsString::from)),
        GuestArch::Aarch64 => {}
    }
    words.extend(["-kernel".into(), payload.into()]);
    words
}

/// Returns the file that QEMU loads as a kernel.
fn payload(arch: GuestArch) -> Vec<u8> {
    match arch {
        GuestArch::X86_64 => pvh_elf(&X86_PAYLOAD),
        GuestArch::Aarch64 => AARCH64_PAYLOAD.iter().flat_map(|word| word.to_le_bytes()).collect(),
        GuestArch::Riscv64 => RISCV64_PAYLOAD.iter().flat_map(|word| word.to_le_bytes()).collect(),
    }
}

/// Entered by PVH in 32-bit mode without paging, at [`X86_LOAD_ADDRESS`].
#[rustfmt::skip]
const X86_PAYLOAD: [u8; 0x86] = [
    0xfa,                                                       // cli
    0xc7, 0x05, 0x00, 0x00, 0x20, 0x00, 0x03, 0x10, 0x20, 0x00, // mov  dword [0x200000], 0x201003   PML4 → PDPT
    0xc7, 0x05, 0x00, 0x10, 0x20, 0x00, 0x03, 0x20, 0x20, 0x00, // mov  dword [0x201000], 0x202003   PDPT → PD
    0xc7, 0x05, 0x00, 0x20, 0x20, 0x00, 0x83, 0x00, 0x00, 0x00, // mov  dword [0x202000], 0x83       first 2 MiB
    0x0f, 0x20, 0xe0, 0x0d, 0x20, 0x06, 0x00, 0x00,             // mov  eax, cr4; or eax, 0x620      PAE, SSE
    0x0f, 0x22, 0xe0,                                           // mov  cr4, eax
    0xb8, 0x00, 0x00, 0x20, 0x00, 0x0f, 0x22, 0xd8,             // mov  eax, 0x200000; mov cr3, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32,                   // mov  ecx, 0xc0000080; rdmsr       EFER
    0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30,                   // or   eax, 0x100; wrmsr            long mode
    0x0f, 0x20, 0xc0, 0x0d, 0x01, 0x00, 0x00, 0x80,             // mov  eax, cr0; or eax, 0x80000001 paging
    0x83, 0xe0, 0xfb, 0x0f, 0x22, 0xc0,                         // and  eax, ~4; mov cr0, eax        FPU present
    0x0f, 0x01, 0x15, 0x80, 0x00, 0x10, 0x00,                   // lgdt [0x100080]
    0xea, 0x5c, 0x00, 0x10, 0x00, 0x08, 0x00,                   // ljmp 8:0x10005c                   64-bit from here
    0x31, 0xc0, 0x0f, 0xa2,                                     // xor  eax, eax; cpuid
    0x66, 0x0f, 0xef, 0xc0,                                     // pxor xmm0, xmm0
    0x0f, 0x31,                                                 // rdtsc
    0xb0, 0x2a, 0xe6, 0xf4,                                     // mov  al, 42; out 0xf4, al
    0xf4, 0xeb, 0xfd, 0x0f, 0x1f, 0x00,                         // hlt; jmp back; padding
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,             // GDT: null
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xaf, 0x00,             //      64-bit code
    0x0f, 0x00, 0x70, 0x00, 0x10, 0x00,                         // GDT register: limit, 0x100070
];

/// Entered at the start of a raw image.
const AARCH64_PAYLOAD: [u32; 4] = [
    0x5280_0100, // mov  w0, #8
    0x72b0_8000, // movk w0, #0x8400, lsl #16   PSCI SYSTEM_OFF
    0xd400_0002, // hvc  #0
    0x1400_0000, // b    .
];

/// Entered at the start of a raw image.
const RISCV64_PAYLOAD: [u32; 5] = [
    0x0010_0537, // lui  a0, 0x100              the test device
    0x0000_55b7, // lui  a1, 5
    0x5555_8593, // addi a1, a1, 0x555          its word for powering off
    0x00b5_2023, // sw   a1, 0(a0)
    0x0000_006f, // j    .
];

/// Wraps code in an ELF file with the note that names its PVH entry.
fn pvh_elf(code: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    const NOTE: u64 = HEADER + 2 * PROGRAM_HEADER;
    const NOTE_SIZE: u64 = 24;
    const CODE: u64 = NOTE + NOTE_SIZE;
    let mut file = Vec::new();
    // 64-bit, little-endian, version 1, System V; an executable for x86-64.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0");
    for word in [X86_LOAD_ADDRESS, HEADER, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = code.len() as u64;
    for (kind, flags, offset, address, length) in [(1_u32, 5_u32, CODE, X86_LOAD_ADDRESS, size), (4, 4, NOTE, 0, NOTE_SIZE)] {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, length, length, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    // XEN_ELFNOTE_PHYS32_ENTRY.
    for word in [4_u32, 8, 18] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(X86_LOAD_ADDRESS.to_le_bytes());
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell script in QEMU's place.
    fn fake(script: &str) -> Qemu {
        Qemu { argv: ["sh", "-c", script, "qemu"].map(OsString::from).to_vec(), env: Vec::new(), data_dirs: Vec::new() }
    }

    fn verdict(qemu: &Qemu, deadline: Duration) -> KvmVerdict {
        let machine = Machine::of(GuestArch::X86_64, Accelerator::Kvm);
        run_payload(qemu, machine, deadline, &std::env::temp_dir(), &Cancel::new().unwrap())
    }

    fn reason(verdict: KvmVerdict) -> String {
        match verdict {
            KvmVerdict::Usable => "usable".to_owned(),
            KvmVerdict::Unusable { reason, .. } => reason,
        }
    }

    #[test]
    fn only_the_status_of_the_last_instruction_counts_as_success() {
        let long = Duration::from_secs(20);
        assert_eq!(verdict(&fake("exit 85"), long), KvmVerdict::Usable);
        assert_eq!(reason(verdict(&fake("exit 0"), long)), "QEMU ended with exit status: 0");
        let msr = "echo 'qemu-system-x86_64: error: failed to set MSR 0x38d to 0x0' >&2; kill -ABRT $$";
        assert_eq!(reason(verdict(&fake(msr), long)), "QEMU says: error: failed to set MSR 0x38d to 0x0");
    }

    #[test]
    fn a_guest_that_spins_is_given_up() {
        let begin = Instant::now();
        let found = reason(verdict(&fake("sleep 30"), Duration::from_millis(100)));
        assert_eq!(found, "a guest of a few instructions does not come to its end");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_device_that_is_not_there_or_not_allowed_says_what_to_do() {
        let missing = device_verdict(Path::new("/nonexistent/kvm")).unwrap();
        assert!(matches!(&missing, KvmVerdict::Unusable { reason, fix: Some(_), .. } if reason == "there is no /nonexistent/kvm"));
        assert_eq!(device_verdict(Path::new("/dev/null")), None);
    }

    #[test]
    fn foreign_architectures_are_not_probed() {
        let foreign = GuestArch::ALL.into_iter().find(|arch| GuestArch::host() != Some(*arch)).unwrap();
        let found = probe_kvm(&fake("exit 85"), foreign, &std::env::temp_dir(), &Cancel::new().unwrap());
        assert_eq!(found.accelerator(), Accelerator::Tcg);
    }

    #[test]
    fn the_payload_knows_its_own_addresses() {
        assert_eq!(X86_PAYLOAD[0x5c..0x60], [0x31, 0xc0, 0x0f, 0xa2]);
        assert_eq!(X86_PAYLOAD[0x70..0x78], [0; 8]);
        let elf = pvh_elf(&X86_PAYLOAD);
        assert_eq!(elf.len(), 64 + 112 + 24 + X86_PAYLOAD.len());
        assert_eq!(&elf[200..], &X86_PAYLOAD);
    }

    #[test]
    #[ignore = "needs the emulators: OIC_TEST_QEMU_X86_64, OIC_TEST_QEMU_AARCH64, OIC_TEST_QEMU_RISCV64 name them"]
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where the emulators are")]
    fn every_payload_reaches_its_end_under_emulation() {
        for arch in GuestArch::ALL {
            let name = format!("OIC_TEST_QEMU_{}", arch.name().to_uppercase());
            let qemu = Qemu { argv: vec![std::env::var_os(name).unwrap()], env: Vec::new(), data_dirs: Vec::new() };
            let machine = Machine::of(arch, Accelerator::Tcg);
            let found = run_payload(&qemu, machine, Duration::from_secs(20), &std::env::temp_dir(), &Cancel::new().unwrap());
            assert_eq!(found, KvmVerdict::Usable, "{arch}");
        }
    }
}
