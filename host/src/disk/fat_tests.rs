//! FAT filesystems as other programs see them.

use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::{
    exec,
    rootfs::{
        testing::{self, EPOCH},
        tree::{Inode, Metadata},
    },
};

fn tree() -> RootTree {
    let mut tree = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    let mut add = |path: &str, size: usize| {
        let bytes: Vec<u8> = (0..size).map(|index| (index % 253) as u8).collect();
        tree.write_file(path, Content::bytes(bytes), 0o644, EPOCH).unwrap();
    };
    add("EFI/BOOT/BOOTX64.EFI", 300_000);
    add("EFI/Linux/a-long-name-6.12.0+deb13-amd64.efi", 70_001);
    add("EFI/Linux/a-long-name-6.12.0+deb13-other.efi", 1);
    add("loader/loader.conf", 30);
    add("loader/entries.srel", 6);
    add("EMPTY", 0);
    add("Überraschung.txt", 5);
    for index in 0..200 {
        add(&format!("many/file number {index}.long"), index);
    }
    tree
}

fn options(kind: Filesystem) -> FatOptions<'static> {
    FatOptions { kind, volume: 0x1234_abcd, label: Some("ESP") }
}

fn made(kind: Filesystem, size: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    make(&tree(), file.as_file(), 0, size, &options(kind)).unwrap();
    file
}

#[test]
fn other_programs_find_the_same_files_and_no_fault() {
    for (kind, size) in
        [(Filesystem::Fat32, 40 << 20), (Filesystem::Fat32, 300 << 20), (Filesystem::Fat16, 16 << 20), (Filesystem::Fat16, 100 << 20)]
    {
        let file = made(kind, size);
        if testing::tool("fsck.vfat").is_none() || testing::tool("mcopy").is_none() {
            testing::skip("there are no dosfstools and mtools to compare with");
            return;
        }
        let said = exec::run(Command::new("fsck.vfat").args(["-n", "-V"]).arg(file.path())).unwrap();
        let said = String::from_utf8_lossy(&said);
        // Anything to complain about has a line of its own.
        assert_eq!(said.trim().lines().count(), 4, "{said}");
        let folder = tempfile::tempdir().unwrap();
        exec::run(
            Command::new("mcopy")
                .env("TZ", "UTC")
                .env("LC_ALL", "C.UTF-8")
                .args(["-s", "-m", "-Q", "-i"])
                .arg(file.path())
                .arg("::/*")
                .arg(folder.path()),
        )
        .unwrap();
        for entry in tree().walk() {
            let Kind::File(content) = &entry.inode.kind else { continue };
            let path = folder.path().join(std::str::from_utf8(&entry.path[1..]).unwrap());
            assert!(std::fs::read(&path).unwrap() == content.read_all(1 << 20).unwrap(), "{}", path.display());
            let time = std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(&path).unwrap());
            assert_eq!(time, EPOCH, "{}", path.display());
        }
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let (first, second) = (made(Filesystem::Fat32, 40 << 20), made(Filesystem::Fat32, 40 << 20));
    assert!(std::fs::read(first.path()).unwrap() == std::fs::read(second.path()).unwrap());
}

#[test]
fn a_filesystem_that_is_too_small_says_what_it_needs() {
    let mut tree = tree();
    tree.write_file("large", Content::bytes(vec![1; 40 << 20]), 0o644, EPOCH).unwrap();
    let needed = minimal_size(&tree, &options(Filesystem::Fat32)).unwrap();
    let file = tempfile::tempfile().unwrap();
    let error = make(&tree, &file, 0, 34 << 20, &options(Filesystem::Fat32)).unwrap_err().to_string();
    assert_eq!(error, format!("the content does not fit into 34MiB: it needs at least {}", ByteSize(needed)));
    make(&tree, &file, 0, needed, &options(Filesystem::Fat32)).unwrap();
    assert!(make(&tree, &file, 0, needed - (1 << 20), &options(Filesystem::Fat32)).is_err());
}

#[test]
fn what_cannot_be_on_fat_is_refused() {
    let refused = |path: &str, kind: Kind| {
        let mut tree = tree();
        tree.insert(path, Inode { metadata: Metadata::root_owned(0o644, EPOCH), kind }).unwrap();
        minimal_size(&tree, &options(Filesystem::Fat32)).unwrap_err().to_string()
    };
    assert_eq!(refused("link", Kind::Symlink(b"x"[..].into())), "`/link` cannot be on a FAT filesystem: only files and directories can");
    assert!(refused("efi", Kind::directory()).contains("differs from it only in case"));
    assert!(refused("a:b", Kind::directory()).contains("forbids"));
}

proptest! {
    #[test]
    fn short_names_are_unique_and_legal(names in prop::collection::btree_set("[a-zA-Z0-9. +~_-]{1,20}", 1..60)) {
        let mut taken = BTreeSet::new();
        for name in &names {
            let short = short_name(name, &mut taken).unwrap();
            prop_assert!(short[0] != b' ' && short.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
            prop_assert!(!short.iter().any(u8::is_ascii_lowercase));
        }
        prop_assert_eq!(taken.len(), names.len());
    }
}
