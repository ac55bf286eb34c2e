//! `oic compare`: its exit status, and what it refuses.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn equal_and_different() {
    let sandbox = Sandbox::new();
    sandbox.write("a.raw", &"a".repeat(4096));
    sandbox.write("b.raw", &"b".repeat(4096));
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "a.raw"]).run(), @"
    exit 0
    --- stdout
    a.raw and a.raw are identical
    ");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "b.raw"]).run(), @"
    exit 10
    --- stdout
    a.raw and b.raw differ: 1 difference, 1 of which can matter

    partitions
      ! 0  bytes (its files are not read)
    ");
    assert_eq!(sandbox.oic(&["compare", "a.raw", "b.raw", "--format", "html", "--output", "page.html"]).run().code, Some(10));
    assert!(sandbox.read("page.html").starts_with("<!doctype html>"));
}

#[test]
fn what_cannot_be_compared() {
    let sandbox = Sandbox::new();
    sandbox.write("a.raw", "a");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "missing.raw"]).run(), @"
    exit 2
    --- stderr
    error: cannot read the image `missing.raw`
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "a.raw", "--mode", "spdx"]).run(), @"
    exit 2
    --- stderr
    error: `a.raw` is no SPDX document, and no image whose packages are known
    ");
    sandbox.write("a.json", "{}");
    assert_snapshot!(sandbox.oic(&["compare", "a.json", "a.raw", "--mode", "spdx"]).run(), @"
    exit 2
    --- stderr
    error: `a.json` is no SPDX document in JSON
      caused by: missing field `spdxVersion` at line 1 column 2
    hint: `oic inspect --extract-sbom` writes one of an image
    ");
}
