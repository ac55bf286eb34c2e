//! `oic man`.

use std::fs;

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn every_command_has_a_page() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["man", "pages"]).run(), @"
    exit 0
    --- stderr
    wrote man pages into pages
    ");
    for command in oic::cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let page = sandbox.read(&format!("pages/oic-{}.1", command.get_name()));
        assert!(page.contains(".SH SYNOPSIS"), "{}", command.get_name());
    }
    assert!(sandbox.read("pages/oic.1").contains("oic"));
}

#[test]
fn a_folder_that_cannot_be_made() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.cwd().join("file"), "").unwrap();
    assert_snapshot!(sandbox.oic(&["man", "file/pages"]).run(), @"
    exit 8
    --- stderr
    error: cannot write man pages into `file/pages`
      caused by: Not a directory (os error 20)
    ");
}
