//! A received frame as the message that it is, of whichever family; or why it is left alone.
//!
//! Which of the two readers a frame goes to is decided here and nothing else: [`crate::arp`] and [`crate::ndp`] read, [`crate::announcer`] answers.

use crate::arp::ArpMessage;
use crate::ndp::NdpMessage;

/// Where an Ethernet frame has its EtherType.
const ETHERTYPE: std::ops::Range<usize> = 12..14;

/// EtherType of IPv6 (RFC 2464 §3).
const IPV6: [u8; 2] = [0x86, 0xdd];

/// One message about who is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Of IPv4.
    Arp(ArpMessage),
    /// Of IPv6.
    Ndp(NdpMessage),
}

impl Message {
    /// Reads an Ethernet frame. Inlined: a value of this size is dear to hand over, on a path that is walked for every frame.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        if bytes.get(ETHERTYPE) == Some(&IPV6) { NdpMessage::parse(bytes).map(Self::Ndp) } else { ArpMessage::parse(bytes).map(Self::Arp) }
    }
}

/// Why a frame was not answered. Each is a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Shorter than what it claims to hold.
    Short,
    /// With a VLAN tag: another network's.
    Tagged,
    /// Neither ARP nor IPv6.
    OtherProtocol,
    /// ARP of another hardware or protocol, or of unknown operation; IPv6 that is neither solicitation nor advertisement.
    WrongType,
    /// Neighbor discovery that came through a router (RFC 4861 §7.1).
    HopLimit,
    /// Neighbor discovery whose checksum does not fit.
    Checksum,
    /// Neighbor discovery that RFC 4861 §7.1 tells to throw away for what it says.
    Unsound,
    /// From a sender that no station can be.
    BadSender,
    /// A reply: nobody asked us.
    NotARequest,
    /// An announcement: its sender speaks of its own address.
    Gratuitous,
    /// About an address that is not ours to answer for.
    NotOurs,
    /// About one of ours, while another replica answers.
    NotLeading,
}

impl DropReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 12] = [
        Self::Short,
        Self::Tagged,
        Self::OtherProtocol,
        Self::WrongType,
        Self::HopLimit,
        Self::Checksum,
        Self::Unsound,
        Self::BadSender,
        Self::NotARequest,
        Self::Gratuitous,
        Self::NotOurs,
        Self::NotLeading,
    ];

    /// The label of its counter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Tagged => "tagged",
            Self::OtherProtocol => "other_protocol",
            Self::WrongType => "wrong_type",
            Self::HopLimit => "hop_limit",
            Self::Checksum => "checksum",
            Self::Unsound => "unsound",
            Self::BadSender => "bad_sender",
            Self::NotARequest => "not_a_request",
            Self::Gratuitous => "gratuitous",
            Self::NotOurs => "not_ours",
            Self::NotLeading => "not_leading",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_at_its_own_place() {
        assert!(DropReason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
    }
}
