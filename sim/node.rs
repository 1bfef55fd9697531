//! A node of the simulator: pods become stacks of the fabric, kube-proxy's rules its rules.
//!
//! Translation only. What pods and rules there are is decided in `bellhop-models`, what they do to packets in `bellhop-fabric`.

use std::net::SocketAddr;
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
        for address in pod.ips() {
            let config = PodConfig { name: pod.name.clone(), address, port: pod.http_port() };
            self.lan.fabric.borrow_mut().start_pod(self.machine, config);
        }
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
        cluster_ips: rule.cluster_ips.clone(),
        external_ips: rule.external_ips.clone(),
        policy: match rule.policy {
            TrafficPolicy::Cluster => fabric::TrafficPolicy::Cluster,
            TrafficPolicy::Local => fabric::TrafficPolicy::Local,
        },
        // The fabric speaks TCP only so far.
        ports: rule.ports.iter().filter(|port| port.protocol == bellhop_models::Protocol::Tcp).map(port).collect(),
    }
}

fn port(rule: &PortRule) -> fabric::PortRules {
    let endpoints = rule.endpoints.iter().map(|endpoint| fabric::Endpoint {
        target: SocketAddr::new(endpoint.ip, endpoint.port),
        local: endpoint.local,
        ready: endpoint.ready,
        serving: endpoint.serving,
    });
    fabric::PortRules { port: rule.port, node_port: rule.node_port, endpoints: endpoints.collect() }
}
