//! What a node asks of the world: run this pod, end that one; put these rules into the kernel.
//!
//! The simulator implements both with its stacks, `netns` with namespaces and nft. Neither trait knows Kubernetes' objects.

use std::net::{IpAddr, Ipv6Addr};

use bellhop::env::LocalFuture;
use bellhop_core::name::{NodeName, ServiceKey};

/// A pod as an operating system sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodToRun {
    /// The object's uid: two pods of one name, one after the other, are two.
    pub uid: String,
    /// The namespace.
    pub namespace: String,
    /// The name, which the pod answers with.
    pub name: String,
    /// Its address: of the node's pod subnet, or the node's own under `hostNetwork`.
    pub ip: IpAddr,
    /// Its second one, on a dual-stack node.
    pub ipv6: Option<Ipv6Addr>,
    /// Whether it shares the node's network. Nothing has to be set up then.
    pub host_network: bool,
    /// Its containers' images and TCP ports.
    pub containers: Vec<ContainerToRun>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerToRun {
    /// Its name.
    pub name: String,
    /// Its image, e.g. `luksa/kubia`.
    pub image: String,
    /// The TCP ports that it declares.
    pub ports: Vec<u16>,
}

impl PodToRun {
    /// Whether it is of this Deployment in namespace `default`: its pods are called after it, its ReplicaSet's hash and five letters of their own.
    pub fn is_of(&self, deployment: &str) -> bool {
        let mut parts = self.name.rsplitn(3, '-');
        let (_, _, owner) = (parts.next(), parts.next(), parts.next());
        self.namespace == "default" && owner == Some(deployment)
    }

    /// Its addresses, the first first.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.ip), self.ipv6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// The port that an HTTP responder of this pod listens on: the first declared one, or the 8080 of luksa/kubia.
    pub fn http_port(&self) -> u16 {
        self.containers.iter().flat_map(|container| &container.ports).copied().next().unwrap_or(8080)
    }
}

/// Runs pods. Both calls return at once, or after as long as it takes to start a process.
pub trait PodRunner {
    /// Starts a pod that is not running. An error becomes the reason why its container waits; it is tried again.
    fn start(&self, pod: &PodToRun) -> Result<(), RunError>;

    /// Ends a pod, whose address may be another's afterwards. Ending one that does not run is fine.
    fn stop(&self, pod: &PodToRun);

    /// Whether a running pod passes its readiness probe; what has none always does.
    fn is_ready(&self, _pod: &PodToRun) -> bool {
        true
    }

    /// Ends when [`PodRunner::is_ready`] may answer differently than at its last call. For one listener.
    fn readiness_changed(&self) -> LocalFuture<'_> {
        Box::pin(std::future::pending())
    }
}

/// Why a pod could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunError(pub String);

/// The kernel of a node, as far as kube-proxy programs it.
pub trait RuleSink {
    /// Puts these rules in place of the last ones. An error is tried again.
    fn apply(&self, rules: &ServiceRules) -> Result<(), RunError>;
}

/// Everything that kube-proxy has told the kernel of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// How the rules are put into the kernel.
    pub mode: ProxyMode,
    /// The Services, by key.
    pub services: Vec<ServiceRule>,
}

/// kube-proxy's mode, as its configuration says when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Service addresses are on the device `kube-ipvs0`.
    Ipvs {
        /// Whether the kernel is told `arp_ignore=1`, `arp_announce=2`, so that it does not answer ARP for those addresses.
        strict_arp: bool,
    },
    /// Rules on packets only; a Service's address is on no device. `nftables` counts as this.
    Iptables,
}

/// The rules for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRule {
    /// The Service.
    pub service: ServiceKey,
    /// Its cluster addresses, at most one of each family; headless Services have no rule.
    pub cluster_ips: Vec<IpAddr>,
    /// Load balancer addresses from the status, and `spec.externalIPs`, in ascending order.
    pub external_ips: Vec<IpAddr>,
    /// What external traffic may reach.
    pub policy: TrafficPolicy,
    /// Its ports, in the order of the spec.
    pub ports: Vec<PortRule>,
}

/// `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any endpoint; the client's address is replaced by the node's.
    Cluster,
    /// Endpoints on the same node; the client's address is kept.
    Local,
}

/// A layer 4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the Service's addresses.
    pub port: u16,
    /// The port at every node's own addresses.
    pub node_port: Option<u16>,
    /// All endpoints, by address.
    pub endpoints: Vec<EndpointRule>,
}

/// One endpoint of one port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointRule {
    /// The pod's address.
    pub ip: IpAddr,
    /// The port there.
    pub port: u16,
    /// The node that it runs on.
    pub node: Option<NodeName>,
    /// Whether that is the node of this kube-proxy.
    pub local: bool,
    /// Ready, and not going away.
    pub ready: bool,
    /// Able to answer, be it going away or not.
    pub serving: bool,
    /// Going away.
    pub terminating: bool,
}

impl PortRule {
    /// The endpoints that external traffic is sent to: ready ones; if there is none, those that still serve while they go away
    /// (KEP-1669). Under Local only this node's count. Empty means: dropped.
    pub fn external(&self, policy: TrafficPolicy) -> Vec<&EndpointRule> {
        self.usable(|endpoint| policy == TrafficPolicy::Cluster || endpoint.local)
    }

    /// The endpoints that traffic to the cluster address is sent to.
    pub fn internal(&self) -> Vec<&EndpointRule> {
        self.usable(|_| true)
    }

    fn usable(&self, eligible: impl Fn(&EndpointRule) -> bool) -> Vec<&EndpointRule> {
        let ready: Vec<&EndpointRule> = self.endpoints.iter().filter(|endpoint| eligible(endpoint) && endpoint.ready).collect();
        if !ready.is_empty() {
            return ready;
        }
        self.endpoints.iter().filter(|endpoint| eligible(endpoint) && endpoint.serving && endpoint.terminating).collect()
    }
}
