//! A machine on the LAN: its NICs, addresses, routes, and what its kernel keeps.
//!
//! It takes in frames and timers and hands out [`Effects`]; it knows no cable and no queue. The parts beside this file: ARP, IP, programs
//! (ping and curl), what makes a node of it (pods and kube-proxy's rules), and what it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::link::{Interface, InterfaceAddress};
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::conntrack::Conntrack;
use crate::curl::{Curl, CurlReport};
use crate::frame::Frame;
use crate::neighbor::{Neighbor, NeighborState, NeighborTable, Outcome};
use crate::ping::{Echo, Ping};
use crate::pod::{Pod, Served};
use crate::proxy::Proxy;
use crate::random::stream;
use crate::tcp::TcpStack;

mod addresses;
mod arp;
mod config;
mod detection;
mod ip;
mod ip6;
mod ndp;
mod neighbors;
mod node;
mod programs;

pub use config::{MachineConfig, NicConfig, Route, Sysctl};

/// What a machine wants done, and what happened in it. Whoever calls it drains all of this.
#[derive(Default)]
pub(crate) struct Effects {
    /// Frames to put on the wire, by NIC.
    pub(crate) transmit: Vec<(usize, Frame)>,
    /// Timers to set. None is ever taken back: one that is no longer wanted is ignored when it fires.
    pub(crate) timers: Vec<(Instant, Timer)>,
    /// For the trace.
    pub(crate) happened: Vec<Happened>,
}

/// What a machine wants to be called for.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A neighbor entry.
    Neighbor { nic: usize, address: IpAddr },
    /// Conflict detection for one of a NIC's addresses.
    Detection { nic: usize, index: usize },
    /// A ping's next request.
    Ping(u32),
    /// The patience of some curl.
    Curl,
    /// The TCP of one of its addresses.
    Stack(IpAddr),
    /// A pod.
    Pod(IpAddr),
    /// Nobody has said within the time that an IPv6 address is taken.
    Unique { nic: usize, address: Ipv6Addr },
    /// A packet that the machine sends to itself.
    Loopback(Vec<u8>),
}

/// What happened in a machine.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A neighbor entry changed.
    Neighbor { nic: usize, address: IpAddr, state: NeighborState, mac: Option<MacAddr> },
    /// An echo request was decided.
    Echo { ping: u32, to: IpAddr, echo: Echo },
    /// A curl ended.
    Curl { curl: u32, report: CurlReport },
    /// A pod answered a request.
    Served(Served),
    /// An IPv6 address that was taken is its own now: nobody else had it.
    Unique { nic: usize, address: Ipv6Addr },
}

/// One NIC as the kernel has it.
pub(crate) struct Nic {
    /// What it is.
    pub(crate) config: NicConfig,
    /// Its IPv4 addresses with prefix lengths, out of the config.
    subnets: Vec<(Ipv4Addr, u8)>,
    /// Addresses that are in use only when nobody else has them; of a machine that defends.
    claims: Vec<detection::Claim>,
    /// `ip link set up`.
    admin_up: bool,
    /// Whether a live cable is in it.
    carrier: bool,
    /// Who is there, of IPv4.
    pub(crate) neighbors: NeighborTable,
    /// Its IPv6.
    ip6: ip6::Ip6,
}

impl Nic {
    /// Whether frames pass.
    fn is_up(&self) -> bool {
        self.admin_up && self.carrier
    }

    /// Whether one of its addresses is in use: on a machine that defends, one may not be yet, or no more.
    fn uses(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.subnets.iter().any(|(own, _)| *own == address),
            IpAddr::V6(_) => true,
        }
    }

    /// Its first address whose subnet holds `other`.
    fn address_towards(&self, other: Ipv4Addr) -> Option<Ipv4Addr> {
        self.subnets.iter().find(|(address, length)| in_subnet(*address, *length, other)).map(|(address, _)| *address)
    }
}

/// A timer that may be moved earlier, never twice pending for one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm(Option<Instant>);

impl Alarm {
    /// Whether a timer must be set so that it rings at `at`.
    pub(crate) fn set(&mut self, at: Instant) -> bool {
        let sooner = self.0.is_none_or(|set| at < set);
        if sooner {
            self.0 = Some(at);
        }
        sooner
    }

    /// Whether the timer that fires now is the one that was set last. On a machine that stood still it fires late.
    pub(crate) fn rings(&mut self, now: Instant) -> bool {
        let rings = self.0.is_some_and(|set| set <= now);
        if rings {
            self.0 = None;
        }
        rings
    }
}

/// A machine. `handle_*` take in events; effects are appended to the value given.
pub(crate) struct Host {
    /// What it is made of.
    pub(crate) config: MachineConfig,
    /// Whether it has power.
    pub(crate) powered: bool,
    /// How often it was switched on: timers of an earlier life are void.
    pub(crate) boots: u32,
    /// Its NICs.
    pub(crate) nics: Vec<Nic>,
    /// Kernel settings.
    sysctl: Sysctl,
    /// Addresses on its local device (kube-ipvs0).
    local: BTreeSet<IpAddr>,
    /// TCP by address, made when first needed.
    stacks: BTreeMap<IpAddr, (TcpStack, Alarm)>,
    /// Running pings.
    pings: BTreeMap<u32, Ping>,
    /// Running curls.
    curls: BTreeMap<u32, Curl>,
    /// Pods by address.
    pods: BTreeMap<IpAddr, (Pod, Alarm)>,
    /// kube-proxy's rules.
    proxy: Option<Proxy>,
    /// Connections through the rules.
    conntrack: Conntrack,
    /// The next port that a program connects from.
    next_port: u16,
    /// Its own chance.
    rng: ChaCha8Rng,
    /// Room for neighbor outcomes, kept to save allocations.
    outcomes: Vec<Outcome>,
}

impl Host {
    /// A machine that is switched on, with no cable in it.
    pub(crate) fn new(now: Instant, config: MachineConfig, seed: u64) -> Self {
        let mut rng = stream(seed, &format!("machine {}", config.name));
        let nics = config.nics.iter().map(|nic| new_nic(now, nic, &config, seed)).collect();
        Self {
            powered: true,
            boots: 0,
            nics,
            sysctl: config.sysctl,
            local: config.local.iter().copied().collect(),
            stacks: BTreeMap::new(),
            pings: BTreeMap::new(),
            curls: BTreeMap::new(),
            pods: BTreeMap::new(),
            proxy: None,
            conntrack: Conntrack::default(),
            next_port: first_port(&mut rng),
            rng,
            outcomes: Vec::new(),
            config,
        }
    }

    /// Takes in a timer that it set in this life.
    pub(crate) fn handle_timer(&mut self, now: Instant, timer: Timer, effects: &mut Effects) {
        match timer {
            Timer::Neighbor { nic, address } => self.handle_neighbor_timer(now, nic, address, effects),
            Timer::Detection { nic, index } => self.handle_detection_timer(now, nic, index, effects),
            Timer::Ping(ping) => self.handle_ping_timer(now, ping, effects),
            Timer::Curl => self.poll_curls(now, effects),
            Timer::Stack(address) => self.handle_stack_timer(now, address, effects),
            Timer::Pod(address) => self.handle_pod_timer(now, address, effects),
            Timer::Unique { nic, address } => self.handle_unique(nic, address, effects),
            Timer::Loopback(packet) => self.handle_loopback(now, packet, effects),
        }
    }

    /// The plug is pulled: all that was in memory is gone, programs and pods with it.
    pub(crate) fn power_off(&mut self, now: Instant, effects: &mut Effects) {
        self.stop_programs(now, effects);
        self.powered = false;
        self.sysctl = self.config.sysctl;
        self.local = self.config.local.iter().copied().collect();
        self.stacks.clear();
        self.pods.clear();
        self.proxy = None;
        self.conntrack = Conntrack::default();
        self.nics.iter_mut().for_each(Nic::forget_neighbors);
        self.release_all();
    }

    /// It boots, at once, with every NIC set up and nothing else.
    pub(crate) fn power_on(&mut self) {
        self.powered = true;
        self.boots += 1;
        self.nics.iter_mut().for_each(|nic| nic.admin_up = true);
    }

    /// `ip link set up|down`: down forgets the neighbors.
    pub(crate) fn set_admin_up(&mut self, nic: usize, up: bool) {
        self.change_nic(nic, |nic| nic.admin_up = up);
    }

    /// The cable is live or not.
    pub(crate) fn set_carrier(&mut self, nic: usize, carrier: bool) {
        self.change_nic(nic, |nic| nic.carrier = carrier);
    }

    /// Whether frames pass through this NIC.
    pub(crate) fn is_nic_up(&self, nic: usize) -> bool {
        self.powered && self.nics.get(nic).is_some_and(Nic::is_up)
    }

    /// The NIC of this name.
    pub(crate) fn nic_named(&self, name: &str) -> Option<usize> {
        self.nics.iter().position(|nic| nic.config.name.as_str() == name)
    }

    /// All neighbor entries, NIC by NIC.
    pub(crate) fn neighbors(&self) -> Vec<Neighbor> {
        let lines = |nic: &Nic| {
            let name = nic.config.name.as_str().to_owned();
            nic.neighbors.lines(&name).chain(nic.ip6.neighbors.lines(&name)).collect::<Vec<_>>()
        };
        self.nics.iter().flat_map(lines).collect()
    }

    /// Its NICs as its programs see them, with the addresses that are in use.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let interface = |nic: &Nic| Interface {
            name: nic.config.name.clone(),
            mac: nic.config.mac,
            up: self.powered && nic.is_up(),
            addresses: nic.config.addresses.iter().filter(|own| nic.uses(own.address)).copied().chain(nic.ip6.made_link_local()).collect(),
        };
        self.nics.iter().map(interface).collect()
    }

    /// The NIC and next hop for a destination that is not its own: the longest prefix, connected before static.
    pub(crate) fn route(&self, destination: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let connected = self.connected(destination).map(|(nic, length)| (length, nic, destination));
        let by_static = self
            .config
            .routes
            .iter()
            .filter(|route| route.destination.contains(destination.into()))
            .filter_map(|route| if let IpAddr::V4(via) = route.via { Some((route.destination.prefix_length, via)) } else { None })
            .filter_map(|(length, via)| self.connected(via).map(|(nic, _)| (length, nic, via)))
            .max_by_key(|(length, ..)| *length);
        let best = match (connected, by_static) {
            (Some(connected), Some(by_static)) if by_static.0 > connected.0 => by_static,
            (Some(connected), _) => connected,
            (None, by_static) => by_static?,
        };
        Some((best.1, best.2))
    }

    /// Whether an address is its own, on whichever device (the weak host model of Linux).
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        self.is_nic_address(address) || self.local.contains(&address.into())
    }

    /// Whether an address is on one of its NICs.
    fn is_nic_address(&self, address: Ipv4Addr) -> bool {
        self.nics.iter().any(|nic| nic.subnets.iter().any(|(own, _)| *own == address))
    }

    /// The source address that it would use.
    fn source_for(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.is_local(destination) {
            return Some(destination);
        }
        if self.pods.contains_key(&destination.into()) {
            return self.primary_address();
        }
        let (nic, next_hop) = self.route(destination)?;
        let nic = self.nics.get(nic)?;
        nic.address_towards(next_hop).or_else(|| nic.subnets.first().map(|(address, _)| *address))
    }

    /// Its first address.
    fn primary_address(&self) -> Option<Ipv4Addr> {
        self.nics.iter().find_map(|nic| nic.subnets.first()).map(|(address, _)| *address)
    }

    /// The NIC on whose subnet an address is, with the prefix length.
    fn connected(&self, address: Ipv4Addr) -> Option<(usize, u8)> {
        let subnets = |(index, nic): (usize, &Nic)| {
            let longest = nic.subnets.iter().filter(|(own, length)| in_subnet(*own, *length, address)).map(|(_, length)| *length).max();
            longest.filter(|_| nic.is_up()).map(|length| (length, index))
        };
        // The longest prefix; of equals the first NIC, as the kernel's route of lower metric.
        let best = self.nics.iter().enumerate().filter_map(subnets).max_by_key(|(length, index)| (*length, usize::MAX - index))?;
        Some((best.1, best.0))
    }

    /// Changes a NIC; one that goes down forgets its neighbors (neigh_ifdown, neigh_carrier_down).
    fn change_nic(&mut self, nic: usize, change: impl FnOnce(&mut Nic)) {
        if let Some(nic) = self.nics.get_mut(nic) {
            change(nic);
            if !nic.is_up() {
                nic.forget_neighbors();
            }
        }
    }
}

/// A NIC with nobody known on it.
fn new_nic(now: Instant, nic: &NicConfig, machine: &MachineConfig, seed: u64) -> Nic {
    let subnet = |address: &InterfaceAddress| match address.address {
        IpAddr::V4(v4) => Some((v4, address.prefix_length)),
        IpAddr::V6(_) => None,
    };
    let rng = stream(seed, &format!("neighbors {} {}", machine.name, nic.name));
    let rng6 = stream(seed, &format!("neighbors6 {} {}", machine.name, nic.name));
    let subnets: Vec<_> = nic.addresses.iter().filter_map(subnet).collect();
    let (claimed, subnets) = if machine.defends { (subnets, Vec::new()) } else { (Vec::new(), subnets) };
    Nic {
        config: nic.clone(),
        claims: claimed.into_iter().map(|subnet| detection::Claim::new(subnet, &machine.name, seed)).collect(),
        subnets,
        admin_up: true,
        carrier: false,
        neighbors: NeighborTable::new(now, machine.neighbors.clone(), rng),
        ip6: ip6::Ip6::new(nic.mac, &nic.addresses, NeighborTable::new(now, machine.neighbors6.clone(), rng6)),
    }
}

/// Whether two addresses share their first `length` bits.
fn in_subnet(own: Ipv4Addr, length: u8, other: Ipv4Addr) -> bool {
    let host_bits = 32 - u32::from(length.min(32));
    (own.to_bits() ^ other.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
}

/// Where a machine's ephemeral ports start (net.ipv4.ip_local_port_range is 32768 to 60999).
fn first_port(rng: &mut ChaCha8Rng) -> u16 {
    let offset = u16::try_from(rng.next_u64() % 28_000).unwrap_or(0);
    32_768 + offset
}
