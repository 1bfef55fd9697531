//! CustomResourceDefinitions become kinds: at once, in the write that stores them.
//!
//! Reads names, versions, scope, subresources, printer columns and the structural schema, as apiextensions-apiserver does. Conversion
//! between versions is `None` only: the apiVersion changes, nothing else.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::engine::{Actor, Engine};
use crate::names::{self, NameRule};
use crate::object;
use crate::registry::{self, Custom, Kind, PrinterColumn, Scale};
use crate::schema::Schema;
use crate::status::FieldError;
use crate::store::{Change, GroupResource, ObjectKey};
use crate::{ClientName, cel};

/// Reads a stored change: a CRD's kinds come, change or go.
pub(crate) fn note(engine: &mut Engine, change: &Change) {
    if change.resource.as_str() != "customresourcedefinitions.apiextensions.k8s.io" {
        return;
    }
    let crd = &change.object;
    let (group, plural) = (object::text(crd, &["spec", "group"]), object::text(crd, &["spec", "names", "plural"]));
    engine.custom.retain(|(of_group, _, of_plural), _| of_group != group || of_plural != plural);
    if !change.deleted {
        for kind in kinds(crd) {
            engine.custom.insert((kind.group.clone(), kind.version.clone(), kind.plural.clone()), Arc::new(kind));
        }
    }
}

/// The last object of a kind is gone: a CRD that waited for it goes too.
pub(crate) fn finish(engine: &mut Engine, removed: &Value) {
    let Some(crds) = registry::builtin("apiextensions.k8s.io", "v1", "customresourcedefinitions") else { return };
    let Some((group, _)) = object::text(removed, &["apiVersion"]).split_once('/') else { return };
    let kind = object::text(removed, &["kind"]);
    let Some(plural) = engine.custom.values().find(|known| known.group == group && known.kind == kind).map(|known| known.plural.clone())
    else {
        return;
    };
    let key = ObjectKey::new("", &format!("{plural}.{group}"));
    let waiting = engine.store.get(&crds.storage, &key).is_some_and(|crd| object::is_deleting(crd) && object::finalizers(crd).is_empty());
    if waiting && engine.store.scan(&GroupResource::new(group, &plural), None).next().is_none() {
        let actor = Actor { client: ClientName::from("garbage-collector"), verb: "delete", subresource: String::new() };
        engine.remove(&actor, &crds, &key);
    }
}

/// Completes a CRD: default names, and the status that says it is established.
pub(crate) fn complete(engine: &Engine, crd: &mut Value) {
    let kind = object::text(crd, &["spec", "names", "kind"]).to_owned();
    let names = object::map_mut(&mut crd["spec"], "names");
    object::set_default_text(names, "singular", &kind.to_lowercase());
    object::set_default_text(names, "listKind", &format!("{kind}List"));
    object::set_default(object::map_mut(crd, "spec"), "conversion", json!({"strategy": "None"}));
    let stored: Vec<Value> = object::list(crd, &["spec", "versions"])
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let mut versions = object::list(crd, &["status", "storedVersions"]).to_vec();
    versions.extend(stored.into_iter().filter(|name| !versions.contains(name)).collect::<Vec<_>>());
    let now = clock::time(engine.now);
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    let accepted = crd["spec"]["names"].clone();
    let has_conditions = !object::list(crd, &["status", "conditions"]).is_empty();
    let status = object::map_mut(crd, "status");
    status.insert("acceptedNames".to_owned(), accepted);
    status.insert("storedVersions".to_owned(), json!(versions));
    if !has_conditions {
        let conditions = [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ];
        status.insert("conditions".to_owned(), json!(conditions));
    }
}

/// What a CRD must not have.
pub(crate) fn validate(engine: &Engine, crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |path: &[&str]| object::text(crd, path);
    let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    if object::name(crd) != format!("{plural}.{group}") {
        errors.push(FieldError::invalid("metadata.name", &json!(object::name(crd)), "must be spec.names.plural+\".\"+spec.group"));
    }
    if !names::is_subdomain(group) || !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", &json!(group), "should be a domain with at least one dot"));
    }
    if registry::builtins().iter().any(|kind| kind.group == group) {
        errors.push(FieldError::invalid("spec.group", &json!(group), "is served by the API server itself"));
    }
    for key in ["plural", "singular"] {
        let name = text(&["spec", "names", key]);
        if !names::is_label_1035(name) {
            errors.push(FieldError::invalid(
                format!("spec.names.{key}"),
                &json!(name),
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-'",
            ));
        }
    }
    if !matches!(text(&["spec", "scope"]), "Namespaced" | "Cluster") {
        errors.push(FieldError::unsupported("spec.scope", &crd["spec"]["scope"], &["Cluster", "Namespaced"]));
    }
    if text(&["spec", "conversion", "strategy"]) != "None" {
        errors.push(FieldError::unsupported("spec.conversion.strategy", &crd["spec"]["conversion"]["strategy"], &["None"]));
    }
    errors.extend(version_errors(crd));
    for (index, stored) in object::list(crd, &["status", "storedVersions"]).iter().enumerate() {
        if object::list(crd, &["spec", "versions"]).iter().all(|version| version["name"] != *stored) {
            let name = stored.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("status.storedVersions[{index}]"), stored, detail));
        }
    }
    let kind = text(&["spec", "names", "kind"]);
    let taken = engine.custom.values().any(|known| known.group == group && known.plural != plural && known.kind == kind);
    if taken {
        errors.push(FieldError::invalid("spec.names.kind", &json!(kind), "is already in use in this group"));
    }
    errors
}

fn version_errors(crd: &Value) -> Vec<FieldError> {
    let versions = object::list(crd, &["spec", "versions"]);
    let mut errors = Vec::new();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &json!(versions.len()),
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        if !names::is_label_1035(object::text(version, &["name"])) {
            errors.push(FieldError::invalid(format!("{path}.name"), &version["name"], "a DNS-1035 label is needed"));
        }
        let schema = object::at(version, &["schema", "openAPIV3Schema"]);
        let Some(schema) = schema else {
            errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), ""));
            continue;
        };
        // One schema for all versions is the CRD's own, and named so.
        let shared = versions.iter().all(|other| other["schema"] == version["schema"]);
        if shared && index > 0 {
            continue;
        }
        let at = if shared { "spec.validation.openAPIV3Schema".to_owned() } else { format!("{path}.schema.openAPIV3Schema") };
        if schema["type"] != "object" {
            errors.push(FieldError::invalid(format!("{at}.type"), &schema["type"], "must be object at the root"));
        }
        structural_errors(schema, &at, 0, &mut errors);
    }
    errors
}

/// The rules of structural schemas that are cheap to check: every node has a type, patterns compile.
fn structural_errors(schema: &Value, path: &str, depth: usize, errors: &mut Vec<FieldError>) {
    let typed = object::at(schema, &["type"]).is_some();
    let free = schema["x-kubernetes-int-or-string"] == true || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !typed && !free {
        errors.push(FieldError::required(format!("{path}.type"), "must not be empty for specified object fields"));
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| regex::Regex::new(pattern).is_err()) {
        errors.push(FieldError::invalid(format!("{path}.pattern"), &json!(pattern), "must be a valid regular expression"));
    }
    if schema["type"] == "array" && !schema["items"].is_object() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
    }
    if schema["properties"].is_object() && object::at(schema, &["additionalProperties"]).is_some() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
    }
    if let Some(default) = object::at(schema, &["default"]) {
        // At the top of a value of its own: what the default says below it is named from here.
        let wrong = Schema::custom(schema).validate(default).into_iter();
        errors.extend(wrong.map(|error| {
            let below = if error.path.is_empty() { String::new() } else { format!(".{}", error.path) };
            FieldError { path: format!("{path}.default{below}"), ..error }
        }));
    }
    errors.extend(cel::refuse(schema, path));
    if depth > 64 {
        errors.push(FieldError::forbidden(path, "is nested too deeply"));
        return;
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        structural_errors(child, &format!("{path}.properties[{name}]"), depth + 1, errors);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            structural_errors(&schema[key], &format!("{path}.{key}"), depth + 1, errors);
        }
    }
}

/// The served versions of a CRD as kinds.
fn kinds(crd: &Value) -> Vec<Kind> {
    let group = object::text(crd, &["spec", "group"]);
    let storage = object::list(crd, &["spec", "versions"]).iter().find(|version| version["storage"] == true);
    let storage_version = format!("{group}/{}", storage.map(|version| object::text(version, &["name"])).unwrap_or_default());
    let served = object::list(crd, &["spec", "versions"]).iter().filter(|version| version["served"] == true);
    served.map(|version| kind(crd, version, &storage_version)).collect()
}

fn kind(crd: &Value, version: &Value, storage_version: &str) -> Kind {
    let text = |key: &str| object::text(crd, &["spec", "names", key]).to_owned();
    let texts = |key: &str| object::list(crd, &["spec", "names", key]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let group = object::text(crd, &["spec", "group"]).to_owned();
    let resource = GroupResource::new(&group, &text("plural"));
    let schema = object::at(version, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_else(|| json!({}));
    let fields = object::list(version, &["selectableFields"])
        .iter()
        .map(|field| object::text(field, &["jsonPath"]).trim_start_matches('.').to_owned());
    let reversed: Vec<&str> = group.split('.').rev().collect();
    let name = object::text(version, &["name"]).to_owned();
    Kind {
        schema_name: format!("{}.{name}.{}", reversed.join("."), text("kind")),
        version: name,
        kind: text("kind"),
        list_kind: text("listKind"),
        plural: text("plural"),
        singular: text("singular"),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: object::text(crd, &["spec", "scope"]) == "Namespaced",
        storage: resource.clone(),
        resource,
        storage_version: storage_version.to_owned(),
        status: object::at(version, &["subresources", "status"]).is_some(),
        scale: object::at(version, &["subresources", "scale"]).map(scale),
        generation: true,
        unconditional_update: false,
        create_on_update: false,
        name_rule: NameRule::Subdomain,
        fields: fields.collect(),
        schema: Some(Schema::custom(&schema)),
        custom: Some(Custom {
            columns: object::list(version, &["additionalPrinterColumns"]).iter().map(column).collect(),
            openapi: schema,
        }),
        group,
    }
}

fn scale(scale: &Value) -> Scale {
    let path = |key: &str| {
        object::text(scale, &[key]).trim_start_matches('.').split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    Scale {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: Some(path("labelSelectorPath")),
    }
}

fn column(column: &Value) -> PrinterColumn {
    let text = |key: &str| object::text(column, &[key]).to_owned();
    PrinterColumn {
        name: text("name"),
        column_type: text("type"),
        format: text("format"),
        description: text("description"),
        priority: object::number(column, &["priority"]).unwrap_or(0),
        json_path: text("jsonPath"),
    }
}
