//! Measures the time from starting QEMU to the agent's hello, run by run, and the memory of the processes beside the guest.
//!
//! ```text
//! boot_time ARCH ACCELERATOR RUNS KERNEL INITRAMFS QEMU-COMMAND-LINE…
//! ```
//!
//! The environment: `CPUS`, `MEMORY` (MiB), `SHARE` (a folder), `DISK` (a raw file), `PARAMETERS` (kernel), `DATA` (`-L`), `CONSOLE` (print it).

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write as _},
    process::ExitCode,
};

use oic_builder_vm::{
    Accelerator, BootSource, Cancel, ConsoleOutput, Deadlines, Disk, DiskAccess, DiskFormat, GuestArch, Launched, Network, Prepared, Qemu,
    Share, VmConfig, virtiofs_main,
};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).peekable();
    if words.next_if(|word| word == "__virtiofsd").is_some() {
        return virtiofs_main(words);
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measuring program of developers, not part of the product")]
fn setting(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn measure() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [arch, accelerator, runs, kernel, initramfs, qemu @ ..] = words.as_slice() else {
        return Err("usage: boot_time ARCH ACCELERATOR RUNS KERNEL INITRAMFS QEMU-COMMAND-LINE…".into());
    };
    let disk = |path: String| Disk { path: path.into(), format: DiskFormat::Raw, access: DiskAccess::Write };
    let config = VmConfig {
        arch: GuestArch::from_name(arch).ok_or("unknown architecture")?,
        accelerator: if accelerator == "kvm" { Accelerator::Kvm } else { Accelerator::Tcg },
        qemu: Qemu {
            argv: qemu.iter().map(Into::into).collect(),
            env: Vec::new(),
            data_dirs: setting("DATA").into_iter().map(Into::into).collect(),
        },
        cpus: setting("CPUS").map(|text| text.parse()).transpose()?,
        memory_mib: setting("MEMORY").map_or(Ok(1024), |text| text.parse())?,
        boot: BootSource::Kernel {
            kernel: kernel.into(),
            initramfs: initramfs.into(),
            parameters: setting("PARAMETERS").unwrap_or_default(),
        },
        disks: setting("DISK").map(disk).into_iter().collect(),
        shares: setting("SHARE").map(|path| Share { tag: "store".to_owned(), path: path.into() }).into_iter().collect(),
        share_server: vec![env::current_exe()?.into(), "__virtiofsd".into()],
        network: Network::None,
        clock: Some(1_767_225_600),
    };
    let mut out = io::stdout();
    let mut times = Vec::new();
    for _ in 0..runs.parse::<u32>()? {
        let launched = Prepared::new(config.clone(), &env::temp_dir())?.launch(ConsoleOutput::default())?;
        let connected = match launched.connect(Deadlines::of(config.accelerator), &Cancel::new()?) {
            Ok(connected) => connected,
            Err(error) => {
                return Err(format!("{error}: {}", error.console().map_or_else(String::new, ToString::to_string)).into());
            }
        };
        let (time, hello) = (connected.boot_time(), connected.hello());
        let memory = memory(connected.launched());
        writeln!(out, "{:.3} s, kernel's own {:.3} s, {memory}", time.as_secs_f64(), hello.uptime_ms as f64 / 1000.0)?;
        if setting("CONSOLE").is_some() {
            writeln!(out, "{}", connected.launched().console().tail().join("\n"))?;
        }
        times.push(time);
    }
    times.sort();
    writeln!(out, "median {:.3} s", times[times.len() / 2].as_secs_f64())?;
    Ok(())
}

/// Tells what each process takes besides the guest's memory, which is the shared part of QEMU when there is a share.
fn memory(launched: &Launched) -> String {
    let of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned());
        [("anonymous", "RssAnon:"), ("file", "RssFile:"), ("shared", "RssShmem:")]
            .map(|(word, name)| format!("{word} {}", field(name).unwrap_or_default()))
            .join(", ")
    };
    let servers: Vec<_> = launched.server_ids().into_iter().map(of).collect();
    format!("QEMU: {}; servers: {}", launched.vmm_id().map(of).unwrap_or_default(), servers.join(" | "))
}
