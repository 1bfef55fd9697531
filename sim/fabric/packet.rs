//! Packets inside a machine: of IPv4, and what both families have alike (TCP): bytes with room for the Ethernet header in front, so that sending one copies nothing.
//!
//! Reads the few fields that routing and translation need, and writes the answers that a kernel gives by itself: echo reply, reset,
//! unreachable. It decides none of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv4TimeExceeded, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr,
    Ipv6Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use crate::frame::ETHERNET_HEADER_LENGTH;
use crate::packet6;

/// Room for the Ethernet header before each packet.
pub(crate) const HEADROOM: usize = ETHERNET_HEADER_LENGTH;

/// TTL of what a machine sends itself (net.ipv4.ip_default_ttl).
pub(crate) const TTL: u8 = 64;

/// What routing reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// From.
    pub(crate) source: Ipv4Addr,
    /// To.
    pub(crate) destination: Ipv4Addr,
    /// ICMP, TCP, or another that nobody here understands.
    pub(crate) protocol: IpProtocol,
    /// Hops left.
    pub(crate) ttl: u8,
}

/// The header of a sound, unfragmented IPv4 packet behind `HEADROOM` bytes; what follows its total length is padding.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let packet = Ipv4Packet::new_checked(bytes.get(HEADROOM..)?).ok()?;
    let sound = packet.version() == 4 && packet.header_len() >= 20 && packet.verify_checksum();
    if !sound || packet.more_frags() || packet.frag_offset() != 0 {
        return None;
    }
    Some(Header { source: packet.src_addr(), destination: packet.dst_addr(), protocol: packet.next_header(), ttl: packet.hop_limit() })
}

/// The IP version that the first byte tells.
pub(crate) fn version(bytes: &[u8]) -> u8 {
    bytes.get(HEADROOM).map_or(0, |first| first >> 4)
}

/// The source address, of bytes that hold at least a header.
pub(crate) fn source(bytes: &[u8]) -> Option<IpAddr> {
    match version(bytes) {
        6 => packet6::header(bytes).map(|header| IpAddr::V6(header.source)),
        _ => Some(IpAddr::V4(Ipv4Packet::new_checked(bytes.get(HEADROOM..)?).ok()?.src_addr())),
    }
}

/// Counts one hop off. `false`, and nothing is changed, if none is left.
pub(crate) fn decrement_ttl(bytes: &mut [u8]) -> bool {
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[HEADROOM..]);
    let ttl = packet.hop_limit();
    if ttl <= 1 {
        return false;
    }
    packet.set_hop_limit(ttl - 1);
    packet.fill_checksum();
    true
}

/// What connection tracking reads of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From.
    pub(crate) source: SocketAddr,
    /// To.
    pub(crate) destination: SocketAddr,
    /// Opens a connection: SYN without ACK.
    pub(crate) opens: bool,
    /// Ends one at once.
    pub(crate) resets: bool,
    /// Ends one direction.
    pub(crate) finishes: bool,
    /// What it acknowledges, if it does.
    pub(crate) acknowledges: Option<u32>,
}

/// The two ends of a packet whose [`header`] is sound, and the TCP in it, if it is that.
fn tcp(bytes: &[u8]) -> Option<(IpAddr, IpAddr, TcpPacket<&[u8]>)> {
    let bytes = bytes.get(HEADROOM..)?;
    let (source, destination, payload) = if bytes.first()? >> 4 == 6 {
        let packet = Ipv6Packet::new_checked(bytes).ok().filter(|packet| packet.next_header() == IpProtocol::Tcp)?;
        (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
    } else {
        let packet = Ipv4Packet::new_checked(bytes).ok().filter(|packet| packet.next_header() == IpProtocol::Tcp)?;
        (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
    };
    Some((source, destination, TcpPacket::new_checked(payload).ok()?))
}

/// The TCP segment in a packet whose [`header`] is sound.
pub(crate) fn segment(bytes: &[u8]) -> Option<Segment> {
    let (source, destination, tcp) = tcp(bytes)?;
    if tcp.src_port() == 0 || tcp.dst_port() == 0 {
        return None;
    }
    Some(Segment {
        source: SocketAddr::new(source, tcp.src_port()),
        destination: SocketAddr::new(destination, tcp.dst_port()),
        opens: tcp.syn() && !tcp.ack(),
        resets: tcp.rst(),
        finishes: tcp.fin(),
        #[expect(clippy::cast_sign_loss, reason = "smoltcp keeps sequence numbers in an i32; the bits are the wire's")]
        acknowledges: tcp.ack().then(|| tcp.ack_number().0 as u32),
    })
}

/// Rewrites both ends of a TCP packet for which [`segment`] was `Some`, checksums included. Both are of the packet's family.
pub(crate) fn readdress(bytes: &mut [u8], source: SocketAddr, destination: SocketAddr) {
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut packet = Ipv4Packet::new_unchecked(&mut bytes[HEADROOM..]);
            packet.set_src_addr(from);
            packet.set_dst_addr(to);
            packet.fill_checksum();
            set_ports(packet.payload_mut(), source, destination);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut packet = Ipv6Packet::new_unchecked(&mut bytes[HEADROOM..]);
            packet.set_src_addr(from);
            packet.set_dst_addr(to);
            set_ports(packet.payload_mut(), source, destination);
        }
        _ => debug_assert!(false, "{source} and {destination} are of two families"),
    }
}

fn set_ports(segment: &mut [u8], source: SocketAddr, destination: SocketAddr) {
    let mut tcp = TcpPacket::new_unchecked(segment);
    tcp.set_src_port(source.port());
    tcp.set_dst_port(destination.port());
    tcp.fill_checksum(&source.ip().into(), &destination.ip().into());
}

/// An ICMP message that a machine cares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icmp {
    /// Echo request.
    Echo,
    /// Echo reply to the program with this identifier.
    EchoReply { identifier: u16, sequence: u16 },
    /// An echo request of ours did not arrive.
    EchoUnreachable { identifier: u16, sequence: u16, code: u8 },
    /// A segment of ours, sent from this port, did not arrive.
    TcpUnreachable { port: u16, code: u8 },
}

/// The ICMP message in a packet whose [`header`] is sound.
pub(crate) fn icmp(bytes: &[u8]) -> Option<Icmp> {
    let packet = Ipv4Packet::new_checked(bytes.get(HEADROOM..)?).ok()?;
    let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
    if !icmp.verify_checksum() {
        return None;
    }
    match icmp.msg_type() {
        Icmpv4Message::EchoRequest => Some(Icmp::Echo),
        Icmpv4Message::EchoReply => Some(Icmp::EchoReply { identifier: icmp.echo_ident(), sequence: icmp.echo_seq_no() }),
        Icmpv4Message::DstUnreachable => undelivered(icmp.data(), icmp.msg_code()),
        _ => None,
    }
}

/// What the quoted start of an undelivered packet was: RFC 792 quotes the header and eight bytes more.
fn undelivered(quoted: &[u8], code: u8) -> Option<Icmp> {
    let header_length = usize::from(quoted.first()? & 0x0f) * 4;
    let payload = quoted.get(header_length..header_length + 8)?;
    match IpProtocol::from(*quoted.get(9)?) {
        IpProtocol::Tcp => Some(Icmp::TcpUnreachable { port: u16::from_be_bytes([payload[0], payload[1]]), code }),
        IpProtocol::Icmp => Some(Icmp::EchoUnreachable {
            identifier: u16::from_be_bytes([payload[4], payload[5]]),
            sequence: u16::from_be_bytes([payload[6], payload[7]]),
            code,
        }),
        _ => None,
    }
}

/// An echo request with 56 bytes of data, as iputils sends.
pub(crate) fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16, sequence: u16) -> Vec<u8> {
    let data: [u8; 56] = std::array::from_fn(|index| index.to_le_bytes()[0]);
    icmp_packet(source, destination, &Icmpv4Repr::EchoRequest { ident: identifier, seq_no: sequence, data: &data })
}

/// A UDP datagram.
pub(crate) fn datagram(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: source.port(), dst_port: destination.port() };
    let (from, to) = (*source.ip(), *destination.ip());
    let mut bytes = ip_packet(from, to, IpProtocol::Udp, repr.header_len() + payload.len());
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[HEADROOM + 20..]),
        &IpAddress::Ipv4(from),
        &IpAddress::Ipv4(to),
        payload.len(),
        |buffer| buffer.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// The reply to a packet that is [`Icmp::Echo`]: turned round, with a fresh TTL.
pub(crate) fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[HEADROOM..]);
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    packet.set_src_addr(destination);
    packet.set_dst_addr(source);
    packet.set_hop_limit(TTL);
    packet.fill_checksum();
    let mut icmp = Icmpv4Packet::new_unchecked(packet.payload_mut());
    icmp.set_msg_type(Icmpv4Message::EchoReply);
    icmp.fill_checksum();
    bytes
}

/// Tells a sender that its packet found no host (code 1) or no port (code 3).
pub(crate) fn unreachable(from: Ipv4Addr, undelivered: &[u8], reason: Icmpv4DstUnreachable) -> Option<Vec<u8>> {
    complaint(from, undelivered, |header, data| Icmpv4Repr::DstUnreachable { reason, header, data })
}

/// Tells a sender that its packet had no hop left (ICMP time exceeded in transit, RFC 792).
pub(crate) fn time_exceeded(from: Ipv4Addr, expired: &[u8]) -> Option<Vec<u8>> {
    complaint(from, expired, |header, data| Icmpv4Repr::TimeExceeded { reason: Icmpv4TimeExceeded::TtlExpired, header, data })
}

/// An ICMP error about a packet, which it quotes.
fn complaint(from: Ipv4Addr, undelivered: &[u8], error: impl FnOnce(Ipv4Repr, &[u8]) -> Icmpv4Repr<'_>) -> Option<Vec<u8>> {
    let packet = Ipv4Packet::new_checked(undelivered.get(HEADROOM..)?).ok()?;
    // RFC 1122 §3.2.2: never about an ICMP error; about an echo it is fine.
    let about_icmp_error = packet.next_header() == IpProtocol::Icmp && packet.payload().first().is_none_or(|kind| *kind != 8);
    if about_icmp_error {
        return None;
    }
    let quoted = packet.payload().get(..packet.payload().len().min(8))?;
    let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::ignored()).ok()?;
    Some(icmp_packet(from, packet.src_addr(), &error(header, quoted)))
}

/// The reset that a kernel answers a segment with for which it has no socket (RFC 9293 §3.10.7.1). None for a reset.
pub(crate) fn reset(bytes: &[u8]) -> Option<Vec<u8>> {
    // The answer goes the other way.
    let (destination, source, tcp) = tcp(bytes)?;
    if tcp.rst() {
        return None;
    }
    let (seq_number, ack_number) =
        if tcp.ack() { (tcp.ack_number(), None) } else { (TcpSeqNumber(0), Some(tcp.seq_number() + tcp.segment_len())) };
    let repr = TcpRepr {
        src_port: tcp.dst_port(),
        dst_port: tcp.src_port(),
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let length = repr.buffer_len();
    let mut answer = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ip_packet(from, to, IpProtocol::Tcp, length),
        (IpAddr::V6(from), IpAddr::V6(to)) => packet6::ip_packet(from, to, IpProtocol::Tcp, packet6::HOP_LIMIT, length),
        _ => return None,
    };
    let segment = answer.len() - length;
    let mut tcp = TcpPacket::new_unchecked(&mut answer[segment..]);
    repr.emit(&mut tcp, &source.into(), &destination.into(), &ChecksumCapabilities::default());
    Some(answer)
}

/// A packet around an ICMP message.
fn icmp_packet(source: Ipv4Addr, destination: Ipv4Addr, repr: &Icmpv4Repr<'_>) -> Vec<u8> {
    let mut bytes = ip_packet(source, destination, IpProtocol::Icmp, repr.buffer_len());
    repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[HEADROOM + 20..]), &ChecksumCapabilities::default());
    bytes
}

/// Headroom, an IPv4 header, and a payload of zeros.
fn ip_packet(source: Ipv4Addr, destination: Ipv4Addr, next_header: IpProtocol, payload_len: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADROOM + 20 + payload_len];
    let repr = Ipv4Repr { src_addr: source, dst_addr: destination, next_header, payload_len, hop_limit: TTL };
    repr.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[HEADROOM..]), &ChecksumCapabilities::default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[test]
    fn an_echo_is_answered_with_its_own_identifier_and_sequence() {
        let request = echo_request(A, B, 7, 9);
        assert_eq!(request.len(), HEADROOM + 84);
        assert_eq!(icmp(&request), Some(Icmp::Echo));
        let reply = echo_reply(&request);
        assert_eq!(header(&reply).map(|header| (header.source, header.destination)), Some((B, A)));
        assert_eq!(icmp(&reply), Some(Icmp::EchoReply { identifier: 7, sequence: 9 }));
    }

    #[test]
    fn an_unreachable_names_the_echo_that_it_is_about_and_no_error_is_about_an_error() {
        let request = echo_request(A, B, 7, 9);
        let error = unreachable(B, &request, Icmpv4DstUnreachable::HostUnreachable).expect("an echo may be complained about");
        assert_eq!(icmp(&error), Some(Icmp::EchoUnreachable { identifier: 7, sequence: 9, code: 1 }));
        assert_eq!(unreachable(A, &error, Icmpv4DstUnreachable::HostUnreachable), None);
    }

    #[test]
    fn a_fragment_and_a_wrong_checksum_are_no_packets() {
        let mut request = echo_request(A, B, 7, 9);
        request[HEADROOM + 8] ^= 1;
        assert_eq!(header(&request), None);
        let mut fragment = echo_request(A, B, 7, 9);
        let mut packet = Ipv4Packet::new_unchecked(&mut fragment[HEADROOM..]);
        packet.set_more_frags(true);
        packet.fill_checksum();
        assert_eq!(header(&fragment), None);
    }
}
