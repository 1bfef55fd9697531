//! Bugs to plant: what a checker is for must be seen to be caught, or the checker has proven nothing.
//!
//! The program stays as it is. A bug is planted at its edges, in the `Env` that the simulator gives a replica: [`wire`] lies between it and
//! its NICs, [`api`] between it and the API server. Each is one that a real load balancer had, where one is known: the numbers are issues of
//! that project. Whether it is noticed is for `invariants` to say; nothing here knows of them.

mod api;
mod wire;

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use bellhop::env::Links;
use bellhop_apiserver::ClientService;
use clap::ValueEnum;

/// A bug of every replica of Bellhop in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Planted {
    /// The MAC that is first said for an address is said for ever, wherever the address moves (PorterLB; OpenELB #392, #137).
    KeepsTheFirstMac,
    /// A leader answers whoever asks for an address that it does not announce with its own MAC (proxy ARP, RFC 1027, with a route to everything).
    AnswersForEverything,
    /// A standby answers too: what it hears announced it answers for (kube-vip #391, #665: two nodes hold one address).
    AnswersAsStandby,
    /// After its first move an address is neither announced nor answered for (Cilium #48626: the holder never answers, silent for hours).
    SilentAfterAMove,
    /// Each announcement is sent 100 times.
    AnnouncesInALoop,
    /// What it records in a pool is not sent, and taken for granted: no Service ever gets an address (OpenELB #318: pending, with no hint).
    RecordsInItsMind,
    /// Every Service's status gets the first address that was ever written (kube-vip #51, #283: the allocator gives one address twice).
    OneAddressForAll,
    /// The address that is written is one of another subnet: a pool read with the wrong mask.
    AddressFromElsewhere,
    /// A renewal of the Lease that does not reach the server is taken for granted (MetalLB #2838: no fencing by a lease).
    BelievesItsLease,
    /// A leader renews its Lease in its mind alone, and reads its own name on it whoever holds it (PorterLB's speakers never withdraw).
    NeverYields,
    /// Every write is sent 100 times (kube-vip #563 and Cilium #26586: the API server throttles, addresses are lost).
    WritesInALoop,
    /// When a Service is patched, what a user annotated it with is cleared away: a whole object written from a struct that does not know it all.
    TidiesUp,
    /// Every tenth renewal of the Lease a Service is given to another node (MetalLB #704, #795: ownership that a returning node pulls back).
    Rebalances,
}

impl Planted {
    /// A replica's links, with the bug in them if it is one of what is said on the wire.
    pub(crate) fn links(self, links: Rc<dyn Links>) -> Rc<dyn Links> {
        match self {
            Self::KeepsTheFirstMac
            | Self::AnswersForEverything
            | Self::AnswersAsStandby
            | Self::SilentAfterAMove
            | Self::AnnouncesInALoop => Rc::new(wire::PlantedLinks::new(self, links)),
            _ => links,
        }
    }

    /// A replica's way to the API server, with the bug in it if it is one of what is written and read. `machine` is what it calls itself.
    pub(crate) fn client(self, service: ClientService, machine: &str) -> kube::Client {
        kube::Client::new(api::PlantedService::new(self, service, machine), "default")
    }
}

/// As it is written on a command line: `keeps-the-first-mac`.
impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// By its name; an error lists all names.
impl FromStr for Planted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(name, false).map_err(|_| {
            let all: Vec<String> = Self::value_variants().iter().map(ToString::to_string).collect();
            format!("no bug {name:?}; there are {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_that_reads_back() {
        for bug in Planted::value_variants() {
            assert_eq!(bug.to_string().parse(), Ok(*bug));
        }
        assert_eq!(Planted::KeepsTheFirstMac.to_string(), "keeps-the-first-mac");
        assert!("keeps-the-last-mac".parse::<Planted>().is_err_and(|words| words.contains("writes-in-a-loop")));
    }
}
