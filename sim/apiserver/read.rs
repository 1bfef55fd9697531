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
use crate::status::{ApiError, FieldError};
use crate::store::ObjectKey;

/// The revision in a token that goes on wherever the list is now.
const NEWEST: u64 = 0;

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

/// The revision to read one object at: a version of the future is waited for by a real server, in vain.
pub(crate) fn wanted_revision(engine: &Engine, request: &Request) -> Result<u64, ApiError> {
    let (current, version) = (engine.visible_revision(&request.client), request.query.get("resourceVersion"));
    match version.parse::<u64>() {
        Ok(asked) if asked > current => Err(ApiError::too_large_resource_version(asked, current)),
        Err(_) if !version.is_empty() => Err(bad_version(version)),
        _ => Ok(current),
    }
}

/// `ListOptions`' word for a version that is no number.
pub(crate) fn bad_version(version: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
    ))
}

fn bad_match(error: &FieldError) -> ApiError {
    ApiError::invalid_options("ListOptions", error)
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
        let too_old = |_| expired_continue(query.get("continue"));
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
        let mut metadata = self.metadata();
        if kind.custom.is_some() {
            // Lists of custom kinds always say where they go on.
            metadata["continue"] = json!(self.continue_token);
        }
        let head = json!({"kind": kind.list_kind, "apiVersion": kind.api_version(), "metadata": metadata}).to_string();
        let mut out = head.into_bytes();
        out.pop();
        out.extend_from_slice(b",\"items\":[");
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_item(&mut out, kind, item);
        }
        out.extend_from_slice(b"]}\n");
        out
    }
}

/// An item of a list: those of built-in kinds do not say what they are, which their list does.
fn write_item(out: &mut Vec<u8>, kind: &Kind, item: &Value) {
    let (None, Value::Object(map)) = (&kind.custom, item) else { return object::write_json(out, item) };
    out.push(b'{');
    let mut first = true;
    for (key, value) in map.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind")) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, key).expect("a Vec takes all");
        out.push(b':');
        object::write_json(out, value);
    }
    out.push(b'}');
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
        return Ok((if revision == NEWEST { current } else { revision }, Some(key)));
    }
    if version.is_empty() || version == "0" {
        return match rule {
            "" => Ok((current, None)),
            _ if version.is_empty() => {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                Err(bad_match(&FieldError::forbidden("resourceVersionMatch", detail)))
            }
            "Exact" => {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                Err(bad_match(&FieldError::forbidden("resourceVersionMatch", detail)))
            }
            _ => Ok((current, None)),
        };
    }
    let asked: u64 = version.parse().map_err(|_| bad_version(version))?;
    if asked > current {
        return Err(ApiError::too_large_resource_version(asked, current));
    }
    match rule {
        "Exact" => Ok((asked, None)),
        "NotOlderThan" => Ok((current, None)),
        "" => Ok((if limited { asked } else { current }, None)),
        other => Err(bad_match(&FieldError::unsupported("resourceVersionMatch", &json!(other), &["Exact", "NotOlderThan", ""]))),
    }
}

/// `handleCompactedErrorForPaging`: the rest can be had at the newest revision, and is said to be inconsistent.
fn expired_continue(given: &str) -> ApiError {
    if given.is_empty() {
        return ApiError::expired("The resourceVersion for the provided list is too old.");
    }
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = read_token(given).map(|(_, key)| token(NEWEST, &key)).unwrap_or_default();
    error
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
