//! Filesystems that `btrfs check` finds nothing wrong with.

use super::*;
use crate::{
    exec,
    rootfs::{
        content::Content,
        testing::{self, EPOCH},
        tree::{Inode, Metadata},
    },
};

const UUID: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);

fn tree() -> RootTree {
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
    tree.make_directories("@home/ada", EPOCH).unwrap();
    tree
}

fn options<'a>(subvolumes: Vec<&'a str>) -> BtrfsOptions<'a> {
    BtrfsOptions { uuid: UUID, label: Some("root"), subvolumes, epoch: EPOCH.cast_unsigned() }
}

#[test]
fn two_runs_give_the_same_bytes_and_nothing_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    let size = minimal_size(&tree) + (90 << 20);
    let image = |name: &str| {
        let path = folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_len(size + (1 << 20)).unwrap();
        make(&tree, &file, 1 << 20, size, &options(vec!["@home"])).unwrap();
        path
    };
    let (first, second) = (image("a"), image("b"));
    assert!(std::fs::read(&first).unwrap() == std::fs::read(second).unwrap());
    let Some(btrfs) = testing::tool("btrfs") else {
        testing::skip("there is no btrfs to check with (OIC_TEST_TOOLS)");
        return;
    };
    let bytes = std::fs::read(first).unwrap();
    let alone = folder.path().join("alone");
    std::fs::write(&alone, &bytes[1 << 20..]).unwrap();
    exec::run(btrfs.command().args(["check", "--readonly", "--check-data-csum"]).arg(&alone)).unwrap();
    let shown = exec::run(btrfs.command().args(["inspect-internal", "dump-tree"]).arg(&alone)).unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("(DIR_ITEM 2378154706)") || shown.contains("DIR_ITEM 2378154706"), "the hash of a name is another one");
    assert!(shown.contains("name: security.capability") && shown.contains("name: @home"));
}

#[test]
fn what_does_not_fit_or_exist_is_refused() {
    let file = tempfile::tempfile().unwrap();
    let tree = tree();
    let error = make(&tree, &file, 0, 30 << 20, &options(Vec::new())).unwrap_err().to_string();
    assert!(error.starts_with("the content does not fit into 30MiB: it needs at least"), "{error}");
    let error = make(&tree, &file, 0, 200 << 20, &options(vec!["@none"])).unwrap_err().to_string();
    assert!(error.contains("`@none` cannot be on a Btrfs filesystem"), "{error}");
}
