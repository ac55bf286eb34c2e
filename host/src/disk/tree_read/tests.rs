//! What is made of a tree reads back as that tree, and damage is an error.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use oic_config::spec::Filesystem;
use uuid::Uuid;

use super::*;
use crate::{
    disk::{btrfs, packed, xfs},
    rootfs::testing::{self, EPOCH, difference, listing},
};

const UUID: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);

/// Returns a tree with everything that all filesystems keep.
fn tree() -> RootTree {
    let mut tree = testing::various();
    let noise = |length: usize| {
        let mut state = 7_u32;
        (0..length).map(move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
    };
    let text: Vec<u8> = (0..60_000).flat_map(|line| format!("line {line} of a text\n").into_bytes()).collect();
    for (path, bytes) in
        [("srv/noise", noise(300_001).collect()), ("srv/text", text), ("srv/mixed", [vec![0; 200_000], noise(5000).collect()].concat())]
    {
        tree.write_file(path, Content::bytes(bytes), 0o600, EPOCH).unwrap();
    }
    tree
}

/// Writes one kind of filesystem; none where its program is not there.
fn make(kind: &str, tree: &RootTree, path: &Path) -> Option<()> {
    let file = File::create(path).unwrap();
    let epoch = EPOCH.cast_unsigned();
    match kind {
        "xfs" => {
            let size = xfs::minimal_size(tree) + (40 << 20);
            file.set_len(size).unwrap();
            xfs::make(tree, &file, 0, size, &xfs::XfsOptions { uuid: UUID, label: None, epoch }).unwrap();
        }
        "btrfs" => {
            let size = btrfs::minimal_size(tree) + (90 << 20);
            file.set_len(size).unwrap();
            btrfs::make(tree, &file, 0, size, &btrfs::BtrfsOptions { uuid: UUID, label: None, subvolumes: vec!["usr"], epoch }).unwrap();
        }
        kind => {
            let Some(tools) = testing::disk_tools() else {
                testing::skip("there is no mksquashfs or no mkfs.erofs (OIC_TEST_TOOLS)");
                return None;
            };
            let filesystem = if kind == "squashfs" { Filesystem::Squashfs } else { Filesystem::Erofs };
            packed::make(&tools, filesystem, tree, path, UUID, epoch).unwrap();
        }
    }
    Some(())
}

fn read(kind: &str, path: &Path) -> Result<RootTree, TreeReadError> {
    reader(kind).unwrap()(&HostFile::open(path).unwrap())
}

#[test]
fn what_is_made_of_a_tree_reads_back_as_that_tree() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    for kind in ["xfs", "btrfs", "squashfs", "erofs"] {
        let path = folder.path().join(kind);
        if make(kind, &tree, &path).is_none() {
            continue;
        }
        let found = read(kind, &path).unwrap_or_else(|error| panic!("{kind}: {}", crate::causes::in_one_line(&error)));
        let differences = difference(&listing(&tree), &listing(&found));
        assert!(differences.is_empty(), "{kind}: {}", differences.join("\n"));
    }
}

/// Reads everything that a tree refers to.
fn read_contents(tree: &RootTree) {
    for entry in tree.walk() {
        if let Kind::File(content) = &entry.inode.kind {
            let _ = std::io::copy(&mut std::io::Read::take(content.reader(), 64 << 20), &mut std::io::sink());
        }
    }
}

#[test]
fn damage_is_an_error_or_another_tree() {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = RootTree::new(crate::rootfs::tree::Metadata::root_owned(0o755, EPOCH));
    for number in 0..200 {
        tree.write_file(format!("usr/file {number}"), Content::bytes(vec![5; number * 100]), 0o644, EPOCH).unwrap();
    }
    for kind in ["xfs", "btrfs", "squashfs", "erofs"] {
        let path = folder.path().join(kind);
        if make(kind, &tree, &path).is_none() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let interesting: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0 && bytes[*at] != 5).collect();
        let file = File::options().write(true).open(&path).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut errors = 0;
        for _ in 0..300 {
            let places: Vec<usize> = (0..1 + random(3)).map(|_| interesting[random(interesting.len())]).collect();
            for at in &places {
                file.write_all_at(&[[0, 0xff, 0x7f, random(256) as u8][random(4)]], *at as u64).unwrap();
            }
            match read(kind, &path) {
                Ok(tree) => read_contents(&tree),
                Err(_) => errors += 1,
            }
            for at in places {
                file.write_all_at(&bytes[at..=at], at as u64).unwrap();
            }
        }
        assert!(errors > 0, "{kind}: no damage was noticed");
        for length in [0, 100, 4096, bytes.len() / 2] {
            file.set_len(length as u64).unwrap();
            let _ = read(kind, &path);
        }
    }
}
