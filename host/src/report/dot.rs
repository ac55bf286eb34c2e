//! `deps.dot`: who depends on whom, in Graphviz's language, left to right. Packages that the template asks for are filled,
//! Pre-Depends are bold.

use std::{collections::BTreeMap, fmt::Write as _};

use super::packages::{Dependency, PackageRecord};

/// Returns the graph. Dependencies on positions that do not exist are left out.
#[must_use]
pub fn render(packages: &[PackageRecord], dependencies: &[Dependency]) -> String {
    let names = node_names(packages);
    let mut nodes: Vec<_> = packages.iter().zip(&names).collect();
    nodes.sort_by_key(|(_, name)| *name);
    let mut edges: Vec<_> = dependencies.iter().filter_map(|edge| Some((names.get(edge.from)?, names.get(edge.to)?, edge.pre))).collect();
    edges.sort();
    edges.dedup();

    let mut text = String::from("digraph packages {\n    rankdir=LR;\n    node [shape=box];\n");
    for (package, name) in nodes {
        let fill = if package.requested { ", style=filled" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {} [label={}{fill}];", quoted(name), quoted(&format!("{name}\n{}", package.version)));
    }
    for (from, to, pre) in edges {
        let bold = if pre { " [style=bold]" } else { "" };
        let _ = writeln!(text, "    {} -> {}{bold};", quoted(from), quoted(to));
    }
    text.push_str("}\n");
    text
}

/// Returns a name for each package: its own where that is unique, else with architecture, else with version, too.
fn node_names(packages: &[PackageRecord]) -> Vec<String> {
    let candidates = |package: &PackageRecord| {
        let qualified = format!("{}:{}", package.name, package.arch);
        let full = format!("{qualified}={}", package.version);
        [package.name.clone(), qualified, full]
    };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for candidate in packages.iter().flat_map(candidates) {
        *counts.entry(candidate).or_default() += 1;
    }
    let name = |package: &PackageRecord| {
        let [short, qualified, full] = candidates(package);
        [short, qualified].into_iter().find(|candidate| counts[candidate] == 1).unwrap_or(full)
    };
    packages.iter().map(name).collect()
}

/// Returns text as a quoted identifier.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::packages::example;

    #[test]
    fn the_whole_graph() {
        let (packages, mut dependencies) = example();
        let text = render(&packages, &dependencies);
        dependencies.reverse();
        dependencies.push(Dependency { from: 99, to: 0, pre: false });
        assert_eq!(text, render(&packages, &dependencies));
        insta::assert_snapshot!(text, @r#"
        digraph packages {
            rankdir=LR;
            node [shape=box];
            "bash" [label="bash\n5.2.37-2+b5", style=filled];
            "libc6:amd64" [label="libc6:amd64\n2.41-12+deb13u1"];
            "libc6:i386" [label="libc6:i386\n2.41-12+deb13u1"];
            "libstdc++6" [label="libstdc++6\n14.2.0-19"];
            "libstdc--6" [label="libstdc--6\n1:1~rc 1"];
            "local" [label="local\n1", style=filled];
            "bash" -> "libc6:amd64" [style=bold];
            "libc6:amd64" -> "libstdc++6";
            "libstdc++6" -> "libc6:amd64";
            "local" -> "bash";
        }
        "#);
    }

    #[test]
    fn nothing_in_a_name_ends_the_quotes() {
        assert_eq!(quoted("a\"];\\ b\nc\x1b"), r#""a\"];\\ b\nc ""#);
    }
}
