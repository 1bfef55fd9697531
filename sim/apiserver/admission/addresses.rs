//! Cluster IPs and node ports: which are taken, and which one a new Service gets.
//!
//! Real allocators draw at random; ours are repeatable so that transcripts are: cluster IPs count upwards, a node port follows from
//! the seed, the Service and the port, wherever the Service comes in the order of creation. Nothing is reserved before the Service is
//! stored: [`Addresses::note`] reads every stored change.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::Config;
use crate::object;
use crate::store::Change;

/// kube-apiserver's default `--service-node-port-range`.
pub(crate) const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// What Services hold.
pub(crate) struct Addresses {
    seed: u64,
    /// First address of the IPv4 service network and its prefix length.
    v4: (Ipv4Addr, u8),
    /// The IPv6 service network, when the cluster is dual-stack.
    v6: Option<(Ipv6Addr, u8)>,
    used: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Addresses {
    pub(crate) fn new(config: &Config) -> Self {
        Self { seed: config.seed, v4: config.service_cidr_v4, v6: config.service_cidr_v6, used: BTreeSet::new(), ports: BTreeSet::new() }
    }

    /// Whether the cluster has IPv6 Services.
    pub(crate) fn is_dual_stack(&self) -> bool {
        self.v6.is_some()
    }

    /// Reads a stored change of a Service.
    pub(crate) fn note(&mut self, change: &Change) {
        if change.resource.as_str() != "services" {
            return;
        }
        if let Some(before) = &change.before {
            for address in cluster_ips(before) {
                self.used.remove(&address);
            }
            for port in ports(before) {
                self.ports.remove(&port);
            }
        }
        if !change.deleted {
            self.used.extend(cluster_ips(&change.object));
            self.ports.extend(ports(&change.object));
        }
    }

    /// The lowest free cluster IP of a family; the first of each network is the `kubernetes` Service's.
    pub(crate) fn free_cluster_ip(&self, ipv6: bool) -> Option<IpAddr> {
        /// More than any simulated cluster's Services; bounds the search.
        const SEARCHED_MAX: u128 = 1 << 20;
        (1..SEARCHED_MAX)
            .map(|offset| self.nth(ipv6, offset))
            .take_while(Option::is_some)
            .flatten()
            .find(|address| !self.used.contains(address))
    }

    /// Whether an address that a user wrote is in a service network and free.
    pub(crate) fn refuse_cluster_ip(&self, address: IpAddr) -> Option<String> {
        if !self.contains(address) {
            return Some(format!("failed to allocate IP {address}: the provided network does not match the current range"));
        }
        self.used.contains(&address).then(|| format!("failed to allocate IP {address}: provided IP is already allocated"))
    }

    /// A free node port for a Service's port, `taken` being those given out within the same request.
    pub(crate) fn free_node_port(&self, what: &str, taken: &BTreeSet<u16>) -> Option<u16> {
        let size = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        let start = fnv1a(self.seed, what) % size;
        (0..size)
            .filter_map(|step| u16::try_from((start + step) % size).ok())
            .map(|offset| NODE_PORTS.start() + offset)
            .find(|port| !self.is_port_taken(*port) && !taken.contains(port))
    }

    /// Whether a node port is another Service's.
    pub(crate) fn is_port_taken(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    fn nth(&self, ipv6: bool, offset: u128) -> Option<IpAddr> {
        let address: IpAddr = if ipv6 {
            Ipv6Addr::from(u128::from(self.v6?.0).checked_add(offset)?).into()
        } else {
            Ipv4Addr::from(u32::from(self.v4.0).checked_add(u32::try_from(offset).ok()?)?).into()
        };
        self.contains(address).then_some(address)
    }

    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let shift = 32 - u32::from(self.v4.1.min(32));
                u32::from(address).checked_shr(shift) == u32::from(self.v4.0).checked_shr(shift)
            }
            IpAddr::V6(address) => self.v6.is_some_and(|(network, length)| {
                let shift = 128 - u32::from(length.min(128));
                u128::from(address).checked_shr(shift) == u128::from(network).checked_shr(shift)
            }),
        }
    }
}

fn cluster_ips(service: &Value) -> impl Iterator<Item = IpAddr> {
    object::list(service, &["spec", "clusterIPs"]).iter().filter_map(|address| address.as_str()?.parse().ok())
}

fn ports(service: &Value) -> impl Iterator<Item = u16> {
    let ports = object::list(service, &["spec", "ports"]).iter().filter_map(|port| object::number(port, &["nodePort"]));
    let health = object::number(service, &["spec", "healthCheckNodePort"]);
    ports.chain(health).filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// FNV-1a: a fixed, plain hash (parameters from the FNV specification), started from the seed.
fn fnv1a(seed: u64, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ports_follow_from_the_seed_and_the_service_not_from_the_order() {
        let addresses = |seed| Addresses::new(&Config { seed, ..Config::default() });
        let port = |seed, what| addresses(seed).free_node_port(what, &BTreeSet::new()).expect("none is taken");
        assert_eq!(port(1, "default/web/80"), port(1, "default/web/80"));
        assert_ne!(port(1, "default/web/80"), port(2, "default/web/80"));
        assert!(NODE_PORTS.contains(&port(9, "default/web/80")));
    }

    #[test]
    fn cluster_ips_count_upwards_within_the_network() {
        let addresses = Addresses::new(&Config::default());
        assert_eq!(addresses.free_cluster_ip(false), Some("10.96.0.1".parse().expect("an address")));
        assert_eq!(addresses.free_cluster_ip(true), None);
        assert!(addresses.refuse_cluster_ip("10.95.255.255".parse().expect("an address")).is_some());
    }
}
