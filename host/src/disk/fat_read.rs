//! Reads a FAT filesystem into a tree, without mounting it.
//!
//! Boot sector → file allocation table → directories from the root down. Long names win over short ones. Files become lists
//! of runs in the image; their contents are not read.
//!
//! The image may be hostile: no cluster is worth more than one visit in a whole read, chains end with the table, and
//! directories are no deeper than paths are long. Damage is an error, never a panic.

use std::{io, sync::Arc};

use crate::rootfs::{
    content::{Content, Extent, HostFile},
    path::MAX_PATH,
    tree::{Inode, InodeId, Kind, Metadata, RootTree},
};

/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// The most clusters that are read: 64 GiB in the smallest usual ones.
const MAX_CLUSTERS: u64 = 1 << 24;
/// The largest directory: 65536 entries.
const MAX_DIRECTORY: usize = 65536 * ENTRY;
/// Attributes of entries: volume label, directory, and all that together mean a part of a long name.
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
/// Seconds from 1970 to 1980, where the format's dates begin.
const YEAR_1980: i64 = 315_532_800;

/// Why a filesystem cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatReadError {
    /// Reading the image failed.
    #[error("cannot read the filesystem")]
    Read(#[from] io::Error),
    /// Its structures make no sense.
    #[error("the filesystem is damaged: {0}")]
    Damaged(&'static str),
}

/// What the boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FatVolume {
    /// 12, 16 or 32: bits of an entry of the table.
    pub bits: u32,
    /// The volume number, as it is shown: `1A2B-3C4D`.
    pub serial: u32,
    /// The label; empty: none.
    pub label: String,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Clusters that files can have.
    pub clusters: u64,
    /// Bytes of the filesystem.
    pub size: u64,
    /// Where the table, the fixed root directory and the first cluster are.
    table: u64,
    root: (u64, u64),
    data: u64,
    root_cluster: u32,
}

impl FatVolume {
    /// Reads the boot sector; none when it is not one of FAT.
    ///
    /// # Errors
    /// Fails when the image cannot be read.
    pub fn read(file: &HostFile) -> io::Result<Option<Self>> {
        let mut sector = [0; 512];
        if file.size() < 512 {
            return Ok(None);
        }
        file.read_exact_at(&mut sector, 0)?;
        Ok(Self::parse(&sector, file.size()))
    }

    fn parse(sector: &[u8; 512], length: u64) -> Option<Self> {
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at = |at: usize| u64::from(u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]));
        let (bytes, per_cluster, reserved, tables) = (u16_at(11), u64::from(sector[13]), u16_at(14), u64::from(sector[16]));
        let is_boot = sector[510..] == [0x55, 0xaa] && matches!(sector[0], 0xeb | 0xe9);
        let is_possible = matches!(bytes, 512 | 1024 | 2048 | 4096) && per_cluster.is_power_of_two() && reserved > 0;
        if !is_boot || !is_possible || !(1..=2).contains(&tables) {
            return None;
        }
        let root_entries = u16_at(17);
        let sectors = if u16_at(19) == 0 { u32_at(32) } else { u16_at(19) };
        let table_sectors = if u16_at(22) == 0 { u32_at(36) } else { u16_at(22) };
        let root_sectors = (root_entries * ENTRY as u64).div_ceil(bytes);
        let first = reserved + tables * table_sectors + root_sectors;
        let clusters = sectors.checked_sub(first)? / per_cluster;
        let size = sectors * bytes;
        if clusters == 0 || clusters > MAX_CLUSTERS || size > length || table_sectors == 0 {
            return None;
        }
        let is_32 = u16_at(22) == 0;
        let bits = if is_32 {
            32
        } else if clusters < 4085 {
            12
        } else {
            16
        };
        if (clusters + 2) * u64::from(bits) / 8 > table_sectors * bytes {
            return None;
        }
        let extended = if is_32 { 64 } else { 36 };
        let has_names = sector[extended + 2] == 0x29;
        let label = String::from_utf8_lossy(&sector[extended + 7..extended + 18]).trim_end().to_owned();
        Some(Self {
            bits,
            serial: if has_names { u32_at(extended + 3) as u32 } else { 0 },
            label: if !has_names || label == "NO NAME" { String::new() } else { label },
            cluster: per_cluster * bytes,
            clusters,
            size,
            table: reserved * bytes,
            root: ((reserved + tables * table_sectors) * bytes, root_entries * ENTRY as u64),
            data: first * bytes,
            root_cluster: if is_32 { u32_at(44) as u32 } else { 0 },
        })
    }
}

/// Reads the filesystem that begins a file; the second value is how many bytes of it are free.
///
/// # Errors
/// Fails when it is none, is damaged, or cannot be read.
pub fn read_tree(file: &Arc<HostFile>) -> Result<(RootTree, u64), FatReadError> {
    let volume = FatVolume::read(file)?.ok_or(FatReadError::Damaged("its boot sector is none"))?;
    let mut table = vec![0; ((volume.clusters + 2) * u64::from(volume.bits)).div_ceil(8) as usize];
    file.read_exact_at(&mut table, volume.table)?;
    let clusters = volume.clusters as usize + 2;
    let mut reader = Reader { file: file.clone(), volume, table, visited: vec![false; clusters] };
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
    let root = reader.root()?;
    let mut pending = vec![(tree.root(), root, 0)];
    while let Some((id, bytes, depth)) = pending.pop() {
        for entry in entries(&bytes) {
            let child = reader.add(&mut tree, &entry)?;
            if !tree.attach_to(id, entry.name.as_bytes(), child) {
                return Err(FatReadError::Damaged("a name is there twice"));
            }
            if entry.attributes & DIRECTORY != 0 {
                let depth = depth + entry.name.len() + 1;
                if depth > MAX_PATH {
                    return Err(FatReadError::Damaged("a path is too long"));
                }
                let content = reader.directory(entry.cluster)?;
                pending.push((child, content, depth));
            }
        }
    }
    let free = (2..reader.volume.clusters + 2).filter(|cluster| reader.next(*cluster as u32) == 0).count() as u64;
    Ok((tree, free * reader.volume.cluster))
}

struct Reader {
    file: Arc<HostFile>,
    volume: FatVolume,
    table: Vec<u8>,
    /// Which clusters belong to something.
    visited: Vec<bool>,
}

impl Reader {
    /// Returns what the table says of a cluster: the next one, or something behind the last that ends the chain.
    fn next(&self, cluster: u32) -> u32 {
        let cluster = cluster as usize;
        let byte = |at: usize| u32::from(self.table.get(at).copied().unwrap_or(0xff));
        match self.volume.bits {
            12 => {
                let pair = byte(cluster * 3 / 2) | byte(cluster * 3 / 2 + 1) << 8;
                let value = if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 };
                if value >= 0xff7 { u32::MAX } else { value }
            }
            16 => {
                let value = byte(cluster * 2) | byte(cluster * 2 + 1) << 8;
                if value >= 0xfff7 { u32::MAX } else { value }
            }
            _ => (byte(cluster * 4) | byte(cluster * 4 + 1) << 8 | byte(cluster * 4 + 2) << 16 | byte(cluster * 4 + 3) << 24) & 0x0fff_ffff,
        }
    }

    /// Returns the clusters of a chain; each may be visited once.
    fn chain(&mut self, first: u32) -> Result<Vec<u32>, FatReadError> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while cluster >= 2 && u64::from(cluster) < self.volume.clusters + 2 {
            if std::mem::replace(&mut self.visited[cluster as usize], true) {
                return Err(FatReadError::Damaged("two files share a cluster"));
            }
            chain.push(cluster);
            cluster = self.next(cluster);
        }
        Ok(chain)
    }

    fn offset(&self, cluster: u32) -> u64 {
        self.volume.data + (u64::from(cluster) - 2) * self.volume.cluster
    }

    fn root(&mut self) -> Result<Vec<u8>, FatReadError> {
        if self.volume.bits == 32 {
            return self.directory(self.volume.root_cluster);
        }
        let mut bytes = vec![0; self.volume.root.1 as usize];
        self.file.read_exact_at(&mut bytes, self.volume.root.0)?;
        Ok(bytes)
    }

    fn directory(&mut self, first: u32) -> Result<Vec<u8>, FatReadError> {
        let chain = self.chain(first)?;
        let mut bytes = Vec::new();
        for cluster in chain {
            let at = bytes.len();
            if at + self.volume.cluster as usize > MAX_DIRECTORY.max(self.volume.cluster as usize) {
                return Err(FatReadError::Damaged("a directory is too large"));
            }
            bytes.resize(at + self.volume.cluster as usize, 0);
            let offset = self.offset(cluster);
            self.file.read_exact_at(&mut bytes[at..], offset)?;
        }
        Ok(bytes)
    }

    fn add(&mut self, tree: &mut RootTree, entry: &FatEntry) -> Result<InodeId, FatReadError> {
        let metadata = Metadata::root_owned(0o755, entry.mtime);
        if entry.attributes & DIRECTORY != 0 {
            return Ok(tree.allocate(Inode { metadata, kind: Kind::directory() }));
        }
        let chain = if entry.size == 0 { Vec::new() } else { self.chain(entry.cluster)? };
        if (chain.len() as u64) * self.volume.cluster < entry.size {
            return Err(FatReadError::Damaged("a file is longer than its clusters"));
        }
        let mut extents: Vec<Extent> = Vec::new();
        for (index, cluster) in (0..).zip(chain) {
            let logical = index * self.volume.cluster;
            let Some(left) = entry.size.checked_sub(logical).filter(|left| *left > 0) else { break };
            let (source, length) = (self.offset(cluster), left.min(self.volume.cluster));
            match extents.last_mut() {
                Some(last) if last.source + last.length == source => last.length += length,
                _ => extents.push(Extent { logical, source, length }),
            }
        }
        let content = Content::Extents { file: self.file.clone(), extents: extents.into(), size: entry.size };
        Ok(tree.allocate(Inode { metadata, kind: Kind::File(content) }))
    }
}

/// One name in a directory.
struct FatEntry {
    name: String,
    attributes: u8,
    cluster: u32,
    size: u64,
    mtime: i64,
}

/// Returns the entries of a directory, without labels, deleted ones, `.` and `..`.
fn entries(bytes: &[u8]) -> Vec<FatEntry> {
    let mut found = Vec::new();
    let mut long: Vec<(u8, [u16; 13])> = Vec::new();
    for raw in bytes.chunks_exact(ENTRY) {
        match (raw[0], raw[11]) {
            (0, _) => break,
            (0xe5, _) => long.clear(),
            (_, LONG_NAME) => {
                let unit = |index: usize| {
                    let at = match index {
                        0..5 => 1 + index * 2,
                        5..11 => 14 + (index - 5) * 2,
                        _ => 28 + (index - 11) * 2,
                    };
                    u16::from_le_bytes([raw[at], raw[at + 1]])
                };
                if long.len() < 20 {
                    long.push((raw[0] & 0x3f, std::array::from_fn(unit)));
                }
            }
            (_, attributes) if attributes & VOLUME != 0 => long.clear(),
            (_, attributes) => {
                let name = long_name(&mut long).unwrap_or_else(|| short_name(raw));
                let u16_at = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
                let usable = !name.is_empty() && name != "." && name != ".." && name.len() <= 255 && !name.contains(['/', '\0']);
                if usable {
                    found.push(FatEntry {
                        name,
                        attributes,
                        cluster: u32::from(u16_at(26)) | u32::from(u16_at(20)) << 16,
                        size: u64::from(u32::from_le_bytes([raw[28], raw[29], raw[30], raw[31]])),
                        mtime: time(u16_at(24), u16_at(22)),
                    });
                }
            }
        }
    }
    found
}

/// Puts the parts of a long name together, which come last first.
fn long_name(parts: &mut Vec<(u8, [u16; 13])>) -> Option<String> {
    let mut parts = std::mem::take(parts);
    parts.reverse();
    let in_order = parts.iter().zip(1_u8..).all(|((number, _), expected)| *number == expected);
    if parts.is_empty() || !in_order {
        return None;
    }
    let units: Vec<u16> = parts.iter().flat_map(|(_, units)| *units).take_while(|unit| *unit != 0).collect();
    Some(String::from_utf16_lossy(&units))
}

fn short_name(raw: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text: String = bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '_' }).collect();
        let text = text.trim_end().to_owned();
        if lower { text.to_ascii_lowercase() } else { text }
    };
    let (base, extension) = (part(&raw[..8], raw[12] & 0x08 != 0), part(&raw[8..11], raw[12] & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// Returns a date and a time of the format in seconds since 1970.
fn time(date: u16, time: u16) -> i64 {
    let (year, month, day) = (i64::from(date >> 9), i64::from(date >> 5 & 15).clamp(1, 12), i64::from(date & 31).max(1));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let leap = i64::from(year % 4 == 0 && year != 120 && month > 2);
    let past_leaps = (year + 3) / 4 - i64::from(year > 120);
    let days = year * 365 + past_leaps + before + leap + day - 1;
    YEAR_1980 + days * 86400 + i64::from(time >> 11) * 3600 + i64::from(time >> 5 & 63) * 60 + i64::from(time & 31) * 2
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use oic_config::spec::Filesystem;

    use super::*;
    use crate::{
        disk::fat::{self, FatOptions},
        rootfs::testing::{self, EPOCH},
    };

    fn tree() -> RootTree {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
        let file = |tree: &mut RootTree, path: &str, length: usize| {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 7 + path.len()) as u8).collect();
            tree.write_file(path, Content::bytes(bytes), 0o755, EPOCH).unwrap();
        };
        file(&mut tree, "EFI/BOOT/BOOTX64.EFI", 150_000);
        file(&mut tree, "EFI/Linux/a long name with spaces and ünïcode 6.12.57+deb13-amd64.efi", 70_000);
        file(&mut tree, "loader/loader.conf", 17);
        file(&mut tree, "empty", 0);
        for index in 0..100 {
            file(&mut tree, &format!("many/number {index}"), index);
        }
        tree
    }

    fn image(kind: Filesystem, size: u64) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file_mut().set_len(size).unwrap();
        let options = FatOptions { kind, volume: 0x1a2b_3c4d, label: Some("ESP") };
        fat::make(&tree(), file.as_file(), 0, size, &options).unwrap();
        file
    }

    #[test]
    fn what_was_written_comes_back() {
        for (kind, size) in [(Filesystem::Fat16, 24 << 20), (Filesystem::Fat32, 48 << 20)] {
            let image = image(kind, size);
            let file = HostFile::open(image.path()).unwrap();
            let volume = FatVolume::read(&file).unwrap().unwrap();
            assert_eq!((volume.label.as_str(), volume.serial), ("ESP", 0x1a2b_3c4d));
            let (read, free) = read_tree(&file).unwrap();
            let strip = |tree: &RootTree| {
                let mut tree = tree.clone();
                tree.update_metadata(|metadata| *metadata = Metadata::root_owned(0o755, metadata.mtime / 2 * 2));
                let root = tree.root();
                tree.inode_mut(root).metadata.mtime = 0;
                testing::listing(&tree)
            };
            assert_eq!(testing::difference(&strip(&read), &strip(&tree())), Vec::<String>::new());
            assert!(free > size / 2 && free < size, "{free}");
        }
    }

    /// Damaged filesystems are refused or read as something.
    #[test]
    fn no_damage_makes_it_panic() {
        let mut image = image(Filesystem::Fat16, 24 << 20);
        let mut state = 1_u64;
        for _ in 0..600 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = if state >> 60 < 4 { state >> 20 & 511 } else { state >> 20 & 0x3_ffff };
            std::os::unix::fs::FileExt::write_all_at(image.as_file(), &state.to_le_bytes()[..2], at).unwrap();
            if let Ok((tree, _)) = read_tree(&HostFile::open(image.path()).unwrap()) {
                assert!(tree.walk().count() < 100_000);
            }
        }
        image.flush().unwrap();
    }
}
