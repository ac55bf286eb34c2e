//! Makes FAT16 and FAT32 filesystems from trees, natively: a few structures, and every file in one piece.
//!
//! ```text
//! reserved sectors (boot sector; FAT32: information sector, copies of both) | table | table | FAT16: root directory | clusters
//! ```
//!
//! Names that are not plain capital 8.3 names get long-name entries and a numbered short name. Times are the tree's, in UTC.
//! Nothing depends on the host, so the same tree gives the same bytes. Links, devices and owners do not exist in FAT;
//! a tree that has any but directories and files is refused.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt};

use oic_config::{spec::Filesystem, units::ByteSize};

use crate::rootfs::{
    content::Content,
    path::Shown,
    tree::{InodeId, Kind, RootTree},
};

const SECTOR: u64 = 512;
/// Size of a directory entry.
const ENTRY: usize = 32;
/// Entries of the root directory of FAT16.
const ROOT_ENTRIES: u64 = 512;
/// Numbers of clusters that make a filesystem FAT16 or FAT32; nothing else does.
const FAT16_CLUSTERS: std::ops::Range<u64> = 4085..65525;
const FAT32_CLUSTERS: std::ops::Range<u64> = 65525..0x0fff_fff5;
/// Short names of one directory that differ only in their number.
const MAX_NUMBER: u32 = 99_999;

/// What makes a filesystem the one it is.
#[derive(Debug, Clone)]
pub struct FatOptions<'a> {
    /// [`Filesystem::Fat16`] or [`Filesystem::Fat32`].
    pub kind: Filesystem,
    /// Volume number.
    pub volume: u32,
    /// Label, at most 11 bytes; none: `NO NAME`.
    pub label: Option<&'a str>,
}

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The content needs more room.
    #[error("the content does not fit into {size}: it needs at least {needed}")]
    TooSmall {
        /// The size that the filesystem was to have.
        size: ByteSize,
        /// The size that is enough, rounded up to whole MiB.
        needed: ByteSize,
    },
    /// The size is none that this kind can have.
    #[error("a filesystem of kind {kind} cannot have {size}")]
    Size {
        /// The kind.
        kind: &'static str,
        /// The size.
        size: ByteSize,
    },
    /// The label cannot be one of FAT.
    #[error("`{label}` cannot be a FAT label: 11 characters of ASCII can, without any of `*?.,;:/\\|+=<>[]\"`")]
    Label {
        /// The label.
        label: String,
    },
    /// An entry of the tree cannot be in FAT.
    #[error("`{path}` cannot be on a FAT filesystem: {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The content of a file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write the FAT filesystem")]
    Write(#[from] io::Error),
}

/// The numbers that everything else follows from.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    is_fat32: bool,
    sectors: u64,
    sectors_per_cluster: u64,
    reserved: u64,
    table_sectors: u64,
    clusters: u64,
}

impl Geometry {
    fn new(kind: Filesystem, size: u64) -> Option<Self> {
        let is_fat32 = kind == Filesystem::Fat32;
        let sectors = size / SECTOR;
        let mut sectors_per_cluster = match (is_fat32, size >> 20) {
            // The sizes that every FAT maker chooses, so that firmware has seen them before.
            (true, 0..=260) => 1,
            (true, 261..=8191) => 8,
            (true, 8192..=16383) => 16,
            (true, 16384..=32767) => 32,
            (true, _) => 64,
            (false, 0..=16) => 2,
            (false, 17..=128) => 4,
            (false, 129..=256) => 8,
            (false, 257..=512) => 16,
            (false, 513..=1024) => 32,
            (false, _) => 64,
        };
        let range = if is_fat32 { FAT32_CLUSTERS } else { FAT16_CLUSTERS };
        loop {
            let geometry = Self::with_clusters(is_fat32, sectors, sectors_per_cluster)?;
            if range.contains(&geometry.clusters) {
                return Some(geometry);
            }
            if geometry.clusters >= range.end || sectors_per_cluster == 1 {
                return None;
            }
            sectors_per_cluster /= 2;
        }
    }

    fn with_clusters(is_fat32: bool, sectors: u64, sectors_per_cluster: u64) -> Option<Self> {
        let reserved = if is_fat32 { 32 } else { 4 };
        let root = if is_fat32 { 0 } else { ROOT_ENTRIES * ENTRY as u64 / SECTOR };
        let entry = if is_fat32 { 4 } else { 2 };
        let data = sectors.checked_sub(reserved + root)?;
        // Two tables: every cluster takes its sectors and two entries, and two entries are not clusters.
        let table_sectors = ((data / sectors_per_cluster + 2) * entry).div_ceil(SECTOR);
        let clusters = data.checked_sub(2 * table_sectors)? / sectors_per_cluster;
        (sectors <= u64::from(u32::MAX)).then_some(Self { is_fat32, sectors, sectors_per_cluster, reserved, table_sectors, clusters })
    }

    fn cluster_size(&self) -> u64 {
        self.sectors_per_cluster * SECTOR
    }

    fn root_offset(&self) -> u64 {
        (self.reserved + 2 * self.table_sectors) * SECTOR
    }

    fn cluster_offset(&self, cluster: u32) -> u64 {
        let root = if self.is_fat32 { 0 } else { ROOT_ENTRIES * ENTRY as u64 };
        self.root_offset() + root + u64::from(cluster - 2) * self.cluster_size()
    }
}

/// Returns the size in bytes, in whole MiB, that is enough for a tree.
///
/// # Errors
/// Fails when the tree cannot be on a FAT filesystem, or none of this kind is large enough.
pub fn minimal_size(tree: &RootTree, options: &FatOptions<'_>) -> Result<u64, FatError> {
    let mut mib = 1;
    while mib < 1 << 21 {
        if let Some(geometry) = Geometry::new(options.kind, mib << 20) {
            let needed = Plan::new(tree, geometry, options)?.used_clusters();
            if needed <= geometry.clusters {
                return Ok(mib << 20);
            }
            mib += (((needed - geometry.clusters) * geometry.cluster_size()) >> 20).max(1);
        } else if mib > 4096 && options.kind == Filesystem::Fat16 {
            return Err(FatError::Size { kind: "FAT16", size: ByteSize(mib << 20) });
        } else {
            mib += 1;
        }
    }
    Err(FatError::Size { kind: "FAT", size: ByteSize(mib << 20) })
}

/// Makes a filesystem of `size` bytes at `offset` in a file, which must read as zeros there.
///
/// # Errors
/// Fails when the tree does not fit or cannot be on a FAT filesystem.
pub fn make(tree: &RootTree, file: &File, offset: u64, size: u64, options: &FatOptions<'_>) -> Result<(), FatError> {
    let kind = if options.kind == Filesystem::Fat32 { "FAT32" } else { "FAT16" };
    let Some(geometry) = Geometry::new(options.kind, size) else {
        let needed = minimal_size(tree, options)?;
        return Err(if needed > size {
            FatError::TooSmall { size: ByteSize(size), needed: ByteSize(needed) }
        } else {
            FatError::Size { kind, size: ByteSize(size) }
        });
    };
    let plan = Plan::new(tree, geometry, options)?;
    if plan.used_clusters() > geometry.clusters {
        return Err(FatError::TooSmall { size: ByteSize(size), needed: ByteSize(minimal_size(tree, options)?) });
    }
    plan.write(tree, file, offset, options)
}

/// A directory or file with its place.
struct Item {
    path: Vec<u8>,
    id: InodeId,
    first_cluster: u32,
    clusters: u64,
    /// The bytes of a directory.
    directory: Option<Vec<u8>>,
}

/// Where everything goes.
struct Plan {
    geometry: Geometry,
    items: Vec<Item>,
    next_cluster: u64,
}

/// One entry of a directory while it is planned.
struct Slot {
    name: Vec<u16>,
    short: [u8; 11],
    id: InodeId,
    path: Vec<u8>,
}

impl Plan {
    /// Gives every directory and file its clusters, in the order of the tree's walk.
    fn new(tree: &RootTree, geometry: Geometry, options: &FatOptions<'_>) -> Result<Self, FatError> {
        let mut plan = Self { geometry, items: Vec::new(), next_cluster: 2 };
        plan.directory(tree, tree.root(), b"", None, Some(label(options)?), 0)?;
        Ok(plan)
    }

    fn used_clusters(&self) -> u64 {
        self.next_cluster - 2
    }

    /// Plans a directory and everything below it; returns its first cluster, 0 for the root of FAT16.
    fn directory(
        &mut self,
        tree: &RootTree,
        id: InodeId,
        path: &[u8],
        parent: Option<u32>,
        volume: Option<[u8; 11]>,
        depth: usize,
    ) -> Result<u32, FatError> {
        let invalid = |path: &[u8], reason| FatError::Entry { path: Shown(path).to_string(), reason };
        if depth > 64 {
            return Err(invalid(path, "it is nested too deeply"));
        }
        let slots = slots(tree, id, path)?;
        let is_root = parent.is_none();
        let long: usize = slots.iter().map(|slot| if is_plain(slot) { 0 } else { slot.name.len().div_ceil(13) }).sum();
        let length = (slots.len() + long + if is_root { usize::from(volume.is_some()) } else { 2 }) * ENTRY;
        let first = if is_root && !self.geometry.is_fat32 {
            if length as u64 > ROOT_ENTRIES * ENTRY as u64 {
                return Err(invalid(b"/", "the root directory of FAT16 has room for 512 entries"));
            }
            0
        } else {
            self.allocate(length.max(1) as u64)
        };
        let index = self.items.len();
        let clusters = if first == 0 { 0 } else { (length.max(1) as u64).div_ceil(self.geometry.cluster_size()) };
        self.items.push(Item { path: path.to_vec(), id, first_cluster: first, clusters, directory: Some(Vec::new()) });
        let mut bytes = Vec::with_capacity(length);
        let time = tree.inode(id).metadata.mtime;
        match (parent, volume) {
            (None, Some(label)) if label != *b"NO NAME    " => bytes.extend_from_slice(&entry(&label, 0x08, 0, 0, time)),
            (Some(parent), _) => {
                bytes.extend_from_slice(&entry(b".          ", 0x10, first, 0, time));
                bytes.extend_from_slice(&entry(b"..         ", 0x10, parent, 0, time));
            }
            _ => {}
        }
        for slot in slots {
            let inode = tree.inode(slot.id);
            let (attribute, cluster, size) = match &inode.kind {
                // The parent of a directory in the root is written as 0, in FAT32 too.
                Kind::Directory(_) => {
                    let own = if is_root { 0 } else { first };
                    (0x10, self.directory(tree, slot.id, &slot.path, Some(own), None, depth + 1)?, 0)
                }
                Kind::File(content) => {
                    let size = u32::try_from(content.size()).map_err(|_| invalid(&slot.path, "files can have 4 GiB at most"))?;
                    let cluster = if size == 0 { 0 } else { self.allocate(u64::from(size)) };
                    let clusters = u64::from(size).div_ceil(self.geometry.cluster_size());
                    self.items.push(Item { path: slot.path.clone(), id: slot.id, first_cluster: cluster, clusters, directory: None });
                    (0x20, cluster, size)
                }
                _ => return Err(invalid(&slot.path, "only files and directories can")),
            };
            if !is_plain(&slot) {
                bytes.extend_from_slice(&long_entries(&slot));
            }
            bytes.extend_from_slice(&entry(&slot.short, attribute, cluster, size, inode.metadata.mtime));
        }
        self.items[index].directory = Some(bytes);
        Ok(first)
    }

    fn allocate(&mut self, bytes: u64) -> u32 {
        let first = self.next_cluster;
        self.next_cluster += bytes.div_ceil(self.geometry.cluster_size());
        // Plans that are too large are refused before anything is written; the number does not matter then.
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    fn write(&self, tree: &RootTree, file: &File, offset: u64, options: &FatOptions<'_>) -> Result<(), FatError> {
        let geometry = self.geometry;
        let boot = boot_sector(&geometry, options)?;
        file.write_all_at(&boot, offset)?;
        if geometry.is_fat32 {
            let free = geometry.clusters - self.used_clusters();
            let information = information_sector(free, self.next_cluster);
            file.write_all_at(&information, offset + SECTOR)?;
            file.write_all_at(&boot, offset + 6 * SECTOR)?;
            file.write_all_at(&information, offset + 7 * SECTOR)?;
        }
        let table = self.table();
        for copy in 0..2 {
            file.write_all_at(&table, offset + (geometry.reserved + copy * geometry.table_sectors) * SECTOR)?;
        }
        for item in &self.items {
            let place = if item.first_cluster == 0 { geometry.root_offset() } else { geometry.cluster_offset(item.first_cluster) };
            match (&item.directory, &tree.inode(item.id).kind) {
                (Some(bytes), _) => file.write_all_at(bytes, offset + place)?,
                (None, Kind::File(content)) => copy(content, file, offset + place, &item.path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the allocation table up to the last used cluster.
    fn table(&self) -> Vec<u8> {
        let mut chain: Vec<u32> = vec![0; self.next_cluster as usize];
        chain[0] = 0x0fff_fff8;
        chain[1] = 0x0fff_ffff;
        for item in self.items.iter().filter(|item| item.clusters > 0) {
            let last = u64::from(item.first_cluster) + item.clusters - 1;
            for cluster in u64::from(item.first_cluster)..last {
                chain[cluster as usize] = cluster as u32 + 1;
            }
            chain[last as usize] = 0x0fff_ffff;
        }
        if self.geometry.is_fat32 {
            chain.iter().flat_map(|entry| entry.to_le_bytes()).collect()
        } else {
            chain.iter().flat_map(|entry| (*entry as u16).to_le_bytes()).collect()
        }
    }
}

/// Copies a content in pieces.
fn copy(content: &Content, file: &File, mut place: u64, path: &[u8]) -> Result<(), FatError> {
    let mut reader = content.reader();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = io::Read::read(&mut reader, &mut buffer);
        let count = read.map_err(|source| FatError::Read { path: Shown(path).to_string(), source })?;
        if count == 0 {
            return Ok(());
        }
        file.write_all_at(&buffer[..count], place)?;
        place += count as u64;
    }
}

/// Returns the entries of a directory with names that are unique as FAT compares them.
fn slots(tree: &RootTree, id: InodeId, path: &[u8]) -> Result<Vec<Slot>, FatError> {
    let Kind::Directory(names) = &tree.inode(id).kind else { return Ok(Vec::new()) };
    let mut seen = BTreeSet::new();
    let mut shorts = BTreeSet::new();
    let mut slots = Vec::new();
    for (name, child) in names {
        let path = [path, b"/", name].concat();
        let invalid = |reason| FatError::Entry { path: Shown(&path).to_string(), reason };
        let text = std::str::from_utf8(name).map_err(|_| invalid("its name is not UTF-8"))?;
        if text.chars().any(|c| u32::from(c) < 32 || "\"*/:<>?\\|".contains(c)) || text.ends_with(['.', ' ']) {
            return Err(invalid("its name has a character that FAT forbids"));
        }
        if !seen.insert(text.to_lowercase()) {
            return Err(invalid("another name differs from it only in case"));
        }
        let short = short_name(text, &mut shorts).ok_or_else(|| invalid("too many names are alike"))?;
        slots.push(Slot { name: text.encode_utf16().collect(), short, id: *child, path });
    }
    Ok(slots)
}

/// Returns whether a short name says all that there is to say.
fn is_plain(slot: &Slot) -> bool {
    let (base, extension) = slot.short.split_at(8);
    let mut text = base.trim_ascii_end().to_vec();
    if !extension.trim_ascii_end().is_empty() {
        text.push(b'.');
        text.extend_from_slice(extension.trim_ascii_end());
    }
    text.iter().map(|byte| u16::from(*byte)).eq(slot.name.iter().copied())
}

/// Returns a short name that the directory does not have yet.
fn short_name(name: &str, taken: &mut BTreeSet<[u8; 11]>) -> Option<[u8; 11]> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(c);
    let squeeze = |text: &str| -> Vec<u8> {
        let chars = text.chars().filter(|c| *c != ' ' && *c != '.');
        chars.map(|c| if allowed(c) { c.to_ascii_uppercase() as u8 } else { b'_' }).collect()
    };
    let (base, extension) = name.trim_start_matches('.').rsplit_once('.').unwrap_or((name.trim_start_matches('.'), ""));
    let (base, extension) = (squeeze(base), squeeze(extension));
    let build = |base: &[u8]| {
        let mut short = [b' '; 11];
        short[..base.len()].copy_from_slice(base);
        let extension = &extension[..extension.len().min(3)];
        short[8..8 + extension.len()].copy_from_slice(extension);
        short
    };
    let is_plain = name.chars().all(|c| allowed(c) && !c.is_ascii_lowercase() || c == '.')
        && name.matches('.').count() <= 1
        && !name.starts_with('.')
        && (1..=8).contains(&base.len())
        && extension.len() <= 3;
    if is_plain && taken.insert(build(&base)) {
        return Some(build(&base));
    }
    (1..=MAX_NUMBER).find_map(|number| {
        let tail = format!("~{number}");
        let base = [&base[..base.len().min(8 - tail.len())], tail.as_bytes()].concat();
        taken.insert(build(&base)).then(|| build(&base))
    })
}

/// Returns the long-name entries that go before a short one.
fn long_entries(slot: &Slot) -> Vec<u8> {
    let checksum = slot.short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let count = slot.name.len().div_ceil(13);
    let mut bytes = Vec::with_capacity(count * ENTRY);
    for part in (0..count).rev() {
        let unit = |at: usize| match (part * 13 + at).cmp(&slot.name.len()) {
            std::cmp::Ordering::Less => slot.name[part * 13 + at],
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 0xffff,
        };
        let mut entry = [0; ENTRY];
        entry[0] = (part as u8 + 1) | if part + 1 == count { 0x40 } else { 0 };
        entry[11] = 0x0f;
        entry[13] = checksum;
        for (at, place) in (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2)).enumerate() {
            entry[place..place + 2].copy_from_slice(&unit(at).to_le_bytes());
        }
        bytes.extend_from_slice(&entry);
    }
    bytes
}

/// Returns a short directory entry.
fn entry(name: &[u8; 11], attribute: u8, cluster: u32, size: u32, mtime: i64) -> [u8; ENTRY] {
    let (date, time) = dos_time(mtime);
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attribute;
    for place in [14, 22] {
        entry[place..place + 2].copy_from_slice(&time.to_le_bytes());
        entry[place + 2..place + 4].copy_from_slice(&date.to_le_bytes());
    }
    entry[18..20].copy_from_slice(&date.to_le_bytes());
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

/// Returns date and time as FAT has them: years from 1980 to 2107, every second second.
fn dos_time(seconds: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (days, of_day) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Civil date from days, counting years from March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | (of_day % 60 / 2);
    (date as u16, time as u16)
}

/// Returns the label as 11 bytes.
fn label(options: &FatOptions<'_>) -> Result<[u8; 11], FatError> {
    let Some(label) = options.label.filter(|label| !label.is_empty()) else { return Ok(*b"NO NAME    ") };
    let is_usable = label.len() <= 11 && label.chars().all(|c| (' '..='~').contains(&c) && !"*?.,;:/\\|+=<>[]\"".contains(c));
    if !is_usable {
        return Err(FatError::Label { label: label.to_owned() });
    }
    let mut bytes = [b' '; 11];
    bytes[..label.len()].copy_from_slice(label.to_ascii_uppercase().as_bytes());
    Ok(bytes)
}

fn boot_sector(geometry: &Geometry, options: &FatOptions<'_>) -> Result<[u8; 512], FatError> {
    let mut sector = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, if geometry.is_fat32 { 0x58 } else { 0x3c }, 0x90]);
    put(3, b"mkfs.fat");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[geometry.sectors_per_cluster as u8]);
    put(14, &(geometry.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(17, &(if geometry.is_fat32 { 0 } else { ROOT_ENTRIES as u16 }).to_le_bytes());
    let small = if geometry.is_fat32 { 0 } else { u16::try_from(geometry.sectors).unwrap_or(0) };
    put(19, &small.to_le_bytes());
    put(21, &[0xf8]);
    put(22, &(if geometry.is_fat32 { 0 } else { geometry.table_sectors as u16 }).to_le_bytes());
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(32, &(if small == 0 { geometry.sectors as u32 } else { 0 }).to_le_bytes());
    let extended = if geometry.is_fat32 {
        put(36, &(geometry.table_sectors as u32).to_le_bytes());
        put(44, &2_u32.to_le_bytes());
        put(48, &1_u16.to_le_bytes());
        put(50, &6_u16.to_le_bytes());
        64
    } else {
        36
    };
    put(extended, &[0x80, 0, 0x29]);
    put(extended + 3, &options.volume.to_le_bytes());
    put(extended + 7, &label(options)?);
    put(extended + 18, if geometry.is_fat32 { b"FAT32   " } else { b"FAT16   " });
    // An endless loop for machines that would start this sector.
    put(extended + 26, &[0xf4, 0xeb, 0xfd]);
    put(510, &[0x55, 0xaa]);
    Ok(sector)
}

fn information_sector(free: u64, next: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&(free as u32).to_le_bytes());
    sector[492..496].copy_from_slice(&(next as u32).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
#[path = "fat_tests.rs"]
mod tests;
