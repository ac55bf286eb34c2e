//! Directory blocks.

use super::{Ext4ReadError, RawInode, Reader};

impl Reader {
    /// Returns the names and inode numbers of a directory, `.` and `..` left out, in the order of the blocks.
    pub(super) fn directory(&mut self, raw: &RawInode) -> Result<Vec<(Vec<u8>, u32)>, Ext4ReadError> {
        let (size, block_size) = (raw.size(), self.superblock.block_size);
        let mut entries = Vec::new();
        let mut covered = 0;
        for extent in self.extents(raw)? {
            if extent.logical != covered {
                return Err(self.damaged(raw.number, "the directory has a hole"));
            }
            covered += extent.length;
            for block in 0..extent.length / block_size {
                // Blocks beyond the end are allocated in advance and hold nothing.
                if extent.logical + block * block_size >= size {
                    break;
                }
                let bytes = self.block(raw.number, extent.source / block_size + block)?;
                self.entries(raw.number, &bytes, &mut entries)?;
            }
        }
        if size == 0 || size % block_size != 0 || covered < size {
            return Err(self.damaged(raw.number, "the size of the directory is wrong"));
        }
        Ok(entries)
    }

    /// Reads the entries of a block. Index blocks and checksums look like entries without an inode.
    fn entries(&self, inode: u32, block: &[u8], entries: &mut Vec<(Vec<u8>, u32)>) -> Result<(), Ext4ReadError> {
        let mut rest = block;
        while !rest.is_empty() {
            let header = rest.first_chunk::<8>().ok_or_else(|| self.damaged(inode, "a directory entry is cut off"))?;
            let number = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let (length, name_length) = (usize::from(u16::from_le_bytes([header[4], header[5]])), usize::from(header[6]));
            if length < 8 || length % 4 != 0 || length > rest.len() || number != 0 && 8 + name_length > length {
                return Err(self.damaged(inode, "the length of a directory entry is wrong"));
            }
            if number != 0 {
                let name = &rest[8..8 + name_length];
                if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                    return Err(self.damaged(inode, "a name in the directory is impossible"));
                }
                if name != b"." && name != b".." {
                    entries.push((name.to_vec(), number));
                }
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}
