//! The root filesystem of an image, read without booting it.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::{Context as _, anyhow, ensure};
use oic::{
    disk::ext4_read,
    rootfs::{HostFile, RootTree},
};

const SECTOR: u64 = 512;
/// Where the table's entries begin, how large one is, and how many there are (UEFI specification, section 5.3).
const ENTRIES: u64 = 2 * SECTOR;
const ENTRY: usize = 128;
const COUNT: usize = 128;
/// Where ext4 has its magic number.
const MAGIC_AT: u64 = 1024 + 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];

/// Reads the first ext4 filesystem of a raw image that has a `/etc`. Its partition is copied to `scratch`, which must outlive the tree.
///
/// # Errors
/// Fails when the image has none.
pub fn root_tree(image: &Path, scratch: &Path) -> anyhow::Result<RootTree> {
    let disk = File::open(image).with_context(|| image.display().to_string())?;
    let mut table = vec![0; ENTRY * COUNT];
    disk.read_exact_at(&mut table, ENTRIES)?;
    for entry in table.chunks_exact(ENTRY) {
        let number = |at: usize| -> anyhow::Result<u64> { Ok(u64::from_le_bytes(entry[at..at + 8].try_into()?)) };
        let (first, last) = (number(32)?, number(40)?);
        let mut magic = [0; 2];
        if first == 0 || disk.read_exact_at(&mut magic, first * SECTOR + MAGIC_AT).is_err() || magic != MAGIC {
            continue;
        }
        copy_sparse(&disk, first * SECTOR, (last + 1 - first) * SECTOR, scratch)?;
        let tree = ext4_read::read_tree(&HostFile::open(scratch)?)?;
        if tree.lookup("/etc").is_some() {
            return Ok(tree);
        }
    }
    Err(anyhow!("{} has no root filesystem of type ext4", image.display()))
}

/// Copies a range of a file; zeros become holes.
fn copy_sparse(disk: &File, offset: u64, length: u64, target: &Path) -> anyhow::Result<()> {
    const CHUNK: usize = 1 << 20;
    let zeros = vec![0; CHUNK];
    let mut source = disk;
    source.seek(SeekFrom::Start(offset))?;
    let mut source = source.take(length);
    let mut target = File::create(target)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let count = source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if count == 0 {
            break;
        }
        if chunk == zeros[..count] {
            target.seek(SeekFrom::Current(i64::try_from(count)?))?;
        } else {
            target.write_all(&chunk)?;
        }
    }
    ensure!(source.limit() == 0, "the image ends inside a partition");
    target.set_len(length)?;
    Ok(())
}
