//! The judgement over the cluster and the installation: facts in, findings out. Objects that users make are judged in [`super::objects`].

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::facts::{Facts, Read};
use super::{Code, Finding, Options, Verdict, objects};
use Verdict::{Fine, Odd, Wrong};

/// The oldest minor version of Kubernetes with CEL in CRDs for everybody.
const MINOR_MIN: u32 = 29;

/// Judges all that applies, in the order of the codes.
pub(super) fn judge(facts: &Facts, options: &Options) -> Vec<Finding> {
    let mut findings = vec![finding(Code::ApiAnswers, answers(facts))];
    if findings.iter().any(|finding| matches!(finding.verdict, Wrong(_))) {
        return findings;
    }
    findings.push(finding(Code::ApiVersion, version(facts)));
    if options.before {
        findings.push(finding(Code::MayInstall, permissions(facts, "you may not")));
    } else {
        findings.push(finding(Code::NamespaceAdmits, namespace(facts, options)));
        findings.push(finding(Code::CrdServed, crd_served(facts)));
        if matches!(facts.crd, Ok(Some(_))) {
            findings.push(finding(Code::CrdEqual, crd_equal(facts)));
        }
        findings.push(finding(Code::Permissions, permissions(facts, "the service account may not")));
        findings.push(finding(Code::ReplicasReady, replicas(facts)));
        if matches!(facts.deployment, Ok(Some(_))) {
            findings.push(finding(Code::VersionEqual, version_equal(facts)));
        }
        findings.push(finding(Code::LeaseFresh, lease(facts)));
        if holder(facts).is_some() {
            findings.push(finding(Code::LeaderIsReplica, leader(facts)));
        }
    }
    findings.push(finding(Code::NodesCarry, objects::nodes(facts)));
    findings.push(finding(Code::ProxyArp, proxy(facts)));
    findings.push(finding(Code::PorterGone, porter(facts)));
    findings.push(finding(Code::WebhooksGone, webhooks(facts)));
    findings.push(finding(Code::NoOtherAnnouncer, others(facts)));
    if !options.before {
        findings.push(finding(Code::PoolsReady, objects::pools(facts)));
        findings.push(finding(Code::PoolsNearNodes, objects::pools_near_nodes(facts)));
        findings.push(finding(Code::ServicesAssigned, objects::assigned(facts)));
        findings.push(finding(Code::ServicesAnnounced, objects::announced(facts)));
    }
    findings
}

fn finding(code: Code, verdict: Read<Verdict>) -> Finding {
    // What may not be read is neither well nor wrong.
    Finding { code, verdict: verdict.unwrap_or_else(|why| Odd(format!("could not be read: {why}"))) }
}

fn answers(facts: &Facts) -> Read<Verdict> {
    Ok(match &facts.version {
        Ok(version) => Fine(version.git_version.clone()),
        Err(why) => Wrong(why.clone()),
    })
}

fn version(facts: &Facts) -> Read<Verdict> {
    let version = facts.version.as_ref().map_err(Clone::clone)?;
    // Some write `33+`.
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    Ok(match (version.major.as_str(), digits.parse::<u32>()) {
        ("1", Ok(minor)) if minor >= MINOR_MIN => Fine(String::new()),
        ("1", Ok(minor)) => Wrong(format!("it is 1.{minor}")),
        _ => Odd(format!("it calls itself {}.{}", version.major, version.minor)),
    })
}

fn permissions(facts: &Facts, who: &str) -> Read<Verdict> {
    if let Some((_, Err(why))) = facts.permissions.iter().find(|(_, answer)| answer.is_err()) {
        return Err(why.clone());
    }
    let refused: Vec<&str> = facts.permissions.iter().filter(|(_, answer)| *answer == Ok(false)).map(|(asked, _)| asked.as_str()).collect();
    Ok(if refused.is_empty() { Fine(String::new()) } else { Wrong(format!("{who}: {}", refused.join(", "))) })
}

fn namespace(facts: &Facts, options: &Options) -> Read<Verdict> {
    let Some(namespace) = facts.namespace.as_ref().map_err(Clone::clone)? else {
        return Ok(Wrong(format!("there is no namespace {}", options.namespace)));
    };
    let level = namespace.labels().get("pod-security.kubernetes.io/enforce").map(String::as_str);
    Ok(match level {
        Some("privileged") => Fine(String::new()),
        Some(level) => Wrong(format!("its label pod-security.kubernetes.io/enforce is {level}, which refuses hostNetwork and NET_RAW")),
        None => {
            Odd("it has no label pod-security.kubernetes.io/enforce: whether hostNetwork is let in depends on the cluster's default"
                .to_owned())
        }
    })
}

fn crd_served(facts: &Facts) -> Read<Verdict> {
    let Some(crd) = facts.crd.as_ref().map_err(Clone::clone)? else {
        return Ok(Wrong("there is none: bellhop crds | kubectl apply -f -".to_owned()));
    };
    let served: Vec<&str> = crd.spec.versions.iter().filter(|version| version.served).map(|version| version.name.as_str()).collect();
    Ok(if served.contains(&"v1alpha2") {
        Fine(served.join(", "))
    } else {
        Wrong(format!("served is {}, and not v1alpha2", served.join(", ")))
    })
}

fn crd_equal(facts: &Facts) -> Read<Verdict> {
    let found = facts.crd.as_ref().map_err(Clone::clone)?.as_ref().map(|crd| json!(crd.spec.versions));
    let ours = bellhop_api::crds().first().map(|crd| json!(crd.spec.versions));
    Ok(if found == ours {
        Fine(String::new())
    } else {
        Odd("it is another version's: bellhop crds | kubectl apply --server-side -f -".to_owned())
    })
}

fn replicas(facts: &Facts) -> Read<Verdict> {
    let Some(deployment) = facts.deployment.as_ref().map_err(Clone::clone)? else {
        return Ok(Wrong("there is no Deployment bellhop".to_owned()));
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    let pods = facts.pods.as_ref().map(Vec::as_slice).unwrap_or_default();
    let waiting: Vec<String> =
        pods.iter().filter(|pod| !is_ready(pod)).map(|pod| format!("{}: {}", pod.name_any(), why_not_ready(pod))).collect();
    let waiting = if waiting.is_empty() { String::new() } else { format!(": {}", waiting.join("; ")) };
    Ok(match ready {
        0 => Wrong(format!("none of {wanted} is ready{waiting}")),
        _ if ready < wanted => Odd(format!("{ready} of {wanted} is ready{waiting}")),
        _ if status.updated_replicas.unwrap_or(0) < wanted => Odd("a roll-out is under way".to_owned()),
        _ => Fine(format!("{ready} of {wanted}")),
    })
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

fn why_not_ready(pod: &Pod) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod = json!(pod);
    let waiting = pod
        .pointer("/status/containerStatuses/0/state/waiting")
        .map(|waiting| format!("{} {}", text(&waiting["reason"]), text(&waiting["message"])));
    let unscheduled = pod["status"]["conditions"].as_array().and_then(|conditions| {
        let found = conditions.iter().find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
        Some(text(&found["message"]))
    });
    unscheduled.or(waiting).filter(|why| !why.trim().is_empty()).unwrap_or_else(|| "not ready".to_owned()).trim().to_owned()
}

fn condition(pod: &Pod, type_: &str) -> Option<Value> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_).map(|condition| json!(condition))
}

fn version_equal(facts: &Facts) -> Read<Verdict> {
    let deployment = facts.deployment.as_ref().map_err(Clone::clone)?.as_ref();
    let found = deployment.and_then(|deployment| deployment.labels().get("app.kubernetes.io/version").cloned());
    let ours = env!("CARGO_PKG_VERSION");
    Ok(match found {
        Some(found) if found == ours => Fine(found),
        Some(found) => Odd(format!("they are of {found}, and this is {ours}")),
        None => Odd("the Deployment has no label app.kubernetes.io/version".to_owned()),
    })
}

/// Who holds the Lease.
fn holder(facts: &Facts) -> Option<String> {
    let lease = facts.lease[1].as_ref().ok()?.as_ref()?;
    lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

fn lease(facts: &Facts) -> Read<Verdict> {
    let [before, after] = [&facts.lease[0], &facts.lease[1]].map(|lease| lease.as_ref().map_err(Clone::clone));
    let (Some(before), Some(after)) = (before?, after?) else { return Ok(Wrong("there is no Lease: no replica has ever led".to_owned())) };
    let Some(holder) = holder(facts) else { return Ok(Wrong("nobody holds it".to_owned())) };
    let renewed = before.metadata.resource_version != after.metadata.resource_version;
    Ok(if renewed { Fine(holder) } else { Wrong(format!("{holder} holds it and did not renew it within two seconds")) })
}

fn leader(facts: &Facts) -> Read<Verdict> {
    let holder = holder(facts).unwrap_or_default();
    let pods = facts.pods.as_ref().map_err(Clone::clone)?;
    let on = pods.iter().find(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(holder.as_str())));
    Ok(match on {
        Some(pod) => Fine(pod.name_any()),
        None => Odd(format!("no replica of the Deployment is on {holder}: a program outside the cluster, or one that is just gone")),
    })
}

/// kube-proxy in ipvs mode puts every address of a Service on a device of each node, and each node's kernel answers ARP for it unless strictARP is on.
fn proxy(facts: &Facts) -> Read<Verdict> {
    let Some(map) = facts.proxy.as_ref().map_err(Clone::clone)? else {
        return Ok(Odd(
            "there is no ConfigMap kube-system/kube-proxy: what stands in for it must not answer ARP for the addresses".to_owned()
        ));
    };
    let text =
        map.data.as_ref().and_then(|data| data.get("config.conf")).ok_or("the ConfigMap kube-system/kube-proxy has no config.conf")?;
    let config: Value = serde_saphyr::from_str(text).map_err(|error| format!("the ConfigMap kube-system/kube-proxy: {error}"))?;
    let mode = config["mode"].as_str().unwrap_or_default();
    Ok(match mode {
        "ipvs" if config["ipvs"]["strictARP"] == true => Fine("ipvs with strictARP".to_owned()),
        "ipvs" => Wrong(
            "its mode is ipvs and strictARP is off: every node answers for every address. Set ipvs.strictARP: true and restart kube-proxy"
                .to_owned(),
        ),
        "" => Fine("iptables".to_owned()),
        mode => Fine(mode.to_owned()),
    })
}

/// Names of PorterLB's and OpenELB's programs (their `deploy/*.yaml` and charts).
const PORTERS: [&str; 5] = ["porter-manager", "porter-agent", "openelb-manager", "openelb-controller", "openelb-speaker"];

fn porter(facts: &Facts) -> Read<Verdict> {
    let workloads = facts.workloads.as_ref().map_err(Clone::clone)?;
    let found = named(workloads.iter().filter(|(_, name)| PORTERS.contains(&name.as_str())));
    Ok(if found.is_empty() { Fine(String::new()) } else { Wrong(format!("{found} serves the same Services: scale it to 0")) })
}

fn webhooks(facts: &Facts) -> Read<Verdict> {
    let webhooks = facts.webhooks.as_ref().map_err(Clone::clone)?;
    let theirs = |(name, called): &&(String, Vec<String>)| {
        name.contains("network.kubesphere.io")
            || called.iter().any(|namespace| ["porter-system", "openelb-system"].contains(&namespace.as_str()))
    };
    let found: Vec<&str> = webhooks.iter().filter(theirs).map(|(name, _)| name.as_str()).collect();
    Ok(if found.is_empty() {
        Fine(String::new())
    } else {
        Wrong(format!("{}: when nothing answers behind it, no Service or Eip can be written. Delete it", found.join(", ")))
    })
}

/// Others that answer ARP for Services, by what their own manifests call them.
fn others(facts: &Facts) -> Read<Verdict> {
    let workloads = facts.workloads.as_ref().map_err(Clone::clone)?;
    let announces = |(namespace, name): &&(String, String)| {
        (namespace == "metallb-system" && name.ends_with("speaker"))
            || name.starts_with("kube-vip")
            || name.starts_with("purelb")
            || name == "lbnodeagent"
    };
    let found = named(workloads.iter().filter(announces));
    Ok(if found.is_empty() {
        Fine(String::new())
    } else {
        Odd(format!("{found} runs: see to it that each Service is for one of them alone, by spec.loadBalancerClass"))
    })
}

fn named<'a>(workloads: impl Iterator<Item = &'a (String, String)>) -> String {
    workloads.map(|(namespace, name)| format!("{namespace}/{name}")).collect::<Vec<_>>().join(", ")
}
