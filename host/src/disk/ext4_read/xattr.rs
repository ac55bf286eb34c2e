//! Extended attributes, in the room behind an inode's fields and in a block that inodes may share.

use std::collections::BTreeMap;

use super::{Ext4ReadError, RawInode, Reader};

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// First four bytes of both places.
const MAGIC: u32 = 0xea02_0000;
/// Size of the header of a block.
const BLOCK_HEADER: usize = 32;
/// Size of an entry without its name.
const ENTRY: usize = 16;

impl Reader {
    /// Returns all extended attributes of an inode with their full names, values as `getxattr` would return them.
    pub(super) fn xattrs(&mut self, raw: &RawInode) -> Result<Xattrs, Ext4ReadError> {
        let mut xattrs = Xattrs::new();
        let start = 128 + raw.extra_size();
        if raw.bytes.get(start..start + 4).is_some_and(|magic| magic == MAGIC.to_le_bytes()) {
            let body = &raw.bytes[start + 4..];
            xattrs = parse(body, 0, body).ok_or_else(|| self.damaged(raw.number, "its extended attributes are malformed"))?;
        }
        let block = raw.xattr_block();
        if block != 0 {
            if !self.xattr_blocks.contains_key(&block) {
                self.visit(raw.number, 1)?;
                let bytes = self.block(raw.number, block)?;
                let is_block = bytes.starts_with(&MAGIC.to_le_bytes()) && bytes[8..12] == 1_u32.to_le_bytes();
                let parsed = if is_block { parse(&bytes, BLOCK_HEADER, &bytes) } else { None };
                let parsed = parsed.ok_or_else(|| self.damaged(raw.number, "its block of extended attributes is malformed"))?;
                self.xattr_blocks.insert(block, parsed);
            }
            xattrs.extend(self.xattr_blocks[&block].clone());
        }
        Ok(xattrs)
    }
}

/// Reads the entries from `at` on in `bytes`; values are in `values`.
fn parse(bytes: &[u8], mut at: usize, values: &[u8]) -> Option<Xattrs> {
    let mut xattrs = Xattrs::new();
    // The list ends with four zero bytes, or where there is no room for an entry any more.
    while bytes.get(at..at + 4).is_some_and(|next| next != [0; 4]) {
        let entry = bytes.get(at..at + ENTRY)?;
        let name_length = usize::from(entry[0]);
        let name = bytes.get(at + ENTRY..at + ENTRY + name_length)?;
        let offset = usize::from(u16::from_le_bytes([entry[2], entry[3]]));
        let size = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]) as usize;
        // Values in inodes of their own need a feature that is refused.
        (entry[4..8] == [0; 4]).then_some(())?;
        let value = if size == 0 { &[][..] } else { values.get(offset..offset.checked_add(size)?)? };
        let (name, value) = match entry[1] {
            1 => ([b"user.", name].concat(), value.to_vec()),
            2 => (b"system.posix_acl_access".to_vec(), access_list(value)?),
            3 => (b"system.posix_acl_default".to_vec(), access_list(value)?),
            4 => ([b"trusted.", name].concat(), value.to_vec()),
            6 => ([b"security.", name].concat(), value.to_vec()),
            7 => ([b"system.", name].concat(), value.to_vec()),
            _ => return None,
        };
        if name.contains(&0) || xattrs.insert(name, value).is_some() {
            return None;
        }
        at += (ENTRY + name_length).next_multiple_of(4);
    }
    Some(xattrs)
}

/// Converts an access control list from the short form on disk to the one that programs see, in which every entry has an id.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let mut rest = value.strip_prefix(&1_u32.to_le_bytes())?;
    let mut list = 2_u32.to_le_bytes().to_vec();
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        list.extend_from_slice(head);
        let tag = u16::from_le_bytes([head[0], head[1]]);
        if [USER, GROUP].contains(&tag) {
            let (id, after) = after.split_first_chunk::<4>()?;
            list.extend_from_slice(id);
            rest = after;
        } else {
            list.extend_from_slice(&u32::MAX.to_le_bytes());
            rest = after;
        }
    }
    rest.is_empty().then_some(list)
}
