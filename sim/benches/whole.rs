//! The whole program, as fast as it goes: five nodes with a replica of Bellhop each, and twenty clients that open a connection a second each, for ten
//! minutes.
//!
//! `cargo bench -p bellhop-sim --bench whole`. All is in the time: the world that is built, its warm-up of 20 s, the promises judged at the end. The target is
//! 1,000 times real time; elements are seconds of the scenario's own time.

use std::fmt::Write;
use std::path::Path;

use bellhop_scenario::{Scenario, parse_in, play};
use bellhop_sim::SimWorld;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// How long the scenario is, in seconds.
const STOP: u64 = 600;

fn whole(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/base");
    let scenario = parse_in(&folder, &text()).expect("a scenario");
    let mut group = criterion.benchmark_group("whole program");
    group.sample_size(10);
    group.throughput(Throughput::Elements(STOP));
    group.bench_function("5 nodes and 20 clients, 600 s", |bencher| bencher.iter(|| run(&scenario)));
    group.finish();
}

/// Plays it and sees that it went well.
fn run(scenario: &Scenario) -> u64 {
    let mut world = SimWorld::new(None);
    let outcome = play(scenario, &mut world).expect("the simulator plays it");
    assert_eq!(outcome.failed(), 0, "{outcome}");
    world.trace_hash()
}

fn text() -> String {
    let mut text = format!(
        "version: 1
name: bench
about: Five nodes and twenty clients.
why: what is measured must be what is simulated
seed: 42
stop: {STOP}s
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
    text
}

criterion_group!(benches, whole);
criterion_main!(benches);
