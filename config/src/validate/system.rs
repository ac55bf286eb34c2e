//! `systemConfig`: packages, files, bootloader and kernel.

use std::path::{Path, PathBuf};

use super::packages::{excludes, missing_file, request};
use super::{Context, accounts, network, partition, provisioning, settings};
use crate::diagnostic::{Code, Finding};
use crate::layer::{self, BootTypeName, FileStage, FilesystemName, Layer, Located, ProviderName, SystemConfig, Text};
use crate::source::Origin;
use crate::spec::{
    AdditionalFile, Arch, BootType, Bootloader, BootloaderProvider, Ecosystem, FileSource, ImageType, InitramfsGenerator, Kernel,
    PackageRequest, PartitionType, System,
};

/// Most files that one folder of `additionalFiles` may hold.
const MAX_FILES: usize = 10_000;

/// Returns what is installed and configured.
pub(crate) fn system(layer: &Layer, (image_name, version): (&str, &str), cx: &mut Context<'_>) -> System {
    let empty = SystemConfig::default();
    let given = layer.system_config.as_ref().map_or(&empty, |system| system.value());
    let mut packages = packages(given, cx);
    let bootloader = bootloader(layer, given, cx);
    let kernel = kernel(layer, given, bootloader, &mut packages, cx);
    if let Some(bootloader) = bootloader {
        let origin = given.bootloader.as_ref().map_or(cx.root, |bootloader| bootloader.origin);
        add_boot_packages(bootloader, &mut packages, origin, cx);
    }
    let grows = layer.disk.as_ref().and_then(|disk| disk.extend_last_partition_to_fill_disk.as_ref()).filter(|grows| *grows.value());
    if let Some(grows) = grows.filter(|_| cx.image_type == ImageType::Raw) {
        for name in &cx.provider.facts.grow_packages {
            add_package(&mut packages, name, grows.origin, cx);
        }
    }
    let name = given.name.as_ref().map(|name| name.value.0.clone()).filter(|name| !name.is_empty());
    let mut system = System {
        name: name.unwrap_or_else(|| image_name.to_owned()),
        hostname: hostname(given, cx),
        locale: settings::locale(given, cx),
        timezone: settings::timezone(given, cx),
        keep_package_cache: given.keep_package_cache.as_ref().is_some_and(|keep| *keep.value()),
        hide_processes: hide_processes(given, cx),
        enable_systemd_firstboot: given.enable_systemd_firstboot.as_ref().is_some_and(|enable| *enable.value()),
        groups: given.groups.iter().flat_map(|groups| &groups.0).filter_map(|one| accounts::group(one, cx)).collect(),
        users: given.users.iter().flat_map(|users| &users.0).filter_map(|one| accounts::user(one, cx)).collect(),
        services: settings::services(given, cx),
        network: network::network(given, cx),
        files: given.additional_files.iter().flat_map(|files| &files.0).flat_map(|one| files(one, cx)).collect(),
        commands: settings::commands(given, cx),
        packages,
        excludes: excludes(given.excludes.as_ref(), "systemConfig.excludes", cx),
        weak_dependencies: given.weak_dependencies.as_ref().is_some_and(|weak| *weak.value()),
        package_docs: settings::package_docs(given, cx),
        package_languages: settings::package_languages(given, cx),
        remove_package_database: remove_package_database(given, cx),
        written: Vec::new(),
        bootloader,
        kernel,
    };
    provisioning::add(given, (image_name, version), &mut system, cx);
    system
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

/// Returns whether the image is without RPM's database. Nothing else than dpkg's could tell what an image of Debian's family has.
fn remove_package_database(given: &SystemConfig, cx: &mut Context<'_>) -> bool {
    let Some(remove) = given.remove_package_database.as_ref().filter(|remove| *remove.value()) else { return false };
    if cx.provider.facts.ecosystem != Ecosystem::Rpm {
        let message =
            format!("{} is made of Debian packages, and only the database of RPM can be left out", cx.provider.facts.display_name);
        cx.error(Code::Contradiction, remove.origin, "systemConfig.removePackageDatabase", message);
    }
    true
}

/// Returns whether `/proc` hides processes. fstab says so, which only the system of a disk reads.
fn hide_processes(given: &SystemConfig, cx: &mut Context<'_>) -> bool {
    let Some(hide) = given.hide_processes.as_ref().filter(|hide| *hide.value()) else { return false };
    if cx.image_type != ImageType::Raw {
        let message = format!("an image of type `{}` has no fstab of its own that could say how /proc is mounted", cx.image_type.name());
        cx.error(Code::Contradiction, hide.origin, "systemConfig.hideProcesses", message);
    }
    true
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

/// Returns the bootloader. GRUB starts on both kinds of firmware where the disk has a place for either's boot program.
fn bootloader(layer: &Layer, given: &SystemConfig, cx: &mut Context<'_>) -> Option<Bootloader> {
    if cx.image_type != ImageType::Raw {
        return None;
    }
    let boot = given.bootloader.as_ref();
    let boot_type = boot.and_then(|boot| boot.boot_type.as_ref());
    if boot_type.is_some_and(|boot_type| *boot_type.value() == BootTypeName::None) {
        return None;
    }
    let provider = boot.and_then(|boot| boot.provider.as_ref());
    let legacy = boot_type.filter(|boot_type| *boot_type.value() == BootTypeName::Legacy);
    let is_systemd_boot = provider.is_none_or(|provider| *provider.value() == ProviderName::SystemdBoot);
    let field = "systemConfig.bootloader.bootType";
    if let Some(legacy) = legacy {
        if is_systemd_boot {
            let finding = Finding::error(Code::Contradiction, "systemd-boot needs UEFI firmware, and `bootType` is `legacy`");
            cx.report(finding.hint("use `provider: grub`"), legacy.origin, field);
        }
        if cx.arch != Arch::X86_64 {
            let finding = Finding::error(Code::Contradiction, format!("machines of {} have no BIOS firmware", cx.arch));
            cx.report(finding.hint("use `bootType: efi`"), legacy.origin, field);
        } else if cx.provider.facts.grub_bios_packages.is_empty() {
            let message = format!("{} has no packages with GRUB for BIOS firmware", cx.provider.facts.display_name);
            cx.report(Finding::error(Code::Contradiction, message).hint("use `bootType: efi`"), legacy.origin, field);
        }
    }
    let partitions = layer.disk.as_ref().and_then(|disk| disk.partitions.as_ref()).map_or(&[][..], |partitions| partitions.value());
    let has = |kind: &PartitionType| partitions.iter().any(|partition| partition::names_type(partition, kind));
    let has_bios_packages = cx.arch == Arch::X86_64 && !cx.provider.facts.grub_bios_packages.is_empty();
    let boot_type = match legacy {
        Some(_) if has(&PartitionType::Esp) => BootType::Hybrid,
        Some(_) => BootType::Legacy,
        None if !is_systemd_boot && has(&PartitionType::BiosBoot) && has_bios_packages => BootType::Hybrid,
        None => BootType::Efi,
    };
    Some(Bootloader { boot_type, provider: if is_systemd_boot { BootloaderProvider::SystemdBoot } else { BootloaderProvider::Grub } })
}

/// Adds the packages that the bootloader is made of.
fn add_boot_packages(bootloader: Bootloader, packages: &mut Vec<PackageRequest>, origin: Origin, cx: &Context<'_>) {
    let facts = &cx.provider.facts;
    let of_provider = facts.bootloader_packages.iter().filter(|(provider, _)| *provider == bootloader.provider);
    let efi = of_provider.flat_map(|(_, names)| names).filter(|_| bootloader.boot_type.has_efi());
    let bios = facts.grub_bios_packages.iter().filter(|_| bootloader.boot_type.has_bios());
    for name in efi.chain(bios) {
        add_package(packages, name, origin, cx);
    }
}

fn kernel(
    layer: &Layer,
    given: &SystemConfig,
    bootloader: Option<Bootloader>,
    packages: &mut Vec<PackageRequest>,
    cx: &mut Context<'_>,
) -> Option<Kernel> {
    if !cx.image_type.has_kernel() {
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
    let uki = kernel.uki.as_ref().map(|uki| (*uki.value(), uki.origin));
    if let Some((true, origin)) = uki.filter(|_| bootloader.is_some_and(|bootloader| bootloader.boot_type.has_bios())) {
        let finding =
            Finding::error(Code::Contradiction, "a unified kernel image is a program for UEFI firmware, and this disk starts on BIOS, too");
        cx.report(finding.hint("leave `uki` out, or use `bootType: efi`"), origin, "systemConfig.kernel.uki");
    }
    if uki.is_some_and(|(uki, _)| uki) && bootloader.is_some() && !systemd_boot {
        // Its stub is what a unified image begins with, whatever starts it.
        for (_, names) in cx.provider.facts.bootloader_packages.iter().filter(|(provider, _)| *provider == BootloaderProvider::SystemdBoot)
        {
            for name in names {
                add_package(packages, name, given.kernel.as_ref().map_or(cx.root, |kernel| kernel.origin), cx);
            }
        }
    }
    let text = |value: &Option<Located<Text>>| value.as_ref().map(|text| text.value.0.trim().to_owned()).filter(|text| !text.is_empty());
    let (cmdline, root) = command_line(layer, kernel, cx);
    Some(Kernel {
        version: text(&kernel.version),
        cmdline,
        root,
        packages: kernel_packages,
        extra_modules: modules(layer, kernel, cx),
        initramfs,
        unified_image: uki.map_or(systemd_boot, |(uki, _)| uki),
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

/// Returns the kernel command line without `root=`, and that apart where it is not the partition that `oic` would name.
fn command_line(layer: &Layer, kernel: &layer::Kernel, cx: &mut Context<'_>) -> (String, Option<String>) {
    let Some(cmdline) = &kernel.cmdline else { return (String::new(), None) };
    let field = "systemConfig.kernel.cmdline";
    if cmdline.value.0.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        cx.error(Code::InvalidValue, cmdline.origin, field, "a kernel command line has no control characters");
    }
    let (mut words, mut other) = (Vec::new(), None);
    for word in cmdline.value.0.split_ascii_whitespace() {
        let Some(root) = word.strip_prefix("root=") else {
            words.push(word);
            continue;
        };
        if names_root(layer, root) {
            let message = format!("`{word}` is left out of the command line: oic finds the root partition by itself");
            cx.warn(cmdline.origin, field, message);
        } else {
            let message = format!("the kernel is told `{word}`, and nothing checks that this is the disk's partition at `/`");
            let finding = Finding::warning(Code::Notice, message).hint("leave `root=` out, oic finds the root partition by itself");
            cx.report(finding, cmdline.origin, field);
            other = Some(root.to_owned());
        }
    }
    (words.join(" "), other)
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

/// Returns the modules that the initramfs must include: those of the template, and a root filesystem's that generators leave out.
fn modules(layer: &Layer, kernel: &layer::Kernel, cx: &mut Context<'_>) -> Vec<String> {
    let text = kernel.enable_extra_modules.as_ref().map_or("", |list| list.value.0.as_str());
    let mut words: Vec<String> = text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    for word in &words {
        if !word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let finding = Finding::error(Code::InvalidValue, "not the name of a kernel module").found(format!("`{word}`"));
            let origin = kernel.enable_extra_modules.as_ref().map_or(cx.root, |list| list.origin);
            cx.report(finding, origin, "systemConfig.kernel.enableExtraModules");
        }
    }
    let partitions = layer.disk.as_ref().and_then(|disk| disk.partitions.as_ref()).map_or(&[][..], |partitions| partitions.value());
    let root = partitions.iter().find(|partition| partition.mount_point.as_ref().is_some_and(|point| point.value() == "/"));
    let module = match root.and_then(|root| root.fs_type.as_ref()).map(|name| *name.value()) {
        Some(FilesystemName::Squashfs) => "squashfs",
        Some(FilesystemName::Erofs) => "erofs",
        _ => return words,
    };
    if cx.image_type == ImageType::Raw && !words.iter().any(|word| word == module) {
        words.push(module.to_owned());
    }
    words
}

/// Checks an absolute path in the image.
pub(super) fn destination(text: &str, origin: Origin, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let normal = text.starts_with('/') && !text.split('/').any(|part| matches!(part, "." | ".."));
    if normal && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    let finding = Finding::error(Code::InvalidValue, "not an absolute path in the image").found(format!("`{text}`"));
    cx.report(finding.allowed(["/path/without/dots"]), origin, field);
    None
}

fn files(given: &Located<layer::AdditionalFile>, cx: &mut Context<'_>) -> Vec<AdditionalFile> {
    let Some(target) = &given.destination else { return Vec::new() };
    let field = format!("systemConfig.additionalFiles[{}]", target.value());
    let Some(mut destination) = destination(target.value(), target.origin, &format!("{field}.final"), cx) else { return Vec::new() };
    let mode = mode(given, &field, cx);
    let Some(local) = source(given, &field, cx) else { return written(given, destination, mode, cx).into_iter().collect() };
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
    let (owner, group) = owners(given, &field, cx);
    let before_initramfs = given.stage.as_ref().is_some_and(|stage| *stage.value() == FileStage::PreInitramfs);
    let origin = cx.origin(given.origin);
    let base = destination.trim_end_matches('/').to_owned();
    let entry = |(local, inside): (PathBuf, PathBuf)| AdditionalFile {
        source: FileSource::Local(local),
        destination: if inside.as_os_str().is_empty() { base.clone() } else { format!("{base}/{}", inside.display()) },
        mode,
        owner: owner.clone(),
        group: group.clone(),
        before_initramfs,
        origin: origin.clone(),
    };
    found.into_iter().map(entry).collect()
}

/// Returns the local file that an entry names, none for one that has its text.
fn source<'g>(given: &'g Located<layer::AdditionalFile>, field: &str, cx: &mut Context<'_>) -> Option<&'g Located<String>> {
    match (&given.local, &given.content) {
        (Some(_), Some(content)) => {
            let message = "a file has either `local` or `content`, and here are both";
            cx.error(Code::Contradiction, content.origin, &format!("{field}.content"), message);
        }
        (None, None) => {
            let finding = Finding::error(Code::MissingField, "`local` is missing");
            cx.report(
                finding.hint("`local`: a file of this machine, or `content`: the text itself"),
                given.origin,
                &format!("{field}.local"),
            );
        }
        _ => {}
    }
    given.local.as_ref()
}

/// Returns a file whose text the template has.
fn written(given: &Located<layer::AdditionalFile>, destination: String, mode: Option<u32>, cx: &mut Context<'_>) -> Option<AdditionalFile> {
    let content = given.content.as_ref()?;
    let field = format!("systemConfig.additionalFiles[{destination}]");
    if destination.ends_with('/') {
        cx.error(Code::InvalidValue, content.origin, &field, "a file that has its text here needs a name, and `final` is a folder");
    }
    let (owner, group) = owners(given, &field, cx);
    Some(AdditionalFile {
        source: FileSource::Text(content.value.0.clone()),
        destination,
        mode,
        owner,
        group,
        before_initramfs: given.stage.as_ref().is_some_and(|stage| *stage.value() == FileStage::PreInitramfs),
        origin: cx.origin(given.origin),
    })
}

/// Returns owner and group of a file.
fn owners(given: &layer::AdditionalFile, field: &str, cx: &mut Context<'_>) -> (String, String) {
    for (key, name) in [("owner", &given.owner), ("group", &given.group)] {
        if let Some(name) = name.as_ref().filter(|name| name.value.0.parse::<u32>().is_err()) {
            accounts::account_name(&name.value.0, name.origin, &format!("{field}.{key}"), key, cx);
        }
    }
    let owner = |value: &Option<Located<Text>>| value.as_ref().map_or_else(|| "root".to_owned(), |text| text.value.0.clone());
    (owner(&given.owner), owner(&given.group))
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
