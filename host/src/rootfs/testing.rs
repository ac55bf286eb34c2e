//! What the tests of trees and disks share: packages made by hand, trees to compare, private tools.

use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use oic_protocol::StoreBlob;

use super::{Content, Deb, DebCache, Inode, Kind, Metadata, PackageInput, RootTree, tar};
use crate::{
    digest::Sha256Digest,
    disk::{DiskTools, Ext4Tools},
    exec::Program,
};

/// Time of everything that tests make.
pub(crate) const EPOCH: i64 = 1_700_000_000;

/// Says on the terminal why a test did nothing.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Returns a tool: below the folder `OIC_TEST_TOOLS`, started by the loader there, else the host's own.
#[expect(clippy::disallowed_methods, reason = "only tests read this variable")]
pub(crate) fn tool(name: &str) -> Option<Program> {
    let folders = ["usr/sbin", "usr/bin", "sbin", "bin"];
    let below = |root: &Path| folders.iter().map(|folder| root.join(folder).join(name)).find(|path| path.exists());
    if let Some(root) = std::env::var_os("OIC_TEST_TOOLS").filter(|root| !root.is_empty())
        && let Some(program) = below(Path::new(&root))
    {
        let libraries = Path::new(&root).join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let loader = std::fs::read_dir(&libraries).ok()?.flatten().find(|entry| entry.file_name().as_bytes().starts_with(b"ld-linux"))?;
        let argv = vec![loader.path().into(), "--library-path".into(), libraries.into(), program.into()];
        return Some(Program { argv, env: Vec::new() });
    }
    below(Path::new("/")).map(|path| Program::host(&path))
}

/// Returns the packages in the folder that `OIC_TEST_DEBS` names, or says that there are none.
#[expect(clippy::disallowed_methods, reason = "only tests read this variable")]
pub(crate) fn distribution() -> Option<Vec<PathBuf>> {
    let Some(folder) = std::env::var_os("OIC_TEST_DEBS") else {
        skip("OIC_TEST_DEBS names no folder of packages");
        return None;
    };
    let mut packages: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.sort();
    Some(packages)
}

/// Gives `/etc` of a tree an access control list that names a user.
pub(crate) fn with_acl(mut tree: RootTree) -> RootTree {
    let acl = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255,
        255, 32, 0, 5, 0, 255, 255, 255, 255,
    ];
    let etc = tree.lookup("etc").unwrap();
    tree.inode_mut(etc).metadata.xattrs.insert(b"system.posix_acl_access".to_vec(), acl.to_vec());
    tree
}

/// Returns a tree with every kind of inode, directories of some and of thousands of entries, and extended attributes.
pub(crate) fn various() -> RootTree {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    let mut put = |path: &str, bytes: Vec<u8>, mode| tree.write_file(path, Content::bytes(bytes), mode, EPOCH).unwrap();
    put("etc/empty", Vec::new(), 0o644);
    put("etc/small", b"small\n".to_vec(), 0o640);
    put("usr/bin/tool", vec![7; 100_000], 0o4755);
    put("usr/lib/large", vec![9; 9 << 20], 0o644);
    // A few directories of each form: short, one block, one leaf, several leaves.
    for (folder, count) in [("few", 5), ("block", 60), ("leaf", 300), ("node", 3000)] {
        for number in 0..count {
            put(&format!("{folder}/a file with a name of some length {number}"), vec![1; number % 3 * 3000], 0o644);
        }
    }
    let tool = tree.lookup("usr/bin/tool").unwrap();
    let xattrs = &mut tree.inode_mut(tool).metadata.xattrs;
    xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    tree.link("usr/bin/alias", tool).unwrap();
    for (path, kind) in [
        ("null", Kind::CharDevice { major: 1, minor: 3 }),
        ("disk", Kind::BlockDevice { major: 259, minor: 1000 }),
        ("pipe", Kind::Fifo),
        ("link", Kind::Symlink(b"usr/bin/tool"[..].into())),
    ] {
        let metadata = Metadata { uid: 1000, gid: 70_000, ..Metadata::root_owned(0o1666, EPOCH) };
        tree.insert(path, Inode { metadata, kind }).unwrap();
    }
    tree
}

/// Returns an e2fsprogs that reads archives, none when there is none.
pub(crate) fn ext4_tools() -> Option<Ext4Tools> {
    let tools = Ext4Tools { mke2fs: tool("mke2fs")?, debugfs: tool("debugfs")? };
    let folder = tempfile::tempdir().unwrap();
    let tree = RootTree::new(Metadata::root_owned(0o755, 0));
    let options = crate::disk::ext4::Ext4Options {
        profile: crate::disk::ext4::Profile::Scratch,
        uuid: uuid::Uuid::nil(),
        label: None,
        epoch: EPOCH as u64,
    };
    crate::disk::ext4::make(&tools, &tree, &folder.path().join("probe"), 0, 8 << 20, &options).ok().map(|()| tools)
}

/// Returns the makers of filesystems, none when one is missing.
pub(crate) fn disk_tools() -> Option<DiskTools> {
    Some(DiskTools { ext4: ext4_tools()?, mksquashfs: tool("mksquashfs")?, mkfs_erofs: tool("mkfs.erofs")? })
}

/// A file of a package made by hand.
#[derive(Clone)]
pub(crate) struct Packed(pub(crate) &'static str, pub(crate) Metadata, pub(crate) Kind);

/// Returns a regular file.
pub(crate) fn file(path: &'static str, text: &str) -> Packed {
    Packed(path, Metadata::root_owned(0o644, EPOCH - 60), Kind::File(Content::bytes(text.as_bytes().to_vec())))
}

/// Returns a symbolic link.
pub(crate) fn symlink(path: &'static str, target: &str) -> Packed {
    Packed(path, Metadata::root_owned(0o777, EPOCH - 60), Kind::Symlink(target.as_bytes().into()))
}

/// Writes a package: control files by name, and a tree of files with their parents.
pub(crate) fn write_deb(folder: &Path, control: &[(&str, &str)], files: &[Packed], links: &[(&str, &str)]) -> PathBuf {
    let mut data = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    for Packed(path, metadata, kind) in files {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        data.make_directories(parent, EPOCH).unwrap();
        data.insert(path, Inode { metadata: metadata.clone(), kind: kind.clone() }).unwrap();
    }
    for (path, target) in links {
        let id = data.lookup(target).unwrap();
        data.link(path, id).unwrap();
    }
    let mut meta = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    for (name, text) in control {
        let mode = if ["preinst", "postinst"].contains(name) { 0o755 } else { 0o644 };
        meta.write_file(name, Content::bytes(text.as_bytes().to_vec()), mode, EPOCH).unwrap();
    }
    let name = control.iter().find(|(name, _)| *name == "control").unwrap().1.lines().next().unwrap().replace("Package: ", "");
    let path = folder.join(format!("{name}-{}.deb", Sha256Digest::of(format!("{control:?}").as_bytes())));
    let mut output = std::fs::File::create(&path).unwrap();
    let mut bytes = b"!<arch>\n".to_vec();
    let mut member = |name: &str, content: &[u8]| {
        bytes.extend_from_slice(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    };
    let archive = |tree: &RootTree| {
        let mut archive = Vec::new();
        tar::write_tree(tree, &mut archive).unwrap();
        archive
    };
    member("debian-binary", b"2.0\n");
    member("control.tar.zst", &zstd::encode_all(&archive(&meta)[..], 3).unwrap());
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive(&data)).unwrap();
    member("data.tar.xz", &xz.finish().unwrap());
    output.write_all(&bytes).unwrap();
    path
}

/// Opens packages as the build does.
pub(crate) fn open(cache: &Path, packages: &[PathBuf]) -> Vec<PackageInput> {
    let digest = |path: &Path| Sha256Digest::of_reader(&mut std::fs::File::open(path).unwrap()).unwrap();
    let keyed: Vec<_> = packages.iter().map(|path| (path.clone(), digest(path))).collect();
    let debs = DebCache::new(cache).open_all(&keyed).unwrap();
    let input = |(deb, path): (Deb, &PathBuf)| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        PackageInput { deb, blob: StoreBlob { name: name.clone(), path: name, size: 0 } }
    };
    debs.into_iter().zip(packages).map(input).collect()
}

/// What a tree has at a path, as text that can be compared.
pub(crate) type Listing = BTreeMap<String, String>;

/// Describes a tree.
pub(crate) fn listing(tree: &RootTree) -> Listing {
    let describe = |entry: super::Entry<'_>| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let first = entry.link_to.map_or_else(|| path.clone(), |first| String::from_utf8_lossy(&first).into_owned());
        let Metadata { mode, uid, gid, mtime, xattrs } = &entry.inode.metadata;
        let kind = match &entry.inode.kind {
            Kind::File(content) => {
                format!("{} {} at {mtime} as {first}", content.size(), Sha256Digest::of_reader(&mut content.reader()).unwrap())
            }
            Kind::Symlink(target) => format!("-> {} at {mtime}", String::from_utf8_lossy(target)),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => format!("{major}:{minor}"),
            _ => String::new(),
        };
        let mode = if matches!(entry.inode.kind, Kind::Symlink(_)) { 0o777 } else { *mode };
        (path, format!("{} {mode:o} {uid}:{gid} {xattrs:?} {kind}", entry.inode.kind.name()))
    };
    tree.walk().map(describe).collect()
}

/// Reads a folder of the host into a tree.
pub(crate) fn read_folder(folder: &Path) -> RootTree {
    let metadata = |path: &Path| {
        let stat = path.symlink_metadata().unwrap();
        Metadata { mode: (stat.mode() & 0o7777) as u16, uid: stat.uid(), gid: stat.gid(), mtime: stat.mtime(), xattrs: BTreeMap::new() }
    };
    let mut tree = RootTree::new(metadata(folder));
    let mut known = BTreeMap::new();
    let mut pending = vec![(folder.to_owned(), tree.root())];
    while let Some((path, parent)) = pending.pop() {
        for entry in std::fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let stat = path.symlink_metadata().unwrap();
            let kind = match stat.mode() & 0o170_000 {
                0o040_000 => Kind::directory(),
                0o120_000 => Kind::Symlink(std::fs::read_link(&path).unwrap().as_os_str().as_bytes().into()),
                0o100_000 => Kind::File(Content::whole_file(&path).unwrap()),
                0o010_000 => Kind::Fifo,
                0o020_000 => Kind::CharDevice { major: rustix::fs::major(stat.rdev()), minor: rustix::fs::minor(stat.rdev()) },
                _ => panic!("{} is of an unexpected kind", path.display()),
            };
            let is_directory = matches!(kind, Kind::Directory(_));
            let id = *known.entry((stat.dev(), stat.ino())).or_insert_with(|| tree.allocate(Inode { metadata: metadata(&path), kind }));
            assert!(tree.attach_to(parent, entry.file_name().as_bytes(), id));
            if is_directory {
                pending.push((path, id));
            }
        }
    }
    tree
}

/// Returns the lines in which two listings differ.
pub(crate) fn difference(ours: &Listing, theirs: &Listing) -> Vec<String> {
    let mut lines = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (a, b) = (ours.get(path), theirs.get(path));
        if a != b {
            lines.push(format!("{path}: {a:?} | {b:?}"));
        }
    }
    lines
}
