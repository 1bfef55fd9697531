//! The tutorial as printed, and what its last step says about the wire and about the two policies.

use anyhow::{Context, Result, bail, ensure};
use bellhop_scenario::observation::ArpOperation;

use super::{ADDRESS, Policy, SAMPLES, SERVICE, answers, pods_are_ready, tutorial_runs};
use crate::kind::Proxy;
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;
use crate::kind::suite::CLIENT;

/// So often a client asks before a pod that was never hit is taken for one that cannot be: 0.5^30 is one in a thousand million.
const OFTEN: usize = 30;

/// All six steps.
pub(super) fn as_printed(case: &Case<'_>) -> Result<String> {
    // Step 1. The editor is a program here. A second run of this test finds it edited already.
    let before = case.kubectl("get configmap kube-proxy -n kube-system -o yaml")?;
    if !before.contains("strictARP: true") {
        case.edit("configmap kube-proxy -n kube-system", "strictARP: false", "strictARP: true")?;
    }
    ensure!(
        case.kubectl("get configmap kube-proxy -n kube-system -o yaml")?.contains("strictARP: true"),
        "kube-proxy's strictARP is not on"
    );
    case.kubectl("rollout restart daemonset kube-proxy -n kube-system")?;
    case.kubectl("rollout status daemonset kube-proxy -n kube-system --timeout=90s")?;

    // Step 2.
    case.kubectl("annotate --overwrite nodes master1 layer2.porter.kubesphere.io/v1alpha1=192.168.0.2")?;

    // Steps 3, 4 and 5.
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-eip.yaml"))?;
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml"))?;
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2-svc.yaml"))?;

    // Step 6.
    wait_for("the Service's row", SOON, || {
        row(&case.kubectl(&format!("get svc {SERVICE}"))?, SERVICE, &[(1, "LoadBalancer"), (3, ADDRESS)])
    })?;
    pods_are_ready(case)?;
    case.served_at(SERVICE, ADDRESS)?;
    let pools = case.kubectl("get eip")?;
    let head: Vec<&str> = pools.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(head.starts_with(&["NAME", "CIDR", "USAGE", "TOTAL"]), "the columns are {head:?}");
    row(&pools, "porter-layer2-eip", &[(1, "192.168.0.91-192.168.0.100"), (2, "1"), (3, "10")])?;
    let nodes = case.kubectl("get nodes -o wide")?;
    for address in ["192.168.0.2", "192.168.0.3", "192.168.0.4"] {
        ensure!(nodes.split_whitespace().any(|word| word == address), "no node has {address}");
    }
    let pods = case.kubectl("get po -o wide")?;
    ensure!(pods.matches("porter-layer2-").count() == 2, "there are not two pods");

    let ping = case.client(&format!("ping -c 2 -W 1 {ADDRESS}"))?;
    // Only ipvs makes the address one of the node's own; elsewhere no kernel answers for it, as everywhere with such a kube-proxy.
    let answered = if case.bench.proxy == Proxy::Ipvs { "2 received" } else { "0 received" };
    ensure!(ping.contains(answered), "ping does not say `{answered}`");
    let carrier = case.carrier(SERVICE)?;
    case.client("ip neigh")?;
    let neighbor = case.neighbor(ADDRESS)?;
    ensure!(neighbor == carrier.mac, "the client's neighbor table has {neighbor}, {} has {}", carrier.name, carrier.mac);
    reaches_two_pods(case)?;
    Ok(format!("{} carries {ADDRESS}, {} leads", carrier.name, case.leader()?.name))
}

/// The words of a row that begins with a name.
fn row(table: &str, name: &str, cells: &[(usize, &str)]) -> Result<()> {
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(name)).with_context(|| format!("no row for {name}"))?;
    let words: Vec<&str> = row.split_whitespace().collect();
    for (index, cell) in cells {
        ensure!(words.get(*index) == Some(cell), "not `{cell}`: {row}");
    }
    Ok(())
}

/// Asks until both pods have answered.
fn reaches_two_pods(case: &Case<'_>) -> Result<()> {
    let mut first = None;
    for _ in 0..OFTEN {
        let pod = answers(case, ADDRESS)?;
        if *first.get_or_insert_with(|| pod.clone()) != pod {
            return Ok(());
        }
    }
    bail!("{} answered {OFTEN} times", first.unwrap_or_default())
}

/// Step 6's note on the neighbor table, frame by frame; and what was said unasked when the address was new.
pub(super) fn answers_name_the_node_and_leave_from_the_leader(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let (carrier, leader) = (case.carrier(SERVICE)?, case.leader()?);
    for _ in 0..3 {
        case.bench.client.forget(ADDRESS.parse()?)?;
        answers(case, ADDRESS)?;
    }
    let frames = wait_for("three answers on the wire", SOON, || {
        let frames = case.frames_from(ADDRESS)?;
        let answers = frames.iter().filter(|frame| frame.operation == ArpOperation::Reply && frame.target_ip.to_string() == CLIENT).count();
        ensure!(answers >= 3, "{answers} answers");
        Ok(frames)
    })?;
    for frame in &frames {
        ensure!(frame.sender_mac.to_string() == carrier.mac, "{frame:?} does not name {}", carrier.name);
        ensure!(frame.ethernet_source.to_string() == leader.mac, "{frame:?} does not come from {}", leader.name);
    }
    let unasked = |operation| frames.iter().filter(|frame| frame.operation == operation && frame.target_ip == frame.sender_ip).count();
    let (requests, replies) = (unasked(ArpOperation::Request), unasked(ArpOperation::Reply));
    ensure!(requests > 0 && replies > 0, "unasked: {requests} requests and {replies} replies");
    Ok(format!("{} frames; unasked {requests} requests, {replies} replies", frames.len()))
}

/// Both pods, and neither sees who asks.
pub(super) fn cluster_reaches_both_pods_and_hides_the_client(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    reaches_two_pods(case)?;
    let askers = askers(case)?;
    ensure!(!askers.is_empty(), "no pod says who asked");
    ensure!(!askers.contains(&CLIENT.to_owned()), "a pod saw the client's address");
    Ok(format!("pods saw {}", askers.join(", ")))
}

/// Only the pod on the chosen node, which sees who asks.
pub(super) fn local_reaches_the_nodes_own_pod_and_shows_the_client(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Local)?;
    let carrier = case.carrier(SERVICE)?;
    let pods: Vec<String> = case.pods()?.into_iter().filter(|(_, node)| *node == carrier.name).map(|(pod, _)| pod).collect();
    ensure!(!pods.is_empty(), "{} has no pod", carrier.name);
    for body in case.curls(ADDRESS, 10)? {
        ensure!(pods.iter().any(|pod| body == format!("You've hit {pod}")), "{body:?}, but on {} are {pods:?}", carrier.name);
    }
    let askers = askers(case)?;
    ensure!(askers == [CLIENT], "pods saw {askers:?}");
    Ok(format!("{} of 2 pods on {}", pods.len(), carrier.name))
}

/// Who asked, as the pods wrote it down.
fn askers(case: &Case<'_>) -> Result<Vec<String>> {
    let logs = case.kubectl("logs -l app=porter-layer2 --tail=-1")?;
    let lines = logs.lines().filter_map(|line| line.strip_prefix("Received request from "));
    let mut askers: Vec<String> = lines.filter_map(|from| Some(from.rsplit_once(':')?.0.to_owned())).collect();
    askers.sort();
    askers.dedup();
    Ok(askers)
}
