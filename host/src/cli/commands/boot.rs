//! `oic boot`: starts an image as its users will, with firmware and a console; the image is never changed.
//!
//! An image that is an initramfs (`NAME.initrd`, compressed or not) is started by the kernel and with the command line beside it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use oic_builder_vm::{Accelerator, BootConfig, BootSource, BootedVm, Cancel, ConsoleOutput, ConsoleSink, DiskFormat, Network, TerminalEnd};
use oic_config::spec::{Arch, BootType};

use super::build::interrupted;
use crate::{
    artifact::{CMDLINE_SUFFIX, INITRD_SUFFIX, KERNEL_SUFFIX, open::OpenedImage},
    boot::EfiNames,
    build::{
        self,
        progress::{Event, Level, Observer as _, Stage, stage},
    },
    cli::{
        Context,
        args::ProgressMode,
        command_error::{CommandError, Hint},
        exit_code::ExitCode,
        interrupt,
        progress::{Progress, text},
        settings::BootSettings,
    },
    disk::gpt_read::root_arch,
    inspect::firmware::{self, Startable},
    report::manifest::{BuildManifest, MANIFEST_FILE_NAME},
    toolchain::guest_arch,
};

/// What a login prompt on the console looks like.
const LOGIN_PROMPT: &str = "login: ";

/// Memory of the VM where the user names none.
const DEFAULT_MEMORY_MIB: u32 = 1024;

/// How long `--check` waits for the prompt where the user does not say.
const PATIENCE_KVM: Duration = Duration::from_secs(120);
const PATIENCE_TCG: Duration = Duration::from_secs(900);

/// A kernel takes no longer command line.
const CMDLINE_LIMIT: u64 = 1 << 16;

/// A manifest is never larger.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// Why a file cannot be booted.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    /// It cannot be read.
    #[error("cannot read the image `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Machines of its architecture have no BIOS.
    #[error("the image `{}` is for {arch}, and only machines of x86_64 have BIOS firmware", path.display())]
    NoBios {
        /// The file.
        path: PathBuf,
        /// Its architecture.
        arch: Arch,
    },
    /// BIOS finds nothing on it.
    #[error("the image `{}` has no boot code that BIOS firmware starts", path.display())]
    NotForBios {
        /// The file.
        path: PathBuf,
        /// Whether UEFI firmware would start it.
        has_efi: bool,
    },
    /// No firmware finds anything on it.
    #[error(
        "no firmware of {arch} starts the image `{}`: it has no EFI/BOOT/{} on a FAT filesystem{}",
        path.display(),
        EfiNames::of(*arch).removable,
        if *arch == Arch::X86_64 { " and no boot code for BIOS" } else { "" }
    )]
    NotStartable {
        /// The file.
        path: PathBuf,
        /// The architecture that was looked for.
        arch: Arch,
        /// Architectures that it has programs for.
        others: Vec<Arch>,
    },
    /// An initramfs has no use for firmware.
    #[error("`{}` is an initramfs, which the kernel beside it starts without firmware", path.display())]
    NoFirmware {
        /// The file.
        path: PathBuf,
    },
    /// It has to be decompressed first.
    #[error("the image `{}` is compressed", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The program that decompresses it.
        program: &'static str,
    },
}

impl Hint for ImageError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreadable { .. } => Vec::new(),
            Self::NoBios { .. } | Self::NoFirmware { .. } | Self::NotForBios { has_efi: true, .. } => vec!["leave --bios out".to_owned()],
            Self::NotForBios { .. } => Vec::new(),
            Self::NotStartable { others, .. } => others.iter().map(|arch| format!("there is one for {arch}: try --arch {arch}")).collect(),
            Self::Compressed { path, program } => vec![format!("decompress it first: `{program} -dk {}`", path.display())],
        }
    }
}

/// Boots an image: on the terminal, or with `check` until it asks for a login.
pub(crate) fn boot(settings: &BootSettings, context: &Context) -> Result<(), CommandError> {
    let cancel = interrupt::listen(&context.printer)?;
    let mode = context.settings.progress.value;
    // Without `--check`, standard output belongs to the console.
    let mode = if mode == ProgressMode::Json && !settings.check { ProgressMode::None } else { mode };
    let progress = Progress::start(mode, &context.printer, context.clock, context.log.clone());
    let result = run(settings, context, &cancel, &progress);
    let result = result.map_err(|error| if cancel.is_cancelled() { interrupted() } else { error });
    progress.finish(result.as_ref().err());
    result
}

fn run(settings: &BootSettings, context: &Context, cancel: &Cancel, progress: &Arc<Progress>) -> Result<(), CommandError> {
    let initramfs = initramfs(&settings.image);
    let format = if initramfs.is_some() { DiskFormat::Raw } else { detect_format(&settings.image)? };
    let found = if initramfs.is_some() { None } else { startable(&settings.image, context)? };
    let arch = settings.arch.unwrap_or_else(|| detect_arch(&settings.image, format, found.as_ref()));
    let options = context.settings.host_options(settings.offline, cancel.clone());
    let observer = progress.image("");
    if settings.bios && initramfs.is_some() {
        return Err(CommandError::new(ExitCode::Usage, ImageError::NoFirmware { path: settings.image.clone() }));
    }
    if settings.bios && arch != Arch::X86_64 {
        let error = ImageError::NoBios { path: settings.image.clone(), arch };
        return Err(CommandError::new(ExitCode::Usage, error));
    }
    // QEMU loads kernels without any firmware of its own.
    let boot_type = if initramfs.is_some() {
        BootType::Legacy
    } else {
        let (boot_type, said) =
            firmware(&settings.image, found.as_ref(), arch, settings.bios).map_err(|error| CommandError::new(ExitCode::Usage, error))?;
        observer.event(&Event::Message { level: Level::Note, text: &said });
        boot_type
    };
    let (emulator, firmware, accelerator) = build::boot_tools(&options, (arch, boot_type), &observer)?;
    let usual_memory = if initramfs.is_some() { initramfs_memory(&settings.image) } else { DEFAULT_MEMORY_MIB };
    let config = BootConfig {
        arch: guest_arch(arch),
        accelerator,
        qemu: emulator.qemu,
        boot: initramfs.unwrap_or(BootSource::Firmware(firmware)),
        image: settings.image.clone(),
        format,
        cpus: settings.cpus,
        memory_mib: settings.memory_mib.unwrap_or(usual_memory),
        network: Network::User,
    };
    let base = &context.settings.temp_dir.value;
    if settings.check {
        let timeout = settings.timeout.unwrap_or(match accelerator {
            Accelerator::Kvm => PATIENCE_KVM,
            Accelerator::Tcg => PATIENCE_TCG,
        });
        let image = config.image.display().to_string();
        let elapsed = stage(&observer, Stage::Vm, || Ok::<_, CommandError>((check(config, base, timeout, context, cancel)?, false)))?;
        let line = format!("{image} asks for a login after {}", text::duration(elapsed));
        if progress.owns_stdout() {
            context.printer.note(&line);
        } else {
            context.printer.result(&line)?;
        }
        Ok(())
    } else {
        // The display must not draw over the console.
        progress.suspend();
        on_terminal(config, base, context, cancel)
    }
}

/// Returns what firmware finds on an image; none where that cannot be told: it may still boot.
fn startable(image: &Path, context: &Context) -> Result<Option<Startable>, CommandError> {
    let Ok(opened) = OpenedImage::open(image, &context.settings.work_dir.value) else { return Ok(None) };
    let unreadable = |source| CommandError::new(ExitCode::Usage, ImageError::Unreadable { path: image.to_owned(), source });
    firmware::startable(&opened).map_err(unreadable)
}

/// Returns the firmware that starts an image, and a line that says so. Without `bios`, UEFI is taken wherever it finds something.
fn firmware(image: &Path, found: Option<&Startable>, arch: Arch, bios: bool) -> Result<(BootType, String), ImageError> {
    let path = || image.to_owned();
    let Some(found) = found else {
        let boot_type = if bios { BootType::Legacy } else { BootType::Efi };
        return Ok((boot_type, format!("firmware: {}", if bios { "BIOS" } else { "UEFI" })));
    };
    let has_efi = found.efi.contains(&arch);
    match (bios, found.bios && arch == Arch::X86_64) {
        (true, true) => Ok((BootType::Legacy, "firmware: BIOS".to_owned())),
        (true, false) => Err(ImageError::NotForBios { path: path(), has_efi }),
        (false, true) if has_efi => Ok((BootType::Efi, "firmware: UEFI; the image has boot code for BIOS too (--bios)".to_owned())),
        (false, false) if has_efi => Ok((BootType::Efi, "firmware: UEFI".to_owned())),
        (false, true) => {
            let name = EfiNames::of(arch).removable;
            Ok((BootType::Legacy, format!("firmware: BIOS, for the image has boot code and no EFI/BOOT/{name}")))
        }
        (false, false) => Err(ImageError::NotStartable { path: path(), arch, others: found.efi.clone() }),
    }
}

/// Boots until the console asks for a login, and returns how long that took.
fn check(config: BootConfig, base: &Path, timeout: Duration, context: &Context, cancel: &Cancel) -> Result<Duration, CommandError> {
    let start = Instant::now();
    let log = context.log.clone();
    let sink = log.map(|log| -> ConsoleSink { Box::new(move |bytes| log.raw(bytes)) });
    let mut vm = BootedVm::start(config, ConsoleOutput { file: None, sink }, base)?;
    vm.expect(LOGIN_PROMPT, timeout, cancel)?;
    Ok(start.elapsed())
}

/// Boots with the console on the terminal, until the VM ends or the user leaves.
fn on_terminal(config: BootConfig, base: &Path, context: &Context, cancel: &Cancel) -> Result<(), CommandError> {
    context.printer.note("the console follows; Ctrl-] ends it, and the image stays as it is");
    let printer = context.printer.clone();
    let closed = cancel.clone();
    let sink: ConsoleSink = Box::new(move |bytes| {
        // Nobody reads any more.
        if printer.raw_result(bytes).is_err() {
            closed.cancel();
        }
    });
    let vm = BootedVm::start(config, ConsoleOutput { file: None, sink: Some(sink) }, base)?;
    match vm.attach_terminal(cancel)? {
        TerminalEnd::Cancelled => Err(interrupted()),
        TerminalEnd::Left => Ok(()),
        TerminalEnd::PoweredOff(status) if status.success() => Ok(()),
        TerminalEnd::PoweredOff(status) => Err(CommandError::message(ExitCode::Host, format!("QEMU ended with {status}"))),
    }
}

/// Returns what starts an image that is an initramfs: named as builds name them, with its kernel beside it.
fn initramfs(image: &Path) -> Option<BootSource> {
    let name = image.file_name()?.to_str()?;
    let (base, compression) = name.rsplit_once(INITRD_SUFFIX)?;
    let beside = |suffix| image.with_file_name(format!("{base}{suffix}"));
    let kernel = beside(KERNEL_SUFFIX);
    if !["", ".gz", ".xz", ".zst"].contains(&compression) || !kernel.is_file() {
        return None;
    }
    let cmdline = File::open(beside(CMDLINE_SUFFIX)).ok().and_then(|file| io::read_to_string(file.take(CMDLINE_LIMIT)).ok());
    Some(BootSource::Initramfs { kernel, initramfs: image.to_owned(), cmdline: cmdline.unwrap_or_default().trim().to_owned() })
}

/// Returns the memory in MiB that a system in an initramfs needs: its files take no more than half of it, and the archive is there
/// beside them until it is unpacked.
fn initramfs_memory(image: &Path) -> u32 {
    let size = std::fs::metadata(image).map_or(0, |metadata| metadata.len()) >> 20;
    let is_compressed = image.extension().is_none_or(|extension| extension != "initrd");
    // Compressed, systems have a quarter of their size.
    let unpacked = if is_compressed { size * 4 } else { size };
    let needed = (512 + size + 2 * unpacked).next_multiple_of(256);
    u32::try_from(needed).unwrap_or(u32::MAX).max(DEFAULT_MEMORY_MIB)
}

/// Returns the format of an image by its first bytes, and its last.
fn detect_format(path: &Path) -> Result<DiskFormat, CommandError> {
    let unreadable = |source| CommandError::new(ExitCode::Usage, ImageError::Unreadable { path: path.to_owned(), source });
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head).map_err(unreadable)?;
    let mut tail = Vec::new();
    if file.seek(SeekFrom::End(-512)).is_ok() {
        file.take(512).read_to_end(&mut tail).map_err(unreadable)?;
    }
    match format_of(&head, &tail) {
        Ok(format) => Ok(format),
        Err(program) => Err(CommandError::new(ExitCode::Usage, ImageError::Compressed { path: path.to_owned(), program })),
    }
}

/// Returns the format that the first and the last 512 bytes show, or the program that decompresses the file.
fn format_of(head: &[u8], tail: &[u8]) -> Result<DiskFormat, &'static str> {
    const COMPRESSED: [(&[u8], &str); 4] = [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];
    const FORMATS: [(&[u8], DiskFormat); 4] = [
        (b"QFI\xfb", DiskFormat::Qcow2),
        (b"KDMV", DiskFormat::Vmdk),
        (b"# Disk DescriptorFile", DiskFormat::Vmdk),
        (b"vhdxfile", DiskFormat::Vhdx),
    ];
    if let Some((_, program)) = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(program);
    }
    if let Some((_, format)) = FORMATS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(*format);
    }
    if head.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Ok(DiskFormat::Vdi);
    }
    Ok(if tail.starts_with(b"conectix") { DiskFormat::Vpc } else { DiskFormat::Raw })
}

/// Returns the architecture of an image: what its root partition says, else the manifest beside it, else its only EFI program, else
/// its name; where nothing tells, this machine's.
fn detect_arch(image: &Path, format: DiskFormat, found: Option<&Startable>) -> Arch {
    let own = File::open(image).ok().filter(|_| format == DiskFormat::Raw).and_then(|disk| root_arch(&disk));
    if let Some(arch) = own {
        return arch;
    }
    let manifest = image.with_file_name(MANIFEST_FILE_NAME);
    let text = File::open(manifest).ok().and_then(|file| io::read_to_string(file.take(MANIFEST_LIMIT)).ok());
    let stated =
        text.and_then(|text| serde_json::from_str::<BuildManifest>(&text).ok()).and_then(|manifest| Arch::from_name(&manifest.image.arch));
    let only = found.and_then(|found| if let [arch] = found.efi[..] { Some(arch) } else { None });
    stated.or(only).unwrap_or_else(|| arch_in_name(&image.to_string_lossy()).unwrap_or_else(Arch::host))
}

/// Returns the architecture that a path names, the one nearest to its end.
fn arch_in_name(path: &str) -> Option<Arch> {
    Arch::ALL.into_iter().filter_map(|arch| Some((path.rfind(arch.name())?, arch))).max_by_key(|(at, _)| *at).map(|(_, arch)| arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_bytes() {
        let mut vdi = vec![0; 512];
        vdi[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
        for (head, tail, format) in [
            (&b"QFI\xfb\0\0\0\x03"[..], &b""[..], Ok(DiskFormat::Qcow2)),
            (b"KDMV", b"", Ok(DiskFormat::Vmdk)),
            (b"vhdxfile", b"", Ok(DiskFormat::Vhdx)),
            (&vdi, b"", Ok(DiskFormat::Vdi)),
            (b"\0\0", b"conectix", Ok(DiskFormat::Vpc)),
            (b"\0\0", b"\0", Ok(DiskFormat::Raw)),
            (b"", b"", Ok(DiskFormat::Raw)),
            (b"\x28\xb5\x2f\xfdxx", b"", Err("zstd")),
            (b"\x1f\x8b\x08", b"", Err("gzip")),
        ] {
            assert_eq!(format_of(head, tail), format);
        }
    }

    #[test]
    fn an_initramfs_is_known_by_the_kernel_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a-1.initrd.zst"), "").unwrap();
        assert_eq!(initramfs(&at("a-1.initrd.zst")), None);
        std::fs::write(at("a-1.vmlinuz"), "").unwrap();
        std::fs::write(at("a-1.cmdline"), "console=ttyS0\n").unwrap();
        let expected =
            BootSource::Initramfs { kernel: at("a-1.vmlinuz"), initramfs: at("a-1.initrd.zst"), cmdline: "console=ttyS0".to_owned() };
        assert_eq!(initramfs(&at("a-1.initrd.zst")), Some(expected));
        assert_eq!(initramfs(&at("a-1.initrd.bz2")), None);
        assert_eq!(initramfs(&at("a-1.raw")), None);
    }

    #[test]
    fn the_firmware_follows_from_what_is_on_the_disk() {
        let on = |bios, efi: &[Arch]| Some(Startable { bios, efi: efi.to_vec() });
        let x86 = [Arch::X86_64];
        let line = |found: Option<Startable>, arch, bios| {
            firmware(Path::new("a.raw"), found.as_ref(), arch, bios).map_or_else(|error| error.to_string(), |(_, said)| said)
        };
        let lines = [
            line(None, Arch::X86_64, false),
            line(None, Arch::X86_64, true),
            line(on(false, &x86), Arch::X86_64, false),
            line(on(true, &x86), Arch::X86_64, false),
            line(on(true, &x86), Arch::X86_64, true),
            line(on(true, &[]), Arch::X86_64, false),
            line(on(false, &x86), Arch::X86_64, true),
            line(on(false, &x86), Arch::Aarch64, false),
            line(on(false, &[]), Arch::X86_64, false),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        firmware: UEFI
        firmware: BIOS
        firmware: UEFI
        firmware: UEFI; the image has boot code for BIOS too (--bios)
        firmware: BIOS
        firmware: BIOS, for the image has boot code and no EFI/BOOT/BOOTX64.EFI
        the image `a.raw` has no boot code that BIOS firmware starts
        no firmware of aarch64 starts the image `a.raw`: it has no EFI/BOOT/BOOTAA64.EFI on a FAT filesystem
        no firmware of x86_64 starts the image `a.raw`: it has no EFI/BOOT/BOOTX64.EFI on a FAT filesystem and no boot code for BIOS
        ");
        let error = firmware(Path::new("a.raw"), on(false, &x86).as_ref(), Arch::Aarch64, false).unwrap_err();
        assert_eq!(error.hints(), ["there is one for x86_64: try --arch x86_64"]);
    }

    #[test]
    fn names_tell_the_architecture() {
        assert_eq!(arch_in_name("out/x86_64/a-1-aarch64/a.raw"), Some(Arch::Aarch64));
        assert_eq!(arch_in_name("disk.img"), None);
    }
}
