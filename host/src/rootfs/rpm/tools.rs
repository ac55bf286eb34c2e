//! The tree of the tools disk: rpm and what it needs, unpacked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    cpio::{Archive, CpioError, FileFacts},
    package::{self, RpmError},
};
use crate::rootfs::{
    content::Content,
    path::{self, Shown},
    tree::{Inode, InodeId, Kind, Metadata, RootTree, TreeError},
};

/// The largest file that is unpacked.
const MAX_FILE: u64 = 1 << 30;

/// Folders of the tools disk that are mount points: the root that is installed into, the store, and one for temporary files.
const MOUNT_POINTS: [&str; 3] = ["/target", "/store", "/tmp"];

/// What a program does not need to run.
const LEFT_OUT: [&str; 6] = ["/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale", "/usr/share/licenses", "/boot"];

/// Why the tools cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// A package cannot be read.
    #[error(transparent)]
    Package(#[from] RpmError),
    /// A file of a package cannot be in a tree.
    #[error("`{}` cannot be unpacked", package.display())]
    Place {
        /// The package file.
        package: PathBuf,
        /// Why.
        source: TreeError,
    },
}

/// One entry of a package, its content read.
struct Unpacked {
    package: PathBuf,
    facts: FileFacts,
    path: Vec<u8>,
    content: Vec<u8>,
}

/// Returns the tree of rpm's packages and those that they need. Everything belongs to root, and nothing is run.
///
/// # Errors
/// Fails when a package is damaged, or two of them do not fit together.
pub fn tools_tree(packages: &[PathBuf]) -> Result<RootTree, ToolsError> {
    let mut entries = Vec::new();
    for package in packages {
        entries.extend(unpack(package)?);
    }
    // The links of the merged /usr lie in the root and come first: what other packages have in /lib belongs where they lead to.
    entries.sort_by_key(|entry| (entry.path.iter().filter(|byte| **byte == b'/').count() > 1, is_folder(&entry.facts)));
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
    let mut linked = BTreeMap::new();
    for entry in entries {
        let package = entry.package.clone();
        place(&mut tree, entry, &mut linked).map_err(|source| ToolsError::Place { package, source })?;
    }
    for folder in MOUNT_POINTS {
        let made = tree.make_directories(folder, 0);
        made.map_err(|source| ToolsError::Place { package: packages.first().cloned().unwrap_or_default(), source })?;
    }
    Ok(tree)
}

fn is_folder(facts: &FileFacts) -> bool {
    facts.mode & 0o170_000 == 0o40_000
}

/// Reads the entries of a package that programs need.
fn unpack(package: &Path) -> Result<Vec<Unpacked>, RpmError> {
    let (header, reader) = package::read_header(package)?;
    let files = package::files(header.header());
    let payload = package::payload(package, &header, reader)?;
    let damaged = |source| RpmError::Archive { path: package.to_owned(), source };
    let mut archive = Archive::new(std::io::BufReader::new(payload), &files);
    let mut entries = Vec::new();
    while let Some(facts) = archive.next().map_err(damaged)? {
        let path = path::normalize(&facts.path).map_err(|_| damaged(CpioError::Malformed { reason: "it has an impossible path" }))?;
        let left_out = |folder: &&str| path.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
        if path == b"/" || LEFT_OUT.iter().any(left_out) {
            continue;
        }
        let content = archive.content(MAX_FILE).map_err(damaged)?;
        entries.push(Unpacked { package: package.to_owned(), facts, path, content });
    }
    Ok(entries)
}

/// Puts an entry into the tree.
fn place(tree: &mut RootTree, entry: Unpacked, linked: &mut BTreeMap<(PathBuf, u64), InodeId>) -> Result<(), TreeError> {
    let Unpacked { package, facts, path, content } = entry;
    let metadata = Metadata::root_owned((facts.mode & 0o7777) as u16, facts.mtime);
    let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..slash]);
    tree.make_directories(parent, facts.mtime)?;
    let kind = match facts.mode & 0o170_000 {
        0o40_000 => {
            // A folder that is there already, be it through a link, stays.
            let is_there = tree.get(&path).is_some_and(|inode| matches!(inode.kind, Kind::Directory(_)));
            return if is_there { Ok(()) } else { tree.insert(&path, Inode { metadata, kind: Kind::directory() }).map(drop) };
        }
        0o100_000 if facts.links > 1 => return place_link(tree, &path, (package, facts.inode), metadata, content, linked),
        0o100_000 => Kind::File(Content::bytes(content)),
        0o120_000 => Kind::Symlink(content.into()),
        // Device nodes and the like are made where they are needed.
        _ => return Ok(()),
    };
    let is_folder = tree.lookup(&path).is_some_and(|id| matches!(tree.inode(id).kind, Kind::Directory(_)));
    if is_folder {
        return Err(TreeError::Exists { path: Shown(&path).to_string() });
    }
    tree.replace(&path, Inode { metadata, kind }).map(drop)
}

/// Puts one of several names of a file into the tree; the archive has the content with the last of them.
fn place_link(
    tree: &mut RootTree,
    path: &[u8],
    key: (PathBuf, u64),
    metadata: Metadata,
    content: Vec<u8>,
    linked: &mut BTreeMap<(PathBuf, u64), InodeId>,
) -> Result<(), TreeError> {
    let Some(id) = linked.get(&key).copied() else {
        let id = tree.replace(path, Inode { metadata, kind: Kind::File(Content::bytes(content)) })?;
        linked.insert(key, id);
        return Ok(());
    };
    if !content.is_empty() {
        tree.inode_mut(id).kind = Kind::File(Content::bytes(content));
    }
    tree.link(path, id)
}
