//! The grammar's refusals as a person sees them, and bytes that are no file at all.

use std::path::Path;

use proptest::prelude::*;

use super::parse;
use crate::action::{Action, Target};
use crate::expectation::{Subject, When};
use crate::scenario::Scenario;
use crate::transcript::Transcript;

/// A scenario with everything around the two parts that a test is about.
fn file(timeline: &str, expect: &str) -> String {
    format!(
        r#"version: 1
name: probe
about: A test.
stop: 60s
topology:
  segments: {{ lan0: {{ ipv4: 192.168.0.0/24 }} }}
  switches: {{ sw0: {{ segment: lan0 }} }}
  nodes:
    worker-p001: {{ nics: {{ eth0: {{ switch: sw0, ip: 192.168.0.3/24, mac: "52:54:22:3a:e6:6e" }} }} }}
  clients:
    i-f3fozos0: {{ switch: sw0, ip: 192.168.0.5/24, mac: "52:54:22:fa:b9:3b" }}
cluster:
  bellhop: [worker-p001]
timeline:
{timeline}
expect:
{expect}
"#
    )
}

const STEP: &str = "  - { at: 0s, id: start, power-off: worker-p001 }";
const EXPECT: &str = "  - { what: it is so, always: {}, node-of: { service: web, is: worker-p001 } }";

fn read(text: &str) -> Result<Scenario, String> {
    parse(Path::new("probe.yaml"), text).map_err(|refusal| refusal.to_string())
}

fn refusal(text: &str) -> String {
    read(text).expect_err("the file is wrong")
}

#[test]
fn a_file_becomes_steps_and_windows() {
    let expect = "  - what: the table follows\n    eventually: { within: 2s, after: start }\n    neigh: { client: i-f3fozos0, dst: 192.168.0.91, lladdr: { node-of: web } }";
    let scenario = read(&file(STEP, expect)).unwrap();
    assert_eq!(scenario.timeline[0].actions, [Action::PowerOff(Target::Machine("worker-p001".into()))]);
    assert!(matches!(scenario.expect[0].when, When::Eventually(window) if window.until.as_secs() == 2));
    assert!(matches!(&scenario.expect[0].subject, Subject::Neigh { client, .. } if client == "i-f3fozos0"));
}

#[test]
fn an_expectation_about_a_ping_nobody_sends_starts_one_for_as_long_as_it_looks() {
    let expect = "  - { what: answered, always: { from: 2s, until: 5s }, ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 1s } }";
    let scenario = read(&file(STEP, expect)).unwrap();
    let last = scenario.timeline.last().unwrap();
    assert_eq!(last.at.as_secs(), 2);
    assert!(matches!(last.actions[0], Action::Ping { until: Some(until), .. } if until.as_secs() == 5));
}

#[test]
fn an_expectation_that_looks_longer_than_somebody_asks_is_refused() {
    let ping =
        |window: &str, wanted: &str| format!("  - {{ what: x, {window}, ping: {{ from: i-f3fozos0, to: 192.168.0.91, {wanted} }} }}");
    let steps = "  - { at: 5s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 100ms, until: 6s } }\n  - { at: 10s, ping: { from: i-f3fozos0, to: 192.168.0.91, every: 1s } }\n  - { at: 10s, curl: { from: i-f3fozos0, url: \"http://192.168.0.91\", every: 1s, until: 20s } }";
    let curl = "  - { what: x, never: { from: 15s, until: 21s }, curl: { from: i-f3fozos0, url: \"http://192.168.0.91\" } }";
    let refused = [
        ping("always: { from: 5s }", "longest-gap: 1s"),
        ping("always: { from: 5s }", "lost: 0"),
        ping("always: { from: 4s, until: 6s }", "lost: 0"),
        ping("never: { from: 7s, until: 9s }", "answered: true"),
        curl.to_owned(),
    ];
    let all: Vec<_> = refused.iter().map(|expect| refusal(&file(steps, expect))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
    for window in ["always: { from: 5s, until: 6s }", "always: { from: 10s }", "always: { from: 20s, until: 30s }"] {
        assert!(read(&file(steps, &ping(window, "lost: 0"))).is_ok(), "{window}");
    }
}

#[test]
fn wrong_steps_are_refused_with_line_and_caret() {
    let steps = [
        "  - { at: 0s, powerof: worker-p001 }",
        "  - { at: 0s, power-off: worker-p003 }",
        "  - { at: 0s, power-off: worker-p001, api-down: {} }",
        "  - { at: 5, api-down: {} }",
        "  - { at: 61s, api-down: {} }",
        "  - { at: 2s, api-down: {} }\n  - { at: 1s, api-up: {} }",
        "  - { at: 0s, power-on: { same-as: power-loss } }",
        "  - { at: 0s, power-on: { node: web } }",
        "  - { at: 0s, run: \"kubectl aply -f x.yaml\" }",
        "  - { at: 0s, run: \"kubectl apply -f x.yaml\" }",
        "  - { at: 0s, run: \"ip neigh\" }",
        "  - { at: 0s, nic-down: { machine: worker-p001, nic: eth7 } }",
        "  - { at: 0s, kill-bellhop: i-f3fozos0 }",
        "  - { at: 0s, ping: { from: i-f3fozos0, to: 192.168.0.910, every: 1s } }",
    ];
    let all: Vec<_> = steps.iter().map(|step| refusal(&file(step, EXPECT))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn every_fault_is_read_and_says_what_it_is() {
    let faults = [
        "reboot: { machine: leader, off: 20s }",
        "restart-bellhop: leader",
        "freeze: { machine: { node-of: web }, for: 3s }",
        "clock-rate: { machine: worker-p001, ppm: -200, for: 1h }",
        "freeze-bellhop: { machine: leader, for: 7s }",
        "die-at-write: { machine: leader, write: 1 }",
        "set-mac: { machine: worker-p001, nic: eth0, mac: \"52:54:22:00:00:01\" }",
        "flap: { machine: worker-p001, nic: eth0, every: 1s, for: 20s }",
        "cable: { machine: i-f3fozos0, nic: eth0, direction: in, loss: 5%, burst: 4, duplicate: 1%, reorder: 1%, corrupt: 0.1%, delay: 1ms..5ms, rate: 10mbit, for: 10s }",
        "uplink: { between: [sw0, sw1], cut: true, direction: out }",
        "claim-address: { machine: i-f3fozos0, address: 192.168.0.91, for: 5s }",
        "spoof-arp: { machine: i-f3fozos0, address: 192.168.0.91, every: 100ms }",
        "storm: { machine: i-f3fozos0, rate: 100000, for: 1s }",
        "api: { replica: leader, silent: true }",
        "api: { latency: 10ms..2s, refuse: { 429: 5%, 500: 1% }, lose-answers: 5%, stale: 2s, cut-watches: 5s, gone: stream, for: 30s }",
        "unready: { deployment: web, machine: worker-p001, for: 10s }",
    ];
    let said = faults.iter().map(|fault| {
        let text = file(&format!("  - {{ at: 0s, {fault} }}"), EXPECT)
            .replace("sw0: { segment: lan0 }", "sw0: { segment: lan0 }, sw1: { segment: lan0 }");
        let scenario = read(&text).unwrap_or_else(|refusal| panic!("{refusal}"));
        let [asked] = scenario.timeline[0].actions.as_slice() else { panic!("one action") };
        let action =
            asked.resolve(|target| Ok::<_, ()>(if let Target::Machine(name) = target { name.clone() } else { "worker-p001".to_owned() }));
        let mut transcript = Transcript::default();
        transcript.action(std::time::Duration::ZERO, asked, &action.unwrap());
        assert!(fault.starts_with(asked.key()), "{fault}");
        transcript.lines().join("\n")
    });
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn wrong_faults_are_refused_with_line_and_caret() {
    let faults = [
        "reboot: { machine: worker-p001 }",
        "reboot: { machine: worker-p001, off: 0s }",
        "restart-bellhop: i-f3fozos0",
        "freeze: { machine: worker-p009, for: 3s }",
        "freeze: { machine: worker-p001, until: 3s }",
        "clock-rate: { machine: worker-p001, ppm: 0 }",
        "clock-rate: { machine: worker-p001, ppm: 200000 }",
        "die-at-write: { machine: leader, write: 0 }",
        "set-mac: { machine: worker-p001, nic: eth0, mac: \"01:00:5e:00:00:01\" }",
        "flap: { machine: worker-p001, nic: eth0, every: 1ms }",
        "cable: { machine: worker-p001, nic: eth0 }",
        "cable: { machine: worker-p001, nic: eth0, cut: false, direction: in }",
        "cable: { machine: worker-p001, nic: eth0, loss: 5 }",
        "cable: { machine: worker-p001, nic: eth0, loss: 0.00001% }",
        "cable: { machine: worker-p001, nic: eth0, burst: 4 }",
        "cable: { machine: worker-p001, nic: eth0, delay: 5ms..1ms }",
        "cable: { machine: worker-p001, nic: eth0, delay: 2m }",
        "cable: { machine: worker-p001, nic: eth0, rate: 10Mbit }",
        "cable: { machine: worker-p001, nic: eth0, cut: true, direction: sideways }",
        "uplink: { between: [sw0], cut: true }",
        "uplink: { between: [sw0, sw0], cut: true }",
        "uplink: { between: [sw0, sw2], cut: true }",
        "spoof-arp: { machine: worker-p001, address: \"2001:db8::1\", every: 1s }",
        "storm: { machine: worker-p001, rate: 200001 }",
        "api: {}",
        "api: { replica: leader }",
        "api: { down: true, silent: true }",
        "api: { refuse: { 418: 5% } }",
        "api: { refuse: { 429: 60%, 500: 41% } }",
        "api: { gone: with the wind }",
        "api: { cut-watches: 1ms }",
        "unready: { machine: worker-p001 }",
    ];
    let all: Vec<_> = faults.iter().map(|fault| refusal(&file(&format!("  - {{ at: 0s, {fault} }}"), EXPECT))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

/// Two segments with a router between, IPv6 on one of them, three switches in a triangle.
const CAMPUS: &str = r#"topology:
  segments:
    lan0: { ipv4: 192.168.0.0/24, ipv6: "2001:db8::/64" }
    lan1: { ipv4: 192.168.1.0/24 }
  switches:
    sw0: { segment: lan0, table-size: 4, storm-limit: 1000, inspect-arp: true, converge: 30s }
    sw1: { segment: lan0 }
    sw2: { segment: lan0 }
    sw3: { segment: lan1 }
  uplinks: [{ between: [sw0, sw1] }, { between: [sw1, sw2], latency: 1ms }, { between: [sw0, sw2] }]
  routers:
    r1: { stack: slow-cache, nics: { eth0: { switch: sw0, ip: 192.168.0.1/24 }, eth1: { switch: sw3, ip: 192.168.1.1/24 } } }
  nodes:
    worker-p001: { gateway: 192.168.0.1, labels: { zone: a }, nics: { eth0: { switch: sw1, ip: [192.168.0.3/24, "2001:db8::3/64"] } } }
  clients:
    i-f3fozos0: { switch: sw3, ip: 192.168.1.5/24, gateway: 192.168.1.1, stack: windows }
"#;

/// The campus in a file.
fn campus() -> String {
    let good = file(STEP, EXPECT);
    let (before, rest) = good.split_once("topology:").unwrap();
    let (_, after) = rest.split_once("cluster:").unwrap();
    format!("{before}{CAMPUS}cluster:{after}")
}

#[test]
fn a_campus_has_routers_uplinks_and_two_families() {
    let topology = read(&campus()).unwrap_or_else(|refusal| panic!("{refusal}")).topology;
    assert_eq!(topology.uplinks().len(), 3);
    assert_eq!(topology.switches["sw0"].table_size, Some(4));
    assert!(topology.switches["sw0"].inspect_arp && !topology.switches["sw1"].inspect_arp);
    assert_eq!(topology.nodes["worker-p001"].nics["eth0"].ipv6.map(|ip| ip.to_string()).as_deref(), Some("2001:db8::3/64"));
    assert_eq!(topology.machines().count(), 3);
}

#[test]
fn switches_without_uplinks_stand_in_a_row() {
    let text =
        file(STEP, EXPECT).replace("sw0: { segment: lan0 }", "sw0: { segment: lan0 }, sw2: { segment: lan0 }, sw1: { segment: lan0 }");
    let row: Vec<_> = read(&text).unwrap().topology.uplinks().into_iter().map(|uplink| uplink.between.join(" ")).collect();
    assert_eq!(row, ["sw0 sw1", "sw1 sw2"]);
}

#[test]
fn wrong_campuses_are_refused_with_line_and_caret() {
    let good = campus();
    let changes = [
        ("table-size: 4", "table-size: 0"),
        ("storm-limit: 1000", "storm-limit: 2000001"),
        ("converge: 30s", "converge: 3m"),
        ("[sw0, sw1]", "[sw0, sw9]"),
        ("[sw0, sw1]", "[sw0, sw3]"),
        ("{ between: [sw1, sw2], latency: 1ms }, { between: [sw0, sw2] }", ""),
        ("eth1: { switch: sw3, ip: 192.168.1.1/24 }", "eth1: { switch: sw3, ip: 192.168.0.7/24 }"),
        ("r1:", "worker-p001:"),
        ("gateway: 192.168.1.1", "gateway: 192.168.0.1"),
        ("gateway: 192.168.0.1", "gateway: 192.168.0.3"),
        ("2001:db8::3/64", "2001:db8:1::3/64"),
        ("[192.168.0.3/24, \"2001:db8::3/64\"]", "[192.168.0.3/24, 192.168.0.4/24]"),
        ("ip: 192.168.1.5/24", "ip: [192.168.1.5/24, \"2001:db8::5/64\"]"),
        ("stack: windows", "stack: beos"),
        ("zone: a", "zone: \"a b\""),
    ];
    let all: Vec<_> = changes.iter().map(|(from, to)| refusal(&good.replacen(from, to, 1))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_file_without_nodes_is_refused_at_its_topology_and_one_without_that_at_no_line() {
    let (before, _) = campus().split_once("  nodes:").map(|(before, after)| (before.to_owned(), after.to_owned())).unwrap();
    let without = refusal(&format!("{before}timeline: []\n"));
    assert!(without.starts_with("error: no nodes: expected `topology`") && without.contains("probe.yaml:6:3"), "{without}");
    let nothing = refusal("version: 1\nname: probe\nabout: A test.\nstop: 60s\ntimeline: []\n");
    assert!(nothing.starts_with("error: no nodes") && nothing.ends_with("--> probe.yaml"), "{nothing}");
}

#[test]
fn more_machines_switches_and_manifests_than_anybody_needs_are_refused() {
    let many = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(", ");
    let good = file(STEP, EXPECT);
    let switches = many(40, &|n| format!("sw{n}: {{ segment: lan0 }}"));
    assert!(refusal(&good.replace("sw0: { segment: lan0 }", &switches)).contains("at most 32"));
    let clients = many(70, &|n| format!("c{n}: {{ switch: sw0, ip: 192.168.0.{}/24 }}", n + 10));
    assert!(refusal(&good.replace("clients:\n", &format!("clients:\n    {}\n", clients.replace(", c", "\n    c")))).contains("at most 64"));
    let manifests = format!("manifests: [{}]", many(33, &|_| "../../Cargo.toml".to_owned()));
    assert!(refusal(&good.replace("bellhop: [worker-p001]", &manifests)).contains("expected"));
}

#[test]
fn wrong_expectations_are_refused_with_line_and_caret() {
    let expectations = [
        "  - { what: x, always: {} }",
        "  - { what: x, node-of: { service: web, is: worker-p001 } }",
        "  - { what: x, eventually: { within: 61s }, node-of: { service: web, is: worker-p001 } }",
        "  - { what: x, eventually: { within: 1s, after: nothing }, node-of: { service: web, is: worker-p001 } }",
        "  - { what: x, eventually: {}, node-of: { service: web, is: worker-p001 } }",
        "  - { what: x, always: {}, resource: { kind: Gadget, metadata: { name: x } } }",
        "  - { what: x, always: {}, resource: { kind: Service } }",
        "  - { what: x, always: {}, neigh: { client: i-f3fozos0, dst: 192.168.0.91, lladdr: \"52:54\" } }",
        "  - { what: x, always: {}, neigh: { client: i-f3fozos0, dst: 192.168.0.91, state: fresh } }",
        "  - { what: x, eventually: { within: 1s }, ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 1s } }",
        "  - { what: x, always: {}, event: { reason: IPAllocated } }",
        "  - { what: x, eventually: { within: 1s }, output: { step: start, exit: 0 } }",
        "  - { what: x, always: {}, wire: { at-least: 0 } }",
        "  - { what: x, always: {}, wire: { at-least: 5, at-most: 1 } }",
        "  - { what: x, never: {}, wire: { sender-ip: 192.168.0.91, at-least: 5 } }",
        "  - { what: x, never: {}, wire: { sender-ip: 192.168.0.91, at-most: 0 } }",
        "  - { what: x, always: {}, wire: { sender-ip: 1.2.3.4, at-most: 0 } }",
        "  - { what: x, never: {}, wire: { target-ip: 1.2.3.4 } }",
        "  - { what: x, never: {}, event: { reason: NodeChangde } }",
        "  - { what: x, never: {}, event: { reason: EipInUse, about: { kind: Epi, name: lan } } }",
        "  - { what: x, never: {}, event: { reason: EipInUse, about: { name: lan } } }",
    ];
    let all: Vec<_> = expectations.iter().map(|expectation| refusal(&file(STEP, expectation))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn more_frames_and_requests_than_anybody_waits_for_are_refused_at_the_step() {
    let storm = |lasts: &str| format!("  - {{ at: 0s, storm: {{ machine: i-f3fozos0, rate: 200000{lasts} }} }}");
    let ping =
        |every: &str, until: &str| format!("  - {{ at: 0s, ping: {{ from: i-f3fozos0, to: 192.168.0.91, every: {every}{until} }} }}");
    let long = |timeline: &str| file(timeline, EXPECT).replace("stop: 60s", "stop: 24h");
    let implied = "  - { what: x, always: {}, ping: { from: i-f3fozos0, to: 192.168.0.91, lost: 0 } }\n  - { what: x, always: {}, ping: { from: i-f3fozos0, to: 192.168.0.92, lost: 0 } }";
    let refused = [
        long(&storm("")),
        long(&[storm(", for: 30s"), storm(", for: 30s")].join("\n")),
        long(&"  - { at: 0s, spoof-arp: { machine: i-f3fozos0, address: 192.168.0.91, every: 10ms } }\n".repeat(2)),
        long(&ping("10ms", "")),
        file(STEP, implied).replace("stop: 60s", "stop: 24h"),
    ];
    let all: Vec<_> = refused.iter().map(|text| refusal(text)).collect();
    insta::assert_snapshot!(all.join("\n\n"));
    for timeline in [storm(", for: 50s"), ping("10ms", ", until: 2h"), ping("100ms", "")] {
        assert!(read(&long(&timeline)).is_ok(), "{timeline}");
    }
}

#[test]
fn wrong_machines_are_refused_with_line_and_caret() {
    let good = file(STEP, EXPECT);
    let changes = [
        ("name: probe", "name: other"),
        ("version: 1", "version: 2"),
        ("version: 1", "version: 1\nextends: base/nothing.yaml"),
        ("segment: lan0", "segment: lan7"),
        ("ip: 192.168.0.3/24", "ip: 192.168.7.3/24"),
        ("ip: 192.168.0.3/24", "ip: 192.168.0.3"),
        ("ip: 192.168.0.5/24", "ip: 192.168.0.3/24"),
        ("52:54:22:fa:b9:3b", "52:54:22:3a:e6:6e"),
        ("52:54:22:fa:b9:3b", "ff:ff:ff:ff:ff:ff"),
        ("worker-p001:", "leader:"),
        ("bellhop: [worker-p001]", "bellhop: [worker-p002]"),
        ("bellhop: [worker-p001]", "manifests: [../../etc/passwd]"),
        ("bellhop: [worker-p001]", "kube-proxy: { mode: nftables }"),
        ("stop: 60s", "stop: 60s\nstop: 61s"),
        ("stop: 60s", "stop: [60s"),
    ];
    let all: Vec<_> = changes.iter().map(|(from, to)| refusal(&good.replacen(from, to, 1))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_file_that_is_too_long_or_too_deep_is_refused() {
    assert!(refusal(&"#".repeat(300 * 1024)).contains("longer than 256 KiB"));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let expect = format!("  - {{ what: x, always: {{}}, resource: {{ kind: Service, metadata: {{ name: x }}, spec: {deep} }} }}");
    assert!(read(&file(STEP, &expect)).is_err());
}

proptest! {
    #[test]
    fn bytes_are_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&String::from_utf8_lossy(&bytes)).is_err());
    }

    #[test]
    fn a_file_with_a_part_overwritten_never_panics(start in 0usize..1200, length in 0usize..40, with in "[ -~\n\u{e9}]{0,20}") {
        let good = file(STEP, EXPECT);
        let start = start.min(good.len());
        let end = (start + length).min(good.len());
        if let Err(text) = read(&format!("{}{with}{}", &good[..start], &good[end..])) {
            prop_assert!(text.starts_with("error: "));
        }
    }
}
