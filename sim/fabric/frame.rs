//! Frames as they travel: shared bytes, an Ethernet header, and ARP read and written.
//!
//! The codec is smoltcp's. What a frame means to whoever hears it is decided elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::rc::Rc;

use bellhop_core::mac::MacAddr;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};
use xxhash_rust::xxh3::xxh3_64;

use crate::packet6::{self, Icmp6};

/// Bytes of the Ethernet header: destination, source, EtherType.
pub const ETHERNET_HEADER_LENGTH: usize = 14;

/// The longest frame that a NIC or a switch takes, in bytes without the check sequence (IEEE 802.3 with one VLAN tag).
pub const FRAME_LENGTH_MAX: usize = 1518;

/// One Ethernet frame, from the destination address on, without the check sequence. A copy shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The bytes.
    bytes: Rc<[u8]>,
    /// Their hash: the trace takes it at every hop, and it is the same at each.
    hash: u64,
}

impl Frame {
    /// Where it goes.
    pub fn destination(&self) -> MacAddr {
        mac_at(&self.bytes, 0)
    }

    /// Who says it is from.
    pub fn source(&self) -> MacAddr {
        mac_at(&self.bytes, 6)
    }

    /// What follows the header. A VLAN tag is an EtherType of its own (0x8100).
    pub fn ethertype(&self) -> u16 {
        self.bytes.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The hash of its bytes.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The same frame with one bit flipped, counted from its first; itself if it has not so many.
    pub(crate) fn with_flipped_bit(&self, bit: usize) -> Self {
        let mut bytes = self.bytes.to_vec();
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        Self::from(&bytes[..])
    }

    /// The ARP message in it, if it is an untagged frame with a whole one for Ethernet and IPv4.
    pub fn arp(&self) -> Option<Arp> {
        if self.ethertype() != u16::from(EthernetProtocol::Arp) {
            return None;
        }
        Arp::parse(self.bytes.get(ETHERNET_HEADER_LENGTH..)?)
    }
}

impl Frame {
    /// The neighbor solicitation or advertisement in it, if it is an untagged frame with a sound one.
    pub fn ndp(&self) -> Option<Ndp> {
        if self.ethertype() != u16::from(EthernetProtocol::Ipv6) {
            return None;
        }
        let header = packet6::header(self)?;
        let (source, destination) = (header.source, header.destination);
        match packet6::icmp(self)? {
            Icmp6::Solicitation { target, mac } => Some(Ndp { source, destination, target, mac, advertises: false, solicited: false }),
            Icmp6::Advertisement(says) => {
                Some(Ndp { source, destination, target: says.target, mac: says.mac, advertises: true, solicited: says.solicited })
            }
            _ => None,
        }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: Rc::from(bytes), hash: xxh3_64(bytes) }
    }
}

/// Whether an ARP message asks or answers (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP message for Ethernet and IPv4 (RFC 826: sender is sha and spa there, target is tha and tpa).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Whose binding this message tells.
    pub sender_mac: MacAddr,
    /// The address that the sender claims; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// Without meaning in a request.
    pub target_mac: MacAddr,
    /// The address that is asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads what follows the Ethernet header. Another hardware or protocol type, another operation, or too few bytes are `None`.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let repr = ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?).ok()?;
        let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_hardware_addr, target_protocol_addr } =
            repr
        else {
            return None;
        };
        let operation = match operation {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return None,
        };
        Some(Self {
            operation,
            sender_mac: source_hardware_addr.into(),
            sender_ip: source_protocol_addr,
            target_mac: target_hardware_addr.into(),
            target_ip: target_protocol_addr,
        })
    }

    /// The frame that carries it from `source` to `destination`.
    pub fn frame(&self, source: MacAddr, destination: MacAddr) -> Frame {
        let repr = ArpRepr::EthernetIpv4 {
            operation: match self.operation {
                Operation::Request => ArpOperation::Request,
                Operation::Reply => ArpOperation::Reply,
            },
            source_hardware_addr: self.sender_mac.into(),
            source_protocol_addr: self.sender_ip,
            target_hardware_addr: self.target_mac.into(),
            target_protocol_addr: self.target_ip,
        };
        let mut bytes = [0; ETHERNET_HEADER_LENGTH + 28];
        write_header(&mut bytes, source, destination, EthernetProtocol::Arp);
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET_HEADER_LENGTH..]));
        Frame::from(&bytes[..])
    }

    /// Whether Linux takes it for gratuitous (arp_is_garp): sender and target address are the same and, in a reply, the MACs too.
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip && (self.operation == Operation::Request || self.sender_mac == self.target_mac)
    }
}

/// A neighbor solicitation or advertisement (RFC 4861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ndp {
    /// Whom its packet is from; `::` while its sender looks for duplicates.
    pub source: Ipv6Addr,
    /// Whom its packet is for.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The link-layer address that it tells: the source's in a solicitation, the target's in an advertisement.
    pub mac: Option<MacAddr>,
    /// Whether it is an advertisement.
    pub advertises: bool,
    /// Whether that answers a solicitation.
    pub solicited: bool,
}

/// Writes an Ethernet header into the first 14 bytes, which must be there.
pub(crate) fn write_header(bytes: &mut [u8], source: MacAddr, destination: MacAddr, ethertype: EthernetProtocol) {
    let repr = EthernetRepr { src_addr: EthernetAddress::from(source), dst_addr: EthernetAddress::from(destination), ethertype };
    repr.emit(&mut EthernetFrame::new_unchecked(bytes));
}

/// The MAC at an offset; zero where the bytes end too early.
fn mac_at(bytes: &[u8], offset: usize) -> MacAddr {
    bytes.get(offset..offset + 6).and_then(|mac| mac.try_into().ok()).map_or(MacAddr::ZERO, MacAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who_has() -> Arp {
        Arp {
            operation: Operation::Request,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(192, 0, 2, 1),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(192, 0, 2, 2),
        }
    }

    #[test]
    fn an_arp_message_reads_back_as_it_was_written() {
        let frame = who_has().frame(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr::BROADCAST);
        assert_eq!(frame.destination(), MacAddr::BROADCAST);
        assert_eq!(frame.source(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(frame.arp(), Some(who_has()));
    }

    #[test]
    fn a_tagged_or_cut_arp_message_is_none() {
        let frame = who_has().frame(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr::BROADCAST);
        assert_eq!(Frame::from(&frame[..41]).arp(), None);
        let mut tagged = frame.to_vec();
        tagged.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        assert_eq!(Frame::from(&tagged[..]).arp(), None);
    }
}
