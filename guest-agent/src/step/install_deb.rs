//! Configures the packages that the host has unpacked.
//!
//! ```text
//! preinst    `preinst install` of the packages that have one and need it, their Pre-Depends configured before
//! unpack     dpkg unpacks the packages that divert files of others
//! configure  one run of dpkg over all packages in the plan's order, triggers at its end
//! ```
//!
//! While scripts run, the agent stands in for what must not happen in an image under construction: services are not started,
//! no host keys are made, and no initramfs is, because its own step makes it once, when everything is there.

use std::{collections::BTreeSet, path::Path};

use oic_protocol::{AgentError, AgentErrorKind, DebInstall, ScriptedPackage, StoreBlob};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{
    dpkg::{Dpkg, Progress},
    status::{self, ADMIN, INSTALLED},
};
use crate::{
    applet::{CA_CERTIFICATES, UNIT_HELPER},
    exec::Program,
    failure,
    rootfs::{Handle, Rootfs},
    runner::Context,
    shortcut,
    standin::StandIns,
    target::STORE_INSIDE,
};

/// Programs that have no effect while packages are configured.
const WITHOUT_EFFECT: [&str; 5] = ["update-initramfs", "mkinitramfs", "dracut", "ssh-keygen", "start-stop-daemon"];
/// Forbids the actions of init scripts while it exists.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs.
///
/// # Errors
/// Fails with the package and the script, or with what dpkg says.
pub fn run(install: &DebInstall, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let rootfs = &context.target.rootfs;
    let _journal = ScratchJournal::mount(rootfs)?;
    let mut progress = Progress::new(install.configure.len());
    // dpkg replaces files by renaming, which a mount on them would refuse: no stand-ins while it unpacks.
    {
        let _stand_ins = stand_in(rootfs)?;
        run_preinsts(install, context, &mut progress)?;
    }
    unpack(&install.unpack, context, &mut progress)?;
    let _stand_ins = stand_in(rootfs)?;
    let status = status::read(rootfs)?;
    configure(&unconfigured(&install.configure, &status), &[], context, &mut progress)
}

/// Leaves out what is configured already, which dpkg would call an error.
fn unconfigured<'p>(packages: &'p [String], status: &str) -> Vec<&'p str> {
    let entries = status::entries(status);
    let installed: BTreeSet<&str> = entries.iter().filter(|entry| entry.state == INSTALLED).map(|entry| entry.package).collect();
    let is_installed = |name: &str| {
        // A package of two architectures is the rare case that takes a closer look.
        installed.contains(name.split(':').next().unwrap_or(name))
            && entries.iter().any(|entry| entry.is_called(name) && entry.state == INSTALLED)
    };
    packages.iter().map(String::as_str).filter(|name| !is_installed(name)).collect()
}

/// Covers the programs that must do nothing.
fn stand_in(rootfs: &Rootfs) -> Result<StandIns<'_>, AgentError> {
    StandIns::cover(rootfs, &WITHOUT_EFFECT)?
        .also(POLICY)?
        .also_keeping_real(&[CA_CERTIFICATES, UNIT_HELPER])?
        .also_shortened(&shortcut::CERTIFICATES)
}

/// Has dpkg configure packages.
fn configure(packages: &[&str], options: &[&str], context: &mut Context<'_, '_, '_>, progress: &mut Progress) -> Result<(), AgentError> {
    if packages.is_empty() {
        return Ok(());
    }
    Dpkg::new("--configure").args(options.iter().copied()).args(packages.iter().copied()).run(context.shell, progress)
}

/// Runs the scripts in order, configuring in as few runs of dpkg as can be what they need configured.
fn run_preinsts(install: &DebInstall, context: &mut Context<'_, '_, '_>, progress: &mut Progress) -> Result<(), AgentError> {
    let dpkg_version = running_version(&status::read(&context.target.rootfs)?);
    let mut configured = BTreeSet::new();
    for (index, package) in install.preinst.iter().enumerate() {
        let needed = needed_before(&install.preinst[index..], &configured);
        // What these depend on in turn may still be unconfigured: unpacked, it serves.
        configure(&needed, &["--force-depends"], context, progress)?;
        configured.extend(needed);
        preinst(package, &dpkg_version, context)?;
    }
    Ok(())
}

/// Returns what must be configured before the first of these scripts and may as well be for later ones.
fn needed_before<'p>(scripts: &'p [ScriptedPackage], configured: &BTreeSet<&'p str>) -> Vec<&'p str> {
    let Some(first) = scripts.first() else { return Vec::new() };
    let missing = |package: &'p ScriptedPackage| {
        package.after.iter().map(String::as_str).filter(|name| !configured.contains(name)).collect::<Vec<_>>()
    };
    let mut needed = missing(first);
    if needed.is_empty() {
        return needed;
    }
    // A package whose own script has not run yet cannot be configured.
    let waiting: BTreeSet<&str> = scripts.iter().map(|package| package.name.as_str()).collect();
    for later in &scripts[1..] {
        needed.extend(missing(later).into_iter().filter(|name| !waiting.contains(name)));
    }
    let mut seen = BTreeSet::new();
    needed.retain(|name| seen.insert(*name));
    needed
}

/// Runs one script as dpkg would.
fn preinst(package: &ScriptedPackage, dpkg_version: &str, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    if package.name.contains('/') {
        return Err(failure::invalid_plan(format!("`{}` is no package name", package.name)));
    }
    let ended = context.shell.run(&preinst_program(package, dpkg_version), None)?;
    if ended.succeeded() {
        return Ok(());
    }
    let kind = AgentErrorKind::PackageScript { package: package.name.clone(), script: "preinst".into(), exit_code: ended.exit_code };
    Err(AgentError { kind, output: ended.output })
}

/// Returns the script with dpkg's environment for a first installation.
fn preinst_program(package: &ScriptedPackage, dpkg_version: &str) -> Program {
    let name = package.name.split_once(':').map_or(package.name.as_str(), |(name, _)| name);
    Program::new([format!("{ADMIN}/info/{}.preinst", package.name).as_str(), "install"])
        .env("DPKG_MAINTSCRIPT_PACKAGE", name)
        // debconf would look for the name where dpkg has a package that it is unpacking, and then write `unknown` into its database.
        .env("DEBCONF_PACKAGE", name)
        .env("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1")
        .env("DPKG_MAINTSCRIPT_ARCH", package.architecture.as_str())
        .env("DPKG_MAINTSCRIPT_NAME", "preinst")
        .env("DPKG_MAINTSCRIPT_DEBUG", "0")
        .env("DPKG_RUNNING_VERSION", dpkg_version)
        .env("DPKG_ADMINDIR", ADMIN)
        .env("DPKG_ROOT", "")
        .env("DPKG_COLORS", "never")
}

/// Returns dpkg's own version as it gives it to scripts: that of its package without a revision.
fn running_version(status: &str) -> String {
    let paragraph = status.split("\n\n").find(|paragraph| paragraph.lines().any(|line| line == "Package: dpkg"));
    let version = paragraph.and_then(|paragraph| paragraph.lines().find_map(|line| line.strip_prefix("Version: "))).unwrap_or_default();
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    version.rsplit_once('-').map_or(version, |(version, _)| version).to_owned()
}

/// Has dpkg unpack packages from the store.
fn unpack(packages: &[StoreBlob], context: &mut Context<'_, '_, '_>, progress: &mut Progress) -> Result<(), AgentError> {
    if packages.is_empty() {
        return Ok(());
    }
    if context.target.store.is_none() {
        return Err(failure::invalid_plan("packages are to be unpacked, and the plan has no store"));
    }
    let paths: Vec<String> = packages.iter().map(|package| format!("{STORE_INSIDE}/{}", package.path)).collect();
    // Where a package stands in the order is the host's decision; what it depends on is unpacked at least.
    let dpkg = Dpkg::new("--unpack").args(["--force-depends", "--no-triggers"]);
    dpkg.args(paths.iter().map(String::as_str)).run(context.shell, progress)
}

/// A tmpfs where dpkg keeps the journal of its database.
///
/// dpkg writes and syncs a small file there at each change of a package's state. The disk is worth nothing unless dpkg ends
/// well, and then the journal is empty.
struct ScratchJournal(Option<Handle>);

impl ScratchJournal {
    fn mount(rootfs: &Rootfs) -> Result<Self, AgentError> {
        let folder = format!("{ADMIN}/updates");
        rootfs.make_folders(&folder)?;
        if !rootfs.list(&folder)?.is_empty() {
            // Somebody's journal: dpkg must see it.
            return Ok(Self(None));
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let place = rootfs.handle(&folder)?;
        mount("tmpfs", place.path(), "tmpfs", flags, Some(c"mode=0755")).map_err(|error| failure::system("mount", &folder, error))?;
        rootfs.handle(&folder).map(|mounted| Self(Some(mounted)))
    }
}

impl Drop for ScratchJournal {
    fn drop(&mut self) {
        if let Some(mounted) = &self.0 {
            // One that stays is taken down with the target.
            let _ = unmount(Path::new(&mounted.path()), UnmountFlags::DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_already_is_not_asked_for_again() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\nPackage: man-db\nStatus: install ok triggers-pending\nArchitecture: amd64\n";
        let names = ["libc6:amd64", "libc6", "libc6:i386", "man-db", "bash"].map(str::to_owned);
        assert_eq!(unconfigured(&names, status), ["libc6:i386", "man-db", "bash"]);
    }

    fn scripted(name: &str, after: &[&str]) -> ScriptedPackage {
        ScriptedPackage { name: name.into(), architecture: "amd64".into(), after: after.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn dpkg_s_version_is_read_from_its_own_entry() {
        let status = "Package: dpkg-dev\nVersion: 9\n\nPackage: dpkg\nEssential: yes\nVersion: 1.22.21\n\nPackage: x\nVersion: 1\n";
        assert_eq!(running_version(status), "1.22.21");
        assert_eq!(running_version("Package: dpkg\nVersion: 1:1.21.22+b1-0ubuntu2\n"), "1.21.22+b1");
        assert_eq!(running_version(""), "");
    }

    #[test]
    fn pre_depends_are_configured_together_but_never_before_their_own_script() {
        let scripts = [
            scripted("libc6:amd64", &[]),
            scripted("dash", &["libc6:amd64"]),
            scripted("dbus", &["init-system-helpers", "libc6:amd64"]),
            scripted("login", &["login.defs", "dbus"]),
        ];
        let mut configured = BTreeSet::new();
        assert!(needed_before(&scripts, &configured).is_empty());
        let needed = needed_before(&scripts[1..], &configured);
        assert_eq!(needed, ["libc6:amd64", "init-system-helpers", "login.defs"]);
        configured.extend(needed);
        assert!(needed_before(&scripts[2..], &configured).is_empty());
        assert_eq!(needed_before(&scripts[3..], &configured), ["dbus"]);
    }

    #[test]
    fn a_script_runs_with_the_names_that_dpkg_gives() {
        let program = preinst_program(&scripted("libc6:amd64", &[]), "1.22.21");
        assert_eq!(program.argv(), ["/var/lib/dpkg/info/libc6:amd64.preinst", "install"]);
        let text = format!("{program:?}");
        for pair in [
            r#"("DPKG_MAINTSCRIPT_PACKAGE", "libc6")"#,
            r#"("DPKG_MAINTSCRIPT_ARCH", "amd64")"#,
            r#"("DPKG_MAINTSCRIPT_NAME", "preinst")"#,
            r#"("DPKG_RUNNING_VERSION", "1.22.21")"#,
            r#"("DPKG_ADMINDIR", "/var/lib/dpkg")"#,
            r#"("DPKG_ROOT", "")"#,
        ] {
            assert!(text.contains(pair), "{pair} in {text}");
        }
    }
}
