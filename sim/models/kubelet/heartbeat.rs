//! A node's signs of life: the Node object and its Lease.
//!
//! The Lease is renewed every ten seconds. The status is compared as often and written when it differs, or after five minutes
//! (kubelet: nodeStatusUpdateFrequency, nodeStatusReportFrequency). Fields of others (taints, annotations, `unschedulable`) are kept.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bellhop::env::Env;
use bellhop_core::time::Instant;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::{LEASE_NAMESPACE, NodeConfig};
use crate::nodes;
use crate::request::{Failure, RETRY, answer};

/// A quarter of the Lease's duration (kubelet: nodeLeaseRenewIntervalFraction).
const RENEW_EVERY: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// How long an unchanged status may stay unwritten.
const REPORT_EVERY: Duration = Duration::from_secs(300);

/// The version that nodes show, that of the API types in use.
pub(crate) const KUBELET_VERSION: &str = "v1.33.5";

/// Runs until it is asked to stop.
pub(super) async fn run(env: Env, config: Rc<NodeConfig>) -> anyhow::Result<()> {
    let mut kubelet = Heartbeat { env, config, reported: None };
    loop {
        let pause = match kubelet.beat().await {
            Ok(()) => RENEW_EVERY,
            Err(failure) => {
                tracing::debug!(node.name = %kubelet.config.name, %failure, "the kubelet could not report");
                RETRY
            }
        };
        tokio::select! {
            biased;
            () = kubelet.env.shutdown.cancelled() => return Ok(()),
            () = kubelet.env.clock.sleep_until(kubelet.env.clock.now() + pause) => {}
        }
    }
}

struct Heartbeat {
    env: Env,
    config: Rc<NodeConfig>,
    /// When the status was written last, by this process.
    reported: Option<Instant>,
}

impl Heartbeat {
    async fn beat(&mut self) -> Result<(), Failure> {
        let node = self.registered().await?;
        self.report(node.clone()).await?;
        self.renew(&node).await
    }

    /// The Node object, made if it is not there.
    async fn registered(&self) -> Result<Node, Failure> {
        let api: Api<Node> = Api::all(self.env.client.clone());
        if let Some(node) = answer(&self.env, api.get_opt(self.config.name.as_str())).await? {
            return Ok(node);
        }
        let made = answer(&self.env, api.create(&PostParams::default(), &new_node(&self.config))).await?;
        tracing::info!(node.name = %self.config.name, "registered");
        Ok(made)
    }

    async fn report(&mut self, mut node: Node) -> Result<(), Failure> {
        let now = self.env.clock.now();
        let healthy = nodes::is_ready(&node);
        let fresh = self.reported.is_some_and(|at| now - at < REPORT_EVERY);
        if healthy && fresh {
            return Ok(());
        }
        node.status = Some(status(&self.config, &node, self.env.clock.wall()));
        let api: Api<Node> = Api::all(self.env.client.clone());
        answer(&self.env, api.replace_status(self.config.name.as_str(), &PostParams::default(), &node)).await?;
        self.reported = Some(now);
        Ok(())
    }

    async fn renew(&self, node: &Node) -> Result<(), Failure> {
        let api: Api<Lease> = Api::namespaced(self.env.client.clone(), LEASE_NAMESPACE);
        let name = self.config.name.as_str();
        let renew_time = Some(MicroTime(self.env.clock.wall()));
        if let Some(mut lease) = answer(&self.env, api.get_opt(name)).await? {
            lease.spec.get_or_insert_default().renew_time = renew_time;
            answer(&self.env, api.replace(name, &PostParams::default(), &lease)).await?;
            return Ok(());
        }
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.to_owned(),
            uid: node.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time,
            ..LeaseSpec::default()
        };
        answer(&self.env, api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) })).await?;
        Ok(())
    }
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
        pod_cidrs: Some(vec![pod_cidr]),
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
        addresses: Some(vec![address("InternalIP", config.ip.to_string()), address("Hostname", config.name.to_string())]),
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
    }
}
