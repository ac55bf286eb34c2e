//! `systemConfig.network`.

use std::net::IpAddr;

use super::Context;
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, Located, SystemConfig, Text};
use crate::source::Origin;
use crate::spec::{Interface, Network, NetworkBackend, Route};

/// Returns the network configuration.
pub(super) fn network(given: &SystemConfig, cx: &mut Context<'_>) -> Option<Network> {
    let network = given.network.as_ref()?;
    let backend = match network.backend.as_ref().map(|backend| *backend.value()) {
        None | Some(layer::NetworkBackend::SystemdNetworkd) => NetworkBackend::SystemdNetworkd,
        Some(layer::NetworkBackend::Netplan) => NetworkBackend::Netplan,
    };
    let interfaces: Vec<Interface> =
        network.interfaces.iter().flat_map(|list| &list.0).filter_map(|one| interface(one, backend, cx)).collect();
    if interfaces.is_empty() {
        let finding = Finding::error(Code::MissingField, "a network needs at least one interface");
        cx.report(
            finding.hint("give `interfaces`, or leave `network` out: every wired interface then uses DHCP"),
            network.origin,
            "systemConfig.network",
        );
    }
    Some(Network { backend, interfaces })
}

fn interface(given: &Located<layer::Interface>, backend: NetworkBackend, cx: &mut Context<'_>) -> Option<Interface> {
    let name = given.name.as_ref()?;
    let field = format!("systemConfig.network.interfaces[{}]", name.value.0);
    let glob = if backend == NetworkBackend::SystemdNetworkd { "*?" } else { "" };
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-:@".contains(c) || glob.contains(c);
    // IFNAMSIZ of the kernel, without its end.
    if given.mac_address.is_none() && name.value.0.len() > 15 || name.value.0.is_empty() || !name.value.0.chars().all(legal) {
        let finding = Finding::error(Code::InvalidValue, "not the name of a network interface").found(format!("`{}`", name.value.0));
        cx.report(finding.allowed(["eth0", "enp1s0"]), name.origin, &field);
    }
    let truth = |value: &Option<Located<bool>>| value.as_ref().is_some_and(|value| *value.value());
    let mut list = |values: &Option<Vec<Located<String>>>, key: &str, prefix: bool| -> Vec<String> {
        let check = |value: &Located<String>| address(value.value(), value.origin, &format!("{field}.{key}"), prefix, cx);
        values.iter().flatten().filter_map(check).collect()
    };
    let addresses = list(&given.addresses, "addresses", true);
    let nameservers = list(&given.nameservers, "nameservers", false);
    let routes = given.routes.iter().flatten().filter_map(|one| route(one, &field, cx)).collect();
    if let Some(dhcp) = given.dhcp4.as_ref().filter(|dhcp| *dhcp.value())
        && addresses.iter().any(|address| !address.contains(':'))
    {
        let message = "an interface has either DHCP or fixed IPv4 addresses, and here are both";
        cx.error(Code::Contradiction, dhcp.origin, &format!("{field}.dhcp4"), message);
    }
    let (dhcp4, dhcp6) = (truth(&given.dhcp4), truth(&given.dhcp6));
    if !dhcp4 && !dhcp6 && addresses.is_empty() {
        let finding = Finding::error(Code::MissingField, "the interface gets no address");
        cx.report(finding.hint("write `dhcp4: true`, or give `addresses`"), given.origin, &field);
    }
    let mac_address = given.mac_address.as_ref().and_then(|given| mac_address(given, &field, cx));
    Some(Interface { name: name.value.0.clone(), mac_address, dhcp4, dhcp6, addresses, routes, nameservers })
}

/// Checks a hardware address; both families' configuration takes it in lower case with colons.
fn mac_address(given: &Located<Text>, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let text = given.value.0.trim().to_ascii_lowercase().replace('-', ":");
    let bytes: Vec<&str> = text.split(':').collect();
    if bytes.len() == 6 && bytes.iter().all(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        return Some(text);
    }
    let finding = Finding::error(Code::InvalidValue, "not a hardware address").found(format!("`{}`", given.value.0));
    cx.report(finding.allowed(["52:54:00:12:34:56"]), given.origin, &format!("{field}.macAddress"));
    None
}

fn route(given: &Located<layer::Route>, field: &str, cx: &mut Context<'_>) -> Option<Route> {
    let field = format!("{field}.routes");
    let Some(via) = &given.via else {
        cx.error(Code::MissingField, given.origin, &field, "a route needs `via`, the address of a gateway");
        return None;
    };
    let to = given.to.as_ref().filter(|to| to.value.0 != "default");
    let to = match to {
        None => None,
        Some(to) => Some(address(&to.value.0, to.origin, &format!("{field}.to"), true, cx)?),
    };
    Some(Route { to, via: address(&via.value.0, via.origin, &format!("{field}.via"), false, cx)? })
}

/// Checks an IP address, with the length of its prefix where that belongs there.
fn address(text: &str, origin: Origin, field: &str, prefix: bool, cx: &mut Context<'_>) -> Option<String> {
    let text = text.trim();
    let (host, length) = match text.split_once('/') {
        Some((host, length)) if prefix => (host, Some(length)),
        _ => (text, None),
    };
    let ok = host.parse::<IpAddr>().is_ok_and(|host| {
        let most: u8 = if host.is_ipv4() { 32 } else { 128 };
        if prefix { length.is_some_and(|length| length.parse::<u8>().is_ok_and(|length| length <= most)) } else { true }
    });
    if ok {
        return Some(text.to_owned());
    }
    if !cx.is_placeholder(text, origin, field) {
        let (what, allowed) = if prefix {
            ("not an address with the length of its prefix", ["192.0.2.7/24", "2001:db8::7/64"])
        } else {
            ("not an IP address", ["192.0.2.1", "2001:db8::1"])
        };
        cx.report(Finding::error(Code::InvalidValue, what).found(format!("`{text}`")).allowed(allowed), origin, field);
    }
    None
}
