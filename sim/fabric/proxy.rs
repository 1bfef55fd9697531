//! What kube-proxy programs into a node's kernel, as a plain value, and which endpoint a new connection goes to.
//!
//! It knows no packets and no time: [`crate::conntrack`] asks it once per connection. Sources: kube-proxy's iptables and ipvs proxiers,
//! "Virtual IPs and Service Proxies" of the Kubernetes documentation.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;

use crate::random::below;

/// All that kube-proxy knows, for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyRules {
    /// Its mode.
    pub mode: ProxyMode,
    /// All Services.
    pub services: Vec<ServiceRules>,
}

/// kube-proxy's mode, as its ConfigMap said when it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// Rules only: the node does not have the addresses, so it answers neither ARP nor ping for them.
    #[default]
    Iptables,
    /// Every Service address is on the device kube-ipvs0.
    Ipvs {
        /// Sets arp_ignore=1 and arp_announce=2. kube-proxy never sets them back: a machine forgets them at power-off only.
        strict_arp: bool,
    },
}

/// One Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// `namespace/name`.
    pub name: String,
    /// Its cluster IP; a headless one has none.
    pub cluster_ips: Vec<IpAddr>,
    /// Its load balancer's addresses.
    pub external_ips: Vec<IpAddr>,
    /// externalTrafficPolicy.
    pub policy: TrafficPolicy,
    /// Its TCP ports.
    pub ports: Vec<PortRules>,
}

/// externalTrafficPolicy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any endpoint; the client's address is masqueraded.
    #[default]
    Cluster,
    /// Only the node's own endpoints; the client's address is kept.
    Local,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRules {
    /// The Service's port.
    pub port: u16,
    /// The same on every node's own addresses.
    pub node_port: Option<u16>,
    /// Where it goes.
    pub endpoints: Vec<Endpoint>,
}

/// One pod behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's address and the port it listens on.
    pub target: SocketAddr,
    /// Whether the pod is on this node.
    pub local: bool,
    /// EndpointSlice condition `ready`.
    pub ready: bool,
    /// EndpointSlice condition `serving`: a terminating pod that still serves is used when none is ready.
    pub serving: bool,
}

/// Where a connection came from, which decides what policy and masquerade mean to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From outside, through a NIC.
    Outside,
    /// From a pod of this node.
    Pod,
    /// From the node itself.
    Node,
}

/// What is to be done with a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To no Service.
    NotOurs,
    /// To this endpoint; with the node's address as its source, if so.
    To { target: SocketAddr, masquerade: bool },
    /// The policy leaves no endpoint: the packet is dropped.
    Drop,
    /// The Service has no endpoint anywhere: "port unreachable".
    Reject,
}

/// Rules made ready for looking up.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    /// The value that was given.
    rules: ProxyRules,
    /// By destination: the indexes of Service and port, and whether the address is external.
    by_destination: BTreeMap<(IpAddr, u16), (usize, usize, bool)>,
    /// By node port.
    by_node_port: BTreeMap<u16, (usize, usize)>,
    /// ipvs: the next endpoint of a destination, in turn.
    turns: BTreeMap<(IpAddr, u16), usize>,
}

impl Proxy {
    /// Rules made ready. Where two Services claim one destination, the first in the list has it.
    pub(crate) fn new(rules: ProxyRules) -> Self {
        let mut proxy = Self { rules: ProxyRules::default(), ..Self::default() };
        for (service_index, service) in rules.services.iter().enumerate() {
            for (port_index, port) in service.ports.iter().enumerate() {
                let internal = service.cluster_ips.iter().map(|address| (address, false));
                let external = service.external_ips.iter().map(|address| (address, true));
                for (address, is_external) in internal.chain(external) {
                    proxy.by_destination.entry((*address, port.port)).or_insert((service_index, port_index, is_external));
                }
                if let Some(node_port) = port.node_port {
                    proxy.by_node_port.entry(node_port).or_insert((service_index, port_index));
                }
            }
        }
        proxy.rules = rules;
        proxy
    }

    /// The mode.
    pub(crate) fn mode(&self) -> ProxyMode {
        self.rules.mode
    }

    /// All addresses of Services.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.rules.services.iter().flat_map(|service| service.cluster_ips.iter().chain(&service.external_ips).copied())
    }

    /// Whether an address is a Service's.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        // Ports are the second part of the key: the first one at or after (address, 0) tells.
        self.by_destination.range((address, 0)..=(address, u16::MAX)).next().is_some()
    }

    /// Where a new connection to `destination` goes: at random with iptables, in turn with ipvs.
    pub(crate) fn choose(&mut self, destination: SocketAddr, to_node: bool, origin: Origin, rng: &mut ChaCha8Rng) -> Choice {
        let key = (destination.ip(), destination.port());
        let by_node_port = || to_node.then(|| self.by_node_port.get(&destination.port())).flatten().map(|(s, p)| (*s, *p, true));
        let Some((service, port, external)) = self.by_destination.get(&key).copied().or_else(by_node_port) else {
            return Choice::NotOurs;
        };
        let service = &self.rules.services[service];
        // What starts inside the cluster sees every endpoint, whatever the external policy (kube-proxy, KUBE-EXT chains).
        let local_only = external && service.policy == TrafficPolicy::Local && origin == Origin::Outside;
        // A connection stays in its family: kube-proxy has a proxier for each.
        let same_family = |endpoint: &&Endpoint| endpoint.target.is_ipv4() == destination.is_ipv4();
        let all: Vec<Endpoint> = service.ports[port].endpoints.iter().filter(same_family).copied().collect();
        let usable = usable(&all, local_only);
        if usable.is_empty() {
            let exists_elsewhere = local_only && all.iter().any(|endpoint| endpoint.ready || endpoint.serving);
            return if exists_elsewhere { Choice::Drop } else { Choice::Reject };
        }
        let index = match self.rules.mode {
            ProxyMode::Iptables => usize::try_from(below(rng, usable.len() as u64)).unwrap_or(0),
            ProxyMode::Ipvs { .. } => {
                let turn = self.turns.entry(key).or_insert(0);
                let index = *turn % usable.len();
                *turn = index + 1;
                index
            }
        };
        let endpoint = usable[index % usable.len()];
        let masquerade = match origin {
            Origin::Outside => !local_only,
            Origin::Pod => false,
            Origin::Node => true,
        };
        Choice::To { target: endpoint.target, masquerade }
    }

    /// Hands over what outlives a change of the rules: whose turn it is.
    pub(crate) fn keep_turns_of(&mut self, older: &mut Self) {
        self.turns = std::mem::take(&mut older.turns);
        let Self { turns, by_destination, .. } = self;
        turns.retain(|key, _| by_destination.contains_key(key));
    }
}

/// Ready endpoints, or, where there is none, those that end but still serve (KEP-1669).
fn usable(all: &[Endpoint], local_only: bool) -> Vec<Endpoint> {
    let within = || all.iter().copied().filter(move |endpoint| endpoint.local || !local_only);
    let ready: Vec<_> = within().filter(|endpoint| endpoint.ready).collect();
    if ready.is_empty() { within().filter(|endpoint| endpoint.serving).collect() } else { ready }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::random::stream;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 91));

    fn endpoint(last: u8, local: bool) -> Endpoint {
        Endpoint { target: SocketAddr::from(([10, 233, 1, last], 8080)), local, ready: true, serving: true }
    }

    fn choices(mode: ProxyMode, policy: TrafficPolicy, endpoints: Vec<Endpoint>, origin: Origin) -> Vec<Choice> {
        let ports = vec![PortRules { port: 80, node_port: None, endpoints }];
        let service = ServiceRules { name: "default/web".to_owned(), cluster_ips: Vec::new(), external_ips: vec![VIP], policy, ports };
        let mut proxy = Proxy::new(ProxyRules { mode, services: vec![service] });
        let mut rng = stream(1, "node");
        (0..4).map(|_| proxy.choose(SocketAddr::new(VIP, 80), false, origin, &mut rng)).collect()
    }

    #[test]
    fn ipvs_takes_the_endpoints_in_turn_and_masquerades_under_cluster() {
        let endpoints = vec![endpoint(1, true), endpoint(2, false)];
        let to = |last| Choice::To { target: endpoint(last, true).target, masquerade: true };
        let got = choices(ProxyMode::Ipvs { strict_arp: true }, TrafficPolicy::Cluster, endpoints, Origin::Outside);
        assert_eq!(got, [to(1), to(2), to(1), to(2)]);
    }

    #[test]
    fn local_takes_only_the_nodes_own_endpoints_and_keeps_the_client() {
        let endpoints = vec![endpoint(1, false), endpoint(2, true)];
        let got = choices(ProxyMode::Iptables, TrafficPolicy::Local, endpoints, Origin::Outside);
        assert!(got.iter().all(|choice| *choice == Choice::To { target: endpoint(2, true).target, masquerade: false }));
    }

    #[test]
    fn local_without_an_endpoint_here_drops_and_without_any_rejects() {
        let elsewhere = choices(ProxyMode::Iptables, TrafficPolicy::Local, vec![endpoint(1, false)], Origin::Outside);
        assert_eq!(elsewhere[0], Choice::Drop);
        assert_eq!(choices(ProxyMode::Iptables, TrafficPolicy::Local, Vec::new(), Origin::Outside)[0], Choice::Reject);
        let inside = choices(ProxyMode::Iptables, TrafficPolicy::Local, vec![endpoint(1, false)], Origin::Node);
        assert!(matches!(inside[0], Choice::To { .. }));
    }

    #[test]
    fn a_terminating_endpoint_serves_when_none_is_ready() {
        let ending = Endpoint { ready: false, ..endpoint(1, true) };
        assert_eq!(usable(&[ending, endpoint(2, true)], true), [endpoint(2, true)]);
        assert_eq!(usable(&[ending], true), [ending]);
    }
}
