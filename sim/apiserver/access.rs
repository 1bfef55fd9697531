//! What one may do (authorization.k8s.io): `kubectl auth can-i` asks it. Everybody may do everything here; RBAC objects grant nothing and refuse nothing.

use serde_json::{Value, json};

use crate::dispatch;
use crate::engine::Engine;
use crate::object::{at, text};
use crate::request::{Request, ResourcePath};
use crate::status::{ApiError, FieldError};

/// The group.
pub(crate) const GROUP: &str = "authorization.k8s.io";
/// Its resources: plural, kind, and whether it is asked in a namespace.
const REVIEWS: [(&str, &str, bool); 4] = [
    ("localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    ("selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    ("selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    ("subjectaccessreviews", "SubjectAccessReview", false),
];

/// The group's resources, as discovery lists them.
pub(crate) fn resources() -> Value {
    let resource = |(plural, kind, namespaced): (&str, &str, bool)| json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": ["create"]});
    let resources: Vec<Value> = REVIEWS.into_iter().map(resource).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1"), "resources": resources})
}

/// Answers a review; `None` for paths of other groups.
pub(crate) fn answer(_: &Engine, path: &ResourcePath, request: &Request) -> Option<Result<(u16, Value), ApiError>> {
    if path.group != GROUP || path.version != "v1" {
        return None;
    }
    let (_, kind, _) = REVIEWS.into_iter().find(|(plural, ..)| *plural == path.plural)?;
    Some(review(kind, path, request))
}

fn review(kind: &str, path: &ResourcePath, request: &Request) -> Result<(u16, Value), ApiError> {
    if request.method != http::Method::POST || !path.name.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    let body = dispatch::body_object(request)?;
    let spec = body.get("spec").cloned().unwrap_or_else(|| json!({}));
    let (status, spec) = if kind == "SelfSubjectRulesReview" {
        if text(&spec, &["namespace"]).is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        let paths = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
        // A real server does not repeat what it was asked.
        (json!({"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": false}), json!({}))
    } else {
        judge(&spec)?;
        (json!({"allowed": true}), spec)
    };
    Ok((201, json!({"kind": kind, "apiVersion": format!("{GROUP}/v1"), "metadata": {}, "spec": spec, "status": status})))
}

/// A review is about a resource or about a path.
fn judge(spec: &Value) -> Result<(), ApiError> {
    let (resource, path) = (at(spec, &["resourceAttributes"]), at(spec, &["nonResourceAttributes"]));
    let error = match (resource, path) {
        (Some(_), Some(path)) => {
            let shown = format!("{{\"Path\":{:?},\"Verb\":{:?}}}", text(path, &["path"]), text(path, &["verb"]));
            FieldError {
                path: "spec.nonResourceAttributes".to_owned(),
                reason: "FieldValueInvalid",
                detail: format!("Invalid value: {shown}: cannot be specified in combination with resourceAttributes"),
            }
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            FieldError::invalid("spec.resourceAttributes", &Value::Null, detail)
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid_review(GROUP, &error))
}
