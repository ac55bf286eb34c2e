//! Images, built by the real program in the real builder VM and booted with real firmware.
//!
//! ```text
//! minimal   lock, update, locked · build · what the output folder has · boot, which changes nothing
//! full      users, files, packages, commands · built twice, same bytes · logged in over the console
//! debian12  builds and boots
//! grub      builds and boots, with swap and a second filesystem
//! hybrid    builds, and boots with BIOS and with UEFI firmware
//! diskless  container, WSL and initramfs images: opened by other programs, the initramfs booted
//! mixed     packages of a folder and of a served repository beside the archive; what apt reads of it in the image
//! layouts   with OIC_TESTS=all: MBR, Btrfs, XFS, a root that never changes: seen from outside and booted by the firmware that is found
//! outputs   with OIC_TESTS=all: every format, twice to the same bytes, opened by other programs, looked into and compared
//! layers    unchanged, another file, another package: what is used again, and the same bytes as without a cache
//! ```
//!
//! They need a mirror and nothing else: what is missing is said. Where guests are emulated, all of them take some 10 minutes.

mod debian12;
mod diskless;
mod full;
mod grub;
mod hybrid;
mod layers;
mod layouts;
mod minimal;
mod mixed;
mod outputs;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use oic::digest::Sha256Digest;
use oic_tests::{Lab, Oic, Output, Sandbox, Turn};

/// What every output folder has besides images.
const REPORTS: [&str; 6] = ["SHA256SUMS", "build.log", "deps.dot", "manifest.json", "packages.txt", "sbom.spdx.json"];

/// Opens the lab for images of x86_64.
fn lab(test: &str) -> Option<Lab> {
    Lab::open(test, "x86_64", Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Returns a sandbox with one of the templates that users start from as `template.yml`.
fn sandbox_with(template: &str) -> Sandbox {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates").join(template);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let sandbox = Sandbox::new();
    sandbox.write("template.yml", &text);
    sandbox
}

/// Runs the program with a cache, as the user whom the sandbox is.
fn oic<'a>(sandbox: &'a Sandbox, cache: &Path, arguments: &[&str]) -> Oic<'a> {
    sandbox.oic(arguments).env("OIC_CACHE_DIR", cache)
}

/// Builds `template.yml` into `out`, with more arguments.
fn build(sandbox: &Sandbox, cache: &Path, more: &[&str]) -> Output {
    let _turn = Turn::wait();
    let arguments: Vec<&str> = ["build", "--progress", "plain", "-o", "out", "template.yml"].iter().chain(more).copied().collect();
    let output = oic(sandbox, cache, &arguments).run();
    let log = fs::read_to_string(sandbox.cwd().join("out/build.log")).unwrap_or_default();
    assert_eq!(output.code, Some(0), "{output}\n--- the end of build.log\n{}", end_of(&log));
    output
}

/// Boots an image to its login prompt with `oic boot --check`, and checks that it stays as it was.
fn boot_check(sandbox: &Sandbox, cache: &Path, image: &str) {
    boot_check_with(sandbox, cache, image, &[]);
}

/// As [`boot_check`], with more arguments; returns what was said.
fn boot_check_with(sandbox: &Sandbox, cache: &Path, image: &str, more: &[&str]) -> Output {
    let before = digest(&sandbox.cwd().join(image));
    let _turn = Turn::wait();
    let arguments: Vec<&str> = ["boot", "--check", "--progress", "plain", image].iter().chain(more).copied().collect();
    let output = oic(sandbox, cache, &arguments).run();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stdout.contains("asks for a login"), "{output}");
    assert_eq!(digest(&sandbox.cwd().join(image)), before, "booting has changed {image}");
    output
}

/// Checks that the output folder has the reports and `images`, nothing else, and that their checksums are right.
#[expect(clippy::disallowed_methods, reason = "users check with this program")]
fn check_outputs(sandbox: &Sandbox, images: &[&str]) {
    let folder = sandbox.cwd().join("out");
    let mut expected: Vec<&str> = REPORTS.iter().chain(images).copied().collect();
    expected.sort_unstable();
    let mut found: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, expected);

    let output = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let checked: Vec<_> = text.lines().filter_map(|line| line.strip_suffix(": OK")).collect();
    let listed: Vec<_> = expected.into_iter().filter(|name| !["SHA256SUMS", "build.log"].contains(name)).collect();
    assert_eq!(checked, listed);
}

pub(crate) fn digest(file: &Path) -> Sha256Digest {
    Sha256Digest::of_reader(&mut File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).unwrap()
}

/// Returns the last lines of a text.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Returns a file of the source tree.
fn source_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
