//! Every checker is seen to fire: a bug is planted in Bellhop for each of the five promises, and that very promise is broken.
//!
//! Each situation is played without its bug first, where all is well. What follows from a broken promise may break another one: a test lists all
//! that are broken, so that a checker which fires wrongly is seen too.

use std::collections::BTreeSet;
use std::path::Path;

use bellhop_scenario::outcome::CheckKind;
use bellhop_scenario::{Outcome, Scenario, load, parse_in, play};
use bellhop_sim::{Planted, SimWorld};

const ONE_HOLDER: &str = "no address is given to two Services";
const IN_THE_POOL: &str = "no address is given from outside its pool";
const THE_NODES_MAC: &str = "Bellhop names the MAC of the Service's node";
const ASSIGNED: &str = "Bellhop answers for no address that is not assigned";
const NO_MACHINES: &str = "Bellhop speaks for no machine's own address but its own";
const CONVERGES: &str = "after the last fault every client reaches every Service";
const LEADS: &str = "Bellhop is silent until it leads";
const YIELDS: &str = "Bellhop is silent once it can know that another leads";
const CONFIRMED: &str = "Bellhop announces nothing while its leadership is unconfirmed";
const FEW_REQUESTS: &str = "requests to the API stay bounded";
const FEW_ANNOUNCEMENTS: &str = "announcements stay bounded";
const USERS: &str = "Bellhop changes nothing that the user wrote";
const MOVES: &str = "nothing that is assigned moves without a cause";

/// The tutorial's cluster and Service until `stop`, with a timeline after the Service is there.
fn situation(stop: &str, timeline: &[&str]) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
    let steps: String = timeline.iter().map(|step| format!("  - {{ {step} }}\n")).collect();
    let text = format!(
        "version: 1\nname: planted\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 42\nstop: {stop}\n\
         cluster: {{ manifests: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }}\n\
         timeline:\n  - {{ at: 0s, apply: all }}\n{steps}\
         expect:\n  - {{ what: it has an address, eventually: {{ within: 1s, after: 0s }},\n      \
         condition: {{ kind: Service, name: porter-layer2-svc, type: bellhop.dev/AddressAssigned, status: \"True\" }} }}\n"
    );
    parse_in(&folder, &text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn file(name: &str) -> Scenario {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)).expect("the scenarios are valid")
}

fn played(scenario: &Scenario, bug: Option<Planted>) -> Outcome {
    let mut world = SimWorld::new(None);
    if let Some(bug) = bug {
        world.plant(bug);
    }
    play(scenario, &mut world).expect("the simulator plays it")
}

/// Plays it without the bug, where nothing is broken, and with it, where exactly these promises are.
fn check(scenario: &Scenario, bug: Planted, broken: &[&str]) {
    let clean = played(scenario, None);
    assert_eq!(clean.exit_code(), 0, "without the bug: {clean}");
    let outcome = played(scenario, Some(bug));
    let promises = outcome.checks.iter().filter(|check| check.kind != CheckKind::Expectation);
    let found: BTreeSet<&str> = promises.map(|check| check.what.as_str()).collect();
    assert_eq!(found, broken.iter().copied().collect(), "{outcome}");
    assert_eq!(outcome.exit_code(), if broken == [CONVERGES] { 4 } else { 3 }, "{outcome}");
}

#[test]
fn a_service_that_never_gets_an_address_is_caught() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/failover");
    let text = "version: 1\nname: planted\nabout: A test.\nextends: ../base/tutorial.yaml\nseed: 42\nstop: 10s\ntimeline:\n  \
                - { at: 0s, apply: [../seed/porter-layer2-eip.yaml, ../seed/porter-layer2.yaml, ../seed/porter-layer2-svc.yaml] }\nexpect: []\n";
    let scenario = parse_in(&folder, text).unwrap_or_else(|refusal| panic!("{refusal}"));
    check(&scenario, Planted::RecordsInItsMind, &[CONVERGES]);
}

#[test]
fn one_address_on_two_services_is_caught_and_so_is_what_is_said_for_the_other() {
    let two = situation("20s", &["at: 5s, apply: ../manifests/svc-second.yaml"]);
    check(&two, Planted::OneAddressForAll, &[ONE_HOLDER, ASSIGNED]);
}

#[test]
fn an_address_from_outside_its_pool_is_caught() {
    check(&situation("20s", &[]), Planted::AddressFromElsewhere, &[IN_THE_POOL, ASSIGNED, CONVERGES]);
}

#[test]
fn a_mac_that_never_changes_is_caught_and_clients_wait_for_ever() {
    check(&file("failover/node-not-ready-mac-changes.yaml"), Planted::KeepsTheFirstMac, &[THE_NODES_MAC, CONVERGES]);
}

#[test]
fn answers_for_everything_are_caught() {
    let asked = situation("20s", &["at: 5s, machine: i-f3fozos0, run: ping -c 1 192.168.0.99"]);
    // The nodes believe that the client is where the leader is, and their answers do not come to it.
    check(&asked, Planted::AnswersForEverything, &[ASSIGNED, NO_MACHINES, CONVERGES]);
}

#[test]
fn an_address_that_falls_silent_after_a_move_is_caught() {
    let moved = situation("100s", &["at: 20s, power-off: { node-of: porter-layer2-svc }"]);
    check(&moved, Planted::SilentAfterAMove, &[CONVERGES]);
}

#[test]
fn a_standby_that_answers_is_caught() {
    let asked = situation("20s", &["at: 5s, machine: i-f3fozos0, run: ping -c 1 192.168.0.91"]);
    check(&asked, Planted::AnswersAsStandby, &[LEADS]);
}

#[test]
fn a_leader_that_does_not_yield_is_caught() {
    // It renews no more from t+15s on, and the standby takes over at t+20s. Somebody who has not asked before asks all.
    let asked = situation("50s", &["at: 40s, machine: i-f3fozos0, run: ping -c 1 192.168.0.91"]);
    check(&asked, Planted::NeverYields, &[YIELDS]);
}

#[test]
fn a_leader_that_takes_its_lease_for_granted_is_caught() {
    let cut_off = [
        "at: 10s, api: { replica: leader, silent: true, for: 30s }",
        "at: 20s, set-mac: { machine: { node-of: porter-layer2-svc }, nic: eth0, mac: \"52:54:22:00:00:01\" }",
    ];
    check(&situation("60s", &cut_off), Planted::BelievesItsLease, &[CONFIRMED]);
}

#[test]
fn a_loop_of_writes_is_caught() {
    check(&situation("20s", &[]), Planted::WritesInALoop, &[FEW_REQUESTS]);
}

#[test]
fn a_loop_of_announcements_is_caught() {
    check(&situation("20s", &[]), Planted::AnnouncesInALoop, &[FEW_ANNOUNCEMENTS]);
}

#[test]
fn a_users_annotation_that_is_cleared_away_is_caught() {
    check(&situation("20s", &[]), Planted::TidiesUp, &[USERS]);
}

#[test]
fn a_service_that_is_given_to_another_node_without_need_is_caught() {
    check(&situation("20s", &[]), Planted::Rebalances, &[MOVES]);
}
