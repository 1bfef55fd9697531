//! Between a machine and its neighbor tables, for both families: packets go down, and what the tables want done is carried out.
//!
//! What is asked and answered on the wire is the business of [`super::arp`] and [`super::ndp`]; when, of [`crate::neighbor`].

use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use smoltcp::wire::{EthernetProtocol, Icmpv4DstUnreachable, Icmpv6DstUnreachable};

use super::{Effects, Happened, Host, Nic, Timer};
use crate::frame::write_header;
use crate::neighbor::{NeighborTable, Outcome};
use crate::packet;

impl Nic {
    /// The table that an address's neighbors are in.
    pub(super) fn table(&mut self, address: IpAddr) -> &mut NeighborTable {
        if address.is_ipv4() { &mut self.neighbors } else { &mut self.ip6.neighbors }
    }

    /// Nothing is known any more (neigh_ifdown).
    pub(crate) fn forget_neighbors(&mut self) {
        self.neighbors.clear();
        self.ip6.neighbors.clear();
    }
}

impl Host {
    /// A neighbor entry's timer.
    pub(super) fn handle_neighbor_timer(&mut self, now: Instant, nic: usize, address: IpAddr, effects: &mut Effects) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        if let Some(nic) = self.nics.get_mut(nic) {
            nic.table(address).handle_timer(now, address, &mut outcomes);
        }
        self.carry_out(now, nic, outcomes, effects);
    }

    /// Sends a packet to a next hop on a NIC.
    pub(super) fn send_to_neighbor(
        &mut self,
        now: Instant,
        nic: usize,
        next_hop: IpAddr,
        packet: Vec<u8>,
        confirm: bool,
        effects: &mut Effects,
    ) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        if let Some((mac, packet)) = self.nics[nic].table(next_hop).send(now, next_hop, packet, confirm, &mut outcomes) {
            self.transmit(nic, mac, packet, effects);
        }
        self.carry_out(now, nic, outcomes, effects);
    }

    /// Does what a neighbor table wants, and keeps the list for the next time.
    pub(super) fn carry_out(&mut self, now: Instant, nic: usize, mut outcomes: Vec<Outcome>, effects: &mut Effects) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Solicit { target: IpAddr::V4(target), to, asker } => self.solicit(nic, target, to, asker, effects),
                Outcome::Solicit { target: IpAddr::V6(target), to, asker } => self.solicit6(nic, target, to, asker, effects),
                Outcome::Send { mac, packet } => self.transmit(nic, mac, packet, effects),
                Outcome::Unreachable { packet } if packet::version(&packet) == 6 => {
                    self.undeliverable6(now, &packet, Icmpv6DstUnreachable::AddrUnreachable, effects);
                }
                Outcome::Unreachable { packet } => {
                    self.undeliverable(now, &packet, Icmpv4DstUnreachable::HostUnreachable, effects);
                }
                Outcome::Wake { address, at } => effects.timers.push((at, Timer::Neighbor { nic, address })),
                Outcome::Changed { address, state, mac } => effects.happened.push(Happened::Neighbor { nic, address, state, mac }),
            }
        }
        self.outcomes = outcomes;
    }

    /// Puts a packet on the wire.
    pub(super) fn transmit(&self, nic: usize, destination: MacAddr, mut bytes: Vec<u8>, effects: &mut Effects) {
        debug_assert!(bytes.len() >= packet::HEADROOM, "packets carry their headroom");
        let ethertype = if packet::version(&bytes) == 6 { EthernetProtocol::Ipv6 } else { EthernetProtocol::Ipv4 };
        write_header(&mut bytes, self.nics[nic].config.mac, destination, ethertype);
        effects.transmit.push((nic, bytes.as_slice().into()));
    }
}
