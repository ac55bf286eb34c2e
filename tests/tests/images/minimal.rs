//! The template of the first command: lock, build, outputs, boot.

use std::fs;

use serde_json::Value;

use super::{boot_check, build, check_outputs, lab, oic, sandbox_with, source_file};

const IMAGE: &str = "debian13-minimal-13.0.raw";

#[test]
fn locks_builds_and_boots() {
    let Some(lab) = lab("minimal::locks_builds_and_boots") else { return };
    let sandbox = sandbox_with("debian13-x86_64-minimal-raw.yml");
    let cache = lab.cache();
    let run = |arguments: &[&str], code: i32| {
        let output = oic(&sandbox, cache, arguments).run();
        assert_eq!(output.code, Some(code), "{arguments:?}: {output}");
        output
    };

    run(&["lock", "template.yml"], 0);
    let lock = sandbox.read("oic.lock");
    // The store alone gives the same choice.
    run(&["lock", "--offline", "template.yml"], 0);
    assert_eq!(sandbox.read("oic.lock"), lock, "locked twice, two locks");

    // Another choice of packages: refused where the lock is to stay, without touching it.
    let template = sandbox.read("template.yml");
    let changed = template.replace("  # Packages are added", "  packages: [less]\n  # Packages are added");
    assert_ne!(changed, template);
    sandbox.write("template.yml", &changed);
    let refused = run(&["build", "--locked", "-o", "out", "template.yml"], 4);
    assert!(refused.stderr.contains("the lock does not fit") && refused.stderr.contains("hint: run `oic lock`"), "{refused}");
    assert_eq!(sandbox.read("oic.lock"), lock, "--locked has changed the lock");

    // `--update` makes the lock anew: from that of the changed template comes the one of this template again.
    run(&["lock", "template.yml"], 0);
    assert_ne!(sandbox.read("oic.lock"), lock);
    sandbox.write("template.yml", &template);
    build(&sandbox, cache, &["--update"]);
    assert_eq!(sandbox.read("oic.lock"), lock, "--update has made another lock than `oic lock`");

    check_outputs(&sandbox, &[IMAGE]);
    check_reports(&sandbox);
    boot_check(&sandbox, cache, &format!("out/{IMAGE}"));
}

/// Looks into the reports: they must be of this image and valid.
fn check_reports(sandbox: &oic_tests::Sandbox) {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}"));
    let packages = sandbox.read("out/packages.txt");
    assert!(packages.lines().any(|line| line.starts_with("systemd-boot-efi")), "{packages}");
    let count = packages.lines().filter(|line| !line.starts_with('#')).count();

    let manifest = json(&sandbox.read("out/manifest.json"));
    assert_eq!((manifest["image"]["name"].as_str(), manifest["image"]["arch"].as_str()), (Some("debian13-minimal"), Some("x86_64")));
    assert_eq!(manifest["inputs"]["packages"].as_u64(), u64::try_from(count).ok());

    let schema = json(&fs::read_to_string(source_file("host/src/report/fixtures/spdx-2.3.schema.json")).unwrap());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let sbom = json(&sandbox.read("out/sbom.spdx.json"));
    let errors: Vec<_> = validator.iter_errors(&sbom).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    // The image and what it was built from, besides the packages.
    assert!(sbom["packages"].as_array().is_some_and(|packages| packages.len() > count), "the SBOM lacks packages");

    let graph = sandbox.read("out/deps.dot");
    assert!(graph.starts_with("digraph") && graph.contains("\"libc6\""), "{}", &graph[..200]);
}
