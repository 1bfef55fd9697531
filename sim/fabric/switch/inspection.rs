//! Dynamic ARP inspection: which MAC, behind which port, may speak for an IPv4 address.
//!
//! Real switches take the bindings from DHCP or from a static list, or learn them at first sight ("sticky"); here they are learned at first
//! sight or given. A probe (RFC 5227, sender 0.0.0.0) claims nothing and passes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bellhop_core::mac::MacAddr;

use crate::frame::Frame;
use crate::trace::DropReason;

/// The bindings of a switch.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// By address.
    bindings: BTreeMap<Ipv4Addr, (MacAddr, usize)>,
}

impl Inspection {
    /// Says who may speak for an address.
    pub(super) fn bind(&mut self, address: Ipv4Addr, mac: MacAddr, port: usize) {
        self.bindings.insert(address, (mac, port));
    }

    /// Whether a frame from a port may pass. Binds its sender, if it is the first for its address and there is room.
    pub(super) fn inspect(&mut self, port: usize, frame: &Frame, bindings_max: usize) -> Result<(), DropReason> {
        let Some(arp) = frame.arp() else { return Ok(()) };
        if arp.sender_mac != frame.source() {
            return Err(DropReason::ArpSource);
        }
        if arp.sender_ip.is_unspecified() {
            return Ok(());
        }
        match self.bindings.get(&arp.sender_ip) {
            Some(bound) if *bound == (arp.sender_mac, port) => Ok(()),
            Some(_) => Err(DropReason::ArpBinding),
            None if self.bindings.len() < bindings_max => {
                self.bindings.insert(arp.sender_ip, (arp.sender_mac, port));
                Ok(())
            }
            // No room to bind it is no reason to trust it.
            None => Err(DropReason::ArpBinding),
        }
    }
}
