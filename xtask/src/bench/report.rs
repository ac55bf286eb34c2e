//! The page: results as tables.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    Outcome, Run,
    lab::Lab,
    peers,
    scenarios::{DETAILED, GROUPS, Group},
};

/// Between these lines of the page everything is rewritten.
const MARKERS: [&str; 2] = ["<!-- measured: begin -->", "<!-- measured: end -->"];

/// Returns the tables.
pub(super) fn render(outcomes: &BTreeMap<&str, Outcome>, lab: &Lab, rounds: usize) -> Result<String> {
    let mut text = format!("Measured {} on {}, {rounds} rounds. ", date()?, machine()?);
    let versions = peers::versions(lab);
    if outcomes.keys().any(|name| GROUPS.iter().flat_map(|group| group.scenarios).any(|row| row.is_peer && row.name == *name)) {
        write!(text, "Peers: {}. ", versions.join(", "))?;
    }
    text += "\"Processors\" is the time that processors spent on it, which says what it costs whatever else the machine does. \"Load\" is how many processes wanted a processor when a run began: least and most.\n";
    for group in GROUPS {
        table(&mut text, group, outcomes)?;
    }
    stages(&mut text, outcomes)?;
    if let Some(run) = outcomes.get("13-packages-cached").and_then(|outcome| outcome.runs.first()) {
        text += "\nPeak memory of `oic build`, Debian 13, packages cached, beside the guest's own and shared pages counted once:\n\n";
        for (program, bytes) in &run.memory {
            writeln!(text, "* {program}: {} MiB", bytes >> 20)?;
        }
    }
    writeln!(text, "\nSize of `oic`, agents included: {:.1} MB.", fs::metadata(&lab.oic)?.len() as f64 / 1e6)?;
    Ok(text)
}

/// Writes the table of a group, when something of it was measured.
fn table(text: &mut String, group: &Group, outcomes: &BTreeMap<&str, Outcome>) -> Result<()> {
    if !group.scenarios.iter().any(|scenario| outcomes.contains_key(scenario.name)) {
        return Ok(());
    }
    let wall = |outcome: &Outcome| median(outcome.runs.iter().map(|run| run.wall.as_secs_f64()).collect());
    let cpu = |outcome: &Outcome| median(outcome.runs.iter().map(|run| run.cpu).collect()).filter(|cpu| *cpu > 0.0);
    let first = outcomes.get(group.scenarios[0].name);
    let (reference, reference_cpu) = (first.and_then(wall), first.and_then(cpu));
    let ratio = |value: Option<f64>, reference: Option<f64>| {
        value.zip(reference).map_or_else(|| "–".to_owned(), |(value, reference)| format!("{:.2} ×", value / reference))
    };
    writeln!(text, "\n### {}\n", group.title)?;
    writeln!(text, "| what | median | least–most | beside the first row | processors | beside the first row | runs | load |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for scenario in group.scenarios {
        let Some(outcome) = outcomes.get(scenario.name) else { continue };
        if let Some(failure) = &outcome.failure {
            let reason: String = failure.replace('|', "/").chars().take(200).collect();
            writeln!(text, "| {} | failed: {reason} | | | | | | |", scenario.label)?;
            continue;
        }
        let Some(middle) = wall(outcome) else { continue };
        let (least, most) = span(outcome, |run| run.wall.as_secs_f64());
        let (quiet, busy) = span(outcome, |run| run.load);
        let cells = [
            scenario.label.to_owned(),
            seconds(middle),
            format!("{}–{}", digits(least), digits(most)),
            ratio(Some(middle), reference),
            cpu(outcome).map_or_else(|| "–".to_owned(), seconds),
            ratio(cpu(outcome), reference_cpu),
            outcome.runs.len().to_string(),
            format!("{quiet:.0}–{busy:.0}"),
        ];
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// Writes the stages of builds that took them all.
fn stages(text: &mut String, outcomes: &BTreeMap<&str, Outcome>) -> Result<()> {
    let columns: Vec<_> = DETAILED.iter().filter_map(|name| Some((name, outcomes.get(name)?))).collect();
    let runs = || columns.iter().flat_map(|(_, outcome)| &outcome.runs);
    // In the order of the first run, which is that of the build.
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in runs().flat_map(|run| &run.stages) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    text.push_str(
        "\n### Stages of `oic build`\n\nMedians in seconds; `vm` is the time from starting QEMU to the agent's hello.\n\n| stage |",
    );
    columns.iter().for_each(|(name, _)| text.push_str(&format!(" {name} |")));
    writeln!(text, "\n|---|{}", "--:|".repeat(columns.len()))?;
    for name in names {
        write!(text, "| {name} |")?;
        for (_, outcome) in &columns {
            let values = outcome.runs.iter().filter_map(|run| run.seconds_of(name)).collect();
            write!(text, " {} |", median(values).map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.2}")))?;
        }
        text.push('\n');
    }
    Ok(())
}

fn span(outcome: &Outcome, of: impl Fn(&Run) -> f64) -> (f64, f64) {
    outcome.runs.iter().map(of).fold((f64::MAX, 0.0), |(least, most), value| (least.min(value), most.max(value)))
}

/// Returns the middle value.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn seconds(value: f64) -> String {
    format!("{} s", digits(value))
}

fn digits(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
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
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cpus} cores of {model}, Linux {}, without KVM", kernel.trim()))
}

/// Replaces what stands between the markers of a page.
pub(super) fn write(page: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let Some((before, rest)) = text.split_once(MARKERS[0]) else { bail!("{} has no line `{}`", page.display(), MARKERS[0]) };
    let Some((_, after)) = rest.split_once(MARKERS[1]) else { bail!("{} has no line `{}`", page.display(), MARKERS[1]) };
    fs::write(page, format!("{before}{}\n\n{table}\n{}{after}", MARKERS[0], MARKERS[1]))?;
    Ok(())
}
