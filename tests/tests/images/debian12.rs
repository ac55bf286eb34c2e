//! Debian 12.

use super::{boot_check, build, check_outputs, lab, sandbox_with};

#[test]
fn builds_and_boots() {
    let Some(lab) = lab("debian12::builds_and_boots") else { return };
    let sandbox = sandbox_with("debian12-x86_64-minimal-raw.yml");
    build(&sandbox, lab.cache(), &[]);
    check_outputs(&sandbox, &["debian12-minimal-12.0.raw"]);
    boot_check(&sandbox, lab.cache(), "out/debian12-minimal-12.0.raw");
}
