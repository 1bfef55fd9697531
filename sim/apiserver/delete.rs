//! Delete: finalizers, grace, propagation, and what a deletion takes along.
//!
//! The rules are those of apiserver's `rest.BeforeDelete` and of kube-controller-manager's garbage collector and namespace controller;
//! the controllers' part happens here within the request that causes it, worked off from a queue and never by recursion.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::dispatch;
use crate::engine::{Actor, Engine, from_storage, to_storage};
use crate::registry::{self, Kind};
use crate::request::{Request, ResourcePath};
use crate::status::{ApiError, FieldError};
use crate::store::{GroupResource, ObjectKey};
use crate::write::Call;
use crate::{ClientName, object, read};

const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    grace_seconds: Option<i64>,
    propagation: Propagation,
    uid: String,
    resource_version: String,
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

impl Options {
    /// Reads a DELETE's options; the body wins over the query.
    pub(crate) fn read(request: &Request) -> Result<Self, ApiError> {
        let body = if request.body.is_empty() { json!({}) } else { dispatch::body_object(request)? };
        let kind = object::text(&body, &["kind"]);
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(ApiError::bad_request(format!("unable to decode DeleteOptions from a {kind}")));
        }
        Self::of(&body, request)
    }

    /// Reads options that are a part of another body, as an Eviction's are.
    pub(crate) fn of(body: &Value, request: &Request) -> Result<Self, ApiError> {
        let query = &request.query;
        let from_query = query.get("propagationPolicy");
        let orphan = body["orphanDependents"].as_bool().or_else(|| query.flag("orphanDependents"));
        let propagation = match body["propagationPolicy"].as_str().unwrap_or(from_query) {
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            "Background" => Propagation::Background,
            "" if orphan == Some(true) => Propagation::Orphan,
            "" => Propagation::Background,
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                return Err(ApiError::invalid_options(
                    "DeleteOptions",
                    &FieldError::unsupported("propagationPolicy", &json!(other), &known),
                ));
            }
        };
        if orphan.is_some() && (body["propagationPolicy"].is_string() || !from_query.is_empty()) {
            let error = FieldError::invalid(
                "propagationPolicy",
                &body["propagationPolicy"],
                "orphanDependents and deletionPropagation cannot be both set",
            );
            return Err(ApiError::invalid_options("DeleteOptions", &error));
        }
        let grace_seconds = match body["gracePeriodSeconds"].as_i64() {
            Some(seconds) => Some(seconds),
            None => query.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok()),
        };
        let dry_run = object::list(body, &["dryRun"]).iter().any(|value| value == "All") || query.get("dryRun") == "All";
        let uid = object::text(body, &["preconditions", "uid"]).to_owned();
        let resource_version = object::text(body, &["preconditions", "resourceVersion"]).to_owned();
        Ok(Self { grace_seconds, propagation, uid, resource_version, dry_run })
    }
}

/// DELETE of one object; returns the object when it stays for a while, else a `Status`.
pub(crate) fn delete(engine: &mut Engine, call: &Call<'_>, options: &Options) -> Result<Value, ApiError> {
    let (kind, key) = (call.kind, call.key());
    let stored = engine.store.get(&kind.storage, &key).cloned().ok_or_else(|| ApiError::not_found(kind, &key.name))?;
    check(kind, &key, &stored, options)?;
    if options.dry_run || call.dry_run {
        return Ok(gone(engine, kind, &from_storage(kind, &stored)));
    }
    let object = begin(engine, &call.actor(), kind, &key, &stored, options);
    let last = from_storage(kind, &object);
    if engine.store.get(&kind.storage, &key).is_some() { Ok(last) } else { Ok(gone(engine, kind, &last)) }
}

/// DELETE of a collection.
pub(crate) fn delete_collection(engine: &mut Engine, call: &Call<'_>, request: &Request) -> Result<Value, ApiError> {
    let options = Options::read(request)?;
    let listed = read::list(engine, call.kind, call.path, request)?;
    for item in &listed.items {
        let key = ObjectKey::new(object::namespace(item), object::name(item));
        let stored = engine.store.get(&call.kind.storage, &key).cloned();
        if let Some(stored) = stored.filter(|_| !options.dry_run && !call.dry_run) {
            begin(engine, &call.actor(), call.kind, &key, &stored, &options);
        }
    }
    serde_json::from_slice(&listed.to_json(call.kind)).map_err(|error| ApiError::plain(error.to_string()))
}

/// An update took the last finalizer off an object that is being deleted: it goes now.
pub(crate) fn finish(engine: &mut Engine, call: &Call<'_>, key: &ObjectKey, new: Value) -> Result<Value, ApiError> {
    if call.dry_run {
        return Ok(new);
    }
    // As in a real server the update itself is not stored: watchers see one DELETED event, with the last stored state. The answer is the update.
    let actor = Actor { verb: "delete", ..call.actor() };
    engine.remove(&actor, call.kind, key);
    Ok(new)
}

/// Whether a deleting object without finalizers may be removed: a Pod waits for its kubelet, a Namespace for its content.
pub(crate) fn may_go(kind: &Kind, object: &Value) -> bool {
    let grace = object::number(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    grace == 0 && (kind.kind != "Namespace" || object::list(object, &["spec", "finalizers"]).is_empty())
}

/// Works off what deletions caused: dependents, owners that wait for them, namespaces that are empty now.
pub(crate) fn collect_garbage(engine: &mut Engine) {
    while let Some(removed) = engine.removed.pop_front() {
        for (resource, key) in engine.store.dependents(object::uid(&removed)) {
            release(engine, &resource, &key);
        }
        for owner in object::list(&removed, &["metadata", "ownerReferences"]) {
            unblock_owner(engine, owner, object::namespace(&removed));
        }
        finish_namespace(engine, object::namespace(&removed));
        crate::crd::finish(engine, &removed);
    }
}

fn collector() -> Actor {
    Actor { client: ClientName::from("garbage-collector"), verb: "delete", subresource: String::new() }
}

fn check(kind: &Kind, key: &ObjectKey, stored: &Value, options: &Options) -> Result<(), ApiError> {
    let (uid, version) = (object::uid(stored), object::resource_version(stored));
    if !options.uid.is_empty() && options.uid != uid {
        let why = format!(
            "the UID in the precondition ({}) does not match the UID in record ({uid}). The object might have been deleted and then recreated",
            options.uid
        );
        return Err(ApiError::conflict_of_kind(kind, &key.name, &why));
    }
    if !options.resource_version.is_empty() && options.resource_version != version {
        let why = format!(
            "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({version}). The object might have been modified",
            options.resource_version
        );
        return Err(ApiError::conflict_of_kind(kind, &key.name, &why));
    }
    let kept = ["default", "kube-system", "kube-public"].contains(&key.name.as_str());
    if kind.kind == "Namespace" && kept {
        return Err(ApiError::forbidden(kind, &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Begins a deletion and ends it at once where nothing holds the object. Returns its last state.
fn begin(engine: &mut Engine, actor: &Actor, kind: &Kind, key: &ObjectKey, stored: &Arc<Value>, options: &Options) -> Arc<Value> {
    let mut object = Value::clone(stored);
    propagate(engine, &mut object, options.propagation);
    let grace = grace_seconds(kind, &object, options);
    let held = !object::finalizers(&object).is_empty() || grace > 0 || kind.kind == "Namespace" || is_used_crd(engine, kind, &object);
    if !held {
        return engine.remove(actor, kind, key).unwrap_or_else(|| Arc::clone(stored));
    }
    let already = object::is_deleting(&object);
    let old_grace = object::number(&object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if already && grace >= old_grace && !object::differ(&object, stored) {
        return Arc::clone(stored);
    }
    mark(engine, kind, &mut object, grace);
    let object = engine.commit(actor, kind, key, object);
    match kind.kind.as_str() {
        "Namespace" => empty_namespace(engine, actor, key),
        "CustomResourceDefinition" => empty_kind(engine, actor, &object),
        _ => {}
    }
    object
}

fn mark(engine: &Engine, kind: &Kind, object: &mut Value, grace: i64) {
    let due = engine.now.saturating_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(engine.now);
    let already = object::is_deleting(object);
    let generation = object::number(object, &["metadata", "generation"]).unwrap_or(0);
    let metadata = object::metadata_mut(object);
    metadata.insert("deletionTimestamp".to_owned(), clock::time(due).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if generation > 0 && !already {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    if kind.kind == "Namespace" {
        object["status"]["phase"] = json!("Terminating");
        object::metadata_mut(object).remove("deletionGracePeriodSeconds");
    }
}

/// Pods that run somewhere get their grace period (`podStrategy.CheckGracefulDelete`); everything else goes at once.
fn grace_seconds(kind: &Kind, object: &Value, options: &Options) -> i64 {
    if kind.kind != "Pod" || kind.custom.is_some() {
        return 0;
    }
    let unscheduled = object::text(object, &["spec", "nodeName"]).is_empty();
    let over = matches!(object::text(object, &["status", "phase"]), "Failed" | "Succeeded");
    if unscheduled || over {
        return 0;
    }
    let default = object::number(object, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    options.grace_seconds.unwrap_or(default).max(0)
}

fn propagate(engine: &mut Engine, object: &mut Value, propagation: Propagation) {
    let uid = object::uid(object).to_owned();
    let dependents = engine.store.dependents(&uid);
    match propagation {
        Propagation::Background => {}
        Propagation::Orphan => {
            for (resource, key) in dependents {
                drop_owners(engine, &resource, &key, |owner| object::text(owner, &["uid"]) == uid);
            }
        }
        Propagation::Foreground if dependents.iter().any(|dependent| blocks(engine, dependent, &uid)) => {
            for (resource, key) in &dependents {
                delete_dependent(engine, resource, key);
            }
            if engine.store.dependents(&uid).iter().any(|dependent| blocks(engine, dependent, &uid))
                && !object::finalizers(object).contains(&FOREGROUND)
            {
                let finalizers = object::metadata_mut(object).entry("finalizers").or_insert_with(|| json!([]));
                finalizers.as_array_mut().into_iter().for_each(|list| list.push(json!(FOREGROUND)));
            }
        }
        Propagation::Foreground => {}
    }
}

fn blocks(engine: &Engine, (resource, key): &(GroupResource, ObjectKey), owner: &str) -> bool {
    let Some(dependent) = engine.store.get(resource, key) else { return false };
    let owners = object::list(dependent, &["metadata", "ownerReferences"]);
    owners.iter().any(|reference| object::text(reference, &["uid"]) == owner && reference["blockOwnerDeletion"] == true)
}

/// An owner is gone: its dependent goes too, unless another owner lives.
fn release(engine: &mut Engine, resource: &GroupResource, key: &ObjectKey) {
    let Some(dependent) = engine.store.get(resource, key).cloned() else { return };
    let owners = object::list(&dependent, &["metadata", "ownerReferences"]);
    let lives = |owner: &Value| {
        let kind = engine.kind_named(object::text(owner, &["apiVersion"]), object::text(owner, &["kind"]));
        kind.is_some_and(|kind| {
            let namespace = if kind.namespaced { key.namespace.as_str() } else { "" };
            engine.store.holds(&kind.storage, &ObjectKey::new(namespace, object::text(owner, &["name"])), object::text(owner, &["uid"]))
        })
    };
    let dead: Vec<String> = owners.iter().filter(|owner| !lives(owner)).map(|owner| object::text(owner, &["uid"]).to_owned()).collect();
    if dead.len() == owners.len() {
        delete_dependent(engine, resource, key);
    } else {
        drop_owners(engine, resource, key, |owner| dead.iter().any(|uid| uid == object::text(owner, &["uid"])));
    }
}

fn delete_dependent(engine: &mut Engine, resource: &GroupResource, key: &ObjectKey) {
    let (Some(kind), Some(stored)) = (engine.kind_stored_as(resource), engine.store.get(resource, key).cloned()) else { return };
    if !object::is_deleting(&stored) {
        begin(engine, &collector(), &kind, key, &stored, &Options::default());
    }
}

fn drop_owners(engine: &mut Engine, resource: &GroupResource, key: &ObjectKey, drop_it: impl Fn(&Value) -> bool) {
    let (Some(kind), Some(stored)) = (engine.kind_stored_as(resource), engine.store.get(resource, key)) else { return };
    let mut object = Value::clone(stored);
    let metadata = object::metadata_mut(&mut object);
    if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|owner| !drop_it(owner));
        if owners.is_empty() {
            metadata.remove("ownerReferences");
        }
    }
    engine.commit(&Actor { verb: "patch", ..collector() }, &kind, key, object);
}

/// A dependent is gone: an owner that waited for it in the foreground may go.
fn unblock_owner(engine: &mut Engine, owner: &Value, namespace: &str) {
    let Some(kind) = engine.kind_named(object::text(owner, &["apiVersion"]), object::text(owner, &["kind"])) else { return };
    let key = ObjectKey::new(if kind.namespaced { namespace } else { "" }, object::text(owner, &["name"]));
    let Some(stored) = engine.store.get(&kind.storage, &key).cloned() else { return };
    let uid = object::uid(&stored);
    if uid != object::text(owner, &["uid"]) || !object::finalizers(&stored).contains(&FOREGROUND) {
        return;
    }
    if engine.store.dependents(uid).iter().any(|dependent| blocks(engine, dependent, uid)) {
        return;
    }
    let mut object = Value::clone(&stored);
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|name| name != FOREGROUND);
    }
    if object::finalizers(&object).is_empty() {
        object::metadata_mut(&mut object).remove("finalizers");
        engine.commit(&Actor { verb: "patch", ..collector() }, &kind, &key, object);
        engine.remove(&collector(), &kind, &key);
    } else {
        engine.commit(&Actor { verb: "patch", ..collector() }, &kind, &key, object);
    }
}

/// The namespace controller's work: everything in it is deleted.
fn empty_namespace(engine: &mut Engine, actor: &Actor, namespace: &ObjectKey) {
    for resource in engine.store.resources() {
        delete_all(engine, actor, &resource, Some(&namespace.name));
    }
    finish_namespace(engine, &namespace.name);
}

/// A CRD's end is the end of its objects.
fn empty_kind(engine: &mut Engine, actor: &Actor, crd: &Value) {
    let resource = GroupResource::new(object::text(crd, &["spec", "group"]), object::text(crd, &["spec", "names", "plural"]));
    delete_all(engine, actor, &resource, None);
}

fn delete_all(engine: &mut Engine, actor: &Actor, resource: &GroupResource, namespace: Option<&str>) {
    let Some(kind) = engine.kind_stored_as(resource) else { return };
    let objects: Vec<_> = engine.store.scan(resource, namespace).map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
    for (key, stored) in objects.into_iter().filter(|(_, stored)| !object::is_deleting(stored)) {
        begin(engine, actor, &kind, &key, &stored, &Options::default());
    }
}

fn is_used_crd(engine: &Engine, kind: &Kind, crd: &Value) -> bool {
    let resource = GroupResource::new(object::text(crd, &["spec", "group"]), object::text(crd, &["spec", "names", "plural"]));
    kind.kind == "CustomResourceDefinition" && engine.store.scan(&resource, None).next().is_some()
}

fn finish_namespace(engine: &mut Engine, namespace: &str) {
    let Some(kind) = registry::builtin("", "v1", "namespaces") else { return };
    let key = ObjectKey::new("", namespace);
    let terminating = engine.store.get(&kind.storage, &key).is_some_and(|namespace| object::is_deleting(namespace));
    if namespace.is_empty() || !terminating {
        return;
    }
    let empty = engine.store.resources().iter().all(|resource| engine.store.scan(resource, Some(namespace)).next().is_none());
    let held = engine.store.get(&kind.storage, &key).is_some_and(|namespace| !object::finalizers(namespace).is_empty());
    if empty && !held {
        engine.remove(&collector(), &kind, &key);
    }
}

/// What DELETE answers when the object is gone: Pods and Services come back whole, of the rest a `Status` says so.
fn gone(engine: &Engine, kind: &Kind, last: &Value) -> Value {
    if matches!(kind.kind.as_str(), "Service" | "ServiceAccount") && kind.custom.is_none() {
        return to_storage(kind, last.clone());
    }
    if matches!(kind.kind.as_str(), "Pod" | "CustomResourceDefinition") && kind.custom.is_none() {
        let mut last = last.clone();
        mark(engine, kind, &mut last, 0);
        return last;
    }
    let mut details = json!({"name": object::name(last), "kind": kind.plural, "uid": object::uid(last)});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Evicting is deleting with the eviction's options; there are no disruption budgets.
pub(crate) fn evict(engine: &mut Engine, call: &Call<'_>, body: &Value) -> Result<Value, ApiError> {
    let request = Request::bodiless(call.client.clone());
    let options = Options::of(&body["deleteOptions"], &request)?;
    let path = ResourcePath { subresource: String::new(), ..call.path.clone() };
    let call = Call {
        path: &path,
        kind: call.kind,
        client: call.client.clone(),
        verb: "delete",
        manager: call.manager.clone(),
        dry_run: call.dry_run,
        validation: call.validation,
        warnings: Vec::new(),
        owners: None,
    };
    delete(engine, &call, &options)?;
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}
