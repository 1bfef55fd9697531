//! Neighbor solicitations and advertisements in Ethernet frames: bytes to a value and back (RFC 4861 §4.3, §4.4).
//!
//! Reads only what RFC 4861 §7.1 lets pass; anything else is a [`DropReason`]. Whom to answer is decided in [`crate::announcer`]. Options other than
//! the two link-layer addresses (a nonce, say: RFC 7527) are skipped. A packet with extension headers is not for us: no host sends these two with any.

use std::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use crate::frame::DropReason;
use crate::mac::MacAddr;

/// All nodes of the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A message with another has come through a router (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;

/// Bytes of the Ethernet header.
const ETHERNET_HEADER_LENGTH: usize = 14;

/// Bytes of the IPv6 header.
const IPV6_HEADER_LENGTH: usize = 40;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who has the target?
    Solicitation,
    /// The target is here, or at the link-layer address that it tells. The Router flag is not ours to tell and not read.
    Advertisement {
        /// S: it answers a solicitation.
        solicited: bool,
        /// O: what was known before counts no more.
        overrides: bool,
    },
}

/// One message with the addresses that it travels under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpMessage {
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// IPv6 source; `::` while its sender detects duplicates (RFC 4862 §5.4).
    pub source_ip: Ipv6Addr,
    /// IPv6 destination.
    pub destination_ip: Ipv6Addr,
    /// What it is.
    pub kind: Kind,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The option with a link-layer address: of a solicitation the source's, of an advertisement the target's.
    pub link_address: Option<MacAddr>,
}

impl NdpMessage {
    /// Reads an Ethernet frame.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let frame = EthernetFrame::new_checked(bytes).map_err(|_| DropReason::Short)?;
        if frame.ethertype() != EthernetProtocol::Ipv6 {
            return Err(DropReason::OtherProtocol);
        }
        let packet = Ipv6Packet::new_checked(frame.payload()).map_err(|_| DropReason::Short)?;
        if packet.version() != 6 || packet.next_header() != IpProtocol::Icmpv6 {
            return Err(DropReason::WrongType);
        }
        let icmp = Icmpv6Packet::new_checked(packet.payload()).map_err(|_| DropReason::Short)?;
        if !matches!(icmp.msg_type(), Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert) {
            return Err(DropReason::WrongType);
        }
        if packet.hop_limit() != HOP_LIMIT {
            return Err(DropReason::HopLimit);
        }
        let (source_ip, destination_ip) = (packet.src_addr(), packet.dst_addr());
        if !icmp.verify_checksum(&source_ip, &destination_ip) {
            return Err(DropReason::Checksum);
        }
        if icmp.msg_code() != 0 {
            return Err(DropReason::Unsound);
        }
        let (kind, target, option) = match NdiscRepr::parse(&icmp).map_err(|_| DropReason::Unsound)? {
            NdiscRepr::NeighborSolicit { target_addr, lladdr } => (Kind::Solicitation, target_addr, lladdr),
            NdiscRepr::NeighborAdvert { flags, target_addr, lladdr } => {
                let solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
                (Kind::Advertisement { solicited, overrides: flags.contains(NdiscNeighborFlags::OVERRIDE) }, target_addr, lladdr)
            }
            _ => return Err(DropReason::WrongType),
        };
        let link_address = option.map(mac).transpose()?;
        let (source, destination) = (frame.src_addr().into(), frame.dst_addr().into());
        Self { destination, source, source_ip, destination_ip, kind, target, link_address }.checked()
    }

    /// What RFC 4861 §7.1 asks besides, and that its senders can be stations.
    fn checked(self) -> Result<Self, DropReason> {
        let multicast_says_solicited =
            self.destination_ip.is_multicast() && matches!(self.kind, Kind::Advertisement { solicited: true, .. });
        // Duplicate detection asks the group, and tells no MAC.
        let unsound_detection =
            self.detects_duplicates() && (self.destination_ip != solicited_node(self.target) || self.link_address.is_some());
        if self.target.is_multicast() || self.target.is_unspecified() || multicast_says_solicited || unsound_detection {
            return Err(DropReason::Unsound);
        }
        let anonymous = self.source_ip.is_unspecified() && self.kind != Kind::Solicitation;
        let sound_sender = !self.source_ip.is_multicast() && !anonymous && self.sender_mac().is_unicast();
        if sound_sender { Ok(self) } else { Err(DropReason::BadSender) }
    }

    /// Writes the frame in place of what `frame` held. It is longer than the shortest that Ethernet takes.
    pub fn emit(&self, frame: &mut Vec<u8>) {
        let lladdr = self.link_address.map(|mac| RawHardwareAddress::from(EthernetAddress::from(mac)));
        let message = match self.kind {
            Kind::Solicitation => NdiscRepr::NeighborSolicit { target_addr: self.target, lladdr },
            Kind::Advertisement { solicited, overrides } => {
                let mut flags = NdiscNeighborFlags::empty();
                flags.set(NdiscNeighborFlags::SOLICITED, solicited);
                flags.set(NdiscNeighborFlags::OVERRIDE, overrides);
                NdiscRepr::NeighborAdvert { flags, target_addr: self.target, lladdr }
            }
        };
        let icmp = Icmpv6Repr::Ndisc(message);
        let packet = Ipv6Repr {
            src_addr: self.source_ip,
            dst_addr: self.destination_ip,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: HOP_LIMIT,
        };
        frame.clear();
        frame.resize(ETHERNET_HEADER_LENGTH + IPV6_HEADER_LENGTH + icmp.buffer_len(), 0);
        let mut ethernet = EthernetFrame::new_unchecked(frame.as_mut_slice());
        ethernet.set_dst_addr(self.destination.into());
        ethernet.set_src_addr(self.source.into());
        ethernet.set_ethertype(EthernetProtocol::Ipv6);
        let mut ip = Ipv6Packet::new_unchecked(ethernet.payload_mut());
        packet.emit(&mut ip);
        let mut payload = Icmpv6Packet::new_unchecked(ip.payload_mut());
        icmp.emit(&self.source_ip, &self.destination_ip, &mut payload, &ChecksumCapabilities::default());
    }

    /// Whether its sender asks if somebody has the address that it means to take (RFC 4862 §5.4.2).
    pub fn detects_duplicates(&self) -> bool {
        self.kind == Kind::Solicitation && self.source_ip.is_unspecified()
    }

    /// Where its sender is: by what it tells, else by the frame. An advertisement that answers a unicast may leave the option out (RFC 4861 §4.4).
    pub fn sender_mac(&self) -> MacAddr {
        self.link_address.unwrap_or(self.source)
    }
}

/// The group in which an address's owner listens for solicitations: ff02::1:ff and its last 24 bits (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of a group: 33:33 and its last 32 bits (RFC 2464 §7).
pub fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// A link-layer address that is no MAC is no option of this Ethernet.
fn mac(address: RawHardwareAddress) -> Result<MacAddr, DropReason> {
    address.as_bytes().try_into().map(MacAddr).map_err(|_| DropReason::Unsound)
}

#[cfg(test)]
#[path = "ndp_tests.rs"]
mod tests;
