//! Further packages for a system that is configured already.

use std::collections::{BTreeMap, BTreeSet};

use super::{MergeError, MergedRoot, Package, PackageInput, database, files, order, scripts};
use crate::rootfs::{
    path::{self, Shown},
    tar_read::{TarEntry, TarKind},
    tree::{Kind, RootTree},
};

/// Adds packages to a system that programs have configured, as dpkg's unpacking would.
///
/// What the guest unpacks itself is every package of which a file is there already in some form, or is the business of a
/// diversion or an override of ownership: dpkg has rules for these that depend on what it finds.
///
/// # Errors
/// Fails when a package is damaged, packages contradict each other, or the system's database cannot be read.
pub fn merge_onto(mut tree: RootTree, packages: Vec<PackageInput>, epoch: i64) -> Result<MergedRoot, MergeError> {
    let packages: Vec<Package> = packages.into_iter().map(Package::new).collect::<Result<_, _>>()?;
    let order = order::unpack_order(&packages)?;
    let in_guest = in_guest(&tree, &packages)?;
    let native: Vec<usize> = order.iter().copied().filter(|index| !in_guest.contains(index)).collect();
    let activated = activated(&tree, &packages, &native)?;
    let unpacked = files::unpack_onto(&mut tree, &packages, &native)?;
    database::append(&mut tree, &packages, &unpacked, &activated, epoch)?;
    let preinst = scripts::preinst(&packages, &native)?;
    let guest_unpack = order.iter().filter(|index| in_guest.contains(index)).map(|index| packages[*index].input.blob.clone()).collect();
    let configure = order.iter().map(|index| packages[*index].database_name()).collect();
    Ok(MergedRoot { tree, preinst, guest_unpack, configure })
}

/// Returns the packages that dpkg must unpack itself.
fn in_guest(tree: &RootTree, packages: &[Package]) -> Result<BTreeSet<usize>, MergeError> {
    let special = special_paths(tree)?;
    let mut in_guest = scripts::guest_unpack(packages)?;
    for (index, package) in packages.iter().enumerate() {
        for entry in &package.input.deb.entries {
            if special.contains(&normal(package, entry)?) || is_in_the_way(tree, entry) {
                in_guest.insert(index);
                break;
            }
        }
    }
    // A script runs after what it pre-depends on is configured, so that it cannot run before that is unpacked.
    let before = order::dependencies(packages, &["Pre-Depends"])?;
    loop {
        let waits = |index: &usize| !in_guest.contains(index) && before[*index].iter().any(|needed| in_guest.contains(needed));
        let Some(index) = (0..packages.len()).find(waits) else { return Ok(in_guest) };
        in_guest.insert(index);
    }
}

/// Returns the paths that diversions and overrides of ownership speak of.
fn special_paths(tree: &RootTree) -> Result<BTreeSet<Vec<u8>>, MergeError> {
    // Diversions are three lines each: path, where it goes, package. Overrides end with the path.
    let diversions = database::read(tree, "diversions")?;
    let overrides = database::read(tree, "statoverride")?;
    let overridden = overrides.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    Ok(diversions.lines().chain(overridden).map(|path| path.as_bytes().to_vec()).collect())
}

/// Returns whether something other than a directory that both have is where an entry goes.
fn is_in_the_way(tree: &RootTree, entry: &TarEntry) -> bool {
    let path = &entry.path;
    match &entry.kind {
        TarKind::Directory => {
            let directory = tree.resolve(path).is_some_and(|id| matches!(tree.inode(id).kind, Kind::Directory(_)));
            !directory && tree.lookup(path).is_some()
        }
        _ => tree.lookup(path).is_some(),
    }
}

/// Returns the file triggers of installed packages that the files of new ones activate, each with the packages that wait for it.
fn activated(tree: &RootTree, packages: &[Package], native: &[usize]) -> Result<BTreeMap<String, BTreeSet<String>>, MergeError> {
    let interests = database::read(tree, "triggers/File")?;
    let interesting: BTreeSet<&str> = interests.lines().filter_map(|line| line.rsplit_once(' ')).map(|(path, _)| path).collect();
    let mut activated: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for index in native {
        let package = &packages[*index];
        for entry in &package.input.deb.entries {
            let is_there = entry.kind == TarKind::Directory && tree.resolve(&entry.path).is_some();
            let path = normal(package, entry)?;
            let path = Shown(&path).to_string();
            // The path itself, then every folder above it.
            let above = std::iter::successors(Some(path.as_str()), |path| path.rsplit_once('/').map(|(parent, _)| parent));
            for trigger in above.filter(|path| !is_there && interesting.contains(path)) {
                activated.entry(trigger.to_owned()).or_default().insert(package.database_name());
            }
        }
    }
    Ok(activated)
}

fn normal(package: &Package, entry: &TarEntry) -> Result<Vec<u8>, MergeError> {
    path::normalize(&entry.path).map_err(|source| MergeError::Path { package: package.name.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rootfs::{
        content::Content,
        dpkg::merge,
        testing::{EPOCH, Packed, file, open, write_deb},
    };

    fn deb(folder: &Path, name: &str, control: &[(&str, &str)], files: &[Packed]) -> std::path::PathBuf {
        let head = format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n");
        let mut whole = vec![("control", head.as_str())];
        whole.extend(control);
        write_deb(folder, &whole, files, &[])
    }

    /// Returns a system with an interested package, a diversion and an override.
    fn system(folder: &Path) -> RootTree {
        let interested = deb(
            folder,
            "interested",
            &[("triggers", "interest-noawait /usr/share/man\ninterest /usr/lib/x\n")],
            &[file("usr/share/taken", "1")],
        );
        let mut tree = merge(open(folder, &[interested]), "amd64", EPOCH).unwrap().tree;
        tree.make_directories("/usr/share/man", EPOCH).unwrap();
        let mut write = |name: &str, text: &str| {
            tree.write_file(format!("/var/lib/dpkg/{name}"), Content::bytes(text.as_bytes().to_vec()), 0o644, EPOCH).unwrap();
        };
        write("diversions", "/usr/bin/diverted\n/usr/bin/diverted.real\ninterested\n");
        write("statoverride", "root mail 2755 /usr/bin/over ridden\n");
        tree
    }

    fn text(tree: &RootTree, name: &str) -> String {
        database::read(tree, name).unwrap()
    }

    #[test]
    fn new_packages_are_unpacked_beside_what_is_there_and_activate_its_triggers() {
        let folder = tempfile::tempdir().unwrap();
        let packages = [
            deb(
                folder.path(),
                "manual",
                &[("triggers", "interest /usr/share/own\n")],
                &[file("usr/share/man/man1/x.1", "x"), file("usr/share/own/y", "y")],
            ),
            deb(
                folder.path(),
                "library",
                &[("conffiles", "/etc/library.conf\n")],
                &[file("usr/lib/x", "x"), file("etc/library.conf", "a=1")],
            ),
        ];
        let base = system(folder.path());
        let before = text(&base, "status");
        let merged = merge_onto(base, open(folder.path(), &packages), EPOCH).unwrap();
        assert!(merged.guest_unpack.is_empty());
        assert_eq!(merged.configure, ["library", "manual"]);
        assert!(merged.tree.file("/etc/library.conf.dpkg-new").is_some() && merged.tree.file("/etc/library.conf").is_none());
        assert_eq!(text(&merged.tree, "triggers/Unincorp"), "/usr/lib/x library\n/usr/share/man manual\n");
        let interests = text(&merged.tree, "triggers/File");
        assert!(interests.ends_with("/usr/share/own manual\n") && interests.contains("/usr/share/man interested/noawait\n"), "{interests}");
        let status = text(&merged.tree, "status");
        assert!(status.starts_with(&before) && status.matches("Status: install ok unpacked").count() == 3, "{status}");
        assert_eq!(status.split("\n\n").filter(|paragraph| paragraph.starts_with("Package: ")).count(), 3, "{status}");
    }

    #[test]
    fn what_meets_something_that_is_there_is_left_to_dpkg() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("clean", file("usr/share/new", "")),
            ("taking", file("usr/share/taken", "2")),
            ("diverted", file("usr/bin/diverted", "")),
            ("overridden", file("usr/bin/over ridden", "")),
            ("blocked", file("usr/share/taken/below", "")),
        ];
        for (name, content) in &files {
            let packages = [deb(folder.path(), name, &[], std::slice::from_ref(content))];
            let merged = merge_onto(system(folder.path()), open(folder.path(), &packages), EPOCH).unwrap();
            assert_eq!(merged.guest_unpack.len(), usize::from(*name != "clean"), "{name}");
        }
        let control =
            "Package: late\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\nPre-Depends: taking\n";
        let late = write_deb(folder.path(), &[("control", control), ("preinst", "#!/bin/sh\n")], &[file("usr/share/late", "")], &[]);
        let taking = deb(folder.path(), "taking", &[], &[file("usr/share/taken", "2")]);
        let merged = merge_onto(system(folder.path()), open(folder.path(), &[late, taking]), EPOCH).unwrap();
        assert_eq!(
            merged.guest_unpack.iter().map(|blob| blob.name.as_str()).collect::<Vec<_>>().len(),
            2,
            "what pre-depends on it waits for it"
        );
    }
}
