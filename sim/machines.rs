//! A scenario's topology as a fabric: machines, NICs, switches, cables, and the routes to every node's pods.
//!
//! It says by name what is where, so that observations can be told in the scenario's words. What the simulator cannot provide is found
//! here too, before anything is built.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::link::InterfaceAddress;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Fabric, Latency, MachineConfig, MachineId, NicConfig, NicId, Profile, SwitchConfig, SwitchId, stream};
use bellhop_models::NodeIpv6;
use bellhop_scenario::scenario::{Nic, Node, Segment, Stack, Topology, Uplink};
use bellhop_scenario::{Scenario, Unplayable};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::RngExt;

/// The IPv6 service network of a dual-stack cluster, beside 10.96.0.0/12: first address and prefix length.
pub(crate) const SERVICES_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112);

/// Where a NIC is, in the scenario's words.
#[derive(Clone, Debug)]
pub(crate) struct NicPlace {
    pub(crate) machine: String,
    pub(crate) nic: String,
    pub(crate) segment: String,
    pub(crate) mac: MacAddr,
}

/// What was built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machines {
    /// Every machine by name.
    pub(crate) ids: BTreeMap<String, MachineId>,
    /// Every NIC.
    pub(crate) nics: BTreeMap<NicId, NicPlace>,
    /// A node's own address and the subnet of its pods.
    pub(crate) nodes: BTreeMap<String, (Ipv4Addr, Ipv4Net)>,
    /// The same of IPv6, where the scenario gives nodes an address: its cluster is dual-stack.
    pub(crate) nodes6: BTreeMap<String, NodeIpv6>,
    /// Switches by name; one that a NIC has for itself is called as both: `master1 eth1`.
    pub(crate) switches: BTreeMap<String, SwitchId>,
    /// The addresses on the NICs of nodes and routers.
    own: BTreeMap<IpAddr, String>,
}

impl Machines {
    /// The MACs of every machine, from the start.
    pub(crate) fn macs(&self) -> BTreeMap<String, Vec<(Instant, MacAddr)>> {
        let mut macs: BTreeMap<String, Vec<(Instant, MacAddr)>> = BTreeMap::new();
        for place in self.nics.values() {
            macs.entry(place.machine.clone()).or_default().push((Instant::ZERO, place.mac));
        }
        macs
    }

    /// The addresses on the NICs of nodes and routers, and whose each is. A client may have one that Bellhop gave away: nobody can know.
    pub(crate) fn addresses(&self) -> BTreeMap<IpAddr, String> {
        self.own.clone()
    }
}

/// Whether the fabric has all that a topology names.
pub(crate) fn supports(scenario: &Scenario) -> Result<(), Unplayable> {
    let topology = &scenario.topology;
    let mut missing = Vec::new();
    let nodes = topology.nodes.iter();
    missing.extend(
        nodes
            .clone()
            .filter(|(_, node)| own_address(node).is_none())
            .map(|(name, _)| format!("node {name}: no IPv4 address on its first NIC")),
    );
    let nodes = nodes.map(|(name, node)| (name, node.gateway));
    let clients = topology.clients.iter().map(|(name, client)| (name, client.gateway));
    let routers = topology.routers.iter().map(|(name, router)| (name, router.gateway));
    let gateways = nodes.chain(clients).chain(routers).filter_map(|(name, gateway)| Some((name, gateway?)));
    // The fabric's routers know of IPv6 no routes but the subnets they are on.
    missing.extend(gateways.filter(|(_, via)| via.is_ipv6()).map(|(name, via)| format!("{name}: the IPv6 gateway {via}")));
    if topology.nodes.len() > 200 {
        missing.push("more than 200 nodes".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(Unplayable { missing }) }
}

/// The pod subnet of the how-manieth node: the tutorial's cluster hands out 10.233.0.0/16 in parts of 256.
fn pod_subnet(index: usize) -> Ipv4Net {
    let third = u8::try_from(index).unwrap_or(u8::MAX);
    Ipv4Net::new_assert(Ipv4Addr::new(10, 233, third, 0), 24)
}

/// The same of IPv6: fd00:10:233::/48 in parts of 64 bits, numbered as those of IPv4 are.
fn pod_subnet6(index: usize) -> Ipv6Net {
    let fourth = u16::from(u8::try_from(index).unwrap_or(u8::MAX));
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x233, fourth, 0, 0, 0, 0), 64)
}

/// Builds a topology. Errors name the machine at fault.
pub(crate) fn build(topology: &Topology, seed: u64) -> Result<(Fabric, Machines), String> {
    let mut builder = Builder { fabric: Fabric::new(seed), machines: Machines::default(), seed };
    for (index, (name, node)) in topology.nodes.iter().enumerate() {
        let ip = own_address(node).ok_or_else(|| format!("node {name} has no IPv4 address"))?;
        builder.machines.nodes.insert(name.clone(), (ip, pod_subnet(index + 1)));
        if let Some(ipv6) = node.nics.values().next().and_then(|nic| nic.ipv6) {
            builder.machines.nodes6.insert(name.clone(), NodeIpv6 { ip: ipv6.addr(), pod_cidr: pod_subnet6(index + 1) });
        }
    }
    builder.switches(topology);
    for (name, node) in &topology.nodes {
        builder.node(topology, name, node);
    }
    for (name, router) in &topology.routers {
        let config = MachineConfig::new(name).forwarding().profile(profile(router.stack));
        builder.machine(topology, name, with_gateway(config, router.gateway), &router.nics);
    }
    for (name, client) in &topology.clients {
        let nic = Nic { switch: Some(client.switch.clone()), ip: client.ip, ipv6: client.ipv6, mac: client.mac };
        let config = MachineConfig::new(name).profile(profile(client.stack));
        builder.machine(topology, name, with_gateway(config, client.gateway), &BTreeMap::from([("eth0".to_owned(), nic)]));
    }
    builder.machines.own = own_addresses(topology, &builder);
    builder.fabric.take_changed();
    Ok((builder.fabric, builder.machines))
}

struct Builder {
    fabric: Fabric,
    machines: Machines,
    seed: u64,
}

impl Builder {
    /// All switches, and the cables between them.
    fn switches(&mut self, topology: &Topology) {
        for (name, switch) in &topology.switches {
            let plain = SwitchConfig::default();
            let id = self.fabric.add_switch_with(SwitchConfig {
                ageing: switch.mac_ageing,
                table_max: switch.table_size.map_or(plain.table_max, |size| usize::try_from(size).unwrap_or(usize::MAX)),
                storm_limit: switch.storm_limit,
                inspect: switch.inspect_arp,
                converge: switch.converge,
            });
            self.machines.switches.insert(name.clone(), id);
        }
        for Uplink { between: [one, other], latency: given } in topology.uplinks() {
            let segment = topology.switches.get(&one).and_then(|switch| topology.segments.get(&switch.segment));
            let ids = (self.machines.switches.get(&one).copied(), self.machines.switches.get(&other).copied());
            if let (Some(one), Some(other)) = ids {
                self.fabric.connect_switches(one, other, given.map_or_else(|| latency(segment), between));
            }
        }
    }

    /// A node: a machine that forwards, with routes to the pods of all others.
    fn node(&mut self, topology: &Topology, name: &str, node: &Node) {
        let mut config = MachineConfig::new(name).forwarding();
        for (other, (via, pods)) in &self.machines.nodes {
            if other != name {
                config = config.route(pods.network(), pods.prefix_len(), *via);
            }
        }
        for (_, other) in self.machines.nodes6.iter().filter(|(other, _)| *other != name) {
            config = config.route(other.pod_cidr.network(), other.pod_cidr.prefix_len(), other.ip);
        }
        self.machine(topology, name, with_gateway(config, node.gateway), &node.nics);
    }

    /// A machine with its NICs, each plugged in.
    fn machine(&mut self, topology: &Topology, name: &str, mut config: MachineConfig, nics: &BTreeMap<String, Nic>) {
        let mut macs = Vec::new();
        for (nic, card) in nics {
            let mac = self.mac(name, nic, card.mac);
            let addresses: Vec<IpNet> = [Some(card.ip), card.ipv6.map(IpNet::V6)].into_iter().flatten().collect();
            let addresses =
                addresses.into_iter().map(|net| InterfaceAddress { address: net.addr(), prefix_length: net.prefix_len() }).collect();
            config.nics.push(NicConfig { name: nic.as_str().into(), mac, addresses });
            macs.push((nic, card.switch.as_deref(), mac));
        }
        let id = self.fabric.add_machine(config);
        self.machines.ids.insert(name.to_owned(), id);
        for (nic, switch, mac) in macs {
            self.cable(topology, name, nic, switch, mac);
        }
    }

    /// Plugs a NIC into its switch; one that has none gets a switch of its own, so that it has a carrier.
    fn cable(&mut self, topology: &Topology, machine: &str, nic: &str, switch: Option<&str>, mac: MacAddr) {
        let Some(id) = self.machines.ids.get(machine).and_then(|id| self.fabric.nic(*id, nic)) else { return };
        let segment = switch.and_then(|switch| topology.switches.get(switch)).map(|switch| switch.segment.clone());
        let port = switch.and_then(|switch| self.machines.switches.get(switch)).copied();
        let port = port.unwrap_or_else(|| {
            let own = self.fabric.add_switch();
            self.machines.switches.insert(format!("{machine} {nic}"), own);
            own
        });
        self.fabric.connect(id, port, latency(segment.as_ref().and_then(|segment| topology.segments.get(segment))));
        let segment = segment.unwrap_or_else(|| format!("{machine} {nic}"));
        self.machines.nics.insert(id, NicPlace { machine: machine.to_owned(), nic: nic.to_owned(), segment, mac });
    }

    /// The MAC that the scenario gives, or one out of the seed under the tutorial's prefix.
    fn mac(&self, machine: &str, nic: &str, given: Option<MacAddr>) -> MacAddr {
        given.unwrap_or_else(|| {
            let [a, b, c] = stream(self.seed, &format!("mac {machine} {nic}")).random::<[u8; 3]>();
            MacAddr([0x52, 0x54, 0x22, a, b, c])
        })
    }
}

fn latency(segment: Option<&Segment>) -> Latency {
    segment.map_or_else(Latency::default, |segment| between(segment.latency))
}

fn between(range: bellhop_scenario::scenario::Latency) -> Latency {
    Latency::between(range.min, range.max)
}

/// With a default route, where there is a gateway.
fn with_gateway(config: MachineConfig, gateway: Option<IpAddr>) -> MachineConfig {
    match gateway {
        Some(IpAddr::V4(via)) => config.route(Ipv4Addr::UNSPECIFIED, 0, via),
        Some(IpAddr::V6(_)) | None => config,
    }
}

/// The fabric's name for a scenario's kind of machine.
fn profile(stack: Stack) -> Profile {
    match stack {
        Stack::Linux => Profile::Linux,
        Stack::Windows => Profile::Windows,
        Stack::SlowCache => Profile::SlowCache,
        Stack::IgnoresGratuitous => Profile::IgnoresGratuitous,
        Stack::Defender => Profile::Defender,
    }
}

/// See [`Machines::addresses`].
fn own_addresses(topology: &Topology, built: &Builder) -> BTreeMap<IpAddr, String> {
    let nodes = topology.nodes.iter().map(|(name, node)| (name, &node.nics));
    let routers = topology.routers.iter().map(|(name, router)| (name, &router.nics));
    let addresses = |(name, nics): (&String, &BTreeMap<String, Nic>)| {
        let given = nics.values().flat_map(|nic| [Some(nic.ip.addr()), nic.ipv6.map(|net| net.addr().into())]).flatten();
        // Link-local ones are not in the scenario: machines make them.
        let made = built.machines.ids.get(name).map(|id| built.fabric.interfaces(*id)).into_iter().flatten();
        let made = made.flat_map(|interface| interface.addresses).map(|own| own.address).filter(IpAddr::is_ipv6);
        given.chain(made).map(|address| (address, name.clone())).collect::<Vec<_>>()
    };
    nodes.chain(routers).flat_map(addresses).collect()
}

/// The address that a node is known by.
fn own_address(node: &Node) -> Option<Ipv4Addr> {
    node.nics.values().next().and_then(|nic| v4(nic.ip))
}

fn v4(net: IpNet) -> Option<Ipv4Addr> {
    match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
