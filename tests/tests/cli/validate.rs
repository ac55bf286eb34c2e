//! `oic validate`: valid and broken templates, what is printed where, and what the command line adds.

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
  packages: [vim, curl]
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", TEMPLATE);
    sandbox
}

#[test]
fn a_valid_template() {
    assert_snapshot!(sandbox().oic(&["validate", "template.yml"]).run(), @"
    exit 0
    --- stdout
    template.yml: valid
    ");
}

#[test]
fn every_mistake_of_every_file_is_told() {
    let sandbox = sandbox();
    sandbox.write("broken.yml", &TEMPLATE.replace("arch: x86_64", "arch: x86").replace("packages", "pakages"));
    sandbox.write("syntax.yml", "image: [\n");
    assert_snapshot!(sandbox.oic(&["validate", "template.yml", "broken.yml", "syntax.yml", "missing.yml"]).run(), @"
    exit 3
    --- stdout
    template.yml: valid
    --- stderr
    error[invalid-value]: not one of the allowed values
      at broken.yml:7:9
      field: target.arch
      found: `x86`
      allowed: x86_64, aarch64, riscv64, armv7hl
    error[unknown-field]: unknown field `pakages`
      at broken.yml:11:3
      field: systemConfig.pakages
      allowed: name, description, hostname, locale, timezone, initramfs, immutability, groups, users, services, bootloader, packages, excludes, weakDependencies, packageDocs, packageLanguages, removePackageDatabase, keepPackageCache, hideProcesses, enableSystemdFirstboot, additionalFiles, configurations, kernel, fde, network, proxy, provisioning, cloudInit, aptPolicy, dkms, installerPayload
      hint: did you mean `packages`?
    error[syntax]: not valid YAML: unclosed bracket '['
      at syntax.yml:1:8
    error[unreadable]: cannot read missing.yml: No such file or directory (os error 2)
    error: 4 errors in 3 of 4 templates
    ");
}

#[test]
fn a_terminal_shows_the_lines_concerned() {
    let sandbox = sandbox();
    sandbox.write("broken.yml", &TEMPLATE.replace("debian13", "debian"));
    let output = sandbox.oic(&["validate", "--color", "always", "broken.yml"]).run();
    assert_eq!(output.code, Some(3));
    assert!(output.stderr.contains("broken.yml:6:9") && output.stderr.contains("dist: debian"), "{}", output.stderr);
}

#[test]
fn merged_templates_say_where_each_value_comes_from() {
    let output = sandbox().oic(&["validate", "--merged", "--set", "disk.size=8GiB", "template.yml"]).run();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    for line in ["    - vim  # template.yml:11:14", "  size: 8GiB  # command line", "  provider: systemd-boot  # builtin:"] {
        let line = line.trim_start();
        assert!(output.stdout.contains(line), "{line} in {}", output.stdout);
    }
}

#[test]
fn the_command_line_counts_too() {
    let sandbox = sandbox();
    assert_snapshot!(sandbox.oic(&["validate", "--arch", "arm64,x86_64,aarch64", "template.yml"]).run(), @"
    exit 0
    --- stdout
    template.yml (aarch64): valid
    template.yml (x86_64): valid
    ");
    assert_snapshot!(sandbox.oic(&["validate", "--set", "disk.sise=1GiB", "template.yml"]).run(), @"
    exit 3
    --- stderr
    error[unknown-field]: unknown field `sise`
      at command line
      field: disk.sise
      allowed: name, path, artifacts, size, maxSize, partitionTableType, partitions, rawBinaries, selectionPolicy, extendLastPartitionToFillDisk
      hint: did you mean `size`?
    error: 1 error in template.yml
    ");
    assert_snapshot!(sandbox.oic(&["validate", "--var", "NAME=x", "template.yml"]).run(), @"
    exit 0
    --- stdout
    template.yml: valid, 1 warning
    --- stderr
    warning[variable]: `--var NAME` is not used by any template
    ");
    assert_snapshot!(sandbox.oic(&["validate", "--var", "9=x", "template.yml"]).run(), @"
    exit 2
    --- stderr
    error: invalid value '9=x' for '--var <NAME=VALUE>': `9` is not the name of a variable

    For more information, try '--help'.
    ");
    assert_snapshot!(sandbox.oic(&["validate", "--arch", "x86", "template.yml"]).run(), @"
    exit 2
    --- stderr
    error: invalid value 'x86' for '--arch <ARCH>'
      [possible values: x86_64, aarch64, riscv64]

      tip: a similar value exists: 'x86_64'

    For more information, try '--help'.
    ");
}

#[test]
fn missing_files_may_be_accepted() {
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &format!("{TEMPLATE}  additionalFiles:\n    - local: missing.conf\n      final: /etc/missing.conf\n"));
    assert_snapshot!(sandbox.oic(&["validate", "template.yml"]).run(), @"
    exit 3
    --- stderr
    error[missing-file]: local file [SANDBOX]/cwd/missing.conf does not exist
      at template.yml:13:14
      field: systemConfig.additionalFiles[/etc/missing.conf].local
      hint: relative paths start from the folder of the template that has them
    error: 1 error in template.yml
    ");
    assert_snapshot!(sandbox.oic(&["validate", "--no-file-checks", "template.yml"]).run(), @"
    exit 0
    --- stdout
    template.yml: valid, 1 warning
    --- stderr
    warning[missing-file]: local file [SANDBOX]/cwd/missing.conf does not exist
      at template.yml:13:14
      field: systemConfig.additionalFiles[/etc/missing.conf].local
      hint: relative paths start from the folder of the template that has them
    ");
}

#[test]
fn what_this_version_does_not_build_is_told_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &format!("{TEMPLATE}  immutability:\n    enabled: true\n"));
    assert_snapshot!(sandbox.oic(&["validate", "template.yml"]).run(), @"
    exit 0
    --- stdout
    template.yml: valid, 1 warning
    --- stderr
    warning: this version does not build `systemConfig.immutability.enabled` (template.yml:13:14): a verified read-only root cannot be built yet; write `enabled: false`
    ");
}

#[test]
fn without_a_file() {
    assert_snapshot!(Sandbox::new().oic(&["validate"]).run(), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <FILE>...

    Usage: oic validate <FILE>...

    For more information, try '--help'.
    ");
}
