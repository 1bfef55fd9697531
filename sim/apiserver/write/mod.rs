//! Create, replace and patch: how a body becomes a stored object.
//!
//! The order is that of apiserver's `registry/generic` and `rest.BeforeCreate`/`BeforeUpdate`: decode and prune, restore what clients may
//! not change, complete, validate, and store only what differs. What completes and validates a kind is `admission`; reading the body is
//! [`decode`], what is the same for the metadata of all kinds [`metadata`].

mod decode;
mod metadata;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::{Actor, Engine, from_storage, to_storage};
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::status::{ApiError, FieldError};
use crate::store::ObjectKey;
use crate::{ClientName, admission, apply, delete, events, object, patch, registry};
use decode::decode;
use metadata::{bump_generation, check_preconditions, give_identity, give_metadata, metadata_errors, restore_metadata, stale_uid};

/// What becomes of fields that the schema does not know (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Dropped.
    Ignore,
    /// Dropped, with a Warning header.
    Warn,
    /// Refused with 400.
    Strict,
}

/// One writing request.
pub(crate) struct Call<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) path: &'a ResourcePath,
    pub(crate) client: ClientName,
    pub(crate) verb: &'static str,
    /// Who owns what is written, in `managedFields`.
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
    pub(crate) warnings: Vec<String>,
    /// The `managedFields` that a creation by server-side apply gives.
    pub(crate) owners: Option<Value>,
}

impl Call<'_> {
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.path.namespace, &self.path.name)
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor { client: self.client.clone(), verb: self.verb, subresource: self.path.subresource.clone() }
    }

    fn invalid(&self, name: &str, errors: &[FieldError]) -> ApiError {
        ApiError::invalid(self.kind, name, errors)
    }
}

/// POST to a collection.
pub(crate) fn create(engine: &mut Engine, call: &mut Call<'_>, body: Value) -> Result<Value, ApiError> {
    let kind = call.kind;
    let mut object = decode(call, body)?;
    if !object::resource_version(&object).is_empty() {
        return Err(ApiError::plain("resourceVersion should not be set on objects to be created"));
    }
    let named = object::namespace(&object).to_owned();
    if kind.namespaced && !named.is_empty() && named != call.path.namespace {
        return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    give_metadata(call, &mut object, engine.now);
    give_identity(engine, call, &mut object);
    let name = object::name(&object).to_owned();
    if name.is_empty() {
        return Err(call.invalid("", &[FieldError::required("metadata.name", "name or generateName is required")]));
    }
    admit_to_namespace(engine, kind, &call.path.namespace, &name)?;
    let key = ObjectKey::new(&call.path.namespace, &name);
    if kind.status
        && kind.kind != "Node"
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    complete(kind, &mut object);
    let mut errors = metadata_errors(kind, &object, None);
    let wrong = kind.schema.as_ref().map(|schema| schema.judge(&object, None)).unwrap_or_default();
    if wrong.is_empty() {
        errors.extend(admission::create(engine, kind, &mut object));
    }
    errors.extend(wrong);
    if !errors.is_empty() {
        return Err(call.invalid(&name, &errors));
    }
    // Judged before it is looked up, as a real server does: what is wrong is said first.
    if engine.store.get(&kind.storage, &key).is_some() {
        return Err(ApiError::already_exists(kind, &name));
    }
    if kind.generation {
        object::metadata_mut(&mut object).insert("generation".to_owned(), json!(1));
    }
    call.warnings.extend(admission::warnings(kind, &object));
    if let Some(owners) = call.owners.take() {
        object::metadata_mut(&mut object).insert("managedFields".to_owned(), owners);
    }
    let created = store(engine, call, &key, object)?;
    if !call.dry_run {
        engine.take_identity(&kind.storage);
    }
    Ok(created)
}

/// PUT of an object or of its status.
pub(crate) fn replace(engine: &mut Engine, call: &mut Call<'_>, body: Value) -> Result<(u16, Value), ApiError> {
    let exists = engine.store.get(&call.kind.storage, &call.key()).is_some();
    if !exists && call.kind.create_on_update && call.path.subresource.is_empty() {
        let mut body = body;
        let uid = object::uid(&body);
        if !uid.is_empty() {
            // Whoever names a uid means an object that was there (`DefaultUpdatedObjectInfo.Preconditions`).
            let why = stale_uid(call.kind, &call.key(), uid, "");
            return Err(ApiError::conflict(call.kind, &call.path.name, &why));
        }
        object::metadata_mut(&mut body).remove("resourceVersion");
        call.verb = "create";
        return Ok((201, create(engine, call, body)?));
    }
    if object::resource_version(&body).is_empty() && !call.kind.unconditional_update && exists {
        return Err(ApiError::unconditional(call.kind, &call.path.name));
    }
    Ok((200, update(engine, call, |_| Ok(body))?))
}

/// PATCH in any of the four forms.
pub(crate) fn patch(engine: &mut Engine, call: &mut Call<'_>, request: &Request) -> Result<(u16, Value), ApiError> {
    let form = patch::Form::read(&request.content_type)?;
    if form != patch::Form::Apply && request.query.flag("force").is_some() {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid_options("PatchOptions", &error));
    }
    if form == patch::Form::Apply {
        return apply::apply(engine, call, request);
    }
    let kind = call.kind;
    let body = request.body.clone();
    let value = update(engine, call, |current| patch::patch(kind, form, current, &body)).map_err(ApiError::of_a_patch)?;
    Ok((200, value))
}

/// Changes an object that exists: `change` gets the current object in the request's version and returns the wished one.
pub(crate) fn update(
    engine: &mut Engine,
    call: &mut Call<'_>,
    change: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let (kind, key) = (call.kind, call.key());
    let served = match call.path.subresource.as_str() {
        "status" => kind.status,
        subresource => matches!(subresource, "" | "scale" | "binding" | "finalize"),
    };
    if !served {
        return Err(ApiError::no_such_path());
    }
    let stored = engine.store.get(&kind.storage, &key).cloned().ok_or_else(|| ApiError::not_found(kind, &key.name))?;
    let old = from_storage(kind, &stored);
    let wished = change(&old)?;
    let mut new = decode(call, wished)?;
    check_preconditions(call, &old, &new)?;
    restore_metadata(&mut new, &old);
    split_status(call, &mut new, &old);
    complete(kind, &mut new);
    let mut errors = metadata_errors(kind, &new, Some(&old));
    let wrong = kind.schema.as_ref().map(|schema| schema.judge(&new, Some(&old))).unwrap_or_default();
    if wrong.is_empty() {
        errors.extend(admission::update(engine, kind, &call.path.subresource, &mut new, &old));
    }
    errors.extend(wrong);
    if !errors.is_empty() {
        return Err(call.invalid(&key.name, &errors));
    }
    bump_generation(kind, &mut new, &old);
    call.warnings.extend(admission::warnings(kind, &new));
    if !object::differ(&new, &old) && !apply::managers_differ(&new, &old) {
        return Ok(old);
    }
    apply::track_update(call, engine.now, &mut new, &old);
    if object::is_deleting(&new) && object::finalizers(&new).is_empty() && delete::may_go(kind, &new) {
        return delete::finish(engine, call, &key, new);
    }
    store(engine, call, &key, new)
}

/// Namespaces and the Service that every cluster has from its first second.
pub(crate) fn bootstrap(engine: &mut Engine) {
    let mut put = |plural: &str, namespace: &str, body: Value| {
        let Some(kind) = registry::builtin("", "v1", plural) else { return };
        let path = ResourcePath {
            group: String::new(),
            version: "v1".to_owned(),
            namespace: namespace.to_owned(),
            plural: plural.to_owned(),
            name: String::new(),
            subresource: String::new(),
            watching: false,
        };
        let mut call = Call {
            kind: &kind,
            path: &path,
            client: ClientName::from("kube-apiserver"),
            verb: "create",
            manager: "kube-apiserver".to_owned(),
            dry_run: false,
            validation: FieldValidation::Strict,
            warnings: Vec::new(),
            owners: None,
        };
        create(engine, &mut call, body).expect("the first objects are valid, and nothing is there to conflict");
    };
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        put("namespaces", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ports = json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]);
    put(
        "services",
        "default",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "labels": labels}, "spec": {"ports": ports}}),
    );
}

/// Writes a finished object, unless the run is dry, and returns it in the request's version.
pub(crate) fn store(engine: &mut Engine, call: &Call<'_>, key: &ObjectKey, object: Value) -> Result<Value, ApiError> {
    if call.dry_run {
        return Ok(object);
    }
    let stored = engine.commit(&call.actor(), call.kind, key, to_storage(call.kind, object));
    if call.kind.kind == "Event" {
        events::schedule_expiry(engine, key, engine.store.revision());
    }
    Ok(Arc::unwrap_or_clone(crate::read::viewed(call.kind, stored)))
}

fn admit_to_namespace(engine: &Engine, kind: &Kind, namespace: &str, name: &str) -> Result<(), ApiError> {
    if !kind.namespaced {
        return Ok(());
    }
    let Some(namespaces) = registry::builtin("", "v1", "namespaces") else { return Ok(()) };
    let found = engine.store.get(&namespaces.storage, &ObjectKey::new("", namespace)).ok_or_else(|| ApiError::no_namespace(namespace))?;
    if object::is_deleting(found) && kind.kind != "Event" {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(kind, name, &why);
        let said = format!("namespace {namespace} is being terminated");
        error.details["causes"] = json!([{"reason": "NamespaceTerminating", "message": said, "field": "metadata.namespace"}]);
        return Err(error);
    }
    Ok(())
}

/// The status subresource writes nothing but status, the main resource everything else (`PrepareForUpdate` of each kind's strategies).
fn split_status(call: &Call<'_>, new: &mut Value, old: &Value) {
    if !call.kind.status {
        return;
    }
    if call.path.subresource != "status" {
        // Binding a Pod is the server's own change of both.
        if call.path.subresource != "binding" {
            object::copy_key(new, old, "status");
        }
        return;
    }
    let keys: Vec<String> = [new.as_object(), old.as_object()].into_iter().flatten().flat_map(|map| map.keys().cloned()).collect();
    for key in keys.iter().filter(|key| !matches!(key.as_str(), "status" | "metadata")) {
        object::copy_key(new, old, key);
    }
    // Custom kinds and CRDs keep all their metadata, the workloads their labels; Services, Nodes and Pods may change theirs with a status.
    let kept: &[&str] = match call.kind.kind.as_str() {
        _ if call.kind.custom.is_some() || call.kind.kind == "CustomResourceDefinition" => {
            &["labels", "annotations", "finalizers", "ownerReferences"]
        }
        "Deployment" => &["labels"],
        "Pod" => &["ownerReferences"],
        _ => &[],
    };
    kept.iter().for_each(|key| object::copy_metadata(new, old, key));
}

/// Fills in what has no need of the cluster's state.
fn complete(kind: &Kind, object: &mut Value) {
    admission::defaults(kind, object);
}
