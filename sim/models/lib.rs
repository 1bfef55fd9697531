//! What Kubernetes does around Bellhop, as small programs that use the API as the real ones do.
//!
//! [`run_control_plane`] is what a cluster has once, [`run_node`] what every node has; both take [`bellhop::env::Env`] and are one future each, so
//! they run in the simulator's virtual time and beside the HTTP server alike. They know no network: pods are run by a [`PodRunner`], rules go to a
//! [`RuleSink`]. The simulator implements the two with its stacks; [`run_netns_node`] does with the real kernel.

mod cached;
mod control_plane;
mod endpoints;
mod kubelet;
mod lifecycle;
mod netns;
mod node;
mod nodes;
mod part;
mod pods;
mod proxy;
mod request;
mod runner;
mod scheduler;
mod seed;
#[cfg(test)]
mod testing;
mod workloads;

pub use control_plane::{ControlPlaneConfig, run_control_plane};
pub use kubelet::{NodeConfig, NodeIpv6};
pub use lifecycle::LifecycleConfig;
pub use netns::responder::run_pod;
pub use netns::{InvalidPeer, NetnsConfig, NodeKernel, Peer, PodNamespaces, run_netns_node};
pub use node::run_node;
pub use runner::{
    ContainerToRun, EndpointRule, PodRunner, PodToRun, PortRule, Protocol, ProxyMode, RuleSink, RunError, ServiceRule, ServiceRules,
    TrafficPolicy,
};
pub use scheduler::Places;
pub use seed::{ClusterConfig, seed_cluster, seed_when_reachable};
