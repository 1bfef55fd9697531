//! Takes in what happens while it happens, makes records of it, and hands each to whoever keeps it: a file of lines, a capture, memory.
//!
//! It translates and numbers; it decides nothing and knows no clock. A file that cannot be written is told at the end, not in the middle of a run.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use bellhop_apiserver::{Outcome, RequestRecord, WriteRecord};
use bellhop_core::time::Instant;
use bellhop_fabric::{CurlReport, EchoOutcome as FabricEcho, Event, Frame};
use serde_json::Value;

use super::capture::Capture;
use super::header::Header;
use super::jsonl::Lines;
use super::numbers::Numbers;
use super::places::{MachineIndex, NicIndex, SwitchIndex};
use super::record::{EchoOutcome, Numbered, ObjectKey, Place, Record, Request, What, Write};
use crate::clock::WorldClock;

/// Where records go.
#[derive(Default)]
pub struct Outputs {
    /// Lines: `trace.jsonl`.
    pub lines: Option<Box<dyn io::Write>>,
    /// A capture: `wire.pcapng`.
    pub capture: Option<Box<dyn io::Write>>,
    /// Every record in memory, in order.
    pub keep: bool,
}

/// Bytes of lines that are written at once.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// Records one run.
pub struct Recorder {
    header: Header,
    lines: Option<(Lines, Box<dyn io::Write>)>,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    capture: Option<Capture>,
    kept: Option<Vec<Record>>,
    numbers: Numbers,
    /// The last version of every object.
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    count: u64,
    /// The first failure: from then on nothing is written.
    failure: Option<io::Error>,
}

/// What a recorder leaves behind.
#[derive(Debug)]
pub struct Recorded {
    /// What was played.
    pub header: Header,
    /// The records, if they were to be kept.
    pub records: Vec<Record>,
    /// How many there were.
    pub count: u64,
}

impl Recorder {
    /// Begins; writes the first line and the capture's interfaces.
    pub fn begin(header: Header, outputs: Outputs) -> Self {
        let mut recorder = Self {
            lines: outputs.lines.map(|out| (Lines::new(&header.places, header.zero), out)),
            pending: Vec::with_capacity(2 * WRITTEN_AT_ONCE),
            capture: None,
            kept: outputs.keep.then(Vec::new),
            numbers: Numbers::default(),
            objects: BTreeMap::new(),
            count: 0,
            failure: None,
            header,
        };
        if recorder.lines.is_some() {
            recorder.pending.extend_from_slice(recorder.header.to_json().to_string().as_bytes());
            recorder.pending.push(b'\n');
        }
        match outputs.capture.map(|out| Capture::begin(out, &recorder.header)).transpose() {
            Ok(capture) => recorder.capture = capture,
            Err(error) => recorder.failure = Some(error),
        }
        recorder
    }

    /// An event of the fabric. `by_bellhop` says that a frame was sent through a port of Bellhop's.
    pub fn event(&mut self, at: Instant, event: &Event, by_bellhop: bool) {
        let mut is_new = false;
        let numbers = &mut self.numbers;
        let number = |frame: &Frame| {
            let (numbered, new) = numbers.number(frame);
            is_new = new;
            numbered
        };
        let what = translated(event, by_bellhop, number);
        self.add(&Record { at, what }, is_new);
    }

    /// A write to the API.
    pub fn write(&mut self, record: &WriteRecord) {
        let object = ObjectKey { resource: record.resource.clone(), namespace: record.namespace.clone(), name: record.name.clone() };
        let before =
            if record.deleted { self.objects.remove(&object) } else { self.objects.insert(object.clone(), Arc::clone(&record.object)) };
        let what = What::Write(Write {
            client: record.client.to_string(),
            verb: record.verb.to_owned(),
            object,
            subresource: record.subresource.clone(),
            version: record.resource_version,
            deleted: record.deleted,
            before,
            after: Arc::clone(&record.object),
        });
        self.say(WorldClock::moment_of(record.time), what);
    }

    /// A request to the API, whatever became of it.
    pub fn request(&mut self, record: &RequestRecord) {
        let object = ObjectKey { resource: record.resource.clone(), namespace: record.namespace.clone(), name: record.name.clone() };
        let outcome = match record.outcome {
            Outcome::Answered(status) => status.to_string(),
            Outcome::AnswerLost(status) => format!("{status}, answer lost"),
            Outcome::Unreachable => "unreachable".to_owned(),
        };
        let (client, verb, subresource) = (record.client.to_string(), record.verb.to_owned(), record.subresource.clone());
        self.say(WorldClock::moment_of(record.time), What::Request(Request { client, verb, object, subresource, outcome }));
    }

    /// Anything else.
    pub fn say(&mut self, at: Instant, what: What) {
        self.add(&Record { at, what }, false);
    }

    /// Ends the trace with the run's hash, and says whether everything could be written.
    pub fn finish(mut self, hash: u64) -> io::Result<Recorded> {
        if self.lines.is_some() {
            let line = format!("{{\"what\":\"end\",\"hash\":\"{hash:016x}\",\"records\":{}}}\n", self.count);
            self.pending.extend_from_slice(line.as_bytes());
        }
        self.flush();
        if let Some((_, out)) = &mut self.lines {
            out.flush()?;
        }
        if let Some(capture) = &mut self.capture {
            capture.finish()?;
        }
        match self.failure {
            Some(error) => Err(error),
            None => Ok(Recorded { header: self.header, records: self.kept.unwrap_or_default(), count: self.count }),
        }
    }

    /// What was recorded so far, if it is kept: for whoever must explain something while the run goes on.
    pub fn records(&self) -> &[Record] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// What is played.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn add(&mut self, record: &Record, is_new: bool) {
        self.count += 1;
        if let Some((lines, _)) = &self.lines {
            lines.record(record, is_new, &mut self.pending);
        }
        if self.pending.len() >= WRITTEN_AT_ONCE {
            self.flush();
        }
        if let Some(capture) = &mut self.capture
            && let Err(error) = capture.record(&self.header.places, record)
        {
            self.failure.get_or_insert(error);
            self.capture = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(record.clone());
        }
    }

    fn flush(&mut self) {
        if let Some((_, out)) = &mut self.lines
            && self.failure.is_none()
            && let Err(error) = out.write_all(&self.pending)
        {
            self.failure = Some(error);
        }
        self.pending.clear();
    }
}

/// An event in the words of a trace; `number` numbers the frame in it.
fn translated(event: &Event, by_bellhop: bool, number: impl FnOnce(&Frame) -> Numbered) -> What {
    match event {
        Event::Sent { nic, frame } => What::Sent { nic: NicIndex(nic.index()), frame: number(frame), by_bellhop },
        Event::Received { nic, frame } => What::Received { nic: NicIndex(nic.index()), frame: number(frame) },
        Event::Switched { switch, port, frame } => {
            What::Switched { switch: SwitchIndex(switch.index()), port: *port, frame: number(frame) }
        }
        Event::Neighbor { nic, address, state, mac } => {
            What::Neighbor { nic: NicIndex(nic.index()), address: *address, state: state.to_string(), mac: *mac }
        }
        Event::Echo { machine, to, echo, .. } => {
            let outcome = match echo.outcome {
                FabricEcho::Answered { round_trip, ttl } => EchoOutcome::Answered { round_trip, ttl },
                FabricEcho::Unreachable { from, code } => EchoOutcome::Unreachable { from, code },
                FabricEcho::Lost => EchoOutcome::Lost,
            };
            What::Echo { machine: MachineIndex(machine.index()), to: *to, sequence: echo.sequence, sent: echo.sent, outcome }
        }
        Event::Curl { machine, report, .. } => curl(MachineIndex(machine.index()), report),
        Event::Served { machine, pod, client } => {
            What::Served { machine: MachineIndex(machine.index()), pod: pod.clone(), client: *client }
        }
        Event::Link { nic, up } => What::Link { nic: NicIndex(nic.index()), up: *up },
        Event::Dropped { place, reason, frame } => {
            What::Dropped { place: located(*place), reason: reason.to_string(), frame: number(frame) }
        }
        Event::Frozen { machine, frozen } => What::Frozen { machine: MachineIndex(machine.index()), frozen: *frozen },
        Event::Mac { nic, mac } => What::Mac { nic: NicIndex(nic.index()), mac: *mac },
        Event::Claim { nic, address, held } => What::Claim { nic: NicIndex(nic.index()), address: *address, held: *held },
        Event::Tree { switch, port, forwarding } => {
            What::Tree { switch: SwitchIndex(switch.index()), port: *port, forwarding: *forwarding }
        }
        Event::Power { machine, on } => What::Power { machine: MachineIndex(machine.index()), on: *on },
    }
}

fn located(place: bellhop_fabric::Place) -> Place {
    match place {
        bellhop_fabric::Place::Nic(nic) => Place::Nic(NicIndex(nic.index())),
        bellhop_fabric::Place::Port { switch, port } => Place::Port(SwitchIndex(switch.index()), port),
    }
}

fn curl(machine: MachineIndex, report: &CurlReport) -> What {
    let to = (report.options.to.ip(), report.options.to.port());
    let result = match &report.result {
        Ok(answer) => Ok((answer.status, answer.body.clone())),
        Err(_) => Err(report.to_string().trim_end().to_owned()),
    };
    What::Curl { machine, to, started: report.started, result }
}
