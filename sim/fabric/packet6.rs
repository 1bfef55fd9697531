//! IPv6 packets inside a machine: bytes with room for the Ethernet header in front, as [`crate::packet`] keeps those of IPv4.
//!
//! Reads and writes what hosts say to each other by themselves: neighbor discovery, echo, "unreachable", and UDP. It decides none of it. TCP is read in
//! [`crate::packet`], alike for both families.
//! Extension headers are not understood: a packet that has one is for nobody here.

use std::net::{Ipv6Addr, SocketAddrV6};

use bellhop_core::mac::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress, UdpPacket, UdpRepr,
};

use crate::neighbor::Advertisement;
use crate::packet::HEADROOM;

/// Bytes of the IPv6 header.
const HEADER_LENGTH: usize = 40;
/// Hop limit of what a machine sends itself (net.ipv6.conf.*.hop_limit).
pub(crate) const HOP_LIMIT: u8 = 64;
/// Hop limit of neighbor discovery; a message with another has come through a router and is thrown away (RFC 4861 §7.1).
const NDP_HOP_LIMIT: u8 = 255;
/// All nodes of the link (RFC 4291 §2.7.1).
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What delivery reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// From.
    pub(crate) source: Ipv6Addr,
    /// To.
    pub(crate) destination: Ipv6Addr,
    /// What follows.
    pub(crate) protocol: IpProtocol,
    /// Hops left.
    pub(crate) hop_limit: u8,
}

/// The header of a sound packet behind `HEADROOM` bytes; what follows its payload is padding.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let packet = packet(bytes)?;
    Some(Header {
        source: packet.src_addr(),
        destination: packet.dst_addr(),
        protocol: packet.next_header(),
        hop_limit: packet.hop_limit(),
    })
}

/// An ICMPv6 message that a machine cares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icmp6 {
    /// Echo request.
    Echo,
    /// Echo reply to the program with this identifier.
    EchoReply { identifier: u16, sequence: u16 },
    /// An echo request of ours did not arrive.
    EchoUnreachable { identifier: u16, sequence: u16, code: u8 },
    /// A segment of ours, sent from this port, did not arrive.
    TcpUnreachable { port: u16, code: u8 },
    /// Who has the target? With the source link-layer address option.
    Solicitation { target: Ipv6Addr, mac: Option<MacAddr> },
    /// The target is there.
    Advertisement(Advertisement),
}

/// The ICMPv6 message in a packet whose [`header`] is sound; neighbor discovery only as RFC 4861 §7.1 lets it pass.
pub(crate) fn icmp(bytes: &[u8]) -> Option<Icmp6> {
    let packet = packet(bytes)?;
    let (source, destination, hop_limit) = (packet.src_addr(), packet.dst_addr(), packet.hop_limit());
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    if !icmp.verify_checksum(&source, &destination) {
        return None;
    }
    match icmp.msg_type() {
        Icmpv6Message::EchoRequest => Some(Icmp6::Echo),
        Icmpv6Message::EchoReply => Some(Icmp6::EchoReply { identifier: icmp.echo_ident(), sequence: icmp.echo_seq_no() }),
        Icmpv6Message::DstUnreachable => undelivered(icmp.payload(), icmp.msg_code()),
        Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert if hop_limit == NDP_HOP_LIMIT && icmp.msg_code() == 0 => {
            discovery(&icmp)
        }
        _ => None,
    }
}

/// Whether a frame is ICMPv6 of the two types that Bellhop's filter keeps, sound or not.
pub(crate) fn is_discovery(frame: &[u8]) -> bool {
    frame.get(HEADROOM + 6) == Some(&u8::from(IpProtocol::Icmpv6)) && matches!(frame.get(HEADROOM + HEADER_LENGTH), Some(135 | 136))
}

/// A neighbor solicitation or advertisement. A link-layer address that is no MAC makes it unsound.
fn discovery(icmp: &Icmpv6Packet<&[u8]>) -> Option<Icmp6> {
    let mac = |address: Option<RawHardwareAddress>| match address {
        Some(address) => Some(Some(MacAddr(address.as_bytes().try_into().ok()?))),
        None => Some(None),
    };
    match NdiscRepr::parse(icmp).ok()? {
        NdiscRepr::NeighborSolicit { target_addr, lladdr } if !target_addr.is_multicast() => {
            Some(Icmp6::Solicitation { target: target_addr, mac: mac(lladdr)? })
        }
        NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } if !target_addr.is_multicast() => {
            Some(Icmp6::Advertisement(Advertisement {
                target: target_addr,
                mac: mac(lladdr)?,
                solicited: flags.contains(NdiscNeighborFlags::SOLICITED),
                overrides: flags.contains(NdiscNeighborFlags::OVERRIDE),
            }))
        }
        _ => None,
    }
}

/// What the quoted start of an undelivered packet was, if it was TCP or an echo request.
fn undelivered(quoted: &[u8], code: u8) -> Option<Icmp6> {
    let inner = quoted.get(HEADER_LENGTH..HEADER_LENGTH + 8)?;
    let protocol = IpProtocol::from(*quoted.get(6)?);
    if protocol == IpProtocol::Tcp {
        return Some(Icmp6::TcpUnreachable { port: u16::from_be_bytes([inner[0], inner[1]]), code });
    }
    if protocol != IpProtocol::Icmpv6 || inner[0] != u8::from(Icmpv6Message::EchoRequest) {
        return None;
    }
    let (identifier, sequence) = (u16::from_be_bytes([inner[4], inner[5]]), u16::from_be_bytes([inner[6], inner[7]]));
    Some(Icmp6::EchoUnreachable { identifier, sequence, code })
}

/// An echo request with 56 bytes of data, as iputils sends.
pub(crate) fn echo_request(source: Ipv6Addr, destination: Ipv6Addr, identifier: u16, sequence: u16) -> Vec<u8> {
    let data: [u8; 56] = std::array::from_fn(|index| index.to_le_bytes()[0]);
    let repr = Icmpv6Repr::EchoRequest { ident: identifier, seq_no: sequence, data: &data };
    icmp_packet(source, destination, HOP_LIMIT, &repr)
}

/// The reply to a packet that is [`Icmp6::Echo`], from `source`: a request to a group is answered by the host's own address.
pub(crate) fn echo_reply(request: &[u8], source: Ipv6Addr) -> Option<Vec<u8>> {
    let packet = packet(request)?;
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let repr = Icmpv6Repr::EchoReply { ident: icmp.echo_ident(), seq_no: icmp.echo_seq_no(), data: icmp.payload() };
    Some(icmp_packet(source, packet.src_addr(), HOP_LIMIT, &repr))
}

/// A neighbor solicitation. `mac` becomes the source link-layer address option.
pub(crate) fn solicitation(source: Ipv6Addr, destination: Ipv6Addr, target: Ipv6Addr, mac: Option<MacAddr>) -> Vec<u8> {
    let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: mac.map(|mac| EthernetAddress::from(mac).into()) };
    icmp_packet(source, destination, NDP_HOP_LIMIT, &Icmpv6Repr::Ndisc(repr))
}

/// A neighbor advertisement of a host.
pub(crate) fn advertisement(source: Ipv6Addr, destination: Ipv6Addr, advertisement: &Advertisement) -> Vec<u8> {
    let mut flags = NdiscNeighborFlags::empty();
    flags.set(NdiscNeighborFlags::SOLICITED, advertisement.solicited);
    flags.set(NdiscNeighborFlags::OVERRIDE, advertisement.overrides);
    let lladdr = advertisement.mac.map(|mac| EthernetAddress::from(mac).into());
    let repr = NdiscRepr::NeighborAdvert { flags, target_addr: advertisement.target, lladdr };
    icmp_packet(source, destination, NDP_HOP_LIMIT, &Icmpv6Repr::Ndisc(repr))
}

/// Tells a sender that its packet found nobody. Never about an ICMPv6 error (RFC 4443 §2.4 e).
pub(crate) fn unreachable(from: Ipv6Addr, undelivered: &[u8], reason: Icmpv6DstUnreachable) -> Option<Vec<u8>> {
    let packet = packet(undelivered)?;
    let about_icmp_error = packet.next_header() == IpProtocol::Icmpv6 && packet.payload().first().is_none_or(|kind| *kind < 128);
    if about_icmp_error || packet.src_addr().is_unspecified() {
        return None;
    }
    let header = Ipv6Repr::parse(&packet).ok()?;
    // The error must fit the minimum MTU of 1,280 bytes.
    let quoted = packet.payload().get(..packet.payload().len().min(1280 - 2 * HEADER_LENGTH - 8))?;
    Some(icmp_packet(from, packet.src_addr(), HOP_LIMIT, &Icmpv6Repr::DstUnreachable { reason, header, data: quoted }))
}

/// A UDP datagram.
pub(crate) fn datagram(source: SocketAddrV6, destination: SocketAddrV6, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: source.port(), dst_port: destination.port() };
    let (from, to) = (*source.ip(), *destination.ip());
    let mut bytes = ip_packet(from, to, IpProtocol::Udp, HOP_LIMIT, repr.header_len() + payload.len());
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[HEADROOM + HEADER_LENGTH..]),
        &IpAddress::Ipv6(from),
        &IpAddress::Ipv6(to),
        payload.len(),
        |buffer| buffer.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// Counts one hop off. `false`, and nothing is changed, if none is left.
pub(crate) fn decrement_hop_limit(bytes: &mut [u8]) -> bool {
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[HEADROOM..]);
    let hop_limit = packet.hop_limit();
    if hop_limit <= 1 {
        return false;
    }
    packet.set_hop_limit(hop_limit - 1);
    true
}

/// The group in which an address's owner listens for solicitations: ff02::1:ff and its last 24 bits (RFC 4291 §2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of a group: 33:33 and its last 32 bits (RFC 2464 §7).
pub(crate) fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The link-local address of a NIC: fe80:: and its MAC as a modified EUI-64 (RFC 4291, appendix A; Linux' addr_gen_mode 0).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// A sound packet.
fn packet(bytes: &[u8]) -> Option<Ipv6Packet<&[u8]>> {
    let packet = Ipv6Packet::new_checked(bytes.get(HEADROOM..)?).ok()?;
    (packet.version() == 6 && !packet.src_addr().is_multicast()).then_some(packet)
}

/// A packet around an ICMPv6 message.
fn icmp_packet(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, repr: &Icmpv6Repr<'_>) -> Vec<u8> {
    let mut bytes = ip_packet(source, destination, IpProtocol::Icmpv6, hop_limit, repr.buffer_len());
    let mut icmp = Icmpv6Packet::new_unchecked(&mut bytes[HEADROOM + HEADER_LENGTH..]);
    repr.emit(&source, &destination, &mut icmp, &ChecksumCapabilities::default());
    bytes
}

/// Headroom, an IPv6 header, and a payload of zeros.
pub(crate) fn ip_packet(source: Ipv6Addr, destination: Ipv6Addr, next_header: IpProtocol, hop_limit: u8, payload_len: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADROOM + HEADER_LENGTH + payload_len];
    let repr = Ipv6Repr { src_addr: source, dst_addr: destination, next_header, payload_len, hop_limit };
    repr.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[HEADROOM..]));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xabcd);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    #[test]
    fn discovery_reads_back_as_it_was_written_and_not_with_another_hop_limit() {
        let mut asks = solicitation(A, solicited_node(B), B, Some(MAC));
        assert_eq!(icmp(&asks), Some(Icmp6::Solicitation { target: B, mac: Some(MAC) }));
        let says = Advertisement { target: B, mac: Some(MAC), solicited: true, overrides: false };
        assert_eq!(icmp(&advertisement(B, A, &says)), Some(Icmp6::Advertisement(says)));
        asks[HEADROOM + 7] = 64;
        assert_eq!(icmp(&asks), None, "it came through a router");
    }

    #[test]
    fn an_echo_is_answered_with_its_own_identifier_and_sequence() {
        let request = echo_request(A, B, 7, 9);
        assert_eq!(icmp(&request), Some(Icmp6::Echo));
        let reply = echo_reply(&request, B).expect("a request has a reply");
        assert_eq!(header(&reply).map(|header| (header.source, header.destination)), Some((B, A)));
        assert_eq!(icmp(&reply), Some(Icmp6::EchoReply { identifier: 7, sequence: 9 }));
    }

    #[test]
    fn an_unreachable_names_the_echo_that_it_is_about_and_no_error_is_about_an_error() {
        let error =
            unreachable(B, &echo_request(A, B, 7, 9), Icmpv6DstUnreachable::AddrUnreachable).expect("an echo may be complained about");
        assert_eq!(icmp(&error), Some(Icmp6::EchoUnreachable { identifier: 7, sequence: 9, code: 3 }));
        assert_eq!(unreachable(A, &error, Icmpv6DstUnreachable::AddrUnreachable), None);
    }

    #[test]
    fn groups_and_link_local_addresses_are_made_of_the_last_bits() {
        assert_eq!(solicited_node(B), "ff02::1:ff00:abcd".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(group_mac(solicited_node(B)), MacAddr([0x33, 0x33, 0xff, 0x00, 0xab, 0xcd]));
        assert_eq!(link_local(MAC), "fe80::ff:fe00:7".parse::<Ipv6Addr>().expect("an address"));
    }
}
