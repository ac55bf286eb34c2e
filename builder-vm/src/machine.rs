//! The one table of what QEMU is told to be, per architecture and accelerator.
//!
//! Every row is the outcome of a measurement (`docs/benchmarks.md`); the comments say what lost. Nothing else in this
//! crate knows a machine, a CPU or a console by name.
//!
//! Emulated guests have one processor unless asked for more. Package scripts run one after the other, and with a second processor
//! QEMU makes every atomic instruction one that is atomic for the host, too, and each change of the page tables an interruption of
//! the other: two took 1.2 times as long as one for a minimal Debian image, and 1.5 times the host's own processors. More boot with
//! one and the agent starts the others after its hello (`maxcpus=1`): each costs 0.3 to 0.7 s of boot.

use crate::{Accelerator, GuestArch};

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The guest's architecture.
    pub arch: GuestArch,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// File name of the emulator.
    pub emulator: &'static str,
    /// `-accel`.
    pub accel: &'static str,
    /// `-machine`, without the memory backend.
    pub machine: &'static str,
    /// `-machine` for an image that boots by its own firmware.
    pub firmware_machine: &'static str,
    /// `-cpu`.
    pub cpu: &'static str,
    /// Virtual processors when the caller does not say.
    pub cpus: u32,
    /// File name of a firmware that starts a kernel faster than the usual one; used when QEMU has it.
    pub fast_firmware: Option<&'static str>,
    /// The console device in the guest.
    pub console: &'static str,
    /// Kernel parameters that this machine wants beyond those of every machine.
    pub kernel_parameters: &'static str,
    /// Those that it wants with a single processor.
    pub single_cpu_parameters: &'static str,
}

// Translated code: a build makes 120 MB of it. With 64 it is translated anew so seldom that no slowdown was seen, with 32 a build takes a third
// longer.
//
// x86_64. q35 with everything taken out that a kernel would look for in vain. Timers stay: without PIT or HPET the TSC
// calibration of an emulated CPU takes longer than they cost.
const Q35: &str = "q35,smm=off,i8042=off,sata=off,smbus=off,usb=off,vmport=off,graphics=off,nvdimm=off,hpet=off";
// Firmware finds and enters an operating system through more of the machine than a kernel needs.
const Q35_FIRMWARE: &str = "q35,smm=off,vmport=off,graphics=off,usb=off,sata=off";
const VIRT_ARM: &str = "virt,gic-version=3";
const VIRT_RISCV: &str = "virt,acpi=off";

/// Initialisers that serve nothing here and take 10 to 100 ms of emulation each: a self-test of the jitter random source, the keys that
/// module signatures would be checked with, a self-test of a key derivation, `/sys/kernel/slab`, the names of values in trace events and
/// the files of trace events, what programs for the kernel may call. One that a kernel does not have is no mistake.
const SKIPPED: &str = "initcall_blacklist=jent_mod_init,load_system_certificate_list,crypto_kdf108_init,slab_sysfs_init,trace_eval_init,\
                       init_kprobe_trace,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init";

/// The table.
const MACHINES: [Machine; 6] = [
    Machine {
        arch: GuestArch::X86_64,
        accelerator: Accelerator::Tcg,
        emulator: "qemu-system-x86_64",
        accel: "tcg,thread=multi,tb-size=64",
        machine: Q35,
        firmware_machine: Q35_FIRMWARE,
        // Not `max`: the C library of the target then takes its AVX variants, which are emulated lane by lane, and the kernel
        // patches twice as much of itself. RDRAND is what makes the first random number wait for nothing.
        cpu: "Nehalem,+rdrand,+rdseed",
        cpus: 1,
        // Does what PVH needs and no more: 0.15 s less than SeaBIOS under emulation.
        fast_firmware: Some("qboot.rom"),
        console: "ttyS0",
        // Patching lock prefixes out for one processor and back in for two costs more than the prefixes.
        kernel_parameters: "no_timer_check tsc=reliable noreplace-smp maxcpus=1",
        // The local timer's calibration waits for a tenth of a second. The other timer serves one processor as well.
        single_cpu_parameters: "nolapic_timer",
    },
    Machine {
        arch: GuestArch::X86_64,
        accelerator: Accelerator::Kvm,
        emulator: "qemu-system-x86_64",
        accel: "kvm",
        machine: Q35,
        firmware_machine: Q35_FIRMWARE,
        cpu: "host",
        cpus: 4,
        fast_firmware: Some("qboot.rom"),
        console: "ttyS0",
        kernel_parameters: "no_timer_check",
        single_cpu_parameters: "",
    },
    Machine {
        arch: GuestArch::Aarch64,
        accelerator: Accelerator::Tcg,
        emulator: "qemu-system-aarch64",
        accel: "tcg,thread=multi,tb-size=64",
        machine: VIRT_ARM,
        firmware_machine: VIRT_ARM,
        // Not `max`: emulated pointer authentication costs half a second of boot alone. Of those without it, this one has LSE atomics
        // and was never slower than cortex-a57 and a76.
        cpu: "neoverse-n1",
        cpus: 1,
        fast_firmware: None,
        console: "ttyAMA0",
        kernel_parameters: "maxcpus=1",
        single_cpu_parameters: "",
    },
    Machine {
        arch: GuestArch::Aarch64,
        accelerator: Accelerator::Kvm,
        emulator: "qemu-system-aarch64",
        accel: "kvm",
        machine: "virt,gic-version=max",
        firmware_machine: "virt,gic-version=max",
        cpu: "host",
        cpus: 4,
        fast_firmware: None,
        console: "ttyAMA0",
        kernel_parameters: "",
        single_cpu_parameters: "",
    },
    Machine {
        arch: GuestArch::Riscv64,
        accelerator: Accelerator::Tcg,
        emulator: "qemu-system-riscv64",
        accel: "tcg,thread=multi,tb-size=64",
        machine: VIRT_RISCV,
        // The firmware hands over ACPI tables or a device tree, as the machine has them.
        firmware_machine: "virt,acpi=off",
        cpu: "rv64",
        cpus: 1,
        fast_firmware: None,
        console: "ttyS0",
        kernel_parameters: "maxcpus=1",
        single_cpu_parameters: "",
    },
    Machine {
        arch: GuestArch::Riscv64,
        accelerator: Accelerator::Kvm,
        emulator: "qemu-system-riscv64",
        accel: "kvm",
        machine: VIRT_RISCV,
        firmware_machine: "virt,acpi=off",
        cpu: "host",
        cpus: 4,
        fast_firmware: None,
        console: "ttyS0",
        kernel_parameters: "",
        single_cpu_parameters: "",
    },
];

impl Machine {
    /// Returns the kernel parameter that leaves out what is costly to emulate.
    pub(crate) fn skipped(&self) -> &'static str {
        match self.accelerator {
            Accelerator::Tcg => SKIPPED,
            Accelerator::Kvm => "",
        }
    }

    /// Returns the row for an architecture and an accelerator.
    #[must_use]
    pub fn of(arch: GuestArch, accelerator: Accelerator) -> &'static Self {
        let place = match (arch, accelerator) {
            (GuestArch::X86_64, Accelerator::Tcg) => 0,
            (GuestArch::X86_64, Accelerator::Kvm) => 1,
            (GuestArch::Aarch64, Accelerator::Tcg) => 2,
            (GuestArch::Aarch64, Accelerator::Kvm) => 3,
            (GuestArch::Riscv64, Accelerator::Tcg) => 4,
            (GuestArch::Riscv64, Accelerator::Kvm) => 5,
        };
        &MACHINES[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_its_own_row() {
        for arch in GuestArch::ALL {
            for accelerator in [Accelerator::Tcg, Accelerator::Kvm] {
                let machine = Machine::of(arch, accelerator);
                assert_eq!((machine.arch, machine.accelerator), (arch, accelerator));
                assert_eq!(machine.emulator, format!("qemu-system-{arch}"));
                assert!(machine.cpus >= 1);
            }
        }
    }
}
