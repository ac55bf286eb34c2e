//! QEMU's command line. Pure: the same configuration gives the same words, which the tests hold as snapshots.
//!
//! Everything that connects QEMU with this process is an inherited descriptor ([`Wiring`]), so no socket has a name that
//! could be too long, be found by others or stay behind.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::fd::RawFd,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{BootSource, Disk, DiskAccess, Firmware, Network, VmConfig};

/// The name of the control channel's port in the guest: `/dev/virtio-ports/…` where udev runs, else found by
/// `/sys/class/virtio-ports/*/name`.
pub const CONTROL_PORT: &str = "org.oic.agent.0";

/// Descriptors and files that exist for one run of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// Connected socket of the serial console.
    pub console: RawFd,
    /// The kernel in memory, in the place of its file.
    pub kernel: Option<RawFd>,
    /// Connected socket of the control channel, if there is an agent.
    pub control: Option<RawFd>,
    /// Connected sockets of the share servers, in the order of [`VmConfig::shares`].
    pub shares: Vec<RawFd>,
    /// A firmware that starts a kernel faster than QEMU's usual one.
    pub fast_firmware: Option<PathBuf>,
    /// This VM's copy of the firmware's variables.
    pub firmware_vars: Option<PathBuf>,
}

/// Kernel parameters of every builder VM: say only what is wrong, end on a panic, look for nothing that is not there, and defend
/// nothing that lives as long as one build and holds no secret: each defence is paid for at every fork and page fault.
const KERNEL_PARAMETERS: &str = "quiet panic=-1 oops=panic random.trust_cpu=on random.trust_bootloader=on cryptomgr.notests \
                                 rcupdate.rcu_expedited=1 audit=0 selinux=0 apparmor=0 mitigations=off nokaslr norandmaps \
                                 init_on_alloc=0 randomize_kstack_offset=off hardened_usercopy=off cgroup_disable=memory nowatchdog";

/// Returns QEMU's arguments.
#[must_use]
pub fn arguments(config: &VmConfig, wiring: &Wiring) -> Vec<OsString> {
    let mut words = Words::default();
    machine(&mut words, config);
    boot(&mut words, config, wiring);
    console(&mut words, wiring);
    control(&mut words, wiring);
    for (index, disk) in config.disks.iter().enumerate() {
        drive(&mut words, index, disk);
    }
    for (index, (share, fd)) in config.shares.iter().zip(&wiring.shares).enumerate() {
        words.option("-chardev", format!("socket,id=share{index},fd={fd}"));
        let device = Value::new("vhost-user-fs-pci").with("chardev", format!("share{index}")).with("tag", &share.tag);
        words.option("-device", device.with("queue-size", "1024").finish());
    }
    network(&mut words, config);
    words.0
}

/// The machine, its processors, memory and clock.
fn machine(words: &mut Words, config: &VmConfig) {
    let row = config.machine();
    words.flag("-nodefaults");
    words.flag("-no-user-config");
    words.flag("-no-reboot");
    words.option("-display", "none");
    words.option("-monitor", "none");
    for folder in &config.qemu.data_dirs {
        words.option("-L", folder.as_os_str());
    }
    words.option("-accel", row.accel);
    let machine = match config.boot {
        BootSource::Kernel { .. } => row.machine,
        BootSource::Firmware(_) | BootSource::Initramfs { .. } => row.firmware_machine,
    };
    let size = format!("{}M", config.memory_mib);
    if config.shares.is_empty() {
        words.option("-machine", machine);
    } else {
        // A share server reads and writes the guest's memory itself, so both must map the same pages.
        words.option("-machine", format!("{machine},memory-backend=memory"));
        words.option("-object", format!("memory-backend-memfd,id=memory,size={size},share=on"));
    }
    words.option("-m", size);
    words.option("-cpu", row.cpu);
    words.option("-smp", config.cpu_count().to_string());
    if let Some(clock) = config.clock {
        words.option("-rtc", format!("base={},clock=vm", utc(clock)));
    }
}

/// Kernel or firmware.
fn boot(words: &mut Words, config: &VmConfig, wiring: &Wiring) {
    match &config.boot {
        BootSource::Kernel { kernel, initramfs, parameters } => {
            if let Some(firmware) = &wiring.fast_firmware {
                words.option("-bios", firmware);
            }
            match wiring.kernel {
                Some(fd) => words.option("-kernel", format!("/proc/self/fd/{fd}")),
                None => words.option("-kernel", kernel.as_os_str()),
            }
            words.option("-initrd", initramfs.as_os_str());
            let row = config.machine();
            let single = if config.cpu_count() == 1 { row.single_cpu_parameters } else { "" };
            let parts = [&format!("console={}", row.console), KERNEL_PARAMETERS, row.kernel_parameters, row.skipped(), single, parameters];
            let line: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            words.option("-append", line.join(" "));
        }
        BootSource::Initramfs { kernel, initramfs, cmdline } => {
            words.option("-kernel", kernel.as_os_str());
            words.option("-initrd", initramfs.as_os_str());
            words.option("-append", cmdline.as_str());
        }
        // SeaBIOS is what QEMU starts where it is told nothing else.
        BootSource::Firmware(Firmware::Bios) => {}
        BootSource::Firmware(Firmware::Uefi { code: path, .. }) => {
            let code = Value::new("if=pflash").with("format", "raw").with("unit", "0").with("readonly", "on");
            words.option("-drive", code.with_path("file", path).finish());
            if let Some(vars) = &wiring.firmware_vars {
                let vars = Value::new("if=pflash").with("format", "raw").with("unit", "1").with_path("file", vars);
                words.option("-drive", vars.finish());
            }
        }
    }
}

/// The serial console, always captured.
fn console(words: &mut Words, wiring: &Wiring) {
    words.option("-chardev", format!("socket,id=console,fd={}", wiring.console));
    words.option("-serial", "chardev:console");
}

/// The agent's port.
fn control(words: &mut Words, wiring: &Wiring) {
    if let Some(fd) = wiring.control {
        words.option("-device", "virtio-serial-pci");
        words.option("-chardev", format!("socket,id=control,fd={fd}"));
        words.option("-device", format!("virtserialport,chardev=control,name={CONTROL_PORT}"));
    }
}

/// A disk.
fn drive(words: &mut Words, index: usize, disk: &Disk) {
    let mut value = Value::new("if=none").with("id", format!("disk{index}")).with("format", disk.format.name());
    value = match disk.access {
        DiskAccess::Write => value.with("cache", "unsafe").with("discard", "unmap").with("detect-zeroes", "unmap"),
        DiskAccess::Discard => value.with("snapshot", "on").with("cache", "unsafe"),
        DiskAccess::ReadOnly => value.with("readonly", "on").with("cache", "unsafe"),
    };
    words.option("-drive", value.with("aio", "threads").with_path("file", &disk.path).finish());
    words.option("-device", format!("virtio-blk-pci,drive=disk{index},serial=oic-disk{index}"));
}

/// The network, if any. No option ROM: nothing boots from it.
fn network(words: &mut Words, config: &VmConfig) {
    match config.network {
        Network::None => words.option("-nic", "none"),
        Network::User => {
            words.option("-netdev", "user,id=network");
            words.option("-device", "virtio-net-pci,netdev=network,romfile=");
        }
    }
}

/// Returns a time as QEMU's `-rtc base=` wants it.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Returns year, month and day of a day counted from 1970-01-01.
///
/// Years begin in March here, so that the leap day is a year's last and month lengths follow one linear formula.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The command line as it grows.
#[derive(Debug, Default)]
struct Words(Vec<OsString>);

impl Words {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }
}

/// A comma-separated option value. Commas in paths are doubled, which is QEMU's way of quoting them.
#[derive(Debug)]
struct Value(OsString);

impl Value {
    fn new(first: &str) -> Self {
        Self(first.into())
    }

    fn with(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let mut text = String::new();
        let _ = write!(text, ",{key}={}", value.as_ref().replace(',', ",,"));
        self.0.push(text);
        self
    }

    fn with_path(mut self, key: &str, path: &Path) -> Self {
        self.0.push(format!(",{key}="));
        for part in path.as_os_str().as_bytes().split_inclusive(|byte| *byte == b',') {
            self.0.push(OsStr::from_bytes(part));
            if part.ends_with(b",") {
                self.0.push(",");
            }
        }
        self
    }

    fn finish(self) -> OsString {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accelerator, DiskFormat, GuestArch, Qemu, Share};

    fn config(arch: GuestArch, accelerator: Accelerator) -> VmConfig {
        VmConfig {
            arch,
            accelerator,
            qemu: Qemu { argv: vec!["qemu".into()], env: Vec::new(), data_dirs: vec!["/qemu/share".into()] },
            cpus: None,
            memory_mib: 1024,
            boot: BootSource::Kernel { kernel: "/vm/kernel".into(), initramfs: "/vm/initramfs".into(), parameters: "oic.test=1".into() },
            disks: vec![Disk { path: "/build/root.raw".into(), format: DiskFormat::Raw, access: DiskAccess::Write }],
            shares: vec![Share { tag: "store".into(), path: "/store".into() }],
            share_server: vec!["oic".into()],
            network: Network::None,
            clock: Some(1_767_225_600),
        }
    }

    fn wiring() -> Wiring {
        Wiring { console: 10, kernel: None, control: Some(11), shares: vec![12], fast_firmware: None, firmware_vars: None }
    }

    /// One option per line.
    fn text(words: &[OsString]) -> String {
        let mut text = String::new();
        for word in words {
            let word = word.to_string_lossy();
            text.push_str(if text.is_empty() {
                ""
            } else if word.starts_with('-') {
                "\n"
            } else {
                " "
            });
            text.push_str(&word);
        }
        text
    }

    #[test]
    fn every_architecture_and_accelerator_has_its_command_line() {
        for arch in GuestArch::ALL {
            for accelerator in [Accelerator::Tcg, Accelerator::Kvm] {
                let words = arguments(&config(arch, accelerator), &wiring());
                insta::assert_snapshot!(format!("{arch}-{accelerator}"), text(&words));
            }
        }
    }

    #[test]
    fn an_image_boots_by_firmware_from_a_disk_that_is_not_written() {
        let mut config = config(GuestArch::X86_64, Accelerator::Tcg);
        config.boot = BootSource::Firmware(Firmware::Uefi { code: "/firmware/code.fd".into(), vars: "/firmware/vars.fd".into() });
        config.disks = vec![Disk { path: "/out/image.qcow2".into(), format: DiskFormat::Qcow2, access: DiskAccess::Discard }];
        config.shares.clear();
        config.network = Network::User;
        config.clock = None;
        let wiring = Wiring {
            console: 10,
            kernel: None,
            control: None,
            shares: Vec::new(),
            fast_firmware: None,
            firmware_vars: Some("/run/vars.fd".into()),
        };
        insta::assert_snapshot!("firmware", text(&arguments(&config, &wiring)));
        config.boot = BootSource::Firmware(Firmware::Bios);
        let bios = text(&arguments(&config, &Wiring { firmware_vars: None, ..wiring }));
        assert!(!bios.contains("pflash") && !bios.contains("-bios"), "{bios}");
    }

    #[test]
    fn commas_in_paths_are_quoted_the_way_qemu_reads_them() {
        let value = Value::new("if=none").with("id", "a,b").with_path("file", Path::new("/a,b/,"));
        assert_eq!(value.finish(), "if=none,id=a,,b,file=/a,,b/,,");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
