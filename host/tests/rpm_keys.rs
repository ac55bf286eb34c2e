//! The keys that come with the program are those that their distributions have published.

use oic::repository::Keyring;
use oic_config::spec::{Arch, RepositoryKey};

#[test]
fn distributions_are_bound_to_their_published_keys() {
    let cases = [
        ("azure-linux", "azl3", "2BC94FFF7015A5F28F1537AD0CD9FED33135CE90", true),
        ("redhat-compatible-distro", "el10", "99DB70FAE1D7CE227FB6488205B555B38483C65D", false),
    ];
    for (os, dist, fingerprint, signs_metadata) in cases {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            for repository in oic_config::distribution_repositories(None, os, dist, arch).unwrap().unwrap() {
                let keys = repository.keys.iter().map(|key| match key {
                    RepositoryKey::Embedded { name, bytes } => (name.as_str(), bytes.as_slice()),
                    other => panic!("{dist}: {other:?}"),
                });
                assert_eq!(Keyring::parse(keys).unwrap().fingerprints().0, [fingerprint], "{dist} {}", repository.id);
                assert_eq!(repository.require_metadata_signature, signs_metadata, "{dist} {}", repository.id);
                assert_eq!((repository.priority, repository.trusted), (99, false));
            }
        }
    }
}

/// Nobody but the user can vouch for that key: without it, the repository is of no use.
#[test]
fn a_key_that_must_be_given_is_looked_for_in_the_configuration_folder() {
    let folder = std::path::Path::new("/configuration");
    let repositories = oic_config::distribution_repositories(Some(folder), "edge-microvisor-toolkit", "emt3", Arch::X86_64);
    let keys: Vec<_> = repositories.unwrap().unwrap().into_iter().flat_map(|repository| repository.keys).collect();
    let path = folder.join("osv/edge-microvisor-toolkit/emt3/keys/INTEL-RPM-GPG-KEY");
    assert_eq!(keys, [RepositoryKey::File(path)]);
}
