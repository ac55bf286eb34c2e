use oic_config::spec::{RepositoryKey, RepositoryLocation};

use super::{
    testing::{Archive, DAY, Key, NOW, World, index, repository},
    *,
};
use crate::fetch::testing::{Manner, Server, stable};

const IN_RELEASE: &str = "/debian/dists/trixie/InRelease";
const XZ: &str = "main/binary-amd64/Packages.xz";

/// Returns the text of the only index of the only repository.
fn read(world: &World, repository: &Repository) -> Result<String, RepositoryError> {
    let states = refresh(&world.access(), std::slice::from_ref(repository), "amd64")?;
    assert_eq!((states.len(), states[0].indexes.len()), (1, 1));
    Ok(String::from_utf8(states[0].indexes[0].read(&world.store).unwrap()).unwrap())
}

/// Returns an error as the user sees it.
fn told(error: &RepositoryError, servers: &[&Server], keys: &[&Key]) -> String {
    let mut text = format!("error: {error}\ncaused by: {}\nhint: {}", error.problem, error.hint().unwrap_or_default());
    for (key, name) in keys.iter().zip(["KEY-ONE", "KEY-TWO"]) {
        text = text.replace(&key.fingerprint(), name).replace(&key.signer(), &format!("PART-OF-{name}"));
    }
    stable(&text, servers)
}

/// Returns what the user sees when the only repository is this one.
fn told_of(server: &Server, key: &Key, repository: &Repository) -> String {
    told(&read(&World::new(), repository).unwrap_err(), &[server], &[key])
}

#[test]
fn a_signed_repository_is_read_and_asked_cheaply_again() {
    let (server, key, mut world) = (Server::start(), Key::new(DAY, None), World::new());
    let archive = Archive::new();
    archive.put(&server, &key);
    let repository = repository(&server, &[&key]);
    let state = refresh(&world.access(), std::slice::from_ref(&repository), "amd64").unwrap().remove(0);
    assert_eq!((state.date, state.signed_by), (NOW - DAY, key.fingerprint()));
    assert_eq!(server.seen(), [IN_RELEASE, &archive.by_hash_path(XZ)]);
    assert_eq!(read(&world, &repository).unwrap(), index(""));
    assert_eq!(server.seen(), [IN_RELEASE]);
    world.offline();
    assert_eq!(read(&world, &repository).unwrap(), index(""));
    assert!(server.seen().is_empty());
}

#[test]
fn all_forms_of_signature_give_the_same_digest() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    let archive = Archive::new();
    archive.put(&server, &key);
    let mut repository = repository(&server, &[&key]);
    let digest = |repository: &Repository| refresh(&World::new().access(), std::slice::from_ref(repository), "amd64").unwrap()[0].metadata;
    let inline = digest(&repository);
    repository.trusted = true;
    assert_eq!(digest(&repository), inline);
    repository.trusted = false;
    server.remove(IN_RELEASE);
    server.put("/debian/dists/trixie/Release", archive.release().as_bytes());
    server.put("/debian/dists/trixie/Release.gpg", &key.detached(&archive.release()));
    assert_eq!(digest(&repository), inline);
    repository.keys = vec![RepositoryKey::Embedded { name: "test.gpg".to_owned(), bytes: key.binary() }];
    assert_eq!(digest(&repository), inline);
    server.remove("/debian/dists/trixie/Release.gpg");
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/Release) cannot be used [template.yml:3:1]
    caused by: it is not signed; a signature by one of these keys is expected: KEY-ONE
    hint: the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror
    ");
    repository.trusted = true;
    assert_eq!(digest(&repository), inline);
}

#[test]
fn signatures_that_are_not_good() {
    let (server, key, other) = (Server::start(), Key::new(2 * DAY, None), Key::new(DAY, None));
    let archive = Archive::new();
    archive.put(&server, &key);
    let text = archive.release();
    let repository = repository(&server, &[&key]);
    let told = |bytes: &[u8]| {
        server.put(IN_RELEASE, bytes);
        super::tests::told(&read(&World::new(), &repository).unwrap_err(), &[&server], &[&key, &other])
    };
    insta::assert_snapshot!(told(&other.inline(&text)), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: it is signed by the key PART-OF-KEY-TWO, which is none of this repository's keys: KEY-ONE
    hint: if the repository has changed its key and you have checked the new one, add it to the template's `pkeys`; otherwise do not use this mirror
    ");
    let changed = String::from_utf8(key.inline(&text)).unwrap().replace("Origin: Test", "Origin: Fest");
    insta::assert_snapshot!(told(changed.as_bytes()), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: its signature by the key KEY-ONE does not fit its content
    hint: something changed the file after it was signed: choose another mirror, and be suspicious of this one
    ");
    insta::assert_snapshot!(told(text.as_bytes()), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: it is not signed; a signature by one of these keys is expected: KEY-ONE
    hint: the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror
    ");
    insta::assert_snapshot!(told(b"<html>Please log in</html>"), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: it is not signed; a signature by one of these keys is expected: KEY-ONE
    hint: the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror
    ");
    insta::assert_snapshot!(told(&key.inline_at(&text, NOW - DAY, Some(3600))), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: its signature by the key KEY-ONE expired on 2026-11-07 13:00:00 UTC
    hint: check this machine's clock; if it is right, the mirror is out of date or the repository's key needs to be renewed in the template
    ");
    insta::assert_snapshot!(told(&key.inline_at(&text, NOW + 2 * DAY, None)), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: its signature by the key KEY-ONE is of 2026-11-10 12:00:00 UTC, and it is 2026-11-08 12:00:00 UTC now
    hint: check this machine's clock; if it is right, the mirror is out of date or the repository's key needs to be renewed in the template
    ");
    let signed = key.inline(&text);
    insta::assert_snapshot!(told(&signed[..signed.len() - 200]), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: its signature cannot be read (Malformed packet: Truncated packet)
    hint: the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror
    ");
    // What stands before signed text is not part of it.
    let mut prefixed = b"Codename: evil\n\n".to_vec();
    prefixed.extend(&signed);
    server.put(IN_RELEASE, &prefixed);
    assert!(read(&World::new(), &repository).is_ok_and(|text| text == index("")));
}

#[test]
fn a_key_that_expired() {
    let (server, key) = (Server::start(), Key::new(10 * DAY, Some(5 * DAY)));
    let archive = Archive::new();
    archive.put_indexes(&server);
    server.put(IN_RELEASE, &key.inline_at(&archive.release(), NOW - 7 * DAY, None));
    insta::assert_snapshot!(told_of(&server, &key, &repository(&server, &[&key])), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: it is signed by the key KEY-ONE, which expired on 2026-11-03 12:00:00 UTC
    hint: check this machine's clock; if it is right, the mirror is out of date or the repository's key needs to be renewed in the template
    ");
}

#[test]
fn one_good_signature_of_two_is_enough() {
    let (server, old, new) = (Server::start(), Key::new(DAY, None), Key::new(DAY, None));
    Archive::new().put(&server, &new);
    assert!(read(&World::new(), &repository(&server, &[&old, &new])).is_ok());
    let mut both = repository(&server, &[]);
    both.keys = vec![RepositoryKey::Embedded { name: "two.asc".to_owned(), bytes: [old.public(), new.public()].concat() }];
    assert!(read(&World::new(), &both).is_ok());
}

#[test]
fn keys_that_cannot_be_used() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    Archive::new().put(&server, &key);
    let mut repository = repository(&server, &[]);
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: no key is configured for this repository
    hint: name the repository's key in the template (`pkey`), or mark it as trusted if nothing is to be verified
    ");
    repository.keys = vec![RepositoryKey::Embedded { name: "bad.asc".to_owned(), bytes: b"no key".to_vec() }];
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: the key bad.asc of this repository cannot be used (unexpected EOF)
    hint: correct the key in the template: an OpenPGP public key, armored or binary, is expected
    ");
    repository.keys = vec![RepositoryKey::File("/nowhere/key.asc".into())];
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: the key file /nowhere/key.asc cannot be read
    hint: put the repository's OpenPGP public key there, after you have checked its fingerprint with the repository's owner
    ");
    // A distribution whose key the user gives, where no folder is configured for it.
    repository.keys = vec![RepositoryKey::File("osv/os/dist/keys/KEY".into())];
    assert!(told_of(&server, &key, &repository).contains("name a folder as `config_dir` in oic.yml"));
}

#[test]
fn a_key_from_a_url_is_fetched_and_remembered() {
    let (server, key, mut world) = (Server::start(), Key::new(DAY, None), World::new());
    Archive::new().put(&server, &key);
    server.put("/key.asc", &key.public());
    let mut repository = repository(&server, &[]);
    repository.keys = vec![RepositoryKey::Url(server.url("/key.asc").to_string())];
    let state = refresh(&world.access(), std::slice::from_ref(&repository), "amd64").unwrap().remove(0);
    assert_eq!(state.fetched_keys, [(server.url("/key.asc").to_string(), Sha256Digest::of(&key.public()))]);
    assert!(world.messages.0.lock().unwrap()[0].contains("without encryption"));
    world.offline();
    assert!(read(&world, &repository).is_ok());
    let mut empty = World::new();
    empty.offline();
    insta::assert_snapshot!(told(&read(&empty, &repository).unwrap_err(), &[&server], &[]), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: the key http://ONE/key.asc is not in the store, and the network is off
    hint: run once without --offline, so that it is fetched
    ");
}

#[test]
fn the_right_suite_at_the_right_time() {
    let (server, key) = (Server::start(), Key::new(90 * DAY, None));
    let repository = repository(&server, &[&key]);
    let told = |archive: &Archive| {
        archive.put_indexes(&server);
        server.put(IN_RELEASE, &key.inline(&archive.release()));
        told_of(&server, &key, &repository)
    };
    insta::assert_snapshot!(told(&Archive { suite: "bookworm".to_owned(), ..Archive::new() }), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: it is the Release file of suite `stable`, code name `bookworm`, where `trixie` was expected
    hint: correct the repository's suite (`codename`) or URL in the template, or choose another mirror
    ");
    insta::assert_snapshot!(told(&Archive { date: NOW + DAY, ..Archive::new() }), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: the Release file is of 2026-11-09 12:00:00 UTC, and it is 2026-11-08 12:00:00 UTC now
    hint: check this machine's clock
    ");
    let expired = Archive { valid_until: Some(NOW - DAY), date: NOW - 8 * DAY, ..Archive::new() };
    insta::assert_snapshot!(told(&expired), @"
    error: the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]
    caused by: the Release file expired on 2026-11-07 12:00:00 UTC and is of 2026-10-31 12:00:00 UTC; it is 2026-11-08 12:00:00 UTC now
    hint: the mirror is out of date, or this machine's clock is wrong; choose another mirror with OIC_MIRROR_<DISTRIBUTION> or `mirrors` in oic.yml
    ");
    let world = World::new();
    let access = Access { allow_expired: true, ..world.access() };
    refresh(&access, std::slice::from_ref(&repository), "amd64").unwrap();
    assert!(world.messages.0.lock().unwrap()[0].contains("expired on"));
}

#[test]
fn an_index_that_is_not_there() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    Archive::new().put(&server, &key);
    let mut repository = repository(&server, &[&key]);
    repository.components.push("contrib".to_owned());
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: it has no packages for component `contrib` and architecture `amd64`; its components are main, its architectures all, amd64
    hint: correct the repository's components, or the target's architecture, in the template
    ");
}

#[test]
fn a_repository_without_the_architecture_is_left_out() {
    let (server, key, world) = (Server::start(), Key::new(DAY, None), World::new());
    Archive::new().put(&server, &key);
    let ports = Archive { suite: "ports".to_owned(), indexes: Vec::new(), ..Archive::new() };
    let text = ports.release().replace("Architectures: all amd64", "Architectures: all arm64");
    server.put("/debian/dists/ports/InRelease", &key.inline(&text));
    let main = repository(&server, &[&key]);
    let other = Repository { id: "other".to_owned(), suite: "ports".to_owned(), ..main.clone() };
    let states = refresh(&world.access(), &[main, other.clone()], "amd64").unwrap();
    assert_eq!(states.iter().map(|state| state.indexes.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(
        *world.messages.0.lock().unwrap(),
        ["the repository `other` has no packages for amd64, says its Release file: it is left out"]
    );
    // Alone it is of no use; and one that names the architecture must have its packages.
    let error = refresh(&world.access(), std::slice::from_ref(&other), "amd64").unwrap_err();
    assert!(error.problem.to_string().contains("its architectures all, arm64"), "{}", error.problem);
    server.put("/debian/dists/ports/InRelease", &key.inline(&ports.release()));
    assert!(refresh(&world.access(), &[repository(&server, &[&key]), other], "amd64").is_err());
}

#[test]
fn names_by_digest_are_preferred_and_not_needed() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    let archive = Archive::new();
    archive.put(&server, &key);
    let (by_hash, plain) = (archive.by_hash_path(XZ), format!("/debian/dists/trixie/{XZ}"));
    let repository = repository(&server, &[&key]);
    server.put(&plain, b"of another time");
    assert!(read(&World::new(), &repository).is_ok());
    archive.put(&server, &key);
    server.put(&by_hash, &vec![7; archive.indexes[1].1.len()]);
    assert!(read(&World::new(), &repository).is_ok());
    server.put(&plain, &vec![7; archive.indexes[1].1.len()]);
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: cannot fetch the package index trixie main amd64: http://ONE/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/89b7bb9ae4d75c1367b62458445c61bcf08e92003fdc25b2b099868667c5c250: its SHA-256 is e4828173b23f470639dd526fad2400c8b4c9cf68ba2846b9b7d9cbf6100b555d where 89b7bb9ae4d75c1367b62458445c61bcf08e92003fdc25b2b099868667c5c250 was expected; http://ONE/debian/dists/trixie/main/binary-amd64/Packages.xz: its SHA-256 is e4828173b23f470639dd526fad2400c8b4c9cf68ba2846b9b7d9cbf6100b555d where 89b7bb9ae4d75c1367b62458445c61bcf08e92003fdc25b2b099868667c5c250 was expected
    hint: the mirror, or something on the way such as a proxy, gives other bytes than the signed index says; or do without it for now: --without-repository test
    ");
    server.set(&plain, Manner::Cut(10));
    server.set(&by_hash, Manner::Status(404));
    insta::assert_snapshot!(told_of(&server, &key, &repository), @"
    error: the repository `test` cannot be used [template.yml:3:1]
    caused by: cannot fetch the package index trixie main amd64: http://ONE/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/89b7bb9ae4d75c1367b62458445c61bcf08e92003fdc25b2b099868667c5c250: not found (HTTP status 404); http://ONE/debian/dists/trixie/main/binary-amd64/Packages.xz: the connection was cut after 10 bytes (end of file before message length reached)
    hint: run again later: what has been downloaded is kept
    ");
}

#[test]
fn a_form_that_is_announced_and_missing_is_replaced() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    let mut archive = Archive::new();
    archive.indexes.push(("main/binary-amd64/Packages.zst".to_owned(), b"never there".to_vec()));
    archive.put(&server, &key);
    server.remove(&archive.by_hash_path("main/binary-amd64/Packages.zst"));
    server.remove("/debian/dists/trixie/main/binary-amd64/Packages.zst");
    assert_eq!(read(&World::new(), &repository(&server, &[&key])).unwrap(), index(""));
    server.put("/debian/dists/trixie/main/binary-amd64/Packages.zst", b"of another time");
    assert_eq!(read(&World::new(), &repository(&server, &[&key])).unwrap(), index(""));
}

#[test]
fn an_index_that_unpacks_to_something_else() {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    let mut archive = Archive::new();
    archive.indexes[1].1 = liblzma::encode_all(&vec![b'x'; 1 << 24][..], 1).unwrap();
    archive.put(&server, &key);
    let world = World::new();
    let state = refresh(&world.access(), &[repository(&server, &[&key])], "amd64").unwrap().remove(0);
    let problem = state.indexes[0].read(&world.store).unwrap_err();
    insta::assert_snapshot!(format!("{problem}: {}", std::error::Error::source(&problem).unwrap()), @"the package index trixie main amd64 cannot be read: it unpacks to more than 487 bytes");
}

#[test]
fn a_mirror_that_is_no_good_is_passed_over() {
    let (bad, good, key, other) = (Server::start(), Server::start(), Key::new(DAY, None), Key::new(DAY, None));
    Archive::new().put(&good, &key);
    Archive::new().put(&bad, &other);
    let mut repository = repository(&good, &[&key]);
    repository.location = RepositoryLocation::Url("http://canonical.invalid/debian".to_owned());
    repository.mirror_key = "debian".to_owned();
    let mut world = World::new();
    let urls = vec![bad.url("/debian"), good.url("/debian")];
    world.mirrors = MirrorTable::only([("debian".to_owned(), urls)].into());
    assert_eq!(read(&world, &repository).unwrap(), index(""));
    let messages = world.messages.0.lock().unwrap().join("\n");
    let start = messages.split("is signed by the key").next().unwrap();
    insta::assert_snapshot!(stable(start, &[&bad, &good]), @"the repository `test` (http://ONE/debian/dists/trixie/InRelease) cannot be used [template.yml:3:1]: it");

    good.put(IN_RELEASE, b"");
    let error = read(&World { mirrors: world.mirrors.clone(), ..World::new() }, &repository).unwrap_err();
    assert!(matches!(&*error.problem, RepositoryProblem::Trust(TrustError::UnknownKey { .. })), "the first failure counts: {error:?}");
}

#[test]
fn a_mirror_that_is_updated_meanwhile_is_asked_again() {
    let (server, key, world) = (Server::start(), Key::new(DAY, None), World::new());
    let (old, new) = (Archive::new(), Archive::of(&index(".1")));
    old.put(&server, &key);
    let repository = repository(&server, &[&key]);
    // The indexes are new, the Release file old, until it has been asked for once.
    server.remove(&old.by_hash_path(XZ));
    new.put_indexes(&server);
    let release = key.inline(&new.release());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.peek().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            server.put(IN_RELEASE, &release);
        });
        assert_eq!(read(&world, &repository).unwrap(), index(".1"));
    });
    assert_eq!(*world.messages.0.lock().unwrap(), ["a mirror was updated while its metadata was fetched; it is fetched again"]);
}

#[test]
fn a_folder_of_the_host_is_a_repository_too() {
    let (mut world, key) = (World::new(), Key::new(DAY, None));
    let archive = Archive::new();
    let folder = world.folder.path().join("archive");
    let dists = folder.join("dists/trixie");
    std::fs::create_dir_all(dists.join("main/binary-amd64")).unwrap();
    std::fs::write(dists.join("InRelease"), key.inline(&archive.release())).unwrap();
    std::fs::write(dists.join(XZ), &archive.indexes[1].1).unwrap();
    let mut repository = repository(&Server::start(), &[&key]);
    repository.location = RepositoryLocation::Path(folder.clone());
    world.offline();
    assert_eq!(read(&world, &repository).unwrap(), index(""));

    let flat = Archive { indexes: vec![("Packages.xz".to_owned(), archive.indexes[1].1.clone())], ..archive };
    std::fs::write(folder.join("Release"), flat.release()).unwrap();
    std::fs::write(folder.join("Packages.xz"), &flat.indexes[0].1).unwrap();
    repository.suite = "./".to_owned();
    repository.trusted = true;
    assert_eq!(read(&world, &repository).unwrap(), index(""));
}

#[test]
fn packages_of_a_folder_are_described_by_their_control_files() {
    let (mut world, key) = (World::new(), Key::new(DAY, None));
    let folder = world.folder.path().join("packages");
    std::fs::create_dir(&folder).unwrap();
    let control = "Package: own\nVersion: 2:1.0-1\nArchitecture: all\nDepends: libc6\n";
    let package = crate::rootfs::testing::write_deb(&folder, &[("control", control), ("postinst", "#!/bin/sh\n")], &[], &[]);
    let mut repository = repository(&Server::start(), &[&key]);
    repository.location = RepositoryLocation::Path(folder.clone());
    world.offline();
    let error = refresh(&world.access(), std::slice::from_ref(&repository), "amd64").unwrap_err();
    assert!(matches!(&*error.problem, RepositoryProblem::UnsignedFolder { .. }), "{error:?}");
    repository.trusted = true;
    let text = read(&world, &repository).unwrap();
    let size = std::fs::metadata(&package).unwrap().len();
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(text.starts_with(&format!("{control}Filename: {name}\nSize: {size}\nSHA256: ")), "{text}");
    for (bytes, expected) in [(&b"!<arch>\n"[..], "it has no `control.tar`"), (b"", "it is shorter than any package")] {
        std::fs::write(&package, bytes).unwrap();
        let error = refresh(&world.access(), std::slice::from_ref(&repository), "amd64").unwrap_err();
        assert!(error.problem.to_string().contains(expected), "{}", error.problem);
    }
}
