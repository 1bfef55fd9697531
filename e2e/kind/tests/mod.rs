//! The tests, in the order in which they are played.
//!
//! Each tells in its name what must hold, and returns what else is worth knowing: mostly how long something took.

mod failover;
mod leaving;
mod operations;
mod pools;
mod tutorial;

use anyhow::{Result, ensure};

use super::Family;
use super::case::{Case, SOON};
use super::patience::wait_for;
use super::suite::Bench;

/// A test.
pub(crate) struct Test {
    /// What is typed to run it alone.
    pub(crate) name: &'static str,
    /// Why it cannot be played on a bench, if so.
    pub(crate) beyond: fn(&Bench) -> Option<&'static str>,
    pub(crate) play: fn(&Case<'_>) -> Result<String>,
    /// What it changes stays changed.
    pub(crate) is_last: bool,
}

/// All of them.
pub(crate) const TESTS: [Test; 13] = [
    ipv4("tutorial", tutorial::as_printed),
    ipv4("wire", tutorial::answers_name_the_node_and_leave_from_the_leader),
    ipv4("cluster-policy", tutorial::cluster_reaches_both_pods_and_hides_the_client),
    ipv4("local-policy", tutorial::local_reaches_the_nodes_own_pod_and_shows_the_client),
    ipv4("pool-grows-and-shrinks", pools::a_pool_grows_and_shrinks),
    ipv4("pending-says-why", pools::a_pending_service_says_why),
    ipv4("leader-pod-deleted", failover::the_leaders_pod_is_deleted),
    ipv4("cordon", operations::cordoning_moves_nothing),
    ipv4("drain-local", operations::a_drained_node_hands_over_under_local),
    ipv4("rollout-of-bellhop", operations::bellhop_is_rolled_out),
    ipv4("cable-cut", failover::the_carrying_nodes_cable_is_cut),
    ipv4("leaders-cable-cut", failover::the_leaders_cable_is_cut),
    Test { is_last: true, ..ipv4("uninstall", leaving::nothing_is_left) },
];

/// A test of IPv4 addresses.
const fn ipv4(name: &'static str, play: fn(&Case<'_>) -> Result<String>) -> Test {
    Test { name, beyond: needs_ipv4, play, is_last: false }
}

fn needs_ipv4(bench: &Bench) -> Option<&'static str> {
    (bench.family == Family::Ipv6).then_some("the cluster has no IPv4")
}

/// The tutorial's names, and the first address of its pool.
const SERVICE: &str = "porter-layer2-svc";
const ADDRESS: &str = "192.168.0.91";
const SAMPLES: &str = "deploy/samples";

/// What `externalTrafficPolicy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Cluster,
    Local,
}

/// Steps 3 to 5, until the Service is served at its address and both pods are ready.
fn tutorial_runs(case: &Case<'_>, policy: Policy) -> Result<()> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-eip.yaml -f {SAMPLES}/porter-layer2.yaml"))?;
    pods_are_ready(case)?;
    let service = match policy {
        Policy::Cluster => format!("{SAMPLES}/porter-layer2-svc.yaml"),
        Policy::Local => "scenarios/manifests/svc-local.yaml".to_owned(),
    };
    case.kubectl(&format!("apply -f {service}"))?;
    case.served_at(SERVICE, ADDRESS)?;
    answers(case, ADDRESS).map(drop)
}

/// Waits until both pods are ready.
fn pods_are_ready(case: &Case<'_>) -> Result<()> {
    case.kubectl("rollout status deployment porter-layer2 --timeout=90s").map(drop)
}

/// Waits until a pod answers the client; its name.
fn answers(case: &Case<'_>, address: &str) -> Result<String> {
    wait_for(&format!("an answer from {address}"), SOON, || {
        let body = case.client(&format!("curl -s -m 2 {address}"))?;
        let pod = body.trim().strip_prefix("You've hit ").map(str::to_owned);
        pod.ok_or_else(|| anyhow::anyhow!("curl printed {body:?}"))
    })
}

/// The Service is where it was, under the same address.
fn keeps_its_address(case: &Case<'_>) -> Result<()> {
    let addresses = case.addresses(SERVICE)?;
    ensure!(addresses == [ADDRESS.parse::<std::net::IpAddr>()?], "the Service has {addresses:?}");
    Ok(())
}
