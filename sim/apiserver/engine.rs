//! The state behind the API: objects, kinds, watchers, switches; and the one place where a write takes effect.
//!
//! Everything here happens under one lock and without waiting, so every request is one transaction. Who may be answered at all
//! ([`Engine::admits`]) is asked once per request, in one place: faults per client (issue 4) belong there.
//! The verbs are in `read`, `write` and `delete`; this module knows no kind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::admission::addresses::Addresses;
use crate::registry::{self, Kind};
use crate::store::{Change, GroupResource, ObjectKey, Store};
use crate::{ClientName, Config, WriteRecord};

/// What [`crate::ApiServer::observe`] installs.
pub(crate) type Observer = Box<dyn FnMut(&WriteRecord) + Send>;

/// The whole state of a server.
pub(crate) struct Engine {
    pub(crate) store: Store,
    /// The time of the request in hand.
    pub(crate) now: Timestamp,
    pub(crate) addresses: Addresses,
    /// Kinds from CRDs by group, version and plural.
    pub(crate) custom: BTreeMap<(String, String, String), Arc<Kind>>,
    /// Removed objects whose dependents and owners are still to be looked at.
    pub(crate) removed: VecDeque<Arc<Value>>,
    rng: ChaCha8Rng,
    watchers: BTreeMap<u64, Watcher>,
    watchers_made: u64,
    /// Clients that are cut off, and whether all are.
    cut_off: BTreeSet<ClientName>,
    all_cut_off: bool,
    observers: Vec<Observer>,
    writes: u64,
    /// When Events are forgotten, oldest first.
    pub(crate) event_expiry: VecDeque<(Timestamp, ObjectKey, u64)>,
}

/// An open watch, as the engine sees it: whom to wake for what.
struct Watcher {
    client: ClientName,
    resource: GroupResource,
    wake: Arc<Notify>,
    cut: bool,
}

/// Who does what: goes into [`WriteRecord`]s.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) client: ClientName,
    pub(crate) verb: &'static str,
    pub(crate) subresource: String,
}

impl Engine {
    /// A server without objects; `bootstrap` adds what every cluster has.
    pub(crate) fn new(config: &Config, now: Timestamp) -> Self {
        Self {
            store: Store::new(config.history),
            now,
            addresses: Addresses::new(config),
            custom: BTreeMap::new(),
            removed: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            watchers: BTreeMap::new(),
            watchers_made: 0,
            cut_off: BTreeSet::new(),
            all_cut_off: false,
            observers: Vec::new(),
            writes: 0,
            event_expiry: VecDeque::new(),
        }
    }

    // --- Faults -------------------------------------------------------------------------------------------------------------------

    /// Whether a client reaches the server now. The seam for faults per client: every request and every watch frame asks here.
    pub(crate) fn admits(&self, client: &ClientName) -> bool {
        !self.all_cut_off && !self.cut_off.contains(client)
    }

    /// Cuts one client or all of them off, or lets them back; watches of the cut are ended.
    pub(crate) fn set_reachable(&mut self, client: Option<&ClientName>, reachable: bool) {
        match client {
            None => self.all_cut_off = !reachable,
            Some(client) if reachable => drop(self.cut_off.remove(client)),
            Some(client) => drop(self.cut_off.insert(client.clone())),
        }
        let (all, cut_off) = (self.all_cut_off, &self.cut_off);
        for watcher in self.watchers.values_mut().filter(|watcher| all || cut_off.contains(&watcher.client)) {
            watcher.cut = true;
            watcher.wake.notify_one();
        }
    }

    // --- Watches ------------------------------------------------------------------------------------------------------------------

    /// Registers a watch; the notifier wakes it when its resource changes.
    pub(crate) fn register_watch(&mut self, client: ClientName, resource: GroupResource) -> (u64, Arc<Notify>) {
        self.watchers_made += 1;
        let wake = Arc::new(Notify::new());
        self.watchers.insert(self.watchers_made, Watcher { client, resource, wake: Arc::clone(&wake), cut: false });
        (self.watchers_made, wake)
    }

    /// Whether a watch was cut by an outage.
    pub(crate) fn is_cut(&self, watch: u64) -> bool {
        self.watchers.get(&watch).is_none_or(|watcher| watcher.cut)
    }

    /// Forgets a watch that its client dropped.
    pub(crate) fn unregister_watch(&mut self, watch: u64) {
        self.watchers.remove(&watch);
    }

    // --- Kinds --------------------------------------------------------------------------------------------------------------------

    /// The kind behind group, version and plural.
    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let custom = || self.custom.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned();
        registry::builtin(group, version, plural).or_else(custom)
    }

    /// All kinds: the built-in ones, then those from CRDs.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        registry::builtins().iter().chain(self.custom.values())
    }

    /// The kind that an owner reference or a manifest names.
    pub(crate) fn kind_named(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.kinds().find(|known| known.kind == kind && known.api_version() == api_version).cloned()
    }

    /// A kind whose objects are stored under this resource.
    pub(crate) fn kind_stored_as(&self, resource: &GroupResource) -> Option<Arc<Kind>> {
        self.kinds().find(|kind| kind.resource == *resource).cloned()
    }

    // --- Writes -------------------------------------------------------------------------------------------------------------------

    /// Stores an object and tells everybody. `object` is in its storage version.
    pub(crate) fn commit(&mut self, actor: &Actor, kind: &Kind, key: &ObjectKey, object: Value) -> Arc<Value> {
        let change = self.store.put(&kind.storage, key, object);
        self.tell(actor, &change);
        Arc::clone(&change.object)
    }

    /// Removes an object and tells everybody; its dependents wait in `removed` for [`Engine::collect_garbage`].
    pub(crate) fn remove(&mut self, actor: &Actor, kind: &Kind, key: &ObjectKey) -> Option<Arc<Value>> {
        let change = self.store.remove(&kind.storage, key)?;
        self.tell(actor, &change);
        self.removed.push_back(Arc::clone(&change.object));
        Some(Arc::clone(&change.object))
    }

    fn tell(&mut self, actor: &Actor, change: &Arc<Change>) {
        self.writes += 1;
        self.addresses.note(change);
        crate::crd::note(self, change);
        for watcher in self.watchers.values().filter(|watcher| watcher.resource == change.resource) {
            watcher.wake.notify_one();
        }
        if self.observers.is_empty() {
            return;
        }
        let record = WriteRecord {
            client: actor.client.clone(),
            verb: actor.verb,
            resource: change.resource.as_str().to_owned(),
            subresource: actor.subresource.clone(),
            namespace: change.key.namespace.clone(),
            name: change.key.name.clone(),
            resource_version: change.revision,
            time: self.now,
            deleted: change.deleted,
            object: Arc::clone(&change.object),
        };
        self.observers.iter_mut().for_each(|observer| observer(&record));
    }

    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    // --- Chance -------------------------------------------------------------------------------------------------------------------

    /// A version 4 UUID out of the seed.
    pub(crate) fn new_uid(&mut self) -> String {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        let version = (high & 0xfff) | 0x4000;
        let variant = (low >> 48 & 0x3fff) | 0x8000;
        format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, low & 0xffff_ffff_ffff)
    }

    /// The five characters that `generateName` appends (apimachinery `util/rand`: no vowels, so no words).
    pub(crate) fn name_suffix(&mut self) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(ALPHABET[self.rng.next_u32() as usize % ALPHABET.len()])).collect()
    }
}

/// An object as a kind's clients see it: in the kind's version.
pub(crate) fn from_storage(kind: &Kind, object: &Value) -> Value {
    if kind.group == "events.k8s.io" {
        return crate::events::to_events_v1(object);
    }
    let mut object = object.clone();
    if kind.custom.is_some() {
        object["apiVersion"] = json!(kind.api_version());
    }
    object
}

/// An object as it is stored.
pub(crate) fn to_storage(kind: &Kind, object: Value) -> Value {
    if kind.group == "events.k8s.io" {
        return crate::events::to_core(object);
    }
    let mut object = object;
    if kind.custom.is_some() {
        object["apiVersion"] = json!(kind.storage_version);
    }
    object
}
