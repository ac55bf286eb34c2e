//! GRUB, with swap and a filesystem of its own for `/home`.

use super::{boot_check, build, check_outputs, lab, sandbox_with};

#[test]
fn builds_and_boots() {
    let Some(lab) = lab("grub::builds_and_boots") else { return };
    let sandbox = sandbox_with("debian13-x86_64-grub-raw.yml");
    build(&sandbox, lab.cache(), &[]);
    check_outputs(&sandbox, &["debian13-grub-13.0.qcow2", "debian13-grub-13.0.raw"]);
    boot_check(&sandbox, lab.cache(), "out/debian13-grub-13.0.raw");
}
