//! The fabric: machines and switches, the cables between them, and the one queue that moves everything.
//!
//! Build it, let time pass with [`Fabric::run_until`] or [`Fabric::step`], and look. It has no clock: time is what the next event says.
//! Machines that no chain of cables connects do not hear each other. Ids are only good for the fabric that gave them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::link::Interface;
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;

use crate::frame::Frame;
use crate::host::{Effects, Happened, Host, MachineConfig, Timer};
use crate::neighbor::Neighbor;
use crate::queue::Queue;
use crate::random::Numbered;
use crate::switch::{Switch, SwitchConfig, SwitchCounters};
use crate::trace::{Event, Sink, Trace};
use crate::wire::{Cable, End, Latency};

mod datagram;
mod freeze;
mod hostile;
mod nodes;
mod ports;
mod programs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests6;
mod traffic;
mod tree;
mod wires;

pub use hostile::{SpoofId, StormId};
pub use ports::PortId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub(crate) $number);

        impl $name {
            /// Its number, in the order of making.
            pub fn index(self) -> $number {
                self.0
            }
        }
    };
}

id!(
    /// A machine.
    MachineId,
    usize
);
id!(
    /// A NIC of a machine.
    NicId,
    usize
);
id!(
    /// A switch.
    SwitchId,
    usize
);
id!(
    /// A ping that was started.
    PingId,
    u32
);
id!(
    /// A curl that was started.
    CurlId,
    u32
);

/// A simulated LAN. `add_*` and `connect*` build it; `run_until` and `step` let time pass; the rest acts and looks, at [`Fabric::now`].
pub struct Fabric {
    /// The seed of every stream.
    seed: u64,
    /// The time that has come.
    now: Instant,
    /// What will happen.
    queue: Queue<Pending>,
    /// Machines, by id.
    machines: Vec<Host>,
    /// The first NIC of each machine: a machine's NICs have consecutive ids.
    first_nics: Vec<usize>,
    /// What waits for machines that stand still.
    frozen: Vec<Option<Box<freeze::Frozen>>>,
    /// NICs of all machines, by id.
    nics: Vec<NicPlace>,
    /// Switches, by id.
    switches: Vec<Switch>,
    /// Cables.
    cables: Vec<Cable>,
    /// What happened.
    trace: Trace,
    /// Virtual ports of programs.
    ports: ports::Ports,
    /// Programs of all machines.
    programs: programs::Programs,
    /// Who speaks for addresses that are not theirs, and who storms.
    hostile: hostile::Hostile,
    /// Machines whose interfaces may look different since the driver last asked.
    changed: BTreeSet<MachineId>,
    /// Room for a machine's effects, kept to save allocations.
    effects: Effects,
    /// Room for the receivers of floods, likewise.
    spare_lists: Vec<Vec<u32>>,
}

/// Where a NIC is.
struct NicPlace {
    /// Its machine.
    machine: usize,
    /// Which of the machine's NICs it is.
    index: usize,
    /// The cable in it and the side of it that is ours.
    cable: Option<(usize, usize)>,
}

/// Something that will happen.
enum Pending {
    /// A frame comes out of a cable. `broken`: its check sequence does not fit.
    Arrival { cable: u32, side: u8, broken: bool, frame: Frame },
    /// The copies of a flooded frame come out of all these cables, each at its NIC.
    Flood { cables: Vec<u32>, frame: Frame },
    /// The spanning tree opens a cable between switches.
    Converged { cable: u32 },
    /// A spoofer's next frames.
    Spoof(SpoofId),
    /// A storm's next frame.
    Storm(StormId),
    /// A machine's timer.
    Timer { machine: u32, boots: u32, timer: Timer },
}

impl Fabric {
    /// An empty fabric whose every draw comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::ZERO,
            queue: Queue::new(),
            machines: Vec::new(),
            first_nics: Vec::new(),
            frozen: Vec::new(),
            nics: Vec::new(),
            switches: Vec::new(),
            cables: Vec::new(),
            trace: Trace::default(),
            ports: ports::Ports::default(),
            programs: programs::Programs::default(),
            hostile: hostile::Hostile::default(),
            changed: BTreeSet::new(),
            effects: Effects::default(),
            spare_lists: Vec::new(),
        }
    }

    /// Adds an ordinary switch without a cable.
    pub fn add_switch(&mut self) -> SwitchId {
        self.add_switch_with(SwitchConfig::default())
    }

    /// Adds a switch without a cable.
    pub fn add_switch_with(&mut self, config: SwitchConfig) -> SwitchId {
        let id = self.switches.len();
        self.switches.push(Switch::new(config, Numbered::new(self.seed, &format!("switch {id}"))));
        SwitchId(id)
    }

    /// What a switch has counted.
    pub fn switch_counters(&self, switch: SwitchId) -> SwitchCounters {
        self.switches[switch.0].counters()
    }

    /// For ARP inspection: binds an address to a NIC, which must be plugged into this very switch; what was bound before is forgotten.
    pub fn bind_address(&mut self, switch: SwitchId, address: Ipv4Addr, nic: NicId) {
        let place = &self.nics[nic.0];
        let mac = self.machines[place.machine].nics[place.index].config.mac;
        let Some((cable, side)) = place.cable else { return };
        if let End::Port { switch: found, port } = self.cables[cable].ends[1 - side]
            && found == switch.0
        {
            self.switches[found].bind(address, mac, port);
        }
    }

    /// Adds a machine that is switched on, without a cable.
    pub fn add_machine(&mut self, config: MachineConfig) -> MachineId {
        let machine = self.machines.len();
        self.first_nics.push(self.nics.len());
        self.frozen.push(None);
        self.nics.extend((0..config.nics.len()).map(|index| NicPlace { machine, index, cable: None }));
        self.machines.push(Host::new(self.now, config, self.seed));
        MachineId(machine)
    }

    /// Plugs a NIC into a switch. A cable that was in it is pulled out of it first.
    pub fn connect(&mut self, nic: NicId, switch: SwitchId, latency: Latency) {
        self.set_plugged(nic, false);
        let port = self.switches[switch.0].ports.len();
        let place = &self.nics[nic.0];
        let config = &self.machines[place.machine].config;
        let label = format!("cable {} {}", config.name, config.nics[place.index].name);
        let cable = self.add_cable([End::Nic(nic.0), End::Port { switch: switch.0, port }], latency, label);
        self.nics[nic.0].cable = Some((cable, traffic::NIC_SIDE));
        self.switches[switch.0].plug(cable, 1, false);
        self.set_carrier(nic, true);
    }

    /// Connects two switches. Where that makes a loop, a spanning tree keeps frames from going round; it is found converged.
    pub fn connect_switches(&mut self, one: SwitchId, other: SwitchId, latency: Latency) {
        let first = End::Port { switch: one.0, port: self.switches[one.0].ports.len() };
        let second_port = self.switches[other.0].ports.len() + usize::from(one == other);
        let second = End::Port { switch: other.0, port: second_port };
        let beside = self.switches[one.0].ports.iter().filter(|port| self.cables[port.cable].joins(one.0, other.0)).count();
        let label = format!("cable sw{} sw{} {beside}", one.0, other.0);
        let cable = self.add_cable([first, second], latency, label);
        self.switches[one.0].plug(cable, 0, true);
        self.switches[other.0].plug(cable, 1, true);
        self.grow_tree(true);
    }

    /// A machine's NIC by name.
    pub fn nic(&self, machine: MachineId, name: &str) -> Option<NicId> {
        let index = self.machines[machine.0].nic_named(name)?;
        self.nic_id(machine.0, index)
    }

    /// The machine by name.
    pub fn machine(&self, name: &str) -> Option<MachineId> {
        self.machines.iter().position(|machine| machine.config.name == name).map(MachineId)
    }

    /// The machine's name.
    pub fn machine_name(&self, machine: MachineId) -> &str {
        &self.machines[machine.0].config.name
    }

    /// The machine that a NIC is in, and the NIC's name there.
    pub fn nic_place(&self, nic: NicId) -> (MachineId, &InterfaceName) {
        let place = &self.nics[nic.0];
        (MachineId(place.machine), &self.machines[place.machine].config.nics[place.index].name)
    }

    /// The time that has come.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the next thing happens by itself.
    pub fn next_event(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// Lets the next thing happen. `false` if there is none.
    pub fn step(&mut self) -> bool {
        let Some((at, pending)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        match pending {
            Pending::Arrival { cable, side, broken, frame } => self.arrive(cable as usize, usize::from(side), broken, frame),
            Pending::Flood { cables, frame } => self.arrive_flood(cables, &frame),
            Pending::Timer { machine, boots, timer } => {
                let machine = machine as usize;
                let host = &self.machines[machine];
                if host.powered && host.boots == boots {
                    self.fire(machine, timer);
                }
            }
            Pending::Converged { cable } => self.converged(cable as usize),
            Pending::Spoof(id) => self.spoof_again(id),
            Pending::Storm(id) => self.storm_on(id),
        }
        true
    }

    /// Lets everything happen up to `until`, that moment included, and makes it now.
    pub fn run_until(&mut self, until: Instant) {
        while self.next_event().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Moves time on to `until`, or to the next event where that is earlier, and lets nothing happen.
    pub fn pass(&mut self, until: Instant) {
        let until = self.next_event().map_or(until, |at| at.min(until));
        self.now = self.now.max(until);
    }

    /// The hash of all that happened so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How many events there were.
    pub fn event_count(&self) -> u64 {
        self.trace.count()
    }

    /// Gives every event from now on to `sink`, in the order of time.
    pub fn set_sink(&mut self, sink: Sink) {
        self.trace.sink = Some(sink);
    }

    /// A machine's neighbor tables, as `ip neigh` lists them.
    pub fn neighbors(&self, machine: MachineId) -> Vec<Neighbor> {
        self.machines[machine.0].neighbors()
    }

    /// What `ip neigh` prints on a machine.
    pub fn ip_neigh(&self, machine: MachineId) -> String {
        self.neighbors(machine).iter().map(|neighbor| format!("{neighbor}\n")).collect()
    }

    /// A machine's NICs as its programs see them.
    pub fn interfaces(&self, machine: MachineId) -> Vec<Interface> {
        self.machines[machine.0].interfaces()
    }

    /// The NIC through which a machine would send to `destination`; `None` without a route, or if the destination is its own.
    pub fn route_to(&self, machine: MachineId, destination: impl Into<IpAddr>) -> Option<InterfaceName> {
        let host = &self.machines[machine.0];
        let nic = match destination.into() {
            IpAddr::V4(destination) if !host.is_local(destination) => host.route(destination).map(|(nic, _)| nic),
            IpAddr::V6(destination) if !host.is_local6(destination) => host.route6(destination).map(|(nic, ..)| nic),
            _ => None,
        };
        nic.map(|nic| host.nics[nic].config.name.clone())
    }

    /// Machines whose interfaces or routes may answer differently since the last call, each once.
    pub fn take_changed(&mut self) -> Vec<MachineId> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// The NIC with this index in a machine.
    fn nic_id(&self, machine: usize, index: usize) -> Option<NicId> {
        let id = self.first_nics[machine] + index;
        (self.nics.get(id)?.machine == machine).then_some(NicId(id))
    }

    /// Lays a cable.
    fn add_cable(&mut self, ends: [End; 2], latency: Latency, label: String) -> usize {
        self.cables.push(Cable::new(ends, latency, self.seed, label));
        self.cables.len() - 1
    }

    /// Writes what happened in a machine into the trace.
    fn note(&mut self, machine: usize, happened: Happened) {
        let event = match happened {
            Happened::Neighbor { nic, address, state, mac } => {
                let Some(nic) = self.nic_id(machine, nic) else { return };
                Event::Neighbor { nic, address, state, mac }
            }
            Happened::Echo { ping, to, echo } => Event::Echo { ping: PingId(ping), machine: MachineId(machine), to, echo },
            Happened::Curl { curl, report } => {
                self.programs.end_curl(CurlId(curl), report.clone());
                Event::Curl { curl: CurlId(curl), machine: MachineId(machine), report }
            }
            Happened::Unique { nic, address } => {
                let Some(nic) = self.nic_id(machine, nic) else { return };
                self.changed.insert(MachineId(machine));
                self.ports.wake(nic);
                Event::Claim { nic, address: address.into(), held: true }
            }
            Happened::Served(served) => Event::Served { machine: MachineId(machine), pod: served.pod, client: served.client },
        };
        self.trace.record(self.now, &event);
    }

    /// Acts on a machine and does what comes of it.
    fn with_machine<R>(&mut self, machine: MachineId, act: impl FnOnce(Instant, &mut Host, &mut Effects) -> R) -> R {
        let mut effects = std::mem::take(&mut self.effects);
        let result = act(self.now, &mut self.machines[machine.0], &mut effects);
        self.carry_out(machine.0, effects);
        result
    }
}
