use std::path::Path;

use oic_config::{LoadRequest, spec::RepositoryKey};

use super::*;
use crate::{
    digest::Sha256Digest,
    fetch::testing::{Server, stable},
    repository::{
        rpm::testing::{Package, Repo, repository},
        testing::{DAY, Key, World},
    },
};

/// Returns an RPM spec that asks for one package.
fn spec(repositories: &[Repository]) -> ImageSpec {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
    let mut spec = oic_config::load(&LoadRequest { template, ..LoadRequest::default() }).unwrap().spec;
    spec.provider.ecosystem = Ecosystem::Rpm;
    spec.system.packages = vec![PackageRequest { name: "hello".to_owned(), version: None, origin: "template.yml:9:1".to_owned() }];
    spec.repositories = repositories.to_vec();
    spec
}

fn lock_of(world: &World, spec: &ImageSpec) -> Result<LockedImage, ResolveError> {
    Ok(resolve(&world.access(), spec, LockUse::Renew, None)?.section)
}

fn names(image: &LockedImage) -> Vec<String> {
    image.packages.iter().map(|package| format!("{} {} {}", package.name, package.version, package.repository)).collect()
}

fn words(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", words(source)))
}

#[test]
fn a_spec_becomes_a_lock_and_verified_packages() {
    let (server, key, mut world) = (Server::start(), Key::new(DAY, None), World::new());
    let hello = Package { requires: &["libhello"], ..Package::new("hello", Some(&key)) };
    Repo::new(&[hello, Package::new("libhello", Some(&key)), Package::new("more", Some(&key))]).put(&server, &key);
    let spec = spec(&[repository(&server, &[&key])]);
    let image = lock_of(&world, &spec).unwrap();
    assert_eq!(names(&image), ["hello 1.0-1 test", "libhello 1.0-1 test"]);
    assert_eq!((image.ecosystem.as_str(), &image.repositories[0].signed_by), ("rpm", &key.fingerprint()));
    assert!(image.packages[0].requested && !image.packages[1].requested);
    assert_eq!((image.packages[0].path.as_str(), image.packages[0].installed_kib), ("Packages/hello-1.0-1.x86_64.rpm", 4));
    let stored = fetch_image(&world.access(), &spec, &image.repositories, &image.packages).unwrap();
    assert_eq!(stored.len(), 2);
    world.offline();
    assert_eq!(lock_of(&world, &spec).unwrap(), image);
    assert_eq!(fetch_image(&world.access(), &spec, &image.repositories, &image.packages).unwrap(), stored);
    assert!(world.messages.0.lock().unwrap().is_empty());
}

#[test]
fn packages_that_are_not_as_they_should_be() {
    let (server, key, other) = (Server::start(), Key::new(DAY, None), Key::new(DAY, None));
    let good = Package::new("hello", Some(&key));
    let spec = spec(&[repository(&server, &[&key])]);
    let told = |repo: &Repo| {
        repo.put(&server, &key);
        let world = World::new();
        let image = lock_of(&world, &spec).unwrap();
        // The second attempt has the file in the store already.
        let error = fetch_image(&world.access(), &spec, &image.repositories, &image.packages)
            .and_then(|_| fetch_image(&world.access(), &spec, &image.repositories, &image.packages))
            .unwrap_err();
        let text = stable(&words(&error), &[&server]);
        text.replace(&key.fingerprint(), "KEY").replace(&other.signer(), "PART-OF-OTHER")
    };
    insta::assert_snapshot!(told(&Repo::new(&[Package { key: None, ..good.clone() }])), @"the package hello-1.0-1.x86_64 of the repository `test` cannot be used: it is not signed; a signature by one of these keys is expected: KEY");
    insta::assert_snapshot!(told(&Repo::new(&[Package { key: Some(&other), ..good.clone() }])), @"the package hello-1.0-1.x86_64 of the repository `test` cannot be used: it is not signed as it should be: it is signed by the key PART-OF-OTHER, which is none of this repository's keys: KEY");
    // The metadata says another name than the package.
    let mut renamed = Repo::new(&[Package::new("other", Some(&key))]);
    renamed.primary = String::from_utf8(renamed.primary).unwrap().replace("<name>other<", "<name>hello<").into_bytes();
    insta::assert_snapshot!(told(&renamed), @"the package hello-1.0-1.x86_64 of the repository `test` cannot be used: it is the package other-1.0-1.x86_64, where the metadata has hello-1.0-1.x86_64");
    // A byte is changed, and the metadata made for that.
    let mut bytes = good.build();
    *bytes.last_mut().unwrap() ^= 1;
    let digest = |bytes: &[u8]| Sha256Digest::of(bytes).to_string();
    let mut tampered = Repo::new(std::slice::from_ref(&good));
    let text = String::from_utf8(tampered.primary).unwrap();
    tampered.primary = text.replace(&digest(&tampered.files[0].1), &digest(&bytes)).into_bytes();
    tampered.files[0].1 = bytes;
    assert!(told(&tampered).contains("its payload has the SHA-256 digest"), "{}", told(&tampered));
    // Without keys all of them are taken, and that is told.
    let trusted = ImageSpec { repositories: vec![Repository { trusted: true, ..spec.repositories[0].clone() }], ..spec.clone() };
    let world = World::new();
    Repo::new(&[Package { key: None, ..good }]).put(&server, &key);
    let image = lock_of(&world, &trusted).unwrap();
    fetch_image(&world.access(), &trusted, &image.repositories, &image.packages).unwrap();
    insta::assert_snapshot!(world.messages.0.lock().unwrap().join("\n"), @"the repository `test` [template.yml:3:1]: nothing of it is verified, neither its metadata nor its packages");
    // What has passed unverified is looked at when it has to be.
    let image = LockedImage { spec: image_inputs(&spec, &spec.repositories).digest(), ..image };
    assert!(words(&fetch_image(&world.access(), &spec, &image.repositories, &image.packages).unwrap_err()).contains("it is not signed"));
}

#[test]
fn metadata_without_signature_is_told_in_every_build() {
    let (server, key, world) = (Server::start(), Key::new(DAY, None), World::new());
    Repo::new(&[Package::new("hello", Some(&key))]).put(&server, &key);
    server.remove("/rpm/repodata/repomd.xml.asc");
    let spec = spec(&[Repository { require_metadata_signature: false, ..repository(&server, &[&key]) }]);
    let mut lock = PackageLock::default();
    lock.set_image(lock_of(&world, &spec).unwrap());
    assert_eq!(lock.images[0].repositories[0].signed_by, "");
    fetch_image(&world.access(), &spec, &lock.images[0].repositories, &lock.images[0].packages).unwrap();
    world.messages.0.lock().unwrap().clear();
    assert!(resolve(&world.access(), &spec, LockUse::Require, Some(&lock)).unwrap().is_from_lock);
    insta::assert_snapshot!(world.messages.0.lock().unwrap().join("\n"), @"the repository `test` [template.yml:3:1]: its metadata is taken without a signature: whoever is on the way, or runs a mirror, can hold back updates; its packages are verified");
}

#[test]
fn priorities_allowed_packages_and_folders() {
    let (server, key, world) = (Server::start(), Key::new(DAY, None), World::new());
    Repo::new(&[Package { requires: &["libhello"], ..Package::new("hello", Some(&key)) }, Package::new("libhello", Some(&key))])
        .put(&server, &key);
    let folder = tempfile::tempdir().unwrap();
    let newer = |name| Package { version: "2.0", ..Package::new(name, None) };
    std::fs::write(folder.path().join("hello.rpm"), Package { requires: &["libhello"], ..newer("hello") }.build()).unwrap();
    std::fs::write(folder.path().join("libhello.rpm"), newer("libhello").build()).unwrap();
    let served = repository(&server, &[&key]);
    let local = Repository {
        id: "local".to_owned(),
        location: RepositoryLocation::Path(folder.path().to_owned()),
        keys: Vec::new(),
        trusted: true,
        ..served.clone()
    };
    let choice = |served: i32, local_priority: i32, allowed: &[&str]| {
        let allow_packages = allowed.iter().map(|name| (*name).to_owned()).collect();
        let repositories = [
            Repository { priority: served, ..repository(&server, &[&key]) },
            Repository { priority: local_priority, allow_packages, ..local.clone() },
        ];
        let spec = spec(&repositories);
        let image = lock_of(&world, &spec).unwrap();
        fetch_image(&world.access(), &spec, &image.repositories, &image.packages).unwrap();
        names(&image)
    };
    assert_eq!(choice(99, 99, &[]), ["hello 2.0-1 local", "libhello 2.0-1 local"]);
    assert_eq!(choice(50, 99, &[]), ["hello 1.0-1 test", "libhello 1.0-1 test"]);
    assert_eq!(choice(99, 50, &[]), ["hello 2.0-1 local", "libhello 2.0-1 local"]);
    assert_eq!(choice(99, 99, &["lib*"]), ["hello 1.0-1 test", "libhello 2.0-1 local"]);
    // The lock says no path of this machine.
    let image = lock_of(&world, &spec(&[served, local])).unwrap();
    assert_eq!(image.repositories[1].url, format!("path:{}", folder.path().file_name().unwrap().to_string_lossy()));
}

#[test]
fn a_fetched_key_must_stay_the_one_of_the_lock() {
    let (server, key, other, world) = (Server::start(), Key::new(DAY, None), Key::new(DAY, None), World::new());
    Repo::new(&[Package::new("hello", Some(&key))]).put(&server, &key);
    server.put("/key.asc", &key.public());
    let keys = vec![RepositoryKey::Url(format!("{}/key.asc", server.base()))];
    let spec = spec(&[Repository { keys, ..repository(&server, &[]) }]);
    let image = lock_of(&world, &spec).unwrap();
    fetch_image(&world.access(), &spec, &image.repositories, &image.packages).unwrap();
    let keys = repository_keys(&world.access(), &spec.repositories, &image.repositories).unwrap();
    assert_eq!(keys["test"], key.public());
    server.put("/key.asc", &other.public());
    // The store has the key that the lock vouches for; another store has to fetch it.
    repository_keys(&world.access(), &spec.repositories, &image.repositories).unwrap();
    let error = fetch_image(&World::new().access(), &spec, &image.repositories, &image.packages).unwrap_err();
    assert!(words(&error).contains("has changed: its SHA-256 is"), "{}", words(&error));
}
