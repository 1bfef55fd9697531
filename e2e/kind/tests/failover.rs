//! Something dies.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{ADDRESS, Policy, SERVICE, answers, keeps_its_address, tutorial_runs};
use crate::kind::case::{Case, SOON};
use crate::kind::cluster::Node;
use crate::kind::patience::wait_for;

/// A node that is silent is NotReady 20 s after its last heartbeat (kind-config/three-nodes.yaml), which is looked at every 2 s; then Bellhop
/// has a second. The rest is this machine's.
const NOT_READY: Duration = Duration::from_secs(35);
/// When the leader goes too, another one first waits for its Lease of 5 s.
const NOT_READY_AND_LEASE: Duration = Duration::from_secs(45);
/// A Lease that is given back is taken at the next try, a second later at most; a pod needs a moment to end.
const HANDED_OVER: Duration = Duration::from_secs(4);

/// Another replica goes on, with the same answers.
pub(super) fn the_leaders_pod_is_deleted(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let (carrier, leader) = (case.carrier(SERVICE)?, case.leader()?);
    let (curls, questions) = (case.keep_curling(ADDRESS)?, case.keep_asking(ADDRESS)?);
    std::thread::sleep(Duration::from_secs(1));
    case.kubectl(&format!("delete pods -n bellhop-system --field-selector spec.nodeName={} --wait=false", leader.name))?;
    wait_for("another leader", SOON, || {
        let now = case.leader()?;
        ensure!(now.name != leader.name, "{} still leads", now.name);
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(5));
    let (curls, questions) = (curls.stop()?, questions.stop()?);
    keeps_its_address(case)?;
    ensure!(case.carrier(SERVICE)? == carrier, "the address has moved");
    ensure!(questions.answers() == [&carrier.mac], "answers named {:?}, and {} has {}", questions.answers(), carrier.name, carrier.mac);
    let silence = questions.longest_silence();
    ensure!(silence < HANDED_OVER, "nobody answered for {silence:?}");
    ensure!(curls.lost() == 0, "{} of {} requests were lost", curls.lost(), curls.questions());
    Ok(format!("no ARP answer for {:.1} s; 0 of {} requests lost", silence.as_secs_f64(), curls.questions()))
}

/// The address moves when Kubernetes says NotReady, and stays when the node is back.
pub(super) fn the_carrying_nodes_cable_is_cut(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let carrier = case.carrier(SERVICE)?;
    lead_elsewhere(case, &carrier)?;
    cut(case, &carrier, NOT_READY)
}

/// The same when the leader is lost too.
pub(super) fn the_leaders_cable_is_cut(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let leader = case.leader()?;
    if leader.name == "master1" {
        // Its cable is the API server's, too: that is another test's. The replica on a worker takes over.
        lead_elsewhere(case, &leader)?;
    }
    let leader = case.leader()?;
    carry_on(case, &leader)?;
    cut(case, &leader, NOT_READY_AND_LEASE)
}

/// Deletes pods of the leader until another node's leads.
fn lead_elsewhere(case: &Case<'_>, than: &Node) -> Result<()> {
    wait_for(&format!("a leader that is not on {}", than.name), 2 * SOON, || {
        let leader = case.leader()?;
        if leader.name == than.name {
            case.kubectl(&format!("delete pods -n bellhop-system --field-selector spec.nodeName={}", leader.name))?;
        }
        ensure!(leader.name != than.name, "{} leads", leader.name);
        Ok(())
    })?;
    case.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=90s").map(drop)
}

/// Deletes and makes the Service until a node carries it: ties are drawn.
fn carry_on(case: &Case<'_>, node: &Node) -> Result<()> {
    wait_for(&format!("{SERVICE} on {}", node.name), 4 * SOON, || {
        let carrier = case.carrier(SERVICE)?;
        if carrier.name != node.name {
            case.kubectl(&format!("delete svc {SERVICE}"))?;
            tutorial_runs(case, Policy::Cluster)?;
        }
        ensure!(carrier.name == node.name, "{} carries it", carrier.name);
        Ok(())
    })
}

/// Cuts the cable of the node that carries the address; everything that must follow.
fn cut(case: &Case<'_>, carrier: &Node, bound: Duration) -> Result<String> {
    let curls = case.keep_curling(ADDRESS)?;
    std::thread::sleep(Duration::from_secs(1));
    case.say(&format!("# the cable of {} is cut", carrier.name));
    case.bench.cluster.cable(carrier, false)?;
    let began = Instant::now();
    let moved = wait_for("another node", bound, || {
        let now = case.carrier(SERVICE)?;
        ensure!(now != *carrier, "{} carries the address", now.name);
        Ok(began.elapsed())
    })?;
    answers(case, ADDRESS)?;
    let second = case.carrier(SERVICE)?;
    let neighbor = case.neighbor(ADDRESS)?;
    ensure!(neighbor == second.mac, "the client's neighbor table has {neighbor}, {} has {}", second.name, second.mac);
    case.say(&format!("# the cable of {} is back", carrier.name));
    case.bench.cluster.cable(carrier, true)?;
    case.kubectl("wait --for=condition=Ready nodes --all --timeout=60s")?;
    std::thread::sleep(Duration::from_secs(5));
    let silence = curls.stop()?.longest_silence();
    ensure!(case.carrier(SERVICE)? == second, "the node that is back has pulled the address back");
    keeps_its_address(case)?;
    ensure!(silence < bound, "the client was blind for {silence:?}");
    Ok(format!("moved after {:.1} s; client blind for {:.1} s", moved.as_secs_f64(), silence.as_secs_f64()))
}
