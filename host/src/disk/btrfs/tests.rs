//! Filesystems that `btrfs check` finds nothing wrong with.

use super::*;
use crate::{
    exec,
    rootfs::testing::{self, EPOCH},
};

const UUID: Uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);

fn tree() -> RootTree {
    let mut tree = testing::various();
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
