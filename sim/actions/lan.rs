//! What the fabric is asked to do for a fault: one small function each.
//!
//! The seam to the fabric's own faults. What is not there yet says so by name.

use bellhop_core::mac::MacAddr;
use bellhop_scenario::fault::Fault;

use crate::stage::Stage;

/// A NIC gets another MAC.
pub(super) fn set_mac(_stage: &mut Stage, machine: &str, nic: &str, mac: MacAddr) -> Result<(), String> {
    Err(format!("not yet: {nic} of {machine} cannot get the MAC {mac}"))
}

/// Lets a fault of cables, intruders or storms begin under a number.
pub(super) fn begin(_stage: &mut Stage, _id: u64, fault: &Fault) -> Result<(), String> {
    Err(format!("not yet: {fault:?}"))
}

/// Ends one that began.
pub(super) fn end(_stage: &mut Stage, _id: u64, _fault: &Fault) {}

/// A machine's kernel stands still, or goes on. Asked whenever faults change, so mostly for what is so already.
pub(super) fn set_frozen(_stage: &mut Stage, _machine: &str, _frozen: bool) {}

/// The link of a NIC is there, or is not.
pub(super) fn set_carrier(stage: &mut Stage, machine: &str, nic: &str, carrier: bool) -> Result<(), String> {
    let nic = stage.nic(machine, nic)?;
    let mut fabric = stage.lan.fabric.borrow_mut();
    if carrier {
        fabric.plug(nic)
    } else {
        fabric.unplug(nic)
    }
    Ok(())
}
