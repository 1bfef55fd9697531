//! What was so at one moment for one address, and what led there: the facts behind `explain`, and behind a promise that was broken.
//!
//! One walk over the records, from the beginning to the moment (and on, for what became of requests that were sent before it). The API's side is
//! in `story::objects`, the list of what mattered lately in `story::chronicle`. It judges nothing and prints nothing.

mod chronicle;
mod objects;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Frame, Operation};

pub(super) use objects::ingress;
pub use objects::{Endpoint, Held, Leader, NodeFacts, Told, Waiting};

use super::header::Header;
use super::places::{MachineIndex, NicIndex, Places};
use super::record::{Action, EchoOutcome, ProgramChange, Record, Request, What};
use chronicle::Chronicle;
use objects::Objects;

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

/// What the network and its machines show.
#[derive(Default)]
struct Wire {
    said: Option<Said>,
    tables: BTreeMap<String, Entry>,
    without_power: BTreeMap<String, Instant>,
    idle: BTreeMap<String, (Idle, Instant)>,
}

impl Wire {
    fn add(&mut self, places: &Places, address: IpAddr, record: &Record) {
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
fn names(frame: &Frame, address: IpAddr) -> Option<(MacAddr, Option<IpAddr>)> {
    if let Some(arp) = frame.arp() {
        let says = IpAddr::V4(arp.sender_ip) == address && (arp.operation == Operation::Reply || arp.sender_ip == arp.target_ip);
        return says.then(|| (arp.sender_mac, (arp.target_ip != arp.sender_ip).then_some(arp.target_ip.into())));
    }
    let ndp = frame.ndp().filter(|ndp| ndp.advertises && IpAddr::V6(ndp.target) == address)?;
    Some((ndp.mac.unwrap_or_else(|| frame.source()), (!ndp.destination.is_multicast()).then_some(ndp.destination.into())))
}

/// Whether a frame asks at which MAC the address is.
fn asks(frame: &Frame, address: IpAddr) -> bool {
    let by_arp = frame.arp().is_some_and(|arp| arp.operation == Operation::Request && IpAddr::V4(arp.target_ip) == address);
    by_arp || frame.ndp().is_some_and(|ndp| !ndp.advertises && IpAddr::V6(ndp.target) == address)
}

/// Whether a NIC is a client's: what nodes remember of a Service's address says nothing of clients.
fn is_client(places: &Places, nic: NicIndex) -> bool {
    places.nics.get(nic.0).and_then(|nic| places.machines.get(nic.machine.0)).is_some_and(|machine| !machine.is_node)
}

/// Faults that are on.
#[derive(Default)]
struct Faults {
    on: Vec<(Instant, Action)>,
}

/// What ends what.
const ENDS: [(&str, &[&str]); 4] = [
    ("power-on", &["power-off"]),
    ("nic-up", &["nic-down"]),
    ("start-bellhop", &["kill-bellhop", "stop-bellhop"]),
    ("api-up", &["api-down"]),
];
/// What people type and what is over at once; everything else lasts until something ends it.
const NO_FAULTS: [&str; 7] = ["run", "edit", "ping", "curl", "restart-bellhop", "set-mac", "die-at-write"];

impl Faults {
    fn add(&mut self, record: &Record) {
        match &record.what {
            What::Action(action) => match ENDS.iter().find(|(kind, _)| *kind == action.kind) {
                Some((_, ended)) => self.on.retain(|(_, on)| !(ended.contains(&on.kind.as_str()) && on.machine == action.machine)),
                None if NO_FAULTS.contains(&action.kind.as_str()) => {}
                None => self.on.push((record.at, action.clone())),
            },
            What::FaultOver { words } => {
                // The oldest of this name.
                if let Some(index) = self.on.iter().position(|(_, on)| on.words.contains(words.as_str())) {
                    self.on.remove(index);
                }
            }
            _ => {}
        }
    }
}

/// Requests to the API that fail.
#[derive(Default)]
struct Requests {
    refused: BTreeMap<String, Refused>,
}

impl Requests {
    fn add(&mut self, record: &Record) {
        let What::Request(Request { client, outcome, .. }) = &record.what else { return };
        // A conflict or an object that is not there is an answer like any other; these say that the server is not well.
        let is_failure = outcome.parse::<u16>().map_or(true, |status| status == 429 || status >= 500);
        if !is_failure {
            self.refused.remove(client);
            return;
        }
        let refused = self.refused.entry(client.clone()).or_insert(Refused { since: record.at, count: 0, outcome: String::new() });
        refused.count += 1;
        refused.outcome.clone_from(outcome);
    }
}

/// When a request was sent, and when its answer came; or why none did, in curl's words.
type Asked = (Instant, Result<Instant, Option<String>>);

/// Requests of clients, by when they were sent.
#[derive(Default)]
struct Probes {
    /// When each was sent and when its answer came, or why none did.
    requests: BTreeMap<(String, Probing), Vec<Asked>>,
}

impl Probes {
    fn add(&mut self, places: &Places, address: IpAddr, until: Instant, record: &Record) {
        let name = |machine: &MachineIndex| places.machine(*machine).to_owned();
        match &record.what {
            What::Echo { machine, to, sent, outcome, .. } if *to == address && *sent <= until => {
                let result = match outcome {
                    EchoOutcome::Answered { round_trip, .. } if *sent + *round_trip <= until => Ok(*sent + *round_trip),
                    _ => Err(None),
                };
                self.requests.entry((name(machine), Probing::Ping)).or_default().push((*sent, result));
            }
            What::Curl { machine, to: (to, _), started, result } if *to == address && *started <= until => {
                let result = match result {
                    Ok(_) if record.at <= until => Ok(record.at),
                    Err(why) if record.at <= until => Err(Some(why.clone())),
                    _ => Err(None),
                };
                self.requests.entry((name(machine), Probing::Curl)).or_default().push((*started, result));
            }
            _ => {}
        }
    }

    /// Sorted by when they were sent; what is younger than a round trip at the moment has had no time.
    fn sorted(&self, until: Instant) -> BTreeMap<&(String, Probing), Vec<&Asked>> {
        /// A request that is on its way at the moment says nothing yet: a LAN's round trip is far below.
        const ON_ITS_WAY: Duration = Duration::from_millis(10);
        let mut sorted = BTreeMap::new();
        for (key, requests) in &self.requests {
            let mut requests: Vec<_> = requests.iter().filter(|(sent, result)| result.is_ok() || *sent + ON_ITS_WAY <= until).collect();
            requests.sort_by_key(|(sent, _)| *sent);
            sorted.insert(key, requests);
        }
        sorted
    }

    fn summary(&self, until: Instant) -> BTreeMap<(String, Probing), Probe> {
        let mut probes = BTreeMap::new();
        for (key, requests) in self.sorted(until) {
            let mut probe = Probe::default();
            for (sent, result) in requests {
                match result {
                    Ok(answer) => probe = Probe { answered: Some(*answer), ..Probe::default() },
                    Err(why) => {
                        let (first, count) = probe.unanswered.unwrap_or((*sent, 0));
                        probe.unanswered = Some((first, count + 1));
                        probe.failure = why.clone();
                    }
                }
            }
            probes.insert(key.clone(), probe);
        }
        probes
    }

    /// When answers began and stopped lately.
    fn turns(&self, address: IpAddr, until: Instant) -> Vec<(Instant, String)> {
        let mut turns = Vec::new();
        for ((machine, probing), requests) in self.sorted(until) {
            let verb = if *probing == Probing::Ping { "ping" } else { "curl" };
            let (mut before, mut ever) = (None, false);
            for (sent, result) in requests {
                match (before, result) {
                    (None | Some(true), Err(_)) => {
                        turns.push((*sent, format!("{machine}'s {verb} of {address} gets no answer from here on.")))
                    }
                    (None | Some(false), Ok(answer)) => {
                        turns.push((*answer, format!("{machine}'s {verb} of {address} is answered{}.", if ever { " again" } else { "" })))
                    }
                    _ => {}
                }
                before = Some(result.is_ok());
                ever |= result.is_ok();
            }
        }
        turns.retain(|(at, _)| *at + LATELY >= until && *at <= until);
        turns
    }
}
