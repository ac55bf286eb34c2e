//! What a user sees of each command, through the real program and without a network or a virtual machine.

mod boot;
mod build;
mod cache;
mod command_line;
mod compare;
mod completions;
mod config;
mod convert;
mod doctor;
mod inspect;
mod lock;
mod man;
mod reference;
mod validate;
mod version;
mod virtiofsd;

use std::{collections::BTreeSet, fs, path::Path};

/// Returns the names of the files beside this one.
fn files() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let entries = fs::read_dir(folder).expect("the tests have a folder");
    let stem = |entry: fs::DirEntry| entry.file_name().to_string_lossy().strip_suffix(".rs").map(str::to_owned);
    entries.filter_map(|entry| stem(entry.expect("a folder can be read"))).filter(|name| name != "main").collect()
}

#[test]
fn every_command_has_a_test_file() {
    let verbs: Vec<_> =
        oic::cli::command().get_subcommands().map(|command| command.get_name().trim_start_matches('_').to_owned()).collect();
    let missing: Vec<_> = verbs.iter().filter(|verb| !files().contains(*verb)).collect();
    assert!(missing.is_empty(), "commands without a file in tests/tests/cli: {missing:?}");
}

#[test]
fn every_test_file_is_part_of_the_tests() {
    let text = include_str!("main.rs");
    let forgotten: Vec<_> = files().into_iter().filter(|name| !text.contains(&format!("mod {name};\n"))).collect();
    assert!(forgotten.is_empty(), "files that no `mod` names: {forgotten:?}");
}
