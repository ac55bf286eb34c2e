//! `oic boot`: what can be refused before anything is fetched or started. The boot tests boot.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn files_that_cannot_be_booted() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["boot", "missing.raw"]).run(), @"
    exit 2
    --- stderr
    error: cannot read the image `missing.raw`
      caused by: No such file or directory (os error 2)
    ");
    std::fs::write(sandbox.cwd().join("image.raw.gz"), b"\x1f\x8b\x08\0").unwrap();
    assert_snapshot!(sandbox.oic(&["boot", "image.raw.gz"]).run(), @"
    exit 2
    --- stderr
    error: the image `image.raw.gz` is compressed
    hint: decompress it first: `gzip -dk image.raw.gz`
    ");
}

#[test]
fn options_that_make_no_sense() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["boot", "--timeout", "3", "image.raw"]).run(), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --check

    Usage: oic boot --check --timeout <SECONDS> <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["boot", "--memory", "1KiB", "image.raw"]).run(), @"
    exit 2
    --- stderr
    error: invalid value '1KiB' for '--memory <SIZE>': at least 64MiB are needed

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["boot", "--memory", "much", "image.raw"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'much' for '--memory <SIZE>': `much` does not begin with a number

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["boot", "--cpus", "0", "image.raw"]).run(), @"
    exit 2
    --- stderr
    error: invalid value '0' for '--cpus <N>': 0 is not in 1..=64

    For more information, try '--help'.
    ");
}

#[test]
fn tools_that_the_cache_lacks() {
    let sandbox = Sandbox::new();
    sandbox.write("image.raw", "");
    let output = sandbox.oic(&["boot", "--check", "--offline", "image.raw"]).run();
    assert_eq!(output.code, Some(5), "{output}");
    assert!(output.stderr.contains("hint: run once without --offline"), "{output}");
}
