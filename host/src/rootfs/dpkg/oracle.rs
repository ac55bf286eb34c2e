//! Compares the merge with dpkg itself, which unpacks the same packages in the same order into an empty folder.
//!
//! Needs root and dpkg. `OIC_TEST_DEBS` names a folder of further packages, a whole distribution's for example.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{MergedRoot, merge};
use crate::{
    exec,
    rootfs::{
        content::Content,
        tar_read::{self, TarKind},
        testing::{self, EPOCH, Listing, Packed, difference, file, listing, open, read_folder, symlink, write_deb},
        tree::{Kind, Metadata, RootTree},
    },
};

/// What dpkg leaves behind that no later run of it needs, or that its own package's scripts make anyway.
const DPKG_ONLY: [&str; 3] = ["/var/lib/dpkg/status-old", "/var/lib/dpkg/triggers/Unincorp", "/var/log"];
/// What bootstrap tools write and dpkg does not.
const OURS_ONLY: [&str; 4] = ["/var/lib/dpkg/arch", "/var/lib/dpkg/available", "/var/lib/dpkg/diversions", "/var/lib/dpkg/statoverride"];

/// Packages that together have everything that makes unpacking special.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let control = |name: &str, more: &str| {
        format!("Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n more\n{more}")
    };
    let deb = |name: &str, more: &str, files: &[Packed], links: &[(&str, &str)]| {
        write_deb(folder, &[("control", &control(name, more))], files, links)
    };
    let directory = |path, mode, gid| Packed(path, Metadata { gid, ..Metadata::root_owned(mode, EPOCH) }, Kind::directory());
    let usr = ["usr/bin", "usr/sbin", "usr/lib"].map(|path| directory(path, 0o755, 0));
    let links = [symlink("bin", "usr/bin"), symlink("sbin", "usr/sbin"), symlink("lib", "usr/lib")];
    let base: Vec<Packed> = usr.into_iter().chain(links).chain([directory("var/local", 0o2775, 50), directory("tmp", 0o1777, 0)]).collect();
    vec![
        deb("zz-base-files", "Essential: yes\n", &base, &[]),
        deb(
            "aliased",
            "Depends: gone-files (>> 0) | nothing\n",
            &[file("lib/aliased.so", "aliased"), directory("var/local", 0o755, 0)],
            &[],
        ),
        write_deb(
            folder,
            &[
                ("control", &control("scripted", "Multi-Arch: foreign\nX-Extra: kept\nSection: admin\nPriority: optional\n")),
                ("conffiles", "/etc/scripted.conf\nremove-on-upgrade /etc/old.conf\n/etc/sub/dir.conf\n"),
                ("triggers", "# comment\ninterest-noawait /usr/share/things\ninterest scripted-trigger\nactivate other-trigger\n"),
                ("preinst", "#!/bin/sh\necho this must not run\nexit 1\n"),
                ("postinst", "#!/bin/sh\nexit 0\n"),
                ("md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/bin/tool\n"),
                ("templates", "Template: scripted/x\n"),
                ("with.dot", "not kept\n"),
            ],
            &[
                file("etc/scripted.conf", "a=1\n"),
                file("etc/sub/dir.conf", "b=2\n"),
                file("usr/bin/tool", "tool"),
                symlink("usr/bin/t", "tool"),
            ],
            &[("usr/bin/tool-link", "usr/bin/tool"), ("usr/far-link", "usr/bin/tool")],
        ),
        deb("gone-files", "Provides: nothing (= 1)\n", &[file("usr/share/moved", "old"), file("usr/share/stays", "s")], &[]),
        deb("takes-over", "Depends: gone-files\nReplaces: gone-files (<< 2)\n", &[file("usr/share/moved", "new")], &[]),
        deb("aa-older", "", &[file("usr/share/yielded", "older"), file("usr/share/older-own", "")], &[]),
        deb("bb-newer", "Replaces: aa-older, zz-none\n", &[file("usr/share/yielded", "newer")], &[]),
        deb("cc-first", "Replaces: dd-second\n", &[file("usr/share/kept", "first")], &[]),
        deb(
            "dd-second",
            "",
            &[file("usr/share/kept", "second"), file("usr/share/second-own", "x")],
            &[("usr/share/hard", "usr/share/second-own")],
        ),
        write_deb(
            folder,
            &[("control", &control("same", "Multi-Arch: same\n").replace("all", "amd64")), ("triggers", "interest /usr/share/same\n")],
            &[file("usr/lib/same.so", "same"), Packed("usr/lib/pipe", Metadata::root_owned(0o600, EPOCH), Kind::Fifo)],
            &[],
        ),
    ]
}

/// Unpacks with dpkg in the order that the merge chose, with every `preinst` made to do nothing.
fn unpack_with_dpkg(packages: &[PathBuf], merged: &MergedRoot, folder: &Path, root: &Path) {
    let inputs = open(folder, packages);
    let mut named = std::collections::BTreeMap::new();
    for input in &inputs {
        let package = super::Package::new(input.clone()).unwrap();
        let path = input.deb.file.path().to_owned();
        let ar_offset = 8 + 60 + 4 + 60;
        let table = tar_read::read_table(&input.deb.file, ar_offset, input.deb.file.size() - ar_offset).unwrap();
        if let Some(TarKind::File { offset, size }) = table.iter().find(|entry| entry.path == b"./preinst").map(|entry| &entry.kind) {
            let mut harmless = b"#!/bin/sh\nexit 0\n".to_vec();
            harmless.resize(*size as usize, b'\n');
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&harmless, *offset).unwrap();
        }
        named.insert(package.database_name(), path);
    }
    std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    std::fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    // Only links that no package brings are there before.
    let shipped = inputs.iter().any(|input| super::files::ships_usr_links(&super::Package::new(input.clone()).unwrap()));
    for (path, target) in merged.tree.names("/").filter(|_| !shipped).filter_map(|(name, id)| match &merged.tree.inode(id).kind {
        Kind::Symlink(target) => Some((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(target).into_owned())),
        _ => None,
    }) {
        std::fs::create_dir_all(root.join(&target)).unwrap();
        std::os::unix::fs::symlink(target, root.join(path)).unwrap();
    }
    let in_guest: Vec<&str> = merged.guest_unpack.iter().map(|blob| blob.name.as_str()).collect();
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display()));
    command.args(["--force-script-chrootless", "--force-depends", "--force-unsafe-io", "--force-architecture", "--unpack"]);
    let guest_files: Vec<PathBuf> = packages
        .iter()
        .zip(&inputs)
        .filter(|(path, _)| in_guest.contains(&&*path.file_name().unwrap().to_string_lossy()))
        .map(|(_, input)| input.deb.file.path().to_owned())
        .collect();
    command.args(merged.configure.iter().map(|name| &named[name]).filter(|path| !guest_files.contains(path)));
    exec::run(&mut command).unwrap();
}

/// Takes out of a listing what is not compared.
fn comparable(tree: &RootTree, skipped: &[&str]) -> Listing {
    let mut listing = listing(tree);
    listing.retain(|path, text| {
        let is_skipped = skipped.iter().any(|skipped| path == skipped || path.starts_with(&format!("{skipped}/")));
        // The directories and files that dpkg writes itself have the time of the run there.
        let now = path.starts_with("/var/lib/dpkg/") && !path.starts_with("/var/lib/dpkg/info/")
            || path.ends_with(".list")
            || path.ends_with(".md5sums");
        // So have the links of the merged `/usr` that this test makes.
        let now = now || path.matches('/').count() == 1;
        if let (true, Some((start, end))) = (now, text.split_once(" at ")) {
            *text = format!("{start} {}", end.split_once(' ').map_or("", |(_, end)| end));
        }
        !is_skipped && !path.ends_with(".preinst") && path != "/var/lib/dpkg/info/format"
    });
    listing
}

fn compare(packages: &[PathBuf], architecture: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (cache, root) = (folder.path().join("cache"), folder.path().join("root"));
    std::fs::create_dir(&cache).unwrap();
    std::fs::create_dir(&root).unwrap();
    let merged = merge(open(&cache, packages), architecture, EPOCH).unwrap();
    // The contents are read before dpkg's copies of the packages change in the cache.
    let ours = comparable(&merged.tree, &[&OURS_ONLY[..], &DPKG_ONLY[..]].concat());
    unpack_with_dpkg(packages, &merged, &cache, &root);
    difference(&ours, &comparable(&read_folder(&root), &DPKG_ONLY))
}

fn can_run() -> bool {
    let usable = rustix::process::geteuid().is_root() && testing::tool("dpkg").is_some();
    if !usable {
        testing::skip("the comparison with dpkg needs root and dpkg");
    }
    usable
}

#[test]
fn made_packages_unpack_as_dpkg_unpacks_them() {
    if can_run() {
        let folder = tempfile::tempdir().unwrap();
        let differences = compare(&packages(folder.path()), "amd64");
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[test]
fn a_distributions_packages_unpack_as_dpkg_unpacks_them() {
    let Some(packages) = testing::distribution() else { return };
    if can_run() {
        let differences = compare(&packages, "amd64");
        assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences[..differences.len().min(60)].join("\n"));
    }
}

#[test]
fn a_file_in_two_packages_is_an_error_that_names_all() {
    let folder = tempfile::tempdir().unwrap();
    let control = |name: &str| format!("Package: {name}\nVersion: 1\nArchitecture: all\n");
    let deb = |name: &str| write_deb(folder.path(), &[("control", &control(name))], &[file("usr/share/both", name)], &[]);
    let error = merge(open(folder.path(), &[deb("first"), deb("second")]), "amd64", EPOCH).unwrap_err();
    assert_eq!(error.to_string(), "packages `first` and `second` both contain `/usr/share/both`");
}

#[test]
fn packages_that_divert_are_left_to_the_guest_unless_dpkg_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let deb = |name: &str, more: &str| {
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\n{more}");
        let preinst = "#!/bin/sh\ndpkg-divert --package x --rename --divert /a.x --add /a\n";
        write_deb(folder.path(), &[("control", &control), ("preinst", preinst)], &[file("usr/share/a", name)], &[])
    };
    let packages = [deb("needed", ""), deb("essential", "Essential: yes\nPre-Depends: needed\n"), deb("diverting", "")];
    let merged = merge(open(folder.path(), &packages), "amd64", EPOCH);
    // The two native ones contain the same file, so the merge only works when one of them is taken away.
    assert!(merged.is_err());
    let merged = merge(open(folder.path(), &[packages[0].clone(), packages[2].clone()]), "amd64", EPOCH).unwrap();
    assert_eq!(merged.guest_unpack.len(), 2);
    let merged = merge(open(folder.path(), &packages[1..]), "amd64", EPOCH).unwrap();
    assert_eq!(merged.guest_unpack.len(), 1);
    assert_eq!(merged.preinst.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["essential"]);
    let Some(Content::Bytes(status)) = merged.tree.file("/var/lib/dpkg/status") else { panic!("there is no status") };
    assert!(!String::from_utf8_lossy(status).contains("diverting"));
}
