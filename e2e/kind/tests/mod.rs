//! The tests, in the order in which they are played.
//!
//! Each tells in its name what must hold, and returns what else is worth knowing: mostly how long something took.

mod failover;
mod families;
mod installation;
mod operations;
mod operator;
mod pools;
mod tutorial;
mod upgrade;

use std::path::Path;

use anyhow::{Result, ensure};
use bellhop_scenario::{Scenario, World};

use super::Family;
use super::case::{Case, SOON};
use super::patience::wait_for;
use super::suite::Bench;
use super::world::KindWorld;

/// Families of addresses that a test needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Needs {
    Nothing,
    Ipv4,
    Ipv6,
    Both,
}

impl Needs {
    /// What of it a cluster lacks.
    fn lacking(self, family: Family) -> Option<String> {
        let lacks = match self {
            Self::Nothing => false,
            Self::Ipv4 => family == Family::Ipv6,
            Self::Ipv6 => family == Family::Ipv4,
            Self::Both => family != Family::Dual,
        };
        lacks.then(|| format!("the cluster's family is {family}"))
    }
}

/// A test.
pub(crate) struct Test {
    /// What is typed to run it alone.
    pub(crate) name: String,
    needs: Needs,
    pub(crate) play: Play,
    pub(crate) place: Place,
}

/// What tests share is a cluster with Bellhop in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It installs Bellhop: no test without it.
    First,
    Any,
    /// What it changes stays changed.
    Last,
}

/// A test that is written here: what it has to say about how it went.
type Written = fn(&Case<'_>) -> Result<String>;

/// How a test is played.
pub(crate) enum Play {
    /// It is written here.
    Test(Written),
    /// It is a scenario file.
    File(Box<Scenario>),
}

/// Scenario files that are played unless others are named, which is a matter of time: they run in real time. The rest is playable, or says why not.
const FILES: [&str; 6] =
    ["address-shared", "address-taken", "iptables-mode-ping-unanswered", "load-balancer-ip", "tutorial-ipv6", "tutorial-local"];

/// All tests that are written here, and the families that they need.
const TESTS: [(&str, Needs, Written); 19] = [
    ("tutorial", Needs::Ipv4, tutorial::as_printed),
    ("wire", Needs::Ipv4, tutorial::answers_name_the_node_and_leave_from_the_leader),
    ("check", Needs::Ipv4, operator::all_is_well),
    ("permissions", Needs::Nothing, operator::nothing_else_is_allowed),
    ("cluster-policy", Needs::Ipv4, tutorial::cluster_reaches_both_pods_and_hides_the_client),
    ("local-policy", Needs::Ipv4, tutorial::local_reaches_the_nodes_own_pod_and_shows_the_client),
    ("ipv6", Needs::Ipv6, families::the_tutorial_in_ipv6),
    ("both-families", Needs::Both, families::an_address_of_each_family),
    ("pool-grows-and-shrinks", Needs::Ipv4, pools::a_pool_grows_and_shrinks),
    ("pending-says-why", Needs::Ipv4, pools::a_pending_service_says_why),
    ("from-porterlb", Needs::Ipv4, operator::porterlbs_objects_are_taken_over),
    ("leader-pod-deleted", Needs::Ipv4, failover::the_leaders_pod_is_deleted),
    ("cordon", Needs::Ipv4, operations::cordoning_moves_nothing),
    ("drain-local", Needs::Ipv4, operations::a_drained_node_hands_over_under_local),
    ("drain-local-in-good-order", Needs::Ipv4, operations::a_drain_loses_nothing_if_pods_answer_while_they_end),
    ("rollout-of-bellhop", Needs::Ipv4, operations::bellhop_is_rolled_out),
    ("upgrade", Needs::Nothing, upgrade::from_the_version_before_and_back),
    ("cable-cut", Needs::Ipv4, failover::the_carrying_nodes_cable_is_cut),
    ("leaders-cable-cut", Needs::Ipv4, failover::the_leaders_cable_is_cut),
];

/// All tests in order: those that are written here, those that are scenario files, and the one that leaves nothing.
pub(crate) fn all(scenarios: &Path) -> Result<Vec<Test>> {
    let test = |name: &str, needs, play| Test { name: name.to_owned(), needs, play, place: Place::Any };
    let install = test("install", Needs::Nothing, Play::Test(installation::as_a_user_does));
    let mut tests = vec![Test { place: Place::First, ..install }];
    tests.extend(TESTS.into_iter().map(|(name, needs, play)| test(name, needs, Play::Test(play))));
    for file in bellhop_scenario::files(scenarios)? {
        let scenario = bellhop_scenario::load(&file).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        tests.push(test(&scenario.name.clone(), Needs::Ipv4, Play::File(Box::new(scenario))));
    }
    tests.push(Test { place: Place::Last, ..test("uninstall", Needs::Ipv4, Play::Test(installation::nothing_is_left)) });
    Ok(tests)
}

impl Test {
    /// Whether it is played when none is named.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self.play, Play::Test(_)) || FILES.contains(&self.name.as_str())
    }

    /// Why it cannot be played on a bench, if so.
    pub(crate) fn beyond(&self, bench: &Bench) -> Option<String> {
        if let Some(lacking) = self.needs.lacking(bench.family) {
            return Some(lacking);
        }
        match &self.play {
            Play::Test(_) => None,
            Play::File(scenario) => {
                KindWorld::new(bench, &bench.out).supports(scenario).err().map(|unplayable| unplayable.missing.join("; "))
            }
        }
    }
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
    tutorial_runs_with(case, policy, &format!("{SAMPLES}/porter-layer2.yaml"))
}

/// The same with another Deployment of this name.
fn tutorial_runs_with(case: &Case<'_>, policy: Policy, deployment: &str) -> Result<()> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-eip.yaml -f {deployment}"))?;
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
        let body = case.early_curl(address)?;
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
