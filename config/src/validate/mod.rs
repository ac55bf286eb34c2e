//! A merged template to an [`ImageSpec`]: what values mean, and whether they agree.
//!
//! Each part of the template has its module, which turns a layer type into a spec type and adds a finding for everything that is
//! wrong. A part that cannot be made stands in as far as the others need it, so one mistake does not hide another; the spec is only
//! handed out when nothing was wrong.
//!
//! What is valid and cannot be built yet goes to [`Context::unsupported`], never to the findings.

mod accounts;
mod artifacts;
mod disk;
mod diskless;
mod layout;
mod mbr;
mod network;
mod packages;
mod partition;
mod provisioning;
mod raw_binaries;
mod settings;
mod system;
mod unsupported;

pub(crate) use packages::default_priority;

use std::path::PathBuf;

use crate::diagnostic::{Code, Finding, Findings};
use crate::layer::{ImageTypeName, Layer, Located};
use crate::node::Node;
use crate::provider::Provider;
use crate::shape::label;
use crate::source::{Origin, SourceMap};
use crate::spec::{Arch, BuilderSettings, ImageSpec, ImageType, Snapshot, Target, UnsupportedField};
use crate::units::ByteSize;

/// What every check works with.
pub(crate) struct Context<'a> {
    pub(crate) sources: &'a SourceMap,
    pub(crate) findings: &'a mut Findings,
    pub(crate) provider: &'a Provider,
    pub(crate) arch: Arch,
    pub(crate) image_type: ImageType,
    /// Whether a missing local file is an error.
    pub(crate) check_files: bool,
    pub(crate) unsupported: Vec<UnsupportedField>,
    /// Where to point when a value is missing altogether.
    pub(crate) root: Origin,
}

impl Context<'_> {
    /// Reports an error at a value.
    pub(crate) fn error(&mut self, code: Code, origin: Origin, field: &str, message: impl Into<String>) {
        self.report(Finding::error(code, message), origin, field);
    }

    /// Reports a warning at a value.
    pub(crate) fn warn(&mut self, origin: Origin, field: &str, message: impl Into<String>) {
        self.report(Finding::warning(Code::Notice, message), origin, field);
    }

    /// Reports a finding at a value.
    pub(crate) fn report(&mut self, finding: Finding, origin: Origin, field: &str) {
        self.findings.push(finding.at(self.sources.location(origin)).field(field));
    }

    /// Notes a value that is valid and cannot be built yet.
    pub(crate) fn unsupported(&mut self, origin: Origin, field: impl Into<String>, reason: impl Into<String>) {
        let origin = self.origin(origin);
        self.unsupported.push(UnsupportedField { field: field.into(), reason: reason.into(), origin });
    }

    /// Returns a place as the text that the spec keeps.
    pub(crate) fn origin(&self, origin: Origin) -> String {
        self.sources.location(origin).to_string()
    }

    /// Notes a text that nobody has filled in where a template can be valid with it, and tells whether it is one.
    pub(crate) fn is_left_open(&mut self, text: &str, origin: Origin, field: &str) -> bool {
        let found = placeholder(text);
        if found {
            let reason = format!("the placeholder `{}` is not filled in; write the real value, or remove the entry", text.trim());
            self.unsupported(origin, field, reason);
        }
        found
    }

    /// Parses a size.
    pub(crate) fn size(&mut self, text: &str, origin: Origin, field: &str) -> Option<ByteSize> {
        match text.parse() {
            Ok(size) => Some(size),
            Err(error) => {
                let finding =
                    Finding::error(Code::InvalidValue, format!("not a size: {error}")).allowed(["4GiB", "4096MiB", "4GB (decimal)"]);
                self.report(finding, origin, field);
                None
            }
        }
    }

    /// Reports a text that nobody has filled in, and tells whether it is one.
    pub(crate) fn is_placeholder(&mut self, text: &str, origin: Origin, field: &str) -> bool {
        let found = placeholder(text);
        if found {
            let finding = Finding::error(Code::Placeholder, format!("placeholder `{}` is not filled in", text.trim()));
            self.report(finding.hint("write the real value, or remove the entry"), origin, field);
        }
        found
    }
}

/// Tells whether a text is a placeholder such as `<URL>`.
pub(crate) fn placeholder(text: &str) -> bool {
    text.trim()
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
}

/// Validates a merged template.
pub(crate) fn validate(
    layer: &Layer,
    root: &Node,
    provider: &Provider,
    sources_in_order: Vec<PathBuf>,
    sources: &SourceMap,
    check_files: bool,
    findings: &mut Findings,
) -> Option<ImageSpec> {
    let target = layer.target.as_ref()?;
    let (os, dist, arch) = (target.os.as_ref()?, target.dist.as_ref()?, target.arch.as_ref()?);
    let arch = match *arch.value() {
        crate::layer::ArchName::X86_64 => Arch::X86_64,
        crate::layer::ArchName::Aarch64 => Arch::Aarch64,
        crate::layer::ArchName::Riscv64 => Arch::Riscv64,
        crate::layer::ArchName::Armv7hl => return None,
    };
    let image_type = match *target.image_type.as_ref()?.value() {
        ImageTypeName::Raw => ImageType::Raw,
        ImageTypeName::Img => ImageType::Img,
        ImageTypeName::Iso => ImageType::Iso,
        ImageTypeName::Wsl2 => ImageType::Wsl2,
        ImageTypeName::Container => ImageType::Container,
    };
    let mut cx = Context { sources, findings, provider, arch, image_type, check_files, unsupported: Vec::new(), root: root.origin };
    unsupported::check(layer, &mut cx);
    let (name, version) = image(layer, &mut cx);
    let mut repositories = packages::repositories(layer, &mut cx);
    provisioning::apt_policy(layer, &mut repositories, &mut cx);
    let system = system::system(layer, (&name, &version), &mut cx);
    let disk = disk::disk(layer, system.bootloader, &mut cx);
    let (artifacts, partition_artifacts) = artifacts::artifacts(layer, disk.as_ref(), &mut cx);
    let builder = builder(layer, &mut cx);
    let snapshot = snapshot(layer, &mut cx);
    let unsupported = std::mem::take(&mut cx.unsupported);
    Some(ImageSpec {
        name,
        version,
        target: Target { os: os.value().clone(), dist: dist.value().clone(), arch, image_type },
        disk,
        artifacts,
        partition_artifacts,
        system,
        repositories,
        provider: provider.facts.clone(),
        builder,
        snapshot,
        source_date_epoch: layer.reproducible.as_ref().and_then(|reproducible| Some(*reproducible.source_date_epoch.as_ref()?.value())),
        sources: sources_in_order,
        unsupported,
    })
}

/// Reports entries of a file that have the same key: merging would make one of them without a word.
pub(crate) fn check_duplicates(root: &Node, sources: &SourceMap, findings: &mut Findings) {
    for path in [
        &["systemConfig", "users"][..],
        &["systemConfig", "groups"],
        &["systemConfig", "network", "interfaces"],
        &["systemConfig", "provisioning", "scripts"],
        &["systemConfig", "additionalFiles"],
        &["disk", "partitions"],
    ] {
        let field = path.join(".");
        let items = root.at(path).and_then(Node::as_list).unwrap_or(&[]);
        for (index, item) in items.iter().enumerate() {
            let Some(name) = label(item) else { continue };
            if let Some(first) = items[..index].iter().find(|other| label(other).as_ref() == Some(&name)) {
                let line = first.origin.line;
                let finding = Finding::error(Code::Duplicate, format!("`{name}` is given twice, first in line {line}"));
                findings.push(finding.at(sources.location(item.origin)).field(format!("{field}[{name}]")));
            }
        }
    }
}

fn image(layer: &Layer, cx: &mut Context<'_>) -> (String, String) {
    let image = layer.image.as_ref();
    let name = image.and_then(|image| image.name.as_ref());
    let version = image.and_then(|image| image.version.as_ref());
    if let Some(name) = name {
        let text = &name.value.0;
        let edges = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        let inside = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !edges || !inside || text.len() > 128 {
            let finding = Finding::error(Code::InvalidValue, "not a name for an image").found(format!("`{text}`"));
            cx.report(finding.allowed(["letters, digits, `-` and `_`, a letter or digit at both ends"]), name.origin, "image.name");
        }
    }
    if let Some(version) = version {
        let text = &version.value.0;
        if !is_version(text) {
            let finding = Finding::error(Code::InvalidValue, "not a version of an image").found(format!("`{text}`"));
            cx.report(finding.allowed(["1", "1.2", "1.2.3", "1.2.3-rc1", "1.2.3+build5"]), version.origin, "image.version");
        }
    }
    let text = |value: Option<&Located<crate::layer::Text>>| value.map(|text| text.value.0.clone()).unwrap_or_default();
    (text(name), text(version))
}

fn is_version(text: &str) -> bool {
    let (numbers, rest) = match text.find(['-', '+']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    // Four parts are what eLxR calls its releases.
    (1..=4).contains(&parts.len())
        && parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
        && rest.is_none_or(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c)))
}

fn builder(layer: &Layer, cx: &mut Context<'_>) -> BuilderSettings {
    let none = BuilderSettings { memory: None, cpus: None, disk: None, network: false };
    let Some(builder) = &layer.builder else { return none };
    let memory = builder.memory.as_ref().and_then(|text| {
        let size = cx.size(&text.value.0, text.origin, "builder.memory")?;
        if size < ByteSize::mib(256) {
            let finding = Finding::error(Code::InvalidValue, "a builder needs at least 256MiB of memory").found(size.to_string());
            cx.report(finding, text.origin, "builder.memory");
        }
        Some(size)
    });
    let cpus = builder.cpus.as_ref().map(|cpus| {
        if !(1..=256).contains(cpus.value()) {
            let finding = Finding::error(Code::InvalidValue, "not a number of processors").found(cpus.to_string());
            cx.report(finding.allowed(["1 to 256"]), cpus.origin, "builder.cpus");
        }
        *cpus.value()
    });
    let disk = builder.disk.as_ref().filter(|text| text.value.0 != "auto");
    let disk = disk.and_then(|text| cx.size(&text.value.0, text.origin, "builder.disk"));
    let network = builder.network.as_ref().is_some_and(|network| *network.value() == crate::layer::BuilderNetwork::User);
    BuilderSettings { memory, cpus, disk, network }
}

fn snapshot(layer: &Layer, cx: &mut Context<'_>) -> Snapshot {
    let Some(snapshot) = &layer.snapshot else { return Snapshot::Latest };
    let text = &snapshot.value.0;
    if text == "latest" {
        return Snapshot::Latest;
    }
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape == "00000000T000000Z" {
        cx.unsupported(snapshot.origin, "snapshot", "building from a dated package archive is not possible yet; leave it out, and keep the lock to build from the same packages again");
    } else {
        let finding = Finding::error(Code::InvalidValue, "not a time of a package archive").found(format!("`{text}`"));
        cx.report(finding.allowed(["latest", "20261101T000000Z"]), snapshot.origin, "snapshot");
    }
    Snapshot::At(text.clone())
}
