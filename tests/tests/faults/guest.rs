//! What goes wrong inside the builder VM. The package of the test is configured early, so that little has to run before.

use insta::assert_snapshot;
use oic_tests::{Tiny, Turn, archive::Package, server::Manner};

use crate::{World, sizes};

/// Builds with a package whose script fails. None, said aloud, where nothing can be built.
fn build(test: &str, builder: &str, script: &'static str) -> Option<String> {
    if !Tiny::is_possible(test) {
        return None;
    }
    let package = Package { name: "aaa-faulty", version: "1.0", script };
    let world = World::new(true, Manner::Good, &[package], builder, "  packages: [aaa-faulty]\n");
    let _turn = Turn::wait();
    let text = world.build();
    // What the programs of the packages say depends on their versions; the end of it is the test's own.
    let (said, told): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("  | "));
    assert!(!said.is_empty(), "{text}");
    let own = said.iter().rev().find(|line| line.contains("test: ")).map(|line| format!("{line}\n")).unwrap_or_default();
    Some(own + &sizes(&told.join("\n")))
}

#[test]
fn a_package_script_that_exits_1() {
    let script = "#!/bin/sh\necho test: this is what it said\nexit 1\n";
    if let Some(text) = build("a_package_script_that_exits_1", "", script) {
        assert_snapshot!(text, @"
          | test: this is what it said
        exit 7
        --- stderr
        error: the builder VM could not configure [N] packages
          caused by: the postinst script of package `aaa-faulty` ended with status 1
        hint: the last lines that it printed are above; the whole output is in the build log
        ");
    }
}

#[test]
fn a_guest_out_of_memory() {
    let script = "#!/bin/sh\nx=0123456789abcdef\nwhile :; do x=$x$x; done\n";
    if let Some(text) = build("a_guest_out_of_memory", "builder: {memory: 256MiB}\n", script) {
        assert_snapshot!(text, @"
        exit 7
        --- stderr
        error: the builder VM could not configure [N] packages
          caused by: the builder VM ran out of its [SIZE] of memory and its kernel killed `aaa-faulty.post`
        hint: give the builder VM more memory: `builder: {memory: [SIZE]}` in the template
        ");
    }
}

#[test]
fn a_guest_disk_that_is_full() {
    let script = "#!/bin/sh\nexec dd if=/dev/zero of=/fill bs=1M\n";
    if let Some(text) = build("a_guest_disk_that_is_full", "builder: {disk: 600MiB}\n", script) {
        assert_snapshot!(text, @"
        exit 7
        --- stderr
        error: the builder VM could not configure [N] packages
          caused by: the builder's disk of [SIZE] is full (postinst of aaa-faulty)
        hint: give the builder a larger disk: `builder: {disk: [SIZE]}` in the template
        ");
    }
}
