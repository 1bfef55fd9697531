//! The grammar's refusals as a person sees them, and bytes that are no file at all.

use std::path::Path;

use proptest::prelude::*;

use super::parse;
use crate::action::{Action, Target};
use crate::expectation::{Subject, When};
use crate::scenario::Scenario;

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
        "  - { what: x, eventually: { within: 1s }, ping: { from: i-f3fozos0, to: 192.168.0.91, longest-gap: 1s } }",
        "  - { what: x, always: {}, event: { reason: IPAllocated } }",
        "  - { what: x, eventually: { within: 1s }, output: { step: start, exit: 0 } }",
    ];
    let all: Vec<_> = expectations.iter().map(|expectation| refusal(&file(STEP, expectation))).collect();
    insta::assert_snapshot!(all.join("\n\n"));
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
