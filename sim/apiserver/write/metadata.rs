//! The metadata of what is written: what the server gives and keeps, and what it refuses of the rest.
//!
//! Everything here is the same for all kinds. What a kind's own fields must be is `admission`'s and the schema's.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Call;
use crate::engine::Engine;
use crate::registry::Kind;
use crate::status::{ApiError, FieldError};
use crate::store::ObjectKey;
use crate::{clock, names, object};

/// How many generated names are tried before the create is refused (apiserver `registry/generic`, maxNameGenerationCreateAttempts).
const NAMES_MAX: usize = 8;

pub(super) fn give_metadata(call: &Call<'_>, object: &mut Value, now: Timestamp) {
    let metadata = object::metadata_mut(object);
    for key in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"] {
        metadata.remove(key);
    }
    metadata.insert("creationTimestamp".to_owned(), clock::time(now).into());
    if call.kind.namespaced {
        metadata.insert("namespace".to_owned(), call.path.namespace.clone().into());
    } else {
        metadata.remove("namespace");
    }
}

/// A uid, and a name where only the base of one is given (apiserver `names.SimpleNameGenerator`: 58 characters of it, then five at random).
pub(super) fn give_identity(engine: &mut Engine, call: &Call<'_>, object: &mut Value) {
    let storage = &call.kind.storage;
    let mut identity = engine.next_identity(storage);
    let metadata = object::metadata_mut(object);
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    let base = metadata.get("generateName").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() && !base.is_empty() {
        let base: String = base.chars().take(58).collect();
        let mut generated = format!("{base}{}", identity.suffix);
        for _ in 1..NAMES_MAX {
            if engine.store.get(storage, &ObjectKey::new(&call.path.namespace, &generated)).is_none() {
                break;
            }
            // An identity whose name is another's is skipped: refused and left in its place it would be refused for ever.
            engine.take_identity(storage);
            identity = engine.next_identity(storage);
            generated = format!("{base}{}", identity.suffix);
        }
        metadata.insert("name".to_owned(), generated.into());
    }
    metadata.insert("uid".to_owned(), identity.uid.into());
}

/// What storage says of an update that names another uid.
pub(super) fn stale_uid(kind: &Kind, key: &ObjectKey, named: &str, current: &str) -> String {
    let path = [if kind.group.is_empty() { "" } else { kind.group.as_str() }, &kind.plural, &key.namespace, &key.name];
    let path = path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {named}, UID in object meta: {current}"
    )
}

pub(super) fn check_preconditions(call: &Call<'_>, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (kind, name) = (call.kind, call.path.name.as_str());
    let (given, given_space) = (object::name(new), object::namespace(new));
    if given != name {
        return Err(ApiError::bad_request(format!("the name of the object ({given}) does not match the name on the URL ({name})")));
    }
    if !given_space.is_empty() && given_space != call.path.namespace {
        return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    let (uid, current) = (object::uid(new), object::uid(old));
    if !uid.is_empty() && uid != current {
        return Err(ApiError::conflict(kind, name, &stale_uid(kind, &call.key(), uid, current)));
    }
    let version = object::resource_version(new);
    if !version.is_empty() && version.parse::<u64>().is_err() {
        return Err(ApiError::plain(format!("strconv.ParseUint: parsing {version:?}: invalid syntax")));
    }
    if !version.is_empty() && version != "0" && version != object::resource_version(old) {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ApiError::conflict(kind, name, why));
    }
    Ok(())
}

pub(super) fn restore_metadata(new: &mut Value, old: &Value) {
    for key in [
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
        "selfLink",
    ] {
        object::copy_metadata(new, old, key);
    }
    if object::at(new, &["metadata", "managedFields"]).is_none() {
        object::copy_metadata(new, old, "managedFields");
    }
}

pub(super) fn metadata_errors(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    if old.is_none() {
        errors.extend(names::refuse(kind.name_rule, "metadata.name", object::name(object)));
    }
    errors.extend(names::refuse_labels("metadata.labels", metadata.get("labels")));
    errors.extend(names::refuse_annotations("metadata.annotations", metadata.get("annotations")));
    errors.extend(finalizer_errors(kind, object));
    if let Some(old) = old.filter(|old| object::is_deleting(old)) {
        let before = object::finalizers(old);
        let added: Vec<&str> = object::finalizers(object).into_iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            // Go prints the list with its type, and validation says it twice.
            let listed = added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            let detail =
                format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}");
            errors.extend([FieldError::forbidden("metadata.finalizers", &detail), FieldError::forbidden("metadata.finalizers", &detail)]);
        }
    }
    errors.extend(owner_errors(object));
    errors
}

/// A finalizer has a domain, unless it is one that every cluster knows (`ValidateFinalizerName`). Custom kinds are asked for less.
fn finalizer_errors(kind: &Kind, object: &Value) -> Vec<FieldError> {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let mut errors = Vec::new();
    for (index, finalizer) in object::finalizers(object).into_iter().enumerate() {
        let value = json!(finalizer);
        let wrong = names::qualified_name_errors(finalizer);
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid("metadata.finalizers", &value, why)));
        if kind.custom.is_none() && !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("metadata.finalizers[{index}]"), &value, why));
        }
    }
    errors
}

fn owner_errors(object: &Value) -> Vec<FieldError> {
    let owners = object::list(object, &["metadata", "ownerReferences"]);
    let mut errors = Vec::new();
    for owner in owners {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if object::text(owner, &[key]).is_empty() {
                errors.push(FieldError::invalid(format!("metadata.ownerReferences.{key}"), &json!(""), "must not be empty"));
            }
        }
    }
    if owners.iter().filter(|owner| owner["controller"] == true).count() > 1 {
        errors.push(two_controllers(owners));
    }
    errors
}

/// Go prints its own structs, and the first two that claim to control.
fn two_controllers(owners: &[Value]) -> FieldError {
    let keys = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let shown = |owner: &Value| {
        let fields = keys.into_iter().filter_map(|key| Some(format!("\"{key}\":{}", owner.get(key)?)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    };
    let list = owners.iter().map(shown).collect::<Vec<_>>().join(",");
    let named = |owner: &Value| format!("{}/{}", object::text(owner, &["kind"]), object::text(owner, &["name"]));
    let claims: Vec<String> = owners.iter().filter(|owner| owner["controller"] == true).take(2).map(named).collect();
    let detail = format!("Only one reference can have Controller set to true. Found \"true\" in references for {}", claims.join(" and "));
    FieldError {
        path: "metadata.ownerReferences".to_owned(),
        reason: "FieldValueInvalid",
        detail: format!("Invalid value: [{list}]: {detail}"),
    }
}

/// A generation counts the changes of what was asked for: everything but metadata and, where it is split off, status.
pub(super) fn bump_generation(kind: &Kind, new: &mut Value, old: &Value) {
    if !kind.generation {
        return;
    }
    let asked = |object: &Value| {
        let map = object.as_object().into_iter().flatten();
        let relevant = map.filter(|(key, _)| *key != "metadata" && !(*key == "status" && kind.status));
        relevant.map(|(key, value)| (key.clone(), value.clone())).collect::<serde_json::Map<_, _>>()
    };
    if asked(new) != asked(old) {
        let generation = object::number(old, &["metadata", "generation"]).unwrap_or(0) + 1;
        object::metadata_mut(new).insert("generation".to_owned(), json!(generation));
    }
}
