//! Packages and metadata that others have signed, each with the keys that it must be accepted and refused with.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use oic::repository::{Keyring, rpm::package::verify};

/// 2026-11-08.
const NOW: u64 = 1_794_139_200;

/// Returns the folder of inputs, none where they are not.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/rpm");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: ../shared/corpus/rpm is not here");
    None
}

fn keyring(path: &Path) -> Keyring {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Keyring::parse([(name.as_str(), fs::read(path).unwrap().as_slice())]).unwrap()
}

fn words(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", words(source)))
}

fn outcome(package: &Path, keyring: Option<&Keyring>) -> String {
    match verify(package, keyring, NOW) {
        Ok(verified) => format!("{} {}", verified.id, verified.signed_by),
        Err(error) => words(&error),
    }
}

const RSA: &str = "771B18D3D7BAA28734333C424344591E1964C5FC";
const ALICE: &str = "B6542F92F30650C36B6F41BCB3A771BFEB04E625";
const FEDORA_16: &str = "05A912AC70457C3DBC82D352067F00B6A82BA4B7";
const MLDSA: &str = "AED054589CBF858445CFEA63E827A16CC45EE27FF4B97D8EB8EC71D34684F4E6";

/// Package, key, and what must be said.
const MATRIX: &[(&str, &str, &str)] = &[
    // RSA, version 4, header and payload.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", RSA),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pgp", RSA),
    // RSA, version 3.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-v3-signed.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", RSA),
    ("rpm-signed/RPMS/hlinktest-1.0-1.noarch-v3sig.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", RSA),
    ("librepo-fc16-rpm/filesystem-2.4.44-1.fc16.i686.rpm", "distro-keys/RPM-GPG-KEY-fedora-16-primary", FEDORA_16),
    // Signatures of single files are no business of ours.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-badima.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", RSA),
    // Several signatures: either key is enough, also one of version 6.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed-mldsa87.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", RSA),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed-mldsa87.rpm", "rpm-signed/keys/unknown/rpm.org-v6-mldsa87-test.asc", MLDSA),
    // Subkeys: RSA and EdDSA.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm", "rpm-signed/keys/alice.asc", ALICE),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm", "rpm-signed/keys/rpm.org-rsa-2048-add-subkey.asc", RSA),
    // Subkeys that are over, revoked, not there, and not bound.
    (
        "rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm",
        "rpm-signed/keys/alice-expired-subkey.asc",
        "which expired on 2022-04-12",
    ),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm", "rpm-signed/keys/alice-revoked-subkey.asc", "revoked"),
    (
        "rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm",
        "rpm-signed/keys/rpm.org-rsa-2048-test.pub",
        "none of this repository's keys",
    ),
    (
        "rpm-signed/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm",
        "rpm-signed/keys/CVE-2021-3521-nosubsig.asc",
        "none of this repository's keys",
    ),
    // Another's key, whose short name may even be the same.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed.rpm", "rpm-signed/keys/alice.asc", "none of this repository's keys"),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-signed.rpm", "rpm-signed/keys/keyidcollision1.pub", "none of this repository's keys"),
    ("librepo-fc16-rpm/filesystem-2.4.44-1.fc16.i686.rpm", "distro-keys/RPM-GPG-KEY-fedora-31-primary", "none of this repository's keys"),
    ("createrepo_c-testdata/packages/empty-signed-rsa-0-0.x86_64.rpm", "rpm-signed/keys/alice.asc", "none of this repository's keys"),
    (
        "createrepo_c-testdata/packages/empty-signed-eddsa-0-0.x86_64.rpm",
        "rpm-signed/keys/rpm.org-ed25519-test.pub",
        "none of this repository's keys",
    ),
    (
        "createrepo_c-testdata/packages/empty-signed-v6-multiple-0-0.x86_64.rpm",
        "rpm-rs-keys/rpm-testkey-v6-keyring.asc",
        "none of this repository's keys",
    ),
    ("rpm-signed/RPMS/mwe-rpm-lua-problem-1.0.0-1.noarch.rpm", "rpm-rs-keys/rpm-testkey-v4-keyring.asc", "none of this repository's keys"),
    // Signed and damaged; of a time before headers could be signed; not signed.
    ("rpm-signed/RPMS/hello-2.0-1.x86_64-corrupted.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", "its payload has the SHA-256 digest"),
    ("rpm-signed/RPMS/hello-1.0-1.x86_64.rpm-v3", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", "outside of what signatures cover"),
    ("rpm-signed/RPMS/hello-2.0-1.x86_64.rpm", "rpm-signed/keys/rpm.org-rsa-2048-test.pub", "it is not signed"),
];

#[test]
fn good_packages_are_accepted_and_all_others_refused_for_their_reason() {
    let Some(corpus) = corpus() else { return };
    for (package, key, expected) in MATRIX {
        let found = outcome(&corpus.join(package), Some(&keyring(&corpus.join(key))));
        assert!(found.contains(expected), "{package} with {key}: {found}");
    }
}

#[test]
fn no_package_is_accepted_with_any_other_key() {
    let Some(corpus) = corpus() else { return };
    let keys = ["rpm-signed/keys", "rpm-signed/keys/unknown", "distro-keys", "rpm-rs-keys"];
    let keys: Vec<_> = keys.iter().flat_map(|folder| files(&corpus.join(folder))).collect();
    assert!(keys.len() > 25, "{keys:?}");
    let rings: Vec<_> = keys.iter().map(|path| keyring(path)).collect();
    let folders = ["rpm-signed/RPMS", "rpm-signed/SRPMS", "librepo-fc16-rpm", "createrepo_c-testdata/packages"];
    let packages: Vec<_> = folders.iter().flat_map(|folder| files(&corpus.join(folder))).collect();
    assert!(packages.len() > 30, "{packages:?}");
    for package in packages {
        for (key, ring) in keys.iter().zip(&rings) {
            // A key may be in several files; what is to be accepted is known by its fingerprint.
            if let Ok(verified) = verify(&package, Some(ring), NOW) {
                let known = |(name, _, by): &(&str, &str, &str)| package.ends_with(name) && *by == verified.signed_by;
                assert!(MATRIX.iter().any(known), "{} with {}", package.display(), key.display());
            }
        }
    }
}

#[test]
fn without_keys_only_digests_count() {
    let Some(corpus) = corpus() else { return };
    assert_eq!(outcome(&corpus.join("rpm-signed/RPMS/hello-2.0-1.x86_64.rpm"), None), "hello-2.0-1.x86_64 ");
    assert_eq!(outcome(&corpus.join("createrepo_c-testdata/packages/Archer-3.4.5-6.x86_64.rpm"), None), "Archer-2:3.4.5-6.x86_64 ");
    assert_eq!(outcome(&corpus.join("rpm-signed/SRPMS/hello-1.0-1.src.rpm"), None), "hello-1.0-1.src ");
    assert!(outcome(&corpus.join("rpm-signed/RPMS/hello-2.0-1.x86_64-corrupted.rpm"), None).contains("payload"));
}

#[test]
fn no_bit_of_a_signed_package_can_be_changed() {
    let Some(corpus) = corpus() else { return };
    let key = keyring(&corpus.join("rpm-signed/keys/rpm.org-rsa-2048-test.pub"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("changed.rpm");
    for package in ["hello-2.0-1.x86_64-signed.rpm", "hello-2.0-1.x86_64-v3-signed.rpm"] {
        let good = fs::read(corpus.join("rpm-signed/RPMS").join(package)).unwrap();
        let magic = |window: &[u8]| window == [0x8e, 0xad, 0xe8, 1];
        let header = good.windows(4).enumerate().filter(|(_, window)| magic(window)).nth(1).unwrap().0;
        for at in (header..good.len()).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&file, &bytes).unwrap();
            assert!(verify(&file, Some(&key), NOW).is_err(), "{package}: byte {at}");
        }
        for length in (0..good.len()).step_by(61) {
            fs::write(&file, &good[..length]).unwrap();
            assert!(verify(&file, Some(&key), NOW).is_err(), "{package}: {length} bytes");
        }
    }
}

#[test]
fn metadata_signatures_of_others_are_refused_for_their_reason() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("librepo-signed");
    let cases = [
        ("key.pub", "repo_yum_01/repodata/repomd.xml.asc", "does not fit its content"),
        ("key.pub", "expired_test/test_data.txt.asc", "none of this repository's keys"),
        ("expired_test/expired_key.asc", "expired_test/test_data.txt.asc", "does not fit its content"),
        ("expired_test/expired_key.asc", "repo_yum_01/repodata/repomd.xml.asc", "none of this repository's keys"),
        ("key.pub", "repo_yum_01/repodata/repomd.xml.key", "its signature cannot be read"),
    ];
    for (key, signature, expected) in cases {
        let signature = fs::read(folder.join(signature)).unwrap();
        let found = keyring(&folder.join(key)).verify_repomd(b"<repomd/>", &signature, NOW).unwrap_err();
        assert!(words(&found).contains(expected), "{key}: {found}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}
