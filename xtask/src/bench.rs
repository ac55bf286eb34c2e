//! Measures `oic` and, on request, its peers on the same machine, in turn, and writes the table of `docs/benchmarks.md`.
//!
//! Every scenario runs once per round, all of them before the next round begins, so that a machine that gets slower gets slower
//! for everybody; medians are written. Peers need root, `mmdebstrap`, and for debos a Debian 13 tree that this command makes once
//! under `target/bench` with mmdebstrap.

#![expect(clippy::disallowed_methods, reason = "a benchmark runs programs as a whole")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

mod peers;

use peers::Peers;

/// Between these lines of the page everything is rewritten.
const MARKERS: [&str; 2] = ["<!-- measured: begin -->", "<!-- measured: end -->"];

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also run mmdebstrap and debos (as root)
    #[arg(long)]
    peers: bool,
    /// How often each scenario runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The template to build
    #[arg(long, default_value = "image-templates/debian13-x86_64-minimal-raw.yml")]
    template: PathBuf,
}

/// One run.
#[derive(Debug, Clone, Default)]
struct Run {
    wall: Duration,
    /// Seconds by stage, from the machine-readable progress.
    stages: BTreeMap<String, f64>,
    /// Peak resident memory by program, in bytes.
    memory: BTreeMap<String, u64>,
}

/// Runs everything and writes the page.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round");
    let status = Command::new("cargo").args(["build", "--release", "--package", "oic"]).current_dir(root).status()?;
    ensure!(status.success(), "oic does not build");
    let bench = Bench { oic: root.join("target/release/oic"), folder: root.join("target/bench"), template: root.join(&options.template) };
    fs::create_dir_all(&bench.folder)?;

    println!("cold: everything is fetched, the packages of oic itself, too");
    let _ = fs::remove_dir_all(bench.cache());
    let cold = bench.build("cold")?;
    let peers = if options.peers { Some(Peers::prepare(&bench.folder, &bench.output("cold"))?) } else { None };
    let mut results: BTreeMap<&str, Vec<Run>> = BTreeMap::from([("oic, everything cold", vec![cold])]);
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        bench.forget_results()?;
        results.entry("oic, packages cached").or_default().push(bench.build("cached")?);
        results.entry("oic, repeated").or_default().push(bench.build("cached")?);
        if let Some(peers) = &peers {
            for (name, peer) in Peers::commands() {
                println!("  {name}");
                let start = Instant::now();
                peer(peers)?;
                results.entry(name).or_default().push(Run { wall: start.elapsed(), ..Run::default() });
            }
        }
    }
    let page = root.join("docs/benchmarks.md");
    let table = render(&results, &bench, options)?;
    println!("{table}");
    write_between_markers(&page, &table)
}

/// Where things are.
struct Bench {
    oic: PathBuf,
    folder: PathBuf,
    template: PathBuf,
}

impl Bench {
    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn output(&self, name: &str) -> PathBuf {
        self.folder.join("out").join(name)
    }

    /// Removes what a build has made of packages, but not the packages.
    fn forget_results(&self) -> Result<()> {
        for bucket in ["layers-v1", "artifacts-v1"] {
            let folder = self.cache().join(bucket);
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
        }
        Ok(())
    }

    /// Builds the template once.
    fn build(&self, name: &str) -> Result<Run> {
        let output = self.output(name);
        let lock = self.folder.join("oic.lock");
        let start = Instant::now();
        let mut child = Command::new(&self.oic)
            .args(["build", "--progress", "json", "--cache-dir"])
            .arg(self.cache())
            .arg("--lock")
            .arg(&lock)
            .arg("-o")
            .arg(&output)
            .arg(&self.template)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start oic")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout));
        let mut memory = BTreeMap::new();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            sample_memory(child.id(), &mut memory);
            std::thread::sleep(Duration::from_millis(100));
        };
        let wall = start.elapsed();
        ensure!(status.success(), "oic build ended with {status}");
        let events = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        println!("  oic build: {:.1} s", wall.as_secs_f64());
        Ok(Run { wall, stages: stage_times(&events)?, memory })
    }
}

/// Returns the seconds of each stage.
fn stage_times(events: &str) -> Result<BTreeMap<String, f64>> {
    let mut stages = BTreeMap::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let (Some(stage), Some(elapsed)) = (event["stage"].as_str(), event["elapsed_ms"].as_f64()) else { continue };
        stages.insert(stage.to_owned(), elapsed / 1000.0);
    }
    Ok(stages)
}

/// Takes down the peak memory of a process and its children.
fn sample_memory(parent: u32, peaks: &mut BTreeMap<String, u64>) {
    let children =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for process in children {
        let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned));
        let is_ours = process == parent || field("PPid:").is_some_and(|id| id == parent.to_string());
        let (true, Some(name), Some(peak)) = (is_ours, field("Name:"), field("VmHWM:").and_then(|text| text.parse::<u64>().ok())) else {
            continue;
        };
        let name = if process == parent { "oic".to_owned() } else { format!("child {name}") };
        let known = peaks.entry(name).or_default();
        *known = (*known).max(peak * 1024);
    }
}

/// Returns the middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Returns the tables.
fn render(results: &BTreeMap<&str, Vec<Run>>, bench: &Bench, options: &Options) -> Result<String> {
    use std::fmt::Write as _;
    let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall.as_secs_f64()).collect());
    let base = wall(&results["oic, packages cached"]);
    let mut text = format!("Measured {} on {}. `{}`, {} rounds.\n\n", date()?, machine()?, options.template.display(), options.rounds);
    text += "| what | median | least | most | beside `oic`, packages cached |\n|---|--:|--:|--:|--:|\n";
    for (name, runs) in results {
        let seconds: Vec<f64> = runs.iter().map(|run| run.wall.as_secs_f64()).collect();
        let (least, most) = seconds.iter().fold((f64::MAX, 0.0_f64), |(least, most), s| (least.min(*s), most.max(*s)));
        let middle = wall(runs);
        writeln!(text, "| {name} | {middle:.1} s | {least:.1} s | {most:.1} s | {:.2} |", middle / base)?;
    }
    text += "\nStages of `oic build`, medians in seconds (the `vm` stage is the time from starting QEMU to the agent's hello):\n\n";
    let runs = |name: &str| results.get(name).map(Vec::as_slice).unwrap_or_default();
    let columns = ["oic, everything cold", "oic, packages cached", "oic, repeated"];
    writeln!(text, "| stage | {} |\n|---|--:|--:|--:|", columns.join(" | "))?;
    let mut stages: Vec<&String> = columns.iter().flat_map(|name| runs(name)).flat_map(|run| run.stages.keys()).collect();
    stages.sort();
    stages.dedup();
    for stage in stages {
        let cell = |name: &&str| {
            let values: Vec<f64> = runs(name).iter().filter_map(|run| run.stages.get(stage).copied()).collect();
            if values.is_empty() { "–".to_owned() } else { format!("{:.2}", median(values)) }
        };
        writeln!(text, "| {stage} | {} |", columns.iter().map(cell).collect::<Vec<_>>().join(" | "))?;
    }
    text += "\nPeak resident memory, packages cached (QEMU's includes the guest's):\n\n";
    for (program, bytes) in &runs("oic, packages cached")[0].memory {
        writeln!(text, "* `{program}`: {} MiB", bytes >> 20)?;
    }
    writeln!(text, "\nSize of `oic`, agents included: {:.1} MB.", fs::metadata(&bench.oic)?.len() as f64 / 1e6)?;
    Ok(text)
}

/// Returns the date of today as the system's `date` says it.
fn date() -> Result<String> {
    let output = Command::new("date").arg("+%Y-%m-%d").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Returns what the machine is.
fn machine() -> Result<String> {
    let cpus = std::thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, name)| name);
    Ok(format!("{cpus} cores of {model}, shared, without KVM"))
}

/// Replaces what stands between the markers of a page.
fn write_between_markers(page: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let Some((before, rest)) = text.split_once(MARKERS[0]) else { bail!("{} has no line `{}`", page.display(), MARKERS[0]) };
    let Some((_, after)) = rest.split_once(MARKERS[1]) else { bail!("{} has no line `{}`", page.display(), MARKERS[1]) };
    fs::write(page, format!("{before}{}\n\n{table}\n{}{after}", MARKERS[0], MARKERS[1]))?;
    Ok(())
}
