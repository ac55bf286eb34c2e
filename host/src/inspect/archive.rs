//! Root filesystems as archives: tar, the layers of a container image in one (OCI layout, `docker save`), and the cpio archive that
//! an initramfs is.
//!
//! Members are where they are in the archive; only layers that are compressed are unpacked, into files without a name in the scratch
//! folder. Paths that lead out of the tree, entries without end and layers without end are damage.

use std::{fs::File, io, path::Path, sync::Arc};

use oic_disk_formats::{self as disk_formats, Compression};
use serde::Deserialize;

use crate::rootfs::{
    Content, HostFile, Inode, InodeId, Kind, Metadata, RootTree,
    path::MAX_PATH,
    tar_read::{self, TarEntry, TarError, TarKind},
    tree::TreeError,
};

/// The largest description in a container image.
const MAX_JSON: u64 = 4 << 20;
/// The most layers, and the most bytes that one gives.
const MAX_LAYERS: usize = 128;
const MAX_LAYER: u64 = 64 << 30;
/// The most members of a cpio archive.
const MAX_MEMBERS: usize = 4_000_000;
/// What removes a file of the layers below, and everything in a folder.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// Reading failed.
    #[error("cannot read the archive")]
    Read(#[from] io::Error),
    /// It is not a tar archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A member cannot be where it is said to be.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Its structures make no sense.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
}

/// Returns what kind of archive begins with these bytes.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if has(257, b"ustar") {
        Some("tar")
    } else if has(0, b"070701") || has(0, b"070702") {
        Some("cpio")
    } else {
        None
    }
}

/// Reads an archive; the second value tells how many layers of a container image it is.
pub(super) fn read_tree(file: &Arc<HostFile>, kind: &str, scratch: &Path) -> Result<(RootTree, Option<usize>), ArchiveError> {
    if kind == "cpio" {
        return Ok((cpio(file)?, None));
    }
    let outer = tar(file, RootTree::new(Metadata::root_owned(0o755, 0)))?;
    let Some(layers) = layers(&outer)? else { return Ok((outer, None)) };
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
    for layer in &layers {
        tree = tar(&unpacked(layer, scratch)?, tree)?;
    }
    Ok((tree, Some(layers.len())))
}

/// Puts the members of a tar archive into a tree.
fn tar(file: &Arc<HostFile>, mut tree: RootTree) -> Result<RootTree, ArchiveError> {
    for TarEntry { path, metadata, kind } in tar_read::read_table(file, 0, file.size())? {
        let path = cleaned(&path)?;
        let (folder, name) = split(&path);
        if name == OPAQUE {
            let names: Vec<_> = tree.names(folder).map(|(name, _)| [folder, b"/", name].concat()).collect();
            for path in &names {
                tree.remove(path);
            }
            continue;
        }
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            tree.remove([folder, b"/", gone].concat());
            continue;
        }
        let kind = match kind {
            TarKind::File { offset, size } => Kind::File(Content::range(file.clone(), offset, size)),
            TarKind::HardLink(target) => {
                let target = tree.lookup(cleaned(&target)?).ok_or(ArchiveError::Damaged("a link leads to something that is not there"))?;
                tree.remove(&path);
                tree.make_directories(folder, metadata.mtime)?;
                tree.link(&path, target)?;
                continue;
            }
            TarKind::Symlink(target) => Kind::Symlink(target.into()),
            TarKind::Directory => Kind::directory(),
            TarKind::CharDevice(major, minor) => Kind::CharDevice { major, minor },
            TarKind::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
            TarKind::Fifo => Kind::Fifo,
        };
        put(&mut tree, &path, Inode { metadata, kind })?;
    }
    Ok(tree)
}

/// Returns a path without what means nothing: `./` before it, slashes around it.
fn cleaned(path: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if path.len() > MAX_PATH || names.contains(&&b".."[..]) {
        return Err(ArchiveError::Damaged("a path leads out of it"));
    }
    Ok(names.into_iter().flat_map(|name| [b"/", name]).flatten().copied().collect())
}

/// Returns the folder and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    (&path[..at], path.get(at + 1..).unwrap_or_default())
}

/// Puts an inode where it belongs; a directory that is there already keeps what is in it.
fn put(tree: &mut RootTree, path: &[u8], inode: Inode) -> Result<InodeId, ArchiveError> {
    let (folder, _) = split(path);
    let known = if path.is_empty() { Some(tree.root()) } else { tree.lookup(path) };
    if let (Kind::Directory(_), Some(known)) = (&inode.kind, known)
        && matches!(tree.inode(known).kind, Kind::Directory(_))
    {
        tree.inode_mut(known).metadata = inode.metadata;
        return Ok(known);
    }
    if path.is_empty() {
        return Err(ArchiveError::Damaged("its root is not a directory"));
    }
    tree.make_directories(folder, inode.metadata.mtime)?;
    Ok(tree.replace(path, inode)?)
}

/// The parts of an image's descriptions that lead to its layers.
#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Reference>,
    #[serde(default)]
    layers: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Saved {
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Returns the layers of a container image, the lowest first; none when the archive is none.
fn layers(outer: &RootTree) -> Result<Option<Vec<Content>>, ArchiveError> {
    const DAMAGED: ArchiveError = ArchiveError::Damaged("the description of the container image leads nowhere");
    let json = |path: &str| outer.file(path).map(|content| content.read_all(MAX_JSON)).transpose();
    let blob = |reference: &Reference| format!("/blobs/{}", reference.digest.replacen(':', "/", 1));
    let paths: Vec<String> = if outer.file("/oci-layout").is_some() {
        let mut path = "/index.json".to_owned();
        // An index may lead to an index of architectures, and that to the image.
        let mut found = None;
        for _ in 0..4 {
            let text = json(&path)?.ok_or(DAMAGED)?;
            let index: Index = serde_json::from_slice(&text).map_err(|_| DAMAGED)?;
            let Some(next) = index.manifests.first() else {
                found = Some(index.layers);
                break;
            };
            path = blob(next);
        }
        found.ok_or(DAMAGED)?.iter().map(blob).collect()
    } else if let (Some(text), None) = (json("/manifest.json")?, outer.lookup("/etc")) {
        let saved: Vec<Saved> = serde_json::from_slice(&text).map_err(|_| DAMAGED)?;
        saved.into_iter().next().ok_or(DAMAGED)?.layers
    } else {
        return Ok(None);
    };
    if paths.len() > MAX_LAYERS {
        return Err(ArchiveError::Damaged("it has more layers than images have"));
    }
    paths.iter().map(|path| outer.file(path).cloned().ok_or(DAMAGED)).collect::<Result<_, _>>().map(Some)
}

/// Returns a layer as a tar archive that is not compressed.
fn unpacked(layer: &Content, scratch: &Path) -> Result<Arc<HostFile>, ArchiveError> {
    let mut head = vec![0; layer.size().min(16) as usize];
    layer.read_exact_at(&mut head, 0)?;
    std::fs::create_dir_all(scratch)?;
    let temporary = || tempfile::tempfile_in(scratch);
    let mut packed: File = temporary()?;
    io::copy(&mut layer.reader(), &mut packed)?;
    io::Seek::rewind(&mut packed)?;
    let file = match Compression::detect(&head) {
        Some(compression) => {
            let plain = temporary()?;
            disk_formats::decompress(&packed, compression, &plain, MAX_LAYER)?;
            plain
        }
        None => packed,
    };
    let opened = disk_formats::open_file(file).map_err(|_| ArchiveError::Damaged("a layer is not an archive"))?;
    let size = opened.disk.size();
    Ok(HostFile::window(opened.disk.into(), 0, size, scratch))
}

/// Reads a cpio archive of the newer ASCII form, several of them one behind the other.
fn cpio(file: &Arc<HostFile>) -> Result<RootTree, ArchiveError> {
    const HEADER: u64 = 110;
    const DAMAGED: ArchiveError = ArchiveError::Damaged("a member of the cpio archive is not one");
    let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
    // Further names of an inode come before the one with its content.
    let mut linked: std::collections::HashMap<(u64, u64, u64), InodeId> = std::collections::HashMap::new();
    let mut at = 0;
    for _ in 0..MAX_MEMBERS {
        if file.size().saturating_sub(at) < HEADER {
            break;
        }
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, at)?;
        if header.iter().all(|byte| *byte == 0) {
            at += 4;
            continue;
        }
        if kind(&header) != Some("cpio") {
            // A compressed archive may follow one of microcode.
            break;
        }
        let field = |index: usize| {
            let text = std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).map_err(|_| DAMAGED)?;
            u64::from_str_radix(text, 16).map_err(|_| DAMAGED)
        };
        let (mode, size, name_size) = (field(1)? as u32, field(6)?, field(11)?);
        if !(1..=MAX_PATH as u64).contains(&name_size) {
            return Err(DAMAGED);
        }
        let mut name = vec![0; name_size as usize];
        file.read_exact_at(&mut name, at + HEADER)?;
        name.pop();
        let content = (at + HEADER + name_size).next_multiple_of(4);
        let end = content.checked_add(size).filter(|end| *end <= file.size()).ok_or(DAMAGED)?;
        at = end.next_multiple_of(4);
        if name == b"TRAILER!!!" {
            linked.clear();
            continue;
        }
        let path = cleaned(&name)?;
        let range = Content::range(file.clone(), content, size);
        let device = (field(9)? as u32, field(10)? as u32);
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File(range),
            0o120_000 => Kind::Symlink(range.read_all(MAX_PATH as u64)?.into()),
            _ => Kind::without_content(mode, device).ok_or(DAMAGED)?,
        };
        let identity = (field(7)?, field(8)?, field(0)?);
        if let (Kind::File(_), true, Some(known)) = (&kind, field(4)? > 1, linked.get(&identity).copied()) {
            tree.make_directories(split(&path).0, 0)?;
            tree.remove(&path);
            tree.link(&path, known)?;
            if size > 0 {
                tree.inode_mut(known).kind = kind;
            }
            continue;
        }
        let metadata = Metadata {
            mode: (mode & 0o7777) as u16,
            uid: field(2)? as u32,
            gid: field(3)? as u32,
            mtime: field(5)?.cast_signed(),
            ..Metadata::default()
        };
        linked.insert(identity, put(&mut tree, &path, Inode { metadata, kind })?);
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::rootfs::{
        cpio,
        path::Shown,
        tar::write_tree,
        testing::{difference, listing, various},
    };

    fn read(bytes: &[u8]) -> Result<(RootTree, Option<usize>), ArchiveError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        let kind = kind(bytes).unwrap_or("tar");
        read_tree(&HostFile::open(&path).unwrap(), kind, folder.path())
    }

    #[test]
    fn archives_of_a_tree_read_back_as_that_tree() {
        let tree = various();
        let mut bytes = Vec::new();
        write_tree(&tree, &mut bytes).unwrap();
        let (found, layers) = read(&bytes).unwrap();
        assert_eq!(layers, None);
        let differences = difference(&listing(&tree), &listing(&found));
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        // An initramfs keeps no extended attributes.
        let mut plain = tree.clone();
        plain.update_metadata(|metadata| metadata.xattrs.clear());
        let mut bytes = Vec::new();
        cpio::write_tree(&tree, &mut bytes).unwrap();
        let differences = difference(&listing(&plain), &listing(&read(&bytes).unwrap().0));
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// Returns a tar archive of files.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
        for (path, bytes) in files {
            tree.write_file(path, Content::bytes(*bytes), 0o644, 0).unwrap();
        }
        let mut bytes = Vec::new();
        write_tree(&tree, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn layers_are_put_upon_each_other() {
        let lower = archive(&[("etc/passwd", b"lower"), ("etc/gone", b""), ("opt/a", b""), ("opt/b", b"")]);
        let upper = archive(&[("etc/.wh.gone", b""), ("etc/passwd", b"upper"), ("opt/.wh..wh..opq", b""), ("opt/c", b"")]);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&upper).unwrap();
        let packed = packed.finish().unwrap();
        let image = archive(&[
            ("oci-layout", b"{}"),
            ("index.json", br#"{"manifests": [{"digest": "sha256:m"}]}"#),
            ("blobs/sha256/m", br#"{"layers": [{"digest": "sha256:lower"}, {"digest": "sha256:upper"}]}"#),
            ("blobs/sha256/lower", &lower),
            ("blobs/sha256/upper", &packed),
        ]);
        let (tree, layers) = read(&image).unwrap();
        assert_eq!(layers, Some(2));
        let paths: Vec<_> = tree.walk().map(|entry| Shown(&entry.path).to_string()).collect();
        assert_eq!(paths, ["/", "/etc", "/etc/passwd", "/opt", "/opt/c"]);
        assert_eq!(tree.file("/etc/passwd").unwrap().read_all(9).unwrap(), b"upper");
        let nowhere = archive(&[("oci-layout", b"{}"), ("index.json", br#"{"manifests": [{"digest": "sha256:m"}]}"#)]);
        assert!(matches!(read(&nowhere), Err(ArchiveError::Damaged(_))));
    }

    #[test]
    fn damage_is_an_error_or_another_tree() {
        let mut bytes = Vec::new();
        cpio::write_tree(&various(), &mut bytes).unwrap();
        bytes.truncate(20_000);
        for length in 0..bytes.len() / 7 {
            let _ = read(&bytes[..length * 7]);
        }
        for at in 0..2000 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            let _ = read(&damaged);
        }
        assert!(matches!(cleaned(b"./a/../../b"), Err(ArchiveError::Damaged(_))));
    }
}
