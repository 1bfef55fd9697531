//! From what Kubernetes says to what should be so: who holds which address, and which node carries it.
//!
//! Objects come in and mark their keys dirty; [`Controller::decide`] works these off in key order, so that neither the order of arrival within a batch nor
//! a restart changes a result. Only a confirmed leader decides, and only when each kind was listed once. The record is the pools' `status.used`: it wins at
//! start, it is written before the Service is, and only what stands in it is announced.
//!
//! This file takes in and hands out. The decisions: `restore` (what stands when it begins to lead), `pools` (which books are open), `serve` (who gets what),
//! `place` (which node carries it). What follows for each object's status is in [`crate::desired`]; links and frames are not known here.

mod place;
mod pools;
mod restore;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::allocation::{Allocation, Held, Known, Refusal, Reserved};
use crate::events::Events;
use crate::name::{NodeName, PoolName, ServiceKey};
use crate::namespaces::Namespaces;
use crate::object::{Endpoint, EndpointSlice, Event, Kind, Namespace, Node, Pool, PoolStatus, Service, Subject, Version};
use crate::sharers::Sharers;

/// Where an address is carried, or why nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// By this node.
    By(NodeName),
    /// Nobody: nothing would answer behind it. The node that carried it last, for when something does.
    NoEndpoint(Option<NodeName>),
    /// Nobody: no node may. The node that carried it last, for when it may again.
    NoNode(Option<NodeName>),
}

impl Carried {
    /// The node written down for it.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::By(node) | Self::NoEndpoint(Some(node)) | Self::NoNode(Some(node)) => Some(node),
            Self::NoEndpoint(None) | Self::NoNode(None) => None,
        }
    }
}

/// The decisions of a leader. `handle_*` take objects in, [`Controller::decide`] draws the consequences, `poll_*` hand them out.
#[derive(Debug)]
pub struct Controller {
    ignore_exclude_label: bool,
    rng: ChaCha8Rng,

    // What Kubernetes says.
    pools: BTreeMap<PoolName, Pool>,
    services: BTreeMap<ServiceKey, Service>,
    /// By Service, then slice name.
    slices: BTreeMap<(ServiceKey, Arc<str>), Vec<Endpoint>>,
    /// Which Service a slice belongs to: by namespace and slice name.
    slice_owners: BTreeMap<(Arc<str>, Arc<str>), ServiceKey>,
    nodes: BTreeMap<NodeName, Node>,
    namespaces: Namespaces,
    /// Addresses of this machine and of gateways.
    reserved: BTreeMap<IpAddr, Reserved>,
    synced: BTreeSet<Kind>,
    /// The watch of Services is broken: what is known of them may be old.
    services_away: bool,

    // What is decided.
    leading: bool,
    /// Services that were deleted and made anew without our hearing of the first.
    remade: BTreeSet<ServiceKey>,
    /// Another may have led since we did, or before we ever did.
    another_led: bool,
    /// Services are known as they were before an outage in which another led.
    outdated: bool,
    allocation: Allocation,
    refusals: BTreeMap<ServiceKey, Refusal>,
    carried: BTreeMap<ServiceKey, Carried>,
    load: BTreeMap<NodeName, usize>,
    /// The younger pools that overlap an older one, with its name.
    conflicts: BTreeMap<PoolName, PoolName>,
    /// What was last written to each pool's record: what comes back as it was written is no news.
    recorded: BTreeMap<PoolName, BTreeMap<IpAddr, Sharers>>,

    // What is to be done.
    start_over: bool,
    pools_changed: bool,
    nodes_changed: bool,
    dirty: BTreeSet<ServiceKey>,
    /// Services without the address that they ask for.
    waiting: BTreeSet<ServiceKey>,
    /// Something was freed or opened since: whoever waits may try again.
    offer_changed: bool,
    touched: BTreeSet<Subject>,
    events: Events,
}

impl Controller {
    /// A follower that knows nothing yet. `rng` draws ties between nodes.
    pub fn new(ignore_exclude_label: bool, rng: ChaCha8Rng) -> Self {
        Self {
            ignore_exclude_label,
            rng,
            pools: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slice_owners: BTreeMap::new(),
            nodes: BTreeMap::new(),
            namespaces: Namespaces::default(),
            reserved: BTreeMap::new(),
            synced: BTreeSet::new(),
            services_away: false,
            leading: false,
            remade: BTreeSet::new(),
            another_led: true,
            outdated: false,
            allocation: Allocation::default(),
            refusals: BTreeMap::new(),
            carried: BTreeMap::new(),
            load: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            recorded: BTreeMap::new(),
            start_over: false,
            pools_changed: false,
            nodes_changed: false,
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            offer_changed: false,
            touched: BTreeSet::new(),
            events: Events::default(),
        }
    }

    /// A pool as it is now.
    pub fn handle_pool(&mut self, pool: Pool) {
        let known = self.pools.get(&pool.name);
        if known.is_some_and(|known| known.uid == pool.uid && pool.version.is_older_than(&known.version)) {
            return;
        }
        let before = known.map(|known| &known.status.used);
        let ours = self.recorded.get(&pool.name).is_some_and(|recorded| *recorded == pool.status.used);
        if self.leading && !ours && before != Some(&pool.status.used) && self.allocation.used(&pool.name) != pool.status.used {
            self.start_over = true;
        }
        // Whoever waited for being recorded can be told now.
        let changed = pool.status.used.iter().filter(|(address, users)| before.and_then(|before| before.get(*address)) != Some(users));
        self.touched.extend(changed.flat_map(|(_, users)| users).map(|service| Subject::Service(service.clone())));
        self.pools_changed |= known.is_none_or(|known| !offers_the_same(known, &pool));
        self.touched.insert(Subject::Pool(pool.name.clone()));
        self.pools.insert(pool.name.clone(), pool);
    }

    /// A pool is gone.
    pub fn handle_pool_deleted(&mut self, name: &PoolName) {
        self.pools.remove(name);
        self.recorded.remove(name);
        self.pools_changed = true;
        let held_of_it = |service: &&ServiceKey| self.allocation.held(service).values().any(|held| held.pool == *name);
        self.dirty.extend(self.services.keys().filter(held_of_it).cloned());
    }

    /// A Service as it is now.
    pub fn handle_service(&mut self, service: Service) {
        if self.services.get(&service.key).is_some_and(|known| service.version.is_older_than(&known.version)) {
            return;
        }
        // Deleted and made anew while nobody told us: what the old one had is not this one's. Who follows holds nothing of anybody's: what stands on record when it
        // takes over is the new one's.
        let is_anew = self.services.get(&service.key).is_some_and(|known| service.created != known.created);
        if is_anew && !self.allocation.held(&service.key).is_empty() {
            self.remade.insert(service.key.clone());
        }
        // Chosen by whoever led meanwhile: it stands, and what was made of the old record does not.
        if self.outdated && self.services.get(&service.key).is_some_and(|known| service.status.node != known.status.node) {
            self.unplace(&service.key);
        }
        // Who may not share its address may do so now.
        let edited = self.services.get(&service.key).is_some_and(|known| known.request != service.request);
        self.offer_changed |= edited && !self.allocation.held(&service.key).is_empty();
        self.dirty.insert(service.key.clone());
        self.services.insert(service.key.clone(), service);
    }

    /// A Service is gone.
    pub fn handle_service_deleted(&mut self, key: &ServiceKey) {
        self.services.remove(key);
        self.dirty.insert(key.clone());
    }

    /// An EndpointSlice as it is now.
    pub fn handle_slice(&mut self, slice: EndpointSlice) {
        let EndpointSlice { name, service, endpoints } = slice;
        let before = self.slice_owners.insert((service.namespace.clone(), name.clone()), service.clone());
        if let Some(before) = before.filter(|before| *before != service) {
            self.slices.remove(&(before.clone(), name.clone()));
            self.dirty.insert(before);
        }
        self.dirty.insert(service.clone());
        self.slices.insert((service, name), endpoints);
    }

    /// An EndpointSlice is gone.
    pub fn handle_slice_deleted(&mut self, namespace: &str, name: &str) {
        let name: Arc<str> = name.into();
        let Some(service) = self.slice_owners.remove(&(namespace.into(), name.clone())) else { return };
        self.slices.remove(&(service.clone(), name));
        self.dirty.insert(service);
    }

    /// A Node as it is now.
    pub fn handle_node(&mut self, node: Node) {
        if self.nodes.get(&node.name) != Some(&node) {
            self.nodes_changed = true;
            self.nodes.insert(node.name.clone(), node);
        }
    }

    /// A Node is gone.
    pub fn handle_node_deleted(&mut self, name: &NodeName) {
        self.nodes_changed |= self.nodes.remove(name).is_some();
    }

    /// A Namespace as it is now.
    pub fn handle_namespace(&mut self, namespace: Namespace) {
        self.offer_changed |= self.namespaces.handle(namespace);
    }

    /// A Namespace is gone.
    pub fn handle_namespace_deleted(&mut self, name: &str) {
        self.namespaces.handle_deleted(name);
    }

    /// Which addresses gateways and this machine have.
    pub fn handle_reserved(&mut self, reserved: BTreeMap<IpAddr, Reserved>) {
        self.nodes_changed |= self.reserved != reserved;
        self.reserved = reserved;
    }

    /// A kind was listed.
    pub fn handle_synced(&mut self, kind: Kind) {
        self.synced.insert(kind);
        if kind == Kind::Namespace {
            self.namespaces.handle_listed();
            self.offer_changed = true;
        }
        if kind == Kind::Service {
            (self.services_away, self.outdated) = (false, false);
        }
    }

    /// The watch of a kind is broken; once it is whole again [`Controller::handle_synced`] says so.
    pub fn handle_away(&mut self, kind: Kind) {
        self.services_away |= kind == Kind::Service;
        if kind == Kind::Namespace {
            // Not needed by most: who needs them is told so.
            self.synced.insert(kind);
        }
    }

    /// Whether its decisions count from now on. Who begins to lead starts over from what is recorded. Where another led before, and the Services are as they were
    /// before an outage, what that one wrote is heard of later, and counts then.
    pub fn handle_leading(&mut self, leading: bool) {
        self.start_over |= leading && !self.leading;
        if leading && self.another_led {
            self.outdated = self.services_away;
            self.another_led = false;
        }
        self.leading = leading;
        if !leading {
            self.touched.clear();
            self.events.clear();
        }
    }

    /// Another leads: what we decided and remember is no longer what stands.
    pub fn handle_following(&mut self) {
        self.another_led = true;
        self.remade.clear();
        self.allocation = Allocation::default();
        self.pools_changed = true;
        self.carried.clear();
        self.load.clear();
        self.recorded.clear();
    }

    /// A record was handed out to be written.
    pub fn handle_recording(&mut self, pool: &PoolName, used: BTreeMap<IpAddr, Sharers>) {
        self.recorded.insert(pool.clone(), used);
    }

    /// What is known of the LAN has changed: every status may have.
    pub fn handle_network_changed(&mut self) {
        if self.leading {
            self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
            let holders = self.services.keys().filter(|key| !self.allocation.held(key).is_empty());
            self.touched.extend(holders.cloned().map(Subject::Service));
        }
    }

    /// Draws the consequences of all that was handled. Does nothing unless leading and synced.
    pub fn decide(&mut self) {
        if !self.leading && self.another_led {
            // Who begins to lead looks at all there is anyway. Kept until then, the name of each Service that ever was would be.
            self.dirty.clear();
            self.touched.clear();
        }
        if !self.leading || !self.is_synced() {
            return;
        }
        if std::mem::take(&mut self.start_over) {
            self.restore();
        }
        if std::mem::take(&mut self.pools_changed) {
            self.review_pools();
        }
        if std::mem::take(&mut self.nodes_changed) {
            self.reserve_addresses();
            self.dirty.extend(self.services.keys().cloned());
        }
        for key in self.dirty.clone() {
            self.review_service(&key);
        }
        self.serve_waiting();
        // What one gave up for another may be what a third waits for. Each round fills a wish, so it ends.
        while self.offer_changed {
            self.serve_waiting();
        }
        while let Some(key) = self.dirty.pop_first() {
            for member in self.place(&key) {
                self.dirty.remove(&member);
                self.touched.insert(Subject::Service(member));
            }
            self.touched.insert(Subject::Service(key));
        }
    }

    /// The next object whose status may have to change, in order: pools first.
    pub fn poll_touched(&mut self) -> Option<Subject> {
        self.touched.pop_first()
    }

    /// The next Event to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether one more Event to tell would put none out.
    pub fn has_room_for_event(&self) -> bool {
        self.events.have_room()
    }

    /// How many Events were given up in a flood that is over.
    pub fn poll_untold(&mut self) -> Option<u64> {
        self.events.take_dropped()
    }

    /// Whether a Service waits for an address that it must have.
    pub fn waits(&self, key: &ServiceKey) -> bool {
        self.refusals.get(key).is_some_and(|refusal| !refusal.optional)
    }

    /// What is to be said of those who hold an address of a pool may have changed.
    pub fn touch_holders(&mut self, pool: &PoolName) {
        let holds = |key: &&ServiceKey| self.allocation.held(key).values().any(|held| held.pool == *pool);
        self.touched.extend(self.services.keys().filter(holds).cloned().map(Subject::Service));
    }

    /// Whether each kind was listed (Namespaces, or refused): nothing is decided or written before.
    pub fn is_synced(&self) -> bool {
        self.synced.len() == Kind::ALL.len()
    }

    /// All pools.
    pub fn pools(&self) -> &BTreeMap<PoolName, Pool> {
        &self.pools
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// All Services, in order of their keys.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// The books.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Why a Service did not get what it asks for.
    pub fn refusal(&self, key: &ServiceKey) -> Option<&Refusal> {
        self.refusals.get(key)
    }

    /// Where a Service's address is carried.
    pub fn carried(&self, key: &ServiceKey) -> Option<&Carried> {
        self.carried.get(key)
    }

    /// The older pool that a pool overlaps.
    pub fn conflict(&self, pool: &PoolName) -> Option<&PoolName> {
        self.conflicts.get(pool)
    }

    /// What a Service holds, in the order of its families.
    pub fn held(&self, key: &ServiceKey) -> Vec<&Held> {
        let families = self.services.get(key).and_then(|service| service.request.as_ref()).map_or(&[][..], |request| &request.families);
        let mut held: Vec<_> = self.allocation.held(key).iter().collect();
        held.sort_by_key(|(family, _)| families.iter().position(|each| each == family));
        held.into_iter().map(|(_, held)| held).collect()
    }

    /// Whether what a Service holds stands on record.
    pub fn is_recorded(&self, key: &ServiceKey, held: &Held) -> bool {
        let on_record = |pool: &Pool| pool.status.used.get(&held.address).is_some_and(|users| users.contains(key));
        self.pools.get(&held.pool).is_none_or(on_record)
    }

    /// Tells an Event, if it leads.
    pub fn tell(&mut self, subject: Subject, warning: bool, reason: &'static str, message: String) {
        self.events.push(Event { subject, warning, reason, message });
    }
}

/// Whether two states of a pool differ in nothing that decides who gets what: in their status, at the most.
fn offers_the_same(before: &Pool, after: &Pool) -> bool {
    let neutral = |pool: &Pool| Pool { version: Version::default(), has_finalizer: false, status: PoolStatus::default(), ..pool.clone() };
    neutral(before) == neutral(after)
}

fn by_age<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = services.collect();
    services.sort_by_key(|service| (service.created, &service.key));
    services
}
