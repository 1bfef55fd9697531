//! ARP of a machine: who it answers (arp_ignore), as whom it asks (arp_announce), and what it believes. After arp_process and arp_solicit
//! in net/ipv4/arp.c; the neighbor table itself is [`crate::neighbor`].

use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::{Effects, Host};
use crate::frame::{Arp, Operation};

impl Host {
    /// An ARP message heard on a NIC. `to_us_alone`: the frame's destination was this NIC's MAC.
    pub(super) fn handle_arp(&mut self, now: Instant, nic: usize, arp: &Arp, to_us_alone: bool, effects: &mut Effects) {
        let dropped = self.nics[nic].neighbors.drops(arp) || arp.target_ip.is_multicast() || arp.target_ip.is_loopback();
        if dropped {
            return;
        }
        self.watch_for_conflict(now, nic, arp, effects);
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
                self.nics[nic].neighbors.handle_asked(now, arp.sender_ip.into(), Some(arp.sender_mac), &mut outcomes);
                self.answer(nic, arp, effects);
            }
        } else {
            self.nics[nic].neighbors.handle_heard(now, arp, to_us_alone, &mut outcomes);
        }
        self.carry_out(now, nic, outcomes, effects);
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
    pub(super) fn solicit(&self, nic: usize, target: Ipv4Addr, to: Option<MacAddr>, asker: Option<IpAddr>, effects: &mut Effects) {
        let card = &self.nics[nic];
        let own = card.address_towards(target).or_else(|| card.subnets.first().map(|(address, _)| *address));
        let asker = match asker {
            Some(IpAddr::V4(asker)) if self.sysctl.arp_announce == 0 && self.is_local(asker) => Some(asker),
            _ => None,
        };
        let request = Arp {
            operation: Operation::Request,
            sender_mac: card.config.mac,
            sender_ip: asker.or(own).unwrap_or(Ipv4Addr::UNSPECIFIED),
            target_mac: MacAddr::ZERO,
            target_ip: target,
        };
        effects.transmit.push((nic, request.frame(card.config.mac, to.unwrap_or(MacAddr::BROADCAST))));
    }
}
