//! The table as `ip neigh` prints it (iproute2, ip/ipneigh.c).
//!
//! The kernel walks a hash table whose seed is random, so its order means nothing; ours is by address. iproute2 ends each line with a
//! space, which we leave out.

use std::fmt;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;

use super::{NeighborState, NeighborTable};

/// One line of `ip neigh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The neighbor's address.
    pub address: IpAddr,
    /// The NIC behind which it is.
    pub device: String,
    /// Its MAC, while one is known.
    pub mac: Option<MacAddr>,
    /// What the kernel thinks of it.
    pub state: NeighborState,
}

impl NeighborTable {
    /// All entries, by address, as seen on the NIC called `device`.
    pub(crate) fn lines(&self, device: &str) -> impl Iterator<Item = Neighbor> {
        self.entries.iter().map(move |(address, entry)| Neighbor {
            address: *address,
            device: device.to_owned(),
            mac: entry.state.is_valid().then_some(entry.mac),
            state: entry.state,
        })
    }
}

impl fmt::Display for Neighbor {
    /// `192.168.0.91 dev eth0 lladdr 52:54:22:3a:e6:6e REACHABLE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.device)?;
        if let Some(mac) = self.mac {
            write!(f, " lladdr {mac}")?;
        }
        write!(f, " {}", self.state)
    }
}

impl fmt::Display for NeighborState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Failed => "FAILED",
        })
    }
}
