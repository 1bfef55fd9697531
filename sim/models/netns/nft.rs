//! kube-proxy's rules in nft's language.
//!
//! Pure: rules in, one script out that replaces our table in one transaction. A Service's traffic is sent to a random endpoint; under Cluster it leaves with the
//! node's address, under Local with the client's. Without an endpoint it is refused under Cluster and dropped under Local, as kube-proxy does.
//! One table for each family.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::runner::{EndpointRule, PortRule, Protocol, ServiceRule, ServiceRules, TrafficPolicy};

/// Our table, in each family. Nothing outside it is touched.
pub(super) const TABLE: &str = "bellhop_proxy";

/// The bit that says "leave with the node's address"; kube-proxy's own (`masqueradeBit` 14).
const MASQUERADE: &str = "0x4000";

/// A script for `nft -f -`: the rules of one family, which is the node's address's.
pub(super) fn script(rules: &ServiceRules, node: IpAddr, cluster_cidr: IpNet) -> String {
    let mut chains = Chains { cluster_cidr, family: if node.is_ipv4() { "ip" } else { "ip6" }, ..Chains::default() };
    let family = chains.family;
    for service in &rules.services {
        for port in &service.ports {
            chains.port(service, port);
        }
    }
    let Chains { nat, nowhere, output, .. } = chains;
    format!(
        "table {family} {TABLE}
delete table {family} {TABLE}
table {family} {TABLE} {{
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
    cluster_cidr: IpNet,
    /// As nft calls it.
    family: &'static str,
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
        let family = self.family;
        let is_ours = |ip: &&IpAddr| ip.is_ipv4() == (family == "ip");
        let targets = |endpoints: Vec<&EndpointRule>| -> Vec<String> {
            let ours = endpoints.into_iter().filter(|endpoint| is_ours(&&endpoint.ip));
            ours.map(|endpoint| format!("{} . {}", endpoint.ip, endpoint.port)).collect()
        };
        let external = targets(port.external(service.policy));
        let internal = targets(port.internal());
        let inside = format!("{family} saddr {}", self.cluster_cidr);
        for cluster_ip in service.cluster_ips.iter().filter(is_ours) {
            let matching = format!("{family} daddr {cluster_ip} {protocol} dport {}", port.port);
            self.inside(&matching, &internal);
            line(&mut self.output, &send(family, &matching, &internal, true));
        }
        let addresses = service.external_ips.iter().filter(is_ours).map(|ip| format!("{family} daddr {ip} {protocol} dport {}", port.port));
        let node_port = port.node_port.map(|number| format!("fib daddr type local {protocol} dport {number}"));
        for matching in addresses.chain(node_port) {
            // From within the cluster, the address is a short cut to every endpoint, under Local too.
            self.inside(&format!("{inside} {matching}"), &internal);
            self.outside(&format!("{family} saddr != {} {matching}", self.cluster_cidr), service.policy, &external);
            line(&mut self.output, &send(family, &matching, &internal, true));
        }
    }

    /// Traffic of pods.
    fn inside(&mut self, matching: &str, targets: &[String]) {
        if targets.is_empty() {
            let refused = self.refused();
            line(&mut self.nowhere, &format!("ct state new {matching} {refused}"));
        } else {
            line(&mut self.nat, &send(self.family, matching, targets, true));
        }
    }

    /// The verdict that tells a sender.
    fn refused(&self) -> &'static str {
        if self.family == "ip" { "reject with icmp type port-unreachable" } else { "reject with icmpv6 type port-unreachable" }
    }

    /// Traffic that came from outside the cluster.
    fn outside(&mut self, matching: &str, policy: TrafficPolicy, targets: &[String]) {
        let cluster = policy == TrafficPolicy::Cluster;
        if targets.is_empty() {
            let verdict = if cluster { self.refused() } else { "drop" };
            line(&mut self.nowhere, &format!("ct state new {matching} {verdict}"));
        } else {
            line(&mut self.nat, &send(self.family, matching, targets, cluster));
        }
    }
}

fn line(chain: &mut String, rule: &str) {
    if !rule.is_empty() {
        // Writing into a String does not fail.
        let _ = writeln!(chain, "\t\t{rule}");
    }
}

/// The rule that sends what matches to one of the targets; none without targets.
fn send(family: &str, matching: &str, targets: &[String], masquerade: bool) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mark = if masquerade { format!("meta mark set meta mark or {MASQUERADE} ") } else { String::new() };
    let map: Vec<String> = targets.iter().enumerate().map(|(index, target)| format!("{index} : {target}")).collect();
    format!("{matching} {mark}dnat {family} to numgen random mod {} map {{ {} }}", targets.len(), map.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use bellhop_core::name::ServiceKey;
    use ipnet::Ipv4Net;

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
            cluster_ips: vec![[10, 96, 0, 10].into()],
            external_ips: vec![[192, 168, 0, 91].into()],
            policy,
            ports: vec![port],
        };
        ServiceRules { mode: ProxyMode::Ipvs { strict_arp: true }, services: vec![service] }
    }

    fn written(rules: &ServiceRules) -> String {
        script(rules, [192, 168, 0, 3].into(), Ipv4Net::new_assert([10, 233, 0, 0].into(), 16).into())
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

    #[test]
    fn each_family_has_a_table_with_its_own_addresses_and_endpoints() {
        let mut rules = rules(TrafficPolicy::Cluster, [10, 233, 1, 2].into(), None);
        rules.services[0].external_ips.push("2001:db8::91".parse().expect("a literal"));
        let six = EndpointRule { ip: "fd00:10:233:1::2".parse().expect("a literal"), ..rules.services[0].ports[0].endpoints[0].clone() };
        rules.services[0].ports[0].endpoints.push(six);
        let script = script(&rules, "2001:db8::3".parse().expect("a literal"), "fd00:10:233::/48".parse().expect("a literal"));
        insta::assert_snapshot!(script);
        assert!(!written(&rules).contains("::"), "nothing of IPv6 is in the table of IPv4");
    }
}
