//! GRUB on BIOS and on UEFI firmware, from one disk whose last partition grows.

use super::{boot_check, boot_check_with, build, check_outputs, lab, sandbox_with};

#[test]
fn builds_and_boots_with_either_firmware() {
    let Some(lab) = lab("hybrid::builds_and_boots_with_either_firmware") else { return };
    let sandbox = sandbox_with("debian13-x86_64-hybrid-raw.yml");
    build(&sandbox, lab.cache(), &[]);
    check_outputs(&sandbox, &["debian13-hybrid-13.0.raw"]);
    let image = "out/debian13-hybrid-13.0.raw";
    boot_check_with(&sandbox, lab.cache(), image, &["--bios"]);
    boot_check(&sandbox, lab.cache(), image);
}
