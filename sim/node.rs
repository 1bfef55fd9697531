//! A node of the simulator: pods become stacks of the fabric, kube-proxy's rules its rules.
//!
//! Translation only. What pods and rules there are is decided in `bellhop-models`, what they do to packets in `bellhop-fabric`.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use bellhop::env::LocalFuture;
use bellhop_fabric as fabric;
use bellhop_fabric::{MachineId, PodConfig};
use bellhop_models::{PodRunner, PodToRun, PortRule, ProxyMode, RuleSink, RunError, ServiceRule, ServiceRules, TrafficPolicy};

use crate::lan::Lan;
use crate::probes::Probes;

/// The kernel of one node.
pub(crate) struct SimulatedNode {
    /// The LAN that it is on.
    pub(crate) lan: Rc<Lan>,
    /// The machine.
    pub(crate) machine: MachineId,
    /// What its pods' readiness probes find.
    pub(crate) probes: Probes,
}

impl PodRunner for SimulatedNode {
    fn start(&self, pod: &PodToRun) -> Result<(), RunError> {
        if pod.host_network {
            return Ok(());
        }
        let address = v4(pod.ip).ok_or_else(|| RunError(format!("{} is not an IPv4 address", pod.ip)))?;
        let config = PodConfig { name: pod.name.clone(), address, port: pod.http_port() };
        self.lan.fabric.borrow_mut().start_pod(self.machine, config);
        Ok(())
    }

    fn stop(&self, pod: &PodToRun) {
        if !pod.host_network {
            self.lan.fabric.borrow_mut().stop_pod(self.machine, &pod.name);
        }
    }

    fn is_ready(&self, pod: &PodToRun) -> bool {
        self.probes.succeed(pod)
    }

    fn readiness_changed(&self) -> LocalFuture<'_> {
        self.probes.changed()
    }
}

impl RuleSink for SimulatedNode {
    fn apply(&self, rules: &ServiceRules) -> Result<(), RunError> {
        let mode = match rules.mode {
            ProxyMode::Ipvs { strict_arp } => fabric::ProxyMode::Ipvs { strict_arp },
            ProxyMode::Iptables => fabric::ProxyMode::Iptables,
        };
        let services = rules.services.iter().map(service).collect();
        self.lan.fabric.borrow_mut().apply_rules(self.machine, fabric::ProxyRules { mode, services });
        Ok(())
    }
}

fn service(rule: &ServiceRule) -> fabric::ServiceRules {
    fabric::ServiceRules {
        name: rule.service.to_string(),
        cluster_ip: rule.cluster_ip.and_then(v4),
        external_ips: rule.external_ips.iter().copied().filter_map(v4).collect(),
        policy: match rule.policy {
            TrafficPolicy::Cluster => fabric::TrafficPolicy::Cluster,
            TrafficPolicy::Local => fabric::TrafficPolicy::Local,
        },
        // The fabric speaks TCP only so far.
        ports: rule.ports.iter().filter(|port| port.protocol == bellhop_models::Protocol::Tcp).map(port).collect(),
    }
}

fn port(rule: &PortRule) -> fabric::PortRules {
    let endpoints = rule.endpoints.iter().filter_map(|endpoint| {
        let target = SocketAddrV4::new(v4(endpoint.ip)?, endpoint.port);
        Some(fabric::Endpoint { target, local: endpoint.local, ready: endpoint.ready, serving: endpoint.serving })
    });
    fabric::PortRules { port: rule.port, node_port: rule.node_port, endpoints: endpoints.collect() }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
