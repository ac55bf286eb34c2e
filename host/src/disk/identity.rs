//! The UUIDs of an image, derived from what it is, so that the same build gives the same ones and different images differ.

use oic_config::spec::{Disk, Filesystem, Guid, Partition, PartitionTableKind};
use uuid::Uuid;

use super::mbr;

/// The namespace of all identities; drawn once at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1d_f7a6_0c9e_4d0b_9a55_3f8e_61c2_7d48);

/// What the UUIDs of one image are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageIdentity(Uuid);

impl ImageIdentity {
    /// Returns the identity for a text that names everything that goes into an image, for example its name and the digests of spec
    /// and lock.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }

    /// Returns the GUID of the disk.
    #[must_use]
    pub fn disk(&self) -> Uuid {
        self.derive("disk")
    }

    /// Returns the GUID of a partition.
    #[must_use]
    pub fn partition(&self, id: &str) -> Uuid {
        self.derive(&format!("partition:{id}"))
    }

    /// Returns the signature of an MBR, never 0, which would be none.
    #[must_use]
    pub fn disk_signature(&self) -> u32 {
        let bytes = *self.derive("disk signature").as_bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(1)
    }

    /// Returns what `PARTUUID=` refers to a partition by: its GUID, or in an MBR the disk's signature and the partition's number.
    #[must_use]
    pub fn partuuid(&self, disk: &Disk, id: &str) -> String {
        match disk.table {
            PartitionTableKind::Gpt => self.partition(id).to_string(),
            PartitionTableKind::Mbr => {
                let number = disk.partitions.iter().zip(mbr::numbers(disk)).find(|(partition, _)| partition.id == id);
                format!("{:08x}-{:02x}", self.disk_signature(), number.map_or(0, |(_, number)| number))
            }
        }
    }

    /// Returns the UUID of the filesystem or swap space in a partition, what `UUID=` refers to.
    #[must_use]
    pub fn filesystem(&self, id: &str) -> Uuid {
        self.derive(&format!("filesystem:{id}"))
    }

    /// Returns what `UUID=` and GRUB refer to the filesystem of a partition by.
    #[must_use]
    pub fn filesystem_text(&self, partition: &Partition) -> String {
        match partition.filesystem {
            Some(Filesystem::Fat16 | Filesystem::Fat32) => {
                let volume = self.fat_volume(&partition.id);
                format!("{:04X}-{:04X}", volume >> 16, volume & 0xffff)
            }
            _ => self.filesystem(&partition.id).to_string(),
        }
    }

    /// Returns the volume number of a FAT filesystem in a partition.
    #[must_use]
    pub fn fat_volume(&self, id: &str) -> u32 {
        let bytes = *self.derive(&format!("fat:{id}")).as_bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn derive(self, use_: &str) -> Uuid {
        Uuid::new_v5(&self.0, use_.as_bytes())
    }
}

/// Returns a GUID of the image spec as the type that tables are written with.
#[must_use]
pub fn guid(guid: Guid) -> Uuid {
    Uuid::from_u128(guid.0)
}
