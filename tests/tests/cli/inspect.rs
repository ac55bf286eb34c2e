//! `oic inspect`: what it refuses. What it finds is tested where it is found.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn files_that_cannot_be_looked_at() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["inspect", "missing.raw"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["inspect", "."]).run(), @"");
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--format", "xml"]).run(), @"");
    std::fs::write(sandbox.cwd().join("disk.vhdx"), b"vhdxfile").unwrap();
    assert_snapshot!(sandbox.oic(&["inspect", "disk.vhdx"]).run(), @"");
}

#[test]
fn a_disk_with_nothing_on_it() {
    let sandbox = Sandbox::new();
    sandbox.write("disk.raw", &"\0".repeat(4096));
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--format", "yaml"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--extract-sbom"]).run(), @"");
}
