//! Extended attributes in the short form, which is in the inode.

use super::{Put as _, Writer, XfsError};
use crate::rootfs::tree::Metadata;

/// Prefixes of names with the flag of their namespace.
const NAMESPACES: [(&[u8], u8); 3] = [(b"user.", 0), (b"trusted.", 2), (b"security.", 4)];
/// Access control lists are attributes of the trusted namespace in a form of their own.
const LISTS: [(&[u8], &[u8]); 2] = [(b"system.posix_acl_access", b"SGI_ACL_FILE"), (b"system.posix_acl_default", b"SGI_ACL_DEFAULT")];
const TRUSTED: u8 = 2;

/// Returns the attributes of an inode as they are in it; empty: there are none.
pub(super) fn short_form(metadata: &Metadata, path: &[u8]) -> Result<Vec<u8>, XfsError> {
    if metadata.xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; 4];
    for (name, value) in &metadata.xattrs {
        let (name, value, flags) = stored(name, value, path)?;
        let too_long = |_| Writer::refuse(path, "it has an extended attribute of more than 255 bytes");
        bytes.push(u8::try_from(name.len()).map_err(too_long)?);
        bytes.push(u8::try_from(value.len()).map_err(too_long)?);
        bytes.push(flags);
        bytes.extend(name);
        bytes.extend(value);
    }
    let size = bytes.len() as u16;
    bytes.put16(0, size);
    bytes[2] = u8::try_from(metadata.xattrs.len()).map_err(|_| Writer::refuse(path, "it has more than 255 extended attributes"))?;
    Ok(bytes)
}

/// Returns name, value and flags of an attribute as they are stored.
fn stored(name: &[u8], value: &[u8], path: &[u8]) -> Result<(Vec<u8>, Vec<u8>, u8), XfsError> {
    if let Some((_, stored)) = LISTS.iter().find(|(known, _)| *known == name) {
        let list = access_list(value).ok_or_else(|| Writer::refuse(path, "its access control list is malformed"))?;
        return Ok((stored.to_vec(), list, TRUSTED));
    }
    let known = NAMESPACES.iter().find_map(|(prefix, flags)| Some((name.strip_prefix(*prefix)?.to_vec(), value.to_vec(), *flags)));
    known.ok_or_else(|| Writer::refuse(path, "it has an extended attribute of a namespace that XFS does not have"))
}

/// Returns an access control list as XFS stores it: number of entries; tag, identity, permissions and padding of each.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&[2, 0, 0, 0])?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut list = ((entries.len() / 8) as u32).to_be_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        list.extend(u32::from(number(0)).to_be_bytes());
        list.extend(u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]).to_be_bytes());
        list.extend(number(2).to_be_bytes());
        list.extend([0, 0]);
    }
    Some(list)
}
