//! ARP of a machine: who it answers (arp_ignore), as whom it asks (arp_announce), and what it believes. After arp_process and arp_solicit
//! in net/ipv4/arp.c; the neighbor table itself is [`crate::neighbor`].

use std::net::Ipv4Addr;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use smoltcp::wire::Icmpv4DstUnreachable;

use super::{Effects, Happened, Host, Timer};
use crate::frame::{Arp, Operation, write_header};
use crate::neighbor::Outcome;
use crate::packet;

impl Host {
    /// An ARP message heard on a NIC. `to_us_alone`: the frame's destination was this NIC's MAC.
    pub(super) fn handle_arp(&mut self, now: Instant, nic: usize, arp: &Arp, to_us_alone: bool, effects: &mut Effects) {
        let dropped = self.nics[nic].neighbors.drops(arp) || arp.target_ip.is_multicast() || arp.target_ip.is_loopback();
        if dropped {
            return;
        }
        let asks_us = arp.operation == Operation::Request && self.is_local(arp.target_ip);
        if arp.sender_ip.is_unspecified() {
            // A probe (RFC 5227) is answered and learned from by nobody.
            if asks_us && self.answers(nic, arp.target_ip) {
                self.answer(nic, arp, effects);
            }
            return;
        }
        // A sender that claims an address of ours is a martian to the routing table, so that it does not count as a question.
        let sound_sender = !arp.sender_ip.is_multicast() && !arp.sender_ip.is_broadcast() && !self.is_local(arp.sender_ip);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        if asks_us && sound_sender {
            if self.answers(nic, arp.target_ip) {
                self.nics[nic].neighbors.handle_asked(now, arp.sender_ip, arp.sender_mac, &mut outcomes);
                self.answer(nic, arp, effects);
            }
        } else {
            self.nics[nic].neighbors.handle_heard(now, arp, to_us_alone, &mut outcomes);
        }
        self.carry_out(now, nic, outcomes, effects);
    }

    /// A neighbor entry's timer.
    pub(super) fn handle_neighbor_timer(&mut self, now: Instant, nic: usize, address: Ipv4Addr, effects: &mut Effects) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        if let Some(nic) = self.nics.get_mut(nic) {
            nic.neighbors.handle_timer(now, address, &mut outcomes);
        }
        self.carry_out(now, nic, outcomes, effects);
    }

    /// Sends a packet to a next hop on a NIC.
    pub(super) fn send_to_neighbor(
        &mut self,
        now: Instant,
        nic: usize,
        next_hop: Ipv4Addr,
        packet: Vec<u8>,
        confirm: bool,
        effects: &mut Effects,
    ) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        if let Some((mac, packet)) = self.nics[nic].neighbors.send(now, next_hop, packet, confirm, &mut outcomes) {
            self.transmit(nic, mac, packet, effects);
        }
        self.carry_out(now, nic, outcomes, effects);
    }

    /// Does what the neighbor table wants, and keeps the list for the next time.
    fn carry_out(&mut self, now: Instant, nic: usize, mut outcomes: Vec<Outcome>, effects: &mut Effects) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Solicit { target, to, asker } => self.solicit(nic, target, to, asker, effects),
                Outcome::Send { mac, packet } => self.transmit(nic, mac, packet, effects),
                Outcome::Unreachable { packet } => {
                    self.undeliverable(now, &packet, Icmpv4DstUnreachable::HostUnreachable, effects);
                }
                Outcome::Wake { address, at } => effects.timers.push((at, Timer::Neighbor { nic, address })),
                Outcome::Changed { address, state, mac } => effects.happened.push(Happened::Neighbor { nic, address, state, mac }),
            }
        }
        self.outcomes = outcomes;
    }

    /// Whether a request for one of its addresses is answered on this NIC.
    fn answers(&self, nic: usize, target: Ipv4Addr) -> bool {
        self.sysctl.arp_ignore == 0 || self.nics[nic].subnets.iter().any(|(own, _)| *own == target)
    }

    /// Replies to the asker alone.
    fn answer(&self, nic: usize, asked: &Arp, effects: &mut Effects) {
        let mac = self.nics[nic].config.mac;
        let reply = Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: asked.target_ip,
            target_mac: asked.sender_mac,
            target_ip: asked.sender_ip,
        };
        effects.transmit.push((nic, reply.frame(mac, asked.sender_mac)));
    }

    /// Asks who has `target`. As whom is arp_announce's business.
    fn solicit(&self, nic: usize, target: Ipv4Addr, to: Option<MacAddr>, asker: Option<Ipv4Addr>, effects: &mut Effects) {
        let card = &self.nics[nic];
        let own = card.address_towards(target).or_else(|| card.subnets.first().map(|(address, _)| *address));
        let asker = asker.filter(|asker| self.sysctl.arp_announce == 0 && self.is_local(*asker));
        let request = Arp {
            operation: Operation::Request,
            sender_mac: card.config.mac,
            sender_ip: asker.or(own).unwrap_or(Ipv4Addr::UNSPECIFIED),
            target_mac: MacAddr::ZERO,
            target_ip: target,
        };
        effects.transmit.push((nic, request.frame(card.config.mac, to.unwrap_or(MacAddr::BROADCAST))));
    }

    /// Puts a packet on the wire.
    fn transmit(&self, nic: usize, destination: MacAddr, mut bytes: Vec<u8>, effects: &mut Effects) {
        debug_assert!(bytes.len() >= packet::HEADROOM, "packets carry their headroom");
        write_header(&mut bytes, self.nics[nic].config.mac, destination, smoltcp::wire::EthernetProtocol::Ipv4);
        effects.transmit.push((nic, bytes.as_slice().into()));
    }
}
