//! Patches: JSON (RFC 6902), merge (RFC 7386) and strategic merge, told apart by their content type.
//!
//! Gives the wished object; what may change is judged afterwards like any update. Server-side apply is `apply`.

pub(crate) mod strategic;

use serde_json::Value;

use crate::registry::Kind;
use crate::status::ApiError;

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Form {
    /// Reads the content type.
    pub(crate) fn read(content_type: &str) -> Result<Self, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(ApiError::unsupported_patch()),
        }
    }
}

/// The object that the patch wishes for.
pub(crate) fn patch(kind: &Kind, form: Form, current: &Value, body: &[u8]) -> Result<Value, ApiError> {
    if form == Form::Strategic && kind.custom.is_some() {
        return Err(ApiError::unsupported_media_type("application/strategic-merge-patch+json"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    let mut wished = current.clone();
    match form {
        Form::Json => {
            if !body.is_array() {
                return Err(ApiError::bad_request(
                    "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
                ));
            }
            let patch: json_patch::Patch = serde_json::from_value(body).map_err(|_| unprocessable())?;
            json_patch::patch(&mut wished, &patch).map_err(|_| unprocessable())?;
        }
        Form::Merge | Form::Strategic if !body.is_object() => {
            return Err(ApiError::bad_request(
                "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
            ));
        }
        Form::Merge => json_patch::merge(&mut wished, &body),
        Form::Strategic => strategic::merge(&kind.kind, &mut wished, &body)?,
        Form::Apply => return Err(ApiError::unsupported_media_type("application/apply-patch+yaml")),
    }
    Ok(wished)
}

/// What a failed `test` or a path that is not there comes out as.
fn unprocessable() -> ApiError {
    let mut error = ApiError::bad_request("the server rejected our request due to an error in our request");
    (error.code, error.reason, error.details) = (422, "Invalid", serde_json::json!({}));
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry;

    fn patched(form: Form, patch_body: &Value) -> Result<Value, ApiError> {
        let kind = registry::builtin("", "v1", "services").expect("services are built in");
        let current = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"ports": [{"port": 80}, {"port": 443}]}});
        patch(&kind, form, &current, patch_body.to_string().as_bytes())
    }

    #[test]
    fn the_three_forms_change_what_they_name() {
        let json = patched(Form::Json, &json!([{"op": "replace", "path": "/metadata/labels/a", "value": "2"}])).expect("valid");
        assert_eq!(json["metadata"]["labels"]["a"], "2");
        let merge = patched(Form::Merge, &json!({"spec": {"ports": [{"port": 1}]}, "metadata": {"labels": null}})).expect("valid");
        assert_eq!(merge, json!({"metadata": {}, "spec": {"ports": [{"port": 1}]}}));
        let strategic = patched(Form::Strategic, &json!({"spec": {"ports": [{"port": 443, "name": "tls"}]}})).expect("valid");
        assert_eq!(strategic["spec"]["ports"], json!([{"port": 80}, {"port": 443, "name": "tls"}]));
    }

    #[test]
    fn a_failed_test_is_422() {
        let error = patched(Form::Json, &json!([{"op": "test", "path": "/metadata/labels/a", "value": "9"}])).expect_err("it is 1");
        assert_eq!(error.code, 422);
    }
}
