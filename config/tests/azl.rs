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

/// What installers and rarer images have: every field of it.
const RARE: &str = r#"{
  "Disks": [{
    "PartitionTableType": "gpt", "MaxSize": 2048,
    "Artifacts": [{"Name": "rare", "Type": "ova"}],
    "RawBinaries": [{"BinPath": "u-boot.bin", "BlockSize": 1024, "Seek": 64}],
    "Partitions": [
      {"ID": "boot", "Name": "esp", "Start": 1, "End": 9, "FsType": "fat32", "Flags": ["esp", "boot"], "Artifacts": [{"Name": "b", "Compression": "gz"}]},
      {"ID": "root", "Name": "rootfs", "Start": 9, "End": 0, "FsType": "ext4", "Artifacts": [{"Name": "r", "Type": "ext4", "Compression": "xz"}]}
    ]
  }],
  "SystemConfigs": [{
    "Name": "a", "BootType": "none", "Packages": ["filesystem", "shadow-utils"], "KernelOptions": {"default": "kernel"},
    "EnableGrubMkconfig": false, "EnableHidepid": true, "EnableSystemdFirstboot": true, "PreserveTdnfCache": true,
    "PartitionSettings": [
      {"ID": "boot", "MountPoint": "/boot/efi", "MountIdentifier": "uuid"},
      {"ID": "root", "MountPoint": "/", "MountIdentifier": "partlabel"}
    ],
    "Networks": [
      {"BootProto": "static", "Device": "00-11-22-AA-BB-CC", "Ip": "192.0.2.7", "NetMask": "255.255.255.0", "GateWay": "192.0.2.1", "OnBoot": true, "NameServer": ["192.0.2.53"]},
      {"BootProto": "dhcp", "Device": "00:11:22:AA:BB:CC", "OnBoot": true},
      {"BootProto": "dhcp", "Device": "eth1"}
    ],
    "PackageRepos": [
      {"Name": "extra", "BaseUrl": "https://example.org/$basearch", "Install": true, "RepoGPGCheck": false},
      {"Name": "other", "BaseUrl": "https://example.org/other"}
    ]
  }, {"Name": "b", "IsDefault": true, "Packages": ["filesystem"]}]
}"#;

#[test]
fn what_installers_keep_is_in_the_image() {
    use oic_config::spec::{FileSource, MountIdentifier};
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.json"), RARE.replace("00-11-22-AA-BB-CC", "eth0")).unwrap();
    std::fs::write(folder.path().join("u-boot.bin"), [1; 10]).unwrap();
    let loaded = load(&LoadRequest { template: folder.path().join("c.json"), ..LoadRequest::default() }).unwrap();
    let (spec, warnings) = (loaded.spec, loaded.warnings);
    assert_eq!(spec.unsupported, []);
    assert_eq!(spec.artifacts.iter().map(|one| one.format).collect::<Vec<_>>(), [ArtifactFormat::Ova]);
    let copies: Vec<_> = spec.partition_artifacts.iter().map(|one| (one.partition.as_str(), one.ending.as_str())).collect();
    assert_eq!(copies, [("boot", "raw"), ("root", "ext4")]);
    let disk = spec.disk.unwrap();
    assert_eq!(disk.raw_binaries[0].offset.0, 64 << 10);
    let identifiers: Vec<_> = disk.partitions.iter().map(|one| one.mount_identifier).collect();
    assert_eq!(identifiers, [MountIdentifier::Uuid, MountIdentifier::PartLabel]);
    let system = spec.system;
    assert_eq!(system.bootloader, None);
    assert_eq!((system.hide_processes, system.enable_systemd_firstboot, system.keep_package_cache), (true, true, true));
    let interfaces = system.network.unwrap().interfaces;
    assert_eq!(interfaces.len(), 2);
    assert_eq!((interfaces[0].name.as_str(), interfaces[0].addresses[0].as_str(), interfaces[0].dhcp4), ("eth0", "192.0.2.7/24", false));
    assert_eq!((interfaces[1].mac_address.as_deref(), interfaces[1].dhcp4), (Some("00:11:22:aa:bb:cc"), true));
    let FileSource::Text(text) = &system.files[0].source else { panic!("{:?}", system.files) };
    insta::assert_snapshot!(text, @r"
    [extra]
    name=extra
    baseurl=https://example.org/$basearch
    gpgkey=file:///etc/pki/rpm-gpg/MICROSOFT-RPM-GPG-KEY
    enabled=1
    gpgcheck=1
    repo_gpgcheck=0
    skip_if_unavailable=True
    ");
    assert_eq!((system.files.len(), system.files[0].destination.as_str()), (1, "/etc/yum.repos.d/extra.repo"));
    let said: Vec<String> = warnings.iter().map(|warning| warning.to_string().lines().next().unwrap_or_default().to_owned()).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    warning[notice]: an image is made of the first system config, as the toolkit does; the others are choices of an installer
    warning[notice]: a network without `OnBoot` is the installer's own, and is left out
    warning[notice]: a repository without `Install` is the installer's own, and is left out
    ");
}

#[test]
fn mistakes_in_rare_fields_are_told() {
    let config = r#"{
  "Disks": [{"MaxSize": 100, "Partitions": [{"ID": "root", "Start": 1, "End": 0, "FsType": "ext4"}], "RawBinaries": [{"BinPath": "list.json"}, {"BlockSize": 1}, {"BinPath": "list.json", "BlockSize": 9223372036854775807, "Seek": 9}]}],
  "SystemConfigs": [{
    "Name": "a", "BootType": "none", "Packages": ["filesystem"], "KernelOptions": {"default": "kernel"},
    "PartitionSettings": [{"ID": "root", "MountPoint": "/", "MountIdentifier": "partlabel"}],
    "Networks": [{"OnBoot": true}, {"Device": "eth0", "OnBoot": true, "BootProto": "ibft"}, {"Device": "eth1", "OnBoot": true, "Ip": "192.0.2.7", "NetMask": "255.0.255.0"}, {"Device": "eth2", "OnBoot": true, "Ip": "192.0.2.7"}],
    "PackageRepos": [{"Name": "a b", "BaseUrl": "https://example.org"}, {"Name": "c"}, {"Name": "d", "BaseUrl": "ftp://x", "Install": true}, {"Name": "d", "BaseUrl": "https://x"}]
  }]
}"#;
    insta::assert_snapshot!(findings(config), @r"
    error[missing-field]: a partition that is mounted by its label needs [Name]
      at c.json:5:80
      field: Disks[0].Partitions[0].Name
    error[missing-field]: a raw binary needs [BlockSize], the unit of [Seek] in bytes
      at c.json:2:118
      field: Disks[0].RawBinaries[0].BlockSize
    error[missing-field]: a raw binary needs [BinPath]
      at c.json:2:144
      field: Disks[0].RawBinaries[1]
    error[invalid-value]: [BlockSize] times [Seek] is larger than any disk
      at c.json:2:200
      field: Disks[0].RawBinaries[2]
    error[missing-field]: a network needs [Device]: a name, or a hardware address
      at c.json:6:18
      field: SystemConfigs[].Networks[0]
    error[invalid-value]: not the mask of a network
      at c.json:6:158
      field: SystemConfigs[].Networks[2].NetMask
      found: `255.0.255.0`
      allowed: 255.255.255.0
    error[missing-field]: an address needs [NetMask]
      at c.json:6:215
      field: SystemConfigs[].Networks[3]
    error[invalid-value]: not a name for a repository
      at c.json:7:31
      field: SystemConfigs[].PackageRepos[0].Name
    error[missing-field]: a repository needs [Name] and [BaseUrl]
      at c.json:7:73
      field: SystemConfigs[].PackageRepos[1]
    error[invalid-value]: not the URL of a repository
      at c.json:7:113
      field: SystemConfigs[].PackageRepos[2].BaseUrl
    error[duplicate]: repository `d` is given twice
      at c.json:7:151
      field: SystemConfigs[].PackageRepos[3]
    ");
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

/// A second disk is refused as a whole: its partitions are not said to be missing.
#[test]
fn a_second_disk_is_refused_once() {
    let disk = format!(r#"{DISK}}}, {{"Partitions": [{{"ID": "data", "Start": 1, "End": 0, "FsType": "ext4"}}]"#);
    let mounts = MOUNTS.replace("]", r#", {"ID": "data", "MountPoint": "/data"}]"#);
    let spec = config(&disk, &mounts).unwrap_or_else(|report| panic!("{report}")).spec;
    assert_eq!(spec.unsupported.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), ["Disks[1]"]);
}
