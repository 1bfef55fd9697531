//! Simulated events per second with the trace hashed alone, and with trace and capture written into files: the star of simulation.md §7, a
//! hundred hosts on 48-port switches, each pinging another every ten milliseconds. The bound is a million a second with both written.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use bellhop_fabric::{Fabric, Latency, MachineConfig, PingOptions};
use bellhop_sim::trace::{Header, Machine, MachineIndex, Nic, Outputs, Places, Recorder};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};

/// Ports of a switch that take hosts; one more leads to the middle.
const HOSTS_PER_SWITCH: u8 = 47;
/// Hosts.
const HOSTS: u8 = 100;

/// The star, and who is in it.
fn star() -> (Fabric, Places) {
    let latency = Latency::between(Duration::from_micros(5), Duration::from_micros(7));
    let mut fabric = Fabric::new(42);
    let mut places = Places { switches: vec!["middle".to_owned()], ..Places::default() };
    let middle = fabric.add_switch();
    let mut edge = middle;
    let address = |host: u8| Ipv4Addr::new(192, 0, 2, host + 1);
    let mut machines = Vec::new();
    for host in 0..HOSTS {
        if host % HOSTS_PER_SWITCH == 0 {
            edge = fabric.add_switch();
            places.switches.push(format!("edge{host}"));
            fabric.connect_switches(edge, middle, latency);
        }
        let (name, mac) = (format!("host{host}"), MacAddr([2, 0, 0, 0, 0, host]));
        let machine = fabric.add_machine(MachineConfig::new(&name).nic("eth0", mac, address(host), 24));
        if let Some(nic) = fabric.nic(machine, "eth0") {
            fabric.connect(nic, edge, latency);
        }
        machines.push(machine);
        places.machines.push(Machine { name, is_node: false });
        let net = Some(IpNet::V4(Ipv4Net::new_assert(address(host), 24)));
        let machine = MachineIndex(usize::from(host));
        places.nics.push(Nic { machine, name: "eth0".to_owned(), mac, address: net, segment: "lan0".to_owned() });
    }
    for (host, machine) in (0..HOSTS).zip(machines) {
        let to = address((host + 37) % HOSTS);
        fabric.ping(machine, PingOptions { to: to.into(), interval: Duration::from_millis(10), count: None });
    }
    (fabric, places)
}

/// Writes everything into two files of a folder that goes with it.
fn recorder(folder: &tempfile::TempDir, places: Places) -> Recorder {
    let file = |name: &str| -> Box<dyn std::io::Write> {
        Box::new(BufWriter::with_capacity(256 * 1024, File::create(folder.path().join(name)).expect("a file can be made")))
    };
    let header = Header { places, ..Header::default() };
    Recorder::begin(header, Outputs { lines: Some(file("trace.jsonl")), capture: Some(file("wire.pcapng")), keep: false })
}

/// Ten simulated seconds, after one second to get to know each other.
fn trace(criterion: &mut Criterion) {
    let ready = || {
        let (mut fabric, places) = star();
        fabric.run_until(Instant::from_millis(1000));
        (fabric, places)
    };
    let until = Instant::from_millis(11_000);
    let (mut measure, _) = ready();
    let before = measure.event_count();
    measure.run_until(until);
    let mut group = criterion.benchmark_group("trace");
    group.sample_size(10);
    group.throughput(Throughput::Elements(measure.event_count() - before));
    group.bench_function("100 hosts ping, 10 s, trace hashed", |bencher| {
        bencher.iter_batched(
            ready,
            |(mut fabric, _)| {
                fabric.run_until(until);
                fabric.trace_hash()
            },
            BatchSize::LargeInput,
        );
    });
    let folder = tempfile::tempdir().expect("a folder can be made");
    group.bench_function("100 hosts ping, 10 s, trace and capture written", |bencher| {
        bencher.iter_batched(
            || {
                let (mut fabric, places) = ready();
                let recorder = Rc::new(RefCell::new(Some(recorder(&folder, places))));
                let into = Rc::clone(&recorder);
                fabric.set_sink(Box::new(move |at, event| {
                    if let Some(recorder) = &mut *into.borrow_mut() {
                        recorder.event(at, event, false);
                    }
                }));
                (fabric, recorder)
            },
            |(mut fabric, recorder)| {
                fabric.run_until(until);
                let hash = fabric.trace_hash();
                recorder.take().map(|recorder| recorder.finish(hash).expect("the files can be written").count)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, trace);
criterion_main!(benches);
