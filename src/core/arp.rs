//! ARP messages in Ethernet frames: bytes to a value and back (RFC 826).
//!
//! Reads only what is whole and of Ethernet and IPv4; anything else is a [`DropReason`]. Whom to answer is decided in [`crate::announcer`].
//! RFC 826 calls the fields ar$sha, ar$spa, ar$tha and ar$tpa: here sender MAC, sender IP, target MAC, target IP.

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpHardware, ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol};

use crate::frame::DropReason;
use crate::mac::MacAddr;

/// The shortest Ethernet frame without its check sequence (IEEE 802.3): what is shorter is padded.
pub const FRAME_LENGTH: usize = 60;

/// The tags of 802.1Q and 802.1ad, in the place of the EtherType.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target IP?
    Request,
    /// The sender IP is at the sender MAC.
    Reply,
}

/// One ARP message with the Ethernet addresses that it travels under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpMessage {
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// Request or reply.
    pub operation: Operation,
    /// Sender MAC.
    pub sender_mac: MacAddr,
    /// Sender IP; 0.0.0.0 in an ARP probe (RFC 5227 §1.1).
    pub sender_ip: Ipv4Addr,
    /// Target MAC; without meaning in a request.
    pub target_mac: MacAddr,
    /// Target IP.
    pub target_ip: Ipv4Addr,
}

impl ArpMessage {
    /// Reads an Ethernet frame.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let frame = EthernetFrame::new_checked(bytes).map_err(|_| DropReason::Short)?;
        match frame.ethertype() {
            EthernetProtocol::Arp => {}
            EthernetProtocol::Unknown(tag) if TAGS.contains(&tag) => return Err(DropReason::Tagged),
            _ => return Err(DropReason::OtherProtocol),
        }
        let packet = ArpPacket::new_checked(frame.payload()).map_err(|_| DropReason::Short)?;
        let ethernet_and_ipv4 = packet.hardware_type() == ArpHardware::Ethernet
            && packet.protocol_type() == EthernetProtocol::Ipv4
            && packet.hardware_len() == 6
            && packet.protocol_len() == 4;
        if !ethernet_and_ipv4 {
            return Err(DropReason::WrongType);
        }
        let operation = match packet.operation() {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return Err(DropReason::WrongType),
        };
        let message = Self {
            destination: frame.dst_addr().into(),
            source: frame.src_addr().into(),
            operation,
            sender_mac: mac(packet.source_hardware_addr()),
            sender_ip: ip(packet.source_protocol_addr()),
            target_mac: mac(packet.target_hardware_addr()),
            target_ip: ip(packet.target_protocol_addr()),
        };
        if message.sender_mac.is_unicast() { Ok(message) } else { Err(DropReason::BadSender) }
    }

    /// Writes the frame, padded with zeros, in place of what `frame` held.
    pub fn emit(&self, frame: &mut Vec<u8>) {
        frame.clear();
        frame.resize(FRAME_LENGTH, 0);
        let mut ethernet = EthernetFrame::new_unchecked(frame.as_mut_slice());
        ethernet.set_dst_addr(self.destination.into());
        ethernet.set_src_addr(self.source.into());
        ethernet.set_ethertype(EthernetProtocol::Arp);
        let mut packet = ArpPacket::new_unchecked(ethernet.payload_mut());
        packet.set_hardware_type(ArpHardware::Ethernet);
        packet.set_protocol_type(EthernetProtocol::Ipv4);
        packet.set_hardware_len(6);
        packet.set_protocol_len(4);
        packet.set_operation(match self.operation {
            Operation::Request => ArpOperation::Request,
            Operation::Reply => ArpOperation::Reply,
        });
        packet.set_source_hardware_addr(&self.sender_mac.0);
        packet.set_source_protocol_addr(&self.sender_ip.octets());
        packet.set_target_hardware_addr(&self.target_mac.0);
        packet.set_target_protocol_addr(&self.target_ip.octets());
    }

    /// That `carrier` has `address`, to all. The reply form has its target MAC equal to its sender MAC: Linux takes that one as gratuitous (arp_is_garp() in
    /// net/ipv4/arp.c), and not the form with ff:ff:ff:ff:ff:ff.
    pub fn announcement(source: MacAddr, operation: Operation, address: Ipv4Addr, carrier: MacAddr) -> Self {
        Self {
            destination: MacAddr::BROADCAST,
            source,
            operation,
            sender_mac: carrier,
            sender_ip: address,
            target_mac: if operation == Operation::Reply { carrier } else { MacAddr::ZERO },
            target_ip: address,
        }
    }

    /// Whether it speaks of its sender's own address: an ARP announcement (RFC 5227 §3).
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }
}

/// `bytes` are six: the hardware length was checked.
fn mac(bytes: &[u8]) -> MacAddr {
    let mut mac = MacAddr::ZERO;
    mac.0.copy_from_slice(bytes);
    mac
}

/// `bytes` are four: the protocol length was checked.
fn ip(bytes: &[u8]) -> Ipv4Addr {
    let mut octets = [0; 4];
    octets.copy_from_slice(bytes);
    octets.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// i-f3fozos0 (192.168.0.5) asks who has 192.168.0.91.
    const REQUEST: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 0x08, 0x06, // Ethernet
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // Ethernet, IPv4, request
        0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 192, 168, 0, 5, // sender
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 192, 168, 0, 91, // target
    ];

    fn message() -> ArpMessage {
        let client = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);
        ArpMessage {
            destination: MacAddr::BROADCAST,
            source: client,
            operation: Operation::Request,
            sender_mac: client,
            sender_ip: [192, 168, 0, 5].into(),
            target_mac: MacAddr::ZERO,
            target_ip: [192, 168, 0, 91].into(),
        }
    }

    #[test]
    fn a_frame_reads_as_the_message_it_is() {
        assert_eq!(ArpMessage::parse(&REQUEST), Ok(message()));
    }

    #[test]
    fn a_message_is_written_as_the_frame_it_is_with_padding() {
        let mut frame = vec![0xee; 100];
        message().emit(&mut frame);
        assert_eq!(frame[..42], REQUEST);
        assert_eq!(frame[42..], [0; 18]);
    }

    fn with(position: usize, bytes: &[u8]) -> Result<ArpMessage, DropReason> {
        let mut frame = REQUEST;
        frame[position..position + bytes.len()].copy_from_slice(bytes);
        ArpMessage::parse(&frame)
    }

    #[test]
    fn what_is_not_whole_ethernet_and_ipv4_arp_is_dropped_with_its_reason() {
        assert_eq!(ArpMessage::parse(&REQUEST[..13]), Err(DropReason::Short));
        assert_eq!(ArpMessage::parse(&REQUEST[..41]), Err(DropReason::Short));
        assert_eq!(with(12, &[0x81, 0x00]), Err(DropReason::Tagged));
        assert_eq!(with(12, &[0x08, 0x00]), Err(DropReason::OtherProtocol));
        assert_eq!(with(14, &[0x00, 0x20]), Err(DropReason::WrongType), "InfiniBand");
        assert_eq!(with(16, &[0x86, 0xdd]), Err(DropReason::WrongType), "IPv6");
        assert_eq!(with(18, &[7]), Err(DropReason::Short), "longer addresses do not fit");
        assert_eq!(with(18, &[5]), Err(DropReason::WrongType));
        assert_eq!(with(20, &[0, 3]), Err(DropReason::WrongType), "RARP");
        assert_eq!(with(22, &[0xff; 6]), Err(DropReason::BadSender));
        assert_eq!(with(22, &[0; 6]), Err(DropReason::BadSender));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = ArpMessage::parse(&bytes);
        }

        #[test]
        fn no_change_to_a_request_panics_and_what_reads_writes_back(position in 12usize..42, byte: u8) {
            if let Ok(message) = with(position, &[byte]) {
                let mut frame = Vec::new();
                message.emit(&mut frame);
                prop_assert_eq!(ArpMessage::parse(&frame), Ok(message));
            }
        }
    }
}
