//! Strategic merge patch: lists of the core kinds merge by a key instead of being replaced.
//!
//! Follows k8s.io/apimachinery `pkg/util/strategicpatch`: the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList` and
//! `$setElementOrder`, and the `patchMergeKey` tags of the API types ([`merge_rule`]). Custom kinds have no such tags: a real server
//! answers 415, and so does `patch`.

use serde_json::{Map, Value};

use crate::status::ApiError;

const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Changes `target`, an object of the built-in kind `kind`, by `patch`. Errors: 400 for a malformed directive, 500 for an element without
/// its key.
pub(crate) fn merge(kind: &str, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let (Some(map), Some(patch)) = (target.as_object_mut(), patch.as_object()) else { return Ok(()) };
    merge_map(kind, "", map, patch)
}

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// A set of primitives.
    Set,
    /// A map by this key.
    Keyed(&'static str),
}

/// How the list at this path of field names merges, for a built-in kind.
pub(crate) fn list_kind(kind: &str, names: &[String]) -> ListKind {
    let name = |from_end: usize| names.len().checked_sub(from_end).map_or("", |position| names[position].as_str());
    merge_rule(kind, name(2), name(1))
}

/// The `patchStrategy` and `patchMergeKey` tags of k8s.io/api, by kind, the list's field and the field that holds it.
fn merge_rule(kind: &str, parent: &str, field: &str) -> ListKind {
    match (parent, field) {
        ("metadata", "finalizers") => ListKind::Set,
        ("metadata", "ownerReferences") => ListKind::Keyed("uid"),
        ("spec", "finalizers") => ListKind::Atomic,
        ("spec", "podCIDRs") => ListKind::Set,
        ("spec", "ports") if kind == "Service" => ListKind::Keyed("port"),
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => ListKind::Keyed("containerPort"),
        ("containers" | "initContainers" | "ephemeralContainers", "env") => ListKind::Keyed("name"),
        ("containers" | "initContainers" | "ephemeralContainers", "volumeMounts") => ListKind::Keyed("mountPath"),
        ("containers" | "initContainers" | "ephemeralContainers", "volumeDevices") => ListKind::Keyed("devicePath"),
        (
            "spec",
            "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "imagePullSecrets" | "resourceClaims" | "schedulingGates",
        ) => ListKind::Keyed("name"),
        ("spec", "hostAliases") => ListKind::Keyed("ip"),
        ("spec", "topologySpreadConstraints") => ListKind::Keyed("topologyKey"),
        ("status", "conditions") if kind != "CustomResourceDefinition" => ListKind::Keyed("type"),
        ("status", "addresses") if kind == "Node" => ListKind::Keyed("type"),
        ("status", "podIPs" | "hostIPs") => ListKind::Keyed("ip"),
        ("", "secrets") => ListKind::Keyed("name"),
        _ => ListKind::Atomic,
    }
}

/// The same tags by type, as the OpenAPI documents carry them (`x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`): kubectl
/// computes the patches of `kubectl apply` from them. An empty key is a strategy without one.
const TAGS: [(&str, &str, &str, &str); 27] = [
    ("meta.v1.ObjectMeta", "finalizers", "merge", ""),
    ("meta.v1.ObjectMeta", "ownerReferences", "merge", "uid"),
    ("core.v1.ServiceSpec", "ports", "merge", "port"),
    ("core.v1.ServiceStatus", "conditions", "merge", "type"),
    ("core.v1.PodSpec", "containers", "merge", "name"),
    ("core.v1.PodSpec", "initContainers", "merge", "name"),
    ("core.v1.PodSpec", "ephemeralContainers", "merge", "name"),
    ("core.v1.PodSpec", "volumes", "merge,retainKeys", "name"),
    ("core.v1.PodSpec", "imagePullSecrets", "merge", "name"),
    ("core.v1.PodSpec", "hostAliases", "merge", "ip"),
    ("core.v1.PodSpec", "topologySpreadConstraints", "merge", "topologyKey"),
    ("core.v1.PodSpec", "schedulingGates", "merge", "name"),
    ("core.v1.PodSpec", "resourceClaims", "merge,retainKeys", "name"),
    ("core.v1.PodStatus", "conditions", "merge", "type"),
    ("core.v1.PodStatus", "podIPs", "merge", "ip"),
    ("core.v1.PodStatus", "hostIPs", "merge", "ip"),
    ("core.v1.Container", "ports", "merge", "containerPort"),
    ("core.v1.Container", "env", "merge", "name"),
    ("core.v1.Container", "volumeMounts", "merge", "mountPath"),
    ("core.v1.Container", "volumeDevices", "merge", "devicePath"),
    ("core.v1.NodeSpec", "podCIDRs", "merge", ""),
    ("core.v1.NodeStatus", "addresses", "merge", "type"),
    ("core.v1.NodeStatus", "conditions", "merge", "type"),
    ("core.v1.NamespaceStatus", "conditions", "merge", "type"),
    ("core.v1.ServiceAccount", "secrets", "merge", "name"),
    ("apps.v1.DeploymentSpec", "strategy", "retainKeys", ""),
    ("apps.v1.DeploymentStatus", "conditions", "merge", "type"),
];

/// Writes the tags into OpenAPI schemas, given by name.
pub(crate) fn tag(schemas: &mut Map<String, Value>) {
    for (of, field, strategy, key) in TAGS {
        let suffix = format!(".{of}");
        let named = schemas.iter_mut().find(|(name, _)| name.ends_with(&suffix));
        let Some(property) = named.and_then(|(_, schema)| schema.get_mut("properties")?.get_mut(field)?.as_object_mut()) else { continue };
        property.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
        if !key.is_empty() {
            property.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
        }
    }
}

fn merge_map(kind: &str, parent: &str, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), ApiError> {
    match patch.get("$patch").map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => target.clear(),
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(ApiError::plain(format!("unknown patch type found: {other}"))),
    }
    if let Some(kept) = patch.get("$retainKeys") {
        let kept = kept.as_array().ok_or_else(|| ApiError::bad_request("invalid patch format of retainKeys"))?;
        target.retain(|key, _| kept.iter().any(|keep| keep == key));
    }
    for (key, values) in patch.iter().filter_map(|(key, value)| Some((key.strip_prefix(DELETE_FROM)?, value))) {
        let values = values.as_array().ok_or_else(|| ApiError::bad_request("invalid patch format of primitive list"))?;
        if let Some(list) = target.get_mut(key).and_then(Value::as_array_mut) {
            list.retain(|value| !values.contains(value));
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        merge_field(kind, parent, key, target, value)?;
    }
    for (key, wanted) in patch.iter().filter_map(|(key, value)| Some((key.strip_prefix(ORDER)?, value))) {
        let wanted = wanted.as_array().ok_or_else(|| ApiError::bad_request("invalid patch format of setElementOrder list"))?;
        if let Some(list) = target.get_mut(key).and_then(Value::as_array_mut) {
            order(list, wanted, merge_rule(kind, parent, key));
        }
    }
    Ok(())
}

fn merge_field(kind: &str, parent: &str, key: &str, target: &mut Map<String, Value>, patch: &Value) -> Result<(), ApiError> {
    match patch {
        Value::Null => drop(target.remove(key)),
        Value::Object(patch) => {
            let entry = target.entry(key).or_insert(Value::Null);
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            let Some(map) = entry.as_object_mut() else { return Ok(()) };
            merge_map(kind, key, map, patch)?;
            if patch.get("$patch").is_some_and(|directive| directive == "delete") {
                target.remove(key);
            }
        }
        Value::Array(patch) => {
            let entry = target.entry(key).or_insert(Value::Null);
            if !entry.is_array() {
                *entry = Value::Array(Vec::new());
            }
            let Some(list) = entry.as_array_mut() else { return Ok(()) };
            match merge_rule(kind, parent, key) {
                ListKind::Atomic => *list = patch.clone(),
                ListKind::Set => patch.iter().for_each(|value| {
                    if !list.contains(value) {
                        list.push(value.clone());
                    }
                }),
                ListKind::Keyed(merge_key) => merge_list(kind, key, merge_key, list, patch)?,
            }
        }
        primitive => drop(target.insert(key.to_owned(), primitive.clone())),
    }
    Ok(())
}

fn merge_list(kind: &str, field: &str, merge_key: &str, list: &mut Vec<Value>, patch: &[Value]) -> Result<(), ApiError> {
    let directs = |item: &Value, directive: &str| item.get("$patch").is_some_and(|found| found == directive);
    // The list is then the patch's as it is, also where elements have one key (mergeSliceWithSpecialElements).
    if patch.iter().any(|item| directs(item, "replace")) {
        *list = patch.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
        return Ok(());
    }
    for item in patch {
        let Some(map) = item.as_object() else {
            return Err(ApiError::bad_request(format!("invalid element of {field}: not an object")));
        };
        let Some(wanted) = map.get(merge_key) else {
            return Err(ApiError::plain(format!("map: {item} does not contain declared merge key: {merge_key}")));
        };
        let found = list.iter().position(|old| old.get(merge_key) == Some(wanted));
        if directs(item, "delete") {
            list.retain(|old| old.get(merge_key) != Some(wanted));
            continue;
        }
        let index = found.unwrap_or_else(|| {
            list.push(Value::Object(Map::new()));
            list.len() - 1
        });
        if let Some(old) = list.get_mut(index).and_then(Value::as_object_mut) {
            merge_map(kind, field, old, map)?;
        }
    }
    Ok(())
}

/// Elements that the patch names come in its order; those it does not name keep their place relative to their old neighbours.
fn order(list: &mut Vec<Value>, wanted: &[Value], rule: ListKind) {
    let identity = |value: &Value| match rule {
        ListKind::Keyed(key) => value.get(key).cloned().unwrap_or(Value::Null),
        _ => value.clone(),
    };
    let rank = |value: &Value| wanted.iter().position(|named| identity(named) == identity(value));
    let (mut named, unnamed): (Vec<_>, Vec<_>) = std::mem::take(list).into_iter().enumerate().partition(|(_, value)| rank(value).is_some());
    named.sort_by_key(|(_, value)| rank(value));
    let mut unnamed = unnamed.into_iter().peekable();
    for (index, value) in named {
        while let Some((_, before)) = unnamed.next_if(|(other, _)| *other < index) {
            list.push(before);
        }
        list.push(value);
    }
    list.extend(unnamed.map(|(_, value)| value));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(kind: &str, mut object: Value, patch: &Value) -> Value {
        merge(kind, &mut object, patch).expect("the patch fits");
        object
    }

    #[test]
    fn a_list_that_is_replaced_keeps_two_elements_of_one_key() {
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.9"}]}});
        let two = [json!({"type": "InternalIP", "address": "192.168.0.3"}), json!({"type": "InternalIP", "address": "2001:db8::3"})];
        let patch = json!({"status": {"addresses": [two[0], two[1], {"$patch": "replace"}]}});
        assert_eq!(patched("Node", node, &patch)["status"]["addresses"], json!(two));
    }

    #[test]
    fn containers_merge_by_name_and_their_ports_by_number() {
        let old = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b"}]}}}});
        let patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "2", "ports": [{"containerPort": 81}]}]}}}});
        let containers = json!([{"name": "a", "image": "2", "ports": [{"containerPort": 80}, {"containerPort": 81}]}, {"name": "b"}]);
        assert_eq!(patched("Deployment", old, &patch)["spec"]["template"]["spec"]["containers"], containers);
    }

    #[test]
    fn elements_are_deleted_and_ordered_as_the_directives_say() {
        let old = json!({"spec": {"ports": [{"port": 80}, {"port": 81}, {"port": 82}]}});
        let patch = json!({"spec": {"$setElementOrder/ports": [{"port": 90}, {"port": 80}], "ports": [{"port": 81, "$patch": "delete"}, {"port": 90, "name": "new"}]}});
        let ports = patched("Service", old, &patch)["spec"]["ports"].clone();
        assert_eq!(ports, json!([{"port": 82}, {"port": 90, "name": "new"}, {"port": 80}]));
    }

    #[test]
    fn finalizers_are_a_set_and_the_service_status_is_replaced() {
        let old = json!({"metadata": {"finalizers": ["a", "b"]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}]}},
        });
        let new = json!({"metadata": {"finalizers": ["b", "c"]}, "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}]}}});
        assert_eq!(patched("Service", old, &patch), new);
    }

    #[test]
    fn every_tag_is_in_the_openapi_schemas() {
        for (of, field, strategy, _) in TAGS {
            let schemas = crate::schema::components();
            let (_, schema) = schemas.iter().find(|(name, _)| name.ends_with(&format!(".{of}"))).expect("the type is served");
            assert_eq!(schema["properties"][field]["x-kubernetes-patch-strategy"], strategy, "{of}.{field}");
        }
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let old = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(patched("Deployment", old, &patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    }
}
