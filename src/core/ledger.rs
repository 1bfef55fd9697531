//! Which addresses of one pool are free, and who holds the others.
//!
//! The lowest free address goes first. Free addresses are kept as intervals, so that a pool of 2^96 costs no more than one of ten and handing
//! one out is a look-up. The ledger does not decide who may have an address: see [`crate::allocation`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::name::ServiceKey;
use crate::pool::{AddressPool, number_of};

/// The book of one pool.
#[derive(Clone, Debug)]
pub struct Ledger {
    addresses: AddressPool,
    /// Free intervals, inclusive: first to last. Disjoint, and never touching.
    free: BTreeMap<u128, u128>,
    held: BTreeMap<u128, ServiceKey>,
    /// Addresses that a node has: never handed out.
    blocked: BTreeSet<u128>,
}

/// Why an address cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It is not one of the pool's.
    Outside,
    /// Somebody has it.
    HeldBy(ServiceKey),
    /// A node has it.
    OfNode,
}

impl Ledger {
    /// A pool nobody holds anything of.
    pub fn new(addresses: AddressPool) -> Self {
        let mut free: BTreeMap<u128, u128> = BTreeMap::new();
        for range in addresses.ranges() {
            free.insert(range.first(), range.last());
        }
        let mut ledger = Self { free, held: BTreeMap::new(), blocked: BTreeSet::new(), addresses };
        for number in ledger.addresses.kept_back().to_vec() {
            ledger.remove_free(number);
        }
        ledger
    }

    /// The pool's addresses.
    pub fn addresses(&self) -> &AddressPool {
        &self.addresses
    }

    /// Who holds what, lowest first.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &ServiceKey)> {
        self.held.iter().map(|(number, service)| (self.addresses.address(*number), service))
    }

    /// How many addresses are held.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is left to hand out.
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// Hands out the lowest free address.
    pub fn take_lowest(&mut self, service: &ServiceKey) -> Option<IpAddr> {
        let (&number, _) = self.free.first_key_value()?;
        self.remove_free(number);
        self.held.insert(number, service.clone());
        Some(self.addresses.address(number))
    }

    /// Hands out this address.
    pub fn take(&mut self, address: IpAddr, service: &ServiceKey) -> Result<(), Unavailable> {
        if !self.addresses.contains(address) {
            return Err(Unavailable::Outside);
        }
        let number = number_of(address);
        if self.blocked.contains(&number) {
            return Err(Unavailable::OfNode);
        }
        self.record(address, service)
    }

    /// Enters what stands on record already, even where the pool has shrunk under it or a node took the address since.
    pub fn record(&mut self, address: IpAddr, service: &ServiceKey) -> Result<(), Unavailable> {
        let number = number_of(address);
        match self.held.get(&number) {
            Some(holder) if holder != service => return Err(Unavailable::HeldBy(holder.clone())),
            Some(_) => {}
            None => {
                self.remove_free(number);
                self.held.insert(number, service.clone());
            }
        }
        Ok(())
    }

    /// Takes an address back from whoever holds it; from nobody else.
    pub fn release(&mut self, address: IpAddr, service: &ServiceKey) {
        let number = number_of(address);
        if self.held.get(&number) != Some(service) {
            return;
        }
        self.held.remove(&number);
        if self.addresses.contains(address) && !self.blocked.contains(&number) {
            self.insert_free(number);
        }
    }

    /// Sets which addresses nodes have. Returns whether that freed any.
    pub fn block(&mut self, of_nodes: impl Iterator<Item = IpAddr>) -> bool {
        let blocked: BTreeSet<u128> = of_nodes.filter(|address| self.addresses.contains(*address)).map(number_of).collect();
        let unblocked: Vec<u128> = self.blocked.difference(&blocked).copied().filter(|number| !self.held.contains_key(number)).collect();
        for &number in &blocked {
            self.remove_free(number);
        }
        self.blocked = blocked;
        for &number in &unblocked {
            self.insert_free(number);
        }
        !unblocked.is_empty()
    }

    fn remove_free(&mut self, number: u128) {
        let Some((&first, &last)) = self.free.range(..=number).next_back() else { return };
        if number > last {
            return;
        }
        self.free.remove(&first);
        if first < number {
            self.free.insert(first, number - 1);
        }
        if number < last {
            self.free.insert(number + 1, last);
        }
    }

    /// Joins its neighbors: an interval that ends right below, and one that starts right above.
    fn insert_free(&mut self, number: u128) {
        let below = self.free.range(..number).next_back().map(|(&first, &last)| (first, last));
        let first = below.filter(|(_, last)| last.checked_add(1) == Some(number)).map_or(number, |(first, _)| first);
        let last = number.checked_add(1).and_then(|above| self.free.remove(&above)).unwrap_or(number);
        self.free.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger(addresses: &str) -> Ledger {
        Ledger::new(AddressPool::parse(addresses, false).expect("a pool"))
    }

    fn service(name: &str) -> ServiceKey {
        ServiceKey::new("default", name)
    }

    fn address(last: u8) -> IpAddr {
        [192, 168, 0, last].into()
    }

    #[test]
    fn the_lowest_free_address_goes_first_and_a_released_one_again() {
        let mut ledger = ledger("192.168.0.91-192.168.0.93");
        assert_eq!(ledger.take_lowest(&service("a")), Some(address(91)));
        assert_eq!(ledger.take_lowest(&service("b")), Some(address(92)));
        ledger.release(address(91), &service("b"));
        ledger.release(address(91), &service("a"));
        assert_eq!(ledger.take_lowest(&service("c")), Some(address(91)));
        assert_eq!(ledger.take_lowest(&service("d")), Some(address(93)));
        assert_eq!(ledger.take_lowest(&service("e")), None);
        assert!(ledger.is_exhausted());
    }

    #[test]
    fn an_address_that_is_held_says_by_whom() {
        let mut ledger = ledger("192.168.0.91-192.168.0.93");
        assert_eq!(ledger.take(address(92), &service("a")), Ok(()));
        assert_eq!(ledger.take(address(92), &service("a")), Ok(()), "holding it already is fine");
        assert_eq!(ledger.take(address(92), &service("b")), Err(Unavailable::HeldBy(service("a"))));
        assert_eq!(ledger.take(address(94), &service("b")), Err(Unavailable::Outside));
    }

    #[test]
    fn the_last_address_of_all_can_be_released() {
        let mut ledger = ledger("223.255.255.254-223.255.255.255");
        assert!(ledger.take_lowest(&service("a")).is_some());
        assert!(ledger.take_lowest(&service("b")).is_some());
        ledger.release([223, 255, 255, 255].into(), &service("b"));
        assert_eq!(ledger.take_lowest(&service("c")), Some([223, 255, 255, 255].into()));
    }

    #[test]
    fn the_address_of_a_node_is_not_handed_out_until_the_node_gives_it_up() {
        let mut ledger = ledger("192.168.0.3-192.168.0.4");
        ledger.block([address(3)].into_iter());
        assert_eq!(ledger.take(address(3), &service("a")), Err(Unavailable::OfNode));
        assert_eq!(ledger.take_lowest(&service("a")), Some(address(4)));
        assert!(ledger.block([].into_iter()));
        assert_eq!(ledger.take_lowest(&service("b")), Some(address(3)));
    }

    #[test]
    fn what_is_on_record_stands_though_the_pool_shrank() {
        let mut ledger = ledger("192.168.0.91-192.168.0.93");
        assert_eq!(ledger.record(address(99), &service("a")), Ok(()));
        ledger.release(address(99), &service("a"));
        assert_eq!(ledger.take(address(99), &service("a")), Err(Unavailable::Outside), "it did not become part of the pool");
    }

    proptest! {
        /// Against the plainest thing that could be right: a set of free numbers.
        #[test]
        fn intervals_hold_what_a_set_would(steps in prop::collection::vec((0u8..3, 0u8..16), 0..200)) {
            let mut ledger = ledger("192.168.0.0-192.168.0.15");
            let mut free: BTreeSet<u8> = (0..16).collect();
            let holder = service("a");
            for (step, number) in steps {
                match step {
                    0 => prop_assert_eq!(ledger.take_lowest(&holder), free.pop_first().map(address)),
                    1 => {
                        prop_assert_eq!(ledger.take(address(number), &holder), Ok(()));
                        free.remove(&number);
                    }
                    _ => {
                        ledger.release(address(number), &holder);
                        free.insert(number);
                    }
                }
                prop_assert_eq!(ledger.held_count(), 16 - free.len());
                prop_assert_eq!(ledger.is_exhausted(), free.is_empty());
            }
        }
    }
}
