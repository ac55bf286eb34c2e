//! `oic doctor`. What it finds differs from machine to machine; how it tells and ends does not.

use insta::assert_snapshot;
use oic_tests::{Output, Sandbox};

/// Returns the lines about one thing.
fn about(output: &Output, name: &str) -> String {
    let lines: Vec<_> = output.stdout.lines().collect();
    let start = lines.iter().position(|line| line.split_whitespace().nth(1) == Some(name)).unwrap_or_else(|| panic!("{name} in {output}"));
    let more = lines[start + 1..].iter().take_while(|line| line.starts_with("    "));
    std::iter::once(&lines[start]).chain(more).copied().collect::<Vec<_>>().join("\n")
}

#[test]
fn a_build_that_cannot_work_is_status_6() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let output = sandbox.oic(&["doctor", "--offline", "--cache-dir", "file/cache"]).run();
    assert_eq!(output.code, Some(6), "{output}");
    assert_snapshot!(about(&output, "cache"), @"
    missing  cache         file/cache cannot be made: [SANDBOX]/cwd/file is no folder
                             choose another folder with `--cache-dir`
    ");
}

#[test]
fn a_qemu_that_the_user_names_must_work() {
    let sandbox = Sandbox::new();
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    let old = sandbox.write(&name, "#!/bin/sh\necho QEMU emulator version 6.1.0\n");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = sandbox.oic(&["doctor", "--offline"]).env("OIC_QEMU", &old).run();
    assert_snapshot!(about(&output, "QEMU").replace(std::env::consts::ARCH, "[ARCH]"), @"
    lack     QEMU          [SANDBOX]/cwd/qemu-system-[ARCH] from OIC_QEMU is not used: it does not run, or is too old
                             name an emulator that is 7.2 or newer, or unset OIC_QEMU
    ");
}

#[test]
fn no_qemu_is_no_lack() {
    let output = Sandbox::new().oic(&["doctor", "--offline"]).env("PATH", "/nowhere").run();
    assert_snapshot!(about(&output, "QEMU"), @"good     QEMU          none on this machine that is new enough; a private one is fetched when it is needed");
}

#[test]
fn a_mirror_that_does_not_answer_is_told_with_its_fix() {
    // Nothing listens on the discard port of the local host.
    let output = Sandbox::new().oic(&["doctor"]).env("OIC_MIRROR_DEBIAN", "http://user:secret@127.0.0.1:9/debian").run();
    let text = about(&output, "mirror");
    assert!(text.starts_with("lack") && text.contains("http://***@127.0.0.1:9/debian/dists/trixie/InRelease: no connection"), "{text}");
    assert!(!output.stdout.contains("secret"), "{output}");
}

#[test]
fn settings_files_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("oic.yml", "workers: 2\n");
    let output = sandbox.oic(&["doctor", "--offline"]).run();
    assert_snapshot!(about(&output, "settings"), @"good     settings      oic.yml");
}

#[test]
fn json_has_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let output = sandbox.oic(&["doctor", "--offline", "--json", "--cache-dir", "file/cache"]).run();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((report["version"].as_u64(), report["usable"].as_bool()), (Some(1), Some(false)));
    let cache = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "cache").unwrap();
    assert_eq!(cache["status"], "missing");
    assert!(cache["fix"].is_string());
}
