//! The installed state of an image beside what mmdebstrap makes of the same packages, in the same versions, from the same
//! archives: every difference has a reason that is written down, or the test fails.
//!
//! It needs mmdebstrap and the right to make namespaces, or root; what is missing is said. `cargo xtask compare-state` compares
//! all sets of packages and rewrites the tables of `docs/installed-state.md`; the test run compares the smallest.

#![expect(clippy::disallowed_methods, reason = "the peer is a program, and the chore sets a switch of this test")]

use std::{fs, path::Path, process::Command};

use oic_tests::{
    Lab, Sandbox, Turn, root_tree, skip,
    state::{self, RULES},
};

/// Set by the chore: compare all sets, and write the page.
const ALL: &str = "OIC_COMPARE_ALL";
/// The keyring that apt trusts on a Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A set of packages to compare.
struct Set {
    title: &'static str,
    template: &'static str,
    suite: &'static str,
    more: &'static str,
}

const SETS: [Set; 3] = [
    Set { title: "Debian 13, minimal", template: "debian13-x86_64-minimal-raw.yml", suite: "trixie", more: "" },
    Set {
        title: "Debian 13, a server",
        template: "debian13-x86_64-minimal-raw.yml",
        suite: "trixie",
        more: "openssh-server, sudo, cloud-init, cloud-guest-utils, nginx-light, rsync, python3-venv, unattended-upgrades, locales, man-db, iputils-ping",
    },
    Set { title: "Debian 12, minimal", template: "debian12-x86_64-minimal-raw.yml", suite: "bookworm", more: "" },
];

#[test]
fn an_image_has_the_state_that_mmdebstrap_gives() {
    let test = "an_image_has_the_state_that_mmdebstrap_gives";
    let Some(lab) = Lab::open(test, std::env::consts::ARCH, Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    if std::env::consts::ARCH != "x86_64" {
        return skip(test, "the templates are for x86_64, and mmdebstrap runs what it installs");
    }
    let mode = match mode() {
        Ok(mode) => mode,
        Err(lack) => return skip(test, &lack),
    };
    let all = std::env::var_os(ALL).is_some();
    let mut compared = Vec::new();
    let mut wrong = String::new();
    for set in if all { &SETS[..] } else { &SETS[..1] } {
        let (paths, found) = compare(&lab, set, mode);
        for difference in found.iter().filter(|difference| !RULES.iter().any(|rule| rule.covers(difference))) {
            wrong += &format!("{}: {difference}\n", set.title);
        }
        println!("{}: {paths} paths, {} differences\n{wrong}", set.title, found.len());
        compared.push((set.title.to_owned(), paths, found));
    }
    if all {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/installed-state.md");
        state::write_page(&page, &state::page(&compared)).unwrap();
    }
    assert!(wrong.is_empty(), "differences without a reason, ours before theirs:\n{wrong}");
}

/// Returns how mmdebstrap can run here, or what is missing.
fn mode() -> Result<&'static str, String> {
    let runs =
        |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !runs("mmdebstrap", &["--version"]) || !Path::new(KEYRING).exists() {
        return Err("mmdebstrap and Debian's keyring are not installed".to_owned());
    }
    let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if id.stdout == b"0\n" {
        return Ok("root");
    }
    if runs("unshare", &["--user", "--map-auto", "--map-root-user", "--mount", "true"]) {
        Ok("unshare")
    } else {
        Err("this user cannot map the users of a namespace (/etc/subuid, newuidmap)".to_owned())
    }
}

/// Returns how many paths an image has, and how it differs from mmdebstrap's tree.
fn compare(lab: &Lab, set: &Set, mode: &str) -> (usize, Vec<state::Difference>) {
    let sandbox = Sandbox::new();
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image-templates").join(set.template);
    fs::copy(&template, sandbox.cwd().join("template.yml")).unwrap();
    let list = format!("systemConfig.packages=[{}]", set.more);
    let mut arguments = vec!["build", "--progress", "plain", "-o", "out", "template.yml"];
    if !set.more.is_empty() {
        arguments.extend(["--set", &list, "--set", "disk.size=4GiB"]);
    }
    let turn = Turn::wait();
    let output = sandbox.oic(&arguments).env("OIC_CACHE_DIR", lab.cache()).run();
    drop(turn);
    assert_eq!(output.code, Some(0), "{output}");

    let manifest: serde_json::Value = serde_json::from_str(&sandbox.read("out/manifest.json")).unwrap();
    let epoch = manifest["inputs"]["sourceDateEpoch"].as_u64().unwrap_or_else(|| panic!("no epoch in {manifest}"));
    let tar = sandbox.root().join("theirs.tar");
    mmdebstrap(set, mode, &wanted(&sandbox), epoch, &tar);

    let made = fs::read_dir(sandbox.cwd().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let image = made.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "raw")).unwrap();
    let ours = state::of_tree(&root_tree(&image, &sandbox.root().join("root.img")).unwrap()).unwrap();
    let theirs = state::of_tar(&tar).unwrap();
    assert!(ours.len() > 5000 && theirs.len() > 5000, "{} and {} paths", ours.len(), theirs.len());
    (ours.len(), state::compare(&ours, &theirs))
}

/// Returns every package of the image with its version.
fn wanted(sandbox: &Sandbox) -> Vec<String> {
    let text = sandbox.read("out/packages.txt");
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.len() >= 2).map(|words| format!("{}={}", words[0], words[1])).collect()
}

/// Makes the same of the same packages.
fn mmdebstrap(set: &Set, mode: &str, packages: &[String], epoch: u64, tar: &Path) {
    let mirror = mirror();
    let suites = [("", set.suite.to_owned()), ("", format!("{}-updates", set.suite)), ("-security", format!("{}-security", set.suite))];
    let sources = suites.map(|(archive, suite)| format!("deb [signed-by={KEYRING}] {mirror}{archive} {suite} main"));
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=custom", "--format=tar", &format!("--mode={mode}"), &format!("--include={}", packages.join(","))]);
    command.arg(set.suite).arg(tar).args(sources).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the Debian mirror that this machine's apt uses.
fn mirror() -> String {
    let arguments = ["indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages"];
    let output = Command::new("apt-get").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let uri = text.lines().filter_map(|line| line.split_whitespace().nth(1)).find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    uri.unwrap_or("https://mirrors.kernel.org/debian").trim_end_matches('/').to_owned()
}
