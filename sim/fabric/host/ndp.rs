//! Neighbor discovery of a machine (RFC 4861): which solicitations it answers and how, as whom it asks, and what it believes. After
//! ndisc_recv_ns, ndisc_recv_na, ndisc_solicit and ndisc_send_ns in Linux' net/ipv6/ndisc.c.
//!
//! Left out: a machine's own duplicate address detection, routers and redirects, and MLD reports (our switches flood groups).

use std::net::{IpAddr, Ipv6Addr};

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::{Effects, Host};
use crate::neighbor::Advertisement;
use crate::packet6::{self, ALL_NODES, Header};

impl Host {
    /// A solicitation that reached a NIC.
    pub(super) fn handle_solicitation(
        &mut self,
        now: Instant,
        nic: usize,
        header: Header,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
        effects: &mut Effects,
    ) {
        let to_group = header.destination.is_multicast();
        let detects_duplicates = header.source.is_unspecified();
        // RFC 4861 §7.1.1: duplicate detection asks the group, and tells no MAC.
        let unsound = detects_duplicates && (header.destination != packet6::solicited_node(target) || mac.is_some());
        // Strictly of this NIC, unlike ARP with arp_ignore 0.
        if unsound || !self.nics[nic].ip6.has(target) {
            return;
        }
        let own_mac = self.nics[nic].config.mac;
        if detects_duplicates {
            let says = Advertisement { target, mac: Some(own_mac), solicited: false, overrides: true };
            let packet = packet6::advertisement(target, ALL_NODES, &says);
            self.transmit(nic, packet6::group_mac(ALL_NODES), packet, effects);
            return;
        }
        let asker = IpAddr::V6(header.source);
        if self.nics[nic].ip6.has(header.source) {
            return;
        }
        // A group's question without a MAC makes nobody known, and is not answered by a host that would have to ask back.
        if to_group && mac.is_none() && self.nics[nic].ip6.neighbors.entry(asker).is_none() {
            return;
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.nics[nic].ip6.neighbors.handle_asked(now, asker, mac, &mut outcomes);
        self.carry_out(now, nic, outcomes, effects);
        let says = Advertisement { target, mac: to_group.then_some(own_mac), solicited: true, overrides: to_group };
        let packet = packet6::advertisement(target, header.source, &says);
        self.send_to_neighbor(now, nic, asker, packet, false, effects);
    }

    /// An advertisement that reached a NIC.
    pub(super) fn handle_advertisement(&mut self, now: Instant, nic: usize, header: Header, says: &Advertisement, effects: &mut Effects) {
        let unsound = header.destination.is_multicast() && says.solicited;
        if unsound || self.nics[nic].ip6.has(says.target) {
            return;
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.nics[nic].ip6.neighbors.handle_advertised(now, says, &mut outcomes);
        self.carry_out(now, nic, outcomes, effects);
    }

    /// Asks who has `target`: its group, or `to` alone. As the source of a packet that waits, else as the NIC's link-local address.
    pub(super) fn solicit6(&self, nic: usize, target: Ipv6Addr, to: Option<MacAddr>, asker: Option<IpAddr>, effects: &mut Effects) {
        let card = &self.nics[nic];
        let waiting = match asker {
            Some(IpAddr::V6(asker)) if card.ip6.has(asker) => Some(asker),
            _ => None,
        };
        let Some(source) = waiting.or_else(|| card.ip6.link_local()) else { return };
        let group = packet6::solicited_node(target);
        let destination = if to.is_some() { target } else { group };
        let packet = packet6::solicitation(source, destination, target, Some(card.config.mac));
        self.transmit(nic, to.unwrap_or_else(|| packet6::group_mac(group)), packet, effects);
    }
}
