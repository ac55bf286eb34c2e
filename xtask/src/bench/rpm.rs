//! The test distribution of RPM packages: made once, built by `oic`, and installed by dnf as native root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Run,
    lab::{Build, Lab, remove_tree, timed},
    peers::{install_missing, with_filesystem},
};

/// The folder of `oic`'s distribution data, in the lab's: what it has is known beside what is inside the program.
pub(super) const CONFIG: &str = "config";

const TEMPLATE: &str = "image: {name: bench, version: 1.0.0}\n\
                        target: {os: testos, dist: testos1, arch: x86_64, imageType: raw}\n\
                        systemConfig: {name: bench, hostname: bench}\n";

/// What makes the repository, and dnf; installed when this machine lacks it.
const HOST_PACKAGES: [(&str, &str); 5] = [
    ("rpm", "/usr/bin/rpmbuild"),
    ("createrepo-c", "/usr/bin/createrepo_c"),
    ("gnupg", "/usr/bin/gpg"),
    ("gpgv", "/usr/bin/gpgv"),
    ("dnf", "/usr/bin/dnf"),
];

/// Builds the default image of the test distribution, packages cached and nothing made of them.
pub(super) fn build(lab: &Lab) -> Result<Run> {
    let template = prepare(lab)?;
    lab.build_without_results(Build { template: &template.to_string_lossy(), arguments: &[], name: NAME })
}

const NAME: &str = "rpm-testos";

/// Returns how long a step took in the guest, in the last build of that image: its name begins with `begin`.
pub(super) fn step(lab: &Lab, begin: &str) -> Result<Run> {
    let template = prepare(lab)?;
    let log = lab.output(NAME).join("build.log");
    if !log.exists() {
        lab.build_without_results(Build { template: &template.to_string_lossy(), arguments: &[], name: NAME })?;
    }
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let seconds = text.lines().find_map(|line| {
        let (_, step) = line.split_once("] == ")?;
        let (name, time) = step.split_once(" took ")?;
        time.strip_suffix(" s").filter(|_| name.starts_with(begin))?.parse().ok()
    });
    let seconds = seconds.with_context(|| format!("{} does not say how long the step took", log.display()))?;
    Ok(Run { wall: Duration::from_secs_f64(seconds), ..Run::default() })
}

/// Installs the packages of that image into a folder, then makes a filesystem of it.
pub(super) fn dnf(lab: &Lab) -> Result<Run> {
    let template = prepare(lab)?;
    lab.warm(Build { template: &template.to_string_lossy(), arguments: &[], name: NAME })?;
    let list = lab.output(NAME).join("packages.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let packages: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let (root, home) = (lab.folder.join("dnf"), lab.folder.join("dnf-home"));
    remove_tree(&root)?;
    fs::create_dir_all(&home)?;
    // Debian's rpm has its database elsewhere than the distribution.
    fs::write(home.join(".rpmmacros"), "%_dbpath /usr/lib/sysimage/rpm\n")?;
    let repository = format!("bench,file://{}", repository(lab).display());
    let mut command = Command::new("unshare");
    // The mounts end with the command.
    let script = "set -e\nroot=$0\nmkdir -p \"$root\"/proc \"$root\"/sys \"$root\"/dev\nmount -t proc proc \"$root\"/proc\n\
                  mount --bind /sys \"$root\"/sys\nmount --rbind /dev \"$root\"/dev\nexec dnf -y -q --installroot \"$root\" \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(&root).env("HOME", &home);
    command.args(["--releasever", "1", "--disablerepo=*", "--repofrompath"]).arg(repository);
    command.args(["--setopt=bench.gpgcheck=0", "--setopt=keepcache=1", "--setopt=install_weak_deps=False", "--setopt"]);
    command.arg(format!("cachedir={}", lab.folder.join("dnf-cache").display())).arg("install").args(&packages);
    with_filesystem(&timed(&mut command)?, &root)
}

fn repository(lab: &Lab) -> PathBuf {
    lab.folder.join("rpm-repository/x86_64")
}

/// Makes the repository if it is not there, tells `oic` of it, and returns the template.
fn prepare(lab: &Lab) -> Result<PathBuf> {
    let template = lab.folder.join("rpm.yml");
    if template.exists() {
        return Ok(template);
    }
    install_missing(&HOST_PACKAGES)?;
    let (sources, repository) = (lab.root.join("tests/rpm-testbed"), repository(lab));
    remove_tree(&repository)?;
    fs::create_dir_all(lab.folder.join("rpm-repository"))?;
    println!("making a repository of RPM packages");
    let mut make = Command::new("python3");
    make.arg(sources.join("deb2rpmrepo.py")).args(["--arch", "x86_64", "--config"]).arg(sources.join("testos.toml"));
    timed(make.arg("--out").arg(&repository).arg("--cache").arg(lab.folder.join("rpm-cache")))?;
    tell(lab, &sources.join("osv/testos/testos1"))?;
    fs::write(&template, TEMPLATE)?;
    Ok(template)
}

/// Writes what `oic` has to know of the distribution.
fn tell(lab: &Lab, facts: &Path) -> Result<()> {
    let target = lab.folder.join(CONFIG).join("osv/testos/testos1");
    let defaults = "imageconfigs/defaultconfigs/default-raw-x86_64.yml";
    fs::create_dir_all(target.join("imageconfigs/defaultconfigs"))?;
    fs::create_dir_all(target.join("keys"))?;
    fs::copy(facts.join(defaults), target.join(defaults))?;
    fs::copy(repository(lab).join("RPM-GPG-KEY-testos"), target.join("keys/testos.asc"))?;
    let text = fs::read_to_string(facts.join("provider.yml"))?;
    ensure!(text.contains("REPOSITORY/{arch}"), "the test distribution's repository is called otherwise now");
    let place = format!("file://{}", lab.folder.join("rpm-repository").display());
    Ok(fs::write(target.join("provider.yml"), text.replace("REPOSITORY", &place))?)
}
