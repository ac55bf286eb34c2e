//! What the settings of the running system come to: keys from files, proxies, cloud-init, scripts at boot, apt's policy, DKMS.

use oic_config::spec::{DiskSize, ImageSpec};
use oic_config::{LoadRequest, Report, load};

const HEAD: &str = "image: {name: test, version: 1.0.0}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: raw}\n";

/// Loads a template beside the files that it names.
fn load_text(text: &str) -> Result<ImageSpec, Report> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("keys.pub", "# who\nssh-ed25519 AAAA ann@host\n\nssh-rsa BBBB ann@other\n"),
        ("bad.pub", "not a key\n"),
        ("user-data", "#cloud-config\n"),
        ("first.sh", "#!/bin/sh\n"),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let template = folder.path().join("t.yml");
    std::fs::write(&template, text).unwrap();
    load(&LoadRequest { template, ..LoadRequest::default() }).map(|loaded| loaded.spec)
}

fn spec(text: &str) -> ImageSpec {
    load_text(&format!("{HEAD}{text}")).unwrap_or_else(|report| panic!("{report}"))
}

/// Returns the errors, without the folder of the template.
fn errors(text: &str) -> String {
    let report = load_text(&format!("{HEAD}{text}")).unwrap_err();
    let errors = report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    errors.lines().filter(|line| !line.starts_with("  at ")).collect::<Vec<_>>().join("\n")
}

fn written(spec: &ImageSpec) -> String {
    spec.system.written.iter().map(|file| format!("== {}\n{}", file.path, file.text)).collect()
}

#[test]
fn keys_come_from_the_template_and_from_files() {
    let spec = spec(
        "systemConfig:\n  users:\n    - name: ann\n      sshAuthorizedKeys: [ssh-ed25519 AAAA ann@host]\n      authorizedKeys: [ssh-ed25519 CCCC ann@third]\n      sshAuthorizedKeysFiles: [keys.pub]\n      passwordMaxAge: 0\n",
    );
    let user = &spec.system.users[0];
    assert_eq!(user.authorized_keys, ["ssh-ed25519 CCCC ann@third", "ssh-ed25519 AAAA ann@host", "ssh-rsa BBBB ann@other"]);
    assert_eq!(user.password_max_age_days, Some(99_999), "0 is no limit, not a password that has expired");
    let text = errors("systemConfig:\n  users:\n    - {name: ann, sshAuthorizedKeysFiles: [bad.pub, gone.pub]}\n");
    assert!(text.contains("not an SSH public key") && text.contains("gone.pub does not exist"), "{text}");
}

#[test]
fn scripts_get_units_that_run_in_order() {
    let spec = spec(
        "systemConfig:\n  provisioning:\n    scripts:\n      - {name: later, local: first.sh, final: /usr/local/sbin/later, stage: every-boot, order: 20}\n      - {name: first, local: first.sh, final: /usr/local/sbin/first, order: 5}\n",
    );
    assert!(spec.system.services.enable.contains(&"oic-provision.service".to_owned()));
    let modes: Vec<_> = spec.system.files.iter().map(|file| (file.destination.as_str(), file.mode)).collect();
    assert_eq!(modes, [("/usr/local/sbin/later", Some(0o755)), ("/usr/local/sbin/first", Some(0o755))]);
    insta::assert_snapshot!(written(&spec), @r"
    == /etc/systemd/system/oic-provision-005-first.service
    [Unit]
    Description=Provisioning script first
    Wants=network-online.target
    After=network-online.target cloud-final.service
    ConditionPathExists=!/var/lib/oic/provisioned/first

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/usr/local/sbin/first
    ExecStartPost=/usr/bin/mkdir -p /var/lib/oic/provisioned
    ExecStartPost=/usr/bin/touch /var/lib/oic/provisioned/first
    == /etc/systemd/system/oic-provision-020-later.service
    [Unit]
    Description=Provisioning script later
    Wants=network-online.target
    After=network-online.target cloud-final.service oic-provision-005-first.service

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/usr/local/sbin/later
    == /etc/systemd/system/oic-provision.service
    [Unit]
    Description=Start the provisioning scripts

    [Service]
    Type=oneshot
    ExecStart=/usr/bin/systemctl start --no-block oic-provision-005-first.service oic-provision-020-later.service

    [Install]
    WantedBy=multi-user.target
    ");
    insta::assert_snapshot!(errors("systemConfig:\n  provisioning:\n    scripts:\n      - {name: a b, local: first.sh, final: /usr/bin/%i}\n      - {name: two, local: gone.sh, final: here}\n"), @r"
    error[invalid-value]: not a name for a script
      field: systemConfig.provisioning.scripts[a b]
      found: `a b`
      allowed: a letter or digit, then letters, digits, `_`, `.` and `-`, at most 64
    error[invalid-value]: not a path that a unit can start
      field: systemConfig.provisioning.scripts[a b].final
      found: `/usr/bin/%i`
      allowed: /path/of/letters-digits_and._@+-
    error[invalid-value]: not an absolute path in the image
      field: systemConfig.provisioning.scripts[two].final
      found: `here`
      allowed: /path/without/dots
    ");
}

#[test]
fn cloud_init_finds_its_data_in_the_image() {
    let spec = spec("systemConfig:\n  hostname: node\n  cloudInit: {enabled: true, userDataFile: user-data}\n");
    assert!(spec.system.packages.iter().any(|package| package.name == "cloud-init"));
    let file = &spec.system.files[0];
    assert_eq!((file.destination.as_str(), file.mode), ("/var/lib/cloud/seed/nocloud/user-data", Some(0o600)));
    insta::assert_snapshot!(written(&spec), @r"
    == /var/lib/cloud/seed/nocloud/meta-data
    instance-id: test-1.0.0
    local-hostname: node
    == /etc/cloud/cloud.cfg.d/95-image-data.cfg
    # The data is in the image.
    datasource_list: [NoCloud, None]
    ");
    insta::assert_snapshot!(errors("systemConfig:\n  cloudInit: {userDataFile: user-data}\n"), @r"
    error[contradiction]: cloud-init is not enabled, and this is a file for it
      field: systemConfig.cloudInit
      hint: write `enabled: true`, or leave the file out
    ");
}

#[test]
fn proxies_reach_shells_services_and_apt() {
    let spec = spec(
        "systemConfig:\n  configurations: [{cmd: 'true'}]\n  proxy: {httpProxy: 'http://proxy.example.com:3128', noProxy: 'localhost,.example.com'}\n",
    );
    insta::assert_snapshot!(written(&spec), @r#"
    == /etc/apt/apt.conf.d/95proxy
    Acquire::http::Proxy "http://proxy.example.com:3128";
    == /etc/systemd/system.conf.d/95-proxy.conf
    [Manager]
    DefaultEnvironment="http_proxy=http://proxy.example.com:3128" "HTTP_PROXY=http://proxy.example.com:3128" "no_proxy=localhost,.example.com" "NO_PROXY=localhost,.example.com"
    "#);
    // Behind the template's own commands: none of them is to meet a proxy of another place.
    assert_eq!(spec.system.commands.len(), 2);
    insta::assert_snapshot!(spec.system.commands[1].command, @r"printf '%s\n' 'http_proxy=http://proxy.example.com:3128' 'HTTP_PROXY=http://proxy.example.com:3128' 'no_proxy=localhost,.example.com' 'NO_PROXY=localhost,.example.com' >> /etc/environment");
    insta::assert_snapshot!(errors("systemConfig:\n  proxy: {httpProxy: 'http://ann:secret@proxy:1', httpsProxy: 'proxy:3128', noProxy: \"a'b\"}\n"), @r"
    error[invalid-value]: the URL of a proxy has a password, and every user of the system could read it
      field: systemConfig.proxy.httpProxy
      hint: let the proxy know the machine by its address
    error[invalid-value]: not the URL of a proxy server
      field: systemConfig.proxy.httpsProxy
      found: `proxy:3128`
      allowed: http://proxy.example.com:3128
    error[invalid-value]: not a list of hosts, domains and networks
      field: systemConfig.proxy.noProxy
      found: `a'b`
      allowed: localhost,127.0.0.1,.example.com,10.0.0.0/8
    ");
}

#[test]
fn modules_are_compiled_for_every_kernel() {
    let any = spec("systemConfig:\n  dkms: {enabled: true}\n");
    assert!(any.system.packages.iter().any(|package| package.name == "dkms"));
    let named = spec("systemConfig:\n  dkms: {enabled: true, modules: [v4l2loopback/0.15.0]}\n");
    insta::assert_snapshot!(format!("{}--\n{}", any.system.commands[0].command, named.system.commands[0].command), @r#"
    kernel=
    for folder in /lib/modules/*/kernel; do
      [ -d "$folder" ] || continue
      kernel=$(basename "$(dirname "$folder")")
      dkms autoinstall -k "$kernel"
      dkms status -k "$kernel" | grep ': installed' > /dev/null || { echo "DKMS compiled no module for kernel $kernel" >&2; exit 1; }
    done
    [ -n "$kernel" ] || { echo "no kernel to compile modules for" >&2; exit 1; }
    --
    kernel=
    for folder in /lib/modules/*/kernel; do
      [ -d "$folder" ] || continue
      kernel=$(basename "$(dirname "$folder")")
      dkms autoinstall -k "$kernel"
      dkms status -m v4l2loopback -v 0.15.0 -k "$kernel" | grep ': installed' > /dev/null || { echo "DKMS compiled no v4l2loopback/0.15.0 for kernel $kernel" >&2; exit 1; }
    done
    [ -n "$kernel" ] || { echo "no kernel to compile modules for" >&2; exit 1; }
    "#);
    let signed =
        spec("systemConfig:\n  dkms:\n    enabled: true\n    secureBoot: {enabled: true, signingKeyPath: a.key, signingCertPath: a.crt}\n");
    assert_eq!(signed.unsupported[0].field, "systemConfig.dkms.secureBoot");
    assert!(spec("systemConfig:\n  dkms: {enabled: false}\n").system.commands.is_empty());
    assert!(errors("systemConfig:\n  dkms: {enabled: true, modules: ['a/$(b)']}\n").contains("not a module of DKMS"));
}

#[test]
fn repositories_that_may_not_upgrade_are_known() {
    let repositories = |allowed: &str, third: &str| {
        format!(
            "packageRepositories:\n  - {{codename: one, url: 'https://a.example.com/x', pkey: 'https://a.example.com/key'}}\n  - {{codename: two, url: 'https://b.example.com/x', pkey: 'https://b.example.com/key'}}\n{third}systemConfig:\n  aptPolicy: {{upgradeAllowedRepos: [{allowed}]}}\n"
        )
    };
    let upgrades = |spec: &ImageSpec| -> Vec<(String, bool)> {
        let own = spec.repositories.iter().filter(|repository| !repository.is_base);
        own.map(|repository| (repository.suite.clone(), repository.upgrades)).collect()
    };
    assert_eq!(upgrades(&spec(&repositories("one", ""))), [("one".to_owned(), true), ("two".to_owned(), false)]);
    assert_eq!(upgrades(&spec(&repositories("", ""))), [("one".to_owned(), true), ("two".to_owned(), true)]);
    insta::assert_snapshot!(errors(&repositories("three", "")), @r"
    error[invalid-value]: not the codename of a repository of the template
      field: systemConfig.aptPolicy.upgradeAllowedRepos
      found: `three`
      allowed: one, two
    ");
    let third = "  - {codename: three, url: 'https://b.example.com/y', pkey: 'https://b.example.com/key'}\n";
    assert!(errors(&repositories("one, three", third)).contains("apt tells repositories apart by their server"));
}

#[test]
fn places_may_count_from_the_end_of_the_disk() {
    let disk = |size: &str| {
        format!(
            "disk:\n{size}  partitions:\n    - {{id: esp, type: esp, start: 1MiB, end: 513MiB, fsType: fat32, mountPoint: /boot/efi}}\n    - {{id: root, type: linux-root, start: 513MiB, end: \"-2GiB\", fsType: ext4, mountPoint: /, mountOptions: 'defaults, noatime'}}\n    - {{id: data, type: linux, start: \"-2GiB\", end: \"0\", fsType: ext4, mountPoint: /data}}\n"
        )
    };
    let spec = spec(&disk("  size: 8GiB\n"));
    let disk_of = spec.disk.unwrap();
    assert!(matches!(disk_of.size, DiskSize::Fixed(size) if size.0 == 8 << 30));
    assert_eq!(disk_of.partitions[1].end.unwrap().0, 6 << 30);
    assert_eq!(disk_of.partitions[1].mount_options, "defaults,noatime");
    assert_eq!(disk_of.partitions[2].start.unwrap().0, 6 << 30);
    let text = errors(&disk(""));
    assert!(text.contains("a place counted from the end needs a disk of a given size"), "{text}");
    assert!(errors(&disk("  size: 1GiB\n")).contains("not a place on a disk of 1GiB"));
}

#[test]
fn the_file_of_a_package_is_taken_as_the_package() {
    let text = "image: {name: test, version: 1.0.0}\ntarget: {os: azure-linux, dist: azl3, arch: x86_64, imageType: raw}\nsystemConfig: {packages: [vim-9.1-1.azl3.x86_64.rpm]}\n";
    let spec = load_text(text).unwrap();
    assert!(spec.system.packages.iter().any(|package| package.name == "vim-9.1-1.azl3.x86_64"));
}
