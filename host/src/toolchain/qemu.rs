//! The emulator of an architecture and the firmware that images of it boot with: the host's where they are good enough, else
//! those of a tool set. And whether KVM can be used with it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use oic_builder_vm::{Accelerator, Cancel, Firmware, GuestArch, KvmVerdict, Machine, Qemu, probe_kvm};
use oic_config::spec::Arch;

use super::{ToolError, Tools};
use crate::{digest::Sha256Digest, env, exec, store::Store};

/// The oldest QEMU that is used, as major and minor version.
const OLDEST: (u32, u32) = (7, 2);

/// An emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// How it is started.
    pub qemu: Qemu,
    /// What it is, for people: `/usr/bin/qemu-system-x86_64 10.0`, or the package.
    pub description: String,
}

/// Returns the guest architecture that an image's is.
#[must_use]
pub fn guest_arch(arch: Arch) -> GuestArch {
    match arch {
        Arch::X86_64 => GuestArch::X86_64,
        Arch::Aarch64 => GuestArch::Aarch64,
        Arch::Riscv64 => GuestArch::Riscv64,
    }
}

/// Returns the emulator that `OIC_QEMU` names, or the one on the path, if it is new enough.
#[must_use]
pub fn host_emulator(arch: Arch) -> Option<Emulator> {
    let name = Machine::of(guest_arch(arch), Accelerator::Tcg).emulator;
    let path = env::get(env::OIC_QEMU).map(PathBuf::from).filter(|path| path.file_name().is_some_and(|file| file == name));
    let path = path.or_else(|| {
        let folders = env::get("PATH")?;
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
    })?;
    let version = version(&path)?;
    let qemu = Qemu { argv: vec![path.clone().into()], env: Vec::new(), data_dirs: Vec::new() };
    (version >= OLDEST).then(|| Emulator { qemu, description: format!("{} {}.{}", path.display(), version.0, version.1) })
}

/// A program as it was when it was asked: path, size and time of last change.
type ProgramFile = (PathBuf, u64, i64);

/// Versions of programs by path, size and time of last change.
static VERSIONS: Mutex<BTreeMap<ProgramFile, Option<(u32, u32)>>> = Mutex::new(BTreeMap::new());

/// Returns the version of a QEMU. Starting one takes a tenth of a second, so each is asked once.
fn version(path: &Path) -> Option<(u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    let key = (path.to_owned(), metadata.size(), metadata.mtime());
    let mut versions = VERSIONS.lock().unwrap_or_else(PoisonError::into_inner);
    *versions.entry(key).or_insert_with(|| ask_version(path))
}

/// Asks a QEMU for its version.
fn ask_version(path: &Path) -> Option<(u32, u32)> {
    let output = exec::run(Command::new(path).arg("--version")).ok()?;
    parse_version(&String::from_utf8(output).ok()?)
}

/// Reads `QEMU emulator version 7.2.18 (Debian …)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split("version ").nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Finds out whether KVM runs guests of an architecture on a host of another or the same one, and remembers answers that last: until the machine is started again, or the emulator
/// or the access to the device changes.
#[must_use]
pub fn kvm_verdict(store: &Store, (host, arch): (Arch, Arch), emulator: &Emulator, runtime_base: &Path, cancel: &Cancel) -> KvmVerdict {
    if host != arch {
        return KvmVerdict::Unusable { reason: format!("this machine is not {arch}"), fix: None, lasting: true };
    }
    let ask = || probe_kvm(&emulator.qemu, guest_arch(arch), runtime_base, cancel);
    let Some(circumstances) = circumstances(emulator) else { return ask() };
    let record = format!("kvm-verdict-{arch}");
    if let Some(verdict) = store.record(&record).and_then(|bytes| parse_verdict(&bytes, circumstances)) {
        return verdict;
    }
    let verdict = ask();
    // Not remembering costs a tenth of a second next time.
    if verdict.is_lasting()
        && let Err(error) = store.set_record(&record, render_verdict(&verdict, circumstances).as_bytes())
    {
        tracing::debug!(%error, "cannot remember what the probe found");
    }
    verdict
}

/// Returns a digest of everything that an answer depends on. None: there is no device, and nothing to remember.
fn circumstances(emulator: &Emulator) -> Option<Sha256Digest> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let device = fs::metadata("/dev/kvm").ok()?;
    let mut text = format!("{boot} {} {} {:o} {:?}", device.uid(), device.gid(), device.mode(), rustix::process::geteuid());
    for word in &emulator.qemu.argv {
        let file = fs::metadata(word).map(|file| (file.size(), file.mtime(), file.ino())).ok();
        text.push_str(&format!(" {word:?} {file:?}"));
    }
    Some(Sha256Digest::of(text.as_bytes()))
}

/// Writes an answer: the circumstances, then the reason against KVM if there is one.
fn render_verdict(verdict: &KvmVerdict, circumstances: Sha256Digest) -> String {
    match verdict {
        KvmVerdict::Usable => format!("{circumstances}\n"),
        KvmVerdict::Unusable { reason, .. } => format!("{circumstances}\n{reason}\n"),
    }
}

/// Reads an answer that was given under the same circumstances.
fn parse_verdict(bytes: &[u8], circumstances: Sha256Digest) -> Option<KvmVerdict> {
    let text = std::str::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix(&format!("{circumstances}\n"))?;
    Some(match rest.trim_end() {
        "" => KvmVerdict::Usable,
        reason => KvmVerdict::Unusable { reason: reason.to_owned(), fix: None, lasting: true },
    })
}

impl Tools {
    /// Returns the emulator of a tool set.
    ///
    /// # Errors
    /// Fails when it is not there.
    pub fn emulator(&self, arch: Arch) -> Result<Emulator, ToolError> {
        let name = Machine::of(guest_arch(arch), Accelerator::Tcg).emulator;
        let program = self.program(&format!("usr/bin/{name}"))?;
        let data = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"].map(|folder| self.folder().join(folder));
        let data_dirs = data.into_iter().filter(|folder| folder.is_dir()).collect();
        Ok(Emulator { qemu: Qemu { argv: program.argv, env: program.env, data_dirs }, description: format!("{name}, unpacked by oic") })
    }

    /// Returns the UEFI firmware of a tool set.
    ///
    /// # Errors
    /// Fails when it is not there.
    pub fn firmware(&self, arch: Arch) -> Result<Firmware, ToolError> {
        let (code, vars) = match arch {
            Arch::X86_64 => ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
            Arch::Aarch64 => ("usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_VARS.fd"),
            Arch::Riscv64 => ("usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"),
        };
        Ok(Firmware::Uefi { code: self.file(code)?, vars: self.file(vars)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_qemu_prints_them() {
        assert_eq!(parse_version("QEMU emulator version 7.2.18 (Debian 1:7.2+dfsg-7+deb12u16)\nCopyright"), Some((7, 2)));
        assert_eq!(parse_version("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(parse_version("bash: no such thing"), None);
        assert!((10, 0) > OLDEST && (7, 1) < OLDEST);
    }

    #[test]
    fn answers_are_remembered_for_the_circumstances_they_were_given_under() {
        let (here, elsewhere) = (Sha256Digest::of(b"here"), Sha256Digest::of(b"elsewhere"));
        let unusable = KvmVerdict::Unusable { reason: "QEMU says: no".to_owned(), fix: None, lasting: true };
        for verdict in [KvmVerdict::Usable, unusable] {
            let text = render_verdict(&verdict, here);
            assert_eq!(parse_verdict(text.as_bytes(), here), Some(verdict));
            assert_eq!(parse_verdict(text.as_bytes(), elsewhere), None);
        }
        assert_eq!(parse_verdict(b"", here), None);
        assert_eq!(parse_verdict(b"\xff", here), None);
    }
}
