//! Simulated events per second with the trace hashed: the star of simulation.md §7, a hundred hosts on 48-port switches, each pinging
//! another every ten milliseconds.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Fabric, Latency, MachineConfig, PingOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Ports of a switch that take hosts; one more leads to the middle.
const HOSTS_PER_SWITCH: u8 = 47;

/// A star with this many hosts, all pinging.
fn star(hosts: u8) -> Fabric {
    let latency = Latency::between(Duration::from_micros(5), Duration::from_micros(7));
    let mut fabric = Fabric::new(42);
    let middle = fabric.add_switch();
    let mut edge = middle;
    let address = |host: u8| Ipv4Addr::new(192, 0, 2, host + 1);
    let mut machines = Vec::new();
    for host in 0..hosts {
        if host % HOSTS_PER_SWITCH == 0 {
            edge = fabric.add_switch();
            fabric.connect_switches(edge, middle, latency);
        }
        let mac = MacAddr([2, 0, 0, 0, 0, host]);
        let machine = fabric.add_machine(MachineConfig::new(&format!("host{host}")).nic("eth0", mac, address(host), 24));
        if let Some(nic) = fabric.nic(machine, "eth0") {
            fabric.connect(nic, edge, latency);
        }
        machines.push(machine);
    }
    for (host, machine) in (0..hosts).zip(machines) {
        let to = address((host + 37) % hosts);
        fabric.ping(machine, PingOptions { to, interval: Duration::from_millis(10), count: None });
    }
    fabric
}

/// Ten simulated seconds, after one second to get to know each other.
fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fabric");
    group.sample_size(10);
    for hosts in [10, 100] {
        let mut measure = star(hosts);
        measure.run_until(Instant::from_millis(1000));
        let before = measure.event_count();
        measure.run_until(Instant::from_millis(11_000));
        group.throughput(Throughput::Elements(measure.event_count() - before));
        group.bench_function(format!("{hosts} hosts ping, 10 s, trace hashed"), |bencher| {
            bencher.iter_batched(
                || {
                    let mut fabric = star(hosts);
                    fabric.run_until(Instant::from_millis(1000));
                    fabric
                },
                |mut fabric| {
                    fabric.run_until(Instant::from_millis(11_000));
                    fabric.trace_hash()
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
