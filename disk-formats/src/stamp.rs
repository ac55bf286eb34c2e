//! What containers say beside the disk: identifiers, a time, a name.

use std::io;

use uuid::Uuid;

use crate::DiskReader;

/// The namespace of all identifiers; drawn once at random.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f8b_4c1e_9a57_4f0d_8d3c_75b2_61e9_a4d6);
/// How much of a disk decides its identifiers: partition table and bootloader, which holds the identity of the disk.
const HEAD: u64 = 1 << 20;

/// The identity of a container, derived from the disk in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    id: Uuid,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) time: u64,
    /// The name of the file, which VMDK has inside.
    pub(crate) name: String,
}

impl Stamp {
    /// Returns the stamp of a disk: identifiers from its size and its first MiB.
    ///
    /// # Errors
    /// Fails when the disk cannot be read.
    pub fn new(disk: &dyn DiskReader, time: u64, name: &str) -> io::Result<Self> {
        let mut head = vec![0; HEAD as usize];
        disk.read_at(&mut head, 0)?;
        head.extend_from_slice(&disk.size().to_le_bytes());
        // The name is in quotes inside the container.
        let name = name.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c }).collect();
        Ok(Self { id: Uuid::new_v5(&NAMESPACE, &head), time, name })
    }

    /// Returns it for a file of another name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Returns the identifier for one use.
    pub(crate) fn derive(&self, usage: &str) -> Uuid {
        Uuid::new_v5(&self.id, usage.as_bytes())
    }
}
