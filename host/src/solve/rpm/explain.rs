//! Why a request cannot be met, in words.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use oic_config::spec::Exclude;

use super::{
    condition::{Conditions, Literal, Normal, literal, package},
    dependency::Capability,
    index::{PackageRecord, RelationKind},
    rules::{RuleId, Rules},
    select::{Selection, Wanted},
    solution::SolveRequest,
    universe::{PackageId, Refusal, Universe, refusal},
};
use crate::solve::{error::write_problems, explain::likest};

/// How many steps a reason may have.
const MAX_STEPS: usize = 12;

/// How many packages are listed where several would do.
const MAX_LISTED: usize = 3;

/// Why there is no solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What is wrong, one or more things.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Nothing is called so or provides it.
    Unknown {
        /// The spec.
        spec: String,
        /// Versions that exist of the name, if the version is what does not exist.
        versions: Vec<String>,
        /// Where it exists and is not taken, and why.
        excluded: Vec<String>,
        /// Names that may have been meant.
        similar: Vec<String>,
    },
    /// No group or environment is called so.
    UnknownGroup {
        /// The spec.
        spec: String,
        /// The id.
        id: String,
        /// Ids that may have been meant.
        similar: Vec<String>,
    },
    /// The spec is not one.
    Malformed {
        /// The spec.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for cannot be installed together.
    Impossible {
        /// The specs.
        specs: Vec<String>,
        /// The reason, step by step.
        steps: Vec<String>,
    },
    /// The search was given up.
    TooHard,
}

impl Conflict {
    /// Returns the conflict of a search that was given up.
    pub(super) fn too_hard() -> Self {
        Self { problems: vec![Problem::TooHard] }
    }

    /// Returns what to do about the problems, each hint once.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> = Vec::new();
        for hint in self.problems.iter().flat_map(Problem::hints) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        hints
    }
}

impl Problem {
    pub(super) fn unknown(universe: &Universe, spec: &str) -> Self {
        let name = plain_name(universe, spec);
        let versions = universe.find_name(name).map_or_else(Vec::new, |name| universe.by_preference_of(name));
        let versions: Vec<_> = versions.into_iter().take(MAX_LISTED).map(|id| universe.shown(id)).collect();
        let similar = if versions.is_empty() { likest(universe.package_names(), spec) } else { Vec::new() };
        Self::Unknown { spec: spec.to_owned(), versions, excluded: excluded_places(universe, name), similar }
    }

    pub(super) fn unknown_group(universe: &Universe, spec: &str, id: &str) -> Self {
        let comps = universe.repositories().iter().filter_map(|repository| repository.comps.as_deref());
        let ids: BTreeSet<_> = comps.flat_map(|comps| comps.groups.keys().chain(comps.environments.keys())).map(String::as_str).collect();
        Self::UnknownGroup { spec: spec.to_owned(), id: id.to_owned(), similar: likest(ids.into_iter(), id) }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let meant = |names: &[String]| {
            let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            (!names.is_empty()).then(|| format!("perhaps {} is meant", quoted.join(" or ")))
        };
        match self {
            Self::Unknown { versions, similar, excluded, .. } => {
                let exists = (!versions.is_empty()).then(|| format!("there is {}", versions.join(", ")));
                let exists = exists.map(|text| excluded.iter().fold(text, |text, excluded| format!("{text}; {excluded}")));
                exists.into_iter().chain(meant(similar)).collect()
            }
            Self::UnknownGroup { similar, .. } => meant(similar).into_iter().collect(),
            Self::TooHard => vec!["ask for versions or providers where there is a choice".to_owned()],
            Self::Malformed { .. } | Self::Impossible { .. } => Vec::new(),
        }
    }
}

/// Returns the longest beginning of a spec that is a package's name, else all of it.
fn plain_name<'a>(universe: &Universe, spec: &'a str) -> &'a str {
    let ends = spec.char_indices().filter(|(_, c)| matches!(c, '-' | '.' | ' ' | '<' | '>' | '=')).map(|(at, _)| at);
    let exists = |name: &&str| universe.repositories().iter().any(|repository| repository.index.packages().any(|p| p.name() == *name));
    let candidates: Vec<_> = ends.map(|end| &spec[..end]).collect();
    std::iter::once(spec).chain(candidates.into_iter().rev()).find(exists).unwrap_or(spec)
}

/// Returns where packages are that offer a name and are not taken, and why; where some are taken, only those that are kept out on purpose.
fn excluded_places(universe: &Universe, name: &str) -> Vec<String> {
    let is_there = !universe.providers(&Capability::any(name)).is_empty();
    let mut places = BTreeSet::new();
    for repository in universe.repositories() {
        let offers = |record: &PackageRecord<'_>| {
            record.name() == name || record.relations().any(|(kind, offer)| kind.is_offer() && offer.name == name)
        };
        for record in repository.index.packages() {
            let Some(refusal) = refusal(repository, universe.arch(), &record) else { continue };
            if (is_there && !matches!(refusal, Refusal::Excluded(_))) || !offers(&record) {
                continue;
            }
            let what = if record.name() == name { "it" } else { record.name() };
            places.insert(match refusal {
                Refusal::Architecture => format!("repository {} has {what} for {} only", repository.id, record.architecture()),
                Refusal::NotAllowed => format!("repository {} has {what}, but its allowPackages does not name it", repository.id),
                Refusal::Excluded(Exclude { glob, origin }) => {
                    let version = if is_there { format!(" in version {}", without_epoch(record.evr_text())) } else { String::new() };
                    format!("repository {} has {what}{version}, but `{glob}` of excludes ({origin}) keeps it out", repository.id)
                }
            });
        }
    }
    places.into_iter().take(MAX_LISTED).collect()
}

fn without_epoch(evr: &str) -> &str {
    evr.strip_prefix("0:").unwrap_or(evr)
}

/// Explains why rules, none of them learnt, contradict each other.
pub(super) fn explain(
    conditions: &Conditions<'_>,
    request: &SolveRequest,
    selection: &Selection,
    rules: &Rules,
    core: &BTreeSet<RuleId>,
) -> Conflict {
    let mut specs = Vec::new();
    let mut best = BTreeSet::new();
    let mut explainer = Explainer { conditions, rules, by_package: BTreeMap::new(), steps: Vec::new(), told: BTreeSet::new() };
    let mut queue = VecDeque::new();
    for &rule in core {
        let job = if rules.job_rules.contains(&rule) {
            Some(rules.jobs_of_rules[(rule - rules.job_rules.start) as usize])
        } else if rules.best_rules.contains(&rule) {
            let job = rules.jobs_of_best[(rule - rules.best_rules.start) as usize];
            best.insert(job);
            Some(job)
        } else {
            rules.literals(rule).iter().filter(|l| **l < 0).for_each(|&l| explainer.by_package.entry(package(l)).or_default().push(rule));
            None
        };
        if let Some(job) = job {
            let job = &selection.jobs[job];
            let spec = &request.specs[job.spec];
            if !specs.contains(spec) {
                specs.push(spec.clone());
            }
            if let Wanted::Conditional { package, requires } = &job.wanted {
                explainer.steps.push(format!("{spec} asks for {package} if {requires} is there"));
            }
            queue.extend(explainer.preferred(rules.literals(rule)));
        }
    }
    for job in best {
        let candidates = match &selection.jobs[job].wanted {
            Wanted::OneOf(candidates) => candidates.iter().map(|&id| literal(id)).collect(),
            Wanted::Conditional { .. } => Vec::new(),
        };
        if let Some(&first) = explainer.preferred(&candidates).first() {
            let spec = &request.specs[selection.jobs[job].spec];
            explainer.steps.push(format!("{} is the best package for {spec}", conditions.universe.shown(first)));
        }
    }
    explainer.walk(queue);
    Conflict { problems: vec![Problem::Impossible { specs, steps: explainer.steps }] }
}

struct Explainer<'a, 'u> {
    conditions: &'a Conditions<'u>,
    rules: &'a Rules,
    /// The rules that rule out a package under some condition.
    by_package: BTreeMap<PackageId, Vec<RuleId>>,
    steps: Vec<String>,
    told: BTreeSet<RuleId>,
}

impl Explainer<'_, '_> {
    /// Returns the packages of positive literals, the ones that would be taken first in front.
    fn preferred(&self, literals: &[Literal]) -> Vec<PackageId> {
        let universe = self.conditions.universe;
        let mut packages: Vec<_> = literals.iter().filter(|literal| **literal > 0).map(|&literal| package(literal)).collect();
        packages.sort_by(|&left, &right| {
            universe.record(left).name().cmp(universe.record(right).name()).then_with(|| universe.by_preference(left, right))
        });
        packages
    }

    /// Tells the rules from what is asked for on, until there are too many.
    fn walk(&mut self, mut queue: VecDeque<PackageId>) {
        let mut seen = BTreeSet::new();
        while let Some(next) = queue.pop_front() {
            if !seen.insert(next) {
                continue;
            }
            for rule in self.by_package.get(&next).cloned().unwrap_or_default() {
                if !self.told.insert(rule) {
                    continue;
                }
                let step = self.tell(rule);
                if !self.steps.contains(&step) {
                    if self.steps.len() == MAX_STEPS {
                        self.steps.push("and more of the same kind".to_owned());
                        return;
                    }
                    self.steps.push(step);
                }
                queue.extend(self.preferred(self.rules.literals(rule)));
            }
        }
    }

    /// Tells one rule.
    fn tell(&self, rule: RuleId) -> String {
        let (universe, literals) = (self.conditions.universe, self.rules.literals(rule));
        let negative: Vec<_> = literals.iter().filter(|literal| **literal < 0).map(|&literal| package(literal)).collect();
        if let [left, right] = negative[..]
            && literals.len() == 2
            && let Some(told) = self.tell_exclusion(left, right)
        {
            return told;
        }
        let told = negative.iter().find_map(|&of| self.tell_requirement(of, literals));
        told.unwrap_or_else(|| {
            let shown: Vec<_> = negative.iter().map(|&id| universe.shown(id)).collect();
            format!("{} cannot be there together", shown.join(", "))
        })
    }

    fn tell_exclusion(&self, left: PackageId, right: PackageId) -> Option<String> {
        let universe = self.conditions.universe;
        if universe.name(left) == universe.name(right) {
            let (left, right) = (universe.shown(left), universe.shown(right));
            return Some(format!("{left} and {right} cannot be installed together: they have the same name"));
        }
        [(left, right), (right, left)].into_iter().find_map(|(of, other)| {
            universe.atoms(of).iter().find_map(|atom| {
                let capability = universe.capability(of, atom);
                let verb = match atom.kind {
                    RelationKind::Conflicts if self.conditions.providers(of, atom).contains(&literal(other)) => "conflicts with",
                    RelationKind::Obsoletes if universe.is_itself(other, &capability) => "obsoletes",
                    _ => return None,
                };
                Some(format!("{} {verb} {capability}, which {} is", universe.shown(of), universe.shown(other)))
            })
        })
    }

    /// Tells the dependency of a package that a rule comes from.
    fn tell_requirement(&self, of: PackageId, literals: &[Literal]) -> Option<String> {
        let universe = self.conditions.universe;
        let (own, others): (Vec<Literal>, Vec<Literal>) = literals.iter().partition(|l| **l == -literal(of));
        debug_assert_eq!(own.len(), 1, "a rule names a package once");
        let atom = universe.atoms(of).iter().find(|atom| {
            let condition = self.conditions.condition(of, atom);
            match (atom.kind, condition.simple()) {
                (RelationKind::Requires, Some(providers)) => **providers == *others,
                (RelationKind::Requires, None) => has_clause(condition.clauses().ok(), &others, of),
                (RelationKind::Conflicts, None) => has_clause(condition.refusals().ok(), &others, of),
                _ => false,
            }
        })?;
        let capability = universe.capability(of, atom);
        let verb = if atom.kind == RelationKind::Conflicts { "conflicts with" } else { "requires" };
        let told = format!("{} {verb} {capability}", universe.shown(of));
        let offered: Vec<_> = self.preferred(&others).into_iter().map(|id| universe.shown(id)).collect();
        let there: Vec<_> = others.iter().filter(|other| **other < 0).map(|&other| universe.shown(package(other))).collect();
        Some(match &offered[..] {
            [] if atom.kind == RelationKind::Requires && !there.is_empty() => {
                format!("{told}, which cannot be while {} is there", there.join(" and "))
            }
            [] if atom.kind == RelationKind::Requires => format!("{told}, and {}", what_there_is(universe, &capability)),
            [] => told,
            [only] => format!("{told}, which only {only} provides"),
            several if several.len() <= MAX_LISTED => format!("{told}, which {} provide", several.join(", ")),
            several => format!("{told}, which {} and {} others provide", several[..MAX_LISTED].join(", "), several.len() - MAX_LISTED),
        })
    }
}

fn has_clause(normal: Option<Normal>, others: &[Literal], of: PackageId) -> bool {
    match normal {
        Some(Normal::Blocks(clauses)) => {
            clauses.iter().any(|clause| clause.iter().filter(|literal| **literal != -self::literal(of)).eq(others))
        }
        Some(Normal::Always) => false,
        Some(Normal::Never) | None => others.is_empty(),
    }
}

/// Tells what there is instead of something that nothing provides.
fn what_there_is(universe: &Universe, capability: &Capability<'_>) -> String {
    let any = universe.providers(&Capability::any(capability.name));
    let excluded = excluded_places(universe, capability.name);
    let why = if excluded.is_empty() { String::new() } else { format!(" ({})", excluded.join("; ")) };
    if any.is_empty() {
        return format!("nothing provides that{why}");
    }
    let mut offered = BTreeSet::new();
    for &id in &any {
        for (kind, offer) in universe.record(id).relations() {
            if kind == RelationKind::Provides && offer.name == capability.name {
                offered.insert(format!("{offer}"));
            }
        }
    }
    let offered: Vec<_> = offered.into_iter().take(MAX_LISTED).collect();
    format!("there is only {}{why}", offered.join(", "))
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_problems(&self.problems, f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { spec, versions, .. } if !versions.is_empty() => write!(f, "{spec} does not exist in this version"),
            Self::Unknown { spec, excluded, .. } if !excluded.is_empty() => write!(f, "{spec} cannot be taken: {}", excluded.join("; ")),
            Self::Unknown { spec, .. } => write!(f, "no package is called {spec} or provides it"),
            Self::UnknownGroup { spec, id, .. } if spec.trim_start_matches(['@', '^']) != id => {
                write!(f, "{spec} has a group called {id}, which no repository has")
            }
            Self::UnknownGroup { spec, .. } => write!(f, "no group is called {spec}"),
            Self::Malformed { spec, reason } => write!(f, "`{spec}` cannot be asked for: {reason}"),
            Self::Impossible { specs, steps } => {
                match specs.split_last() {
                    None => write!(f, "the packages cannot be installed")?,
                    Some((only, [])) => write!(f, "{only} cannot be installed")?,
                    Some((last, rest)) => write!(f, "{} and {last} cannot be installed together", rest.join(", "))?,
                }
                steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
            }
            Self::TooHard => write!(f, "the search for a solution was given up: there are too many combinations"),
        }
    }
}
