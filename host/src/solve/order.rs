//! The order in which dpkg can configure the packages of a solution.

use std::{cmp::Reverse, collections::BinaryHeap};

use petgraph::{algo::kosaraju_scc, graph::DiGraph};

use super::{
    index::RelationKind,
    solution::{SolutionEdge, SolvedPackage},
};

/// Returns the numbers of `packages` so that each comes after what it depends on. A cycle is cut where it breaks the fewest
/// relations, `Pre-Depends` last of all. Of packages that are free to go, those that essential packages are or need come first, then the name decides.
pub(super) fn configure_order(packages: &[SolvedPackage], edges: &[SolutionEdge]) -> Vec<usize> {
    let mut graph = DiGraph::<(), (), usize>::with_capacity(packages.len(), edges.len());
    let nodes: Vec<_> = packages.iter().map(|_| graph.add_node(())).collect();
    let mut needs = vec![Vec::new(); packages.len()];
    for edge in edges.iter().filter(|edge| edge.kind.is_required() && edge.from != edge.to) {
        graph.add_edge(nodes[edge.from], nodes[edge.to], ());
        needs[edge.from].push((edge.to, edge.kind));
    }
    let early = needed_by_essential(packages, &needs);
    let key = |at: usize| (!early[at], at);

    // Packages that need each other, directly or not, are ordered as one among the others, and then among themselves.
    let components = kosaraju_scc(&graph);
    let mut component_of = vec![0; packages.len()];
    for (number, component) in components.iter().enumerate() {
        component.iter().for_each(|node| component_of[node.index()] = number);
    }
    let mut outer_needs = vec![Vec::new(); components.len()];
    for (from, needs) in needs.iter().enumerate() {
        let others = needs.iter().map(|&(to, _)| component_of[to]).filter(|&to| to != component_of[from]);
        outer_needs[component_of[from]].extend(others.map(|to| (to, RelationKind::Depends)));
    }
    let first_key = |number: usize| components[number].iter().map(|node| key(node.index())).min();
    let mut order = Vec::with_capacity(packages.len());
    for number in drain(&outer_needs, first_key) {
        let members: Vec<_> = components[number].iter().map(|node| node.index()).collect();
        if let [only] = members[..] {
            order.push(only);
            continue;
        }
        let place = |at: usize| members.iter().position(|&member| member == at);
        let inner_needs: Vec<Vec<_>> =
            members.iter().map(|&at| needs[at].iter().filter_map(|&(to, kind)| Some((place(to)?, kind))).collect()).collect();
        order.extend(drain(&inner_needs, |at| key(members[at])).into_iter().map(|at| members[at]));
    }
    order
}

/// Marks essential packages and what they need.
fn needed_by_essential(packages: &[SolvedPackage], needs: &[Vec<(usize, RelationKind)>]) -> Vec<bool> {
    let mut early = vec![false; packages.len()];
    let mut stack: Vec<_> = (0..packages.len()).filter(|&at| packages[at].essential).collect();
    while let Some(at) = stack.pop() {
        if !std::mem::replace(&mut early[at], true) {
            stack.extend(needs[at].iter().map(|&(to, _)| to));
        }
    }
    early
}

/// Returns all nodes, each time the one with the fewest unmet needs (`Pre-Depends` first), then the smallest key.
fn drain<K: Ord>(needs: &[Vec<(usize, RelationKind)>], key: impl Fn(usize) -> K) -> Vec<usize> {
    let mut needed_by = vec![Vec::new(); needs.len()];
    let mut unmet = vec![(0_usize, 0_usize); needs.len()];
    for (from, needs) in needs.iter().enumerate() {
        for &(to, kind) in needs {
            needed_by[to].push((from, kind));
            count(&mut unmet[from], kind, 1);
        }
    }
    // An entry is stale when its count is no longer the node's.
    let mut heap: BinaryHeap<_> = (0..needs.len()).map(|at| Reverse((unmet[at], key(at), at))).collect();
    let mut done = vec![false; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse((counted, _, at))) = heap.pop() {
        if counted != unmet[at] || std::mem::replace(&mut done[at], true) {
            continue;
        }
        order.push(at);
        for &(from, kind) in &needed_by[at] {
            if !done[from] {
                count(&mut unmet[from], kind, -1);
                heap.push(Reverse((unmet[from], key(from), from)));
            }
        }
    }
    order
}

fn count(unmet: &mut (usize, usize), kind: RelationKind, by: isize) {
    let counter = if kind == RelationKind::PreDepends { &mut unmet.0 } else { &mut unmet.1 };
    *counter = counter.saturating_add_signed(by);
}
