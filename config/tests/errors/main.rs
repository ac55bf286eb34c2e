//! What users read when a template is wrong: every message, word for word.

mod images;
mod system;
mod types;

use std::path::Path;

use oic_config::{LoadRequest, load};

/// The first lines of a template with nothing wrong in them.
const HEAD: &str = "image: {name: test, version: 1.0.0}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: raw}\n";

/// A disk with nothing wrong in it.
const PARTITIONS: &str =
    "disk:\n  size: 4GiB\n  partitions:\n    - {id: esp, type: esp, start: 1MiB, end: 257MiB, fsType: fat32, mountPoint: /boot/efi}\n";

/// Loads `text` as `t.yml` with these `--set`s and returns the findings as they are printed.
fn findings_with(text: &str, sets: &[&str], vars: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    findings_in(folder.path(), text, sets, vars)
}

fn findings_in(folder: &Path, text: &str, sets: &[&str], vars: &[(&str, &str)]) -> String {
    let template = folder.join("t.yml");
    std::fs::write(&template, text).unwrap();
    let request = LoadRequest {
        template,
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..LoadRequest::default()
    };
    let text = match load(&request) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(report) => report.to_string(),
    };
    text.replace(&format!("{}/", folder.display()), "")
}

fn findings(text: &str) -> String {
    findings_with(text, &[], &[])
}

/// Findings of a template that is a good head and `text`.
fn after_head(text: &str) -> String {
    findings(&format!("{HEAD}{text}"))
}

#[test]
fn a_good_template_has_no_findings() {
    assert_eq!(after_head(""), "");
    assert_eq!(after_head(&format!("{PARTITIONS}    - {{id: root, type: linux-root, fsType: ext4, mountPoint: /}}\n")), "");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    insta::assert_snapshot!(findings("image: {name: -x-, versoin: 1}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: raw}\nsystemConfig:\n  hostname: a_b\n  packages: [Ok, 'no good', vim]\n  kernel: {uki: perhaps}\n"), @r"
    error[missing-field]: `version` is missing
      at t.yml:1:8
      field: image.version
      hint: `version`: One to three numbers, and more after `+` or `-`
    error[unknown-field]: unknown field `versoin`
      at t.yml:1:20
      field: image.versoin
      allowed: name, version
      hint: did you mean `version`?
    error[wrong-type]: expected true or false
      at t.yml:6:17
      field: systemConfig.kernel.uki
      found: `perhaps`
      allowed: true, false
    error[invalid-value]: not a name for an image
      at t.yml:1:15
      field: image.name
      found: `-x-`
      allowed: letters, digits, `-` and `_`, a letter or digit at both ends
    error[invalid-value]: not a package
      at t.yml:5:18
      field: systemConfig.packages
      found: `no good`
      allowed: name, glob*, name_version, name=version, name >= version
    error[invalid-value]: not a host name
      at t.yml:4:13
      field: systemConfig.hostname
      found: `a_b`
      allowed: letters, digits and `-`, at most 64 characters
    ");
}

#[test]
fn yaml_that_is_none() {
    insta::assert_snapshot!(findings("image: {name: a\ntarget: [\n"), @r##"
    error[syntax]: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
      at t.yml:2:7
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n\thostname: a\n"), @r##"
    error[syntax]: not valid YAML: tabs disallowed within this context (block indentation)
      at t.yml:4:2
    "##);
    insta::assert_snapshot!(after_head("---\nimage: {}\n"), @r##"
    error[syntax]: a template is one document, and this is a second one
      at t.yml:3:1
      hint: remove the `---` line
    "##);
}

#[test]
fn a_key_given_twice() {
    insta::assert_snapshot!(after_head("systemConfig:\n  hostname: a\n  hostname: b\n"), @r##"
    error[duplicate]: key `hostname` is given twice, first in line 4
      at t.yml:5:3
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - name: ann\n    - name: ann\n"), @r##"
    error[duplicate]: `ann` is given twice, first in line 5
      at t.yml:6:7
      field: systemConfig.users[ann]
    "##);
}

#[test]
fn unknown_fields_and_values() {
    insta::assert_snapshot!(after_head("systemConfig:\n  hostnmae: a\n"), @r"
    error[unknown-field]: unknown field `hostnmae`
      at t.yml:4:3
      field: systemConfig.hostnmae
      allowed: name, description, hostname, locale, timezone, initramfs, immutability, groups, users, services, bootloader, packages, excludes, weakDependencies, packageDocs, packageLanguages, removePackageDatabase, keepPackageCache, hideProcesses, enableSystemdFirstboot, additionalFiles, configurations, kernel, fde, network, proxy, provisioning, cloudInit, aptPolicy, dkms, installerPayload
      hint: did you mean `hostname`?
    ");
    insta::assert_snapshot!(after_head("disk:\n  partitionTableType: gtp\n"), @r##"
    error[invalid-value]: not one of the allowed values
      at t.yml:4:23
      field: disk.partitionTableType
      found: `gtp`
      allowed: gpt, mbr
      hint: did you mean `gpt`?
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n  users: {name: a}\n  hostname: [a]\n"), @r##"
    error[wrong-type]: expected a list (`- item` lines)
      at t.yml:4:10
      field: systemConfig.users
      found: a mapping
    error[wrong-type]: expected a text
      at t.yml:5:13
      field: systemConfig.hostname
      found: a list
    "##);
    insta::assert_snapshot!(after_head("systemConfig:\n  users:\n    - ann\n"), @r##"
    error[wrong-type]: expected a mapping, or `-KEY` to remove an entry
      at t.yml:5:7
      field: systemConfig.users[0]
      found: `ann`
    "##);
    insta::assert_snapshot!(after_head("builder: {cpus: many}\n"), @r##"
    error[wrong-type]: expected a whole number
      at t.yml:3:17
      field: builder.cpus
      found: `many`
      allowed: 0 to 4294967295
    "##);
}

#[test]
fn missing_fields() {
    insta::assert_snapshot!(findings("image: {name: a}\n"), @r##"
    error[missing-field]: `target` is missing
      at t.yml:1:1
      field: target
      hint: `target`: What the image is an image of
    error[missing-field]: `version` is missing
      at t.yml:1:8
      field: image.version
      hint: `version`: One to three numbers, and more after `+` or `-`
    "##);
}

#[test]
fn unknown_targets() {
    let target = |target: &str| findings(&format!("image: {{name: test, version: 1.0.0}}\ntarget: {target}\n"));
    insta::assert_snapshot!(target("{os: debain, dist: debian13, arch: x86_64, imageType: raw}"), @r##"
    error[target]: there is no data for this operating system
      at t.yml:2:14
      field: target.os
      found: `debain`
      allowed: azure-linux, debian, edge-microvisor-toolkit, redhat-compatible-distro, ubuntu, wind-river-elxr
      hint: did you mean `debian`?
    "##);
    insta::assert_snapshot!(target("{os: debian, dist: debian11, arch: x86_64, imageType: raw}"), @r##"
    error[target]: there is no data for this distribution of debian
      at t.yml:2:28
      field: target.dist
      found: `debian11`
      allowed: debian12, debian13
      hint: did you mean `debian12`?
    "##);
    insta::assert_snapshot!(target("{os: debian, dist: debian12, arch: riscv64, imageType: raw}"), @r##"
    error[target]: Debian 12 (bookworm) has no data for riscv64
      at t.yml:2:44
      field: target.arch
      found: `riscv64`
      allowed: aarch64, x86_64
    "##);
    insta::assert_snapshot!(target("{os: debian, dist: debian12, arch: armv7hl, imageType: raw}"), @r##"
    error[target]: no distribution has data for armv7hl
      at t.yml:2:44
      field: target.arch
      found: `armv7hl`
      allowed: x86_64, aarch64, riscv64
    "##);
}

#[test]
fn disks_that_do_not_fit() {
    let disk = |more: &str| after_head(&format!("{PARTITIONS}{more}"));
    insta::assert_snapshot!(disk("    - {id: root, type: linux-root, start: 200MiB, fsType: ext4, mountPoint: /}\n"), @r##"
    error[contradiction]: partition starts at 200MiB, and `esp` before it ends at 257MiB
      at t.yml:7:7
      field: disk.partitions[root].start
    "##);
    insta::assert_snapshot!(disk("    - {id: root, type: linux-root, end: 4GiB, fsType: ext4, mountPoint: /}\n"), @r##"
    error[contradiction]: partition ends at 4GiB, and a disk of 4GiB has room up to 4194284KiB
      at t.yml:7:7
      field: disk.partitions[root].end
      hint: write `end: "0"` for the rest of the disk, or make `disk.size` larger
    "##);
    insta::assert_snapshot!(disk("    - {id: root, type: linux-root, size: 9GiB, fsType: ext4, mountPoint: /}\n"), @r##"
    error[contradiction]: partition ends at 9473MiB, and a disk of 4GiB has room up to 4194284KiB
      at t.yml:7:7
      field: disk.partitions[root].end
      hint: write `end: "0"` for the rest of the disk, or make `disk.size` larger
    "##);
    insta::assert_snapshot!(disk("    - {id: root, type: linux-root, start: 4XB, fsType: ext4, mountPoint: /}\n"), @r##"
    error[invalid-value]: not a size: `XB` in `4XB` is not a unit of size
      at t.yml:7:43
      field: disk.partitions[root].start
      allowed: 4GiB, 4096MiB, 4GB (decimal)
    "##);
    insta::assert_snapshot!(disk("    - {id: root, type: linux-root, fsType: ext4, mountPoint: /}\n    - {id: home, type: linux-home, fsType: ext4, mountPoint: /home}\n"), @r##"
    error[contradiction]: only the last partition can take what is left of the disk
      at t.yml:7:7
      field: disk.partitions[root]
      hint: give `end` or `size`
    "##);
    insta::assert_snapshot!(disk(""), @r##"
    error[missing-field]: no partition is mounted at `/`
      at t.yml:4:3
      field: disk.partitions
    "##);
    insta::assert_snapshot!(after_head("disk: {partitions: [{id: esp, type: esp, size: 16MiB, fsType: fat32}, {id: root, type: linux-rot, fsType: ext4, mountPoint: /}]}\n"), @r##"
    error[invalid-value]: not a partition type
      at t.yml:3:88
      field: disk.partitions[root].type
      found: `linux-rot`
      allowed: linux, esp, xbootldr, linux-root-amd64, linux-root-arm64, linux-root-riscv64, linux-swap, linux-home, linux-srv, linux-var, linux-tmp, bios, bios-boot, extended, linux-lvm, linux-raid, linux-luks, linux-dm-crypt, linux-root
      hint: did you mean `linux-root`?
    error[contradiction]: fat32 needs at least 34MiB, and this partition has 16MiB
      at t.yml:3:21
      field: disk.partitions[esp]
      hint: make it larger (512MiB holds two kernels), or use `fat16`
    "##);
    insta::assert_snapshot!(after_head("disk: {partitions: [{id: root, fsType: fat32, mountPoint: /}]}\n"), @r##"
    error[contradiction]: FAT cannot hold a Linux system; use `ext4`
      at t.yml:3:21
      field: disk.partitions[root].fsType
    error[missing-field]: UEFI firmware needs an EFI system partition, and there is none
      at t.yml:3:7
      field: disk.partitions
      hint: add a partition with `type: esp`, `fsType: fat32` and 512MiB
    "##);
}

/// A good ESP and root in the list, then `more`.
fn disk_with(settings: &str, partitions: &str, more: &str) -> String {
    after_head(&format!("disk: {{{settings}partitions: [{partitions}]}}\n{more}"))
}

const ESP: &str = "{id: esp, type: esp, size: 64MiB, fsType: fat32}";
const ROOT: &str = "{id: root, type: linux-root, size: 1GiB, fsType: ext4, mountPoint: /}";
const LEGACY: &str = "systemConfig: {bootloader: {bootType: legacy, provider: grub}}\n";

#[test]
fn tables_that_cannot_be() {
    let mbr = |partitions: &str| disk_with("partitionTableType: mbr, ", &format!("{ESP}, {partitions}"), "");
    insta::assert_snapshot!(mbr("{id: root, type: linux-root, size: 1GiB, fsType: ext4, mountPoint: /, flags: [logical]}"), @r##"
    error[contradiction]: a logical partition lies in an extended one, and none is before it
      at t.yml:3:96
      field: disk.partitions[root].flags
      hint: put a partition with `type: extended` directly before it
    "##);
    insta::assert_snapshot!(mbr(&format!("{ROOT}, {{id: more, type: extended, size: 1GiB, fsType: ext4}}")), @r##"
    error[contradiction]: an extended partition holds logical partitions, not a filesystem
      at t.yml:3:214
      field: disk.partitions[more].fsType
      hint: leave `fsType` out, and add partitions with `flags: [logical]`
    error[contradiction]: an extended partition is there for logical ones, and none follows it
      at t.yml:3:167
      field: disk.partitions[more]
      hint: give the partitions after it `flags: [logical]`, or leave it out
    "##);
    insta::assert_snapshot!(mbr(&format!("{ROOT}, {{id: a, type: linux, size: 1MiB}}, {{id: b, type: linux, size: 1MiB, name: b}}, {{id: c, type: linux, size: 1MiB, flags: [read-only]}}")), @r##"
    error[contradiction]: `read-only` is an attribute of GPT partitions, and this table is an MBR
      at t.yml:3:285
      field: disk.partitions[c].flags
    error[contradiction]: an MBR has room for four partitions that are not logical, and this is one more
      at t.yml:3:244
      field: disk.partitions[c]
      hint: add a partition with `type: extended` and give those after it `flags: [logical]`, or use `partitionTableType: gpt`
    warning[notice]: partitions of an MBR have no labels: the name is left out
      at t.yml:3:240
      field: disk.partitions[b].name
    "##);
    insta::assert_snapshot!(mbr(&format!("{ROOT}, {{id: bios, type: bios, size: 1MiB}}, {{id: luks, type: linux-luks, size: 1MiB}}")), @r##"
    error[contradiction]: an MBR has no BIOS boot partition: GRUB lies before its first partition
      at t.yml:3:184
      field: disk.partitions[bios].type
      hint: leave the partition out, or use `partitionTableType: gpt`
    error[contradiction]: an MBR has no number for this type
      at t.yml:3:220
      field: disk.partitions[luks].type
      hint: give one, such as `typeUUID: "0x83"`, or use `partitionTableType: gpt`
    "##);
    insta::assert_snapshot!(mbr(&format!("{ROOT}, {{id: more, type: extended, size: 1GiB}}, {{id: home, type: linux, start: 1090MiB, size: 2GiB, flags: [logical]}}")), @r##"
    error[contradiction]: logical partition ends at 3138MiB, and the extended one around it at 2113MiB
      at t.yml:3:207
      field: disk.partitions[home].end
    "##);
    insta::assert_snapshot!(disk_with("size: 3TiB, partitionTableType: mbr, ", &format!("{ESP}, {ROOT}"), ""), @r##"
    error[contradiction]: an MBR counts sectors up to 2TiB, and the disk has 3TiB
      at t.yml:3:7
      field: disk.size
      hint: use `partitionTableType: gpt`
    "##);
    let gpt = |partitions: &str| disk_with("", &format!("{ESP}, {ROOT}, {partitions}"), "");
    insta::assert_snapshot!(gpt("{id: more, type: extended, size: 1MiB}, {id: home, type: linux, size: 1MiB, flags: [logical]}, {id: x, typeUUID: '0x83', size: 1MiB}"), @r##"
    error[contradiction]: only an MBR has an extended partition, and this table is a GPT
      at t.yml:3:159
      field: disk.partitions[more].type
      hint: leave it out: a GPT has room for 128 partitions
    error[contradiction]: only an MBR has logical partitions, and this table is a GPT
      at t.yml:3:226
      field: disk.partitions[home].flags
      hint: leave the flag out: a GPT has room for 128 partitions
    error[contradiction]: types of a GPT are GUIDs, and this is the number of a type in an MBR
      at t.yml:3:255
      field: disk.partitions[x].typeUUID
      hint: give the GUID, or the purpose in `type`
    "##);
    insta::assert_snapshot!(gpt("{id: x, typeUUID: '0x8', size: 1MiB, flags: [esp]}"), @r##"
    error[invalid-value]: not a GUID
      at t.yml:3:160
      field: disk.partitions[x].typeUUID
      found: `0x8`
      allowed: 0fc63daf-8483-4772-8e79-3d69d8477de4, 0x83 in an MBR
    error[invalid-value]: flag `esp` says nothing about a partition of this type
      at t.yml:3:187
      field: disk.partitions[x].flags
      allowed: required, legacy-boot, grow-file-system, read-only, hidden, no-auto, noauto, boot, esp, bios-grub, swap, bls-boot, lvm, raid, active, logical
      hint: give the partition's purpose in `type`, and leave the flag out
    "##);
}

#[test]
fn bootloaders_that_do_not_fit() {
    insta::assert_snapshot!(disk_with("", &format!("{ESP}, {ROOT}"), LEGACY), @r##"
    error[missing-field]: BIOS firmware starts GRUB from a BIOS boot partition of the GPT, and there is none
      at t.yml:3:7
      field: disk.partitions
      hint: add a partition with `type: bios` and `size: 1MiB`, or use `partitionTableType: mbr`
    "##);
    insta::assert_snapshot!(disk_with("", &format!("{{id: bios, type: bios, size: 1MiB}}, {{id: b2, type: bios, size: 1MiB}}, {ROOT}"), LEGACY), @r##"
    error[contradiction]: a disk has one BIOS boot partition
      at t.yml:3:57
      field: disk.partitions[b2]
    "##);
    insta::assert_snapshot!(disk_with("", &format!("{ESP}, {ROOT}"), "systemConfig: {bootloader: {bootType: legacy, provider: systemd-boot}}\n"), @r##"
    error[contradiction]: systemd-boot needs UEFI firmware, and `bootType` is `legacy`
      at t.yml:4:39
      field: systemConfig.bootloader.bootType
      hint: use `provider: grub`
    error[missing-field]: BIOS firmware starts GRUB from a BIOS boot partition of the GPT, and there is none
      at t.yml:3:7
      field: disk.partitions
      hint: add a partition with `type: bios` and `size: 1MiB`, or use `partitionTableType: mbr`
    "##);
    insta::assert_snapshot!(findings(&format!("image: {{name: test, version: 1.0.0}}\ntarget: {{os: debian, dist: debian13, arch: aarch64, imageType: raw}}\n{LEGACY}")), @r##"
    error[contradiction]: machines of aarch64 have no BIOS firmware
      at t.yml:3:39
      field: systemConfig.bootloader.bootType
      hint: use `bootType: efi`
    error[missing-field]: BIOS firmware starts GRUB from a BIOS boot partition of the GPT, and there is none
      at builtin:osv/debian/debian13/imageconfigs/defaultconfigs/default-raw-aarch64.yml:5:3
      field: disk.partitions
      hint: add a partition with `type: bios` and `size: 1MiB`, or use `partitionTableType: mbr`
    "##);
    insta::assert_snapshot!(disk_with("", &format!("{ESP}, {{id: root, type: linux-root, size: 1GiB, fsType: erofs, mountPoint: /}}"), "systemConfig: {bootloader: {provider: grub}}\n"), @r##"
    error[contradiction]: GRUB does not find kernels on squashfs and erofs, and they are on this partition
      at t.yml:3:71
      field: disk.partitions[root].fsType
      hint: add a partition for `/boot` with ext4, or use `provider: systemd-boot`
    "##);
}

#[test]
fn subvolumes_and_growing() {
    let root = |fields: &str| disk_with("", &format!("{ESP}, {{id: root, type: linux-root, size: 1GiB, {fields}}}"), "");
    insta::assert_snapshot!(root("fsType: ext4, mountPoint: /, subvolumes: [{name: a}]"), @r##"
    error[contradiction]: only btrfs has subvolumes
      at t.yml:3:153
      field: disk.partitions[root].subvolumes
      hint: write `fsType: btrfs`
    "##);
    insta::assert_snapshot!(root("fsType: btrfs, subvolumes: [{name: a/b, mountPoint: /}, {name: '@', mountPoint: /}, {name: '@', mountPoint: srv}]"), @r##"
    error[invalid-value]: not a name of a subvolume, or one that is given twice
      at t.yml:3:147
      field: disk.partitions[root].subvolumes[].name
      found: `a/b`
      allowed: letters, digits, `@`, `.`, `_`, `+` and `-`
    error[invalid-value]: not a name of a subvolume, or one that is given twice
      at t.yml:3:203
      field: disk.partitions[root].subvolumes[].name
      found: `@`
      allowed: letters, digits, `@`, `.`, `_`, `+` and `-`
    error[invalid-value]: not a mount point
      at t.yml:3:220
      field: disk.partitions[root].subvolumes.mountPoint
      found: `srv`
      allowed: an absolute path such as /home, none
    error[contradiction]: two partitions are mounted at /
      at t.yml:3:71
      field: disk.partitions[root].mountPoint
    "##);
    insta::assert_snapshot!(root("fsType: btrfs, subvolumes: [{mountPoint: /}]"), @r##"
    error[missing-field]: `name` is missing
      at t.yml:3:140
      field: disk.partitions[root].subvolumes[0].name
      hint: `name`: Its name, `@home`
    error[missing-field]: no partition is mounted at `/`
      at t.yml:3:7
      field: disk.partitions
    "##);
    let grows = "extendLastPartitionToFillDisk: true, ";
    insta::assert_snapshot!(disk_with(grows, &format!("{ROOT}, {ESP}"), ""), @r##"
    error[contradiction]: `esp` is the last partition, and its content cannot grow
      at t.yml:3:39
      field: disk.extendLastPartitionToFillDisk
      hint: put a partition with ext4, xfs or btrfs last, or write `false`
    "##);
    insta::assert_snapshot!(disk_with(&format!("partitionTableType: mbr, {grows}"), &format!("{ESP}, {ROOT}"), ""), @r##"
    error[contradiction]: partitions of an MBR do not grow at first boot: systemd-repart changes GPT only
      at t.yml:3:64
      field: disk.extendLastPartitionToFillDisk
      hint: use `partitionTableType: gpt`, or write `false`
    "##);
    insta::assert_snapshot!(disk_with(grows, &format!("{ESP}, {{id: a, type: linux, size: 1MiB, fsType: ext4}}, {{id: b, type: linux, size: 1GiB, fsType: ext4, mountPoint: /}}"), ""), @r##"
    error[contradiction]: `b` has the same type as another partition, so that systemd-repart cannot tell which one grows
      at t.yml:3:39
      field: disk.extendLastPartitionToFillDisk
      hint: give it another `type`, such as linux-home or linux-var
    "##);
}

#[test]
fn repositories() {
    insta::assert_snapshot!(after_head("packageRepositories:\n  - {codename: a, url: 'https://x.org/', pkey: <PUBLIC_KEY_URL>}\n"), @r##"
    error[placeholder]: placeholder `<PUBLIC_KEY_URL>` is not filled in
      at t.yml:4:48
      field: packageRepositories[a].pkey
      hint: write the real value, or remove the entry
    "##);
    insta::assert_snapshot!(after_head("packageRepositories:\n  - {codename: a, url: 'ftp://x.org/'}\n  - {codename: b, pkey: '[trusted=yes]'}\n"), @r##"
    error[invalid-value]: not the URL of a repository
      at t.yml:4:24
      field: packageRepositories[a].url
      found: `ftp://x.org/`
      allowed: https://…, http://…
    error[missing-field]: a repository needs the key that signs it, and none is given
      at t.yml:4:5
      field: packageRepositories[a]
      hint: give `pkey` or `pkeys`; `pkey: "[trusted=yes]"` takes packages that nobody has signed
    error[missing-field]: a repository needs `url` or `path`
      at t.yml:5:5
      field: packageRepositories[b]
    warning[notice]: packages of this repository are taken unverified
      at t.yml:5:25
      field: packageRepositories[b].pkey
    "##);
}

#[test]
fn files() {
    insta::assert_snapshot!(after_head("systemConfig:\n  additionalFiles:\n    - {local: none.txt, final: etc/x, mode: 888}\n    - {local: none.txt, final: /etc/x}\n").replace(&std::env::temp_dir().display().to_string(), "TMP"), @r##"
    error[invalid-value]: not an absolute path in the image
      at t.yml:5:32
      field: systemConfig.additionalFiles[etc/x].final
      found: `etc/x`
      allowed: /path/without/dots
    error[missing-file]: local file none.txt does not exist
      at t.yml:6:15
      field: systemConfig.additionalFiles[/etc/x].local
      hint: relative paths start from the folder of the template that has them
    "##);
}

#[test]
fn variables() {
    insta::assert_snapshot!(findings_with(&format!("{HEAD}systemConfig: {{hostname: '${{HOSTNAM}}'}}\n"), &[], &[("HOSTNAME", "a")]), @r##"
    error[variable]: variable `HOSTNAM` is not set
      at t.yml:3:26
      field: systemConfig.hostname
      hint: did you mean `HOSTNAME`, which is set?
    warning[variable]: `--var HOSTNAME` is not used by any template
      hint: did you mean `HOSTNAM`?
    "##);
}

#[test]
fn assignments() {
    let set = |set: &str| findings_with(HEAD, &[set], &[]);
    insta::assert_snapshot!(set("disk.size"), @r##"
    error[invalid-value]: `--set disk.size` has no `=`
      at command line
      hint: write `--set path.to.field=value`
    "##);
    insta::assert_snapshot!(set("disk.sise=4GiB"), @r"
    error[unknown-field]: unknown field `sise`
      at command line
      field: disk.sise
      allowed: name, path, artifacts, size, maxSize, partitionTableType, partitions, rawBinaries, selectionPolicy, extendLastPartitionToFillDisk
      hint: did you mean `size`?
    ");
    insta::assert_snapshot!(set("disk.partitions[nowhere].fsType=ext4"), @r##"
    error[invalid-value]: `--set disk.partitions[nowhere].fsType` finds nothing to set
      at command line
      hint: entries of a list are named by their number from 0, or by id, name, final or codename
    "##);
    insta::assert_snapshot!(set("disk.partitions[rootfs].fsType=ext5"), @r##"
    error[invalid-value]: not one of the allowed values
      at command line
      field: disk.partitions[rootfs].fsType
      found: `ext5`
      allowed: fat32, fat16, vfat, ext2, ext3, ext4, xfs, btrfs, f2fs, squashfs, erofs, linux-swap, swap
      hint: did you mean `ext2`?
    "##);
    assert_eq!(set("disk.partitions[rootfs].fsLabel=root"), "");
}

#[test]
fn extends() {
    insta::assert_snapshot!(after_head("extends: nowhere.yml\n"), @r##"
    error[extends]: cannot read nowhere.yml: No such file or directory (os error 2)
      at t.yml:3:10
      field: extends
    "##);
    insta::assert_snapshot!(after_head("extends: t.yml\n"), @r##"
    error[extends]: t.yml extends itself through this
      at t.yml:3:10
      field: extends
    "##);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("parent.yml"), HEAD.replace("debian13", "debian12")).unwrap();
    insta::assert_snapshot!(findings_in(folder.path(), &format!("{HEAD}extends: parent.yml\n"), &[], &[]), @r##"
    error[extends]: parent.yml is for another dist than the template that extends it
      at t.yml:2:28
      field: target.dist
      found: `debian13`
      allowed: debian12
    "##);
}

#[test]
fn boot() {
    insta::assert_snapshot!(after_head("systemConfig:\n  bootloader: {bootType: legacy, provider: systemd-boot}\n  kernel: {enableExtraModules: 'a b;c'}\nsnapshot: yesterday\n"), @r##"
    error[contradiction]: systemd-boot needs UEFI firmware, and `bootType` is `legacy`
      at t.yml:4:26
      field: systemConfig.bootloader.bootType
      hint: use `provider: grub`
    error[invalid-value]: not the name of a kernel module
      at t.yml:5:32
      field: systemConfig.kernel.enableExtraModules
      found: `b;c`
    error[missing-field]: BIOS firmware starts GRUB from a BIOS boot partition of the GPT, and there is none
      at builtin:osv/debian/debian13/imageconfigs/defaultconfigs/default-raw-x86_64.yml:5:3
      field: disk.partitions
      hint: add a partition with `type: bios` and `size: 1MiB`, or use `partitionTableType: mbr`
    error[invalid-value]: not a time of a package archive
      at t.yml:6:11
      field: snapshot
      found: `yesterday`
      allowed: latest, 20261101T000000Z
    "##);
}

#[test]
fn removals_of_nothing_are_told() {
    insta::assert_snapshot!(after_head("systemConfig:\n  packages: [-emacs, -apt]\n"), @r##"
    warning[notice]: `-emacs` removes nothing: no earlier layer has `emacs`
      at t.yml:4:14
      field: systemConfig.packages
    "##);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 200, ..Default::default() })]

    /// Whatever a template is turned into, the answer is a spec or findings.
    #[test]
    fn damaged_templates_end_in_findings(at in 0usize..2000, cut in 0usize..40, insert in "[-a-z0-9:{}\\[\\],'\"&*!|>%@` \n\t#$<~]{0,12}") {
        let text = include_str!("../../../image-templates/debian13-x86_64-grub-raw.yml");
        let start = at.min(text.len());
        let end = (start + cut).min(text.len());
        let damaged = format!("{}{insert}{}", &text[..start], &text[end..]);
        let _ = findings(&damaged);
    }
}
