//! A directed graph with few nodes: its cycles, and an order from the bottom up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Nodes by name, with the nodes that each one uses.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// Finds cycles such that the graph has none left once the first edge of each is cut.
///
/// A cycle is the list of its nodes; the last one uses the first. The first edge is the one that is part of most short
/// cycles: there is one cycle for each edge that has to go, not one for each way around.
pub(crate) fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let mut graph = graph.clone();
    let mut found = Vec::new();
    loop {
        let all = shortest_cycles(&graph);
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (from, to) in all.iter().flat_map(|cycle| edges(cycle)) {
            *counts.entry((from, to)).or_default() += 1;
        }
        let Some((from, to)) = counts.iter().rev().max_by_key(|(_, count)| **count).map(|(edge, _)| *edge) else {
            return found;
        };
        let through = all.iter().filter(|cycle| edges(cycle).any(|edge| edge == (from, to)));
        let (from, to) = (from.to_owned(), to.to_owned());
        if let Some(mut cycle) = through.min_by_key(|cycle| cycle.len()).cloned() {
            let first = cycle.iter().position(|node| *node == from).unwrap_or(0);
            cycle.rotate_left(first);
            found.push(cycle);
        }
        if let Some(targets) = graph.get_mut(&from) {
            targets.remove(&to);
        }
    }
}

/// Returns the edges of a cycle.
pub(crate) fn edges(cycle: &[String]) -> impl Iterator<Item = (&str, &str)> {
    cycle.iter().zip(cycle.iter().cycle().skip(1)).map(|(from, to)| (from.as_str(), to.as_str()))
}

/// Returns the shortest cycle through each edge that is part of one; each starts with its alphabetically first node.
fn shortest_cycles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for (from, targets) in graph {
        for to in targets {
            if let Some(mut cycle) = shortest_path(graph, to, from) {
                let first = (0..cycle.len()).min_by_key(|index| &cycle[*index]).unwrap_or(0);
                cycle.rotate_left(first);
                found.insert(cycle);
            }
        }
    }
    found
}

fn shortest_path(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&str, Option<&str>> = BTreeMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let back = std::iter::successors(Some(node), |node| came_from[node]);
            let mut path: Vec<String> = back.map(str::to_owned).collect();
            path.reverse();
            return Some(path);
        }
        for next in graph.get(node).into_iter().flatten() {
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, Some(node));
                queue.push_back(next);
            }
        }
    }
    None
}

/// Orders the nodes so that each one comes after all nodes that it uses; nodes of a cycle come where the walk meets
/// them.
pub(crate) fn from_the_bottom_up(graph: &Graph) -> Vec<&str> {
    let mut done = Vec::new();
    let mut seen = BTreeSet::new();
    for node in graph.keys() {
        visit(graph, node, &mut seen, &mut done);
    }
    done
}

fn visit<'a>(graph: &'a Graph, node: &'a str, seen: &mut BTreeSet<&'a str>, done: &mut Vec<&'a str>) {
    if seen.insert(node) {
        for next in graph.get(node).into_iter().flatten() {
            visit(graph, next, seen, done);
        }
        done.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, cycles, from_the_bottom_up};

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        edges.iter().map(|(from, to)| ((*from).into(), to.iter().map(|to| (*to).into()).collect())).collect()
    }

    fn found(edges: &[(&str, &[&str])]) -> Vec<String> {
        cycles(&graph(edges)).iter().map(|cycle| cycle.join(" ")).collect()
    }

    #[test]
    fn one_cycle_is_reported_for_each_edge_that_has_to_go() {
        // Both ways around go through a -> b.
        assert_eq!(found(&[("a", &["b"]), ("b", &["c", "a"]), ("c", &["a"]), ("d", &["a"])]), ["a b"]);
        assert_eq!(found(&[("a", &["b"]), ("b", &["a"]), ("c", &["d"]), ("d", &["c"])]).len(), 2);
    }

    #[test]
    fn a_graph_without_cycles_has_an_order() {
        let graph = graph(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert!(cycles(&graph).is_empty());
        assert_eq!(from_the_bottom_up(&graph), ["c", "b", "a"]);
    }
}
