//! The one way to the network: frames in, frames out, of one interface.
//!
//! A NIC, a TAP device and a simulated switch port implement [`LinkLayer`]; the announcer cannot tell them apart. The trait is small,
//! synchronous and never blocks: waiting until a frame is there is the business of whoever drives it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mac::MacAddr;
use crate::name::InterfaceName;

/// The longest frame that a link hands up, in bytes. ARP needs 60, a neighbor solicitation 86; anything longer is not for us.
pub const FRAME_LENGTH_MAX: usize = 1514;

/// One interface, at the level of Ethernet frames (destination, source, EtherType, payload; no frame check sequence).
pub trait LinkLayer {
    /// Takes the next received frame into `buffer` and returns its length, or `None` when there is none at the moment. Frames that
    /// are none of ours (tagged, for other hosts, our own, neither ARP nor neighbor discovery) are already gone.
    /// A frame longer than `buffer` is dropped and counted, not cut.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError>;

    /// Sends one whole frame. A full queue is [`LinkError::Busy`]; the frame is then lost, as on any Ethernet.
    fn send(&mut self, frame: &[u8]) -> Result<(), LinkError>;

    /// Listens to an IPv6 multicast group from now on: the card lets its frames in, and switches are told (MLD, RFC 3810). Joining twice is joining once.
    fn join(&mut self, group: Ipv6Addr) -> Result<(), LinkError>;

    /// Listens to a group no more. One that was not joined is left alone.
    fn leave(&mut self, group: Ipv6Addr);
}

/// Why a link could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The interface is not there, or no longer.
    #[error("interface {0} does not exist")]
    Gone(InterfaceName),
    /// The interface is there and has no carrier or is set down.
    #[error("interface {0} is down")]
    Down(InterfaceName),
    /// The process may not open raw sockets.
    #[error("opening a raw socket on interface {0} needs the capability NET_RAW (CAP_NET_RAW)")]
    NotPermitted(InterfaceName),
    /// No room in the send queue at the moment.
    #[error("the send queue of interface {0} is full")]
    Busy(InterfaceName),
    /// Anything else that the operating system said.
    #[error("interface {interface}: {message}")]
    Other {
        /// The interface.
        interface: InterfaceName,
        /// What the system said.
        message: String,
    },
}

/// What a machine knows of one of its interfaces. Changes (a new MAC, a lost carrier, another address) come as a new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: InterfaceName,
    /// Its MAC as of now.
    pub mac: MacAddr,
    /// Whether it is set up and has a carrier.
    pub up: bool,
    /// Its addresses with their prefix length, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

impl Interface {
    /// Its first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|own| if let IpAddr::V4(address) = own.address { Some(address) } else { None })
    }

    /// The IPv6 address that it speaks from to its own link: the link-local one, which every interface with IPv6 has (RFC 4291 §2.1), else its first.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        let six = || self.addresses.iter().filter_map(|own| if let IpAddr::V6(address) = own.address { Some(address) } else { None });
        six().find(Ipv6Addr::is_unicast_link_local).or_else(|| six().next())
    }
}

/// An address of an interface with the length of its on-link prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// The prefix length in bits: at most 32 or 128.
    pub prefix_length: u8,
}

impl InterfaceAddress {
    /// Whether `other` is on the same subnet. Never across families.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let host_bits = 32 - u32::from(self.prefix_length.min(32));
                (u64::from(ours.to_bits()) >> host_bits) == (u64::from(other.to_bits()) >> host_bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix_length.min(128));
                ours.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(address: &str, prefix_length: u8) -> InterfaceAddress {
        InterfaceAddress { address: address.parse().expect("a literal"), prefix_length }
    }

    #[test]
    fn an_address_is_on_link_when_the_prefix_is_the_same() {
        assert!(subnet("192.168.0.2", 24).contains([192, 168, 0, 91].into()));
        assert!(!subnet("192.168.0.2", 24).contains([192, 168, 1, 91].into()));
        assert!(subnet("2001:db8::1", 64).contains("2001:db8::ffff".parse().expect("a literal")));
        assert!(!subnet("192.168.0.2", 24).contains("2001:db8::1".parse().expect("a literal")));
    }

    #[test]
    fn to_its_own_link_it_speaks_from_the_link_local_address() {
        let interface = |addresses: &[&str]| Interface {
            name: "eth0".into(),
            mac: MacAddr::ZERO,
            up: true,
            addresses: addresses.iter().map(|address| subnet(address, 0)).collect(),
        };
        let both = interface(&["192.168.0.2", "2001:db8::2", "fe80::2"]);
        assert_eq!((both.ipv4(), both.ipv6()), (Some([192, 168, 0, 2].into()), "fe80::2".parse().ok()));
        assert_eq!(interface(&["2001:db8::2"]).ipv6(), "2001:db8::2".parse().ok());
        assert_eq!(interface(&["192.168.0.2"]).ipv6(), None);
    }

    #[test]
    fn a_prefix_of_length_zero_holds_its_whole_family() {
        assert!(subnet("0.0.0.0", 0).contains([203, 0, 113, 1].into()));
        assert!(subnet("::", 0).contains("2001:db8::1".parse().expect("a literal")));
    }
}
