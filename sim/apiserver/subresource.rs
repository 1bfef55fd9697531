//! Scale, binding and eviction: the subresources that are objects of another kind.
//!
//! `status` is not here: it is a way of updating the object itself (`write`).

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::status::{ApiError, FieldError};
use crate::write::{self, Call};
use crate::{clock, delete, object, patch, read};

/// GET of a subresource other than status.
pub(crate) fn get(engine: &Engine, kind: &Kind, path: &ResourcePath) -> Result<Value, ApiError> {
    match (path.subresource.as_str(), &kind.scale) {
        ("scale", Some(_)) => scale_of(kind, &read::get(engine, kind, path, engine.store.revision())?),
        _ => Err(ApiError::no_such_path()),
    }
}

/// POST to a subresource: `binding` and `eviction` of Pods.
pub(crate) fn post(engine: &mut Engine, call: &mut Call<'_>, body: Value) -> Result<(u16, Value), ApiError> {
    match (call.kind.kind.as_str(), call.path.subresource.as_str()) {
        ("Pod", "binding") => Ok((201, bind(engine, call, &body)?)),
        ("Pod", "eviction") => Ok((201, delete::evict(engine, call, &body)?)),
        _ => Err(ApiError::no_such_path()),
    }
}

/// PUT of a Scale.
pub(crate) fn put_scale(engine: &mut Engine, call: &mut Call<'_>, scale: &Value) -> Result<Value, ApiError> {
    write_scale(engine, call, |_| Ok(scale.clone()))
}

/// PATCH of a Scale.
pub(crate) fn patch_scale(engine: &mut Engine, call: &mut Call<'_>, request: &Request) -> Result<Value, ApiError> {
    let form = patch::Form::read(&request.content_type)?;
    let kind = call.kind;
    write_scale(engine, call, |scale| patch::patch(kind, form, scale, &request.body))
}

fn write_scale(
    engine: &mut Engine,
    call: &mut Call<'_>,
    change: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let kind = call.kind;
    let Some(paths) = &kind.scale else { return Err(ApiError::no_such_path()) };
    let name = call.path.name.clone();
    let updated = write::update(engine, call, |current| {
        let scale = change(&scale_of(kind, current)?)?;
        let replicas = object::number(&scale, &["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let error = FieldError::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            return Err(ApiError::invalid(&scale_kind(kind), &name, &[error]));
        }
        let mut wished = current.clone();
        let version = object::resource_version(&scale);
        if !version.is_empty() {
            wished["metadata"]["resourceVersion"] = json!(version);
        }
        set(&mut wished, &paths.spec_replicas, json!(replicas));
        Ok(wished)
    })?;
    scale_of(kind, &updated)
}

/// A Scale is another kind than what it scales.
fn scale_kind(kind: &Kind) -> Kind {
    Kind { group: "autoscaling".to_owned(), kind: "Scale".to_owned(), ..kind.clone() }
}

fn set(object: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().fold(object, |object, key| &mut object[key.as_str()]);
    if parent.is_object() || parent.is_null() {
        parent[last.as_str()] = value;
    }
}

fn scale_of(kind: &Kind, object: &Value) -> Result<Value, ApiError> {
    let Some(paths) = &kind.scale else { return Err(ApiError::no_such_path()) };
    let read = |path: &[String]| object::at(object, &path.iter().map(String::as_str).collect::<Vec<_>>()).cloned();
    let metadata = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"].into_iter();
    let metadata: serde_json::Map<_, _> =
        metadata.filter_map(|key| Some((key.to_owned(), object::at(object, &["metadata", key])?.clone()))).collect();
    let mut status = json!({"replicas": read(&paths.status_replicas).unwrap_or_else(|| json!(0))});
    let selector = match &paths.selector {
        Some(path) => read(path).and_then(|text| text.as_str().map(str::to_owned)),
        None => Some(crate::table::selector_text(&object["spec"]["selector"])),
    };
    if let Some(selector) = selector {
        status["selector"] = json!(selector);
    }
    let Some(replicas) = read(&paths.spec_replicas) else {
        let why = format!("the spec replicas field \".{}\" does not exist", paths.spec_replicas.join("."));
        return Err(ApiError::internal(&why));
    };
    // Go leaves a zero out.
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}))
}

/// `BindingREST.setPodNodeAndMetadata`: the node is written once.
fn bind(engine: &mut Engine, call: &mut Call<'_>, binding: &Value) -> Result<Value, ApiError> {
    let target = object::text(binding, &["target", "name"]).to_owned();
    if target.is_empty() {
        let error = FieldError::required("target.name", "");
        return Err(ApiError::invalid(call.kind, &call.path.name, &[error]));
    }
    let (kind, name, now) = (call.kind, call.path.name.clone(), clock::time(engine.now));
    write::update(engine, call, |pod| {
        let node = object::text(pod, &["spec", "nodeName"]);
        if !node.is_empty() {
            let mut error = ApiError::conflict(kind, &name, &format!("pod {name} is already assigned to node {node:?}"));
            error.message = error.message.replace("pods \"", "pods/binding \"");
            error.details["kind"] = json!("pods/binding");
            return Err(error);
        }
        if object::is_deleting(pod) {
            return Err(ApiError::conflict(kind, &name, &format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let mut pod = pod.clone();
        pod["spec"]["nodeName"] = json!(target);
        let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
        let conditions = &mut pod["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|old| old["type"] != "PodScheduled");
            list.push(condition);
        }
        Ok(pod)
    })?;
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}
