//! Who and where, by name: machines, NICs and switches of one run.
//!
//! Records speak of them by number, so that writing one copies no name; lines of a trace and people hear names. It also knows whose MAC and
//! whose address something is, at the run's beginning.

use std::fmt;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use bellhop_scenario::scenario::Topology;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::machines::Machines;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub usize);
    };
}

index!(
    /// A machine: its place in [`Places::machines`].
    MachineIndex
);
index!(
    /// A NIC: its place in [`Places::nics`].
    NicIndex
);
index!(
    /// A switch: its place in [`Places::switches`].
    SwitchIndex
);

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Whether it is a node of the cluster; otherwise it is a client or a router.
    pub is_node: bool,
}

/// A NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its machine.
    pub machine: MachineIndex,
    /// Its name there: `eth0`.
    pub name: String,
    /// Its MAC at the run's beginning.
    pub mac: MacAddr,
    /// Its address with its prefix length, where it has one.
    pub address: Option<IpNet>,
    /// The segment that it is on, as the scenario calls it.
    pub segment: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Machines, in the fabric's order.
    pub machines: Vec<Machine>,
    /// NICs, in the fabric's order.
    pub nics: Vec<Nic>,
    /// The names of the switches, in the fabric's order.
    pub switches: Vec<String>,
}

/// A machine's name with a NIC's: `master1/eth0`.
#[derive(Clone, Copy, Debug)]
pub struct NicName<'a> {
    places: &'a Places,
    nic: NicIndex,
}

impl fmt::Display for NicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places.nics.get(self.nic.0) {
            Some(nic) => write!(f, "{}/{}", self.places.machine(nic.machine), nic.name),
            None => write!(f, "nic{}", self.nic.0),
        }
    }
}

impl Places {
    /// Those of a world that was built.
    pub(crate) fn of(built: &Machines, topology: &Topology) -> Self {
        let mut names: Vec<(usize, &String)> = built.ids.iter().map(|(name, id)| (id.index(), name)).collect();
        names.sort_unstable();
        let machines: Vec<Machine> =
            names.into_iter().map(|(_, name)| Machine { name: name.clone(), is_node: topology.nodes.contains_key(name) }).collect();
        let nics = built.nics.values().map(|place| {
            let machine = machines.iter().position(|machine| machine.name == place.machine).unwrap_or(usize::MAX);
            let of_node = topology.nodes.get(&place.machine).and_then(|node| Some(node.nics.get(&place.nic)?.ip));
            let address = of_node.or_else(|| topology.clients.get(&place.machine).map(|client| client.ip));
            let (name, segment) = (place.nic.clone(), place.segment.clone());
            Nic { machine: MachineIndex(machine), name, mac: place.mac, address, segment }
        });
        let mut switches: Vec<(usize, &String)> = built.switches.iter().map(|(name, id)| (id.index(), name)).collect();
        switches.sort_unstable();
        Self { nics: nics.collect(), switches: switches.into_iter().map(|(_, name)| name.clone()).collect(), machines }
    }

    /// A machine's name.
    pub fn machine(&self, machine: MachineIndex) -> &str {
        self.machines.get(machine.0).map_or("?", |machine| &machine.name)
    }

    /// A NIC with its machine, for people.
    pub fn nic(&self, nic: NicIndex) -> NicName<'_> {
        NicName { places: self, nic }
    }

    /// The machine that a NIC is in.
    pub fn machine_of(&self, nic: NicIndex) -> &str {
        self.nics.get(nic.0).map_or("?", |nic| self.machine(nic.machine))
    }

    /// A switch's name.
    pub fn switch(&self, switch: SwitchIndex) -> &str {
        self.switches.get(switch.0).map_or("?", String::as_str)
    }

    /// The machine whose NIC had this MAC at the run's beginning.
    pub fn machine_with_mac(&self, mac: MacAddr) -> Option<&str> {
        self.nics.iter().find(|nic| nic.mac == mac).map(|nic| self.machine(nic.machine))
    }

    /// The machine that has this address as its own.
    pub fn machine_with_address(&self, address: IpAddr) -> Option<&str> {
        self.nics.iter().find(|nic| nic.address.is_some_and(|net| net.addr() == address)).map(|nic| self.machine(nic.machine))
    }

    /// A MAC with whose it is: `52:54:22:3a:e6:6e (worker-p001)`.
    pub fn mac(&self, mac: MacAddr) -> String {
        self.machine_with_mac(mac).map_or_else(|| mac.to_string(), |machine| format!("{mac} ({machine})"))
    }

    /// As a trace's first line has it.
    pub(super) fn to_json(&self) -> Value {
        let machines: Vec<Value> = self.machines.iter().map(|machine| json!({"name": machine.name, "node": machine.is_node})).collect();
        let nics: Vec<Value> = self
            .nics
            .iter()
            .map(|nic| {
                let (mac, machine) = (nic.mac.to_string(), self.machine(nic.machine));
                json!({"machine": machine, "nic": nic.name, "mac": mac, "address": nic.address, "segment": nic.segment})
            })
            .collect();
        json!({"machines": machines, "nics": nics, "switches": self.switches})
    }

    /// Back again; the error says what is wrong.
    pub(super) fn from_json(value: &Value) -> Result<Self, String> {
        let list = |key: &str| value[key].as_array().ok_or_else(|| format!("`places.{key}`: expected a list"));
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}`: expected a text"));
        let mut places = Self::default();
        for machine in list("machines")? {
            let is_node = machine["node"].as_bool().ok_or("`node`: expected true or false")?;
            places.machines.push(Machine { name: text(machine, "name")?, is_node });
        }
        for nic in list("nics")? {
            let name = text(nic, "machine")?;
            let machine = places.machines.iter().position(|machine| machine.name == name).ok_or_else(|| format!("no machine {name}"))?;
            let mac = text(nic, "mac")?.parse().map_err(|error| format!("`mac`: {error}"))?;
            let address = match &nic["address"] {
                Value::Null => None,
                given => Some(given.as_str().and_then(|text| text.parse().ok()).ok_or("`address`: expected one as in 192.168.0.3/24")?),
            };
            places.nics.push(Nic { machine: MachineIndex(machine), name: text(nic, "nic")?, mac, address, segment: text(nic, "segment")? });
        }
        for switch in list("switches")? {
            places.switches.push(switch.as_str().ok_or("`switches`: expected names")?.to_owned());
        }
        Ok(places)
    }
}
