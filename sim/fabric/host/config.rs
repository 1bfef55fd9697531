//! What a machine is made of, as whoever builds a world writes it down.

use std::net::IpAddr;

use bellhop_core::link::InterfaceAddress;
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;

use crate::neighbor::{NeighborSettings, Profile};

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Its host name.
    pub name: String,
    /// Its NICs, in the kernel's order.
    pub nics: Vec<NicConfig>,
    /// Its static routes.
    pub routes: Vec<Route>,
    /// net.ipv4.ip_forward: a node or a router.
    pub forwarding: bool,
    /// ARP of every NIC.
    pub neighbors: NeighborSettings,
    /// Neighbor discovery of every NIC.
    pub neighbors6: NeighborSettings,
    /// Kernel settings after boot.
    pub sysctl: Sysctl,
    /// Addresses on a device that is no NIC, as loopback is.
    pub local: Vec<IpAddr>,
    /// Whether it probes for its NICs' IPv4 addresses before it uses them, announces and defends them (RFC 5227).
    pub defends: bool,
}

/// One NIC.
#[derive(Clone, Debug)]
pub struct NicConfig {
    /// Its name (`eth0`).
    pub name: InterfaceName,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
}

/// A static route. The next hop must be on a connected subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to: network and length; 0.0.0.0/0 is the default route.
    pub destination: InterfaceAddress,
    /// The next hop, of the same family.
    pub via: IpAddr,
}

impl MachineConfig {
    /// A machine without a NIC.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nics: Vec::new(),
            routes: Vec::new(),
            forwarding: false,
            neighbors: NeighborSettings::default(),
            neighbors6: NeighborSettings::ipv6(),
            sysctl: Sysctl::default(),
            local: Vec::new(),
            defends: false,
        }
    }

    /// A machine of another kind than Linux.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        (self.neighbors, self.neighbors6) = (profile.arp(), profile.ndp());
        self.defends = profile.defends();
        self
    }

    /// With one more NIC.
    #[must_use]
    pub fn nic(mut self, name: &str, mac: MacAddr, address: impl Into<IpAddr>, prefix_length: u8) -> Self {
        let addresses = vec![InterfaceAddress { address: address.into(), prefix_length }];
        self.nics.push(NicConfig { name: name.into(), mac, addresses });
        self
    }

    /// With one more route.
    #[must_use]
    pub fn route(mut self, destination: impl Into<IpAddr>, prefix_length: u8, via: impl Into<IpAddr>) -> Self {
        let destination = InterfaceAddress { address: destination.into(), prefix_length };
        self.routes.push(Route { destination, via: via.into() });
        self
    }

    /// One that forwards.
    #[must_use]
    pub fn forwarding(mut self) -> Self {
        self.forwarding = true;
        self
    }
}

/// net.ipv4.conf.all.*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    /// arp_ignore: 0, any local address is answered for on any NIC; 1, only the NIC's own.
    pub arp_ignore: u8,
    /// arp_announce: 0, the packet's own source may be the ARP sender; 2, only the NIC's own address.
    pub arp_announce: u8,
}
