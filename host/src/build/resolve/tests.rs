use std::fs;
use std::path::Path;

use oic_config::{LoadRequest, spec::RepositoryKey};

use super::*;
use crate::{
    fetch::testing::{Server, stable},
    repository::testing::{Archive, DAY, Key, NOW, World, index, repository},
};

/// Returns a spec that asks for one package of the test repository.
fn spec(repository: &Repository) -> ImageSpec {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
    let mut spec = oic_config::load(&LoadRequest { template, ..LoadRequest::default() }).unwrap().spec;
    spec.system.packages = vec![PackageRequest { name: "hello".to_owned(), version: None, origin: "template.yml:9:1".to_owned() }];
    spec.repositories = vec![repository.clone()];
    spec
}

struct Scene {
    server: Server,
    key: Key,
    world: World,
    spec: ImageSpec,
}

fn scene() -> Scene {
    let (server, key) = (Server::start(), Key::new(DAY, None));
    Archive::new().put(&server, &key);
    server.put("/debian/pool/main/h/hello/hello_1.0_amd64.deb", b"hello");
    server.put("/debian/pool/main/h/hello/libhello_2.0_amd64.deb", b"libhello");
    let spec = spec(&repository(&server, &[&key]));
    Scene { server, key, world: World::new(), spec }
}

impl Scene {
    fn resolve(&self, lock_use: LockUse, lock: Option<&PackageLock>) -> Result<Resolved<LockedImage>, ResolveError> {
        resolve(&self.world.access(), &self.spec, lock_use, lock)
    }

    fn locked(&self) -> PackageLock {
        let mut lock = PackageLock::default();
        lock.set_image(self.resolve(LockUse::Prefer, None).unwrap().section);
        lock
    }

    fn told(&self, outcome: Result<Resolved<LockedImage>, ResolveError>) -> String {
        let error = outcome.unwrap_err();
        stable(&format!("{error}\nhint: {}", error.hint().unwrap_or_default()), &[&self.server])
    }
}

#[test]
fn a_spec_becomes_a_lock_and_packages_in_the_store() {
    let scene = scene();
    let resolved = scene.resolve(LockUse::Prefer, None).unwrap();
    assert!(!resolved.is_from_lock && resolved.diff.is_none());
    let image = resolved.section;
    assert_eq!((image.source_date_epoch, image.repositories[0].signed_by.clone()), (NOW - DAY, scene.key.fingerprint()));
    let names: Vec<_> = image.packages.iter().map(|package| (package.name.as_str(), package.requested)).collect();
    assert_eq!(names, [("hello", true), ("libhello", false)]);
    let stored = fetch_all(&scene.world.access(), &scene.spec.repositories, &image.packages).unwrap();
    let contents: Vec<_> = stored.iter().map(|(_, path)| fs::read(path).unwrap()).collect();
    assert_eq!(contents, [b"hello".to_vec(), b"libhello".to_vec()]);
}

#[test]
fn the_same_state_gives_the_same_lock() {
    let scene = scene();
    let first = crate::lock::render(&scene.locked());
    assert_eq!(crate::lock::render(&scene.locked()), first, "with everything in the store");
    let fresh = Scene { world: World::new(), ..scene };
    assert_eq!(crate::lock::render(&fresh.locked()), first, "with nothing in the store");
}

#[test]
fn a_lock_that_fits_is_used_without_asking_anybody() {
    let mut scene = scene();
    let lock = scene.locked();
    scene.server.seen();
    for lock_use in [LockUse::Prefer, LockUse::Require] {
        let resolved = scene.resolve(lock_use, Some(&lock)).unwrap();
        assert_eq!((&resolved.section, resolved.is_from_lock), (&lock.images[0], true));
    }
    assert!(scene.server.seen().is_empty());
    let renewed = scene.resolve(LockUse::Renew, Some(&lock)).unwrap();
    assert_eq!((&renewed.section, renewed.diff), (&lock.images[0], Some(LockDiff::default())));

    Archive::of(&index(".1")).put(&scene.server, &scene.key);
    let renewed = scene.resolve(LockUse::Renew, Some(&lock)).unwrap();
    insta::assert_snapshot!(renewed.diff.unwrap(), @"
    0 added, 0 removed, 1 changed
      ~ hello 1.0 -> 1.0.1
    ");

    scene.spec.system.packages[0].name = "libhello".to_owned();
    insta::assert_snapshot!(scene.told(scene.resolve(LockUse::Require, Some(&lock))), @"
    the lock does not fit the template any more for debian13-minimal on x86_64, and it must not be changed (--locked)
    hint: run `oic lock`, or build without --locked
    ");
    insta::assert_snapshot!(scene.told(scene.resolve(LockUse::Require, None)), @"
    the lock has nothing for debian13-minimal on x86_64, and it must not be changed (--locked)
    hint: run `oic lock`, or build without --locked
    ");
    assert_eq!(scene.resolve(LockUse::Prefer, Some(&lock)).unwrap().section.packages.len(), 1);
}

#[test]
fn offline_works_with_what_the_store_has() {
    let mut scene = scene();
    let lock = scene.locked();
    fetch_all(&scene.world.access(), &scene.spec.repositories, &lock.images[0].packages).unwrap();
    scene.world.offline();
    assert_eq!(scene.resolve(LockUse::Renew, None).unwrap().section, lock.images[0]);
    fetch_all(&scene.world.access(), &scene.spec.repositories, &lock.images[0].packages).unwrap();
    let mut empty = Scene { world: World::new(), ..scene };
    empty.world.offline();
    let error = empty.resolve(LockUse::Prefer, None).unwrap_err();
    let ResolveError::Repository(error) = error else { panic!("{error:?}") };
    insta::assert_snapshot!(error.problem, @"the Release file of test is not in the store, and the network is off");
    let error = fetch_all(&empty.world.access(), &empty.spec.repositories, &lock.images[0].packages).unwrap_err();
    insta::assert_snapshot!(error, @"hello 1.0 is not in the store, and the network is off");
}

#[test]
fn a_damaged_parsed_index_is_made_anew() {
    let scene = scene();
    let lock = scene.locked();
    let folder = scene.world.store.bucket_folder(Bucket::Indexes).unwrap();
    let mut damaged = 0;
    for entry in fs::read_dir(&folder).unwrap().flatten().flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten()) {
        let mut bytes = fs::read(entry.path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(entry.path()).unwrap();
        fs::write(entry.path(), bytes).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1);
    assert_eq!(scene.locked(), lock);
}

#[test]
fn a_key_from_a_url_must_not_change() {
    let mut scene = scene();
    let url = scene.server.url("/key.asc").to_string();
    scene.server.put("/key.asc", &scene.key.public());
    scene.spec.repositories[0].keys = vec![RepositoryKey::Url(url.clone())];
    let lock = scene.locked();
    assert_eq!(lock.images[0].repositories[0].keys[0].url, url);
    let other = Key::new(DAY, None);
    Archive::new().put(&scene.server, &other);
    scene.server.put("/key.asc", &other.public());
    let error = scene.resolve(LockUse::Renew, Some(&lock)).unwrap_err();
    let ResolveError::Repository(error) = error else { panic!("{error:?}") };
    assert!(matches!(&*error.problem, RepositoryProblem::KeyChanged { .. }), "{error:?}");
}

#[test]
fn what_cannot_be_resolved_is_told() {
    let mut scene = scene();
    scene.spec.system.packages[0].name = "helo".to_owned();
    let error = scene.resolve(LockUse::Prefer, None).unwrap_err();
    assert!(error.to_string().contains("helo"), "{error}");
    scene.spec.snapshot = Snapshot::At("20261101T000000Z".to_owned());
    insta::assert_snapshot!(scene.told(scene.resolve(LockUse::Prefer, None)), @"
    snapshot cannot be resolved by this version of oic: package archives of the past cannot be used
    hint: use `snapshot: latest`; the lock keeps versions as they are
    ");
}

#[test]
fn a_package_of_an_unknown_repository_is_not_looked_for() {
    let scene = scene();
    let lock = scene.locked();
    let error = fetch_all(&scene.world.access(), &[], &lock.images[0].packages).unwrap_err();
    insta::assert_snapshot!(error, @"the package hello of the lock is from the repository `test`, which the template does not have");
}

#[test]
fn tools_come_from_debian_with_its_keys() {
    for arch in Arch::ALL {
        let repositories = tools_repositories(arch).unwrap();
        assert!(!repositories.is_empty());
        for repository in repositories {
            assert_eq!(repository.components, ["main"]);
            assert!(!repository.trusted && repository.keys.iter().all(|key| matches!(key, RepositoryKey::Embedded { .. })));
            let files: Vec<_> = repository
                .keys
                .iter()
                .map(|key| match key {
                    RepositoryKey::Embedded { name, bytes } => (name.as_str(), bytes.as_slice()),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(!repository::Keyring::parse(files).unwrap().fingerprints().0.is_empty());
        }
    }
}

#[test]
fn a_repository_that_is_done_without_is_not_asked() {
    let mut scene = scene();
    let gone = Repository { id: "gone".to_owned(), suite: "gone".to_owned(), ..scene.spec.repositories[0].clone() };
    scene.spec.repositories.push(gone);
    let with = scene.resolve(LockUse::Prefer, None).unwrap_err();
    assert!(with.to_string().contains("the repository `gone`"), "{with}");
    let without = ["gone".to_owned()];
    let access = Access { without: &without, ..scene.world.access() };
    check_without(&access, &scene.spec, &[]).unwrap();
    let image = resolve(&access, &scene.spec, LockUse::Prefer, None).unwrap().section;
    assert_eq!(image.repositories.iter().map(|repository| repository.id.as_str()).collect::<Vec<_>>(), ["test"]);
    assert!(scene.world.messages.0.lock().unwrap().iter().any(|text| text.contains("`gone`")));
    // Such a lock does not pass for one of all repositories.
    let mut lock = PackageLock::default();
    lock.set_image(image);
    assert!(matches!(scene.resolve(LockUse::Require, Some(&lock)), Err(ResolveError::LockOutdated { .. })));
    let wrong = ["gnoe".to_owned()];
    let error = check_without(&Access { without: &wrong, ..access }, &scene.spec, &[]).unwrap_err();
    assert_eq!(error.hint().unwrap(), "these are used: gone, test");
}
