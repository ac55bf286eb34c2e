//! `/var/lib/dpkg` as dpkg's unpacking leaves it.

use std::collections::{BTreeMap, BTreeSet};

use super::{MergeError, Package, files::Unpacked, triggers::Interests};
use crate::rootfs::{
    content::Content,
    path::Shown,
    tree::{Inode, Kind, Metadata, RootTree, TreeError},
};

/// The largest file of the database that is read back.
const MAX_DATABASE: u64 = 256 << 20;
/// The longest name of a control file that dpkg keeps.
const MAX_CONTROL_NAME: usize = 50;

/// Writes the database of packages that are unpacked and not configured.
pub(super) fn write(
    tree: &mut RootTree,
    packages: &[Package],
    unpacked: &[Unpacked],
    architecture: &str,
    epoch: i64,
) -> Result<(), MergeError> {
    let place = |source: TreeError| MergeError::Place { package: "dpkg".to_owned(), source };
    for folder in ["info", "triggers", "updates"] {
        tree.make_directories(format!("/var/lib/dpkg/{folder}"), epoch).map_err(place)?;
    }
    let (status, interests) = register(tree, packages, unpacked, epoch)?;
    let mut write = |name: &str, text: String, mode| {
        let content = Content::bytes(text.into_bytes());
        tree.write_file(format!("/var/lib/dpkg/{name}"), content, mode, epoch).map(|_| ()).map_err(place)
    };
    write("status", status, 0o644)?;
    write("arch", format!("{architecture}\n"), 0o644)?;
    write("info/format", "1\n".to_owned(), 0o644)?;
    for name in ["available", "diversions", "statoverride", "triggers/Unincorp"] {
        write(name, String::new(), 0o644)?;
    }
    for (name, mode) in [("lock", 0o640), ("lock-frontend", 0o640), ("triggers/Lock", 0o600)] {
        write(name, String::new(), mode)?;
    }
    for (name, text) in interests.render() {
        write(&format!("triggers/{name}"), text, 0o644)?;
    }
    Ok(())
}

/// Adds packages that are unpacked and not configured to the database of a system that is configured. `activated` are the file
/// triggers that their files have activated, each with the packages that wait for it: dpkg takes them from `Unincorp`, as
/// from `dpkg-trigger`.
pub(super) fn append(
    tree: &mut RootTree,
    packages: &[Package],
    unpacked: &[Unpacked],
    activated: &BTreeMap<String, BTreeSet<String>>,
    epoch: i64,
) -> Result<(), MergeError> {
    let (status, interests) = register(tree, packages, unpacked, epoch)?;
    let unincorporated = activated.iter().map(|(trigger, waiting)| {
        let waiting: Vec<&str> = waiting.iter().map(String::as_str).collect();
        format!("{trigger} {}\n", waiting.join(" "))
    });
    let mut additions: Vec<(String, String)> =
        vec![("status".to_owned(), status), ("triggers/Unincorp".to_owned(), unincorporated.collect())];
    additions.extend(interests.render().into_iter().map(|(name, text)| (format!("triggers/{name}"), text)));
    for (name, text) in additions.into_iter().filter(|(_, text)| !text.is_empty()) {
        let mut whole = read(tree, &name)?;
        // Entries of the status file are separated by an empty line, which dpkg ends its file with.
        if name == "status" && !whole.is_empty() && !whole.ends_with("\n\n") {
            whole.push('\n');
        }
        whole.push_str(&text);
        let place = |source: TreeError| MergeError::Place { package: "dpkg".to_owned(), source };
        tree.write_file(format!("/var/lib/dpkg/{name}"), Content::bytes(whole.into_bytes()), 0o644, epoch).map_err(place)?;
    }
    Ok(())
}

/// Reads a file of the database; empty when there is none.
pub(super) fn read(tree: &RootTree, name: &str) -> Result<String, MergeError> {
    let path = format!("/var/lib/dpkg/{name}");
    let Some(content) = tree.file(&path) else { return Ok(String::new()) };
    let bytes = content.read_all(MAX_DATABASE).map_err(|source| MergeError::Read { package: "dpkg".to_owned(), path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the control files of packages and returns their entries for the status file and what they are interested in.
fn register(tree: &mut RootTree, packages: &[Package], unpacked: &[Unpacked], epoch: i64) -> Result<(String, Interests), MergeError> {
    let mut interests = Interests::default();
    let mut stanzas = Vec::new();
    for files in unpacked {
        let package = &packages[files.package];
        control_files(tree, package, files, epoch)?;
        interests.register(package)?;
        let stanza = package.stanza.render_status("install ok unpacked", &files.conffiles);
        let stanza = stanza.map_err(|source| MergeError::Control { package: package.name.clone(), source })?;
        stanzas.push(((&package.name, &package.architecture), stanza));
    }
    stanzas.sort();
    Ok((stanzas.iter().map(|(_, stanza)| format!("{stanza}\n")).collect(), interests))
}

/// Writes a package's control files and its file list into `info`.
fn control_files(tree: &mut RootTree, package: &Package, files: &Unpacked, epoch: i64) -> Result<(), MergeError> {
    let place = |source: TreeError| MergeError::Place { package: package.name.clone(), source };
    let path = |kind: &str| format!("/var/lib/dpkg/info/{}.{kind}", package.database_name());
    for file in &package.input.deb.control {
        // Names with a dot are none that dpkg knows or keeps.
        if ["control", "list"].contains(&&*file.name) || file.name.contains('.') {
            continue;
        }
        if file.name.len() > MAX_CONTROL_NAME {
            let reason = "the name is too long".to_owned();
            return Err(MergeError::ControlFile { package: package.name.clone(), file: "control.tar", reason });
        }
        let inode = Inode { metadata: Metadata::root_owned(file.mode, file.mtime), kind: Kind::File(Content::Bytes(file.bytes.clone())) };
        tree.replace(path(&file.name), inode).map_err(place)?;
    }
    let list: Vec<u8> = files.list.iter().flat_map(|path| [&path[..], b"\n"].concat()).collect();
    tree.write_file(path("list"), Content::bytes(list), 0o644, epoch).map_err(place)?;
    if let Some(text) = &files.checksums {
        tree.write_file(path("md5sums"), Content::bytes(text.clone().into_bytes()), 0o644, epoch).map_err(place)?;
    }
    let conflict = files.list.iter().find(|path| path.starts_with(b"/var/lib/dpkg/info/"));
    conflict.map_or(Ok(()), |path| {
        let reason = format!("it ships `{}`", Shown(path));
        Err(MergeError::ControlFile { package: package.name.clone(), file: "data.tar", reason })
    })
}
