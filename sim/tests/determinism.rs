//! The same scenario and seed give the same bytes and the same hash; another seed gives another run that passes too.

use std::path::Path;

use bellhop_scenario::{load, play};
use bellhop_sim::SimWorld;

/// The transcript with its checks, the trace's hash, and whether all passed.
fn played(name: &str, seed: Option<u64>) -> (String, u64, bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let scenario = load(&path).expect("the scenarios are valid");
    let mut world = SimWorld::new(seed);
    let outcome = play(&scenario, &mut world).expect("the simulator plays every scenario");
    (outcome.to_string(), world.trace_hash(), outcome.failed() == 0)
}

#[test]
fn two_runs_of_one_seed_are_the_same_to_the_byte() {
    for name in ["tutorial/tutorial-cluster.yaml", "leadership/leader-dies.yaml", "rollout/rolling-update-local.yaml"] {
        assert_eq!(played(name, None), played(name, None), "{name}");
    }
}

#[test]
fn another_seed_is_another_run_that_passes_too() {
    let (own, other) = (played("tutorial/tutorial-cluster.yaml", None), played("tutorial/tutorial-cluster.yaml", Some(7)));
    assert_ne!(own.1, other.1);
    assert!(other.2, "{}", other.0);
}

#[test]
fn a_run_before_it_in_the_same_process_changes_nothing() {
    let alone = played("pools/service-deleted.yaml", Some(3));
    played("tutorial/tutorial-local.yaml", Some(1));
    assert_eq!(played("pools/service-deleted.yaml", Some(3)), alone);
}
