//! What the network and its machines show of one address: who said where it is, what neighbor tables hold, who is without power or stands still.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Frame, Operation};

use super::{Entry, Idle, Said};
use crate::trace::places::{NicIndex, Places};
use crate::trace::record::{ProgramChange, Record, What};

/// What the network and its machines show.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) said: Option<Said>,
    pub(super) tables: BTreeMap<String, Entry>,
    pub(super) without_power: BTreeMap<String, Instant>,
    pub(super) idle: BTreeMap<String, (Idle, Instant)>,
}

impl Wire {
    pub(super) fn add(&mut self, places: &Places, address: IpAddr, record: &Record) {
        let at = record.at;
        match &record.what {
            What::Sent { nic, frame, by_bellhop } => {
                if let Some((mac, to)) = names(&frame.bytes, address) {
                    let (by, source) = (places.machine_of(*nic).to_owned(), frame.bytes.source());
                    self.said = Some(Said { at, by, by_bellhop: *by_bellhop, source, mac, to });
                }
            }
            What::Neighbor { nic, address: of, state, mac } if *of == address && is_client(places, *nic) => {
                let machine = places.machine_of(*nic).to_owned();
                let entry = Entry { since: at, state: state.clone(), mac: *mac };
                self.tables.insert(machine, entry);
            }
            What::Power { machine, on: false } => drop(self.without_power.insert(places.machine(*machine).to_owned(), at)),
            What::Power { machine, on: true } => drop(self.without_power.remove(places.machine(*machine))),
            What::Program { program, change } => {
                let Some(machine) = program.strip_prefix("bellhop ") else { return };
                let idle = match change {
                    ProgramChange::Started | ProgramChange::Thawed => None,
                    ProgramChange::Killed => Some(Idle::Killed),
                    ProgramChange::Ended | ProgramChange::Failed(_) => Some(Idle::Ended),
                    ProgramChange::Frozen => Some(Idle::Frozen),
                };
                self.idle.remove(machine);
                self.idle.extend(idle.map(|idle| (machine.to_owned(), (idle, at))));
            }
            _ => {}
        }
    }
}

/// At which MAC a frame says that the address is, and to whom (`None`: to all): an ARP reply, an announcement, or a neighbor advertisement.
pub(super) fn names(frame: &Frame, address: IpAddr) -> Option<(MacAddr, Option<IpAddr>)> {
    if let Some(arp) = frame.arp() {
        let says = IpAddr::V4(arp.sender_ip) == address && (arp.operation == Operation::Reply || arp.sender_ip == arp.target_ip);
        return says.then(|| (arp.sender_mac, (arp.target_ip != arp.sender_ip).then_some(arp.target_ip.into())));
    }
    let ndp = frame.ndp().filter(|ndp| ndp.advertises && IpAddr::V6(ndp.target) == address)?;
    Some((ndp.mac.unwrap_or_else(|| frame.source()), (!ndp.destination.is_multicast()).then_some(ndp.destination.into())))
}

/// Whether a frame asks at which MAC the address is.
pub(super) fn asks(frame: &Frame, address: IpAddr) -> bool {
    let by_arp = frame.arp().is_some_and(|arp| arp.operation == Operation::Request && IpAddr::V4(arp.target_ip) == address);
    by_arp || frame.ndp().is_some_and(|ndp| !ndp.advertises && IpAddr::V6(ndp.target) == address)
}

/// Whether a NIC is a client's: what nodes remember of a Service's address says nothing of clients.
pub(super) fn is_client(places: &Places, nic: NicIndex) -> bool {
    places.nics.get(nic.0).and_then(|nic| places.machines.get(nic.machine.0)).is_some_and(|machine| !machine.is_node)
}
