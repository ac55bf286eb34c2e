//! Configs of the Azure Linux toolkit: those of its repository, and wrong ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oic_config::spec::{Arch, ArtifactFormat, BootType, Filesystem, PartitionType};
use oic_config::{LoadRequest, Loaded, Report, load};

/// Folder of the toolkit's configs; tests that need it say so where it is absent.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn corpus() -> Option<PathBuf> {
    let name = "shared/corpus/azl-imageconfigs";
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let places = [workspace.join("..").join(name), workspace.join("../..").join(name)];
    if let Some(folder) = places.iter().find(|folder| folder.is_dir()) {
        return Some(folder.clone());
    }
    eprintln!("skipped: {} is not here", places[0].display());
    None
}

/// Loads a config; the scripts and files that those of the corpus point to are not in it.
fn load_config(path: &Path) -> Result<Loaded, Report> {
    load(&LoadRequest { template: path.to_owned(), no_file_checks: true, ..LoadRequest::default() })
}

/// Every config of the corpus is valid, and what of it cannot be built is known by name.
#[test]
fn configs_of_the_toolkit_load() {
    let Some(folder) = corpus() else { return };
    let mut refused = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let loaded = load_config(&path).unwrap_or_else(|report| panic!("{name}: {report}"));
            // What the config alone has; the fields of templates have their own tests.
            let fields = loaded.spec.unsupported.into_iter().map(|one| one.field).filter(|field| field.starts_with(char::is_uppercase));
            let fields: Vec<String> = fields.collect();
            refused.insert(name, fields);
        }
    }
    refused.retain(|_, fields| !fields.is_empty());
    let text: Vec<String> = refused.into_iter().map(|(name, fields)| format!("{name}: {}", fields.join(", "))).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    core-fips.json: SystemConfigs[].KernelCommandLine.SELinux
    core-legacy-unattended-hyperv.json: Disks[0].TargetDisk
    full.json: SystemConfigs, Disks
    ");
}

#[test]
fn a_config_comes_to_what_it_says() {
    let Some(folder) = corpus() else { return };
    let spec = load_config(&folder.join("core-efi.json")).unwrap().spec;
    assert_eq!((spec.name.as_str(), spec.target.dist.as_str(), spec.target.arch), ("core", "azl3", Arch::X86_64));
    assert_eq!(spec.artifacts[0].format, ArtifactFormat::Vhdx);
    let disk = spec.disk.unwrap();
    let kinds: Vec<_> = disk.partitions.iter().map(|one| (one.kind.clone(), one.filesystem, one.mount_point.as_deref())).collect();
    assert_eq!(
        kinds,
        [
            (PartitionType::Esp, Some(Filesystem::Fat16), Some("/boot/efi")),
            (PartitionType::Root(Arch::X86_64), Some(Filesystem::Ext4), Some("/")),
        ]
    );
    assert_eq!(disk.partitions[0].mount_options, "umask=0077");
    let names: Vec<&str> = spec.system.packages.iter().map(|package| package.name.as_str()).collect();
    for package in ["kernel", "shim", "grub2-efi-binary", "cloud-init", "azurelinux-release", "core-packages-base-image"] {
        assert!(names.contains(&package), "{package} of {names:?}");
    }
    assert!(!names.contains(&"openssh-server"), "the distribution's defaults are not below a config");
    assert_eq!(spec.system.hostname.as_deref(), Some("azurelinux"));
    assert!(spec.system.kernel.unwrap().cmdline.starts_with("rd.auto=1 net.ifnames=0 lockdown=integrity"));

    let legacy = load_config(&folder.join("marketplace-gen1.json")).unwrap().spec;
    assert_eq!(legacy.system.bootloader.unwrap().boot_type, BootType::Legacy);
    let disk = legacy.disk.unwrap();
    assert_eq!((disk.partitions[0].kind.clone(), disk.partitions[0].filesystem), (PartitionType::BiosBoot, None));
    assert_eq!(legacy.system.files.len(), 4);
    assert_eq!(legacy.system.commands.len(), 1);
}

/// A config with a mistake in nearly every field.
const WRONG: &str = r#"{
  "disks": [{
    "partitionTableType": "gtp", "MaxSize": "big", "Artifact": [], "_comment": "kept",
    "Artifacts": [{"Name": "x"}, {"Type": "iso"}],
    "Partitions": [
      {"ID": "root", "Start": 1, "End": 0, "FsType": "ext5", "Flags": ["root"], "Type": "linux", "TypeUUID": "x"}
    ]
  }],
  "SystemConfigs": [{
    "Name": "a", "BootType": "bios", "PackageLists": ["list.json", "missing.json"],
    "PartitionSettings": [{"ID": "rot", "MountPoint": "/"}],
    "Users": [{"Name": "ann", "UID": "x"}],
    "KernelCommandLine": {"EnableFIPS": true, "ExtraCommandLine": "a`b", "Selinux": null},
    "AdditionalFiles": {"missing": [{"Path": "/etc/x", "Permissions": "9"}, "/etc/y"]}
  }]
}"#;

/// Returns what is said of a config.
fn findings(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.path().join("list.json"), r#"{"packages": ["filesystem", "kernel", "a b", "x >= 2"]}"#).unwrap();
    let text = match load(&LoadRequest { template: path, ..LoadRequest::default() }) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(report) => report.to_string(),
    };
    text.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn mistakes_point_into_the_config() {
    insta::assert_snapshot!(findings("{}"), @r"
    error[missing-field]: config file must provide at least one system configuration inside the [SystemConfigs] field
      at c.json:1:1
      field: SystemConfigs
    ");
}

#[test]
fn every_mistake_is_told_at_once() {
    insta::assert_snapshot!("every_mistake", findings(WRONG));
}
