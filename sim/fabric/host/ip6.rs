//! IPv6 of a machine: its addresses, and the way of a packet, as [`super::ip`] has it for IPv4: in, to itself, through, out. No packet is too old for a
//! word about it: ICMPv6's time exceeded is left out.

use std::net::{IpAddr, Ipv6Addr};

use bellhop_core::link::InterfaceAddress;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use smoltcp::wire::{Icmpv6DstUnreachable, IpProtocol};

use super::ip::LOOPBACK;
use super::{Effects, Host, Timer};
use crate::neighbor::NeighborTable;
use crate::packet6::{self, ALL_NODES, Icmp6};
use crate::proxy::Origin;

/// IPv6 of one NIC.
pub(crate) struct Ip6 {
    /// Its addresses with prefix lengths, the link-local one last. None at all where the NIC was given none: IPv6 is off there.
    pub(super) addresses: Vec<(Ipv6Addr, u8)>,
    /// Those that duplicates are being looked for of: heard for, and not used.
    pub(super) tentative: Vec<Tentative>,
    /// How many addresses it was given.
    pub(super) given: usize,
    /// Who is there.
    pub(crate) neighbors: NeighborTable,
}

/// An address that is not in use.
pub(super) struct Tentative {
    pub(super) address: Ipv6Addr,
    pub(super) prefix_length: u8,
    /// Somebody else has it.
    pub(super) failed: bool,
}

impl Ip6 {
    /// Of a NIC with these addresses. One that has an IPv6 address has a link-local one too.
    pub(super) fn new(mac: MacAddr, addresses: &[InterfaceAddress], neighbors: NeighborTable) -> Self {
        let six = |address: &InterfaceAddress| match address.address {
            IpAddr::V6(v6) => Some((v6, address.prefix_length)),
            IpAddr::V4(_) => None,
        };
        let mut addresses: Vec<_> = addresses.iter().filter_map(six).collect();
        let given = addresses.len();
        if !addresses.is_empty() && !addresses.iter().any(|(address, _)| address.is_unicast_link_local()) {
            addresses.push((packet6::link_local(mac), 64));
        }
        Self { addresses, tentative: Vec::new(), given, neighbors }
    }

    /// Whether an address is its own.
    pub(super) fn has(&self, address: Ipv6Addr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }

    /// Takes an address, before the link-local one.
    pub(super) fn take(&mut self, address: Ipv6Addr, prefix_length: u8) {
        self.addresses.insert(self.given, (address, prefix_length));
        self.given += 1;
    }

    /// Its link-local address.
    pub(super) fn link_local(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().map(|(address, _)| *address).find(Ipv6Addr::is_unicast_link_local)
    }

    /// The link-local address that it made itself.
    pub(super) fn made_link_local(&self) -> Option<InterfaceAddress> {
        let made = self.addresses.get(self.given).filter(|(address, _)| address.is_unicast_link_local());
        made.map(|(address, prefix_length)| InterfaceAddress { address: (*address).into(), prefix_length: *prefix_length })
    }

    /// All that it was given, in use or not.
    pub(super) fn owned(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.addresses.iter().map(|(own, _)| *own).chain(self.tentative.iter().map(|own| own.address))
    }

    /// Somebody else has one of those that duplicates are being looked for of, or looks for the same: it stays, and is never used (dadfailed in
    /// `ip address`). Whether it is one.
    pub(super) fn fail(&mut self, address: Ipv6Addr) -> bool {
        let own = self.tentative.iter_mut().find(|own| own.address == address);
        own.map(|own| own.failed = true).is_some()
    }

    /// Whether it listens to a group: all nodes, and the solicited-node groups of its addresses.
    fn listens_to(&self, group: Ipv6Addr) -> bool {
        !self.addresses.is_empty() && (group == ALL_NODES || self.owned().any(|own| packet6::solicited_node(own) == group))
    }

    /// Its address in the subnet that holds `other`, and the length of the prefix that they share.
    pub(super) fn towards(&self, other: Ipv6Addr) -> Option<(u8, Ipv6Addr)> {
        let subnets = self.addresses.iter().filter(|(own, length)| in_subnet(*own, *length, other));
        subnets.map(|(own, length)| (*length, *own)).max_by_key(|(length, _)| *length)
    }
}

impl Host {
    /// A frame for a group with an IPv6 packet in it.
    pub(super) fn handle_group6(&mut self, now: Instant, nic: usize, bytes: &[u8], effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        if header.destination.is_multicast() && self.nics[nic].ip6.listens_to(header.destination) {
            self.hear6(now, nic, bytes, effects);
        }
    }

    /// A frame for this NIC alone with an IPv6 packet in it.
    pub(super) fn handle_unicast6(&mut self, now: Instant, nic: usize, bytes: &[u8], effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        if header.destination.is_multicast() {
            self.handle_group6(now, nic, bytes, effects);
        } else if header.protocol == IpProtocol::Icmpv6 && self.is_local6(header.destination) {
            self.hear6(now, nic, bytes, effects);
        } else {
            self.handle_packet6(now, bytes.to_vec(), Origin::Outside, effects);
        }
    }

    /// ICMPv6 for the machine: neighbor discovery is the NIC's, all else is delivered.
    fn hear6(&mut self, now: Instant, nic: usize, bytes: &[u8], effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        match packet6::icmp(bytes) {
            Some(Icmp6::Solicitation { target, mac }) => self.handle_solicitation(now, nic, header, target, mac, effects),
            Some(Icmp6::Advertisement(says)) => self.handle_advertisement(now, nic, header, &says, effects),
            Some(_) if !self.is_local6(header.source) => self.deliver6(now, bytes.to_vec(), effects),
            _ => {}
        }
    }

    /// A packet that the machine sent to itself.
    pub(super) fn handle_loopback6(&mut self, now: Instant, mut bytes: Vec<u8>, effects: &mut Effects) {
        if !self.translated(now, &mut bytes, Origin::Node, effects) {
            return;
        }
        if packet6::header(&bytes).is_some_and(|header| self.is_local6(header.destination)) {
            self.deliver6(now, bytes, effects);
        }
    }

    /// A packet from a NIC or from a pod.
    pub(super) fn handle_packet6(&mut self, now: Instant, mut bytes: Vec<u8>, origin: Origin, effects: &mut Effects) {
        let Some(header) = packet6::header(&bytes) else { return };
        if self.is_local6(header.source) || !self.translated(now, &mut bytes, origin, effects) {
            return;
        }
        let Some(header) = packet6::header(&bytes) else { return };
        if self.is_local6(header.destination) {
            self.deliver6(now, bytes, effects);
        } else if self.config.forwarding && self.forwards(header.destination) && packet6::decrement_hop_limit(&mut bytes) {
            self.route_out6(now, bytes, header.destination, false, effects);
        }
    }

    /// Sends a packet of the machine's own. `confirm`: its sender has seen progress.
    pub(super) fn send6(&mut self, now: Instant, mut bytes: Vec<u8>, confirm: bool, effects: &mut Effects) {
        if !self.translated(now, &mut bytes, Origin::Node, effects) {
            return;
        }
        let Some(header) = packet6::header(&bytes) else { return };
        if self.is_local6(header.destination) {
            effects.timers.push((now + LOOPBACK, Timer::Loopback(bytes)));
        } else {
            self.route_out6(now, bytes, header.destination, confirm, effects);
        }
    }

    /// Sends a packet on its way: to a pod of this machine, or by the routing table.
    fn route_out6(&mut self, now: Instant, bytes: Vec<u8>, destination: Ipv6Addr, confirm: bool, effects: &mut Effects) {
        if self.pods.contains_key(&destination.into()) {
            self.send_to_pod(now, destination.into(), bytes, effects);
        } else if let Some((nic, next_hop, _)) = self.route6(destination) {
            self.send_to_neighbor(now, nic, next_hop.into(), bytes, confirm, effects);
        } else {
            self.undeliverable6(now, &bytes, Icmpv6DstUnreachable::NoRoute, effects);
        }
    }

    /// A packet cannot be delivered: its sender is told, here or by ICMPv6.
    pub(super) fn undeliverable6(&mut self, now: Instant, bytes: &[u8], reason: Icmpv6DstUnreachable, effects: &mut Effects) {
        let Some(header) = packet6::header(bytes) else { return };
        let from = if self.is_local6(header.source) { Some(header.source) } else { self.source_for6(header.source) };
        let Some(error) = from.and_then(|from| packet6::unreachable(from, bytes, reason)) else { return };
        if self.is_local6(header.source) {
            self.deliver6(now, error, effects);
        } else {
            self.send6(now, error, false, effects);
        }
    }

    /// The source address that it would use towards a destination: of the link's own scope, or of the subnet.
    pub(super) fn source_for6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.is_local6(destination) {
            return Some(destination);
        }
        if self.pods.contains_key(&destination.into()) {
            return self.nics.iter().find_map(|nic| nic.ip6.addresses.first()).map(|(address, _)| *address);
        }
        self.route6(destination).map(|(.., source)| source)
    }

    /// Whether an address is its own, on whichever device.
    pub(crate) fn is_local6(&self, address: Ipv6Addr) -> bool {
        self.is_nic_address6(address) || self.local.contains(&address.into())
    }

    /// Whether an address is on one of its NICs.
    pub(super) fn is_nic_address6(&self, address: Ipv6Addr) -> bool {
        self.nics.iter().any(|nic| nic.ip6.has(address))
    }

    /// The NIC, the next hop and the source address towards a destination that is not its own: the longest prefix, connected before static. A link-local
    /// destination is sought behind the first NIC that is up.
    pub(crate) fn route6(&self, destination: Ipv6Addr) -> Option<(usize, Ipv6Addr, Ipv6Addr)> {
        let connected = self.connected6(destination).map(|(length, nic, own)| (length, nic, destination, own));
        let of_table = |route: &super::Route| match route.via {
            IpAddr::V6(via) if route.destination.contains(destination.into()) => {
                self.connected6(via).map(|(_, nic, own)| (route.destination.prefix_length, nic, via, own))
            }
            _ => None,
        };
        let by_static = self.config.routes.iter().filter_map(of_table).max_by_key(|(length, ..)| *length);
        let (_, nic, next_hop, own) = match (connected, by_static) {
            (Some(connected), Some(by_static)) if by_static.0 > connected.0 => by_static,
            (Some(connected), _) => connected,
            (None, by_static) => by_static?,
        };
        Some((nic, next_hop, own))
    }

    /// The NIC on whose subnet an address is, with the prefix length and its own address there.
    fn connected6(&self, address: Ipv6Addr) -> Option<(u8, usize, Ipv6Addr)> {
        let towards = |(index, nic): (usize, &super::Nic)| {
            let (length, own) = nic.ip6.towards(address).filter(|_| nic.is_up())?;
            Some((length, index, own))
        };
        self.nics.iter().enumerate().filter_map(towards).max_by_key(|(length, index, _)| (*length, usize::MAX - index))
    }

    /// A packet for one of the machine's own addresses, or for a group that it listens to.
    fn deliver6(&mut self, now: Instant, bytes: Vec<u8>, effects: &mut Effects) {
        let Some(header) = packet6::header(&bytes) else { return };
        if header.protocol == IpProtocol::Tcp {
            return self.deliver_segment(now, bytes, header.destination.into(), effects);
        }
        if header.protocol != IpProtocol::Icmpv6 {
            return;
        }
        match packet6::icmp(&bytes) {
            Some(Icmp6::Echo) => {
                let to_group = header.destination.is_multicast();
                let own = if to_group { self.source_for6(header.source) } else { Some(header.destination) };
                if let Some(reply) = own.and_then(|own| packet6::echo_reply(&bytes, own)) {
                    self.send6(now, reply, false, effects);
                }
            }
            Some(Icmp6::EchoReply { identifier, sequence }) => {
                self.handle_echo_reply(now, identifier, sequence, header.hop_limit, effects);
            }
            Some(Icmp6::EchoUnreachable { identifier, sequence, code }) => {
                self.handle_echo_unreachable(identifier, sequence, header.source.into(), code, effects);
            }
            Some(Icmp6::TcpUnreachable { port, code }) => {
                // "Port unreachable" is 4 here and 3 in IPv4; all else is "no route" to a program.
                self.handle_tcp_unreachable(now, port, if code == 4 { 3 } else { 1 }, effects);
            }
            Some(Icmp6::Solicitation { .. } | Icmp6::Advertisement(_)) | None => {}
        }
    }
}

/// Whether two addresses share their first `length` bits.
fn in_subnet(own: Ipv6Addr, length: u8, other: Ipv6Addr) -> bool {
    let host_bits = 128 - u32::from(length.min(128));
    (own.to_bits() ^ other.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
}
