//! Neighbor discovery of a machine (RFC 4861): which solicitations it answers and how, as whom it asks, and what it believes. After
//! ndisc_recv_ns, ndisc_recv_na, ndisc_solicit and ndisc_send_ns in Linux' net/ipv6/ndisc.c.
//!
//! A machine looks for duplicates of an IPv6 address that it takes while it runs (RFC 4862 §5.4, accept_dad=1), not of those that it was made with.
//!
//! Left out: routers and redirects, and MLD reports (our switches flood groups).

use std::net::{IpAddr, Ipv6Addr};

use std::time::Duration;

use bellhop_core::link::InterfaceAddress;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::ip6::Tentative;
use super::{Effects, Happened, Host, Timer};
use crate::neighbor::Advertisement;
use crate::packet6::{self, ALL_NODES, Header};

/// How long it waits after its one question (RetransTimer, and DupAddrDetectTransmits 1: RFC 4862 §5.1). Linux asks up to a second later, by chance.
const DETECTION: Duration = Duration::from_secs(1);

impl Host {
    /// Takes an address onto the first NIC on whose subnet it is, and asks whether somebody has it. `false`: there is no such NIC.
    pub(crate) fn claim6(&mut self, now: Instant, address: Ipv6Addr, effects: &mut Effects) -> bool {
        let towards = |nic: &super::Nic| nic.ip6.towards(address).map(|(length, _)| length);
        let found = self.nics.iter().enumerate().find_map(|(index, nic)| Some((index, towards(nic)?)));
        let Some((nic, length)) = found.filter(|_| self.powered && !self.nics.iter().any(|nic| nic.ip6.owned().any(|own| own == address)))
        else {
            return false;
        };
        self.nics[nic].ip6.tentative.push(Tentative { address, prefix_length: length, failed: false });
        let group = packet6::solicited_node(address);
        let question = packet6::solicitation(Ipv6Addr::UNSPECIFIED, group, address, None);
        self.transmit(nic, packet6::group_mac(group), question, effects);
        effects.timers.push((now + DETECTION, Timer::Unique { nic, address }));
        true
    }

    /// The time is over: where nobody spoke, the address is its own.
    pub(super) fn handle_unique(&mut self, nic: usize, address: Ipv6Addr, effects: &mut Effects) {
        let Some(card) = self.nics.get_mut(nic) else { return };
        let Some(place) = card.ip6.tentative.iter().position(|own| own.address == address && !own.failed) else { return };
        let prefix_length = card.ip6.tentative.remove(place).prefix_length;
        card.ip6.take(address, prefix_length);
        card.config.addresses.push(InterfaceAddress { address: address.into(), prefix_length });
        effects.happened.push(Happened::Unique { nic, address });
    }

    /// Gives up an address that it had taken, or was about to. The NIC it was on.
    pub(crate) fn release6(&mut self, address: Ipv6Addr) -> Option<usize> {
        self.nics.iter_mut().for_each(|nic| nic.ip6.tentative.retain(|own| own.address != address));
        let made_with = |index: usize| self.config.nics[index].addresses.iter().any(|own| own.address == address);
        let index = (0..self.nics.len()).find(|index| !made_with(*index) && self.nics[*index].ip6.has(address))?;
        let nic = &mut self.nics[index];
        nic.ip6.addresses.retain(|(own, _)| *own != address);
        nic.ip6.given -= 1;
        nic.config.addresses.retain(|own| own.address != address);
        Some(index)
    }

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
        if detects_duplicates && !unsound {
            // Somebody else looks for the same: neither takes it (RFC 4862 §5.4.3).
            self.nics[nic].ip6.fail(target);
        }
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
        // Somebody has what it was given (RFC 4862 §5.4.4). Linux learns nothing from that, so that a machine whose address failed does not reach the
        // other one either.
        if self.nics[nic].ip6.fail(says.target) {
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
