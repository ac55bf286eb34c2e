//! Disks and partitions that are too small, found before any virtual machine starts.

use std::process::Command;

use insta::assert_snapshot;
use oic_tests::{Tiny, archive::Package, program, redact, server::Manner, skip};

use crate::{World, sizes, stable};

/// Partitions of given sizes.
fn disk(esp: &str, root: &str) -> String {
    format!(
        "disk:\n  name: tiny\n  size: 4GiB\n  partitionTableType: gpt\n  artifacts: [{{type: raw}}]\n  partitions:\n    \
         - {{id: esp, type: esp, size: {esp}, fsType: fat16, mountPoint: /boot/efi}}\n    \
         - {{id: rootfs, type: linux-root, size: {root}, fsType: ext4, mountPoint: /}}\n"
    )
}

/// Builds, and returns what a user sees.
fn build(tiny: &Tiny) -> String {
    stable(&tiny.oic(&["build", "--progress", "none", "--work-dir", "work", "-o", "out", "template.yml"]).run().to_string())
}

#[test]
fn an_esp_that_is_too_small() {
    if Tiny::is_possible("an_esp_that_is_too_small") {
        assert_snapshot!(sizes(&build(&Tiny::new(true, None, &disk("8MiB", "3GiB"), ""))), @"
        exit 8
        --- stderr
        error: partition `esp` has [SIZE], but what is known to go into it needs [SIZE]
        hint: make `esp` [SIZE] large, with room for what scripts write, and `disk.size` larger with it, or say `disk.size: auto`
        ");
    }
}

#[test]
fn a_root_partition_that_is_too_small() {
    if Tiny::is_possible("a_root_partition_that_is_too_small") {
        assert_snapshot!(sizes(&build(&Tiny::new(true, None, &disk("128MiB", "100MiB"), ""))), @"
        exit 8
        --- stderr
        error: partition `rootfs` has [SIZE], but what is known to go into it needs [SIZE]
        hint: make `rootfs` [SIZE] large, with room for what scripts write, and `disk.size` larger with it, or say `disk.size: auto`
        ");
    }
}

#[test]
fn a_builder_disk_that_is_too_small() {
    if Tiny::is_possible("a_builder_disk_that_is_too_small") {
        assert_snapshot!(sizes(&build(&Tiny::new(true, None, "builder: {disk: 100MiB}\n", ""))), @"
        exit 6
        --- stderr
        error: cannot make the root disk `[SANDBOX]/cwd/work/build-[RANDOM]/root.img`
          caused by: the content does not fit into [SIZE]: it needs at least [SIZE]
        hint: make `builder.disk` in the template larger than [SIZE], with room for what scripts write, or leave it out
        ");
    }
}

/// Builds with a folder of the sandbox on a file system of 8 MiB. None where this user may not mount anything, not even in a
/// name space of their own.
fn build_on_a_small_disk(test: &str, tiny: &Tiny, folder: &str, arguments: &str) -> Option<String> {
    let script = |rest: &str| format!("mkdir -p {folder} && mount -t tmpfs -o size=8m none {folder} && {rest}");
    let unshared = |rest: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script(rest)]).current_dir(tiny.sandbox().cwd());
        command
    };
    if !run(unshared("true")).is_some_and(|output| output.status.success()) {
        skip(test, "this user may not make a small file system: user name spaces are off");
        return None;
    }
    let mut command = unshared(&format!("exec {} build --progress none {arguments} template.yml", program().display()));
    let environment = tiny.oic(&[]).into_command();
    command.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run(command).expect("it ran a moment ago");
    let text = redact(&String::from_utf8_lossy(&output.stderr), tiny.sandbox());
    Some(sizes(&stable(&format!("exit {}\n{text}", output.status.code().unwrap_or(-1)))))
}

#[expect(clippy::disallowed_methods, reason = "the program under test runs below another one here")]
fn run(mut command: Command) -> Option<std::process::Output> {
    command.output().ok()
}

#[test]
fn a_cache_on_a_full_disk() {
    let hello = Package { name: "hello", version: "1.0", script: "#!/bin/sh\n" };
    let world = World::new(false, Manner::Good, &[hello], "", "  packages: [hello]\n");
    if let Some(text) = build_on_a_small_disk("a_cache_on_a_full_disk", &world.tiny, "small", "--cache-dir small") {
        assert_snapshot!(world.stable(&text), @"
        exit 6
        error: the repository `own` cannot be used [conf/osv/test/tiny/provider.yml]
          caused by: cannot store the package index test main [ARCH]
          caused by: no space left for [SANDBOX]/cwd/small: [BYTES] more bytes are needed, [BYTES] are free
        hint: free some space, or choose a cache folder on another disk with --cache-dir
        ");
    }
}

#[test]
fn a_work_folder_on_a_full_disk() {
    if !Tiny::is_possible("a_work_folder_on_a_full_disk") {
        return;
    }
    let tiny = Tiny::new(true, None, "", "");
    if let Some(text) = build_on_a_small_disk("a_work_folder_on_a_full_disk", &tiny, "small", "--work-dir small") {
        assert_snapshot!(text, @"
        exit 6
        error: the work folder `[SANDBOX]/cwd/small` has [SIZE] free, and this build needs [SIZE]
        hint: free some space, or choose a work folder on another disk with `--work-dir`
        ");
    }
}
