//! A record as one line of JSON, written by hand: a frame's way must cost little, and `serde_json::Value`s are not cheap.
//!
//! The order of keys is fixed, numbers are whole, and every line ends with a line feed: equal records are equal bytes. `read` is the way
//! back; `README.md` beside this file documents every key.

use std::fmt::Write as _;

use bellhop_core::time::Instant;
use serde_json::Value;

use super::merge;
use super::places::{NicIndex, Places};
use super::record::{EchoOutcome, Numbered, ObjectKey, Place, ProgramChange, Record, What};

/// Makes lines. Names are escaped once, at the beginning.
pub(super) struct Lines {
    zero: Instant,
    nics: Vec<Vec<u8>>,
    machines: Vec<Vec<u8>>,
    switches: Vec<Vec<u8>>,
}

/// A line under way: `{"at":…`, without its end.
struct Line<'a>(&'a mut Vec<u8>);

impl Lines {
    /// Lines about these places, whose scenario begins at `zero`.
    pub(super) fn new(places: &Places, zero: Instant) -> Self {
        let nics = (0..places.nics.len()).map(|nic| quoted(&places.nic(NicIndex(nic)).to_string())).collect();
        let machines = places.machines.iter().map(|machine| quoted(&machine.name)).collect();
        let switches = places.switches.iter().map(|switch| quoted(switch)).collect();
        Self { zero, nics, machines, switches }
    }

    /// Appends a record. `bytes` says that the frame in it is new, so that its bytes are written.
    pub(super) fn record(&self, Record { at, what }: &Record, bytes: bool, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.begin(*at, self.zero);
        match what {
            What::Sent { nic, frame, by_bellhop } => {
                line.what("sent").raw("nic", name(&self.nics, nic.0));
                if *by_bellhop {
                    line.flag("bellhop", true);
                }
                line.frame(frame, bytes);
            }
            What::Received { nic, frame } => line.what("received").raw("nic", name(&self.nics, nic.0)).frame(frame, bytes),
            What::Switched { switch, port, frame } => {
                line.what("switched").raw("switch", name(&self.switches, switch.0)).number("port", *port as u64).frame(frame, bytes);
            }
            What::Dropped { place, reason, frame } => {
                line.what("dropped");
                match place {
                    Place::Nic(nic) => line.raw("nic", name(&self.nics, nic.0)),
                    Place::Port(switch, port) => line.raw("switch", name(&self.switches, switch.0)).number("port", *port as u64),
                };
                line.text("reason", reason).frame(frame, bytes);
            }
            What::Neighbor { nic, address, state, mac } => {
                line.what("neighbor").raw("nic", name(&self.nics, nic.0)).shown("address", address).text("state", state);
                if let Some(mac) = mac {
                    line.shown("mac", mac);
                }
            }
            What::Echo { machine, to, sequence, sent, outcome } => {
                line.what("echo").raw("machine", name(&self.machines, machine.0)).shown("to", to);
                line.number("sequence", u64::from(*sequence)).number("sent", sent.as_nanos());
                match outcome {
                    EchoOutcome::Answered { round_trip, ttl } => {
                        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
                        line.text("outcome", "answered").number("round-trip", nanos).number("ttl", u64::from(*ttl));
                    }
                    EchoOutcome::Unreachable { from, code } => {
                        line.text("outcome", "unreachable").shown("from", from).number("code", u64::from(*code));
                    }
                    EchoOutcome::Lost => drop(line.text("outcome", "lost")),
                }
            }
            other => self.seldom(other, &mut line),
        }
        line.end();
    }

    /// What happens seldom enough that its cost does not count.
    fn seldom(&self, what: &What, line: &mut Line<'_>) {
        match what {
            What::Curl { machine, to: (address, port), started, result } => {
                line.what("curl").raw("machine", name(&self.machines, machine.0)).shown("to", address).number("port", u64::from(*port));
                line.number("started", started.as_nanos());
                match result {
                    Ok((status, body)) => line.number("status", u64::from(*status)).text("body", body),
                    Err(error) => line.text("error", error),
                };
            }
            What::Served { machine, pod, client } => {
                line.what("served").raw("machine", name(&self.machines, machine.0)).text("pod", pod).shown("client", client);
            }
            What::Link { nic, up } => drop(line.what("link").raw("nic", name(&self.nics, nic.0)).flag("up", *up)),
            What::Power { machine, on } => drop(line.what("power").raw("machine", name(&self.machines, machine.0)).flag("on", *on)),
            What::Frozen { machine, frozen } => {
                line.what("frozen").raw("machine", name(&self.machines, machine.0)).flag("frozen", *frozen);
            }
            What::Mac { nic, mac } => drop(line.what("mac").raw("nic", name(&self.nics, nic.0)).shown("mac", mac)),
            What::Claim { nic, address, held } => {
                line.what("claim").raw("nic", name(&self.nics, nic.0)).shown("address", address).flag("held", *held);
            }
            What::Tree { switch, port, forwarding } => {
                line.what("tree")
                    .raw("switch", name(&self.switches, switch.0))
                    .number("port", *port as u64)
                    .flag("forwarding", *forwarding);
            }
            What::Request(request) => {
                line.what("request").text("client", &request.client).text("verb", &request.verb);
                line.object(&request.object, &request.subresource).text("outcome", &request.outcome);
            }
            What::Write(write) => {
                line.what("write").text("client", &write.client).text("verb", &write.verb).object(&write.object, &write.subresource);
                line.number("version", write.version).flag("deleted", write.deleted);
                match write.before.as_ref().and_then(|before| merge::difference(before, &write.after)) {
                    Some(patch) => line.json("patch", &patch),
                    None => line.json("object", &write.after),
                };
            }
            What::Action(action) => {
                line.what("action");
                if let Some(step) = &action.step {
                    line.text("step", step);
                }
                line.text("kind", &action.kind);
                if let Some(machine) = &action.machine {
                    line.text("machine", machine);
                }
                line.text("words", &action.words);
                if let Some(until) = action.until {
                    line.number("until", until.as_nanos());
                }
            }
            What::FaultOver { words } => drop(line.what("fault-over").text("words", words)),
            What::Program { program, change } => {
                let (change, words) = match change {
                    ProgramChange::Started => ("started", None),
                    ProgramChange::Ended => ("ended", None),
                    ProgramChange::Failed(words) => ("failed", Some(words)),
                    ProgramChange::Killed => ("killed", None),
                    ProgramChange::Frozen => ("frozen", None),
                    ProgramChange::Thawed => ("thawed", None),
                };
                line.what("program").text("program", program).text("change", change);
                if let Some(words) = words {
                    line.text("words", words);
                }
            }
            What::Note { text } => drop(line.what("note").text("text", text)),
            What::Broken { invariant, detail } => drop(line.what("broken").text("invariant", invariant).text("detail", detail)),
            What::Sent { .. }
            | What::Received { .. }
            | What::Switched { .. }
            | What::Dropped { .. }
            | What::Neighbor { .. }
            | What::Echo { .. } => {}
        }
    }
}

impl Line<'_> {
    /// `{"at":NANOSECONDS,"t":SECONDS`: since the world's zero, and since the scenario's.
    fn begin(&mut self, at: Instant, zero: Instant) {
        self.0.extend_from_slice(b"{\"at\":");
        self.decimal(at.as_nanos());
        self.0.extend_from_slice(b",\"t\":");
        if at < zero {
            self.0.push(b'-');
        }
        let nanos = at.as_nanos().abs_diff(zero.as_nanos());
        self.decimal(nanos / 1_000_000_000);
        self.0.push(b'.');
        // Nine digits: one more in front keeps the zeros.
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(&digits.format(1_000_000_000 + nanos % 1_000_000_000).as_bytes()[1..]);
    }

    fn end(&mut self) {
        self.0.extend_from_slice(b"}\n");
    }

    fn decimal(&mut self, number: u64) {
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(digits.format(number).as_bytes());
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn what(&mut self, what: &str) -> &mut Self {
        self.key("what");
        self.0.push(b'"');
        self.0.extend_from_slice(what.as_bytes());
        self.0.push(b'"');
        self
    }

    /// A value that is JSON already.
    fn raw(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(value);
        self
    }

    fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.decimal(value);
        self
    }

    fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, if value { b"true" } else { b"false" })
    }

    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        quote(value, self.0);
        self
    }

    /// What prints as letters that need no escape: addresses.
    fn shown(&mut self, key: &str, value: &dyn std::fmt::Display) -> &mut Self {
        let mut text = String::with_capacity(40);
        // Writing into a String cannot fail.
        let _ = write!(text, "{value}");
        self.text(key, &text)
    }

    fn json(&mut self, key: &str, value: &Value) -> &mut Self {
        self.raw(key, value.to_string().as_bytes())
    }

    fn object(&mut self, object: &ObjectKey, subresource: &str) -> &mut Self {
        self.text("resource", &object.resource);
        if !subresource.is_empty() {
            self.text("subresource", subresource);
        }
        self.text("namespace", &object.namespace).text("name", &object.name)
    }

    /// The number; the bytes too where they are new.
    fn frame(&mut self, frame: &Numbered, bytes: bool) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.number("frame", frame.number);
        if bytes {
            self.key("bytes");
            self.0.push(b'"');
            self.0.extend(frame.bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
            self.0.push(b'"');
        }
    }
}

/// A name that was escaped; a question mark for one that the first line does not have.
fn name(names: &[Vec<u8>], index: usize) -> &[u8] {
    names.get(index).map_or(b"\"?\"", Vec::as_slice)
}

/// A JSON string.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote(text, &mut out);
    out
}

/// Appends a JSON string (RFC 8259 §7).
fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let hex = |digit: u8| char::from_digit(u32::from(digit), 16).map_or(b'0', |digit| digit as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_letters_is_a_json_string() {
        let text: String = (0..0x250_u32).filter_map(char::from_u32).collect();
        assert_eq!(serde_json::from_slice::<String>(&quoted(&text)).ok(), Some(text));
    }
}
