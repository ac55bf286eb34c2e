//! Whether two images are the same, and what differs where they are not.
//!
//! ```text
//! bytes of the disks ── equal ──► done
//!        └─ different ─► tables → partitions → files of those that differ
//!                        boot entries, EFI programs, packages, system
//! ```
//!
//! Disks are compared, not containers: an image and its converted form are equal. Each difference says whether it can matter.

pub mod html;
mod packages;
pub mod report;
pub mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, path::PathBuf};

use oic_disk_formats::DiskReader;
use rayon::prelude::*;

pub use packages::{SbomError, compare_packages, load_packages};

use crate::{
    artifact::open::OpenedImage,
    inspect::{
        InspectError, Inspected, inspect,
        report::{BootEntry, EfiReport, ImageReport, PackageReport, PartitionReport},
    },
};
use report::{Area, COMPARISON_VERSION, Comparison, Difference, Weight};

/// The most differences that are listed.
const MAX_DIFFERENCES: usize = 20_000;
/// How much of two disks is compared at once.
const CHUNK: u64 = 4 << 20;

/// Why images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One of them cannot be read.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The disks cannot be read.
    #[error("cannot compare the disks in `{}` and `{}`", left.display(), right.display())]
    Read {
        /// The first image.
        left: PathBuf,
        /// The second image.
        right: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Compares two images.
///
/// # Errors
/// Fails when one cannot be read; damage in them is among the problems.
pub fn compare(left: &OpenedImage, right: &OpenedImage) -> Result<Comparison, CompareError> {
    let failed = |source| CompareError::Read { left: left.path.clone(), right: right.path.clone(), source };
    let size = left.disk.size().max(right.disk.size());
    let identical = left.disk.size() == right.disk.size() && same_bytes((&*left.disk, 0), (&*right.disk, 0), size).map_err(failed)?;
    let mut findings = Findings::default();
    let mut problems = Vec::new();
    if !identical {
        let (first, second) = (inspect(left)?, inspect(right)?);
        for (image, report) in [(left, &first.report), (right, &second.report)] {
            let name = image.path.display();
            problems.extend(report.problems.iter().map(|problem| format!("{name}: {problem}")));
        }
        described(&first.report, &second.report, &mut findings);
        partitions((left, &first), (right, &second), &mut findings).map_err(failed)?;
        if findings.list.is_empty() {
            let harmless = Difference::new(Area::Disk, "disk", "bytes outside of partitions").reason("nothing reads them");
            findings.push(harmless.weight(Weight::Harmless));
        }
    }
    Ok(findings.finish(left.path.display().to_string(), right.path.display().to_string(), identical, problems))
}

/// Differences, as many as are listed.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Difference>,
    omitted: u64,
}

impl Findings {
    fn push(&mut self, difference: Difference) {
        if self.list.len() < MAX_DIFFERENCES {
            self.list.push(difference);
        } else {
            self.omitted += 1;
        }
    }

    /// Notes two values if they differ.
    fn values(&mut self, area: Area, subject: &str, property: &str, left: &str, right: &str) {
        self.weighted(area, subject, property, (left, right), Weight::Matters, "");
    }

    fn weighted(&mut self, area: Area, subject: &str, property: &str, values: (&str, &str), weight: Weight, reason: &'static str) {
        if values.0 != values.1 {
            self.push(Difference::new(area, subject, property).values(Some(values.0), Some(values.1)).weight(weight).reason(reason));
        }
    }

    /// Compares what both sides have under the same key, and notes what only one has.
    fn keyed<T>(
        &mut self,
        area: Area,
        left: &BTreeMap<String, T>,
        right: &BTreeMap<String, T>,
        show: impl Fn(&T) -> String,
        mut both: impl FnMut(&mut Self, &str, &T, &T),
    ) {
        for (key, value) in left {
            match right.get(key) {
                Some(other) => both(self, key, value, other),
                None => self.push(Difference::new(area, key, "only in the first").values(Some(&show(value)), None)),
            }
        }
        for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
            self.push(Difference::new(area, key, "only in the second").values(None, Some(&show(value))));
        }
    }

    fn finish(mut self, left: String, right: String, identical: bool, problems: Vec<String>) -> Comparison {
        self.list.sort();
        Comparison { version: COMPARISON_VERSION, left, right, identical, differences: self.list, omitted: self.omitted, problems }
    }
}

impl Difference {
    fn new(area: Area, subject: &str, property: &str) -> Self {
        Self {
            area,
            subject: subject.to_owned(),
            property: property.to_owned(),
            left: None,
            right: None,
            weight: Weight::Matters,
            reason: "",
        }
    }

    fn values(mut self, left: Option<&str>, right: Option<&str>) -> Self {
        (self.left, self.right) = (left.map(str::to_owned), right.map(str::to_owned));
        self
    }

    fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    fn reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }
}

/// Returns whether two ranges of disks have the same bytes.
fn same_bytes(left: (&dyn DiskReader, u64), right: (&dyn DiskReader, u64), size: u64) -> io::Result<bool> {
    let same = |index: u64| {
        let at = index * CHUNK;
        let length = CHUNK.min(size - at);
        if left.0.is_hole(left.1 + at, length) && right.0.is_hole(right.1 + at, length) {
            return Ok(());
        }
        let (mut first, mut second) = (vec![0; length as usize], vec![0; length as usize]);
        left.0.read_at(&mut first, left.1 + at).map_err(Some)?;
        right.0.read_at(&mut second, right.1 + at).map_err(Some)?;
        // The first chunk that differs ends the work.
        if first == second { Ok(()) } else { Err(None) }
    };
    match (0..size.div_ceil(CHUNK)).into_par_iter().try_for_each(same) {
        Ok(()) => Ok(true),
        Err(None) => Ok(false),
        Err(Some(error)) => Err(error),
    }
}

/// Compares what the reports say, all but the partitions.
fn described(left: &ImageReport, right: &ImageReport, findings: &mut Findings) {
    findings.values(Area::Disk, "disk", "size", &left.file.disk_size.to_string(), &right.file.disk_size.to_string());
    if let (Some(left), Some(right)) = (&left.table, &right.table) {
        findings.values(Area::Disk, "table", "kind", left.kind, right.kind);
        findings.weighted(Area::Disk, "table", "disk id", (&left.id, &right.id), Weight::Harmless, "an identifier that nothing refers to");
        findings.values(Area::Disk, "table", "BIOS boot code", &left.boot_code.to_string(), &right.boot_code.to_string());
    }
    let entries = |report: &ImageReport| -> BTreeMap<String, BootEntry> {
        report
            .boot_entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry_key(index, entry, &report.boot_entries), entry.clone()))
            .collect()
    };
    findings.keyed(
        Area::Boot,
        &entries(left),
        &entries(right),
        |entry| entry.title.clone(),
        |findings, key, left, right| {
            findings.values(Area::Boot, key, "title", &left.title, &right.title);
            findings.values(Area::Boot, key, "command line", &left.cmdline, &right.cmdline);
            findings.values(Area::Boot, key, "kernel", left.kernel.as_deref().unwrap_or(""), right.kernel.as_deref().unwrap_or(""));
            findings.values(Area::Boot, key, "initramfs", &left.initramfs.join(" "), &right.initramfs.join(" "));
        },
    );
    let programs = |report: &ImageReport| -> BTreeMap<String, EfiReport> {
        report.efi.iter().map(|program| (format!("{}:{}", program.partition, program.path), program.clone())).collect()
    };
    findings.keyed(
        Area::Efi,
        &programs(left),
        &programs(right),
        |program| program.kind.to_owned(),
        |findings, key, left, right| {
            findings.values(Area::Efi, key, "kind", left.kind, right.kind);
            findings.values(Area::Efi, key, "signed by", &left.signed_by.join(", "), &right.signed_by.join(", "));
            let sbat = |program: &EfiReport| {
                program.sbat.iter().map(|entry| format!("{},{}", entry.component, entry.generation)).collect::<Vec<_>>().join(" ")
            };
            findings.values(Area::Efi, key, "SBAT", &sbat(left), &sbat(right));
            if let (Some(left), Some(right)) = (&left.uki, &right.uki) {
                for section in &left.sections {
                    let other = right.sections.iter().find(|other| other.name == section.name);
                    let (own, other) = (&section.sha256, other.map_or("missing", |other| &other.sha256));
                    findings.values(Area::Efi, key, &format!("section {}", section.name), own, other);
                }
            }
        },
    );
    let packages = |report: &ImageReport| report.packages.as_ref().map(|packages| packages.packages.clone()).unwrap_or_default();
    packages::differences(&packages(left), &packages(right), findings);
    system(left, right, findings);
}

/// Returns a name for an entry by which the other image's one is found.
fn entry_key(index: usize, entry: &BootEntry, all: &[BootEntry]) -> String {
    let before = all[..index].iter().filter(|other| other.path == entry.path && other.partition == entry.partition).count();
    let number = if before == 0 { String::new() } else { format!(" #{}", before + 1) };
    format!("{} {}:{}{number}", entry.kind, entry.partition, entry.path)
}

fn system(left: &ImageReport, right: &ImageReport, findings: &mut Findings) {
    let (Some(left), Some(right)) = (&left.system, &right.system) else { return };
    let shown = |value: &String| value.clone();
    findings.keyed(Area::System, &left.os_release, &right.os_release, shown, |findings, key, left, right| {
        findings.values(Area::System, &format!("os-release {key}"), "value", left, right);
    });
    findings.values(Area::System, "hostname", "value", &left.hostname, &right.hostname);
    findings.values(Area::System, "kernels", "value", &left.kernels.join(" "), &right.kernels.join(" "));
    findings.values(Area::System, "fstab", "lines", &left.fstab.join("\n"), &right.fstab.join("\n"));
    let users = |system: &crate::inspect::report::SystemReport| -> BTreeMap<String, String> {
        let show = |user: &crate::inspect::report::UserReport| {
            let key = if user.ssh_key { ", SSH key" } else { "" };
            format!("uid {}, gid {}, {}, {}, password {}{key}", user.uid, user.gid, user.home, user.shell, user.password)
        };
        system.users.iter().map(|user| (format!("user {}", user.name), show(user))).collect()
    };
    findings.keyed(Area::System, &users(left), &users(right), shown, |findings, key, left, right| {
        findings.values(Area::System, key, "account", left, right);
    });
}

/// Compares partitions by their numbers, and the files in those whose bytes differ.
fn partitions(left: (&OpenedImage, &Inspected), right: (&OpenedImage, &Inspected), findings: &mut Findings) -> io::Result<()> {
    let index = |inspected: &Inspected| -> BTreeMap<String, usize> {
        inspected.report.partitions.iter().enumerate().map(|(index, partition)| (name(partition), index)).collect()
    };
    let (first, second) = (index(left.1), index(right.1));
    let mut pairs = Vec::new();
    let show = |index: &usize| format!("number {index}");
    findings.keyed(Area::Partition, &first, &second, show, |_, _, left, right| pairs.push((*left, *right)));
    for (first, second) in pairs {
        let (own, other) = (&left.1.report.partitions[first], &right.1.report.partitions[second]);
        let subject = name(own);
        let before = findings.list.len();
        properties(&subject, own, other, findings);
        let same_size = own.size == other.size;
        if own.type_name == "extended" || same_size && same_bytes((&*left.0.disk, own.start), (&*right.0.disk, other.start), own.size)? {
            continue;
        }
        match (&left.1.trees[first], &right.1.trees[second]) {
            (Some(own), Some(other)) => tree::differences(&subject, own, other, findings)?,
            _ => findings.push(Difference::new(Area::Partition, &subject, "bytes").reason("its files are not read")),
        }
        if findings.list.len() == before {
            let difference = Difference::new(Area::Partition, &subject, "bytes").weight(Weight::Harmless);
            findings.push(difference.reason("the same files with the same content are in other places"));
        }
    }
    Ok(())
}

/// Returns what a partition is called: its number, and its label where it has one.
fn name(partition: &PartitionReport) -> String {
    if partition.label.is_empty() { partition.number.to_string() } else { format!("{} {}", partition.number, partition.label) }
}

fn properties(subject: &str, left: &PartitionReport, right: &PartitionReport, findings: &mut Findings) {
    const REFERENCE: &str = "fstab or the kernel command line may refer to it";
    let area = Area::Partition;
    findings.values(area, subject, "type", &left.type_id, &right.type_id);
    findings.weighted(area, subject, "PARTUUID", (&left.uuid, &right.uuid), Weight::Matters, REFERENCE);
    findings.weighted(area, subject, "start", (&left.start.to_string(), &right.start.to_string()), Weight::Harmless, "only its place");
    findings.values(area, subject, "size", &left.size.to_string(), &right.size.to_string());
    findings.values(area, subject, "attributes", &left.attributes.join(", "), &right.attributes.join(", "));
    let property = |partition: &PartitionReport, get: fn(&crate::inspect::report::FilesystemReport) -> String| {
        partition.filesystem.as_ref().map(get).unwrap_or_default()
    };
    let mut compared = |what: &str, get: fn(&crate::inspect::report::FilesystemReport) -> String, reason| {
        findings.weighted(area, subject, what, (&property(left, get), &property(right, get)), Weight::Matters, reason);
    };
    compared("filesystem", |filesystem| filesystem.kind.clone(), "");
    compared("label", |filesystem| filesystem.label.clone(), REFERENCE);
    compared("UUID", |filesystem| filesystem.uuid.clone(), REFERENCE);
    compared("filesystem size", |filesystem| filesystem.size.to_string(), "");
}

/// Returns packages by name and architecture.
fn by_name(packages: &[PackageReport]) -> BTreeMap<String, Vec<&PackageReport>> {
    let mut found: BTreeMap<String, Vec<&PackageReport>> = BTreeMap::new();
    for package in packages {
        found.entry(format!("{} {}", package.name, package.arch)).or_default().push(package);
    }
    found
}
