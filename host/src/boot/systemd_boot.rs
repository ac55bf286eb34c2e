//! systemd-boot on the EFI system partition, with a unified kernel image or with a plain entry
//! (UAPI Group specification 1).

use std::{fs::File, path::Path};

use oic_config::spec::Arch;

use super::{
    BootError, BootKernel, EfiNames, OsRelease, required,
    uki::{self, UkiInput},
};
use crate::rootfs::{
    content::Content,
    tree::{Metadata, RootTree},
};

/// What is started, and how.
#[derive(Debug)]
pub struct SystemdBootInput<'a> {
    /// The root filesystem.
    pub root: &'a RootTree,
    /// Its architecture.
    pub arch: Arch,
    /// The kernels to offer, the first one being the default.
    pub kernels: &'a [BootKernel],
    /// The kernel command line with `root=`.
    pub cmdline: &'a str,
    /// Whether kernel, initramfs and command line become one file.
    pub unified_image: bool,
    /// A folder of the host for files that the tree refers to. They must stay until the partition is made.
    pub work_folder: &'a Path,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
}

/// Returns the tree of an EFI system partition that starts the kernels.
///
/// # Errors
/// Fails when the target lacks the boot programs or a kernel, or files cannot be read or written.
pub fn esp_tree(input: &SystemdBootInput<'_>) -> Result<RootTree, BootError> {
    let names = EfiNames::of(input.arch);
    let os = OsRelease::read(input.root);
    let mut esp = RootTree::new(Metadata::root_owned(0o755, input.epoch));
    let program = format!("systemd-boot{}.efi", names.suffix);
    let content = required(input.root, &format!("/usr/lib/systemd/boot/efi/{program}"), "systemd-boot-efi")?;
    let mut put = |path: &str, content: Content| esp.write_file(path, content, 0o644, input.epoch).map(|_| ());
    put(&format!("EFI/systemd/{program}"), content.clone())?;
    put(&format!("EFI/BOOT/{}", names.removable), content.clone())?;
    put("loader/entries.srel", Content::bytes(b"type1\n".to_vec()))?;
    let default = input.kernels.first().ok_or(BootError::NoKernel)?;
    let ending = if input.unified_image { "efi" } else { "conf" };
    let configuration = format!("timeout 1\ndefault {}-{}.{ending}\n", os.id, default.release);
    put("loader/loader.conf", Content::bytes(configuration.into_bytes()))?;
    for kernel in input.kernels {
        let image = required(input.root, &kernel.kernel, "linux-image")?;
        let initramfs = kernel.initramfs.as_ref().map(|path| required(input.root, path, "initramfs-tools")).transpose()?;
        let name = format!("{}-{}", os.id, kernel.release);
        if input.unified_image {
            put(&format!("EFI/Linux/{name}.efi"), unified(input, kernel, &os, &name)?)?;
            continue;
        }
        put(&format!("{}/{}/linux", os.id, kernel.release), image.clone())?;
        let mut entry = format!("title {}\nversion {}\nlinux /{}/{}/linux\n", os.name, kernel.release, os.id, kernel.release);
        if let Some(initramfs) = initramfs {
            put(&format!("{}/{}/initrd", os.id, kernel.release), initramfs.clone())?;
            entry.push_str(&format!("initrd /{}/{}/initrd\n", os.id, kernel.release));
        }
        entry.push_str(&format!("options {}\n", input.cmdline));
        put(&format!("loader/entries/{name}.conf"), Content::bytes(entry.into_bytes()))?;
    }
    Ok(esp)
}

/// Makes the unified kernel image of a kernel, as a file in the work folder.
fn unified(input: &SystemdBootInput<'_>, kernel: &BootKernel, os: &OsRelease, name: &str) -> Result<Content, BootError> {
    let stub_path = format!("/usr/lib/systemd/boot/efi/linux{}.efi.stub", EfiNames::of(input.arch).suffix);
    let stub = super::read(required(input.root, &stub_path, "systemd-boot-efi")?, &stub_path)?;
    let initramfs = kernel.initramfs.as_ref().map(|path| required(input.root, path, "initramfs-tools").cloned()).transpose()?;
    let payload = UkiInput {
        os_release: os.text.clone(),
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
