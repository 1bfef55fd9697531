//! The trace of whole runs: recording changes nothing, a trace plays again, two seeds differ by what is said, explanations are the reviewed ones,
//! and Wireshark reads the capture.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bellhop_scenario::{Scenario, load, play};
use bellhop_sim::trace::{
    CAPTURE_FILE, Difference, Outputs, Played, Reader, Recorded, Story, TRACE_FILE, What, difference, explain, read, waiting,
};
use bellhop_sim::{Planted, SimWorld};
use tempfile::TempDir;

fn scenario(name: &str) -> (Scenario, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    (load(&path).expect("the scenarios are valid"), std::fs::read_to_string(&path).expect("it was just read"))
}

/// Plays a scenario; what happened is in memory, and in the folder if there is one. The run's hash.
fn recorded(name: &str, seed: u64, folder: Option<&Path>) -> (Recorded, u64) {
    with_bug(name, seed, folder, None)
}

/// The same with a bug in every replica.
fn with_bug(name: &str, seed: u64, folder: Option<&Path>, planted: Option<Planted>) -> (Recorded, u64) {
    let (scenario, text) = scenario(name);
    let file = |name: &str| -> Option<Box<dyn std::io::Write>> {
        Some(Box::new(std::io::BufWriter::new(std::fs::File::create(folder?.join(name)).expect("the folder is there"))))
    };
    let outputs = Outputs { lines: file(TRACE_FILE), capture: file(CAPTURE_FILE), keep: true };
    let mut world = SimWorld::new(Some(seed));
    planted.into_iter().for_each(|bug| world.plant(bug));
    let played = Played::new(&scenario, &text, seed).expect("its files are there");
    world.record(Played { planted, ..played }, outputs);
    play(&scenario, &mut world).expect("the simulator plays every scenario");
    let recorded = world.take_recorded().expect("it was to be recorded").expect("the files can be written");
    (recorded, world.trace_hash())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

/// What is told of every address at a moment.
fn told(name: &str, at: &str) -> String {
    let (Recorded { header, records, .. }, _) = recorded(name, 42, None);
    let at = header.zero + bellhop_scenario::duration::parse(at).expect("it is a time");
    let addresses = Story::addresses(&records, at);
    let stories = addresses.into_iter().map(|address| explain(&header, &Story::of(&header, &records, address, at)));
    stories.collect::<Vec<_>>().join("\n")
}

#[test]
fn recording_changes_nothing_and_a_trace_reads_back_as_it_was_kept() {
    let folder = folder();
    let (kept, hash) = recorded("leadership/leader-dies.yaml", 42, Some(folder.path()));
    let mut plain = SimWorld::new(Some(42));
    play(&scenario("leadership/leader-dies.yaml").0, &mut plain).expect("the simulator plays every scenario");
    assert_eq!(hash, plain.trace_hash());
    let trace = read(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(trace.end.map(|end| (end.hash, end.records)), Some((hash, kept.count)));
    assert_eq!(trace.header, kept.header);
    for (one, other) in kept.records.iter().zip(&trace.records) {
        assert_eq!(one, other);
    }
    assert_eq!(kept.records.len(), trace.records.len());
}

#[test]
fn the_trace_ends_with_the_scenario() {
    let (Recorded { header, records, .. }, _) = recorded("leadership/leader-dies.yaml", 42, None);
    let stop = header.zero + scenario("leadership/leader-dies.yaml").0.stop;
    assert!(records.iter().all(|record| record.at <= stop));
    assert!(records.iter().any(|record| record.at + Duration::from_secs(1) > stop));
}

#[test]
fn two_traces_of_one_seed_are_the_same_to_the_byte() {
    let (one, other) = (folder(), folder());
    for folder in [&one, &other] {
        recorded("leadership/leader-dies.yaml", 42, Some(folder.path()));
    }
    for name in [TRACE_FILE, CAPTURE_FILE] {
        let bytes = |folder: &TempDir| std::fs::read(folder.path().join(name)).expect("it was written");
        assert!(bytes(&one) == bytes(&other), "{name}");
    }
    let open = |folder: &TempDir| Reader::open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(difference(open(&one), open(&other)), Ok(Difference::None { .. })));
}

#[test]
fn a_trace_alone_is_enough_to_play_it_again() {
    let (kept, hash) = recorded("pools/pool-exhausted-then-freed.yaml", 5, None);
    let (_folder, path) = kept.header.played.unpack().expect("they can be written");
    let mut world = SimWorld::new(Some(kept.header.played.seed));
    play(&load(&path).expect("it is complete"), &mut world).expect("it is the same scenario");
    assert_eq!(world.trace_hash(), hash);
}

#[test]
fn two_seeds_part_by_chance_and_it_is_said_from_where_on_that_matters() {
    let (one, other) = (folder(), folder());
    recorded("leadership/leader-dies.yaml", 42, Some(one.path()));
    recorded("leadership/leader-dies.yaml", 7, Some(other.path()));
    let open = |folder: &TempDir| Reader::open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    let Difference::Some(parting) = difference(open(&one), open(&other)).unwrap_or_else(|error| panic!("{error}")) else {
        panic!("two seeds are not the same")
    };
    snapshot("diff-of-two-seeds", &parting.to_string());
}

#[test]
fn requests_that_did_not_arrive_are_in_the_trace() {
    let (Recorded { records, .. }, _) = recorded("api-faults/api-server-away.yaml", 42, None);
    let outcomes =
        records.iter().filter_map(|record| if let What::Request(request) = &record.what { Some(&request.outcome) } else { None });
    assert!(outcomes.clone().any(|outcome| outcome == "unreachable"));
    assert!(outcomes.clone().any(|outcome| outcome == "200"));
}

#[test]
fn somebody_who_was_not_there_is_told_what_happened() {
    for (name, at) in [
        ("failover/carrying-node-dies-and-returns.yaml", "200ms"),
        ("failover/carrying-node-dies-and-returns.yaml", "30s"),
        ("failover/carrying-node-dies-and-returns.yaml", "75s"),
        ("failover/node-not-ready-mac-changes.yaml", "80s"),
        ("leadership/leader-dies.yaml", "17s"),
        ("api-faults/api-server-away.yaml", "24s"),
    ] {
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        snapshot(&format!("{stem}-{at}"), &told(name, at));
    }
}

#[test]
fn a_broken_promise_is_in_the_trace_and_explained_with_what_led_there() {
    let (Recorded { header, records, .. }, _) =
        with_bug("failover/node-not-ready-mac-changes.yaml", 42, None, Some(Planted::KeepsTheFirstMac));
    let broken = records.iter().find(|record| matches!(record.what, What::Broken { .. })).expect("its promise is broken");
    let at = broken.at;
    snapshot("broken", &explain(&header, &Story::of(&header, &records, [192, 168, 0, 91].into(), at)));
    // A moment before it says nothing of it.
    let before = header.zero + (at.saturating_since(header.zero) - Duration::from_secs(1));
    assert!(!explain(&header, &Story::of(&header, &records, [192, 168, 0, 91].into(), before)).contains("Broken"));
}

#[test]
fn of_a_service_that_never_had_an_address_it_is_said_why() {
    let (Recorded { header, records, .. }, _) = recorded("pools/unknown-pool.yaml", 42, None);
    let never = std::net::IpAddr::from([192, 168, 0, 200]);
    let story = Story::of(&header, &records, never, header.zero + Duration::from_secs(4));
    snapshot("never", &explain(&header, &story));
    assert!(waiting(&header, &story).starts_with("default/unknown-pool has asked for an address since t+3.000s"));
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn wireshark_reads_the_capture_without_a_warning() {
    let folder = folder();
    recorded("tutorial/tutorial-and-power-failure.yaml", 42, Some(folder.path()));
    let capture = folder.path().join(CAPTURE_FILE);
    let tshark = |arguments: &[&str]| {
        let mut command = Command::new("tshark");
        // Nobody's own settings; and names out of the file alone.
        command.env("WIRESHARK_CONFIG_DIR", folder.path()).arg("-Nn").arg("-r").arg(&capture).args(arguments).output()
    };
    let plain = match tshark(&[]) {
        Ok(plain) => plain,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no tshark here, so nobody looks whether Wireshark reads wire.pcapng (apt-get install tshark)");
            return;
        }
        Err(error) => panic!("tshark: {error}"),
    };
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let complaints = words(&plain.stderr);
    let complaints: Vec<&str> = complaints.lines().filter(|line| !line.starts_with("Running as user \"root\"")).collect();
    assert!(plain.status.success() && complaints.is_empty(), "{complaints:?}");
    let lines = words(&plain.stdout);
    for decoded in ["ARP Announcement for 192.168.0.91", "Echo (ping) request", "GET / HTTP/1.1", "HTTP/1.1 200 OK", "i-f3fozos0 "] {
        assert!(lines.contains(decoded), "no {decoded} in\n{lines}");
    }
    // Severity Warn is 0x600000, Error 0x800000 (epan/proto.h). Of a duplicate address Wireshark speaks whenever an address moves.
    let filter = "(_ws.expert.severity >= 0x600000 || _ws.malformed) && !arp.duplicate-address-detected";
    let expert = tshark(&["-Y", filter]).expect("it was there just now");
    assert_eq!((words(&expert.stdout).as_str(), expert.status.success()), ("", true), "{}", words(&expert.stderr));
    let comments = tshark(&["-Y", "frame.comment", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]);
    snapshot("comments", &words(&comments.expect("it was there just now").stdout));
}
