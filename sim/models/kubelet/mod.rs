//! The kubelet of one node: it registers the node, keeps it alive, and runs the pods bound to it.
//!
//! [`heartbeat`], [`lease`] and [`pod_loop`] do the reading and writing side by side, so that a slow pod write delays no heartbeat and a refused status
//! no Lease; [`runs`] decides about pods and [`status`] words them, both pure. What a pod is made of is the [`PodRunner`]'s business.

mod heartbeat;
mod lease;
mod pod_loop;
mod runs;
mod status;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use bellhop::env::Env;
use bellhop_core::name::NodeName;
use ipnet::{Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Taint;

use crate::part::part;
use crate::runner::PodRunner;

pub(crate) use heartbeat::KUBELET_VERSION;
pub(crate) use pod_loop::Running;

/// The namespace of the kubelets' Leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What a node knows of itself.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, which is its hostname too.
    pub name: NodeName,
    /// Its InternalIP.
    pub ip: Ipv4Addr,
    /// The subnet of its pods: `spec.podCIDR`. The first address is the bridge's.
    pub pod_cidr: Ipv4Net,
    /// Its second InternalIP and its pods' second subnet, on a dual-stack cluster.
    pub ipv6: Option<NodeIpv6>,
    /// Labels beyond the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints at registration.
    pub taints: Vec<Taint>,
    /// How long a container takes to become ready.
    pub start_delay: Duration,
    /// How long a container takes to end after SIGTERM, at most the pod's grace period. A `preStop` sleep comes before it.
    pub stop_delay: Duration,
}

/// What a node of a dual-stack cluster has of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIpv6 {
    /// Its InternalIP.
    pub ip: Ipv6Addr,
    /// The subnet of its pods. A pod has the same place in it as in that of IPv4.
    pub pod_cidr: Ipv6Net,
}

impl NodeConfig {
    /// A worker with the pod subnet 10.233.`index`.0/24.
    pub fn worker(name: impl Into<NodeName>, ip: Ipv4Addr, index: u8) -> Self {
        Self {
            name: name.into(),
            ip,
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 233, index, 0), 24),
            ipv6: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            start_delay: Duration::from_millis(500),
            stop_delay: Duration::ZERO,
        }
    }

    /// Its InternalIPs, that of IPv4 first.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.ip.into()), self.ipv6.map(|ipv6| ipv6.ip.into())].into_iter().flatten()
    }

    /// A control plane as kubeadm marks it, without the label that keeps it from carrying load balancer traffic: the tutorial's has none.
    pub fn control_plane(name: impl Into<NodeName>, ip: Ipv4Addr, index: u8) -> Self {
        const ROLE: &str = "node-role.kubernetes.io/control-plane";
        let taint = Taint { key: ROLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        Self { labels: BTreeMap::from([(ROLE.to_owned(), String::new())]), taints: vec![taint], ..Self::worker(name, ip, index) }
    }
}

/// Runs until it is asked to stop. Pods go on running then, as they do under a kubelet that is restarted.
pub(crate) async fn run(env: Env, config: Rc<NodeConfig>, runner: Rc<dyn PodRunner>, running: Rc<Running>) -> anyhow::Result<()> {
    let heartbeat = heartbeat::run(part(&env, "heartbeat"), config.clone());
    let lease = lease::run(part(&env, "lease"), config.clone());
    let pods = pod_loop::run(part(&env, "pods"), config, runner, running);
    tokio::try_join!(biased; heartbeat, lease, pods)?;
    Ok(())
}
