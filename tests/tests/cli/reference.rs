//! `docs/cli.md` and `docs/errors.md` say what the program says.

use std::{fmt::Write as _, fs, path::Path};

use oic::cli::ExitCode;
use oic_tests::Sandbox;

/// Set to any value: the parts of the documentation that are made from the program are written anew.
const UPDATE: &str = "OIC_UPDATE_DOCS";

/// Compares a part of `docs/cli.md` with what it should be, or writes it.
#[expect(clippy::disallowed_methods, reason = "a switch of the test, not of the program")]
fn check(part: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->"));
    let start = text.find(&begin).expect("the part has a beginning") + begin.len();
    let stop = text.find(&end).expect("the part has an end");
    if &text[start..stop] == expected {
        return;
    }
    assert!(std::env::var_os(UPDATE).is_some(), "docs/cli.md is out of step with the program: run the tests with {UPDATE}=1");
    fs::write(&path, format!("{}{expected}{}", &text[..start], &text[stop..])).unwrap();
}

#[test]
fn the_documentation_is_in_step() {
    let mut table = String::from("| status | meaning |\n|---|---|\n");
    for code in ExitCode::ALL {
        writeln!(table, "| {} | {} |", code.number(), code.meaning()).unwrap();
    }
    check("exit codes", &table);

    let sandbox = Sandbox::new();
    let mut reference = String::new();
    for path in oic::cli::command_paths() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = sandbox.oic(&arguments).run();
        assert_eq!(help.code, Some(0), "{help}");
        // The global options are the same for every command: once is enough.
        let own = if path.is_empty() { help.stdout.as_str() } else { help.stdout.split("\nGlobal options:").next().unwrap_or_default() };
        let title = std::iter::once("oic").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        writeln!(reference, "### `{title}`\n\n```\n{}\n```\n", own.trim_end()).unwrap();
    }
    check("reference", &reference);
}

#[test]
fn every_kind_of_finding_is_explained() {
    let text = include_str!("../../../docs/errors.md");
    let source = include_str!("../../../config/src/diagnostic.rs");
    let names: Vec<_> =
        source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \"")?.1.split('"').next()).collect();
    assert!(names.contains(&"unknown-field"), "{names:?}");
    for name in names.iter().filter(|name| !["warning", "error"].contains(*name)) {
        assert!(text.contains(&format!("| `{name}` |")), "docs/errors.md does not explain `{name}`");
    }
}
