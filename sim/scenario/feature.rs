//! What a scenario's topology asks for beyond the tutorial's plain LAN, so that every world names what it lacks in the same words.

use ipnet::IpNet;

use crate::scenario::{Stack, Topology};

/// What a world may lack of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Switches with a table of a certain size.
    TableSize,
    /// Switches that limit broadcasts.
    StormLimit,
    /// Switches that inspect ARP.
    InspectArp,
    /// Cables between switches that are named.
    Uplinks,
    /// Machines between segments.
    Router,
    /// Machines that have a gateway.
    Gateway,
    /// Addresses of IPv6.
    Ipv6,
    /// Neighbor tables other than Linux'.
    Stack(Stack),
    /// Nodes with labels of their own.
    Labels,
}

impl Topology {
    /// What is beyond a world that has only the tutorial's kind of LAN: switches that learn, machines with one IPv4 address and no gateway,
    /// a neighbor table as Linux has it. One phrase each, for [`crate::Unplayable`]; a world takes out what it can do.
    pub fn beyond_plain(&self) -> Vec<(Feature, String)> {
        let mut beyond = Vec::new();
        for (name, switch) in &self.switches {
            let mut add = |feature, present: bool, what: &str| {
                if present {
                    beyond.push((feature, format!("switch {name}: {what}")));
                }
            };
            add(Feature::TableSize, switch.table_size.is_some(), "table-size");
            add(Feature::StormLimit, switch.storm_limit.is_some(), "storm-limit");
            add(Feature::InspectArp, switch.inspect_arp, "inspect-arp");
        }
        if !self.named_uplinks.is_empty() {
            beyond.push((Feature::Uplinks, "uplinks".to_owned()));
        }
        beyond.extend(self.routers.keys().map(|name| (Feature::Router, format!("router {name}"))));
        let clients = self.clients.iter().map(|(name, client)| (name, client.gateway, client.ip, client.ipv6, client.stack));
        let nodes = self.nodes.iter().flat_map(|(name, node)| node.nics.values().map(move |nic| (name, node.gateway, nic)));
        let nodes = nodes.map(|(name, gateway, nic)| (name, gateway, nic.ip, nic.ipv6, Stack::Linux));
        for (name, gateway, ip, ipv6, stack) in nodes.chain(clients) {
            if gateway.is_some() {
                beyond.push((Feature::Gateway, format!("{name}: gateway")));
            }
            if let Some(ip) = ipv6.map(IpNet::V6).or_else(|| matches!(ip, IpNet::V6(_)).then_some(ip)) {
                beyond.push((Feature::Ipv6, format!("{name}: the IPv6 address {ip}")));
            }
            if stack != Stack::Linux {
                beyond.push((Feature::Stack(stack), format!("{name}: a neighbor table as that of {stack:?}")));
            }
        }
        let labelled = self.nodes.iter().filter(|(_, node)| !node.labels.is_empty());
        beyond.extend(labelled.map(|(name, _)| (Feature::Labels, format!("{name}: labels"))));
        beyond.dedup();
        beyond
    }
}
