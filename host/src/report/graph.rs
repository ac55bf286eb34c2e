//! `deps.svg`: who depends on whom, drawn without Graphviz, in one file for any browser.
//!
//! ```text
//! packages → groups that need each other in a circle → only edges that no other path implies → columns → order in columns
//! ```
//!
//! What the template asks for is coloured. A column is one further from those that need nothing; within a column, groups
//! stand near the middle of what they are connected with. Everything that decides is sorted, so that equal graphs give equal bytes.

use std::{collections::BTreeSet, fmt::Write as _};

use petgraph::{algo::tarjan_scc, graph::DiGraph};

use super::{
    packages::{Dependency, PackageRecord},
    page::escaped,
};

const ROW: f64 = 26.0;
const HEIGHT: f64 = 20.0;
/// Room between columns, for the edges.
const GAP: f64 = 90.0;
/// Width of a letter and of the rest of a box.
const LETTER: f64 = 6.7;
const PADDING: f64 = 16.0;
const MARGIN: f64 = 24.0;
/// How often columns are ordered anew.
const ROUNDS: usize = 24;
/// The most packages of a circle that a box names.
const MOST_NAMES: usize = 2;

const STYLE: &str = "svg{background:#fff;font:11.5px ui-monospace,monospace}.n rect{fill:#eef1f6;stroke:#c3cad6}.n text{fill:#1c2330}\
    .r rect{fill:#3457d5;stroke:#3457d5}.r text{fill:#fff}.c rect{stroke-dasharray:3 2}path{fill:none;stroke:#8793a8;stroke-opacity:.45}\
    path.p{stroke:#b4541a;stroke-opacity:.6}.n:hover rect{stroke:#b4541a;stroke-width:2}\
    @media(prefers-color-scheme:dark){svg{background:#12151c}.n rect{fill:#232a36;stroke:#3a4456}.n text{fill:#e6e9ef}.r rect{fill:#4d6ce0}}";

/// Packages that are drawn as one box.
#[derive(Debug)]
struct Group {
    label: String,
    title: String,
    requested: bool,
    circle: bool,
    /// Groups that this one needs, after what others imply has been left out; whether it must be there first.
    needs: Vec<(usize, bool)>,
    column: usize,
    row: f64,
}

/// Returns the drawing. Dependencies on positions that do not exist are left out.
#[must_use]
pub fn render(packages: &[PackageRecord], dependencies: &[Dependency]) -> String {
    let mut groups = groups(packages, dependencies);
    let columns = place(&mut groups);
    draw(&groups, &columns)
}

/// Puts packages together that need each other, those that need nothing first, and reduces the edges.
fn groups(packages: &[PackageRecord], dependencies: &[Dependency]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|index| (&packages[*index].name, &packages[*index].arch, &packages[*index].version));
    let mut position = vec![0; packages.len()];
    order.iter().enumerate().for_each(|(at, index)| position[*index] = at);
    let edges: BTreeSet<(usize, usize, bool)> = dependencies
        .iter()
        .filter_map(|edge| Some((*position.get(edge.from)?, *position.get(edge.to)?, edge.pre)))
        .filter(|(from, to, _)| from != to)
        .collect();
    let mut graph = DiGraph::<(), ()>::new();
    let nodes: Vec<_> = order.iter().map(|_| graph.add_node(())).collect();
    for (from, to, _) in &edges {
        graph.add_edge(nodes[*from], nodes[*to], ());
    }
    // What is needed comes before what needs it.
    let circles: Vec<Vec<usize>> = tarjan_scc(&graph)
        .into_iter()
        .map(|mut circle| {
            circle.sort();
            circle.into_iter().map(petgraph::graph::NodeIndex::index).collect()
        })
        .collect();
    let mut group_of = vec![0; packages.len()];
    circles.iter().enumerate().for_each(|(group, members)| members.iter().for_each(|member| group_of[*member] = group));
    let mut needs: Vec<BTreeSet<(usize, bool)>> = vec![BTreeSet::new(); circles.len()];
    for (from, to, pre) in edges {
        if group_of[from] != group_of[to] {
            needs[group_of[from]].insert((group_of[to], pre));
        }
    }
    let needs = reduced(&needs);
    let package = |member: &usize| &packages[order[*member]];
    let group = |(members, needs): (&Vec<usize>, Vec<(usize, bool)>)| {
        let names: Vec<&str> = members.iter().map(|member| package(member).name.as_str()).collect();
        let more = names.len().saturating_sub(MOST_NAMES);
        let label = names[..names.len() - more].join(", ") + &if more > 0 { format!(" +{more}") } else { String::new() };
        let title: Vec<String> =
            members.iter().map(package).map(|package| format!("{} {} {}", package.name, package.version, package.arch)).collect();
        Group {
            label,
            title: title.join("\n"),
            requested: members.iter().any(|member| package(member).requested),
            circle: members.len() > 1,
            needs,
            column: 0,
            row: 0.0,
        }
    };
    circles.iter().zip(needs).map(group).collect()
}

/// Leaves out every edge that a longer path implies. Groups come after those that they need.
fn reduced(needs: &[BTreeSet<(usize, bool)>]) -> Vec<Vec<(usize, bool)>> {
    let words = needs.len().div_ceil(64);
    let mut reachable: Vec<Vec<u64>> = Vec::with_capacity(needs.len());
    let mut kept = Vec::with_capacity(needs.len());
    for own in needs {
        let mut set = vec![0_u64; words];
        let mut edges: Vec<(usize, bool)> = Vec::new();
        // The last one can reach the others, never the other way round.
        for (to, pre) in own.iter().rev() {
            if let Some(known) = edges.iter_mut().find(|(known, _)| known == to) {
                known.1 |= pre;
            } else if set[to / 64] >> (to % 64) & 1 == 0 {
                edges.push((*to, *pre));
                set[to / 64] |= 1 << (to % 64);
                let below: &Vec<u64> = &reachable[*to];
                set.iter_mut().zip(below).for_each(|(own, below)| *own |= below);
            }
        }
        reachable.push(set);
        kept.push(edges);
    }
    kept
}

/// Gives every group a column and a row, and returns the groups of each column from top to bottom.
fn place(groups: &mut [Group]) -> Vec<Vec<usize>> {
    for index in 0..groups.len() {
        groups[index].column = groups[index].needs.iter().map(|(to, _)| groups[*to].column + 1).max().unwrap_or(0);
    }
    // What is needed by one thing alone stands beside it, not at the far end.
    let mut least = vec![usize::MAX; groups.len()];
    for index in (0..groups.len()).rev() {
        if least[index] != usize::MAX {
            groups[index].column = least[index] - 1;
        }
        let column = groups[index].column;
        for (to, _) in groups[index].needs.clone() {
            least[to] = least[to].min(column);
        }
    }
    let last = groups.iter().map(|group| group.column).max().unwrap_or(0);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|index| (&groups[*index].label, *index));
    // Whoever needs is left of what it needs.
    order.into_iter().for_each(|index| columns[last - groups[index].column].push(index));
    let mut neighbours: Vec<Vec<usize>> = groups.iter().map(|group| group.needs.iter().map(|(to, _)| *to).collect()).collect();
    for (index, group) in groups.iter().enumerate() {
        group.needs.iter().for_each(|(to, _)| neighbours[*to].push(index));
    }
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let set_rows = |columns: &[Vec<usize>], groups: &mut [Group]| {
        for column in columns {
            let top = (tallest - column.len() as f64) / 2.0;
            column.iter().enumerate().for_each(|(row, index)| groups[*index].row = top + row as f64);
        }
    };
    set_rows(&columns, groups);
    for _ in 0..ROUNDS {
        for column in &mut columns {
            let middle = |index: usize| {
                let rows: Vec<f64> = neighbours[index].iter().map(|other| groups[*other].row).collect();
                if rows.is_empty() { groups[index].row } else { rows.iter().sum::<f64>() / rows.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = column.iter().map(|index| (middle(*index), *index)).collect();
            keyed.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
            *column = keyed.into_iter().map(|(_, index)| index).collect();
            let top = (tallest - column.len() as f64) / 2.0;
            column.iter().enumerate().for_each(|(row, index)| groups[*index].row = top + row as f64);
        }
    }
    columns
}

fn draw(groups: &[Group], columns: &[Vec<usize>]) -> String {
    let width = |group: &Group| group.label.chars().count() as f64 * LETTER + PADDING;
    let mut left = vec![MARGIN; groups.len()];
    let mut x = MARGIN;
    for column in columns {
        column.iter().for_each(|index| left[*index] = x);
        x += column.iter().map(|index| width(&groups[*index])).fold(0.0, f64::max) + GAP;
    }
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let (total_width, total_height) = (x - GAP + MARGIN, tallest * ROW + MARGIN * 2.0);
    let y = |group: &Group| MARGIN + group.row * ROW;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total_width:.0} {total_height:.0}\" width=\"{total_width:.0}\" \
         height=\"{total_height:.0}\">\n<style>{STYLE}</style>\n",
    );
    for (index, group) in groups.iter().enumerate() {
        for (to, pre) in &group.needs {
            let (start, end) = (left[index] + width(group), left[*to]);
            let (from, other) = (y(group) + HEIGHT / 2.0, y(&groups[*to]) + HEIGHT / 2.0);
            let bend = ((end - start) / 2.0).clamp(20.0, 160.0);
            let class = if *pre { " class=\"p\"" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "<path{class} d=\"M{start:.1} {from:.1}C{:.1} {from:.1} {:.1} {other:.1} {end:.1} {other:.1}\"/>",
                start + bend,
                end - bend
            );
        }
    }
    for (index, group) in groups.iter().enumerate() {
        let class = [(true, "n"), (group.requested, "r"), (group.circle, "c")];
        let class: Vec<&str> = class.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
        let _ = writeln!(
            text,
            "<g class=\"{}\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{HEIGHT}\" rx=\"4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            class.join(" "),
            escaped(&group.title),
            left[index],
            y(group),
            width(group),
            left[index] + PADDING / 2.0,
            y(group) + 14.0,
            escaped(&group.label),
        );
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::packages::example;

    #[test]
    fn the_drawing_does_not_depend_on_the_order_and_shows_every_package() {
        let (packages, mut dependencies) = example();
        let text = render(&packages, &dependencies);
        dependencies.reverse();
        dependencies.push(Dependency { from: 99, to: 0, pre: false });
        assert_eq!(text, render(&packages, &dependencies));
        for package in &packages {
            assert!(text.contains(&escaped(&package.name)), "{}", package.name);
        }
        // libc6 and libstdc++6 need each other.
        assert!(text.contains("class=\"n c\"") && text.contains("class=\"n r\""), "{text}");
        assert!(render(&[], &[]).starts_with("<svg"));
    }

    #[test]
    fn implied_edges_are_left_out() {
        let needs = |list: &[usize]| list.iter().map(|to| (*to, false)).collect::<BTreeSet<_>>();
        let kept = reduced(&[needs(&[]), needs(&[0]), needs(&[0, 1]), needs(&[0, 1, 2])]);
        assert_eq!(kept, [vec![], vec![(0, false)], vec![(1, false)], vec![(2, false)]]);
    }
}
