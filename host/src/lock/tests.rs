use std::path::{Path, PathBuf};

use oic_config::spec::{Arch, Exclude, PackageRequest, Repository, RepositoryFormat, RepositoryLocation, VersionPin};

use super::*;

fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "amd64".to_owned(),
        repository: "debian13".to_owned(),
        path: format!("pool/main/{name}_{version}_amd64.deb"),
        size: 12345,
        sha256: Sha256Digest::of(format!("{name} {version}").as_bytes()),
        installed_kib: 42,
        requested: name == "bash",
    }
}

fn sample() -> PackageLock {
    let key = LockedKey { url: "https://example.org/key.asc".to_owned(), sha256: Sha256Digest::of(b"key") };
    let repository = LockedRepository {
        id: "debian13".to_owned(),
        url: "https://mirrors.kernel.org/debian".to_owned(),
        suite: "trixie".to_owned(),
        components: vec!["main".to_owned(), "non-free-firmware".to_owned()],
        metadata: Sha256Digest::of(b"release"),
        date: 1_794_132_000,
        signed_by: "04B54C3CDCA79751B16BC6B5225629DF75B188BD".to_owned(),
        keys: Vec::new(),
    };
    let trusted = LockedRepository {
        id: "mine".to_owned(),
        url: "path:packages".to_owned(),
        suite: "./".to_owned(),
        components: Vec::new(),
        signed_by: String::new(),
        keys: vec![key],
        ..repository.clone()
    };
    let mut lock = PackageLock::default();
    lock.set_tools(LockedTools {
        name: "disk".to_owned(),
        arch: "x86_64".to_owned(),
        spec: Sha256Digest::of(b"tools"),
        repositories: vec![repository.clone()],
        packages: vec![package("e2fsprogs", "1.47.2-3")],
    });
    for arch in [Arch::X86_64, Arch::Aarch64] {
        lock.set_image(LockedImage {
            arch: arch.name().to_owned(),
            ecosystem: "deb".to_owned(),
            spec: Sha256Digest::of(b"spec"),
            source_date_epoch: 1_794_132_000,
            repositories: vec![repository.clone(), trusted.clone()],
            packages: vec![package("base-files", "13.8+deb13u1"), package("bash", "5.2.37-2+b5")],
        });
    }
    lock
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/locks/v1/two-architectures.lock")
}

#[test]
fn the_text_is_always_the_same_and_old_locks_are_read() {
    let text = std::fs::read_to_string(fixture()).unwrap();
    assert_eq!(render(&sample()), text);
    assert_eq!(parse(&fixture(), &text).unwrap(), sample());
    assert_eq!(load(&fixture()).unwrap(), Some(sample()));
}

#[test]
fn sections_are_replaced_and_stay_in_order() {
    let mut lock = sample();
    let mut image = lock.image(Arch::X86_64).unwrap().clone();
    image.packages.clear();
    lock.set_image(image);
    let archs: Vec<_> = lock.images.iter().map(|image| (image.arch.as_str(), image.packages.len())).collect();
    assert_eq!(archs, [("aarch64", 2), ("x86_64", 0)]);
    assert!(lock.tools("disk", Arch::X86_64).is_some() && lock.tools("disk", Arch::Aarch64).is_none());
}

#[test]
fn saving_changes_the_file_only_when_there_is_something_new() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("oic.lock");
    assert_eq!(load(&path).unwrap(), None);
    assert!(save(&path, &sample()).unwrap());
    assert!(!save(&path, &sample()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(save(&path, &PackageLock::default()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(load(&path).unwrap(), Some(PackageLock::default()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(save(&folder.path().join("none/oic.lock"), &sample()).is_err());
}

#[test]
fn what_is_wrong_with_a_lock_is_told() {
    let good = render(&sample());
    let told = |text: &str| {
        let error = parse(Path::new("oic.lock"), text).unwrap_err();
        format!("{error}\nhint: {}", error.hint().unwrap_or_default())
    };
    insta::assert_snapshot!(told(&good.replace("version = 1\n", "version = 2\nfuture = true\n")), @"
    the lock file oic.lock has version 2, and this version of oic knows version 1
    hint: use the version of oic that wrote it or a newer one, or renew it with `oic lock`
    ");
    insta::assert_snapshot!(told(&good.replace("version = 1\n", "")), @"
    the lock file oic.lock is damaged at line 1, column 1: missing field `version`
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("size = 12345", "size = many", 1)), @"
    the lock file oic.lock is damaged at line 36, column 8: string values must be quoted, expected literal string
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("size = 12345", "size = -1", 1)), @"
    the lock file oic.lock is damaged at line 36, column 8: invalid value: integer `-1`, expected u64
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("size = 12345", "sise = 12345", 1)), @"
    the lock file oic.lock is damaged at line 36, column 1: unknown field `sise`, expected one of `name`, `version`, `arch`, `repository`, `path`, `size`, `sha256`, `installed-kib`, `requested`
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("[[image]]", "[[image", 1)), @"
    the lock file oic.lock is damaged at line 4, column 8: unclosed array table, expected `]]`
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("\"pool/main/bash", "\"../../bash", 1)), @"
    the lock file oic.lock makes no sense: the package bash has the path `../../bash_5.2.37-2+b5_amd64.deb`, which leads out of its repository
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
    insta::assert_snapshot!(told(&good.replacen("repository = \"debian13\"", "repository = \"other\"", 1)), @"
    the lock file oic.lock makes no sense: the package base-files is from the repository `other`, which is not in it
    hint: restore it from version control, or remove it and run `oic lock` to make a new one
    ");
}

#[test]
fn differences_are_told_for_people() {
    let old = [package("bash", "5.2.37-2"), package("gone", "1"), package("same", "1"), package("other", "1")];
    let mut other = package("other", "1");
    other.sha256 = Sha256Digest::of(b"");
    let new = [package("bash", "5.2.37-3"), package("same", "1"), package("new", "2"), other];
    insta::assert_snapshot!(LockDiff::between(&old, &new), @"
    1 added, 1 removed, 2 changed
      + new 2
      - gone 1
      ~ bash 5.2.37-2 -> 5.2.37-3
      ~ other 1 (same version, other content)
    ");
    assert!(LockDiff::between(&old, &old).is_empty());
    insta::assert_snapshot!(LockDiff::between(&old, &old), @"no package changes");
}

fn request(name: &str, version: Option<&str>, origin: &str) -> PackageRequest {
    PackageRequest { name: name.to_owned(), version: version.map(|text| VersionPin::Exact(text.to_owned())), origin: origin.to_owned() }
}

#[test]
fn the_digest_of_the_inputs_depends_on_what_matters() {
    let repository = Repository {
        id: "debian13".to_owned(),
        format: RepositoryFormat::Deb,
        location: RepositoryLocation::Url("https://mirrors.kernel.org/debian".to_owned()),
        suite: "trixie".to_owned(),
        components: vec!["main".to_owned()],
        keys: Vec::new(),
        trusted: false,
        require_metadata_signature: true,
        priority: 500,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        upgrades: true,
        in_image: true,
        mirror_key: "debian".to_owned(),
        is_base: true,
        origin: "a.yml:1:1".to_owned(),
    };
    let requests = [request("bash", None, "a"), request("vim", Some("2"), "a")];
    let digest = |requests: &[PackageRequest], repository: &Repository, arch, recommends| {
        SolveInputs { arch, requests, excludes: &[], repositories: std::slice::from_ref(repository), base: "required", recommends }.digest()
    };
    let exclude = |glob: &str| Exclude { glob: glob.to_owned(), origin: "a".to_owned() };
    let (arch, repositories) = (Arch::X86_64, std::slice::from_ref(&repository));
    let inputs = SolveInputs { arch, requests: &requests, excludes: &[], repositories, base: "required", recommends: false };
    let base = digest(&requests, &repository, Arch::X86_64, false);
    let moved = Repository { origin: "b.yml:2:2".to_owned(), mirror_key: String::new(), ..repository.clone() };
    let reordered = [request("vim", Some("2"), "b"), request("bash", None, "b"), request("bash", None, "c")];
    assert_eq!(digest(&reordered, &moved, Arch::X86_64, false), base);
    let others = [
        digest(&requests[..1], &repository, Arch::X86_64, false),
        digest(&[request("bash", None, "a"), request("vim", Some("3"), "a")], &repository, Arch::X86_64, false),
        digest(&requests, &repository, Arch::Aarch64, false),
        digest(&requests, &repository, Arch::X86_64, true),
        digest(&requests, &Repository { suite: "bookworm".to_owned(), ..repository.clone() }, Arch::X86_64, false),
        digest(&requests, &Repository { priority: 900, ..repository.clone() }, Arch::X86_64, false),
        digest(&requests, &Repository { components: vec![], ..repository.clone() }, Arch::X86_64, false),
        digest(&requests, &Repository { allow_packages: vec!["x".to_owned()], ..repository.clone() }, Arch::X86_64, false),
        digest(&requests, &Repository { excludes: vec![exclude("x")], ..repository.clone() }, Arch::X86_64, false),
        SolveInputs { excludes: &[exclude("x")], ..inputs }.digest(),
    ];
    assert!(others.iter().all(|other| *other != base));
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_without_panic(text in ".{0,200}", at in 0..3000_usize, byte in 0..128_u8) {
        drop(parse(Path::new("oic.lock"), &text));
        let mut bytes = render(&sample()).into_bytes();
        bytes[at] = byte;
        drop(parse(Path::new("oic.lock"), &String::from_utf8_lossy(&bytes)));
    }
}
