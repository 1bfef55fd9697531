//! Who owns which leaves of an object: `metadata.managedFields`, read, asked and written.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{dotted, from_fields, to_fields};
use super::leaves::{Leaf, Leaves, value_at};
use crate::{clock, object};

/// An owner: who wrote, in which way, and through which subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) operation: &'static str,
    pub(super) subresource: String,
}

/// Who owns which leaves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Managers(pub(super) Vec<(Owner, Leaves)>);

impl Managers {
    pub(super) fn read(object: &Value) -> Self {
        let entries = object::list(object, &["metadata", "managedFields"]).iter();
        Self(entries.map(|entry| (Owner::read(entry), from_fields(&entry["fieldsV1"]))).collect())
    }

    pub(super) fn of(&self, owner: &Owner) -> Leaves {
        self.0.iter().find(|(known, _)| known == owner).map(|(_, leaves)| leaves.clone()).unwrap_or_default()
    }

    pub(super) fn set(&mut self, owner: &Owner, leaves: Leaves) {
        match self.0.iter_mut().find(|(known, _)| known == owner) {
            Some((_, old)) => *old = leaves,
            None => self.0.push((owner.clone(), leaves)),
        }
        self.0.retain(|(_, leaves)| !leaves.is_empty());
    }

    pub(super) fn owned_by_other(&self, me: &Owner, leaf: &Leaf) -> bool {
        self.0.iter().any(|(owner, leaves)| owner != me && leaves.contains(leaf))
    }

    pub(super) fn conflicts(&self, me: &Owner, wanted: &Leaves, config: &Value, current: &Value) -> Vec<(String, String)> {
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

    pub(super) fn take_from_others(&mut self, me: &Owner, wanted: &Leaves, config: &Value, current: &Value) {
        for (_, leaves) in self.0.iter_mut().filter(|(owner, _)| owner != me) {
            leaves.retain(|leaf| !wanted.contains(leaf) || value_at(config, leaf) == value_at(current, leaf));
        }
        self.0.retain(|(owner, leaves)| owner == me || !leaves.is_empty());
    }

    pub(super) fn write(&self, object: &mut Value, api_version: &str, now: Timestamp, manager: &str) {
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
