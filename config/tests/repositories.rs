//! `packageRepositories` and package requests, for both families.

use std::path::Path;

use oic_config::{
    LoadRequest, Loaded, load,
    spec::{RepositoryKey, RepositoryLocation},
};

/// Loads a template with these lines, in a folder that has `packages/` and `key.asc`.
fn loaded(folder: &Path, target: &str, lines: &str) -> Result<Loaded, String> {
    std::fs::create_dir_all(folder.join("packages")).unwrap();
    std::fs::write(folder.join("key.asc"), "key").unwrap();
    let template = folder.join("t.yml");
    let text = format!("image: {{name: a, version: 1.0.0}}\ntarget: {{{target}, arch: x86_64, imageType: raw}}\n{lines}\n");
    std::fs::write(&template, text).unwrap();
    load(&LoadRequest { template, ..LoadRequest::default() }).map_err(|report| report.to_string())
}

const AZL3: &str = "os: azure-linux, dist: azl3";
const DEBIAN: &str = "os: debian, dist: debian13";

#[test]
fn a_folder_is_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.asc");
    for target in [AZL3, DEBIAN] {
        let lines = format!("packageRepositories:\n  - {{codename: local, path: packages, pkey: {}}}", key.display());
        let spec = loaded(folder.path(), target, &lines).unwrap().spec;
        let repository = spec.repositories.last().unwrap();
        assert_eq!(repository.location, RepositoryLocation::Path(folder.path().join("packages")));
        assert_eq!((&repository.keys, repository.trusted), (&vec![RepositoryKey::File(key.clone())], false));
        assert!(spec.unsupported.iter().all(|field| !field.field.starts_with("packageRepositories")), "{:?}", spec.unsupported);
    }
    let missing = loaded(folder.path(), AZL3, "packageRepositories:\n  - {codename: local, path: nothing, pkey: '[trusted=yes]'}");
    assert!(missing.unwrap_err().contains("nothing does not exist"));
}

#[test]
fn unsigned_metadata_must_be_asked_for_and_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |more: &str| format!("packageRepositories:\n  - {{codename: x, url: 'https://x.org', pkey: 'https://x.org/key'{more}}}");
    let signed = loaded(folder.path(), AZL3, &lines("")).unwrap();
    assert!(signed.spec.repositories.iter().all(|repository| repository.require_metadata_signature));
    assert_eq!(signed.warnings, []);
    let unsigned = loaded(folder.path(), AZL3, &lines(", repoGPGCheck: false")).unwrap();
    assert!(!unsigned.spec.repositories.last().unwrap().require_metadata_signature);
    assert_eq!(unsigned.warnings.len(), 1);
    let refused = loaded(folder.path(), DEBIAN, &lines(", repoGPGCheck: false")).unwrap_err();
    assert!(refused.contains("only RPM repositories have it"), "{refused}");
}

#[test]
fn priorities_are_those_of_the_family() {
    let folder = tempfile::tempdir().unwrap();
    let priority = |target: &str, more: &str| {
        let lines = format!("packageRepositories:\n  - {{codename: x, url: 'https://x.org', pkey: 'https://x.org/key'{more}}}");
        loaded(folder.path(), target, &lines)
            .map(|loaded| loaded.spec.repositories.iter().map(|repository| repository.priority).collect::<Vec<_>>())
    };
    assert_eq!(priority(AZL3, "").unwrap(), [99, 99]);
    assert_eq!(priority(AZL3, ", priority: 10").unwrap(), [99, 10]);
    assert_eq!(priority(DEBIAN, "").unwrap(), [500; 4]);
    assert_eq!(priority(DEBIAN, ", priority: -1").unwrap(), [500, 500, 500, -1]);
    assert!(priority(AZL3, ", priority: -1").unwrap_err().contains("the lowest wins"));
}

#[test]
fn documentation_and_languages_are_left_out_of_rpm_packages_alone() {
    let folder = tempfile::tempdir().unwrap();
    let field = |field: &str| format!("systemConfig:\n  {field}");
    let spec = loaded(folder.path(), AZL3, &field("packageLanguages: none\n  packageDocs: false")).unwrap().spec;
    assert_eq!((spec.system.package_docs, spec.system.package_languages.as_deref()), (false, Some("NONE")));
    let spec = loaded(folder.path(), AZL3, &field("packageLanguages: 'de:pt_BR'")).unwrap().spec;
    assert_eq!((spec.system.package_docs, spec.system.package_languages.as_deref()), (true, Some("de:pt_BR")));
    for bad in ["packageLanguages: 'de:'", "packageLanguages: 'de fr'", "packageLanguages: '%{lua:x}'"] {
        assert!(loaded(folder.path(), AZL3, &field(bad)).is_err(), "{bad}");
    }
    for only_rpm in ["packageLanguages: de", "packageDocs: false"] {
        assert!(loaded(folder.path(), DEBIAN, &field(only_rpm)).unwrap_err().contains("RPM family"), "{only_rpm}");
    }
    loaded(folder.path(), DEBIAN, &field("packageDocs: true")).unwrap();
}

#[test]
fn rpm_requests_may_be_groups_files_and_provided_names() {
    let folder = tempfile::tempdir().unwrap();
    let lines =
        "systemConfig:\n  weakDependencies: true\n  packages: ['@core', '@^minimal', /usr/bin/awk, 'pkgconfig(zlib)', 'bash = 5.2']";
    let spec = loaded(folder.path(), AZL3, lines).unwrap().spec;
    assert!(spec.system.weak_dependencies);
    for name in ["@core", "@^minimal", "/usr/bin/awk", "pkgconfig(zlib)", "bash"] {
        assert!(spec.system.packages.iter().any(|package| package.name == name), "{name}");
    }
    for bad in ["'@'", "'@@x'", "'a b'", "'a;b'"] {
        assert!(loaded(folder.path(), AZL3, &format!("systemConfig:\n  packages: [{bad}]")).is_err(), "{bad}");
    }
    for bad in ["'@core'", "/usr/bin/awk"] {
        assert!(loaded(folder.path(), DEBIAN, &format!("systemConfig:\n  packages: [{bad}]")).is_err(), "{bad}");
    }
}
