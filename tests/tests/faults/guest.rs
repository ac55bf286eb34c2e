//! What goes wrong inside the builder VM. The package of the test is configured early, so that little has to run before.

use insta::assert_snapshot;
use oic_tests::Tiny;

use crate::{World, archive::Package, server::Manner};

/// Builds with a package whose script fails. None, said aloud, where nothing can be built.
fn build(test: &str, builder: &str, script: &'static str) -> Option<String> {
    if !Tiny::is_possible(test) {
        return None;
    }
    let package = Package { name: "aaa-faulty", script };
    let world = World::new(true, Manner::Good, &[package], builder, "  packages: [aaa-faulty]\n");
    let _turn = world.tiny.vm_turn();
    Some(world.build())
}

#[test]
fn a_package_script_that_exits_1() {
    let script = "#!/bin/sh\necho this is what it said\nexit 1\n";
    if let Some(text) = build("a_package_script_that_exits_1", "", script) {
        assert_snapshot!(text, @"");
    }
}

#[test]
fn a_guest_out_of_memory() {
    let script = "#!/bin/sh\nx=0123456789abcdef\nwhile :; do x=$x$x; done\n";
    if let Some(text) = build("a_guest_out_of_memory", "builder: {memory: 256MiB}\n", script) {
        assert_snapshot!(text, @"");
    }
}

#[test]
fn a_guest_disk_that_is_full() {
    let script = "#!/bin/sh\nexec dd if=/dev/zero of=/fill bs=1M\n";
    if let Some(text) = build("a_guest_disk_that_is_full", "builder: {disk: 600MiB}\n", script) {
        assert_snapshot!(text, @"");
    }
}
