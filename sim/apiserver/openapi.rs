//! OpenAPI v3, as much as kubectl reads: that PATCH knows `fieldValidation`, and each kind's schema for `explain` and validation.
//!
//! One document per group and version, derived from the kinds. Version 2 is served **empty**.

use serde_json::{Map, Value, json};

use crate::discovery::Document;
use crate::engine::Engine;
use crate::registry::Kind;
use crate::schema;

/// Answers `/openapi/v3` and the documents below it.
pub(crate) fn document(engine: &Engine, path: &str) -> Option<Document> {
    if path.trim_matches('/') == "openapi/v2" {
        return Some(version_2());
    }
    let path = path.trim_matches('/').strip_prefix("openapi/v3")?.trim_matches('/');
    if path.is_empty() {
        let paths: Map<String, Value> = engine
            .kinds()
            .map(|kind| root(kind))
            .map(|root| (root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={}", engine.store.revision())})))
            .collect();
        return Some(Document { content_type: "text/plain; charset=utf-8", ..Document::json(&json!({"paths": paths})) });
    }
    let kinds: Vec<&Kind> = engine.kinds().map(AsRef::as_ref).filter(|kind| root(kind) == path).collect();
    if kinds.is_empty() {
        return Some(Document { code: 404, content_type: "", body: Vec::new() });
    }
    let paths: Map<String, Value> = kinds.iter().map(|kind| (format!("{}/{{name}}", collection(kind)), operations(kind))).collect();
    let document = json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths, "components": {"schemas": schemas(&kinds)}});
    Some(Document::json(&document))
}

/// Version 2 without a definition, in protobuf, the only form that kubectl asks for: field 1 is `swagger`, field 2 `info` with its title and
/// version. kubectl comes here for kinds that are not served, to learn nothing and to go on to its own sentence about them.
fn version_2() -> Document {
    let body = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1".to_vec();
    Document { code: 200, content_type: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", body }
}

fn root(kind: &Kind) -> String {
    if kind.group.is_empty() { format!("api/{}", kind.version) } else { format!("apis/{}/{}", kind.group, kind.version) }
}

fn collection(kind: &Kind) -> String {
    let namespace = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("/{}{namespace}/{}", root(kind), kind.plural)
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn operations(kind: &Kind) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters = json!([parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"), parameter("force")]);
    let strategic = kind.custom.is_none().then_some("application/strategic-merge-patch+json");
    let media_types = ["application/json-patch+json", "application/merge-patch+json"].into_iter().chain(strategic);
    let content: Map<String, Value> =
        media_types.map(|media_type| (media_type.to_owned(), json!({"schema": {"type": "object"}}))).collect();
    json!({
        "get": {"x-kubernetes-action": "get", "x-kubernetes-group-version-kind": gvk(kind), "responses": {"200": {"description": "OK"}}},
        "patch": {
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk(kind), "parameters": parameters,
            "requestBody": {"content": content, "required": true}, "responses": {"200": {"description": "OK"}},
        },
    })
}

/// The kinds' own schemas; for built-in kinds all components, which they refer to.
fn schemas(kinds: &[&Kind]) -> Map<String, Value> {
    let mut schemas = if kinds.iter().any(|kind| kind.custom.is_none()) { schema::components().clone() } else { Map::new() };
    for kind in kinds {
        if let Some(custom) = &kind.custom {
            schemas.insert(kind.schema_name.clone(), custom.openapi.clone());
        }
        if let Some(schema) = schemas.get_mut(&kind.schema_name) {
            schema["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
        }
    }
    schemas
}
