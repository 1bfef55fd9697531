//! Changes that are worth one line in the log, as values; who prints them is not known here.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::lease::Role;
use crate::link::LinkError;
use crate::mac::MacAddr;
use crate::name::{InterfaceName, NodeName, ServiceKey};

/// A change worth one line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Leadership came, went or is in doubt.
    Role(Role),
    /// An address is carried by another MAC, or no more.
    Carrier {
        /// The Service.
        service: ServiceKey,
        /// Its address.
        address: IpAddr,
        /// On which NIC's LAN, and the MAC that is announced.
        at: Option<(InterfaceName, MacAddr)>,
    },
    /// A node is at another MAC than before, or answered for the first time.
    NodeMac {
        /// The node.
        node: NodeName,
        /// On which NIC's LAN.
        interface: InterfaceName,
        /// The MAC.
        mac: MacAddr,
        /// The MAC before.
        before: Option<MacAddr>,
    },
    /// A NIC was opened, or could not be.
    Link(InterfaceName, Result<(), LinkError>),
    /// A NIC does not listen to an IPv6 group: who asks for addresses in it may not be heard. Told once until all is joined.
    Group(InterfaceName, Ipv6Addr, LinkError),
    /// So many Events were not told, because there were too many at once.
    Untold(u64),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(Role::Leader) => f.write_str("leading: the Lease is ours"),
            Self::Role(Role::Follower) => f.write_str("following: silent until the Lease is ours"),
            Self::Role(Role::Unconfirmed) => f.write_str("leadership is unconfirmed: answering what stands, moving nothing"),
            Self::Carrier { service, address, at: Some((interface, mac)) } => {
                write!(f, "{address} of {service} is at {mac} on {interface}")
            }
            Self::Carrier { service, address, at: None } => write!(f, "{address} of {service} is not announced any more"),
            Self::NodeMac { node, interface, mac, before: None } => write!(f, "node {node} is at {mac} on {interface}"),
            Self::NodeMac { node, interface, mac, before: Some(before) } => {
                write!(f, "node {node} moved from {before} to {mac} on {interface}")
            }
            Self::Link(interface, Ok(())) => write!(f, "interface {interface} is open"),
            Self::Link(_, Err(error)) => write!(f, "{error}"),
            Self::Group(interface, group, error) => {
                write!(f, "group {group} is not joined on {interface}, so that some may ask in vain for an IPv6 address there: {error}")
            }
            Self::Untold(count) => {
                write!(f, "{count} Events were not told, there were too many at once; the conditions on the objects say what is so")
            }
        }
    }
}
