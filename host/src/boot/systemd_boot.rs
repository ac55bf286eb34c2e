//! systemd-boot on the EFI system partition, with unified kernel images or with plain entries (UAPI Group specification 1),
//! which are on the extended boot loader partition where there is one.

use std::fs::File;

use super::{
    BootError, BootInput, BootKernel, EfiNames, required,
    uki::{self, UkiInput},
};
use crate::rootfs::{
    content::Content,
    tree::{Metadata, RootTree},
};

/// The trees of the partitions that firmware and systemd-boot read.
#[derive(Debug)]
pub struct BootTrees {
    /// The EFI system partition.
    pub esp: RootTree,
    /// The extended boot loader partition, with the kernels; none: they are on the EFI system partition.
    pub xbootldr: Option<RootTree>,
}

/// Where kernels and their entries go.
#[derive(Debug, Clone, Copy)]
pub struct KernelPlace<'a> {
    /// Whether there is an extended boot loader partition.
    pub is_xbootldr: bool,
    /// Where the system mounts the partition: kernels that packages put there are started from where they are.
    pub mount_point: Option<&'a str>,
}

/// Returns the trees of the partitions that start the kernels.
///
/// # Errors
/// Fails when the target lacks the boot programs or a kernel, or files cannot be read or written.
pub fn trees(input: &BootInput<'_>, place: KernelPlace<'_>) -> Result<BootTrees, BootError> {
    let names = EfiNames::of(input.arch);
    let empty = || RootTree::new(Metadata::root_owned(0o755, input.epoch));
    let mut esp = empty();
    let program = format!("systemd-boot{}.efi", names.suffix);
    let content = required(input.root, &format!("/usr/lib/systemd/boot/efi/{program}"), "systemd-boot-efi")?;
    let put = |tree: &mut RootTree, path: &str, content: Content| tree.write_file(path, content, 0o644, input.epoch).map(|_| ());
    put(&mut esp, &format!("EFI/systemd/{program}"), content.clone())?;
    put(&mut esp, &format!("EFI/BOOT/{}", names.removable), content.clone())?;
    let default = input.kernels.first().ok_or(BootError::NoKernel)?;
    let ending = if input.unified_image { "efi" } else { "conf" };
    let configuration = format!("timeout 1\ndefault {}-{}.{ending}\n", input.os.id, default.release);
    put(&mut esp, "loader/loader.conf", Content::bytes(configuration.into_bytes()))?;
    let mut xbootldr = place.is_xbootldr.then(empty);
    let holder = xbootldr.as_mut().unwrap_or(&mut esp);
    put(holder, "loader/entries.srel", Content::bytes(b"type1\n".to_vec()))?;
    for kernel in input.kernels {
        let name = format!("{}-{}", input.os.id, kernel.release);
        if input.unified_image {
            put(holder, &format!("EFI/Linux/{name}.efi"), unified(input, kernel, &name)?)?;
            continue;
        }
        // What is on the partition anyway is not put there again.
        let on_partition = |path: &str| place.mount_point.and_then(|mount_point| path.strip_prefix(mount_point)).map(str::to_owned);
        let mut bring = |path: &str, package: &str, name: &str| -> Result<String, BootError> {
            let content = required(input.root, path, package)?;
            if let Some(path) = on_partition(path).filter(|path| path.starts_with('/')) {
                return Ok(path);
            }
            let target = format!("/{}/{}/{name}", input.os.id, kernel.release);
            put(holder, &target, content.clone())?;
            Ok(target)
        };
        let linux = bring(&kernel.kernel, "linux-image", "linux")?;
        let mut entry = format!("title {}\nversion {}\nlinux {linux}\n", input.os.name, kernel.release);
        if let Some(initramfs) = &kernel.initramfs {
            entry.push_str(&format!("initrd {}\n", bring(initramfs, "initramfs-tools", "initrd")?));
        }
        entry.push_str(&format!("options {}\n", input.cmdline));
        put(holder, &format!("loader/entries/{name}.conf"), Content::bytes(entry.into_bytes()))?;
    }
    Ok(BootTrees { esp, xbootldr })
}

/// Makes the unified kernel image of a kernel, as a file in the work folder.
pub(super) fn unified(input: &BootInput<'_>, kernel: &BootKernel, name: &str) -> Result<Content, BootError> {
    let stub_path = format!("/usr/lib/systemd/boot/efi/linux{}.efi.stub", EfiNames::of(input.arch).suffix);
    let stub = super::read(required(input.root, &stub_path, "systemd-boot-efi")?, &stub_path)?;
    let initramfs = kernel.initramfs.as_ref().map(|path| required(input.root, path, "initramfs-tools").cloned()).transpose()?;
    let payload = UkiInput {
        os_release: input.os.text.clone(),
        cmdline: input.cmdline.to_owned(),
        release: kernel.release.clone(),
        initramfs,
        kernel: required(input.root, &kernel.kernel, "linux-image")?.clone(),
    };
    let path = input.work_folder.join(format!("{name}.efi"));
    let failed = |source| BootError::Write { path: path.clone(), source };
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed)?);
    uki::assemble(&stub, &payload, &mut file).map_err(|error| match error {
        uki::UkiError::Stub(reason) => BootError::Program { path: stub_path.clone(), reason },
        uki::UkiError::TooLarge => BootError::Program { path: kernel.kernel.clone(), reason: "it and its initramfs are larger than 4 GiB" },
        uki::UkiError::Io(source) => failed(source),
    })?;
    file.into_inner().map_err(|error| failed(error.into_error()))?;
    Content::whole_file(&path).map_err(failed)
}
