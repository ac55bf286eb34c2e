//! Real templates: ours, and those of Image Composer Tool's users.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oic_config::spec::{Arch, Filesystem, ImageType, PartitionType, RepositoryKey};
use oic_config::{Code, LoadRequest, Loaded, Report, Severity, load};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn templates_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Folder of the templates of others; tests that need it say so where it is absent.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn corpus() -> Option<PathBuf> {
    let name = "shared/corpus/ict-templates";
    // Beside the workspace, or beside the folder of its worktrees.
    let places = [workspace().join("..").join(name), workspace().join("../..").join(name)];
    if let Some(folder) = places.iter().find(|folder| folder.is_dir()) {
        return Some(folder.clone());
    }
    eprintln!("skipped: {} is not here", places[0].display());
    None
}

fn load_ours(name: &str, arch: Option<Arch>) -> Result<Loaded, Report> {
    let vars = if name.contains("server") { vec![("SSH_KEY".to_owned(), "ssh-ed25519 AAAA ann@host".to_owned())] } else { Vec::new() };
    load(&LoadRequest { template: workspace().join("image-templates").join(name), vars, arch, ..LoadRequest::default() })
}

/// Our templates have no finding at all, and nothing in them is refused by `build`.
#[test]
fn our_templates_are_fit_to_be_built() {
    let all = templates_below(&workspace().join("image-templates"));
    assert!(all.len() >= 7);
    for path in all {
        let name = path.file_name().unwrap().to_str().unwrap();
        let loaded = load_ours(name, None).unwrap_or_else(|report| panic!("{name}: {report}"));
        assert_eq!(loaded.warnings, [], "{name}");
        assert_eq!(loaded.spec.unsupported, [], "{name}");
        assert!(name.starts_with(&format!("{}-{}", loaded.spec.target.dist, loaded.spec.target.arch)), "{name}");
    }
}

#[test]
fn minimal_template_says_what_it_should() {
    let spec = load_ours("debian13-x86_64-minimal-raw.yml", None).unwrap().spec;
    let packages: Vec<&str> = spec.system.packages.iter().map(|package| package.name.as_str()).collect();
    for needed in [
        "apt",
        "init",
        "udev",
        "dbus",
        "iproute2",
        "zstd",
        "linux-image-cloud-amd64",
        "initramfs-tools",
        "systemd-boot",
        "systemd-boot-efi",
    ] {
        assert!(packages.contains(&needed), "{needed} of {packages:?}");
    }
    assert!(!packages.contains(&"linux-image-amd64"), "the template's kernel replaces the default one");
    let disk = spec.disk.unwrap();
    let kinds: Vec<&PartitionType> = disk.partitions.iter().map(|partition| &partition.kind).collect();
    assert_eq!(kinds, [&PartitionType::Esp, &PartitionType::Root(Arch::X86_64)]);
    assert_eq!(disk.partitions[0].filesystem, Some(Filesystem::Fat32));
    let suites: Vec<&str> = spec.repositories.iter().map(|repository| repository.suite.as_str()).collect();
    assert_eq!(suites, ["trixie", "trixie-updates", "trixie-security"]);
    assert_eq!(spec.repositories.iter().map(|repository| repository.keys.len()).collect::<Vec<_>>(), [3, 2, 2]);
    assert_eq!(spec.system.kernel.unwrap().cmdline, "console=tty0 console=ttyS0,115200");
}

/// `--arch` takes the other architecture's defaults, and the root partition follows.
#[test]
fn architecture_can_be_overridden() {
    let spec = load_ours("debian13-x86_64-grub-raw.yml", Some(Arch::Aarch64)).unwrap().spec;
    assert_eq!(spec.target.arch, Arch::Aarch64);
    let root = spec.disk.unwrap().partitions.into_iter().find(|partition| partition.mount_point.as_deref() == Some("/")).unwrap();
    assert_eq!(root.kind, PartitionType::Root(Arch::Aarch64));
    assert!(spec.system.packages.iter().any(|package| package.name == "grub-efi-arm64-signed"));
}

/// A minimal template built for another architecture has the packages and the console of the template that is written for that.
#[test]
fn one_template_serves_every_architecture() {
    for (dist, archs) in [("debian12", &[Arch::X86_64, Arch::Aarch64][..]), ("debian13", &Arch::ALL)] {
        for (own, other) in archs.iter().flat_map(|own| archs.iter().map(move |other| (*own, *other))) {
            let template = |arch| format!("{dist}-{arch}-minimal-raw.yml");
            let spec = load_ours(&template(own), Some(other)).unwrap_or_else(|report| panic!("{dist} {own} {other}: {report}")).spec;
            let expected = load_ours(&template(other), None).unwrap().spec;
            let (kernel, expected_kernel) = (spec.system.kernel.as_ref().unwrap(), expected.system.kernel.as_ref().unwrap());
            // riscv64 has one kernel, which stands for the usual one elsewhere.
            let generic = own == Arch::Riscv64 && other != own;
            let names = |packages: &[String]| packages.iter().map(|name| name.replace("-cloud", "")).collect::<Vec<_>>();
            assert_eq!(kernel.packages == expected_kernel.packages, !generic, "{dist} {own} {other}");
            assert_eq!(names(&kernel.packages), names(&expected_kernel.packages), "{dist} {own} {other}");
            assert_eq!(kernel.cmdline, expected_kernel.cmdline, "{dist} {own} {other}");
            let packages = |spec: &oic_config::spec::ImageSpec| {
                spec.system.packages.iter().map(|package| package.name.replace("-cloud", "")).collect::<Vec<_>>()
            };
            assert_eq!(packages(&spec), packages(&expected), "{dist} {own} {other}");
            let types = |spec: &oic_config::spec::ImageSpec| {
                spec.disk.as_ref().unwrap().partitions.iter().map(|partition| partition.kind.guid()).collect::<Vec<_>>()
            };
            assert_eq!(types(&spec), types(&expected), "{dist} {own} {other}");
        }
    }
}

/// Every distribution has data for every image type, and each of its repositories has a key.
#[test]
fn every_distribution_loads() {
    let folder = tempfile::tempdir().unwrap();
    let distributions = [
        ("azure-linux", "azl3", "x86_64 aarch64"),
        ("debian", "debian12", "x86_64 aarch64"),
        ("debian", "debian13", "x86_64 aarch64 riscv64"),
        ("edge-microvisor-toolkit", "emt3", "x86_64"),
        ("redhat-compatible-distro", "el10", "x86_64 aarch64"),
        ("ubuntu", "ubuntu24", "x86_64 aarch64"),
        ("ubuntu", "ubuntu26", "x86_64 aarch64"),
        ("wind-river-elxr", "elxr12", "x86_64 aarch64"),
        ("wind-river-elxr", "elxr13", "x86_64 aarch64"),
    ];
    for (os, dist, arches) in distributions {
        for arch in arches.split(' ') {
            for image_type in ["raw", "img", "iso", "wsl2"] {
                let template = folder.path().join("t.yml");
                let text = format!(
                    "image: {{name: a, version: 1.0.0}}\ntarget: {{os: {os}, dist: {dist}, arch: {arch}, imageType: {image_type}}}\n"
                );
                std::fs::write(&template, text).unwrap();
                let name = format!("{dist} {arch} {image_type}");
                let loaded = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{name}: {report}"));
                assert_eq!(loaded.warnings, [], "{name}");
                assert_eq!(loaded.spec.disk.is_some(), loaded.spec.target.image_type == ImageType::Raw, "{name}");
                assert!(!loaded.spec.repositories.is_empty(), "{name}");
                for repository in &loaded.spec.repositories {
                    assert!(!repository.keys.is_empty(), "{name}: {}", repository.id);
                    let armored = |key: &RepositoryKey| match key {
                        RepositoryKey::Embedded { bytes, .. } => bytes.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"),
                        RepositoryKey::Url(url) => url.starts_with("https://"),
                        // What the user has to give.
                        RepositoryKey::File(path) if dist == "emt3" => {
                            path.ends_with("edge-microvisor-toolkit/emt3/keys/INTEL-RPM-GPG-KEY")
                        }
                        RepositoryKey::File(_) => false,
                    };
                    assert!(repository.keys.iter().all(armored), "{name}: {}", repository.id);
                }
            }
        }
    }
}

/// What loading a template of the corpus comes to.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Valid; these fields are left to a later version.
    Valid(Vec<&'static str>),
    /// Wrong: the codes and fields of the errors.
    Wrong(Vec<(Code, &'static str)>),
}

fn expected() -> BTreeMap<&'static str, Outcome> {
    use Outcome::{Valid, Wrong};
    let (kind, immutable) = ("target.imageType", "systemConfig.immutability.enabled");
    let file = |field| (Code::MissingFile, field);
    BTreeMap::from([
        // A group that nobody filled in: the account would lack the rights that the author wanted.
        ("azl3-x86_64-edge-raw.yml", Valid(vec![immutable, "systemConfig.users[admin].groups"])),
        ("azl3-x86_64-minimal-initrd.yml", Valid(vec![])),
        ("azl3-x86_64-minimal-iso.yml", Valid(vec![kind])),
        ("azl3-x86_64-minimal-raw.yml", Valid(vec![])),
        ("debian13-aarch64-minimal-raw.yml", Valid(vec![])),
        ("debian13-x86_64-minimal-initrd.yml", Valid(vec![])),
        ("debian13-x86_64-minimal-iso.yml", Valid(vec![kind])),
        ("debian13-x86_64-minimal-raw.yml", Valid(vec![])),
        // The files that these point to are not in the corpus.
        (
            "debian13-x86_64-bb-raw.yml",
            Wrong(vec![
                file("systemConfig.additionalFiles[/usr/local/sbin/hello.sh].local"),
                file("systemConfig.additionalFiles[/etc/initramfs-tools/hooks/hello].local"),
                file("systemConfig.additionalFiles[/etc/initramfs-tools/scripts/init-bottom/hello].local"),
            ]),
        ),
        (
            "debian13-x86_64-desktop-virtualization-iso.yml",
            Wrong(vec![file("systemConfig.additionalFiles[/etc/systemd/network/99-dhcp-en.network].local")]),
        ),
        ("rcd10-x86_64-minimal-raw.yml", Valid(vec![])),
        (
            "elxr-cloud-amd64.yml",
            Wrong(vec![
                file("systemConfig.additionalFiles[/etc/hostname].local"),
                file("systemConfig.additionalFiles[/etc/modules-load.d/netfilter.conf].local"),
                file("systemConfig.additionalFiles[/etc/sysctl.d/disable_swappiness.conf].local"),
                file("systemConfig.additionalFiles[/etc/sysctl.d/enable_forwarding.conf].local"),
            ]),
        ),
        ("elxr12-aarch64-minimal-raw.yml", Valid(vec![])),
        ("elxr12-x86_64-dlstreamer.yml", Valid(vec![])),
        ("elxr12-x86_64-minimal-iso.yml", Valid(vec![kind])),
        ("elxr12-x86_64-minimal-raw.yml", Valid(vec![])),
        ("elxr-edge-26.04-x86_64-minimal-initrd.yml", Valid(vec![])),
        ("elxr-edge-26.04-x86_64-minimal-raw.yml", Valid(vec![])),
        ("emt3-x86_64-edge-raw.yml", Valid(vec![immutable])),
        ("emt3-x86_64-emf-raw.yml", Wrong(vec![file("systemConfig.additionalFiles[/etc/layout.env].local")])),
        ("emt3-x86_64-minimal-initrd.yml", Valid(vec![])),
        ("emt3-x86_64-minimal-raw.yml", Valid(vec![])),
        ("ubuntu-minimal-cloud-amd64.yml", Valid(vec![])),
        ("ubuntu24-aarch64-edge-raw.yml", Valid(vec![])),
        ("ubuntu24-aarch64-minimal-raw.yml", Valid(vec![])),
        ("ubuntu24-server-cloud-amd64.yml", Valid(vec![])),
        ("ubuntu24-x86_64-dlstreamer.yml", Valid(vec![])),
        ("ubuntu24-x86_64-edge-raw.yml", Valid(vec![immutable])),
        ("ubuntu24-x86_64-extends-example-raw.yml", Valid(vec![])),
        // Its parent is not in the corpus.
        ("ubuntu24-x86_64-generic-handheld-os-desktop-raw.yml", Wrong(vec![(Code::Extends, "extends")])),
        ("ubuntu24-x86_64-minimal-desktop-raw.yml", Valid(vec![])),
        ("ubuntu24-x86_64-minimal-initrd.yml", Valid(vec![])),
        ("ubuntu24-x86_64-minimal-iso.yml", Valid(vec![kind])),
        ("ubuntu24-x86_64-minimal-raw-expand-partition.yml", Valid(vec![])),
        ("ubuntu24-x86_64-minimal-raw.yml", Valid(vec![])),
        ("ubuntu24-x86_64-overlay-raw.yml", Valid(vec!["baseline", "overlayPolicy"])),
    ])
}

#[test]
fn templates_of_others_load() {
    let Some(folder) = corpus() else { return };
    let mut expected = expected();
    for path in templates_below(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let outcome = expected.remove(name).unwrap_or_else(|| panic!("{name} is new in the corpus: say what to expect of it"));
        match (outcome, load(&LoadRequest { template: path.clone(), ..LoadRequest::default() })) {
            (Outcome::Valid(fields), Ok(loaded)) => {
                assert_eq!(loaded.spec.unsupported.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), fields, "{name}");
                assert!(loaded.spec.unsupported.iter().all(|one| one.origin.contains(':') && one.reason.contains(';')), "{name}");
            }
            (Outcome::Wrong(errors), Err(report)) => {
                let found = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
                let found: Vec<(Code, &str)> = found.map(|finding| (finding.code, finding.field.as_str())).collect();
                assert_eq!(found, errors, "{name}");
            }
            (outcome, result) => panic!("{name}: {outcome:?}, {:?}", result.map(|loaded| loaded.warnings)),
        }
    }
    assert!(expected.is_empty(), "gone from the corpus: {:?}", expected.keys());
}

/// Without file checks, missing files are no errors: only missing parents remain. What `build` refuses is then known of every template,
/// and the documentation lists it.
#[test]
fn missing_files_can_be_overlooked() {
    let Some(folder) = corpus() else { return };
    let mut refused = Vec::new();
    for path in templates_below(&folder) {
        let request = LoadRequest { template: path.clone(), no_file_checks: true, ..LoadRequest::default() };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match load(&request) {
            Ok(loaded) if loaded.spec.unsupported.is_empty() => {}
            Ok(loaded) => {
                let fields: Vec<String> = loaded.spec.unsupported.iter().map(|one| format!("`{}`", one.field)).collect();
                refused.push(format!("| `{name}` | {} |", fields.join(", ")));
            }
            Err(report) => {
                assert!(
                    report.findings.iter().all(|finding| finding.code != Code::MissingFile || finding.severity == Severity::Warning),
                    "{report}"
                );
                assert_eq!(name, "ubuntu24-x86_64-generic-handheld-os-desktop-raw.yml", "{report}");
            }
        }
    }
    let docs = std::fs::read_to_string(workspace().join("docs/templates.md")).unwrap();
    let listed: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `") && line.contains(".yml` |")).collect();
    assert_eq!(listed, refused, "docs/templates.md lists what is refused of each template");
}
