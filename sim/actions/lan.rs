//! What the fabric is asked to do for a fault of the LAN: cables, cards, intruders, storms, and kernels that stand still.
//!
//! Several faults of one cable at once are worked out together from the list of those that are on: chances are independent, delays add up, the
//! slowest rate counts. So one that ends leaves the others as they were.

use std::net::{IpAddr, Ipv4Addr};

use bellhop_core::mac::MacAddr;
use bellhop_fabric::{Chance, Direction, Latency, NicId, SpoofId, StormId, SwitchId, WireFault};
use bellhop_scenario::Seen;
use bellhop_scenario::fault::{self, Fault, Wire};

use crate::stage::Stage;

/// A program of an intruder's that runs in the fabric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Intruder {
    /// It sends gratuitous ARP.
    Spoof(SpoofId),
    /// It sends broadcasts.
    Storm(StormId),
}

/// A NIC gets another MAC.
pub(super) fn set_mac(stage: &mut Stage, machine: &str, nic: &str, mac: MacAddr) -> Result<(), String> {
    let id = stage.nic(machine, nic)?;
    let now = {
        let mut fabric = stage.lan.fabric.borrow_mut();
        fabric.set_mac(id, mac);
        fabric.now()
    };
    stage.eye.note_mac(now, machine, mac);
    stage.eye.log().say(now, Seen::Nic { machine: machine.to_owned(), nic: nic.to_owned(), mac });
    Ok(())
}

/// Lets a fault of cables, intruders or storms begin under a number.
pub(super) fn begin(stage: &mut Stage, id: u64, fault: &Fault) -> Result<(), String> {
    match fault {
        Fault::Cable { machine, nic, .. } => work_out_cable(stage, stage.nic(machine, nic)?),
        Fault::Uplink { between, .. } => work_out_uplink(stage, switches(stage, between)?),
        Fault::ClaimAddress { machine, address } => {
            let (machine, address) = (stage.machine(machine)?, *address);
            // A node of kube-proxy's ipvs mode may have it already, on a device that does not answer: that is fine.
            stage.lan.fabric.borrow_mut().claim_address(machine, address);
        }
        Fault::SpoofArp { machine, address, every } => {
            let spoof = stage.lan.fabric.borrow_mut().spoof(stage.machine(machine)?, v4(*address)?, *every);
            stage.intruders.insert(id, Intruder::Spoof(spoof));
        }
        Fault::Storm { machine, rate } => {
            let storm = stage.lan.fabric.borrow_mut().storm(stage.machine(machine)?, *rate);
            stage.intruders.insert(id, Intruder::Storm(storm));
        }
        _ => {}
    }
    Ok(())
}

/// Ends one that began; it is no longer in the list.
pub(super) fn end(stage: &mut Stage, id: u64, fault: &Fault) {
    match fault {
        Fault::Cable { machine, nic, .. } => {
            if let Ok(nic) = stage.nic(machine, nic) {
                work_out_cable(stage, nic);
            }
        }
        Fault::Uplink { between, .. } => {
            if let Ok(switches) = switches(stage, between) {
                work_out_uplink(stage, switches);
            }
        }
        Fault::ClaimAddress { machine, address } => {
            let claimed = stage.ongoing().any(|other| other.fault == *fault);
            if let (Ok(id), false) = (stage.machine(machine), claimed) {
                stage.lan.fabric.borrow_mut().release_address(id, *address);
            }
        }
        _ => {}
    }
    match stage.intruders.remove(&id) {
        Some(Intruder::Spoof(spoof)) => stage.lan.fabric.borrow_mut().stop_spoof(spoof),
        Some(Intruder::Storm(storm)) => stage.lan.fabric.borrow_mut().stop_storm(storm),
        None => {}
    }
}

/// A machine's kernel stands still, or goes on. Asked whenever faults change, so mostly for what is so already.
pub(super) fn set_frozen(stage: &mut Stage, machine: &str, frozen: bool) {
    let Ok(id) = stage.machine(machine) else { return };
    let mut fabric = stage.lan.fabric.borrow_mut();
    match (frozen, fabric.is_frozen(id)) {
        (true, false) => fabric.freeze(id),
        (false, true) => fabric.thaw(id),
        _ => {}
    }
}

/// The link of a NIC is there, or is not.
pub(super) fn set_carrier(stage: &mut Stage, machine: &str, nic: &str, carrier: bool) -> Result<(), String> {
    let nic = stage.nic(machine, nic)?;
    let mut fabric = stage.lan.fabric.borrow_mut();
    if carrier {
        fabric.plug(nic);
    } else {
        fabric.unplug(nic);
    }
    Ok(())
}

/// Puts in force what all faults of a NIC's cable together mean.
fn work_out_cable(stage: &Stage, nic: NicId) {
    let wires: Vec<&Wire> = stage
        .ongoing()
        .filter_map(|ongoing| match &ongoing.fault {
            Fault::Cable { machine, nic: name, wire } if stage.nic(machine, name) == Ok(nic) => Some(wire),
            _ => None,
        })
        .collect();
    let mut fabric = stage.lan.fabric.borrow_mut();
    for (direction, in_it) in DIRECTIONS {
        fabric.set_wire(nic, direction, together(&wires, in_it));
    }
}

/// The same of a cable between switches, whose direction is from the first of the pair to the second.
fn work_out_uplink(stage: &Stage, (one, other): (SwitchId, SwitchId)) {
    let wires: Vec<Wire> = stage
        .ongoing()
        .filter_map(|ongoing| match &ongoing.fault {
            Fault::Uplink { between, wire } if switches(stage, between) == Ok((one, other)) => Some(wire.clone()),
            Fault::Uplink { between, wire } if switches(stage, between) == Ok((other, one)) => Some(reversed(wire)),
            _ => None,
        })
        .collect();
    let wires: Vec<&Wire> = wires.iter().collect();
    let mut fabric = stage.lan.fabric.borrow_mut();
    for (direction, in_it) in DIRECTIONS {
        fabric.set_uplink(one, other, direction, together(&wires, in_it));
    }
}

/// Each way of a cable: in the fabric's words, and what a fault must not say to be in it.
const DIRECTIONS: [(Direction, fault::Direction); 2] = [(Direction::In, fault::Direction::Out), (Direction::Out, fault::Direction::In)];

/// What several faults do to one direction of a cable: all but those of the other direction.
fn together(wires: &[&Wire], other: fault::Direction) -> WireFault {
    let mut all = WireFault::default();
    for wire in wires.iter().filter(|wire| wire.direction != other) {
        all.cut |= wire.cut;
        all.loss = either(all.loss, wire.loss);
        all.burst = all.burst.max(wire.burst);
        all.duplicate = either(all.duplicate, wire.duplicate);
        all.reorder = either(all.reorder, wire.reorder);
        all.corrupt = either(all.corrupt, wire.corrupt);
        if let Some(delay) = wire.delay {
            let (min, max) = all.delay.map_or_else(Default::default, |before| (before.min, before.max));
            all.delay = Some(Latency::between(min + delay.min, max + delay.max));
        }
        all.rate = all.rate.into_iter().chain(wire.rate).min();
    }
    all
}

/// The chance that one of two independent things happens.
fn either(one: Chance, other: fault::Chance) -> Chance {
    let (certain, one, other) = (u64::from(Chance::CERTAIN.0), u64::from(one.0), u64::from(other.0));
    let both = one * other / certain;
    Chance(u32::try_from(one + other - both).unwrap_or(Chance::CERTAIN.0).min(Chance::CERTAIN.0))
}

/// The same cable, looked at from the other end.
fn reversed(wire: &Wire) -> Wire {
    let direction = match wire.direction {
        fault::Direction::Both => fault::Direction::Both,
        fault::Direction::In => fault::Direction::Out,
        fault::Direction::Out => fault::Direction::In,
    };
    Wire { direction, ..wire.clone() }
}

fn switches(stage: &Stage, between: &[String; 2]) -> Result<(SwitchId, SwitchId), String> {
    let id = |name: &String| stage.machines.switches.get(name).copied().ok_or_else(|| format!("no switch {name}"));
    Ok((id(&between[0])?, id(&between[1])?))
}

fn v4(address: IpAddr) -> Result<Ipv4Addr, String> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(format!("{address}: only ARP is spoofed")),
    }
}
