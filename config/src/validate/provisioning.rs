//! `systemConfig`: what the system sets up by itself once it runs. Each of these settings comes to files, packages, units and commands
//! that a template could have as well.

use super::packages::missing_file;
use super::{Context, system};
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, Located, ProvisioningStage, SystemConfig, Text};
use crate::source::Origin;
use crate::spec::{
    AdditionalFile, Command, Ecosystem, FileSource, ImageType, PackageRequest, Repository, RepositoryLocation, System, WrittenFile,
};

/// Where cloud-init looks for data before it asks anybody.
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Where a script leaves word that it has run.
const STAMPS: &str = "/var/lib/oic/provisioned";

/// The unit that starts all scripts. They cannot be wanted by a target themselves: the target would wait for them, and what they wait for,
/// cloud-init's last stage, waits for the target.
const STARTER: &str = "oic-provision.service";

/// Adds what the settings of this module come to. Commands go behind those of the template, so that none of them meets the proxies of
/// another place.
pub(super) fn add(given: &SystemConfig, image: (&str, &str), system: &mut System, cx: &mut Context<'_>) {
    cloud_init(given, image, system, cx);
    provisioning(given, system, cx);
    dkms(given, system, cx);
    proxy(given, system, cx);
}

/// Returns the text of a file of this machine that a setting needs, as a file of the image.
fn local_file(local: &Located<String>, (destination, mode): (String, u32), field: &str, cx: &mut Context<'_>) -> Option<AdditionalFile> {
    if cx.is_placeholder(local.value(), local.origin, field) {
        return None;
    }
    let path = cx.sources.resolve_path(local.origin, local.value());
    if !path.is_file() {
        missing_file(&path, local.origin, field, cx);
    }
    let root = || "root".to_owned();
    let origin = cx.origin(local.origin);
    Some(AdditionalFile {
        source: FileSource::Local(path),
        destination,
        mode: Some(mode),
        owner: root(),
        group: root(),
        before_initramfs: false,
        origin,
    })
}

fn cloud_init(given: &SystemConfig, (image, version): (&str, &str), system: &mut System, cx: &mut Context<'_>) {
    const FIELD: &str = "systemConfig.cloudInit";
    let Some(cloud) = &given.cloud_init else { return };
    let files =
        [("user-data", &cloud.user_data_file), ("meta-data", &cloud.meta_data_file), ("network-config", &cloud.network_config_file)];
    if !cloud.enabled.as_ref().is_some_and(|enabled| *enabled.value()) {
        let file = files.into_iter().find_map(|(_, file)| file.as_ref());
        if let Some(file) = file.or_else(|| cloud.config_files.iter().flatten().next()) {
            let finding = Finding::error(Code::Contradiction, "cloud-init is not enabled, and this is a file for it");
            cx.report(finding.hint("write `enabled: true`, or leave the file out"), file.origin, FIELD);
        }
        return;
    }
    let origin = cx.origin(cloud.origin);
    if !system.packages.iter().any(|package| package.name == "cloud-init") {
        system.packages.push(PackageRequest { name: "cloud-init".to_owned(), version: None, origin });
    }
    for (name, file) in files {
        let path = format!("{SEED}/{name}");
        let text = match (name, file) {
            (_, Some(file)) => {
                // User-data may hold passwords.
                system.files.extend(local_file(file, (path, 0o600), FIELD, cx));
                continue;
            }
            ("user-data", None) => "#cloud-config\n{}\n".to_owned(),
            ("meta-data", None) => {
                let host = system.hostname.as_ref().map(|host| format!("local-hostname: {host}\n")).unwrap_or_default();
                format!("instance-id: {image}-{version}\n{host}")
            }
            _ => continue,
        };
        system.written.push(WrittenFile { path, text });
    }
    for file in cloud.config_files.iter().flatten() {
        let name = std::path::Path::new(file.value()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        system.files.extend(local_file(file, (format!("/etc/cloud/cloud.cfg.d/{name}"), 0o644), FIELD, cx));
    }
    // Asking the data sources of clouds takes minutes on a machine that is in none.
    let text = "# The data is in the image.\ndatasource_list: [NoCloud, None]\n".to_owned();
    system.written.push(WrittenFile { path: "/etc/cloud/cloud.cfg.d/95-image-data.cfg".to_owned(), text });
}

/// One script, checked.
struct Script<'a> {
    name: &'a str,
    destination: String,
    stage: ProvisioningStage,
    order: u32,
}

fn provisioning(given: &SystemConfig, system: &mut System, cx: &mut Context<'_>) {
    let scripts = given.provisioning.as_ref().and_then(|provisioning| provisioning.scripts.as_ref());
    let mut found = Vec::new();
    for script in scripts.iter().flat_map(|scripts| &scripts.0) {
        let (Some(name), Some(local), Some(target)) = (&script.name, &script.local, &script.destination) else { continue };
        let (name, at) = (name.value.0.trim(), name.origin);
        let field = format!("systemConfig.provisioning.scripts[{name}]");
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            let finding = Finding::error(Code::InvalidValue, "not a name for a script").found(format!("`{name}`"));
            cx.report(finding.allowed(["a letter or digit, then letters, digits, `_`, `.` and `-`, at most 64"]), at, &field);
        }
        let Some(destination) = system::destination(target.value(), target.origin, &format!("{field}.final"), cx) else { continue };
        // What systemd reads otherwise in a command: specifiers, variables, quotes, spaces.
        if destination.ends_with('/') || !destination.chars().all(|c| c.is_ascii_alphanumeric() || "/._@+-".contains(c)) {
            let finding = Finding::error(Code::InvalidValue, "not a path that a unit can start").found(format!("`{destination}`"));
            cx.report(finding.allowed(["/path/of/letters-digits_and._@+-"]), target.origin, &format!("{field}.final"));
        }
        system.files.extend(local_file(local, (destination.clone(), 0o755), &format!("{field}.local"), cx));
        let stage = script.stage.as_ref().map_or(ProvisioningStage::FirstBoot, |stage| *stage.value());
        found.push(Script { name, destination, stage, order: script.order.as_ref().map_or(0, |order| *order.value()) });
    }
    if found.is_empty() {
        return;
    }
    found.sort_by_key(|script| script.order);
    let unit = |script: &Script<'_>| format!("oic-provision-{:03}-{}.service", script.order, script.name);
    let units: Vec<String> = found.iter().map(unit).collect();
    for (index, script) in found.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| units.get(before));
        let path = format!("/etc/systemd/system/{}", units[index]);
        system.written.push(WrittenFile { path, text: script_unit(script, before) });
    }
    let text = format!(
        "[Unit]\nDescription=Start the provisioning scripts\n\n[Service]\nType=oneshot\nExecStart=/usr/bin/systemctl start --no-block {}\n\n[Install]\nWantedBy=multi-user.target\n",
        units.join(" ")
    );
    system.written.push(WrittenFile { path: format!("/etc/systemd/system/{STARTER}"), text });
    system.services.enable.push(STARTER.to_owned());
}

/// Returns the unit of a script that runs after another one.
fn script_unit(script: &Script<'_>, before: Option<&String>) -> String {
    let Script { name, destination, stage, .. } = script;
    let before = before.map(|unit| format!(" {unit}")).unwrap_or_default();
    let (condition, stamp) = match stage {
        ProvisioningStage::EveryBoot => Default::default(),
        ProvisioningStage::FirstBoot => (
            format!("ConditionPathExists=!{STAMPS}/{name}\n"),
            format!("ExecStartPost=/usr/bin/mkdir -p {STAMPS}\nExecStartPost=/usr/bin/touch {STAMPS}/{name}\n"),
        ),
    };
    format!(
        "[Unit]\nDescription=Provisioning script {name}\nWants=network-online.target\nAfter=network-online.target cloud-final.service{before}\n{condition}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={destination}\n{stamp}"
    )
}

fn dkms(given: &SystemConfig, system: &mut System, cx: &mut Context<'_>) {
    const FIELD: &str = "systemConfig.dkms";
    let Some(dkms) = &given.dkms else { return };
    let enabled = dkms.enabled.as_ref().is_some_and(|enabled| *enabled.value());
    if let Some(sign) = dkms.secure_boot.as_ref().filter(|sign| sign.enabled.as_ref().is_some_and(|enabled| *enabled.value())) {
        let reason = "kernel modules cannot be signed yet; leave it out and switch Secure Boot off";
        cx.unsupported(sign.origin, format!("{FIELD}.secureBoot"), reason);
    }
    let mut wanted = Vec::new();
    for module in dkms.modules.iter().flatten() {
        let text = module.value.0.trim();
        let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.+~-".contains(c));
        match text.split_once('/') {
            Some((name, version)) if part(name) && part(version) => wanted.push((name, version)),
            _ => {
                let finding = Finding::error(Code::InvalidValue, "not a module of DKMS").found(format!("`{text}`"));
                cx.report(finding.allowed(["name/version, as its dkms.conf says"]), module.origin, &format!("{FIELD}.modules"));
            }
        }
    }
    if !enabled {
        return;
    }
    if system.kernel.is_none() {
        let finding = Finding::error(Code::Contradiction, "modules are compiled for a kernel, and this image has none");
        cx.report(finding.hint("leave `dkms` out"), dkms.origin, FIELD);
    }
    let origin = cx.origin(dkms.origin);
    if !system.packages.iter().any(|package| package.name == "dkms") {
        system.packages.push(PackageRequest { name: "dkms".to_owned(), version: None, origin: origin.clone() });
    }
    system.commands.push(Command { command: compile_modules(&wanted), script: None, finalize: false, origin });
}

/// Returns the command that compiles all modules for all kernels of the image, and fails when one of `wanted` is not there for one.
fn compile_modules(wanted: &[(&str, &str)]) -> String {
    // grep reads to the end: a pipe that it closes early would count as a failure of dkms.
    let check = |arguments: &str, what: &str| {
        format!(
            "  dkms status {arguments}-k \"$kernel\" | grep ': installed' > /dev/null || {{ echo \"DKMS compiled no {what} for kernel $kernel\" >&2; exit 1; }}\n"
        )
    };
    let checks: String = match wanted {
        [] => check("", "module"),
        wanted => wanted.iter().map(|(name, version)| check(&format!("-m {name} -v {version} "), &format!("{name}/{version}"))).collect(),
    };
    format!(
        "kernel=\nfor folder in /lib/modules/*/kernel; do\n  [ -d \"$folder\" ] || continue\n  kernel=$(basename \"$(dirname \"$folder\")\")\n  dkms autoinstall -k \"$kernel\"\n{checks}done\n[ -n \"$kernel\" ] || {{ echo \"no kernel to compile modules for\" >&2; exit 1; }}\n"
    )
}

fn proxy(given: &SystemConfig, system: &mut System, cx: &mut Context<'_>) {
    let Some(proxy) = &given.proxy else { return };
    let servers = [("http", &proxy.http_proxy), ("https", &proxy.https_proxy), ("ftp", &proxy.ftp_proxy)];
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut apt = String::new();
    for (scheme, server) in servers {
        let Some(text) = server.as_ref().and_then(|server| proxy_server(server, &format!("systemConfig.proxy.{scheme}Proxy"), cx)) else {
            continue;
        };
        apt.push_str(&format!("Acquire::{scheme}::Proxy \"{text}\";\n"));
        variables.push((format!("{scheme}_proxy"), text));
    }
    if let Some(none) = proxy.no_proxy.as_ref().filter(|none| !none.value.0.trim().is_empty()) {
        let text = none.value.0.trim();
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || ".,:/*_-[]".contains(c)) {
            let finding = Finding::error(Code::InvalidValue, "not a list of hosts, domains and networks").found(format!("`{text}`"));
            cx.report(finding.allowed(["localhost,127.0.0.1,.example.com,10.0.0.0/8"]), none.origin, "systemConfig.proxy.noProxy");
        }
        variables.push(("no_proxy".to_owned(), text.to_owned()));
    }
    if variables.is_empty() {
        return;
    }
    if cx.provider.facts.ecosystem == Ecosystem::Deb && !apt.is_empty() {
        system.written.push(WrittenFile { path: "/etc/apt/apt.conf.d/95proxy".to_owned(), text: apt });
    }
    // Programs differ in which case they read.
    let both = |(name, value): &(String, String)| [(name.clone(), value.clone()), (name.to_uppercase(), value.clone())];
    let all: Vec<(String, String)> = variables.iter().flat_map(both).collect();
    if cx.image_type != ImageType::Container {
        let words: Vec<String> = all.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
        let text = format!("[Manager]\nDefaultEnvironment={}\n", words.join(" "));
        system.written.push(WrittenFile { path: "/etc/systemd/system.conf.d/95-proxy.conf".to_owned(), text });
    }
    // Packages write this file, too: lines are added to what they have.
    let lines: Vec<String> = all.iter().map(|(name, value)| format!("'{name}={value}'")).collect();
    let command = format!("printf '%s\\n' {} >> /etc/environment", lines.join(" "));
    system.commands.push(Command { command, script: None, finalize: false, origin: cx.origin(proxy.origin) });
}

/// Checks the URL of a proxy server. Everybody who uses the system can read it, so it holds no password.
fn proxy_server(server: &Located<Text>, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let text = server.value.0.trim();
    if text.is_empty() || cx.is_placeholder(text, server.origin, field) {
        return None;
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if rest.is_some_and(|rest| rest.contains('@')) {
        let finding = Finding::error(Code::InvalidValue, "the URL of a proxy has a password, and every user of the system could read it");
        cx.report(finding.hint("let the proxy know the machine by its address"), server.origin, field);
        return None;
    }
    let host = rest.map(|rest| rest.trim_end_matches('/')).unwrap_or_default();
    if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || ".:_-[]".contains(c)) {
        let finding = Finding::error(Code::InvalidValue, "not the URL of a proxy server").found(format!("`{text}`"));
        cx.report(finding.allowed(["http://proxy.example.com:3128"]), server.origin, field);
        return None;
    }
    Some(text.to_owned())
}

/// Marks the repositories of the template that may not upgrade packages.
pub(super) fn apt_policy(layer: &layer::Layer, repositories: &mut [Repository], cx: &mut Context<'_>) {
    const FIELD: &str = "systemConfig.aptPolicy.upgradeAllowedRepos";
    let policy = layer.system_config.as_ref().and_then(|system| system.apt_policy.as_ref());
    let Some(policy) = policy.filter(|policy| policy.upgrade_allowed_repos.as_ref().is_some_and(|allowed| !allowed.is_empty())) else {
        return;
    };
    if cx.provider.facts.ecosystem != Ecosystem::Deb {
        cx.error(Code::Contradiction, policy.origin, "systemConfig.aptPolicy", "only packages of Debian's family are upgraded by apt");
        return;
    }
    let allowed: Vec<(&str, Origin)> =
        policy.upgrade_allowed_repos.iter().flatten().map(|name| (name.value.0.trim(), name.origin)).collect();
    for (name, origin) in &allowed {
        if !repositories.iter().any(|repository| !repository.is_base && names(name, repository)) {
            let known = repositories.iter().filter(|repository| !repository.is_base).map(|repository| repository.suite.clone());
            let finding = Finding::error(Code::InvalidValue, "not the codename of a repository of the template").found(format!("`{name}`"));
            cx.report(finding.allowed(known), *origin, FIELD);
        }
    }
    let servers: Vec<Option<String>> = repositories.iter().map(server).collect();
    for index in 0..repositories.len() {
        let repository = &repositories[index];
        if repository.is_base || allowed.iter().any(|(name, _)| names(name, repository)) {
            continue;
        }
        let shared = (0..repositories.len()).find(|other| *other != index && servers[*other] == servers[index]);
        if let Some(other) = shared.filter(|_| servers[index].is_some()) {
            let message = format!(
                "apt tells repositories apart by their server, and `{}` has the same one as `{}`",
                repository.id, repositories[other].id
            );
            let finding = Finding::error(Code::Contradiction, message).hint("allow both, or leave `aptPolicy` out");
            cx.report(finding, policy.origin, FIELD);
        }
        repositories[index].upgrades = false;
    }
}

fn names(name: &str, repository: &Repository) -> bool {
    repository.suite == name || repository.id == name
}

fn server(repository: &Repository) -> Option<String> {
    match &repository.location {
        RepositoryLocation::Url(url) => url.split_once("://")?.1.split(['/', ':']).next().map(str::to_owned),
        RepositoryLocation::Path(_) => None,
    }
}
