//! The system files that `oic` itself writes into an image.
//!
//! Few, and each one because an image that is made rather than installed lacks what an installer would have written.

use oic_config::spec::{BootloaderProvider, Ecosystem, ImageSpec, ImageType, System};
use oic_protocol::{FileContent, FileEntry};

use super::{
    sources::{self, RepositoryKeys},
    wsl,
};
use crate::lock::LockedImage;

/// Programs that configure the network themselves: where one is installed, `oic` leaves the network to it.
const NETWORK_MANAGERS: [&str; 6] = ["network-manager", "ifupdown", "ifupdown-ng", "netplan.io", "cloud-init", "connman"];

/// Creates the host keys of sshd at the first boot, since keys that are in an image are everybody's.
const SSH_HOST_KEYS_UNIT: &str = "\
[Unit]
Description=Create the SSH host keys of this machine
Before=ssh.service ssh.socket sshd.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
";

/// Asks for an address by DHCP and router advertisements on every wired interface.
const DHCP_NETWORK: &str = "\
[Match]
Type=ether

[Network]
DHCP=yes
";

/// What `oic` adds to the template's own files and services.
#[derive(Debug, Default)]
pub(super) struct SystemFiles {
    /// Files to write.
    pub(super) files: Vec<FileEntry>,
    /// Units to enable when they exist.
    pub(super) enable: Vec<String>,
}

/// Returns a file owned by root with mode 0644.
pub(super) fn root_file(path: &str, content: impl Into<Vec<u8>>) -> FileEntry {
    let content = FileContent::Inline(content.into());
    FileEntry { path: path.to_owned(), content, mode: 0o644, owner: "root".into(), group: "root".into() }
}

/// Returns whether systemd-networkd runs. cloud-init writes what networkd reads, and starts nothing by itself.
fn runs_networkd(installed: &impl Fn(&str) -> bool) -> bool {
    installed("systemd") && !NETWORK_MANAGERS.iter().any(|name| *name != "cloud-init" && installed(name))
}

/// Returns what rpm must know when it installs updates: which files of packages the image leaves out.
fn rpm_macros(system: &System) -> Option<String> {
    let docs = (!system.package_docs).then(|| "%_excludedocs 1\n".to_owned());
    let languages = system.package_languages.as_ref().map(|languages| format!("%_install_langs {languages}\n"));
    let text: String = docs.into_iter().chain(languages).collect();
    (!text.is_empty()).then(|| format!("# What this image leaves out of packages.\n{text}"))
}

/// Returns the files and services that make an image of `spec` with the packages of `lock` a system of its own.
pub(super) fn system_files(spec: &ImageSpec, lock: &LockedImage, keys: &RepositoryKeys, cmdline: &str) -> SystemFiles {
    let installed = |name: &str| lock.packages.iter().any(|package| package.name == name);
    let mut system = SystemFiles::default();
    // Containers and WSL have their names, and what they are reached by, from what runs them.
    let is_whole = spec.target.image_type.has_kernel();
    if is_whole {
        let hostname = spec.system.hostname.as_deref().unwrap_or(&spec.target.os);
        system.files.push(root_file("/etc/hostname", format!("{hostname}\n")));
        system.files.push(root_file(
            "/etc/hosts",
            format!("127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"),
        ));
    }
    if spec.target.image_type == ImageType::Wsl2 {
        system.files.extend(wsl::files(spec, installed("systemd-sysv") || installed("systemd")));
    }
    if spec.system.kernel.is_some() {
        system.files.push(root_file("/etc/kernel/cmdline", format!("{cmdline}\n")));
    }
    if spec.system.bootloader.is_some_and(|bootloader| bootloader.provider == BootloaderProvider::Grub) {
        let (path, variable) = match spec.provider.ecosystem {
            Ecosystem::Deb => ("/etc/default/grub.d/oic.cfg", "GRUB_CMDLINE_LINUX_DEFAULT"),
            // The file that installers of these distributions write; no folder of such files is read.
            Ecosystem::Rpm => ("/etc/default/grub", "GRUB_CMDLINE_LINUX"),
        };
        system.files.push(root_file(path, format!("# The command line that this image was built with.\n{variable}=\"{cmdline}\"\n")));
    }
    if let Some(disk) = spec.disk.as_ref().filter(|disk| disk.grows_at_first_boot)
        && let Some(last) = disk.partitions.last()
    {
        // What systemd-repart finds for it, the partition that is there, it makes as large as the disk lets it.
        let content = format!("# The last partition of the image grows over the disk.\n[Partition]\nType={}\n", last.kind.guid());
        system.files.push(root_file("/etc/repart.d/50-last-partition.conf", content));
    }
    if installed("openssh-server") {
        system.files.push(root_file("/etc/systemd/system/oic-ssh-host-keys.service", SSH_HOST_KEYS_UNIT));
        system.enable.push("oic-ssh-host-keys.service".into());
    }
    let configured = spec.system.files.iter().any(|file| file.destination.starts_with("/etc/systemd/network/"));
    let configured = configured || spec.system.network.is_some();
    if is_whole && installed("systemd") && !configured && !NETWORK_MANAGERS.iter().any(|name| installed(name)) {
        system.files.push(root_file("/etc/systemd/network/80-dhcp.network", DHCP_NETWORK));
    }
    if is_whole && runs_networkd(&installed) {
        system.enable.extend(["systemd-networkd.service".into(), "systemd-resolved.service".into()]);
    }
    system.files.extend(spec.system.written.iter().map(|file| root_file(&file.path, file.text.clone())));
    system.files.extend(rpm_macros(&spec.system).map(|text| root_file("/etc/rpm/macros.image", text)));
    system.files.extend(sources::files(spec, keys, &installed));
    system
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networkd_runs_where_nothing_else_brings_the_network_up() {
        let runs = |packages: &[&str]| runs_networkd(&|name: &str| packages.contains(&name));
        assert!(runs(&["systemd"]));
        assert!(runs(&["systemd", "cloud-init"]), "cloud-init configures it");
        assert!(!runs(&["systemd", "cloud-init", "netplan.io"]));
        assert!(!runs(&["systemd", "network-manager"]));
        assert!(!runs(&["cloud-init"]));
    }
}
