//! Locale, time zone and network: what the template says in one word and the system reads from files.

use std::fmt::Write as _;

use oic_config::spec::{Ecosystem, ImageSpec, Interface, Network, NetworkBackend};
use oic_protocol::{FileContent, FileEntry, LocalePlan};

use super::{files::root_file, plan::LowerError};
use crate::lock::LockedImage;

/// Locales that every C library has without any data.
const BUILT_IN_LOCALES: [&str; 4] = ["C", "POSIX", "C.UTF-8", "C.utf8"];

/// What the settings come to.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Files to write.
    pub(super) files: Vec<FileEntry>,
    /// The locale to generate.
    pub(super) locale: Option<LocalePlan>,
    /// Paths that must be there in the end.
    pub(super) must_exist: Vec<String>,
}

/// Returns what locale, time zone and network come to.
///
/// # Errors
/// Fails when a package is missing that a setting needs.
pub(super) fn settings(spec: &ImageSpec, lock: &LockedImage) -> Result<Settings, LowerError> {
    let mut settings = Settings::default();
    if let Some(name) = &spec.system.locale {
        locale(name, spec, lock, &mut settings)?;
    }
    if let Some(zone) = &spec.system.timezone {
        require(lock, format!("timezone: {zone}"), &["tzdata"])?;
        let target = FileContent::Symlink(format!("../usr/share/zoneinfo/{zone}"));
        settings.files.push(FileEntry { content: target, ..root_file("/etc/localtime", "") });
        if spec.provider.ecosystem == Ecosystem::Deb {
            settings.files.push(root_file("/etc/timezone", format!("{zone}\n")));
        }
        settings.must_exist.push(format!("/usr/share/zoneinfo/{zone}"));
    }
    if let Some(network) = &spec.system.network {
        settings.files.extend(self::network(network, lock)?);
    }
    Ok(settings)
}

/// Fails when none of the packages is installed.
fn require(lock: &LockedImage, setting: String, any: &[&str]) -> Result<(), LowerError> {
    if lock.packages.iter().any(|package| any.contains(&package.name.as_str())) {
        return Ok(());
    }
    let package = any.first().copied().unwrap_or_default().to_owned();
    Err(LowerError::PackageMissing { setting, package, packages: lock.packages.len() })
}

fn locale(name: &str, spec: &ImageSpec, lock: &LockedImage, settings: &mut Settings) -> Result<(), LowerError> {
    settings.files.push(root_file("/etc/locale.conf", format!("LANG={name}\n")));
    if spec.provider.ecosystem == Ecosystem::Deb {
        // Where Debian's login looks; newer releases make it a link to the file above.
        settings.files.push(root_file("/etc/default/locale", format!("LANG={name}\n")));
    }
    if BUILT_IN_LOCALES.contains(&name) {
        return Ok(());
    }
    let setting = format!("locale: {name}");
    match spec.provider.ecosystem {
        Ecosystem::Deb => {
            require(lock, setting, &["locales", "locales-all"])?;
            if !lock.packages.iter().any(|package| package.name == "locales-all") {
                settings.locale = Some(LocalePlan { line: format!("{name} {}", character_set(name)) });
            }
        }
        Ecosystem::Rpm => {
            let language = name.split(['_', '.', '@']).next().unwrap_or(name);
            let pack = format!("glibc-langpack-{language}");
            require(lock, setting, &[&pack, "glibc-all-langpacks", "glibc-i18n", "glibc-lang"])?;
        }
    }
    Ok(())
}

/// Returns the character set of a locale as `/etc/locale.gen` writes it: without one in the name it is the language's old one.
fn character_set(name: &str) -> &str {
    let after = name.split_once('.').map_or("ISO-8859-1", |(_, rest)| rest);
    let set = after.split('@').next().unwrap_or(after);
    if set.eq_ignore_ascii_case("utf8") { "UTF-8" } else { set }
}

fn network(network: &Network, lock: &LockedImage) -> Result<Vec<FileEntry>, LowerError> {
    match network.backend {
        NetworkBackend::SystemdNetworkd => {
            require(lock, "network: {backend: systemd-networkd}".into(), &["systemd", "systemd-networkd"])?;
            let file = |(index, interface): (usize, &Interface)| {
                let name: String = interface.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
                root_file(&format!("/etc/systemd/network/{}-{name}.network", 10 + index), networkd(interface))
            };
            Ok(network.interfaces.iter().enumerate().map(file).collect())
        }
        NetworkBackend::Netplan => {
            require(lock, "network: {backend: netplan}".into(), &["netplan.io"])?;
            // netplan warns about a file that others can read: it may hold keys of wireless networks.
            Ok(vec![FileEntry { mode: 0o600, ..root_file("/etc/netplan/10-oic.yaml", netplan(&network.interfaces)) }])
        }
    }
}

/// Returns an interface as systemd.network(5) describes it.
fn networkd(interface: &Interface) -> String {
    let dhcp = match (interface.dhcp4, interface.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let found_by = match &interface.mac_address {
        Some(address) => format!("MACAddress={address}"),
        None => format!("Name={}", interface.name),
    };
    let mut text = format!("[Match]\n{found_by}\n\n[Network]\nDHCP={dhcp}\n");
    for address in &interface.addresses {
        let _ = writeln!(text, "Address={address}");
    }
    for server in &interface.nameservers {
        let _ = writeln!(text, "DNS={server}");
    }
    for route in &interface.routes {
        text += "\n[Route]\n";
        if let Some(to) = &route.to {
            let _ = writeln!(text, "Destination={to}");
        }
        let _ = writeln!(text, "Gateway={}", route.via);
    }
    text
}

/// Returns the interfaces as netplan(5) describes them. All values were checked: none can be taken for YAML of another kind.
fn netplan(interfaces: &[Interface]) -> String {
    let mut text = "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n".to_owned();
    for interface in interfaces {
        let _ = writeln!(text, "    \"{}\":\n      dhcp4: {}\n      dhcp6: {}", interface.name, interface.dhcp4, interface.dhcp6);
        if let Some(address) = &interface.mac_address {
            let _ = writeln!(text, "      match:\n        macaddress: \"{address}\"");
        }
        if !interface.addresses.is_empty() {
            let _ = writeln!(text, "      addresses: [{}]", quoted(&interface.addresses));
        }
        if !interface.nameservers.is_empty() {
            let _ = writeln!(text, "      nameservers:\n        addresses: [{}]", quoted(&interface.nameservers));
        }
        if !interface.routes.is_empty() {
            text += "      routes:\n";
        }
        for route in &interface.routes {
            let to = route.to.as_deref().unwrap_or("default");
            let _ = writeln!(text, "        - to: \"{to}\"\n          via: \"{}\"", route.via);
        }
    }
    text
}

fn quoted(texts: &[String]) -> String {
    texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use oic_config::spec::Route;

    use super::*;

    fn interface() -> Interface {
        Interface {
            name: "eth0".into(),
            mac_address: None,
            dhcp4: false,
            dhcp6: true,
            addresses: vec!["192.0.2.7/24".into()],
            routes: vec![
                Route { to: None, via: "192.0.2.1".into() },
                Route { to: Some("198.51.100.0/24".into()), via: "192.0.2.2".into() },
            ],
            nameservers: vec!["192.0.2.53".into()],
        }
    }

    #[test]
    fn networkd_reads_one_section_per_route() {
        insta::assert_snapshot!(networkd(&interface()), @r"
        [Match]
        Name=eth0

        [Network]
        DHCP=ipv6
        Address=192.0.2.7/24
        DNS=192.0.2.53

        [Route]
        Gateway=192.0.2.1

        [Route]
        Destination=198.51.100.0/24
        Gateway=192.0.2.2
        ");
    }

    #[test]
    fn an_interface_is_found_by_its_address() {
        let interface = Interface { mac_address: Some("52:54:00:12:34:56".into()), ..interface() };
        assert!(networkd(&interface).starts_with("[Match]\nMACAddress=52:54:00:12:34:56\n\n[Network]"));
        assert!(netplan(&[interface]).contains("      match:\n        macaddress: \"52:54:00:12:34:56\"\n"));
    }

    #[test]
    fn netplan_reads_one_file() {
        insta::assert_snapshot!(netplan(&[interface()]), @r#"
        network:
          version: 2
          renderer: networkd
          ethernets:
            "eth0":
              dhcp4: false
              dhcp6: true
              addresses: ["192.0.2.7/24"]
              nameservers:
                addresses: ["192.0.2.53"]
              routes:
                - to: "default"
                  via: "192.0.2.1"
                - to: "198.51.100.0/24"
                  via: "192.0.2.2"
        "#);
    }

    #[test]
    fn the_character_set_follows_from_the_name() {
        for (name, set) in
            [("de_DE.UTF-8", "UTF-8"), ("de_DE.utf8@euro", "UTF-8"), ("de_DE.ISO-8859-15", "ISO-8859-15"), ("de_DE", "ISO-8859-1")]
        {
            assert_eq!(character_set(name), set, "{name}");
        }
    }
}
