//! What is done to machines from outside: power, NICs and cables, pods, kube-proxy's rules, routes.

use bellhop_core::mac::MacAddr;

use super::{Fabric, MachineId, NicId};
use crate::frame::Frame;
use crate::host::Route;
use crate::pod::PodConfig;
use crate::proxy::ProxyRules;
use crate::trace::Event;

impl Fabric {
    /// Pulls the plug. Neighbors, connections, rules, pods and programs are gone; the NICs' lights go out.
    pub fn power_off(&mut self, machine: MachineId) {
        if !self.machines[machine.0].powered {
            return;
        }
        self.frozen[machine.0] = None;
        self.hostile.stop_all_of(machine);
        self.with_machine(machine, |now, host, effects| host.power_off(now, effects));
        self.machine_changed(machine, Event::Power { machine, on: false });
        for nic in self.nics_of(machine) {
            self.forget_behind(nic);
        }
    }

    /// Switches a machine on. It boots at once, with its NICs up; pods and rules come back when somebody brings them.
    pub fn power_on(&mut self, machine: MachineId) {
        if !self.machines[machine.0].powered {
            self.machines[machine.0].power_on();
            self.machine_changed(machine, Event::Power { machine, on: true });
        }
    }

    /// Whether a machine has power.
    pub fn is_powered(&self, machine: MachineId) -> bool {
        self.machines[machine.0].powered
    }

    /// `ip link set <nic> down`. Its neighbors are forgotten; the switch forgets what was behind the port.
    pub fn nic_down(&mut self, nic: NicId) {
        self.set_nic(nic, false);
    }

    /// `ip link set <nic> up`.
    pub fn nic_up(&mut self, nic: NicId) {
        self.set_nic(nic, true);
    }

    /// Gives a NIC another MAC, silently, as a bond that fails over or a replaced card does: its neighbors are forgotten (neigh_changeaddr), and nobody
    /// is told, because Linux announces a new MAC (NETDEV_CHANGEADDR) with arp_notify=1 only, and that is 0 by default.
    pub fn set_mac(&mut self, nic: NicId, mac: MacAddr) {
        let place = &self.nics[nic.0];
        let (machine, index) = (MachineId(place.machine), place.index);
        let card = &mut self.machines[machine.0].nics[index];
        card.config.mac = mac;
        card.forget_neighbors();
        self.machine_changed(machine, Event::Mac { nic, mac });
    }

    /// Adds a static route, for as long as the machine exists.
    pub fn add_route(&mut self, machine: MachineId, route: Route) {
        self.machines[machine.0].config.routes.push(route);
        self.changed.insert(machine);
    }

    /// Programs kube-proxy's rules, whole. A machine without power does not keep them.
    pub fn apply_rules(&mut self, machine: MachineId, rules: ProxyRules) {
        self.machines[machine.0].apply_rules(rules);
    }

    /// Starts a pod on a node. A machine without power starts none.
    pub fn start_pod(&mut self, machine: MachineId, pod: PodConfig) {
        let now = self.now;
        self.machines[machine.0].start_pod(now, pod);
    }

    /// Ends a pod at once.
    pub fn stop_pod(&mut self, machine: MachineId, name: &str) {
        self.machines[machine.0].stop_pod(name);
    }

    /// Lets a NIC's machine hear a frame as if the wire had brought it. For hostile bytes in tests.
    pub fn inject(&mut self, nic: NicId, bytes: &[u8]) {
        if let Some((cable, side)) = self.nics[nic.0].cable {
            self.arrive(cable, side, false, Frame::from(bytes));
        }
    }

    /// Sets a NIC up or down.
    fn set_nic(&mut self, nic: NicId, up: bool) {
        let (machine, index) = (MachineId(self.nics[nic.0].machine), self.nics[nic.0].index);
        self.machines[machine.0].set_admin_up(index, up);
        if !up {
            self.forget_behind(nic);
        }
        let up = self.machines[machine.0].is_nic_up(index);
        self.machine_changed(machine, Event::Link { nic, up });
    }

    /// Writes down that a machine's interfaces look different, and tells its ports.
    pub(super) fn machine_changed(&mut self, machine: MachineId, event: Event) {
        self.changed.insert(machine);
        self.with_machine(machine, |now, host, effects| host.detect_conflicts(now, effects));
        for nic in self.nics_of(machine) {
            self.ports.wake(nic);
        }
        self.trace.record(self.now, &event);
    }

    /// All NICs of a machine.
    fn nics_of(&self, machine: MachineId) -> Vec<NicId> {
        (0..self.machines[machine.0].nics.len()).filter_map(|index| self.nic_id(machine.0, index)).collect()
    }
}
