//! What an experiment needs of a world: a Linux host at one end of a cable, and the other end of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;

/// The host's MAC.
pub const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 5]);
/// The host's IPv4 address on its NIC.
pub const HOST_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 5);
/// The length of its prefix.
pub const PREFIX: u8 = 24;
/// The host's IPv6 address on its NIC, beside the link-local one that is made of the MAC.
pub const HOST_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
/// The length of its prefix.
pub const PREFIX6: u8 = 64;
/// An address that the host has on its loopback device.
pub const LOCAL_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// An IPv6 address that the host has on its loopback device.
pub const LOCAL_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7);

/// The host's settings, set before anything happens; of both families where they have both. The default is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// base_reachable_time_ms.
    pub base_reachable: Duration,
    /// delay_first_probe_time, whole seconds.
    pub delay_first_probe: Duration,
    /// locktime, of ARP, hundredths of a second; `None` leaves the kernel's.
    pub lock: Option<Duration>,
    /// mcast_resolicit.
    pub reprobes: u32,
    /// arp_ignore.
    pub arp_ignore: u8,
    /// arp_announce.
    pub arp_announce: u8,
    /// arp_accept.
    pub arp_accept: bool,
    /// drop_gratuitous_arp.
    pub drop_gratuitous: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_reachable: Duration::from_secs(30),
            delay_first_probe: Duration::from_secs(5),
            lock: None,
            reprobes: 0,
            arp_ignore: 0,
            arp_announce: 0,
            arp_accept: false,
            drop_gratuitous: false,
        }
    }
}

/// A frame that the host sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, on the arm's clock.
    pub at: Duration,
    /// From the destination address on.
    pub frame: Vec<u8>,
}

/// An entry of the host's neighbor table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As `ip neigh` prints it: `REACHABLE`.
    pub state: String,
    /// The MAC, where one is known.
    pub mac: Option<MacAddr>,
}

/// The experiment could not be made: nothing is known of the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArmError(pub String);

impl ArmError {
    /// From whatever went wrong.
    pub fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A Linux host with one NIC, and the far end of its cable. Time passes only in [`Arm::next_frame`] (and, on real kernels, by itself).
pub trait Arm {
    /// The time that has come, from some beginning.
    fn now(&mut self) -> Duration;

    /// Lets time pass until the host has sent a frame, which is taken, or until `until` has come.
    fn next_frame(&mut self, until: Duration) -> Result<Option<Captured>, ArmError>;

    /// Sends a frame into the far end.
    fn put(&mut self, frame: &[u8]) -> Result<(), ArmError>;

    /// A program on the host sends a UDP datagram to port 9. `source`: from this address of the host's; `confirm`: with MSG_CONFIRM.
    fn send_packet(&mut self, source: Option<IpAddr>, to: IpAddr, confirm: bool) -> Result<(), ArmError>;

    /// The host's neighbor entry for an address.
    fn entry(&mut self, address: IpAddr) -> Result<Option<Entry>, ArmError>;

    /// Whether the host may drop a FAILED entry at any time, as the kernel does when all namespaces together have more than gc_thresh1 entries
    /// (neigh_periodic_work). The default: it may not.
    fn collects_failed(&self) -> bool {
        false
    }
}
