//! `cargo xtask bench`: measures `oic` and, on request, its peers on the same machine, in turn, and writes the tables of
//! `docs/benchmarks.md`.
//!
//! Every scenario runs once per round, all of them before the next round begins, so that a machine that gets slower gets slower
//! for everybody; medians are written, with the machine's load beside them. What takes many minutes runs in the first round
//! only. A scenario that fails is told in its row: the others still count.
//!
//! ```text
//! scenarios   what is measured, as data: one row of a table each
//! lab         runs oic: caches, templates, times of stages
//! memory      what oic and its children take while it runs
//! peers       mmdebstrap, debos, mkosi, apt and qemu-img, from Debian's packages
//! rpm         the test distribution of RPM packages, and dnf
//! report      results → the page
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark runs programs as a whole")]

mod lab;
mod memory;
mod peers;
mod report;
mod rpm;
mod scenarios;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::programs;
use lab::Lab;
use scenarios::{GROUPS, Often, Scenario};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also run the peers: mmdebstrap, debos, mkosi, apt, dnf, qemu-img (as root; what is missing is installed or unpacked)
    #[arg(long)]
    peers: bool,
    /// How often each scenario runs; the slowest peers run once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only scenarios whose names begin with one of these
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Name the scenarios, and measure nothing
    #[arg(long)]
    list: bool,
    /// Folder for caches, images and the peers' trees [default: target/bench]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Measure this program instead of building a release
    #[arg(long, value_name = "FILE")]
    oic: Option<PathBuf>,
    /// Print the tables instead of writing them into the page
    #[arg(long)]
    print: bool,
}

/// One run of one scenario.
#[derive(Debug, Clone, Default)]
struct Run {
    wall: Duration,
    /// Seconds of processor time, in all its processes: what it costs whatever else the machine does.
    cpu: f64,
    /// Stages in their order, each with its seconds, from the machine-readable progress.
    stages: Vec<(String, f64)>,
    /// Peak memory by program and of all together, in bytes, beside that of guests.
    memory: BTreeMap<String, u64>,
    /// The machine's load when it began: processes that run or want to, over the last minute.
    load: f64,
}

impl Run {
    /// Returns how long a stage took, all its times together.
    fn seconds_of(&self, stage: &str) -> Option<f64> {
        let times: Vec<f64> = self.stages.iter().filter(|(name, _)| name == stage).map(|(_, seconds)| *seconds).collect();
        (!times.is_empty()).then(|| times.iter().sum())
    }
}

/// What became of a scenario.
#[derive(Debug, Default)]
struct Outcome {
    runs: Vec<Run>,
    /// Why it was given up.
    failure: Option<String>,
}

/// Runs everything and writes the page.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round");
    let wanted = |scenario: &&Scenario| {
        (options.only.is_empty() || options.only.iter().any(|start| scenario.name.starts_with(start.as_str())))
            && (options.peers || !scenario.is_peer || !options.only.is_empty())
    };
    let selected: Vec<&Scenario> = GROUPS.iter().flat_map(|group| group.scenarios).filter(wanted).collect();
    ensure!(!selected.is_empty(), "no scenario has such a name; `--list` names them");
    if options.list {
        selected.iter().for_each(|scenario| println!("{:24} {}", scenario.name, scenario.label));
        return Ok(());
    }
    let oic = match &options.oic {
        Some(oic) => fs::canonicalize(oic)?,
        None => release(root)?,
    };
    let folder = options.folder.clone().unwrap_or_else(|| root.join("target/bench"));
    fs::create_dir_all(&folder)?;
    let lab = Lab { root: root.to_owned(), oic, folder: fs::canonicalize(folder)? };
    let outcomes = measure(&lab, &selected, options.rounds);
    let text = report::render(&outcomes, &lab, options.rounds)?;
    println!("{text}");
    if options.print { Ok(()) } else { report::write(&root.join("docs/benchmarks.md"), &text) }
}

/// Runs the scenarios, round by round.
fn measure<'a>(lab: &Lab, selected: &[&'a Scenario], rounds: usize) -> BTreeMap<&'a str, Outcome> {
    let mut outcomes: BTreeMap<&str, Outcome> = BTreeMap::new();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for scenario in selected.iter().filter(|scenario| round == 1 || scenario.often == Often::EachRound) {
            let outcome = outcomes.entry(scenario.name).or_default();
            if outcome.failure.is_some() {
                continue;
            }
            let load = lab::load();
            match (scenario.run)(lab) {
                Ok(run) => {
                    let cpu = run.cpu;
                    println!("  {:24} {:8.2} s, {cpu:.2} s of processors  (load {load:.0})", scenario.name, run.wall.as_secs_f64());
                    outcome.runs.push(Run { load, ..run });
                }
                Err(error) => {
                    println!("  {:24} failed: {error:#}", scenario.name);
                    outcome.failure = Some(format!("{error:#}"));
                }
            }
        }
    }
    outcomes
}

/// Builds the release of `oic` and returns the program.
fn release(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "oic", "--message-format", "json-render-diagnostics"];
    let messages = programs::output(programs::cargo(root).args(arguments))?;
    let program = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "oic").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    program.ok_or_else(|| anyhow::anyhow!("cargo does not say where oic is"))
}
