//! Apt as an oracle: the machine's `apt-get`, asked what it would install on a system that has nothing yet.

use std::{collections::BTreeSet, error::Error, path::PathBuf, process::Command};

use oic::exec;

/// Apt with an empty dpkg status.
#[derive(Debug)]
pub(crate) struct Apt {
    settings: Vec<String>,
}

impl Apt {
    /// Returns apt with these settings, which must name an empty status file.
    pub(crate) fn new(settings: Vec<String>) -> Self {
        Self { settings }
    }

    /// Returns a command of apt with these settings.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.settings.iter().for_each(|setting| {
            command.args(["-o", setting]);
        });
        command.env("LC_ALL", "C");
        command
    }

    /// Returns the package indexes that apt has, in the order in which it reads them.
    pub(crate) fn packages(&self) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let output = exec::run(self.command("apt-get").args(["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]))?;
        Ok(String::from_utf8(output)?.lines().map(PathBuf::from).collect())
    }

    /// Returns the packages, as name and version, that apt would install, with recommended ones if asked.
    pub(crate) fn simulate(&self, wanted: &[String], recommends: bool) -> Result<BTreeSet<String>, String> {
        let mut command = self.command("apt-get");
        let option = if recommends { "--install-recommends" } else { "--no-install-recommends" };
        command.args(["-s", option, "install", "--"]).args(wanted);
        let output = exec::run(&mut command).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output).into_owned();
        let installs = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_once(" ("));
        Ok(installs.map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap_or_default())).collect())
    }
}

/// A small generator of random numbers (SplitMix64), so that a seed means the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or(0)
    }

    /// Returns between one and `most` of `names`.
    pub(crate) fn some_of(&mut self, names: &[String], most: usize) -> Vec<String> {
        (0..=self.below(most)).map(|_| names[self.below(names.len())].clone()).collect()
    }
}
