//! What a body claims to be, and what of it the schema knows: read as a real server's decoder reads it, before anything is validated.

use serde_json::Value;

use super::{Call, FieldValidation};
use crate::registry::{self, Kind};
use crate::status::ApiError;
use crate::{object, schema};

/// Checks what the body claims to be, and removes what the schema does not know.
pub(super) fn decode(call: &mut Call<'_>, mut body: Value) -> Result<Value, ApiError> {
    let kind = call.kind;
    let (api_version, name) = (kind.api_version(), &kind.kind);
    let (given_version, given_kind) = (object::text(&body, &["apiVersion"]), object::text(&body, &["kind"]));
    if (!given_kind.is_empty() && given_kind != name) || (!given_version.is_empty() && given_version != api_version) {
        return Err(other_kind(kind, given_version, given_kind));
    }
    if let Some(map) = body.as_object_mut() {
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), name.clone().into());
    }
    if !body["metadata"].is_null() && !body["metadata"].is_object() {
        return Err(ApiError::bad_request("metadata is not an object"));
    }
    if let Some(metadata) = body["metadata"].as_object_mut() {
        // Go leaves empty lists and maps out.
        let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
        metadata.retain(|_, value| !empty(value));
    }
    let mut unknown = Vec::new();
    if let Some(schema) = &kind.schema {
        unknown = schema.prune(&mut body);
        if kind.custom.is_some() {
            unknown.extend(prune_metadata(&mut body));
            schema.fill_defaults(&mut body);
        } else {
            schema::quantities_to_text(&mut body);
            refuse_wrong_types(kind, schema, &body)?;
        }
    }
    if unknown.is_empty() {
        return Ok(body);
    }
    let said: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match call.validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.warnings.extend(said),
        FieldValidation::Strict => {
            let said = said.join(", ");
            return Err(ApiError::bad_request(format!(
                "{name} in version \"{}\" cannot be handled as a {name}: strict decoding error: {said}",
                kind.version
            )));
        }
    }
    Ok(body)
}

/// A body of another kind, as the server's decoder says it.
fn other_kind(kind: &Kind, version: &str, named: &str) -> ApiError {
    if kind.custom.is_some() {
        return ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({}), or the kind in the data ({named}) does not match the expected kind ({})",
            kind.api_version(),
            kind.kind
        ));
    }
    let short = version.rsplit('/').next().unwrap_or_default();
    let why = if registry::builtins().iter().any(|known| known.kind == named && known.api_version() == version) {
        let package = if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
        format!("converting ({short}.{named}) to ({package}.{}): unknown conversion", kind.kind)
    } else {
        format!("no kind \"{named}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\"")
    };
    ApiError::bad_request(format!("{named} in version \"{short}\" cannot be handled as a {}: {why}", kind.kind))
}

/// A value that Go could not decode is 400 for built-in kinds, before any validation.
fn refuse_wrong_types(kind: &Kind, schema: &schema::Schema, body: &Value) -> Result<(), ApiError> {
    let wrong = schema.validate(body).into_iter().find(|error| error.reason == "FieldValueTypeInvalid");
    wrong.map_or(Ok(()), |error| {
        Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal: {}",
            kind.kind,
            kind.version,
            kind.kind,
            error.sentence()
        )))
    })
}

/// Custom objects have the same metadata as built-in ones.
fn prune_metadata(body: &mut Value) -> Vec<String> {
    let Some(schema) = schema::Schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") else { return Vec::new() };
    body.get_mut("metadata")
        .map(|metadata| schema.prune(metadata))
        .unwrap_or_default()
        .into_iter()
        .map(|path| format!("metadata.{path}"))
        .collect()
}
