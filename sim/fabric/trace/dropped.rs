//! Where and why a frame ended that should have gone on.

use std::fmt;

use crate::fabric::{NicId, SwitchId};

/// Where a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a NIC.
    Nic(NicId),
    /// At a port of a switch.
    Port {
        /// The switch.
        switch: SwitchId,
        /// The port.
        port: usize,
    },
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The cable is cut in this direction.
    Cut = 1,
    /// The cable lost it.
    Lost = 2,
    /// The queue before a cable of limited rate was full.
    QueueFull = 3,
    /// A bit had flipped on the way, and the check sequence told.
    Corrupt = 4,
    /// The cable went dead while the frame was in it.
    NoCarrier = 5,
    /// The spanning tree blocks the port.
    Blocked = 6,
    /// The port has brought too many broadcasts.
    StormLimit = 7,
    /// ARP inspection: the address is bound to another MAC or port.
    ArpBinding = 8,
    /// ARP inspection: the ARP sender is not the Ethernet source.
    ArpSource = 9,
    /// The machine stands still and the NIC's ring is full.
    RingFull = 10,
    /// The machine stands still, and something tried to send from it.
    Frozen = 11,
}

/// In a few words, as in `lost: the cable is cut`.
impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the cable is cut",
            Self::Lost => "lost in the cable",
            Self::QueueFull => "the queue before the cable is full",
            Self::Corrupt => "a bit flipped on the way",
            Self::NoCarrier => "the cable went dead meanwhile",
            Self::Blocked => "the spanning tree blocks the port",
            Self::StormLimit => "too many broadcasts at this port",
            Self::ArpBinding => "ARP inspection: the address is bound to another MAC or port",
            Self::ArpSource => "ARP inspection: the sender is not the Ethernet source",
            Self::RingFull => "the machine stands still and its ring is full",
            Self::Frozen => "the machine stands still",
        })
    }
}
