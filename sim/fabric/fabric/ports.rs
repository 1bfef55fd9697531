//! Virtual ports: what an AF_PACKET socket with Bellhop's filter is on a real NIC.
//!
//! A port hears copies of the ARP frames that reach its NIC, for it or for all, and of the neighbor discovery for it, for all nodes, or for a group that was
//! joined on the NIC; it may send any frame. The kernel hears them too. Frames for other hosts and groups, tagged ones, and what the machine itself
//! sends never come here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use bellhop_core::link::LinkError;
use bellhop_core::mac::MacAddr;

use super::{Fabric, MachineId, NicId};
use crate::frame::{FRAME_LENGTH_MAX, Frame};
use crate::packet6::{self, ALL_NODES};

/// A virtual port that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(u32);

/// Frames that wait for a program that does not read; more are lost, as in a full socket buffer (a small frame's share of 212,992 bytes).
const QUEUE_MAX: usize = 256;

/// All ports.
#[derive(Default)]
pub(super) struct Ports {
    /// By id.
    open: BTreeMap<PortId, Port>,
    /// Those that have something new to tell since the driver last asked.
    ready: BTreeSet<PortId>,
    /// The next id.
    next: u32,
}

/// One port.
struct Port {
    /// Its NIC.
    nic: NicId,
    /// Frames not yet read.
    queue: VecDeque<Frame>,
    /// Frames lost because the queue was full.
    lost: u64,
    /// The IPv6 groups that it has joined.
    groups: BTreeSet<Ipv6Addr>,
}

impl Ports {
    /// Copies a frame that reached a NIC to its ports, if they may hear it.
    pub(super) fn hear(&mut self, nic: NicId, mac: MacAddr, frame: &Frame) {
        if self.open.is_empty() || frame.source() == mac {
            return;
        }
        let destination = frame.destination();
        let for_us = match frame.ethertype() {
            0x0806 => destination == mac || destination == MacAddr::BROADCAST,
            0x86dd if packet6::is_discovery(frame) => destination == mac || self.is_joined(nic, destination),
            _ => false,
        };
        if !for_us {
            return;
        }
        for (id, port) in self.open.iter_mut().filter(|(_, port)| port.nic == nic) {
            if port.queue.len() >= QUEUE_MAX {
                port.lost += 1;
            } else {
                port.queue.push_back(frame.clone());
                self.ready.insert(*id);
            }
        }
    }

    /// Whether the card lets frames for a group's address in: all nodes' always, another once somebody joined it. (A program hears what another has
    /// joined on its NIC, as on a real one; what the kernel has joined for its own addresses is about those and is left out.)
    fn is_joined(&self, nic: NicId, destination: MacAddr) -> bool {
        let joined = || self.open.values().filter(|port| port.nic == nic).flat_map(|port| &port.groups);
        destination == packet6::group_mac(ALL_NODES) || joined().any(|group| packet6::group_mac(*group) == destination)
    }

    /// Makes the driver look at a NIC's ports: something about the NIC changed.
    pub(super) fn wake(&mut self, nic: NicId) {
        let of_nic = self.open.iter().filter(|(_, port)| port.nic == nic).map(|(id, _)| *id);
        self.ready.extend(of_nic);
    }
}

impl Fabric {
    /// Opens a port on a NIC. It hears what arrives from now on.
    pub fn open_port(&mut self, nic: NicId) -> PortId {
        let id = PortId(self.ports.next);
        self.ports.next += 1;
        self.ports.open.insert(id, Port { nic, queue: VecDeque::new(), lost: 0, groups: BTreeSet::new() });
        id
    }

    /// Closes a port; what it had not read is gone.
    pub fn close_port(&mut self, port: PortId) {
        self.ports.open.remove(&port);
        self.ports.ready.remove(&port);
    }

    /// The next frame that a port heard. An error says that its NIC is down; a closed port hears nothing.
    pub fn port_receive(&mut self, port: PortId) -> Result<Option<Frame>, LinkError> {
        let Some(open) = self.ports.open.get_mut(&port) else { return Ok(None) };
        if let Some(frame) = open.queue.pop_front() {
            return Ok(Some(frame));
        }
        let nic = open.nic;
        self.check_up(nic).map(|()| None)
    }

    /// Sends a frame from a port's NIC.
    pub fn port_send(&mut self, port: PortId, frame: &[u8]) -> Result<(), LinkError> {
        let Some(nic) = self.ports.open.get(&port).map(|open| open.nic) else { return Ok(()) };
        self.check_up(nic)?;
        if frame.len() > FRAME_LENGTH_MAX || frame.len() < crate::frame::ETHERNET_HEADER_LENGTH {
            let interface = self.nic_place(nic).1.clone();
            return Err(LinkError::Other { interface, message: format!("a frame of {} bytes is none", frame.len()) });
        }
        self.send_from(nic, Frame::from(frame));
        Ok(())
    }

    /// Lets a port hear an IPv6 group.
    pub fn port_join(&mut self, port: PortId, group: Ipv6Addr) {
        if let Some(open) = self.ports.open.get_mut(&port) {
            open.groups.insert(group);
        }
    }

    /// Lets it hear the group no more.
    pub fn port_leave(&mut self, port: PortId, group: Ipv6Addr) {
        if let Some(open) = self.ports.open.get_mut(&port) {
            open.groups.remove(&group);
        }
    }

    /// Ports that have frames or whose NIC changed since the last call, each once, in the order they were opened.
    pub fn take_ready_ports(&mut self) -> Vec<PortId> {
        // Asked after every event, and nearly always of nothing.
        if self.ports.ready.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.ports.ready).into_iter().collect()
    }

    /// How many frames a port lost because nobody read them.
    pub fn port_lost(&self, port: PortId) -> u64 {
        self.ports.open.get(&port).map_or(0, |open| open.lost)
    }

    /// The error of a NIC that is down.
    fn check_up(&self, nic: NicId) -> Result<(), LinkError> {
        let (MachineId(machine), name) = self.nic_place(nic);
        if self.machines[machine].is_nic_up(self.nics[nic.0].index) { Ok(()) } else { Err(LinkError::Down(name.clone())) }
    }
}
