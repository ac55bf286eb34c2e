//! Filesystems that `xfs_repair` finds nothing wrong with.

use super::*;
use crate::{
    exec,
    rootfs::{
        content::Content,
        testing::{self, EPOCH},
        tree::{Inode, Metadata},
    },
};

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
    let acl = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255,
        255, 32, 0, 5, 0, 255, 255, 255, 255,
    ];
    let etc = tree.lookup("etc").unwrap();
    tree.inode_mut(etc).metadata.xattrs.insert(b"system.posix_acl_access".to_vec(), acl.to_vec());
    tree
}

fn options() -> XfsOptions<'static> {
    XfsOptions { uuid: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0), label: Some("root"), epoch: EPOCH.cast_unsigned() }
}

#[test]
fn two_runs_give_the_same_bytes_and_nothing_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    let size = minimal_size(&tree) + (40 << 20);
    let image = |name: &str| {
        let path = folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_len(size + (1 << 20)).unwrap();
        make(&tree, &file, 1 << 20, size, &options()).unwrap();
        path
    };
    let (first, second) = (image("a"), image("b"));
    assert!(std::fs::read(&first).unwrap() == std::fs::read(second).unwrap());
    let Some(repair) = testing::tool("xfs_repair") else {
        testing::skip("there is no xfs_repair to check with (OIC_TEST_TOOLS)");
        return;
    };
    let bytes = std::fs::read(first).unwrap();
    let alone = folder.path().join("alone");
    std::fs::write(&alone, &bytes[1 << 20..]).unwrap();
    // Ends with 1 when anything would have to be repaired.
    let (said, more) = exec::run_for_messages(repair.command().args(["-n", "-f"]).arg(&alone)).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned() + &String::from_utf8_lossy(&more);
    assert!(!said.contains("would") && !said.contains("bad") && !said.contains("inconsistent"), "{said}");
}

#[test]
fn names_are_hashed_as_the_kernel_does() {
    assert_eq!(directory::hash(b"."), 0x2e);
    assert_eq!(directory::hash(b".."), 0x172e);
    assert_eq!(directory::hash(b"lost+found"), 0x021a_a60c);
}

#[test]
fn what_does_not_fit_is_refused() {
    let file = tempfile::tempfile().unwrap();
    let error = make(&tree(), &file, 0, 30 << 20, &options()).unwrap_err().to_string();
    assert!(error.starts_with("the content does not fit into 30MiB: it needs at least"), "{error}");
}
