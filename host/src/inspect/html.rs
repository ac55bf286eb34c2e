//! A report as a page.

use std::fmt::Write as _;

use super::report::{EfiReport, ImageReport, PartitionReport};
use crate::report::page::{badge, bytes, code, escaped, page, section, table};

/// Colours of partitions, one after the other.
const COLORS: [&str; 6] = ["#3457d5", "#0e8a7d", "#b4541a", "#7a3fb5", "#a32f5b", "#4a6b1e"];

/// Returns the report as a page.
#[must_use]
pub fn render(report: &ImageReport) -> String {
    let file = &report.file;
    let system = report.system.as_ref().and_then(|system| system.os_release.get("PRETTY_NAME")).cloned().unwrap_or_default();
    let packed = file.compression.as_ref().map(|compression| format!(" in {compression}")).unwrap_or_default();
    let subtitle = format!("{system}{}{}{packed}", if system.is_empty() { "" } else { " · " }, file.format);
    let mut body = String::new();
    if !report.problems.is_empty() {
        let items: String = report.problems.iter().map(|problem| format!("<li>{}</li>", escaped(problem))).collect();
        body.push_str(&section("Problems", &format!("<ul class=\"plain\">{items}</ul>")));
    }
    body.push_str(&tiles(report));
    body.push_str(&disk(report));
    body.push_str(&boot(report));
    body.push_str(&programs(&report.efi));
    body.push_str(&users(report));
    body.push_str(&packages(report));
    page(&file.name, &subtitle, &body)
}

fn tiles(report: &ImageReport) -> String {
    let mut tiles = vec![
        ("disk", bytes(report.file.disk_size)),
        ("file", bytes(report.file.size)),
        ("partitions", report.partitions.len().to_string()),
    ];
    if let Some(packages) = &report.packages {
        tiles.push((if packages.family == "deb" { "Debian packages" } else { "RPM packages" }, packages.packages.len().to_string()));
    }
    tiles.push(("boot entries", report.boot_entries.len().to_string()));
    let signed = report.efi.iter().filter(|program| !program.signed_by.is_empty()).count();
    tiles.push(("EFI programs signed", format!("{signed} of {}", report.efi.len())));
    if let Some(kernel) = report.system.as_ref().and_then(|system| system.kernels.first()) {
        tiles.push(("kernel", kernel.clone()));
    }
    let html: String = tiles
        .iter()
        .map(|(name, value)| {
            format!(
                "<div class=\"tile{}\"><b>{}</b><span>{}</span></div>",
                if value.len() > 14 { " long" } else { "" },
                escaped(value),
                escaped(name)
            )
        })
        .collect();
    format!("<section><div class=\"tiles\">{html}</div></section>\n")
}

/// The disk as a bar, small partitions larger than they are, then as a table.
fn disk(report: &ImageReport) -> String {
    let mut bar = String::from("<div class=\"disk\">");
    let mut order: Vec<&PartitionReport> = report.partitions.iter().filter(|partition| partition.type_name != "extended").collect();
    order.sort_by_key(|partition| partition.start);
    let mut position = 0;
    for (index, partition) in order.iter().enumerate() {
        if partition.start > position + (8 << 20) {
            let _ = write!(bar, "<div class=\"part free\" style=\"flex:{}\">free</div>", weight(partition.start - position));
        }
        position = partition.start.saturating_add(partition.size);
        let filesystem = partition.filesystem.as_ref();
        let used = filesystem
            .and_then(|filesystem| Some(100 - filesystem.free?.saturating_mul(100).checked_div(filesystem.size.max(1))?.min(100)));
        let name = if partition.label.is_empty() { &partition.type_name } else { &partition.label };
        let _ = write!(
            bar,
            "<div class=\"part\" style=\"flex:{};background:{}\" title=\"{}\"><b>{}</b>{}<br>{}{}</div>",
            weight(partition.size),
            COLORS[index % COLORS.len()],
            escaped(&partition.type_name),
            escaped(name),
            escaped(filesystem.map_or("", |filesystem| &filesystem.kind)),
            bytes(partition.size),
            used.map(|percent| format!("<i style=\"width:{percent}%\"></i>")).unwrap_or_default(),
        );
    }
    bar.push_str("</div>\n");
    let row = |partition: &PartitionReport| {
        let filesystem = partition.filesystem.as_ref();
        let free = filesystem.and_then(|filesystem| filesystem.free).map(|free| format!("{} free", bytes(free))).unwrap_or_default();
        vec![
            partition.number.to_string(),
            escaped(&partition.label),
            escaped(&partition.type_name) + &partition.attributes.iter().map(|name| badge("", name)).collect::<String>(),
            format!("<span class=\"n\">{}</span>", bytes(partition.size)),
            filesystem.map(|filesystem| badge("info", &filesystem.kind) + &escaped(&filesystem.label)).unwrap_or_default(),
            code(filesystem.map_or("", |filesystem| &filesystem.uuid)),
            code(&partition.uuid),
            escaped(&free),
        ]
    };
    let rows: Vec<Vec<String>> = report.partitions.iter().map(row).collect();
    let title = report.table.as_ref().map_or("Disk".to_owned(), |table| format!("Disk · {} {}", table.kind.to_uppercase(), table.id));
    section(&title, &(bar + &table(None, &["#", "Label", "Type", "Size", "Filesystem", "UUID", "PARTUUID", ""], &rows)))
}

/// The share of a bar that a size gets: the square root, so that small ones can be seen.
fn weight(size: u64) -> u64 {
    (size >> 20).max(1).isqrt().max(1)
}

fn boot(report: &ImageReport) -> String {
    if report.boot_entries.is_empty() {
        return String::new();
    }
    let row = |entry: &super::report::BootEntry| {
        vec![badge("info", entry.kind), escaped(&entry.title), code(&format!("{}:{}", entry.partition, entry.path)), code(&entry.cmdline)]
    };
    let rows: Vec<Vec<String>> = report.boot_entries.iter().map(row).collect();
    section("Boot entries", &table(None, &["Kind", "Title", "File", "Kernel command line"], &rows))
}

fn programs(efi: &[EfiReport]) -> String {
    if efi.is_empty() {
        return String::new();
    }
    let row = |program: &EfiReport| {
        let signed = if program.signed_by.is_empty() {
            badge("warn", "not signed")
        } else {
            program.signed_by.iter().map(|name| badge("good", name)).collect()
        };
        let sbat: String = program.sbat.iter().map(|entry| badge("", &format!("{} {}", entry.component, entry.generation))).collect();
        let sections = program.uki.as_ref().map(|uki| {
            uki.sections.iter().map(|section| badge("", &format!("{} {}", section.name, bytes(section.size)))).collect::<String>()
        });
        vec![
            badge("info", program.kind) + &escaped(&program.arch),
            format!("<div class=\"path\">{}</div>", code(&format!("{}:{}", program.partition, program.path))),
            format!("<span class=\"n\">{}</span>", bytes(program.size)),
            signed,
            sbat + &sections.unwrap_or_default(),
            format!("<code class=\"n\" title=\"{}\">{}…</code>", program.sha256, &program.sha256[..program.sha256.len().min(8)]),
        ]
    };
    let rows: Vec<Vec<String>> = efi.iter().map(row).collect();
    section("EFI programs", &table(None, &["Kind", "File", "Size", "Signature", "SBAT and sections", "SHA-256"], &rows))
}

fn users(report: &ImageReport) -> String {
    let Some(system) = &report.system else { return String::new() };
    let row = |user: &super::report::UserReport| {
        let password = match user.password {
            "none" => badge("bad", "no password"),
            "set" => badge("info", "password"),
            _ => badge("", "locked"),
        };
        let key = if user.ssh_key { badge("info", "SSH key") } else { String::new() };
        vec![user.uid.to_string(), escaped(&user.name), password + &key, code(&user.home), code(&user.shell)]
    };
    let rows: Vec<Vec<String>> = system.users.iter().map(row).collect();
    section("Users", &table(None, &["UID", "Name", "Login", "Home", "Shell"], &rows))
}

fn packages(report: &ImageReport) -> String {
    let Some(packages) = &report.packages else { return String::new() };
    let row = |package: &super::report::PackageReport| {
        vec![
            escaped(&package.name),
            code(&package.version),
            escaped(&package.arch),
            escaped(package.source.as_deref().unwrap_or_default()),
            escaped(package.license.as_deref().unwrap_or_default())
                + &package.state.as_ref().map(|state| badge("warn", state)).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = packages.packages.iter().map(row).collect();
    let last = if packages.family == "rpm" { "Licence" } else { "" };
    section("Packages", &table(Some("packages"), &["Name", "Version", "Architecture", "Source", last], &rows))
}
