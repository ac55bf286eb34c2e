//! `SystemConfigs`: everything but partitions.

use super::{Object, Reader, Tree, join, network, packages, pairs, plain};
use crate::diagnostic::Code;
use crate::node::{Node, Value};
use crate::source::Origin;

/// The fields of a system config.
pub(super) const FIELDS: &[&str] = &[
    "Name",
    "IsDefault",
    "IsKickStartBoot",
    "IsIsoInstall",
    "BootType",
    "Hostname",
    "EnableGrubMkconfig",
    "EnableSystemdFirstboot",
    "PackageLists",
    "Packages",
    "KernelOptions",
    "KernelCommandLine",
    "AdditionalFiles",
    "PartitionSettings",
    "PreInstallScripts",
    "PostInstallScripts",
    "FinalizeImageScripts",
    "Networks",
    "PackageRepos",
    "Groups",
    "Users",
    "Encryption",
    "RemoveRpmDb",
    "PreserveTdnfCache",
    "EnableHidepid",
    "DisableRpmDocs",
    "OverrideRpmLocales",
    // Fields of Edge Microvisor Toolkit's branch of the toolkit.
    "EfiProvider",
    "ImmutabilityEnabled",
    "EMTEncryptionEnabled",
    // Fields of the toolkit's branches 1.0 and 2.0.
    "ReadOnlyVerityRoot",
    "HidepidDisabled",
];

/// The fields by which a config of Edge Microvisor Toolkit is known.
pub(super) const MICROVISOR_FIELDS: [&str; 3] = ["EfiProvider", "ImmutabilityEnabled", "EMTEncryptionEnabled"];

/// What the toolkit puts on every kernel command line.
const COMMAND_LINE: &str = "rd.auto=1 net.ifnames=0 lockdown=integrity";

const PATH: &str = "SystemConfigs[]";

/// Translates a system config.
pub(super) fn system(system: &Object<'_>, image_type: &str, release: Option<&str>, reader: &mut Reader<'_>) -> Tree {
    let has_partitions = image_type == "raw";
    let mut tree = Tree::new(system.origin);
    if let Some((name, origin)) = system.text("Name") {
        tree.text("name", origin, name);
    }
    if let Some((hostname, origin)) = system.text("Hostname") {
        tree.text("hostname", origin, hostname);
    }
    if let Some(node) = system.get("DisableRpmDocs").filter(|_| system.truth("DisableRpmDocs")) {
        tree.put("packageDocs", plain(node.origin, "false"));
    }
    if let Some((languages, origin)) = system.text("OverrideRpmLocales") {
        tree.text("packageLanguages", origin, languages);
    }
    refuse(system, reader);
    boot(system, has_partitions, &mut tree, reader);
    if let Some(node) = system.get("RemoveRpmDb").filter(|_| system.truth("RemoveRpmDb")) {
        tree.put("removePackageDatabase", plain(node.origin, "true"));
    }
    for (theirs, ours, needs_disk) in [
        ("PreserveTdnfCache", "keepPackageCache", false),
        ("EnableHidepid", "hideProcesses", true),
        ("EnableSystemdFirstboot", "enableSystemdFirstboot", false),
    ] {
        // The toolkit writes no fstab for a root filesystem without a disk.
        if let Some(node) = system.get(theirs).filter(|_| system.truth(theirs) && (has_partitions || !needs_disk)) {
            tree.put(ours, plain(node.origin, "true"));
        }
    }
    network::networks(system, PATH, &mut tree, reader);
    let mut list = packages::packages(system, PATH, release, reader);
    // The kernel of a root filesystem is a package of it like any other.
    if let Some((kernel, origin)) = default_kernel(system).filter(|_| image_type == "container") {
        list.push(Node::text(origin, kernel));
    }
    check_packages(system, &list, reader);
    tree.list("packages", system.origin, list);
    let mut entries = files(system, reader);
    entries.extend(network::repositories(system, PATH, reader));
    tree.list("additionalFiles", system.origin, entries);
    let mut scripts = Vec::new();
    for (key, stage) in [("PostInstallScripts", "configure"), ("FinalizeImageScripts", "finalize")] {
        scripts.extend(
            system.list(key).iter().enumerate().filter_map(|(index, node)| script(node, &format!("{PATH}.{key}[{index}]"), stage, reader)),
        );
    }
    tree.list("configurations", system.origin, scripts);
    let groups = system.list("Groups").iter().map(|node| group(node, reader)).collect();
    tree.list("groups", system.origin, groups);
    let users = system.list("Users").iter().map(|node| user(node, reader)).collect();
    tree.list("users", system.origin, users);
    if image_type != "container" {
        kernel(system, has_partitions, &mut tree, reader);
    }
    tree
}

/// Notes what is not built.
fn refuse(system: &Object<'_>, reader: &mut Reader<'_>) {
    const REASONS: &[(&str, &str)] = &[
        ("IsKickStartBoot", "kickstart belongs to an installer, which cannot be built yet"),
        ("IsIsoInstall", "an installer cannot be built yet"),
        ("ImmutabilityEnabled", "a verified read-only root cannot be built yet; write `false`"),
        ("EMTEncryptionEnabled", "disks cannot be encrypted yet; write `false`"),
    ];
    for (key, reason) in REASONS {
        if let Some(node) = system.get(key).filter(|_| system.truth(key)) {
            reader.unsupported(node.origin, join(PATH, key), *reason);
        }
    }
    if let Some(node) = system.get("PreInstallScripts").filter(|_| !system.list("PreInstallScripts").is_empty()) {
        let reason = "scripts before the installation run in an installer, which cannot be built yet";
        reader.unsupported(node.origin, join(PATH, "PreInstallScripts"), reason);
    }
    if let Some(node) = system.get("ReadOnlyVerityRoot") {
        // The other fields say how, and none of them counts where it is off.
        let given = node.as_map().into_iter().flat_map(|map| &map.0);
        let enable = given.filter(|field| field.key.eq_ignore_ascii_case("Enable")).find_map(|field| field.node.as_text());
        if enable == Some("true") {
            reader.unsupported(
                node.origin,
                join(PATH, "ReadOnlyVerityRoot"),
                "a verified read-only root cannot be built yet; leave it out",
            );
        }
    }
    if let Some(node) = system.get("Encryption") {
        let encryption = reader.object(node, &join(PATH, "Encryption"), &["Enable", "Password"]);
        if encryption.truth("Enable") {
            reader.unsupported(node.origin, join(PATH, "Encryption"), "disks cannot be encrypted yet");
        }
    }
}

fn boot(system: &Object<'_>, has_partitions: bool, tree: &mut Tree, reader: &mut Reader<'_>) {
    let boot_type = reader.choice(system, PATH, "BootType", &["efi", "legacy", "none"]);
    match boot_type {
        Some((kind @ ("efi" | "legacy"), origin)) if has_partitions => {
            let mut boot = Tree::new(origin);
            boot.text("bootType", origin, kind);
            let provider = reader.choice(system, PATH, "EfiProvider", &["grub", "systemd-boot"]);
            boot.text("provider", provider.map_or(origin, |(_, origin)| origin), provider.map_or("grub", |(name, _)| name));
            tree.tree("bootloader", boot);
        }
        None if has_partitions && system.text("BootType").is_none() => {
            reader.error(Code::MissingField, system.origin, PATH, "a system with partitions needs [BootType], `efi` or `legacy`");
        }
        Some(("none", origin)) if has_partitions => {
            let mut boot = Tree::new(origin);
            boot.text("bootType", origin, "none");
            tree.tree("bootloader", boot);
        }
        _ => {}
    }
}

/// Checks what the toolkit's validator checks of packages that other settings need.
fn check_packages(system: &Object<'_>, packages: &[Node], reader: &mut Reader<'_>) {
    let listed = |name: &str| packages.iter().any(|node| node.as_text().is_some_and(|text| text.split(' ').next() == Some(name)));
    if (!system.list("Users").is_empty() || !system.list("Groups").is_empty()) && !listed("shadow-utils") {
        let message = "the config has users or groups, and `shadow-utils` is not in its package lists";
        reader.error(Code::MissingField, system.origin, PATH, message);
    }
    let Some(node) = system.get("KernelCommandLine") else { return };
    let line = reader.object(node, &join(PATH, "KernelCommandLine"), COMMAND_LINE_FIELDS);
    let fips =
        line.truth("EnableFIPS") || line.text("ExtraCommandLine").is_some_and(|(text, _)| text.split(' ').any(|word| word == "fips=1"));
    if fips && !listed("dracut-fips") {
        let message = "'fips=1' provided on kernel cmdline, but 'dracut-fips' package is not included in the package lists";
        reader.error(Code::MissingField, node.origin, &join(PATH, "KernelCommandLine"), message);
    }
}

fn files(system: &Object<'_>, reader: &mut Reader<'_>) -> Vec<Node> {
    let Some(map) = system.get("AdditionalFiles").and_then(Node::as_map) else { return Vec::new() };
    let mut entries = Vec::new();
    for (local, local_origin, destinations) in pairs(map) {
        let several = match &destinations.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![destinations],
        };
        for destination in several {
            let field = format!("{PATH}.AdditionalFiles[{local}]");
            let mut entry = Tree::new(destination.origin);
            entry.text("local", local_origin, local);
            if let Some(text) = destination.as_text() {
                entry.text("final", destination.origin, text);
            } else {
                let object = reader.object(destination, &field, &["Path", "Permissions"]);
                match object.text("Path") {
                    Some((path, origin)) => entry.text("final", origin, path),
                    None => reader.error(Code::MissingField, destination.origin, &field, "a destination needs [Path]"),
                }
                if let Some((mode, origin)) = object.text("Permissions") {
                    entry.text("mode", origin, format!("{mode:0>4}"));
                }
            }
            entries.push(entry.0);
        }
    }
    entries
}

fn script(node: &Node, path: &str, stage: &str, reader: &mut Reader<'_>) -> Option<Node> {
    let script = reader.object(node, path, &["Path", "Args"]);
    let Some((file, origin)) = script.text("Path") else {
        reader.error(Code::MissingField, node.origin, path, "a script needs [Path]");
        return None;
    };
    let mut tree = Tree::new(node.origin);
    tree.text("script", origin, file);
    if let Some((args, origin)) = script.text("Args") {
        tree.text("args", origin, args);
    }
    tree.text("stage", node.origin, stage);
    Some(tree.0)
}

fn group(node: &Node, reader: &mut Reader<'_>) -> Node {
    let group = reader.object(node, &join(PATH, "Groups"), &["Name", "GID"]);
    let mut tree = Tree::new(node.origin);
    if let Some((name, origin)) = group.text("Name") {
        tree.text("name", origin, name);
    }
    if let Some((gid, origin)) = group.text("GID") {
        tree.put("gid", plain(origin, gid));
    }
    tree.0
}

fn user(node: &Node, reader: &mut Reader<'_>) -> Node {
    const FIELDS: &[&str] = &[
        "Name",
        "UID",
        "Password",
        "PasswordHashed",
        "PasswordExpiresDays",
        "SSHPubKeyPaths",
        "SSHPubKeys",
        "PrimaryGroup",
        "SecondaryGroups",
        "StartupCommand",
        "HomeDirectory",
    ];
    let path = join(PATH, "Users");
    let user = reader.object(node, &path, FIELDS);
    let mut tree = Tree::new(node.origin);
    let texts = [
        ("name", "Name"),
        ("password", "Password"),
        ("primaryGroup", "PrimaryGroup"),
        ("startupScript", "StartupCommand"),
        ("home", "HomeDirectory"),
    ];
    for (ours, theirs) in texts {
        if let Some((text, origin)) = user.text(theirs) {
            tree.text(ours, origin, text);
        }
    }
    // The toolkit changes nothing but the password of an account that is there already.
    let is_root = user.text("Name").is_some_and(|(name, _)| name == "root");
    if let Some((uid, origin)) = user.text("UID").filter(|_| !is_root) {
        tree.put("uid", plain(origin, uid));
    }
    // -1 is "never", which is what an account without the field has; 0 leaves it as it is.
    if let Some((days, origin)) = user.text("PasswordExpiresDays").filter(|(days, _)| !matches!(*days, "0" | "-1")) {
        tree.put("passwordMaxAge", plain(origin, days));
    }
    tree.list("groups", node.origin, user.list("SecondaryGroups").to_vec());
    let mut keys = user.list("SSHPubKeys").to_vec();
    for file in user.list("SSHPubKeyPaths") {
        keys.extend(key_file(file, &join(&path, "SSHPubKeyPaths"), reader));
    }
    tree.list("authorizedKeys", node.origin, keys);
    tree.0
}

/// Reads the keys of a file, one a line.
fn key_file(file: &Node, field: &str, reader: &mut Reader<'_>) -> Vec<Node> {
    let Some(name) = file.as_text() else { return Vec::new() };
    match crate::source::read_text(&reader.sources.resolve_path(file.origin, name)) {
        Ok(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(|line| Node::text(file.origin, line)).collect()
        }
        Err(finding) => {
            reader.findings.push(finding.at(reader.sources.location(file.origin)).field(field));
            Vec::new()
        }
    }
}

const COMMAND_LINE_FIELDS: &[&str] = &["ImaPolicy", "SELinux", "SELinuxPolicy", "EnableFIPS", "CGroup", "ExtraCommandLine"];

/// Returns the package of the kernel.
fn default_kernel<'n>(system: &Object<'n>) -> Option<(&'n str, Origin)> {
    let node = system.get("KernelOptions")?.as_map()?.get("default")?;
    node.as_text().filter(|name| !name.trim().is_empty()).map(|name| (name, node.origin))
}

fn kernel(system: &Object<'_>, has_partitions: bool, tree: &mut Tree, reader: &mut Reader<'_>) {
    let mut kernel = Tree::new(system.origin);
    match default_kernel(system) {
        Some((name, origin)) => kernel.list("packages", origin, vec![Node::text(origin, name)]),
        None if has_partitions => {
            reader.error(
                Code::MissingField,
                system.origin,
                &join(PATH, "KernelOptions"),
                "a system with partitions needs [KernelOptions].default, the kernel's package",
            );
        }
        None => {}
    }
    if has_partitions {
        let (words, origin) = command_line(system, reader);
        kernel.text("cmdline", origin, words);
    }
    tree.tree("kernel", kernel);
}

/// Returns the kernel command line and its place.
fn command_line(system: &Object<'_>, reader: &mut Reader<'_>) -> (String, Origin) {
    let mut words = vec![COMMAND_LINE.to_owned()];
    let Some(node) = system.get("KernelCommandLine") else { return (words.join(" "), system.origin) };
    let path = join(PATH, "KernelCommandLine");
    // Unknown keys were told of when its packages were checked.
    let known: Vec<&str> = node.as_map().map(|map| map.0.iter().map(|field| field.key.as_str()).collect()).unwrap_or_default();
    let line = reader.object(node, &path, &known);
    for policy in line.list("ImaPolicy").iter().filter_map(Node::as_text).filter(|policy| !policy.is_empty()) {
        words.push(format!("ima_policy={policy}"));
    }
    if let Some((mode, origin)) = reader.choice(&line, &path, "SELinux", &["enforcing", "permissive", "force_enforcing"]) {
        reader.unsupported(origin, join(&path, "SELinux"), format!("files cannot be labelled for SELinux yet (`{mode}`); leave it out"));
    } else {
        words.push("selinux=0".to_owned());
    }
    if line.truth("EnableFIPS") {
        words.push("fips=1".to_owned());
    }
    match reader.choice(&line, &path, "CGroup", &["version_one", "version_two"]) {
        Some(("version_one", _)) => words.push("systemd.unified_cgroup_hierarchy=0".to_owned()),
        Some(_) => words.push("systemd.unified_cgroup_hierarchy=1".to_owned()),
        None => {}
    }
    if let Some((extra, origin)) = line.text("ExtraCommandLine") {
        if extra.contains('`') {
            reader.error(
                Code::InvalidValue,
                origin,
                &join(&path, "ExtraCommandLine"),
                "a kernel command line of the toolkit has no backtick",
            );
        }
        words.push(extra.to_owned());
    }
    (words.join(" "), node.origin)
}
