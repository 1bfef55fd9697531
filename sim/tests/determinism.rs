//! The same scenario and seed give the same bytes and the same hash, whoever plays it; another seed gives another run that passes too.
//!
//! Played are files as they are, and situations in which as much goes wrong at once as a timeline can say: whatever draws from chance is then
//! drawn from. What each component draws is its own: see the last test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bellhop_scenario::observation::{Observation, Seen};
use bellhop_scenario::{Action, Look, Scenario, Target, World, load, parse_in, play};
use bellhop_sim::SimWorld;
use bellhop_sim::trace::{Outputs, Played};

/// Plays these, with each of these seeds; `None` is the file's own.
const FILES: [(&str, &[Option<u64>]); 4] = [
    ("tutorial/tutorial-and-power-failure.yaml", &[None, Some(7)]),
    ("leadership/leader-dies.yaml", &[None, Some(7)]),
    ("rollout/rolling-update-local.yaml", &[None]),
    ("api-faults/api-server-away.yaml", &[None]),
];

/// Timelines beside a continuous ping and a curl, with as many faults of their kind as there are.
const TROUBLES: [(&str, &[&str]); 3] = [
    (
        "wires",
        &[
            "at: 5s, cable: { machine: i-f3fozos0, nic: eth0, loss: 10%, burst: 3, duplicate: 5%, reorder: 10%, corrupt: 1%, delay: 1ms..5ms, rate: 10mbit, for: 20s }",
            "at: 6s, cable: { machine: { node-of: porter-layer2-svc }, nic: eth0, direction: in, loss: 20%, for: 20s }",
            "at: 8s, flap: { machine: leader, nic: eth0, every: 700ms, for: 10s }",
            "at: 12s, spoof-arp: { machine: worker-p002, address: 192.168.0.91, every: 300ms, for: 5s }",
            "at: 20s, claim-address: { machine: worker-p002, address: 192.168.0.91, for: 5s }",
            "at: 27s, storm: { machine: i-f3fozos0, rate: 2000, for: 1s }",
            "at: 30s, set-mac: { machine: { node-of: porter-layer2-svc }, nic: eth0, mac: \"52:54:22:00:00:01\" }",
        ],
    ),
    (
        "api",
        &[
            "at: 5s, api: { latency: 10ms..2s, refuse: { 429: 5%, 500: 5%, 503: 5% }, lose-answers: 10%, cut-watches: 3s, gone: stream, for: 25s }",
            "at: 8s, api: { replica: leader, stale: 5s, cut-watches: 2s, gone: http, for: 10s }",
            "at: 10s, apply: ../manifests/svc-second.yaml",
            "at: 12s, run: kubectl scale deployment porter-layer2 --replicas 4",
            "at: 15s, api: { replica: leader, silent: true, for: 8s }",
            "at: 26s, run: kubectl rollout restart deployment porter-layer2",
            "at: 28s, unready: { deployment: porter-layer2, machine: worker-p001, for: 5s }",
        ],
    ),
    (
        "machines",
        &[
            "at: 5s, clock-rate: { machine: master1, ppm: 50000, for: 30s }",
            "at: 6s, die-at-write: { machine: leader, write: 3 }",
            "at: 7s, freeze: { machine: worker-p002, for: 9s }",
            "at: 18s, freeze-bellhop: { machine: leader, for: 7s }",
            "at: 28s, restart-bellhop: leader",
            "at: 30s, reboot: { machine: { node-of: porter-layer2-svc }, off: 20s }",
        ],
    ),
];

/// The seeds of [`TROUBLES`].
const SEEDS: [u64; 2] = [1, 2];

/// Tells the child in which folder to leave what it played.
const CHILD: &str = "BELLHOP_DETERMINISM_CHILD";

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// A scenario, and its text.
type Situation = (Scenario, String);

fn file(name: &str) -> Situation {
    let path = scenarios().join(name);
    (load(&path).expect("the scenarios are valid"), std::fs::read_to_string(&path).expect("it was just read"))
}

/// The tutorial's Service, from the start, and more.
fn situation(stop: &str, topology: &str, steps: &[String]) -> Situation {
    let steps: String = steps.iter().map(|step| format!("  - {{ {step} }}\n")).collect();
    let text = format!(
        "version: 1\nname: determinism\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 1\nstop: {stop}\n{topology}\
         cluster: {{ manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }}\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n{steps}\
         expect:\n  - {{ what: it has an address, eventually: {{ within: 1s, after: 0s }},\n      \
         condition: {{ kind: Service, name: porter-layer2-svc, type: bellhop.dev/AddressAssigned, status: \"True\" }} }}\n"
    );
    (parse_in(&scenarios().join("failover"), &text).unwrap_or_else(|refusal| panic!("{refusal}")), text)
}

/// All that a run shows: transcript, checks, hash, counts; and whether all passed. Its trace and capture go to `<into>.jsonl` and `<into>.pcapng`.
fn played((scenario, text): &Situation, seed: Option<u64>, into: &Path) -> (String, u64, bool) {
    let mut world = SimWorld::new(seed);
    let header = Played::new(scenario, text, seed.unwrap_or(scenario.seed)).expect("its manifests are there");
    let file = |ending| -> Option<Box<dyn Write>> { Some(Box::new(BufWriter::new(File::create(into.with_extension(ending)).ok()?))) };
    world.record(header, Outputs { lines: file("jsonl"), capture: file("pcapng"), keep: false });
    let outcome = play(scenario, &mut world).expect("the simulator plays every scenario");
    world.take_recorded().expect("it was to be recorded").expect("the files can be written");
    let hash = world.trace_hash();
    (format!("{outcome}trace {hash:016x} {:?} {:?}\n", world.counts(), world.judged()), hash, outcome.failed() == 0)
}

/// Everything, one after the other. Three files of each run are in the folder: what it shows, its trace, its capture.
fn play_all(folder: &Path) {
    let files = FILES.iter().flat_map(|(name, seeds)| seeds.iter().map(|seed| (file(name), *seed)));
    let troubles = TROUBLES.iter().flat_map(|(_, faults)| {
        let probes = [
            "at: 2s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 100ms }",
            "at: 2s, curl: { from: i-f3fozos0, url: \"http://192.168.0.91\", every: 300ms }",
        ];
        let steps: Vec<String> = probes.iter().chain(*faults).map(|step| (*step).to_owned()).collect();
        let situation = situation("60s", "", &steps);
        SEEDS.map(|seed| (situation.clone(), Some(seed)))
    });
    for (index, (situation, seed)) in files.chain(troubles).enumerate() {
        let into = folder.join(format!("{index:02}"));
        let (shown, ..) = played(&situation, seed, &into);
        std::fs::write(into.with_extension("txt"), shown).expect("the folder is there");
    }
}

/// The files of a folder, in order of their names.
fn files(folder: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read"));
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("it can be read"))).collect()
}

#[test]
fn twelve_runs_and_their_traces_are_the_same_to_the_byte_twice_in_one_process_and_in_another() {
    if let Some(into) = std::env::var_os(CHILD) {
        return play_all(Path::new(&into));
    }
    let [first, second, third] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let this_test = ["--exact", "twelve_runs_and_their_traces_are_the_same_to_the_byte_twice_in_one_process_and_in_another"];
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(this_test)
        .env(CHILD, third.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this test, once more");
    play_all(first.path());
    play_all(second.path());
    assert!(child.wait().expect("it ends").success(), "the child failed");
    let expected = files(first.path());
    assert_eq!(expected.len(), 12 * 3);
    for (folder, whose) in [(second, "the second time"), (third, "in another process")] {
        let found = files(folder.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{whose}");
        for (name, bytes) in &expected {
            let same = bytes.iter().zip(&found[name]).take_while(|(one, other)| one == other).count();
            assert!(*bytes == found[name], "{whose} {} was otherwise from byte {same} of {}", name.display(), bytes.len());
        }
    }
}

#[test]
fn another_seed_is_another_run_that_passes_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let situation = file("tutorial/tutorial-cluster.yaml");
    let [own, other] = [None, Some(7)].map(|seed| played(&situation, seed, &folder.path().join("run")));
    assert_ne!(own.1, other.1);
    assert!(other.2, "{}", other.0);
}

#[test]
fn a_run_before_it_in_the_same_process_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("run");
    let situation = file("pools/service-deleted.yaml");
    let alone = played(&situation, Some(3), &into);
    played(&file("tutorial/tutorial-local.yaml"), Some(1), &into);
    assert_eq!(played(&situation, Some(3), &into), alone);
}

/// Two clients of which each asks a worker of its own, so that their frames share no cable.
const TWO_CLIENTS: &str = "topology:\n  clients:\n    alice: { switch: sw0, ip: 192.168.0.6/24, stack: linux }\n    bob: { switch: sw0, ip: 192.168.0.7/24, stack: linux }\n";

/// What is wrong, and whose draws it may change.
const FAULTS: [(&str, &str); 3] = [
    (
        "alice",
        "at: 6s, cable: { machine: alice, nic: eth0, loss: 30%, duplicate: 10%, reorder: 10%, corrupt: 5%, delay: 1ms..2ms, for: 4s }",
    ),
    ("bob", "at: 7s, cable: { machine: bob, nic: eth0, loss: 30%, burst: 2, delay: 1ms..2ms, for: 4s }"),
    ("lease", "at: 8s, api: { replica: master1, latency: 1ms..50ms, refuse: { 429: 20% }, for: 5s }"),
];

/// What was seen of each component: the clients' echoes, the leader's Lease, and all that is drawn for objects and NICs.
fn components(without: Option<&str>) -> BTreeMap<&'static str, Vec<String>> {
    let probes = [
        "at: 5s, ping: { from: alice, to: 192.168.0.3, every: 50ms, until: 14s }",
        "at: 5s, ping: { from: bob, to: 192.168.0.4, every: 50ms, until: 14s }",
    ];
    let after = ["at: 15s, run: kubectl rollout restart deployment porter-layer2", "at: 16s, apply: ../manifests/svc-second.yaml"];
    let faults = FAULTS.iter().filter(|(name, _)| Some(*name) != without).map(|(_, fault)| *fault);
    let steps: Vec<String> = probes.into_iter().chain(faults).chain(after).map(str::to_owned).collect();
    let (scenario, _) = situation("25s", TWO_CLIENTS, &steps);
    let kinds = [("v1", "Pod"), ("v1", "Service"), ("coordination.k8s.io/v1", "Lease")];
    let looks = kinds.map(|(api_version, kind)| Look::Objects { api_version: api_version.to_owned(), kind: kind.to_owned() });
    let mut world = SimWorld::new(None);
    world.start(&scenario, &looks).expect("it starts");
    for step in &scenario.timeline {
        world.run_until(step.at).expect("it goes on");
        for action in &step.actions {
            world.act(&named(action)).expect("it can be done");
        }
    }
    world.run_until(scenario.stop).expect("it goes on");
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Observation { at, what } in world.observations() {
        let (of, line) = match what {
            Seen::Ping { from, seq, sent, answer, .. } => {
                (if from == "alice" { "alice" } else { "bob" }, format!("{seq} {sent:?} {:?}", answer.map(|answer| answer - sent)))
            }
            Seen::Object { kind, name, object: Some(object), .. } if kind == "Lease" && name == "bellhop" => {
                ("lease", format!("{at:?} {}", object["spec"]))
            }
            Seen::Object { kind, name, object: Some(object), .. } if kind != "Lease" => {
                let ports = &object["spec"]["ports"];
                ("drawn", format!("{kind} {name} {} {ports} {}", object["metadata"]["uid"], object["spec"]["nodeName"]))
            }
            Seen::Nic { machine, nic, mac } => ("drawn", format!("{machine} {nic} {mac}")),
            _ => continue,
        };
        seen.entry(of).or_default().push(line);
    }
    seen
}

/// The action with its machine named; these timelines name no other.
fn named(action: &Action<Target>) -> Action {
    let name = |target: &Target| match target {
        Target::Machine(name) => Ok(name.clone()),
        other => Err(format!("{other:?}")),
    };
    action.resolve(name).expect("a machine's name")
}

#[test]
fn a_fault_that_is_taken_out_leaves_every_other_draw_as_it_was() {
    let with_all = components(None);
    assert!(with_all["alice"].len() > 150 && with_all["drawn"].len() > 20, "{with_all:?}");
    for (name, fault) in FAULTS {
        let without = components(Some(name));
        for (component, seen) in &with_all {
            if *component == name {
                assert_ne!(seen, &without[component], "{fault} changes what it is about");
                let before = seen.iter().zip(&without[component]).take_while(|(one, other)| one == other).count();
                assert!(before > 5, "but nothing before it: {before}");
            } else {
                assert_eq!(seen, &without[component], "{component} without {fault}");
            }
        }
    }
}
