//! Objects by resource, namespace and name, and the log of what happened to them.
//!
//! One revision counts all writes, as etcd's does. The log keeps a bounded number of changes; what is older is compacted, and asking
//! for it is `Compacted`, which the layers above turn into 410. A past state is read by undoing the log, so that a paged list stays at
//! the revision of its first page. The store knows of JSON only the owners' uids and where a resourceVersion is written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::object;

/// A resource with its group, as messages spell it: `services`, `deployments.apps`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GroupResource(Arc<str>);

impl GroupResource {
    pub(crate) fn new(group: &str, plural: &str) -> Self {
        Self(if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an object is within its resource; cluster-scoped objects have an empty namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One write, as the log keeps it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) resource: GroupResource,
    pub(crate) key: ObjectKey,
    /// The object before, `None` when this change created it.
    pub(crate) before: Option<Arc<Value>>,
    /// The object after; for a deletion its last state, with the deletion's revision.
    pub(crate) object: Arc<Value>,
    pub(crate) deleted: bool,
    /// When it was written.
    pub(crate) at: Timestamp,
}

/// The revision asked for is older than the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// The oldest revision that can still be asked for.
    pub(crate) oldest: u64,
}

type Objects = BTreeMap<ObjectKey, Arc<Value>>;

/// The objects and their history.
pub(crate) struct Store {
    objects: BTreeMap<GroupResource, Objects>,
    /// Owner's uid to its dependents, for garbage collection.
    dependents: BTreeMap<String, BTreeSet<(GroupResource, ObjectKey)>>,
    log: VecDeque<Arc<Change>>,
    /// Revisions up to and including this one are forgotten.
    compacted: u64,
    revision: u64,
    history: usize,
    /// The time of the request in hand.
    pub(crate) now: Timestamp,
}

impl Store {
    /// An empty store that remembers `history` changes.
    pub(crate) fn new(history: usize) -> Self {
        // etcd starts at revision 1, and resourceVersion "0" has a meaning of its own in the API.
        Self {
            objects: BTreeMap::new(),
            dependents: BTreeMap::new(),
            log: VecDeque::new(),
            compacted: 1,
            revision: 1,
            history,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// The revision of the last write.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, resource: &GroupResource, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(resource)?.get(key)
    }

    /// An object as of a revision that the log reaches back to; of an older one, as of the oldest that it does.
    pub(crate) fn get_at(&self, resource: &GroupResource, key: &ObjectKey, revision: u64) -> Option<&Arc<Value>> {
        let first = self.log.partition_point(|change| change.revision <= revision);
        // The first change after it knows what was before.
        let next = self.log.range(first..).find(|change| change.resource == *resource && change.key == *key);
        next.map_or_else(|| self.get(resource, key), |change| change.before.as_ref())
    }

    /// The last revision that was written at or before a moment; the oldest that the log reaches back to, if that is later.
    pub(crate) fn revision_at(&self, moment: Timestamp) -> u64 {
        let later = self.log.partition_point(|change| change.at <= moment);
        later.checked_sub(1).and_then(|last| self.log.get(last)).map_or(self.compacted, |change| change.revision)
    }

    /// The objects of a resource in key order, of one namespace when it is given.
    pub(crate) fn scan<'a>(
        &'a self,
        resource: &GroupResource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Value>)> {
        let start = ObjectKey::new(namespace.unwrap_or_default(), "");
        let objects = self.objects.get(resource).into_iter().flat_map(move |objects| objects.range(start.clone()..));
        objects.take_while(move |(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
    }

    /// The resources that hold any object.
    pub(crate) fn resources(&self) -> Vec<GroupResource> {
        self.objects.iter().filter(|(_, objects)| !objects.is_empty()).map(|(resource, _)| resource.clone()).collect()
    }

    /// The objects that name this uid as an owner, in key order.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(GroupResource, ObjectKey)> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Whether an object with this uid is stored and of this resource.
    pub(crate) fn holds(&self, resource: &GroupResource, key: &ObjectKey, uid: &str) -> bool {
        self.get(resource, key).is_some_and(|object| object::uid(object) == uid)
    }

    /// Writes an object under the next revision, which becomes its resourceVersion.
    pub(crate) fn put(&mut self, resource: &GroupResource, key: &ObjectKey, object: Value) -> Arc<Change> {
        let object = self.stamp(object);
        let before = self.objects.entry(resource.clone()).or_default().insert(key.clone(), Arc::clone(&object));
        self.index(resource, key, before.as_deref(), Some(&object));
        self.record(resource, key, before, object, false)
    }

    /// Removes an object; its last state carries the deletion's revision, as the API shows it.
    pub(crate) fn remove(&mut self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Change>> {
        let before = self.objects.get_mut(resource)?.remove(key)?;
        let last = self.stamp(Value::clone(&before));
        self.index(resource, key, Some(&before), None);
        Some(self.record(resource, key, Some(before), last, true))
    }

    /// The state of a resource at a past revision.
    pub(crate) fn at(&self, resource: &GroupResource, namespace: Option<&str>, revision: u64) -> Result<Objects, Compacted> {
        let mut objects: Objects = self.scan(resource, namespace).map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        let later = self.changes_after(revision)?;
        let wanted = |key: &ObjectKey| namespace.is_none_or(|namespace| key.namespace == namespace);
        let undone = later.rev().filter(|change| change.resource == *resource && wanted(&change.key));
        for change in undone {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// The changes after a revision, oldest first.
    pub(crate) fn changes_after(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Arc<Change>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted { oldest: self.compacted });
        }
        let first = self.log.partition_point(|change| change.revision <= revision);
        Ok(self.log.range(first..))
    }

    /// Forgets all changes up to now: a watch from an older version gets 410.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
    }

    fn stamp(&mut self, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object::metadata_mut(&mut object).insert("resourceVersion".to_owned(), self.revision.to_string().into());
        Arc::new(object)
    }

    fn record(
        &mut self,
        resource: &GroupResource,
        key: &ObjectKey,
        before: Option<Arc<Value>>,
        object: Arc<Value>,
        deleted: bool,
    ) -> Arc<Change> {
        let change =
            Change { revision: self.revision, resource: resource.clone(), key: key.clone(), before, object, deleted, at: self.now };
        let change = Arc::new(change);
        self.log.push_back(Arc::clone(&change));
        while self.log.len() > self.history {
            self.compacted = self.log.pop_front().map_or(self.compacted, |oldest| oldest.revision);
        }
        change
    }

    fn index(&mut self, resource: &GroupResource, key: &ObjectKey, before: Option<&Value>, after: Option<&Value>) {
        if let Some(before) = before {
            for uid in owner_uids(before) {
                if let Some(set) = self.dependents.get_mut(uid) {
                    set.remove(&(resource.clone(), key.clone()));
                    if set.is_empty() {
                        self.dependents.remove(uid);
                    }
                }
            }
        }
        for uid in after.into_iter().flat_map(owner_uids) {
            self.dependents.entry(uid.to_owned()).or_default().insert((resource.clone(), key.clone()));
        }
    }
}

fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    object::list(object, &["metadata", "ownerReferences"]).iter().map(|owner| object::text(owner, &["uid"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(store: &mut Store, name: &str, data: u32) -> u64 {
        store.put(&resource(), &ObjectKey::new("default", name), json!({"data": data})).revision
    }

    fn resource() -> GroupResource {
        GroupResource::new("", "configmaps")
    }

    #[test]
    fn a_past_revision_shows_what_was_there_then() {
        let mut store = Store::new(100);
        let first = put(&mut store, "a", 1);
        put(&mut store, "a", 2);
        put(&mut store, "b", 1);
        store.remove(&resource(), &ObjectKey::new("default", "a"));
        let then = store.at(&resource(), None, first).expect("the log still holds it");
        assert_eq!(then.len(), 1);
        assert_eq!(then[&ObjectKey::new("default", "a")]["data"], 1);
    }

    #[test]
    fn what_falls_out_of_the_log_is_compacted() {
        let mut store = Store::new(2);
        let first = put(&mut store, "a", 1);
        for n in 0..3 {
            put(&mut store, "b", n);
        }
        assert_eq!(store.at(&resource(), None, first).err(), Some(Compacted { oldest: first + 1 }));
        assert_eq!(store.changes_after(first + 1).expect("held").count(), 2);
    }

    #[test]
    fn a_deleted_object_carries_the_revision_of_its_deletion() {
        let mut store = Store::new(10);
        put(&mut store, "a", 1);
        let gone = store.remove(&resource(), &ObjectKey::new("default", "a")).expect("it was there");
        assert_eq!(object::resource_version(&gone.object), store.revision().to_string());
    }
}
