//! Mirrors and repositories that misbehave.

use insta::assert_snapshot;
use oic_config::spec::Arch;

use oic_tests::{
    Tiny,
    archive::{self, Key, Package},
    server::{Manner, Server},
    skip,
};

use crate::World;

const HELLO: Package = Package { name: "hello", version: "1.0", script: "#!/bin/sh\n" };
/// What every image has: a kernel and what makes its initramfs.
const LINUX: Package = Package { name: "linux", version: "1.0", script: "#!/bin/sh\n" };
const INITRAMFS: Package = Package { name: "initramfs-tools", version: "1.0", script: "#!/bin/sh\n" };
/// A package that no other test has in the store.
const WRONG: Package = Package { name: "wrong-byte", version: "1.0", script: "#!/bin/sh\n" };
const PACKAGES: &str = "  packages: [hello]\n";

#[test]
fn a_mirror_that_cuts_every_connection() {
    assert_snapshot!(World::new(false, Manner::Cut, &[HELLO], "", PACKAGES).build(), @"
    exit 5
    --- stderr
    error: the repository `own` cannot be used [conf/osv/test/tiny/provider.yml]
      caused by: cannot fetch the Release file of own: http://[SERVER]/debian/dists/test/InRelease: the connection was cut after 0 bytes (connection closed before message completed)
    hint: run again later: what has been downloaded is kept
    ");
}

#[test]
fn a_mirror_that_serves_a_wrong_byte_of_an_index() {
    assert_snapshot!(World::new(false, Manner::Wrong("Packages"), &[HELLO, WRONG], "", PACKAGES).build(), @"
    exit 5
    --- stderr
    error: the repository `own` cannot be used [conf/osv/test/tiny/provider.yml]
      caused by: cannot fetch the package index test main [ARCH]: http://[SERVER]/debian/dists/test/main/binary-[ARCH]/Packages.zst: its SHA-256 is [SHA256] where [SHA256] was expected
    hint: the mirror, or something on the way such as a proxy, gives other bytes than the signed index says; or do without it for now: --without-repository own
    ");
}

#[test]
fn a_mirror_that_serves_a_wrong_byte_of_a_package() {
    if Tiny::is_possible("a_mirror_that_serves_a_wrong_byte_of_a_package") {
        assert_snapshot!(World::new(true, Manner::Wrong("pool"), &[WRONG], "", "  packages: [wrong-byte]\n").build(), @"
        exit 5
        --- stderr
        error: cannot fetch wrong-byte 1.0: http://[SERVER]/debian/pool/wrong-byte.deb: its SHA-256 is [SHA256] where [SHA256] was expected
        hint: the mirror, or something on the way such as a proxy, gives other bytes than the signed index says: choose another mirror with OIC_MIRROR_<DISTRIBUTION>
        ");
    }
}

#[test]
fn a_release_that_has_expired() {
    let (server, key) = (Server::start(Manner::Good), Key::new());
    archive::put(&server, &key, Arch::host().deb_name(), "Valid-Until: Sat, 08 Nov 2025 00:00:00 UTC\n", &[HELLO]);
    assert_snapshot!(World::of(false, server, &key, "", PACKAGES).build(), @"
    exit 5
    --- stderr
    error: the repository `own` (http://[SERVER]/debian/dists/test/InRelease) cannot be used [conf/osv/test/tiny/provider.yml]
      caused by: the Release file expired on 2025-11-08 00:00:00 UTC and is of 2025-11-01 00:00:00 UTC; it is [NOW] UTC now
    hint: the mirror is out of date, or this machine's clock is wrong; choose another mirror with OIC_MIRROR_<DISTRIBUTION> or `mirrors` in oic.yml
    ");
}

#[test]
fn a_release_that_another_key_signed() {
    let (server, key, other) = (Server::start(Manner::Good), Key::new(), Key::new());
    archive::put(&server, &other, Arch::host().deb_name(), "", &[HELLO]);
    assert_snapshot!(World::of(false, server, &key, "", PACKAGES).build(), @"
    exit 5
    --- stderr
    error: the repository `own` (http://[SERVER]/debian/dists/test/InRelease) cannot be used [conf/osv/test/tiny/provider.yml]
      caused by: it is signed by the key [FINGERPRINT], which is none of this repository's keys: [FINGERPRINT]
    hint: if the repository has changed its key and you have checked the new one, add it to the template's `pkeys`; otherwise do not use this mirror
    ");
}

#[test]
fn a_mirror_that_is_not_there() {
    let world = World::new(false, Manner::Good, &[HELLO], "", PACKAGES);
    // Nobody listens on port 1.
    let provider = world.tiny.sandbox().read("conf/osv/test/tiny/provider.yml").replace(&world.server.address(), "127.0.0.1:1");
    world.tiny.sandbox().write("conf/osv/test/tiny/provider.yml", &provider);
    assert_snapshot!(world.build(), @"
    exit 5
    --- stderr
    error: the repository `own` cannot be used [conf/osv/test/tiny/provider.yml]
      caused by: cannot fetch the Release file of own: http://127.0.0.1:1/debian/dists/test/InRelease: no connection (Connection refused (os error 111))
    hint: check the network and http_proxy/https_proxy, and the URL of the repository
    ");
}

#[test]
fn a_package_that_nobody_has() {
    assert_snapshot!(World::new(false, Manner::Good, &[HELLO, LINUX, INITRAMFS], "", "  packages: [helo]\n").build(), @"
    exit 4
    --- stderr
    error: no package is called `helo` (template.yml:5:14)
    hint: did you mean `hello`?
    ");
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
