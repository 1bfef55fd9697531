//! Machines and cables of a scenario's topology: a namespace for each machine, a bridge for each segment in a namespace of all switches.
//!
//! Cables are veths with the scenario's names, addresses and MACs. A machine can be taken away, with everything in its kernel, and made again.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bellhop_scenario::scenario::Topology;

use crate::namespace::Namespace;

/// IEEE 802.1Q's unit in Linux' `ageing_time`.
const AGEING_UNITS_PER_SECOND: u64 = 100;

/// All machines that have power, and the switches.
#[derive(Debug)]
pub struct Lan {
    topology: Topology,
    switches: Namespace,
    machines: BTreeMap<String, Namespace>,
}

/// A NIC as the topology has it, of a node or a client.
struct Plug {
    /// Its name in the machine.
    nic: String,
    /// The segment; `None`: its cable goes nowhere.
    segment: Option<String>,
    /// Address and prefix length.
    ip: String,
    /// The same of IPv6.
    ipv6: Option<String>,
    mac: Option<String>,
}

impl Lan {
    /// Builds everything.
    pub fn new(topology: &Topology) -> Result<Self> {
        let switches = Namespace::new()?;
        quiet(&switches, false)?;
        for segment in topology.segments.keys() {
            let ageing =
                topology.switches.values().find(|switch| switch.segment == *segment).map_or(300, |switch| switch.mac_ageing.as_secs());
            let ageing = ageing * AGEING_UNITS_PER_SECOND;
            switches.ip(&format!("link add {segment} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 ageing_time {ageing}"))?;
            switches.ip(&format!("link set {segment} up"))?;
        }
        let mut lan = Self { topology: topology.clone(), switches, machines: BTreeMap::new() };
        let machines: Vec<String> = topology.nodes.keys().chain(topology.clients.keys()).cloned().collect();
        machines.iter().try_for_each(|machine| lan.power_on(machine))?;
        Ok(lan)
    }

    /// The namespace of a machine that has power.
    pub fn machine(&self, name: &str) -> Result<&Namespace> {
        self.machines.get(name).with_context(|| format!("{name} has no power"))
    }

    /// The namespace in which each segment is a bridge of the segment's name.
    pub fn switches(&self) -> &Namespace {
        &self.switches
    }

    /// Makes a machine. One that has power is left alone.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        if self.machines.contains_key(name) {
            return Ok(());
        }
        let machine = Namespace::new()?;
        quiet(&machine, has_ipv6(&self.topology))?;
        machine.ip("link set lo up")?;
        for (index, plug) in self.plugs(name).into_iter().enumerate() {
            self.plug(&machine, &port(&self.topology, name, index), &plug).with_context(|| format!("failed to connect {name}"))?;
        }
        self.machines.insert(name.to_owned(), machine);
        Ok(())
    }

    /// Takes a machine away at once: its cables are pulled, its kernel forgets everything. Its programs must have been killed.
    pub fn power_off(&mut self, name: &str) -> Result<()> {
        for index in 0..self.plugs(name).len() {
            self.switches.ip(&format!("link delete {}", port(&self.topology, name, index)))?;
        }
        self.machines.remove(name);
        Ok(())
    }

    /// Hardware addresses of a machine's NICs by name.
    pub fn macs(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let machine = self.machine(name)?;
        let mac = |plug: Plug| {
            let links: serde_json::Value = serde_json::from_str(&machine.ip(&format!("-j link show dev {}", plug.nic))?)?;
            let mac = links[0]["address"].as_str().context("a NIC without an address")?.to_owned();
            Ok((plug.nic, mac))
        };
        self.plugs(name).into_iter().map(mac).collect()
    }

    fn plug(&self, machine: &Namespace, port: &str, plug: &Plug) -> Result<()> {
        let Plug { nic, segment, ip, ipv6, mac } = plug;
        let mac = mac.as_ref().map(|mac| format!("address {mac} ")).unwrap_or_default();
        self.switches.ip(&format!("link add {port} type veth peer name {nic} {mac}netns {}", machine.path()))?;
        if let Some(segment) = segment {
            self.switches.ip(&format!("link set {port} master {segment}"))?;
        }
        self.switches.ip(&format!("link set {port} up"))?;
        machine.ip(&format!("address add {ip} dev {nic}"))?;
        if let Some(ipv6) = ipv6 {
            // The scenario says that it is free; to look for that would take a second in which it cannot be used.
            machine.ip(&format!("address add {ipv6} dev {nic} nodad"))?;
        }
        machine.ip(&format!("link set {nic} up"))?;
        Ok(())
    }

    /// The NICs of a machine, in order of name.
    fn plugs(&self, name: &str) -> Vec<Plug> {
        let topology = &self.topology;
        let segment = |switch: &String| topology.switches.get(switch).map(|switch| switch.segment.clone());
        let client = topology.clients.get(name).map(|client| Plug {
            nic: "eth0".to_owned(),
            segment: segment(&client.switch),
            ip: client.ip.to_string(),
            ipv6: client.ipv6.map(|ipv6| ipv6.to_string()),
            mac: client.mac.map(|mac| mac.to_string()),
        });
        let nics = topology.nodes.get(name).into_iter().flat_map(|node| &node.nics);
        let nics = nics.map(|(nic, it)| Plug {
            nic: nic.clone(),
            segment: it.switch.as_ref().and_then(segment),
            ip: it.ip.to_string(),
            ipv6: it.ipv6.map(|ipv6| ipv6.to_string()),
            mac: it.mac.map(|mac| mac.to_string()),
        });
        client.into_iter().chain(nics).collect()
    }
}

/// Whether the scenario gives any machine an IPv6 address.
fn has_ipv6(topology: &Topology) -> bool {
    let clients = topology.clients.values().map(|client| (client.ip, client.ipv6));
    let nics = topology.nodes.values().flat_map(|node| node.nics.values()).map(|nic| (nic.ip, nic.ipv6));
    clients.chain(nics).any(|(ip, ipv6)| ipv6.is_some() || ip.addr().is_ipv6())
}

/// No IPv6 where the scenario has none (its chatter would be in every capture), no questions for routers, no filter on where answers come from.
fn quiet(namespace: &Namespace, ipv6: bool) -> Result<()> {
    for scope in ["all", "default"] {
        namespace.sysctl(&format!("ipv6/conf/{scope}/disable_ipv6"), if ipv6 { "0" } else { "1" })?;
        namespace.sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
        namespace.sysctl(&format!("ipv6/conf/{scope}/router_solicitations"), "0")?;
        namespace.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    Ok(())
}

/// The switch's end of a machine's cable: interface names have at most fifteen letters, machines longer ones.
fn port(topology: &Topology, machine: &str, index: usize) -> String {
    let machine = topology.nodes.keys().chain(topology.clients.keys()).position(|name| name == machine).unwrap_or_default();
    format!("port{machine}-{index}")
}
