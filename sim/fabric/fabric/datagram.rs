//! The smallest program there is: one UDP datagram to the discard port. For whoever wants a packet to leave a machine and nothing more.

use std::net::IpAddr;

use super::{Fabric, MachineId};

impl Fabric {
    /// Sends a datagram to a machine's neighbor or further: to the discard port (RFC 863), with a byte in it. `source` is one of its own
    /// addresses; without one the routing table chooses. `confirm`: its sender has seen progress (MSG_CONFIRM). Without a route nothing
    /// happens.
    pub fn send_datagram(&mut self, machine: MachineId, source: Option<IpAddr>, to: IpAddr, confirm: bool) {
        self.with_machine(machine, |now, host, effects| host.send_datagram(now, source, to, confirm, effects));
    }
}
