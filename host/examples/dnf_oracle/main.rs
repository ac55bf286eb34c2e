//! Compares the RPM solver with dnf 4: `cargo run --release -p oic --example dnf_oracle -- FOLDER… --count 200 --seed 1`.
//!
//! A FOLDER has a repository's metadata, `repodata/repomd.xml` with gzip or plain files. Requests are random: names, globs, versions,
//! relations, files, provided names and groups, with and without excludes, weak dependencies and `best`. Both answer for an empty
//! system without 32-bit packages. Needs Debian's package `dnf`, and its Python.

#![expect(clippy::print_stdout, reason = "a chore of developers reports to the terminal")]

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::read::MultiGzDecoder;
use oic::solve::rpm::{
    Comps, DEFAULT_PRIORITY, IndexedRepository, PackageIndex, RelationKind, SolveError, SolveRequest, SolvedPackage, Universe, filelists,
    solve,
};
use oic_config::spec::{Arch, Exclude};
use serde_json::{Value, json};

/// The program that asks dnf.
const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dnf_oracle/oracle.py");
/// How many paths are taken out of the lists of all files.
const PATHS: usize = 200;
/// A glob that means more packages is not asked for.
const MOST_OF_A_GLOB: usize = 8;

struct Options {
    folders: Vec<PathBuf>,
    count: usize,
    seed: u64,
    most: usize,
    only: Option<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = parse_options()?;
    let started = Instant::now();
    let mut random = Random(options.seed);
    let mut repositories = options.folders.iter().map(|folder| load(folder)).collect::<Result<Vec<_>, _>>()?;
    let lists = options.folders.iter().map(|folder| document(folder, "filelists")).collect::<Result<Vec<_>, _>>()?;
    let world = World::new(&repositories, &lists, &mut random);
    let wanted = Universe::new(Arch::X86_64, repositories.clone())?.unknown_files(&world.paths);
    for (repository, list) in repositories.iter_mut().zip(&lists) {
        repository.files = filelists::find_owners(list.as_slice(), &wanted)?;
    }
    println!("{} packages read in {:?}, seed {}", world.packages.len(), started.elapsed(), options.seed);
    let scratch = std::env::temp_dir().join("oic-dnf-oracle");
    fs::create_dir_all(&scratch)?;
    let mut oracle = Oracle::start(&scratch, &options.folders)?;
    let mut tally = Tally::default();
    for number in 0..options.count {
        let request = world.request(&mut random, options.most);
        if options.only.is_none_or(|only| only == number) {
            tally.compare(number, &request, &repositories, &mut oracle)?;
        }
    }
    tally.report();
    Ok(())
}

fn parse_options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options { folders: Vec::new(), count: 50, seed: 1, most: 8, only: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--count" => options.count = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--most" => options.most = value()?.parse()?,
            "--only" => options.only = Some(value()?.parse()?),
            folder if !folder.starts_with('-') => options.folders.push(fs::canonicalize(folder)?),
            _ => return Err(format!("unknown option {word}; there are --count, --seed, --most, --only, and folders").into()),
        }
    }
    if options.folders.is_empty() { Err("give the folder of a repository".into()) } else { Ok(options) }
}

/// Returns a document of a repository.
fn document(folder: &Path, kind: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut paths = fs::read_dir(folder.join("repodata"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let path = paths.into_iter().find(|path| path.to_string_lossy().contains(kind)).ok_or_else(|| format!("no {kind}"))?;
    let mut text = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(fs::File::open(path)?).read_to_end(&mut text)?;
    } else {
        text = fs::read(path)?;
    }
    Ok(text)
}

fn load(folder: &Path) -> Result<IndexedRepository, Box<dyn Error>> {
    Ok(IndexedRepository {
        id: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        priority: DEFAULT_PRIORITY,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index: Arc::new(PackageIndex::parse(document(folder, "primary.xml")?.as_slice())?),
        comps: Some(Arc::new(Comps::parse(document(folder, "comps")?.as_slice())?)),
        files: Vec::new(),
    })
}

/// A small generator of random numbers (SplitMix64), so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).expect("it is below a usize")
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What can be asked for.
struct World {
    /// Name, `[EPOCH:]VERSION-RELEASE` and architecture of each package that can be chosen.
    packages: Vec<(String, String, String)>,
    provided: Vec<String>,
    files: Vec<String>,
    paths: Vec<String>,
    groups: Vec<String>,
}

impl World {
    fn new(repositories: &[IndexedRepository], lists: &[Vec<u8>], random: &mut Random) -> Self {
        let (mut packages, mut provided, mut files, mut groups) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for repository in repositories {
            for record in repository.index.packages().filter(|record| ["x86_64", "noarch"].contains(&record.architecture())) {
                let evr = record.evr_text();
                let evr = evr.strip_prefix("0:").unwrap_or(evr).to_owned();
                packages.insert((record.name().to_owned(), evr, record.architecture().to_owned()));
                for (kind, offer) in record.relations() {
                    match kind {
                        RelationKind::Provides => drop(provided.insert(offer.name.to_owned())),
                        RelationKind::File => drop(files.insert(offer.name.to_owned())),
                        _ => {}
                    }
                }
            }
            groups.extend(repository.comps.iter().flat_map(|comps| comps.groups.keys()).map(|id| format!("@{id}")));
        }
        let path = |line: &[u8]| Some(std::str::from_utf8(line).ok()?.trim().strip_prefix("<file>")?.strip_suffix("</file>")?.to_owned());
        let listed: Vec<String> = lists.iter().flat_map(|list| list.split(|byte| *byte == b'\n').filter_map(path)).collect();
        let plain = |path: &String| !path.contains([' ', '&', '*', '?', '[']);
        let paths = (0..PATHS).map(|_| random.one(&listed).clone()).filter(plain).collect();
        Self {
            packages: packages.into_iter().collect(),
            provided: provided.into_iter().collect(),
            files: files.into_iter().collect(),
            paths,
            groups: groups.into_iter().collect(),
        }
    }

    fn request(&self, random: &mut Random, most: usize) -> Request {
        let specs = (0..=random.below(most)).map(|_| self.spec(random)).collect();
        let excludes = if random.below(3) == 0 { 1 + random.below(3) } else { 0 };
        let excludes = (0..excludes).map(|_| random.one(&self.packages).0.clone()).collect();
        Request { specs, excludes, weak: random.below(2) == 0, best: random.below(2) == 0 }
    }

    /// Returns one thing to ask for: mostly a name.
    fn spec(&self, random: &mut Random) -> String {
        let (name, evr, arch) = random.one(&self.packages);
        let version = evr.split_once(':').map_or(evr.as_str(), |(_, rest)| rest);
        match random.below(16) {
            0 => format!("{name}-{evr}.{arch}"),
            1 => format!("{name}.{arch}"),
            2 => format!("{name}-{}", version.split('-').next().unwrap_or_default()),
            3 => format!("{name} {} {evr}", random.one(&["<", "<=", "=", ">=", ">"])),
            4 => self.glob(name, random),
            5 => random.one(&self.files).clone(),
            6 if !self.paths.is_empty() => random.one(&self.paths).clone(),
            7 => random.one(&self.provided).clone(),
            8 => random.one(&self.groups).clone(),
            _ => name.clone(),
        }
    }

    /// Returns a glob that means `name` and not too many others.
    fn glob(&self, name: &str, random: &mut Random) -> String {
        let end = name.char_indices().nth(1 + random.below(name.len())).map_or(name.len(), |(at, _)| at);
        let names =
            |start: &str| self.packages.iter().map(|(name, ..)| name).filter(|name| name.starts_with(start)).collect::<BTreeSet<_>>();
        if names(&name[..end]).len() <= MOST_OF_A_GLOB { format!("{}*", &name[..end]) } else { name.to_owned() }
    }
}

/// What both are asked.
#[derive(Debug)]
struct Request {
    specs: Vec<String>,
    excludes: Vec<String>,
    weak: bool,
    best: bool,
}

/// dnf, in a process of its own.
struct Oracle {
    child: std::process::Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Oracle {
    #[expect(clippy::disallowed_methods, reason = "a chore of developers talks to dnf")]
    fn start(scratch: &Path, folders: &[PathBuf]) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(ORACLE).arg(scratch).stdin(Stdio::piped()).stdout(Stdio::piped());
        for folder in folders {
            command.arg(format!("{}={}", folder.file_name().unwrap_or_default().to_string_lossy(), folder.display()));
        }
        let mut child = command.spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self, request: &Request) -> Result<Value, Box<dyn Error>> {
        let Request { specs, excludes, weak, best } = request;
        let line = json!({ "specs": specs, "excludes": excludes, "weak": weak, "best": best });
        writeln!(self.child.stdin.as_mut().ok_or("it has no input")?, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer).map_err(|error| format!("dnf cannot be asked: {error}; is Debian's package `dnf` installed?"))?)
    }
}

/// Differences and times so far.
#[derive(Default)]
struct Tally {
    same: usize,
    both_refuse: usize,
    different: usize,
    largest: usize,
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
}

impl Tally {
    fn compare(
        &mut self,
        number: usize,
        request: &Request,
        repositories: &[IndexedRepository],
        oracle: &mut Oracle,
    ) -> Result<(), Box<dyn Error>> {
        let exclude = |glob: &String| Exclude { glob: glob.clone(), origin: "oracle".to_owned() };
        let mut repositories = repositories.to_vec();
        repositories.iter_mut().for_each(|repository| repository.excludes = request.excludes.iter().map(exclude).collect());
        let universe = Universe::new(Arch::X86_64, repositories)?;
        let Request { specs, weak, best, .. } = request;
        let started = Instant::now();
        // What is found has passed a check of its own: closed, without conflicts, one version per name.
        let ours = solve(&universe, &SolveRequest { specs: specs.clone(), weak: *weak, best: *best });
        self.ours.push(started.elapsed());
        let theirs = oracle.ask(request)?;
        self.theirs.push(Duration::from_secs_f64(theirs["seconds"].as_f64().unwrap_or_default()));
        let ours = match ours {
            Ok(solution) => Ok(solution.packages.iter().map(SolvedPackage::nevra).collect::<BTreeSet<_>>()),
            Err(SolveError::Conflict(conflict)) => Err(conflict.to_string()),
            Err(defect) => return Err(format!("{number}: {request:?}: {defect}").into()),
        };
        let packages = theirs["packages"].as_array().map(|packages| packages.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        let theirs: Result<BTreeSet<String>, &str> = packages.ok_or(theirs["error"].as_str().unwrap_or_default());
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {
                self.same += 1;
                self.largest = self.largest.max(ours.len());
            }
            (Err(_), Err(_)) => self.both_refuse += 1,
            _ => {
                self.different += 1;
                println!("{number}: {request:?}");
                match (&ours, &theirs) {
                    (Ok(ours), Ok(theirs)) => {
                        println!("  more: {:?}\n  less: {:?}", ours.difference(theirs), theirs.difference(ours));
                    }
                    _ => println!("  ours: {:?}\n  dnf: {:?}", ours.as_ref().map(BTreeSet::len), theirs.as_ref().map(BTreeSet::len)),
                }
            }
        }
        Ok(())
    }

    fn report(mut self) {
        self.ours.sort();
        self.theirs.sort();
        let shown = |times: &[Duration]| format!("{:?}, {:?}", times.get(times.len() / 2), times.last());
        println!("same {}, refused by both {}, different {}; largest set {}", self.same, self.both_refuse, self.different, self.largest);
        println!("time, median and worst: ours {}; dnf {}", shown(&self.ours), shown(&self.theirs));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    }
}
