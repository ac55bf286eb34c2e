//! `oic config`: origins and their order, mistakes in files and variables, writing a file.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn defaults() {
    let output = Sandbox::new().oic(&["config", "show"]).env("OIC_WORKERS", "4").run();
    assert_snapshot!(output, @"
    exit 0
    --- stdout
    workers: 4  # environment: OIC_WORKERS
    cache_dir: [SANDBOX]/home/.cache/oic  # default
    cache_max_size: 20GiB  # default
    work_dir: [SANDBOX]/home/.cache/oic/work  # default
    temp_dir: [SANDBOX]/tmp  # environment: TMPDIR
    config_dir: null  # default
    logging:
      level: info  # default
      file: null  # default
    mirrors: {}  # default
    ");
}

#[test]
fn the_command_line_comes_before_the_environment_before_files() {
    let sandbox = Sandbox::new();
    sandbox.write("oic.yml", "workers: 1\ncache_dir: near\nwork_dir: ~/near-work\nmirrors:\n  debian: http://near.test/debian\n");
    sandbox.write(
        "../home/.config/oic/oic.yml",
        "workers: 2\ntemp_dir: far\nmirrors:\n  debian: http://far.test/debian\n  ubuntu: http://far.test/ubuntu\n",
    );
    let output = sandbox
        .oic(&["config", "show", "--workers", "7"])
        .env("OIC_WORKERS", "5")
        .env("OIC_CACHE_DIR", "/from/environment")
        .env("OIC_LOG_LEVEL", "debug")
        .env("OIC_MIRROR_AZURE_LINUX", "https://mirror.test/azl/")
        .run();
    assert_snapshot!(output, @"
    exit 0
    --- stdout
    workers: 7  # command line: --workers
    cache_dir: /from/environment  # environment: OIC_CACHE_DIR
    cache_max_size: 20GiB  # default
    work_dir: [SANDBOX]/home/near-work  # oic.yml:3:11
    temp_dir: [SANDBOX]/home/.config/oic/far  # [SANDBOX]/home/.config/oic/oic.yml:2:11
    config_dir: null  # default
    logging:
      level: debug  # environment: OIC_LOG_LEVEL
      file: null  # default
    mirrors:
      azure-linux: https://mirror.test/azl/  # environment: OIC_MIRROR_AZURE_LINUX
      debian: http://near.test/debian  # oic.yml:5:11
      ubuntu: http://far.test/ubuntu  # [SANDBOX]/home/.config/oic/oic.yml:5:11
    ");
}

#[test]
fn a_named_file_is_the_only_one() {
    let sandbox = Sandbox::new();
    sandbox.write("oic.yml", "workers: 1\n");
    sandbox.write("other.yml", "logging:\n  file: oic.log\n");
    let output = sandbox.oic(&["config", "show", "--config", "other.yml"]).env("OIC_WORKERS", "4").run();
    assert_snapshot!(output, @"
    exit 0
    --- stdout
    workers: 4  # environment: OIC_WORKERS
    cache_dir: [SANDBOX]/home/.cache/oic  # default
    cache_max_size: 20GiB  # default
    work_dir: [SANDBOX]/home/.cache/oic/work  # default
    temp_dir: [SANDBOX]/tmp  # environment: TMPDIR
    config_dir: null  # default
    logging:
      level: info  # default
      file: oic.log  # other.yml:2:9
    mirrors: {}  # default
    ");
    let by_variable = sandbox.oic(&["config", "show"]).env("OIC_WORKERS", "4").env("OIC_CONFIG", "other.yml").run();
    assert_eq!(by_variable, output);
}

#[test]
fn mistakes_in_a_file() {
    let sandbox = Sandbox::new();
    let show = |text: &str| {
        sandbox.write("oic.yml", text);
        sandbox.oic(&["config", "show"]).run().to_string()
    };
    assert_snapshot!(show("workers: 3\ncach_dir: /x\n"), @"
    exit 2
    --- stderr
    error: oic.yml:2:1: unknown key `cach_dir`
    hint: did you mean `cache_dir`?
    ");
    assert_snapshot!(show("workers: lots\n"), @"
    exit 2
    --- stderr
    error: oic.yml:1:10: a whole number that is not negative is expected here
    hint: `oic config init` writes a file with every key explained
    ");
    assert_snapshot!(show("workers: 0\n"), @"
    exit 2
    --- stderr
    error: 0 workers (oic.yml:1:10) are not within 1 and 1024
    ");
    assert_snapshot!(show("mirrors:\n  debian: ftp://mirror.test/debian\n"), @"
    exit 2
    --- stderr
    error: the mirror of debian (oic.yml:2:11) is of no use: `ftp://mirror.test/debian` is not a URL to fetch from: the scheme `ftp` is not known; http, https and file are
    ");
    assert_snapshot!(show("cache_dir: [\n"), @"
    exit 2
    --- stderr
    error: oic.yml:1:12: expected string scalar
    hint: `oic config init` writes a file with every key explained
    ");
}

#[test]
fn a_file_that_cannot_be_read() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.oic(&["config", "show", "--config", "missing.yml"]).run(), @"
    exit 2
    --- stderr
    error: cannot read the configuration file `missing.yml`
      caused by: No such file or directory (os error 2)
    hint: name another file with `--config`
    ");
    assert_snapshot!(sandbox.oic(&["config", "show", "--config", "."]).run(), @"
    exit 2
    --- stderr
    error: cannot read the configuration file `.`
      caused by: Is a directory (os error 21)
    hint: name another file with `--config`
    ");
    let large = sandbox.write("large.yml", "");
    std::fs::File::options().write(true).open(large).unwrap().set_len(2 << 20).unwrap();
    assert_snapshot!(sandbox.oic(&["config", "show", "--config", "large.yml"]).run(), @"
    exit 2
    --- stderr
    error: the configuration file `large.yml` has 2097152 bytes, more than the limit of 1048576
    hint: name another file with `--config`
    ");
}

#[test]
fn mistakes_in_variables() {
    let sandbox = Sandbox::new();
    let show = |name: &str, value: &str| sandbox.oic(&["config", "show"]).env(name, value).run().to_string();
    assert_snapshot!(show("OIC_WORKERS", "many"), @"
    exit 2
    --- stderr
    error: the environment variable OIC_WORKERS is `many`, which is not a number
    ");
    assert_snapshot!(show("OIC_WORKERS", "5000"), @"
    exit 2
    --- stderr
    error: 5000 workers (environment: OIC_WORKERS) are not within 1 and 1024
    ");
    assert_snapshot!(show("OIC_LOG_LEVEL", "loud"), @"
    exit 2
    --- stderr
    error: the environment variable OIC_LOG_LEVEL is `loud`, which is not one of error, warn, info, debug, trace
    ");
    assert_snapshot!(show("OIC_PROGRESS", "fancy"), @"
    exit 2
    --- stderr
    error: the environment variable OIC_PROGRESS is `fancy`, which is not one of auto, plain, json, none
    ");
    assert_snapshot!(show("OIC_MIRROR_DEBIAN", "mirror.test"), @"
    exit 2
    --- stderr
    error: the mirror of debian (environment: OIC_MIRROR_DEBIAN) is of no use: `mirror.test` is not a URL to fetch from: relative URL without a base
    ");
}

#[test]
fn a_variable_that_nothing_reads_is_told() {
    let output = Sandbox::new().oic(&["config", "show"]).env("OIC_CACHEDIR", "/x").run();
    assert_eq!(output.code, Some(0));
    assert_snapshot!(output.stderr, @"warning: the environment variable OIC_CACHEDIR means nothing; did you mean OIC_CACHE_DIR?");
}

#[test]
fn init_writes_a_file_that_changes_nothing() {
    let sandbox = Sandbox::new();
    let before = sandbox.oic(&["config", "show"]).run();
    assert_snapshot!(sandbox.oic(&["config", "init"]).run(), @"
    exit 0
    --- stderr
    wrote oic.yml
    ");
    assert_eq!(sandbox.oic(&["config", "show"]).run(), before);
    assert_snapshot!(sandbox.oic(&["config", "init"]).run(), @"
    exit 2
    --- stderr
    error: `oic.yml` exists
    hint: replace it with `--force`, or name another file
    ");
    let written = sandbox.read("oic.yml");
    sandbox.write("oic.yml", "workers: 1\n");
    assert_eq!(sandbox.oic(&["config", "init", "--force", "-q"]).run().to_string(), "exit 0\n");
    assert_eq!(sandbox.read("oic.yml"), written);
}

#[test]
fn init_into_a_folder_that_is_not_there() {
    assert_snapshot!(Sandbox::new().oic(&["config", "init", "no/such/oic.yml"]).run(), @"
    exit 8
    --- stderr
    error: cannot write `no/such/oic.yml`
      caused by: No such file or directory (os error 2)
    ");
}
