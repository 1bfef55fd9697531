//! What holds for every kind of record: it is documented, it reads back as it was written, and no file makes the reader panic.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Arp, Frame, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::jsonl::Lines;
use super::*;

const DOCUMENTATION: &str = include_str!("README.md");

fn address() -> IpAddr {
    IpAddr::from([192, 168, 0, 91])
}

fn header() -> Header {
    let nic = |machine, name: &str, last| Nic {
        machine: MachineIndex(machine),
        name: name.to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        address: Some("192.168.0.3/24".parse().expect("it is one")),
        segment: "lan0".to_owned(),
    };
    let machine = |name: &str, is_node| Machine { name: name.to_owned(), is_node };
    let places = Places {
        machines: vec![machine("node1", true), machine("client", false)],
        nics: vec![nic(0, "eth0", 1), nic(1, "eth0", 2)],
        switches: vec!["sw0".to_owned()],
    };
    let played = Played { path: "a.yaml".into(), files: [("a.yaml".into(), "version: 1\n".into())].into(), seed: 7, ..Played::default() };
    Header { played, zero: Instant::from_millis(20_000), places }
}

fn frame(number: u64) -> Numbered {
    let (mac, ip) = (MacAddr([2, 0, 0, 0, 0, 1]), std::net::Ipv4Addr::new(192, 168, 0, 91));
    let arp = Arp { operation: Operation::Request, sender_mac: mac, sender_ip: ip, target_mac: MacAddr::ZERO, target_ip: ip };
    Numbered { number, bytes: arp.frame(mac, MacAddr::BROADCAST) }
}

/// One record of each kind and of each form that a kind has. Who adds a kind is told here by the compiler.
fn every() -> Vec<What> {
    let (nic, machine, switch) = (NicIndex(0), MachineIndex(1), SwitchIndex(0));
    let object = ObjectKey { resource: "services".into(), namespace: "default".into(), name: "web".into() };
    let echo = |outcome| What::Echo { machine, to: address(), sequence: 3, sent: Instant::from_millis(5), outcome };
    let curl = |result| What::Curl { machine, to: (address(), 80), started: Instant::from_millis(5), result };
    let write = |before: Option<Value>, after: Value, deleted| {
        let (client, verb) = ("operator".to_owned(), "update".to_owned());
        let (before, after) = (before.map(Arc::new), Arc::new(after));
        What::Write(Write { client, verb, object: object.clone(), subresource: "status".into(), version: 9, deleted, before, after })
    };
    let program = |change| What::Program { program: "bellhop node1".into(), change };
    let action = |step: Option<&str>, machine: Option<&str>, until| {
        let (kind, words) = ("power-off".to_owned(), "⚡ power-off \"node1\"".to_owned());
        What::Action(Action { step: step.map(str::to_owned), kind, machine: machine.map(str::to_owned), words, until })
    };
    let (one, other) = (json!({"spec": {"a": 1, "b": [null]}}), json!({"spec": {"b": [2]}}));
    let every = vec![
        What::Sent { nic, frame: frame(1), by_bellhop: true },
        What::Sent { nic, frame: frame(2), by_bellhop: false },
        What::Received { nic: NicIndex(1), frame: frame(1) },
        What::Switched { switch, port: 4, frame: frame(1) },
        What::Dropped { place: Place::Nic(nic), reason: "the cable is cut".into(), frame: frame(2) },
        What::Dropped { place: Place::Port(switch, 2), reason: "lost".into(), frame: frame(3) },
        What::Neighbor { nic, address: address(), state: "REACHABLE".into(), mac: Some(MacAddr::ZERO) },
        What::Neighbor { nic, address: address(), state: "FAILED".into(), mac: None },
        echo(EchoOutcome::Answered { round_trip: Duration::from_micros(212), ttl: 63 }),
        echo(EchoOutcome::Unreachable { from: address(), code: 1 }),
        echo(EchoOutcome::Lost),
        curl(Ok((200, "You've hit web\n".into()))),
        curl(Err("curl: (7) refused".into())),
        What::Served { machine, pod: "web-0".into(), client: address() },
        What::Link { nic, up: false },
        What::Power { machine, on: true },
        What::Frozen { machine, frozen: true },
        What::Mac { nic, mac: MacAddr([2, 0, 0, 0, 0, 9]) },
        What::Claim { nic, address: address(), held: true },
        What::Tree { switch, port: 1, forwarding: false },
        What::Request(Request {
            client: "bellhop node1".into(),
            verb: "patch".into(),
            object: object.clone(),
            subresource: "status".into(),
            outcome: "200, answer lost".into(),
        }),
        write(None, one.clone(), false),
        write(Some(one), other.clone(), false),
        write(Some(other.clone()), other, true),
        action(Some("power-loss"), Some("node1"), Some(Instant::from_millis(30_000))),
        action(None, None, None),
        What::FaultOver { words: "freeze node1".into() },
        program(ProgramChange::Started),
        program(ProgramChange::Ended),
        program(ProgramChange::Failed("panicked: no".into())),
        program(ProgramChange::Killed),
        program(ProgramChange::Frozen),
        program(ProgramChange::Thawed),
        What::Note { text: "a line\u{7}".into() },
        What::Broken { invariant: "no address twice".into(), detail: "on two\nof them \u{1b}[2J".into() },
    ];
    let mut kinds = BTreeSet::new();
    kinds.extend(every.iter().map(kind));
    assert_eq!(kinds.len(), KINDS, "some kind of record is missing here");
    every
}

/// How many kinds `kind` knows.
const KINDS: usize = 21;

/// The name of a kind, exhaustively.
fn kind(what: &What) -> &'static str {
    match what {
        What::Sent { .. } => "sent",
        What::Received { .. } => "received",
        What::Switched { .. } => "switched",
        What::Dropped { .. } => "dropped",
        What::Neighbor { .. } => "neighbor",
        What::Echo { .. } => "echo",
        What::Curl { .. } => "curl",
        What::Served { .. } => "served",
        What::Link { .. } => "link",
        What::Power { .. } => "power",
        What::Frozen { .. } => "frozen",
        What::Mac { .. } => "mac",
        What::Claim { .. } => "claim",
        What::Tree { .. } => "tree",
        What::Request(_) => "request",
        What::Write(_) => "write",
        What::Action(_) => "action",
        What::FaultOver { .. } => "fault-over",
        What::Program { .. } => "program",
        What::Note { .. } => "note",
        What::Broken { .. } => "broken",
    }
}

fn records() -> Vec<Record> {
    (0..).zip(every()).map(|(index, what)| Record { at: Instant::from_millis(19_990 + index), what }).collect()
}

/// A file with these records, and its end.
fn file(records: &[Record]) -> Vec<u8> {
    let header = header();
    let lines = Lines::new(&header.places, header.zero);
    let mut out = format!("{}\n", header.to_json()).into_bytes();
    let mut written = BTreeSet::new();
    for record in records {
        let is_new = match &record.what {
            What::Sent { frame, .. } | What::Received { frame, .. } | What::Switched { frame, .. } | What::Dropped { frame, .. } => {
                written.insert(frame.number)
            }
            _ => false,
        };
        lines.record(record, is_new, &mut out);
    }
    out.extend(format!("{{\"what\":\"end\",\"hash\":\"00000000000000ff\",\"records\":{}}}\n", records.len()).into_bytes());
    out
}

/// All records of a file; the first error ends it.
fn read_back(file: &[u8]) -> Result<(Vec<Record>, Option<End>), ReadError> {
    let mut reader = Reader::new(Path::new("trace.jsonl"), Box::new(Cursor::new(file.to_vec())))?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok((records, reader.end))
}

#[test]
fn every_kind_of_record_reads_back_as_it_was_written() {
    let records = records();
    let (again, end) = read_back(&file(&records)).unwrap_or_else(|error| panic!("{error}"));
    for (one, other) in records.iter().zip(&again) {
        assert_eq!(one, other);
    }
    assert_eq!((records.len(), end), (again.len(), Some(End { hash: 255, records: records.len() as u64 })));
}

#[test]
fn every_kind_of_record_is_documented_with_each_of_its_keys() {
    let text = String::from_utf8(file(&records())).expect("it is JSON");
    for (index, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        let keys = line.as_object().expect("each line is an object").keys();
        let row = match line["what"].as_str() {
            None => DOCUMENTATION.to_owned(),
            Some("end") => {
                DOCUMENTATION.lines().find(|row| row.starts_with("**The last line**")).expect("the end is documented").to_owned()
            }
            Some(what) => {
                let row = DOCUMENTATION.lines().find(|row| row.starts_with(&format!("| `{what}` |")));
                row.unwrap_or_else(|| panic!("{what} is not documented")).to_owned()
            }
        };
        for key in keys.filter(|key| !["at", "t", "what"].contains(&key.as_str())) {
            assert!(
                row.contains(&format!("`{key}`")) || row.contains(&format!("\"{key}\"")),
                "line {}: `{key}` is not documented",
                index + 1
            );
        }
    }
    assert!(DOCUMENTATION.contains(&format!("## Schema, version {VERSION}")));
}

#[test]
fn every_kind_of_record_has_a_line_for_people() {
    let header = header();
    let lines: Vec<String> = records().iter().map(|record| line(&header, record)).collect();
    assert!(lines.iter().all(|line| !line.chars().any(char::is_control)));
    insta::assert_snapshot!("lines", lines.join("\n"));
}

#[test]
fn an_error_names_the_file_and_the_line() {
    let good = file(&records());
    let text = String::from_utf8(good.clone()).expect("it is JSON");
    let refused = |text: &str| read_back(text.as_bytes()).expect_err("it is refused").to_string();
    let with = |line: &str| refused(&format!("{}\n{line}\n", text.lines().next().expect("there is a first line")));
    assert_eq!(refused(""), "trace.jsonl:1: it is empty");
    assert_eq!(refused("{\"a\":1}\n"), "trace.jsonl:1: this is no trace: expected {\"bellhop-trace\":1,…}");
    assert_eq!(refused("{\"bellhop-trace\":2}\n"), "trace.jsonl:1: this is a trace of version 2, expected 1");
    assert_eq!(refused(text.trim_end().trim_end_matches('}')), format!("trace.jsonl:{}: the line is cut short", text.lines().count()));
    assert_eq!(with("[]"), "trace.jsonl:2: expected an object, as in {\"at\":…}");
    assert_eq!(with("{\"at\":1,\"what\":\"flood\"}"), "trace.jsonl:2: `what`: flood is nothing that this version knows");
    assert_eq!(with("{\"at\":-1,\"what\":\"note\"}"), "trace.jsonl:2: `at`: expected a whole number");
    assert_eq!(with("{\"at\":1,\"what\":\"link\",\"nic\":\"x/eth0\",\"up\":true}"), "trace.jsonl:2: `nic`: the first line knows no x/eth0");
    assert_eq!(
        with("{\"at\":1,\"what\":\"sent\",\"nic\":\"node1/eth0\",\"frame\":7}"),
        "trace.jsonl:2: `frame`: 7 has no bytes, here or before"
    );
    assert_eq!(refused(&format!("{text}{{}}\n")), format!("trace.jsonl:{}: something follows the end", text.lines().count() + 1));
    assert!(with(&"[".repeat(200)).starts_with("trace.jsonl:2: no JSON: recursion limit exceeded"));
    assert_eq!(with(&" ".repeat(8 * 1024 * 1024 + 1)), "trace.jsonl:2: longer than 8 MiB");
}

#[test]
fn a_trace_that_was_cut_between_two_lines_reads_to_there_and_has_no_end() {
    let good = String::from_utf8(file(&records())).expect("it is JSON");
    let cut: String = good.lines().take(5).flat_map(|line| [line, "\n"]).collect();
    let (records, end) = read_back(cut.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((records.len(), end), (4, None));
}

#[test]
fn after_the_end_only_broken_promises_are_recorded_and_explained() {
    let tape = Tape::default();
    tape.record(Recorder::begin(header(), Outputs { keep: true, ..Outputs::default() }));
    let zero = header().zero;
    tape.say(zero + Duration::from_secs(2), What::Note { text: "before".into() });
    tape.close();
    tape.say(zero + Duration::from_secs(3), What::Note { text: "after".into() });
    let (invariant, detail) = ("no address twice".to_owned(), "192.168.0.91 is on a and b".to_owned());
    tape.say(zero + Duration::from_secs(1), What::Broken { invariant, detail });
    let recorded = tape.finish(0).expect("somebody records").expect("nothing is written");
    assert_eq!(recorded.records.iter().map(|record| kind(&record.what)).collect::<Vec<_>>(), ["note", "broken"]);
    let told = |seconds| {
        let at = zero + Duration::from_secs(seconds);
        explain(&recorded.header, &Story::of(&recorded.header, &recorded.records, address(), at))
    };
    assert!(told(2).contains("Broken, at t+1.000s (1s before): no address twice: 192.168.0.91 is on a and b"), "{}", told(2));
    assert!(!told(0).contains("Broken"), "{}", told(0));
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_end() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut recorder = Recorder::begin(header(), Outputs { lines: Some(Box::new(Full)), ..Outputs::default() });
    recorder.say(Instant::ZERO, What::Note { text: "x".into() });
    assert!(recorder.finish(0).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(position in any::<prop::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 0..8), cut in 0..6_usize) {
        let mut bytes = file(&records());
        let at = position.index(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), with);
        let _ = read_back(&bytes);
    }

    #[test]
    fn no_value_of_any_key_makes_the_reader_panic(index in any::<prop::sample::Index>(), key in any::<prop::sample::Index>(), with in 0..6_usize) {
        let values = [Value::Null, json!(-1), json!(u64::MAX), json!(""), json!([[]]), json!({"a": {}})];
        let text = String::from_utf8(file(&records())).expect("it is JSON");
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        let line = index.get_mut(&mut lines).as_object_mut().expect("each line is an object");
        let key = key.get(&line.keys().cloned().collect::<Vec<_>>()).clone();
        line.insert(key, values[with].clone());
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let _ = read_back(text.as_bytes());
    }
}

#[test]
fn a_frame_has_the_same_bytes_wherever_its_number_stands() {
    let (again, _) = read_back(&file(&records())).unwrap_or_else(|error| panic!("{error}"));
    let frames: Vec<(u64, Frame)> = again
        .iter()
        .filter_map(|record| match &record.what {
            What::Sent { frame, .. } | What::Received { frame, .. } => Some((frame.number, frame.bytes.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(frames.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(frames.iter().all(|(number, bytes)| *bytes == frame(*number).bytes));
}
