//! Pods and pod templates: defaults and rules.
//!
//! Follows kubernetes `pkg/apis/core/v1/defaults.go` (`SetDefaults_PodSpec` and neighbours), the admission plugins that every cluster
//! runs (ServiceAccount, Priority, DefaultTolerationSeconds; without the token volume) and `ValidatePod`, `ValidatePodUpdate`.

use serde_json::{Map, Value, json};

use crate::names::{self, NameRule};
use crate::object::{at, list, map_mut, number, set_default, set_default_text, text};
use crate::status::FieldError;

/// What a new Pod gets.
pub(crate) fn defaults(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    template_defaults(spec);
    let spec = map_mut(pod, "spec");
    set_default(spec, "enableServiceLinks", true);
    set_default_text(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    spec.insert("serviceAccount".to_owned(), account);
    set_default(spec, "priority", 0);
    set_default_text(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let Some(list) = tolerations.as_array_mut() else { continue };
        let tolerates = |toleration: &Value| {
            (toleration["key"] == key || at(toleration, &["key"]).is_none()) && matches!(text(toleration, &["effect"]), "" | "NoExecute")
        };
        if !list.iter().any(tolerates) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    let class = qos_class(&pod["spec"]);
    let status = map_mut(pod, "status");
    set_default_text(status, "phase", "Pending");
    set_default_text(status, "qosClass", class);
}

/// What a pod template's spec gets, wherever it stands.
pub(crate) fn template_defaults(spec: &mut Value) {
    let Some(map) = spec.as_object_mut() else { return };
    set_default_text(map, "restartPolicy", "Always");
    set_default_text(map, "dnsPolicy", "ClusterFirst");
    set_default_text(map, "schedulerName", "default-scheduler");
    set_default(map, "terminationGracePeriodSeconds", 30);
    set_default(map, "securityContext", json!({}));
    if let Some(account) = map.get("serviceAccountName").cloned() {
        set_default(map, "serviceAccount", account);
    }
    let host_network = map.get("hostNetwork").is_some_and(|value| value == true);
    for field in ["initContainers", "containers"] {
        let containers = map.get_mut(field).and_then(Value::as_array_mut);
        containers.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|container| container_defaults(container, host_network));
    }
    let volumes = map.get_mut("volumes").and_then(Value::as_array_mut);
    volumes.into_iter().flatten().filter_map(Value::as_object_mut).for_each(volume_defaults);
}

fn container_defaults(container: &mut Map<String, Value>, host_network: bool) {
    set_default_text(container, "terminationMessagePath", "/dev/termination-log");
    set_default_text(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !last.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    set_default_text(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    set_default(container, "resources", json!({}));
    if let Some(limits) = container["resources"].get("limits").and_then(Value::as_object).cloned() {
        let requests = map_mut(container.entry("resources").or_insert(Value::Null), "requests");
        limits.into_iter().for_each(|(name, value)| set_default(requests, &name, value));
    }
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        set_default_text(port, "protocol", "TCP");
        if let (true, Some(number)) = (host_network, port.get("containerPort").cloned()) {
            set_default(port, "hostPort", number);
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")).and_then(Value::as_object_mut) {
            set_default_text(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
        for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
            set_default(probe, key, value);
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            set_default_text(get, "path", "/");
            set_default_text(get, "scheme", "HTTP");
        }
    }
}

fn volume_defaults(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            set_default(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set_default(path, "type", "");
    }
}

/// `GetPodQOS`, over cpu and memory.
fn qos_class(spec: &Value) -> &'static str {
    let containers = || list(spec, &["containers"]).iter().chain(list(spec, &["initContainers"]));
    let has = |container: &Value, side: &str, name: &str| at(container, &["resources", side, name]).cloned();
    let names = ["cpu", "memory"];
    if containers()
        .all(|container| names.iter().all(|name| has(container, "requests", name).is_none() && has(container, "limits", name).is_none()))
    {
        return "BestEffort";
    }
    let guaranteed = containers().all(|container| {
        names
            .iter()
            .all(|name| has(container, "limits", name).is_some() && has(container, "limits", name) == has(container, "requests", name))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// Judges a new Pod.
pub(crate) fn create(pod: &Value) -> Vec<FieldError> {
    judge_spec(&pod["spec"], "spec")
}

/// Judges a change of a Pod: nearly all of its spec is fixed.
pub(crate) fn update(pod: &Value, old: &Value) -> Vec<FieldError> {
    const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let mut errors = judge_spec(&pod["spec"], "spec");
    let added_only = list(old, &["spec", "tolerations"]).iter().all(|kept| list(pod, &["spec", "tolerations"]).contains(kept));
    if fixed_part(&pod["spec"]) != fixed_part(&old["spec"]) || !added_only {
        errors.push(FieldError::forbidden("spec", FIXED));
    }
    errors
}

fn fixed_part(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for field in ["containers", "initContainers"] {
        let containers = spec.get_mut(field).and_then(Value::as_array_mut);
        containers.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|container| drop(container.remove("image")));
    }
    if let Some(map) = spec.as_object_mut() {
        ["activeDeadlineSeconds", "tolerations"].iter().for_each(|key| drop(map.remove(*key)));
    }
    spec
}

/// `ValidatePodSpec`, as far as manifests get it wrong.
pub(crate) fn judge_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let volumes: Vec<&str> = list(spec, &["volumes"]).iter().map(|volume| text(volume, &["name"])).collect();
    for (index, name) in volumes.iter().enumerate() {
        if volumes[..index].contains(name) {
            errors.push(FieldError::duplicate(format!("{path}.volumes[{index}].name"), &json!(name)));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, &[field]).iter().enumerate() {
            let path = format!("{path}.{field}[{index}]");
            let name = text(container, &["name"]);
            judge_container(container, &path, &volumes, spec["hostNetwork"] == true, &mut errors);
            if !name.is_empty() && seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &json!(name)));
            }
            seen.push(name);
        }
    }
    for (field, known) in [
        ("restartPolicy", &["Always", "OnFailure", "Never"][..]),
        ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ] {
        let given = text(spec, &[field]);
        if !known.contains(&given) {
            errors.push(FieldError::unsupported(format!("{path}.{field}"), &json!(given), known));
        }
    }
    if let Some(seconds) = number(spec, &["terminationGracePeriodSeconds"]).filter(|seconds| *seconds < 0) {
        errors.push(FieldError::invalid(
            format!("{path}.terminationGracePeriodSeconds"),
            &json!(seconds),
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(names::refuse_labels(&format!("{path}.nodeSelector"), at(spec, &["nodeSelector"])));
    errors
}

fn judge_container(container: &Value, path: &str, volumes: &[&str], host_network: bool, errors: &mut Vec<FieldError>) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        errors.extend(names::refuse(NameRule::Label, &format!("{path}.name"), name));
    }
    if text(container, &["image"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    let policy = text(container, &["imagePullPolicy"]);
    if !["Always", "IfNotPresent", "Never"].contains(&policy) {
        errors.push(FieldError::unsupported(format!("{path}.imagePullPolicy"), &json!(policy), &["Always", "IfNotPresent", "Never"]));
    }
    for (index, port) in list(container, &["ports"]).iter().enumerate() {
        let given = number(port, &["containerPort"]).unwrap_or(0);
        if !(1..=65_535).contains(&given) {
            errors.push(FieldError::invalid(
                format!("{path}.ports[{index}].containerPort"),
                &json!(given),
                "must be between 1 and 65535, inclusive",
            ));
        }
        let host = number(port, &["hostPort"]).unwrap_or(given);
        if host_network && host != given {
            errors.push(FieldError::invalid(
                format!("{path}.ports[{index}].hostPort"),
                &json!(host),
                "must match `containerPort` when `hostNetwork` is true",
            ));
        }
        let protocol = text(port, &["protocol"]);
        if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            errors.push(FieldError::unsupported(format!("{path}.ports[{index}].protocol"), &json!(protocol), &["SCTP", "TCP", "UDP"]));
        }
    }
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let volume = text(mount, &["name"]);
        if !volumes.contains(&volume) {
            let path = format!("{path}.volumeMounts[{index}].name");
            let detail = format!("Not found: {}", json!(volume));
            errors.push(FieldError { path, reason: "FieldValueNotFound", detail });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]}});
        defaults(&mut pod);
        pod
    }

    #[test]
    fn a_pod_gets_what_a_real_server_gives_it() {
        let pod = pod();
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!((&pod["status"]["phase"], &pod["status"]["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
        assert_eq!(create(&pod), []);
    }

    #[test]
    fn a_pod_may_change_its_image_and_nothing_else() {
        let old = pod();
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("nginx:2");
        assert_eq!(update(&new, &old), []);
        new["spec"]["dnsPolicy"] = json!("Default");
        assert_eq!(update(&new, &old).len(), 1);
    }
}
