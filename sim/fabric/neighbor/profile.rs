//! Kinds of machines, as data: how each keeps its neighbor table, and whether it guards its address.
//!
//! `linux` is measured (the fidelity suite compares it with a kernel). The others are from general knowledge of those systems and of the
//! RFCs, measured by nobody here: they are there so that nothing is built that only Linux would understand.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Ageing, NeighborSettings};

/// A kind of machine. Its text form is its name in a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Linux 6.18 with its default settings.
    #[default]
    Linux,
    /// Windows (from general knowledge): RFC 4861's machine for ARP too, so 15 to 45 s reachable, then stale and probed when used; a
    /// gratuitous frame updates an entry that is there; no lock.
    Windows,
    /// A router with a four hour ARP cache (the default of classic Cisco IOS; from general knowledge): no probes, an entry lives four hours
    /// from the last frame that told it; gratuitous frames are taken.
    SlowCache,
    /// A device that never changes an entry because of a frame it did not ask for (from general knowledge: hardened appliances, and
    /// smoltcp, where it was measured).
    IgnoresGratuitous,
    /// Linux with an address conflict detector (RFC 5227) in front: probes before it uses an address, announces it, defends it.
    Defender,
}

/// Four hours, as Cisco IOS' `arp timeout 14400`. From general knowledge.
const SLOW_CACHE: Duration = Duration::from_secs(4 * 60 * 60);

impl Profile {
    /// All of them, in the order of this list.
    pub const ALL: [Self; 5] = [Self::Linux, Self::Windows, Self::SlowCache, Self::IgnoresGratuitous, Self::Defender];

    /// The name: `linux`, `windows`, `slow-cache`, `ignores-gratuitous`, `defender`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::SlowCache => "slow-cache",
            Self::IgnoresGratuitous => "ignores-gratuitous",
            Self::Defender => "defender",
        }
    }

    /// How it keeps its ARP table.
    pub fn arp(self) -> NeighborSettings {
        self.settings(NeighborSettings::default())
    }

    /// How it keeps its IPv6 neighbors.
    pub fn ndp(self) -> NeighborSettings {
        self.settings(NeighborSettings::ipv6())
    }

    /// Whether it probes, announces and defends its IPv4 addresses (RFC 5227).
    pub const fn defends(self) -> bool {
        matches!(self, Self::Defender)
    }

    /// The settings of Linux, and where it differs.
    fn settings(self, linux: NeighborSettings) -> NeighborSettings {
        match self {
            Self::Linux | Self::Defender => linux,
            Self::Windows => NeighborSettings { lock: Duration::ZERO, ..linux },
            Self::SlowCache => NeighborSettings { base_reachable: SLOW_CACHE, lock: Duration::ZERO, ageing: Ageing::Forgotten, ..linux },
            Self::IgnoresGratuitous => NeighborSettings { believe_unsolicited: false, ..linux },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no profile's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProfile(pub String);

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no kind of machine: expected one of {}", self.0, Profile::ALL.map(Profile::name).join(", "))
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}
