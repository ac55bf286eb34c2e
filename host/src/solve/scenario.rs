//! Small universes for tests, written as lines.

use std::sync::Arc;

use oic_config::spec::{Arch, Exclude, PackageRequest, VersionPin, VersionRelation};

use super::{BaseSet, DEFAULT_PRIORITY, IndexedRepository, PackageIndex, Solution, SolveError, SolveRequest, Universe, solve};

/// Returns a `Packages` file of lines like `foo 1.0; Depends: bar (>= 1), baz; Architecture: all`.
pub(super) fn packages(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().and_then(|head| head.split_once(' ')).expect("a name and a version");
        let fields: Vec<_> = parts.collect();
        let architecture = if fields.iter().any(|field| field.starts_with("Architecture:")) { "" } else { "Architecture: amd64\n" };
        text +=
            &format!("Package: {name}\nVersion: {version}\n{architecture}Filename: pool/{name}.deb\nSize: 1\nSHA256: {}\n", "0".repeat(64));
        fields.iter().for_each(|field| text += &format!("{field}\n"));
        text.push('\n');
    }
    text
}

/// A universe in the making, and what is asked of it.
#[derive(Debug, Default)]
pub(super) struct Scenario {
    repositories: Vec<IndexedRepository>,
    recommends: bool,
    base: Option<BaseSet>,
}

impl Scenario {
    /// Starts with one repository, `main`.
    pub(super) fn new(lines: &str) -> Self {
        Self::default().repository("main", DEFAULT_PRIORITY, &[], lines)
    }

    pub(super) fn repository(mut self, id: &str, priority: i32, allow: &[&str], lines: &str) -> Self {
        let index = PackageIndex::parse(packages(lines).as_bytes()).expect("the scenario's packages are well-formed");
        self.repositories.push(IndexedRepository {
            id: id.to_owned(),
            component: String::new(),
            priority,
            allow_packages: allow.iter().map(|&glob| glob.to_owned()).collect(),
            excludes: Vec::new(),
            index: Arc::new(index),
        });
        self
    }

    /// Keeps packages of the last repository out.
    pub(super) fn excludes(mut self, globs: &[&str]) -> Self {
        let exclude = |(at, glob): (usize, &&str)| Exclude { glob: (*glob).to_owned(), origin: format!("excludes.yml:{}:5", at + 1) };
        self.repositories.last_mut().expect("there is one").excludes = globs.iter().enumerate().map(exclude).collect();
        self
    }

    pub(super) fn recommends(mut self) -> Self {
        self.recommends = true;
        self
    }

    pub(super) fn base(mut self, base: BaseSet) -> Self {
        self.base = Some(base);
        self
    }

    pub(super) fn universe(&self) -> Universe {
        Universe::new(Arch::X86_64, self.repositories.clone()).expect("a small universe")
    }

    /// Solves a list of requests: `name`, glob, `name=version`, `name>=version` or `name<version`, separated by space.
    pub(super) fn solve(&self, wanted: &str) -> Result<Solution, SolveError> {
        let packages = wanted.split_whitespace().enumerate().map(|(at, word)| {
            let (name, version) = match word.split_once('=') {
                Some((name, version)) => match name.strip_suffix('>') {
                    Some(name) => (name, Some(VersionPin::Bound(VersionRelation::LaterOrEqual, version.to_owned()))),
                    None => (name, Some(VersionPin::Exact(version.to_owned()))),
                },
                None => match word.split_once('<') {
                    Some((name, version)) => (name, Some(VersionPin::Bound(VersionRelation::Earlier, version.to_owned()))),
                    None => (word, None),
                },
            };
            PackageRequest { name: name.to_owned(), version, origin: format!("template.yml:{}:5", at + 1) }
        });
        let request = SolveRequest { packages: packages.collect(), base: self.base.unwrap_or(BaseSet::None), recommends: self.recommends };
        solve(&self.universe(), &request)
    }

    /// Returns the solution as `name=version` words, or the conflict's text and hints.
    pub(super) fn answer(&self, wanted: &str) -> String {
        match self.solve(wanted) {
            Ok(solution) => {
                solution.packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect::<Vec<_>>().join(" ")
            }
            Err(SolveError::Conflict(conflict)) => {
                let hints: String = conflict.hints().iter().map(|hint| format!("\nhint: {hint}")).collect();
                format!("{conflict}{hints}")
            }
            Err(defect) => panic!("{defect}"),
        }
    }
}
