//! A scenario's topology as a fabric: machines, NICs, switches, cables, and the routes to every node's pods.
//!
//! It says by name what is where, so that observations can be told in the scenario's words. What the simulator cannot provide is found
//! here too, before anything is built.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{AGEING, Fabric, Latency, MachineConfig, MachineId, NicId, SwitchId, stream};
use bellhop_scenario::scenario::{Node, Segment, Topology};
use bellhop_scenario::{Scenario, Unplayable};
use ipnet::{IpNet, Ipv4Net};
use rand::RngExt;

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
    /// The IPv4 addresses on NICs.
    own: BTreeMap<Ipv4Addr, String>,
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

    /// The IPv4 addresses that machines have on their NICs, and whose each is.
    pub(crate) fn addresses(&self) -> BTreeMap<Ipv4Addr, String> {
        self.own.clone()
    }
}

/// Whether the fabric has all that a topology names.
pub(crate) fn supports(scenario: &Scenario) -> Result<(), Unplayable> {
    let topology = &scenario.topology;
    let mut missing = Vec::new();
    for (name, switch) in &topology.switches {
        if switch.mac_ageing != AGEING {
            missing.push(format!("switch {name}: a mac-ageing other than {} s", AGEING.as_secs()));
        }
    }
    missing.extend(topology.beyond_plain().into_iter().map(|(_, what)| what));
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

/// Builds a topology. Errors name the machine at fault.
pub(crate) fn build(topology: &Topology, seed: u64) -> Result<(Fabric, Machines), String> {
    let mut builder = Builder { fabric: Fabric::new(seed), machines: Machines::default(), switches: BTreeMap::new(), seed };
    for (index, (name, node)) in topology.nodes.iter().enumerate() {
        let ip = node.nics.values().next().and_then(|nic| v4(nic.ip)).ok_or_else(|| format!("node {name} has no IPv4 address"))?;
        builder.machines.nodes.insert(name.clone(), (ip.0, pod_subnet(index + 1)));
    }
    builder.switches(topology);
    for (name, node) in &topology.nodes {
        builder.node(topology, name, node)?;
    }
    for (name, client) in &topology.clients {
        let (address, length) = v4(client.ip).ok_or_else(|| format!("client {name} has no IPv4 address"))?;
        let mac = builder.mac(name, "eth0", client.mac);
        let id = builder.fabric.add_machine(MachineConfig::new(name).nic("eth0", mac, address, length));
        builder.machines.ids.insert(name.clone(), id);
        builder.machines.own.insert(address, name.clone());
        builder.cable(topology, name, "eth0", Some(&client.switch), mac);
    }
    builder.fabric.take_changed();
    Ok((builder.fabric, builder.machines))
}

struct Builder {
    fabric: Fabric,
    machines: Machines,
    switches: BTreeMap<String, SwitchId>,
    seed: u64,
}

impl Builder {
    /// All switches; those of one segment are connected in a row.
    fn switches(&mut self, topology: &Topology) {
        let mut last: BTreeMap<&str, SwitchId> = BTreeMap::new();
        for (name, switch) in &topology.switches {
            let id = self.fabric.add_switch();
            self.switches.insert(name.clone(), id);
            if let Some(neighbor) = last.insert(&switch.segment, id) {
                self.fabric.connect_switches(neighbor, id, latency(topology.segments.get(&switch.segment)));
            }
        }
    }

    /// A node with its NICs, and routes to the pods of all others.
    fn node(&mut self, topology: &Topology, name: &str, node: &Node) -> Result<(), String> {
        let mut config = MachineConfig::new(name).forwarding();
        let mut macs = Vec::new();
        for (nic, card) in &node.nics {
            let (address, length) = v4(card.ip).ok_or_else(|| format!("{nic} of {name} has no IPv4 address"))?;
            let mac = self.mac(name, nic, card.mac);
            config = config.nic(nic, mac, address, length);
            self.machines.own.insert(address, name.to_owned());
            macs.push((nic, card.switch.as_deref(), mac));
        }
        for (other, (via, pods)) in &self.machines.nodes {
            if other != name {
                config = config.route(pods.network(), pods.prefix_len(), *via);
            }
        }
        let id = self.fabric.add_machine(config);
        self.machines.ids.insert(name.to_owned(), id);
        for (nic, switch, mac) in macs {
            self.cable(topology, name, nic, switch, mac);
        }
        Ok(())
    }

    /// Plugs a NIC into its switch; one that has none gets a switch of its own, so that it has a carrier.
    fn cable(&mut self, topology: &Topology, machine: &str, nic: &str, switch: Option<&str>, mac: MacAddr) {
        let Some(id) = self.machines.ids.get(machine).and_then(|id| self.fabric.nic(*id, nic)) else { return };
        let segment = switch.and_then(|switch| topology.switches.get(switch)).map(|switch| switch.segment.clone());
        let port = switch.and_then(|switch| self.switches.get(switch)).copied();
        let port = port.unwrap_or_else(|| self.fabric.add_switch());
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
    segment.map_or_else(Latency::default, |segment| Latency::between(segment.latency.min, segment.latency.max))
}

fn v4(net: IpNet) -> Option<(Ipv4Addr, u8)> {
    match net.addr() {
        IpAddr::V4(address) => Some((address, net.prefix_len())),
        IpAddr::V6(_) => None,
    }
}
