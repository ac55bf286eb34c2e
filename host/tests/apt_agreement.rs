//! The solver chooses what apt chooses, on the package lists that this machine's apt has. The chore `apt_oracle` does the same on
//! whole suites and hundreds of requests.

#[path = "../examples/apt_oracle/apt.rs"]
mod apt;

use std::{collections::BTreeSet, io::Write as _, path::Path, process::Command, sync::Arc};

use apt::{Apt, Random};
use oic::{
    exec,
    solve::{BaseSet, DEFAULT_PRIORITY, IndexedRepository, PackageIndex, SolveRequest, Universe, solve},
};
use oic_config::spec::{Arch, PackageRequest};

/// How many random requests are compared, besides the named ones.
const RANDOM_REQUESTS: usize = 4;

const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Returns apt's indexes as a universe, or why they cannot be used.
fn universe_of(apt: &Apt) -> Result<Universe, String> {
    if !Path::new(APT_HELPER).exists() {
        return Err("apt is not on this machine".to_owned());
    }
    let policy = exec::run(apt.command("apt-cache").arg("policy")).map_err(|error| error.to_string())?;
    let policy = String::from_utf8_lossy(&policy).into_owned();
    let unusual =
        policy.lines().filter(|line| !line.contains("/status")).filter_map(|line| line.split_whitespace().next()?.parse::<i32>().ok());
    if unusual.into_iter().any(|priority| priority != DEFAULT_PRIORITY) || policy.contains("Pinned packages:\n     ") {
        return Err("the machine's apt has pins".to_owned());
    }
    let mut repositories = Vec::new();
    for path in apt.packages().map_err(|error| error.to_string())? {
        let text = exec::run(Command::new(APT_HELPER).arg("cat-file").arg(&path)).map_err(|error| error.to_string())?;
        let index = PackageIndex::parse(text.as_slice()).map_err(|error| format!("{}: {error}", path.display()))?;
        repositories.push(IndexedRepository {
            id: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            component: String::new(),
            priority: DEFAULT_PRIORITY,
            allow_packages: Vec::new(),
            excludes: Vec::new(),
            index: Arc::new(index),
        });
    }
    let universe = Universe::new(Arch::host(), repositories).map_err(|error| error.to_string())?;
    if universe.package_names().count() < 1000 { Err("the machine's apt has no package lists".to_owned()) } else { Ok(universe) }
}

#[test]
fn the_choice_is_apts_on_the_machines_own_lists() {
    let folder = tempfile::tempdir().unwrap();
    let status = folder.path().join("status");
    std::fs::write(&status, "").unwrap();
    let apt = Apt::new(vec![format!("Dir::State::status={}", status.display())]);
    let universe = match universe_of(&apt) {
        Ok(universe) => universe,
        Err(reason) => {
            // Written past the test harness, which would keep it to itself.
            writeln!(std::io::stderr(), "skipped: the_choice_is_apts_on_the_machines_own_lists: {reason}").unwrap();
            return;
        }
    };
    let mut names: Vec<_> = universe.package_names().map(str::to_owned).collect();
    names.sort();
    let mut random = Random(20);
    let named = [vec!["openssh-server", "sudo"], vec!["systemd-sysv", "dbus", "initramfs-tools"], vec!["build-essential"]];
    let named = named.into_iter().map(|words| words.into_iter().map(str::to_owned).collect());
    let requests: Vec<Vec<String>> = named.chain((0..RANDOM_REQUESTS).map(|_| random.some_of(&names, 4))).collect();
    for wanted in requests {
        let packages = wanted.iter().map(|name| PackageRequest { name: name.clone(), version: None, origin: "test".to_owned() }).collect();
        let ours = solve(&universe, &SolveRequest { packages, base: BaseSet::None, recommends: false });
        match (apt.simulate(&wanted, false), ours) {
            (Ok(theirs), Ok(ours)) => {
                let ours: BTreeSet<_> = ours.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
                let shown = |of: &BTreeSet<String>, not: &BTreeSet<String>| of.difference(not).cloned().collect::<Vec<_>>().join(", ");
                assert!(theirs == ours, "{wanted:?}: only apt takes {}; only we take {}", shown(&theirs, &ours), shown(&ours, &theirs));
            }
            (Err(_), Err(_)) => {}
            (theirs, ours) => panic!("{wanted:?}: apt says {theirs:?}, the solver says {ours:?}"),
        }
    }
}
