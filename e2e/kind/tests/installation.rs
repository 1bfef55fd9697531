//! What `kubectl apply -k deploy` puts into the cluster, and what is left when `bellhop uninstall` has taken it out again.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ADDRESS, Policy, SAMPLES, SERVICE, answers, keeps_its_address, tutorial_runs};
use crate::kind::case::Case;

/// CAP_NET_RAW alone, as /proc/PID/status prints it (capability 13).
const NET_RAW: &str = "0000000000002000";

/// From an archive and a folder; then two replicas run on two nodes, each with one capability and a root that nobody can write to.
pub(super) fn as_a_user_does(case: &Case<'_>) -> Result<String> {
    case.bench.cluster.load(&case.bench.bellhop)?;
    case.kubectl("apply -k deploy")?;
    case.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=120s")?;
    let pods = case.object("pods -n bellhop-system -l app.kubernetes.io/name=bellhop")?;
    let pods = pods["items"].as_array().context("no pods")?;
    let mut nodes: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    ensure!(pods.len() == 2 && nodes.len() == 2, "{} pods on {nodes:?}", pods.len());
    for pod in pods {
        let (spec, status) = (&pod["spec"]["containers"][0], &pod["status"]["containerStatuses"][0]);
        ensure!(status["restartCount"] == 0, "{} was restarted", pod["metadata"]["name"]);
        let context = &spec["securityContext"];
        ensure!(
            context["readOnlyRootFilesystem"] == true && context["allowPrivilegeEscalation"] == false,
            "the container may do {context}"
        );
        ensure!(context["seccompProfile"]["type"] == "RuntimeDefault", "no seccomp profile");
    }
    for name in &nodes {
        let node = case.bench.cluster.node(name)?;
        let status = case.bench.cluster.on_node(node, "cat /proc/$(pgrep -x bellhop)/status")?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no capabilities")?.trim();
        ensure!(effective == NET_RAW, "the process on {name} has the capabilities {effective}");
    }
    Ok(format!("on {}", nodes.join(" and ")))
}

/// `bellhop uninstall` while the tutorial's Service is there: it stays, as its owner wrote it, and nobody answers for its address any more.
pub(super) fn nothing_is_left(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    case.bellhop("uninstall --dry-run --crds")?;
    keeps_its_address(case)?;
    answers(case, ADDRESS)?;
    case.bellhop("uninstall --yes --crds")?;
    for kind in ["crd", "clusterrole", "clusterrolebinding", "ns", "priorityclass"] {
        let names = case.kubectl(&format!("get {kind} -o name"))?;
        let ours: Vec<&str> = names.lines().filter(|name| is_ours(name)).collect();
        ensure!(ours.is_empty(), "left: {}", ours.join(", "));
    }
    ensure!(!case.kubectl("get leases -A -o name")?.lines().any(is_ours), "a Lease is left");
    let written = std::fs::read_to_string(format!("{SAMPLES}/porter-layer2-svc.yaml"))?;
    for kind in ["nodes", "svc -A", "endpointslices -A"] {
        let list = case.object(kind)?;
        for object in list["items"].as_array().into_iter().flatten() {
            let traces: Vec<String> = traces(object).into_iter().filter(|key| !written.contains(key)).collect();
            ensure!(traces.is_empty(), "{} has {}", object["metadata"]["name"], traces.join(", "));
        }
    }
    let addresses = case.addresses(SERVICE)?;
    ensure!(addresses.is_empty(), "{SERVICE} still shows {addresses:?}");
    case.bench.client.forget(ADDRESS.parse()?)?;
    let asked = case.client(&format!("arping -b -c 2 -w 2 -I eth0 {ADDRESS}"))?;
    ensure!(asked.contains("Received 0 response"), "somebody answers for {ADDRESS} of {SERVICE}");
    Ok(String::new())
}

fn is_ours(text: &str) -> bool {
    text.contains("bellhop") || text.contains("kubesphere")
}

/// Keys, finalizers and conditions on an object that are PorterLB's or ours.
fn traces(object: &Value) -> Vec<String> {
    let metadata = &object["metadata"];
    let keys = ["annotations", "labels"].into_iter().filter_map(|field| metadata[field].as_object()).flat_map(|map| map.keys().cloned());
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned));
    let conditions =
        object["status"]["conditions"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str().map(str::to_owned));
    keys.chain(finalizers).chain(conditions).filter(|it| it.contains("kubesphere.io") || it.contains("bellhop.dev")).collect()
}
