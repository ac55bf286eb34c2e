//! `oic __virtiofsd`: the file server that the builder VM starts. The VM tests use it in earnest.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn it_is_not_shown_and_says_what_it_wants() {
    let sandbox = Sandbox::new();
    assert!(!sandbox.oic(&["--help"]).run().stdout.contains("virtiofsd"));
    assert_snapshot!(sandbox.oic(&["__virtiofsd", "folder"]).run(), @"
    exit 1
    --- stderr
    expected `--shared-dir FOLDER`, found `folder`
    ");
}
