//! What the server serves, told to clients that ask before they act: kubectl's first questions.
//!
//! `/version`, the health paths, and discovery in the plain form (`APIGroupList`, `APIResourceList`) and the aggregated one
//! (`APIGroupDiscoveryList`, apidiscovery.k8s.io/v2). All of it is derived from the kinds; nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::access;
use crate::engine::Engine;
use crate::registry::{Kind, VERBS};
use crate::request::Request;

/// The version that the server says it is: that of the real server whose recorded answers it is held to (`sim/conformance`). Its built-in
/// schemas are k8s-openapi's oldest (`v1_33`), which a newer server serves all of.
const MINOR: &str = "36";

/// Kinds by group and version, in the order of the kinds.
type Groups = BTreeMap<String, BTreeMap<String, Vec<Arc<Kind>>>>;

/// What a path that is no resource's says.
pub(crate) struct Document {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Document {
    /// A JSON document.
    pub(crate) fn json(value: &Value) -> Self {
        Self { code: 200, content_type: "application/json", body: value.to_string().into_bytes() }
    }
}

/// Answers paths that are about the server itself; `None` for all others.
pub(crate) fn document(engine: &Engine, request: &Request) -> Option<Document> {
    let path = request.path.trim_matches('/');
    let aggregated = request.accept.split(',').next().is_some_and(|first| first.contains("as=APIGroupDiscoveryList"));
    let parts: Vec<&str> = path.split('/').collect();
    let document = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => {
            return Some(Document { code: 200, content_type: "text/plain; charset=utf-8", body: b"ok".to_vec() });
        }
        ["version"] => version(),
        ["api" | "apis"] if aggregated => return Some(aggregated_document(engine, parts[0] == "api")),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let all = groups(engine);
            let named: Vec<Value> = all.iter().filter(|(name, _)| !name.is_empty()).map(|(name, versions)| group(name, versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named})
        }
        ["api", "v1"] => resources("v1", groups(engine).get("")?.get("v1")?),
        ["apis", access::GROUP, "v1"] => access::resources(),
        ["apis", name] => group(name, groups(engine).get(*name)?),
        ["apis", name, version] => resources(&format!("{name}/{version}"), groups(engine).get(*name)?.get(*version)?),
        _ => return None,
    };
    Some(Document::json(&document))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.3+bellhop"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn groups(engine: &Engine) -> Groups {
    let mut groups = Groups::new();
    for kind in engine.kinds() {
        groups.entry(kind.group.clone()).or_default().entry(kind.version.clone()).or_default().push(Arc::clone(kind));
    }
    groups
}

/// Versions as Kubernetes prefers them: stable before beta before alpha, higher before lower.
fn by_preference<T>(versions: &BTreeMap<String, T>) -> Vec<&String> {
    let rank = |version: &str| {
        let rest = version.trim_start_matches('v');
        let (major, stage) = rest.split_once(|c: char| c.is_alphabetic()).unwrap_or((rest, ""));
        let stability = if stage.is_empty() {
            0
        } else if rest.contains("beta") {
            1
        } else {
            2
        };
        let minor: u32 = stage.trim_start_matches(char::is_alphabetic).parse().unwrap_or(0);
        (stability, std::cmp::Reverse(major.parse::<u32>().unwrap_or(0)), std::cmp::Reverse(minor))
    };
    let mut names: Vec<&String> = versions.keys().collect();
    names.sort_by_key(|version| rank(version));
    names
}

fn group<T>(name: &str, versions: &BTreeMap<String, T>) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let listed: Vec<Value> = by_preference(versions).into_iter().map(version).collect();
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": listed, "preferredVersion": listed.first()})
}

fn resources(group_version: &str, kinds: &[Arc<Kind>]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        let mut resource =
            json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS});
        for (key, values) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
            if !values.is_empty() {
                resource[key] = json!(values);
            }
        }
        resources.push(resource);
        for (name, group_version_kind, verbs) in subresources(kind) {
            let mut resource = json!({"name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": group_version_kind.2, "verbs": verbs});
            if name == "scale" {
                resource["group"] = json!(group_version_kind.0);
                resource["version"] = json!(group_version_kind.1);
            }
            resources.push(resource);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

type GroupVersionKind<'a> = (&'a str, &'a str, &'a str);

fn subresources(kind: &Kind) -> Vec<(&'static str, GroupVersionKind<'_>, &'static [&'static str])> {
    let mut subresources: Vec<(&'static str, GroupVersionKind<'_>, &'static [&'static str])> = Vec::new();
    if kind.status {
        subresources.push(("status", (&kind.group, &kind.version, &kind.kind), &["get", "patch", "update"]));
    }
    if kind.scale.is_some() {
        subresources.push(("scale", ("autoscaling", "v1", "Scale"), &["get", "patch", "update"]));
    }
    if kind.group.is_empty() && kind.kind == "Pod" {
        subresources.push(("binding", ("", "v1", "Binding"), &["create"]));
        subresources.push(("eviction", ("policy", "v1", "Eviction"), &["create"]));
    }
    subresources
}

fn aggregated_document(engine: &Engine, core: bool) -> Document {
    let all = groups(engine);
    let items: Vec<Value> =
        all.iter().filter(|(name, _)| name.is_empty() == core).map(|(name, versions)| aggregated_group(name, versions)).collect();
    let document = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    Document { content_type, ..Document::json(&document) }
}

fn aggregated_group(name: &str, versions: &BTreeMap<String, Vec<Arc<Kind>>>) -> Value {
    let version = |version: &String| json!({"version": version, "freshness": "Current", "resources": versions[version].iter().map(|kind| aggregated(kind)).collect::<Vec<_>>()});
    let versions: Vec<Value> = by_preference(versions).into_iter().map(version).collect();
    let metadata = if name.is_empty() { json!({"creationTimestamp": null}) } else { json!({"name": name, "creationTimestamp": null}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated(kind: &Kind) -> Value {
    let gvk = |(group, version, kind): GroupVersionKind<'_>| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, response_kind, verbs)| json!({"subresource": name, "responseKind": gvk(response_kind), "verbs": verbs}))
        .collect();
    let mut resource = json!({
        "resource": kind.plural, "responseKind": gvk((&kind.group, &kind.version, &kind.kind)),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular, "verbs": VERBS,
    });
    for (key, values) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !values.is_empty() {
            resource[key] = json!(values);
        }
    }
    if !subresources.is_empty() {
        resource["subresources"] = json!(subresources);
    }
    resource
}
