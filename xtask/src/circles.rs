// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Circles of files: each of them leads back to itself.

use std::collections::{BTreeMap, BTreeSet};

/// The sets of at least two nodes, each of which leads to all others of its set.
pub fn circles<T: Ord + Copy>(edges: &BTreeMap<T, BTreeSet<T>>) -> Vec<BTreeSet<T>> {
    let ahead: BTreeMap<T, BTreeSet<T>> = edges
        .keys()
        .map(|&from| (from, reachable(edges, from)))
        .collect();
    let mut found: Vec<BTreeSet<T>> = Vec::new();
    for (&node, nodes) in &ahead {
        if nodes.contains(&node) && !found.iter().any(|circle| circle.contains(&node)) {
            let back = |other: &T| ahead.get(other).is_some_and(|nodes| nodes.contains(&node));
            found.push(nodes.iter().copied().filter(back).collect());
        }
    }
    found
}

/// What can be reached from a node in one step or more.
fn reachable<T: Ord + Copy>(edges: &BTreeMap<T, BTreeSet<T>>, from: T) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for &to in edges.get(&node).into_iter().flatten() {
            if seen.insert(to) {
                next.push(to);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_circle() {
        let pairs = [
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("c", "d"),
            ("d", "e"),
            ("e", "d"),
            ("f", "a"),
        ];
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry(from).or_default().insert(to);
        }
        let found = circles(&edges);
        assert_eq!(
            found,
            [BTreeSet::from(["a", "b", "c"]), BTreeSet::from(["d", "e"])]
        );
    }

    #[test]
    fn a_tree_has_none() {
        let edges = BTreeMap::from([(1, BTreeSet::from([2, 3])), (2, BTreeSet::from([3]))]);
        assert!(circles(&edges).is_empty());
    }
}
