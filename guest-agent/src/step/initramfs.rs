//! Generates the initramfs of every kernel, once.
//!
//! With [`InitramfsCompression::Host`] the guest packs and the host compresses: compressing is the costliest part under
//! emulation and the one that needs neither root nor the target. initramfs-tools has no switch for that: the agent stands in for
//! its compressors. dracut has one.
//!
//! While a generator runs, the target's filesystem notes every access: the host reads on the disk what an initramfs depends on.

use oic_protocol::{AgentError, InitramfsCompression, InitramfsPlan, KernelReport};

use crate::{
    applet::{COMPRESSORS, FOR_DRACUT},
    exec::Program,
    failure,
    rootfs::{Ownership, Rootfs},
    runner::Context,
    shortcut,
    standin::StandIns,
    target,
};

/// The list of modules that initramfs-tools always includes.
const TOOLS_MODULES: &str = "/etc/initramfs-tools/modules";
/// The same for dracut.
const DRACUT_MODULES: &str = "/etc/dracut.conf.d/90-image-modules.conf";

/// What makes an initramfs in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generator {
    InitramfsTools,
    Dracut,
}

/// Generates.
///
/// # Errors
/// Fails with the generator, or when an initramfs is required and missing afterwards.
pub fn run(plan: &InitramfsPlan, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    let kernels = kernels(rootfs)?;
    if let Some(generator) = find_generator(rootfs) {
        include_modules(generator, &plan.modules, rootfs)?;
        // Not an access of the generator's.
        let etc = rootfs.list("/etc")?;
        target::note_accesses(true)?;
        let mut stand_ins = StandIns::cover(rootfs, &[])?;
        if generator == Generator::Dracut {
            stand_ins = stand_ins.also_keeping_real(&FOR_DRACUT)?;
            stand_ins = stand_ins.also_shortened(&shortcut::DRACUT)?.also_shortened(&shortcut::DRACUT_FUNCTIONS)?;
        } else {
            stand_ins = stand_ins.also_shortened(&shortcut::INITRAMFS)?;
            stand_ins = stand_ins.also_rewritten(shortcut::GENERATOR, |script| shortcut::linker_files(script, &etc))?;
            if plan.compression == InitramfsCompression::Host {
                stand_ins = stand_ins.also_keeping_real(&COMPRESSORS)?;
            }
        }
        for (index, release) in kernels.iter().enumerate() {
            context.shell.events.progress(index, kernels.len(), release);
            generate(generator, release, plan.compression, context)?;
        }
        drop(stand_ins);
        target::note_accesses(false)?;
    }
    check(&kernels, plan.required, context)
}

/// Lists the releases under `/lib/modules` that have a kernel to boot: other packages leave folders there too.
fn kernels(rootfs: &Rootfs) -> Result<Vec<String>, AgentError> {
    let mut releases = rootfs.list("/lib/modules")?;
    releases.retain(|release| {
        let image = |name: &str| rootfs.exists(&format!("/boot/{name}-{release}"));
        image("vmlinuz") || image("vmlinux") || rootfs.exists(&format!("/lib/modules/{release}/vmlinuz"))
    });
    Ok(releases)
}

/// Finds the generator. dracut's package has an `update-initramfs` of its own, so dracut is looked for first.
fn find_generator(rootfs: &Rootfs) -> Option<Generator> {
    if rootfs.exists("/usr/bin/dracut") || rootfs.exists("/usr/sbin/dracut") {
        return Some(Generator::Dracut);
    }
    rootfs.exists("/usr/sbin/mkinitramfs").then_some(Generator::InitramfsTools)
}

/// Where the generators put what they make.
fn initramfs_path(generator: Option<Generator>, release: &str) -> String {
    match generator {
        Some(Generator::Dracut) | None => format!("/boot/initramfs-{release}.img"),
        Some(Generator::InitramfsTools) => format!("/boot/initrd.img-{release}"),
    }
}

/// Writes down the extra modules so that the installed system's own updates include them too.
fn include_modules(generator: Generator, modules: &[String], rootfs: &Rootfs) -> Result<(), AgentError> {
    if modules.is_empty() {
        return Ok(());
    }
    if let Some(odd) = modules
        .iter()
        .find(|module| module.is_empty() || !module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)))
    {
        return Err(failure::invalid_plan(format!("`{odd}` is no name of a kernel module")));
    }
    let (path, text) = match generator {
        Generator::InitramfsTools => (TOOLS_MODULES, with_modules(rootfs.read_text(TOOLS_MODULES)?, modules)),
        Generator::Dracut => (DRACUT_MODULES, format!("add_drivers+=\" {} \"\n", modules.join(" "))),
    };
    rootfs.write_file(path, 0o644, Ownership::ROOT, &mut text.as_bytes()).map(drop)
}

/// Appends the modules that are not listed yet.
fn with_modules(mut text: String, modules: &[String]) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for module in modules {
        if !text.lines().any(|line| line.split_whitespace().next() == Some(module)) {
            text.push_str(module);
            text.push('\n');
        }
    }
    text
}

/// Makes one initramfs anew.
fn generate(
    generator: Generator,
    release: &str,
    compression: InitramfsCompression,
    context: &mut Context<'_, '_, '_>,
) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    let path = initramfs_path(Some(generator), release);
    let program = match generator {
        Generator::InitramfsTools => {
            // `-c` refuses when there is one.
            rootfs.remove(&path)?;
            Program::new(["update-initramfs", "-c", "-k", release])
        }
        Generator::Dracut => {
            // An image for any machine, with nothing of this one.
            let uncompressed = (compression == InitramfsCompression::Host).then_some("--no-compress");
            let options = ["dracut", "--force", "--no-hostonly", "--reproducible", "--quiet"];
            Program::new(options).args(uncompressed).args(["--kver", release]).args([path.as_str()])
        }
    };
    program.check(context.shell).map(drop)
}

/// Records every kernel's initramfs and fails when one is required and missing or empty.
fn check(kernels: &[String], required: bool, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    if required && kernels.is_empty() {
        return Err(failure::post_condition("a kernel is installed", "none below /lib/modules and /boot"));
    }
    for release in kernels {
        let expected = format!("the kernel {release} has an initramfs");
        match find_initramfs(&context.target.rootfs, release) {
            Some((initramfs, size)) if size > 0 => context.kernels.push(KernelReport { release: release.clone(), initramfs }),
            Some((initramfs, _)) => return Err(failure::post_condition(expected, format!("{initramfs} is empty"))),
            None if required => return Err(failure::post_condition(expected, "none in /boot")),
            None => {}
        }
    }
    Ok(())
}

/// Finds a kernel's initramfs under any of the usual names, with its size.
fn find_initramfs(rootfs: &Rootfs, release: &str) -> Option<(String, i64)> {
    [Generator::InitramfsTools, Generator::Dracut].into_iter().find_map(|generator| {
        let path = initramfs_path(Some(generator), release);
        rootfs.stat(&path).map(|facts| (path, facts.st_size))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn target(files: &[&str]) -> (tempfile::TempDir, Rootfs) {
        let scratch = tempfile::tempdir().unwrap();
        for file in files {
            let path = scratch.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let rootfs = Rootfs::open(scratch.path()).unwrap();
        (scratch, rootfs)
    }

    #[test]
    fn a_folder_of_modules_without_a_kernel_is_none() {
        let (_scratch, rootfs) = target(&[
            "lib/modules/6.1.0-9-amd64/modules.dep",
            "boot/vmlinuz-6.1.0-9-amd64",
            "lib/modules/6.12.1-cloud/vmlinuz",
            "lib/modules/6.1.0-8-amd64/updates/dkms/x.ko",
        ]);
        assert_eq!(kernels(&rootfs).unwrap(), ["6.1.0-9-amd64", "6.12.1-cloud"]);
    }

    #[test]
    fn dracut_wins_over_its_own_update_initramfs() {
        assert_eq!(find_generator(&target(&["usr/sbin/update-initramfs", "usr/bin/dracut"]).1), Some(Generator::Dracut));
        assert_eq!(find_generator(&target(&["usr/sbin/mkinitramfs"]).1), Some(Generator::InitramfsTools));
        assert_eq!(find_generator(&target(&["usr/bin/true"]).1), None);
    }

    #[test]
    fn modules_are_appended_once() {
        let modules = ["virtio_net".to_owned(), "dm_verity".to_owned()];
        let text = with_modules("# comment\ndm_verity option=1".into(), &modules);
        assert_eq!(text, "# comment\ndm_verity option=1\nvirtio_net\n");
        assert_eq!(with_modules(text.clone(), &modules), text);
        let (_scratch, rootfs) = target(&["usr/bin/dracut"]);
        assert!(include_modules(Generator::Dracut, &["x\"; rm".into()], &rootfs).is_err());
    }

    #[test]
    fn an_initramfs_is_found_under_either_name() {
        let (_scratch, rootfs) = target(&["boot/initrd.img-1", "boot/initramfs-2.img"]);
        assert_eq!(find_initramfs(&rootfs, "1").unwrap().0, "/boot/initrd.img-1");
        assert_eq!(find_initramfs(&rootfs, "2").unwrap().0, "/boot/initramfs-2.img");
        assert_eq!(find_initramfs(&rootfs, "3"), None);
    }
}
