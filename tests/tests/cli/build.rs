//! `oic build`: what can be refused before anything is fetched or started. The pipeline tests build.

use insta::assert_snapshot;
use oic_tests::Sandbox;

const TEMPLATE: &str = "\
image:
  name: minimal
  version: 1.0.0
target:
  os: debian
  dist: debian13
  arch: x86_64
  imageType: raw
systemConfig:
  name: minimal
";

fn sandbox(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &format!("{TEMPLATE}{more}"));
    sandbox
}

#[test]
fn a_template_with_errors() {
    assert_snapshot!(sandbox("  pakages: [vim]\n").oic(&["build", "template.yml"]).run(), @"
    exit 3
    --- stderr
    error[unknown-field]: unknown field `pakages`
      at template.yml:11:3
      field: systemConfig.pakages
      allowed: name, description, hostname, locale, timezone, initramfs, immutability, groups, users, services, bootloader, packages, excludes, weakDependencies, packageDocs, packageLanguages, removePackageDatabase, keepPackageCache, hideProcesses, enableSystemdFirstboot, additionalFiles, configurations, kernel, fde, network, proxy, provisioning, cloudInit, aptPolicy, dkms, installerPayload
      hint: did you mean `packages`?
    error: 1 error in template.yml
    ");
}

#[test]
fn what_this_version_does_not_build_is_refused_by_name() {
    assert_snapshot!(sandbox("  immutability:\n    enabled: true\n").oic(&["build", "template.yml"]).run(), @"
    exit 3
    --- stderr
    error: this version cannot build template.yml: `systemConfig.immutability.enabled` (template.yml:12:14): a verified read-only root cannot be built yet; write `enabled: false`
    hint: remove `systemConfig.immutability.enabled` from the template, or override it with `--set`
    ");
}

#[test]
fn options_that_contradict_each_other() {
    let sandbox = sandbox("");
    assert_snapshot!(sandbox.oic(&["build", "--locked", "--update", "template.yml"]).run(), @"
    exit 2
    --- stderr
    error: the argument '--locked' cannot be used with '--update'

    Usage: oic build --locked <TEMPLATE>

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["build", "--offline", "--update", "template.yml"]).run(), @"
    exit 2
    --- stderr
    error: the argument '--offline' cannot be used with '--update'

    Usage: oic build --offline <TEMPLATE>

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["build", "--arch", "x86_64,aarch64", "--dotfile", "deps.dot", "template.yml"]).run(), @"
    exit 2
    --- stderr
    error: `--dotfile` names one file, and 2 images are built
    hint: leave it out: each output folder has its own deps.dot
    ");
}

#[test]
fn an_output_folder_that_cannot_be_made() {
    let sandbox = sandbox("");
    sandbox.write("file", "");
    assert_snapshot!(sandbox.oic(&["build", "-o", "file/out", "template.yml"]).run(), @"
    exit 8
    --- stderr
    error: cannot make the output folder `file/out`
      caused by: Not a directory (os error 20)
    hint: name another folder with `--output`
    ");
}

#[test]
fn programs_learn_of_errors_too() {
    let output = sandbox("  pakages: [vim]\n").oic(&["build", "--progress", "json", "template.yml"]).run();
    assert_eq!(output.code, Some(3));
    let last: serde_json::Value = serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["exitCode"].as_u64()), (Some("finished"), Some(3)), "{last}");
    assert_eq!(last["error"][0], "1 error in template.yml");
}
