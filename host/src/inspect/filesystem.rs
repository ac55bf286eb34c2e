//! What a partition holds, by its first bytes: kind, label, UUID and size; and the files of the filesystems that are read.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use uuid::Uuid;

use super::{archive, report::FilesystemReport};
use crate::{
    causes,
    disk::{
        ext4_read,
        fat_read::{self, FatVolume},
        tree_read,
    },
    rootfs::{HostFile, RootTree},
};

/// How much of a partition is looked at: Btrfs has its superblock at 64 KiB.
const HEAD: u64 = 68 << 10;

/// Returns what a partition holds and, where that is read, its files. What could not be read is added to `problems`.
pub(super) fn probe(
    file: &Arc<HostFile>,
    scratch: &Path,
    problems: &mut Vec<String>,
) -> io::Result<Option<(FilesystemReport, Option<RootTree>)>> {
    let mut head = vec![0; HEAD.min(file.size()) as usize];
    file.read_exact_at(&mut head, 0)?;
    head.resize(HEAD as usize, 0);
    let head = Head(head);
    let found = ext(&head)
        .or_else(|| xfs(&head))
        .or_else(|| btrfs(&head))
        .or_else(|| squashfs(&head))
        .or_else(|| erofs(&head))
        .or_else(|| f2fs(&head))
        .or_else(|| swap(&head, file.size()))
        .or_else(|| verity(&head))
        .or_else(|| luks(&head, file.size()))
        .or_else(|| iso9660(&head));
    if let Some(mut report) = found {
        let tree = tree(file, &report.kind, problems);
        if let Some(tree) = &tree {
            report.entries = Some(tree.walk().count() as u64);
        }
        return Ok(Some((report, tree)));
    }
    if let Some(kind) = archive::kind(&head.0) {
        let mut report = report(kind, String::new(), String::new(), file.size());
        let read = archive::read_tree(file, kind, scratch);
        let tree = read.map_err(|error| problems.push(format!("the archive cannot be read: {}", causes::in_one_line(&error)))).ok();
        let tree = tree.map(|(tree, layers)| {
            report.entries = Some(tree.walk().count() as u64);
            report.details.extend(layers.map(|layers| ("containerLayers".to_owned(), layers.to_string())));
            tree
        });
        return Ok(Some((report, tree)));
    }
    let Some(volume) = FatVolume::read(file)? else { return Ok(None) };
    let mut report = report("vfat", volume.label.clone(), String::new(), volume.size);
    report.uuid = format!("{:04X}-{:04X}", volume.serial >> 16, volume.serial & 0xffff);
    report.details.insert("bits".to_owned(), volume.bits.to_string());
    match fat_read::read_tree(file) {
        Ok((tree, free)) => {
            report.free = Some(free);
            report.entries = Some(tree.walk().count() as u64);
            Ok(Some((report, Some(tree))))
        }
        Err(error) => {
            problems.push(format!("the files of a FAT filesystem cannot be listed: {}", causes::in_one_line(&error)));
            Ok(Some((report, None)))
        }
    }
}

/// Reads the files of a filesystem; none where that is not done. What stands against it is added to `problems`.
fn tree(file: &Arc<HostFile>, kind: &str, problems: &mut Vec<String>) -> Option<RootTree> {
    let read = if kind.starts_with("ext") {
        ext4_read::read_tree(file).map_err(|error| causes::in_one_line(&error))
    } else if let Some(reader) = tree_read::reader(kind) {
        reader(file).map_err(|error| causes::in_one_line(&error))
    } else if kind == "f2fs" {
        problems.push("the files of f2fs filesystems are not read, so that nothing is told of a system in it".to_owned());
        return None;
    } else {
        return None;
    };
    read.map_err(|error| problems.push(format!("the files of a filesystem cannot be listed: {error}"))).ok()
}

/// The first bytes of a partition.
struct Head(Vec<u8>);

impl Head {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|index| self.0.get(at + index).copied().unwrap_or(0))
    }

    fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.0.get(at..at + magic.len()) == Some(magic)
    }

    fn u16(&self, at: usize) -> u64 {
        u64::from(u16::from_le_bytes(self.bytes(at)))
    }

    fn u32(&self, at: usize) -> u64 {
        u64::from(u32::from_le_bytes(self.bytes(at)))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn u32_be(&self, at: usize) -> u64 {
        u64::from(u32::from_be_bytes(self.bytes(at)))
    }

    fn u64_be(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes(at))
    }

    fn uuid(&self, at: usize) -> String {
        let uuid = Uuid::from_bytes(self.bytes(at));
        if uuid.is_nil() { String::new() } else { uuid.to_string() }
    }

    /// Returns text that ends with a zero or after `length` bytes.
    fn text(&self, at: usize, length: usize) -> String {
        let bytes: Vec<u8> = self.0.iter().skip(at).take(length).take_while(|byte| **byte != 0).copied().collect();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }
}

fn report(kind: &str, label: String, uuid: String, size: u64) -> FilesystemReport {
    FilesystemReport { kind: kind.to_owned(), label, uuid, size, free: None, entries: None, details: BTreeMap::new() }
}

fn detailed(mut report: FilesystemReport, details: &[(&str, String)]) -> FilesystemReport {
    report.details.extend(details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    report
}

fn ext(head: &Head) -> Option<FilesystemReport> {
    const AT: usize = 1024;
    if !head.has(AT + 56, &[0x53, 0xef]) {
        return None;
    }
    let (compatible, incompatible, read_only) = (head.u32(AT + 92), head.u32(AT + 96), head.u32(AT + 100));
    // Extents, 64 bits, flexible groups; checksums, huge files: what only ext4 has.
    let kind = if incompatible & 0x2c0 != 0 || read_only & 0x478 != 0 {
        "ext4"
    } else if compatible & 4 != 0 {
        "ext3"
    } else {
        "ext2"
    };
    let block = 1024_u64 << head.u32(AT + 24).min(6);
    let wide = if incompatible & 0x80 != 0 { 32 } else { 64 };
    let high = |at: usize| if wide == 32 { head.u32(AT + at) << 32 } else { 0 };
    let (blocks, free) = (head.u32(AT + 4) | high(0x150), head.u32(AT + 12) | high(0x158));
    let mut report = report(kind, head.text(AT + 120, 16), head.uuid(AT + 104), blocks.saturating_mul(block));
    report.free = Some(free.saturating_mul(block));
    let state = if head.u16(AT + 58) & 1 == 1 { "clean" } else { "not clean" };
    Some(detailed(report, &[("blockSize", block.to_string()), ("inodes", head.u32(AT).to_string()), ("state", state.to_owned())]))
}

fn xfs(head: &Head) -> Option<FilesystemReport> {
    if !head.has(0, b"XFSB") {
        return None;
    }
    let block = head.u32_be(4);
    let mut found = report("xfs", head.text(108, 12), head.uuid(32), head.u64_be(8).saturating_mul(block));
    found.free = Some(head.u64_be(144).saturating_mul(block));
    Some(detailed(found, &[("blockSize", block.to_string())]))
}

fn btrfs(head: &Head) -> Option<FilesystemReport> {
    const AT: usize = 64 << 10;
    if !head.has(AT + 64, b"_BHRfS_M") {
        return None;
    }
    let (total, used) = (head.u64(AT + 112), head.u64(AT + 120));
    let mut found = report("btrfs", head.text(AT + 299, 256), head.uuid(AT + 32), total);
    found.free = Some(total.saturating_sub(used));
    Some(found)
}

fn squashfs(head: &Head) -> Option<FilesystemReport> {
    if !head.has(0, b"hsqs") {
        return None;
    }
    let compression = ["", "gzip", "lzma", "lzo", "xz", "lz4", "zstd"].get(head.u16(20) as usize).copied().unwrap_or("unknown");
    let mut found = report("squashfs", String::new(), String::new(), head.u64(40));
    found.entries = Some(head.u32(4));
    Some(detailed(found, &[("compression", compression.to_owned()), ("created", head.u32(8).to_string())]))
}

fn erofs(head: &Head) -> Option<FilesystemReport> {
    const AT: usize = 1024;
    if head.u32(AT) != 0xe0f5_e1e2 {
        return None;
    }
    let block = 1_u64 << u32::from(head.bytes::<1>(AT + 12)[0]).min(16);
    let mut found = report("erofs", head.text(AT + 64, 16), head.uuid(AT + 48), head.u32(AT + 36).saturating_mul(block));
    found.entries = Some(head.u64(AT + 16));
    Some(found)
}

fn f2fs(head: &Head) -> Option<FilesystemReport> {
    const AT: usize = 1024;
    if head.u32(AT) != 0xf2f5_2010 {
        return None;
    }
    let units: Vec<u16> = (0..64).map(|index| head.u16(AT + 124 + index * 2) as u16).take_while(|unit| *unit != 0).collect();
    let block = 1_u64 << head.u32(AT + 16).min(16);
    Some(report("f2fs", String::from_utf16_lossy(&units), head.uuid(AT + 108), head.u64(AT + 36).saturating_mul(block)))
}

fn swap(head: &Head, size: u64) -> Option<FilesystemReport> {
    head.has(4086, b"SWAPSPACE2").then(|| report("swap", head.text(1052, 16), head.uuid(1036), size))
}

/// The superblock of a dm-verity hash device.
fn verity(head: &Head) -> Option<FilesystemReport> {
    if !head.has(0, b"verity\0\0") {
        return None;
    }
    let (data_block, hash_block, blocks) = (head.u32(64), head.u32(68), head.u64(72));
    let salt_size = (head.u16(80) as usize).min(256);
    let salt: String = head.0.iter().skip(88).take(salt_size).map(|byte| format!("{byte:02x}")).collect();
    let found = report("dm-verity", String::new(), head.uuid(16), 0);
    let protects = blocks.saturating_mul(data_block);
    Some(detailed(
        found,
        &[
            ("algorithm", head.text(32, 32)),
            ("dataBlockSize", data_block.to_string()),
            ("hashBlockSize", hash_block.to_string()),
            ("protects", protects.to_string()),
            ("salt", salt),
        ],
    ))
}

fn luks(head: &Head, size: u64) -> Option<FilesystemReport> {
    if !head.has(0, b"LUKS\xba\xbe") {
        return None;
    }
    let version = u16::from_be_bytes(head.bytes(6));
    let label = if version == 2 { head.text(24, 48) } else { String::new() };
    Some(detailed(report("LUKS", label, head.text(168, 40), size), &[("version", version.to_string())]))
}

fn iso9660(head: &Head) -> Option<FilesystemReport> {
    head.has(32769, b"CD001").then(|| report("iso9660", head.text(32808, 32), String::new(), head.u32(32848) * 2048))
}
