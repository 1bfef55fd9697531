//! One replica of Bellhop, whole: what the program feeds and drains.
//!
//! It ties the parts together and decides little itself: [`crate::lease`] says whether it leads, [`crate::controller`] who gets what and who carries it,
//! [`crate::network`] answers on the LAN, [`crate::desired`] what should stand on each object. Every `handle_*` is followed by draining all `poll_*` until they
//! hand out nothing more; then the next event, or [`Replica::poll_timeout`].
//!
//! The order of consequences is its own: the LAN hears of a move before the API does, and an address is on record before a Service is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::allocation::{Held, Reserved};
use crate::announced::{Announced, Place};
use crate::announcer::{Counters, Voice};
use crate::controller::Controller;
use crate::desired;
use crate::lease::{Elector, LeaseRecord, LeaseWrite, Role, Times};
use crate::link::{Interface, LinkError};
use crate::mac::MacAddr;
use crate::name::{InterfaceName, NodeName, PoolName, ServiceKey};
use crate::network::{LinkCommand, Network};
use crate::notice::Notice;
use crate::object::{Condition, EndpointSlice, Event, Kind, Namespace, Node, Pool, PoolStatus, Service, Subject, Write, Written};
use crate::outbox::Outbox;
use crate::reminders::Reminders;
use crate::status::event;
use crate::time::Instant;

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

/// One replica. See the module for the contract.
#[derive(Debug)]
pub struct Replica {
    elector: Elector,
    role: Role,
    controller: Controller,
    network: Network,
    /// Where this machine's default routes lead.
    gateways: BTreeSet<IpAddr>,
    /// Something was handled whose consequences are not drawn yet.
    unsettled: bool,
    /// Pools, nodes or interfaces changed: which NIC serves what may have.
    lan_changed: bool,
    /// A node's MAC or a NIC's state changed: what is announced may have.
    reach_changed: bool,
    announced: Announced,
    outbox: Outbox,
    reminders: Reminders,
    /// Objects that the API refuses to take, and with what words.
    refused: BTreeMap<Subject, String>,
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
            gateways: BTreeSet::new(),
            outbox: Outbox::new(stream()),
            unsettled: false,
            lan_changed: false,
            reach_changed: false,
            announced: Announced::default(),
            reminders: Reminders::default(),
            refused: BTreeMap::new(),
            told: BTreeMap::new(),
            notices: VecDeque::new(),
        }
    }

    /// An Eip as it is now.
    pub fn handle_pool(&mut self, now: Instant, pool: Pool) {
        self.outbox.handle_version(now, &Subject::Pool(pool.name.clone()), &pool.version);
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
        self.outbox.handle_version(now, &Subject::Service(service.key.clone()), &service.version);
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

    /// A Namespace as it is now.
    pub fn handle_namespace(&mut self, _now: Instant, namespace: Namespace) {
        self.controller.handle_namespace(namespace);
        self.unsettled = true;
    }

    /// A Namespace is gone.
    pub fn handle_namespace_deleted(&mut self, _now: Instant, name: &str) {
        self.controller.handle_namespace_deleted(name);
    }

    /// A kind was listed, once or again.
    pub fn handle_synced(&mut self, _now: Instant, kind: Kind) {
        self.controller.handle_synced(kind);
        self.unsettled = true;
    }

    /// The watch of a kind is broken; [`Replica::handle_synced`] comes again when it is whole.
    pub fn handle_away(&mut self, _now: Instant, kind: Kind) {
        self.controller.handle_away(kind);
        self.unsettled = true;
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

    /// The gateways of this machine's default routes. Comes before [`Replica::handle_interfaces`].
    pub fn handle_gateways(&mut self, _now: Instant, gateways: BTreeSet<IpAddr>) {
        self.gateways = gateways;
    }

    /// The machine's interfaces as of now, with the route to each of [`Replica::destinations`].
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: Vec<Interface>, routes: BTreeMap<IpAddr, Option<InterfaceName>>) {
        let mut reserved: BTreeMap<IpAddr, Reserved> = self.gateways.iter().map(|gateway| (*gateway, Reserved::Gateway)).collect();
        for interface in &interfaces {
            reserved.extend(interface.addresses.iter().map(|own| (own.address, Reserved::Interface(interface.name.clone()))));
        }
        self.controller.handle_reserved(reserved);
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

    /// A group that was to be joined was not. It is asked for again.
    pub fn handle_join_refused(&mut self, now: Instant, interface: &InterfaceName, group: Ipv6Addr, error: LinkError) {
        if self.network.handle_join_refused(now, interface, group) {
            self.notices.push_back(Notice::Group(interface.clone(), group, error));
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

    /// The API refuses to take what is to be written of an object (403, 422), for a reason that trying again does not mend. Comes before
    /// [`Replica::handle_written`].
    pub fn handle_refused(&mut self, _now: Instant, subject: &Subject, why: String) {
        if self.refused.get(subject) == Some(&why) {
            return;
        }
        self.controller.tell(subject.clone(), true, event::WRITE_REFUSED, why.clone());
        self.refused.insert(subject.clone(), why);
        if let Subject::Pool(pool) = subject {
            self.controller.touch_holders(pool);
            self.unsettled = true;
        }
    }

    /// How a write ended. The object that the API answered with comes before this.
    pub fn handle_written(&mut self, now: Instant, subject: &Subject, result: Written) {
        let there = match subject {
            Subject::Pool(name) => self.controller.pools().contains_key(name),
            Subject::Service(key) => self.controller.service(key).is_some(),
        };
        if result == Written::Done {
            self.refused.remove(subject);
        }
        self.outbox.handle_written(now, subject, result, there);
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
        while let Some(subject) = self.outbox.poll(now) {
            let write = match &subject {
                Subject::Pool(name) => self.pool_write(name),
                Subject::Service(key) => self.service_write(key),
            };
            if let Some(write) = write {
                self.outbox.start(subject, write.clone());
                return Some(write);
            }
            self.outbox.handle_nothing_wanted(&subject);
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
        self.notices.pop_front().or_else(|| self.controller.poll_untold().map(Notice::Untold))
    }

    /// When to call [`Replica::handle_timeout`] if nothing else is handled before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // Without room for them, it is the next Event told that makes some.
        let reminders = self.reminders.poll_timeout().filter(|_| self.controller.has_room_for_event());
        let leading = (self.role == Role::Leader).then(|| [self.outbox.poll_timeout(now), reminders]);
        [self.elector.poll_timeout(now), self.network.poll_timeout()].into_iter().chain(leading.into_iter().flatten()).flatten().min()
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

    /// Each Service, whoever it belongs to.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.controller.services()
    }

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.controller.service(key)
    }

    /// What is announced: Service, address, NIC, MAC. A shared address comes once for each who shares it.
    pub fn announced(&self) -> impl Iterator<Item = (&ServiceKey, (IpAddr, &InterfaceName, MacAddr))> {
        self.announced.iter().map(|(service, address, (interface, mac))| (service, (address, interface, *mac)))
    }

    /// Whether all is listed that decisions need.
    pub fn is_synced(&self) -> bool {
        self.controller.is_synced()
    }

    /// Draws the consequences of what was handled since, in their order.
    fn settle(&mut self, now: Instant) {
        let role = self.elector.role(now);
        if role != self.role {
            self.follow_role(now, role);
        }
        // Polling puts a reminder off: what is due while nothing may be written, or too much waits to be told, is told when it may.
        while self.role == Role::Leader
            && self.controller.has_room_for_event()
            && let Some(service) = self.reminders.poll(now)
        {
            self.controller.tell_again(&service);
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
        services().for_each(|key| self.reminders.handle(now, key, self.controller.waits(key)));
        self.outbox.extend(touched);
    }

    /// Where a Service's addresses should be heard now.
    fn wanted(&self, key: &ServiceKey) -> BTreeMap<IpAddr, Place> {
        let heard = |held: &Held| Some((held.address, desired::announcement(&self.controller, &self.network, key, held)?.ok()?));
        self.controller.held(key).into_iter().filter_map(heard).collect()
    }

    /// Falls silent on addresses that are a Service's no more, or on another LAN.
    fn withdraw(&mut self, now: Instant, key: &ServiceKey) {
        let wanted = self.wanted(key);
        let stays = |(address, (interface, _)): &(IpAddr, &Place)| wanted.get(address).is_some_and(|(on, _)| on == interface);
        let gone: Vec<IpAddr> = self.announced.of(key).filter(|place| !stays(place)).map(|(address, _)| address).collect();
        for address in gone {
            if let Some(interface) = self.announced.remove(key, address) {
                self.network.handle_carrier(now, &interface, address, None);
            }
            if !wanted.contains_key(&address) {
                self.notices.push_back(Notice::Carrier { service: key.clone(), address, at: None });
            }
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
            self.refused.clear();
        }
        if role == Role::Follower {
            self.controller.handle_following();
            self.reminders.clear();
            for (address, interface) in self.announced.clear() {
                self.network.handle_carrier(now, &interface, address, None);
            }
        }
    }

    /// Lets the LAN hear where a Service's addresses are.
    fn announce(&mut self, now: Instant, key: &ServiceKey) {
        for (address, (interface, mac)) in self.wanted(key) {
            // Said even if nothing changed here: the port may be a new one. The announcer knows whether it is news.
            self.network.handle_carrier(now, &interface, address, Some(mac));
            if self.announced.insert(key, address, (interface.clone(), mac)) {
                self.notices.push_back(Notice::Carrier { service: key.clone(), address, at: Some((interface, mac)) });
            }
        }
    }

    /// What was announced goes on being answered, also on a NIC that was away for a moment.
    fn say_again(&mut self, now: Instant) {
        for (_, address, (interface, mac)) in self.announced.iter() {
            self.network.handle_carrier(now, interface, address, Some(*mac));
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
        let refused = |pool: &PoolName| self.refused.get(&Subject::Pool(pool.clone())).map(String::as_str);
        let wanted = desired::service_status(&self.controller, &self.network, key, refused);
        let remove_foreign_finalizer = service.has_foreign_finalizer;
        let version = service.version.clone();
        let differs = wanted.as_ref().is_some_and(|wanted| *wanted != service.status) || remove_foreign_finalizer;
        let status = wanted.unwrap_or_else(|| service.status.clone());
        differs.then(|| Write::Service { service: key.clone(), version, status, remove_foreign_finalizer })
    }

    fn forget(&mut self, subject: &Subject) {
        self.outbox.forget(subject);
        self.refused.remove(subject);
    }
}

/// What to tell of a pool whose condition changes.
fn pool_news(pool: &Pool, after: &PoolStatus) -> Option<Event> {
    let nearly_full = |condition: &&Condition| condition.reason == crate::status::reason::RECORD_NEARLY_FULL;
    let condition = after.condition.as_ref().filter(|condition| !condition.status || nearly_full(condition))?;
    let said = pool.status.condition.as_ref().is_some_and(|before| before.reason == condition.reason);
    let reason = match condition.reason.as_str() {
        crate::status::reason::CONFLICTING => event::EIP_CONFLICTING,
        crate::status::reason::DELETING => event::EIP_IN_USE,
        crate::status::reason::INTERFACE_NOT_FOUND | crate::status::reason::INTERFACE_NOT_USABLE => event::INTERFACE_UNAVAILABLE,
        crate::status::reason::RECORD_NEARLY_FULL => event::EIP_RECORD_LARGE,
        crate::status::reason::DISABLED => return None,
        _ => event::EIP_INVALID,
    };
    let message = format!("{}: {}", condition.reason, condition.message);
    (!said).then(|| Event { subject: Subject::Pool(pool.name.clone()), warning: true, reason, message })
}

#[cfg(test)]
mod tests;
