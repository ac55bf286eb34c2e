//! `oic convert`.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn an_image_in_another_format() {
    let sandbox = Sandbox::new();
    sandbox.write("disk.raw", &"x".repeat(100_000));
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.vmdk.zst", "--format", "vmdk-stream"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.vmdk.zst", "-o", "back.raw", "--compress", "none"]).run(), @"");
    let read = |name: &str| std::fs::read(sandbox.cwd().join(name)).unwrap();
    assert!(read("back.raw").starts_with(&read("disk.raw")));
}

#[test]
fn what_cannot_be_converted() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "missing.raw", "-o", "disk.vhd"]).run(), @"");
    sandbox.write("disk.raw", "x");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.img"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", "disk.vhd", "--format", "iso"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["convert", "-i", "disk.raw", "-o", ".", "--format", "raw"]).run(), @"");
    std::fs::write(sandbox.cwd().join("cut.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "cut.qcow2", "-o", "disk.vhd"]).run(), @"");
    std::fs::write(sandbox.cwd().join("cut.raw.xz"), b"\xfd7zXZ\0\0").unwrap();
    assert_snapshot!(sandbox.oic(&["convert", "-i", "cut.raw.xz", "-o", "disk.vhd"]).run(), @"");
}
