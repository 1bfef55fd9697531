//! Which node carries an address.
//!
//! Candidates are the nodes that may; of these the one that carries least is taken, ties drawn from the seed. A choice that is still a candidate
//! stays, whatever else came back: nothing is rebalanced by itself. How a node is reached on the wire is not known here.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::name::NodeName;
use crate::object::{Endpoint, Node, TrafficPolicy};

/// The nodes that may carry an address, or why there are none to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Nothing would answer behind the address, wherever its traffic goes.
    NoEndpoint,
    /// These; may be empty.
    Nodes(BTreeSet<NodeName>),
}

/// Who may carry the address of a Service with this policy and these endpoints.
///
/// A node must be Ready, staying, and not labelled `node.kubernetes.io/exclude-from-external-load-balancers` (unless `ignore_exclude_label`). Under
/// [`TrafficPolicy::Local`] it must run a ready endpoint; if none is ready anywhere, one that is serving while it ends (as kube-proxy does,
/// KEP-1669). Under [`TrafficPolicy::Cluster`] some endpoint must be there, anywhere.
pub fn candidates<'a>(
    policy: TrafficPolicy,
    nodes: &BTreeMap<NodeName, Node>,
    endpoints: impl Iterator<Item = &'a Endpoint> + Clone,
    ignore_exclude_label: bool,
) -> Candidates {
    let ready = || endpoints.clone().filter(|endpoint| endpoint.ready && !endpoint.terminating);
    let serving = || endpoints.clone().filter(|endpoint| endpoint.serving && endpoint.terminating);
    let any_ready = ready().next().is_some();
    if !any_ready && serving().next().is_none() {
        return Candidates::NoEndpoint;
    }
    let eligible = |node: &&Node| node.ready && !node.deleting && (ignore_exclude_label || !node.excluded);
    let with_endpoint: BTreeSet<&NodeName> = if any_ready {
        ready().filter_map(|each| each.node.as_ref()).collect()
    } else {
        serving().filter_map(|each| each.node.as_ref()).collect()
    };
    let fits = |node: &&Node| eligible(node) && (policy == TrafficPolicy::Cluster || with_endpoint.contains(&node.name));
    Candidates::Nodes(nodes.values().filter(fits).map(|node| node.name.clone()).collect())
}

/// The node to carry an address: `current` while it is a candidate, else one of those that carry least.
pub fn choose(
    candidates: &BTreeSet<NodeName>,
    current: Option<&NodeName>,
    load: &BTreeMap<NodeName, usize>,
    rng: &mut ChaCha8Rng,
) -> Option<NodeName> {
    if let Some(current) = current.filter(|current| candidates.contains(*current)) {
        return Some(current.clone());
    }
    let carried = |node: &NodeName| load.get(node).copied().unwrap_or(0);
    let least = candidates.iter().map(carried).min()?;
    let equals: Vec<&NodeName> = candidates.iter().filter(|node| carried(node) == least).collect();
    Some(equals[rng.random_range(0..equals.len())].clone())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn node(name: &str) -> Node {
        Node { name: name.into(), ready: true, deleting: false, excluded: false, addresses: Vec::new(), layer2_address: None }
    }

    fn nodes(nodes: impl IntoIterator<Item = Node>) -> BTreeMap<NodeName, Node> {
        nodes.into_iter().map(|node| (node.name.clone(), node)).collect()
    }

    fn endpoint(node: &str) -> Endpoint {
        Endpoint { node: Some(node.into()), ready: true, serving: true, terminating: false }
    }

    fn ending(node: &str) -> Endpoint {
        Endpoint { ready: false, terminating: true, ..endpoint(node) }
    }

    fn three() -> BTreeMap<NodeName, Node> {
        nodes(["a", "b", "c"].map(node))
    }

    fn named(names: &[&str]) -> Candidates {
        Candidates::Nodes(names.iter().map(|name| NodeName::from(*name)).collect())
    }

    #[test]
    fn cluster_takes_every_ready_node() {
        let down = Node { ready: false, ..node("b") };
        let leaving = Node { deleting: true, ..node("c") };
        let endpoints = [endpoint("z")];
        let all = nodes([node("a"), down, leaving]);
        assert_eq!(candidates(TrafficPolicy::Cluster, &all, endpoints.iter(), false), named(&["a"]));
    }

    #[test]
    fn local_takes_ready_nodes_with_a_ready_endpoint() {
        let endpoints = [endpoint("a"), Endpoint { ready: false, serving: false, ..endpoint("b") }];
        assert_eq!(candidates(TrafficPolicy::Local, &three(), endpoints.iter(), false), named(&["a"]));
    }

    #[test]
    fn local_falls_back_to_an_endpoint_that_serves_while_it_ends() {
        assert_eq!(candidates(TrafficPolicy::Local, &three(), [ending("b")].iter(), false), named(&["b"]));
        let both = [ending("b"), endpoint("c")];
        assert_eq!(candidates(TrafficPolicy::Local, &three(), both.iter(), false), named(&["c"]));
    }

    #[test]
    fn without_any_endpoint_there_is_nothing_to_carry_under_either_policy() {
        for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
            assert_eq!(candidates(policy, &three(), [].iter(), false), Candidates::NoEndpoint);
        }
    }

    #[test]
    fn an_endpoint_without_a_node_counts_for_cluster_and_not_for_local() {
        let hand_made = [Endpoint { node: None, ..endpoint("-") }];
        assert_eq!(candidates(TrafficPolicy::Cluster, &three(), hand_made.iter(), false), named(&["a", "b", "c"]));
        assert_eq!(candidates(TrafficPolicy::Local, &three(), hand_made.iter(), false), named(&[]));
    }

    #[test]
    fn the_exclude_label_is_honored_unless_told_otherwise() {
        let all = nodes([node("a"), Node { excluded: true, ..node("b") }]);
        assert_eq!(candidates(TrafficPolicy::Cluster, &all, [endpoint("a")].iter(), false), named(&["a"]));
        assert_eq!(candidates(TrafficPolicy::Cluster, &all, [endpoint("a")].iter(), true), named(&["a", "b"]));
    }

    fn names(names: &[&str]) -> BTreeSet<NodeName> {
        names.iter().map(|name| NodeName::from(*name)).collect()
    }

    #[test]
    fn a_current_node_stays_however_loaded_it_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let load = BTreeMap::from([("a".into(), 100)]);
        assert_eq!(choose(&names(&["a", "b"]), Some(&"a".into()), &load, &mut rng), Some("a".into()));
    }

    #[test]
    fn of_several_the_one_that_carries_least_is_taken() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let load = BTreeMap::from([("a".into(), 2), ("b".into(), 1), ("c".into(), 3)]);
        assert_eq!(choose(&names(&["a", "b", "c"]), Some(&"gone".into()), &load, &mut rng), Some("b".into()));
        assert_eq!(choose(&names(&[]), None, &load, &mut rng), None);
    }

    #[test]
    fn ties_are_drawn_from_the_seed_and_reach_every_candidate() {
        let drawn = |seed| choose(&names(&["a", "b", "c"]), None, &BTreeMap::new(), &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(drawn(5), drawn(5));
        let all: BTreeSet<_> = (0..64).filter_map(drawn).collect();
        assert_eq!(all, names(&["a", "b", "c"]));
    }
}
