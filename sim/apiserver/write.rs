//! Create, replace and patch: how a body becomes a stored object.
//!
//! The order is that of apiserver's `registry/generic` and `rest.BeforeCreate`/`BeforeUpdate`: decode and prune, restore what clients may
//! not change, complete, validate, and store only what differs. What completes and validates a kind is `admission`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock;
use crate::engine::{Actor, Engine, from_storage, to_storage};
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::status::{ApiError, FieldError};
use crate::store::ObjectKey;
use crate::{ClientName, admission, apply, delete, events, names, object, patch, registry, schema};

/// How many generated names are tried before the create is refused (apiserver `registry/generic`, maxNameGenerationCreateAttempts).
const NAMES_MAX: usize = 8;

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

/// Checks what the body claims to be, and removes what the schema does not know.
fn decode(call: &mut Call<'_>, mut body: Value) -> Result<Value, ApiError> {
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

fn give_metadata(call: &Call<'_>, object: &mut Value, now: Timestamp) {
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
fn give_identity(engine: &mut Engine, call: &Call<'_>, object: &mut Value) {
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

/// What storage says of an update that names another uid.
fn stale_uid(kind: &Kind, key: &ObjectKey, named: &str, current: &str) -> String {
    let path = [if kind.group.is_empty() { "" } else { kind.group.as_str() }, &kind.plural, &key.namespace, &key.name];
    let path = path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {named}, UID in object meta: {current}"
    )
}

fn check_preconditions(call: &Call<'_>, old: &Value, new: &Value) -> Result<(), ApiError> {
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

fn restore_metadata(new: &mut Value, old: &Value) {
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

fn metadata_errors(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
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
fn bump_generation(kind: &Kind, new: &mut Value, old: &Value) {
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
