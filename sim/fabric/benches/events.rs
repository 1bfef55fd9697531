//! Simulated events per second with the trace hashed: the star of simulation.md §7, hosts on 48-port switches, each pinging another every ten
//! milliseconds; and a storm, counted by what it delivers.
//!
//! `cargo bench -p bellhop-fabric --bench events`. Wall time on whatever machine this is: compare ratios, not figures of different runs.
//! The cost per event at 1,000 hosts should be within twice that at 10.

use std::time::Duration;

use bellhop_core::time::Instant;
use bellhop_fabric::Fabric;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod star;
use star::{flooded, star};

/// One simulated second, after half of one to get to know each other.
fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fabric");
    group.sample_size(10);
    for hosts in [10, 100, 1000] {
        measure(&mut group, &format!("{hosts} hosts ping, 1 s, trace hashed"), || star(hosts));
    }
    for hosts in [25, 1000] {
        measure(&mut group, &format!("10,000 broadcasts a second at {hosts} hosts, 1 s"), || flooded(hosts, 10_000));
    }
    group.finish();
}

fn measure(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>, name: &str, build: impl Fn() -> Fabric) {
    let begin = Instant::from_millis(500);
    let end = begin + Duration::from_secs(1);
    let ready = || {
        let mut fabric = build();
        fabric.run_until(begin);
        fabric
    };
    let mut measured = ready();
    let before = measured.event_count();
    measured.run_until(end);
    group.throughput(Throughput::Elements(measured.event_count() - before));
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            ready,
            |mut fabric| {
                fabric.run_until(end);
                // Handed back whole, so that taking it apart is not measured.
                (fabric.trace_hash(), fabric)
            },
            criterion::BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, events);
criterion_main!(benches);
