//! Get and list: what is stored, as the client wants to see it.
//!
//! A list without a version is the newest state; a paged list stays at the revision of its first page (the token names it), and a page
//! of a compacted revision is 410. Semantics: "Kubernetes API Concepts", sections on resource versions and chunks. For a client whose server
//! lags (a fault), "newest" is what that server has seen.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::{Engine, from_storage};
use crate::object;
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::selector::Selection;
use crate::status::ApiError;
use crate::store::ObjectKey;

/// A list's answer: objects in the kind's version, and what its metadata says.
pub(crate) struct Listed {
    pub(crate) revision: u64,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
    pub(crate) items: Vec<Arc<Value>>,
}

/// One object, as of a revision.
pub(crate) fn get(engine: &Engine, kind: &Kind, path: &ResourcePath, revision: u64) -> Result<Value, ApiError> {
    let key = ObjectKey::new(&path.namespace, &path.name);
    let object = engine.store.get_at(&kind.storage, &key, revision).ok_or_else(|| ApiError::not_found(kind, &path.name))?;
    Ok(from_storage(kind, object))
}

/// The objects of a collection that the request selects.
pub(crate) fn list(engine: &Engine, kind: &Kind, path: &ResourcePath, request: &Request) -> Result<Listed, ApiError> {
    let query = &request.query;
    let selection = Selection::parse(kind, query.get("labelSelector"), query.get("fieldSelector"))?;
    let limit = query.number("limit")?.filter(|limit| *limit > 0).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (revision, start) = starting_point(engine, request, limit.is_some())?;
    let namespace = (!path.namespace.is_empty()).then_some(path.namespace.as_str());
    let past = revision != engine.store.revision();
    let objects: Vec<(ObjectKey, Arc<Value>)> = if past {
        let too_old = |_| expired_continue(query.get("continue"), revision);
        engine.store.at(&kind.storage, namespace, revision).map_err(too_old)?.into_iter().collect()
    } else {
        engine.store.scan(&kind.storage, namespace).map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    };
    let mut rest = objects.into_iter().filter(|(key, object)| start.as_ref().is_none_or(|start| key >= start) && selection.matches(object));
    let mut items = Vec::new();
    for (_, object) in rest.by_ref().take(limit.unwrap_or(usize::MAX)) {
        items.push(viewed(kind, object));
    }
    let next = rest.next();
    let unselective = query.get("labelSelector").is_empty() && query.get("fieldSelector").is_empty();
    let remaining = (next.is_some() && unselective).then(|| rest.count() + 1);
    let continue_token = next.map(|(key, _)| token(revision, &key)).unwrap_or_default();
    Ok(Listed { revision, continue_token, remaining, items })
}

/// An object as the kind's clients see it, shared where the stored form is that form.
pub(crate) fn viewed(kind: &Kind, object: Arc<Value>) -> Arc<Value> {
    if object::text(&object, &["apiVersion"]) == kind.api_version() { object } else { Arc::new(from_storage(kind, &object)) }
}

impl Listed {
    /// The `ListMeta`.
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            metadata["continue"] = json!(self.continue_token);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }

    /// The list as JSON text; written piece by piece so that no object is copied.
    pub(crate) fn to_json(&self, kind: &Kind) -> Vec<u8> {
        let head = json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": self.metadata()}).to_string();
        let mut out = head.into_bytes();
        out.pop();
        out.extend_from_slice(b",\"items\":[");
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            object::write_json(&mut out, item);
        }
        out.extend_from_slice(b"]}\n");
        out
    }
}

/// The revision to list at and the key to start from.
fn starting_point(engine: &Engine, request: &Request, limited: bool) -> Result<(u64, Option<ObjectKey>), ApiError> {
    let query = &request.query;
    let (token, version, rule) = (query.get("continue"), query.get("resourceVersion"), query.get("resourceVersionMatch"));
    let current = engine.visible_revision(&request.client);
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let (revision, key) = read_token(token).ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
        return Ok((revision, Some(key)));
    }
    if version.is_empty() || version == "0" {
        return match rule {
            "" => Ok((current, None)),
            _ if version.is_empty() => Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
            "Exact" => Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )),
            _ => Ok((current, None)),
        };
    }
    let asked: u64 = version.parse().map_err(|_| ApiError::bad_request(format!("Invalid value: {version:?}: invalid resource version")))?;
    if asked > current {
        return Err(ApiError::too_large_resource_version(asked, current));
    }
    match rule {
        "Exact" => Ok((asked, None)),
        "NotOlderThan" => Ok((current, None)),
        "" => Ok((if limited { asked } else { current }, None)),
        other => Err(ApiError::bad_request(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
        ))),
    }
}

fn expired_continue(token: &str, revision: u64) -> ApiError {
    if token.is_empty() {
        return ApiError::expired(format!("The resourceVersion for the provided list is too old: {revision}"));
    }
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    )
}

// The token is opaque to clients; ours is plain text in hexadecimal, so that no base64 is needed.
fn token(revision: u64, key: &ObjectKey) -> String {
    let plain = format!("{revision}/{}/{}", key.namespace, key.name);
    plain.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str) -> Option<(u64, ObjectKey)> {
    let pairs = (0..token.len()).step_by(2).map(|index| u8::from_str_radix(token.get(index..index + 2)?, 16).ok());
    let plain = String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok()?;
    let mut parts = plain.splitn(3, '/');
    let revision = parts.next()?.parse().ok()?;
    Some((revision, ObjectKey::new(parts.next()?, parts.next()?)))
}
