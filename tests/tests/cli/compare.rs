//! `oic compare`: its exit status, and what it refuses.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn equal_and_different() {
    let sandbox = Sandbox::new();
    sandbox.write("a.raw", &"a".repeat(4096));
    sandbox.write("b.raw", &"b".repeat(4096));
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "a.raw"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "b.raw"]).run(), @"");
    assert_eq!(sandbox.oic(&["compare", "a.raw", "b.raw", "--format", "html", "--output", "page.html"]).run().code, Some(10));
    assert!(sandbox.read("page.html").starts_with("<!doctype html>"));
}

#[test]
fn what_cannot_be_compared() {
    let sandbox = Sandbox::new();
    sandbox.write("a.raw", "a");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "missing.raw"]).run(), @"");
    assert_snapshot!(sandbox.oic(&["compare", "a.raw", "a.raw", "--mode", "spdx"]).run(), @"");
    sandbox.write("a.json", "{}");
    assert_snapshot!(sandbox.oic(&["compare", "a.json", "a.raw", "--mode", "spdx"]).run(), @"");
}
