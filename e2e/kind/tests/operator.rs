//! What somebody does who comes with a cluster: looks whether all is well, what Bellhop may do, and takes over from PorterLB.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Policy, SAMPLES, SERVICE, answers, pods_are_ready, tutorial_runs};
use crate::kind::case::{Case, SOON};
use crate::kind::patience::wait_for;

/// `bellhop check` finds nothing odd and nothing wrong while the tutorial runs.
pub(super) fn all_is_well(case: &Case<'_>) -> Result<String> {
    tutorial_runs(case, Policy::Cluster)?;
    let found = case.bellhop("check")?;
    let well = found.lines().filter(|line| line.starts_with('√')).count();
    let odd: Vec<&str> = found.lines().filter(|line| line.starts_with('‼') || line.starts_with('×')).collect();
    ensure!(odd.is_empty() && well > 0, "{}\n{found}", odd.join("; "));
    Ok(format!("{well} checks √"))
}

/// The service account may do what its own roles say and what anybody may, and nothing else. That the roles are what the program asks for is a
/// test of the program's.
pub(super) fn nothing_else_is_allowed(case: &Case<'_>) -> Result<String> {
    let list = |account: &str| -> Result<BTreeSet<String>> {
        let text = case.kubectl(&format!("auth can-i --list -n bellhop-system --as=system:serviceaccount:{account}"))?;
        Ok(text.lines().skip(1).flat_map(listed).collect())
    };
    let anybody = list("default:nobody")?;
    let may: BTreeSet<String> = list("bellhop-system:bellhop")?.difference(&anybody).cloned().collect();
    let mut said = granted(&case.object("clusterrole bellhop")?);
    said.extend(granted(&case.object("role bellhop -n bellhop-system")?));
    ensure!(may == said, "may {may:?}, and its roles say {said:?}");
    Ok(format!("{} requests", may.len()))
}

/// A line of `kubectl auth can-i --list`: `leases.coordination.k8s.io   []   [bellhop]   [get list]`. Each request by itself.
fn listed(line: &str) -> Vec<String> {
    let resource = line.split_whitespace().next().unwrap_or_default();
    let lists: Vec<&str> = line.split('[').skip(1).map(|rest| rest.split(']').next().unwrap_or_default()).collect();
    let [_, names, verbs] = lists.as_slice() else { return Vec::new() };
    verbs.split_whitespace().map(|verb| request(verb, resource, names)).collect()
}

/// What a role grants, each request by itself.
fn granted(role: &Value) -> BTreeSet<String> {
    let mut requests = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let texts = |key: &str| -> Vec<&str> { rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
        let names = texts("resourceNames").join(" ");
        for (group, resource) in texts("apiGroups").into_iter().flat_map(|group| texts("resources").into_iter().map(move |it| (group, it)))
        {
            // kubectl writes the group behind the resource and before its subresource: eips.network.kubesphere.io/status.
            let (name, subresource) = resource.split_once('/').map_or((resource, String::new()), |(name, sub)| (name, format!("/{sub}")));
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            let full = format!("{name}{group}{subresource}");
            requests.extend(texts("verbs").into_iter().map(|verb| request(verb, &full, &names)));
        }
    }
    requests
}

fn request(verb: &str, resource: &str, names: &str) -> String {
    format!("{verb} {resource} {names}").trim_end().to_owned()
}

/// The address that PorterLB's objects have: not the lowest, and shared by two Services without any key.
const LEFT: &str = "192.168.0.97";

/// Bellhop is started on what PorterLB left, and nothing moves.
pub(super) fn porterlbs_objects_are_taken_over(case: &Case<'_>) -> Result<String> {
    case.kubectl("scale deployment bellhop -n bellhop-system --replicas=0")?;
    case.kubectl("wait --for=delete pods -l app.kubernetes.io/name=bellhop -n bellhop-system --timeout=60s")?;
    let taken_over = left_and_started(case);
    case.kubectl("scale deployment bellhop -n bellhop-system --replicas=2")?;
    taken_over?;
    case.kubectl("rollout status deployment bellhop -n bellhop-system --timeout=120s")?;
    for service in [SERVICE, "shares"] {
        case.served_at(service, LEFT)?;
        wait_for("PorterLB's finalizer to go", SOON, || {
            let finalizers = &case.object(&format!("svc {service}"))?["metadata"]["finalizers"];
            ensure!(finalizers.is_null(), "{service} has {finalizers}");
            Ok(())
        })?;
    }
    let carrier = case.carrier(SERVICE)?;
    ensure!(carrier.name == "worker-p002", "{} carries it, and PorterLB had chosen worker-p002", carrier.name);
    let eip = case.object("eip porter-layer2-eip")?;
    let used = eip["status"]["used"].as_object().context("the pool has no record")?;
    ensure!(used.len() == 1 && used[LEFT] == "default/porter-layer2-svc;default/shares", "the record is {used:?}");
    answers(case, LEFT)?;
    answers(case, &format!("{LEFT}:8080"))?;
    Ok(format!("{LEFT} stays on both Services and on {}", carrier.name))
}

/// The objects as PorterLB 0.4 left them, with the status that it wrote.
fn left_and_started(case: &Case<'_>) -> Result<()> {
    case.kubectl(&format!("apply -f {SAMPLES}/porter-layer2.yaml -f scenarios/manifests/left-by-porterlb.yaml"))?;
    let record = format!(
        r#"{{"usage": 1, "poolSize": 10, "ready": true, "v4": true, "used": {{"{LEFT}": "default/porter-layer2-svc;default/shares"}}}}"#
    );
    case.patch("eip porter-layer2-eip --subresource=status", &format!(r#"{{"status": {record}}}"#))?;
    for service in [SERVICE, "shares"] {
        let status = format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{LEFT}"}}]}}}}}}"#);
        case.patch(&format!("svc {service} --subresource=status"), &status)?;
    }
    pods_are_ready(case)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kubectl_lists_and_what_a_role_says_are_written_alike() {
        let line = "leases.coordination.k8s.io                      []                                    [bellhop]        [get update]";
        let role = json!({"rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["bellhop"], "verbs": ["get", "update"]}]});
        assert_eq!(listed(line).into_iter().collect::<BTreeSet<_>>(), granted(&role));
        let line = "eips.network.kubesphere.io/status               []                                    []               [update]";
        let role = json!({"rules": [{"apiGroups": ["network.kubesphere.io"], "resources": ["eips/status"], "verbs": ["update"]}]});
        assert_eq!(listed(line).into_iter().collect::<BTreeSet<_>>(), granted(&role));
    }
}
