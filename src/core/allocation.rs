//! Who holds which address.
//!
//! The books of all pools, and what each Service holds: at most one address of each family. What is held stays: a Service gives an address up only for another of
//! the same family, or when it asks for it no more. Several hold one address where [`crate::sharing`] lets them. Which address a Service gets is chosen in
//! `choice`; the order in which Services are served is the caller's.

mod choice;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::by_family::ByFamily;
use crate::ledger::Ledger;
use crate::name::{InterfaceName, NodeName, PoolName, ServiceKey};
use crate::namespaces::Namespaces;
use crate::object::{Binding, Family, Protocol, Request, Service};
use crate::pool::AddressPool;
use crate::sharers::Sharers;
use crate::sharing;
use crate::status::reason;

/// An address that a Service holds, and of which pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The pool.
    pub pool: PoolName,
    /// The address.
    pub address: IpAddr,
}

/// What a Service holds: at most one address of each family.
pub type Holding = ByFamily<Held>;

/// Why a Service gets no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// From [`crate::status::reason`].
    pub reason: &'static str,
    /// For a person, with what to do.
    pub message: String,
    /// It has an address all the same: the other family's, under PreferDualStack.
    pub optional: bool,
}

/// What came of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the Service holds now and did not before.
    pub gained: Vec<Held>,
    /// What it gave up for that.
    pub given_back: Vec<Held>,
    /// What it did not get.
    pub refusal: Option<Refusal>,
}

/// What a pool offers, besides its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Why it hands out nothing at the moment, if so: disabled, conflicting, being deleted.
    pub closed: Option<String>,
    /// Asked before pools that are for nobody in particular, by Services that name none.
    pub is_default: bool,
    /// The lower is asked first.
    pub priority: i64,
    /// The namespaces that it is for, if not for all.
    pub binding: Option<Binding>,
}

/// Who has an address that is therefore never handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It is a node's own.
    Node(NodeName),
    /// It is the LAN's gateway.
    Gateway,
    /// Bellhop's own machine has it on this NIC.
    Interface(InterfaceName),
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}'s own address"),
            Self::Gateway => f.write_str("a gateway"),
            Self::Interface(interface) => write!(f, "Bellhop's own address on {interface}"),
        }
    }
}

/// What is looked up of others while one Service is served.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// All Services: what those who share ask for.
    pub services: &'a BTreeMap<ServiceKey, Service>,
    /// All namespaces.
    pub namespaces: &'a Namespaces,
}

impl Known<'_> {
    fn request(&self, service: &ServiceKey) -> Option<&Request> {
        self.services.get(service)?.request.as_ref()
    }
}

/// How large a pool's record may become, in bytes of JSON: etcd takes no request above 1.5 MiB, and the rest of the object needs room too.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    offer: Offer,
    /// What its record takes as JSON.
    record_bytes: usize,
}

impl Book {
    fn has_room_for(&self, service: &ServiceKey, address: IpAddr) -> bool {
        self.record_bytes + entry_bytes(service, address) <= RECORD_BYTES_MAX
    }

    /// The lowest free address for a Service.
    fn offers(&self, service: &ServiceKey) -> Option<IpAddr> {
        self.ledger.lowest_free().filter(|address| self.has_room_for(service, *address))
    }
}

/// What an entry of the record takes at the most: `"address":"namespace/name",`.
fn entry_bytes(service: &ServiceKey, address: IpAddr) -> usize {
    address.to_string().len() + service.namespace.len() + service.name.len() + 7
}

/// The books of all pools, and what each Service holds.
#[derive(Debug, Default)]
pub struct Allocation {
    books: BTreeMap<PoolName, Book>,
    /// A Service may hold an address of a pool that is gone: it is kept for a pool of that name that comes back.
    held: BTreeMap<ServiceKey, Holding>,
    /// Who holds each address, of whichever pool.
    users: BTreeMap<IpAddr, Sharers>,
    reserved: BTreeMap<IpAddr, Reserved>,
    /// Pools that are there and have no book, and why not.
    unusable: BTreeMap<PoolName, String>,
}

static NOTHING: Holding = Holding::NONE;
static NOBODY: Sharers = Sharers::NOBODY;

impl Allocation {
    /// Opens or changes a pool. What is held of it stays held, even where its addresses no longer include it.
    pub fn set_pool(&mut self, name: &PoolName, addresses: &AddressPool, offer: Offer) {
        if let Some(book) = self.books.get_mut(name).filter(|book| book.ledger.addresses() == addresses) {
            book.offer = offer;
            return;
        }
        self.books.insert(name.clone(), Book { ledger: Ledger::new(addresses.clone()), offer, record_bytes: 0 });
        let of_pool = self.held.iter().flat_map(|(service, holding)| holding.values().map(move |held| (service, held)));
        let of_pool: Vec<(ServiceKey, Held)> =
            of_pool.filter(|(_, held)| held.pool == *name).map(|(service, held)| (service.clone(), held.clone())).collect();
        for (service, held) in of_pool {
            // Who cannot hold on, because the pool went to the other family, waits like anybody else.
            if Family::of(held.address) != addresses.family() {
                self.leave(&service, &held);
            } else if let Some(book) = self.books.get_mut(name) {
                book.ledger.take(held.address);
                book.record_bytes += entry_bytes(&service, held.address);
            }
        }
    }

    /// The pools that are there and have no book, and why not: for those who name one.
    pub fn set_unusable(&mut self, unusable: BTreeMap<PoolName, String>) {
        self.unusable = unusable;
    }

    /// Closes a pool. Who holds an address of it goes on holding it.
    pub fn remove_pool(&mut self, name: &PoolName) {
        self.books.remove(name);
    }

    /// Sets which addresses others than Services have, in all pools. Where pools overlap, what is held of one is no more to be had of another. Returns
    /// whether that freed any.
    pub fn reserve(&mut self, reserved: BTreeMap<IpAddr, Reserved>) -> bool {
        self.reserved = reserved;
        let mut freed = false;
        for (name, book) in &mut self.books {
            let held = self.held.values().flat_map(Holding::values);
            let elsewhere = held.filter(|held| held.pool != *name).map(|held| held.address);
            freed |= book.ledger.block(self.reserved.keys().copied().chain(elsewhere));
        }
        freed
    }

    /// What of a pool is never handed out, because somebody else has it.
    pub fn reserved_in(&self, pool: &AddressPool) -> impl Iterator<Item = (&IpAddr, &Reserved)> {
        self.reserved.iter().filter(|(address, _)| pool.contains(**address))
    }

    /// The pools with a book.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.books.keys()
    }

    /// Whether a pool has a book.
    pub fn has_pool(&self, name: &PoolName) -> bool {
        self.books.contains_key(name)
    }

    /// What a Service holds.
    pub fn held(&self, service: &ServiceKey) -> &Holding {
        self.held.get(service).unwrap_or(&NOTHING)
    }

    /// Who holds an address.
    pub fn users(&self, address: IpAddr) -> &Sharers {
        self.users.get(&address).unwrap_or(&NOBODY)
    }

    /// The record of a pool: who holds which of its addresses.
    pub fn used(&self, name: &PoolName) -> BTreeMap<IpAddr, Sharers> {
        let taken = self.books.get(name).into_iter().flat_map(|book| book.ledger.taken());
        let of_pool = |service: &&ServiceKey| self.held(service).values().any(|held| held.pool == *name);
        taken.map(|address| (address, self.users(address).iter().filter(of_pool).cloned().collect())).collect()
    }

    /// How many bytes the record of a pool takes as JSON.
    pub fn record_bytes(&self, name: &PoolName) -> usize {
        self.books.get(name).map_or(0, |book| book.record_bytes)
    }

    /// Whether a pool has nothing left.
    pub fn is_exhausted(&self, name: &PoolName) -> bool {
        self.books.get(name).is_some_and(|book| book.ledger.is_exhausted())
    }

    /// Enters what stands on record, of a pool without a book too: it is kept for when the pool has one again. Refused if the pool is of the other family, if the
    /// Service holds something else of that family already, or if somebody with whom it cannot stay holds this.
    pub fn record(&mut self, service: &ServiceKey, pool: &PoolName, address: IpAddr, known: Known<'_>) -> bool {
        let family = Family::of(address);
        let fits = self.books.get(pool).is_none_or(|book| book.ledger.addresses().family() == family);
        let other = self.held(service).get(family).is_some_and(|held| held.address != address);
        let parted = known.request(service).is_none_or(|request| self.first_apart(service, request, address, known).is_some());
        let recorded = fits && !other && !parted;
        if recorded {
            self.enter(service, Held { pool: pool.clone(), address });
        }
        recorded
    }

    /// Enters an address that stands on a Service and in nobody's record: held if a pool has it free; kept aside if no pool has it; else not.
    pub fn adopt(&mut self, service: &ServiceKey, address: IpAddr, pool_label: Option<&PoolName>) {
        if self.held(service).get(Family::of(address)).is_some() || !self.users(address).is_empty() {
            return;
        }
        let labelled = pool_label.filter(|name| self.books.get(*name).is_some_and(|book| book.ledger.addresses().contains(address)));
        match (labelled.cloned().or_else(|| self.pool_of(address)), pool_label) {
            (Some(pool), _) if !self.reserved.contains_key(&address) => self.enter(service, Held { pool, address }),
            (None, Some(gone)) if !self.books.contains_key(gone) => self.enter(service, Held { pool: gone.clone(), address }),
            _ => {}
        }
    }

    /// Takes back all that a Service holds.
    pub fn release(&mut self, service: &ServiceKey) -> Vec<Held> {
        let held: Vec<Held> = self.held(service).values().cloned().collect();
        held.iter().for_each(|held| self.leave(service, held));
        held
    }

    /// Takes back one address of a Service.
    pub fn release_one(&mut self, service: &ServiceKey, held: &Held) {
        self.leave(service, held);
    }

    /// Whether another pool includes what was held of one, and has to be told that it is free.
    pub fn is_of_another(&self, held: &Held) -> bool {
        self.books.iter().any(|(name, book)| *name != held.pool && book.ledger.addresses().contains(held.address))
    }

    /// Whether what a Service holds is what it asks for. Asking for less than before (no address, no pool) moves nothing.
    pub fn satisfies(holding: &Holding, request: &Request) -> bool {
        choice::precluded(request).is_none() && choice::slots(request).iter().all(|slot| choice::fills(holding, request, *slot))
    }

    /// Gives a Service what it asks for, in exchange for what it holds of the same family.
    pub fn allocate(&mut self, service: &ServiceKey, request: &Request, known: Known<'_>) -> Outcome {
        if let Some(refusal) = choice::precluded(request) {
            return Outcome { refusal: Some(refusal), ..Outcome::default() };
        }
        let (chosen, refusal) = self.choose(service, request, known);
        let mut outcome = Outcome { refusal, ..Outcome::default() };
        for held in chosen {
            if let Some(old) = self.held(service).get(Family::of(held.address)).cloned() {
                self.leave(service, &old);
                outcome.given_back.push(old);
            }
            self.enter(service, held.clone());
            outcome.gained.push(held);
        }
        outcome
    }

    /// The first of an address's users with whom a Service cannot stay, and why.
    pub fn first_apart<'a>(
        &'a self,
        service: &ServiceKey,
        request: &Request,
        address: IpAddr,
        known: Known<'_>,
    ) -> Option<(&'a ServiceKey, sharing::Rule)> {
        let others = self.users(address).iter().filter(|user| *user != service);
        others.filter_map(|user| Some((user, sharing::keeps_apart(request, known.request(user)?)?))).next()
    }

    /// The pool that an address belongs to: of two that overlap, the one that is open.
    fn pool_of(&self, address: IpAddr) -> Option<PoolName> {
        let containing = self.books.iter().filter(|(_, book)| book.ledger.addresses().contains(address));
        containing.min_by_key(|(_, book)| book.offer.closed.is_some()).map(|(name, _)| name.clone())
    }

    fn enter(&mut self, service: &ServiceKey, held: Held) {
        if let Some(before) = self.held(service).get(Family::of(held.address)).cloned() {
            self.leave(service, &before);
        }
        self.users.entry(held.address).or_default().insert(service.clone());
        if let Some(book) = self.books.get_mut(&held.pool) {
            book.ledger.take(held.address);
            book.record_bytes += entry_bytes(service, held.address);
        }
        self.held.entry(service.clone()).or_default().insert(Family::of(held.address), held);
    }

    fn leave(&mut self, service: &ServiceKey, held: &Held) {
        let Some(holding) = self.held.get_mut(service) else { return };
        let family = Family::of(held.address);
        if holding.get(family) == Some(held) {
            holding.remove(family);
        }
        if holding.is_empty() {
            self.held.remove(service);
        }
        let users = self.users.entry(held.address).or_default();
        users.remove(service);
        let is_free = users.is_empty();
        if is_free {
            self.users.remove(&held.address);
        }
        if let Some(book) = self.books.get_mut(&held.pool).filter(|book| book.ledger.addresses().family() == family) {
            book.record_bytes = book.record_bytes.saturating_sub(entry_bytes(service, held.address));
            if is_free {
                book.ledger.release(held.address);
            }
        }
    }
}
