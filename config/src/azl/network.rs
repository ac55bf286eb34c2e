//! `Networks` and `PackageRepos`: both are for installers in the toolkit, and what of them an installed system keeps is put into
//! the image.

use std::net::{IpAddr, Ipv4Addr};

use super::{Object, Reader, Tree, join, plain};
use crate::diagnostic::{Code, Finding};
use crate::node::Node;
use crate::source::Origin;

/// The key that the toolkit's repositories are verified by where they name none.
const MICROSOFT_KEY: &str = "file:///etc/pki/rpm-gpg/MICROSOFT-RPM-GPG-KEY";

/// Puts `Networks` into `network`. The toolkit copies what is to start at boot into the installed system, and never asks for DHCP
/// there; here `dhcp` and `bootp` do.
pub(super) fn networks(system: &Object<'_>, path: &str, tree: &mut Tree, reader: &mut Reader<'_>) {
    let mut interfaces = Vec::new();
    for (index, node) in system.list("Networks").iter().enumerate() {
        let path = format!("{path}.Networks[{index}]");
        let network =
            reader.object(node, &path, &["BootProto", "GateWay", "Ip", "NetMask", "OnBoot", "NameServer", "NameServers", "Device"]);
        if let Some(interface) = interface(&network, &path, reader) {
            interfaces.push(interface);
        }
    }
    if let Some(first) = interfaces.first() {
        let mut network = Tree::new(first.origin);
        network.list("interfaces", first.origin, interfaces);
        tree.tree("network", network);
    }
}

fn interface(network: &Object<'_>, path: &str, reader: &mut Reader<'_>) -> Option<Node> {
    let Some((device, origin)) = network.text("Device") else {
        reader.error(Code::MissingField, network.origin, path, "a network needs [Device]: a name, or a hardware address");
        return None;
    };
    let proto = reader.choice(network, path, "BootProto", &["dhcp", "static", "bootp", "ibft"]).map_or("", |(proto, _)| proto);
    if !network.truth("OnBoot") {
        warn(network.origin, path, "a network without `OnBoot` is the installer's own, and is left out", reader);
        return None;
    }
    if device == "bootif" || proto == "ibft" {
        let what = if proto == "ibft" { ("BootProto", proto) } else { ("Device", device) };
        let reason = format!("`{}` is what the firmware tells an installer that it has started, which cannot be built yet", what.1);
        reader.unsupported(origin, join(path, what.0), reason);
        return None;
    }
    let mut tree = Tree::new(network.origin);
    tree.text("name", origin, device);
    if device.contains(':') {
        tree.text("macAddress", origin, device);
    }
    let address = address(network, path, reader);
    match address {
        Some((text, origin)) => tree.list("addresses", origin, vec![Node::text(origin, text)]),
        None => tree.put("dhcp4", plain(origin, "true")),
    }
    if let Some((gateway, origin)) = network.text("GateWay") {
        let mut route = Tree::new(origin);
        route.text("via", origin, gateway);
        tree.list("routes", origin, vec![route.0]);
    }
    let servers = [network.list("NameServer"), network.list("NameServers")].concat();
    tree.list("nameservers", network.origin, servers);
    Some(tree.0)
}

/// Returns the fixed address with the length of its prefix.
fn address(network: &Object<'_>, path: &str, reader: &mut Reader<'_>) -> Option<(String, Origin)> {
    let (ip, origin) = network.text("Ip")?;
    let Some((mask, mask_origin)) = network.text("NetMask") else {
        reader.error(Code::MissingField, origin, path, "an address needs [NetMask]");
        return None;
    };
    let length = match (ip.parse::<IpAddr>(), mask.parse::<Ipv4Addr>()) {
        (Ok(IpAddr::V4(_)), Ok(mask)) => {
            let bits = mask.to_bits();
            (bits.leading_ones() == bits.count_ones()).then(|| bits.count_ones())
        }
        _ => None,
    };
    if length.is_none() {
        let finding = Finding::error(Code::InvalidValue, "not the mask of a network").found(format!("`{mask}`"));
        let finding = finding.allowed(["255.255.255.0"]).at(reader.sources.location(mask_origin));
        reader.findings.push(finding.field(join(path, "NetMask")));
    }
    Some((format!("{ip}/{}", length?), origin))
}

fn warn(origin: Origin, path: &str, message: &str, reader: &mut Reader<'_>) {
    let finding = Finding::warning(Code::Notice, message).at(reader.sources.location(origin));
    reader.findings.push(finding.field(path.to_owned()));
}

/// Returns the files of the repositories that the image has, those with `Install`. Packages come from the distribution's own: the
/// toolkit takes them from these in an installer alone.
pub(super) fn repositories(system: &Object<'_>, path: &str, reader: &mut Reader<'_>) -> Vec<Node> {
    let mut files: Vec<Node> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (index, node) in system.list("PackageRepos").iter().enumerate() {
        let path = format!("{path}.PackageRepos[{index}]");
        let repository = reader.object(node, &path, &["Name", "BaseUrl", "Install", "GPGCheck", "RepoGPGCheck", "GPGKeys"]);
        let (Some((name, origin)), Some((url, url_origin))) = (repository.text("Name"), repository.text("BaseUrl")) else {
            reader.error(Code::MissingField, node.origin, &path, "a repository needs [Name] and [BaseUrl]");
            continue;
        };
        if names.contains(&name) {
            reader.error(Code::Duplicate, origin, &path, format!("repository `{name}` is given twice"));
            continue;
        }
        names.push(name);
        let legal = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.starts_with('.');
        let scheme = ["https://", "http://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
        if !legal || !scheme || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let (what, origin, key) = if legal {
                ("not the URL of a repository", url_origin, "BaseUrl")
            } else {
                ("not a name for a repository", origin, "Name")
            };
            reader.error(Code::InvalidValue, origin, &join(&path, key), what);
            continue;
        }
        if !repository.truth("Install") {
            warn(node.origin, &path, "a repository without `Install` is the installer's own, and is left out", reader);
            continue;
        }
        let check = |key: &str| u8::from(repository.get(key).and_then(Node::as_text) != Some("false"));
        let keys = repository.text("GPGKeys").map_or(MICROSOFT_KEY, |(keys, _)| keys).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = format!(
            "[{name}]\nname={name}\nbaseurl={url}\ngpgkey={keys}\nenabled=1\ngpgcheck={}\nrepo_gpgcheck={}\nskip_if_unavailable=True\n",
            check("GPGCheck"),
            check("RepoGPGCheck")
        );
        let mut file = Tree::new(node.origin);
        // `${` would be a variable of the template.
        file.text("content", origin, text.replace("${", "$${"));
        file.text("final", origin, format!("/etc/yum.repos.d/{name}.repo"));
        files.push(file.0);
    }
    files
}
