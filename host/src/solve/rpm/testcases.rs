//! Runs libsolv's own test cases, as far as they are about choosing packages for an empty system.
//!
//! A case is a list of lines: `repo`, `system`, `job`, `result`, `nextjob` and settings; lines that begin with `#>` are the inline text
//! of the line before. Packages are turned into `primary.xml` here, so that the parser takes part.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use oic_config::spec::Arch;

use super::{
    IndexedRepository, PackageIndex, SolveRequest, Universe,
    condition::{Conditions, Literal, literal, package},
    dependency::Dependency,
    engine::solve_selection,
    evr, rules,
    select::{Job, Selection, Wanted},
    tests::corpus,
    universe::PackageId,
};

/// What a line means with the inline text after it.
struct Line {
    words: Vec<String>,
    inline: Vec<String>,
}

/// One run of a case: everything up to `nextjob`.
#[derive(Default)]
struct Run {
    jobs: Vec<Vec<String>>,
    settings: BTreeSet<String>,
    comparisons: Vec<(String, String)>,
    kinds: Vec<String>,
    expected: Vec<String>,
}

pub(super) struct Repository {
    pub(super) name: String,
    pub(super) priority: i32,
    /// Lines as libsolv writes them: `=Pkg: NAME VERSION RELEASE ARCH`, then `=Req: DEPENDENCY` and so on.
    pub(super) packages: Vec<String>,
}

struct Case {
    repositories: Vec<Repository>,
    system: Vec<String>,
    /// Settings of all runs.
    settings: BTreeSet<String>,
    runs: Vec<Run>,
}

fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in text.lines() {
        if let Some(inline) = text.strip_prefix("#>") {
            lines.last_mut().unwrap().inline.push(inline.to_owned());
        } else if !text.trim().is_empty() && !text.starts_with('#') {
            lines.push(Line { words: text.split_whitespace().map(str::to_owned).collect(), inline: Vec::new() });
        }
    }
    lines
}

fn read_case(path: &Path) -> Case {
    let mut case = Case { repositories: Vec::new(), system: Vec::new(), settings: BTreeSet::new(), runs: vec![Run::default()] };
    for line in lines(&std::fs::read_to_string(path).unwrap()) {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let run = case.runs.last_mut().unwrap();
        match words[..] {
            ["repo", name, priority, "empty"] => case.repositories.push(repository(name, priority, Vec::new())),
            ["repo", name, priority, "testtags", "<inline>"] => case.repositories.push(repository(name, priority, line.inline)),
            ["repo", name, priority, "testtags", file] => {
                let text = std::fs::read_to_string(path.with_file_name(file)).unwrap();
                case.repositories.push(repository(name, priority, text.lines().map(str::to_owned).collect()));
            }
            ["system", ..] => case.system = line.words[1..].to_vec(),
            ["job", ..] => run.jobs.push(line.words[1..].to_vec()),
            ["solverflags", ..] => run.settings.extend(words[1..].join(",").split(',').map(str::to_owned)),
            ["feature", ..] => {}
            ["evrcmp", left, right] => run.comparisons.push((left.to_owned(), right.to_owned())),
            ["result", kinds, ..] => {
                run.kinds = kinds.split(',').map(str::to_owned).collect();
                run.expected = line.inline;
            }
            ["nextjob", ..] => case.runs.push(Run::default()),
            [keyword, ..] => drop(case.settings.insert(keyword.to_owned())),
            [] => {}
        }
    }
    case
}

fn repository(name: &str, priority: &str, packages: Vec<String>) -> Repository {
    let priority = priority.split('.').next().unwrap().parse().unwrap();
    Repository { name: name.to_owned(), priority, packages }
}

/// Returns a dependency in RPM's spelling.
fn rpm_spelling(text: &str) -> String {
    const OPERATORS: [(&str, &str); 7] =
        [("&", "and"), ("|", "or"), ("<IF>", "if"), ("<UNLESS>", "unless"), ("<ELSE>", "else"), ("+", "with"), ("-", "without")];
    let words: Vec<_> =
        text.split_whitespace().map(|word| OPERATORS.iter().find(|(theirs, _)| *theirs == word).map_or(word, |(_, ours)| *ours)).collect();
    let is_rich = words.iter().any(|word| OPERATORS.iter().any(|(_, ours)| ours == word));
    if !is_rich {
        return words.join(" ");
    }
    // RPM writes `a if (b else c)` as `a if b else c`.
    let text = words.join(" ");
    match text.split_once(" if (").or_else(|| text.split_once(" unless (")) {
        Some((first, rest)) if rest.contains(" else ") && rest.ends_with(')') && !rest.contains('(') => {
            let operator = if text.contains(" if (") { "if" } else { "unless" };
            format!("({first} {operator} {})", rest.trim_end_matches(')'))
        }
        _ => format!("({text})"),
    }
}

fn entry(text: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let spelling = rpm_spelling(text);
    let words: Vec<_> = spelling.split(' ').collect();
    let flags = |operator: &str| match operator {
        "<" => "LT",
        "<=" => "LE",
        "=" => "EQ",
        ">=" => "GE",
        ">" => "GT",
        other => panic!("{other} is no operator"),
    };
    match words[..] {
        [name, operator, version] if !name.starts_with('(') => {
            let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
            let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
            format!(r#"<entry name="{}" flags="{}" epoch="{epoch}" ver="{version}" rel="{release}"/>"#, escape(name), flags(operator))
        }
        _ => format!(r#"<entry name="{}"/>"#, escape(&spelling)),
    }
}

/// Returns the packages of a repository as `primary.xml`. All architectures but `noarch` are taken for the same one.
fn primary(repository: &Repository) -> String {
    let mut packages: Vec<(String, BTreeMap<&str, String>)> = Vec::new();
    for (number, line) in repository.packages.iter().enumerate() {
        let Some((tag, value)) = line.strip_prefix('=').and_then(|line| line.split_once(": ")) else {
            continue;
        };
        let section = match tag {
            "Pkg" => {
                let [name, version, release, arch] = value.split_whitespace().chain(["noarch"]).take(4).collect::<Vec<_>>()[..] else {
                    panic!("{line} is not complete");
                };
                let (epoch, version) = version.split_once(':').unwrap_or(("0", version));
                let arch = if arch == "noarch" { arch } else { "x86_64" };
                let release = if line.split_whitespace().count() == 4 { "" } else { release };
                packages.push((
                    format!(
                        r#"<name>{name}</name><arch>{arch}</arch><version epoch="{epoch}" ver="{version}" rel="{release}"/>
                        <checksum type="sha256">{:064x}</checksum><location href="{name}"/>"#,
                        number + (repository.name.bytes().map(usize::from).sum::<usize>() << 20)
                    ),
                    [("provides", entry(&format!("{name} = {epoch}:{version}-{release}")))].into(),
                ));
                continue;
            }
            "Prv" => "provides",
            "Req" | "Prq" => "requires",
            "Con" => "conflicts",
            "Obs" => "obsoletes",
            "Rec" => "recommends",
            "Sug" => "suggests",
            "Sup" => "supplements",
            "Enh" => "enhances",
            _ => continue,
        };
        packages.last_mut().unwrap().1.entry(section).or_default().push_str(&entry(value));
    }
    let packages: String = packages
        .iter()
        .map(|(head, sections)| {
            let sections: String = sections.iter().map(|(name, entries)| format!("<{name}>{entries}</{name}>")).collect();
            format!(r#"<package type="rpm">{head}<format>{sections}</format></package>"#)
        })
        .collect();
    format!("<metadata>{packages}</metadata>")
}

/// Returns why a case is about something that does not exist here.
fn foreign(case: &Case) -> Option<&'static str> {
    let installed = case.system.last().is_some_and(|name| {
        case.repositories
            .iter()
            .any(|repository| repository.name == *name && repository.packages.iter().any(|line| line.starts_with("=Pkg")))
    });
    let arch = |line: &String| line.strip_prefix("=Pkg: ").and_then(|line| line.split_whitespace().nth(3).map(str::to_owned));
    let architectures: BTreeSet<_> = case
        .repositories
        .iter()
        .flat_map(|repository| repository.packages.iter().filter_map(arch))
        .filter(|arch| arch != "noarch")
        .collect();
    let text = |needle: &str| case.repositories.iter().any(|repository| repository.packages.iter().any(|line| line.contains(needle)));
    match () {
        () if case.system.get(1).is_some_and(|kind| kind == "deb") => Some("Debian's rules"),
        () if installed => Some("packages are installed"),
        () if architectures.len() > 1 => Some("several architectures"),
        () if text("namespace:") => Some("namespaces"),
        () if case.settings.contains("genid") => Some("how libsolv prints dependencies"),
        () if case.settings.contains("disable") => Some("disabled packages"),
        () if case.settings.contains("namespace") => Some("namespaces"),
        () => None,
    }
}

/// Returns why a run is about something that does not exist here.
fn foreign_run(run: &Run) -> Option<&'static str> {
    const KNOWN: [&str; 5] = ["ignorerecommended", "bestobeypolicy", "keeporphans", "yumobsoletes", "allowuninstall"];
    if run.settings.iter().any(|setting| !KNOWN.contains(&&**setting)) {
        return Some("a setting of another kind");
    }
    let kinds: BTreeSet<&str> = run.jobs.iter().map(|job| job[0].as_str()).collect();
    if kinds.iter().any(|kind| *kind != "install") {
        return Some("jobs other than installing");
    }
    let flags = |job: &[String]| job.last().is_some_and(|word| word.starts_with('[') && word != "[forcebest]" && !word.contains("setevr"));
    if run.jobs.iter().any(|job| flags(job)) {
        return Some("jobs of another kind");
    }
    let alternatives = run.kinds.iter().any(|kind| kind == "alternative" || kind == "genid" || kind == "proof");
    if alternatives { Some("alternatives are asked for") } else { None }
}

/// Returns a package as results name it.
fn shown(universe: &Universe, id: PackageId) -> String {
    let record = universe.record(id);
    let text = universe.shown(id).replace(".x86_64", "").replace(".noarch", "");
    format!("{}@{}", text, universe.repository(id).id).replace(&format!("-{}", record.architecture()), "")
}

/// Returns a result's package without its architecture.
fn without_arch(text: &str) -> String {
    let (package, repository) = text.split_once('@').unwrap();
    let (package, _) = package.rsplit_once('.').unwrap();
    format!("{package}@{repository}")
}

fn selection(universe: &Universe, run: &Run) -> (Selection, bool) {
    let mut selection = Selection::default();
    let mut best = false;
    for (spec, job) in run.jobs.iter().enumerate() {
        let job: Vec<&str> = job.iter().map(String::as_str).collect();
        let (job, flags) = match job.split_last() {
            Some((flags, job)) if flags.starts_with('[') => (job, *flags),
            _ => (&job[..], ""),
        };
        best |= flags.contains("forcebest");
        let spelled = job[2..].join(" ");
        let candidates = match job[1] {
            "name" | "provides" => {
                let spelled = rpm_spelling(&spelled);
                let Dependency::Simple(wanted) = Dependency::parse(&spelled).unwrap() else {
                    panic!("{spelled} is not simple");
                };
                let offering = universe.providers(&wanted);
                offering.into_iter().filter(|&id| job[1] == "provides" || universe.is_itself(id, &wanted)).collect()
            }
            "pkg" | "oneof" => {
                let names: BTreeSet<_> = job[2..].iter().map(|name| without_arch(name)).collect();
                universe.package_ids().filter(|&id| names.contains(&shown(universe, id))).collect()
            }
            other => panic!("{other} is no way to select"),
        };
        selection.jobs.push(Job { spec, wanted: Wanted::OneOf(candidates) });
    }
    (selection, best)
}

/// Returns what is wrong with the result of a run.
fn check_run(universe: &Universe, run: &Run) -> Result<(), String> {
    let (selection, best) = selection(universe, run);
    if run.kinds == ["rules"] {
        return check_rules(universe, &selection, run);
    }
    let weak = !run.settings.contains("ignorerecommended");
    let specs = run.jobs.iter().map(|job| job.join(" ")).collect();
    let result = solve_selection(universe, &SolveRequest { specs, weak, best }, &selection);
    let refused = run.expected.iter().any(|line| line.starts_with("problem"));
    match result {
        Err(_) if refused => Ok(()),
        Err(error) => Err(format!("no solution: {error}")),
        Ok(_) if refused => Err("a solution, and none is expected".to_owned()),
        Ok(solution) => {
            let id = |at: usize| &universe.repositories()[at].id;
            let evr = |package: &super::SolvedPackage| package.evr().trim_end_matches('-').to_owned();
            let ours: BTreeSet<_> =
                solution.packages.iter().map(|p| format!("{}-{}@{}", p.name, evr(p), id(p.repository_number))).collect();
            let theirs: BTreeSet<_> = run.expected.iter().filter_map(|line| line.strip_prefix("install ")).map(without_arch).collect();
            if ours == theirs { Ok(()) } else { Err(format!("{ours:?} instead of {theirs:?}")) }
        }
    }
}

/// Compares the rules of packages and jobs.
fn check_rules(universe: &Universe, selection: &Selection, run: &Run) -> Result<(), String> {
    let mut theirs: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for line in &run.expected {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["rule", kind, hash, literal] = words[..] else {
            panic!("{line} is no rule");
        };
        let (sign, name) = literal.strip_prefix('-').map_or(("", literal), |name| ("-", name));
        let literal = format!("{sign}{}", without_arch(name));
        theirs.entry((kind.to_owned(), hash.to_owned())).or_default().insert(literal);
    }
    let theirs: BTreeSet<_> = theirs.into_iter().map(|((kind, _), literals)| (kind, literals)).collect();
    let rules = rules::make(&Conditions::new(universe), selection, false);
    let text = |&literal: &Literal| format!("{}{}", if literal < 0 { "-" } else { "" }, shown(universe, package(literal)));
    let of = |range: std::ops::Range<u32>, kind: &str| {
        range.map(|rule| (kind.to_owned(), rules.literals(rule).iter().map(text).collect())).collect::<Vec<_>>()
    };
    let ours: BTreeSet<_> = of(rules.package_rules.clone(), "pkg").into_iter().chain(of(rules.job_rules.clone(), "job")).collect();
    if ours == theirs { Ok(()) } else { Err(format!("{ours:?} instead of {theirs:?}")) }
}

/// Returns the universe of some repositories.
pub(super) fn universe(repositories: &[Repository]) -> Universe {
    let repositories = repositories.iter().map(|repository| IndexedRepository {
        id: repository.name.clone(),
        priority: -repository.priority,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index: Arc::new(PackageIndex::parse(primary(repository).as_bytes()).unwrap()),
        comps: None,
        files: Vec::new(),
    });
    Universe::new(Arch::X86_64, repositories.collect()).unwrap()
}

#[test]
fn results_are_those_of_libsolv() {
    let Some(folder) = corpus("libsolv-testcases") else {
        return;
    };
    let (mut wrong, mut skipped, mut run_count) = (Vec::new(), BTreeMap::<_, Vec<String>>::new(), 0);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths = paths.iter().flat_map(|path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "t")) {
        let label = format!("{}/{}", path.parent().unwrap().file_name().unwrap().display(), path.file_stem().unwrap().display());
        let case = read_case(path);
        // Those two are about versions, and have tests of their own.
        if let Some(reason) = foreign(&case).or(label.starts_with("evrcmp/").then_some("versions")) {
            skipped.entry(reason).or_default().push(label);
            continue;
        }
        let universe = universe(&case.repositories);
        for (number, run) in case.runs.iter().enumerate() {
            let label = format!("{label} {number}");
            if let Some(reason) = foreign_run(run) {
                skipped.entry(reason).or_default().push(label);
            } else {
                run_count += 1;
                wrong.extend(check_run(&universe, run).err().map(|error| format!("{label}: {error}")));
            }
        }
    }
    for (reason, labels) in &skipped {
        eprintln!("skipped, {reason}: {}", labels.join(", "));
    }
    assert!(wrong.is_empty(), "{} of {run_count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(run_count >= 30, "only {run_count} could be run");
}

#[test]
fn versions_compare_as_in_libsolv() {
    let Some(path) = corpus("libsolv-testcases/evrcmp/caret.t") else {
        return;
    };
    let case = read_case(&path);
    let run = &case.runs[0];
    let compared: Vec<_> = run.expected.iter().filter_map(|line| line.strip_prefix("job noop provides ")).collect();
    assert_eq!(run.comparisons.len(), compared.len());
    for line in compared {
        let [left, operator, right] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line} is no comparison");
        };
        let expected = match operator {
            "<" => std::cmp::Ordering::Less,
            "=" => std::cmp::Ordering::Equal,
            _ => std::cmp::Ordering::Greater,
        };
        assert_eq!(evr::compare(left, right), expected, "{line}");
    }
}

/// Each package of one repository conflicts with some versions that those of the other offer.
#[test]
fn dependencies_mean_the_same_versions_as_in_libsolv() {
    let Some(path) = corpus("libsolv-testcases/evrcmp/testevr.t") else {
        return;
    };
    let case = read_case(&path);
    let universe = universe(&case.repositories);
    let conditions = Conditions::new(&universe);
    for run in &case.runs {
        let (selection, _) = selection(&universe, run);
        let Wanted::OneOf(candidates) = &selection.jobs[0].wanted else {
            panic!("one package is asked for");
        };
        let of = candidates[0];
        let conflicts = universe.atoms_of(of, super::RelationKind::Conflicts);
        let refused = conflicts.flat_map(|atom| conditions.providers(of, atom).to_vec()).filter(|other| *other != literal(of));
        let ours: BTreeSet<_> = refused.map(|refused| shown(&universe, package(refused))).collect();
        let theirs: BTreeSet<_> = run.expected.iter().filter_map(|line| line.strip_prefix("erase ")).map(without_arch).collect();
        assert_eq!(ours, theirs, "{}", run.jobs[0].join(" "));
    }
}
