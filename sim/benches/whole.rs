//! The whole program, as fast as it goes: five nodes with a replica of Bellhop each, and twenty clients that open a connection a second each for ten
//! minutes; and a minute of the same LAN in which much goes wrong, as a seed of a sweep has it.
//!
//! `cargo bench -p bellhop-sim --bench whole`. All is in the time: parsing, building the world, its warm-up of 20 s, the promises judged at the end. The
//! targets are 1,000 times real time and 20 such minutes a second and core. Elements are seconds of the scenario's own time, then scenarios.

use std::fmt::Write;
use std::path::Path;

use bellhop_scenario::{Scenario, parse_in, play};
use bellhop_sim::SimWorld;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// How long the calm scenario is, in seconds.
const CALM: u64 = 600;

/// What goes wrong in the other one: one thing of each class, as a sweep draws them.
const FAULTS: &str = "
  - { at: 10s, freeze: { machine: node3, for: 3s } }
  - { at: 15s, cable: { machine: client03, nic: eth0, loss: 10%, for: 10s } }
  - { at: 20s, restart-bellhop: leader }
  - { at: 25s, api: { latency: 50ms..300ms, for: 10s } }
  - { at: 40s, reboot: { machine: node5, off: 5s } }
";

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole program");
    group.sample_size(10);
    for (name, elements, text) in
        [("5 nodes and 20 clients, 600 s", CALM, text(CALM, "")), ("5 nodes and 20 clients, 60 s with faults", 1, text(60, FAULTS))]
    {
        group.throughput(Throughput::Elements(elements));
        group.bench_function(name, |bencher| bencher.iter(|| run(&parsed(&text))));
    }
    group.finish();
}

/// Plays it and sees that it went well.
fn run(scenario: &Scenario) -> u64 {
    let mut world = SimWorld::new(None);
    let outcome = play(scenario, &mut world).expect("the simulator plays it");
    assert_eq!(outcome.failed(), 0, "{outcome}");
    world.trace_hash()
}

fn parsed(text: &str) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/base");
    parse_in(&folder, text).expect("a scenario")
}

fn text(seconds: u64, faults: &str) -> String {
    let mut text = format!(
        "version: 1
name: bench
about: Five nodes and twenty clients.
why: what is measured must be what is simulated
seed: 42
stop: {seconds}s
topology:
  segments:
    lan0: {{ ipv4: 192.168.0.0/24, latency: 50us..200us }}
  switches:
    sw0: {{ segment: lan0, mac-ageing: 300s }}
  nodes:
"
    );
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    for node in 1..=5 {
        let role = if node == 1 { "roles: [control-plane], " } else { "" };
        line(format!("    node{node}: {{ {role}nics: {{ eth0: {{ switch: sw0, ip: 192.168.0.{}/24 }} }} }}", node + 1));
    }
    line("  clients:".to_owned());
    for client in 1..=20 {
        line(format!("    client{client:02}: {{ switch: sw0, ip: 192.168.0.{}/24, stack: linux }}", client + 20));
    }
    line(
        "cluster:
  bellhop: [node1, node2, node3, node4, node5]
  manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml]
timeline:
  - { at: 0s, apply: all }"
            .to_owned(),
    );
    for client in 1..=20 {
        line(format!(
            "  - {{ at: {}ms, curl: {{ from: client{client:02}, url: \"http://192.168.0.91\", every: 1s }} }}",
            5000 + client * 47
        ));
    }
    line(faults.to_owned());
    text
}

criterion_group!(benches, whole);
criterion_main!(benches);
