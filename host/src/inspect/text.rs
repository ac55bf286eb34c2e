//! A report as text for a terminal: one block for each subject, nothing that is empty.

use std::fmt::Write as _;

use super::report::{EfiReport, ImageReport, PartitionReport};
use crate::report::page::bytes;

/// Packages are listed by `--format json`; the text has their number and the first of them only when there are few.
const MOST_PACKAGES: usize = 40;

/// Returns the report as text.
#[must_use]
pub fn render(report: &ImageReport) -> String {
    let mut text = String::new();
    let file = &report.file;
    let packed = file.compression.as_ref().map(|compression| format!(" in {compression}")).unwrap_or_default();
    line(&mut text, "image", &file.name);
    line(&mut text, "format", &format!("{}{packed}, {} bytes, a disk of {}", file.format, file.size, bytes(file.disk_size)));
    if let Some(table) = &report.table {
        let code = if table.boot_code { ", with BIOS boot code" } else { "" };
        line(&mut text, "table", &format!("{} {}{code}", table.kind, table.id));
    }
    if let Some(system) = &report.system {
        let name = system.os_release.get("PRETTY_NAME").or_else(|| system.os_release.get("ID"));
        line(&mut text, "system", name.map_or("unknown", String::as_str));
        if let Some(subvolume) = &system.subvolume {
            line(&mut text, "subvolume", subvolume);
        }
        if !system.hostname.is_empty() {
            line(&mut text, "hostname", &system.hostname);
        }
        line(&mut text, "kernels", &system.kernels.join(", "));
        let people: Vec<String> = system
            .users
            .iter()
            .filter(|user| user.uid == 0 || (1000..60000).contains(&user.uid))
            .map(|user| format!("{} (password {})", user.name, user.password))
            .collect();
        line(&mut text, "users", &people.join(", "));
    }
    if let Some(packages) = &report.packages {
        line(&mut text, "packages", &format!("{} ({})", packages.packages.len(), packages.family));
    }
    text.push_str("\npartitions\n");
    report.partitions.iter().for_each(|partition| render_partition(&mut text, partition));
    if !report.boot_entries.is_empty() {
        text.push_str("\nboot entries\n");
        for entry in &report.boot_entries {
            let _ = writeln!(text, "  {:<6} {}  {}:{}", entry.kind, entry.title, entry.partition, entry.path);
            if !entry.cmdline.is_empty() {
                let _ = writeln!(text, "         {}", entry.cmdline);
            }
        }
    }
    if !report.efi.is_empty() {
        text.push_str("\nEFI programs\n");
        report.efi.iter().for_each(|program| render_program(&mut text, program));
    }
    if let Some(packages) = report.packages.as_ref().filter(|packages| packages.packages.len() <= MOST_PACKAGES) {
        text.push_str("\ninstalled\n");
        for package in &packages.packages {
            let _ = writeln!(text, "  {} {} {}", package.name, package.version, package.arch);
        }
    }
    if !report.problems.is_empty() {
        text.push_str("\nproblems\n");
        for problem in &report.problems {
            let _ = writeln!(text, "  {problem}");
        }
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(text, "{name:<10}{value}");
    }
}

fn render_partition(text: &mut String, partition: &PartitionReport) {
    let label = if partition.label.is_empty() { "-" } else { &partition.label };
    let size = bytes(partition.size);
    let _ = writeln!(text, "  {:>2}  {label:<16} {size:>10}  {}", partition.number, partition.type_name);
    if let Some(filesystem) = &partition.filesystem {
        let mut words = vec![filesystem.kind.clone()];
        if !filesystem.label.is_empty() {
            words.push(format!("label {}", filesystem.label));
        }
        if !filesystem.uuid.is_empty() {
            words.push(format!("UUID {}", filesystem.uuid));
        }
        if let Some(free) = filesystem.free {
            words.push(format!("{} of {} free", bytes(free), bytes(filesystem.size)));
        }
        if let Some(entries) = filesystem.entries {
            words.push(format!("{entries} files"));
        }
        let _ = writeln!(text, "      {}", words.join(", "));
    }
    if !partition.uuid.is_empty() {
        let _ = writeln!(text, "      PARTUUID {}", partition.uuid);
    }
    if !partition.attributes.is_empty() {
        let _ = writeln!(text, "      {}", partition.attributes.join(", "));
    }
}

fn render_program(text: &mut String, program: &EfiReport) {
    let signed = if program.signed_by.is_empty() { "not signed".to_owned() } else { format!("signed by {}", program.signed_by.join(", ")) };
    let _ = writeln!(text, "  {}:{}  {} {}, {signed}", program.partition, program.path, program.kind, program.arch);
    if !program.sbat.is_empty() {
        let sbat: Vec<String> = program.sbat.iter().map(|entry| format!("{} {}", entry.component, entry.generation)).collect();
        let _ = writeln!(text, "      SBAT {}", sbat.join(", "));
    }
    if let Some(uki) = &program.uki {
        let sections: Vec<String> = uki.sections.iter().map(|section| format!("{} {}", section.name, section.size)).collect();
        let _ = writeln!(text, "      kernel {}: {}", uki.uname, uki.cmdline);
        let _ = writeln!(text, "      sections {}", sections.join(", "));
    }
}
