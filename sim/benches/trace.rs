//! The tutorial end to end: the whole program, the cluster and the LAN. The scenario is 40 s long, the warm-up before it 20.

use std::path::Path;

use bellhop_scenario::{load, play};
use bellhop_sim::SimWorld;
use criterion::{Criterion, criterion_group, criterion_main};

fn tutorial(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/tutorial-cluster.yaml");
    let scenario = load(&path).expect("the tutorial is valid");
    let mut group = criterion.benchmark_group("simulator");
    group.sample_size(10);
    group.bench_function("the tutorial, 60 s of virtual time", |bencher| {
        bencher.iter(|| {
            let mut world = SimWorld::new(None);
            let outcome = play(&scenario, &mut world).expect("the simulator plays the tutorial");
            assert_eq!(outcome.failed(), 0);
            world.trace_hash()
        });
    });
    group.finish();
}

criterion_group!(benches, tutorial);
criterion_main!(benches);
