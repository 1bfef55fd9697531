//! The fabric: machines and switches, the cables between them, and the one queue that moves everything.
//!
//! Build it, let time pass with [`Fabric::run_until`] or [`Fabric::step`], and look. It has no clock: time is what the next event says.
//! Machines that no chain of cables connects do not hear each other. Ids are only good for the fabric that gave them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bellhop_core::link::Interface;
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;

use crate::frame::{FRAME_LENGTH_MAX, Frame};
use crate::host::{Effects, Happened, Host, MachineConfig, Timer};
use crate::neighbor::Neighbor;
use crate::queue::Queue;
use crate::random::stream;
use crate::switch::{Switch, Way};
use crate::trace::{Event, Sink, Trace};
use crate::wire::{Cable, End, Latency};

mod nodes;
mod ports;
mod programs;
#[cfg(test)]
mod tests;

pub use ports::PortId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub(crate) $number);
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
    /// Machines whose interfaces may look different since the driver last asked.
    changed: BTreeSet<MachineId>,
    /// Room for a machine's effects, kept to save allocations.
    effects: Effects,
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
    /// A frame comes out of a cable.
    Arrival { cable: u32, side: u8, frame: Frame },
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
            nics: Vec::new(),
            switches: Vec::new(),
            cables: Vec::new(),
            trace: Trace::default(),
            ports: ports::Ports::default(),
            programs: programs::Programs::default(),
            changed: BTreeSet::new(),
            effects: Effects::default(),
        }
    }

    /// Adds a switch without a cable.
    pub fn add_switch(&mut self) -> SwitchId {
        self.switches.push(Switch::default());
        SwitchId(self.switches.len() - 1)
    }

    /// Adds a machine that is switched on, without a cable.
    pub fn add_machine(&mut self, config: MachineConfig) -> MachineId {
        let machine = self.machines.len();
        self.nics.extend((0..config.nics.len()).map(|index| NicPlace { machine, index, cable: None }));
        self.machines.push(Host::new(self.now, config, self.seed));
        MachineId(machine)
    }

    /// Plugs a NIC into a switch. A cable that was in it is pulled out of it first.
    pub fn connect(&mut self, nic: NicId, switch: SwitchId, latency: Latency) {
        self.set_carrier(nic, false);
        let port = self.switches[switch.0].ports.len();
        let place = &self.nics[nic.0];
        let config = &self.machines[place.machine].config;
        let label = format!("cable {} {}", config.name, config.nics[place.index].name);
        let cable = self.add_cable([End::Nic(nic.0), End::Port { switch: switch.0, port }], latency, &label);
        self.nics[nic.0].cable = Some((cable, 0));
        self.switches[switch.0].ports.push((cable, 1));
        self.set_carrier(nic, true);
    }

    /// Connects two switches. No tree is computed: a loop of switches floods for ever.
    pub fn connect_switches(&mut self, one: SwitchId, other: SwitchId, latency: Latency) {
        let first = End::Port { switch: one.0, port: self.switches[one.0].ports.len() };
        let second_port = self.switches[other.0].ports.len() + usize::from(one == other);
        let second = End::Port { switch: other.0, port: second_port };
        let cable = self.add_cable([first, second], latency, &format!("cable sw{} sw{}", one.0, other.0));
        self.switches[one.0].ports.push((cable, 0));
        self.switches[other.0].ports.push((cable, 1));
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
            Pending::Arrival { cable, side, frame } => self.arrive(cable as usize, usize::from(side), frame),
            Pending::Timer { machine, boots, timer } => {
                let machine = machine as usize;
                let host = &mut self.machines[machine];
                if host.powered && host.boots == boots {
                    let mut effects = std::mem::take(&mut self.effects);
                    host.handle_timer(self.now, timer, &mut effects);
                    self.carry_out(machine, effects);
                }
            }
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
    pub fn route_to(&self, machine: MachineId, destination: Ipv4Addr) -> Option<InterfaceName> {
        let host = &self.machines[machine.0];
        if host.is_local(destination) {
            return None;
        }
        host.route(destination).map(|(nic, _)| host.nics[nic].config.name.clone())
    }

    /// Machines whose interfaces or routes may answer differently since the last call, each once.
    pub fn take_changed(&mut self) -> Vec<MachineId> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// The NIC with this index in a machine. A machine's NICs have consecutive ids.
    fn nic_id(&self, machine: usize, index: usize) -> Option<NicId> {
        let first = self.nics.partition_point(|place| place.machine < machine);
        let place = self.nics.get(first + index)?;
        (place.machine == machine).then_some(NicId(first + index))
    }

    /// Lays a cable.
    fn add_cable(&mut self, ends: [End; 2], latency: Latency, label: &str) -> usize {
        self.cables.push(Cable::new(ends, latency, stream(self.seed, label)));
        self.cables.len() - 1
    }

    /// A frame comes out of a cable.
    fn arrive(&mut self, cable: usize, side: usize, frame: Frame) {
        if !self.cables[cable].up {
            return;
        }
        match self.cables[cable].ends[side] {
            End::Port { switch, port } => {
                let way = self.switches[switch].handle_frame(self.now, port, frame.source(), frame.destination());
                self.forward(switch, port, way, &frame);
                self.trace.record(self.now, &Event::Switched { switch: SwitchId(switch), port, frame });
            }
            End::Nic(nic) => {
                let (machine, index) = (self.nics[nic].machine, self.nics[nic].index);
                let host = &mut self.machines[machine];
                if !host.is_nic_up(index) {
                    return;
                }
                let mac = host.nics[index].config.mac;
                self.ports.hear(NicId(nic), mac, &frame);
                let mut effects = std::mem::take(&mut self.effects);
                host.handle_frame(self.now, index, &frame, &mut effects);
                self.trace.record(self.now, &Event::Received { nic: NicId(nic), frame });
                self.carry_out(machine, effects);
            }
        }
    }

    /// Sends a frame on from a switch.
    fn forward(&mut self, switch: usize, from: usize, way: Way, frame: &Frame) {
        match way {
            Way::Nowhere => {}
            Way::Port(port) => {
                let (cable, side) = self.switches[switch].ports[port];
                self.send_into(cable, side, frame.clone());
            }
            Way::Flood => {
                for port in (0..self.switches[switch].ports.len()).filter(|port| *port != from) {
                    let (cable, side) = self.switches[switch].ports[port];
                    self.send_into(cable, side, frame.clone());
                }
            }
        }
    }

    /// Puts a frame into a cable at one side; it comes out at the other.
    fn send_into(&mut self, cable: usize, side: usize, frame: Frame) {
        let far = 1 - side;
        let wire = &mut self.cables[cable];
        if wire.up {
            let at = wire.arrival(self.now, far);
            let cable = u32::try_from(cable).unwrap_or(u32::MAX);
            self.queue.push(at, Pending::Arrival { cable, side: u8::from(far == 1), frame });
        }
    }

    /// A NIC sends a frame, if it can.
    fn send_from(&mut self, nic: NicId, frame: Frame) {
        let place = &self.nics[nic.0];
        let up = self.machines[place.machine].is_nic_up(place.index);
        if let Some((cable, side)) = place.cable.filter(|_| up && frame.len() <= FRAME_LENGTH_MAX) {
            self.trace.record(self.now, &Event::Sent { nic, frame: frame.clone() });
            self.send_into(cable, side, frame);
        }
    }

    /// Does what a machine wants, and keeps the lists for the next time.
    fn carry_out(&mut self, machine: usize, mut effects: Effects) {
        for happened in effects.happened.drain(..) {
            self.note(machine, happened);
        }
        for (index, frame) in effects.transmit.drain(..) {
            if let Some(nic) = self.nic_id(machine, index) {
                self.send_from(nic, frame);
            }
        }
        let boots = self.machines[machine].boots;
        for (at, timer) in effects.timers.drain(..) {
            let machine = u32::try_from(machine).unwrap_or(u32::MAX);
            self.queue.push(at, Pending::Timer { machine, boots, timer });
        }
        self.effects = effects;
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
