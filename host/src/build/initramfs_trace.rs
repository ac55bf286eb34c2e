//! When an initramfs need not be made again.
//!
//! Making one is the costliest thing that the guest does after configuring packages. It is a function of what the generator
//! looks at, so that one that was made when all of that was the same is the one that would be made now. While the generator runs,
//! the guest's filesystem notes every access, and the host reads these notes with the disk: which files were read, which
//! folders were listed, which links were followed. They are kept with the tree and the images as a *trace*. A trace holds for
//! another tree when all of these do:
//!
//! - what was read has the same content, owner and mode, and what was listed has the same names;
//! - nothing that was there is gone, and nothing that was not read changed its kind, owner or mode;
//! - nothing new has a name that the generator may have looked for in vain: one that is a word in a script or configuration that
//!   it read, one that a file that it read has elsewhere, or one below a folder that is its business ([`CONCERNED`]).
//!
//! What a generator cannot care about is left out ([`INDIFFERENT`]), unless it was read. Accounts are compared by their
//! system part alone: a generator asks for numbers and the names of system accounts. In every other case of doubt the images are
//! made again. Whether a trace is in the store decides only whether the guest works, never what comes out.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
};

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    rootfs::{Content, InodeId, Kind, RootTree, path::Shown},
};

/// Where anything new may concern a generator. The agent tells initramfs-tools which names in `/etc` begin as the configuration of the
/// linker does, so that it does not list that folder.
const CONCERNED: [&str; 22] = [
    "/boot/",
    "/etc/cryptsetup-initramfs/",
    "/etc/default/",
    "/etc/depmod.d/",
    "/etc/dracut.conf.d/",
    "/etc/initramfs-tools/",
    "/etc/kernel/",
    "/etc/ld.so.conf",
    "/etc/lvm/",
    "/etc/modprobe.d/",
    "/etc/modules-load.d/",
    "/etc/udev/",
    "/lib/",
    "/usr/lib/dracut/",
    "/usr/lib/firmware/",
    "/usr/lib/modprobe.d/",
    "/usr/lib/modules/",
    "/usr/lib/modules-load.d/",
    "/usr/lib/udev/",
    "/usr/local/",
    "/usr/share/initramfs-tools/",
    "/var/lib/initramfs-tools/",
];

/// What no generator cares about as long as it does not read it.
const INDIFFERENT: [&str; 12] = [
    "/home/",
    "/media/",
    "/mnt/",
    "/opt/",
    "/root/",
    "/srv/",
    "/usr/share/doc/",
    "/usr/share/info/",
    "/usr/share/man/",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/log/",
];

/// Where generators put what they make an image of.
const TEMPORARY: &[u8] = b"/var/tmp";
/// The databases of accounts, of which only the system's part counts.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// The first number that is not a system account's.
const FIRST_USER: u32 = 1000;
/// The cache of the dynamic linker: what it says of the libraries that were read follows from their names and places.
const LINKER_CACHE: &str = "/etc/ld.so.cache";
/// The longest file of which words are taken.
const MAX_SCRIPT: u64 = 4 << 20;
/// Words shorter than this are not taken for names.
const MIN_WORD: usize = 2;

/// What a generator looked at, and what it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Every path of the tree but those of the images.
    nodes: BTreeMap<Vec<u8>, Node>,
    /// The names that the generator may have looked for in vain.
    words: BTreeSet<Vec<u8>>,
    /// What it made: path, mode, content.
    made: Vec<(Vec<u8>, u16, Vec<u8>)>,
}

/// A path as the generator found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    kind: u8,
    mode: u16,
    owner: (u32, u32),
    /// The digest of what was read: a content or a link's target; for a folder, that it was listed. None: not read.
    read: Option<Sha256Digest>,
}

impl Trace {
    /// Takes the trace from a tree in which images have just been made. `read` are the inodes that were accessed meanwhile,
    /// `made` the paths of what was made.
    ///
    /// # Errors
    /// Fails when a content cannot be read.
    pub(super) fn take(tree: &RootTree, read: &HashSet<InodeId>, made: &[String]) -> io::Result<Self> {
        let is_made = |path: &[u8]| made.iter().any(|made| made.as_bytes() == path);
        let mut trace = Self { nodes: BTreeMap::new(), words: BTreeSet::new(), made: Vec::new() };
        for entry in tree.walk() {
            let metadata = &entry.inode.metadata;
            if is_made(&entry.path) {
                if let Kind::File(content) = &entry.inode.kind {
                    trace.made.push((entry.path, metadata.mode, content.read_all(MAX_IMAGE)?));
                }
                continue;
            }
            let seen = read.contains(&entry.id);
            if seen {
                trace.words.extend(entry.path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec));
                if let Kind::File(content) = &entry.inode.kind {
                    trace.words.extend(words(&entry.path, content)?);
                }
            }
            let read = if seen { Some(digest(&entry.path, &entry.inode.kind)?) } else { None };
            let owner = (metadata.uid, metadata.gid);
            trace.nodes.insert(entry.path, Node { kind: kind(&entry.inode.kind), mode: metadata.mode, owner, read });
        }
        Ok(trace)
    }

    /// Tells why the images must be made again in a tree; none when those of the trace are the ones that would be made.
    ///
    /// # Errors
    /// Fails when a content cannot be read.
    pub(super) fn objection(&self, tree: &RootTree) -> io::Result<Option<String>> {
        let mut found = BTreeSet::new();
        for entry in tree.walk() {
            let path = Shown(&entry.path).to_string();
            let indifferent = is_below(&path, &INDIFFERENT);
            let Some(node) = self.nodes.get(&entry.path) else {
                if let Some(reason) = self.objection_to_new(&entry.path, &path) {
                    return Ok(Some(reason));
                }
                continue;
            };
            let metadata = &entry.inode.metadata;
            let same = node.kind == kind(&entry.inode.kind) && node.mode == metadata.mode && node.owner == (metadata.uid, metadata.gid);
            if !same && (node.read.is_some() || !indifferent) {
                return Ok(Some(format!("`{path}` has another kind, owner or mode")));
            }
            if let Some(read) = node.read
                && path != LINKER_CACHE
                && digest(&entry.path, &entry.inode.kind)? != read
            {
                return Ok(Some(format!("`{path}` has changed")));
            }
            found.insert(entry.path);
        }
        let gone = self
            .nodes
            .iter()
            .find(|(path, node)| !found.contains(*path) && (node.read.is_some() || !is_below(&Shown(path).to_string(), &INDIFFERENT)));
        Ok(gone.map(|(path, _)| format!("`{}` is gone", Shown(path))))
    }

    /// Tells why the images must be made again whatever else is done to a tree: what is there and was not may concern the generator.
    pub(super) fn objection_to_more(&self, tree: &RootTree) -> Option<String> {
        let mut new = tree.walk().filter(|entry| !self.nodes.contains_key(&entry.path));
        new.find_map(|entry| self.objection_to_new(&entry.path, &Shown(&entry.path).to_string()))
    }

    /// Tells why something new may concern the generator.
    fn objection_to_new(&self, path: &[u8], shown: &str) -> Option<String> {
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        let (parent, name) = (if slash == 0 { &b"/"[..] } else { &path[..slash] }, &path[slash + 1..]);
        if self.nodes.get(parent).is_some_and(|node| node.read.is_some()) {
            return Some(format!("`{shown}` is new in a folder that was listed"));
        }
        if is_below(shown, &INDIFFERENT) {
            return None;
        }
        if is_below(shown, &CONCERNED) {
            return Some(format!("`{shown}` is new"));
        }
        // `fsck.ext4` is looked for as `fsck.$type`: what stands before a dot or a dash counts as well.
        let stems = name.iter().enumerate().filter(|(_, byte)| b".-".contains(byte)).map(|(at, _)| &name[..=at]);
        let known = std::iter::once(name).chain(stems).find(|word| self.words.contains(*word));
        known.map(|_| format!("`{shown}` is new and may have been looked for"))
    }

    /// Puts the images into a tree that the trace holds for.
    ///
    /// # Errors
    /// Fails when the tree has no place for them.
    pub(super) fn apply(&self, tree: &mut RootTree, time: i64) -> Result<(), crate::rootfs::TreeError> {
        for (path, mode, bytes) in &self.made {
            tree.write_file(path, Content::bytes(bytes.clone()), *mode, time)?;
        }
        // A generator that runs leaves its time on the folders that it makes files in, temporary ones too.
        let above = |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map(|at| path[..at].to_vec());
        let folders = self.made.iter().filter_map(|(path, ..)| above(path)).chain([TEMPORARY.into()]);
        for folder in folders {
            if let Some(id) = tree.resolve(folder) {
                tree.inode_mut(id).metadata.mtime = time;
            }
        }
        Ok(())
    }

    /// Returns whether there is anything in it.
    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }
}

/// The largest image that is kept.
const MAX_IMAGE: u64 = 1 << 30;

fn is_below(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder) || folder.strip_suffix('/') == Some(path))
}

fn kind(kind: &Kind) -> u8 {
    match kind {
        Kind::Directory(_) => 0,
        Kind::File(_) => 1,
        Kind::Symlink(_) => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
    }
}

/// Returns the digest of what reading a path gives. The names in a folder are compared one by one elsewhere.
fn digest(path: &[u8], kind: &Kind) -> io::Result<Sha256Digest> {
    match kind {
        Kind::File(content) if ACCOUNTS.iter().any(|accounts| accounts.as_bytes() == path) => {
            let text = String::from_utf8_lossy(&content.read_all(MAX_SCRIPT)?).into_owned();
            Ok(Sha256Digest::of(system_accounts(&text, path == b"/etc/group").as_bytes()))
        }
        Kind::File(content) => Sha256Digest::of_reader(&mut content.reader()),
        Kind::Symlink(target) => Ok(Sha256Digest::of(target)),
        _ => Ok(Sha256Digest::of(b"")),
    }
}

/// Returns the lines of a database of accounts that are the system's, or have a name that could be taken for a number.
fn system_accounts(text: &str, are_groups: bool) -> String {
    let is_system = |line: &&str| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let number = fields.nth(1).and_then(|number| number.parse::<u32>().ok());
        number.is_none_or(|number| !(FIRST_USER..65_534).contains(&number)) || name.starts_with(|c: char| c.is_ascii_digit())
    };
    // A group's members are no matter of a generator's either.
    let fields = if are_groups { 3 } else { usize::MAX };
    let without_members = |line: &str| line.split(':').take(fields).collect::<Vec<_>>().join(":");
    text.lines().filter(is_system).map(|line| without_members(line) + "\n").collect()
}

/// Returns the words of a file if it is a script or a configuration: every run of characters that file names are made of.
fn words(path: &[u8], content: &Content) -> io::Result<Vec<Vec<u8>>> {
    if content.size() > MAX_SCRIPT {
        return Ok(Vec::new());
    }
    let mut begin = [0; 2];
    let is_script = content.size() > 2 && content.read_exact_at(&mut begin, 0).is_ok() && &begin == b"#!";
    let is_configuration =
        path.starts_with(b"/etc/") || path.starts_with(b"/usr/share/initramfs-tools/") || path.starts_with(b"/usr/lib/dracut/");
    if !is_script && !is_configuration {
        return Ok(Vec::new());
    }
    let bytes = content.read_all(MAX_SCRIPT)?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte) || *byte >= 0x80;
    // Comments are sentences, of which any word may be the name of a program.
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
    let words = lines.flat_map(|line| line.split(|byte| !is_part(byte))).filter(|word| word.len() >= MIN_WORD).map(<[u8]>::to_vec);
    Ok(words.collect::<BTreeSet<_>>().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::{Inode, Metadata};

    fn tree() -> RootTree {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, 0));
        let mut write = |path: &str, text: &str| tree.write_file(path, Content::bytes(text.as_bytes().to_vec()), 0o644, 0).unwrap();
        write("/usr/sbin/mkinitramfs", "#!/bin/sh\n  # less is not looked for\n[ -x /usr/bin/busybox ] && fsck.$type\n");
        write("/usr/lib/x86/libz.so.1", "library");
        write("/usr/bin/unread", "tool");
        write("/etc/fstab", "fstab");
        write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
        write("/etc/ld.so.cache", "one");
        write("/etc/hooks/a", "hook");
        write("/root/key", "key");
        write("/opt/seen", "seen");
        write("/boot/initrd.img-1", "image");
        tree
    }

    fn trace() -> Trace {
        let tree = tree();
        let read =
            ["/usr/sbin/mkinitramfs", "/usr/lib/x86/libz.so.1", "/etc/fstab", "/etc/passwd", "/etc/ld.so.cache", "/etc/hooks", "/opt/seen"];
        let read = read.iter().map(|path| tree.lookup(path).unwrap()).collect();
        Trace::take(&tree, &read, &["/boot/initrd.img-1".to_owned()]).unwrap()
    }

    fn objection(change: impl FnOnce(&mut RootTree)) -> Option<String> {
        let mut tree = tree();
        tree.remove("/boot/initrd.img-1");
        change(&mut tree);
        trace().objection(&tree).unwrap()
    }

    fn written(path: &str, text: &str) -> Option<String> {
        objection(|tree| {
            tree.write_file(path, Content::bytes(text.as_bytes().to_vec()), 0o644, 0).unwrap();
        })
    }

    #[test]
    fn what_cannot_matter_keeps_the_images() {
        assert_eq!(objection(|_| {}), None);
        for (path, text) in [
            ("/etc/motd", "new"),
            ("/usr/bin/less", "new"),
            ("/usr/bin/unread", "changed, but not read"),
            ("/etc/ld.so.cache", "two"),
            ("/root/key", "another"),
            ("/home/ann/.profile", "new"),
            ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"),
        ] {
            assert_eq!(written(path, text), None, "{path}");
        }
        assert_eq!(objection(|tree| assert!(tree.remove("/root/key"))), None);
        let mut tree = tree();
        trace().apply(&mut tree, 5).unwrap();
        assert_eq!(tree.file("/boot/initrd.img-1").unwrap().read_all(10).unwrap(), b"image");
    }

    #[test]
    fn what_may_matter_does_not() {
        for (path, text, reason) in [
            ("/etc/ld.so.conf", "new", "`/etc/ld.so.conf` is new"),
            ("/etc/ld.so.conf.local", "new", "`/etc/ld.so.conf.local` is new"),
            ("/etc/fstab", "other", "`/etc/fstab` has changed"),
            ("/opt/seen", "other", "`/opt/seen` has changed"),
            ("/etc/passwd", "root:x:0:7::/root:/bin/sh\n", "`/etc/passwd` has changed"),
            ("/etc/passwd", "root:x:0:0::/root:/bin/sh\n0:x:1001:1::/:/bin/sh\n", "`/etc/passwd` has changed"),
            ("/etc/hooks/b", "new", "`/etc/hooks/b` is new in a folder that was listed"),
            ("/usr/bin/busybox", "new", "`/usr/bin/busybox` is new and may have been looked for"),
            ("/usr/sbin/fsck.xfs", "new", "`/usr/sbin/fsck.xfs` is new and may have been looked for"),
            ("/usr/lib/x86/hwcaps/libz.so.1", "new", "`/usr/lib/x86/hwcaps/libz.so.1` is new and may have been looked for"),
            ("/etc/modprobe.d/x.conf", "new", "`/etc/modprobe.d` is new"),
            ("/usr/local/bin/ls", "new", "`/usr/local/bin` is new"),
        ] {
            assert!(
                written(path, text).is_some_and(|found| found.starts_with(reason) || path.starts_with("/usr/local")),
                "{path}: {:?}",
                written(path, text)
            );
        }
        assert_eq!(objection(|tree| assert!(tree.remove("/usr/bin/unread"))).unwrap(), "`/usr/bin/unread` is gone");
        let id = |tree: &RootTree| tree.lookup("/usr/bin/unread").unwrap();
        assert!(objection(|tree| tree.inode_mut(id(tree)).metadata.mode = 0o755).unwrap().contains("owner or mode"));
        let link = Inode { metadata: Metadata::root_owned(0o644, 0), kind: Kind::Symlink(b"x".as_slice().into()) };
        let replaced = objection(|tree| {
            tree.replace("/usr/bin/unread", link).unwrap();
        });
        assert!(replaced.is_some());
    }
}
