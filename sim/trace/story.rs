//! What was so at one moment for one address, and what led there: the facts behind `explain`, and behind a promise that was broken.
//!
//! One walk over the records, from the beginning to the moment (and on, for what became of requests that were sent before it). The API's side is
//! in `story::objects`, the network's in `story::wire`, what is wrong in `story::trouble`, what clients get in `story::probes`, the list of what mattered lately in
//! `story::chronicle`. It judges nothing and prints nothing.

mod chronicle;
mod objects;
mod probes;
mod trouble;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

pub(super) use objects::ingress;
pub use objects::{Endpoint, Held, Leader, NodeFacts, Told, Waiting};

use super::header::Header;
use super::record::{Action, Record, What};
use chronicle::Chronicle;
use objects::Objects;
use probes::Probes;
use trouble::{Faults, Requests};
use wire::Wire;

/// How far back the chronicle goes.
pub const LATELY: Duration = Duration::from_secs(10);

/// The last record comes at most so long before the scenario's end: somebody renews a Lease or tries to all the time.
pub const END_AT_MOST_BEFORE: Duration = Duration::from_secs(1);

/// Everything about one address at one moment.
#[derive(Debug)]
pub struct Story {
    /// The address.
    pub address: IpAddr,
    /// The moment.
    pub at: Instant,
    /// Who holds the address, as its Service's status says.
    pub held: Option<Held>,
    /// Who held it last, if nobody does now: until when.
    pub held_before: Option<(String, Instant)>,
    /// The node that carries it, as written on the Service, and since when.
    pub node: Option<(String, Instant)>,
    /// The last Event about choosing a node.
    pub decision: Option<Told>,
    /// What is known of each node.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The Service's endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Who leads.
    pub leader: Option<Leader>,
    /// Services that ask for an address and have none, by key.
    pub waiting: BTreeMap<String, Waiting>,
    /// Clients of the API whose requests have lately failed one after the other.
    pub refused: BTreeMap<String, Refused>,
    /// Promises that are broken by now, with when; at the scenario's end also what was plain only after it.
    pub broken: Vec<(Instant, String, String)>,
    /// When the scenario ended, if that was before the moment.
    pub over: Option<Instant>,
    /// Faults that are on, with when they began.
    pub faults: Vec<(Instant, Action)>,
    /// Machines that have no power, with since when.
    pub without_power: BTreeMap<String, Instant>,
    /// Replicas of Bellhop that do not run or stand still, by machine, with since when.
    pub idle: BTreeMap<String, (Idle, Instant)>,
    /// The last frame that names the address's MAC, and the last answer to somebody.
    pub said: Option<Said>,
    /// What each client's neighbor table holds.
    pub tables: BTreeMap<String, Entry>,
    /// What becomes of each client's requests.
    pub probes: BTreeMap<(String, Probing), Probe>,
    /// What mattered lately, in order, in words.
    pub chronicle: Vec<(Instant, String)>,
    /// The last that mattered before that.
    pub earlier: Option<(Instant, String)>,
}

/// Requests to the API that failed since the last one that did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the first of them was made.
    pub since: Instant,
    /// How many there are.
    pub count: u64,
    /// What became of the last.
    pub outcome: String,
}

/// Why a replica does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It was killed.
    Killed,
    /// It ended.
    Ended,
    /// It stands still.
    Frozen,
}

/// A frame that says at which MAC the address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it was sent.
    pub at: Instant,
    /// The machine that sent it.
    pub by: String,
    /// Whether Bellhop did; otherwise the kernel.
    pub by_bellhop: bool,
    /// Ethernet's source.
    pub source: MacAddr,
    /// The MAC that it names.
    pub mac: MacAddr,
    /// To whom: everybody, or one asker.
    pub to: Option<IpAddr>,
}

/// An entry of a neighbor table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since when it is so.
    pub since: Instant,
    /// `REACHABLE`, `STALE`, …
    pub state: String,
    /// Its MAC, where one is known.
    pub mac: Option<MacAddr>,
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probing {
    /// By `ping`.
    Ping,
    /// By `curl`.
    Curl,
}

/// What becomes of a client's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// When the last answer came.
    pub answered: Option<Instant>,
    /// The first request since then that had no answer by the moment, and how many there are.
    pub unanswered: Option<(Instant, u64)>,
    /// Why the last of them failed, in curl's words.
    pub failure: Option<String>,
}

impl Story {
    /// The story of an address at a moment, out of a run's records.
    pub fn of(header: &Header, records: &[Record], address: IpAddr, at: Instant) -> Self {
        let places = &header.places;
        let mut objects = Objects::new(address);
        let mut chronicle = Chronicle::new(places, address, at);
        let mut wire = Wire::default();
        let mut faults = Faults::default();
        let mut requests = Requests::default();
        let mut broken = Vec::new();
        let mut end = Instant::ZERO;
        let mut probes = Probes::default();
        for record in records {
            if record.at <= at {
                if let What::Write(write) = &record.what {
                    let told = objects.add(record.at, write);
                    chronicle.add_all(record.at, told);
                }
                wire.add(places, address, record);
                faults.add(record);
                requests.add(record);
                chronicle.add(record);
            }
            match &record.what {
                What::Broken { invariant, detail } => broken.push((record.at, invariant.clone(), detail.clone())),
                _ => end = end.max(record.at),
            }
            probes.add(places, address, at, record);
        }
        // What was plain only after the scenario's end is told at its end.
        broken.retain(|(when, ..)| *when <= at || end <= at);
        let (mut chronicle, earlier) = chronicle.finish();
        chronicle.extend(probes.turns(address, at));
        chronicle.sort_by_key(|(at, _)| *at);
        faults.on.retain(|(_, action)| action.until.is_none_or(|until| until > at));
        Self {
            address,
            at,
            held: objects.held,
            held_before: objects.held_before,
            node: objects.node,
            decision: objects.decision,
            nodes: objects.nodes,
            endpoints: objects.endpoints.into_values().flatten().collect(),
            leader: objects.leader,
            waiting: objects.waiting,
            refused: requests.refused,
            broken,
            over: (end + END_AT_MOST_BEFORE < at).then_some(end),
            faults: faults.on,
            without_power: wire.without_power,
            idle: wire.idle,
            said: wire.said,
            tables: wire.tables,
            probes: probes.summary(at),
            chronicle,
            earlier,
        }
    }

    /// The addresses that Services hold at a moment, or held before it; in order.
    pub fn addresses(records: &[Record], at: Instant) -> Vec<IpAddr> {
        let mut found = std::collections::BTreeSet::new();
        for record in records.iter().filter(|record| record.at <= at) {
            if let What::Write(write) = &record.what
                && write.object.resource == "services"
            {
                found.extend(ingress(&write.after));
            }
        }
        found.into_iter().collect()
    }
}
