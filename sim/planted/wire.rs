//! Bugs of what is said on the wire: between a replica and its NICs.
//!
//! A frame that the program sends is changed, kept back or repeated; one that it is about to hear is answered in its name. A machine's own
//! addresses are left alone: the bugs are about those of Services.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::task::{Context, Poll};

use bellhop::env::{Link, Links, LocalFuture};
use bellhop_core::link::{Interface, LinkError, LinkLayer};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use bellhop_fabric::{Arp, Frame, Operation};

use super::Planted;

/// How often a frame is sent by a replica that announces in a loop.
const TIMES: usize = 100;

/// Where the ARP sender's MAC is in a frame: after the Ethernet header (14 bytes) and eight of ARP's own (RFC 826).
const SENDER_MAC: std::ops::Range<usize> = 22..28;

/// What one replica remembers of the wire.
#[derive(Default)]
struct Memory {
    /// The first MAC that it said for an address.
    first: BTreeMap<Ipv4Addr, MacAddr>,
    /// Addresses that have moved.
    moved: BTreeSet<Ipv4Addr>,
    /// What others announced.
    heard: BTreeMap<Ipv4Addr, MacAddr>,
}

/// A machine's links with a bug in them.
pub(super) struct PlantedLinks {
    bug: Planted,
    links: Rc<dyn Links>,
    memory: Rc<RefCell<Memory>>,
}

impl PlantedLinks {
    pub(super) fn new(bug: Planted, links: Rc<dyn Links>) -> Self {
        Self { bug, links, memory: Rc::default() }
    }
}

impl Links for PlantedLinks {
    fn interfaces(&self) -> Vec<Interface> {
        self.links.interfaces()
    }

    fn route_to(&self, destination: IpAddr) -> Option<InterfaceName> {
        self.links.route_to(destination)
    }

    fn changed(&self) -> LocalFuture<'_> {
        self.links.changed()
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        let own =
            self.links.interfaces().into_iter().find(|own| own.name == *interface).ok_or_else(|| LinkError::Gone(interface.clone()))?;
        let addresses = own.addresses.iter().map(|address| address.address).collect();
        let (memory, link) = (Rc::clone(&self.memory), self.links.open(interface)?);
        Ok(Box::new(PlantedLink { bug: self.bug, link, memory, mac: own.mac, addresses }))
    }
}

/// A link with a bug in it.
struct PlantedLink {
    bug: Planted,
    link: Box<dyn Link>,
    memory: Rc<RefCell<Memory>>,
    /// The NIC's own.
    mac: MacAddr,
    addresses: BTreeSet<IpAddr>,
}

impl PlantedLink {
    /// The ARP message in a frame, if it is about somebody else's address.
    fn arp(&self, frame: &[u8]) -> Option<Arp> {
        Frame::from(frame).arp().filter(|arp| !arp.sender_ip.is_unspecified() && !self.addresses.contains(&IpAddr::V4(arp.sender_ip)))
    }

    /// Something was heard.
    fn overhear(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let Some(arp) = self.arp(frame) else { return Ok(()) };
        if arp.is_gratuitous() {
            self.memory.borrow_mut().heard.insert(arp.sender_ip, arp.sender_mac);
            return Ok(());
        }
        let answer = match self.bug {
            Planted::AnswersForEverything => {
                let said = &self.memory.borrow().first;
                (!said.is_empty() && !said.contains_key(&arp.target_ip)).then_some(self.mac)
            }
            Planted::AnswersAsStandby => self.memory.borrow().heard.get(&arp.target_ip).copied(),
            _ => None,
        };
        let asked = arp.operation == Operation::Request && !self.addresses.contains(&IpAddr::V4(arp.target_ip));
        let Some(mac) = answer.filter(|_| asked) else { return Ok(()) };
        let reply = Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: arp.target_ip,
            target_mac: arp.sender_mac,
            target_ip: arp.sender_ip,
        };
        self.link.send(&reply.frame(self.mac, arp.sender_mac))
    }
}

impl LinkLayer for PlantedLink {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        let received = self.link.receive(buffer)?;
        if let Some(frame) = received.and_then(|length| buffer.get(..length)) {
            self.overhear(frame)?;
        }
        Ok(received)
    }

    fn join(&mut self, group: Ipv6Addr) -> Result<(), LinkError> {
        self.link.join(group)
    }

    fn leave(&mut self, group: Ipv6Addr) {
        self.link.leave(group);
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), LinkError> {
        let Some(arp) = self.arp(frame) else { return self.link.send(frame) };
        let (address, mac) = (arp.sender_ip, arp.sender_mac);
        let first = *self.memory.borrow_mut().first.entry(address).or_insert(mac);
        match self.bug {
            Planted::KeepsTheFirstMac => {
                let mut bytes = frame.to_vec();
                bytes[SENDER_MAC].copy_from_slice(&first.0);
                self.link.send(&bytes)
            }
            Planted::SilentAfterAMove => {
                let mut memory = self.memory.borrow_mut();
                if first != mac {
                    memory.moved.insert(address);
                }
                if memory.moved.contains(&address) { Ok(()) } else { self.link.send(frame) }
            }
            Planted::AnnouncesInALoop if arp.is_gratuitous() => (0..TIMES).try_for_each(|_| self.link.send(frame)),
            _ => self.link.send(frame),
        }
    }
}

impl Link for PlantedLink {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_readable(cx)
    }

    fn ignored(&self) -> Vec<(&'static str, u64)> {
        self.link.ignored()
    }
}
