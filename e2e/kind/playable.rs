//! What a scenario file may ask for of a kind cluster.
//!
//! The cluster is there before the file is played: the tutorial's machines, two replicas of Bellhop where the scheduler puts them, one mode of
//! kube-proxy. What a file needs beyond is named, so that it is reported and never silently passed.

use std::collections::BTreeSet;

use bellhop_scenario::expectation::Subject;
use bellhop_scenario::feature::Feature;
use bellhop_scenario::scenario::ProxyMode;
use bellhop_scenario::{Action, CommandLine, Scenario, Target};

use super::machine::NIC;
use super::suite::Bench;
use super::{Family, Proxy};

/// What a scenario needs that the cluster is not, in phrases.
pub(crate) fn missing(scenario: &Scenario, bench: &Bench) -> Vec<String> {
    let topology = &scenario.topology;
    let has_ipv6 = bench.family == Family::Dual;
    let beyond = topology.beyond_plain().into_iter().filter(|(feature, _)| !(has_ipv6 && *feature == Feature::Ipv6));
    let mut missing: Vec<String> = beyond.map(|(_, what)| what).collect();
    if topology.segments.len() > 1 || topology.switches.len() > 1 {
        missing.push("more than one switch".to_owned());
    }
    if topology.nodes.len() != bench.cluster.nodes.len() {
        missing.push(format!("{} nodes", topology.nodes.len()));
    }
    for (name, node) in &topology.nodes {
        let there = bench.cluster.node(name).ok().map(|node| node.ip);
        if node.nics.get(NIC).map(|nic| nic.ip.addr()) != there {
            missing.push(format!("the node {name} with other addresses"));
        }
    }
    if scenario.cluster.bellhop.len() != 2 {
        missing.push("another number of replicas than the Deployment's two".to_owned());
    }
    // The scheduler spreads two pods over two workers by itself, and goes where it likes otherwise.
    let workers: Vec<_> = bench.cluster.nodes.iter().filter(|node| node.name.starts_with("worker")).map(|node| node.name.clone()).collect();
    if scenario.cluster.place.values().any(|nodes| *nodes != workers) {
        missing.push("pods on nodes of the file's choice".to_owned());
    }
    // Only ipvs makes an address one of the node's own, which then answers ping.
    let asked_for_ipvs = scenario.cluster.kube_proxy.mode == ProxyMode::Ipvs;
    if asked_for_ipvs != (bench.proxy == Proxy::Ipvs) && asks_for_pings(scenario) {
        let mode = if asked_for_ipvs { "ipvs" } else { "another than ipvs" };
        missing.push(format!("kube-proxy's mode {mode}, on which it depends whether ping is answered"));
    }
    let actions = scenario.timeline.iter().flat_map(|step| &step.actions);
    let beyond: BTreeSet<_> = actions.filter(|action| !can_do(action, scenario)).map(|action| action.key()).collect();
    missing.extend(beyond.into_iter().map(|key| format!("the action {key}")));
    missing
}

/// Whether an expectation is about answers to ping: nothing else depends on kube-proxy's mode.
fn asks_for_pings(scenario: &Scenario) -> bool {
    let is_ping =
        |action: &Action<Target>| matches!(action, Action::Run { command, .. } if matches!(command.what, CommandLine::Ping { .. }));
    let pings = |id: &String| scenario.timeline.iter().any(|step| step.id.as_ref() == Some(id) && step.actions.iter().any(is_ping));
    scenario.expect.iter().any(|expectation| match &expectation.subject {
        Subject::Ping { .. } => true,
        Subject::Output { step, .. } => pings(step),
        _ => false,
    })
}

/// What can be done to this cluster. Replicas of Bellhop are a Deployment's: one that is stopped comes back. The leader may be on the
/// control plane, and without that there is no API to look at.
fn can_do(action: &Action<Target>, scenario: &Scenario) -> bool {
    match action {
        Action::Run { on: Some(Target::Machine(machine)), .. } => scenario.topology.clients.contains_key(machine),
        Action::Run { on, .. } => on.is_none(),
        Action::Edit(_) | Action::Ping { .. } | Action::Curl { .. } => true,
        Action::NicDown { machine, nic } | Action::NicUp { machine, nic } => nic == NIC && is_a_worker(machine),
        _ => false,
    }
}

/// Not the control plane, whatever happens.
fn is_a_worker(target: &Target) -> bool {
    match target {
        Target::Machine(name) => name.starts_with("worker"),
        // kind's control plane carries no addresses.
        Target::NodeOf(_) | Target::SameAs(_) => true,
        Target::Leader => false,
    }
}
