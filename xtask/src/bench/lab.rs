//! Runs `oic`: with which cache, which template, and what is looked at meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Run, memory, rpm};

/// Folders of the cache that hold what was made of packages, by the beginnings of their names.
const RESULTS: [&str; 3] = ["layers-", "artifacts-", "images-"];

/// Where things are.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) root: PathBuf,
    pub(super) oic: PathBuf,
    pub(super) folder: PathBuf,
}

/// A build to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build<'a> {
    /// The template, below `image-templates`.
    pub(super) template: &'a str,
    /// Further arguments.
    pub(super) arguments: &'a [&'a str],
    /// The output folder and the lock are called by this name.
    pub(super) name: &'a str,
}

impl Lab {
    pub(super) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    pub(super) fn output(&self, name: &str) -> PathBuf {
        self.folder.join("out").join(name)
    }

    pub(super) fn template(&self, name: &str) -> PathBuf {
        self.root.join("image-templates").join(name)
    }

    /// Removes what builds have made of packages, but not the packages.
    pub(super) fn forget_results(&self) -> Result<()> {
        for entry in fs::read_dir(self.cache()).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if RESULTS.iter().any(|start| name.starts_with(start)) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Returns the command for oic with this lab's cache.
    fn command(&self, cache: &Path, verb: &str) -> Command {
        let mut command = Command::new(&self.oic);
        let config = self.folder.join(rpm::CONFIG);
        if config.exists() {
            command.env("OIC_CONFIG_DIR", config);
        }
        command.current_dir(&self.folder).arg(verb).arg("--cache-dir").arg(cache);
        command
    }

    /// Makes sure that all packages of a build are in the cache, by building it once; not measured.
    pub(super) fn warm(&self, build: Build<'_>) -> Result<()> {
        if !self.is_warm(build) {
            self.build_in(&self.cache(), build)?;
            fs::create_dir_all(self.folder.join("warm"))?;
            fs::write(self.folder.join("warm").join(build.name), "")?;
        }
        Ok(())
    }

    /// Tells whether a build was done with this cache before.
    pub(super) fn is_warm(&self, build: Build<'_>) -> bool {
        self.folder.join("warm").join(build.name).exists()
    }

    /// Builds with packages cached, and nothing made of them.
    pub(super) fn build_without_results(&self, build: Build<'_>) -> Result<Run> {
        self.warm(build)?;
        self.forget_results()?;
        // A finished image in its place would be all that was asked for.
        remove_tree(&self.output(build.name))?;
        self.build_in(&self.cache(), build)
    }

    /// Builds with whatever the cache has.
    pub(super) fn build(&self, build: Build<'_>) -> Result<Run> {
        self.build_in(&self.cache(), build)
    }

    /// Builds with a cache.
    pub(super) fn build_in(&self, cache: &Path, build: Build<'_>) -> Result<Run> {
        fs::create_dir_all(self.folder.join("locks"))?;
        let mut command = self.command(cache, "build");
        command.args(["--progress", "json", "--lock"]).arg(self.folder.join("locks").join(format!("{}.lock", build.name)));
        command.arg("-o").arg(self.output(build.name)).args(build.arguments).arg(self.template(build.template));
        let errors = self.folder.join("oic.stderr");
        command.stdout(Stdio::piped()).stderr(fs::File::create(&errors)?);
        let (start, cpu) = (Instant::now(), children_cpu());
        let mut child = command.spawn().context("cannot start oic")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout));
        let (ended, parent) = (Arc::new(AtomicBool::new(false)), child.id());
        let seen = Arc::clone(&ended);
        let sampler = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !seen.load(Ordering::Relaxed) {
                memory::sample(parent, &mut peaks);
                std::thread::sleep(Duration::from_millis(500));
            }
            peaks
        });
        let status = child.wait()?;
        let (wall, cpu) = (start.elapsed(), children_cpu() - cpu);
        ended.store(true, Ordering::Relaxed);
        let memory = sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
        let events = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        ensure!(status.success(), "oic build ended with {status}: {}", last_line(&fs::read_to_string(&errors)?));
        Ok(Run { wall, cpu, stages: stage_times(&events)?, memory, load: 0.0 })
    }

    /// Makes sure that everything that the repositories say is in the cache; not measured.
    pub(super) fn warm_indexes(&self, build: Build<'_>) -> Result<()> {
        let marker = self.folder.join("warm").join(format!("{}-indexes", build.name));
        if !marker.exists() && !self.is_warm(build) {
            fs::create_dir_all(self.folder.join("locks"))?;
            let mut command = self.command(&self.cache(), "lock");
            command.arg("--lock").arg(self.folder.join("locks").join(format!("{}-indexes.lock", build.name)));
            timed(command.args(build.arguments).arg(self.template(build.template)))?;
            fs::create_dir_all(self.folder.join("warm"))?;
            fs::write(marker, "")?;
        }
        Ok(())
    }

    /// Chooses the packages of a template, with everything that the repositories say in the cache.
    pub(super) fn lock(&self, build: Build<'_>) -> Result<Run> {
        let lock = self.folder.join("locks").join(format!("{}-resolved.lock", build.name));
        let _ = fs::remove_file(&lock);
        let mut command = self.command(&self.cache(), "lock");
        command.args(["--offline", "--lock"]).arg(lock).args(build.arguments).arg(self.template(build.template));
        timed(&mut command)
    }
}

/// Runs a program and takes its time; what it prints is shown only if it fails.
pub(super) fn timed(command: &mut Command) -> Result<Run> {
    let (start, cpu) = (Instant::now(), children_cpu());
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let (wall, cpu) = (start.elapsed(), children_cpu() - cpu);
    let name = command.get_program().to_string_lossy().into_owned();
    let words = [&output.stdout[..], &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    ensure!(output.status.success(), "{name} ended with {}: {}", output.status, last_line(&words));
    Ok(Run { wall, cpu, ..Run::default() })
}

/// Returns the seconds of processor time that ended processes below this one have used (proc_pid_stat(5), in hundredths).
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may have spaces; times of children are the 16th and 17th field.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Removes a folder if it is there.
pub(super) fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the machine's load over the last minute.
pub(super) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("without a word").trim().to_owned()
}

/// Returns the seconds of each stage.
fn stage_times(events: &str) -> Result<Vec<(String, f64)>> {
    let mut stages = Vec::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let (Some(stage), Some(elapsed)) = (event["stage"].as_str(), event["elapsedMs"].as_f64()) else { continue };
        stages.push((stage.to_owned(), elapsed / 1000.0));
    }
    Ok(stages)
}
