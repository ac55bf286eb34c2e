//! Mistakes in images of other types than a disk.

use super::{after_head, findings};

/// A template for an image of another type.
fn of_type(image_type: &str, more: &str) -> String {
    let target = format!("target: {{os: debian, dist: debian13, arch: x86_64, imageType: {image_type}}}\n");
    findings(&format!("image: {{name: test, version: 1.0.0}}\n{target}{more}"))
}

#[test]
fn images_without_a_disk() {
    for image_type in ["container", "wsl2", "img"] {
        assert_eq!(of_type(image_type, ""), "", "{image_type}");
    }
    insta::assert_snapshot!(of_type("container", "disk:\n  size: 4GiB\n  partitions: []\n  artifacts: [{type: qcow2}, {type: initrd}, {type: oci}]\nsystemConfig:\n  bootloader: {provider: grub}\n  kernel: {cmdline: quiet}\n"), @r"
    error[contradiction]: an image of type `container` has no disk
      at t.yml:4:9
      field: disk.size
      hint: leave it out, or use `imageType: raw`
    error[contradiction]: an image of type `container` has no disk
      at t.yml:5:15
      field: disk.partitions
      hint: leave it out, or use `imageType: raw`
    error[contradiction]: an image of type `container` runs on a kernel that is there already
      at t.yml:9:11
      field: systemConfig.kernel
      hint: leave it out, or use `imageType: raw`
    error[contradiction]: an image of type `container` has no disk
      at t.yml:6:22
      field: disk.artifacts[].type
      allowed: oci, tar, squashfs, ext4
    error[contradiction]: an initramfs of the whole system is what `imageType: img` makes
      at t.yml:6:37
      field: disk.artifacts[].type
      allowed: oci, tar, squashfs, ext4
    warning[notice]: an image of type `container` has no disk that a bootloader could be on: this is left out
      at t.yml:8:15
      field: systemConfig.bootloader
    ");
    insta::assert_snapshot!(of_type("wsl2", "disk:\n  artifacts: [{type: tar, compression: xz}, {type: raw}]\nsystemConfig:\n  network: {interfaces: [{name: eth0, dhcp4: true}]}\n"), @r"
    error[contradiction]: an image of type `wsl2` has the network that WSL makes
      at t.yml:6:12
      field: systemConfig.network
      hint: leave it out, or use `imageType: raw`
    error[contradiction]: a WSL distribution is compressed with gzip
      at t.yml:4:40
      field: disk.artifacts[].compression
      allowed: gz
    error[contradiction]: an image of type `wsl2` has no disk
      at t.yml:4:52
      field: disk.artifacts[].type
      allowed: tar, oci, squashfs, ext4
    ");
    insta::assert_snapshot!(of_type("img", "disk:\n  extendLastPartitionToFillDisk: true\n  artifacts: [{type: initrd, compression: bz2}, {type: vhd}]\n"), @r"
    error[contradiction]: an image of type `img` has no disk
      at t.yml:4:34
      field: disk.extendLastPartitionToFillDisk
      hint: leave it out, or use `imageType: raw`
    error[contradiction]: not every kernel decompresses an initramfs of this kind
      at t.yml:5:43
      field: disk.artifacts[].compression
      allowed: zstd, gz, xz, none
    error[contradiction]: an image of type `img` has no disk
      at t.yml:5:56
      field: disk.artifacts[].type
      allowed: initrd, tar, oci, squashfs, ext4
    ");
    insta::assert_snapshot!(of_type("raw", "disk: {artifacts: [{type: initrd}]}\n"), @r"
    error[contradiction]: an initramfs of the whole system is what `imageType: img` makes
      at t.yml:3:27
      field: disk.artifacts[].type
      allowed: raw, qcow2, vhd, vhd-dynamic, vhdx, vmdk, vmdk-stream, vdi, ova, ext4, squashfs, tar, oci
    ");
}

#[test]
fn a_package_database_of_debian_stays() {
    insta::assert_snapshot!(after_head("systemConfig: {removePackageDatabase: true}\n"), @r"
    error[contradiction]: Debian 13 (trixie) is made of Debian packages, and only the database of RPM can be left out
      at t.yml:3:39
      field: systemConfig.removePackageDatabase
    ");
}
