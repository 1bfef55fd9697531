//! One line for any record, as the tools that people know print it: `tcpdump -e` for frames, `ip monitor neigh` for neighbors.

use std::fmt::Write as _;

use bellhop_core::time::Instant;
use serde_json::Value;

use super::frame::Printed;
use super::header::Header;
use super::merge;
use super::record::{EchoOutcome, ObjectKey, Place, ProgramChange, Record, Request, What, Write};

/// Letters of what a write changed; more is cut.
const CHANGE_MAX: usize = 200;

/// `t+12.400000s`: a moment in the scenario's time, in microseconds as tcpdump has it; before its zero `t-4.200000s`.
pub fn moment(zero: Instant, at: Instant) -> String {
    let sign = if at < zero { '-' } else { '+' };
    let nanos = at.as_nanos().abs_diff(zero.as_nanos());
    format!("t{sign}{}.{:06}s", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000)
}

/// A record with its time, on one line.
pub fn line(header: &Header, record: &Record) -> String {
    format!("{} {}", moment(header.zero, record.at), words(header, record))
}

/// Text out of a trace, which came from anywhere, for a terminal: no control character is in it; lines stay lines if `keep` says so.
pub(super) fn plain(text: &str, keep: &[char]) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !keep.contains(&letter) { plain.extend(letter.escape_default()) } else { plain.push(letter) }
    }
    plain
}

/// A record without its time, on one line.
pub(super) fn words(header: &Header, record: &Record) -> String {
    plain(&told(header, record), &[])
}

fn told(header: &Header, record: &Record) -> String {
    let places = &header.places;
    match &record.what {
        What::Sent { nic, frame, by_bellhop } => {
            let who = if *by_bellhop { " (Bellhop)" } else { "" };
            format!("{} Out{who} {}", places.nic(*nic), Printed(&frame.bytes))
        }
        What::Received { nic, frame } => format!("{} In {}", places.nic(*nic), Printed(&frame.bytes)),
        What::Switched { switch, port, frame } => format!("{} port {port} In {}", places.switch(*switch), Printed(&frame.bytes)),
        What::Dropped { place: Place::Nic(nic), reason, frame } => {
            format!("{} lost, {reason}: {}", places.nic(*nic), Printed(&frame.bytes))
        }
        What::Dropped { place: Place::Port(switch, port), reason, frame } => {
            format!("{} port {port} lost, {reason}: {}", places.switch(*switch), Printed(&frame.bytes))
        }
        What::Neighbor { nic, address, state, mac } => {
            let mac = mac.map(|mac| format!(" lladdr {mac}")).unwrap_or_default();
            let dev = places.nics.get(nic.0).map_or("?", |nic| &nic.name);
            format!("{}$ ip monitor neigh: {address} dev {dev}{mac} {state}", places.machine_of(*nic))
        }
        What::Echo { machine, to, sequence, outcome, .. } => {
            let machine = places.machine(*machine);
            match outcome {
                EchoOutcome::Answered { round_trip, ttl } => {
                    let millis = round_trip.as_secs_f64() * 1000.0;
                    format!("{machine}$ ping {to}: icmp_seq={sequence} ttl={ttl} time={millis:.3} ms")
                }
                EchoOutcome::Unreachable { from, code } => {
                    format!("{machine}$ ping {to}: From {from} icmp_seq={sequence} Destination Unreachable (code {code})")
                }
                EchoOutcome::Lost => format!("{machine}$ ping {to}: no answer yet for icmp_seq={sequence}"),
            }
        }
        What::Curl { machine, to: (address, port), result, .. } => {
            let result = result.as_ref().map_or_else(String::clone, |(status, body)| format!("{status} {}", body.trim()));
            format!("{}$ curl {address}:{port}: {result}", places.machine(*machine))
        }
        What::Served { machine, pod, client } => format!("{}: pod {pod} answers {client}", places.machine(*machine)),
        What::Link { nic, up } => format!("{}: link {}", places.nic(*nic), if *up { "up" } else { "down" }),
        What::Power { machine, on } => format!("{}: power {}", places.machine(*machine), if *on { "on" } else { "off" }),
        What::Frozen { machine, frozen } => format!("{}: {}", places.machine(*machine), if *frozen { "stands still" } else { "goes on" }),
        What::Mac { nic, mac } => format!("{}: has the MAC {mac} now", places.nic(*nic)),
        What::Claim { nic, address, held: true } => format!("{}: takes {address} as its own", places.nic(*nic)),
        What::Claim { nic, address, held: false } => format!("{}: gives {address} up", places.nic(*nic)),
        What::Tree { switch, port, forwarding } => {
            format!("{} port {port}: {}", places.switch(*switch), if *forwarding { "forwarding" } else { "blocked" })
        }
        other => spoken(other),
    }
}

/// What happened outside the network.
fn spoken(what: &What) -> String {
    match what {
        What::Request(Request { client, verb, object, subresource, outcome }) => {
            format!("{client}: {verb} {}: {outcome}", named(object, subresource))
        }
        What::Write(write) => written(write),
        What::Action(action) => match &action.step {
            Some(step) => format!("{}   # step {step}", action.words),
            None => action.words.clone(),
        },
        What::FaultOver { words } => format!("⚡ over: {words}"),
        What::Program { program, change } => match change {
            ProgramChange::Started => format!("{program}: started"),
            ProgramChange::Ended => format!("{program}: ended"),
            ProgramChange::Failed(words) => format!("{program}: failed: {words}"),
            ProgramChange::Killed => format!("{program}: killed"),
            ProgramChange::Frozen => format!("{program}: stands still"),
            ProgramChange::Thawed => format!("{program}: goes on"),
        },
        What::Note { text } => format!("# {text}"),
        What::Broken { invariant, detail } => format!("× broken: {invariant}: {detail}"),
        _ => String::new(),
    }
}

fn written(write: &Write) -> String {
    let what = named(&write.object, &write.subresource);
    if write.deleted {
        return format!("{}: {} {what}, which is gone", write.client, write.verb);
    }
    let Some(before) = &write.before else { return format!("{}: {} {what}, which is new", write.client, write.verb) };
    format!("{}: {} {what}: {}", write.client, write.verb, changed(before, &write.after))
}

/// What one version of an object has that another has not: `spec.replicas=2, metadata.labels.a removed`.
pub(super) fn changed(before: &Value, after: &Value) -> String {
    let mut changes = String::new();
    match merge::difference(before, after) {
        Some(patch) => leaves("", &patch, &mut changes),
        None => changes.push_str("all of it"),
    }
    let changes = changes.trim_end_matches(", ");
    if changes.chars().count() > CHANGE_MAX { changes.chars().take(CHANGE_MAX).chain("…".chars()).collect() } else { changes.to_owned() }
}

/// `services/status default/web`.
fn named(object: &ObjectKey, subresource: &str) -> String {
    let ObjectKey { resource, namespace, name } = object;
    let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    match (namespace.as_str(), name.as_str()) {
        ("", "") => format!("{resource}{subresource}"),
        ("", name) => format!("{resource}{subresource} {name}"),
        (namespace, "") => format!("{resource}{subresource} in {namespace}"),
        (namespace, name) => format!("{resource}{subresource} {namespace}/{name}"),
    }
}

/// `spec.holderIdentity="master1", `: every leaf of a patch but those that each write changes.
fn leaves(path: &str, value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                match (path, key.as_str()) {
                    ("", _) => leaves(key, value, out),
                    ("metadata", "resourceVersion" | "managedFields" | "generation") => {}
                    _ => leaves(&format!("{path}.{key}"), value, out),
                }
            }
        }
        // Writing into a String cannot fail.
        Value::Null => drop(write!(out, "{path} removed, ")),
        value => drop(write!(out, "{path}={value}, ")),
    }
}
