//! `oic version`.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn it_names_every_format() {
    let output = Sandbox::new().oic(&["version"]).run();
    assert_snapshot!(output.to_string().replace(std::env::consts::ARCH, "[ARCH]"), @"
    exit 0
    --- stdout
    oic [VERSION]
    host      [ARCH]
    lock      1
    manifest  1
    protocol  2.0
    ");
}

#[test]
fn the_option_is_short() {
    assert_snapshot!(Sandbox::new().oic(&["--version"]).run(), @"
    exit 0
    --- stdout
    oic [VERSION]
    ");
}
