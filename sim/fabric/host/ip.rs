//! IPv4 of a machine (and the fork to [`super::ip6`]): in, to itself, through, out. The way of a packet through netfilter is PREROUTING or OUTPUT (translation), routing,
//! then delivery or forwarding; nothing here is recursive, because what a machine sends itself comes back as a timer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_core::time::Instant;
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv6DstUnreachable, IpProtocol};

use super::{Effects, Host, Timer};
use crate::conntrack::{Arrival, Verdict};
use crate::frame::Frame;
use crate::packet::{self, Header, Icmp};
use crate::proxy::Origin;

/// How long a packet to the machine itself takes. A round number below a cable's.
pub(super) const LOOPBACK: Duration = Duration::from_micros(2);

impl Host {
    /// A frame that reached a NIC.
    pub(crate) fn handle_frame(&mut self, now: Instant, nic: usize, frame: &Frame, effects: &mut Effects) {
        let destination = frame.destination();
        let to_us_alone = destination == self.nics[nic].config.mac;
        // The least bit of the first byte marks groups, broadcast among them. The NIC is not promiscuous.
        if !self.is_nic_up(nic) || !(to_us_alone || destination.0[0] & 1 == 1) {
            return;
        }
        match frame.ethertype() {
            0x0806 => {
                if let Some(arp) = frame.arp() {
                    self.handle_arp(now, nic, &arp, to_us_alone, effects);
                }
            }
            0x86dd if to_us_alone => self.handle_unicast6(now, nic, frame, effects),
            0x86dd => self.handle_group6(now, nic, frame, effects),
            0x0800 if to_us_alone => self.handle_packet(now, frame.to_vec(), Origin::Outside, effects),
            _ => {}
        }
    }

    /// A packet that the machine sent to itself.
    pub(super) fn handle_loopback(&mut self, now: Instant, mut bytes: Vec<u8>, effects: &mut Effects) {
        if packet::version(&bytes) == 6 {
            return self.handle_loopback6(now, bytes, effects);
        }
        if !self.translated(now, &mut bytes, Origin::Node, effects) {
            return;
        }
        if let Some(header) = packet::header(&bytes).filter(|header| self.is_local(header.destination)) {
            self.deliver(now, bytes, header, effects);
        }
    }

    /// A packet from a NIC or from a pod.
    pub(super) fn handle_packet(&mut self, now: Instant, mut bytes: Vec<u8>, origin: Origin, effects: &mut Effects) {
        if packet::version(&bytes) == 6 {
            return self.handle_packet6(now, bytes, origin, effects);
        }
        let Some(header) = packet::header(&bytes) else { return };
        // A packet from outside with a source of our own is a martian.
        if self.is_local(header.source) || !self.translated(now, &mut bytes, origin, effects) {
            return;
        }
        let Some(header) = packet::header(&bytes) else { return };
        if self.is_local(header.destination) {
            self.deliver(now, bytes, header, effects);
        } else if self.config.forwarding && self.forwards(header.destination) {
            if packet::decrement_ttl(&mut bytes) {
                self.route_out(now, bytes, header.destination, false, effects);
            } else if let Some(error) = packet::time_exceeded(self.complains_as(header.source), &bytes) {
                self.send(now, error, false, effects);
            }
        }
    }

    /// Sends a packet of the machine's own. `confirm`: its sender has seen progress.
    pub(super) fn send(&mut self, now: Instant, mut bytes: Vec<u8>, confirm: bool, effects: &mut Effects) {
        if packet::version(&bytes) == 6 {
            return self.send6(now, bytes, confirm, effects);
        }
        if !self.translated(now, &mut bytes, Origin::Node, effects) {
            return;
        }
        let Some(header) = packet::header(&bytes) else { return };
        if self.is_local(header.destination) {
            effects.timers.push((now + LOOPBACK, Timer::Loopback(bytes)));
        } else {
            self.route_out(now, bytes, header.destination, confirm, effects);
        }
    }

    /// A packet cannot be delivered: its sender is told, here or by ICMP.
    pub(super) fn undeliverable(&mut self, now: Instant, bytes: &[u8], reason: Icmpv4DstUnreachable, effects: &mut Effects) {
        let Some(header) = packet::header(bytes) else { return };
        let from = self.complains_as(header.source);
        let Some(error) = packet::unreachable(from, bytes, reason) else { return };
        if self.is_local(header.source) {
            // Its own programs hear of it at once; the packet that says so is only the form that they understand.
            if let Some(icmp) = packet::icmp(&error) {
                self.handle_icmp(now, icmp, from, packet::TTL, effects);
            }
        } else {
            self.send(now, error, false, effects);
        }
    }

    /// The address that it tells a sender of errors from.
    fn complains_as(&self, sender: Ipv4Addr) -> Ipv4Addr {
        self.source_for(sender).or_else(|| self.primary_address()).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// A packet for one of the machine's own addresses.
    fn deliver(&mut self, now: Instant, bytes: Vec<u8>, header: Header, effects: &mut Effects) {
        match header.protocol {
            IpProtocol::Icmp => match packet::icmp(&bytes) {
                Some(Icmp::Echo) => self.send(now, packet::echo_reply(&bytes), false, effects),
                Some(icmp) => self.handle_icmp(now, icmp, header.source, header.ttl, effects),
                None => {}
            },
            IpProtocol::Tcp => self.deliver_segment(now, bytes, header.destination.into(), effects),
            _ => {}
        }
    }

    /// Sends a packet on its way: to a pod of this machine, or by the routing table.
    fn route_out(&mut self, now: Instant, bytes: Vec<u8>, destination: Ipv4Addr, confirm: bool, effects: &mut Effects) {
        if self.pods.contains_key(&destination.into()) {
            self.send_to_pod(now, destination.into(), bytes, effects);
        } else if let Some((nic, next_hop)) = self.route(destination) {
            self.send_to_neighbor(now, nic, next_hop.into(), bytes, confirm, effects);
        } else {
            self.undeliverable(now, &bytes, Icmpv4DstUnreachable::NetUnreachable, effects);
        }
    }

    /// Translates a packet by kube-proxy's rules. `false` if it is dealt with.
    pub(super) fn translated(&mut self, now: Instant, bytes: &mut [u8], origin: Origin, effects: &mut Effects) -> bool {
        if self.proxy.is_none() {
            return true;
        }
        let Some(segment) = packet::segment(bytes) else { return true };
        let Some(mut proxy) = self.proxy.take() else { return true };
        let mut conntrack = std::mem::take(&mut self.conntrack);
        let mut rng = self.rng.clone();
        let arrival = Arrival {
            origin,
            to_node: match segment.destination.ip() {
                IpAddr::V4(address) => self.is_nic_address(address),
                IpAddr::V6(address) => self.is_nic_address6(address),
            },
            masquerade_as: &|endpoint| self.masquerade_for(endpoint),
        };
        let verdict = conntrack.translate(now, bytes, &segment, &arrival, &mut proxy, &mut rng);
        self.rng = rng;
        self.conntrack = conntrack;
        self.proxy = Some(proxy);
        match verdict {
            Verdict::Pass => true,
            Verdict::Drop => false,
            Verdict::Reject => {
                if packet::version(bytes) == 6 {
                    self.undeliverable6(now, bytes, Icmpv6DstUnreachable::PortUnreachable, effects);
                } else {
                    self.undeliverable(now, bytes, Icmpv4DstUnreachable::PortUnreachable, effects);
                }
                false
            }
            Verdict::Reset => {
                if let Some(reset) = packet::reset(bytes) {
                    self.send(now, reset, false, effects);
                }
                false
            }
        }
    }

    /// The address that masquerading writes for an endpoint: the outgoing NIC's. For a pod of this node, the node's first.
    fn masquerade_for(&self, endpoint: IpAddr) -> Option<IpAddr> {
        match endpoint {
            IpAddr::V4(_) if self.pods.contains_key(&endpoint) => self.primary_address().map(IpAddr::V4),
            IpAddr::V4(endpoint) => {
                let (nic, next_hop) = self.route(endpoint)?;
                self.nics[nic].address_towards(next_hop).or_else(|| self.primary_address()).map(IpAddr::V4)
            }
            IpAddr::V6(endpoint) => self.source_for6(endpoint).map(IpAddr::V6),
        }
    }

    /// Whether a packet for this address may go through. A Service's address that no rule matched would only circle on the LAN: kube-proxy's
    /// iptables mode leaves a ping of it unanswered.
    pub(super) fn forwards(&self, destination: impl Into<IpAddr>) -> bool {
        let destination = destination.into();
        self.proxy.as_ref().is_none_or(|proxy| !proxy.has_address(destination))
    }
}
