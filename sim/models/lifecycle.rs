//! The node lifecycle controller: what the cluster believes of a node that no longer reports.
//!
//! A node whose Lease has not been renewed for the grace period becomes Unknown, is tainted, and its pods become unready; pods that do not tolerate
//! that for longer are deleted. All of it is undone, apart from deleted pods, when the kubelet reports again. Renewal is judged by change on our own clock,
//! never by the times in the objects. After an outage of the API server every node gets a whole grace period: silence was not its fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellhop::env::Env;
use bellhop_core::time::Instant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::cached::{Cached, key};
use crate::kubelet::LEASE_NAMESPACE;
use crate::request::{Failure, answer, delete_pod, unless_stale};
use crate::{nodes, pods};

/// What the controller goes by.
#[derive(Clone, Debug)]
pub struct LifecycleConfig {
    /// Silence after which a node is Unknown: `--node-monitor-grace-period`, 50 s since Kubernetes 1.32.
    pub grace_period: Duration,
    /// How often nodes are looked at: `--node-monitor-period`.
    pub monitor_period: Duration,
    /// How long pods that say nothing stay on an unreachable node: the admission plugin DefaultTolerationSeconds writes 300 s into each.
    pub default_toleration: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { grace_period: seconds(50), monitor_period: seconds(5), default_toleration: seconds(300) }
    }
}

/// The taint on a node that no longer reports.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// How long a node must be missing before its pods are. Our watch of nodes may lag behind that of pods (podgc, quarantineTime).
const QUARANTINE: Duration = Duration::from_secs(40);

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env, config: LifecycleConfig) -> anyhow::Result<()> {
    let mut model = Lifecycle {
        nodes: Cached::new(&env, "nodes", Api::all(env.client.clone())),
        leases: Cached::new(&env, "leases", Api::namespaced(env.client.clone(), LEASE_NAMESPACE)),
        pods: Cached::new(&env, "pods", Api::all(env.client.clone())),
        seen: BTreeMap::new(),
        silent_since: BTreeMap::new(),
        missing: BTreeMap::new(),
        lists: 0,
        config,
        env,
    };
    let mut tick = model.env.clock.now();
    loop {
        let mut looked = false;
        tokio::select! {
            biased;
            () = model.env.shutdown.cancelled() => return Ok(()),
            () = model.nodes.changed() => {}
            () = model.leases.changed() => {}
            () = model.pods.changed() => {}
            () = model.env.clock.sleep_until(tick) => looked = true,
        }
        model.nodes.drain();
        model.leases.drain();
        model.pods.drain();
        model.observe();
        if looked {
            tick = model.env.clock.now() + model.config.monitor_period;
        }
        if looked
            && model.synced()
            && let Err(failure) = model.pass().await
        {
            tracing::debug!(%failure, "the node lifecycle controller tries again");
        }
    }
}

struct Lifecycle {
    env: Env,
    config: LifecycleConfig,
    nodes: Cached<Node>,
    leases: Cached<Lease>,
    pods: Cached<Pod>,
    /// By node: the last sign of life, and when we saw it first.
    seen: BTreeMap<String, (Sign, Instant)>,
    /// By node: since when it is unreachable, on our clock. For evictions.
    silent_since: BTreeMap<String, Instant>,
    /// By node that pods name and that is no object: since when.
    missing: BTreeMap<String, Instant>,
    /// Lists of Leases so far.
    lists: u64,
}

/// What changes when a kubelet reports: the Lease's time, and the heartbeat of the condition Ready.
type Sign = (Option<MicroTime>, Option<Time>);

impl Lifecycle {
    /// Whether we hear of every kubelet that reports.
    fn synced(&self) -> bool {
        let synced = self.nodes.synced() && self.leases.synced() && self.pods.synced();
        synced && !self.nodes.away() && !self.leases.away()
    }

    /// Notes each node's sign of life and when it last changed.
    fn observe(&mut self) {
        let now = self.env.clock.now();
        let relisted = std::mem::replace(&mut self.lists, self.leases.lists()) != self.leases.lists();
        for node in self.nodes.iter() {
            let name = node.name_any();
            let lease = self.leases.get(&(LEASE_NAMESPACE.to_owned(), name.clone()));
            let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
            // Our own word "Unknown" is no sign of life.
            let heartbeat = nodes::condition(node, "Ready")
                .filter(|ready| ready.status != "Unknown")
                .and_then(|ready| ready.last_heartbeat_time.clone());
            let sign = (renewed, heartbeat);
            match self.seen.get_mut(&name) {
                Some((known, at)) if *known != sign => {
                    let alive = sign.0 != known.0 || sign.1.is_some();
                    *known = sign;
                    if alive {
                        *at = now;
                    }
                }
                Some((_, at)) if relisted && nodes::is_ready(node) => *at = now,
                Some(_) => {}
                None => {
                    self.seen.insert(name, (sign, now));
                }
            }
        }
        self.seen.retain(|name, _| self.nodes.get(&(String::new(), name.clone())).is_some());
    }

    async fn pass(&mut self) -> Result<(), Failure> {
        let nodes: Vec<Node> = self.nodes.iter().cloned().collect();
        for node in &nodes {
            let name = node.name_any();
            let now = self.env.clock.now();
            let last = self.seen.get(&name).map_or(now, |(_, at)| *at);
            if now - last > self.config.grace_period && nodes::condition(node, "Ready").is_none_or(|ready| ready.status != "Unknown") {
                self.declare_unknown(node).await?;
            }
            self.taint(&key(node)).await?;
            let silent = self.nodes.get(&key(node)).is_some_and(is_unknown);
            if silent {
                self.silent_since.entry(name.clone()).or_insert(now);
                self.mark_pods_not_ready(&name).await?;
                self.evict(&name).await?;
            } else {
                self.silent_since.remove(&name);
            }
        }
        self.collect_orphans().await
    }

    async fn declare_unknown(&mut self, node: &Node) -> Result<(), Failure> {
        tracing::info!(node.name = node.name_any(), "the kubelet stopped posting node status");
        let mut unknown = node.clone();
        for condition in unknown.status.get_or_insert_default().conditions.get_or_insert_default() {
            *condition = unknown_condition(condition, self.env.clock.wall());
        }
        let api: Api<Node> = Api::all(self.env.client.clone());
        if let Some(node) = unless_stale(answer(&self.env, api.replace_status(&node.name_any(), &PostParams::default(), &unknown)).await)? {
            self.nodes.wrote(node);
        }
        Ok(())
    }

    /// Puts the taints for an unreachable node on or takes them off.
    async fn taint(&mut self, slot: &crate::cached::Key) -> Result<(), Failure> {
        let Some(node) = self.nodes.get(slot) else { return Ok(()) };
        let taints = taints(node, self.env.clock.wall());
        if taints == nodes::taints(node) {
            return Ok(());
        }
        let mut tainted = node.clone();
        tainted.spec.get_or_insert_default().taints = Some(taints).filter(|taints| !taints.is_empty());
        let api: Api<Node> = Api::all(self.env.client.clone());
        if let Some(node) = unless_stale(answer(&self.env, api.replace(&slot.1, &PostParams::default(), &tainted)).await)? {
            self.nodes.wrote(node);
        }
        Ok(())
    }

    async fn mark_pods_not_ready(&mut self, node: &str) -> Result<(), Failure> {
        let ready: Vec<Pod> = self.pods.iter().filter(|pod| pods::node(pod) == Some(node) && pods::is_ready(pod)).cloned().collect();
        for pod in ready {
            let conditions = not_ready(&pod, self.env.clock.wall());
            let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &pod.namespace().unwrap_or_default());
            let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
            if let Some(pod) = unless_stale(answer(&self.env, api.patch_status(&pod.name_any(), &PatchParams::default(), &patch)).await)? {
                self.pods.wrote(pod);
            }
        }
        Ok(())
    }

    async fn evict(&mut self, node: &str) -> Result<(), Failure> {
        let Some(since) = self.silent_since.get(node) else { return Ok(()) };
        let silence = self.env.clock.now() - *since;
        let due = |pod: &&Pod| {
            let patience = patience(pod, self.config.default_toleration);
            pods::node(pod) == Some(node) && !pods::is_terminating(pod) && patience.is_some_and(|patience| silence >= patience)
        };
        let due: Vec<Pod> = self.pods.iter().filter(due).cloned().collect();
        for pod in &due {
            delete_pod(&self.env, &mut self.pods, pod, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Pods of nodes that are no more have no kubelet that could end them (k8s.io/kubernetes, podgc).
    async fn collect_orphans(&mut self) -> Result<(), Failure> {
        let now = self.env.clock.now();
        let is_missing = |node: &str| self.nodes.get(&(String::new(), node.to_owned())).is_none();
        let missing: BTreeSet<String> =
            self.pods.iter().filter_map(pods::node).filter(|node| is_missing(node)).map(str::to_owned).collect();
        self.missing.retain(|node, _| missing.contains(node));
        for node in missing {
            self.missing.entry(node).or_insert(now);
        }
        let is_orphan =
            |pod: &&Pod| pods::node(pod).and_then(|node| self.missing.get(node)).is_some_and(|since| now - *since >= QUARANTINE);
        let orphans: Vec<Pod> = self.pods.iter().filter(is_orphan).cloned().collect();
        for pod in &orphans {
            delete_pod(&self.env, &mut self.pods, pod, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }
}

fn is_unknown(node: &Node) -> bool {
    nodes::condition(node, "Ready").is_some_and(|ready| ready.status == "Unknown")
}

fn unknown_condition(condition: &NodeCondition, now: jiff::Timestamp) -> NodeCondition {
    // NetworkUnavailable is the network's word, not the kubelet's.
    if condition.status == "Unknown" || condition.type_ == "NetworkUnavailable" {
        return condition.clone();
    }
    NodeCondition {
        status: "Unknown".to_owned(),
        reason: Some("NodeStatusUnknown".to_owned()),
        message: Some("Kubelet stopped posting node status.".to_owned()),
        last_transition_time: Some(Time(now)),
        ..condition.clone()
    }
}

/// The taints that a node should have: its own, and ours while it is unreachable.
fn taints(node: &Node, now: jiff::Timestamp) -> Vec<Taint> {
    let unknown = is_unknown(node);
    let mut taints: Vec<Taint> = nodes::taints(node).iter().filter(|taint| unknown || taint.key != UNREACHABLE).cloned().collect();
    for effect in ["NoSchedule", "NoExecute"] {
        if unknown && !taints.iter().any(|taint| taint.key == UNREACHABLE && taint.effect == effect) {
            taints.push(Taint { key: UNREACHABLE.to_owned(), effect: effect.to_owned(), time_added: Some(Time(now)), value: None });
        }
    }
    taints
}

/// The conditions of a pod whose node is silent: as they were, and not ready.
fn not_ready(pod: &Pod, now: jiff::Timestamp) -> Vec<PodCondition> {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.reason = Some("NodeNotReady".to_owned());
        condition.message = Some("Node is not ready".to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    conditions
}

/// How long a pod stays on an unreachable node; `None` is for ever.
fn patience(pod: &Pod, default: Duration) -> Option<Duration> {
    let taint = Taint { key: UNREACHABLE.to_owned(), effect: "NoExecute".to_owned(), ..Taint::default() };
    let tolerations = pods::spec(pod).and_then(|spec| spec.tolerations.as_deref());
    match nodes::toleration(tolerations, &taint) {
        Some(toleration) => toleration.toleration_seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        None => Some(default),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Toleration;

    use super::*;
    use crate::testing::{node, pod};

    fn silent() -> Node {
        let mut silent = node("a");
        let conditions = silent.status.get_or_insert_default().conditions.get_or_insert_default();
        *conditions = conditions.iter().map(|condition| unknown_condition(condition, jiff::Timestamp::UNIX_EPOCH)).collect();
        silent
    }

    #[test]
    fn a_silent_node_is_tainted_twice_and_cleaned_when_it_reports() {
        let mut node = silent();
        let effects = |node: &Node| nodes::taints(node).iter().map(|taint| taint.effect.clone()).collect::<Vec<_>>();
        node.spec.get_or_insert_default().taints = Some(taints(&node, jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(effects(&node), ["NoSchedule", "NoExecute"]);
        assert_eq!(taints(&node, jiff::Timestamp::MAX), nodes::taints(&node));
        node.status = crate::testing::node("a").status;
        assert_eq!(taints(&node, jiff::Timestamp::UNIX_EPOCH), []);
    }

    #[test]
    fn the_words_for_a_silent_node_are_those_of_kubernetes() {
        let ready = nodes::condition(&silent(), "Ready").cloned().expect("built with one");
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("Unknown", Some("NodeStatusUnknown")));
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let default = Duration::from_secs(300);
        let mut web = pod("p").build();
        assert_eq!(patience(&web, default), Some(default));
        let toleration = |seconds| Toleration {
            key: Some(UNREACHABLE.into()),
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        web.spec.get_or_insert_default().tolerations = Some(vec![toleration(Some(20))]);
        assert_eq!(patience(&web, default), Some(Duration::from_secs(20)));
        web.spec.get_or_insert_default().tolerations = Some(vec![toleration(None)]);
        assert_eq!(patience(&web, default), None);
    }
}
