//! kube-proxy's rules in nft's language.
//!
//! Pure: rules in, one script out that replaces our table in one transaction. A Service's traffic is sent to a random endpoint; under Cluster it leaves with the
//! node's address, under Local with the client's. Without an endpoint it is refused under Cluster and dropped under Local, as kube-proxy does.
//! IPv4 only.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::runner::{EndpointRule, PortRule, Protocol, ServiceRule, ServiceRules, TrafficPolicy};

/// Our table. Nothing outside it is touched.
pub(super) const TABLE: &str = "ip bellhop_proxy";

/// The bit that says "leave with the node's address"; kube-proxy's own (`masqueradeBit` 14).
const MASQUERADE: &str = "0x4000";

/// A script for `nft -f -`.
pub(super) fn script(rules: &ServiceRules, node: Ipv4Addr, cluster_cidr: Ipv4Net) -> String {
    let mut chains = Chains { cluster_cidr, ..Chains::default() };
    for service in &rules.services {
        for port in &service.ports {
            chains.port(service, port);
        }
    }
    let Chains { nat, nowhere, output, .. } = chains;
    format!(
        "table {TABLE}
delete table {TABLE}
table {TABLE} {{
	chain nowhere {{
		type filter hook prerouting priority mangle; policy accept;
{nowhere}	}}
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
{nat}	}}
	chain output {{
		type nat hook output priority -100; policy accept;
{output}	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		meta mark and {MASQUERADE} == {MASQUERADE} snat to {node}
	}}
}}
"
    )
}

#[derive(Default)]
struct Chains {
    cluster_cidr: Ipv4Net,
    nat: String,
    nowhere: String,
    output: String,
}

impl Chains {
    fn port(&mut self, service: &ServiceRule, port: &PortRule) {
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let external = targets(&port.external(service.policy));
        let internal = targets(&port.internal());
        let inside = format!("ip saddr {}", self.cluster_cidr);
        if let Some(IpAddr::V4(cluster_ip)) = service.cluster_ip {
            let matching = format!("ip daddr {cluster_ip} {protocol} dport {}", port.port);
            self.inside(&matching, &internal);
            line(&mut self.output, &send(&matching, &internal, true));
        }
        let addresses =
            service.external_ips.iter().filter(|ip| ip.is_ipv4()).map(|ip| format!("ip daddr {ip} {protocol} dport {}", port.port));
        let node_port = port.node_port.map(|number| format!("fib daddr type local {protocol} dport {number}"));
        for matching in addresses.chain(node_port) {
            // From within the cluster, the address is a short cut to every endpoint, under Local too.
            self.inside(&format!("{inside} {matching}"), &internal);
            self.outside(&format!("ip saddr != {} {matching}", self.cluster_cidr), service.policy, &external);
            line(&mut self.output, &send(&matching, &internal, true));
        }
    }

    /// Traffic of pods.
    fn inside(&mut self, matching: &str, targets: &[String]) {
        if targets.is_empty() {
            line(&mut self.nowhere, &format!("ct state new {matching} reject with icmp type port-unreachable"));
        } else {
            line(&mut self.nat, &send(matching, targets, true));
        }
    }

    /// Traffic that came from outside the cluster.
    fn outside(&mut self, matching: &str, policy: TrafficPolicy, targets: &[String]) {
        let cluster = policy == TrafficPolicy::Cluster;
        if targets.is_empty() {
            let verdict = if cluster { "reject with icmp type port-unreachable" } else { "drop" };
            line(&mut self.nowhere, &format!("ct state new {matching} {verdict}"));
        } else {
            line(&mut self.nat, &send(matching, targets, cluster));
        }
    }
}

fn line(chain: &mut String, rule: &str) {
    if !rule.is_empty() {
        // Writing into a String does not fail.
        let _ = writeln!(chain, "\t\t{rule}");
    }
}

/// `address . port` of the endpoints.
fn targets(endpoints: &[&EndpointRule]) -> Vec<String> {
    endpoints.iter().filter(|endpoint| endpoint.ip.is_ipv4()).map(|endpoint| format!("{} . {}", endpoint.ip, endpoint.port)).collect()
}

/// The rule that sends what matches to one of the targets; none without targets.
fn send(matching: &str, targets: &[String], masquerade: bool) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mark = if masquerade { format!("meta mark set meta mark or {MASQUERADE} ") } else { String::new() };
    let map: Vec<String> = targets.iter().enumerate().map(|(index, target)| format!("{index} : {target}")).collect();
    format!("{matching} {mark}dnat ip to numgen random mod {} map {{ {} }}", targets.len(), map.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use bellhop_core::name::ServiceKey;

    use super::*;
    use crate::runner::ProxyMode;

    /// Service 192.168.0.91:80 of the tutorial, with an endpoint here and one elsewhere.
    pub(in crate::netns) fn rules(policy: TrafficPolicy, local: Ipv4Addr, remote: Option<Ipv4Addr>) -> ServiceRules {
        let endpoint = |ip: Ipv4Addr, local| EndpointRule {
            ip: ip.into(),
            port: 8080,
            node: None,
            local,
            ready: true,
            serving: true,
            terminating: false,
        };
        let endpoints = std::iter::once(endpoint(local, true)).chain(remote.map(|ip| endpoint(ip, false))).collect();
        let port = PortRule { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080), endpoints };
        let service = ServiceRule {
            service: ServiceKey::new("default", "web"),
            cluster_ip: Some([10, 96, 0, 10].into()),
            external_ips: vec![[192, 168, 0, 91].into()],
            policy,
            ports: vec![port],
        };
        ServiceRules { mode: ProxyMode::Ipvs { strict_arp: true }, services: vec![service] }
    }

    fn written(rules: &ServiceRules) -> String {
        script(rules, [192, 168, 0, 3].into(), Ipv4Net::new_assert([10, 233, 0, 0].into(), 16))
    }

    #[test]
    fn cluster_sends_to_every_endpoint_with_the_nodes_address() {
        insta::assert_snapshot!(written(&rules(TrafficPolicy::Cluster, [10, 233, 1, 2].into(), Some([10, 233, 2, 2].into()))));
    }

    #[test]
    fn local_sends_to_this_nodes_endpoint_with_the_clients_address() {
        insta::assert_snapshot!(written(&rules(TrafficPolicy::Local, [10, 233, 1, 2].into(), Some([10, 233, 2, 2].into()))));
    }

    #[test]
    fn local_without_an_endpoint_here_is_dropped_and_cluster_is_refused() {
        let mut rules = rules(TrafficPolicy::Local, [10, 233, 1, 2].into(), None);
        rules.services[0].ports[0].endpoints[0].local = false;
        assert!(written(&rules).contains("ip daddr 192.168.0.91 tcp dport 80 drop"));
        rules.services[0].policy = TrafficPolicy::Cluster;
        rules.services[0].ports[0].endpoints.clear();
        assert!(written(&rules).contains("ip daddr 192.168.0.91 tcp dport 80 reject"));
    }
}
