//! A frame as `tcpdump -e` prints it: one line, the same in traces, differences and explanations.
//!
//! ARP, IPv4 with ICMP, TCP (with HTTP's first line) and UDP, IPv6 with neighbor discovery; of anything else the header and the length. It reads
//! hostile bytes: what ends too early is said to be cut, as tcpdump does. Times and places are the caller's.

use std::fmt;

use bellhop_fabric::{ETHERNET_HEADER_LENGTH, Frame, Operation};
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
};

/// What tcpdump prints where the bytes end before the header does.
const CUT: &str = "[|truncated]";

/// Prints a frame: `52:54:22:fa:b9:3b > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has 192.168.0.91 tell 192.168.0.5`.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a>(pub &'a Frame);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let name = match frame.ethertype() {
            0x0800 => "IPv4",
            0x0806 => "ARP",
            0x8100 => "802.1Q",
            0x88a8 => "802.1Q-QinQ",
            0x86dd => "IPv6",
            _ => "Unknown",
        };
        write!(
            f,
            "{} > {}, ethertype {name} (0x{:04x}), length {}: ",
            frame.source(),
            frame.destination(),
            frame.ethertype(),
            frame.len()
        )?;
        let payload = frame.get(ETHERNET_HEADER_LENGTH..).unwrap_or_default();
        match frame.ethertype() {
            0x0806 => arp(frame, f),
            0x0800 => ipv4(payload, f),
            0x86dd => ipv6(payload, f),
            _ => write!(f, "{} bytes", payload.len()),
        }
    }
}

/// `Request who-has A tell B`, `Reply A is-at M`.
fn arp(frame: &Frame, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(arp) = frame.arp() else { return f.write_str("ARP, of a kind that is not Ethernet and IPv4, or cut") };
    match arp.operation {
        Operation::Request if arp.target_mac.is_unicast() => {
            write!(f, "Request who-has {} ({}) tell {}", arp.target_ip, arp.target_mac, arp.sender_ip)
        }
        Operation::Request => write!(f, "Request who-has {} tell {}", arp.target_ip, arp.sender_ip),
        Operation::Reply => write!(f, "Reply {} is-at {}", arp.sender_ip, arp.sender_mac),
    }
}

/// `A > B: …`.
fn ipv4(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = Ipv4Packet::new_checked(bytes) else { return f.write_str(CUT) };
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    match packet.next_header() {
        IpProtocol::Icmp => {
            write!(f, "{from} > {to}: ICMP ")?;
            icmp(packet.payload(), f)
        }
        IpProtocol::Tcp => tcp(&from, &to, packet.payload(), f),
        IpProtocol::Udp => udp(&from, &to, packet.payload(), f),
        other => write!(f, "{from} > {to}: protocol {}, length {}", u8::from(other), packet.payload().len()),
    }
}

/// `A > B: …`, for IPv6.
fn ipv6(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = Ipv6Packet::new_checked(bytes) else { return f.write_str(CUT) };
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    match packet.next_header() {
        IpProtocol::Icmpv6 => {
            write!(f, "{from} > {to}: ICMP6, ")?;
            icmpv6(packet.payload(), f)
        }
        IpProtocol::Tcp => tcp(&from, &to, packet.payload(), f),
        IpProtocol::Udp => udp(&from, &to, packet.payload(), f),
        other => write!(f, "{from} > {to}: next header {}, length {}", u8::from(other), packet.payload().len()),
    }
}

/// What follows `ICMP `.
fn icmp(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = Icmpv4Packet::new_checked(bytes) else { return f.write_str(CUT) };
    let length = bytes.len();
    match packet.msg_type() {
        Icmpv4Message::EchoRequest => write!(f, "echo request, id {}, seq {}, length {length}", packet.echo_ident(), packet.echo_seq_no()),
        Icmpv4Message::EchoReply => write!(f, "echo reply, id {}, seq {}, length {length}", packet.echo_ident(), packet.echo_seq_no()),
        Icmpv4Message::DstUnreachable => {
            let about = Ipv4Packet::new_checked(packet.data()).map(|quoted| quoted.dst_addr().to_string()).unwrap_or_default();
            let what = match Icmpv4DstUnreachable::from(packet.msg_code()) {
                Icmpv4DstUnreachable::NetUnreachable => "net",
                Icmpv4DstUnreachable::HostUnreachable => "host",
                Icmpv4DstUnreachable::PortUnreachable => "port",
                _ => "destination",
            };
            write!(f, "{what} {about} unreachable, length {length}")
        }
        other => write!(f, "type {}, code {}, length {length}", u8::from(other), packet.msg_code()),
    }
}

/// What follows `ICMP6, `.
fn icmpv6(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = Icmpv6Packet::new_checked(bytes) else { return f.write_str(CUT) };
    let length = bytes.len();
    // The target of neighbor discovery's messages begins at byte 8 (RFC 4861 §4.3, §4.4).
    let enough = length >= 24;
    match packet.msg_type() {
        Icmpv6Message::NeighborSolicit if enough => write!(f, "neighbor solicitation, who has {}, length {length}", packet.target_addr()),
        Icmpv6Message::NeighborAdvert if enough => write!(f, "neighbor advertisement, tgt is {}, length {length}", packet.target_addr()),
        Icmpv6Message::EchoRequest => write!(f, "echo request, id {}, seq {}, length {length}", packet.echo_ident(), packet.echo_seq_no()),
        Icmpv6Message::EchoReply => write!(f, "echo reply, id {}, seq {}, length {length}", packet.echo_ident(), packet.echo_seq_no()),
        other => write!(f, "type {}, code {}, length {length}", u8::from(other), packet.msg_code()),
    }
}

/// `A.port > B.port: Flags [S], …`, and HTTP's first line where there is one.
fn tcp(from: &dyn fmt::Display, to: &dyn fmt::Display, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = TcpPacket::new_checked(bytes) else { return write!(f, "{from} > {to}: tcp {CUT}") };
    write!(f, "{from}.{} > {to}.{}: Flags [", packet.src_port(), packet.dst_port())?;
    let flags = [(packet.fin(), "F"), (packet.syn(), "S"), (packet.rst(), "R"), (packet.psh(), "P"), (packet.ack(), ".")];
    for (_, letter) in flags.iter().filter(|(set, _)| *set) {
        f.write_str(letter)?;
    }
    #[expect(clippy::cast_sign_loss, reason = "smoltcp keeps sequence numbers in an i32; the bits are the wire's")]
    let (sequence, acknowledged) = (packet.seq_number().0 as u32, packet.ack_number().0 as u32);
    write!(f, "], seq {sequence}")?;
    if packet.ack() {
        write!(f, ", ack {acknowledged}")?;
    }
    let payload = packet.payload();
    write!(f, ", win {}, length {}", packet.window_len(), payload.len())?;
    let line = payload.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let is_http = line.starts_with(b"HTTP/") || line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    match std::str::from_utf8(line) {
        Ok(line) if is_http && !line.chars().any(char::is_control) => write!(f, ": HTTP: {line}"),
        _ => Ok(()),
    }
}

/// `A.port > B.port: UDP, length N`.
fn udp(from: &dyn fmt::Display, to: &dyn fmt::Display, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(packet) = UdpPacket::new_checked(bytes) else { return write!(f, "{from} > {to}: udp {CUT}") };
    write!(f, "{from}.{} > {to}.{}: UDP, length {}", packet.src_port(), packet.dst_port(), packet.payload().len())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bellhop_core::mac::MacAddr;
    use bellhop_fabric::Arp;

    use super::*;

    const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);
    const NODE: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);

    fn arp(operation: Operation) -> Frame {
        let (sender_ip, target_ip) = (Ipv4Addr::new(192, 168, 0, 5), Ipv4Addr::new(192, 168, 0, 91));
        Arp { operation, sender_mac: CLIENT, sender_ip, target_mac: MacAddr::ZERO, target_ip }.frame(CLIENT, MacAddr::BROADCAST)
    }

    fn printed(frame: &Frame) -> String {
        Printed(frame).to_string()
    }

    /// An Ethernet and an IPv4 header without options before `payload`.
    fn ip(protocol: u8, payload: &[u8]) -> Frame {
        let mut bytes = [NODE.0, CLIENT.0].concat();
        let length = u8::try_from(20 + payload.len()).expect("short");
        bytes.extend([8, 0, 0x45, 0, 0, length, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 168, 0, 5, 192, 168, 0, 91]);
        bytes.extend(payload);
        Frame::from(&bytes[..])
    }

    #[test]
    fn arp_is_printed_as_tcpdump_prints_it() {
        assert_eq!(
            printed(&arp(Operation::Request)),
            "52:54:22:fa:b9:3b > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has 192.168.0.91 tell 192.168.0.5"
        );
        assert!(printed(&arp(Operation::Reply)).ends_with("length 42: Reply 192.168.0.5 is-at 52:54:22:fa:b9:3b"));
    }

    #[test]
    fn icmp_and_http_are_printed_as_tcpdump_prints_them() {
        assert_eq!(
            printed(&ip(1, &[8, 0, 0, 0, 0, 7, 0, 9])),
            "52:54:22:fa:b9:3b > 52:54:22:3a:e6:6e, ethertype IPv4 (0x0800), length 42: 192.168.0.5 > 192.168.0.91: ICMP echo request, id 7, seq 9, length 8"
        );
        let mut segment = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xfa, 0xf0, 0, 0, 0, 0];
        segment.extend(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let line = printed(&ip(6, &segment));
        assert!(
            line.ends_with("192.168.0.5.40000 > 192.168.0.91.80: Flags [P.], seq 1, ack 2, win 64240, length 27: HTTP: GET / HTTP/1.1"),
            "{line}"
        );
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_break_the_line() {
        let mut http = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xfa, 0xf0, 0, 0, 0, 0];
        http.extend(b"GET \x1b[2J HTTP/1.1\r\n");
        for frame in [arp(Operation::Request), ip(1, &[3, 1, 0, 0, 0, 0, 0, 0, 0x45]), ip(6, &http), ip(17, &[0, 1, 0, 2, 0, 9, 0, 0])] {
            for end in 0..=frame.len() {
                for flip in 0..=end {
                    let mut bytes = frame[..end].to_vec();
                    if let Some(byte) = bytes.get_mut(flip) {
                        *byte ^= 0xff;
                    }
                    let line = printed(&Frame::from(&bytes[..]));
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                }
            }
        }
    }
}
