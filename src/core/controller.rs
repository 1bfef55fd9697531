//! From what Kubernetes says to what should be so: who holds which address, and which node carries it.
//!
//! Objects come in and mark their keys dirty; [`Controller::decide`] works these off in key order, so that neither the order of arrival within a batch nor
//! a restart changes a result. Only a confirmed leader decides, and only when each kind was listed once. The record is the pools' `status.used`: it wins at
//! start, it is written before the Service is, and only what stands in it is announced.
//!
//! What follows from the decisions for each object's status is in [`crate::desired`]; links and frames are not known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use rand_chacha::ChaCha8Rng;

use crate::allocation::{Allocation, Held, Offer, Refusal};
use crate::name::{NodeName, PoolName, ServiceKey};
use crate::object::{Endpoint, EndpointSlice, Event, Kind, Node, Pool, PoolStatus, Protocol, Request, Service, Subject, Version};
use crate::placement::{self, Candidates};
use crate::status::event;

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
    slices: BTreeMap<ServiceKey, BTreeMap<String, Vec<Endpoint>>>,
    /// Which Service a slice belongs to: by namespace and slice name.
    slice_owners: BTreeMap<(String, String), ServiceKey>,
    nodes: BTreeMap<NodeName, Node>,
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
    recorded: BTreeMap<PoolName, BTreeMap<IpAddr, BTreeSet<ServiceKey>>>,

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
    events: VecDeque<Event>,
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
            events: VecDeque::new(),
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
        let holders = self.services.keys().filter(|service| self.allocation.held(service).is_some_and(|held| held.pool == *name));
        self.dirty.extend(holders.cloned());
    }

    /// A Service as it is now.
    pub fn handle_service(&mut self, service: Service) {
        if self.services.get(&service.key).is_some_and(|known| service.version.is_older_than(&known.version)) {
            return;
        }
        // Deleted and made anew while nobody told us: what the old one had is not this one's.
        if self.services.get(&service.key).is_some_and(|known| service.created != known.created) {
            self.remade.insert(service.key.clone());
        }
        // Chosen by whoever led meanwhile: it stands, and what was made of the old record does not.
        if self.outdated && self.services.get(&service.key).is_some_and(|known| service.status.node != known.status.node) {
            self.unplace(&service.key);
        }
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
        let owner = (slice.service.namespace.clone(), slice.name.clone());
        if self.slice_owners.get(&owner).is_some_and(|before| *before != slice.service) {
            self.handle_slice_deleted(&owner.0, &owner.1);
        }
        self.slice_owners.insert(owner, slice.service.clone());
        self.dirty.insert(slice.service.clone());
        self.slices.entry(slice.service).or_default().insert(slice.name, slice.endpoints);
    }

    /// An EndpointSlice is gone.
    pub fn handle_slice_deleted(&mut self, namespace: &str, name: &str) {
        let Some(service) = self.slice_owners.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
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

    /// A kind was listed.
    pub fn handle_synced(&mut self, kind: Kind) {
        self.synced.insert(kind);
        if kind == Kind::Service {
            (self.services_away, self.outdated) = (false, false);
        }
    }

    /// The watch of a kind is broken; once it is whole again [`Controller::handle_synced`] says so.
    pub fn handle_away(&mut self, kind: Kind) {
        self.services_away |= kind == Kind::Service;
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
        self.allocation = Allocation::default();
        self.pools_changed = true;
        self.carried.clear();
        self.load.clear();
        self.recorded.clear();
    }

    /// A record was handed out to be written.
    pub fn handle_recording(&mut self, pool: &PoolName, used: BTreeMap<IpAddr, BTreeSet<ServiceKey>>) {
        self.recorded.insert(pool.clone(), used);
    }

    /// What is known of the LAN has changed: every status may have.
    pub fn handle_network_changed(&mut self) {
        if self.leading {
            self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
            let holders = self.services.keys().filter(|key| self.allocation.held(key).is_some());
            self.touched.extend(holders.cloned().map(Subject::Service));
        }
    }

    /// Draws the consequences of all that was handled. Does nothing unless leading and synced.
    pub fn decide(&mut self) {
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
            self.block_addresses_of_nodes();
            self.dirty.extend(self.services.keys().cloned());
        }
        for key in self.dirty.clone() {
            self.review_service(&key);
        }
        self.serve_waiting();
        for key in std::mem::take(&mut self.dirty) {
            self.place(&key);
            self.touched.insert(Subject::Service(key));
        }
    }

    /// The next object whose status may have to change, in order: pools first.
    pub fn poll_touched(&mut self) -> Option<Subject> {
        self.touched.pop_first()
    }

    /// The next Event to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether each kind was listed: nothing is decided or written before.
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

    /// What a Service holds, once that stands on record.
    pub fn recorded(&self, key: &ServiceKey) -> Option<&Held> {
        let held = self.allocation.held(key)?;
        let on_record = |pool: &Pool| pool.status.used.get(&held.address).is_some_and(|users| users.contains(key));
        self.pools.get(&held.pool).is_none_or(on_record).then_some(held)
    }

    /// Tells an Event, if it leads.
    pub fn tell(&mut self, subject: Subject, warning: bool, reason: &'static str, message: String) {
        self.events.push_back(Event { subject, warning, reason, message });
    }

    /// Starts over from what is recorded: in `used`, then in our own memory, then on the Services.
    fn restore(&mut self) {
        let remembered = std::mem::take(&mut self.allocation);
        self.refusals.clear();
        self.waiting.clear();
        self.review_pools();
        let asks = |key: &ServiceKey| self.services.get(key).filter(|service| service.request.is_some());
        let mut records: Vec<(bool, i64, &ServiceKey, &PoolName, IpAddr)> = Vec::new();
        for pool in self.pools.values() {
            for (address, users) in &pool.status.used {
                for service in users.iter().filter_map(asks) {
                    // Of two records for one Service, the one that its users already know.
                    let unknown = !service.status.ingress.contains(address);
                    records.push((unknown, service.created, &service.key, &pool.name, *address));
                }
            }
        }
        records.sort();
        for (_, _, service, pool, address) in records {
            self.allocation.record(service, pool, address);
        }
        let in_order = by_age(self.services.values().filter(|service| service.request.is_some()));
        for service in in_order {
            if let Some(held) = remembered.held(&service.key) {
                self.allocation.record(&service.key, &held.pool, held.address);
            }
            if let Some(address) = service.status.ingress.first() {
                self.allocation.adopt(&service.key, *address, service.status.pool.as_ref());
            }
        }
        self.nodes_changed = true;
        self.offer_changed = true;
        self.dirty.extend(self.services.keys().cloned());
        self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
        // A move that was announced and not yet written is still where the LAN sends its traffic: only what changed hands is placed anew.
        let address = |allocation: &Allocation, key: &ServiceKey| allocation.held(key).map(|held| held.address);
        self.carried.retain(|key, _| address(&remembered, key) == address(&self.allocation, key));
        self.load.clear();
        for node in self.carried.values().filter_map(Carried::node) {
            *self.load.entry(node.clone()).or_default() += 1;
        }
    }

    /// Opens, changes and closes the books of pools; of two that overlap, the younger is closed.
    fn review_pools(&mut self) {
        self.conflicts.clear();
        let mut by_age: Vec<&Pool> =
            self.pools.values().filter(|pool| pool.protocol == Protocol::Layer2 && pool.addresses.is_ok()).collect();
        by_age.sort_by_key(|pool| (pool.created, &pool.name));
        let mut open: Vec<&Pool> = Vec::new();
        for pool in by_age {
            let Ok(addresses) = &pool.addresses else { continue };
            let overlaps = |older: &&&Pool| older.addresses.as_ref().is_ok_and(|other| other.overlaps(addresses));
            if let Some(older) = open.iter().find(overlaps) {
                self.conflicts.insert(pool.name.clone(), older.name.clone());
            } else {
                open.push(pool);
            }
            let closed = closed_because(pool, self.conflicts.get(&pool.name));
            self.allocation.set_pool(&pool.name, addresses, Offer { closed, is_default: pool.is_default, priority: pool.priority });
        }
        let gone: Vec<PoolName> = self.allocation.pools().filter(|name| !is_open_book(self.pools.get(*name))).cloned().collect();
        for name in gone {
            self.allocation.remove_pool(&name);
        }
        self.block_addresses_of_nodes();
        self.offer_changed = true;
        self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
        // A pool that changed may have let go of what was held of it.
        self.dirty.extend(self.services.iter().filter(|(_, service)| service.request.is_some()).map(|(key, _)| key.clone()));
    }

    fn block_addresses_of_nodes(&mut self) {
        let of_nodes: BTreeSet<IpAddr> = self.nodes.values().flat_map(|node| node.addresses.iter().copied()).collect();
        self.offer_changed |= self.allocation.block(&of_nodes);
    }

    /// Takes back what a Service no longer asks for, and notes whether it waits for something.
    fn review_service(&mut self, key: &ServiceKey) {
        if self.remade.remove(key)
            && let Some(held) = self.allocation.release(key)
        {
            self.give_back(&held);
        }
        let request = self.services.get(key).and_then(|service| service.request.as_ref());
        let Some(request) = request else {
            self.waiting.remove(key);
            self.refusals.remove(key);
            self.release(key);
            return;
        };
        if matches!(request.protocol, Some(Protocol::Other(_))) {
            self.release(key);
        }
        let request = self.services.get(key).and_then(|service| service.request.as_ref());
        let held = self.allocation.held(key);
        if held.zip(request).is_some_and(|(held, request)| Allocation::satisfies(held, request)) {
            self.waiting.remove(key);
            self.refusals.remove(key);
        } else {
            self.waiting.insert(key.clone());
        }
    }

    fn release(&mut self, key: &ServiceKey) {
        let Some(held) = self.allocation.release(key) else { return };
        self.give_back(&held);
        if self.services.contains_key(key) {
            let message = format!("{} went back to Eip {}", held.address, held.pool);
            self.tell(Subject::Service(key.clone()), false, event::IP_RELEASED, message);
        }
    }

    /// An address is free again, for its pool or for one that includes it by now.
    fn give_back(&mut self, held: &Held) {
        self.offer_changed = true;
        self.touched.insert(Subject::Pool(held.pool.clone()));
        if !self.allocation.includes(held) {
            self.block_addresses_of_nodes();
        }
    }

    /// Serves whoever waits and may get something now, the oldest first.
    fn serve_waiting(&mut self) {
        let everybody = std::mem::take(&mut self.offer_changed);
        let may_try = |key: &&ServiceKey| everybody || self.dirty.contains(*key);
        let trying = by_age(self.waiting.iter().filter(may_try).filter_map(|key| self.services.get(key)));
        let trying: Vec<(ServiceKey, Request)> =
            trying.into_iter().filter_map(|service| Some((service.key.clone(), service.request.clone()?))).collect();
        for (key, request) in trying {
            let before = self.allocation.held(&key).cloned();
            match self.allocation.allocate(&key, &request) {
                Ok(held) => {
                    self.waiting.remove(&key);
                    self.refusals.remove(&key);
                    self.touched.insert(Subject::Pool(held.pool.clone()));
                    if let Some(before) = before {
                        self.give_back(&before);
                    }
                    let message = format!("{} from Eip {}", held.address, held.pool);
                    self.tell(Subject::Service(key.clone()), false, event::IP_ALLOCATED, message);
                }
                Err(refusal) => self.refuse(&key, refusal),
            }
            self.dirty.insert(key);
        }
    }

    /// Tells a refusal once: not again after a restart, where the Service says it already.
    fn refuse(&mut self, key: &ServiceKey, refusal: Refusal) {
        let said = self.services.get(key).and_then(|service| service.status.assigned.as_ref());
        let said = said.is_some_and(|said| !said.status && said.reason == refusal.reason && said.message == refusal.message);
        if !said && self.refusals.get(key) != Some(&refusal) {
            self.tell(Subject::Service(key.clone()), true, event::ALLOCATION_FAILED, format!("{}: {}", refusal.reason, refusal.message));
        }
        self.refusals.insert(key.clone(), refusal);
    }

    /// Chooses the node that carries a Service's address.
    fn place(&mut self, key: &ServiceKey) {
        let before = self.unplace(key);
        let (Some(service), Some(held)) = (self.services.get(key), self.allocation.held(key)) else { return };
        let Some(request) = &service.request else { return };
        let current = before.as_ref().map_or(service.status.node.as_ref(), Carried::node).cloned();
        let endpoints: Vec<&Endpoint> = self.slices.get(key).into_iter().flat_map(BTreeMap::values).flatten().collect();
        let candidates = placement::candidates(request.policy, &self.nodes, endpoints.into_iter(), self.ignore_exclude_label);
        let carried = match candidates {
            Candidates::NoEndpoint => Carried::NoEndpoint(current.clone()),
            Candidates::Nodes(nodes) => placement::choose(&nodes, current.as_ref(), &self.load, &mut self.rng)
                .map_or_else(|| Carried::NoNode(current.clone()), Carried::By),
        };
        if let Some(node) = carried.node() {
            *self.load.entry(node.clone()).or_default() += 1;
        }
        if let Some((warning, reason, message)) = self.news_of(before.as_ref(), current.as_ref(), &carried, held.address) {
            self.tell(Subject::Service(key.clone()), warning, reason, message);
        }
        self.carried.insert(key.clone(), carried);
    }

    /// Takes a Service off the node that carries it.
    fn unplace(&mut self, key: &ServiceKey) -> Option<Carried> {
        let before = self.carried.remove(key);
        if let Some(node) = before.as_ref().and_then(Carried::node) {
            let load = self.load.entry(node.clone()).or_default();
            *load = load.saturating_sub(1);
        }
        before
    }

    fn news_of(
        &self,
        before: Option<&Carried>,
        current: Option<&NodeName>,
        carried: &Carried,
        address: IpAddr,
    ) -> Option<(bool, &'static str, String)> {
        match (current, carried) {
            (Some(old), Carried::By(new)) if old != new => {
                let why = self.why_not(old);
                Some((false, event::NODE_CHANGED, format!("{new} carries {address} instead of {old}: {old} {why}")))
            }
            (None, Carried::By(new)) => Some((false, event::NODE_ASSIGNED, format!("{new} carries {address}"))),
            (_, Carried::NoNode(_)) if !matches!(before, Some(Carried::NoNode(_))) => {
                let message = format!(
                    "no node can carry {address}: nodes must be Ready, not excluded by label and, under externalTrafficPolicy Local, run a ready endpoint"
                );
                Some((true, event::NO_ELIGIBLE_NODE, message))
            }
            _ => None,
        }
    }

    /// Why a node is no candidate.
    fn why_not(&self, name: &NodeName) -> &'static str {
        match self.nodes.get(name) {
            None => "is gone",
            Some(node) if node.deleting => "is being deleted",
            Some(node) if !node.ready => "is not ready",
            Some(node) if node.excluded && !self.ignore_exclude_label => {
                "is labelled node.kubernetes.io/exclude-from-external-load-balancers"
            }
            Some(_) => "has no ready endpoint",
        }
    }
}

/// Whether two states of a pool differ in nothing that decides who gets what: in their status, at the most.
fn offers_the_same(before: &Pool, after: &Pool) -> bool {
    let neutral = |pool: &Pool| Pool { version: Version::default(), has_finalizer: false, status: PoolStatus::default(), ..pool.clone() };
    neutral(before) == neutral(after)
}

fn is_open_book(pool: Option<&Pool>) -> bool {
    pool.is_some_and(|pool| pool.protocol == Protocol::Layer2 && pool.addresses.is_ok())
}

fn closed_because(pool: &Pool, conflict: Option<&PoolName>) -> Option<String> {
    if let Some(older) = conflict {
        Some(format!("it overlaps the older Eip {older}"))
    } else if pool.deleting {
        Some("it is being deleted".to_owned())
    } else if pool.disabled {
        Some("it is disabled (spec.disable)".to_owned())
    } else {
        matches!(pool.interface, Some(Err(_))).then(|| "its spec.interface is invalid".to_owned())
    }
}

fn by_age<'a>(services: impl Iterator<Item = &'a Service>) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = services.collect();
    services.sort_by_key(|service| (service.created, &service.key));
    services
}
