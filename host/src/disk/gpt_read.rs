//! Reads of a disk what its partition table says: whose system it is.
//!
//! Only the primary table is looked at, and only the types of its entries, each of which is bounded. A disk with another
//! table, or with none of the types that name an architecture, says nothing.

use std::{fs::File, os::unix::fs::FileExt as _};

use oic_config::spec::{Arch, PartitionType};

use super::{identity::guid, layout::SECTOR};

/// The first bytes of a header.
const SIGNATURE: &[u8] = b"EFI PART";
/// The most entries that are looked at; tables have 128.
const MAX_ENTRIES: u32 = 1024;
/// The largest entry; all have 128 bytes.
const MAX_ENTRY_SIZE: u32 = 4096;

/// Returns the architecture of the system on a raw disk: that of its root partition's type (Discoverable Partitions
/// Specification).
#[must_use]
pub fn root_arch(disk: &File) -> Option<Arch> {
    let mut header = [0; 92];
    disk.read_exact_at(&mut header, SECTOR).ok()?;
    if !header.starts_with(SIGNATURE) {
        return None;
    }
    let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let first = u64::from_le_bytes(header.get(72..80)?.try_into().ok()?).checked_mul(SECTOR)?;
    let (count, size) = (number(80)?.min(MAX_ENTRIES), number(84)?);
    if !(128..=MAX_ENTRY_SIZE).contains(&size) {
        return None;
    }
    (0..count).find_map(|index| {
        let mut kind = [0; 16];
        disk.read_exact_at(&mut kind, first.checked_add(u64::from(index) * u64::from(size))?).ok()?;
        Arch::ALL.into_iter().find(|arch| guid(PartitionType::Root(*arch).guid()).to_bytes_le() == kind)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use oic_config::{LoadRequest, load};

    use super::*;
    use crate::disk::{gpt, identity::ImageIdentity, layout};

    /// Returns a disk with the table of a template's image.
    fn disk(arch: Arch) -> File {
        let name = format!("../image-templates/debian13-{arch}-minimal-raw.yml");
        let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let disk = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap().spec.disk.unwrap();
        let layout = layout::resolve(&disk, &vec![0; disk.partitions.len()]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(layout.size).unwrap();
        gpt::write(&mut file, &disk, &layout, &ImageIdentity::new("test")).unwrap();
        file
    }

    #[test]
    fn the_root_partition_tells_the_architecture() {
        for arch in Arch::ALL {
            assert_eq!(root_arch(&disk(arch)), Some(arch));
        }
    }

    #[test]
    fn other_disks_tell_nothing() {
        let mut empty = tempfile::tempfile().unwrap();
        assert_eq!(root_arch(&empty), None);
        empty.write_all(&[0; 4096]).unwrap();
        assert_eq!(root_arch(&empty), None);
        // Entries that would be far outside of the disk, or of no size.
        for (at, bytes) in [(72, &[0xff; 8][..]), (84, &[0; 4]), (84, &[0xff; 4])] {
            let damaged = disk(Arch::Aarch64);
            damaged.write_all_at(bytes, SECTOR + at).unwrap();
            assert_eq!(root_arch(&damaged), None);
        }
    }
}
