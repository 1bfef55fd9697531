//! One replica of Bellhop, whole: what the program feeds and drains.
//!
//! It ties the parts together and decides little itself: [`crate::lease`] says whether it leads, [`crate::controller`] who gets what and who carries it,
//! [`crate::network`] answers on the LAN, [`crate::desired`] what should stand on each object. Every `handle_*` is followed by draining all `poll_*` until they
//! hand out nothing more; then the next event, or [`Replica::poll_timeout`].
//!
//! The order of consequences is its own: the LAN hears of a move before the API does, and an address is on record before a Service is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::announcer::{Counters, Voice};
use crate::controller::Controller;
use crate::desired;
use crate::lease::{Elector, LeaseRecord, LeaseWrite, Role, Times};
use crate::link::{Interface, LinkError};
use crate::mac::MacAddr;
use crate::name::{InterfaceName, NodeName, PoolName, ServiceKey};
use crate::network::{LinkCommand, Network};
use crate::object::{EndpointSlice, Event, Kind, Node, Pool, PoolStatus, Service, Subject, Version, Write, Written};
use crate::status::event;
use crate::time::Instant;

/// The first wait after a write that failed; doubled with each further one.
const WRITE_RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest wait after a write that failed.
const WRITE_RETRY_MAX: Duration = Duration::from_secs(30);

/// Who this replica is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Kubernetes node that it runs on; also its name on the Lease.
    pub node: NodeName,
    /// Let nodes labelled `node.kubernetes.io/exclude-from-external-load-balancers` carry addresses.
    pub ignore_exclude_label: bool,
    /// The Lease's durations.
    pub lease: Times,
}

/// A change worth one line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Leadership came, went or is in doubt.
    Role(Role),
    /// An address is carried by another MAC, or no more.
    Carrier {
        /// The Service.
        service: ServiceKey,
        /// Its address.
        address: IpAddr,
        /// On which NIC's LAN, and the MAC that is announced.
        at: Option<(InterfaceName, MacAddr)>,
    },
    /// A node is at another MAC than before, or answered for the first time.
    NodeMac {
        /// The node.
        node: NodeName,
        /// On which NIC's LAN.
        interface: InterfaceName,
        /// The MAC.
        mac: MacAddr,
        /// The MAC before.
        before: Option<MacAddr>,
    },
    /// A NIC was opened, or could not be.
    Link(InterfaceName, Result<(), LinkError>),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(Role::Leader) => f.write_str("leading: the Lease is ours"),
            Self::Role(Role::Follower) => f.write_str("following: silent until the Lease is ours"),
            Self::Role(Role::Unconfirmed) => f.write_str("leadership is unconfirmed: answering what stands, moving nothing"),
            Self::Carrier { service, address, at: Some((interface, mac)) } => {
                write!(f, "{address} of {service} is at {mac} on {interface}")
            }
            Self::Carrier { service, address, at: None } => write!(f, "{address} of {service} is not announced any more"),
            Self::NodeMac { node, interface, mac, before: None } => write!(f, "node {node} is at {mac} on {interface}"),
            Self::NodeMac { node, interface, mac, before: Some(before) } => {
                write!(f, "node {node} moved from {before} to {mac} on {interface}")
            }
            Self::Link(interface, Ok(())) => write!(f, "interface {interface} is open"),
            Self::Link(_, Err(error)) => write!(f, "{error}"),
        }
    }
}

/// A wait before the next write of an object.
#[derive(Debug)]
struct BackOff {
    /// Not before this.
    until: Instant,
    /// How often it failed in a row.
    failures: u32,
    /// The version that was in conflict: a newer one is what the wait is for.
    outdated: Option<Version>,
}

/// One replica. See the module for the contract.
#[derive(Debug)]
pub struct Replica {
    elector: Elector,
    role: Role,
    controller: Controller,
    network: Network,
    rng: ChaCha8Rng,
    /// Something was handled whose consequences are not drawn yet.
    unsettled: bool,
    /// Pools, nodes or interfaces changed: which NIC serves what may have.
    lan_changed: bool,
    /// A node's MAC or a NIC's state changed: what is announced may have.
    reach_changed: bool,
    /// What is announced for each Service.
    announced: BTreeMap<ServiceKey, (IpAddr, InterfaceName, MacAddr)>,
    /// Objects whose status may have to be written.
    outbox: BTreeSet<Subject>,
    in_flight: BTreeMap<Subject, Write>,
    /// Of objects on which something is still wanted: what was last written, and how often in a row the same.
    repeated: BTreeMap<Subject, (Write, u32)>,
    /// Objects whose last write failed, or did not last.
    backing_off: BTreeMap<Subject, BackOff>,
    /// The reason that was last told of each Eip.
    told: BTreeMap<PoolName, String>,
    notices: VecDeque<Notice>,
}

impl Replica {
    /// A follower that knows nothing yet. All its chance comes from `rng`.
    pub fn new(config: Config, mut rng: ChaCha8Rng) -> Self {
        let mut stream = || ChaCha8Rng::from_seed(rng.random());
        Self {
            elector: Elector::new(config.node.clone(), config.lease, stream()),
            role: Role::Follower,
            controller: Controller::new(config.ignore_exclude_label, stream()),
            network: Network::new(config.node),
            rng: stream(),
            unsettled: false,
            lan_changed: false,
            reach_changed: false,
            announced: BTreeMap::new(),
            outbox: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            repeated: BTreeMap::new(),
            backing_off: BTreeMap::new(),
            told: BTreeMap::new(),
            notices: VecDeque::new(),
        }
    }

    /// An Eip as it is now.
    pub fn handle_pool(&mut self, now: Instant, pool: Pool) {
        self.end_conflict(now, &Subject::Pool(pool.name.clone()), &pool.version);
        self.controller.handle_pool(pool);
        self.lan_changed = true;
        self.unsettled = true;
    }

    /// An Eip is gone.
    pub fn handle_pool_deleted(&mut self, _now: Instant, name: &PoolName) {
        self.controller.handle_pool_deleted(name);
        self.told.remove(name);
        self.forget(&Subject::Pool(name.clone()));
        self.lan_changed = true;
        self.unsettled = true;
    }

    /// A Service as it is now.
    pub fn handle_service(&mut self, now: Instant, service: Service) {
        self.end_conflict(now, &Subject::Service(service.key.clone()), &service.version);
        self.controller.handle_service(service);
        self.unsettled = true;
    }

    /// A Service is gone.
    pub fn handle_service_deleted(&mut self, _now: Instant, key: &ServiceKey) {
        self.controller.handle_service_deleted(key);
        self.forget(&Subject::Service(key.clone()));
        self.unsettled = true;
    }

    /// An EndpointSlice as it is now.
    pub fn handle_slice(&mut self, _now: Instant, slice: EndpointSlice) {
        self.controller.handle_slice(slice);
        self.unsettled = true;
    }

    /// An EndpointSlice is gone.
    pub fn handle_slice_deleted(&mut self, _now: Instant, namespace: &str, name: &str) {
        self.controller.handle_slice_deleted(namespace, name);
        self.unsettled = true;
    }

    /// A Node as it is now.
    pub fn handle_node(&mut self, _now: Instant, node: Node) {
        if self.controller.nodes().get(&node.name) != Some(&node) {
            self.controller.handle_node(node);
            self.lan_changed = true;
            self.unsettled = true;
        }
    }

    /// A Node is gone.
    pub fn handle_node_deleted(&mut self, _now: Instant, name: &NodeName) {
        self.controller.handle_node_deleted(name);
        self.lan_changed = true;
        self.unsettled = true;
    }

    /// A kind was listed, once or again.
    pub fn handle_synced(&mut self, _now: Instant, kind: Kind) {
        self.controller.handle_synced(kind);
        self.unsettled = true;
    }

    /// The watch of a kind is broken; [`Replica::handle_synced`] comes again when it is whole.
    pub fn handle_away(&mut self, _now: Instant, kind: Kind) {
        self.controller.handle_away(kind);
    }

    /// The Lease as the watch shows it; `None`: it does not exist.
    pub fn handle_lease(&mut self, now: Instant, lease: Option<LeaseRecord>) {
        self.elector.handle_lease(now, lease);
        self.unsettled = true;
    }

    /// How the write of [`Replica::poll_lease`] ended.
    pub fn handle_lease_written(&mut self, now: Instant, result: Result<LeaseRecord, Written>) {
        self.elector.handle_written(now, result);
        self.unsettled = true;
    }

    /// The machine's interfaces as of now, with the route to each of [`Replica::destinations`].
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>, routes: BTreeMap<IpAddr, Option<InterfaceName>>) {
        self.network.handle_interfaces(now, interfaces, routes);
        self.lan_changed = true;
        self.unsettled = true;
    }

    /// How opening a NIC ended, or what befell it later.
    pub fn handle_link(&mut self, now: Instant, interface: &InterfaceName, result: Result<(), LinkError>) {
        let before = self.network.trouble(interface).cloned();
        let opened = result.is_ok();
        self.network.handle_link(now, interface, result.clone());
        if opened || self.network.trouble(interface) != before.as_ref() {
            self.notices.push_back(Notice::Link(interface.clone(), result));
            self.reach_changed = true;
            self.unsettled = true;
        }
    }

    /// One received frame.
    pub fn handle_frame(&mut self, now: Instant, interface: &InterfaceName, frame: &[u8]) {
        let Some(learned) = self.network.handle_frame(now, interface, frame) else { return };
        if let Some(node) = self.network.node_at(interface, learned.address, self.controller.nodes()) {
            let (node, interface) = (node.clone(), interface.clone());
            self.notices.push_back(Notice::NodeMac { node, interface, mac: learned.mac, before: learned.before });
        }
        self.reach_changed = true;
        self.unsettled = true;
    }

    /// How a write ended. The object that the API answered with comes before this.
    pub fn handle_written(&mut self, now: Instant, subject: &Subject, result: Written) {
        let write = self.in_flight.remove(subject);
        let there = match subject {
            Subject::Pool(name) => self.controller.pools().contains_key(name),
            Subject::Service(key) => self.controller.service(key).is_some(),
        };
        if !there {
            return;
        }
        self.outbox.insert(subject.clone());
        let before = self.backing_off.get(subject).map_or(0, |wait| wait.failures);
        let outdated = write.as_ref().filter(|_| result == Written::Conflict).map(|write| write.version().clone());
        let failures = match result {
            // What was taken and does not stand there after (a webhook of somebody's changes it) is not written again and again.
            Written::Done => match write.map_or(0, |write| self.repetitions(subject, write)) {
                0 => {
                    self.backing_off.remove(subject);
                    return;
                }
                times => times - 1,
            },
            Written::Conflict | Written::Failed => before,
        };
        let wait = WRITE_RETRY_MIN.saturating_mul(1 << failures.min(16)).min(WRITE_RETRY_MAX);
        let until = now + wait.mul_f64(1.0 + 0.2 * self.rng.random::<f64>());
        self.backing_off.insert(subject.clone(), BackOff { until, failures: failures.saturating_add(1), outdated });
    }

    /// Stop in good order: give the Lease back. Drain until [`Replica::is_finished`].
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.elector.handle_shutdown(now);
        self.unsettled = true;
    }

    /// [`Replica::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Instant) {
        self.unsettled = true;
    }

    /// The next thing to do with a NIC.
    pub fn poll_link(&mut self, now: Instant) -> Option<LinkCommand> {
        self.settle(now);
        self.network.poll_link(now)
    }

    /// Writes the next frame to send into `frame`; returns the NIC to send it on.
    pub fn poll_transmit(&mut self, now: Instant, frame: &mut Vec<u8>) -> Option<InterfaceName> {
        self.settle(now);
        self.network.poll_transmit(now, frame)
    }

    /// What to write to the Lease, at most one at a time.
    pub fn poll_lease(&mut self, now: Instant) -> Option<LeaseWrite> {
        self.settle(now);
        self.elector.poll_write(now)
    }

    /// The next change to the API; of different objects, several may be under way at once.
    pub fn poll_write(&mut self, now: Instant) -> Option<Write> {
        self.settle(now);
        if self.role != Role::Leader {
            return None;
        }
        while let Some(subject) = self.next_to_write(now) {
            self.outbox.remove(&subject);
            let write = match &subject {
                Subject::Pool(name) => self.pool_write(name),
                Subject::Service(key) => self.service_write(key),
            };
            if let Some(write) = write {
                self.in_flight.insert(subject, write.clone());
                return Some(write);
            }
            self.repeated.remove(&subject);
        }
        None
    }

    /// The next thing to tell the user of an object. Not retried: an Event is a courtesy, and waits behind every write of [`Replica::poll_write`].
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        self.settle(now);
        if self.role == Role::Leader { self.controller.poll_event() } else { None }
    }

    /// The next line for the log.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When to call [`Replica::handle_timeout`] if nothing else is handled before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // What is due already waits for something else: for room, or for its write under way to end.
        let retry = self.backing_off.iter().filter(|(subject, wait)| wait.until > now && self.outbox.contains(*subject));
        let retry = retry.map(|(_, wait)| wait.until).min();
        let retry = retry.filter(|_| self.role == Role::Leader);
        [self.elector.poll_timeout(now), self.network.poll_timeout(), retry].into_iter().flatten().min()
    }

    /// Addresses whose route is wanted with [`Replica::handle_interfaces`]; call that again when they change.
    pub fn destinations(&self) -> BTreeSet<IpAddr> {
        Network::destinations(self.controller.pools())
    }

    /// What it may do, as of the last event.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Until when it may write to the API: what is under way at that moment must send nothing more.
    pub fn may_write_until(&self) -> Option<Instant> {
        self.elector.confirmed_until()
    }

    /// After [`Replica::handle_shutdown`]: nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.elector.is_finished()
    }

    /// What each NIC heard and said so far.
    pub fn counters(&self) -> impl Iterator<Item = (&InterfaceName, &Counters)> {
        self.network.counters()
    }

    /// Each pool with how many addresses it has and how many are in use, for the metrics.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolName, &PoolStatus)> {
        self.controller.pools().iter().map(|(name, pool)| (name, &pool.status))
    }

    /// What is announced: Service, address, NIC, MAC.
    pub fn announced(&self) -> impl Iterator<Item = (&ServiceKey, &(IpAddr, InterfaceName, MacAddr))> {
        self.announced.iter()
    }

    /// Draws the consequences of what was handled since, in their order.
    fn settle(&mut self, now: Instant) {
        let role = self.elector.role(now);
        if role != self.role {
            self.follow_role(now, role);
        }
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        if std::mem::take(&mut self.lan_changed) {
            self.network.handle_objects(now, self.controller.pools(), self.controller.nodes());
            self.reach_changed = true;
            if self.role == Role::Unconfirmed {
                self.say_again(now);
            }
        }
        self.controller.decide();
        if std::mem::take(&mut self.reach_changed) {
            self.controller.handle_network_changed();
        }
        if self.role != Role::Leader || !self.controller.is_synced() {
            return;
        }
        let touched: Vec<Subject> = std::iter::from_fn(|| self.controller.poll_touched()).collect();
        let services = || touched.iter().filter_map(|subject| if let Subject::Service(key) = subject { Some(key) } else { None });
        // Who lost an address goes silent before who got it speaks.
        services().for_each(|key| self.withdraw(now, key));
        services().for_each(|key| self.announce(now, key));
        self.outbox.extend(touched);
    }

    /// The first object with something to write that neither is being written nor waits after a failure.
    fn next_to_write(&self, now: Instant) -> Option<Subject> {
        let backing_off = |subject: &Subject| self.backing_off.get(subject).is_some_and(|wait| now < wait.until);
        self.outbox.iter().find(|subject| !self.in_flight.contains_key(*subject) && !backing_off(subject)).cloned()
    }

    /// Where a Service's address should be heard now.
    fn wanted(&self, key: &ServiceKey) -> Option<(IpAddr, InterfaceName, MacAddr)> {
        let held = self.controller.recorded(key)?.address;
        let (interface, mac) = desired::announcement(&self.controller, &self.network, key)?.ok()?;
        Some((held, interface, mac))
    }

    /// Falls silent on an address that is a Service's no more, or on another LAN.
    fn withdraw(&mut self, now: Instant, key: &ServiceKey) {
        let wanted = self.wanted(key);
        let Some((address, interface, _)) = self.announced.get(key).cloned() else { return };
        if wanted.as_ref().is_some_and(|(new, on, _)| (new, on) == (&address, &interface)) {
            return;
        }
        self.network.handle_carrier(now, &interface, address, None);
        self.announced.remove(key);
        if wanted.is_none() {
            self.notices.push_back(Notice::Carrier { service: key.clone(), address, at: None });
        }
    }

    fn follow_role(&mut self, now: Instant, role: Role) {
        self.role = role;
        self.notices.push_back(Notice::Role(role));
        self.controller.handle_leading(role == Role::Leader);
        self.unsettled = true;
        let voice = match role {
            Role::Follower => Voice::Silent,
            Role::Unconfirmed => Voice::Answering,
            Role::Leader => Voice::Announcing,
        };
        self.network.handle_voice(now, voice);
        if role != Role::Leader {
            self.outbox.clear();
            self.backing_off.clear();
        }
        if role == Role::Follower {
            self.controller.handle_following();
            for (address, interface, _) in std::mem::take(&mut self.announced).into_values() {
                self.network.handle_carrier(now, &interface, address, None);
            }
        }
    }

    /// Lets the LAN hear where a Service's address is.
    fn announce(&mut self, now: Instant, key: &ServiceKey) {
        let Some((address, interface, mac)) = self.wanted(key) else { return };
        // Said even if nothing changed here: the port may be a new one. The announcer knows whether it is news.
        self.network.handle_carrier(now, &interface, address, Some(mac));
        let after = (address, interface.clone(), mac);
        if self.announced.get(key) != Some(&after) {
            self.notices.push_back(Notice::Carrier { service: key.clone(), address, at: Some((interface, mac)) });
            self.announced.insert(key.clone(), after);
        }
    }

    /// What was announced goes on being answered, also on a NIC that was away for a moment.
    fn say_again(&mut self, now: Instant) {
        for (address, interface, mac) in self.announced.values() {
            self.network.handle_carrier(now, interface, *address, Some(*mac));
        }
    }

    fn pool_write(&mut self, name: &PoolName) -> Option<Write> {
        let pool = self.controller.pools().get(name)?;
        let status = desired::pool_status(&self.controller, &self.network, pool);
        let (version, in_use) = (pool.version.clone(), !status.used.is_empty());
        // The finalizer comes before the first user and goes after the last.
        if in_use && !pool.has_finalizer && !pool.deleting {
            return Some(Write::PoolFinalizer { pool: name.clone(), version, present: true });
        }
        if status != pool.status {
            let news = pool_news(pool, &status);
            self.controller.handle_recording(name, status.used.clone());
            // Told once for each reason, however often the write has to be tried.
            let reason = status.condition.as_ref().map(|condition| condition.reason.clone()).unwrap_or_default();
            let told = self.told.insert(name.clone(), reason.clone()).is_some_and(|before| before == reason);
            if let Some(news) = news.filter(|_| !told) {
                self.controller.tell(news.subject, news.warning, news.reason, news.message);
            }
            return Some(Write::PoolStatus { pool: name.clone(), version, status });
        }
        (!in_use && pool.has_finalizer).then(|| Write::PoolFinalizer { pool: name.clone(), version, present: false })
    }

    fn service_write(&self, key: &ServiceKey) -> Option<Write> {
        let service = self.controller.service(key)?;
        let wanted = desired::service_status(&self.controller, &self.network, key);
        let remove_foreign_finalizer = service.has_foreign_finalizer;
        let version = service.version.clone();
        let differs = wanted.as_ref().is_some_and(|wanted| *wanted != service.status) || remove_foreign_finalizer;
        let status = wanted.unwrap_or_else(|| service.status.clone());
        differs.then(|| Write::Service { service: key.clone(), version, status, remove_foreign_finalizer })
    }

    /// After a conflict the next write waits for the object as it is; how often it was in conflict still counts.
    fn end_conflict(&mut self, now: Instant, subject: &Subject, version: &Version) {
        if let Some(wait) = self.backing_off.get_mut(subject)
            && wait.outdated.as_ref().is_some_and(|outdated| outdated.is_older_than(version))
        {
            wait.until = now;
        }
    }

    fn forget(&mut self, subject: &Subject) {
        self.outbox.remove(subject);
        self.in_flight.remove(subject);
        self.repeated.remove(subject);
        self.backing_off.remove(subject);
    }

    /// How often a write that was taken had been taken before, with nothing else wanted in between.
    fn repetitions(&mut self, subject: &Subject, write: Write) -> u32 {
        let before = self.repeated.get(subject).filter(|(before, _)| before.asks_the_same(&write));
        let times = before.map_or(0, |(_, times)| times.saturating_add(1));
        self.repeated.insert(subject.clone(), (write, times));
        times
    }
}

/// What to tell of a pool whose condition changes.
fn pool_news(pool: &Pool, after: &PoolStatus) -> Option<Event> {
    let condition = after.condition.as_ref().filter(|condition| !condition.status)?;
    let said = pool.status.condition.as_ref().is_some_and(|before| before.reason == condition.reason);
    let reason = match condition.reason.as_str() {
        crate::status::reason::CONFLICTING => event::EIP_CONFLICTING,
        crate::status::reason::DELETING => event::EIP_IN_USE,
        crate::status::reason::INTERFACE_NOT_FOUND | crate::status::reason::INTERFACE_NOT_USABLE => event::INTERFACE_UNAVAILABLE,
        crate::status::reason::DISABLED => return None,
        _ => event::EIP_INVALID,
    };
    let message = format!("{}: {}", condition.reason, condition.message);
    (!said).then(|| Event { subject: Subject::Pool(pool.name.clone()), warning: true, reason, message })
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
