//! The checksum of Btrfs and XFS: CRC-32C (Castagnoli).

use crc::{CRC_32_ISCSI, Crc, Table};

/// The algorithm, with tables for 16 bytes at a time.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Returns the checksum of bytes.
#[must_use]
pub(super) fn of(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Returns what continues from `seed` without inversion at either end: how Btrfs hashes names.
#[must_use]
pub(super) fn raw(seed: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    !digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        assert_eq!(of(b"123456789"), 0xe306_9283);
        // What `btrfs inspect-internal dump-tree` shows as the key of the item with this name.
        assert_eq!(raw(!1, b"default"), 2_378_154_706);
    }
}
