//! Mistakes in accounts, settings, commands and the network.

use oic_config::{LoadRequest, load};

use super::{HEAD, after_head, findings_with};

#[test]
fn users_and_passwords() {
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - {name: Bad Name, password: hunter2, hash_algo: md5}\n"), @r##"
    error[invalid-value]: not a user name
      at t.yml:5:14
      field: systemConfig.users[Bad Name]
      found: `Bad Name`
      allowed: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32
    error[invalid-value]: oic does not hash plain-text passwords this way
      at t.yml:5:54
      field: systemConfig.users[Bad Name].hash_algo
      allowed: sha512, sha256, yescrypt
      hint: or give the finished hash as the password
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - {name: ann, password: '', groups: [<REQUIRED_GROUP>]}\n"), @r"
    warning[notice]: no password is set: the account is locked for passwords, never open without one
      at t.yml:5:29
      field: systemConfig.users[ann].password
    ");
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - {name: ann, password: [hunter2]}\n"), @r##"
    error[wrong-type]: expected a text
      at t.yml:5:29
      field: systemConfig.users[ann].password
      found: a list
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - {name: ann, authorizedKeys: [nonsense]}\n"), @r##"
    error[invalid-value]: not an SSH public key
      at t.yml:5:36
      field: systemConfig.users[ann].authorizedKeys
      found: `nonsense`
      allowed: ssh-ed25519 AAAA… name@host
    "##);
}

/// A password is in no message and in no text that goes with one, whatever is wrong with the template.
#[test]
fn passwords_are_never_shown() {
    for text in [
        "systemConfig:\n  users:\n    - {name: ann, password: hunter2, hash_algo: md5}\n",
        "systemConfig:\n  users:\n    - {name: ann, password: [hunter2]}\n",
        "systemConfig:\n  users:\n    - name: ann\n      password: \"hunter2\n",
        "systemConfig:\n  users:\n    - name: ann\n      password: hunter2\n      nonsense: true\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("t.yml");
        std::fs::write(&template, format!("{HEAD}{text}")).unwrap();
        let report = load(&LoadRequest { template, ..LoadRequest::default() }).unwrap_err();
        assert!(!report.findings.is_empty());
        assert!(!format!("{report}{report:?}").contains("hunter2"), "{report}");
    }
    let report = findings_with(HEAD, &["systemConfig.users=[{name: ann, password: hunter2, x: 1}]"], &[]);
    assert!(report.contains("unknown field `x`") && !report.contains("hunter2"), "{report}");
}

#[test]
fn settings_of_the_system() {
    insta::assert_snapshot!(after_head("systemConfig:\n  locale: ../x\n  timezone: Europe//Berlin\n  groups: [{name: 9x, gid: 4294967295}]\n  users: [{name: ann, uid: 4294967295, primaryGroup: a b}]\n  services: {enable: [ssh, 'a b'], mask: [ssh]}\n"), @r"
    error[invalid-value]: not a locale
      at t.yml:4:11
      field: systemConfig.locale
      found: `../x`
      allowed: C.UTF-8, en_US.UTF-8, de_DE.UTF-8@euro
    error[invalid-value]: not the name of a time zone
      at t.yml:5:13
      field: systemConfig.timezone
      found: `Europe//Berlin`
      allowed: UTC, Europe/Berlin, America/New_York
    error[invalid-value]: not a group name
      at t.yml:6:19
      field: systemConfig.groups[9x]
      found: `9x`
      allowed: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32
    error[invalid-value]: not a number of an account or group
      at t.yml:6:28
      field: systemConfig.groups[9x].gid
      found: `4294967295`
      allowed: 0 to 4294967294
    error[invalid-value]: not a group name
      at t.yml:7:54
      field: systemConfig.users[ann].primaryGroup
      found: `a b`
      allowed: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32
    error[invalid-value]: not a number of an account or group
      at t.yml:7:28
      field: systemConfig.users[ann].uid
      found: `4294967295`
      allowed: 0 to 4294967294
    error[invalid-value]: not the name of a unit
      at t.yml:8:28
      field: systemConfig.services.enable
      found: `a b`
      allowed: ssh, chrony.service, getty@ttyS1.service
    error[contradiction]: `ssh` is in `enable` and in `mask`
      at t.yml:8:23
      field: systemConfig.services
    ");
}

#[test]
fn commands_and_scripts() {
    insta::assert_snapshot!(after_head("systemConfig:\n  configurations:\n    - {cmd: a, script: b}\n    - {stage: finalize}\n    - {cmd: a, args: b}\n    - {script: missing.sh}\n    - {cmd: ' '}\n"), @r"
    error[contradiction]: an entry has either `cmd` or `script`, and here are both
      at t.yml:5:13
      field: systemConfig.configurations[]
    error[missing-field]: an entry needs `cmd` or `script`
      at t.yml:6:7
      field: systemConfig.configurations[]
      hint: `cmd`: a command; `script`: a file of this machine to run in the image
    error[contradiction]: `args` belong to a `script`; write them into `cmd`
      at t.yml:7:22
      field: systemConfig.configurations[].args
    error[missing-file]: local file missing.sh does not exist
      at t.yml:8:16
      field: systemConfig.configurations[].script
      hint: relative paths start from the folder of the template that has them
    error[invalid-value]: a command is a text of at least one word
      at t.yml:9:13
      field: systemConfig.configurations[].cmd
    ");
}

#[test]
fn network_interfaces() {
    insta::assert_snapshot!(after_head("systemConfig:\n  network:\n    interfaces:\n      - {name: eth0, dhcp4: true, addresses: [192.0.2.7/24]}\n      - {name: an-interface-name, addresses: [192.0.2.7], nameservers: [one]}\n      - {name: eth1}\n      - {name: eth2, dhcp6: true, routes: [{to: default}, {to: 10.0.0.0/33, via: 10.0.0.1}]}\n"), @r"
    error[contradiction]: an interface has either DHCP or fixed IPv4 addresses, and here are both
      at t.yml:6:29
      field: systemConfig.network.interfaces[eth0].dhcp4
    error[invalid-value]: not the name of a network interface
      at t.yml:7:16
      field: systemConfig.network.interfaces[an-interface-name]
      found: `an-interface-name`
      allowed: eth0, enp1s0
    error[invalid-value]: not an address with the length of its prefix
      at t.yml:7:47
      field: systemConfig.network.interfaces[an-interface-name].addresses
      found: `192.0.2.7`
      allowed: 192.0.2.7/24, 2001:db8::7/64
    error[invalid-value]: not an IP address
      at t.yml:7:73
      field: systemConfig.network.interfaces[an-interface-name].nameservers
      found: `one`
      allowed: 192.0.2.1, 2001:db8::1
    error[missing-field]: the interface gets no address
      at t.yml:7:9
      field: systemConfig.network.interfaces[an-interface-name]
      hint: write `dhcp4: true`, or give `addresses`
    error[missing-field]: the interface gets no address
      at t.yml:8:9
      field: systemConfig.network.interfaces[eth1]
      hint: write `dhcp4: true`, or give `addresses`
    error[missing-field]: a route needs `via`, the address of a gateway
      at t.yml:9:44
      field: systemConfig.network.interfaces[eth2].routes
    error[invalid-value]: not an address with the length of its prefix
      at t.yml:9:64
      field: systemConfig.network.interfaces[eth2].routes.to
      found: `10.0.0.0/33`
      allowed: 192.0.2.7/24, 2001:db8::7/64
    ");
    insta::assert_snapshot!(after_head("systemConfig: {network: {backend: netplan}}\n"), @r"
    error[missing-field]: a network needs at least one interface
      at t.yml:3:25
      field: systemConfig.network
      hint: give `interfaces`, or leave `network` out: every wired interface then uses DHCP
    ");
}

/// A template with a group that nobody filled in is valid, and an account without the rights that were wanted is never built.
#[test]
fn a_group_left_open_is_refused_by_build() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("t.yml");
    let text = "image: {name: test, version: 1.0.0}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: raw}\nsystemConfig:\n  users:\n    - {name: ann, groups: [<REQUIRED_GROUP>]}\n";
    std::fs::write(&template, text).unwrap();
    let spec = oic_config::load(&oic_config::LoadRequest { template, ..oic_config::LoadRequest::default() }).unwrap().spec;
    assert_eq!(spec.unsupported.len(), 1);
    assert_eq!(spec.unsupported[0].field, "systemConfig.users[ann].groups");
    assert!(spec.unsupported[0].origin.ends_with("t.yml:5:28"), "{}", spec.unsupported[0].origin);
}

/// Names of older templates and of other tools.
#[test]
fn former_names_are_told() {
    let hint = |target: &str| {
        let text = super::findings(&format!("image: {{name: a, version: 1}}\ntarget: {{{target}, arch: x86_64, imageType: raw}}\n"));
        text.lines().find(|line| line.contains("hint:")).unwrap_or_default().trim().to_owned()
    };
    assert!(hint("os: redhat-compatible-distro, dist: rcd10").contains("`dist: el10`"));
    assert!(hint("os: rhel, dist: rhel10").contains("CentOS Stream 10"));
    assert!(hint("os: emt, dist: emt3").contains("`os: edge-microvisor-toolkit`"));
    let text = super::findings("image: {name: a, version: 1}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: qcow2}\n");
    assert!(text.contains("write `imageType: raw`, and `qcow2` as a type in `disk.artifacts`"), "{text}");
}
