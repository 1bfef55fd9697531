//! What an operator does to a cluster that works.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{ADDRESS, Policy, SERVICE, answers, keeps_its_address, pods_are_ready, tutorial_runs, tutorial_runs_with};
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;
use crate::kind::probes::Asked;

/// A replica that stops gives the Lease back, and the other tries every second; two hand-overs may follow each other in one roll-out.
pub(super) const HANDED_OVER: Duration = Duration::from_secs(4);
/// Endpoints, the choice of another node, the frames, and kube-proxy's rules there: each a fraction of a second on a machine that has nothing else to do.
const MOVED: Duration = Duration::from_secs(5);

/// Cordoned nodes take no new pods; what they carry is not a pod.
pub(super) fn cordoning_moves_nothing(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let carrier = case.carrier(SERVICE)?;
    let curls = case.keep_curling(ADDRESS)?;
    for node in &case.bench.cluster.nodes {
        case.kubectl(&format!("cordon {}", node.name))?;
    }
    std::thread::sleep(Duration::from_secs(4));
    let curls = curls.stop()?;
    ensure!(case.carrier(SERVICE)? == carrier, "the address has moved");
    ensure!(curls.lost() == 0, "{} of {} requests were lost", curls.lost(), curls.questions());
    Ok(format!("0 of {} requests lost", curls.questions()))
}

/// Under Local an address follows the pods. The tutorial's end as soon as they are told to, so requests on their way there are lost.
pub(super) fn a_drained_node_hands_over_under_local(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Local)?;
    let curls = drained(case)?;
    let silence = curls.longest_silence();
    ensure!(silence < MOVED, "the client was blind for {silence:?}");
    let (lost, broken, all) = (curls.lost(), curls.broken(), curls.questions());
    Ok(format!("{lost} of {all} requests lost, {broken} of them under way; blind for {:.1} s", silence.as_secs_f64()))
}

/// A planned move loses no new connection, if the pods stay until everybody has heard of it.
pub(super) fn a_drain_loses_nothing_if_pods_answer_while_they_end(case: &Case<'_>) -> Result<String> {
    tutorial_runs_with(case, Policy::Local, "e2e/kind/manifests/ends-in-good-order.yaml")?;
    let curls = drained(case)?;
    let (new, broken, all) = (curls.lost() - curls.broken(), curls.broken(), curls.questions());
    ensure!(new == 0, "{new} of {all} new connections were lost");
    // The client has one request under way at a time. What is open when the client turns to the other node ends there: docs/limits.md.
    ensure!(broken <= 1, "{broken} of {all} connections broke, and only one can have been open when the address moved");
    Ok(format!("0 of {all} new connections lost, {broken} open ones broken"))
}

/// Drains the node that carries the tutorial's address, and lets it back; what a client saw.
fn drained(case: &Case<'_>) -> Result<Asked> {
    let carrier = case.carrier(SERVICE)?;
    let curls = case.keep_curling(ADDRESS)?;
    std::thread::sleep(Duration::from_secs(1));
    case.kubectl(&format!("drain {} --ignore-daemonsets --delete-emptydir-data --timeout=120s", carrier.name))?;
    wait_for("another node", SOON, || {
        let now = case.carrier(SERVICE)?;
        ensure!(now != carrier, "{} carries the address", now.name);
        Ok(())
    })?;
    pods_are_ready(case)?;
    answers(case, ADDRESS)?;
    let second = case.carrier(SERVICE)?;
    case.kubectl(&format!("uncordon {}", carrier.name))?;
    std::thread::sleep(Duration::from_secs(4));
    let curls = curls.stop()?;
    ensure!(case.carrier(SERVICE)? == second, "the node that is back has pulled the address back");
    keeps_its_address(case)?;
    Ok(curls)
}

/// An upgrade of Bellhop is no outage of what it serves.
pub(super) fn bellhop_is_rolled_out(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let carrier = case.carrier(SERVICE)?;
    let (curls, questions) = (case.keep_curling(ADDRESS)?, case.keep_asking(ADDRESS)?);
    case.kubectl("rollout restart deployment bellhop -n bellhop-system")?;
    case.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=150s")?;
    std::thread::sleep(Duration::from_secs(3));
    let (curls, questions) = (curls.stop()?, questions.stop()?);
    ensure!(case.carrier(SERVICE)? == carrier, "the address has moved");
    keeps_its_address(case)?;
    ensure!(questions.answers() == [&carrier.mac], "answers named {:?}, and {} has {}", questions.answers(), carrier.name, carrier.mac);
    let silence = questions.longest_silence();
    ensure!(silence < HANDED_OVER, "nobody answered for {silence:?}");
    ensure!(curls.lost() == 0, "{} of {} requests were lost", curls.lost(), curls.questions());
    Ok(format!("no ARP answer for {:.1} s; 0 of {} requests lost", silence.as_secs_f64(), curls.questions()))
}
