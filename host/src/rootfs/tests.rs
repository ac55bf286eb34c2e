//! Trees, archives and packages as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Content, HostFile, Inode, Kind, Metadata, RootTree, normalize,
    path::normalize as normal,
    tar,
    tar_read::{self, TarKind},
    testing::{EPOCH, difference, file, listing, open, write_deb},
};

/// Writes a tree as an archive and builds a tree of what is read from it.
fn through_archive(tree: &RootTree) -> RootTree {
    let archive = tempfile::NamedTempFile::new().unwrap();
    let size = tar::write_tree(tree, &mut std::fs::File::create(archive.path()).unwrap()).unwrap();
    assert_eq!(size, tar::tree_size(tree));
    let source = HostFile::open(archive.path()).unwrap();
    let mut copy = RootTree::new(Metadata::default());
    for entry in tar_read::read_table(&source, 0, source.size()).unwrap() {
        let path = normal(&entry.path).unwrap();
        let kind = match entry.kind {
            TarKind::File { offset, size } => Kind::File(Content::range(source.clone(), offset, size)),
            TarKind::Symlink(target) => Kind::Symlink(target.into()),
            TarKind::Directory => Kind::directory(),
            TarKind::CharDevice(major, minor) => Kind::CharDevice { major, minor },
            TarKind::BlockDevice(major, minor) => Kind::BlockDevice { major, minor },
            TarKind::Fifo => Kind::Fifo,
            TarKind::HardLink(target) => {
                let id = copy.lookup(normal(&target).unwrap()).unwrap();
                copy.link(&path, id).unwrap();
                continue;
            }
        };
        if path == b"/" {
            let root = copy.root();
            copy.inode_mut(root).metadata = entry.metadata;
        } else {
            copy.insert(&path, Inode { metadata: entry.metadata, kind }).unwrap();
        }
    }
    copy
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(|bytes| Kind::File(Content::bytes(bytes))),
        prop::collection::vec(1_u8..=255, 1..300).prop_map(|target| Kind::Symlink(target.into())),
        (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::directory()),
    ]
}

prop_compose! {
    fn any_metadata()(
        mode in 0_u16..=0o7777, uid in any::<u32>(), gid in any::<u32>(), mtime in -1000_i64..1 << 40,
        xattrs in prop::collection::btree_map("user\\.[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..40), 0..3),
    ) -> Metadata {
        Metadata { mode, uid, gid, mtime, xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect() }
    }
}

proptest! {
    #[test]
    fn a_tree_survives_its_archive(
        entries in prop::collection::vec((prop::collection::vec("[a-zA-Zäß ]{1,90}", 1..5), any_metadata(), any_kind()), 0..12),
    ) {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
        let mut linked = 0;
        for (names, metadata, kind) in entries {
            let path = names.join("/");
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            // Entries below files and links are no trees.
            if tree.make_directories(parent, EPOCH).is_err() || tree.real_path(&path).ok() != normal(path.as_bytes()).ok() {
                continue;
            }
            let is_directory = matches!(kind, Kind::Directory(_));
            if let Ok(id) = tree.insert(&path, Inode { metadata, kind })
                && !is_directory {
                linked += 1;
                tree.link(format!("link-{linked}"), id).unwrap();
            }
        }
        let differences = difference(&listing(&tree), &listing(&through_archive(&tree)));
        prop_assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn no_archive_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), changes in prop::collection::vec((0_usize..6000, any::<u8>()), 0..8)) {
        let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
        tree.write_file(format!("{}/file", "d".repeat(120)), Content::bytes(bytes.clone()), 0o644, EPOCH).unwrap();
        let mut archive = Vec::new();
        tar::write_tree(&tree, &mut archive).unwrap();
        for (at, byte) in changes {
            if let Some(place) = archive.get_mut(at) {
                *place = byte;
            }
        }
        for archive in [&archive, &bytes] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), archive).unwrap();
            let file = HostFile::open(file.path()).unwrap();
            let _ = tar_read::read_table(&file, 0, file.size());
        }
    }
}

#[test]
fn links_are_followed_inside_the_tree_only() {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    let link = |target: &str| Inode { metadata: Metadata::root_owned(0o777, EPOCH), kind: Kind::Symlink(target.as_bytes().into()) };
    tree.write_file("usr/lib/a", Content::bytes(*b"a"), 0o644, EPOCH).unwrap();
    for (path, target) in
        [("lib", "usr/lib"), ("up", "../../../usr/lib/a"), ("absolute", "/lib/a"), ("circle", "circle"), ("dangling", "none")]
    {
        tree.insert(path, link(target)).unwrap();
    }
    for path in ["/lib/a", "/up", "/absolute"] {
        assert_eq!(tree.resolve(path), tree.lookup("/usr/lib/a"), "{path}");
    }
    assert!(tree.resolve("circle").is_none() && tree.resolve("dangling").is_none() && tree.lookup("dangling").is_some());
    assert_eq!(tree.real_path("/lib/new").unwrap(), b"/usr/lib/new");
    assert!(tree.insert("lib/../etc", link("x")).is_err());
    assert!(tree.insert("lib/a", link("x")).is_err());
    assert!(tree.make_directories("usr/lib/a/b", EPOCH).is_err());
}

#[test]
fn a_part_of_a_tree_can_be_split_off_with_its_links() {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    let id = tree.write_file("boot/grub/a", Content::bytes(*b"a"), 0o644, EPOCH).unwrap();
    tree.link("boot/b", id).unwrap();
    let boot = tree.split_off("/boot").unwrap();
    assert_eq!(listing(&boot).into_keys().collect::<Vec<_>>(), ["/", "/b", "/grub", "/grub/a"]);
    assert_eq!(boot.lookup("b"), boot.lookup("grub/a"));
    assert_eq!(listing(&tree).into_keys().collect::<Vec<_>>(), ["/", "/boot"]);
    assert!(tree.split_off("/none").is_err());
    let before = listing(&boot);
    tree.write_file("/@/keep", Content::bytes(*b""), 0o644, 0).unwrap();
    tree.graft("/@", &boot).unwrap();
    assert!(tree.lookup("/@/keep").is_some());
    assert_eq!(listing(&tree.split_off("/@").unwrap()).len(), before.len() + 1);
}

#[test]
fn normalising_leaves_no_later_time_and_no_dropped_path() {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH + 1));
    for (path, time) in [("old", 5), ("new", EPOCH + 9), ("var/log/x/y", EPOCH), ("negative", -5)] {
        tree.write_file(path, Content::bytes(*b"a"), 0o644, time).unwrap();
    }
    normalize::clamp_times(&mut tree, EPOCH);
    normalize::empty_directories(&mut tree, ["/var/log", "/none"]);
    normalize::drop_paths(&mut tree, ["/old", "/none/at/all"]);
    let times: BTreeMap<Vec<u8>, i64> = tree.walk().map(|entry| (entry.path, entry.inode.metadata.mtime)).collect();
    let expected = [("/", EPOCH), ("/negative", 0), ("/new", EPOCH), ("/var", EPOCH), ("/var/log", EPOCH)];
    assert_eq!(times, expected.into_iter().map(|(path, time)| (path.as_bytes().to_vec(), time)).collect());
}

#[test]
fn damaged_packages_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let control = "Package: a\nVersion: 1\nArchitecture: all\n";
    let package = write_deb(folder.path(), &[("control", control)], &[file("usr/share/a", &"text ".repeat(5000))], &[]);
    let bytes = std::fs::read(&package).unwrap();
    let cache = super::DebCache::new(folder.path());
    let mut state = 7_usize;
    let mut refused = 0;
    for round in 0..400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut damaged = bytes.clone();
        let at = (state >> 20) % damaged.len();
        if round % 4 == 0 {
            damaged.truncate(at);
        } else {
            damaged[at] ^= 1 << (state >> 60 & 7);
        }
        std::fs::write(&package, &damaged).unwrap();
        match cache.open(&package, &crate::digest::Sha256Digest::of(&damaged)) {
            Ok(_) => {}
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains(".deb"), "{error}");
            }
        }
    }
    assert!(refused > 200, "only {refused} of 400 damaged packages were refused");
    // Nothing half-made is left in the cache.
    assert!(std::fs::read_dir(folder.path()).unwrap().all(|entry| entry.unwrap().path().extension().is_some_and(|ending| ending == "deb")));
    std::fs::write(&package, &bytes).unwrap();
    let entry = cache.entry(&crate::digest::Sha256Digest::of(&bytes));
    open(folder.path(), std::slice::from_ref(&package));
    std::fs::OpenOptions::new().write(true).open(&entry).unwrap().set_len(700).unwrap();
    assert_eq!(open(folder.path(), &[package])[0].deb.entries.len(), 4);
}
