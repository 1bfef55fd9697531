//! The Node object: registered once, when the kubelet starts, and its status.
//!
//! The status is compared every ten seconds and written when it differs from what the API server has, or after five minutes (kubelet:
//! nodeStatusUpdateFrequency, nodeStatusReportFrequency). Fields of others (taints, annotations, `unschedulable`, conditions) are kept. A Node that somebody
//! deletes stays away until the kubelet starts again (kubelet_node_status.go, registrationCompleted). The Lease is [`super::lease`]'s.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bellhop::env::Env;
use bellhop_core::time::Instant;
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::NodeConfig;
use crate::nodes;
use crate::request::{Failure, RETRY, answer};

/// How often the status is compared (nodeStatusUpdateFrequency).
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// How long an unchanged status may stay unwritten.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How often that is tried (nodeStatusUpdateRetry).
const TRIES: usize = 5;

/// The version that nodes show, that of the API types in use.
pub(crate) const KUBELET_VERSION: &str = "v1.33.5";

/// Runs until it is asked to stop.
pub(super) async fn run(env: Env, config: Rc<NodeConfig>) -> anyhow::Result<()> {
    let shutdown = env.shutdown.clone();
    let mut kubelet = Heartbeat { env, config, reported: None };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = kubelet.go_on() => Ok(()),
    }
}

struct Heartbeat {
    env: Env,
    config: Rc<NodeConfig>,
    /// When the status was written last, by this process.
    reported: Option<Instant>,
}

impl Heartbeat {
    async fn go_on(&mut self) {
        let mut known = Some(self.registered().await);
        loop {
            for _ in 0..TRIES {
                match self.report(known.take()).await {
                    Ok(()) => break,
                    Err(failure) => tracing::debug!(node.name = %self.config.name, %failure, "the kubelet could not report"),
                }
            }
            self.pause(COMPARE_EVERY).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        self.env.clock.sleep_until(self.env.clock.now() + pause).await;
    }

    /// The Node object, made if it is not there: once in a kubelet's life.
    async fn registered(&self) -> Node {
        loop {
            match self.register().await {
                Ok(node) => return node,
                Err(failure) => tracing::debug!(node.name = %self.config.name, %failure, "the kubelet could not register"),
            }
            self.pause(RETRY).await;
        }
    }

    async fn register(&self) -> Result<Node, Failure> {
        match answer(&self.env, self.nodes().create(&PostParams::default(), &new_node(&self.config))).await {
            Ok(made) => {
                tracing::info!(node.name = %self.config.name, "registered");
                Ok(made)
            }
            Err(failure) if failure.is(409) => answer(&self.env, self.nodes().get(self.config.name.as_str())).await,
            Err(failure) => Err(failure),
        }
    }

    async fn report(&mut self, known: Option<Node>) -> Result<(), Failure> {
        let name = self.config.name.as_str();
        let node = match known {
            Some(node) => node,
            None => answer(&self.env, self.nodes().get(name)).await?,
        };
        let now = self.env.clock.now();
        let status = status(&self.config, &node, self.env.clock.wall());
        let fresh = self.reported.is_some_and(|at| now - at < REPORT_EVERY);
        if fresh && says_the_same(&status, node.status.as_ref()) {
            return Ok(());
        }
        // A patch, as the kubelet sends it: it refuses no reader that lags, and leaves the conditions of others as they are.
        let patch = Patch::Strategic(status_patch(&status));
        answer(&self.env, self.nodes().patch_status(name, &PatchParams::default(), &patch)).await?;
        self.reported = Some(now);
        Ok(())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.env.client.clone())
    }
}

/// The patch of a status. Addresses are merged by their type, so that of two InternalIPs one would be lost: the list is replaced
/// (`fixupPatchForNodeStatusAddresses` of component-helpers).
fn status_patch(status: &NodeStatus) -> serde_json::Value {
    let mut patch = json!({ "status": status });
    if let Some(addresses) = patch["status"]["addresses"].as_array_mut() {
        addresses.push(json!({ "$patch": "replace" }));
    }
    patch
}

/// Whether what we would report is there already, but for the times of heartbeats and what others have added (nodeStatusHasChanged).
fn says_the_same(ours: &NodeStatus, there: Option<&NodeStatus>) -> bool {
    let bare = |status: &NodeStatus| {
        let is_ours = |condition: &&NodeCondition| ours.conditions.iter().flatten().any(|our| our.type_ == condition.type_);
        let without_time = |condition: &NodeCondition| NodeCondition { last_heartbeat_time: None, ..condition.clone() };
        let conditions = status.conditions.iter().flatten().filter(is_ours).map(without_time).collect();
        NodeStatus { conditions: Some(conditions), ..status.clone() }
    };
    there.is_some_and(|there| bare(there) == bare(ours))
}

fn new_node(config: &NodeConfig) -> Node {
    let name = config.name.as_str();
    let well_known = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let mut labels = config.labels.clone();
    labels.extend(well_known.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    let pod_cidr = config.pod_cidr.to_string();
    let spec = NodeSpec {
        pod_cidr: Some(pod_cidr.clone()),
        pod_cidrs: Some([Some(pod_cidr), config.ipv6.map(|ipv6| ipv6.pod_cidr.to_string())].into_iter().flatten().collect()),
        taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
        ..NodeSpec::default()
    };
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    Node { metadata, spec: Some(spec), status: None }
}

fn status(config: &NodeConfig, node: &Node, now: jiff::Timestamp) -> NodeStatus {
    let old = node.status.clone().unwrap_or_default();
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let resources = [("cpu", "4"), ("memory", "8Gi"), ("pods", "110")];
    let resources: BTreeMap<_, _> = resources.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect();
    NodeStatus {
        addresses: Some(
            config.ips().map(|ip| address("InternalIP", ip.to_string())).chain([address("Hostname", config.name.to_string())]).collect(),
        ),
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        conditions: Some(conditions(node, now)),
        node_info: Some(system_info(config)),
        ..old
    }
}

fn conditions(node: &Node, now: jiff::Timestamp) -> Vec<NodeCondition> {
    let words = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let before = nodes::condition(node, kind).filter(|before| before.status == status);
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: before.map_or(Some(Time(now)), |before| before.last_transition_time.clone()),
        }
    };
    words.into_iter().map(condition).collect()
}

/// What `kubectl get nodes -o wide` shows of the system. Fixed: what differs from machine to machine would differ from run to run.
fn system_info(config: &NodeConfig) -> NodeSystemInfo {
    let words = |text: &str| text.to_owned();
    NodeSystemInfo {
        architecture: words("amd64"),
        boot_id: String::new(),
        container_runtime_version: words("containerd://2.0.6"),
        kernel_version: words("6.1.0-38-amd64"),
        kube_proxy_version: String::new(),
        kubelet_version: words(KUBELET_VERSION),
        machine_id: config.name.to_string(),
        operating_system: words("linux"),
        os_image: words("Debian GNU/Linux 12 (bookworm)"),
        system_uuid: config.name.to_string(),
        ..NodeSystemInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_the_same_again_but_for_its_heartbeat() {
        let config = NodeConfig::worker("a", [192, 168, 0, 3].into(), 1);
        let mut node = new_node(&config);
        node.status = Some(status(&config, &node, jiff::Timestamp::UNIX_EPOCH));
        let later = status(&config, &node, jiff::Timestamp::MAX);
        let transitions = |status: &NodeStatus| {
            status.conditions.iter().flatten().map(|condition| condition.last_transition_time.clone()).collect::<Vec<_>>()
        };
        assert_eq!(transitions(&later), transitions(node.status.as_ref().expect("just set")));
        assert!(nodes::is_ready(&node));
        assert!(says_the_same(&later, node.status.as_ref()));
    }

    #[test]
    fn a_status_that_somebody_edited_is_not_the_same_and_one_with_a_foreign_condition_is() {
        let config = NodeConfig::worker("a", [192, 168, 0, 3].into(), 1);
        let mut node = new_node(&config);
        node.status = Some(status(&config, &node, jiff::Timestamp::UNIX_EPOCH));
        let there = node.status.get_or_insert_default();
        there.conditions.get_or_insert_default().push(NodeCondition { type_: "NetworkUnavailable".to_owned(), ..NodeCondition::default() });
        let says = |node: &Node| says_the_same(&status(&config, node, jiff::Timestamp::MAX), node.status.as_ref());
        assert!(says(&node));
        node.status.get_or_insert_default().addresses = None;
        assert!(!says(&node));
    }
}
