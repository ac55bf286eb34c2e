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
            Kind::File(content) => content.read_all(MAX_FILE).with_context(|| path.clone())?,
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
                ("file", Content::range(file.clone(), *offset, *size).read_all(MAX_FILE).with_context(|| path.clone())?)
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

/// Returns the path of an archive's entry as a tree has it.
fn absolute(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let inner = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    if inner == "." { "/".to_owned() } else { format!("/{inner}") }
}
