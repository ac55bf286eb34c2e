//! Filesystems that `fsck.f2fs` finds nothing wrong with.

use super::*;
use crate::{
    exec,
    rootfs::{
        content::Content,
        testing::{self, EPOCH},
    },
};

fn tree() -> RootTree {
    let mut tree = testing::with_acl(testing::various());
    // Found by nodes of nodes, and larger than what is written at a time.
    tree.write_file("usr/lib/larger", Content::bytes(vec![3; 14 << 20]), 0o644, EPOCH).unwrap();
    tree.write_file("usr/lib/edge", Content::bytes(vec![4; 3488]), 0o644, EPOCH).unwrap();
    tree.write_file("usr/lib/over", Content::bytes(vec![5; 3489]), 0o644, EPOCH).unwrap();
    tree
}

fn options() -> F2fsOptions<'static> {
    F2fsOptions { uuid: Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0), label: Some("root") }
}

#[test]
fn two_runs_give_the_same_bytes_and_nothing_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree();
    for more in [0, 300 << 20] {
        let size = minimal_size(&tree) + more;
        let image = |name: &str| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_len(size + (1 << 20)).unwrap();
            make(&tree, &file, 1 << 20, size, &options()).unwrap();
            path
        };
        let (first, second) = (image("a"), image("b"));
        let bytes = std::fs::read(&first).unwrap();
        assert!(bytes == std::fs::read(second).unwrap());
        let Some(check) = testing::tool("fsck.f2fs") else {
            testing::skip("there is no fsck.f2fs to check with (OIC_TEST_TOOLS)");
            return;
        };
        let alone = folder.path().join("alone");
        std::fs::write(&alone, &bytes[1 << 20..]).unwrap();
        let (said, more) = exec::run_for_messages(check.command().args(["--dry-run", "-f"]).arg(&alone)).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned() + &String::from_utf8_lossy(&more);
        assert!(said.contains("[Ok..]") && !said.contains("[Fail]") && !said.contains("ASSERT"), "{said}");
    }
}

#[test]
fn names_are_hashed_as_the_kernel_does() {
    // By another program for the same algorithm; `fsck.f2fs` computes them, too.
    let known = [
        (&b"."[..], 0),
        (b"..", 0),
        (b"etc", 0x83c9_58ed),
        (b"lost+found", 0x2dbf_9e80),
        (b"a file with a name of some length 7", 0xcf37_5a05),
    ];
    for (name, hash) in known {
        assert_eq!(directory::hash(name), hash);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let file = tempfile::tempfile().unwrap();
    let error = make(&tree(), &file, 0, 60 << 20, &options()).unwrap_err().to_string();
    assert!(error.starts_with("the content does not fit into 60MiB: it needs at least"), "{error}");
    let options = F2fsOptions { label: None, ..options() };
    let error = make(&RootTree::new(Default::default()), &file, 0, 2 << 40, &options).unwrap_err().to_string();
    assert_eq!(error, "an F2FS filesystem of 2TiB cannot be made: 1 TiB can");
}
