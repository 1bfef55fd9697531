//! Bellhop is taken out of the cluster, and nothing is left of it.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{ADDRESS, Policy, SAMPLES, SERVICE, keeps_its_address, tutorial_runs};
use crate::kind::case::Case;

/// The samples go first, then what was installed; a Service that stays keeps nothing that Bellhop wrote.
pub(super) fn nothing_is_left(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    keeps_its_address(case)?;
    case.kubectl(&format!("delete -f {SAMPLES} --timeout=60s"))?;
    case.kubectl("delete -k deploy --timeout=120s")?;
    for kind in ["crd", "clusterrole", "clusterrolebinding", "ns", "priorityclass"] {
        let names = case.kubectl(&format!("get {kind} -o name"))?;
        let ours: Vec<&str> = names.lines().filter(|name| is_ours(name)).collect();
        ensure!(ours.is_empty(), "left: {}", ours.join(", "));
    }
    ensure!(!case.kubectl("get leases -A -o name")?.lines().any(is_ours), "a Lease is left");
    for kind in ["nodes", "svc -A", "endpointslices -A"] {
        let list = case.object(kind)?;
        for object in list["items"].as_array().into_iter().flatten() {
            let traces = traces(object);
            ensure!(traces.is_empty(), "{} has {}", object["metadata"]["name"], traces.join(", "));
        }
    }
    case.bench.client.forget(ADDRESS.parse()?)?;
    let asked = case.client(&format!("arping -b -c 2 -w 2 -I eth0 {ADDRESS}"))?;
    ensure!(asked.contains("Received 0 response"), "somebody answers for {ADDRESS} of {SERVICE}");
    Ok(String::new())
}

fn is_ours(text: &str) -> bool {
    text.contains("bellhop") || text.contains("kubesphere")
}

/// Keys and finalizers of ours on an object. The user's own annotation on a node is the user's.
fn traces(object: &Value) -> Vec<String> {
    let metadata = &object["metadata"];
    let keys = ["annotations", "labels"].into_iter().filter_map(|field| metadata[field].as_object()).flat_map(|map| map.keys().cloned());
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned));
    let conditions =
        object["status"]["conditions"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str().map(str::to_owned));
    let is_node = object["spec"]["podCIDR"].is_string();
    keys.chain(finalizers).chain(conditions).filter(|it| !is_node && (it.contains("kubesphere.io") || it.contains("bellhop.dev"))).collect()
}
