//! Tests of the solver as a whole: dnf's answers on real metadata.

use std::{
    collections::BTreeSet,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use flate2::read::GzDecoder;
use oic_config::spec::{Arch, Exclude};
use serde_json::Value;

use proptest::prelude::*;

use super::{
    check::check,
    select::Selection,
    testcases::{Repository, universe},
    universe::PackageId,
    *,
};

pub(super) fn corpus(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/rpm").join(path);
    if !found.exists() {
        eprintln!("skipped: {} is not here", found.display());
    }
    found.exists().then_some(found)
}

fn document(repository: &str, kind: &str) -> Option<Vec<u8>> {
    let folder = corpus(repository)?.join("repodata");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let path = names.into_iter().find(|path| path.to_str().unwrap().contains(kind))?;
    let bytes = std::fs::read(&path).unwrap();
    let mut text = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => drop(std::io::Read::read_to_end(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap()),
        _ => text = bytes,
    }
    Some(text)
}

fn repository(id: &str, folder: &str) -> Option<IndexedRepository> {
    let index = Arc::new(PackageIndex::parse(BufReader::new(&document(folder, "primary.xml")?[..])).unwrap());
    let comps = Some(Arc::new(Comps::parse(&document(folder, "comps-")?[..]).unwrap()));
    Some(IndexedRepository {
        id: id.to_owned(),
        priority: DEFAULT_PRIORITY,
        allow_packages: Vec::new(),
        excludes: Vec::new(),
        index,
        comps,
        files: Vec::new(),
    })
}

/// CentOS Stream 9: BaseOS, and both.
static CENTOS: LazyLock<Option<[Universe; 2]>> = LazyLock::new(|| {
    let mut base = repository("baseos", "centos9-baseos-2022")?;
    let universe = Universe::new(Arch::X86_64, vec![base.clone()]).unwrap();
    let wanted = universe.unknown_files(&[]);
    base.files = filelists::find_owners(&document("centos9-baseos-2022", "filelists")?[..], &wanted).unwrap();
    let app = repository("appstream", "centos9-appstream-2025")?;
    Some([vec![base.clone()], vec![base, app]].map(|all| Universe::new(Arch::X86_64, all).unwrap()))
});

#[test]
fn solutions_are_those_of_dnf() {
    let (Some(golden), Some(universes)) = (corpus("golden-dnf4-centos9.json"), &*CENTOS) else {
        return;
    };
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let mut differences = Vec::new();
    for case in &cases {
        let specs = case["specs"].as_array().unwrap().iter().map(|spec| spec.as_str().unwrap().to_owned()).collect();
        let weak = case["weak"].as_bool().unwrap();
        let universe = &universes[case["repos"].as_array().unwrap().len() - 1];
        let label = format!("{} weak={weak}", case["case"].as_str().unwrap());
        match (solve(universe, &SolveRequest { specs, weak, best: true }), case["ok"].as_bool().unwrap()) {
            (Ok(solution), true) => {
                let ours: BTreeSet<_> = solution.packages.iter().map(SolvedPackage::nevra).collect();
                let theirs: BTreeSet<_> = case["packages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
                if ours != theirs {
                    let more: Vec<_> = ours.difference(&theirs).collect();
                    let less: Vec<_> = theirs.difference(&ours).collect();
                    differences.push(format!("{label}: {} packages; more: {more:?}; less: {less:?}", theirs.len()));
                }
            }
            (Err(error), false) => eprintln!("{label}: refused by both:\n{error}\n{}", case["error"].as_str().unwrap_or_default()),
            (Ok(solution), false) => {
                differences.push(format!("{label}: we found {} packages, dnf none: {}", solution.packages.len(), case["error"]));
            }
            (Err(error), true) => differences.push(format!("{label}: {error}")),
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), cases.len(), differences.join("\n"));
}

/// Returns a universe of packages written as libsolv's test cases write them.
fn small(packages: &str) -> Universe {
    let packages = packages.lines().map(|line| line.trim().to_owned()).collect();
    universe(&[Repository { name: "test".to_owned(), priority: 0, packages }])
}

fn request(specs: &[&str]) -> SolveRequest {
    SolveRequest { specs: specs.iter().map(|&spec| spec.to_owned()).collect(), weak: false, best: false }
}

fn names(solution: &Solution) -> Vec<String> {
    solution.packages.iter().map(|package| format!("{}-{}", package.name, package.evr())).collect()
}

#[test]
fn an_older_version_is_taken_only_where_the_best_is_not_asked_for() {
    let universe = small("=Pkg: a 1 1 noarch\n=Pkg: a 2 1 noarch\n=Req: missing >= 3\n=Pkg: missing 1 1 noarch");
    assert_eq!(names(&solve(&universe, &request(&["a"])).unwrap()), ["a-1-1"]);
    let error = solve(&universe, &SolveRequest { best: true, ..request(&["a"]) }).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"
    a cannot be installed
      a-2-1.noarch is the best package for a
      a-2-1.noarch requires missing >= 3, and there is only missing = 1-1
    ");
}

#[test]
fn conflicts_are_explained() {
    let universe = small(
        "=Pkg: web 1 1 noarch\n=Req: server\n=Pkg: one 1 1 noarch\n=Prv: server\n=Con: lock\n=Pkg: two 1 1 noarch\n=Prv: server\n=Req: nowhere
        =Pkg: holder 1 1 noarch\n=Prv: lock\n=Pkg: old 1 1 noarch\n=Pkg: new 1 1 noarch\n=Obs: old\n=Pkg: rich 1 1 noarch\n=Req: gone <IF> holder",
    );
    let told = |specs: &[&str]| solve(&universe, &request(specs)).unwrap_err().to_string();
    insta::assert_snapshot!(told(&["web", "holder"]), @"
    web and holder cannot be installed together
      web-1-1.noarch requires server, which one-1-1.noarch, two-1-1.noarch provide
      one-1-1.noarch conflicts with lock, which holder-1-1.noarch is
      two-1-1.noarch requires nowhere, and nothing provides that
    ");
    insta::assert_snapshot!(told(&["old-1", "new"]), @"
    old-1 and new cannot be installed together
      new-1-1.noarch obsoletes old, which old-1-1.noarch is
    ");
    insta::assert_snapshot!(told(&["rich", "holder"]), @"
    rich and holder cannot be installed together
      rich-1-1.noarch requires (gone if holder), which cannot be while holder-1-1.noarch is there
    ");
    insta::assert_snapshot!(told(&["holder-2", "hodler", "@core", "(a or b)"]), @"
    holder-2 does not exist in this version
    no package is called hodler or provides it
    no group is called @core
    `(a or b)` cannot be asked for: rich dependencies cannot be asked for
    ");
    let Err(SolveError::Conflict(conflict)) = solve(&universe, &request(&["holder-2", "hodler"])) else {
        panic!("neither exists");
    };
    assert_eq!(conflict.hints(), ["there is holder-1-1.noarch", "perhaps `holder` is meant"]);
}

#[test]
fn repositories_are_limited_and_ranked() {
    let one = |name: &str, priority, lines: &str| Repository {
        name: name.to_owned(),
        priority,
        packages: lines.lines().map(str::to_owned).collect(),
    };
    let base =
        universe(&[one("base", 0, "=Pkg: a 1 1 noarch\n=Pkg: b 1 1 noarch"), one("extra", 0, "=Pkg: a 2 1 noarch\n=Pkg: b 2 1 noarch")]);
    let mut repositories = base.repositories().to_vec();
    repositories[1].allow_packages = vec!["b".to_owned()];
    let limited = Universe::new(Arch::X86_64, repositories.clone()).unwrap();
    assert_eq!(names(&solve(&limited, &request(&["a", "b"])).unwrap()), ["a-1-1", "b-2-1"]);
    repositories[1].priority = 10;
    let ranked = Universe::new(Arch::X86_64, repositories.clone()).unwrap();
    assert_eq!(names(&solve(&ranked, &request(&["a", "b"])).unwrap()), ["a-1-1", "b-1-1"]);
    let exclude = |glob: &str| Exclude { glob: glob.to_owned(), origin: "template.yml:7:3".to_owned() };
    repositories[0].excludes = vec![exclude("b-1-*"), exclude("a.src")];
    let excluded = Universe::new(Arch::X86_64, repositories).unwrap();
    assert_eq!(names(&solve(&excluded, &request(&["a", "b"])).unwrap()), ["a-1-1", "b-2-1"]);
    let told = |spec: &str| {
        let SolveError::Conflict(conflict) = solve(&excluded, &request(&[spec])).unwrap_err() else { panic!("{spec} is kept out") };
        std::iter::once(conflict.to_string()).chain(conflict.hints()).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(told("b-1"), @r"
    b-1 does not exist in this version
    there is b-2-1.noarch; repository base has it in version 1-1, but `b-1-*` of excludes (template.yml:7:3) keeps it out
    ");
}

#[test]
fn what_is_excluded_is_named_where_it_is_missed() {
    let all = small(
        "=Pkg: app 1 1 noarch\n=Req: libx.so.1\n=Pkg: libx 1 1 noarch\n=Prv: libx.so.1\n=Pkg: tool 1 1 noarch\n=Req: libx >= 2\n=Pkg: libx 2 1 noarch
        =Pkg: web 1 1 noarch\n=Req: server\n=Pkg: one 1 1 noarch\n=Prv: server\n=Pkg: two 1 1 noarch\n=Prv: server",
    );
    let mut repositories = all.repositories().to_vec();
    let exclude = |glob: &str| repositories[0].excludes.push(Exclude { glob: glob.to_owned(), origin: "template.yml:7:3".to_owned() });
    ["one", "libx-2-*"].into_iter().for_each(exclude);
    let universe = Universe::new(Arch::X86_64, repositories.clone()).unwrap();
    assert_eq!(names(&solve(&universe, &request(&["web", "app"])).unwrap()), ["app-1-1", "libx-1-1", "two-1-1", "web-1-1"]);
    insta::assert_snapshot!(solve(&universe, &request(&["tool"])).unwrap_err(), @r"
    tool cannot be installed
      tool-1-1.noarch requires libx >= 2, and there is only libx = 1-1 (repository test has it in version 2-1, but `libx-2-*` of excludes (template.yml:7:3) keeps it out)
    ");
    repositories[0].excludes[1].glob = "libx".to_owned();
    let universe = Universe::new(Arch::X86_64, repositories).unwrap();
    insta::assert_snapshot!(solve(&universe, &request(&["app"])).unwrap_err(), @r"
    app cannot be installed
      app-1-1.noarch requires libx.so.1, and nothing provides that (repository test has libx, but `libx` of excludes (template.yml:7:3) keeps it out)
    ");
    insta::assert_snapshot!(solve(&universe, &request(&["libx"])).unwrap_err(), @"libx cannot be taken: repository test has it, but `libx` of excludes (template.yml:7:3) keeps it out");
}

#[test]
fn versions_are_asked_for_by_relation() {
    let universe = small("=Pkg: a 1 1 noarch\n=Pkg: a 2 1 noarch\n=Pkg: a 2 2 noarch\n=Pkg: a 3 1 noarch\n=Req: nowhere");
    for (spec, expected) in [
        ("a", "a-2-2"),
        ("a < 2", "a-1-1"),
        ("a <= 2", "a-2-2"),
        ("a <= 2-1", "a-2-1"),
        ("a >= 2", "a-2-2"),
        ("a > 1", "a-2-2"),
        ("a >= 1-1", "a-2-2"),
    ] {
        assert_eq!(names(&solve(&universe, &request(&[spec])).unwrap()), [expected], "{spec}");
    }
    insta::assert_snapshot!(solve(&universe, &request(&["a > 2"])).unwrap_err(), @r"
    a > 2 cannot be installed
      a-3-1.noarch requires nowhere, and nothing provides that
    ");
    insta::assert_snapshot!(solve(&universe, &request(&["a > 3"])).unwrap_err(), @"a > 3 does not exist in this version");
}

#[test]
fn groups_bring_their_packages() {
    let comps = Comps::parse(
        &br#"<comps>
            <group><id>core</id><name>Core Things</name><packagelist><packagereq>a</packagereq><packagereq type="default">b</packagereq>
              <packagereq type="optional">c</packagereq><packagereq>for-another-architecture</packagereq>
              <packagereq type="conditional" requires="kde">d</packagereq></packagelist></group>
            <environment><id>small</id><name>Small</name><grouplist><groupid>core</groupid></grouplist></environment></comps>"#[..],
    );
    let all = small("=Pkg: a 1 1 noarch\n=Pkg: b 1 1 noarch\n=Pkg: c 1 1 noarch\n=Pkg: d 1 1 noarch\n=Pkg: kde 1 1 noarch");
    let mut repositories = all.repositories().to_vec();
    repositories[0].comps = Some(Arc::new(comps.unwrap()));
    let universe = Universe::new(Arch::X86_64, repositories).unwrap();
    for (specs, expected) in [
        (&["@core"][..], &["a-1-1", "b-1-1"][..]),
        (&["@core things"], &["a-1-1", "b-1-1"]),
        (&["@^small"], &["a-1-1", "b-1-1"]),
        (&["@small", "kde"], &["a-1-1", "b-1-1", "d-1-1", "kde-1-1"]),
    ] {
        let solution = solve(&universe, &request(specs)).unwrap();
        assert_eq!(names(&solution), expected, "{specs:?}");
        assert_eq!(solution.missing_members, ["for-another-architecture"]);
        let asked = |name: &str| solution.packages.iter().any(|package| package.name == name && package.reason == Reason::Requested);
        assert!(asked("a") && asked("b"), "{specs:?}");
    }
    assert!(solve(&universe, &request(&["@^core"])).is_err());
}

#[test]
fn files_that_only_filelists_know_are_found() {
    let all = small("=Pkg: a 1 1 noarch\n=Req: /opt/tool\n=Pkg: b 1 1 noarch");
    let unknown = all.unknown_files(&["/usr/share/doc".to_owned(), "/usr/bin/vi".to_owned()]);
    assert_eq!(unknown, ["/opt/tool", "/usr/share/doc"].map(str::to_owned).into());
    assert!(solve(&all, &request(&["a"])).is_err());
    let mut repositories = all.repositories().to_vec();
    let owner = repositories[0].index.packages().nth(1).unwrap().checksum().1.to_owned();
    repositories[0].files = vec![FileOwner { checksum: owner, path: "/opt/tool".to_owned() }];
    let universe = Universe::new(Arch::X86_64, repositories).unwrap();
    assert_eq!(universe.unknown_files(&[]), BTreeSet::new());
    let solution = solve(&universe, &request(&["a"])).unwrap();
    assert_eq!(names(&solution), ["a-1-1", "b-1-1"]);
    assert_eq!(solution.edges, [SolutionEdge { from: 0, to: 1, kind: RelationKind::Requires }]);
    assert_eq!(names(&solve(&universe, &request(&["/opt/tool"])).unwrap()), ["b-1-1"]);
}

/// One line of a random package.
fn any_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "v", "w"]);
    let simple = (name, prop::option::of((prop::sample::select(vec!["<", "<=", "=", ">=", ">"]), 1..3_u8)));
    let simple = simple.prop_map(|(name, version)| match version {
        Some((operator, version)) => format!("{name} {operator} {version}"),
        None => name.to_owned(),
    });
    let rich = (simple.clone(), prop::sample::select(vec!["&", "|", "<IF>", "<UNLESS>", "+", "-"]), simple.clone());
    let rich = rich.prop_map(|(left, operator, right)| format!("{left} {operator} {right}"));
    let either = prop_oneof![4 => simple.clone(), 1 => rich];
    prop_oneof![
        4 => either.clone().prop_map(|text| format!("=Req: {text}")),
        2 => either.clone().prop_map(|text| format!("=Con: {text}")),
        1 => simple.prop_map(|text| format!("=Obs: {text}")),
        1 => either.prop_map(|text| format!("=Rec: {text}")),
        1 => (1..3_u8).prop_map(|version| format!("=Prv: v = {version}")),
        1 => Just("=Prv: w".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// There is a solution if and only if some set of packages, of all that there are, passes the check.
    #[test]
    fn a_solution_is_found_if_there_is_one(
        packages in proptest::collection::vec((0..5_usize, 1..3_u8, proptest::collection::vec(any_line(), 0..3)), 1..9),
        weak in any::<bool>(),
    ) {
        let mut lines = Vec::new();
        for (name, version, relations) in &packages {
            lines.push(format!("=Pkg: {} {version} 1 noarch", ["a", "b", "c", "d", "e"][*name]));
            lines.extend(relations.iter().cloned());
        }
        let universe = universe(&[Repository { name: "test".to_owned(), priority: 0, packages: lines }]);
        let asked = universe.record(PackageId(0)).name().to_owned();
        let request = SolveRequest { weak, ..request(&[&asked]) };
        let selection = Selection::new(&universe, &request).unwrap();
        let count = universe.package_count();
        let exists = (0..1_u32 << count).any(|set| {
            let chosen: Vec<_> = universe.package_ids().filter(|id| set >> id.0 & 1 == 1).collect();
            check(&universe, &selection, &chosen).is_ok()
        });
        match solve(&universe, &request) {
            Ok(_) => prop_assert!(exists),
            Err(SolveError::Conflict(conflict)) => prop_assert!(!exists, "{}", conflict),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
