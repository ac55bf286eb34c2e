//! What makes a root filesystem a distribution for WSL 2: two configuration files, and units that would work against WSL switched
//! off.
//!
//! `wsl.conf` belongs to the user of the distribution, `wsl-distribution.conf` to its maker. WSL brings the network and
//! `/etc/resolv.conf`, `/tmp` and the sockets in it for graphics: units of systemd that set these up are masked unless the
//! template enables one by name.

use std::fmt::Write as _;

use oic_config::spec::ImageSpec;
use oic_protocol::{FileContent, FileEntry};

use super::files::root_file;

/// Units that set up what WSL has set up before.
const MASKED: [&str; 9] = [
    "NetworkManager.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-tmpfiles-clean.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "tmp.mount",
];

/// Returns the files of a distribution for WSL. The user who is not root and comes first is the one whom WSL logs in.
pub(super) fn files(spec: &ImageSpec, has_systemd: bool) -> Vec<FileEntry> {
    let mut text = String::new();
    if has_systemd {
        text += "[boot]\nsystemd=true\n";
    }
    if let Some(user) = spec.system.users.iter().find(|user| user.name != "root") {
        let _ = write!(text, "[user]\ndefault={}\n", user.name);
    }
    if let Some(hostname) = &spec.system.hostname {
        let _ = write!(text, "[network]\nhostname={hostname}\n");
    }
    let mut files =
        vec![root_file("/etc/wsl.conf", text), root_file("/etc/wsl-distribution.conf", format!("[oobe]\ndefaultName = {}\n", spec.name))];
    if has_systemd {
        let wanted = &spec.system.services.enable;
        let masked = MASKED.into_iter().filter(|unit| !wanted.iter().any(|name| name == unit));
        files.extend(masked.map(|unit| FileEntry {
            content: FileContent::Symlink("/dev/null".into()),
            ..root_file(&format!("/etc/systemd/system/{unit}"), "")
        }));
    }
    files
}
