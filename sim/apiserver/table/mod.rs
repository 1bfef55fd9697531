//! What `kubectl get` shows: `meta.k8s.io/v1` Tables with the columns of the real printers, and their rendering as text.
//!
//! The columns and cells are those of kubernetes `pkg/printers/internalversion/printers.go`, for custom kinds those of the CRD
//! (apiextensions-apiserver `pkg/registry/customresource/tableconvertor`). Ages are counted from the given time; the layout is `print`'s.

mod age;
mod core;
mod custom;
mod other;
mod pod;
mod print;
mod workload;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::{list, text};
use crate::read::Listed;
use crate::registry::Kind;

/// One column: its header, its OpenAPI type and whether only `-o wide` shows it.
struct Column {
    name: String,
    column_type: String,
    format: String,
    description: String,
    /// 0 is always shown, 1 only by `-o wide`.
    priority: i64,
}

/// A list as a Table; `include` is the query's includeObject ("" is Metadata).
pub(crate) fn of_list(kind: &Kind, listed: &Listed, now: Timestamp, include: &str) -> Value {
    of(kind, listed.items.iter().map(|object| &**object), listed.metadata(), now, include)
}

/// One object as a Table with one row.
pub(crate) fn of_object(kind: &Kind, object: &Value, now: Timestamp, include: &str) -> Value {
    let metadata = json!({"resourceVersion": crate::object::resource_version(object)});
    of(kind, std::iter::once(object), metadata, now, include)
}

/// meta.k8s.io/v1 PartialObjectMetadata.
pub(crate) fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// `metav1.LabelSelector` as text: `a=b,c in (d)`; empty for an empty one.
pub(crate) fn selector_text(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<(String, String)> =
        labels.map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default()))).collect();
    for expression in list(selector, &["matchExpressions"]) {
        let key = text(expression, &["key"]);
        let mut values: Vec<&str> = list(expression, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort();
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

/// What `kubectl get` prints; `namespaces` adds the NAMESPACE column of `--all-namespaces`.
pub(crate) fn print(kind: &Kind, objects: &[Arc<Value>], now: Timestamp, wide: bool, namespaces: bool) -> String {
    let table = of(kind, objects.iter().map(|object| &**object), json!({}), now, "Metadata");
    print::render(&table, wide, namespaces)
}

fn of<'a>(kind: &Kind, objects: impl Iterator<Item = &'a Value>, metadata: Value, now: Timestamp, include: &str) -> Value {
    let columns: Vec<Value> = columns(kind)
        .into_iter()
        .map(|column| {
            json!({
                "name": column.name, "type": column.column_type, "format": column.format, "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    let row = |object: &Value| {
        let shown = match include {
            "Object" => object.clone(),
            "None" => Value::Null,
            _ => partial_metadata(object),
        };
        json!({"cells": cells(kind, object, now), "object": shown})
    };
    let rows: Vec<Value> = objects.map(row).collect();
    // Go's nil, where no printer made a list.
    let rows = if rows.is_empty() && kind.kind == "CustomResourceDefinition" { Value::Null } else { json!(rows) };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

fn columns(kind: &Kind) -> Vec<Column> {
    if let Some(custom) = &kind.custom {
        return custom::columns(custom);
    }
    match kind.kind.as_str() {
        "Namespace" => spelled("Name,Status,Age"),
        "Node" => spelled("Name,Status,Roles,Age,Version,Internal-IP+,External-IP+,OS-Image+,Kernel-Version+,Container-Runtime+"),
        "Pod" => spelled("Name,Ready,Status,Restarts,Age,IP+,Node+,Nominated Node+,Readiness Gates+"),
        "Service" => spelled("Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector+"),
        "ConfigMap" => spelled("Name,Data,Age"),
        "Secret" => spelled("Name,Type,Data,Age"),
        "ServiceAccount" => spelled("Name,Age"),
        "Endpoints" => spelled("Name,Endpoints,Age"),
        "Event" => spelled("Last Seen,Type,Reason,Object,Subobject+,Source+,Message,First Seen+,Count+,Name+"),
        "Deployment" => spelled("Name,Ready,Up-to-date,Available,Age,Containers+,Images+,Selector+"),
        "ReplicaSet" => spelled("Name,Desired#,Current#,Ready#,Age,Containers+,Images+,Selector+"),
        "DaemonSet" => spelled("Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age,Containers+,Images+,Selector+"),
        "EndpointSlice" => spelled("Name,AddressType,Ports,Endpoints,Age"),
        "Lease" => spelled("Name,Holder,Age"),
        "RoleBinding" | "ClusterRoleBinding" => spelled("Name,Role,Age,Users+,Groups+,ServiceAccounts+"),
        _ => spelled("Name,Created At@"),
    }
}

fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(custom) = &kind.custom {
        return custom::cells(custom, object, now);
    }
    match kind.kind.as_str() {
        "Namespace" => core::namespace(object, now),
        "Node" => core::node(object, now),
        "Pod" => pod::cells(object, now),
        "Service" => core::service(object, now),
        "ConfigMap" => core::config_map(object, now),
        "Secret" => core::secret(object, now),
        "ServiceAccount" => core::service_account(object, now),
        "Endpoints" => core::endpoints(object, now),
        "Event" => other::event(object, now),
        "Deployment" => workload::deployment(object, now),
        "ReplicaSet" => workload::replica_set(object, now),
        "DaemonSet" => workload::daemon_set(object, now),
        "EndpointSlice" => other::endpoint_slice(object, now),
        "Lease" => other::lease(object, now),
        "RoleBinding" | "ClusterRoleBinding" => other::role_binding(object, now),
        _ => vec![name(object), json!(text(object, &["metadata", "creationTimestamp"]))],
    }
}

/// Columns from a short spelling: `+` marks those of `-o wide`, `#` whole numbers, `@` times.
fn spelled(names: &str) -> Vec<Column> {
    let column = |spelling: &str| {
        let name = spelling.trim_end_matches(['+', '#', '@']);
        Column {
            name: name.to_owned(),
            column_type: match spelling.trim_end_matches('+').chars().last() {
                Some('#') => "integer",
                Some('@') => "date",
                _ => "string",
            }
            .to_owned(),
            format: if name == "Name" { "name" } else { "" }.to_owned(),
            description: String::new(),
            priority: i64::from(spelling.ends_with('+')),
        }
    };
    names.split(',').map(column).collect()
}

/// What the API says of a name and of an age. **The built-in kinds' columns have no descriptions**, which nobody prints.
fn metadata_description(column: &str) -> String {
    let field = if column == "Name" { "name" } else { "creationTimestamp" };
    let schema = crate::schema::components().get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    schema.map(|schema| text(schema, &["properties", field, "description"]).to_owned()).unwrap_or_default()
}

fn name(object: &Value) -> Value {
    json!(crate::object::name(object))
}

fn created(object: &Value, now: Timestamp) -> Value {
    json!(age::since(text(object, &["metadata", "creationTimestamp"]), now))
}

/// `labels.FormatLabels`.
fn labels(labels: Option<&Value>) -> Value {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    json!(or_none(&pairs.join(",")))
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// The first three of a list, and how many more there are.
fn shortened(items: &[String], separator: &str) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = items.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(separator);
    if items.len() > SHOWN_MAX { format!("{shown} + {} more...", items.len() - SHOWN_MAX) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn printed(group: &str, plural: &str, object: Value, wide: bool) -> String {
        let kind = registry::builtin(group, "v1", plural).expect("a built-in kind");
        let now = "2026-01-01T00:05:00Z".parse().expect("a time");
        print(&kind, &[Arc::new(object)], now, wide, false)
    }

    fn metadata(name: &str) -> Value {
        json!({"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn a_load_balancer_is_pending_until_it_has_an_address() {
        let ports = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}]);
        let mut service = json!({"metadata": metadata("web"), "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.2"], "ports": ports}, "status": {}});
        let pending = "NAME   TYPE           CLUSTER-IP   EXTERNAL-IP   PORT(S)        AGE\nweb    LoadBalancer   10.96.0.2    <pending>     80:30080/TCP   5m\n";
        assert_eq!(printed("", "services", service.clone(), false), pending);
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.168.0.91"}]}});
        assert!(printed("", "services", service, false).contains("  192.168.0.91   80:30080/TCP   5m\n"));
    }

    #[test]
    fn a_node_shows_its_roles_and_addresses() {
        let node = json!({
            "metadata": {"name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Linux", "kernelVersion": "6.1", "containerRuntimeVersion": "sim://1"}},
        });
        let wide = "NAME   STATUS                     ROLES           AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE   KERNEL-VERSION   CONTAINER-RUNTIME\n\
                    n1     Ready,SchedulingDisabled   control-plane   5m    v1.33.0   10.0.0.1      <none>        Linux      6.1              sim://1\n";
        assert_eq!(printed("", "nodes", node, true), wide);
    }

    #[test]
    fn a_deployment_shows_ready_of_wanted() {
        let deployment =
            json!({"metadata": metadata("web"), "spec": {"replicas": 2}, "status": {"readyReplicas": 1, "updatedReplicas": 2}});
        let narrow = "NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    1/2     2            0           5m\n";
        assert_eq!(printed("apps", "deployments", deployment, false), narrow);
    }

    #[test]
    fn selectors_are_written_as_kubectl_takes_them() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector_text(&selector), "a in (x,y),b=1,!c");
        assert_eq!(selector_text(&Value::Null), "");
    }
}
