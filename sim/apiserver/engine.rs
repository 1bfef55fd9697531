//! The state behind the API: objects, kinds, watchers, switches; and the one place where a write takes effect.
//!
//! Everything here happens under one lock and without waiting, so every request is one transaction. Which faults stand is here too; what
//! they do to a request is `serve`'s business, to a watch `watch`'s. The verbs are in `read`, `write` and `delete`; this module knows no kind.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::admission::addresses::Addresses;
use crate::chance::{Chance, Identity};
use crate::fault::{Fault, FaultId, Faults};
use crate::record::{Outcome, RequestRecord, Subject};
use crate::registry::{self, Kind};
use crate::request::Request;
use crate::store::{Change, GroupResource, ObjectKey, Store};
use crate::{ClientName, Config, WriteRecord};

/// What [`crate::ApiServer::observe`] installs.
pub(crate) type Observer = Box<dyn FnMut(&WriteRecord) + Send>;

/// What [`crate::ApiServer::observe_requests`] installs.
pub(crate) type RequestObserver = Box<dyn FnMut(&RequestRecord) + Send>;

/// What is called when a client dies at a write.
pub(crate) type Doom = Box<dyn FnOnce() + Send>;

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
    chance: Chance,
    watchers: BTreeMap<u64, Watcher>,
    watchers_made: u64,
    pub(crate) faults: Faults,
    /// Wakes requests that hang until a fault begins or ends.
    faults_changed: Arc<Notify>,
    /// Clients that die at a write: after how many more, and whom to tell.
    doomed: BTreeMap<ClientName, (u32, Doom)>,
    observers: Vec<Observer>,
    request_observers: Vec<RequestObserver>,
    writes: u64,
    /// When Events are forgotten, oldest first.
    pub(crate) event_expiry: VecDeque<(Timestamp, ObjectKey, u64)>,
}

/// An open watch, as the engine sees it: whom to wake for what.
struct Watcher {
    client: ClientName,
    resource: GroupResource,
    wake: Arc<Notify>,
    /// Its connection broke.
    cut: bool,
    /// Its connection was silent at some time, and will break when that ends.
    hung: bool,
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
            chance: Chance::new(config.seed),
            watchers: BTreeMap::new(),
            watchers_made: 0,
            faults: Faults::new(config.seed),
            faults_changed: Arc::default(),
            doomed: BTreeMap::new(),
            observers: Vec::new(),
            request_observers: Vec::new(),
            writes: 0,
            event_expiry: VecDeque::new(),
        }
    }

    // --- Faults -------------------------------------------------------------------------------------------------------------------

    /// Lets a fault begin.
    pub(crate) fn set_fault(&mut self, client: Option<&ClientName>, id: FaultId, fault: Fault) {
        self.faults.set(client, id, fault);
        self.fault_changed();
    }

    /// Ends one.
    pub(crate) fn clear_fault(&mut self, client: Option<&ClientName>, id: FaultId) {
        if self.faults.clear(client, id) {
            self.fault_changed();
        }
    }

    /// Breaks the watches that cannot go on, and lets everybody who waits look again.
    fn fault_changed(&mut self) {
        for watcher in self.watchers.values_mut() {
            let fault = self.faults.of(&watcher.client).unwrap_or_default();
            watcher.cut |= fault.down || (watcher.hung && !fault.silent);
            watcher.hung |= fault.silent;
            watcher.wake.notify_one();
        }
        self.faults_changed.notify_waiters();
    }

    /// Ends when a fault begins or ends; told from the moment of this call on.
    pub(crate) fn faults_changed(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.faults_changed).notified_owned()
    }

    /// The revision that the server has seen which this client reaches: the newest, unless it lags.
    pub(crate) fn visible_revision(&self, client: &ClientName) -> u64 {
        let stale = self.faults.of(client).and_then(|fault| fault.stale);
        let Some(lag) = stale else { return self.store.revision() };
        self.store.revision_at(self.now.saturating_sub(lag).unwrap_or(Timestamp::MIN))
    }

    /// Lets a client die at its `write`-th write from now on.
    pub(crate) fn doom(&mut self, client: ClientName, write: u32, doom: Doom) {
        self.doomed.insert(client, (write.max(1), doom));
    }

    /// Does not, after all.
    pub(crate) fn spare(&mut self, client: &ClientName) {
        self.doomed.remove(client);
    }

    /// Counts a write of a client that took effect; whom to tell if it was the one to die at.
    pub(crate) fn take_doom(&mut self, client: &ClientName) -> Option<Doom> {
        let (left, _) = self.doomed.get_mut(client)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.doomed.remove(client).map(|(_, doom)| doom)
    }

    // --- Watches ------------------------------------------------------------------------------------------------------------------

    /// Registers a watch; the notifier wakes it when its resource changes.
    pub(crate) fn register_watch(&mut self, client: ClientName, resource: GroupResource) -> (u64, Arc<Notify>) {
        self.watchers_made += 1;
        let wake = Arc::new(Notify::new());
        self.watchers.insert(self.watchers_made, Watcher { client, resource, wake: Arc::clone(&wake), cut: false, hung: false });
        (self.watchers_made, wake)
    }

    /// Whether a watch was cut by an outage.
    pub(crate) fn is_cut(&self, watch: u64) -> bool {
        self.watchers.get(&watch).is_none_or(|watcher| watcher.cut)
    }

    /// Whether a watch hears nothing for now.
    pub(crate) fn is_hung(&self, watch: u64) -> bool {
        self.watchers.get(&watch).is_some_and(|watcher| watcher.hung)
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

    pub(crate) fn observe_requests(&mut self, observer: RequestObserver) {
        self.request_observers.push(observer);
    }

    /// Tells what became of a request.
    pub(crate) fn tell_request(&mut self, request: &Request, subject: &Subject, outcome: Outcome, changed: bool) {
        if self.request_observers.is_empty() {
            return;
        }
        let record = RequestRecord {
            client: request.client.clone(),
            verb: subject.verb,
            resource: subject.resource.clone(),
            subresource: subject.subresource.clone(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            time: self.now,
            outcome,
            changed,
        };
        self.request_observers.iter_mut().for_each(|observer| observer(&record));
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    // --- Chance -------------------------------------------------------------------------------------------------------------------

    /// The uid and the name's suffix of the next object of a kind that is made.
    pub(crate) fn next_identity(&self, resource: &GroupResource) -> Identity {
        self.chance.next(resource)
    }

    /// An object of this kind was made: the next one's identity is another.
    pub(crate) fn take_identity(&mut self, resource: &GroupResource) {
        self.chance.take(resource);
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
