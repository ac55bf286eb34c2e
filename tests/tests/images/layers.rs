//! What a build uses again, and that the outputs do not depend on it.

use std::{fs, path::Path};

use oic_tests::Sandbox;

use super::{boot_check, build, full::link_packages, lab, oic, sandbox_with};

/// Builds and returns what was used again and what was made, by the table of `--explain`.
fn explained(sandbox: &Sandbox, cache: &Path) -> Vec<(String, bool)> {
    let output = build(sandbox, cache, &["--explain"]);
    let verdict = |line: &str| {
        let (subject, rest) = ["  reused  ", "  made    "].into_iter().find_map(|word| Some((line.split_once(word)?.0, word)))?;
        Some((subject.trim_end().to_owned(), rest.contains("reused")))
    };
    let found: Vec<_> = output.stderr.lines().filter_map(verdict).collect();
    assert!(!found.is_empty(), "{output}");
    found
}

fn verdicts(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(subject, reused)| ((*subject).to_owned(), *reused)).collect()
}

#[test]
fn what_has_not_changed_is_used_again_and_gives_the_same_bytes() {
    let Some(lab) = lab("layers::what_has_not_changed_is_used_again_and_gives_the_same_bytes") else { return };
    let folder = tempfile::Builder::new().prefix("warm-").tempdir_in(lab.cache().parent().unwrap()).unwrap();
    let warm = folder.path();
    let sandbox = sandbox_with("debian13-x86_64-minimal-raw.yml");
    let minimal = sandbox.read("template.yml");
    let template = format!("{minimal}\n  additionalFiles:\n    - {{local: motd, final: /etc/motd}}\n");
    sandbox.write("template.yml", &template);
    sandbox.write("motd", "one\n");
    assert_eq!(oic(&sandbox, lab.cache(), &["lock", "template.yml"]).run().code, Some(0));

    let first = explained(&sandbox, warm);
    assert_eq!(first, verdicts(&[("outputs", false), ("image layer", false), ("base layer", false), ("initramfs", false)]));
    let sums = sandbox.read("out/SHA256SUMS");

    assert_eq!(explained(&sandbox, warm), verdicts(&[("outputs", true)]), "nothing has changed");

    // Outputs that are gone are made again without a virtual machine, as they were.
    fs::remove_file(sandbox.cwd().join("out/debian13-minimal-13.0.raw")).unwrap();
    assert_eq!(explained(&sandbox, warm), verdicts(&[("outputs", false), ("image layer", true)]));
    assert_eq!(sandbox.read("out/SHA256SUMS"), sums);

    sandbox.write("motd", "two\n");
    let file_changed = explained(&sandbox, warm);
    assert_eq!(file_changed, verdicts(&[("outputs", false), ("image layer", false), ("base layer", true), ("initramfs", true)]));

    sandbox.write("template.yml", &template.replace("systemConfig:", "systemConfig:\n  packages: [less]"));
    let package_added = explained(&sandbox, warm);
    let expected = [("outputs", false), ("image layer", false), ("package layer", false), ("base layer", true), ("initramfs", true)];
    assert_eq!(package_added, verdicts(&expected));

    let cold = tempfile::Builder::new().prefix("cold-").tempdir_in(lab.cache().parent().unwrap()).unwrap();
    link_packages(warm, cold.path());
    let second = sandbox_with("debian13-x86_64-minimal-raw.yml");
    for name in ["template.yml", "motd", "oic.lock"] {
        second.write(name, &sandbox.read(name));
    }
    build(&second, cold.path(), &["--locked", "--offline"]);
    assert_eq!(second.read("out/SHA256SUMS"), sandbox.read("out/SHA256SUMS"), "the bytes depend on what the cache holds");
    boot_check(&sandbox, lab.cache(), "out/debian13-minimal-13.0.raw");
}
