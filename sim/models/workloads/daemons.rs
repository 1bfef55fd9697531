//! Which node needs a pod of a DaemonSet, and which pod is in the way.
//!
//! Pure: a DaemonSet, its pods and the nodes, in; what to create and what to delete, out. Every node counts that the template tolerates and
//! selects; one that is not Ready or is cordoned counts too, for daemons tolerate that.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Toleration};
use kube::ResourceExt;

use super::rollout::{share, template_hash};
use crate::nodes;
use crate::pods;

/// The label by which a pod of the current template is told from older ones.
pub(crate) const TEMPLATE_GENERATION: &str = "controller-revision-hash";

/// What to do about the pods of a DaemonSet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Nodes that need a pod.
    pub(crate) create: Vec<String>,
    /// Pods that go.
    pub(crate) delete: Vec<String>,
}

/// Compares the pods of a DaemonSet with the nodes.
pub(crate) fn decide(set: &DaemonSet, pods: &[&Pod], nodes: &[&Node]) -> Changes {
    let mut changes = Changes::default();
    let wanted = wanted(set, nodes);
    let by_node = by_node(pods);
    for (node, pods) in &by_node {
        let active = pods.iter().filter(|pod| pods::is_active(pod));
        let surplus = if wanted.contains(&node.as_str()) { active.skip(1).collect::<Vec<_>>() } else { active.collect() };
        let finished = pods.iter().filter(|pod| pods::is_finished(pod) && !pods::is_terminating(pod));
        changes.delete.extend(surplus.into_iter().chain(finished).map(|pod| pod.name_any()));
    }
    // The new pod of a node comes when the old one is gone: both would want the same ports of the host.
    changes.create = wanted.iter().filter(|node| !by_node.contains_key(**node)).map(|node| (*node).to_owned()).collect();
    changes.delete.extend(outdated(set, pods, wanted.len()));
    changes
}

/// The nodes that should have a pod.
pub(crate) fn wanted<'a>(set: &DaemonSet, nodes: &[&'a Node]) -> Vec<&'a str> {
    let Some(spec) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return Vec::new() };
    let mut spec = spec.clone();
    tolerate(&mut spec);
    let eligible = |node: &&&Node| nodes::selects(spec.node_selector.as_ref(), node) && nodes::tolerates(spec.tolerations.as_deref(), node);
    nodes.iter().filter(eligible).filter_map(|node| node.metadata.name.as_deref()).collect()
}

/// Adds what every daemon tolerates (k8s.io/kubernetes, AddOrUpdateDaemonPodTolerations).
pub(crate) fn tolerate(spec: &mut PodSpec) {
    let tolerations = spec.tolerations.get_or_insert_default();
    let daemons = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    for (key, effect) in daemons {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Pods by node, each node's in the order of their names.
fn by_node<'a>(pods: &[&'a Pod]) -> BTreeMap<String, Vec<&'a Pod>> {
    let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        if let Some(node) = pods::node(pod) {
            by_node.entry(node.to_owned()).or_default().push(pod);
        }
    }
    by_node
}

/// Whether a pod is of the current template.
pub(crate) fn is_current(set: &DaemonSet, pod: &Pod) -> bool {
    let hash = set.spec.as_ref().map(|spec| template_hash(&spec.template));
    pod.labels().get(TEMPLATE_GENERATION) == hash.as_ref()
}

/// The pods of older templates that may go now: as many as `maxUnavailable` (one by default) leaves.
fn outdated(set: &DaemonSet, pods: &[&Pod], wanted: usize) -> Vec<String> {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete")) {
        return Vec::new();
    }
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let most = strategy
        .and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.as_ref())
        .map_or(1, |most| share(most, wanted, true));
    let active: Vec<&&Pod> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
    let ready = i32::try_from(active.iter().filter(|pod| pods::is_ready(pod)).count()).unwrap_or(i32::MAX);
    let mut old: Vec<&&Pod> = active.into_iter().filter(|pod| !is_current(set, pod)).collect();
    // One that serves nobody costs nothing.
    old.sort_by_key(|pod| (pods::is_ready(pod), pod.name_any()));
    let idle = old.iter().filter(|pod| !pods::is_ready(pod)).count();
    let spare = usize::try_from((ready - (wanted - most)).max(0)).unwrap_or(0);
    old.iter().take(idle + spare).map(|pod| pod.name_any()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{daemon_set, node, pod};

    fn current(set: &DaemonSet, name: &str, on: &str) -> Pod {
        let hash = template_hash(&set.spec.as_ref().expect("built with one").template);
        pod(name).on(on).ready().label(TEMPLATE_GENERATION, &hash).build()
    }

    #[test]
    fn every_node_gets_one_pod_even_when_it_is_cordoned() {
        let (mut a, b) = (node("a"), node("b"));
        a.spec.get_or_insert_default().unschedulable = Some(true);
        let set = daemon_set("kube-proxy");
        let there = current(&set, "p1", "b");
        assert_eq!(decide(&set, &[&there], &[&a, &b]), Changes { create: vec!["a".into()], delete: vec![] });
    }

    #[test]
    fn a_new_template_replaces_one_pod_at_a_time() {
        let set = daemon_set("kube-proxy");
        let (a, b) = (node("a"), node("b"));
        let (old_a, old_b) = (pod("pa").on("a").ready().build(), pod("pb").on("b").ready().build());
        assert_eq!(decide(&set, &[&old_a, &old_b], &[&a, &b]).delete, ["pa"]);
        let leaving = pod("pa").on("a").ready().terminating().build();
        assert_eq!(decide(&set, &[&leaving, &old_b], &[&a, &b]), Changes::default());
        assert_eq!(decide(&set, &[&current(&set, "pc", "a"), &old_b], &[&a, &b]).delete, ["pb"]);
    }

    #[test]
    fn the_pod_of_a_node_that_is_no_more_goes() {
        let set = daemon_set("kube-proxy");
        let stray = current(&set, "p1", "gone");
        assert_eq!(decide(&set, &[&stray], &[]).delete, ["p1"]);
    }
}
