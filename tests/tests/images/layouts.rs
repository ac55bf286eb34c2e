//! The templates of other disks and filesystems: built, booted by the firmware that `oic boot` finds, and seen from outside.

use oic_tests::all_tests;

use super::{boot_check_with, build, check_outputs, lab, oic, sandbox_with};

/// Builds a template that users start from, boots it, and checks what `oic inspect` says of its filesystems and its system.
fn builds_and_boots(test: &str, name: &str, firmware: &str, expected: &[&str]) {
    let Some(lab) = lab(test) else { return };
    let sandbox = sandbox_with(&format!("debian13-x86_64-{name}-raw.yml"));
    build(&sandbox, lab.cache(), &[]);
    let image = format!("debian13-{name}-13.0.raw");
    check_outputs(&sandbox, &[&image]);
    let image = format!("out/{image}");
    let seen = oic(&sandbox, lab.cache(), &["inspect", &image]).run();
    assert_eq!(seen.code, Some(0), "{seen}");
    for line in ["Debian GNU/Linux 13", "packages"].iter().chain(expected) {
        assert!(seen.stdout.contains(line), "`{line}` is not in {seen}");
    }
    assert!(!seen.stdout.contains("problems"), "{seen}");
    let booted = boot_check_with(&sandbox, lab.cache(), &image, &[]);
    assert!(booted.stderr.contains(firmware), "`{firmware}` is not in {booted}");
    // What cannot be is said at once.
    let refused = oic(&sandbox, lab.cache(), &["boot", "--check", "--progress", "none", "--offline", "--bios", &image]).run();
    let is_for_bios = firmware.contains("BIOS");
    assert_eq!(refused.stderr.contains("has no boot code that BIOS firmware starts"), !is_for_bios, "{refused}");
}

#[test]
fn an_mbr_with_grub_is_started_by_bios() {
    let test = "layouts::an_mbr_with_grub_is_started_by_bios";
    if all_tests(test) {
        builds_and_boots(test, "mbr", "firmware: BIOS, for the image has boot code", &["ext3", "extended", "swap"]);
    }
}

#[test]
fn btrfs_with_subvolumes_and_plain_entries() {
    let test = "layouts::btrfs_with_subvolumes_and_plain_entries";
    if all_tests(test) {
        builds_and_boots(test, "btrfs", "firmware: UEFI", &["btrfs", "subvolume", "type1"]);
    }
}

#[test]
fn xfs_with_signed_grub() {
    let test = "layouts::xfs_with_signed_grub";
    if all_tests(test) {
        builds_and_boots(test, "xfs", "firmware: UEFI", &["xfs", "shim", "grub"]);
    }
}

#[test]
fn a_root_that_never_changes() {
    let test = "layouts::a_root_that_never_changes";
    if all_tests(test) {
        builds_and_boots(test, "readonly", "firmware: UEFI", &["erofs", "squashfs", "uki"]);
    }
}
