//! Mirrors and repositories that misbehave.

use insta::assert_snapshot;
use oic_config::spec::Arch;

use crate::{
    World, archive,
    archive::{Key, Package},
    server::{Manner, Server},
};
use oic_tests::{Tiny, skip};

const HELLO: Package = Package { name: "hello", script: "#!/bin/sh\n" };
const PACKAGES: &str = "  packages: [hello]\n";

#[test]
fn a_mirror_that_cuts_every_connection() {
    assert_snapshot!(World::new(false, Manner::Cut, &[HELLO], "", PACKAGES).build(), @"");
}

#[test]
fn a_mirror_that_serves_a_wrong_byte_of_an_index() {
    assert_snapshot!(World::new(false, Manner::Wrong("Packages"), &[HELLO], "", PACKAGES).build(), @"");
}

#[test]
fn a_mirror_that_serves_a_wrong_byte_of_a_package() {
    if Tiny::is_possible("a_mirror_that_serves_a_wrong_byte_of_a_package") {
        assert_snapshot!(World::new(true, Manner::Wrong("pool"), &[HELLO], "", PACKAGES).build(), @"");
    }
}

#[test]
fn a_release_that_has_expired() {
    let (server, key) = (Server::start(Manner::Good), Key::new());
    archive::put(&server, &key, Arch::host().deb_name(), "Valid-Until: Sat, 08 Nov 2025 00:00:00 UTC\n", &[HELLO]);
    assert_snapshot!(World::of(false, server, &key, "", PACKAGES).build(), @"");
}

#[test]
fn a_release_that_another_key_signed() {
    let (server, key, other) = (Server::start(Manner::Good), Key::new(), Key::new());
    archive::put(&server, &other, Arch::host().deb_name(), "", &[HELLO]);
    assert_snapshot!(World::of(false, server, &key, "", PACKAGES).build(), @"");
}

#[test]
fn a_mirror_that_is_not_there() {
    let world = World::new(false, Manner::Good, &[HELLO], "", PACKAGES);
    // Nobody listens on port 1.
    let provider = world.tiny.sandbox().read("conf/osv/test/tiny/provider.yml").replace(&world.server.address(), "127.0.0.1:1");
    world.tiny.sandbox().write("conf/osv/test/tiny/provider.yml", &provider);
    assert_snapshot!(world.build(), @"");
}

#[test]
fn a_package_that_nobody_has() {
    assert_snapshot!(World::new(false, Manner::Good, &[HELLO], "", "  packages: [helo]\n").build(), @"");
}

#[test]
fn an_architecture_without_an_agent() {
    let carried = oic::build::agents::carried();
    let Some(arch) = Arch::ALL.iter().find(|arch| !carried.contains(&arch.name())) else {
        skip("an_architecture_without_an_agent", "this oic carries an agent for every architecture; units test the message");
        return;
    };
    let tiny = Tiny::new(false, None, "", "");
    let output = tiny.oic(&["build", "--arch", arch.name(), "template.yml"]).run();
    assert_eq!(output.code, Some(6), "{output}");
}
