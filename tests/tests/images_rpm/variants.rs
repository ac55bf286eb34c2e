//! A whole repository made by rpmbuild, rpmsign, createrepo_c and gpg, and broken variants of it.
//!
//! The variants are those of `mutate.sh`; nothing is built, no virtual machine starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
    sync::Mutex,
};

use oic::{
    build::{
        LockUse,
        progress::{Event, Observer, Stage},
        resolve::{fetch_image, resolve},
    },
    clock,
    fetch::{Fetcher, Settings},
    repository::{Access, MirrorTable},
    store::Store,
};
use oic_config::{
    LoadRequest,
    spec::{Ecosystem, ImageSpec, PackageRequest, Repository, RepositoryFormat, RepositoryKey, RepositoryLocation},
};

use oic_tests::TestOs;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Message { text, .. } = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

/// Returns a spec that asks for one package, which needs some more.
fn spec(folder: &Path, key: &Path) -> ImageSpec {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates/debian13-x86_64-minimal-raw.yml");
    let mut spec = oic_config::load(&LoadRequest { template, ..LoadRequest::default() }).unwrap().spec;
    spec.provider.ecosystem = Ecosystem::Rpm;
    spec.system.packages = vec![PackageRequest { name: "bash".to_owned(), version: None, origin: "test".to_owned() }];
    spec.repositories = vec![Repository {
        id: "testos".to_owned(),
        format: RepositoryFormat::Rpm,
        location: RepositoryLocation::Url(format!("file://{}", folder.display())),
        suite: String::new(),
        components: Vec::new(),
        keys: vec![RepositoryKey::File(key.to_owned())],
        trusted: false,
        require_metadata_signature: true,
        priority: 99,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        upgrades: true,
        in_image: true,
        mirror_key: String::new(),
        is_base: true,
        origin: "test".to_owned(),
    }];
    spec
}

fn words(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", words(source)))
}

/// Locks and fetches with nothing in the store, and returns how many packages there are, or what is said.
fn outcome(spec: &ImageSpec) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let (store, told) = (Store::open(folder.path()).unwrap(), Told::default());
    let fetcher = Fetcher::new(Settings::default()).unwrap();
    let mirrors = MirrorTable::only(BTreeMap::new());
    let access = Access {
        store: &store,
        fetcher: &fetcher,
        mirrors: &mirrors,
        stage: Stage::Resolve,
        observer: &told,
        now: clock::unix_now(),
        allow_expired: false,
        without: &[],
    };
    let image = resolve(&access, spec, LockUse::Renew, None).map_err(|error| words(&error))?.section;
    Ok(fetch_image(&access, spec, &image.repositories, &image.packages).map_err(|error| words(&error))?.len())
}

#[test]
fn every_broken_variant_is_refused_for_its_reason() {
    let test = "images_rpm::variants::every_broken_variant_is_refused_for_its_reason";
    let Some(testos) = TestOs::obtain(test, "x86_64", Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    // On the file system of the repository: the variants are hard links where they are not broken.
    let folder = tempfile::Builder::new().prefix("variants-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    testos.break_into(folder.path());
    let key = testos.repository().join("RPM-GPG-KEY-testos");
    assert!(outcome(&spec(&testos.repository(), &key)).unwrap() > 5);
    let variants = [
        ("badrepomd", "does not fit its content"),
        ("nosigrepomd", "it is not signed; a signature by one of these keys is expected"),
        ("badmetadata", "the package index of testos"),
        ("tampered", "cannot fetch setup"),
        ("tampered2", "its payload has the SHA-256 digest"),
        ("unsigned", "it is not signed; a signature by one of these keys is expected"),
        ("wrongkey", "which is none of this repository's keys"),
        ("wrongmdkey", "which is none of this repository's keys"),
    ];
    let made = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let made: BTreeSet<String> = made.filter(|name| !name.starts_with('.')).collect();
    assert_eq!(made, variants.iter().map(|(name, _)| (*name).to_owned()).collect(), "each variant has its reason here");
    for (variant, expected) in variants {
        let found = outcome(&spec(&folder.path().join(variant), &key)).unwrap_err();
        assert!(found.contains(expected), "{variant}: {found}");
    }
}
