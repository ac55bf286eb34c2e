//! The solver on small universes: what it chooses, in which order, and how it explains itself.

use super::{BaseSet, FoundBy, index::RelationKind, scenario::Scenario};

#[test]
fn dependencies_are_followed_and_nothing_else_is_taken() {
    let scenario = Scenario::new(
        "app 1; Depends: lib (>= 2), data; Recommends: extra; Suggests: docs
         lib 2; Pre-Depends: core; Architecture: all
         core 1
         data 1; Architecture: all
         extra 1
         docs 1
         foreign 1; Architecture: arm64",
    );
    assert_eq!(scenario.answer("app"), "app=1 core=1 data=1 lib=2");
    assert_eq!(scenario.recommends().answer("app"), "app=1 core=1 data=1 extra=1 lib=2");
}

#[test]
fn of_alternatives_the_first_that_works_is_taken_unless_one_is_there() {
    let scenario = Scenario::new(
        "app 1; Depends: missing | first | second
         broken 1; Depends: unbuildable | second
         unbuildable 1; Depends: nowhere
         first 1
         second 1",
    );
    assert_eq!(scenario.answer("app"), "app=1 first=1");
    assert_eq!(scenario.answer("second app"), "app=1 second=1");
    assert_eq!(scenario.answer("app second"), "app=1 second=1");
    assert_eq!(scenario.answer("broken"), "broken=1 second=1");
}

#[test]
fn virtual_names_go_to_the_package_of_that_name_then_by_importance() {
    let scenario = Scenario::new(
        "app 1; Depends: mta
         old 1; Provides: mta; Priority: optional
         good 1; Provides: mta; Priority: important
         real 1; Depends: thing
         thing 1
         other 1; Provides: thing; Priority: required",
    );
    assert_eq!(scenario.answer("app"), "app=1 good=1");
    assert_eq!(scenario.answer("app old"), "app=1 old=1");
    assert_eq!(scenario.answer("real"), "real=1 thing=1");
}

#[test]
fn a_version_is_only_met_by_provides_with_a_version() {
    let lines = "app 1; Depends: api (>= 2)
                 plain 1; Provides: api
                 old 1; Provides: api (= 1)
                 new 1; Provides: api (= 2)";
    assert_eq!(Scenario::new(lines).answer("app"), "app=1 new=1");
}

#[test]
fn the_qualifier_any_needs_a_package_that_allows_it() {
    let scenario = Scenario::new(
        "app 1; Depends: python:any (>= 3)
         python 3; Multi-Arch: allowed
         strict 1; Depends: perl:any
         perl 5
         native 1; Depends: perl:native, python:amd64
         alien 1; Depends: perl:arm64",
    );
    assert_eq!(scenario.answer("app"), "app=1 python=3");
    assert_eq!(scenario.answer("native"), "native=1 perl=5 python=3");
    assert!(scenario.answer("strict").contains("cannot be installed"));
    assert!(scenario.answer("alien").contains("cannot be installed"));
}

#[test]
fn conflicts_lead_to_the_other_alternative() {
    let scenario = Scenario::new(
        "app 1; Depends: left | right
         left 1
         right 1
         enemy 1; Conflicts: left
         breaker 1; Breaks: left (<< 2)
         harmless 1; Breaks: left (<< 1)
         mta-a 1; Provides: mta; Conflicts: mta
         mta-b 1; Provides: mta; Conflicts: mta
         mail 1; Depends: mta-a | mta",
    );
    assert_eq!(scenario.answer("enemy app"), "app=1 enemy=1 right=1");
    assert_eq!(scenario.answer("app enemy"), "app=1 enemy=1 right=1");
    assert_eq!(scenario.answer("app breaker"), "app=1 breaker=1 right=1");
    assert_eq!(scenario.answer("app harmless"), "app=1 harmless=1 left=1");
    assert_eq!(scenario.answer("mail mta-b"), "mail=1 mta-b=1");
}

#[test]
fn what_greed_cannot_solve_the_search_does() {
    // Only taking `b2`, an alternative that nothing speaks for at first, leaves room for what `z` needs in the end.
    let scenario = Scenario::new(
        "a 1; Depends: b1 | b2
         b1 1
         b2 1
         z 1; Depends: y1 | y2
         y1 1; Depends: x
         y2 1; Depends: x
         x 1; Depends: w
         w 1; Conflicts: b1",
    );
    let solution = scenario.solve("a z").unwrap();
    assert_eq!(solution.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["a", "b2", "w", "x", "y1", "z"]);
    assert_eq!(solution.found_by, FoundBy::Search);
}

#[test]
fn the_search_takes_an_older_version_where_the_candidate_cannot_be() {
    let scenario = Scenario::new("app 1; Depends: lib (= 1)\n lib 1").repository("updates", 500, &[], "lib 2");
    assert_eq!(scenario.answer("lib"), "lib=2");
    assert_eq!(scenario.answer("app"), "app=1 lib=1");
    assert!(scenario.answer("app lib=2").contains("cannot be installed"), "{}", scenario.answer("app lib=2"));
}

#[test]
fn recommended_packages_survive_the_search() {
    let scenario = Scenario::new(
        "a 1; Depends: b1 | b2; Recommends: nice, clash
         b1 1
         b2 1
         nice 1
         clash 1; Conflicts: w
         z 1; Depends: x
         x 1; Depends: w
         w 1; Conflicts: b1",
    );
    assert_eq!(scenario.recommends().answer("a z"), "a=1 b2=1 nice=1 w=1 x=1 z=1");
}

#[test]
fn a_chain_deeper_than_apt_would_follow_is_solved() {
    let lines: String = (0..8000).map(|n| format!("p{n} 1; Depends: p{}\n", n + 1)).collect();
    let solution = Scenario::new(&format!("{lines}p8000 1")).solve("p0").unwrap();
    assert_eq!((solution.packages.len(), solution.configure_order.len()), (8001, 8001));
}

#[test]
fn priorities_beat_versions_and_negative_ones_forbid() {
    let backports = "tool 2";
    for (priority, expected) in [(500, "tool=2"), (990, "tool=2"), (100, "tool=1"), (-1, "tool=1"), (1001, "tool=2")] {
        let scenario = Scenario::new("tool 1").repository("backports", priority, &[], backports);
        assert_eq!(scenario.answer("tool"), expected, "{priority}");
    }
    let scenario = Scenario::new("tool 3").repository("pinned", 1001, &[], backports);
    assert_eq!(scenario.answer("tool"), "tool=2");
    assert_eq!(scenario.answer("tool=3"), "tool=3");
}

#[test]
fn only_allowed_packages_of_a_repository_are_taken() {
    let scenario = Scenario::new("tool 1").repository("vendor", 900, &["vendor-*"], "tool 9\n vendor-agent 1; Depends: tool");
    assert_eq!(scenario.answer("vendor-agent"), "tool=1 vendor-agent=1");
    let solution = scenario.solve("vendor-agent").unwrap();
    assert_eq!(solution.packages[1].repository, "vendor");
}

#[test]
fn requests_may_be_globs_and_name_versions() {
    let scenario = Scenario::new("app-a 1\n app-b 1\n other 1\n tool 1:2.0-3").repository("more", 400, &[], "tool 1:1.0-1");
    assert_eq!(scenario.answer("app-*"), "app-a=1 app-b=1");
    assert_eq!(scenario.answer("tool=1:1.0-1"), "tool=1:1.0-1");
    assert_eq!(scenario.answer("tool=2.0"), "tool=1:2.0-3");
    assert_eq!(scenario.answer("tool=1.0"), "tool=1:1.0-1");
}

#[test]
fn the_base_set_is_what_debootstrap_takes() {
    let scenario = || {
        Scenario::new(
            "core 1; Essential: yes; Depends: lib
             tool 1; Priority: required
             lib 1
             app 1; Priority: important",
        )
    };
    assert_eq!(scenario().base(BaseSet::Essential).answer(""), "core=1 lib=1");
    assert_eq!(scenario().base(BaseSet::Required).answer("app"), "app=1 core=1 lib=1 tool=1");
    let solution = scenario().base(BaseSet::Required).solve("app").unwrap();
    let flags: Vec<_> = solution.packages.iter().map(|package| (package.requested, package.base)).collect();
    assert_eq!(flags, [(true, false), (false, true), (false, false), (false, true)]);
}

#[test]
fn the_order_follows_dependencies_and_cuts_cycles_where_it_hurts_least() {
    let scenario = Scenario::new(
        "zlib 1
         aaa 1; Depends: mmm
         mmm 1
         libc 1; Depends: gcc-base
         gcc-base 1
         base 1; Essential: yes; Pre-Depends: libc
         ring-a 1; Depends: ring-b
         ring-b 1; Pre-Depends: ring-c
         ring-c 1; Depends: ring-a",
    );
    let solution = scenario.solve("aaa base zlib ring-a").unwrap();
    let order: Vec<_> = solution.configure_order.iter().map(|&at| solution.packages[at].name.as_str()).collect();
    assert_eq!(order, ["gcc-base", "libc", "base", "mmm", "aaa", "ring-a", "ring-c", "ring-b", "zlib"]);
}

#[test]
fn edges_name_the_package_that_meets_each_relation() {
    let scenario = Scenario::new("app 1; Depends: missing | mta, lib\n postfix 1; Provides: mta\n lib 1; Pre-Depends: postfix");
    let solution = scenario.solve("app").unwrap();
    let name = |at: usize| solution.packages[at].name.as_str();
    let edges: Vec<_> = solution.edges.iter().map(|edge| (name(edge.from), name(edge.to), edge.kind)).collect();
    let expected =
        [("app", "lib", RelationKind::Depends), ("app", "postfix", RelationKind::Depends), ("lib", "postfix", RelationKind::PreDepends)];
    assert_eq!(edges, expected);
}

#[test]
fn unknown_requests_are_all_named_with_what_may_be_meant() {
    let scenario = Scenario::new(
        "nginx 1\n openssh-server 1\n alien 1; Architecture: arm64\n a-mta 1; Provides: mta\n b-mta 1; Provides: mta\n tool 2",
    )
    .repository("vendor", 500, &["vendor-*"], "agent 1");
    insta::assert_snapshot!(scenario.answer("ngnix opensshserver alien agent mta nothing-* tool=3"), @r"
    no package is called `ngnix` (template.yml:1:5)
    no package is called `opensshserver` (template.yml:2:5)
    no package is called `alien` (template.yml:3:5)
    no package is called `agent` (template.yml:4:5)
    `mta` (template.yml:5:5) is not a package, and several packages provide it
    no package is called `nothing-*` (template.yml:6:5)
    tool exists, but not in the version that `tool = 3` (template.yml:7:5) asks for
    hint: did you mean `nginx`?
    hint: did you mean `openssh-server`?
    hint: it exists in repository main for arm64 only
    hint: it exists in repository vendor, whose allowPackages does not name it
    hint: ask for one of the packages that provide it: a-mta, b-mta
    hint: add the repository that has it under `packageRepositories`
    hint: ask for one of: 2 [main]
    ");
}

#[test]
fn a_missing_dependency_is_explained_down_to_what_exists() {
    let scenario = Scenario::new(
        "app 1; Depends: middle
         middle 2; Depends: lib (>= 5) | other
         lib 4",
    );
    insta::assert_snapshot!(scenario.answer("app"), @r#"
    `app` (template.yml:1:5) cannot be installed
      app 1 [main] needs middle
      middle 2 [main] needs lib (>= 5) | other
      there is only lib 4 [main]
      no package is called other or provides it
    "#);
}

#[test]
fn packages_that_exclude_each_other_are_explained_from_both_requests() {
    let scenario = Scenario::new(
        "web 1; Depends: server-a
         mail 1; Depends: server-b
         server-a 1; Conflicts: httpd
         server-b 2; Provides: httpd
         either 1; Depends: server-a | third
         third 1; Breaks: server-b (<< 3)",
    );
    insta::assert_snapshot!(scenario.answer("web mail"), @r#"
    `web` (template.yml:1:5) and `mail` (template.yml:2:5) cannot be installed together
      mail 1 [main] needs server-b
      web 1 [main] needs server-a
      server-a 1 [main] conflicts with httpd, which server-b 2 [main] provides
    "#);
    insta::assert_snapshot!(scenario.answer("mail either"), @r#"
    `mail` (template.yml:1:5) and `either` (template.yml:2:5) cannot be installed together
      either 1 [main] needs server-a | third
      mail 1 [main] needs server-b
      server-a 1 [main] conflicts with httpd, which server-b 2 [main] provides
      third 1 [main] breaks server-b (<< 3), and that is server-b 2 [main]
    "#);
}

#[test]
fn a_puzzle_without_a_solution_names_the_requests_that_make_it() {
    let scenario = Scenario::new(
        "red 1; Depends: a1 | a2
         green 1; Depends: b1 | b2
         a1 1; Conflicts: b1, b2
         a2 1; Conflicts: b1, b2
         b1 1
         b2 1
         bystander 1",
    );
    insta::assert_snapshot!(scenario.answer("bystander red green"), @r#"
    `red` (template.yml:2:5) and `green` (template.yml:3:5) cannot be installed together
      each can be installed, but what they need excludes each other
    "#);
}

#[test]
fn two_versions_of_one_package_are_refused() {
    let scenario = Scenario::new("tool 1").repository("new", 500, &[], "tool 2");
    insta::assert_snapshot!(scenario.answer("tool=1 tool=2"), @r"
    different versions of tool are asked for: `tool = 1` (template.yml:1:5) and `tool = 2` (template.yml:2:5)
    hint: ask for one version
    ");
}

#[test]
fn an_impossible_base_set_is_no_ones_request() {
    let scenario = Scenario::new("core 1; Essential: yes; Depends: gone").base(BaseSet::Essential);
    insta::assert_snapshot!(scenario.answer(""), @r#"
    the base set cannot be installed
      core 1 [main] needs gone
      no package is called gone or provides it
    "#);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Lines for up to 12 packages that depend on, provide and exclude each other at random.
    fn any_lines() -> impl Strategy<Value = String> {
        let name = 0..12_u8;
        let relation = (name.clone(), proptest::option::of(1..4_u8)).prop_map(|(name, version)| match version {
            Some(version) => format!("p{name} (>= {version})"),
            None => format!("p{name}"),
        });
        let group = proptest::collection::vec(relation.clone(), 1..4).prop_map(|group| group.join(" | "));
        let depends = proptest::collection::vec(group, 0..3).prop_map(|groups| groups.join(", "));
        let list = |items| proptest::collection::vec(relation.clone(), items).prop_map(|items| items.join(", "));
        let provides = proptest::collection::vec(12..15_u8, 0..2)
            .prop_map(|names| names.iter().map(|n| format!("p{n}")).collect::<Vec<_>>().join(", "));
        let package = (name, 1..4_u8, depends, list(0..2), provides);
        proptest::collection::btree_map(0..20_u8, package, 1..16).prop_map(|packages| {
            let line = |(name, version, depends, conflicts, provides): (u8, u8, String, String, String)| {
                format!("p{name} {version}; Depends: {depends}; Conflicts: {conflicts}; Provides: {provides}")
            };
            packages.into_values().map(line).collect::<Vec<_>>().join("\n")
        })
    }

    /// Returns whether any subset of the packages solves the request, by trying them all.
    fn brute_force(scenario: &Scenario, wanted: &[String]) -> bool {
        let universe = scenario.universe();
        let request = super::super::SolveRequest {
            packages: wanted
                .iter()
                .map(|name| oic_config::spec::PackageRequest { name: name.clone(), version: None, origin: String::new() })
                .collect(),
            base: BaseSet::None,
            recommends: false,
        };
        let Ok(selection) = super::super::selection::Selection::new(&universe, &request) else {
            return false;
        };
        let ids: Vec<_> = universe.package_ids().collect();
        (0..1_u32 << ids.len()).any(|set| {
            let packages: Vec<_> = ids.iter().copied().filter(|id| set >> id.0 & 1 == 1).collect();
            super::super::check::check(&universe, &selection, &packages).is_ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn there_is_a_solution_exactly_if_some_set_of_packages_is_one(lines in any_lines(), wanted in proptest::collection::vec(0..12_u8, 1..4)) {
            let scenario = Scenario::new(&lines);
            let wanted: Vec<_> = wanted.iter().map(|name| format!("p{name}")).collect();
            let answer = scenario.answer(&wanted.join(" "));
            let solved = scenario.solve(&wanted.join(" ")).is_ok();
            prop_assert_eq!(solved, brute_force(&scenario, &wanted), "{}\n{}", lines, answer);
            prop_assert_eq!(answer, scenario.answer(&wanted.join(" ")));
        }
    }
}

#[test]
fn versions_are_asked_for_by_relation() {
    let scenario = Scenario::new("tool 1-1\n tool 2-1\n tool 3-1; Depends: nowhere\n app 1; Depends: tool (<< 2)").repository(
        "old",
        600,
        &[],
        "tool 1-2",
    );
    assert_eq!(scenario.answer("tool"), "tool=1-2");
    assert_eq!(scenario.answer("tool>=2"), "tool=2-1", "the newest cannot be installed");
    assert_eq!(scenario.answer("tool<1-2"), "tool=1-1");
    assert_eq!(scenario.answer("tool<3"), "tool=1-2", "priority first");
    insta::assert_snapshot!(scenario.answer("tool>=4"), @r"
    tool exists, but not in the version that `tool >= 4` (template.yml:1:5) asks for
    hint: ask for one of: 1-2 [old], 3-1 [main], 2-1 [main], 1-1 [main]
    ");
    insta::assert_snapshot!(scenario.answer("app tool>=2"), @r"
    `app` (template.yml:1:5) and `tool >= 2` (template.yml:2:5) cannot be installed together
      app 1 [main] needs tool (<< 2)
      tool 2-1 [main] is chosen, so tool 1-1 [main] cannot be
      tool 2-1 [main] is chosen, so tool 1-2 [old] cannot be
    ");
    insta::assert_snapshot!(scenario.answer("tool>=2 to*l<2"), @r"
    different versions of tool are asked for: `tool >= 2` (template.yml:1:5) and `to*l < 2` (template.yml:2:5)
    hint: ask for one version
    ");
}

#[test]
fn what_is_excluded_is_not_taken_and_named_where_it_is_missed() {
    let lines = "app 1; Depends: mta\n postfix 1; Provides: mta\n exim 1; Provides: mta\n web 1; Depends: lib (>= 2)\n lib 1";
    let scenario = Scenario::new(lines).excludes(&["exim", "non*"]).repository("new", 500, &[], "lib 2").excludes(&["l?b"]);
    assert_eq!(scenario.answer("app lib"), "app=1 lib=1 postfix=1");
    insta::assert_snapshot!(scenario.answer("exim lib=2"), @r"
    no package is called `exim` (template.yml:1:5)
    lib exists, but not in the version that `lib = 2` (template.yml:2:5) asks for
    hint: it exists in repository main, and `exim` of excludes (excludes.yml:1:5) keeps it out
    hint: ask for one of: 1 [main]; lib 2 [new] is kept out by `l?b` of excludes (excludes.yml:1:5)
    ");
    insta::assert_snapshot!(scenario.answer("web"), @r"
    `web` (template.yml:1:5) cannot be installed
      web 1 [main] needs lib (>= 2)
      there is only lib 1 [main]; lib 2 [new] is kept out by `l?b` of excludes (excludes.yml:1:5)
    ");
    insta::assert_snapshot!(Scenario::new(lines).excludes(&["postfix", "e*"]).answer("app"), @r"
    `app` (template.yml:1:5) cannot be installed
      app 1 [main] needs mta
      no package is called mta or provides it; exim 1 [main] is kept out by `e*` of excludes (excludes.yml:2:5); postfix 1 [main] is kept out by `postfix` of excludes (excludes.yml:1:5)
    ");
}
