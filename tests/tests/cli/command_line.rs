//! What holds for every command: help, usage errors, global options, closed pipes.

use std::process::Stdio;

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn without_arguments_the_help_is_shown() {
    let sandbox = Sandbox::new();
    let output = sandbox.oic(&[]).run();
    assert_eq!(output.code, Some(2));
    assert_eq!(output.stderr, sandbox.oic(&["-h"]).run().stdout);
}

#[test]
fn mistyped_commands_and_options() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["verison"]).run(), @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'verison'

      tip: a similar subcommand exists: 'version'

    Usage: oic [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["version", "--quite"]).run(), @"
    exit 2
    --- stderr
    error: unexpected argument '--quite' found

      tip: a similar argument exists: '--quiet'

    Usage: oic version --quiet

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["version", "-q", "-v"]).run(), @"
    exit 2
    --- stderr
    error: the argument '--quiet' cannot be used with '--verbose...'

    Usage: oic version --quiet

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["version", "--progress", "fancy"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'fancy' for '--progress <MODE>'
      [possible values: auto, plain, json, none]

    For more information, try '--help'.
    ");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let sandbox = Sandbox::new();
    let plain = sandbox.oic(&["config", "show", "--config", "none.yml"]).run();
    assert!(!plain.stderr.contains('\x1b'), "{}", plain.stderr);
    let colored = sandbox.oic(&["config", "show", "--config", "none.yml", "--color", "always"]).run();
    assert!(colored.stderr.contains("\x1b[1;31merror:\x1b[0m"), "{}", colored.stderr);
    let forced = sandbox.oic(&["config", "show", "--config", "none.yml"]).env("CLICOLOR_FORCE", "1").run();
    assert_eq!(forced.stderr, colored.stderr);
    let refused = sandbox.oic(&["config", "show", "--config", "none.yml"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").run();
    assert_eq!(refused.stderr, plain.stderr);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about the process's streams")]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.oic(&["completions", "bash"]).into_command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about the process's streams")]
fn a_result_that_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandbox.oic(&["version"]).into_command().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"
    error: cannot write to standard output
      caused by: No space left on device (os error 28)
    ");
}
