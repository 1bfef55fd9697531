//! Refusals, as the API server words them: an HTTP code, a reason, a sentence and the details that kubectl reads.
//!
//! The shapes are `metav1.Status` of k8s.io/apimachinery `pkg/api/errors`; this module decides no refusal, it only spells them.

use serde_json::{Value, json};

use crate::record::Subject;
use crate::registry::Kind;

/// A refused request: everything of a `Status` object.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
    /// Where a list may go on that lost its place.
    pub(crate) continue_token: String,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, continue_token: String::new() }
    }

    /// 404 for a path that names no resource we serve.
    pub(crate) fn no_such_path() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = json!({});
        error
    }

    /// 404 for an object.
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource)).about(kind, name)
    }

    /// 404 for a namespace that an object was to be created in.
    pub(crate) fn no_namespace(name: &str) -> Self {
        let mut error = Self::new(404, "NotFound", format!("namespaces \"{name}\" not found"));
        error.details = json!({"name": name, "kind": "namespaces"});
        error
    }

    /// 409 on creation.
    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource)).about(kind, name)
    }

    /// 409 when the resourceVersion, uid or precondition does not hold.
    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource)).about(kind, name)
    }

    /// The same, told of the kind: a delete's preconditions.
    pub(crate) fn conflict_of_kind(kind: &Kind, name: &str, why: &str) -> Self {
        let mut error = Self::conflict(kind, name, why);
        error.message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_kind());
        error.details["kind"] = json!(kind.kind);
        error
    }

    /// 409 with causes: fields that another field manager owns (server-side apply).
    pub(crate) fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        // structured-merge-diff groups by manager: `conflicts with "a":` and a line for each field.
        let mut managers: Vec<&str> = conflicts.iter().map(|(manager, _)| manager.as_str()).collect();
        managers.sort_unstable();
        managers.dedup();
        let of = |manager: &str| {
            let fields: Vec<&str> = conflicts.iter().filter(|(of, _)| of == manager).map(|(_, field)| field.as_str()).collect();
            match fields.as_slice() {
                [one] => format!("conflict with {manager}: {one}"),
                many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
            }
        };
        let plural = if conflicts.len() == 1 { "conflict" } else { "conflicts" };
        let said = managers.into_iter().map(of).collect::<Vec<_>>().join("\n");
        let message = format!("Apply failed with {} {plural}: {said}", conflicts.len());
        let mut error = Self::new(409, "Conflict", message);
        let causes = conflicts.iter().map(
            |(manager, field)| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field}),
        );
        error.details = json!({"causes": causes.collect::<Vec<_>>()});
        error
    }

    /// 422 with one cause per offending field.
    pub(crate) fn invalid(kind: &Kind, name: &str, fields: &[FieldError]) -> Self {
        // Go's aggregate says nothing twice; the causes do.
        let mut list: Vec<String> = Vec::new();
        fields.iter().map(FieldError::sentence).for_each(|said| {
            if !list.contains(&said) {
                list.push(said)
            }
        });
        let said = if let [one] = list.as_slice() { one.clone() } else { format!("[{}]", list.join(", ")) };
        // Events of both groups are judged as core/v1.
        let group = if kind.kind == "Event" && kind.custom.is_none() { "" } else { kind.group.as_str() };
        let named = if group.is_empty() { kind.kind.clone() } else { kind.qualified_kind() };
        let mut error = Self::new(422, "Invalid", format!("{named} \"{name}\" is invalid: {said}"));
        let causes = fields.iter().map(|field| json!({"reason": field.reason, "message": field.detail, "field": field.path}));
        error.details = json!({"kind": kind.kind, "causes": causes.collect::<Vec<_>>()});
        error.detail("name", name).detail("group", group)
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// What cannot be decoded after a patch is the patch's fault (`apiserver` handlers/patch.go): 422.
    pub(crate) fn of_a_patch(mut self) -> Self {
        if self.reason == "BadRequest" && self.message.contains(" cannot be handled as a ") {
            (self.code, self.reason) = (422, "Invalid");
        }
        self
    }

    /// 403 for what the object's state forbids.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", kind.resource)).about(kind, name)
    }

    /// 403 for what the client has no right to (apiserver `responsewriters.Forbidden`).
    pub(crate) fn no_right(client: &str, subject: &Subject, plural: &str, group: &str) -> Self {
        let name = if subject.name.is_empty() { String::new() } else { format!(" \"{}\"", subject.name) };
        let scope = if subject.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", subject.namespace)
        };
        let why = format!("User \"{client}\" cannot {} resource \"{plural}\" in API group \"{group}\" {scope}", subject.verb);
        let mut error = Self::new(403, "Forbidden", format!("{}{name} is forbidden: {why}", subject.resource));
        error.details = json!({"name": subject.name, "group": group, "kind": subject.resource.split('.').next()});
        error
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let mut error = Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
        error.details = json!({});
        error
    }

    /// 415: nobody reads that.
    pub(crate) fn unsupported_media_type(given: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml (got {given})"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a PATCH that is none of the patches (`apiserver` handlers/patch.go).
    pub(crate) fn unsupported_patch() -> Self {
        let mut error = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        error.details = json!({});
        error
    }

    /// 410: the version asked for is compacted.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504: the version asked for does not exist yet.
    pub(crate) fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut error = Self::new(504, "Timeout", format!("Too large resource version: {asked}, current: {current}"));
        error.details =
            json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1});
        error
    }

    /// A refusal that says something of the server, not of the request (apimachinery `NewTooManyRequests`, `NewInternalError`,
    /// `NewGenericServerResponse`).
    pub(crate) fn of_the_server(code: u16) -> Self {
        match code {
            429 => {
                let mut error = Self::new(code, "TooManyRequests", "Too many requests, please try again later.");
                error.details = json!({"retryAfterSeconds": 1});
                error
            }
            503 => Self::new(code, "ServiceUnavailable", "the server is currently unable to handle the request"),
            _ => {
                let mut error = Self::new(code, "InternalError", "Internal error occurred: etcdserver: request timed out");
                error.details = json!({"causes": [{"message": "etcdserver: request timed out"}]});
                error
            }
        }
    }

    /// 500 (`NewInternalError`).
    pub(crate) fn internal(why: &str) -> Self {
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        error.details = json!({"causes": [{"message": why}]});
        error
    }

    /// 500 without a reason, as plain Go errors come out.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// Go leaves empty texts out.
    fn detail(mut self, key: &str, text: &str) -> Self {
        if !text.is_empty() {
            self.details[key] = json!(text);
        }
        self
    }

    /// 422 for the options of a request: `CreateOptions`, `ListOptions` and their like.
    pub(crate) fn invalid_options(options: &str, field: &FieldError) -> Self {
        let mut error = Self::new(422, "Invalid", format!("{options}.meta.k8s.io \"\" is invalid: {}", field.sentence()));
        let causes = json!([{"reason": field.reason, "message": field.detail, "field": field.path}]);
        error.details = json!({"group": "meta.k8s.io", "kind": options, "causes": causes});
        error
    }

    /// 422 for a review (`authorization.k8s.io`), which has no name, and whose kind a real server does not say.
    pub(crate) fn invalid_review(group: &str, field: &FieldError) -> Self {
        let mut error = Self::new(422, "Invalid", format!(".{group} \"\" is invalid: {}", field.sentence()));
        let causes = json!([{"reason": field.reason, "message": field.detail, "field": field.path}]);
        error.details = json!({"group": group, "causes": causes});
        error
    }

    /// 422 for an update without a resourceVersion; told of the resource, not of the kind.
    pub(crate) fn unconditional(kind: &Kind, name: &str) -> Self {
        let field = FieldError::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let mut error = Self::invalid(kind, name, std::slice::from_ref(&field));
        error.message = format!("{} \"{name}\" is invalid: {}", kind.resource, field.sentence());
        error.details["kind"] = json!(kind.plural);
        error
    }

    /// 406: the client takes nothing that we can write.
    pub(crate) fn not_acceptable() -> Self {
        Self::new(406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml")
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            self.details["group"] = json!(kind.group);
        }
        self
    }

    /// The `Status` body.
    pub(crate) fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.continue_token.is_empty() {
            status["metadata"]["continue"] = json!(self.continue_token);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if self.reason.is_empty()
            && let Some(map) = status.as_object_mut()
        {
            map.remove("reason");
        }
        status
    }
}

/// One field that validation refuses (apimachinery `pkg/util/validation/field`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) path: String,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn required(path: impl Into<String>, detail: &str) -> Self {
        let detail = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { path: path.into(), reason: "FieldValueRequired", detail }
    }

    pub(crate) fn invalid(path: impl Into<String>, value: &Value, detail: impl AsRef<str>) -> Self {
        Self { path: path.into(), reason: "FieldValueInvalid", detail: format!("Invalid value: {value}: {}", detail.as_ref()) }
    }

    /// A value of the wrong JSON type, worded as CRD validation words it.
    pub(crate) fn wrong_type(path: impl Into<String>, found: &str, wanted: &str) -> Self {
        let path = path.into();
        let detail = format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\"");
        Self { path, reason: "FieldValueTypeInvalid", detail }
    }

    pub(crate) fn unsupported(path: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>();
        let detail = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
        Self { path: path.into(), reason: "FieldValueNotSupported", detail }
    }

    pub(crate) fn forbidden(path: impl Into<String>, detail: impl AsRef<str>) -> Self {
        Self { path: path.into(), reason: "FieldValueForbidden", detail: format!("Forbidden: {}", detail.as_ref()) }
    }

    pub(crate) fn duplicate(path: impl Into<String>, value: &Value) -> Self {
        Self { path: path.into(), reason: "FieldValueDuplicate", detail: format!("Duplicate value: {value}") }
    }

    pub(crate) fn sentence(&self) -> String {
        format!("{}: {}", self.path, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn a_refused_service_names_each_field_as_kubectl_prints_it() {
        let services = registry::builtin("", "v1", "services").expect("services are built in");
        let error = ApiError::invalid(&services, "web", &[FieldError::required("spec.ports", "")]);
        assert_eq!(error.message, "Service \"web\" is invalid: spec.ports: Required value");
        assert_eq!(error.to_status()["details"]["causes"][0]["field"], "spec.ports");
    }
}
