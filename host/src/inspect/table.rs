//! Partition tables: GPT (UEFI specification, chapter 5) and MBR with logical partitions. Both headers are tried; numbers are
//! bounded before they are used.

use std::io;

use oic_disk_formats::DiskReader;
use uuid::Uuid;

use super::report::{PartitionReport, TableReport};

const SIGNATURE: &[u8] = b"EFI PART";
/// The most entries that are looked at; tables have 128.
const MAX_ENTRIES: u64 = 512;
const MAX_ENTRY: u64 = 1024;
/// The most logical partitions that are looked at.
const MAX_LOGICAL: u32 = 64;

/// What types of partitions mean (UEFI, Discoverable Partitions Specification, and what else is common).
const TYPES: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "extended boot loader"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux data"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "root x86_64"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "root aarch64"),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", "root riscv64"),
    ("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", "root verity x86_64"),
    ("df3300ce-d69f-4c92-978c-9bfb0f38d820", "root verity aarch64"),
    ("b6ed5582-440b-4209-b8da-5ff7c419ea3d", "root verity riscv64"),
    ("41092b05-9fc8-4523-994f-2def0408b176", "root verity signature x86_64"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "usr x86_64"),
    ("b0e01050-ee5f-4390-949a-9101b17104e9", "usr aarch64"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "swap"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "srv"),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", "var"),
    ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", "tmp"),
    ("ca7d7ccb-63ed-4c53-861c-1742536059cc", "LUKS"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "RAID"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft data"),
    ("9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PReP boot"),
];

/// The numbers of MBR types.
const MBR_TYPES: &[(u8, &str)] = &[
    (0x06, "FAT16"),
    (0x07, "NTFS or exFAT"),
    (0x0b, "FAT32"),
    (0x0c, "FAT32"),
    (0x0e, "FAT16"),
    (0x05, "extended"),
    (0x0f, "extended"),
    (0x82, "swap"),
    (0x83, "Linux data"),
    (0x85, "extended"),
    (0x8e, "LVM"),
    (0xee, "GPT protective"),
    (0xef, "EFI system"),
    (0xfd, "RAID"),
];

/// What attributes of GPT entries mean.
const ATTRIBUTES: &[(u32, &str)] = &[
    (0, "required"),
    (1, "no-block-io"),
    (2, "legacy-boot"),
    (59, "grow-file-system"),
    (60, "read-only"),
    (62, "hidden"),
    (63, "no-auto"),
];

/// Reads the partition table; none where there is none. What is wrong with it is added to `problems`.
pub(super) fn read(disk: &dyn DiskReader, problems: &mut Vec<String>) -> io::Result<Option<(TableReport, Vec<PartitionReport>)>> {
    let mut first = [0; 512];
    disk.read_at(&mut first, 0)?;
    let has_mbr = first[510..] == [0x55, 0xaa];
    let boot_code = has_mbr && first[..440].iter().any(|byte| *byte != 0);
    for sector in [512, 4096] {
        if let Some((id, partitions)) = gpt(disk, sector, problems)? {
            return Ok(Some((TableReport { kind: "gpt", id, sector, boot_code }, partitions)));
        }
    }
    if !has_mbr {
        return Ok(None);
    }
    let partitions = mbr(disk, &first)?;
    // A boot sector of a filesystem ends alike, and has no sensible entries where a table would be.
    if partitions.is_empty() {
        return Ok(None);
    }
    let id = format!("{:08x}", u32::from_le_bytes([first[440], first[441], first[442], first[443]]));
    Ok(Some((TableReport { kind: "mbr", id, sector: 512, boot_code }, partitions)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |part| u32::from_le_bytes([part[0], part[1], part[2], part[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes_le(std::array::from_fn(|index| bytes.get(at + index).copied().unwrap_or(0)))
}

/// Reads a GPT: the first header, else the one at the end.
fn gpt(disk: &dyn DiskReader, sector: u64, problems: &mut Vec<String>) -> io::Result<Option<(String, Vec<PartitionReport>)>> {
    let last = (disk.size() / sector).saturating_sub(1);
    let mut found = None;
    for (place, name) in [(1, "first"), (last, "second")] {
        let mut header = vec![0; 512];
        disk.read_at(&mut header, place * sector)?;
        if !header.starts_with(SIGNATURE) {
            continue;
        }
        let length = u32_at(&header, 12) as usize;
        let mut sealed = header.get(..length.clamp(92, 512)).unwrap_or_default().to_vec();
        sealed[16..20].fill(0);
        if crc32(&sealed) == u32_at(&header, 16) {
            found.get_or_insert((header, name));
        } else {
            problems.push(format!("the checksum of the {name} GPT header is wrong"));
        }
    }
    let Some((header, name)) = found else { return Ok(None) };
    if name == "second" {
        problems.push("the first GPT header is missing or damaged; the second one was used".to_owned());
    } else {
        let mut end = [0; 8];
        disk.read_at(&mut end, last * sector)?;
        if !end.starts_with(SIGNATURE) {
            problems.push("there is no second GPT header at the end of the disk".to_owned());
        }
    }
    let (count, size) = (u64::from(u32_at(&header, 80)).min(MAX_ENTRIES), u64::from(u32_at(&header, 84)));
    if !(128..=MAX_ENTRY).contains(&size) {
        problems.push("the entries of the GPT have an impossible size".to_owned());
        return Ok(Some((guid_at(&header, 56).to_string(), Vec::new())));
    }
    let mut entries = vec![0; (count * size) as usize];
    disk.read_at(&mut entries, u64_at(&header, 72).saturating_mul(sector))?;
    if crc32(&entries) != u32_at(&header, 88) {
        problems.push("the checksum of the GPT entries is wrong".to_owned());
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        if entry[..16].iter().all(|byte| *byte == 0) {
            continue;
        }
        let (first, end) = (u64_at(entry, 32), u64_at(entry, 40).saturating_add(1));
        let type_id = guid_at(entry, 0).to_string();
        let units: Vec<u16> =
            entry[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).take_while(|unit| *unit != 0).collect();
        if end <= first || end.saturating_mul(sector) > disk.size() {
            problems.push(format!("partition {number} is not on the disk"));
        }
        partitions.push(PartitionReport {
            number,
            label: String::from_utf16_lossy(&units),
            type_name: TYPES.iter().find(|(id, _)| *id == type_id).map_or("unknown", |(_, name)| name).to_owned(),
            type_id,
            uuid: guid_at(entry, 16).to_string(),
            start: first.saturating_mul(sector),
            size: end.saturating_sub(first).saturating_mul(sector),
            attributes: ATTRIBUTES
                .iter()
                .filter(|(bit, _)| u64_at(entry, 48) >> bit & 1 == 1)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            filesystem: None,
        });
    }
    Ok(Some((guid_at(&header, 56).to_string(), partitions)))
}

/// Reads an MBR with the logical partitions of its extended one.
fn mbr(disk: &dyn DiskReader, sector: &[u8]) -> io::Result<Vec<PartitionReport>> {
    let disk_id = u32_at(sector, 440);
    let mut partitions = Vec::new();
    let mut extended = None;
    for (number, entry) in (1..).zip(sector[446..510].chunks_exact(16)) {
        let (kind, start, size) = (entry[4], u64::from(u32_at(entry, 8)), u64::from(u32_at(entry, 12)));
        if entry[0] & 0x7f != 0 || kind == 0 || start == 0 || size == 0 || (start + size) * 512 > disk.size().next_multiple_of(1 << 20) {
            continue;
        }
        if matches!(kind, 0x05 | 0x0f | 0x85) {
            extended = Some(start);
        }
        partitions.push(mbr_partition(number, entry, start, disk_id));
    }
    let Some(base) = extended else { return Ok(partitions) };
    let mut at = base;
    for number in 5..5 + MAX_LOGICAL {
        let mut table = [0; 512];
        disk.read_at(&mut table, at * 512)?;
        let (entry, next) = (&table[446..462], &table[462..478]);
        if table[510..] != [0x55, 0xaa] || entry[4] == 0 {
            break;
        }
        partitions.push(mbr_partition(number, entry, at + u64::from(u32_at(entry, 8)), disk_id));
        let following = base + u64::from(u32_at(next, 8));
        // Chains go forward, or they would have no end.
        if next[4] == 0 || following <= at {
            break;
        }
        at = following;
    }
    Ok(partitions)
}

fn mbr_partition(number: u32, entry: &[u8], start: u64, disk_id: u32) -> PartitionReport {
    let kind = entry[4];
    PartitionReport {
        number,
        label: String::new(),
        type_id: format!("0x{kind:02x}"),
        type_name: MBR_TYPES.iter().find(|(known, _)| *known == kind).map_or("unknown", |(_, name)| name).to_owned(),
        uuid: format!("{disk_id:08x}-{number:02x}"),
        start: start * 512,
        size: u64::from(u32_at(entry, 12)) * 512,
        attributes: if entry[0] == 0x80 { vec!["active".to_owned()] } else { Vec::new() },
        filesystem: None,
    }
}

/// Returns the CRC-32 of bytes (IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    !bytes.iter().fold(!0, step)
}
