//! `oic cache`: what there is, what may go, and mistakes on the command line.

use std::fs;

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn a_new_cache_has_nothing() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["cache", "list"]).run(), @"
    exit 0
    --- stdout
    bucket      entries       size  last use
    files             0        0 B  -
    indexes           0        0 B  -
    layers            0        0 B  -
    metadata          0        0 B  -
    packages          0        0 B  -
    tools             0        0 B  -
    unpacked          0        0 B  -
    vm                0        0 B  -
    total             0        0 B  -
    ");
    let output = sandbox.oic(&["cache", "list", "--json"]).run();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output}"));
    assert_eq!((report["version"].as_u64(), report["maxBytes"].as_u64()), (Some(1), Some(20 << 30)));
    assert_eq!(report["buckets"].as_array().map(Vec::len), Some(8));
    assert_snapshot!(sandbox.oic(&["cache", "gc", "--max-size", "1GiB", "--max-age", "30d"]).run(), @"
    exit 0
    --- stdout
    removed 0 entries, 0 B
    ");
}

#[test]
fn damaged_entries_are_found_and_what_is_there_can_be_removed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.oic(&["cache", "list"]).run().code, Some(0));
    let entry = format!("../home/.cache/oic/packages-v1/00/{}", "0".repeat(64));
    sandbox.write(&entry, "no package has this digest");
    let would = sandbox.oic(&["cache", "clean", "--packages", "--dry-run"]).run();
    assert!(would.stdout.starts_with("would remove 1 entry from packages, "), "{would}");
    assert!(fs::exists(sandbox.cwd().join(&entry)).unwrap());

    let verified = sandbox.oic(&["cache", "verify"]).run();
    assert_eq!(verified.code, Some(10), "{verified}");
    assert!(verified.stdout.starts_with("damaged, removed: ") && verified.stderr.contains("1 of 1 entries were damaged"), "{verified}");
    assert!(!fs::exists(sandbox.cwd().join(&entry)).unwrap());
    assert_eq!(sandbox.oic(&["cache", "verify"]).run().code, Some(0));

    sandbox.write(&entry, "again");
    assert!(sandbox.oic(&["cache", "clean", "--layers"]).run().stdout.starts_with("removed 0 entries"));
    assert!(sandbox.oic(&["cache", "clean", "--all"]).run().stdout.starts_with("removed 1 entry from packages, "));
    assert!(!fs::exists(sandbox.cwd().join(&entry)).unwrap());
}

#[test]
fn mistakes() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["cache", "clean"]).run(), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--packages|--layers|--vm|--all>

    Usage: oic cache clean <--packages|--layers|--vm|--all>

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["cache", "gc", "--max-age", "5"]).run(), @"
    exit 2
    --- stderr
    error: invalid value '5' for '--max-age <AGE>': a number of hours, days or weeks is expected: 12h, 30d, 8w

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["cache", "list"]).env("OIC_CACHE_MAX_SIZE", "many").run(), @"
    exit 2
    --- stderr
    error: the environment variable OIC_CACHE_MAX_SIZE is `many`, which is not a size such as 20GiB, or `none`
    ");
}
