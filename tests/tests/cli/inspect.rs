//! `oic inspect`: what it refuses. What it finds is tested where it is found.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn files_that_cannot_be_looked_at() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["inspect", "missing.raw"]).run(), @"
    exit 2
    --- stderr
    error: cannot read the image `missing.raw`
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(sandbox.oic(&["inspect", "."]).run(), @"
    exit 2
    --- stderr
    error: cannot read the image `.`
      caused by: is a directory
    ");
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--format", "xml"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'xml' for '--format <FORMAT>'
      [possible values: text, json, yaml, html]

      tip: a similar value exists: 'html'

    For more information, try '--help'.
    ");
    std::fs::write(sandbox.cwd().join("disk.vhdx"), b"vhdxfile").unwrap();
    assert_snapshot!(sandbox.oic(&["inspect", "disk.vhdx"]).run(), @"
    exit 2
    --- stderr
    error: cannot open the image `disk.vhdx`
      caused by: the image is damaged: a table is outside of the file, or too large
    ");
}

#[test]
fn a_disk_with_nothing_on_it() {
    let sandbox = Sandbox::new();
    sandbox.write("disk.raw", &"\0".repeat(4096));
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw"]).run(), @"
    exit 0
    --- stdout
    image     disk.raw
    format    raw, 4096 bytes, a disk of 4 KiB

    partitions
       0  -                     4 KiB  the whole disk
    ");
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--format", "yaml"]).run(), @r#"
    exit 0
    --- stdout
    version: 1
    file:
      name: disk.raw
      size: 4096
      format: raw
      diskSize: 4096
    partitions:
    - number: 0
      label: ""
      typeId: ""
      typeName: the whole disk
      uuid: ""
      start: 0
      size: 4096
      attributes: []
    bootEntries: []
    efi: []
    problems: []
    "#);
    assert_snapshot!(sandbox.oic(&["inspect", "disk.raw", "--extract-sbom"]).run(), @"
    exit 8
    --- stdout
    image     disk.raw
    format    raw, 4096 bytes, a disk of 4 KiB

    partitions
       0  -                     4 KiB  the whole disk
    --- stderr
    error: `disk.raw` has no packages to make an SBOM of
    ");
}
