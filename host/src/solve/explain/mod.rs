//! Why there is no solution, in words.
//!
//! Owns the kinds of problems, their text, and their hints. The text names what was asked for and where, then who needs what,
//! one line per step, then what stands in the way. Found in this order, the first that explains it ends the search:
//!
//! 1. requests that mean nothing: unknown names and versions (`selection` finds them, all of them);
//! 2. a dependency that nothing can meet, whatever is chosen;
//! 3. two packages that follow without a choice and exclude each other;
//! 4. a smallest group of requests that cannot be met together.

mod reason;
mod similar;

pub(in crate::solve) use similar::likest;

use std::fmt;

use oic_config::spec::{Exclude, PackageRequest};

pub(super) use reason::explain;

use super::{
    error::write_problems,
    index::RelationKind,
    universe::{NameId, PackageId, Refusal, Universe, refusal},
};

/// How many packages are shown that excludes keep out.
const MAX_KEPT_OUT: usize = 3;

/// Why the requests cannot be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
}

/// One request, as messages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request as written: name or glob, with the version.
    pub request: String,
    /// Where it is written.
    pub origin: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No package has this name, or matches this glob.
    UnknownName {
        /// The request.
        asked: Asked,
        /// Names that are like it, the likest first.
        similar: Vec<String>,
        /// Where a package of this name is, that this universe does not take.
        elsewhere: Vec<String>,
    },
    /// The package exists, the version does not.
    UnknownVersion {
        /// The request.
        asked: Asked,
        /// The package.
        name: String,
        /// Versions that exist, with their repositories.
        versions: Vec<String>,
        /// What is kept out on purpose.
        excluded: Vec<String>,
    },
    /// Several packages provide the name, and none has it.
    OnlyVirtual {
        /// The request.
        asked: Asked,
        /// Who provides it.
        providers: Vec<String>,
    },
    /// Requests ask for different versions of one package.
    TwoVersions {
        /// The package.
        name: String,
        /// The requests.
        asked: Vec<Asked>,
    },
    /// The requests cannot be met, for a reason that has a beginning and an end.
    Impossible {
        /// The requests that lead there; empty when the base set alone does.
        asked: Vec<Asked>,
        /// Who needs what, and what stands in the way; one line each.
        steps: Vec<String>,
    },
    /// The search was given up.
    TooHard,
}

impl Asked {
    fn new(request: &PackageRequest) -> Self {
        let version = match &request.version {
            Some(pin) => format!(" {pin}"),
            None => String::new(),
        };
        Self { request: format!("{}{version}", request.name), origin: request.origin.clone() }
    }

    fn name(&self) -> &str {
        self.request.split(' ').next().unwrap_or_default()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.request, self.origin)
    }
}

impl Conflict {
    pub(super) fn too_hard() -> Self {
        Self { problems: vec![Problem::TooHard] }
    }

    /// Returns the names that no package has, so that the caller can look for them where the solver does not.
    pub fn unknown_names(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter_map(|problem| match problem {
            Problem::UnknownName { asked, .. } => Some(asked.name()),
            _ => None,
        })
    }

    /// Notes where an unknown name exists, for example `component contrib, which is not enabled`.
    pub fn note_elsewhere(&mut self, name: &str, place: &str) {
        for problem in &mut self.problems {
            if let Problem::UnknownName { asked, elsewhere, .. } = problem
                && asked.name() == name
            {
                elsewhere.push(place.to_owned());
            }
        }
    }

    /// Returns what a user can do, one sentence each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<_> = self.problems.iter().filter_map(Problem::hint).collect();
        hints.dedup();
        hints
    }
}

impl Problem {
    pub(super) fn unknown_name(universe: &Universe, wanted: &PackageRequest) -> Self {
        Self::UnknownName {
            asked: Asked::new(wanted),
            similar: similar::similar_names(universe, &wanted.name),
            elsewhere: excluded_places(universe, &wanted.name),
        }
    }

    pub(super) fn unknown_version(universe: &Universe, wanted: &PackageRequest, name: NameId) -> Self {
        let mut versions = universe.versions(name).to_vec();
        versions.sort_by(|&left, &right| universe.by_policy(left, right));
        let shown = |id: PackageId| format!("{} [{}]", universe.record(id).version(), universe.repository(id).id);
        let mut versions: Vec<_> = versions.into_iter().map(shown).collect();
        versions.dedup();
        let name = universe.name_text(name).to_owned();
        Self::UnknownVersion { asked: Asked::new(wanted), excluded: kept_out(universe, &name), name, versions }
    }

    pub(super) fn only_virtual(universe: &Universe, wanted: &PackageRequest, providers: &[NameId]) -> Self {
        let mut providers: Vec<_> = providers.iter().map(|&name| universe.name_text(name).to_owned()).collect();
        providers.sort();
        Self::OnlyVirtual { asked: Asked::new(wanted), providers }
    }

    pub(super) fn two_versions<'a>(universe: &Universe, name: NameId, requests: impl Iterator<Item = &'a PackageRequest>) -> Self {
        Self::TwoVersions { name: universe.name_text(name).to_owned(), asked: requests.map(Asked::new).collect() }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownName { elsewhere, .. } if !elsewhere.is_empty() => Some(format!("it exists in {}", elsewhere.join("; "))),
            Self::UnknownName { similar, .. } if !similar.is_empty() => Some(format!("did you mean {}?", quoted(similar))),
            Self::UnknownName { .. } => Some("add the repository that has it under `packageRepositories`".to_owned()),
            Self::UnknownVersion { versions, excluded, .. } => {
                let there = format!("ask for one of: {}", versions.join(", "));
                Some(excluded.iter().fold(there, |text, excluded| format!("{text}; {excluded}")))
            }
            Self::OnlyVirtual { providers, .. } => Some(format!("ask for one of the packages that provide it: {}", providers.join(", "))),
            Self::TwoVersions { .. } => Some("ask for one version".to_owned()),
            Self::Impossible { .. } => None,
            Self::TooHard => Some("ask for versions or providers where there is a choice".to_owned()),
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

/// Returns where a package of this very name exists and why it is not taken.
fn excluded_places(universe: &Universe, name: &str) -> Vec<String> {
    let mut places = Vec::new();
    for repository in universe.repositories() {
        let found = repository.index.packages().find(|record| record.name() == name);
        let Some((record, refusal)) = found.and_then(|record| Some((record, refusal(repository, universe.arch(), &record)?))) else {
            continue;
        };
        places.push(match refusal {
            Refusal::Priority => format!("repository {}, whose priority {} forbids it", repository.id, repository.priority),
            Refusal::Architecture => format!("repository {} for {} only", repository.id, record.architecture()),
            Refusal::NotAllowed => format!("repository {}, whose allowPackages does not name it", repository.id),
            Refusal::Excluded(exclude) => {
                format!("repository {}, and `{}` of excludes ({}) keeps it out", repository.id, exclude.glob, exclude.origin)
            }
        });
    }
    places.sort();
    places.dedup();
    places
}

/// Returns what `excludes` keep out of packages that are called so or provide it.
fn kept_out(universe: &Universe, name: &str) -> Vec<String> {
    let mut kept_out = Vec::new();
    for repository in universe.repositories().iter().filter(|repository| !repository.excludes.is_empty()) {
        for record in repository.index.packages() {
            let provides = || record.relations().any(|(kind, what, _)| kind == RelationKind::Provides && what.name == name);
            if let Some(Refusal::Excluded(exclude)) = refusal(repository, universe.arch(), &record)
                && (record.name() == name || provides())
            {
                let Exclude { glob, origin } = exclude;
                let package = format!("{} {} [{}]", record.name(), record.version(), repository.id);
                kept_out.push(format!("{package} is kept out by `{glob}` of excludes ({origin})"));
            }
        }
    }
    kept_out.sort();
    kept_out.dedup();
    kept_out.truncate(MAX_KEPT_OUT);
    kept_out
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_problems(&self.problems, f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { asked, .. } => write!(f, "no package is called {asked}"),
            Self::UnknownVersion { asked, name, .. } => write!(f, "{name} exists, but not in the version that {asked} asks for"),
            Self::OnlyVirtual { asked, .. } => write!(f, "{asked} is not a package, and several packages provide it"),
            Self::TwoVersions { name, asked } => write!(f, "different versions of {name} are asked for: {}", listed(asked)),
            Self::Impossible { asked, steps } => {
                match &asked[..] {
                    [] => write!(f, "the base set cannot be installed")?,
                    [only] => write!(f, "{only} cannot be installed")?,
                    several => write!(f, "{} cannot be installed together", listed(several))?,
                }
                steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
            }
            Self::TooHard => write!(f, "the search for a solution was given up: there are too many combinations"),
        }
    }
}

fn listed(asked: &[Asked]) -> String {
    let shown: Vec<_> = asked.iter().map(ToString::to_string).collect();
    match shown.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
