//! Programs for the firmware: what they are, who signed them, their SBAT, and the parts of unified kernel images.

use std::io;

use super::{
    certificate,
    report::{EfiReport, SbatEntry, SectionReport, UkiReport},
};
use crate::{digest::Sha256Digest, rootfs::Content};

/// The largest program that is read.
const MAX_PROGRAM: u64 = 1 << 30;
/// The most sections of a program, as the format has it.
const MAX_SECTIONS: u16 = 96;
/// The longest text of a section that is shown.
const MAX_TEXT: usize = 16 << 10;
/// The most lines of SBAT.
const MAX_SBAT: usize = 64;

/// Describes a program; none when it is not one.
pub(super) fn describe(partition: u32, path: &str, content: &Content) -> io::Result<Option<EfiReport>> {
    let mut head = vec![0; content.size().min(4096) as usize];
    content.read_exact_at(&mut head, 0)?;
    if !head.starts_with(b"MZ") {
        return Ok(None);
    }
    let bytes = content.read_all(MAX_PROGRAM)?;
    let Some(pe) = Pe::parse(&bytes) else { return Ok(None) };
    let sbat = pe.section(".sbat").map(sbat).unwrap_or_default();
    Ok(Some(EfiReport {
        partition,
        path: path.to_owned(),
        size: content.size(),
        kind: pe.kind(&sbat),
        arch: pe.arch(),
        sha256: Sha256Digest::of(&bytes).to_string(),
        signed_by: pe.certificates().into_iter().flat_map(certificate::signers).collect(),
        sbat,
        uki: pe.uki(),
    }))
}

/// A PE file.
struct Pe<'a> {
    bytes: &'a [u8],
    machine: u16,
    sections: Vec<(String, &'a [u8])>,
    /// Offset and size of the signatures in the file.
    signatures: (usize, usize),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
}

/// Returns the name of a section; longer ones are a slash and where the name is among the strings.
fn section_name(bytes: &[u8], field: &[u8], strings: usize) -> String {
    const LONGEST: usize = 64;
    let until_zero = |bytes: &[u8]| {
        let name: Vec<u8> = bytes.iter().take(LONGEST).take_while(|byte| **byte != 0).copied().collect();
        String::from_utf8_lossy(&name).into_owned()
    };
    let name = until_zero(field);
    let place = name.strip_prefix('/').and_then(|offset| strings.checked_add(offset.parse().ok()?));
    place.and_then(|place| bytes.get(place..)).map_or(name, until_zero)
}

impl<'a> Pe<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let pe = u32_at(bytes, 0x3c)?;
        if bytes.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
            return None;
        }
        let machine = u16_at(bytes, pe + 4)?;
        let count = u16_at(bytes, pe + 6)?.min(MAX_SECTIONS);
        let optional = pe + 24;
        // The data directories follow the fixed part, which is longer in 64-bit programs.
        let directories = optional + if u16_at(bytes, optional)? == 0x20b { 112 } else { 96 };
        let has_signatures = u32_at(bytes, directories - 4).is_some_and(|count| count > 4);
        let directory = |at: usize| u32_at(bytes, directories + 32 + at).filter(|_| has_signatures).unwrap_or(0);
        let table = optional + usize::from(u16_at(bytes, pe + 20)?);
        // The strings follow the symbols, of 18 bytes each.
        let strings = u32_at(bytes, pe + 16)?.saturating_mul(18).saturating_add(u32_at(bytes, pe + 12)?);
        let mut sections = Vec::new();
        for index in 0..usize::from(count) {
            let at = table + index * 40;
            let name = section_name(bytes, bytes.get(at..at + 8)?, strings);
            let (memory, raw, offset) = (u32_at(bytes, at + 8)?, u32_at(bytes, at + 16)?, u32_at(bytes, at + 20)?);
            // What was added by objcopy and its like has its real size in memory, padded in the file.
            let size = if memory == 0 { raw } else { raw.min(memory) };
            let content = offset.checked_add(size).and_then(|end| bytes.get(offset..end)).unwrap_or_default();
            sections.push((name, content));
        }
        Some(Self { bytes, machine, sections, signatures: (directory(0), directory(4)) })
    }

    fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.sections.iter().find(|(known, _)| known == name).map(|(_, content)| *content)
    }

    fn arch(&self) -> String {
        match self.machine {
            0x8664 => "x86_64".to_owned(),
            0xaa64 => "aarch64".to_owned(),
            0x5064 => "riscv64".to_owned(),
            0x014c => "i386".to_owned(),
            0x01c0 | 0x01c2 | 0x01c4 => "arm".to_owned(),
            0x6264 => "loongarch64".to_owned(),
            other => format!("0x{other:04x}"),
        }
    }

    fn kind(&self, sbat: &[SbatEntry]) -> &'static str {
        let has = |component: &str| sbat.iter().any(|entry| entry.component == component);
        let magic = self.section(".sdmagic").map(text).unwrap_or_default();
        if self.section(".linux").is_some() && (self.section(".osrel").is_some() || self.section(".cmdline").is_some()) {
            "uki"
        } else if magic.contains("systemd-boot") || has("systemd-boot") {
            "systemd-boot"
        } else if magic.contains("systemd-stub") || has("systemd-stub") {
            "systemd-stub"
        } else if has("grub") || self.section("mods").is_some() {
            "grub"
        } else if self.section(".vendor_cert").is_some() {
            "shim"
        } else if self.bytes.windows(10).any(|window| window == b"MokManager") {
            "mok-manager"
        } else if has("shim") {
            // Its helpers carry its SBAT, too.
            "shim-fallback"
        } else if self.bytes.get(0x202..0x206) == Some(b"HdrS") || matches!(self.bytes.get(0x38..0x3c), Some(b"ARM\x64" | b"RSC\x05")) {
            "linux"
        } else {
            "application"
        }
    }

    /// Returns the signatures, each a PKCS #7 message.
    fn certificates(&self) -> Vec<&'a [u8]> {
        let (offset, size) = self.signatures;
        let mut left = offset.checked_add(size).and_then(|end| self.bytes.get(offset..end)).filter(|_| offset > 0).unwrap_or_default();
        let mut found = Vec::new();
        while let (Some(length), Some(kind)) = (u32_at(left, 0), u16_at(left, 6)) {
            let Some(message) = left.get(8..length) else { break };
            if kind == 2 {
                found.push(message);
            }
            left = left.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        found
    }

    fn uki(&self) -> Option<UkiReport> {
        self.section(".linux")?;
        let sections = self.sections.iter().map(|(name, content)| SectionReport {
            name: name.clone(),
            size: content.len() as u64,
            sha256: Sha256Digest::of(content).to_string(),
        });
        let read = |name: &str| self.section(name).map(text).unwrap_or_default();
        let os_release = super::system::os_release(&read(".osrel"));
        Some(UkiReport {
            sections: sections.collect(),
            cmdline: read(".cmdline"),
            uname: read(".uname"),
            os: os_release.get("PRETTY_NAME").cloned().unwrap_or_default(),
        })
    }
}

/// Returns the text of a section.
fn text(bytes: &[u8]) -> String {
    let bytes: Vec<u8> = bytes.iter().take(MAX_TEXT).take_while(|byte| **byte != 0).copied().collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Returns the lines of SBAT: `component,generation,vendor,package,version,URL`.
fn sbat(bytes: &[u8]) -> Vec<SbatEntry> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let generation = fields.get(1)?.trim().parse().ok()?;
        Some(SbatEntry { component: (*fields.first()?).to_owned(), generation, version: fields.get(4).map_or("", |text| text).to_owned() })
    };
    text(bytes).lines().filter_map(parse).take(MAX_SBAT).collect()
}
