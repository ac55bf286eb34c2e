//! Compares the solver with apt: `cargo run --release -p oic --example apt_oracle -- --suite trixie --count 200 --seed 1`.
//!
//! Makes a private apt root for one suite of Debian, with the mirror of the machine's own apt configuration and an empty dpkg status, asks
//! apt and the solver for the same random packages and prints where they differ, and how long each took.

#![expect(clippy::print_stdout, reason = "a chore reports on standard output")]

mod apt;

use std::{
    collections::BTreeSet,
    error::Error,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use apt::{Apt, Random};
use oic::exec;
use oic::solve::{
    BaseSet, DEFAULT_PRIORITY, FoundBy, IndexedRepository, PackageIndex, SolveError, SolveRequest, StoredIndex as _, Universe, solve,
};
use oic_config::spec::{Arch, PackageRequest};

struct Options {
    suite: String,
    count: usize,
    seed: u64,
    most: usize,
    root: PathBuf,
    only: Vec<String>,
    recommends: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = parse_options()?;
    let apt = private_apt(&options.root.join(&options.suite), &options.suite)?;
    let started = Instant::now();
    let index = PackageIndex::parse(BufReader::new(File::open(apt.packages()?.first().ok_or("apt downloaded no package index")?)?))?;
    println!("{}: {} packages parsed in {:?}", options.suite, index.len(), started.elapsed());
    let mut stored = Vec::new();
    index.write(&mut stored)?;
    let started = Instant::now();
    let index = Arc::new(PackageIndex::read(&stored)?);
    println!("stored in {} bytes, read in {:?}", stored.len(), started.elapsed());
    let started = Instant::now();
    let repository = IndexedRepository {
        id: options.suite.clone(),
        component: "main".to_owned(),
        priority: DEFAULT_PRIORITY,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index,
    };
    let universe = Universe::new(Arch::X86_64, vec![repository])?;
    println!("universe in {:?}; peak memory {}", started.elapsed(), peak_memory());
    let mut names: Vec<_> = universe.package_names().map(str::to_owned).collect();
    names.sort();
    let mut random = Random(options.seed);
    let mut tally = Tally { recommends: options.recommends, ..Tally::default() };
    let requests = if options.only.is_empty() { options.count } else { 1 };
    for number in 0..requests {
        let wanted = if options.only.is_empty() { random.some_of(&names, options.most) } else { options.only.clone() };
        tally.compare(number, &wanted, &apt, &universe)?;
    }
    tally.report();
    Ok(())
}

fn parse_options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        suite: "trixie".to_owned(),
        count: 50,
        seed: 1,
        most: 8,
        root: std::env::temp_dir().join("oic-apt-oracle"),
        only: Vec::new(),
        recommends: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--suite" => options.suite = value()?,
            "--count" => options.count = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--most" => options.most = value()?.parse()?,
            "--recommends" => options.recommends = true,
            "--root" => options.root = value()?.into(),
            name if !name.starts_with('-') => options.only.push(word),
            _ => {
                return Err(format!(
                    "unknown option {word}; there are --suite, --count, --seed, --most, --root, --recommends, and package names"
                )
                .into());
            }
        }
    }
    Ok(options)
}

/// Differences and times so far.
#[derive(Default)]
struct Tally {
    recommends: bool,
    same: usize,
    both_fail: usize,
    different: usize,
    searched: usize,
    apt_time: Vec<Duration>,
    our_time: Vec<Duration>,
    largest: usize,
}

impl Tally {
    fn compare(&mut self, number: usize, wanted: &[String], apt: &Apt, universe: &Universe) -> Result<(), Box<dyn Error>> {
        let started = Instant::now();
        let theirs = apt.simulate(wanted, self.recommends);
        self.apt_time.push(started.elapsed());
        let packages =
            wanted.iter().map(|name| PackageRequest { name: name.clone(), version: None, origin: "oracle".to_owned() }).collect();
        let started = Instant::now();
        let ours = solve(universe, &SolveRequest { packages, base: BaseSet::None, recommends: self.recommends });
        self.our_time.push(started.elapsed());
        let found_by = ours.as_ref().ok().map(|solution| solution.found_by);
        self.searched += usize::from(found_by == Some(FoundBy::Search));
        let ours = match ours {
            Ok(solution) => {
                Ok(solution.packages.into_iter().map(|package| format!("{} {}", package.name, package.version)).collect::<BTreeSet<_>>())
            }
            Err(SolveError::Conflict(conflict)) => Err(conflict.to_string()),
            Err(defect) => return Err(defect.into()),
        };
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) if theirs == ours => {
                self.same += 1;
                self.largest = self.largest.max(ours.len());
            }
            (Err(_), Err(reason)) => {
                self.both_fail += 1;
                println!("\n#{number} {}: refused by both; we say:\n  {}", wanted.join(" "), reason.replace('\n', "\n  "));
            }
            (theirs, ours) => {
                self.different += 1;
                println!("\n#{number} {} ({found_by:?})", wanted.join(" "));
                match (theirs, ours) {
                    (Ok(theirs), Ok(ours)) => {
                        println!("  only apt: {}", theirs.difference(ours).cloned().collect::<Vec<_>>().join(", "));
                        println!("  only us:  {}", ours.difference(theirs).cloned().collect::<Vec<_>>().join(", "));
                    }
                    (Err(reason), _) => println!("  apt fails: {}", reason.trim().replace('\n', "\n    ")),
                    (_, Err(reason)) => println!("  we fail: {reason}"),
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        println!(
            "\n{} the same (largest set {}), {} refused by both, {} different; {} needed the search",
            self.same, self.largest, self.both_fail, self.different, self.searched
        );
        for (who, times) in [("apt-get -s", &mut self.apt_time), ("solver", &mut self.our_time)] {
            times.sort();
            if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
                println!("{who}: median {median:?}, worst {worst:?}");
            }
        }
    }
}

/// Returns apt with a root of its own below `root`, for one suite of Debian from the mirror that this machine uses.
fn private_apt(root: &Path, suite: &str) -> Result<Apt, Box<dyn Error>> {
    for folder in [
        "etc/apt/sources.list.d",
        "etc/apt/preferences.d",
        "etc/apt/apt.conf.d",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg",
        "var/cache/apt/archives/partial",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    let status = root.join("var/lib/dpkg/status");
    fs::write(&status, "")?;
    let settings = [
        format!("Dir={}", root.display()),
        format!("Dir::State::status={}", status.display()),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::GzipIndexes=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        // Containers turn apt's binary caches off, which would make apt look slower than it is.
        "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
        "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
    ];
    let apt = Apt::new(settings.to_vec());
    if apt.packages().map_or(true, |packages| packages.is_empty()) {
        let mirror = machine_mirror().ok_or("the machine's apt configuration names no Debian mirror")?;
        let line = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n");
        fs::write(root.join("etc/apt/sources.list"), line)?;
        exec::run(apt.command("apt-get").arg("update"))?;
    }
    exec::run(apt.command("apt-cache").arg("gencaches"))?;
    Ok(apt)
}

/// Returns the Debian mirror that this machine uses.
fn machine_mirror() -> Option<String> {
    let folder = fs::read_dir("/etc/apt/sources.list.d").ok()?;
    let files = folder.flatten().map(|entry| entry.path()).chain([PathBuf::from("/etc/apt/sources.list")]);
    let texts: Vec<_> = files.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let mut words = texts.iter().flat_map(|text| text.split_whitespace()).map(|word| word.trim_end_matches('/'));
    words.find(|word| word.contains("://") && word.ends_with("/debian")).map(str::to_owned)
}

fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or_else(String::new, |size| size.trim().to_owned())
}
