//! Identifiers, raw binaries, copies of partitions, texts of files, boot without a bootloader.

use super::{HEAD, PARTITIONS, after_head, findings_in};

#[test]
fn what_partitions_are_mounted_by_must_be_there() {
    let text = "disk:\n  size: 4GiB\n  partitions:\n    - {id: esp, type: esp, size: 64MiB, fsType: fat32, mountPoint: /boot/efi, mountIdentifier: label}\n    - {id: raw, type: linux, size: 1MiB, mountIdentifier: uuid}\n    - {id: data, type: linux-srv, size: 8MiB, fsType: squashfs, mountPoint: /srv, mountIdentifier: uuid}\n    - {id: home, name: same, type: linux-home, size: 64MiB, fsType: ext4, mountPoint: /home, mountIdentifier: partlabel}\n    - {id: var, name: same, type: linux-var, size: 64MiB, fsType: ext4, mountPoint: /var}\n    - {id: root, name: the root, type: linux-root, fsType: ext4, mountPoint: /, mountIdentifier: partlabel}\n";
    insta::assert_snapshot!(after_head(text), @r"
    error[invalid-value]: not one of the allowed values
      at t.yml:6:96
      field: disk.partitions[esp].mountIdentifier
      found: `label`
      allowed: partuuid, uuid, partlabel
    error[contradiction]: a partition without a filesystem has no UUID
      at t.yml:7:59
      field: disk.partitions[raw].mountIdentifier
      hint: give `fsType`, or leave it out
    error[contradiction]: a squashfs has no UUID
      at t.yml:8:100
      field: disk.partitions[data].mountIdentifier
      hint: use `partuuid` or `partlabel`
    error[contradiction]: a kernel command line cannot name this partition's label
      at t.yml:11:98
      field: disk.partitions[root].mountIdentifier
      hint: use letters, digits and `_.-+:@` in `name`
    error[contradiction]: 2 partitions have the label `same`, that this one is mounted by
      at t.yml:9:7
      field: disk.partitions[home].mountIdentifier
      hint: give each its own `name`
    ");
    let text = "disk:\n  size: 4GiB\n  partitionTableType: mbr\n  partitions:\n    - {id: root, type: linux, fsType: ext4, mountPoint: /, mountIdentifier: partlabel}\nsystemConfig:\n  bootloader: {bootType: legacy, provider: grub}\n";
    insta::assert_snapshot!(after_head(text), @r"
    error[contradiction]: partitions of an MBR have no labels
      at t.yml:7:77
      field: disk.partitions[root].mountIdentifier
      hint: use `partuuid` or `uuid`, or `partitionTableType: gpt`
    ");
}

#[test]
fn raw_binaries_lie_on_the_disk_and_beside_its_table() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("u-boot.bin"), [1; 1000]).unwrap();
    let root = "    - {id: root, type: linux-root, fsType: ext4, mountPoint: /}\n";
    let binaries = "  rawBinaries:\n    - {local: u-boot.bin, offset: 8KiB}\n    - {local: u-boot.bin, offset: 0}\n    - {local: u-boot.bin, offset: 4GiB}\n    - {local: missing.bin, offset: 64KiB}\n    - {local: u-boot.bin, offset: far}\n    - {local: <BOOT>, offset: 64KiB}\n    - {local: u-boot.bin, offset: 32KiB}\n";
    insta::assert_snapshot!(findings_in(folder.path(), &format!("{HEAD}{PARTITIONS}{root}{binaries}"), &[], &[]), @r"
    error[contradiction]: the GPT lies there, up to byte 17408
      at t.yml:9:35
      field: disk.rawBinaries[u-boot.bin].offset
      found: 8KiB
      allowed: a place behind it, boot code of at most 440 bytes at 0
    error[contradiction]: the GPT lies there, up to byte 17408
      at t.yml:10:35
      field: disk.rawBinaries[u-boot.bin].offset
      found: 0B
      allowed: a place behind it, boot code of at most 440 bytes at 0
    error[contradiction]: it would end at byte 4294968296, and the disk ends at 4GiB
      at t.yml:11:35
      field: disk.rawBinaries[u-boot.bin].offset
    error[missing-file]: local file missing.bin does not exist
      at t.yml:12:15
      field: disk.rawBinaries[missing.bin].local
      hint: relative paths start from the folder of the template that has them
    error[invalid-value]: not a size: `far` does not begin with a number
      at t.yml:13:35
      field: disk.rawBinaries[u-boot.bin].offset
      allowed: 4GiB, 4096MiB, 4GB (decimal)
    error[placeholder]: placeholder `<BOOT>` is not filled in
      at t.yml:14:15
      field: disk.rawBinaries[<BOOT>].local
      hint: write the real value, or remove the entry
    ");
}

#[test]
fn a_copy_is_of_a_partition_that_holds_it() {
    let root = "    - {id: root, type: linux-root, fsType: ext4, mountPoint: /}\n";
    let artifacts = "  artifacts:\n    - {type: raw, partition: rot}\n    - {type: ext4, partition: esp}\n    - {type: qcow2, partition: root}\n    - {type: ext4, partition: root}\n    - {type: ext4, partition: root}\n    - {type: raw, partition: esp, compression: gz}\n";
    insta::assert_snapshot!(after_head(&format!("{PARTITIONS}{root}{artifacts}")), @r"
    error[invalid-value]: the disk has no such partition
      at t.yml:9:30
      field: disk.artifacts[].partition
      found: `rot`
      allowed: esp, root
    error[contradiction]: `esp` does not hold that, and a copy of a partition has the bytes that the partition has
      at t.yml:10:14
      field: disk.artifacts[].type
      allowed: raw, ext4 or squashfs where that is its `fsType`
    error[contradiction]: `root` does not hold that, and a copy of a partition has the bytes that the partition has
      at t.yml:11:14
      field: disk.artifacts[].type
      allowed: raw, ext4 or squashfs where that is its `fsType`
    warning[notice]: the same output file is asked for twice
      at t.yml:13:7
      field: disk.artifacts
    ");
}

#[test]
fn a_file_has_one_source_and_a_name() {
    let text = "systemConfig:\n  hideProcesses: perhaps\n  additionalFiles:\n    - {final: /etc/a}\n    - {final: /etc/b, local: t.yml, content: x}\n    - {final: /etc/c/, content: x}\n    - {final: /etc/d, content: x, owner: no body}\n";
    insta::assert_snapshot!(after_head(text), @r"
    error[wrong-type]: expected true or false
      at t.yml:4:18
      field: systemConfig.hideProcesses
      found: `perhaps`
      allowed: true, false
    error[missing-field]: `local` is missing
      at t.yml:6:7
      field: systemConfig.additionalFiles[/etc/a].local
      hint: `local`: a file of this machine, or `content`: the text itself
    error[contradiction]: a file has either `local` or `content`, and here are both
      at t.yml:7:46
      field: systemConfig.additionalFiles[/etc/b].content
    error[invalid-value]: a file that has its text here needs a name, and `final` is a folder
      at t.yml:8:33
      field: systemConfig.additionalFiles[/etc/c/]
    error[invalid-value]: not a owner name
      at t.yml:9:42
      field: systemConfig.additionalFiles[/etc/d].owner
      found: `no body`
      allowed: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32
    ");
    let text = "image: {name: test, version: 1.0.0}\ntarget: {os: debian, dist: debian13, arch: x86_64, imageType: container}\nsystemConfig: {hideProcesses: true}\n";
    insta::assert_snapshot!(super::findings(text), @r"
    error[contradiction]: an image of type `container` has no fstab of its own that could say how /proc is mounted
      at t.yml:3:31
      field: systemConfig.hideProcesses
    ");
}

#[test]
fn an_interface_has_a_hardware_address_of_six_bytes() {
    let text = "systemConfig:\n  network:\n    interfaces:\n      - {name: lan-of-the-building, macAddress: \"52:54:00:12:34\", dhcp4: true}\n      - {name: a-name-that-is-too-long, dhcp4: true}\n";
    insta::assert_snapshot!(after_head(text), @r"
    error[invalid-value]: not a hardware address
      at t.yml:6:49
      field: systemConfig.network.interfaces[lan-of-the-building].macAddress
      found: `52:54:00:12:34`
      allowed: 52:54:00:12:34:56
    error[invalid-value]: not the name of a network interface
      at t.yml:7:16
      field: systemConfig.network.interfaces[a-name-that-is-too-long]
      found: `a-name-that-is-too-long`
      allowed: eth0, enp1s0
    ");
}

#[test]
fn a_foreign_root_is_told_of_and_a_unified_image_needs_uefi() {
    insta::assert_snapshot!(after_head("systemConfig:\n  kernel: {cmdline: root=/dev/nfs quiet}\n"), @r"
    warning[notice]: the kernel is told `root=/dev/nfs`, and nothing checks that this is the disk's partition at `/`
      at t.yml:4:21
      field: systemConfig.kernel.cmdline
      hint: leave `root=` out, oic finds the root partition by itself
    ");
    let text = "disk:\n  size: 4GiB\n  partitions:\n    - {id: bios, type: bios, size: 1MiB}\n    - {id: root, type: linux-root, fsType: ext4, mountPoint: /}\nsystemConfig:\n  bootloader: {bootType: legacy, provider: grub}\n  kernel: {uki: true}\n";
    insta::assert_snapshot!(after_head(text), @r"
    error[contradiction]: a unified kernel image is a program for UEFI firmware, and this disk starts on BIOS, too
      at t.yml:10:17
      field: systemConfig.kernel.uki
      hint: leave `uki` out, or use `bootType: efi`
    ");
}
