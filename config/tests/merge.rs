//! How layers become one template.

use std::path::Path;

use oic_config::spec::{FileSource, Password, PasswordHash, VersionPin, VersionRelation};
use oic_config::{LoadRequest, Loaded, load};

const HEAD: &str = "image: {name: test, version: 1.0.0}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: raw}\n";

/// Writes a parent and a child, and loads the child.
fn load_pair(folder: &Path, parent: &str, child: &str, sets: &[&str]) -> Loaded {
    std::fs::write(folder.join("parent.yml"), format!("{HEAD}{parent}")).unwrap();
    let template = folder.join("child.yml");
    std::fs::write(&template, format!("{HEAD}extends: parent.yml\n{child}")).unwrap();
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&LoadRequest { template, sets, ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{report}"))
}

fn merged(parent: &str, child: &str, sets: &[&str]) -> Loaded {
    load_pair(tempfile::tempdir().unwrap().path(), parent, child, sets)
}

fn package_names(loaded: &Loaded) -> Vec<&str> {
    loaded.spec.system.packages.iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn packages_are_appended_once_and_removed_by_name() {
    let system = |list: &str| format!("systemConfig: {{packages: {list}}}\n");
    for (parent, child, present, absent) in [
        ("[vim]", "[nano]", vec!["apt", "vim", "nano"], vec![]),
        ("[vim]", "[vim]", vec!["vim"], vec![]),
        ("[vim]", "[-vim]", vec!["apt"], vec!["vim"]),
        ("[vim_2.0]", "[-vim]", vec!["apt"], vec!["vim"]),
        ("[vim, nano]", "[-apt, -vim]", vec!["nano"], vec!["apt", "vim"]),
        ("['linux-tools*']", "['-linux-tools*']", vec![], vec!["linux-tools*"]),
    ] {
        let loaded = merged(&system(parent), &system(child), &[]);
        let names = package_names(&loaded);
        for name in present {
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{parent} {child} {name}");
        }
        assert!(absent.iter().all(|name| !names.contains(name)), "{parent} {child}");
    }
}

#[test]
fn later_version_pins_win() {
    for (parent, child, pin) in [("vim", "vim_2:9.1", Some("2:9.1")), ("vim_1", "vim=2", Some("2")), ("vim_1", "vim", None)] {
        let loaded =
            merged(&format!("systemConfig: {{packages: ['{parent}']}}\n"), &format!("systemConfig: {{packages: ['{child}']}}\n"), &[]);
        let vim = loaded.spec.system.packages.iter().find(|package| package.name == "vim").unwrap();
        assert_eq!(vim.version, pin.map(|pin| VersionPin::Exact(pin.to_owned())), "{parent} {child}");
        assert!(vim.origin.contains("child.yml:4"), "{}", vim.origin);
    }
}

#[test]
fn versions_are_asked_for_by_relation() {
    for (entry, pin) in [
        ("vim >= 2:9", VersionPin::Bound(VersionRelation::LaterOrEqual, "2:9".to_owned())),
        ("vim<9", VersionPin::Bound(VersionRelation::Earlier, "9".to_owned())),
        ("vim << 9", VersionPin::Bound(VersionRelation::Earlier, "9".to_owned())),
        ("vim <=9", VersionPin::Bound(VersionRelation::EarlierOrEqual, "9".to_owned())),
        ("vim >9", VersionPin::Bound(VersionRelation::Later, "9".to_owned())),
    ] {
        let loaded = merged("systemConfig: {packages: [vim]}\n", &format!("systemConfig: {{packages: ['{entry}']}}\n"), &[]);
        let vim: Vec<_> = loaded.spec.system.packages.iter().filter(|package| package.name == "vim").collect();
        assert_eq!((vim.len(), &vim[0].version), (1, &Some(pin)), "{entry}");
    }
}

#[test]
fn excludes_are_appended_and_removed() {
    let loaded = merged("systemConfig: {excludes: [nano, 'lib*', vim]}\n", "systemConfig: {excludes: ['-vim', nano, emacs]}\n", &[]);
    let globs: Vec<&str> = loaded.spec.system.excludes.iter().map(|exclude| exclude.glob.as_str()).collect();
    assert_eq!(globs, ["nano", "lib*", "emacs"]);
    assert!(loaded.spec.system.excludes[2].origin.contains("child.yml:4"), "{:?}", loaded.spec.system.excludes);
}

/// To rpm, `mod_ssl` is a name.
#[test]
fn underscores_are_part_of_rpm_names() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("t.yml");
    let head = HEAD.replace("debian13", "azl3").replace("debian", "azure-linux");
    std::fs::write(&template, format!("{head}systemConfig: {{packages: [mod_ssl, mod_perl, vim = 9.1]}}\n")).unwrap();
    let loaded = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{report}"));
    let names = package_names(&loaded);
    assert!(names.contains(&"mod_ssl") && names.contains(&"mod_perl") && names.contains(&"vim"), "{names:?}");
}

#[test]
fn users_are_merged_by_name() {
    let parent =
        "systemConfig:\n  users:\n    - {name: ann, password: one, hash_algo: sha256, groups: [a, b], shell: /bin/sh}\n    - {name: bob}\n";
    let child = "systemConfig:\n  users:\n    - {name: ann, password: two, groups: [b, c], sudo: true}\n    - {name: eve}\n    - -bob\n";
    let loaded = merged(parent, child, &[]);
    let users = &loaded.spec.system.users;
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ann", "eve"]);
    assert_eq!(users[0].groups, ["a", "b", "c"]);
    assert_eq!(users[0].shell.as_deref(), Some("/bin/sh"));
    assert!(users[0].sudo);
    // The parent's algorithm belonged to the parent's password.
    assert_eq!(users[0].password, Password::Plain { text: "two".to_owned(), hash: PasswordHash::Yescrypt });
    assert_eq!(users[1].password, Password::Locked);
}

#[test]
fn hashes_are_told_from_passwords() {
    let hash = "$6$saltsalt$IbxI9d9CpzsAkbI4L8NsQ2X3yZ1xV0a.b/c";
    for (text, hashed) in [(hash, true), ("$6$short", false), ("$ecret", false), ("plain", false)] {
        let loaded = merged(&format!("systemConfig: {{users: [{{name: ann, password: '{text}'}}]}}\n"), "", &[]);
        match &loaded.spec.system.users[0].password {
            Password::Hashed(found) => assert!(hashed && found == text, "{text}"),
            Password::Plain { text: found, .. } => assert!(!hashed && found == text, "{text}"),
            Password::Locked => panic!("{text}"),
        }
        assert!(!format!("{loaded:?}").contains(text) && !loaded.merged.to_yaml_with_origins().contains(text), "{text} is shown");
    }
}

const PARTITIONS: &str = "  partitions:\n    - {id: efi, type: esp, size: 64MiB, fsType: fat32}\n    - {id: sys, type: linux-root, fsType: ext4, mountPoint: /}\n";

#[test]
fn a_disk_with_partitions_replaces_the_other() {
    let whole = merged("disk: {size: 9GiB, name: mine}\n", &format!("disk:\n{PARTITIONS}"), &[]).spec.disk.unwrap();
    assert_eq!(whole.partitions.iter().map(|partition| partition.id.as_str()).collect::<Vec<_>>(), ["efi", "sys"]);
    assert_eq!(format!("{:?}", whole.size), "Auto");
    let fields = merged(&format!("disk:\n  size: 9GiB\n{PARTITIONS}"), "disk: {size: 8GiB}\n", &[]).spec.disk.unwrap();
    assert_eq!(fields.partitions.len(), 2);
    assert_eq!(format!("{:?}", fields.size), "Fixed(ByteSize(8589934592))");
}

#[test]
fn commands_and_files_are_appended() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    std::fs::create_dir_all(folder.path().join("tree/deep")).unwrap();
    std::fs::write(folder.path().join("tree/deep/c"), "c").unwrap();
    let parent =
        "systemConfig:\n  additionalFiles: [{local: a, final: /etc/x}, {local: a, final: /etc/y}]\n  configurations: [{cmd: one}]\n";
    let child = "systemConfig:\n  additionalFiles: [{local: b, final: /etc/x, mode: 0600}, {local: tree, final: /opt/tree}, {local: b, final: /srv/}]\n  configurations: [{cmd: one}, {cmd: 'echo ${HOME}  \"a  b\"'}]\n";
    let system = load_pair(folder.path(), parent, child, &[]).spec.system;
    let files: Vec<(String, &str, Option<u32>)> = system
        .files
        .iter()
        .map(|file| {
            let FileSource::Local(local) = &file.source else { panic!("{file:?}") };
            (local.file_name().unwrap().to_string_lossy().into_owned(), file.destination.as_str(), file.mode)
        })
        .collect();
    let file = |local: &str, destination, mode| (local.to_owned(), destination, mode);
    assert_eq!(
        files,
        [file("b", "/etc/x", Some(0o600)), file("a", "/etc/y", None), file("c", "/opt/tree/deep/c", None), file("b", "/srv/b", None)]
    );
    let commands: Vec<&str> = system.commands.iter().map(|command| command.command.as_str()).collect();
    assert_eq!(commands, ["one", "one", "echo ${HOME}  \"a  b\""]);
}

#[test]
fn repositories_are_told_apart_by_codename_and_address() {
    let parent = "packageRepositories:\n  - {codename: noble, url: 'https://a.org/x/', pkey: 'https://a.org/key', component: 'one two'}\n  - {codename: noble, url: 'https://b.org', pkey: 'https://b.org/key'}\n  - {codename: none, url: <URL>, pkey: <PUBLIC_KEY_URL>}\n";
    let child = "packageRepositories:\n  - {codename: noble, url: 'https://a.org/x/', priority: 1001}\n";
    let spec = merged(parent, child, &[]).spec;
    let own: Vec<_> = spec.repositories.iter().filter(|repository| !repository.is_base).collect();
    assert_eq!(
        own.iter().map(|repository| (repository.id.as_str(), repository.priority)).collect::<Vec<_>>(),
        [("a.org-x-noble", 1001), ("b.org-noble", 500)]
    );
    assert_eq!(own[0].components, ["one", "two"]);
    assert_eq!(own[0].keys.len(), 1);
}

#[test]
fn the_command_line_has_the_last_word() {
    let sets = ["systemConfig.hostname=last", "systemConfig.packages=[vim, -apt]", "disk.partitions[rootfs].fsLabel=sys", "disk.size=7GiB"];
    let spec = merged("systemConfig: {hostname: first}\n", "systemConfig: {hostname: second}\n", &sets).spec;
    assert_eq!(spec.system.hostname.as_deref(), Some("last"));
    let names: Vec<&str> = spec.system.packages.iter().map(|package| package.name.as_str()).collect();
    assert!(names.contains(&"vim") && !names.contains(&"apt"));
    let disk = spec.disk.unwrap();
    assert_eq!(disk.partitions[1].filesystem_label.as_deref(), Some("sys"));
    assert_eq!(format!("{:?}", disk.size), "Fixed(ByteSize(7516192768))");
}

#[test]
fn yaml_oddities_are_read_as_written() {
    let text = "systemConfig:\n  hostname: &h yes\n  description: *h\n  bootloader: &b {bootType: efi, provider: grub}\n  kernel:\n    <<: {version: 6.10, uki: no}\n    version: 6.12\n";
    let system = merged(text, "", &[]).spec.system;
    assert_eq!(system.hostname.as_deref(), Some("yes"));
    assert_eq!(system.kernel.unwrap().version.as_deref(), Some("6.12"));
}

/// Aliases that multiply end in a finding, quickly.
#[test]
fn alias_bombs_are_refused() {
    let mut text = format!("{HEAD}metadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        text.push_str(&format!("  a{level}: &a{level} [{}]\n", [previous.as_str(); 9].join(", ")));
    }
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("t.yml");
    std::fs::write(&template, text).unwrap();
    let report = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_err();
    assert!(report.to_string().contains("do aliases multiply here?"), "{report}");
}

/// What `validate --merged` prints is itself a template, and means the same.
#[test]
fn merged_output_reads_back() {
    let parent = "systemConfig:\n  description: 'a: b # c'\n  packages: ['linux-tools*', vim_9]\n  users: [{name: ann, groups: [\"x\"]}]\n  configurations:\n    - cmd: |\n        one\n          two\n\n        three\n    - cmd: 'a\\tb'\n    - cmd: \"x\\ty\\nz\"\n";
    let folder = tempfile::tempdir().unwrap();
    let first = load_pair(folder.path(), parent, "systemConfig: {hostname: \"no\"}\n", &[]);
    for text in [first.merged.to_yaml(), first.merged.to_yaml_with_origins()] {
        // Merging it with the defaults again changes nothing: they run no commands, which would be there twice.
        let template = folder.path().join("again.yml");
        std::fs::write(&template, &text).unwrap();
        let second = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_or_else(|report| panic!("{report}\n{text}"));
        assert_eq!(package_names(&first), package_names(&second));
        assert_eq!(first.spec.system.hostname, second.spec.system.hostname);
        let commands = |loaded: &Loaded| loaded.spec.system.commands.iter().map(|command| command.command.clone()).collect::<Vec<_>>();
        assert_eq!(commands(&first), commands(&second));
        assert_eq!(first.spec.disk, second.spec.disk);
    }
}

/// What stands for a password in the output never becomes one.
#[test]
fn redacted_output_is_no_template() {
    let loaded = merged("systemConfig: {users: [{name: ann, password: hunter2}]}\n", "", &[]);
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("again.yml");
    std::fs::write(&template, loaded.merged.to_yaml()).unwrap();
    let report = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_err();
    assert!(report.to_string().contains("the password is a placeholder"), "{report}");
}

/// A distribution in the configuration folder needs no code.
#[test]
fn distributions_can_be_added_as_data() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("osv/devuan/devuan6");
    std::fs::create_dir_all(dist.join("imageconfigs/defaultconfigs")).unwrap();
    std::fs::create_dir_all(dist.join("keys")).unwrap();
    let builtin = Path::new(env!("CARGO_MANIFEST_DIR")).join("osv/debian/debian13");
    let provider = std::fs::read_to_string(builtin.join("provider.yml")).unwrap().replace("Debian 13 (trixie)", "Devuan 6");
    std::fs::write(dist.join("provider.yml"), provider).unwrap();
    for entry in std::fs::read_dir(builtin.join("keys")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dist.join("keys").join(path.file_name().unwrap())).unwrap();
    }
    let default = "imageconfigs/defaultconfigs/default-raw-x86_64.yml";
    std::fs::copy(builtin.join(default), dist.join(default)).unwrap();
    let template = folder.path().join("t.yml");
    std::fs::write(&template, HEAD.replace("debian13", "devuan6").replace("os: debian", "os: devuan")).unwrap();
    let request = LoadRequest { template, config_dir: Some(folder.path().to_owned()), ..LoadRequest::default() };
    assert_eq!(load(&request).unwrap_or_else(|report| panic!("{report}")).spec.provider.display_name, "Devuan 6");
    std::fs::write(dist.join("provider.yml"), "displayName: x\nsudoGruop: y\n").unwrap();
    let report = load(&request).unwrap_err().to_string();
    assert!(report.contains("unknown field `sudoGruop`") && report.contains("did you mean `sudoGroup`?"), "{report}");
}
