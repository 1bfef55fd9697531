//! Server-side apply: a manager says what it wants, and owns exactly that.
//!
//! Ownership is by leaf, kept in `metadata.managedFields` in the FieldsV1 form. Lists merge by the keys of `patch::strategic`, those of
//! custom kinds as their CRD says (`x-kubernetes-list-type`). **Objects that nobody ever applied carry no
//! managedFields**: the first apply attributes what is there to `before-first-apply`, as a real server does for objects of old.
//! Read "Server-Side Apply" of the Kubernetes documentation first.
//!
//! Here is what an apply does, and what any other write does to who owns what. [`leaves`] finds and merges, [`managers`] keeps the books.

mod fields;
mod leaves;
mod managers;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dispatch;
use crate::engine::Engine;
use crate::object;
use crate::request::Request;
use crate::status::{ApiError, FieldError};
use crate::write::{self, Call};
use leaves::{Leaves, leaves_of, overlay, remove_leaf, value_at};
use managers::{Managers, Owner};

/// PATCH with `application/apply-patch+yaml`.
pub(crate) fn apply(engine: &mut Engine, call: &mut Call<'_>, request: &Request) -> Result<(u16, Value), ApiError> {
    let kind = call.kind;
    if request.query.get("fieldManager").is_empty() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid_options("PatchOptions", &error));
    }
    let force = request.query.flag("force").unwrap_or(false);
    let mut config = dispatch::yaml(&request.body).map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    if object::at(&config, &["metadata", "managedFields"]).is_some() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if object::text(&config, &["apiVersion"]).is_empty() || object::text(&config, &["kind"]).is_empty() {
        return Err(ApiError::bad_request("invalid object type: apiVersion and kind must be set"));
    }
    let name = call.path.name.clone();
    object::metadata_mut(&mut config).entry("name").or_insert_with(|| json!(name));
    refuse_untyped(call, &config)?;
    if object::name(&config) != name {
        let given = object::name(&config);
        return Err(ApiError::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({name})")));
    }
    let leaves = leaves_of(kind, &config);
    let me = Owner { manager: call.manager.clone(), operation: "Apply", subresource: call.path.subresource.clone() };
    if engine.store.get(&kind.storage, &call.key()).is_none() {
        if !call.path.subresource.is_empty() {
            return Err(ApiError::not_found(kind, &name));
        }
        let mut managers = Managers::default();
        managers.set(&me, leaves);
        let created = create(engine, call, config, &managers)?;
        return Ok((201, created));
    }
    let now = engine.now;
    let manager = call.manager.clone();
    let updated = write::update(engine, call, |current| {
        if !object::uid(&config).is_empty() && object::uid(&config) != object::uid(current) {
            let error = FieldError::invalid("metadata.uid", &config["metadata"]["uid"], "field is immutable");
            return Err(ApiError::invalid(kind, &name, &[error]));
        }
        let mut managers = Managers::read(current);
        if managers.0.is_empty() {
            let before = Owner { manager: "before-first-apply".to_owned(), operation: "Update", subresource: String::new() };
            managers.set(&before, leaves_of(kind, current));
        }
        let conflicts = managers.conflicts(&me, &leaves, &config, current);
        if !conflicts.is_empty() && !force {
            return Err(ApiError::apply_conflict(&conflicts));
        }
        managers.take_from_others(&me, &leaves, &config, current);
        let mut wished = current.clone();
        overlay(kind, &mut Vec::new(), &mut wished, &config);
        let given_up = managers.of(&me).difference(&leaves).filter(|leaf| !managers.owned_by_other(&me, leaf)).cloned().collect::<Vec<_>>();
        given_up.iter().for_each(|leaf| remove_leaf(&mut wished, leaf));
        managers.set(&me, leaves.clone());
        managers.write(&mut wished, &kind.api_version(), now, &manager);
        Ok(wished)
    })?;
    Ok((200, updated))
}

/// Whether two versions of an object differ in who owns what (times left aside).
pub(crate) fn managers_differ(new: &Value, old: &Value) -> bool {
    Managers::read(new).0 != Managers::read(old).0
}

/// Attributes what an ordinary write changed, on objects that somebody applied before.
pub(crate) fn track_update(call: &Call<'_>, now: Timestamp, new: &mut Value, old: &Value) {
    if object::at(old, &["metadata", "managedFields"]).is_none() || Managers::read(new).0 != Managers::read(old).0 {
        return;
    }
    let (before, after) = (leaves_of(call.kind, old), leaves_of(call.kind, new));
    let changed: Leaves = after.iter().filter(|leaf| value_at(new, leaf) != value_at(old, leaf)).cloned().collect();
    let mut managers = Managers::read(old);
    let me = Owner { manager: call.manager.clone(), operation: "Update", subresource: call.path.subresource.clone() };
    for (owner, leaves) in &mut managers.0 {
        leaves.retain(|leaf| (after.contains(leaf) || !before.contains(leaf)) && (*owner == me || !changed.contains(leaf)));
    }
    let mine = managers.of(&me).union(&changed).cloned().collect();
    managers.set(&me, mine);
    managers.write(new, &call.kind.api_version(), now, &me.manager);
}

fn create(engine: &mut Engine, call: &mut Call<'_>, config: Value, managers: &Managers) -> Result<Value, ApiError> {
    let mut owned = json!({});
    managers.write(&mut owned, &call.kind.api_version(), engine.now, &call.manager);
    call.owners = owned["metadata"].get("managedFields").cloned();
    let verb = std::mem::replace(&mut call.verb, "create");
    let created = write::create(engine, call, config);
    call.verb = verb;
    created
}

/// A field that the schema does not have is no field that anybody can own.
fn refuse_untyped(call: &Call<'_>, config: &Value) -> Result<(), ApiError> {
    let kind = call.kind;
    let unknown = kind.schema.as_ref().map(|schema| schema.prune(&mut config.clone())).unwrap_or_default();
    let Some(first) = unknown.first() else { return Ok(()) };
    let object = format!("{}/{}; {}, Kind={}", call.path.namespace, object::name(config), kind.api_version(), kind.kind);
    Err(ApiError::plain(format!("failed to create typed patch object ({object}): .{first}: field not declared in schema")))
}
