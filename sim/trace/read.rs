//! A trace, read back. Files come from anywhere, so each bound is said here and an error names its line.
//!
//! [`Reader`] hands records out one by one and holds only what later lines refer to: the last frames and the objects that are there. What a line's values should
//! be is said in `read::value`.

mod value;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::time::Instant;
use bellhop_fabric::Frame;
use serde_json::Value;

use super::header::Header;
use super::merge;
use super::numbers::FRAMES_HELD;
use super::places::{MachineIndex, NicIndex, SwitchIndex};
use super::record::{Action, EchoOutcome, Numbered, ObjectKey, Place, Record, Request, What, Write};
use value::{bytes, change, flag, index, named, number, object_key, optional, parsed, small, text};

/// The longest line: the first one, with a scenario (256 KiB at most) and its manifests; an object of the API is at most 1.5 MiB (etcd's limit).
const LINE_MAX: u64 = 8 * 1024 * 1024;
/// Lines of a trace: an hour of a busy LAN.
const LINES_MAX: u64 = 20_000_000;
/// Bytes of objects that are held, as their lines had them.
const OBJECTS_MAX: usize = 256 * 1024 * 1024;
/// Records that [`read`] keeps at one time; whoever wants more reads one by one.
const RECORDS_MAX: usize = 5_000_000;
/// Bytes of all versions of objects together that [`read`] keeps.
const VERSIONS_MAX: u64 = 1024 * 1024 * 1024;

/// Why a file is no trace, or no whole one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` when it is the file as a whole.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

/// A whole trace in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What was played.
    pub header: Header,
    /// What happened, in the order in which it was told.
    pub records: Vec<Record>,
    /// The last line; `None`: the trace was cut short.
    pub end: Option<End>,
}

/// What the last line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The run's hash, as `run` prints it.
    pub hash: u64,
    /// How many records came before.
    pub records: u64,
}

/// The trace in a file, or in the folder of a run.
pub fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(super::TRACE_FILE) } else { path.to_owned() }
}

/// Reads a whole trace.
pub fn read(path: &Path) -> Result<Trace, ReadError> {
    let mut reader = Reader::open(path)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        if records.len() >= RECORDS_MAX || reader.version_bytes > VERSIONS_MAX {
            return Err(reader.wrong("too much to hold at one time".to_owned()));
        }
        records.push(record);
    }
    Ok(Trace { end: reader.end, header: reader.header, records })
}

/// Reads a trace record by record.
pub struct Reader {
    /// The first line.
    pub header: Header,
    /// The last line, once it has been read.
    pub end: Option<End>,
    path: PathBuf,
    lines: Box<dyn BufRead>,
    /// The line that was read last, from 1.
    line: u64,
    buffer: Vec<u8>,
    places: Names,
    frames: BTreeMap<u64, Frame>,
    /// Numbers of frames, oldest first.
    held: VecDeque<u64>,
    /// Objects that are there, with the bytes of the lines that made them.
    objects: BTreeMap<ObjectKey, (Arc<Value>, usize)>,
    object_bytes: usize,
    /// Bytes of all versions of objects so far.
    version_bytes: u64,
}

/// Numbers of names.
#[derive(Default)]
struct Names {
    machines: BTreeMap<String, usize>,
    nics: BTreeMap<String, usize>,
    switches: BTreeMap<String, usize>,
}

impl Reader {
    /// Opens a file, or the folder of a run, and reads the first line.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let path = file_of(path);
        match File::open(&path) {
            Ok(file) => Self::new(&path, Box::new(BufReader::new(file))),
            Err(error) => Err(ReadError { message: format!("failed to open it: {error}"), line: None, path }),
        }
    }

    /// Reads lines from anywhere; `path` is what errors call it.
    pub fn new(path: &Path, lines: Box<dyn BufRead>) -> Result<Self, ReadError> {
        let mut reader = Self {
            header: Header::default(),
            end: None,
            path: path.to_owned(),
            lines,
            line: 0,
            buffer: Vec::new(),
            places: Names::default(),
            frames: BTreeMap::new(),
            held: VecDeque::new(),
            objects: BTreeMap::new(),
            object_bytes: 0,
            version_bytes: 0,
        };
        let first = reader.next_line()?.ok_or_else(|| reader.wrong("it is empty".to_owned()))?;
        reader.header = Header::from_json(&first).map_err(|message| reader.wrong(message))?;
        let places = &reader.header.places;
        let number = |names: Vec<String>| names.into_iter().enumerate().map(|(index, name)| (name, index)).collect();
        reader.places = Names {
            machines: number(places.machines.iter().map(|machine| machine.name.clone()).collect()),
            nics: number((0..places.nics.len()).map(|nic| places.nic(NicIndex(nic)).to_string()).collect()),
            switches: number(places.switches.clone()),
        };
        Ok(reader)
    }

    /// The next record; `None` at the end, where `end` is then set if the trace is whole.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        let Some(value) = self.next_line()? else { return Ok(None) };
        let result = if value["what"] == "end" { self.last(&value).map(|()| None) } else { self.record(&value).map(Some) };
        result.map_err(|message| self.wrong(message))
    }

    /// An error at this line.
    fn wrong(&self, message: String) -> ReadError {
        ReadError { path: self.path.clone(), line: Some(self.line), message }
    }

    fn next_line(&mut self) -> Result<Option<Value>, ReadError> {
        self.line += 1;
        if self.line > LINES_MAX {
            return Err(self.wrong(format!("more than {LINES_MAX} lines")));
        }
        self.buffer.clear();
        let read = self.lines.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut self.buffer);
        match read {
            Ok(0) => return Ok(None),
            Ok(length) if length as u64 > LINE_MAX => return Err(self.wrong(format!("longer than {} MiB", LINE_MAX / 1024 / 1024))),
            Ok(_) if self.end.is_some() => return Err(self.wrong("something follows the end".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(self.wrong(format!("failed to read: {error}"))),
        }
        // serde_json refuses what is nested deeper than 128.
        match serde_json::from_slice(&self.buffer) {
            Ok(value @ Value::Object(_)) => Ok(Some(value)),
            Ok(_) => Err(self.wrong("expected an object, as in {\"at\":…}".to_owned())),
            Err(error) if error.is_eof() => Err(self.wrong("the line is cut short".to_owned())),
            Err(error) => Err(self.wrong(format!("no JSON: {error}"))),
        }
    }

    fn last(&mut self, value: &Value) -> Result<(), String> {
        let hash = text(value, "hash")?;
        let hash = u64::from_str_radix(&hash, 16).map_err(|_| format!("`hash`: {hash} is not one: expected sixteen hexadecimal digits"))?;
        self.end = Some(End { hash, records: number(value, "records")? });
        // What follows is looked for, so that nothing hides behind the end.
        match self.next_line() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("something follows the end".to_owned()),
            Err(error) => Err(error.message),
        }
    }

    /// One record; an error is one line about it.
    fn record(&mut self, value: &Value) -> Result<Record, String> {
        let at = Instant::from_nanos(number(value, "at")?);
        let what = match value["what"].as_str().ok_or("`what`: expected a text")? {
            "sent" => What::Sent { nic: self.nic(value)?, frame: self.frame(value)?, by_bellhop: value["bellhop"] == true },
            "received" => What::Received { nic: self.nic(value)?, frame: self.frame(value)? },
            "switched" => What::Switched { switch: self.switch(value)?, port: index(value, "port")?, frame: self.frame(value)? },
            "dropped" => {
                let place = if value["nic"].is_null() {
                    Place::Port(self.switch(value)?, index(value, "port")?)
                } else {
                    Place::Nic(self.nic(value)?)
                };
                What::Dropped { place, reason: text(value, "reason")?, frame: self.frame(value)? }
            }
            "neighbor" => {
                let mac = if value["mac"].is_null() { None } else { Some(parsed(value, "mac")?) };
                What::Neighbor { nic: self.nic(value)?, address: parsed(value, "address")?, state: text(value, "state")?, mac }
            }
            "echo" => self.echo(value)?,
            "curl" => self.curl(value)?,
            "served" => What::Served { machine: self.machine(value)?, pod: text(value, "pod")?, client: parsed(value, "client")? },
            "link" => What::Link { nic: self.nic(value)?, up: flag(value, "up")? },
            "power" => What::Power { machine: self.machine(value)?, on: flag(value, "on")? },
            "frozen" => What::Frozen { machine: self.machine(value)?, frozen: flag(value, "frozen")? },
            "mac" => What::Mac { nic: self.nic(value)?, mac: parsed(value, "mac")? },
            "claim" => What::Claim { nic: self.nic(value)?, address: parsed(value, "address")?, held: flag(value, "held")? },
            "tree" => What::Tree { switch: self.switch(value)?, port: index(value, "port")?, forwarding: flag(value, "forwarding")? },
            "request" => What::Request(Request {
                client: text(value, "client")?,
                verb: text(value, "verb")?,
                object: object_key(value)?,
                subresource: optional(value, "subresource")?.unwrap_or_default(),
                outcome: text(value, "outcome")?,
            }),
            "write" => self.write(value)?,
            "action" => What::Action(Action {
                step: optional(value, "step")?,
                kind: text(value, "kind")?,
                machine: optional(value, "machine")?,
                words: text(value, "words")?,
                until: if value["until"].is_null() { None } else { Some(Instant::from_nanos(number(value, "until")?)) },
            }),
            "fault-over" => What::FaultOver { words: text(value, "words")? },
            "program" => What::Program { program: text(value, "program")?, change: change(value)? },
            "note" => What::Note { text: text(value, "text")? },
            "broken" => What::Broken { invariant: text(value, "invariant")?, detail: text(value, "detail")? },
            other => return Err(format!("`what`: {other} is nothing that this version knows")),
        };
        Ok(Record { at, what })
    }

    fn echo(&self, value: &Value) -> Result<What, String> {
        let outcome = match value["outcome"].as_str() {
            Some("answered") => {
                EchoOutcome::Answered { round_trip: Duration::from_nanos(number(value, "round-trip")?), ttl: small(value, "ttl")? }
            }
            Some("unreachable") => EchoOutcome::Unreachable { from: parsed(value, "from")?, code: small(value, "code")? },
            Some("lost") => EchoOutcome::Lost,
            _ => return Err("`outcome`: expected answered, unreachable or lost".to_owned()),
        };
        let (machine, to) = (self.machine(value)?, parsed(value, "to")?);
        Ok(What::Echo { machine, to, sequence: small(value, "sequence")?, sent: Instant::from_nanos(number(value, "sent")?), outcome })
    }

    fn curl(&self, value: &Value) -> Result<What, String> {
        let to: (IpAddr, u16) = (parsed(value, "to")?, small(value, "port")?);
        let result = match optional(value, "error")? {
            Some(error) => Err(error),
            None => Ok((small(value, "status")?, text(value, "body")?)),
        };
        Ok(What::Curl { machine: self.machine(value)?, to, started: Instant::from_nanos(number(value, "started")?), result })
    }

    fn write(&mut self, value: &Value) -> Result<What, String> {
        let (object, deleted) = (object_key(value)?, flag(value, "deleted")?);
        let before = self.objects.remove(&object);
        let mut bytes = self.buffer.len();
        let after = if value["object"].is_null() {
            let (before, more) =
                before.as_ref().ok_or_else(|| format!("`patch`: there is no {} {} before", object.resource, object.name))?;
            bytes += more;
            let mut after = Value::clone(before);
            merge::apply(&mut after, &value["patch"]);
            Arc::new(after)
        } else {
            Arc::new(value["object"].clone())
        };
        let before = before.map(|(before, bytes)| {
            self.object_bytes -= bytes;
            before
        });
        self.version_bytes = self.version_bytes.saturating_add(bytes as u64);
        if !deleted {
            self.object_bytes += bytes;
            if self.object_bytes > OBJECTS_MAX {
                return Err(format!("more than {} MiB of objects at one time", OBJECTS_MAX / 1024 / 1024));
            }
            self.objects.insert(object.clone(), (Arc::clone(&after), bytes));
        }
        Ok(What::Write(Write {
            client: text(value, "client")?,
            verb: text(value, "verb")?,
            object,
            subresource: optional(value, "subresource")?.unwrap_or_default(),
            version: number(value, "version")?,
            deleted,
            before,
            after,
        }))
    }

    /// The frame of a line, by its number or with its bytes.
    fn frame(&mut self, value: &Value) -> Result<Numbered, String> {
        let number = number(value, "frame")?;
        if let Some(hex) = value["bytes"].as_str() {
            let frame = Frame::from(&bytes(hex)?[..]);
            if self.frames.insert(number, frame).is_some() {
                return Err(format!("`frame`: {number} has bytes already"));
            }
            self.held.push_back(number);
            // One more than the writer holds: it lets the oldest go before it takes the next.
            if self.held.len() > FRAMES_HELD + 1
                && let Some(oldest) = self.held.pop_front()
            {
                self.frames.remove(&oldest);
            }
        }
        let frame = self.frames.get(&number).ok_or_else(|| format!("`frame`: {number} has no bytes, here or before"))?;
        Ok(Numbered { number, bytes: frame.clone() })
    }

    fn machine(&self, value: &Value) -> Result<MachineIndex, String> {
        named(&self.places.machines, value, "machine").map(MachineIndex)
    }

    fn nic(&self, value: &Value) -> Result<NicIndex, String> {
        named(&self.places.nics, value, "nic").map(NicIndex)
    }

    fn switch(&self, value: &Value) -> Result<SwitchIndex, String> {
        named(&self.places.switches, value, "switch").map(SwitchIndex)
    }
}
