//! What is done to cables: plugged and pulled out, and faults put on them.

use super::{Fabric, MachineId, NicId, SwitchId};
use crate::trace::Event;
use crate::wire::{Direction, End, WireFault};

impl Fabric {
    /// Gives the cable of a NIC a fault, in one direction or both, instead of the one that it had; the default is none. A NIC without a cable has
    /// none to give it to. Where both directions are cut, the NIC and the switch's port lose their carrier.
    pub fn set_wire(&mut self, nic: NicId, direction: Direction, fault: WireFault) {
        if let Some((cable, side)) = self.nics[nic.0].cable {
            self.set_fault(cable, direction, side, &fault);
        }
    }

    /// The same for all cables between two switches; [`Direction::Out`] is from the first to the second. A cable that is cut in both directions
    /// makes the spanning tree converge anew.
    pub fn set_uplink(&mut self, one: SwitchId, other: SwitchId, direction: Direction, fault: WireFault) {
        for cable in 0..self.cables.len() {
            let [End::Port { switch: first, .. }, End::Port { switch: second, .. }] = self.cables[cable].ends else { continue };
            if (first, second) == (one.0, other.0) {
                self.set_fault(cable, direction, 0, &fault);
            } else if (second, first) == (one.0, other.0) {
                self.set_fault(cable, direction, 1, &fault);
            }
        }
    }

    /// Pulls the cable out of a NIC. Frames on their way are lost.
    pub fn unplug(&mut self, nic: NicId) {
        self.set_plugged(nic, false);
    }

    /// Puts it back.
    pub fn plug(&mut self, nic: NicId) {
        self.set_plugged(nic, true);
    }

    /// Pulls or puts a NIC's cable, if it has one.
    pub(super) fn set_plugged(&mut self, nic: NicId, plugged: bool) {
        if let Some((cable, _)) = self.nics[nic.0].cable {
            self.cables[cable].plugged = plugged;
            self.follow_carrier(cable);
        }
    }

    /// A NIC's machine sees or misses the carrier.
    pub(super) fn set_carrier(&mut self, nic: NicId, carrier: bool) {
        let (machine, index) = (MachineId(self.nics[nic.0].machine), self.nics[nic.0].index);
        self.machines[machine.0].set_carrier(index, carrier);
        let up = self.machines[machine.0].is_nic_up(index);
        self.machine_changed(machine, Event::Link { nic, up });
    }

    /// A port whose light is out forgets what was behind it.
    pub(super) fn forget_behind(&mut self, nic: NicId) {
        let Some((cable, _)) = self.nics[nic.0].cable else { return };
        self.forget_ports(cable);
    }

    /// Puts a fault on some directions of a cable.
    fn set_fault(&mut self, cable: usize, direction: Direction, near: usize, fault: &WireFault) {
        for side in direction.lanes(near) {
            self.cables[cable].set_fault(side, fault.clone(), self.seed);
        }
        self.follow_carrier(cable);
    }

    /// Lets both ends see what plugs and cuts have made of a cable's carrier.
    fn follow_carrier(&mut self, cable: usize) {
        let wire = &mut self.cables[cable];
        let carrier = wire.should_have_carrier();
        if wire.carrier == carrier {
            return;
        }
        wire.carrier = carrier;
        if !carrier {
            self.forget_ports(cable);
        }
        for end in self.cables[cable].ends {
            if let End::Nic(nic) = end {
                self.set_carrier(NicId(nic), carrier);
            }
        }
        if self.cables[cable].is_uplink() {
            self.grow_tree(false);
        }
    }

    /// The ports at a cable's ends forget what was behind them.
    fn forget_ports(&mut self, cable: usize) {
        for end in self.cables[cable].ends {
            if let End::Port { switch, port } = end {
                self.switches[switch].forget_port(port);
            }
        }
    }
}
