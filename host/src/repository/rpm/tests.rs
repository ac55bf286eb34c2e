use super::{
    package::{PackageProblem, verify},
    testing::{Package, Repo, Value, header, repository},
    *,
};
use crate::{
    fetch::testing::{Server, stable},
    repository::{
        Keyring, RepositoryError,
        testing::{DAY, Key, World},
    },
};
use oic_config::spec::{Repository, RepositoryLocation};
use std::error::Error;

const NOW: u64 = crate::repository::testing::NOW;

fn words(error: &dyn Error) -> String {
    crate::repository::folder::words(error)
}

/// Numbers that look random and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below.max(1)
    }

    /// Changes some bytes: flips, cuts, doubles, and large numbers.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(5) {
                0 => bytes[at] ^= 1 << self.next(8),
                1 => bytes[at] = u8::try_from(self.next(256)).unwrap(),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.extend_from_within(at..),
                _ => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
            }
        }
        bytes
    }
}

#[test]
fn headers_are_read() {
    let bytes = header(
        63,
        vec![
            (1000, Value::Text("hello".to_owned())),
            (1048, Value::Numbers(vec![8, 0x1_0000])),
            (1049, Value::Texts(vec!["a".to_owned(), String::new()])),
            (1004, Value::Bytes(vec![1, 2, 3])),
        ],
    );
    let header = Header::read(&mut [&bytes[..], b"rest"].concat().as_slice(), 63).unwrap();
    assert_eq!((header.bytes(), header.is_whole_region()), (bytes.as_slice(), true));
    assert_eq!((header.text(1000), header.text(1048), header.text(1)), (Some("hello"), None, None));
    assert_eq!(header.numbers(1048).unwrap().collect::<Vec<_>>(), [8, 0x1_0000]);
    assert_eq!(header.texts(1049).unwrap().collect::<Vec<_>>(), ["a", ""]);
    assert_eq!((header.binary(1004), header.binary(1000)), (Some(&[1, 2, 3][..]), None));
    for length in 0..bytes.len() {
        assert!(Header::read(&mut &bytes[..length], 63).is_err(), "{length}");
    }
}

#[test]
fn hostile_headers_are_refused_or_read_and_never_more() {
    let good = Package::new("hello", Some(&Key::new(DAY, None))).build();
    let mut noise = Noise(1);
    let mut read = 0;
    for _ in 0..30_000 {
        let bytes = noise.damage(&good);
        let Ok(package) = PackageHeader::read(&mut bytes.as_slice()) else { continue };
        read += 1;
        let _ = (package.id(), package.license(), package.source_package(), package.provides(), package.requires());
        for tag in 0..6000 {
            let header = package.header();
            let _ = (header.text(tag), header.number(tag), header.binary(tag), header.texts(tag).map(Iterator::count));
        }
    }
    assert!(read > 100, "{read}");
}

#[test]
fn a_header_that_announces_much_takes_little_memory() {
    let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend((256_u32 << 20).to_be_bytes());
    assert!(matches!(Header::read(&mut bytes.as_slice(), 63), Err(HeaderError::Read(_))));
    bytes[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    insta::assert_snapshot!(Header::read(&mut bytes.as_slice(), 63).unwrap_err(), @"it says that it has 4294967295 entries and 268435456 bytes of data, which is too much or nothing");
}

/// Returns who signed, or the reason.
fn judged(bytes: &[u8], key: Option<&Key>) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let ring = key.map(|key| Keyring::parse([("test.asc", key.public().as_slice())]).unwrap());
    match verify(file.path(), ring.as_ref(), NOW) {
        Ok(verified) if key.is_some_and(|key| key.fingerprint() == verified.signed_by) => format!("{} by the key", verified.id),
        Ok(verified) => format!("{} by `{}`", verified.id, verified.signed_by),
        Err(error) => words(&error),
    }
}

#[test]
fn packages_count_as_signed_when_header_and_payload_are_covered() {
    let (key, other) = (Key::new(DAY, None), Key::new(DAY, None));
    let package = Package::new("hello", Some(&key));
    assert_eq!(judged(&package.build(), Some(&key)), "hello-1.0-1.x86_64 by the key");
    assert_eq!(judged(&package.build(), None), "hello-1.0-1.x86_64 by ``");
    let old = Package { payload_digest: false, signs_all: true, ..package.clone() };
    assert_eq!(judged(&old.build(), Some(&key)), "hello-1.0-1.x86_64 by the key");
    let open = Package { payload_digest: false, ..package.clone() };
    insta::assert_snapshot!(judged(&open.build(), Some(&key)), @"its signature covers the header only, and the header has no digest of the payload that could be trusted");
    let told =
        |text: String| text.replace(&key.fingerprint(), "KEY").replace(&key.signer(), "PART-OF-KEY").replace(&other.fingerprint(), "OTHER");
    insta::assert_snapshot!(told(judged(&package.build(), Some(&other))), @"it is not signed as it should be: it is signed by the key PART-OF-KEY, which is none of this repository's keys: OTHER");
    let unsigned = Package { key: None, ..package.clone() };
    insta::assert_snapshot!(told(judged(&unsigned.build(), Some(&key))), @"it is not signed; a signature by one of these keys is expected: KEY");
    assert_eq!(judged(&unsigned.build(), None), "hello-1.0-1.x86_64 by ``");
}

#[test]
fn changed_packages_are_refused_for_what_was_changed() {
    let key = Key::new(DAY, None);
    for old in [false, true] {
        let good = Package { payload_digest: !old, signs_all: old, ..Package::new("hello", Some(&key)) }.build();
        let mut payload = good.clone();
        *payload.last_mut().unwrap() ^= 1;
        let told = judged(&payload, Some(&key));
        assert!(told.contains(if old { "its content has the MD5 digest" } else { "its payload has the SHA-256 digest" }), "{told}");
        let at = good.windows(5).position(|window| window == b"hello").unwrap();
        let mut name = good.clone();
        name[at] = b'j';
        let told = judged(&name, Some(&key));
        assert!(told.contains("its header has the SHA-256 digest"), "{told}");
        assert!(judged(&good[..good.len() - 1], Some(&key)).contains("digest"));
    }
    assert_eq!(judged(b"!<arch>\n", Some(&key)), "it is no RPM package");
}

#[test]
fn entries_outside_of_the_region_are_refused() {
    let mut bytes = header(63, vec![(1000, Value::Text("hello".to_owned()))]);
    // The mark says that it covers one entry less.
    let at = bytes.len() - 8;
    bytes[at..at + 4].copy_from_slice(&16_u32.wrapping_neg().to_be_bytes());
    assert!(!Header::read(&mut bytes.as_slice(), 63).unwrap().is_whole_region());
    let mut package = vec![0; 96];
    package[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    package.extend(header(62, vec![(273, Value::Text(String::new()))]));
    package.resize(package.len().next_multiple_of(8), 0);
    package.extend(bytes);
    assert!(matches!(PackageHeader::read(&mut package.as_slice()), Err(PackageProblem::OpenHeader)));
}

#[test]
fn repomd_is_parsed_and_its_faults_named() {
    let key = Key::new(DAY, None);
    let text = Repo::new(&[Package::new("hello", Some(&key))]).repomd();
    let repomd = Repomd::parse(text.as_bytes()).unwrap();
    assert_eq!((repomd.date, repomd.records.len()), (NOW - DAY, 1));
    assert_eq!(repomd.records[&RecordKind::Primary].path, "repodata/primary.xml.zst");
    let told = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        words(&Repomd::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err())
    };
    insta::assert_snapshot!(told("type=\"primary\"", "type=\"other\""), @"it has no record `primary`");
    insta::assert_snapshot!(told("repodata/primary.xml.zst", "../primary.xml.zst"), @"its record `primary` has the path `../primary.xml.zst`, which does not lead into the repository");
    insta::assert_snapshot!(told("repodata/primary.xml.zst", "repodata/primary.xml.zck"), @"its record `primary` is compressed with zchunk, which is not supported");
    insta::assert_snapshot!(told("<checksum type=\"sha256\">", "<checksum type=\"sha\">"), @"its record `primary` has a checksum of the kind `sha`; only sha256 counts");
    insta::assert_snapshot!(told("<size>", "<size>x"), @"its record `primary` has no size");
    insta::assert_snapshot!(told("type=\"modules\"", "type=\"primary\""), @"its record `primary` is there twice");
    insta::assert_snapshot!(told("<location href=\"repodata/primary.xml.zst\"", "<location xml:base=\"https://x.org\" href=\"repodata/primary.xml.zst\""), @"its record `primary` is at another place than the repository (`xml:base`), which is not supported");
    assert!(told("<repomd ", "<metadata ").contains("rather than `repomd`"));
    assert!(Repomd::parse(b"").is_err());
}

#[test]
fn hostile_repomds_are_refused_or_read_and_never_more() {
    let good = Repo::new(&[Package::new("hello", None)]).repomd();
    let mut noise = Noise(2);
    for _ in 0..20_000 {
        let _ = Repomd::parse(&noise.damage(good.as_bytes()));
    }
}

/// Returns the text of the packages' index of the only repository.
fn read(world: &World, repository: &Repository) -> Result<String, RepositoryError> {
    let found = refresh(&world.access(), std::slice::from_ref(repository))?.remove(0);
    Ok(String::from_utf8(found.primary.read(&world.store).unwrap()).unwrap())
}

fn told(server: &Server, key: &Key, repository: &Repository) -> String {
    let error = read(&World::new(), repository).unwrap_err();
    let text = format!("error: {error}\ncaused by: {}\nhint: {}", words(&*error.problem), error.hint().unwrap_or_default());
    stable(&text.replace(&key.fingerprint(), "KEY"), &[server])
}

#[test]
fn a_signed_repository_is_read_in_every_compression_and_offline() {
    let (server, key, mut world) = (Server::start(), Key::new(DAY, None), World::new());
    let mut repo = Repo::new(&[Package::new("hello", Some(&key))]);
    let repository = repository(&server, &[&key]);
    for compression in [".gz", ".xz", ".bz2", "", ".zst"] {
        repo.compression = compression;
        repo.put(&server, &key);
        assert_eq!(read(&World::new(), &repository).unwrap().into_bytes(), repo.primary, "{compression}");
    }
    let state = refresh(&world.access(), std::slice::from_ref(&repository)).unwrap().remove(0).state;
    assert_eq!((state.date, state.signed_by), (NOW - DAY, key.fingerprint()));
    server.seen();
    world.offline();
    assert_eq!(read(&world, &repository).unwrap().into_bytes(), repo.primary);
    assert!(server.seen().is_empty());
}

#[test]
fn metadata_that_is_not_as_it_should_be() {
    let (server, key, other) = (Server::start(), Key::new(DAY, None), Key::new(DAY, None));
    let repo = Repo::new(&[Package::new("hello", Some(&key))]);
    let repository = repository(&server, &[&key]);
    repo.put(&server, &key);
    server.remove("/rpm/repodata/repomd.xml.asc");
    insta::assert_snapshot!(told(&server, &key, &repository), @"
    error: the repository `test` (http://ONE/rpm/repodata/repomd.xml) cannot be used [template.yml:3:1]
    caused by: it is not signed; a signature by one of these keys is expected: KEY
    hint: the mirror, or something on the way such as a captive portal, gives other content: look at the URL, or choose another mirror
    ");
    let unsigned = Repository { require_metadata_signature: false, ..repository.clone() };
    assert_eq!(read(&World::new(), &unsigned).unwrap().into_bytes(), repo.primary);
    // What was taken unsigned does not count as signed later.
    let world = World::new();
    read(&world, &unsigned).unwrap();
    assert!(read(&world, &repository).is_err());

    repo.put(&server, &key);
    server.put("/rpm/repodata/repomd.xml", format!("{}<!-- -->", repo.repomd()).as_bytes());
    insta::assert_snapshot!(told(&server, &key, &repository), @"
    error: the repository `test` (http://ONE/rpm/repodata/repomd.xml) cannot be used [template.yml:3:1]
    caused by: its signature by the key KEY does not fit its content
    hint: something changed the file after it was signed: choose another mirror, and be suspicious of this one
    ");
    repo.put(&server, &other);
    assert!(told(&server, &key, &repository).contains("none of this repository's keys: KEY"));
    repo.put(&server, &key);
    server.put(&format!("/rpm/{}", repo.primary_path()), b"something else");
    let text = told(&server, &key, &repository);
    assert!(text.contains("the package index of test"), "{text}");
    server.put("/rpm/repodata/repomd.xml", b"<html/>");
    server.put("/rpm/repodata/repomd.xml.asc", &key.detached("<html/>"));
    insta::assert_snapshot!(told(&server, &key, &repository), @"
    error: the repository `test` (http://ONE/rpm/repodata/repomd.xml) cannot be used [template.yml:3:1]
    caused by: repomd.xml cannot be understood: its root is `html` rather than `repomd`, near byte 7
    hint: 
    ");
}

#[test]
fn a_folder_of_packages_is_a_repository() {
    let (key, folder) = (Key::new(DAY, None), tempfile::tempdir().unwrap());
    let server = Server::start();
    let at = |location| Repository { location, ..repository(&server, &[&key]) };
    let repository = at(RepositoryLocation::Path(folder.path().to_owned()));
    let error = read(&World::new(), &repository).unwrap_err();
    assert!(error.problem.to_string().contains("has no rpm file and no repository in it"), "{}", error.problem);
    let package = Package { requires: &["a<b&c"], ..Package::new("hello", Some(&key)) };
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/hello.rpm"), package.build()).unwrap();
    let xml = read(&World::new(), &repository).unwrap();
    let index = crate::solve::rpm::PackageIndex::parse(xml.as_bytes()).unwrap();
    let found = index.packages().next().unwrap();
    assert_eq!((found.nevra(), found.location(), found.installed_size()), ("hello-0:1.0-1.x86_64".to_owned(), "sub/hello.rpm", 4096));
    let names: Vec<_> = found.relations().map(|(kind, capability)| format!("{} {}", kind.tag(), capability.name)).collect();
    assert_eq!(names, ["Provides hello", "Requires a<b&c", "File /usr/share/hello"]);
    std::fs::write(folder.path().join("bad.rpm"), b"no package").unwrap();
    let error = read(&World::new(), &repository).unwrap_err();
    assert!(error.problem.to_string().ends_with("bad.rpm cannot be used: it is no RPM package"), "{}", error.problem);
}
