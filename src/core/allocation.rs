//! Who gets which address.
//!
//! A Service may name an address, a pool, or neither; design §5 gives the order. A refusal is a value that says what to do. What is held stays: the
//! caller asks again only for a Service that holds nothing or holds what it no longer asks for, and what it holds is given up only for what it gets.
//! The order in which Services are served is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ledger::{Ledger, Unavailable};
use crate::name::{PoolName, ServiceKey};
use crate::object::{Family, Protocol, Request};
use crate::pool::AddressPool;
use crate::status::reason;

/// An address that a Service holds, and of which pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The pool.
    pub pool: PoolName,
    /// The address.
    pub address: IpAddr,
}

/// Why a Service gets no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// From [`crate::status::reason`].
    pub reason: &'static str,
    /// For a person, with what to do.
    pub message: String,
}

/// What a pool offers, besides its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Why it hands out nothing at the moment, if so: disabled, conflicting, being deleted.
    pub closed: Option<String>,
    /// Asked before all others by Services that name none.
    pub is_default: bool,
    /// The lower is asked first.
    pub priority: i64,
}

#[derive(Debug)]
struct Book {
    ledger: Ledger,
    offer: Offer,
}

/// The books of all pools, and what each Service holds.
#[derive(Debug, Default)]
pub struct Allocation {
    books: BTreeMap<PoolName, Book>,
    /// A Service may hold an address of a pool that is gone: it is kept for a pool of that name that comes back.
    held: BTreeMap<ServiceKey, Held>,
}

impl Allocation {
    /// Opens or changes a pool. What is held of it stays held, even where its addresses no longer include it.
    pub fn set_pool(&mut self, name: &PoolName, addresses: &AddressPool, offer: Offer) {
        if let Some(book) = self.books.get_mut(name).filter(|book| book.ledger.addresses() == addresses) {
            book.offer = offer;
            return;
        }
        let mut ledger = Ledger::new(addresses.clone());
        // Who cannot hold on, because the pool went to the other family or somebody has the address by now, waits like anybody else.
        self.held.retain(|service, held| {
            held.pool != *name || (Family::of(held.address) == addresses.family() && ledger.record(held.address, service).is_ok())
        });
        self.books.insert(name.clone(), Book { ledger, offer });
    }

    /// Closes a pool. Who holds an address of it goes on holding it.
    pub fn remove_pool(&mut self, name: &PoolName) {
        self.books.remove(name);
    }

    /// Sets which addresses nodes have, in all pools. Where pools overlap, what is held of one is no more to be had of another. Returns whether
    /// that freed any.
    pub fn block(&mut self, of_nodes: &BTreeSet<IpAddr>) -> bool {
        let mut freed = false;
        for (name, book) in &mut self.books {
            let elsewhere = self.held.values().filter(|held| held.pool != *name).map(|held| held.address);
            freed |= book.ledger.block(of_nodes.iter().copied().chain(elsewhere));
        }
        freed
    }

    /// The pools with a book.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.books.keys()
    }

    /// What a Service holds.
    pub fn held(&self, service: &ServiceKey) -> Option<&Held> {
        self.held.get(service)
    }

    /// Whether what a Service holds belongs to a pool that is there.
    pub fn has_pool(&self, name: &PoolName) -> bool {
        self.books.contains_key(name)
    }

    /// The record of a pool: who holds which of its addresses.
    pub fn used(&self, name: &PoolName) -> BTreeMap<IpAddr, BTreeSet<ServiceKey>> {
        let held = self.books.get(name).into_iter().flat_map(|book| book.ledger.held());
        held.map(|(address, service)| (address, BTreeSet::from([service.clone()]))).collect()
    }

    /// Whether a pool has nothing left.
    pub fn is_exhausted(&self, name: &PoolName) -> bool {
        self.books.get(name).is_some_and(|book| book.ledger.is_exhausted())
    }

    /// Enters what stands on record. Refused if the Service holds something else already, or somebody else this.
    pub fn record(&mut self, service: &ServiceKey, pool: &PoolName, address: IpAddr) -> bool {
        if self.held.get(service).is_some_and(|held| held.address != address) {
            return false;
        }
        let Some(book) = self.books.get_mut(pool) else { return false };
        let fits = Family::of(address) == book.ledger.addresses().family();
        let recorded = fits && book.ledger.record(address, service).is_ok();
        if recorded {
            self.held.insert(service.clone(), Held { pool: pool.clone(), address });
        }
        recorded
    }

    /// Enters an address that stands on a Service and in nobody's record: held if a pool has it free; kept aside if no pool has it; else not.
    pub fn adopt(&mut self, service: &ServiceKey, address: IpAddr, pool_label: Option<&PoolName>) {
        if self.held.contains_key(service) || self.holder(address).is_some() {
            return;
        }
        let labelled = pool_label.filter(|name| self.books.get(*name).is_some_and(|book| book.ledger.addresses().contains(address)));
        match (labelled.cloned().or_else(|| self.pool_of(address)), pool_label) {
            (Some(pool), _) => {
                let taken = self.books.get_mut(&pool).is_some_and(|book| book.ledger.take(address, service).is_ok());
                if taken {
                    self.held.insert(service.clone(), Held { pool, address });
                }
            }
            (None, Some(gone)) if !self.books.contains_key(gone) => {
                self.held.insert(service.clone(), Held { pool: gone.clone(), address });
            }
            (None, _) => {}
        }
    }

    /// Takes back what a Service holds.
    pub fn release(&mut self, service: &ServiceKey) -> Option<Held> {
        let held = self.held.remove(service)?;
        if let Some(book) = self.books.get_mut(&held.pool) {
            book.ledger.release(held.address, service);
        }
        Some(held)
    }

    /// Whether a pool includes what was held of it; if not, another pool may, which has to be told.
    pub fn includes(&self, held: &Held) -> bool {
        self.books.get(&held.pool).is_some_and(|book| book.ledger.addresses().contains(held.address))
    }

    /// Who holds an address, of whichever pool.
    fn holder(&self, address: IpAddr) -> Option<&ServiceKey> {
        self.held.iter().find(|(_, held)| held.address == address).map(|(service, _)| service)
    }

    /// The pool that an address belongs to: of two that overlap, the one that is open.
    fn pool_of(&self, address: IpAddr) -> Option<PoolName> {
        let containing = self.books.iter().filter(|(_, book)| book.ledger.addresses().contains(address));
        containing.min_by_key(|(_, book)| book.offer.closed.is_some()).map(|(name, _)| name.clone())
    }

    /// Whether what a Service holds is what it asks for. Asking for less than before (no address, no pool) moves nothing.
    pub fn satisfies(held: &Held, request: &Request) -> bool {
        let address_fits = match &request.address {
            Some(Ok(address)) => *address == held.address,
            Some(Err(_)) => false,
            None => true,
        };
        let pool_fits = request.address.is_some() || request.pool.as_ref().is_none_or(|pool| *pool == held.pool);
        address_fits && pool_fits && !matches!(request.protocol, Some(Protocol::Other(_)))
    }

    /// Gives a Service an address that it asks for, in exchange for what it holds.
    pub fn allocate(&mut self, service: &ServiceKey, request: &Request) -> Result<Held, Refusal> {
        if let Some(Protocol::Other(protocol)) = &request.protocol {
            let message =
                format!("protocol `{protocol}` is not served: Bellhop announces by layer2 only; change or remove the protocol annotation");
            return Err(Refusal { reason: reason::PROTOCOL_MISMATCH, message });
        }
        let held = match &request.address {
            Some(Err(text)) => {
                return Err(Refusal { reason: reason::INVALID_ADDRESS, message: format!("`{text}` is not an IP address") });
            }
            Some(Ok(address)) => self.take_named(service, *address, request)?,
            None => self.take_any(service, request)?,
        };
        if let Some(old) = self.held.insert(service.clone(), held.clone())
            && old != held
            && let Some(book) = self.books.get_mut(&old.pool)
        {
            book.ledger.release(old.address, service);
        }
        Ok(held)
    }

    fn take_named(&mut self, service: &ServiceKey, address: IpAddr, request: &Request) -> Result<Held, Refusal> {
        check_family(Family::of(address), &request.families, || format!("{address} is"))?;
        let pool = match &request.pool {
            Some(name) => {
                self.open_book(name)?;
                name.clone()
            }
            None => {
                let found = self.pool_of(address);
                let outside = || {
                    refuse(
                        reason::ADDRESS_OUTSIDE_POOL,
                        format!("no Eip holds {address}: choose an address of an Eip, or make one that holds it"),
                    )
                };
                found.ok_or_else(outside)?
            }
        };
        let elsewhere = self.holder(address).filter(|holder| *holder != service).cloned();
        let book = self.open_book(&pool)?;
        let taken = elsewhere.map_or_else(|| book.ledger.take(address, service), |holder| Err(Unavailable::HeldBy(holder)));
        match taken {
            Ok(()) => Ok(Held { pool, address }),
            Err(Unavailable::Outside) => {
                let message = format!("{address} is not one of Eip {pool}'s addresses ({})", book.ledger.addresses());
                Err(refuse(reason::ADDRESS_OUTSIDE_POOL, message))
            }
            Err(Unavailable::HeldBy(holder)) => {
                Err(refuse(reason::ADDRESS_TAKEN, format!("{address} belongs to Service {holder}: choose another, or free it there")))
            }
            Err(Unavailable::OfNode) => Err(refuse(reason::ADDRESS_OF_NODE, format!("{address} is a node's own address: choose another"))),
        }
    }

    fn take_any(&mut self, service: &ServiceKey, request: &Request) -> Result<Held, Refusal> {
        if let Some(pool) = &request.pool {
            let book = self.open_book(pool)?;
            check_family(book.ledger.addresses().family(), &request.families, || format!("Eip {pool} holds addresses of"))?;
            let full = || {
                refuse(
                    reason::POOL_EXHAUSTED,
                    format!("every address of Eip {pool} is in use: enlarge it, or delete a Service that uses it"),
                )
            };
            return book.ledger.take_lowest(service).map(|address| Held { pool: pool.clone(), address }).ok_or_else(full);
        }
        let wanted = request.families.first();
        let fits = |book: &Book| book.offer.closed.is_none() && wanted.is_none_or(|family| *family == book.ledger.addresses().family());
        let mut open: Vec<(bool, i64, &PoolName)> = self
            .books
            .iter()
            .filter(|(_, book)| fits(book))
            .map(|(name, book)| (!book.offer.is_default, book.offer.priority, name))
            .collect();
        open.sort();
        let names: Vec<PoolName> = open.into_iter().map(|(_, _, name)| name.clone()).collect();
        for pool in &names {
            let taken = self.books.get_mut(pool).and_then(|book| book.ledger.take_lowest(service));
            if let Some(address) = taken {
                return Ok(Held { pool: pool.clone(), address });
            }
        }
        if names.is_empty() {
            let family = wanted.map(|family| format!(" {family}")).unwrap_or_default();
            return Err(refuse(
                reason::NO_MATCHING_EIP,
                format!(
                    "no usable layer2 Eip with{family} addresses: create one, or see `kubectl get eip` for why those there are not ready"
                ),
            ));
        }
        Err(refuse(reason::POOL_EXHAUSTED, "every address of every matching Eip is in use: enlarge one, or add another".to_owned()))
    }

    fn open_book(&mut self, name: &PoolName) -> Result<&mut Book, Refusal> {
        let unknown =
            || refuse(reason::UNKNOWN_EIP, format!("there is no usable Eip {name}: create it, or name another (`kubectl get eip`)"));
        let book = self.books.get_mut(name).ok_or_else(unknown)?;
        match &book.offer.closed {
            Some(why) => Err(refuse(reason::EIP_NOT_USABLE, format!("Eip {name} hands out no address: {why}"))),
            None => Ok(book),
        }
    }
}

fn refuse(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message }
}

fn check_family(family: Family, wanted: &[Family], what: impl Fn() -> String) -> Result<(), Refusal> {
    match wanted.first() {
        Some(wanted) if *wanted != family => {
            let message =
                format!("{} {family}, and the Service's first IP family is {wanted}: name another, or change spec.ipFamilies", what());
            Err(refuse(reason::FAMILY_MISMATCH, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Offer = Offer { closed: None, is_default: false, priority: 0 };

    fn allocation(pools: &[(&str, &str, Offer)]) -> Allocation {
        let mut allocation = Allocation::default();
        for (name, addresses, offer) in pools {
            allocation.set_pool(&(*name).into(), &AddressPool::parse(addresses, false).expect("a pool"), offer.clone());
        }
        allocation
    }

    fn service(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    fn address(last: u8) -> IpAddr {
        [192, 168, 0, last].into()
    }

    fn ask(address: Option<IpAddr>, pool: Option<&str>) -> Request {
        Request { address: address.map(Ok), pool: pool.map(PoolName::from), ..Request::default() }
    }

    fn got(result: Result<Held, Refusal>) -> Result<(String, IpAddr), &'static str> {
        result.map(|held| (held.pool.to_string(), held.address)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn without_a_wish_the_default_pool_is_asked_first_then_by_priority_then_by_name() {
        let default = Offer { is_default: true, ..OPEN };
        let urgent = Offer { priority: -1, ..OPEN };
        let mut allocation = allocation(&[
            ("a", "192.168.0.1", OPEN),
            ("b", "192.168.0.2", OPEN),
            ("y", "192.168.0.8", urgent),
            ("z", "192.168.0.9", default),
        ]);
        let mut next = |name: &str| got(allocation.allocate(&service(name), &Request::default())).map(|(pool, _)| pool);
        assert_eq!([next("1"), next("2"), next("3"), next("4")], ["z", "y", "a", "b"].map(|pool| Ok(pool.to_owned())));
        assert_eq!(next("5"), Err(reason::POOL_EXHAUSTED));
    }

    #[test]
    fn each_refusal_says_which() {
        let closed = Offer { closed: Some("it is disabled".to_owned()), ..OPEN };
        let mut allocation = allocation(&[("lan", "192.168.0.91-192.168.0.92", OPEN), ("off", "192.168.0.80", closed)]);
        let mut asked = |request: Request| got(allocation.allocate(&service("web"), &request)).map_err(str::to_owned);
        assert_eq!(asked(ask(None, Some("nowhere"))), Err(reason::UNKNOWN_EIP.to_owned()));
        assert_eq!(asked(ask(None, Some("off"))), Err(reason::EIP_NOT_USABLE.to_owned()));
        assert_eq!(asked(ask(Some(address(80)), None)), Err(reason::EIP_NOT_USABLE.to_owned()));
        assert_eq!(asked(ask(Some(address(7)), None)), Err(reason::ADDRESS_OUTSIDE_POOL.to_owned()));
        assert_eq!(asked(ask(Some(address(7)), Some("lan"))), Err(reason::ADDRESS_OUTSIDE_POOL.to_owned()));
        assert_eq!(asked(Request { address: Some(Err("x".into())), ..Request::default() }), Err(reason::INVALID_ADDRESS.to_owned()));
        assert_eq!(
            asked(Request { protocol: Some(Protocol::Other("bgp".into())), ..Request::default() }),
            Err(reason::PROTOCOL_MISMATCH.to_owned())
        );
        assert_eq!(asked(Request { families: vec![Family::V6], ..ask(None, Some("lan")) }), Err(reason::FAMILY_MISMATCH.to_owned()));
        assert_eq!(asked(Request { families: vec![Family::V6], ..Request::default() }), Err(reason::NO_MATCHING_EIP.to_owned()));
    }

    #[test]
    fn a_taken_address_is_refused_with_its_holders_name() {
        let mut allocation = allocation(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
        assert!(allocation.allocate(&service("first"), &ask(Some(address(91)), None)).is_ok());
        let refusal = allocation.allocate(&service("second"), &ask(Some(address(91)), None)).expect_err("taken");
        assert_eq!(refusal.reason, reason::ADDRESS_TAKEN);
        assert!(refusal.message.contains("default/first"), "{}", refusal.message);
    }

    #[test]
    fn what_is_held_is_given_up_only_for_what_is_got() {
        let mut allocation = allocation(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
        assert!(allocation.allocate(&service("other"), &ask(Some(address(92)), None)).is_ok());
        assert!(allocation.allocate(&service("web"), &Request::default()).is_ok());
        assert!(allocation.allocate(&service("web"), &ask(Some(address(92)), None)).is_err());
        assert_eq!(allocation.held(&service("web")).map(|held| held.address), Some(address(91)));
        allocation.release(&service("other"));
        assert!(allocation.allocate(&service("web"), &ask(Some(address(92)), None)).is_ok());
        assert_eq!(allocation.used(&"lan".into()).keys().copied().collect::<Vec<_>>(), [address(92)]);
    }

    #[test]
    fn asking_for_less_moves_nothing() {
        let held = Held { pool: "lan".into(), address: address(91) };
        assert!(Allocation::satisfies(&held, &Request::default()));
        assert!(Allocation::satisfies(&held, &ask(Some(address(91)), Some("elsewhere"))), "the address outranks the pool");
        assert!(!Allocation::satisfies(&held, &ask(None, Some("elsewhere"))));
        assert!(!Allocation::satisfies(&held, &ask(Some(address(92)), None)));
    }

    #[test]
    fn an_address_outlives_its_pool_and_belongs_to_the_one_that_comes_back() {
        let mut allocation = allocation(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
        assert!(allocation.allocate(&service("web"), &ask(Some(address(92)), None)).is_ok());
        allocation.remove_pool(&"lan".into());
        assert_eq!(allocation.held(&service("web")).map(|held| held.address), Some(address(92)));
        allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.92", false).expect("a pool"), OPEN);
        assert_eq!(got(allocation.allocate(&service("next"), &Request::default())), Err(reason::POOL_EXHAUSTED));
    }

    #[test]
    fn of_two_services_on_one_address_of_an_absent_pool_only_one_holds_it() {
        let mut allocation = allocation(&[]);
        allocation.adopt(&service("first"), address(91), Some(&"lan".into()));
        allocation.adopt(&service("second"), address(91), Some(&"lan".into()));
        assert_eq!(allocation.held(&service("second")), None);
        allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.91", false).expect("a pool"), OPEN);
        allocation.release(&service("second"));
        assert_eq!(got(allocation.allocate(&service("third"), &Request::default())), Err(reason::POOL_EXHAUSTED));
    }

    #[test]
    fn a_closed_pool_does_not_hide_the_open_one_that_it_overlaps() {
        let closed = Offer { closed: Some("it overlaps the older Eip lan".to_owned()), ..OPEN };
        let mut allocation = allocation(&[("aaa", "192.168.0.91", closed), ("lan", "192.168.0.91-192.168.0.92", OPEN)]);
        assert_eq!(got(allocation.allocate(&service("web"), &ask(Some(address(91)), None))), Ok(("lan".to_owned(), address(91))));
    }

    #[test]
    fn an_address_held_of_another_pool_is_taken_and_no_nodes() {
        let mut allocation = allocation(&[("lan", "192.168.0.91", OPEN)]);
        assert!(allocation.allocate(&service("web"), &Request::default()).is_ok());
        allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.80", false).expect("a pool"), OPEN);
        allocation.set_pool(&"new".into(), &AddressPool::parse("192.168.0.91", false).expect("a pool"), OPEN);
        allocation.block(&BTreeSet::new());
        assert_eq!(got(allocation.allocate(&service("next"), &ask(Some(address(91)), None))), Err(reason::ADDRESS_TAKEN));
    }

    #[test]
    fn a_nodes_own_address_is_not_adopted() {
        let mut allocation = allocation(&[("lan", "192.168.0.3-192.168.0.4", OPEN)]);
        allocation.block(&BTreeSet::from([address(3)]));
        allocation.adopt(&service("web"), address(3), None);
        assert_eq!(allocation.held(&service("web")), None);
    }
}
