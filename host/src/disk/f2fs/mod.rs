//! Makes F2FS filesystems from trees, natively.
//!
//! ```text
//! superblock, twice │ two checkpoints │ SIT │ NAT │ SSA │ main area: segments of 512 blocks, each of one log
//!                                                         directories' entries · files' data · inodes of directories · …
//! ```
//!
//! A log is written from the first block of a segment on, and takes the next free segment when that is full: nothing is ever
//! moved or removed here, so that there is nothing to clean. Small files, links and directories but the root are in their inodes; extended
//! attributes are in a block of their own. No feature is switched on, which every kernel since 3.8 and GRUB since 2.04 read.
//!
//! Nothing depends on the host: the same tree, identity and size give the same bytes. Structures and their names are those of
//! the kernel's `f2fs_fs.h`; numbers are little-endian.

mod directory;
mod inodes;
mod logs;
#[cfg(test)]
mod tests;

use std::{fs::File, io};

use oic_config::units::ByteSize;
use uuid::Uuid;

use crate::rootfs::{path::Shown, tree::RootTree};
use logs::Logs;

/// Size of a block, and blocks of a segment.
const BLOCK: u64 = 4096;
const SEGMENT: u64 = 512;
const MAGIC: u32 = 0xf2f5_2010;
/// Numbers of the first inodes; the first two stand for the node and the metadata address spaces.
const ROOT: u32 = 3;
/// Entries in a block of the segment table and of the node table.
const SIT_ENTRIES: u64 = 55;
const NAT_ENTRIES: u64 = 455;
/// Room in a checkpoint for the version bitmaps of both tables.
const BITMAPS: u64 = 3900;
/// Logs that are written at a time.
const LOGS: u64 = 6;
/// Block addresses have 32 bits, and a checkpoint has room for the bitmap of this many segments.
const LARGEST: u64 = 1 << 40;
/// Room for a running system to write anything at all, in blocks.
const SPARE: u64 = (16 << 20) / BLOCK;
/// The longest label, in UTF-16 units.
pub const MAX_LABEL: usize = 512;

/// What makes a filesystem the one it is.
#[derive(Debug, Clone)]
pub struct F2fsOptions<'a> {
    /// UUID of the filesystem.
    pub uuid: Uuid,
    /// Label; none: empty.
    pub label: Option<&'a str>,
}

/// Why a filesystem cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum F2fsError {
    /// The content needs more room.
    #[error("the content does not fit into {size}: it needs at least {needed}")]
    TooSmall {
        /// The size that the filesystem was to have.
        size: ByteSize,
        /// The size that is enough.
        needed: ByteSize,
    },
    /// The filesystem is larger than what is made here.
    #[error("an F2FS filesystem of {size} cannot be made: 1 TiB can")]
    TooLarge {
        /// The size that the filesystem was to have.
        size: ByteSize,
    },
    /// The label is too long.
    #[error("the filesystem label `{label}` is longer than 512 characters")]
    Label {
        /// The label.
        label: String,
    },
    /// An entry of the tree cannot be in F2FS.
    #[error("`{path}` cannot be on an F2FS filesystem: {reason}")]
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
    #[error("cannot write the F2FS filesystem")]
    Write(#[from] io::Error),
}

/// Returns the error for an entry that cannot be there.
fn refuse(path: &[u8], reason: &'static str) -> F2fsError {
    F2fsError::Entry { path: Shown(path).to_string(), reason }
}

/// Where the parts of a filesystem are, in blocks, and how large they are, in segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    /// All blocks.
    blocks: u64,
    /// All segments, behind the one with the superblocks.
    segments: u64,
    sit_segments: u64,
    nat_segments: u64,
    ssa_segments: u64,
    /// Segments of the main area.
    main: u64,
    /// Segments that are kept for cleaning, and those that no file ever gets, the former among them.
    reserved: u64,
    overprovision: u64,
}

impl Geometry {
    /// Divides a filesystem as `mkfs.f2fs` does; none when there is no room for anything.
    fn of(size: u64) -> Option<Self> {
        let blocks = size / BLOCK;
        let segments = (blocks / SEGMENT).checked_sub(1)?;
        let sit = segments.div_ceil(SIT_ENTRIES).div_ceil(SEGMENT);
        let left = segments.checked_sub(2 + 2 * sit)?;
        let most = (BITMAPS.checked_sub(sit * SEGMENT / 8)?) * 8 / SEGMENT;
        let nat = (left * SEGMENT).div_ceil(NAT_ENTRIES).div_ceil(SEGMENT).min(most);
        let left = left.checked_sub(2 * nat)?;
        let ssa = (left + 1).div_ceil(SEGMENT);
        let main = left.checked_sub(ssa)?;
        // The larger the part that files never get, the less of it has to be kept for cleaning alone.
        let choice = |percent: u64| {
            let reserved = 2 * (100 / percent + 1) + LOGS;
            let rest = main.checked_sub(reserved)?;
            Some((reserved + rest * percent / 100, reserved))
        };
        let (overprovision, reserved) = (1..=50).filter_map(choice).min()?;
        if main <= overprovision + LOGS {
            return None;
        }
        Some(Self { blocks, segments, sit_segments: sit, nat_segments: nat, ssa_segments: ssa, main, reserved, overprovision })
    }

    /// Returns how many blocks files and nodes may take.
    fn user_blocks(&self) -> u64 {
        (self.main - self.overprovision) * SEGMENT
    }

    /// Returns where the checkpoints begin, and the tables, and the main area.
    fn checkpoint(&self) -> u64 {
        SEGMENT
    }

    fn sit(&self) -> u64 {
        self.checkpoint() + 2 * SEGMENT
    }

    fn nat(&self) -> u64 {
        self.sit() + 2 * self.sit_segments * SEGMENT
    }

    fn ssa(&self) -> u64 {
        self.nat() + 2 * self.nat_segments * SEGMENT
    }

    fn main(&self) -> u64 {
        self.ssa() + self.ssa_segments * SEGMENT
    }
}

/// Returns the size in bytes, in whole MiB, that is enough for a tree.
#[must_use]
pub fn minimal_size(tree: &RootTree) -> u64 {
    let (nodes, blocks) = inodes::count(tree);
    let enough = |size: u64| {
        let geometry = Geometry::of(size);
        geometry.is_some_and(|geometry| {
            // Each log may leave a segment unfilled.
            let needed = blocks + SPARE + LOGS * SEGMENT;
            geometry.user_blocks() >= needed && geometry.nat_segments * SEGMENT * NAT_ENTRIES > nodes + 8
        })
    };
    let (mut low, mut high) = (0, 64 << 20);
    while !enough(high) && high < LARGEST {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 << 20 {
        let middle = ((low + high) >> 21) << 20;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// A filesystem being made.
struct Writer<'a> {
    file: &'a File,
    /// Where the filesystem begins in the file.
    offset: u64,
}

impl Writer<'_> {
    fn write(&self, bytes: &[u8], block: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self.file, bytes, self.offset + block * BLOCK)
    }
}

/// Puts little-endian numbers into a structure.
trait Put {
    fn put(&mut self, at: usize, bytes: &[u8]);
    fn put16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }
    fn put32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }
    fn put64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

impl Put for [u8] {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Makes a filesystem of `size` bytes at `offset` in a file, which must read as zeros there.
///
/// # Errors
/// Fails when the tree does not fit or cannot be on an F2FS filesystem.
pub fn make(tree: &RootTree, file: &File, offset: u64, size: u64, options: &F2fsOptions<'_>) -> Result<(), F2fsError> {
    let needed = minimal_size(tree);
    if size > LARGEST {
        return Err(F2fsError::TooLarge { size: ByteSize(size) });
    }
    let too_small = || F2fsError::TooSmall { size: ByteSize(size), needed: ByteSize(needed) };
    let geometry = Geometry::of(size).filter(|_| size >= needed).ok_or_else(too_small)?;
    if let Some(label) = options.label.filter(|label| label.encode_utf16().count() > MAX_LABEL) {
        return Err(F2fsError::Label { label: label.to_owned() });
    }
    let writer = Writer { file, offset };
    let mut logs = Logs::new(geometry, tree.walk().filter(|entry| entry.link_to.is_none()).count() as u32);
    inodes::write_all(&writer, &mut logs, tree)?;
    logs.write_tables(&writer)?;
    let superblock = superblock(geometry, options);
    for block in [0, 1] {
        writer.write(&superblock, block)?;
    }
    Ok(())
}

/// Returns a block with the superblock, which begins at byte 1024.
fn superblock(geometry: Geometry, options: &F2fsOptions<'_>) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    let bytes = &mut block[1024..];
    bytes.put32(0, MAGIC);
    bytes.put16(4, 1);
    bytes.put16(6, 16);
    // Logarithms of the sizes: sector, sectors of a block, block, blocks of a segment; segments of a section, sections of a zone.
    for (index, value) in [9, 3, 12, 9, 1, 1].into_iter().enumerate() {
        bytes.put32(8 + index * 4, value);
    }
    bytes.put64(36, geometry.blocks);
    let counts = [
        geometry.main,
        geometry.segments,
        2,
        2 * geometry.sit_segments,
        2 * geometry.nat_segments,
        geometry.ssa_segments,
        geometry.main,
        geometry.checkpoint(),
        geometry.checkpoint(),
        geometry.sit(),
        geometry.nat(),
        geometry.ssa(),
        geometry.main(),
        u64::from(ROOT),
        1,
        2,
    ];
    for (index, value) in counts.into_iter().enumerate() {
        bytes.put32(44 + index * 4, value as u32);
    }
    bytes.put(108, options.uuid.as_bytes());
    for (index, unit) in options.label.unwrap_or_default().encode_utf16().enumerate() {
        bytes.put16(124 + index * 2, unit);
    }
    block
}
