//! Trees as lists of what can be compared.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use oic::{
    digest::Sha256Digest,
    rootfs::{
        Content, HostFile, Kind, Metadata, RootTree,
        tar_read::{self, TarKind},
    },
};

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 30;
/// The largest text that is kept to show what differs in it.
const MAX_TEXT: usize = 4 << 20;

/// Every path of a tree.
pub type Listing = BTreeMap<String, Node>;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a file's content, a link's target, or a device's numbers.
    pub digest: Sha256Digest,
    /// Size of that.
    pub size: usize,
    /// The content, where it is text of no great length.
    pub text: Option<String>,
}

impl Node {
    /// Returns a file of root.
    #[must_use]
    pub fn file(bytes: Vec<u8>, mode: u16) -> Self {
        Self::new("file", &Metadata::root_owned(mode, 0), bytes)
    }

    fn new(kind: &'static str, metadata: &Metadata, bytes: Vec<u8>) -> Self {
        let (digest, size) = (Sha256Digest::of(&bytes), bytes.len());
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_TEXT && !text.contains('\0'));
        Self { kind, mode: metadata.mode, uid: metadata.uid, gid: metadata.gid, xattrs: metadata.xattrs.clone(), digest, size, text }
    }
}

/// Lists a tree.
///
/// # Errors
/// Fails when a file cannot be read.
pub fn of_tree(tree: &RootTree) -> anyhow::Result<Listing> {
    let mut listing = Listing::new();
    for entry in tree.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let bytes = match &entry.inode.kind {
            Kind::File(content) => timeless(&path, content.read_all(MAX_FILE).with_context(|| path.clone())?)?,
            Kind::Symlink(target) => target.to_vec(),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => format!("{major}:{minor}").into_bytes(),
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => Vec::new(),
        };
        listing.insert(path, Node::new(entry.inode.kind.name(), &entry.inode.metadata, bytes));
    }
    Ok(listing)
}

/// Lists an uncompressed tar file.
///
/// # Errors
/// Fails when it cannot be read or is none.
pub fn of_tar(path: &Path) -> anyhow::Result<Listing> {
    let file = HostFile::open(path).with_context(|| path.display().to_string())?;
    let mut listing = Listing::new();
    for entry in tar_read::read_table(&file, 0, file.size())? {
        let path = absolute(&entry.path);
        let (kind, bytes) = match &entry.kind {
            TarKind::File { offset, size } => {
                let bytes = Content::range(file.clone(), *offset, *size).read_all(MAX_FILE).with_context(|| path.clone())?;
                ("file", timeless(&path, bytes)?)
            }
            TarKind::HardLink(target) => {
                let first = listing.get(&absolute(target)).cloned().with_context(|| format!("{path} is a link to nothing"))?;
                listing.insert(path, first);
                continue;
            }
            TarKind::Symlink(target) => ("symbolic link", target.clone()),
            TarKind::Directory => ("directory", Vec::new()),
            TarKind::CharDevice(major, minor) => ("character device", format!("{major}:{minor}").into_bytes()),
            TarKind::BlockDevice(major, minor) => ("block device", format!("{major}:{minor}").into_bytes()),
            TarKind::Fifo => ("named pipe", Vec::new()),
        };
        listing.insert(path, Node::new(kind, &entry.metadata, bytes));
    }
    Ok(listing)
}

/// Returns a content without the times in it: those of the files in an initramfs, and the days on which passwords were changed.
/// Scripts of packages run when the build's layers say that it is, and here at the epoch of all.
///
/// An initramfs is returned as what it holds: `oic` compresses it itself, with a newer Zstandard than the target's.
fn timeless(path: &str, mut bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if path == "/etc/shadow" {
        return Ok(without_days(&String::from_utf8_lossy(&bytes)).into_bytes());
    }
    if path.starts_with("/boot/initrd") {
        drop_archive_times(&mut bytes).with_context(|| path.to_owned())?;
    }
    Ok(bytes)
}

/// Returns lines of `/etc/shadow` with `day` for a day of the last change; none and 0, which mean something else, stay.
fn without_days(text: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(day) = fields.get_mut(2).filter(|day| day.parse::<u32>().is_ok_and(|day| day > 0)) {
            *day = "day";
        }
        fields.join(":") + "\n"
    };
    text.lines().map(line).collect()
}

/// Zeroes the times of the entries of cpio archives in the newc format, the compressed one at the end unpacked.
fn drop_archive_times(bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    const HEADER: usize = 110;
    const TIME: std::ops::Range<usize> = 46..54;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        if bytes[at..].starts_with(&ZSTANDARD) {
            let unpacked = zstd::decode_all(&bytes[at..]).context("its compressed part does not unpack")?;
            bytes.splice(at.., unpacked);
        }
        let header =
            bytes.get_mut(at..at + HEADER).filter(|header| header.starts_with(b"0707")).context("it is no sequence of archives")?;
        let field = |index: usize| -> anyhow::Result<usize> {
            Ok(usize::from_str_radix(std::str::from_utf8(&header[6 + index * 8..14 + index * 8])?, 16)?)
        };
        let (size, name) = (field(6)?, field(11)?);
        header[TIME].fill(b'0');
        at = ((at + HEADER + name).next_multiple_of(4) + size).next_multiple_of(4);
    }
    Ok(())
}

/// Returns the path of an archive's entry as a tree has it.
fn absolute(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let inner = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    if inner == "." { "/".to_owned() } else { format!("/{inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_changes_are_left_out() {
        let text = "root:*:20500:0:99999:7:::\nnow:!:0:::::\nnever:!::::::\nshort\n";
        assert_eq!(without_days(text), "root:*:day:0:99999:7:::\nnow:!:0:::::\nnever:!::::::\nshort\n");
    }

    #[test]
    fn archives_are_alike_whatever_their_times_and_nothing_else() {
        let archive = |time: u32, content: &str| {
            let mut bytes = Vec::new();
            for (name, content) in [("a", content), ("TRAILER!!!", "")] {
                bytes.extend(b"070701");
                for field in [1, 0o100_644, 0, 0, 1, time as usize, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
                    bytes.extend(format!("{field:08X}").into_bytes());
                }
                bytes.extend(format!("{name}\0").into_bytes());
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes.extend(content.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes.resize(512, 0);
            let compressed = zstd::encode_all(&bytes[..], 1).unwrap();
            timeless("/boot/initrd.img-1", [bytes, compressed].concat()).unwrap()
        };
        assert_eq!(archive(1, "text"), archive(0xffff_ffff, "text"));
        assert_ne!(archive(1, "text"), archive(1, "tEXT"));
        assert!(timeless("/boot/initrd.img-1", b"neither".to_vec()).is_err());
    }
}
