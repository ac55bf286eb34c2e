//! The packaged files: who owns which path, and where it lands.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use md5::{Digest as _, Md5};

use super::{MergeError, Package};
use crate::rootfs::{
    content::Content,
    path::{self, Shown},
    tar_read::{TarEntry, TarKind},
    tree::{Inode, InodeId, Kind, Metadata, RootTree},
};

/// What is known of a package after its files are in the tree.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// Index of the package.
    pub(super) package: usize,
    /// Paths for its file list, in the order of its archive.
    pub(super) list: Vec<Vec<u8>>,
    /// Lines of the status field `Conffiles`.
    pub(super) conffiles: Vec<String>,
    /// The file `md5sums`, when the package brings none.
    pub(super) checksums: Option<String>,
}

/// The directories that a merged `/usr` has as links into it.
const USR_LINKS: [&str; 3] = ["bin", "sbin", "lib"];

/// Returns whether a package brings the links of the merged `/usr`.
pub(super) fn ships_usr_links(package: &Package) -> bool {
    package.input.deb.entries.iter().any(|entry| {
        let name = entry.path.strip_prefix(b"./").or(entry.path.strip_prefix(b"/")).unwrap_or(&entry.path);
        matches!(entry.kind, TarKind::Symlink(_)) && USR_LINKS.iter().any(|link| link.as_bytes() == name)
    })
}

/// Puts the files of packages into a tree, in the given order.
pub(super) fn unpack(
    tree: &mut RootTree,
    packages: &[Package],
    order: &[usize],
    architecture: &str,
    epoch: i64,
) -> Result<Vec<Unpacked>, MergeError> {
    if !packages.iter().any(ships_usr_links) {
        make_usr_links(tree, architecture, epoch);
    }
    unpack_onto(tree, packages, order)
}

/// Puts the files of packages into a tree that has the links of the merged `/usr`.
pub(super) fn unpack_onto(tree: &mut RootTree, packages: &[Package], order: &[usize]) -> Result<Vec<Unpacked>, MergeError> {
    let mut merger = Merger { tree, packages, owners: HashMap::new(), unpacked: Vec::new(), lost: BTreeSet::new() };
    for index in order {
        merger.package(*index)?;
    }
    let Merger { mut unpacked, lost, .. } = merger;
    for (position, files) in unpacked.iter_mut().enumerate() {
        files.list.retain(|path| !lost.contains(&(position, path.clone())));
    }
    Ok(unpacked)
}

/// Makes the links that debootstrap makes for releases whose packages do not bring them.
fn make_usr_links(tree: &mut RootTree, architecture: &str, epoch: i64) {
    let further: &[&str] = match architecture {
        "amd64" => &["lib32", "lib64", "libx32"],
        "i386" => &["lib64", "libx32"],
        "ppc64el" => &["lib64"],
        "s390x" => &["lib32"],
        _ => &[],
    };
    for name in USR_LINKS.iter().chain(further) {
        let link = Inode { metadata: Metadata::root_owned(0o777, epoch), kind: Kind::Symlink(format!("usr/{name}").into_bytes().into()) };
        let made = tree.make_directories(format!("/usr/{name}"), epoch).and_then(|_| tree.insert(format!("/{name}"), link));
        debug_assert!(made.is_ok(), "the tree is empty");
    }
}

struct Merger<'a> {
    tree: &'a mut RootTree,
    packages: &'a [Package],
    /// For each path as packages name it, the positions in `unpacked` of those that ship it.
    owners: HashMap<Vec<u8>, Vec<usize>>,
    unpacked: Vec<Unpacked>,
    /// Paths that packages lost to others that replace them: position and path.
    lost: BTreeSet<(usize, Vec<u8>)>,
}

/// What becomes of an entry whose path another package has too.
enum Claim {
    /// It is written.
    Write,
    /// The other package's file stays, and this package does not own the path.
    Yield,
    /// The other package's file stays and both own it: it is the same package for another architecture.
    Share,
}

impl Merger<'_> {
    fn package(&mut self, index: usize) -> Result<(), MergeError> {
        let packages = self.packages;
        let package = &packages[index];
        let position = self.unpacked.len();
        let mut conffiles = Conffiles::parse(package)?;
        let mut files = Unpacked { package: index, ..Unpacked::default() };
        let mut placed = BTreeMap::new();
        // dpkg makes symbolic links last, so that nothing of the package is written through them.
        let (links, others): (Vec<_>, Vec<_>) =
            package.input.deb.entries.iter().partition(|entry| matches!(entry.kind, TarKind::Symlink(_)));
        for entry in others.into_iter().chain(links) {
            let path = path::normalize(&entry.path).map_err(|source| MergeError::Path { package: package.name.clone(), source })?;
            if path.contains(&b'\n') {
                let reason = "it contains a line break";
                let source = path::PathError { path: Shown(&path).to_string(), reason };
                return Err(MergeError::Path { package: package.name.clone(), source });
            }
            if self.entry(position, package, entry, &path, &mut placed, &conffiles)? {
                self.owners.entry(path.clone()).or_default().push(position);
                files.list.push(if path == b"/" { b"/.".to_vec() } else { path });
            } else {
                conffiles.mark_obsolete(&path);
            }
        }
        files.conffiles = conffiles.lines();
        if package.input.deb.control_file("md5sums").is_none() {
            files.checksums = Some(checksums(self.tree, package, &files.list, &placed)?);
        }
        self.unpacked.push(files);
        Ok(())
    }

    /// Puts one entry of a package into the tree. Returns whether the package owns the path.
    fn entry(
        &mut self,
        position: usize,
        package: &Package,
        entry: &TarEntry,
        path: &[u8],
        placed: &mut BTreeMap<Vec<u8>, InodeId>,
        conffiles: &Conffiles,
    ) -> Result<bool, MergeError> {
        if self.is_directory_already(entry, path) {
            return Ok(true);
        }
        let existing = self.tree.lookup(path);
        match self.claim(position, package, entry, path, existing.is_some())? {
            Claim::Yield => return Ok(false),
            Claim::Share => {
                if let Some(id) = existing {
                    self.check_shared(package, entry, path, id)?;
                    placed.insert(path.to_vec(), id);
                }
                return Ok(true);
            }
            Claim::Write => {}
        }
        let mut target = path.to_vec();
        if conffiles.is_conffile(path) {
            target.extend_from_slice(b".dpkg-new");
        }
        let failed = |source| MergeError::Place { package: package.name.clone(), source };
        let id = if let TarKind::HardLink(link) = &entry.kind {
            let link = path::normalize(link).map_err(|source| MergeError::Path { package: package.name.clone(), source })?;
            let id = *placed.get(&link).ok_or_else(|| MergeError::HardLink {
                package: package.name.clone(),
                path: Shown(path).to_string(),
                target: Shown(&link).to_string(),
            })?;
            self.tree.remove(&target);
            self.tree.link(&target, id).map_err(failed)?;
            id
        } else {
            let inode = Inode { metadata: entry.metadata.clone(), kind: kind(package, entry) };
            self.tree.replace(&target, inode).map_err(failed)?
        };
        placed.insert(path.to_vec(), id);
        Ok(true)
    }

    /// Returns whether dpkg leaves what is there alone: a directory where the package has a directory, or a link where one
    /// to the same directory is.
    fn is_directory_already(&self, entry: &TarEntry, path: &[u8]) -> bool {
        let is_directory = |id: InodeId| matches!(self.tree.inode(id).kind, Kind::Directory(_));
        match &entry.kind {
            TarKind::Directory => self.tree.resolve(path).is_some_and(is_directory),
            TarKind::Symlink(target) => match self.tree.lookup(path).map(|id| &self.tree.inode(id).kind) {
                Some(Kind::Directory(_)) => true,
                Some(Kind::Symlink(known)) => {
                    let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&b"/"[..], |slash| &path[..=slash]);
                    let meant = if target.starts_with(b"/") { target.clone() } else { [folder, target].concat() };
                    let same = **known == **target || self.tree.resolve(&meant).is_some_and(|id| Some(id) == self.tree.resolve(path));
                    same && self.tree.resolve(path).is_some_and(is_directory)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Decides about a path that other packages may have, by their `Replaces`.
    fn claim(&mut self, position: usize, package: &Package, entry: &TarEntry, path: &[u8], exists: bool) -> Result<Claim, MergeError> {
        let mut claim = Claim::Write;
        let others = self.owners.get(path).cloned().unwrap_or_default();
        for other_position in others {
            if other_position == position || self.lost.contains(&(other_position, path.to_vec())) {
                continue;
            }
            let other = &self.packages[self.unpacked[other_position].package];
            if other.name == package.name && other.is_multi_arch_same && package.is_multi_arch_same {
                if exists {
                    claim = Claim::Share;
                }
            } else if !exists && entry.kind == TarKind::Directory {
                // A directory that both have and neither has made: it was there before.
            } else if replaces(package, other) {
                self.lost.insert((other_position, path.to_vec()));
            } else if replaces(other, package) {
                return Ok(Claim::Yield);
            } else {
                let path = Shown(path).to_string();
                return Err(MergeError::Conflict { first: other.name.clone(), second: package.name.clone(), path });
            }
        }
        Ok(claim)
    }

    /// Checks that a file that two architectures of a package share is the same in both.
    fn check_shared(&self, package: &Package, entry: &TarEntry, path: &[u8], id: InodeId) -> Result<(), MergeError> {
        let failed = |source| MergeError::Read { package: package.name.clone(), path: Shown(path).to_string(), source };
        let same = match (&self.tree.inode(id).kind, kind(package, entry)) {
            (Kind::File(there), Kind::File(new)) => {
                there.size() == new.size() && checksum(there).map_err(failed)? == checksum(&new).map_err(failed)?
            }
            (Kind::Symlink(there), Kind::Symlink(new)) => *there == new,
            _ => matches!(entry.kind, TarKind::HardLink(_)),
        };
        if same {
            return Ok(());
        }
        let (first, path) = (format!("{} of another architecture", package.name), Shown(path).to_string());
        Err(MergeError::Conflict { first, second: package.database_name(), path })
    }
}

/// Returns the checksum file that dpkg makes for a package that brings none.
fn checksums(tree: &RootTree, package: &Package, list: &[Vec<u8>], placed: &BTreeMap<Vec<u8>, InodeId>) -> Result<String, MergeError> {
    let mut text = String::new();
    for path in list {
        let Some(Kind::File(content)) = placed.get(path).map(|id| &tree.inode(*id).kind) else { continue };
        let failed = |source| MergeError::Read { package: package.name.clone(), path: Shown(path).to_string(), source };
        text.push_str(&format!("{}  {}\n", checksum(content).map_err(failed)?, Shown(&path[1..])));
    }
    Ok(text)
}

/// Returns whether a package says that it replaces another one's files.
fn replaces(package: &Package, other: &Package) -> bool {
    let relations = package.stanza.relations("Replaces").unwrap_or_default();
    relations.iter().flatten().any(|relation| relation.name == other.name && relation.is_satisfied_by(&other.version))
}

/// Returns an entry as the tree has it; hard links are the caller's.
fn kind(package: &Package, entry: &TarEntry) -> Kind {
    match &entry.kind {
        TarKind::File { offset, size } => Kind::File(Content::range(package.input.deb.file.clone(), *offset, *size)),
        TarKind::HardLink(target) | TarKind::Symlink(target) => Kind::Symlink(target.as_slice().into()),
        TarKind::Directory => Kind::directory(),
        TarKind::CharDevice(major, minor) => Kind::CharDevice { major: *major, minor: *minor },
        TarKind::BlockDevice(major, minor) => Kind::BlockDevice { major: *major, minor: *minor },
        TarKind::Fifo => Kind::Fifo,
    }
}

/// Returns the MD5 digest of a content: the only one that dpkg's database knows.
fn checksum(content: &Content) -> std::io::Result<String> {
    let mut hasher = Md5::new();
    std::io::copy(&mut content.reader(), &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A package's conffiles in the order of its list.
struct Conffiles {
    /// Path, and the flags for the status file.
    entries: Vec<(Vec<u8>, &'static str)>,
    /// Those that are shipped.
    shipped: BTreeSet<Vec<u8>>,
}

impl Conffiles {
    fn parse(package: &Package) -> Result<Self, MergeError> {
        let mut conffiles = Self { entries: Vec::new(), shipped: BTreeSet::new() };
        let text = package.input.deb.control_file("conffiles").unwrap_or_default();
        let malformed = |reason: String| MergeError::ControlFile { package: package.name.clone(), file: "conffiles", reason };
        for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty()) {
            let (path, flags) = match line.strip_prefix(b"remove-on-upgrade ") {
                Some(path) => (path, " remove-on-upgrade"),
                None => (line, ""),
            };
            if !path.starts_with(b"/") {
                return Err(malformed(format!("`{}` is not an absolute path", Shown(line))));
            }
            let path = path::normalize(path).map_err(|source| MergeError::Path { package: package.name.clone(), source })?;
            if flags.is_empty() {
                conffiles.shipped.insert(path.clone());
            }
            conffiles.entries.push((path, flags));
        }
        Ok(conffiles)
    }

    fn is_conffile(&self, path: &[u8]) -> bool {
        self.shipped.contains(path)
    }

    /// Notes that another package's file stays in this one's place.
    fn mark_obsolete(&mut self, path: &[u8]) {
        for (_, flags) in self.entries.iter_mut().filter(|(known, flags)| known == path && flags.is_empty()) {
            *flags = " obsolete";
        }
    }

    fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|(path, flags)| format!("{} newconffile{flags}", Shown(path))).collect()
    }
}
