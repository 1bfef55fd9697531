//! A learning switch: which port a MAC was last heard on, where a frame goes (IEEE 802.1D §7.7 to 7.9), and what it refuses.
//!
//! It knows ports by number, no cables, and above Ethernet only what ARP inspection reads. Which ports the spanning tree blocks is told to it.

use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use crate::frame::Frame;
use crate::random::Numbered;
use crate::trace::DropReason;

mod inspection;
mod storm;
mod table;
#[cfg(test)]
mod tests;

use inspection::Inspection;
use storm::Bucket;
use table::Table;

/// How long a MAC is remembered (802.1D's recommended ageing time).
pub const AGEING: Duration = Duration::from_secs(300);

/// How long a rapid spanning tree takes to converge where it cannot agree at once: a missed hello is three times two seconds at worst, an
/// agreed change some milliseconds; two seconds is what administrators reckon with (IEEE 802.1D-2004 §17).
pub const CONVERGE_RSTP: Duration = Duration::from_secs(2);

/// The same of the first spanning tree: listening and learning, a forward delay of 15 s each (IEEE 802.1D-1998 §8.10).
pub const CONVERGE_STP: Duration = Duration::from_secs(30);

/// What a switch can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// How long a MAC that is not heard is remembered.
    pub ageing: Duration,
    /// MACs that it can remember. A full table learns nothing new: frames to whoever is not in it are flooded, as real switches do (and as
    /// `macof` makes them). 8,192 is a small access switch's.
    pub table_max: usize,
    /// Broadcasts a second that a port may bring in; the excess is dropped. `None`: all.
    pub storm_limit: Option<u32>,
    /// Dynamic ARP inspection: an IPv4 address is bound to the MAC and the port where it was first seen as an ARP sender, or to what
    /// [`crate::Fabric::bind_address`] says. ARP that says otherwise, or whose sender is not its Ethernet source, is dropped. Ports to
    /// other switches are trusted, as administrators set them.
    pub inspect: bool,
    /// How long the spanning tree takes to converge anew; of the switches of one tree, the slowest counts.
    pub converge: Duration,
}

impl Default for SwitchConfig {
    /// A small access switch with a rapid spanning tree, and nothing refused.
    fn default() -> Self {
        Self { ageing: AGEING, table_max: 8192, storm_limit: None, inspect: false, converge: CONVERGE_RSTP }
    }
}

/// What a switch has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// MACs in the table, aged ones perhaps among them.
    pub known: usize,
    /// How often a MAC was heard on another port than the one it was known on.
    pub moves: u64,
    /// How often a MAC was not learned because the table was full.
    pub not_learned: u64,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of this port.
    Port(usize),
    /// Out of every port but the one it came in by.
    Flood,
    /// Nowhere: its destination is where it came from.
    Nowhere,
    /// Nowhere: it is refused.
    Refused(DropReason),
}

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    /// The cable in it.
    pub(crate) cable: usize,
    /// The side of the cable that is ours.
    pub(crate) side: usize,
    /// Whether it leads to another switch.
    pub(crate) uplink: bool,
    /// Whether the spanning tree lets nothing pass.
    pub(crate) blocked: bool,
    /// How many broadcasts it has brought of late.
    bucket: Bucket,
}

/// A switch.
#[derive(Debug)]
pub(crate) struct Switch {
    /// What it was told.
    pub(crate) config: SwitchConfig,
    /// Its ports.
    pub(crate) ports: Vec<Port>,
    /// The forwarding table.
    table: Table,
    /// Who may say what in ARP.
    inspection: Inspection,
    /// Draws for floods.
    flood_draws: Numbered,
    /// Floods so far.
    floods: u64,
    /// When the last one arrives where it arrives.
    last_flood: Instant,
}

impl Switch {
    /// One without ports, whose floods draw from `draws`.
    pub(crate) fn new(config: SwitchConfig, draws: Numbered) -> Self {
        Self {
            config,
            ports: Vec::new(),
            table: Table::default(),
            inspection: Inspection::default(),
            flood_draws: draws,
            floods: 0,
            last_flood: Instant::ZERO,
        }
    }

    /// Puts a cable into a new port.
    pub(crate) fn plug(&mut self, cable: usize, side: usize, uplink: bool) {
        self.ports.push(Port { cable, side, uplink, blocked: false, bucket: Bucket::default() });
    }

    /// Learns where the source is and says where the frame goes.
    pub(crate) fn handle_frame(&mut self, now: Instant, port: usize, frame: &Frame) -> Way {
        let (source, destination) = (frame.source(), frame.destination());
        let Some(came_in) = self.ports.get_mut(port) else { return Way::Refused(DropReason::Blocked) };
        if came_in.blocked {
            return Way::Refused(DropReason::Blocked);
        }
        let limit = self.config.storm_limit.filter(|_| destination == MacAddr::BROADCAST);
        if limit.is_some_and(|limit| !came_in.bucket.takes(now, limit)) {
            return Way::Refused(DropReason::StormLimit);
        }
        if self.config.inspect
            && !came_in.uplink
            && let Err(reason) = self.inspection.inspect(port, frame, self.config.table_max)
        {
            return Way::Refused(reason);
        }
        self.table.learn(now, port, source, &self.config);
        if !destination.is_unicast() {
            return Way::Flood;
        }
        match self.table.port_of(now, destination, self.config.ageing) {
            Some(known) if known == port => Way::Nowhere,
            Some(known) => Way::Port(known),
            None => Way::Flood,
        }
    }

    /// A port lost its carrier: what was behind it is forgotten.
    pub(crate) fn forget_port(&mut self, port: usize) {
        self.table.forget(|known| known == port);
    }

    /// The tree has changed: whatever was behind another switch may now be behind yet another (a topology change flushes all but edge ports,
    /// 802.1D-2004 §17.11).
    pub(crate) fn forget_uplinks(&mut self) {
        let ports = &self.ports;
        self.table.forget(|known| ports.get(known).is_none_or(|port| port.uplink));
    }

    /// Binds an address by hand, for inspection.
    pub(crate) fn bind(&mut self, address: std::net::Ipv4Addr, mac: MacAddr, port: usize) {
        self.inspection.bind(address, mac, port);
    }

    /// The draw of the next flood.
    pub(crate) fn draw_flood(&mut self) -> u64 {
        self.floods += 1;
        self.flood_draws.at(self.floods)
    }

    /// When a flood arrives that would arrive at `at` if it were alone: none overtakes another.
    pub(crate) fn flood_in_order(&mut self, at: Instant) -> Instant {
        self.last_flood = self.last_flood.max(at);
        self.last_flood
    }

    /// What it has counted.
    pub(crate) fn counters(&self) -> SwitchCounters {
        self.table.counters()
    }
}
