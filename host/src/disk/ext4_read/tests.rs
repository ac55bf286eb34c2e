//! Round trips through `mke2fs`, and images with damage.

use std::{collections::BTreeMap, path::Path, process::Command};

use uuid::Uuid;

use super::read_tree;
use crate::{
    disk::ext4::{self, Ext4Options, Profile},
    exec,
    rootfs::{
        content::{Content, HostFile},
        testing::{self, EPOCH, difference, listing},
        tree::{Inode, Kind, Metadata, RootTree},
    },
};

/// A tree with one of everything.
fn specimen() -> RootTree {
    let mut tree = RootTree::new(Metadata { xattrs: BTreeMap::new(), ..Metadata::root_owned(0o755, EPOCH) });
    let xattrs = |pairs: &[(&str, &[u8])]| pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255,
        255, 32, 0, 4, 0, 255, 255, 255, 255,
    ];
    let mut add = |path: &str, metadata: Metadata, kind: Kind| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        tree.make_directories(parent, EPOCH).unwrap();
        tree.insert(path, Inode { metadata, kind }).unwrap()
    };
    let owned = |mode| Metadata::root_owned(mode, EPOCH - 5);
    let text = |size: usize| Kind::File(Content::bytes((0..size).map(|index| (index * 7 % 251) as u8).collect::<Vec<_>>()));
    let first = add("usr/bin/tool", Metadata { uid: 100_000, gid: 70_000, ..owned(0o4755) }, text(70_000));
    add("usr/bin/empty", owned(0o644), text(0));
    add(
        "usr/share/capable",
        Metadata { xattrs: xattrs(&[("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0])]), ..owned(0o755) },
        text(10),
    );
    add(
        "usr/share/listed",
        Metadata { xattrs: xattrs(&[("system.posix_acl_access", &acl), ("user.note", b"x\ny")]), ..owned(0o640) },
        text(4097),
    );
    add("usr/share/large-note", Metadata { xattrs: xattrs(&[("user.large", &[7; 900]), ("trusted.t", b"")]), ..owned(0o640) }, text(1));
    add("etc/fast", owned(0o777), Kind::Symlink(b"target"[..].into()));
    add("etc/slow", owned(0o777), Kind::Symlink(vec![b'a'; 200].into()));
    add("dev/console", owned(0o600), Kind::CharDevice { major: 5, minor: 1 });
    add("dev/far", owned(0o600), Kind::BlockDevice { major: 259, minor: 70_000 });
    add("run/pipe", owned(0o620), Kind::Fifo);
    add("sticky", owned(0o1777), Kind::directory());
    for index in 0..600 {
        add(&format!("many/an-entry-with-a-longer-name-{index:04}"), owned(0o644), text(index % 3));
    }
    tree.link("usr/bin/tool-again", first).unwrap();
    tree.link("usr/linked", first).unwrap();
    tree
}

fn options(profile: Profile) -> Ext4Options<'static> {
    Ext4Options { profile, uuid: Uuid::from_u128(0x1234_5678), label: Some("root"), epoch: EPOCH as u64 }
}

fn read(path: &Path) -> Result<RootTree, super::Ext4ReadError> {
    read_tree(&HostFile::open(path).unwrap())
}

#[test]
fn what_mke2fs_makes_of_a_tree_reads_back_as_that_tree() {
    let Some(tools) = testing::ext4_tools() else {
        testing::skip("there is no mke2fs that reads archives (OIC_TEST_TOOLS)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let tree = specimen();
    for profile in [Profile::Scratch, Profile::Ext4] {
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        for path in [&first, &second] {
            let _ = std::fs::remove_file(path);
            ext4::make(&tools, &tree, path, 0, ext4::minimal_size(&tree, profile), &options(profile)).unwrap();
        }
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{profile:?}: two runs differ");
        let differences = difference(&listing(&tree), &listing(&read(&first).unwrap()));
        assert!(differences.is_empty(), "{profile:?}: {}", differences.join("\n"));
    }
}

#[test]
fn a_filesystem_that_is_too_small_says_what_it_needs() {
    let tree = specimen();
    let needed = ext4::minimal_size(&tree, Profile::Ext4);
    let program = crate::exec::Program::host(Path::new("/nonexistent"));
    let tools = ext4::Ext4Tools { mke2fs: program.clone(), debugfs: program };
    let error = ext4::make(&tools, &tree, Path::new("/nonexistent/x"), 0, 1 << 20, &options(Profile::Ext4)).unwrap_err();
    assert_eq!(error.to_string(), format!("the content does not fit into 1MiB: it needs at least {}", oic_config::units::ByteSize(needed)));
}

/// Reads everything that a tree refers to, as writing it would.
fn read_contents(tree: &RootTree) {
    for entry in tree.walk() {
        if let Kind::File(content) = &entry.inode.kind {
            let _ = std::io::copy(&mut content.reader(), &mut std::io::sink());
        }
    }
}

#[test]
fn damaged_filesystems_are_errors_or_trees_but_never_panics() {
    let Some(tools) = testing::ext4_tools() else {
        testing::skip("there is no mke2fs that reads archives (OIC_TEST_TOOLS)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let tree = specimen();
    ext4::make(&tools, &tree, &path, 0, ext4::minimal_size(&tree, Profile::Scratch), &options(Profile::Scratch)).unwrap();
    let image = std::fs::read(&path).unwrap();
    let interesting: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut refused, rounds) = (0, 4000);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for round in 0..rounds {
        let mut changed = Vec::new();
        for _ in 0..=random(6) {
            // Mostly bytes that mean something, sometimes the superblock, sometimes anything.
            let at = match random(4) {
                0 => 1024 + random(512),
                1 => random(image.len()),
                _ => interesting[random(interesting.len())] / 4 * 4 + random(4),
            };
            let byte = [0, 0xff, 0x80, 1, image[at].wrapping_add(1), random(256) as u8][random(6)];
            std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at as u64).unwrap();
            changed.push(at);
        }
        match read(&path) {
            Ok(tree) if round % 16 == 0 => read_contents(&tree),
            Ok(_) => {}
            Err(_) => refused += 1,
        }
        for at in changed {
            std::os::unix::fs::FileExt::write_all_at(&file, &image[at..=at], at as u64).unwrap();
        }
    }
    assert!(refused > rounds / 20, "only {refused} of {rounds} damaged images were refused");
    assert!(difference(&listing(&tree), &listing(&read(&path).unwrap())).is_empty(), "the damage was not undone");
}

#[test]
fn a_truncated_filesystem_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for size in [0, 1024, 2048, 4096, 65536] {
        std::fs::write(&path, vec![0; size]).unwrap();
        assert!(read(&path).is_err(), "{size}");
    }
}

/// What a kernel makes that `mke2fs` does not: hashed directories, deep extent trees, preallocated blocks, holes, removed files.
const KERNEL_WORK: &str = "set -e\n\
    cd \"$1\"\n\
    mkdir hashed fragments\n\
    i=0; while [ $i -lt 3000 ]; do : > hashed/a-name-of-some-length-$i; i=$((i+1)); done\n\
    i=0; while [ $i -lt 3000 ]; do rm hashed/a-name-of-some-length-$i; i=$((i+3)); done\n\
    i=0; while [ $i -lt 1200 ]; do printf %04096d $i | dd of=fragments/many bs=4096 seek=$((i*2)) conv=notrunc status=none; i=$((i+1)); done\n\
    fallocate -l 1M fragments/unwritten; truncate -s 20M fragments/hole; printf end >> fragments/hole\n\
    ln -s \"$(printf %0500d 1)\" slow; ln -s short fast; ln fragments/hole fragments/again\n\
    mkfifo pipe; mknod console c 5 1; chown 70000:80000 pipe; chmod 4711 fragments/hole\n\
    setfattr -n user.test -v value fragments/hole || true\n\
    find . -print0 | xargs -0 touch -h -d @1700000000\n";

#[test]
fn what_a_kernel_has_written_reads_back_as_the_kernel_shows_it() {
    let tools = testing::ext4_tools().filter(|_| rustix::process::geteuid().is_root());
    let Some(tools) = tools else {
        testing::skip("a comparison with the kernel needs root and a mke2fs that reads archives (OIC_TEST_TOOLS)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
    std::fs::create_dir(&mounted).unwrap();
    let empty = RootTree::new(Metadata::root_owned(0o755, EPOCH));
    ext4::make(&tools, &empty, &image, 0, 256 << 20, &options(Profile::Scratch)).unwrap();
    if exec::run(Command::new("mount").args(["-o", "loop"]).args([&image, &mounted])).is_err() {
        testing::skip("this machine has no loop devices to let a kernel write");
        return;
    }
    let worked = exec::run(Command::new("sh").args(["-c", KERNEL_WORK, "sh"]).arg(&mounted));
    // While it is mounted it is refused.
    let while_mounted = read(&image);
    let mut theirs = std::panic::catch_unwind(|| listing(&testing::read_folder(&mounted)));
    exec::run(Command::new("umount").arg(&mounted)).unwrap();
    worked.unwrap();
    assert!(matches!(while_mounted, Err(super::Ext4ReadError::NotClean)), "{:?}", while_mounted.err());
    let mut ours = read(&image).unwrap();
    ours.update_metadata(|metadata| metadata.xattrs.clear());
    if let Ok(theirs) = &mut theirs {
        theirs.retain(|path, _| path != "/lost+found");
    }
    let differences = difference(&listing(&ours), &theirs.unwrap());
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(20)].join("\n"));
}

#[test]
fn a_distribution_becomes_a_disk_and_reads_back() {
    let (Some(packages), Some(tools)) = (testing::distribution(), testing::ext4_tools()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (cache, image) = (folder.path().join("cache"), folder.path().join("image"));
    std::fs::create_dir(&cache).unwrap();
    let timed = |name: &str, start: std::time::Instant| eprintln!("{name}: {:.2} s", start.elapsed().as_secs_f64());
    // Later than every file in the packages: mke2fs clamps times to it.
    let late = 2_000_000_000;
    let options = |profile| Ext4Options { epoch: late as u64, ..options(profile) };
    let start = std::time::Instant::now();
    testing::open(&cache, &packages);
    timed("hashing and decompressing", start);
    let start = std::time::Instant::now();
    let inputs = testing::open(&cache, &packages);
    timed("hashing and opening again", start);
    let start = std::time::Instant::now();
    let merged = crate::rootfs::dpkg::merge(inputs, "amd64", late).unwrap();
    timed("merging", start);
    for profile in [Profile::Scratch, Profile::Ext4] {
        let size = ext4::minimal_size(&merged.tree, profile);
        let _ = std::fs::remove_file(&image);
        let start = std::time::Instant::now();
        ext4::make(&tools, &merged.tree, &image, 0, size, &options(profile)).unwrap();
        timed(&format!("{profile:?}: mke2fs, {} MiB minimal", size >> 20), start);
        let start = std::time::Instant::now();
        let tree = read(&image).unwrap();
        timed("reading back", start);
        let differences = difference(&listing(&merged.tree), &listing(&tree));
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    let _ = std::fs::remove_file(&image);
    let start = std::time::Instant::now();
    ext4::make(&tools, &merged.tree, &image, 0, 8 << 30, &options(Profile::Scratch)).unwrap();
    let used = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&image).unwrap()) * 512;
    timed(&format!("mke2fs of 8 GiB, {} MiB used on the host", used >> 20), start);
}

#[test]
fn the_block_maps_of_ext2_and_ext3_read_back() {
    let Some(tools) = testing::ext4_tools() else {
        testing::skip("there is no mke2fs that reads archives");
        return;
    };
    let mut tree = RootTree::new(Metadata { xattrs: BTreeMap::new(), ..Metadata::root_owned(0o755, EPOCH) });
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|index| (index * 7 % 251) as u8).collect();
    // Direct blocks, one and two levels of blocks of numbers.
    for size in [1, 12 * 4096, 12 * 4096 + 1, 4_000_000, bytes.len()] {
        tree.write_file(format!("data/{size}"), Content::bytes(bytes[..size].to_vec()), 0o644, EPOCH).unwrap();
    }
    for index in 0..2000 {
        tree.write_file(format!("many/an-entry-with-a-longer-name-{index:04}"), Content::bytes(vec![1]), 0o644, EPOCH).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for profile in [Profile::Ext2, Profile::Ext3] {
        let path = folder.path().join(format!("{profile:?}"));
        ext4::make(&tools, &tree, &path, 0, 96 << 20, &options(profile)).unwrap();
        let mut back = read(&path).unwrap();
        back.remove("/lost+found");
        let differences = difference(&listing(&tree), &listing(&back));
        assert!(differences.is_empty(), "{profile:?}: {}", differences.join("\n"));
        // Where inodes have their maps, wild numbers: an error or another content, never a panic.
        let whole = std::fs::read(&path).unwrap();
        for wild in [1_u32, 95 << 8, u32::MAX] {
            let mut damaged = whole.clone();
            for inode in damaged[4096..4 << 20].chunks_exact_mut(256) {
                inode[40..44].copy_from_slice(&wild.to_le_bytes());
            }
            std::fs::write(&path, &damaged).unwrap();
            drop(read(&path));
        }
    }
}
