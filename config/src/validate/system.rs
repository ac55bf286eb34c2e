//! `systemConfig`: packages, users, files, commands, bootloader and kernel.

use std::path::{Path, PathBuf};

use super::Context;
use super::packages::{missing_file, request};
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, BootTypeName, FileStage, HashName, Layer, Located, ProviderName, SystemConfig, Text};
use crate::source::Origin;
use crate::spec::{
    AdditionalFile, BootType, Bootloader, BootloaderProvider, Command, ImageType, InitramfsGenerator, Kernel, PackageRequest, Password,
    PasswordHash, System, User,
};

/// Most files that one folder of `additionalFiles` may hold.
const MAX_FILES: usize = 10_000;

/// Returns what is installed and configured.
pub(crate) fn system(layer: &Layer, image_name: &str, cx: &mut Context<'_>) -> System {
    let empty = SystemConfig::default();
    let given = layer.system_config.as_ref().map_or(&empty, |system| system.value());
    let mut packages = packages(given, cx);
    let bootloader = bootloader(given, cx);
    let kernel = kernel(layer, given, bootloader, &mut packages, cx);
    if let Some(bootloader) = bootloader {
        let facts = cx.provider.facts.bootloader_packages.iter().find(|(provider, _)| *provider == bootloader.provider);
        let origin = given.bootloader.as_ref().map_or(cx.root, |bootloader| bootloader.origin);
        for name in facts.into_iter().flat_map(|(_, names)| names) {
            add_package(&mut packages, name, origin, cx);
        }
    }
    let name = given.name.as_ref().map(|name| name.value.0.clone()).filter(|name| !name.is_empty());
    System {
        name: name.unwrap_or_else(|| image_name.to_owned()),
        hostname: hostname(given, cx),
        users: given.users.iter().flat_map(|users| &users.0).filter_map(|one| user(one, cx)).collect(),
        files: given.additional_files.iter().flat_map(|files| &files.0).flat_map(|one| files(one, cx)).collect(),
        commands: commands(given, cx),
        packages,
        weak_dependencies: given.weak_dependencies.as_ref().is_some_and(|weak| *weak.value()),
        bootloader,
        kernel,
    }
}

fn packages(given: &SystemConfig, cx: &mut Context<'_>) -> Vec<PackageRequest> {
    let entries = given.packages.iter().flatten();
    entries.filter_map(|entry| request(entry.value(), entry.origin, "systemConfig.packages", cx)).collect()
}

/// Adds a package that the image needs anyway, unless the template asks for it.
fn add_package(packages: &mut Vec<PackageRequest>, name: &str, origin: Origin, cx: &Context<'_>) {
    if !packages.iter().any(|package| package.name == name) {
        packages.push(PackageRequest { name: name.to_owned(), version: None, origin: cx.origin(origin) });
    }
}

fn hostname(given: &SystemConfig, cx: &mut Context<'_>) -> Option<String> {
    let hostname = given.hostname.as_ref().filter(|hostname| !hostname.value.0.is_empty())?;
    let text = &hostname.value.0;
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if text.len() > 64 || !text.split('.').all(label) {
        let finding = Finding::error(Code::InvalidValue, "not a host name").found(format!("`{text}`"));
        let allowed = "letters, digits and `-`, at most 64 characters";
        cx.report(finding.allowed([allowed]), hostname.origin, "systemConfig.hostname");
    }
    Some(text.clone())
}

fn bootloader(given: &SystemConfig, cx: &mut Context<'_>) -> Option<Bootloader> {
    if cx.image_type != ImageType::Raw {
        return None;
    }
    let boot = given.bootloader.as_ref();
    let boot_type = boot.and_then(|boot| boot.boot_type.as_ref());
    let provider = boot.and_then(|boot| boot.provider.as_ref());
    let legacy = boot_type.filter(|boot_type| *boot_type.value() == BootTypeName::Legacy);
    let is_systemd_boot = provider.is_none_or(|provider| *provider.value() == ProviderName::SystemdBoot);
    if let Some(legacy) = legacy {
        if is_systemd_boot {
            let finding = Finding::error(Code::Contradiction, "systemd-boot needs UEFI firmware, and `bootType` is `legacy`");
            cx.report(finding.hint("use `provider: grub`"), legacy.origin, "systemConfig.bootloader.bootType");
        }
        cx.unsupported(legacy.origin, "systemConfig.bootloader.bootType", "images for BIOS firmware cannot be built yet; use `efi`");
    }
    Some(Bootloader {
        boot_type: if legacy.is_some() { BootType::Legacy } else { BootType::Efi },
        provider: if is_systemd_boot { BootloaderProvider::SystemdBoot } else { BootloaderProvider::Grub },
    })
}

fn kernel(
    layer: &Layer,
    given: &SystemConfig,
    bootloader: Option<Bootloader>,
    packages: &mut Vec<PackageRequest>,
    cx: &mut Context<'_>,
) -> Option<Kernel> {
    if cx.image_type == ImageType::Wsl2 {
        return None;
    }
    let none = layer::Kernel::default();
    let kernel = given.kernel.as_ref().map_or(&none, |kernel| kernel.value());
    let kernel_packages = kernel_packages(kernel, packages, cx);
    let listed = |name: &str| packages.iter().any(|package| package.name == name);
    let dracut = listed("dracut") || listed("dracut-core");
    let initramfs = match cx.provider.facts.initramfs {
        InitramfsGenerator::InitramfsTools if dracut && !listed("initramfs-tools") => InitramfsGenerator::Dracut,
        InitramfsGenerator::Dracut if listed("initramfs-tools") && !dracut => InitramfsGenerator::InitramfsTools,
        usual => usual,
    };
    let generator = match initramfs {
        InitramfsGenerator::InitramfsTools => Some("initramfs-tools"),
        InitramfsGenerator::Dracut if dracut => None,
        InitramfsGenerator::Dracut => Some("dracut"),
    };
    if let Some(generator) = generator {
        let origin = given.kernel.as_ref().map_or(cx.root, |kernel| kernel.origin);
        add_package(packages, generator, origin, cx);
    }
    let systemd_boot = bootloader.is_some_and(|bootloader| bootloader.provider == BootloaderProvider::SystemdBoot);
    if let Some(uki) = kernel.uki.as_ref().filter(|uki| *uki.value() != systemd_boot && bootloader.is_some()) {
        let reason = if systemd_boot {
            "systemd-boot starts unified kernel images only so far; leave `uki` out or write `true`"
        } else {
            "GRUB starts separate kernels only so far; leave `uki` out, or use `provider: systemd-boot`"
        };
        cx.unsupported(uki.origin, "systemConfig.kernel.uki", reason);
    }
    let text = |value: &Option<Located<Text>>| value.as_ref().map(|text| text.value.0.trim().to_owned()).filter(|text| !text.is_empty());
    Some(Kernel {
        version: text(&kernel.version),
        cmdline: command_line(layer, kernel, cx),
        packages: kernel_packages,
        extra_modules: modules(kernel, cx),
        initramfs,
        unified_image: systemd_boot,
    })
}

/// Returns the names of the kernel packages, and adds them to `packages`.
fn kernel_packages(kernel: &layer::Kernel, packages: &mut Vec<PackageRequest>, cx: &mut Context<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for entry in kernel.packages.iter().flatten() {
        let Some(request) = request(entry.value(), entry.origin, "systemConfig.kernel.packages", cx) else { continue };
        names.push(request.name.clone());
        match packages.iter_mut().find(|other| other.name == request.name) {
            Some(other) if other.version.is_none() => *other = request,
            Some(_) => {}
            None => packages.push(request),
        }
    }
    if names.is_empty() {
        let fallback = cx.provider.kernel_packages.first().cloned();
        let named = kernel.name.as_ref().map(|name| (name.value.0.clone(), name.origin));
        if let Some((name, origin)) = named.or_else(|| Some((fallback?, cx.root))) {
            add_package(packages, &name, origin, cx);
            names.push(name);
        }
    }
    names
}

/// Returns the kernel command line without `root=`, which `oic` writes itself.
fn command_line(layer: &Layer, kernel: &layer::Kernel, cx: &mut Context<'_>) -> String {
    let Some(cmdline) = &kernel.cmdline else { return String::new() };
    let field = "systemConfig.kernel.cmdline";
    if cmdline.value.0.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        cx.error(Code::InvalidValue, cmdline.origin, field, "a kernel command line has no control characters");
    }
    let mut words = Vec::new();
    for word in cmdline.value.0.split_ascii_whitespace() {
        let Some(root) = word.strip_prefix("root=") else {
            words.push(word);
            continue;
        };
        if names_root(layer, root) {
            let message = format!("`{word}` is left out of the command line: oic finds the root partition by itself");
            cx.warn(cmdline.origin, field, message);
        } else {
            let reason = format!("`{word}` is not the partition that is mounted at `/`; leave `root=` out, oic writes it");
            cx.unsupported(cmdline.origin, field, reason);
        }
    }
    words.join(" ")
}

/// Tells whether `root` names the root partition by one of its labels.
fn names_root(layer: &Layer, root: &str) -> bool {
    let partitions = layer.disk.as_ref().and_then(|disk| disk.partitions.as_ref());
    partitions.into_iter().flat_map(|partitions| partitions.value()).any(|partition| {
        let is_root = partition.mount_point.as_ref().is_some_and(|point| point.value() == "/");
        let text = |value: &Option<Located<Text>>| value.as_ref().map(|text| text.value.0.clone());
        let label = text(&partition.fs_label).is_some_and(|label| root.strip_prefix("LABEL=") == Some(&label));
        let name = text(&partition.name).or_else(|| text(&partition.id));
        is_root && (label || name.is_some_and(|name| root.strip_prefix("PARTLABEL=") == Some(&name)))
    })
}

fn modules(kernel: &layer::Kernel, cx: &mut Context<'_>) -> Vec<String> {
    let Some(list) = &kernel.enable_extra_modules else { return Vec::new() };
    let words: Vec<String> = list.value.0.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    for word in &words {
        if !word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let finding = Finding::error(Code::InvalidValue, "not the name of a kernel module").found(format!("`{word}`"));
            cx.report(finding, list.origin, "systemConfig.kernel.enableExtraModules");
        }
    }
    words
}

fn user(given: &Located<layer::User>, cx: &mut Context<'_>) -> Option<User> {
    let name = given.name.as_ref()?;
    let field = format!("systemConfig.users[{}]", name.value.0);
    if cx.is_placeholder(&name.value.0, name.origin, &field) {
        return None;
    }
    account_name(&name.value.0, name.origin, &field, "user", cx);
    let mut groups = Vec::new();
    for group in given.groups.iter().flatten() {
        let field = format!("{field}.groups");
        if !cx.is_placeholder(&group.value.0, group.origin, &field) && !groups.contains(&group.value.0) {
            account_name(&group.value.0, group.origin, &field, "group", cx);
            groups.push(group.value.0.clone());
        }
    }
    let mut path = |value: &Option<Located<String>>, key: &str| {
        let value = value.as_ref().filter(|value| !value.value().is_empty())?;
        destination(value.value(), value.origin, &format!("{field}.{key}"), cx)
    };
    let (home, shell, startup_script) =
        (path(&given.home, "home"), path(&given.shell, "shell"), path(&given.startup_script, "startupScript"));
    if let (Some(script), Some(_)) = (&given.startup_script, &shell)
        && startup_script.is_some()
    {
        cx.error(Code::Contradiction, script.origin, &field, "`startupScript` replaces the login shell, and `shell` gives another one");
    }
    Some(User {
        name: name.value.0.clone(),
        password: password(given, &field, cx),
        password_max_age_days: given.password_max_age.as_ref().map(|days| *days.value()),
        startup_script,
        groups,
        sudo: given.sudo.as_ref().is_some_and(|sudo| *sudo.value()),
        home,
        shell,
        authorized_keys: authorized_keys(given, &field, cx),
    })
}

fn account_name(text: &str, origin: Origin, field: &str, what: &str, cx: &mut Context<'_>) {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.strip_suffix('$').unwrap_or(text).chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if !first || !rest || text.len() > 32 {
        let finding = Finding::error(Code::InvalidValue, format!("not a {what} name")).found(format!("`{text}`"));
        cx.report(finding.allowed(["a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32"]), origin, field);
    }
}

fn password(given: &layer::User, field: &str, cx: &mut Context<'_>) -> Password {
    let Some(password) = &given.password else { return Password::Locked };
    let field = format!("{field}.password");
    let text = &password.value.0;
    if text.is_empty() {
        cx.warn(password.origin, &field, "no password is set: the account is locked for passwords, never open without one");
        return Password::Locked;
    }
    if matches!(text.as_str(), "!" | "*" | "!!" | "!*") {
        return Password::Locked;
    }
    if super::placeholder(text) {
        let finding = Finding::error(Code::Placeholder, "the password is a placeholder that is not filled in");
        cx.report(finding.hint("write a password or its crypt hash, or give one with `${NAME}` and `--var`"), password.origin, &field);
        return Password::Locked;
    }
    if is_crypt_hash(text) {
        return Password::Hashed(text.clone());
    }
    if text.contains(['\n', '\0', ':']) && text.contains(['\n', '\0']) {
        cx.error(Code::InvalidValue, password.origin, &field, "a password is one line");
    }
    let hash = match given.hash_algo.as_ref().map(|algorithm| (*algorithm.value(), algorithm.origin)) {
        None => cx.provider.facts.password_hash,
        Some((HashName::Sha512, _)) => PasswordHash::Sha512,
        Some((HashName::Sha256, _)) => PasswordHash::Sha256,
        Some((HashName::Yescrypt, _)) => PasswordHash::Yescrypt,
        Some((HashName::Bcrypt | HashName::Md5, origin)) => {
            let message = "oic does not hash plain-text passwords this way";
            let finding = Finding::error(Code::InvalidValue, message).allowed(["sha512", "sha256", "yescrypt"]);
            cx.report(finding.hint("or give the finished hash as the password"), origin, &field.replace(".password", ".hash_algo"));
            PasswordHash::Sha512
        }
    };
    Password::Plain { text: text.clone(), hash }
}

/// Tells whether a text is a hash in the form of crypt(5).
fn is_crypt_hash(text: &str) -> bool {
    const METHODS: [&str; 10] = ["1", "2a", "2b", "2y", "5", "6", "7", "y", "gy", "sm3"];
    let method = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let tail_ok = |tail: &str| tail.len() >= 20 && tail.chars().all(|c| c.is_ascii_alphanumeric() || "./$=,-".contains(c));
    method.is_some_and(|(method, tail)| METHODS.contains(&method) && tail_ok(tail))
}

fn authorized_keys(given: &layer::User, field: &str, cx: &mut Context<'_>) -> Vec<String> {
    let field = format!("{field}.authorizedKeys");
    let mut keys = Vec::new();
    for key in given.authorized_keys.iter().flatten() {
        let text = key.value().trim();
        let mut words = text.split_ascii_whitespace();
        let is_type = |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start));
        if cx.is_placeholder(text, key.origin, &field) {
            continue;
        }
        if text.contains('\n') || !words.any(is_type) || words.next().is_none() {
            let finding = Finding::error(Code::InvalidValue, "not an SSH public key").found(format!("`{text}`"));
            cx.report(finding.allowed(["ssh-ed25519 AAAA… name@host"]), key.origin, &field);
        }
        keys.push(text.to_owned());
    }
    keys
}

/// Checks an absolute path in the image.
fn destination(text: &str, origin: Origin, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let normal = text.starts_with('/') && !text.split('/').any(|part| matches!(part, "." | ".."));
    if normal && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    let finding = Finding::error(Code::InvalidValue, "not an absolute path in the image").found(format!("`{text}`"));
    cx.report(finding.allowed(["/path/without/dots"]), origin, field);
    None
}

fn files(given: &Located<layer::AdditionalFile>, cx: &mut Context<'_>) -> Vec<AdditionalFile> {
    let (Some(local), Some(target)) = (&given.local, &given.destination) else { return Vec::new() };
    let field = format!("systemConfig.additionalFiles[{}]", target.value());
    let Some(mut destination) = destination(target.value(), target.origin, &format!("{field}.final"), cx) else { return Vec::new() };
    let mode = mode(given, &field, cx);
    let path = cx.sources.resolve_path(local.origin, local.value());
    if cx.is_placeholder(local.value(), local.origin, &format!("{field}.local")) {
        return Vec::new();
    }
    let mut found = Vec::new();
    match std::fs::metadata(&path) {
        Err(_) => {
            missing_file(&path, local.origin, &format!("{field}.local"), cx);
            found.push((path.clone(), PathBuf::new()));
        }
        Ok(metadata) if metadata.is_dir() => collect(&path, &mut found, local.origin, &field, cx),
        Ok(_) => found.push((path.clone(), PathBuf::new())),
    }
    if destination.ends_with('/') && path.is_file() {
        destination.push_str(&path.file_name().unwrap_or_default().to_string_lossy());
    }
    let owner = |value: &Option<Located<Text>>| value.as_ref().map_or_else(|| "root".to_owned(), |text| text.value.0.clone());
    for (key, name) in [("owner", &given.owner), ("group", &given.group)] {
        if let Some(name) = name.as_ref().filter(|name| name.value.0.parse::<u32>().is_err()) {
            account_name(&name.value.0, name.origin, &format!("{field}.{key}"), key, cx);
        }
    }
    let before_initramfs = given.stage.as_ref().is_some_and(|stage| *stage.value() == FileStage::PreInitramfs);
    let origin = cx.origin(given.origin);
    let base = destination.trim_end_matches('/').to_owned();
    let entry = |(local, inside): (PathBuf, PathBuf)| AdditionalFile {
        local,
        destination: if inside.as_os_str().is_empty() { base.clone() } else { format!("{base}/{}", inside.display()) },
        mode,
        owner: owner(&given.owner),
        group: owner(&given.group),
        before_initramfs,
        origin: origin.clone(),
    };
    found.into_iter().map(entry).collect()
}

fn mode(given: &layer::AdditionalFile, field: &str, cx: &mut Context<'_>) -> Option<u32> {
    let mode = given.mode.as_ref()?;
    let digits = mode.value.0.trim().trim_start_matches("0o");
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if (3..=5).contains(&digits.len()) && bits <= 0o7777 => Some(bits),
        _ => {
            let finding = Finding::error(Code::InvalidValue, "not permission bits in octal").found(format!("`{digits}`"));
            cx.report(finding.allowed(["\"0644\"", "\"0755\""]), mode.origin, &format!("{field}.mode"));
            None
        }
    }
}

/// Finds every file of a folder, sorted, as (path, path inside the folder).
fn collect(folder: &Path, found: &mut Vec<(PathBuf, PathBuf)>, origin: Origin, field: &str, cx: &mut Context<'_>) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries = match std::fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) => {
                cx.error(Code::Unreadable, origin, field, format!("cannot read folder {}: {error}", next.display()));
                return;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if found.len() >= MAX_FILES {
                cx.error(Code::InvalidValue, origin, field, format!("folder {} has more than {MAX_FILES} files", folder.display()));
                return;
            }
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                let inside = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found.push((path, inside));
            } else {
                let message = format!("{} is neither a file nor a folder, and cannot be put into the image", path.display());
                cx.error(Code::InvalidValue, origin, field, message);
            }
        }
    }
    found.sort();
}

fn commands(given: &SystemConfig, cx: &mut Context<'_>) -> Vec<Command> {
    let mut commands = Vec::new();
    for command in given.configurations.iter().flatten() {
        let Some(cmd) = &command.cmd else { continue };
        if cmd.value.0.trim().is_empty() || cmd.value.0.contains('\0') {
            cx.error(Code::InvalidValue, cmd.origin, "systemConfig.configurations[].cmd", "a command is a text of at least one word");
        }
        commands.push(Command { command: cmd.value.0.clone(), origin: cx.origin(command.origin) });
    }
    commands
}
