//! Filesystems that `xfs_repair` finds nothing wrong with.

use super::*;
use crate::{
    exec,
    rootfs::testing::{self, EPOCH},
};

fn tree() -> RootTree {
    testing::with_acl(testing::various())
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
