//! The system files that `oic` itself writes into an image.
//!
//! Few, and each one because an image that is made rather than installed lacks what an installer would have written.

use oic_config::spec::{BootloaderProvider, ImageSpec, Repository, RepositoryFormat, RepositoryKey, RepositoryLocation};
use oic_protocol::{FileContent, FileEntry};

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

/// Returns the files and services that make an image of `spec` with the packages of `lock` a system of its own.
pub(super) fn system_files(spec: &ImageSpec, lock: &LockedImage, cmdline: &str) -> SystemFiles {
    let installed = |name: &str| lock.packages.iter().any(|package| package.name == name);
    let mut system = SystemFiles::default();
    let hostname = spec.system.hostname.as_deref().unwrap_or(&spec.target.os);
    system.files.push(root_file("/etc/hostname", format!("{hostname}\n")));
    system.files.push(root_file(
        "/etc/hosts",
        format!("127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"),
    ));
    if spec.system.kernel.is_some() {
        system.files.push(root_file("/etc/kernel/cmdline", format!("{cmdline}\n")));
    }
    if spec.system.bootloader.is_some_and(|bootloader| bootloader.provider == BootloaderProvider::Grub) {
        let content = format!("# The command line that this image was built with.\nGRUB_CMDLINE_LINUX_DEFAULT=\"{cmdline}\"\n");
        system.files.push(root_file("/etc/default/grub.d/oic.cfg", content));
    }
    if installed("openssh-server") {
        system.files.push(root_file("/etc/systemd/system/oic-ssh-host-keys.service", SSH_HOST_KEYS_UNIT));
        system.enable.push("oic-ssh-host-keys.service".into());
    }
    let configured = spec.system.files.iter().any(|file| file.destination.starts_with("/etc/systemd/network/"));
    let configured = configured || spec.system.network.is_some();
    if installed("systemd") && !configured && !NETWORK_MANAGERS.iter().any(|name| installed(name)) {
        system.files.push(root_file("/etc/systemd/network/80-dhcp.network", DHCP_NETWORK));
    }
    if installed("systemd") && !NETWORK_MANAGERS.iter().any(|name| installed(name)) {
        system.enable.extend(["systemd-networkd.service".into(), "systemd-resolved.service".into()]);
    }
    if installed("apt") {
        let keyring = format!("{}-archive-keyring", spec.target.os);
        let packaged = (installed(&keyring) || installed("ubuntu-keyring")).then(|| format!("/usr/share/keyrings/{keyring}.gpg"));
        system.files.extend(apt_sources(spec, packaged.as_deref()));
    }
    system
}

/// Returns one deb822 source per repository that the image is to list, each bound to its own keys.
///
/// The distribution's own repositories name the keyring that a package keeps up to date, where there is one; every other key
/// is written beside the source.
fn apt_sources(spec: &ImageSpec, packaged_keyring: Option<&str>) -> Vec<FileEntry> {
    let mut files = Vec::new();
    for repository in spec.repositories.iter().filter(|repository| repository.in_image && repository.format == RepositoryFormat::Deb) {
        let RepositoryLocation::Url(url) = &repository.location else { continue };
        let mut source =
            format!("Types: deb\nURIs: {url}\nSuites: {}\nComponents: {}\n", repository.suite, repository.components.join(" "));
        let keyring = packaged_keyring.filter(|_| repository.is_base).map(str::to_owned).or_else(|| {
            let (path, bytes) = written_key(repository)?;
            files.push(root_file(&path, bytes));
            Some(path)
        });
        match keyring {
            Some(path) => source += &format!("Signed-By: {path}\n"),
            None if repository.trusted => source += "Trusted: yes\n",
            None => {}
        }
        files.push(root_file(&format!("/etc/apt/sources.list.d/{}.sources", file_stem(&repository.id)), source));
    }
    files
}

/// Returns where the keys of a repository are written and their bytes, if they are at hand.
fn written_key(repository: &Repository) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    for key in &repository.keys {
        if let RepositoryKey::Embedded { bytes: key, .. } = key {
            bytes.extend_from_slice(key);
        }
    }
    let extension = if bytes.starts_with(b"-----BEGIN") { "asc" } else { "gpg" };
    (!bytes.is_empty()).then(|| (format!("/etc/apt/keyrings/{}.{extension}", file_stem(&repository.id)), bytes))
}

/// Returns a repository's name as part of a file name that apt reads.
fn file_stem(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}
