//! What is measured, as data: groups of rows that are compared with each other. The first row of a group is what the others are
//! measured against.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::{
    Run,
    lab::{Build, Lab, remove_tree, timed},
    peers::Peers,
    rpm,
};

/// How often a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Often {
    EachRound,
    /// In the first round only, for it takes many minutes.
    Once,
}

/// A row.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What it is, in the table.
    pub(super) label: &'static str,
    pub(super) often: Often,
    pub(super) is_peer: bool,
    pub(super) run: fn(&Lab) -> Result<Run>,
}

/// A table.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) scenarios: &'static [Scenario],
}

const fn ours(name: &'static str, label: &'static str, run: fn(&Lab) -> Result<Run>) -> Scenario {
    Scenario { name, label, often: Often::EachRound, is_peer: false, run }
}

const fn peer(name: &'static str, label: &'static str, often: Often, run: fn(&Lab) -> Result<Run>) -> Scenario {
    Scenario { name, label, often, is_peer: true, run }
}

/// The names of rows that the page says more about: stages and memory.
pub(super) const DETAILED: [&str; 4] = ["13-cold", "13-packages-cached", "12-packages-cached", "12-aarch64"];

/// Every table.
pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "Debian 13, minimal, x86_64, a bootable image",
        scenarios: &[
            ours("13-packages-cached", "`oic build`, packages cached, no layer", |lab| lab.build_without_results(MINIMAL_13)),
            ours("13-unchanged", "`oic build`, nothing changed", unchanged),
            ours("13-one-file", "`oic build`, one file changed", one_file),
            ours("13-one-package", "`oic build`, one package added", one_package),
            ours("13-other-template", "`oic build`, another template on the same base layer, its initramfs made", other_template),
            Scenario { often: Often::Once, ..ours("13-cold", "`oic build`, nothing cached, its own tools fetched, too", cold) },
            peer(
                "13-mmdebstrap",
                "mmdebstrap as native root, then `mke2fs -d`: the same packages, no boot files",
                Often::EachRound,
                |lab| Peers::of(lab)?.mmdebstrap("trixie", MINIMAL_13),
            ),
            peer("13-mkosi", "mkosi as native root: about the same packages", Often::Once, |lab| Peers::of(lab)?.mkosi(MINIMAL_13)),
            peer("13-debos", "debos in its VM (TCG, one CPU): the same packages, no boot files", Often::Once, |lab| {
                Peers::of(lab)?.debos("trixie", "amd64", MINIMAL_13)
            }),
        ],
    },
    Group {
        title: "Debian 12, minimal, a bootable image",
        scenarios: &[
            ours("12-packages-cached", "`oic build`, x86_64, packages cached, no layer", |lab| lab.build_without_results(MINIMAL_12)),
            ours("12-aarch64", "`oic build --arch aarch64`, likewise", |lab| lab.build_without_results(AARCH64_12)),
            ours("12-both", "`oic build --arch x86_64,aarch64`, likewise", |lab| lab.build_without_results(BOTH_12)),
            peer("12-mmdebstrap", "mmdebstrap as native root, then `mke2fs -d`, x86_64", Often::EachRound, |lab| {
                Peers::of(lab)?.mmdebstrap("bookworm", MINIMAL_12)
            }),
            peer("12-debos-aarch64", "debos in its VM (TCG, one CPU), aarch64 by qemu-user in it", Often::Once, |lab| {
                Peers::of(lab)?.debos("bookworm", "arm64", AARCH64_12)
            }),
        ],
    },
    Group {
        title: "Debian 13, about 400 packages, x86_64",
        scenarios: &[
            ours("400-packages-cached", "`oic build`, packages cached, no layer", |lab| lab.build_without_results(LARGE)),
            peer("400-mmdebstrap", "mmdebstrap as native root, then `mke2fs -d`", Often::EachRound, |lab| {
                Peers::of(lab)?.mmdebstrap("trixie", LARGE)
            }),
        ],
    },
    Group {
        title: "Test distribution of RPM packages, x86_64, a bootable image",
        scenarios: &[
            ours("rpm-packages-cached", "`oic build`, packages cached, no layer", rpm::build),
            ours("rpm-packages-installed", "· of this, the guest's step that installs the packages", |lab| rpm::step(lab, "install ")),
            ours("rpm-packages-initramfs", "· of this, the guest's step that makes the initramfs", |lab| {
                rpm::step(lab, "make the initramfs")
            }),
            peer(
                "rpm-dnf",
                "`dnf --installroot` as native root, then `mke2fs -d`: the same packages with their initramfs, which the kernel's script has dracut make; no disk",
                Often::EachRound,
                rpm::dnf,
            ),
        ],
    },
    Group {
        title: "Choosing these 400 packages, indexes cached",
        scenarios: &[
            ours("solve-400", "`oic lock --offline`, the tools of `oic` chosen, too", |lab| {
                lab.warm_indexes(LARGE)?;
                lab.lock(LARGE)
            }),
            peer("solve-400-apt", "`apt-get -s install`", Often::EachRound, |lab| Peers::of(lab)?.apt_simulate(&LARGE_REQUESTS)),
        ],
    },
    Group {
        title: "From raw to other disk formats, the Debian 13 image",
        scenarios: &[
            ours("qcow2", "`oic convert --format qcow2`", |lab| convert(lab, "qcow2")),
            peer("qcow2-qemu-img", "`qemu-img convert -O qcow2`", Often::EachRound, |lab| qemu_img(lab, "qcow2")),
            ours("vhdx", "`oic convert --format vhdx`", |lab| convert(lab, "vhdx")),
            peer("vhdx-qemu-img", "`qemu-img convert -O vhdx`", Often::EachRound, |lab| qemu_img(lab, "vhdx")),
        ],
    },
];

const MINIMAL_13: Build = Build { template: "debian13-x86_64-minimal-raw.yml", arguments: &[], name: "13-x86_64" };
const MINIMAL_12: Build = Build { template: "debian12-x86_64-minimal-raw.yml", arguments: &[], name: "12-x86_64" };
const AARCH64_12: Build = Build { template: "debian12-x86_64-minimal-raw.yml", arguments: &["--arch", "aarch64"], name: "12-aarch64" };
const BOTH_12: Build = Build { template: "debian12-x86_64-minimal-raw.yml", arguments: &["--arch", "x86_64,aarch64"], name: "12-both" };
const LARGE: Build = Build {
    template: "debian13-x86_64-minimal-raw.yml",
    arguments: &[
        "--set",
        "disk.size=6GiB",
        "--set",
        "systemConfig.packages=[openssh-server, sudo, cloud-init, cloud-guest-utils, nginx, postgresql, git, vim, build-essential, \
         python3-venv, tmux, htop, rsync, nftables, unattended-upgrades]",
    ],
    name: "13-large",
};

/// What the large image asks for, for apt: the base system comes by its priority.
const LARGE_REQUESTS: [&str; 28] = [
    "openssh-server",
    "sudo",
    "cloud-init",
    "cloud-guest-utils",
    "nginx",
    "postgresql",
    "git",
    "vim",
    "build-essential",
    "python3-venv",
    "tmux",
    "htop",
    "rsync",
    "nftables",
    "unattended-upgrades",
    "linux-image-cloud-amd64",
    "systemd-boot",
    "init",
    "dbus",
    "iproute2",
    "systemd-resolved",
    "libpam-systemd",
    "ca-certificates",
    "e2fsprogs",
    "udev",
    "zstd",
    "?essential",
    "?priority(required)",
];

/// Small packages with no others behind them, and nothing that concerns an initramfs; each round adds another one.
const ADDED: [&str; 4] = ["tree", "less", "ed", "time"];
/// One that brings a new file into a folder that the generator of the initramfs lists.
const OTHER: &str = "nano";

/// Builds what was built just before.
fn unchanged(lab: &Lab) -> Result<Run> {
    lab.warm(MINIMAL_13)?;
    lab.build(MINIMAL_13)
}

fn cold(lab: &Lab) -> Result<Run> {
    let cache = lab.folder.join("cold-cache");
    remove_tree(&cache)?;
    let run = lab.build_in(&cache, Build { name: "13-cold", ..MINIMAL_13 });
    remove_tree(&cache)?;
    run
}

/// Builds the minimal template and a file that is another one each time.
fn one_file(lab: &Lab) -> Result<Run> {
    lab.warm(MINIMAL_13)?;
    let folder = lab.folder.join("one-file");
    fs::create_dir_all(&folder)?;
    let parent = lab.template(MINIMAL_13.template);
    let template = folder.join("template.yml");
    let text = fs::read_to_string(&parent).with_context(|| format!("cannot read {}", parent.display()))?;
    let file = "\n  additionalFiles:\n    - {local: changed, final: /etc/changed, mode: \"0644\"}\n";
    fs::write(&template, format!("{}{file}", text.trim_end()))?;
    let build = Build { template: &template.to_string_lossy(), arguments: &[], name: "13-one-file" };
    // Once before it is measured, so that the file is what changes and not that there is one.
    fs::write(folder.join("changed"), "first\n")?;
    lab.warm(build)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    fs::write(folder.join("changed"), format!("{now}\n"))?;
    lab.build(build)
}

/// Builds the minimal template and one more package, which no cached layer has.
fn one_package(lab: &Lab) -> Result<Run> {
    let counter = lab.folder.join("packages-added");
    let count: usize = fs::read_to_string(&counter).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    let package = ADDED[count % ADDED.len()];
    fs::write(&counter, format!("{}\n", count + 1))?;
    let list = format!("systemConfig.packages=[{package}]");
    let arguments = ["--set", list.as_str()];
    let build = Build { arguments: &arguments, name: &format!("13-with-{package}"), ..MINIMAL_13 };
    if !lab.is_warm(build) {
        lab.warm(build)?;
        lab.build_without_results(MINIMAL_13)?;
    }
    remove_tree(&lab.output(build.name))?;
    lab.build(build)
}

/// Builds a template of which the cache has the base layer alone, and no initramfs that could be used again.
fn other_template(lab: &Lab) -> Result<Run> {
    let list = format!("systemConfig.packages=[{OTHER}]");
    let arguments = ["--set", list.as_str()];
    let build = Build { arguments: &arguments, name: "13-other", ..MINIMAL_13 };
    lab.warm(build)?;
    lab.build_without_results(MINIMAL_13)?;
    remove_tree(&lab.output(build.name))?;
    lab.build(build)
}

fn convert(lab: &Lab, format: &str) -> Result<Run> {
    let (raw, output) = (raw_image(lab)?, lab.folder.join(format!("converted.{format}")));
    let run = timed(Command::new(&lab.oic).args(["convert", "--format", format, "--input"]).arg(raw).arg("--output").arg(&output));
    let _ = fs::remove_file(output);
    run
}

fn qemu_img(lab: &Lab, format: &str) -> Result<Run> {
    let (raw, output) = (raw_image(lab)?, lab.folder.join(format!("qemu-img.{format}")));
    let run = timed(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", format]).arg(raw).arg(&output));
    let _ = fs::remove_file(output);
    run
}

/// Returns the disk that the minimal template gives.
fn raw_image(lab: &Lab) -> Result<PathBuf> {
    lab.warm(MINIMAL_13)?;
    let mut made = fs::read_dir(lab.output(MINIMAL_13.name))?.flatten().map(|entry| entry.path());
    made.find(|path| path.extension().is_some_and(|extension| extension == "raw")).context("there is no raw image")
}
