//! What is seen in the simulator, in the words of a scenario.
//!
//! The fabric's events and the API's writes come in as they happen, from inside their transactions; [`Eye::take`] tells them as
//! observations. Only what a scenario looks at is kept. Every write goes into the hash, looked at or not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bellhop_apiserver::{ApiServer, WriteRecord};
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{CurlError, CurlId, CurlReport, EchoOutcome, Event, Fabric, NicId, PingId};
use bellhop_scenario::observation::{ArpFrame, ArpOperation, CurlFailure, DECIDED, HttpAnswer};
use bellhop_scenario::{Look, Observation, ProbeId, RunId, Seen};
use xxhash_rust::xxh3::Xxh3;

use crate::clock::WorldClock;
use crate::invariants::{self, Broken, Evidence, Missed, Ordeal, Spoken};
use crate::machines::{Machines, NicPlace};
use crate::trace::{Tape, What};

/// A continuous probe, or a command, that a program of the fabric runs for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Probe { probe: ProbeId, from: String, target: String },
    Command { run: RunId },
}

/// How much the promises that hold in every scenario were judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// Frames in which Bellhop named the MAC of an address.
    pub frames: usize,
    /// Versions of objects that Bellhop reads or writes.
    pub objects: usize,
    /// Requests that Bellhop made.
    pub requests: usize,
    /// Pairs of a client and a Service that were tried after the end.
    pub tried: usize,
    /// Pairs of a client and a Service of type LoadBalancer that there were at the end.
    pub pairs: usize,
}

/// Collects what is seen.
pub(crate) struct Eye {
    /// From the fabric, as it happened.
    events: Rc<RefCell<Vec<(Instant, Event)>>>,
    writes: Arc<Mutex<Writes>>,
    /// Already in the scenario's words: outputs, notes, crashes.
    said: Rc<RefCell<Vec<(Instant, Seen)>>>,
    nics: BTreeMap<NicId, NicPlace>,
    tape: Tape,
    pub(crate) pings: BTreeMap<PingId, Purpose>,
    pub(crate) curls: BTreeMap<CurlId, Purpose>,
    /// Requests of continuous curls that have not ended, and when each began.
    pub(crate) asking: RefCell<BTreeMap<CurlId, Instant>>,
}

/// Where programs say what they have to say.
#[derive(Clone)]
pub(crate) struct Log(Rc<RefCell<Vec<(Instant, Seen)>>>, Tape);

impl Log {
    pub(crate) fn say(&self, at: Instant, what: Seen) {
        if let Some(what) = told(&what) {
            self.1.say(at, what);
        }
        self.0.borrow_mut().push((at, what));
    }
}

/// Writes to the API.
#[derive(Default)]
struct Writes {
    /// Those that are looked at.
    kept: Vec<WriteRecord>,
    /// For the promises that hold in every scenario.
    evidence: Evidence,
    hash: Xxh3,
}

impl Eye {
    /// Opens it over a world that has just been made.
    pub(crate) fn new(looks: &[Look], machines: &Machines, fabric: &mut Fabric, api: &ApiServer, tape: &Tape) -> Self {
        let kinds: BTreeSet<(String, String)> = looks
            .iter()
            .filter_map(|look| match look {
                Look::Objects { api_version, kind } => Some((api_version.clone(), kind.clone())),
                _ => None,
            })
            .collect();
        let evidence = Evidence {
            macs: machines.macs(),
            own: machines.addresses(),
            nodes: machines.nodes.keys().cloned().collect(),
            ..Evidence::default()
        };
        let writes = Arc::new(Mutex::new(Writes { evidence, ..Writes::default() }));
        let into = Arc::clone(&writes);
        api.observe_requests(move |record| {
            if let Some(replica) = invariants::replica(record.client.as_str()) {
                let mut writes = into.lock().unwrap_or_else(PoisonError::into_inner);
                let moments = writes.evidence.requests.entry(replica.to_owned()).or_default();
                moments.push(WorldClock::moment_of(record.time));
            }
        });
        let into = Arc::clone(&writes);
        api.observe(move |record| {
            let mut writes = into.lock().unwrap_or_else(PoisonError::into_inner);
            writes.hash.update(&form(record));
            note(&mut writes.evidence, record);
            let text = |key: &str| record.object[key].as_str().unwrap_or_default().to_owned();
            if kinds.contains(&(text("apiVersion"), text("kind"))) {
                writes.kept.push(record.clone());
            }
        });
        let events = Rc::default();
        tape.observe(api);
        fabric.set_sink(sink(looks, machines, Rc::clone(&events), tape.clone()));
        Self {
            events,
            writes,
            said: Rc::default(),
            nics: machines.nics.clone(),
            tape: tape.clone(),
            pings: BTreeMap::new(),
            curls: BTreeMap::new(),
            asking: RefCell::default(),
        }
    }

    /// Where to say something.
    pub(crate) fn log(&self) -> Log {
        Log(Rc::clone(&self.said), self.tape.clone())
    }

    /// Says which promises were broken, given what Bellhop said on the wire, what was wrong meanwhile and what was not reached after. At the end.
    pub(crate) fn judge(&self, zero: Instant, ended: Instant, spoken: Vec<Spoken>, ordeal: Ordeal, missed: Vec<Missed>) -> Judged {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let evidence = &mut writes.evidence;
        (evidence.zero, evidence.ended, evidence.spoken) = (zero, ended, spoken);
        (evidence.ordeal, evidence.missed) = (ordeal, missed);
        for Broken { at, invariant, detail, about } in invariants::judge(evidence) {
            let led = evidence.led_to(at, &about).iter().map(|line| format!("\n      {line}")).collect::<String>();
            let detail = format!("{detail}{led}");
            let seen = match invariant {
                invariants::CONVERGES => Seen::NotConverged { detail },
                _ => Seen::InvariantBroken { invariant: invariant.to_owned(), detail },
            };
            self.log().say(at, seen);
        }
        let requests = evidence.requests.values().map(Vec::len).sum();
        Judged { frames: evidence.spoken.len(), objects: evidence.writes.len(), requests, ..Judged::default() }
    }

    /// Of the replicas that asked the API server at a moment the one that asked most, and how often.
    pub(crate) fn busiest(&self, at: Instant) -> Option<(String, usize)> {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let at_once = |moments: &[Instant]| moments.iter().rev().take_while(|moment| **moment == at).count();
        let busy = writes.evidence.requests.iter().map(|(replica, moments)| (replica.clone(), at_once(moments)));
        busy.max_by_key(|(_, requests)| *requests)
    }

    /// A machine has another MAC from now on.
    pub(crate) fn note_mac(&mut self, at: Instant, machine: &str, mac: MacAddr) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.evidence.macs.entry(machine.to_owned()).or_default().push((at, mac));
    }

    /// The newest version of every object of a resource, those that are gone left out.
    pub(crate) fn newest(&self, resource: &str) -> Vec<WriteRecord> {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest: BTreeMap<(String, String), &WriteRecord> = BTreeMap::new();
        for record in writes.evidence.writes.iter().filter(|record| record.resource == resource) {
            newest.insert((record.namespace.clone(), record.name.clone()), record);
        }
        newest.into_values().filter(|record| !record.deleted).cloned().collect()
    }

    /// How the curls with these ids ended, of those that did since the last call of [`Eye::take`] or of this.
    pub(crate) fn take_curls(&mut self, mut wanted: impl FnMut(CurlId) -> bool) -> Vec<(CurlId, CurlReport)> {
        let ended = |(_, event): (Instant, Event)| match event {
            Event::Curl { curl, report, .. } if wanted(curl) => Some((curl, report)),
            _ => None,
        };
        self.events.take().into_iter().filter_map(ended).collect()
    }

    /// Says of the requests that have no end yet and began long enough ago that they have none. At the end.
    pub(crate) fn give_up(&self, zero: Instant, fabric: &mut Fabric) {
        let now = fabric.now();
        let probes = self.pings.iter().filter(|(_, purpose)| matches!(purpose, Purpose::Probe { .. }));
        probes.for_each(|(ping, _)| fabric.stop_ping(*ping));
        // What has ended by now is still among the events.
        let ended: BTreeSet<CurlId> = self
            .events
            .borrow()
            .iter()
            .filter_map(|(_, event)| if let Event::Curl { curl, .. } = event { Some(*curl) } else { None })
            .collect();
        for (curl, began) in self.asking.take() {
            if let Some(Purpose::Probe { probe, from, target }) = self.curls.get(&curl)
                && !ended.contains(&curl)
                && now.saturating_since(began) > DECIDED
            {
                let result = Err(CurlFailure::Other("no answer when the scenario ended".to_owned()));
                let started = began.saturating_since(zero);
                self.log().say(now, Seen::Curl { probe: *probe, from: from.clone(), url: target.clone(), started, result });
            }
        }
    }

    /// The hash of all writes so far.
    pub(crate) fn hash(&self) -> u64 {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).hash.digest()
    }

    /// What was seen since the last call, in order of time; times count from `zero`, and what was before it is at zero.
    pub(crate) fn take(&mut self, zero: Instant) -> Vec<Observation> {
        let since = |at: Instant| at.saturating_since(zero);
        let mut seen = Vec::new();
        for (at, what) in self.said.borrow_mut().drain(..) {
            seen.push(Observation { at: since(at), what });
        }
        for record in std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner).kept) {
            let at = since(WorldClock::moment_of(record.time));
            seen.push(Observation { at, what: object(record) });
        }
        for (at, event) in self.events.take() {
            if let Some(what) = self.event(at, zero, event) {
                seen.push(Observation { at: since(at), what });
            }
        }
        seen.sort_by_key(|observation| observation.at);
        seen
    }

    /// One event of the fabric, if it is of interest.
    fn event(&self, at: Instant, zero: Instant, event: Event) -> Option<Seen> {
        match event {
            Event::Sent { nic, frame } => {
                let arp = frame.arp().filter(|_| at >= zero)?;
                Some(Seen::Frame(ArpFrame {
                    segment: self.nics.get(&nic)?.segment.clone(),
                    ethernet_source: frame.source(),
                    ethernet_destination: frame.destination(),
                    operation: match arp.operation {
                        bellhop_fabric::Operation::Request => ArpOperation::Request,
                        bellhop_fabric::Operation::Reply => ArpOperation::Reply,
                    },
                    sender_mac: arp.sender_mac,
                    sender_ip: arp.sender_ip,
                    target_mac: arp.target_mac,
                    target_ip: arp.target_ip,
                }))
            }
            Event::Neighbor { nic, address, state, mac } => {
                let place = self.nics.get(&nic)?;
                let (machine, dev) = (place.machine.clone(), place.nic.clone());
                let state = Some(format!("{state:?}").to_uppercase());
                Some(Seen::Neighbor { machine, dev, dst: address, lladdr: mac, state })
            }
            Event::Echo { ping, to, echo, .. } => {
                let Purpose::Probe { probe, from, .. } = self.pings.get(&ping)? else { return None };
                // A ping that is stopped gives up what it sent just now; an answer may have been on its way.
                if echo.outcome == EchoOutcome::Lost && at.saturating_since(echo.sent) <= DECIDED {
                    return None;
                }
                let sent = echo.sent.saturating_since(zero);
                let answer = match echo.outcome {
                    EchoOutcome::Answered { round_trip, .. } => Some(sent + round_trip),
                    EchoOutcome::Unreachable { .. } | EchoOutcome::Lost => None,
                };
                Some(Seen::Ping { probe: *probe, from: from.clone(), to, seq: u64::from(echo.sequence), sent, answer })
            }
            Event::Curl { curl, report, .. } => {
                let started = report.started.saturating_since(zero);
                self.asking.borrow_mut().remove(&curl);
                match self.curls.get(&curl)? {
                    Purpose::Probe { probe, from, target } => {
                        let result = answer(&report);
                        Some(Seen::Curl { probe: *probe, from: from.clone(), url: target.clone(), started, result })
                    }
                    Purpose::Command { run } => {
                        Some(Seen::Output { run: *run, started, text: report.to_string(), exit: report.exit_code() })
                    }
                }
            }
            _ => None,
        }
    }
}

/// What of the world's own words belongs into the trace; the rest is made of events and writes that are there already.
fn told(what: &Seen) -> Option<What> {
    match what {
        Seen::Note { text } => match text.strip_prefix("⚡ over: ") {
            Some(words) => Some(What::FaultOver { words: words.to_owned() }),
            None => Some(What::Note { text: text.clone() }),
        },
        Seen::InvariantBroken { invariant, detail } => Some(What::Broken { invariant: invariant.clone(), detail: detail.clone() }),
        Seen::NotConverged { detail } => Some(What::Broken { invariant: invariants::CONVERGES.to_owned(), detail: detail.clone() }),
        _ => None,
    }
}

/// Keeps the events that may be of interest.
fn sink(looks: &[Look], machines: &Machines, events: Rc<RefCell<Vec<(Instant, Event)>>>, tape: Tape) -> bellhop_fabric::Sink {
    let frames = looks.contains(&Look::Frames);
    let watched = |machine: &str| looks.contains(&Look::Neighbors { machine: machine.to_owned() });
    let tables: BTreeSet<NicId> = machines.nics.iter().filter(|(_, place)| watched(&place.machine)).map(|(nic, _)| *nic).collect();
    Box::new(move |at, event| {
        tape.event(at, event);
        let wanted = match event {
            Event::Sent { frame, .. } => frames && frame.ethertype() == 0x0806,
            Event::Neighbor { nic, .. } => tables.contains(nic),
            Event::Echo { .. } | Event::Curl { .. } => true,
            _ => false,
        };
        if wanted {
            events.borrow_mut().push((at, event.clone()));
        }
    })
}

/// The kinds that Bellhop reads: what caused a move is among them.
const READ: [&str; 4] = ["services", "nodes", "endpointslices.discovery.k8s.io", "leases.coordination.k8s.io"];

/// Keeps what promises are judged by.
fn note(evidence: &mut Evidence, record: &WriteRecord) {
    // Every kubelet has a Lease too, and renews it all the time.
    let heartbeat = record.resource == READ[3] && record.name != bellhop_api::keys::LEASE;
    let read = READ.contains(&record.resource.as_str()) || record.resource.starts_with("eips.");
    if (read && !heartbeat) || invariants::replica(record.client.as_str()).is_some() {
        evidence.writes.push(record.clone());
    }
}

/// What of a write goes into the hash.
fn form(record: &WriteRecord) -> Vec<u8> {
    let WriteRecord { client, verb, resource, subresource, namespace, name, resource_version, time, deleted, object } = record;
    let mut form = format!("{time} {client} {verb} {resource}/{subresource} {namespace}/{name} {resource_version} {deleted} ").into_bytes();
    serde_json::to_writer(&mut form, &**object).expect("a Vec takes all, and a Value is JSON");
    form.push(b'\n');
    form
}

fn object(record: WriteRecord) -> Seen {
    let text = |key: &str| record.object[key].as_str().unwrap_or_default().to_owned();
    Seen::Object {
        api_version: text("apiVersion"),
        kind: text("kind"),
        namespace: Some(record.namespace).filter(|namespace| !namespace.is_empty()),
        name: record.name,
        object: (!record.deleted).then(|| serde_json::Value::clone(&record.object)),
    }
}

fn answer(report: &CurlReport) -> Result<HttpAnswer, CurlFailure> {
    match &report.result {
        Ok(answer) => Ok(HttpAnswer { status: answer.status, body: answer.body.clone() }),
        Err(CurlError::Refused) => Err(CurlFailure::CouldNotConnect("connection refused".to_owned())),
        Err(CurlError::NoRoute) => Err(CurlFailure::CouldNotConnect("no route to host".to_owned())),
        Err(CurlError::ConnectTimeout | CurlError::Timeout) => Err(CurlFailure::TimedOut),
        Err(CurlError::Reset | CurlError::Empty) => Err(CurlFailure::Reset),
    }
}
