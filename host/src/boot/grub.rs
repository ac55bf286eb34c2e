//! GRUB on EFI: the boot programs for the EFI system partition and the menu for `/boot`.
//!
//! Where the target has the distribution's signed programs they are used as they are: firmware starts shim, shim starts
//! GRUB, and GRUB reads `grub.cfg` from the folder that was built into it, `EFI/<distribution>`. Otherwise `grub-mkimage`
//! makes an image from the modules in the target. Both ways that first `grub.cfg` only finds the filesystem with `/boot` by
//! its UUID and goes on with the menu there. Output goes to the firmware's console, which includes the serial line where
//! the machine has one.

use std::path::Path;

use oic_config::spec::Arch;
use uuid::Uuid;

use super::{BootError, BootKernel, EfiNames, OsRelease, files_below, required};
use crate::{
    exec::{self, Program},
    rootfs::{
        content::Content,
        tree::{Metadata, RootTree},
    },
};

/// Modules of an image that is made here: enough to find `/boot`, show a menu and start Linux.
const MODULES: [&str; 30] = [
    "all_video",
    "boot",
    "btrfs",
    "cat",
    "chain",
    "configfile",
    "echo",
    "efifwsetup",
    "ext2",
    "fat",
    "font",
    "gfxterm",
    "gzio",
    "halt",
    "help",
    "linux",
    "loadenv",
    "ls",
    "lvm",
    "minicmd",
    "normal",
    "part_gpt",
    "part_msdos",
    "reboot",
    "regexp",
    "search",
    "search_fs_uuid",
    "sleep",
    "test",
    "xfs",
];
/// The modules that other modules and the menu need, where the platform has them.
const OPTIONAL_MODULES: [&str; 3] = ["serial", "terminal", "true"];

/// What is started, and how.
#[derive(Debug)]
pub struct GrubInput<'a> {
    /// The root filesystem, with `/boot`.
    pub root: &'a RootTree,
    /// Its architecture.
    pub arch: Arch,
    /// The kernels to offer, the first one being the default.
    pub kernels: &'a [BootKernel],
    /// The kernel command line with `root=`.
    pub cmdline: &'a str,
    /// UUID of the filesystem that `/boot` is on.
    pub boot_filesystem: Uuid,
    /// Whether `/boot` is a filesystem of its own.
    pub boot_is_separate: bool,
    /// `grub-mkimage`, needed where the target has no signed programs.
    pub mkimage: Option<&'a Program>,
    /// A folder of the host for files that the tree refers to. They must stay until the partition is made.
    pub work_folder: &'a Path,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
}

impl GrubInput<'_> {
    /// Returns a path under `/boot` as GRUB finds it on that filesystem.
    fn on_boot<'p>(&self, path: &'p str) -> &'p str {
        if self.boot_is_separate { path.strip_prefix("/boot").unwrap_or(path) } else { path }
    }
}

/// Returns the tree of an EFI system partition that starts the menu in `/boot/grub/grub.cfg`.
///
/// # Errors
/// Fails when the target has neither signed programs nor modules, or files cannot be read or written.
pub fn esp_tree(input: &GrubInput<'_>) -> Result<RootTree, BootError> {
    let names = EfiNames::of(input.arch);
    let os = OsRelease::read(input.root);
    let mut esp = RootTree::new(Metadata::root_owned(0o755, input.epoch));
    let mut put = |path: &str, content: Content| esp.write_file(path, content, 0o644, input.epoch).map(|_| ());
    let finder = format!(
        "search.fs_uuid {} root\nset prefix=($root){}\nconfigfile $prefix/grub.cfg\n",
        input.boot_filesystem,
        input.on_boot("/boot/grub")
    );
    let finder = Content::bytes(finder.into_bytes());
    let shim = input.root.file(format!("/usr/lib/shim/shim{}.efi.signed", names.suffix));
    let grub_path = format!("/usr/lib/grub/{}-signed/grub{}.efi.signed", names.grub_platform, names.suffix);
    match (shim, input.root.file(&grub_path)) {
        (shim, Some(grub)) => {
            // Without shim GRUB is what firmware starts; with it, shim looks for GRUB beside itself.
            let first = shim.unwrap_or(grub);
            put(&format!("EFI/BOOT/{}", names.removable), first.clone())?;
            for folder in ["BOOT", &os.id] {
                put(&format!("EFI/{folder}/grub{}.efi", names.suffix), grub.clone())?;
                put(&format!("EFI/{folder}/grub.cfg"), finder.clone())?;
            }
            if let Some(shim) = shim {
                put(&format!("EFI/{}/shim{}.efi", os.id, names.suffix), shim.clone())?;
                let manager = format!("/usr/lib/shim/mm{}.efi.signed", names.suffix);
                if let Some(manager) = input.root.file(manager) {
                    put(&format!("EFI/BOOT/mm{}.efi", names.suffix), manager.clone())?;
                }
            }
        }
        (_, None) => {
            let image = make_image(input, &names, &os)?;
            put(&format!("EFI/BOOT/{}", names.removable), image.clone())?;
            put(&format!("EFI/{}/grub{}.efi", os.id, names.suffix), image)?;
            put(&format!("EFI/{}/grub.cfg", os.id), finder)?;
        }
    }
    Ok(esp)
}

/// Makes a GRUB image from the modules of the target.
fn make_image(input: &GrubInput<'_>, names: &EfiNames, os: &OsRelease) -> Result<Content, BootError> {
    let mkimage = input.mkimage.ok_or(BootError::NoGrubTool)?;
    let source = format!("/usr/lib/grub/{}", names.grub_platform);
    let package = format!("grub-efi-{}-bin", input.arch.deb_name());
    required(input.root, &format!("{source}/kernel.img"), &package)?;
    let modules = input.work_folder.join("grub-modules");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BootError::Write { path: path.clone(), source }
    };
    std::fs::create_dir_all(&modules).map_err(failed(&modules))?;
    for (name, content) in files_below(input.root, &source) {
        let path = modules.join(&name);
        std::fs::write(&path, super::read(&content, &format!("{source}/{name}"))?).map_err(failed(&path))?;
    }
    let (early, output) = (input.work_folder.join("grub-early.cfg"), input.work_folder.join(format!("grub{}.efi", names.suffix)));
    // Firmware may start the image from any device, so it looks for itself.
    let text = format!(
        "set prefix=($root)/EFI/{0}\nif [ ! -e $prefix/grub.cfg ]; then search --file --set=root /EFI/{0}/grub.cfg; fi\nset prefix=($root)/EFI/{0}\n",
        os.id
    );
    std::fs::write(&early, text).map_err(failed(&early))?;
    let mut command = mkimage.command();
    command.arg("-d").arg(&modules).args(["-O", names.grub_platform, "-p", &format!("/EFI/{}", os.id), "-c"]).arg(&early);
    command.arg("-o").arg(&output).env("LC_ALL", "C.UTF-8").env("SOURCE_DATE_EPOCH", input.epoch.to_string());
    command.args(MODULES.iter().chain(&OPTIONAL_MODULES).filter(|name| modules.join(format!("{name}.mod")).exists()));
    exec::run(&mut command)?;
    Content::whole_file(&output).map_err(failed(&output))
}

/// Returns the menu, `/boot/grub/grub.cfg`.
#[must_use]
pub fn menu(input: &GrubInput<'_>) -> String {
    let os = OsRelease::read(input.root);
    let mut menu = "set default=0\nset timeout=1\n".to_owned();
    for kernel in input.kernels {
        // Quotes would end the title; nothing else means anything inside single ones.
        let title = os.name.replace('\'', "");
        menu.push_str(&format!("\nmenuentry '{title}, {}' --class os {{\n", kernel.release));
        menu.push_str(&format!("\tsearch --no-floppy --fs-uuid --set=root {}\n", input.boot_filesystem));
        menu.push_str(&format!("\tlinux {} {}\n", input.on_boot(&kernel.kernel), input.cmdline));
        if let Some(initramfs) = &kernel.initramfs {
            menu.push_str(&format!("\tinitrd {}\n", input.on_boot(initramfs)));
        }
        menu.push_str("}\n");
    }
    menu
}
