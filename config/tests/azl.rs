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

/// Every config of the corpus is valid, and what of it cannot be built is listed in the documentation.
#[test]
fn configs_of_the_toolkit_load() {
    let Some(folder) = corpus() else { return };
    let mut refused = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let loaded = load_config(&path).unwrap_or_else(|report| panic!("{name}: {report}"));
            let fields = loaded.spec.unsupported.into_iter().map(|one| one.field);
            let fields: Vec<String> = fields.collect();
            refused.insert(name, fields);
        }
    }
    refused.retain(|_, fields| !fields.is_empty());
    let rows: Vec<String> = refused
        .iter()
        .map(|(name, fields)| format!("| `{name}` | {} |", fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")))
        .collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/azure-linux-configs.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let listed: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `") && line.contains(".json` |")).collect();
    assert_eq!(listed, rows, "docs/azure-linux-configs.md lists what is refused of each config");
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

/// A config with one system and these fields of it, and these of its disk.
fn config(disk: &str, system: &str) -> Result<Loaded, Report> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.json");
    let text = format!(
        r#"{{"Disks": [{{{disk}}}], "SystemConfigs": [{{"Name": "Own", "BootType": "efi", "Packages": ["bash", "shadow-utils"], "KernelOptions": {{"default": "kernel"}}{system}}}]}}"#
    );
    std::fs::write(&path, text).unwrap();
    load_config(&path)
}

const DISK: &str = r#""PartitionTableType": "gpt", "MaxSize": 2048, "Artifacts": [{"Name": "own", "Type": "raw"}], "Partitions": [
    {"ID": "boot", "Flags": ["esp", "boot"], "Start": 1, "End": 65, "FsType": "fat32"}, {"ID": "root", "Start": 65, "End": 0, "FsType": "ext4"}]"#;

const MOUNTS: &str = r#", "PartitionSettings": [{"ID": "boot", "MountPoint": "/boot/efi"}, {"ID": "root", "MountPoint": "/"}]"#;

/// A root filesystem may have a table, a size and a kernel in its config: the first two mean nothing, the last is a package.
#[test]
fn a_root_filesystem_may_have_a_kernel() {
    let disk = r#""PartitionTableType": "gpt", "MaxSize": 1560, "Artifacts": [{"Name": "own", "Type": "tar.gz"}]"#;
    let spec = config(disk, r#", "Users": [{"Name": "root", "UID": "1"}]"#).unwrap_or_else(|report| panic!("{report}")).spec;
    assert!(spec.disk.is_none() && spec.system.kernel.is_none());
    assert!(spec.system.packages.iter().any(|package| package.name == "kernel"));
    assert_eq!(spec.system.users[0].uid, None, "the toolkit leaves root's number alone");
}

/// What asks for protection is never left out with a warning: configs of Edge Microvisor Toolkit, and of the toolkit's older branches.
#[test]
fn protection_that_is_asked_for_is_refused() {
    let system = format!(
        r#"{MOUNTS}, "EfiProvider": "systemd-boot", "ImmutabilityEnabled": true, "EMTEncryptionEnabled": true, "ReadOnlyVerityRoot": {{"Enable": true, "TmpfsOverlays": ["/var"]}}"#
    );
    let spec = config(DISK, &system).unwrap_or_else(|report| panic!("{report}")).spec;
    let fields: Vec<&str> = spec.unsupported.iter().map(|one| one.field.as_str()).collect();
    let ours = ["ImmutabilityEnabled", "EMTEncryptionEnabled", "ReadOnlyVerityRoot"].map(|field| format!("SystemConfigs[].{field}"));
    assert_eq!(fields, ours);
    assert_eq!((spec.target.os.as_str(), spec.target.dist.as_str()), ("edge-microvisor-toolkit", "emt3"));
    assert!(!spec.system.packages.iter().any(|package| package.name == "azurelinux-release"));

    let off = format!(
        r#"{MOUNTS}, "ImmutabilityEnabled": false, "ReadOnlyVerityRoot": {{"Enable": false, "Name": ""}}, "HidepidDisabled": true"#
    );
    let loaded = config(DISK, &off).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((loaded.spec.unsupported, loaded.warnings), (Vec::new(), Vec::new()));
}
