//! Circles in a directed graph.

use std::collections::{BTreeMap, BTreeSet};

/// The strongly connected components of more than one node: sets in which each node is reached from each other one.
///
/// A node is in the same component as those that it reaches and that reach it. The graphs have some hundred nodes, so that a
/// search from each is fast enough.
pub fn circles<N: Copy + Ord>(edges: &BTreeMap<N, BTreeSet<N>>) -> Vec<BTreeSet<N>> {
    let reached: BTreeMap<N, BTreeSet<N>> = edges
        .keys()
        .map(|&node| (node, reached_from(node, edges)))
        .collect();
    let mut circles = Vec::new();
    let mut seen: BTreeSet<N> = BTreeSet::new();
    for (&node, below) in &reached {
        if seen.contains(&node) || !below.contains(&node) {
            continue;
        }
        let circle: BTreeSet<N> = below
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(&node)))
            .collect();
        seen.extend(&circle);
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

/// The nodes at the end of a path of at least one edge from this one.
fn reached_from<N: Copy + Ord>(node: N, edges: &BTreeMap<N, BTreeSet<N>>) -> BTreeSet<N> {
    let mut reached = BTreeSet::new();
    let mut open = vec![node];
    while let Some(next) = open.pop() {
        for &other in edges.get(&next).into_iter().flatten() {
            if reached.insert(other) {
                open.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(edges: &[(u32, &[u32])]) -> Vec<Vec<u32>> {
        let edges = edges
            .iter()
            .map(|(node, to)| (*node, to.iter().copied().collect()));
        circles(&edges.collect())
            .into_iter()
            .map(|circle| circle.into_iter().collect())
            .collect()
    }

    #[test]
    fn a_graph_without_a_circle_has_none() {
        assert!(circles_of(&[(1, &[2, 3]), (2, &[3]), (3, &[])]).is_empty());
        assert!(
            circles_of(&[(1, &[1])]).is_empty(),
            "a node that names itself is no circle of several"
        );
    }

    #[test]
    fn each_circle_is_found_without_what_only_leads_to_it() {
        let edges: &[(u32, &[u32])] = &[
            (0, &[1]),
            (1, &[2]),
            (2, &[3]),
            (3, &[1, 4]),
            (4, &[5]),
            (5, &[4, 6]),
            (6, &[]),
        ];
        assert_eq!(circles_of(edges), [vec![1, 2, 3], vec![4, 5]]);
    }
}
