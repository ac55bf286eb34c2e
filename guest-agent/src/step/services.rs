//! Enables, disables and masks units with the target's `systemctl`, which works on the files alone when no systemd runs.

use oic_protocol::{AgentError, ServicePlan};

use crate::{exec::Program, rootfs::Rootfs, runner::Context};

/// Where units are found, by systemd's rules for the system manager.
const UNIT_FOLDERS: [&str; 4] = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The endings of unit names.
const UNIT_KINDS: [&str; 11] = ["service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice", "scope", "device"];

/// Changes all units that the plan names.
///
/// # Errors
/// Fails with what systemctl says, for example about a unit that does not exist.
pub fn run(plan: &ServicePlan, context: &mut Context<'_, '_, '_>) -> Result<(), AgentError> {
    let present = plan.enable_if_present.iter().filter(|unit| is_present(&context.target.rootfs, unit)).cloned();
    let enable: Vec<String> = plan.enable.iter().cloned().chain(present).collect();
    for (verb, units) in [("enable", &enable), ("disable", &plan.disable), ("mask", &plan.mask)] {
        if !units.is_empty() {
            // `--` because a unit may be called anything.
            Program::new(["systemctl", "--no-pager", "--no-reload", verb, "--"])
                .args(units.iter().map(String::as_str))
                .check(context.shell)?;
        }
    }
    Ok(())
}

/// Returns whether a unit, or the template of an instance, or an init script of that name exists.
fn is_present(rootfs: &Rootfs, unit: &str) -> bool {
    if unit.contains('/') {
        return false;
    }
    let file = unit_file(unit);
    UNIT_FOLDERS.iter().any(|folder| rootfs.is_named(&format!("{folder}/{file}")))
        || file.strip_suffix(".service").is_some_and(|name| rootfs.is_named(&format!("/etc/init.d/{name}")))
}

/// Returns the file that defines a unit: `ssh` is `ssh.service`, `getty@tty1.service` is an instance of `getty@.service`.
fn unit_file(unit: &str) -> String {
    let (stem, kind) = unit.rsplit_once('.').filter(|(_, kind)| UNIT_KINDS.contains(kind)).unwrap_or((unit, "service"));
    match stem.split_once('@') {
        Some((template, _)) => format!("{template}@.{kind}"),
        None => format!("{stem}.{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_by_systemd_s_rules() {
        for (unit, file) in [
            ("ssh", "ssh.service"),
            ("ssh.socket", "ssh.socket"),
            ("getty@tty1.service", "getty@.service"),
            ("dbus-org.freedesktop.timesync1", "dbus-org.freedesktop.timesync1.service"),
            ("serial-getty@ttyS0", "serial-getty@.service"),
        ] {
            assert_eq!(unit_file(unit), file);
        }
        let scratch = tempfile::tempdir().unwrap();
        for file in ["usr/lib/systemd/system/ssh.service", "etc/init.d/cron", "usr/lib/systemd/system/getty@.service"] {
            let path = scratch.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let rootfs = Rootfs::open(scratch.path()).unwrap();
        for unit in ["ssh", "ssh.service", "cron", "getty@tty1.service"] {
            assert!(is_present(&rootfs, unit), "{unit}");
        }
        for unit in ["sshd", "cron.timer", "../../../../etc/init.d/cron"] {
            assert!(!is_present(&rootfs, unit), "{unit}");
        }
    }
}
