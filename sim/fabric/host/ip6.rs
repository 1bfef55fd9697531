//! IPv6 of a machine: its addresses, what is delivered to it, and how its own packets leave. A host only: it forwards nothing, knows the
//! subnets it is on and no other routes, and has no TCP.

use std::net::{IpAddr, Ipv6Addr};

use bellhop_core::link::InterfaceAddress;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use smoltcp::wire::{Icmpv6DstUnreachable, IpProtocol};

use super::ip::LOOPBACK;
use super::{Effects, Host, Timer};
use crate::neighbor::NeighborTable;
use crate::packet6::{self, ALL_NODES, Icmp6};

/// IPv6 of one NIC.
pub(crate) struct Ip6 {
    /// Its addresses with prefix lengths, the link-local one last. None at all where the NIC was given none: IPv6 is off there.
    addresses: Vec<(Ipv6Addr, u8)>,
    /// Who is there.
    pub(crate) neighbors: NeighborTable,
}

impl Ip6 {
    /// Of a NIC with these addresses. One that has an IPv6 address has a link-local one too.
    pub(super) fn new(mac: MacAddr, addresses: &[InterfaceAddress], neighbors: NeighborTable) -> Self {
        let six = |address: &InterfaceAddress| match address.address {
            IpAddr::V6(v6) => Some((v6, address.prefix_length)),
            IpAddr::V4(_) => None,
        };
        let mut addresses: Vec<_> = addresses.iter().filter_map(six).collect();
        if !addresses.is_empty() && !addresses.iter().any(|(address, _)| address.is_unicast_link_local()) {
            addresses.push((packet6::link_local(mac), 64));
        }
        Self { addresses, neighbors }
    }

    /// Whether an address is its own.
    pub(super) fn has(&self, address: Ipv6Addr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }

    /// Its link-local address.
    pub(super) fn link_local(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().map(|(address, _)| *address).find(Ipv6Addr::is_unicast_link_local)
    }

    /// Whether it listens to a group: all nodes, and the solicited-node groups of its addresses.
    fn listens_to(&self, group: Ipv6Addr) -> bool {
        !self.addresses.is_empty() && (group == ALL_NODES || self.addresses.iter().any(|(own, _)| packet6::solicited_node(*own) == group))
    }

    /// Its address in the subnet that holds `other`, and the length of the prefix that they share.
    fn towards(&self, other: Ipv6Addr) -> Option<(u8, Ipv6Addr)> {
        let subnets = self.addresses.iter().filter(|(own, length)| in_subnet(*own, *length, other));
        subnets.map(|(own, length)| (*length, *own)).max_by_key(|(length, _)| *length)
    }
}

impl Host {
    /// A frame with an IPv6 packet in it that reached a NIC, for it alone or for a group.
    pub(super) fn handle_packet6(&mut self, now: Instant, nic: usize, bytes: &[u8], effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        let card = &self.nics[nic].ip6;
        let for_us =
            if header.destination.is_multicast() { card.listens_to(header.destination) } else { self.is_local6(header.destination) };
        if !for_us {
            return;
        }
        match packet6::icmp(bytes) {
            Some(Icmp6::Solicitation { target, mac }) => self.handle_solicitation(now, nic, header, target, mac, effects),
            Some(Icmp6::Advertisement(says)) => self.handle_advertisement(now, nic, header, &says, effects),
            Some(icmp) if !self.is_local6(header.source) => self.deliver6(now, bytes, icmp, effects),
            _ => {}
        }
    }

    /// A packet that the machine sent to itself.
    pub(super) fn handle_loopback6(&mut self, now: Instant, bytes: &[u8], effects: &mut Effects) {
        if let Some(icmp) = packet6::icmp(bytes) {
            self.deliver6(now, bytes, icmp, effects);
        }
    }

    /// Sends a packet of the machine's own. `confirm`: its sender has seen progress.
    pub(super) fn send6(&mut self, now: Instant, bytes: Vec<u8>, confirm: bool, effects: &mut Effects) {
        let Some(header) = packet6::header(&bytes) else { return };
        if self.is_local6(header.destination) {
            effects.timers.push((now + LOOPBACK, Timer::Loopback(bytes)));
        } else if let Some((nic, _)) = self.route6(header.destination) {
            self.send_to_neighbor(now, nic, header.destination.into(), bytes, confirm, effects);
        } else {
            self.undeliverable6(now, &bytes, Icmpv6DstUnreachable::NoRoute, effects);
        }
    }

    /// A packet cannot be delivered: its sender, who is on this machine, is told.
    pub(super) fn undeliverable6(&mut self, now: Instant, bytes: &[u8], reason: Icmpv6DstUnreachable, effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        let Some(error) = packet6::unreachable(header.source, bytes, reason) else { return };
        if self.is_local6(header.source)
            && let Some(icmp) = packet6::icmp(&error)
        {
            self.deliver6(now, &error, icmp, effects);
        }
    }

    /// The source address that it would use towards a destination: of the link's own scope, or of the subnet.
    pub(super) fn source_for6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.is_local6(destination) {
            return Some(destination);
        }
        self.route6(destination).map(|(_, source)| source)
    }

    /// Whether an address is on one of its NICs.
    pub(crate) fn is_local6(&self, address: Ipv6Addr) -> bool {
        self.nics.iter().any(|nic| nic.ip6.has(address))
    }

    /// The NIC on whose subnet a destination is, and its address there. A link-local destination is sought behind the first NIC that is up.
    fn route6(&self, destination: Ipv6Addr) -> Option<(usize, Ipv6Addr)> {
        let towards = |(index, nic): (usize, &super::Nic)| {
            let (length, own) = nic.ip6.towards(destination).filter(|_| nic.is_up())?;
            Some((length, usize::MAX - index, own))
        };
        let (_, index, own) = self.nics.iter().enumerate().filter_map(towards).max_by_key(|(length, index, _)| (*length, *index))?;
        Some((usize::MAX - index, own))
    }

    /// A message for the machine itself or a program on it.
    fn deliver6(&mut self, now: Instant, bytes: &[u8], icmp: Icmp6, effects: &mut Effects) {
        let Some(header) = packet6::header(bytes).filter(|header| header.protocol == IpProtocol::Icmpv6) else { return };
        match icmp {
            Icmp6::Echo => {
                let to_group = header.destination.is_multicast();
                let own = if to_group { self.source_for6(header.source) } else { Some(header.destination) };
                if let Some(reply) = own.and_then(|own| packet6::echo_reply(bytes, own)) {
                    self.send6(now, reply, false, effects);
                }
            }
            Icmp6::EchoReply { identifier, sequence } => self.handle_echo_reply(now, identifier, sequence, header.hop_limit, effects),
            Icmp6::EchoUnreachable { identifier, sequence, code } => {
                self.handle_echo_unreachable(identifier, sequence, header.source.into(), code, effects);
            }
            Icmp6::Solicitation { .. } | Icmp6::Advertisement(_) => {}
        }
    }
}

/// Whether two addresses share their first `length` bits.
fn in_subnet(own: Ipv6Addr, length: u8, other: Ipv6Addr) -> bool {
    let host_bits = 128 - u32::from(length.min(128));
    (own.to_bits() ^ other.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
}
