//! Server-side apply: a manager says what it wants, and owns exactly that.
//!
//! Ownership is by leaf, kept in `metadata.managedFields` in the FieldsV1 form. Lists merge by the keys of `patch::strategic`, those of
//! custom kinds as their CRD says (`x-kubernetes-list-type`). **Objects that nobody ever applied carry no
//! managedFields**: the first apply attributes what is there to `before-first-apply`, as a real server does for objects of old.
//! Read "Server-Side Apply" of the Kubernetes documentation first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::dispatch;
use crate::engine::Engine;
use crate::object;
use crate::patch::strategic::{ListKind, list_kind};
use crate::registry::Kind;
use crate::request::Request;
use crate::schema::ListType;
use crate::status::{ApiError, FieldError};
use crate::write::{self, Call};

/// A leaf's path: `f:name` for a field, `k:{"name":"a"}` for a list's item, `v:"x"` for a set's.
type Leaf = Vec<String>;
type Leaves = BTreeSet<Leaf>;

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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    manager: String,
    operation: &'static str,
    subresource: String,
}

/// Who owns which leaves.
#[derive(Debug, Default, PartialEq)]
struct Managers(Vec<(Owner, Leaves)>);

impl Managers {
    fn read(object: &Value) -> Self {
        let entries = object::list(object, &["metadata", "managedFields"]).iter();
        Self(entries.map(|entry| (Owner::read(entry), from_fields(&entry["fieldsV1"]))).collect())
    }

    fn of(&self, owner: &Owner) -> Leaves {
        self.0.iter().find(|(known, _)| known == owner).map(|(_, leaves)| leaves.clone()).unwrap_or_default()
    }

    fn set(&mut self, owner: &Owner, leaves: Leaves) {
        match self.0.iter_mut().find(|(known, _)| known == owner) {
            Some((_, old)) => *old = leaves,
            None => self.0.push((owner.clone(), leaves)),
        }
        self.0.retain(|(_, leaves)| !leaves.is_empty());
    }

    fn owned_by_other(&self, me: &Owner, leaf: &Leaf) -> bool {
        self.0.iter().any(|(owner, leaves)| owner != me && leaves.contains(leaf))
    }

    fn conflicts(&self, me: &Owner, wanted: &Leaves, config: &Value, current: &Value) -> Vec<(String, String)> {
        let differs = |leaf: &&Leaf| value_at(config, leaf) != value_at(current, leaf);
        let others = self.0.iter().filter(|(owner, _)| owner != me && !(owner.manager == me.manager && owner.operation == "Apply"));
        others
            .flat_map(|(owner, leaves)| {
                leaves
                    .intersection(wanted)
                    .filter(differs)
                    .map(|leaf| (owner.describe(object::text(config, &["apiVersion"])), dotted(leaf)))
            })
            .collect()
    }

    fn take_from_others(&mut self, me: &Owner, wanted: &Leaves, config: &Value, current: &Value) {
        for (_, leaves) in self.0.iter_mut().filter(|(owner, _)| owner != me) {
            leaves.retain(|leaf| !wanted.contains(leaf) || value_at(config, leaf) == value_at(current, leaf));
        }
        self.0.retain(|(owner, leaves)| owner == me || !leaves.is_empty());
    }

    fn write(&self, object: &mut Value, api_version: &str, now: Timestamp, manager: &str) {
        let old = object::list(object, &["metadata", "managedFields"]).to_vec();
        let entries = self.0.iter().map(|(owner, leaves)| {
            let fields = to_fields(leaves);
            let same = old.iter().find(|entry| Owner::read(entry) == *owner && entry["fieldsV1"] == fields && owner.manager != manager);
            same.cloned().unwrap_or_else(|| owner.entry(api_version, now, &fields))
        });
        let mut entries: Vec<Value> = entries.collect();
        let text = |entry: &Value, key: &str| object::text(entry, &[key]).to_owned();
        entries.sort_by_key(|entry| ["operation", "time", "manager", "apiVersion", "subresource"].map(|key| text(entry, key)));
        object::metadata_mut(object).insert("managedFields".to_owned(), json!(entries));
    }
}

impl Owner {
    fn read(entry: &Value) -> Self {
        let operation = if entry["operation"] == "Apply" { "Apply" } else { "Update" };
        Self {
            manager: object::text(entry, &["manager"]).to_owned(),
            operation,
            subresource: object::text(entry, &["subresource"]).to_owned(),
        }
    }

    fn describe(&self, api_version: &str) -> String {
        let subresource = if self.subresource.is_empty() { String::new() } else { format!(" with subresource {:?}", self.subresource) };
        let version = if self.operation == "Update" { format!(" using {api_version}") } else { String::new() };
        format!("{:?}{subresource}{version}", self.manager)
    }

    fn entry(&self, api_version: &str, now: Timestamp, fields: &Value) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": api_version, "time": clock::time(now),
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// A field that the schema does not have is no field that anybody can own.
fn refuse_untyped(call: &Call<'_>, config: &Value) -> Result<(), ApiError> {
    let kind = call.kind;
    let unknown = kind.schema.as_ref().map(|schema| schema.prune(&mut config.clone())).unwrap_or_default();
    let Some(first) = unknown.first() else { return Ok(()) };
    let object = format!("{}/{}; {}, Kind={}", call.path.namespace, object::name(config), kind.api_version(), kind.kind);
    Err(ApiError::plain(format!("failed to create typed patch object ({object}): .{first}: field not declared in schema")))
}

/// The leaves of an object; identity and system metadata are nobody's.
fn leaves_of(kind: &Kind, object: &Value) -> Leaves {
    let mut leaves = Leaves::new();
    collect(kind, object, &mut Vec::new(), &mut Vec::new(), &mut leaves);
    let system = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    leaves.retain(|leaf| {
        let first = leaf.first().map(String::as_str).unwrap_or_default();
        let second = leaf.get(1).and_then(|field| field.strip_prefix("f:")).unwrap_or_default();
        let of_the_system = first == "f:metadata" && system.contains(&second);
        !of_the_system && !matches!(first, "f:apiVersion" | "f:kind")
    });
    leaves
}

fn collect(kind: &Kind, value: &Value, names: &mut Vec<String>, leaf: &mut Leaf, leaves: &mut Leaves) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(kind, names) => {
            for (key, child) in map {
                names.push(key.clone());
                leaf.push(format!("f:{key}"));
                collect(kind, child, names, leaf, leaves);
                leaf.pop();
                names.pop();
            }
        }
        Value::Array(items) => match list_type(kind, names) {
            ListType::Map(keys) if !items.is_empty() && items.iter().all(|item| key_of(item, &keys).is_some()) => {
                for item in items {
                    leaf.push(format!("k:{}", key_of(item, &keys).unwrap_or_default()));
                    collect(kind, item, names, leaf, leaves);
                    leaf.pop();
                }
            }
            ListType::Set if !items.is_empty() => {
                for item in items {
                    leaf.push(format!("v:{item}"));
                    leaves.insert(leaf.clone());
                    leaf.pop();
                }
            }
            _ => drop(leaves.insert(leaf.clone())),
        },
        _ if leaf.is_empty() => {}
        _ => drop(leaves.insert(leaf.clone())),
    }
}

/// How a list merges when it is applied. Ports have one key more than in a strategic patch, and so has what spreads over a topology.
fn list_type(kind: &Kind, names: &[String]) -> ListType {
    let metadata = names.first().is_some_and(|name| name == "metadata");
    if let (Some(schema), true, false) = (&kind.schema, kind.custom.is_some(), metadata) {
        return schema.list_keys(names);
    }
    let second = |key: &str| match key {
        "port" | "containerPort" => Some("protocol"),
        "topologyKey" => Some("whenUnsatisfiable"),
        _ => None,
    };
    match list_kind(&kind.kind, names) {
        ListKind::Atomic => ListType::Atomic,
        ListKind::Set => ListType::Set,
        ListKind::Keyed(key) => ListType::Map([Some(key), second(key)].into_iter().flatten().map(str::to_owned).collect()),
    }
}

/// Selectors are one value each.
fn is_atomic_map(kind: &Kind, names: &[String]) -> bool {
    let last = names.last().map(String::as_str).unwrap_or_default();
    kind.custom.is_none() && matches!(last, "selector" | "labelSelector" | "nodeSelector") && names.len() > 1
}

/// An item's identity; a protocol that is not said is TCP.
fn key_of(item: &Value, keys: &[String]) -> Option<Value> {
    let value = |key: &String| item.get(key).cloned().or_else(|| (key == "protocol").then(|| json!("TCP")));
    keys.iter().map(|key| Some((key.clone(), value(key)?))).collect::<Option<Map<_, _>>>().map(Value::Object)
}

/// Whether an item is the one that a `k:` step names.
fn has_key(item: &Value, key: &Map<String, Value>) -> bool {
    let keys: Vec<String> = key.keys().cloned().collect();
    key_of(item, &keys).is_some_and(|own| own.as_object() == Some(key))
}

/// Lays the applied configuration over the object.
fn overlay(kind: &Kind, names: &mut Vec<String>, target: &mut Value, config: &Value) {
    match config {
        Value::Object(_) if is_atomic_map(kind, names) => *target = config.clone(),
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            for (key, value) in fields {
                names.push(key.clone());
                overlay(kind, names, &mut target[key.as_str()], value);
                names.pop();
            }
        }
        Value::Array(items) => {
            let keyed = list_type(kind, names);
            let (Some(list), false) = (target.as_array_mut(), keyed == ListType::Atomic) else {
                *target = config.clone();
                return;
            };
            for item in items {
                let same = |old: &&mut Value| match &keyed {
                    ListType::Map(keys) => key_of(old, keys).is_some() && key_of(old, keys) == key_of(item, keys),
                    _ => **old == *item,
                };
                match list.iter_mut().find(same) {
                    Some(old) => overlay(kind, names, old, item),
                    None => list.push(item.clone()),
                }
            }
        }
        plain => *target = plain.clone(),
    }
}

fn value_at<'a>(object: &'a Value, leaf: &[String]) -> Option<&'a Value> {
    leaf.iter().try_fold(object, |value, step| match step.split_once(':')? {
        ("f", name) => value.get(name),
        ("k", key) => {
            let key: Map<String, Value> = serde_json::from_str(key).ok()?;
            value.as_array()?.iter().find(|item| has_key(item, &key))
        }
        (_, text) => value.as_array()?.iter().find(|item| is_written(item, text)),
    })
}

/// Removes a leaf, and the list's item or map that is empty after it.
fn remove_leaf(object: &mut Value, leaf: &[String]) {
    let Some((first, rest)) = leaf.split_first() else { return };
    match (first.split_once(':'), object) {
        (Some(("f", name)), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_leaf(child, rest);
                let empty = child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty);
                if empty {
                    map.remove(name);
                }
            }
        }
        (Some(("k", key)), Value::Array(list)) => {
            let Ok(key) = serde_json::from_str::<Map<String, Value>>(key) else { return };
            let found = list.iter().position(|item| has_key(item, &key));
            let Some(index) = found else { return };
            if !rest.is_empty() {
                remove_leaf(&mut list[index], rest);
            }
            let only_key = list[index]
                .as_object()
                .is_none_or(|item| item.keys().all(|name| key.contains_key(name)) || key.keys().any(|name| !item.contains_key(name)));
            if only_key || rest.is_empty() {
                list.remove(index);
            }
        }
        (Some((_, text)), Value::Array(list)) => list.retain(|item| !is_written(item, text)),
        _ => {}
    }
}

/// Whether this is the set's item that a `v:` step spells.
fn is_written(item: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|spelled| spelled == *item)
}

fn to_fields(leaves: &Leaves) -> Value {
    let mut root = json!({});
    for leaf in leaves {
        let mut node = &mut root;
        for step in leaf {
            if step.starts_with("k:") && node.get(step).is_none() {
                node[step] = json!({".": {}});
            }
            node = &mut node[step.as_str()];
            if node.is_null() {
                *node = json!({});
            }
        }
    }
    root
}

fn from_fields(fields: &Value) -> Leaves {
    fn walk(node: &Value, leaf: &mut Leaf, leaves: &mut Leaves) {
        let children = node.as_object().into_iter().flatten().filter(|(step, _)| *step != ".");
        let mut any = false;
        for (step, child) in children {
            any = true;
            leaf.push(step.clone());
            walk(child, leaf, leaves);
            leaf.pop();
        }
        if !any && !leaf.is_empty() {
            leaves.insert(leaf.clone());
        }
    }
    let mut leaves = Leaves::new();
    walk(fields, &mut Vec::new(), &mut leaves);
    leaves
}

fn dotted(leaf: &[String]) -> String {
    leaf.iter().fold(String::new(), |path, step| match step.split_once(':') {
        Some(("f", name)) => format!("{path}.{name}"),
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let parts: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{path}[{}]", parts.join(","))
        }
        Some((_, item)) => format!("{path}[={item}]"),
        None => path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn leaves_survive_the_way_through_fields_v1() {
        let deployment = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}});
        let kind = registry::builtin("apps", "v1", "deployments").expect("deployments are built in");
        let leaves = leaves_of(&kind, &deployment);
        assert_eq!(leaves.len(), 3);
        assert_eq!(from_fields(&to_fields(&leaves)), leaves);
    }

    #[test]
    fn a_given_up_item_leaves_the_list() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let kind = registry::builtin("", "v1", "pods").expect("pods are built in");
        let leaves = leaves_of(&kind, &json!({"spec": {"containers": [{"name": "b", "image": "y"}]}}));
        leaves.iter().for_each(|leaf| remove_leaf(&mut object, leaf));
        assert_eq!(object, json!({"spec": {"containers": [{"name": "a", "image": "x"}]}}));
    }
}
