//! The experimenter's frames, and what the host's frames mean to the experimenter. Codec: smoltcp.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::mac::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// All nodes of the link, and the Ethernet address of that group.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of an IPv6 header.
const IPV6: usize = 40;

/// What the host said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An ARP request or a neighbor solicitation; `alone`: to this MAC only.
    Ask { alone: Option<MacAddr>, target: IpAddr, asker: IpAddr },
    /// An ARP reply or a neighbor advertisement.
    Answer { alone: Option<MacAddr>, subject: IpAddr, mac: Option<MacAddr>, solicited: bool, overrides: bool },
    /// A UDP datagram.
    Packet { mac: MacAddr, destination: IpAddr },
}

/// Reads a frame of the host's. Multicast listener reports, router solicitations and errors are nothing here.
pub(crate) fn hear(bytes: &[u8]) -> Option<Heard> {
    let frame = EthernetFrame::new_checked(bytes).ok()?;
    let mac = MacAddr::from(frame.dst_addr());
    let alone = mac.is_unicast().then_some(mac);
    match frame.ethertype() {
        EthernetProtocol::Arp => hear_arp(frame.payload(), alone),
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let udp = packet.next_header() == IpProtocol::Udp;
            udp.then(|| Heard::Packet { mac, destination: packet.dst_addr().into() })
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
            match packet.next_header() {
                IpProtocol::Udp => Some(Heard::Packet { mac, destination: packet.dst_addr().into() }),
                IpProtocol::Icmpv6 => hear_icmp(&packet, alone),
                _ => None,
            }
        }
        EthernetProtocol::Unknown(_) => None,
    }
}

fn hear_arp(payload: &[u8], alone: Option<MacAddr>) -> Option<Heard> {
    let repr = ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?).ok()?;
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. } = repr else {
        return None;
    };
    match operation {
        ArpOperation::Request => Some(Heard::Ask { alone, target: target_protocol_addr.into(), asker: source_protocol_addr.into() }),
        ArpOperation::Reply => {
            let (subject, mac) = (source_protocol_addr.into(), Some(source_hardware_addr.into()));
            Some(Heard::Answer { alone, subject, mac, solicited: true, overrides: true })
        }
        ArpOperation::Unknown(_) => None,
    }
}

fn hear_icmp(packet: &Ipv6Packet<&[u8]>, alone: Option<MacAddr>) -> Option<Heard> {
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let parsed = Icmpv6Repr::parse(&packet.src_addr(), &packet.dst_addr(), &icmp, &ChecksumCapabilities::default()).ok()?;
    match parsed {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) => {
            Some(Heard::Ask { alone, target: target_addr.into(), asker: packet.src_addr().into() })
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr }) => Some(Heard::Answer {
            alone,
            subject: target_addr.into(),
            mac: lladdr.and_then(|address| address.as_bytes().try_into().ok()).map(MacAddr),
            solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
            overrides: flags.contains(NdiscNeighborFlags::OVERRIDE),
        }),
        _ => None,
    }
}

/// An ARP message (RFC 826): sender and target, each a MAC and an address.
#[derive(Clone, Copy)]
pub(crate) struct Arp {
    /// Request or reply.
    pub(crate) operation: ArpOperation,
    /// Whose binding is told.
    pub(crate) sender: (MacAddr, Ipv4Addr),
    /// Who is asked or told.
    pub(crate) target: (MacAddr, Ipv4Addr),
}

impl Arp {
    /// The frame that carries it.
    pub(crate) fn frame(&self, source: MacAddr, destination: MacAddr) -> Vec<u8> {
        let repr = ArpRepr::EthernetIpv4 {
            operation: self.operation,
            source_hardware_addr: self.sender.0.into(),
            source_protocol_addr: self.sender.1,
            target_hardware_addr: self.target.0.into(),
            target_protocol_addr: self.target.1,
        };
        let mut bytes = ethernet(source, destination, EthernetProtocol::Arp, repr.buffer_len());
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET..]));
        bytes
    }
}

/// A neighbor advertisement as the experimenter may say it, right or wrong.
#[derive(Clone, Copy)]
pub(crate) struct Advertisement {
    /// The address that it is about.
    pub(crate) target: Ipv6Addr,
    /// The MAC in its option.
    pub(crate) mac: Option<MacAddr>,
    /// The option is the target's; false: the source's, which means nothing in an advertisement.
    pub(crate) of_target: bool,
    /// S.
    pub(crate) solicited: bool,
    /// O.
    pub(crate) overrides: bool,
}

impl Advertisement {
    /// The frame that carries it from the target's own address.
    pub(crate) fn frame(&self, source: MacAddr, destination: MacAddr, to: Ipv6Addr) -> Vec<u8> {
        self.frame_from(self.target, source, destination, to)
    }

    /// The frame that carries it from another address, as of one that speaks for the target.
    pub(crate) fn frame_from(&self, from: Ipv6Addr, source: MacAddr, destination: MacAddr, to: Ipv6Addr) -> Vec<u8> {
        let mut flags = NdiscNeighborFlags::empty();
        flags.set(NdiscNeighborFlags::SOLICITED, self.solicited);
        flags.set(NdiscNeighborFlags::OVERRIDE, self.overrides);
        let lladdr = self.mac.map(|mac| EthernetAddress::from(mac).into());
        let repr = NdiscRepr::NeighborAdvert { flags, target_addr: self.target, lladdr };
        let mut bytes = discovery(source, destination, from, to, repr);
        if !self.of_target && self.mac.is_some() {
            // The option's type, behind 24 bytes of advertisement: 1 is the source's link-layer address (RFC 4861 §4.6.1).
            bytes[ETHERNET + IPV6 + 24] = 1;
            Icmpv6Packet::new_unchecked(&mut bytes[ETHERNET + IPV6..]).fill_checksum(&from, &to);
        }
        bytes
    }
}

/// A neighbor solicitation.
pub(crate) fn solicitation(
    (source, from): (MacAddr, Ipv6Addr),
    (destination, to): (MacAddr, Ipv6Addr),
    target: Ipv6Addr,
    mac: Option<MacAddr>,
) -> Vec<u8> {
    let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: mac.map(|mac| EthernetAddress::from(mac).into()) };
    discovery(source, destination, from, to, repr)
}

/// The group of an address's owner, with its Ethernet address (RFC 4291 §2.7.1, RFC 2464 §7).
pub(crate) fn solicited_node(address: Ipv6Addr) -> (MacAddr, Ipv6Addr) {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (group_mac(group), group)
}

/// The Ethernet address of a group.
pub(crate) fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

fn discovery(source: MacAddr, destination: MacAddr, from: Ipv6Addr, to: Ipv6Addr, repr: NdiscRepr<'_>) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(repr);
    let mut bytes = ethernet(source, destination, EthernetProtocol::Ipv6, IPV6 + icmp.buffer_len());
    let ip = Ipv6Repr { src_addr: from, dst_addr: to, next_header: IpProtocol::Icmpv6, payload_len: icmp.buffer_len(), hop_limit: 255 };
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[ETHERNET..]));
    icmp.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(&mut bytes[ETHERNET + IPV6..]), &ChecksumCapabilities::default());
    bytes
}

fn ethernet(source: MacAddr, destination: MacAddr, ethertype: EthernetProtocol, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET + payload];
    let repr = EthernetRepr { src_addr: source.into(), dst_addr: destination.into(), ethertype };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    bytes
}
