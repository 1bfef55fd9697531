//! Which addresses of one pool are free.
//!
//! The lowest free address goes first. Free addresses are kept as intervals, so that a pool of 2^96 costs no more than one of ten and handing
//! one out is a look-up. The ledger knows nobody by name: who has an address, and who may have it, is [`crate::allocation`]'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::pool::{AddressPool, number_of};

/// The book of one pool.
#[derive(Clone, Debug)]
pub struct Ledger {
    addresses: AddressPool,
    /// Free intervals, inclusive: first to last. Disjoint, and never touching.
    free: BTreeMap<u128, u128>,
    taken: BTreeSet<u128>,
    /// Never handed out: somebody has them who is no Service.
    blocked: BTreeSet<u128>,
}

impl Ledger {
    /// A pool of which nothing is taken.
    pub fn new(addresses: AddressPool) -> Self {
        let mut free: BTreeMap<u128, u128> = BTreeMap::new();
        for range in addresses.ranges() {
            free.insert(range.first(), range.last());
        }
        let mut ledger = Self { free, taken: BTreeSet::new(), blocked: BTreeSet::new(), addresses };
        for number in ledger.addresses.kept_back().to_vec() {
            ledger.remove_free(number);
        }
        ledger
    }

    /// The pool's addresses.
    pub fn addresses(&self) -> &AddressPool {
        &self.addresses
    }

    /// What is taken, lowest first.
    pub fn taken(&self) -> impl Iterator<Item = IpAddr> {
        self.taken.iter().map(|number| self.addresses.address(*number))
    }

    /// Whether nothing is left to hand out.
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// The lowest free address.
    pub fn lowest_free(&self) -> Option<IpAddr> {
        self.free.first_key_value().map(|(&number, _)| self.addresses.address(number))
    }

    /// Takes an address, even where it stands on record and the pool has shrunk under it, or somebody else took it since.
    pub fn take(&mut self, address: IpAddr) {
        let number = number_of(address);
        self.remove_free(number);
        self.taken.insert(number);
    }

    /// An address is free again, if it is the pool's.
    pub fn release(&mut self, address: IpAddr) {
        let number = number_of(address);
        if self.taken.remove(&number) && self.addresses.contains(address) && !self.blocked.contains(&number) {
            self.insert_free(number);
        }
    }

    /// Sets what is never handed out. Returns whether that freed any.
    pub fn block(&mut self, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let blocked: BTreeSet<u128> = addresses.filter(|address| self.addresses.contains(*address)).map(number_of).collect();
        let unblocked: Vec<u128> = self.blocked.difference(&blocked).copied().filter(|number| !self.taken.contains(number)).collect();
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

    fn take_lowest(ledger: &mut Ledger) -> Option<IpAddr> {
        let address = ledger.lowest_free()?;
        ledger.take(address);
        Some(address)
    }

    fn address(last: u8) -> IpAddr {
        [192, 168, 0, last].into()
    }

    #[test]
    fn the_lowest_free_address_goes_first_and_a_released_one_again() {
        let mut ledger = ledger("192.168.0.91-192.168.0.93");
        assert_eq!([take_lowest(&mut ledger), take_lowest(&mut ledger)], [Some(address(91)), Some(address(92))]);
        ledger.release(address(91));
        let next: Vec<_> = std::iter::from_fn(|| take_lowest(&mut ledger)).collect();
        assert_eq!(next, [address(91), address(93)]);
        assert!(ledger.is_exhausted());
    }

    #[test]
    fn the_last_address_of_all_can_be_released() {
        let mut ledger = ledger("223.255.255.254-223.255.255.255");
        assert_eq!(std::iter::from_fn(|| take_lowest(&mut ledger)).count(), 2);
        ledger.release([223, 255, 255, 255].into());
        assert_eq!(take_lowest(&mut ledger), Some([223, 255, 255, 255].into()));
    }

    #[test]
    fn what_is_blocked_is_not_handed_out_until_it_is_given_up() {
        let mut ledger = ledger("192.168.0.3-192.168.0.4");
        ledger.block([address(3)].into_iter());
        assert_eq!(take_lowest(&mut ledger), Some(address(4)));
        assert!(ledger.block([].into_iter()));
        assert_eq!(take_lowest(&mut ledger), Some(address(3)));
    }

    #[test]
    fn what_was_taken_from_outside_the_pool_does_not_become_part_of_it() {
        let mut ledger = ledger("192.168.0.91");
        ledger.take(address(99));
        ledger.release(address(99));
        assert_eq!(std::iter::from_fn(|| take_lowest(&mut ledger)).collect::<Vec<_>>(), [address(91)]);
    }

    proptest! {
        /// Against the plainest thing that could be right: a set of free numbers.
        #[test]
        fn intervals_hold_what_a_set_would(steps in prop::collection::vec((0u8..3, 0u8..16), 0..200)) {
            let mut ledger = ledger("192.168.0.0-192.168.0.15");
            let mut free: BTreeSet<u8> = (0..16).collect();
            for (step, number) in steps {
                match step {
                    0 => prop_assert_eq!(take_lowest(&mut ledger), free.pop_first().map(address)),
                    1 => {
                        ledger.take(address(number));
                        free.remove(&number);
                    }
                    _ => {
                        ledger.release(address(number));
                        free.insert(number);
                    }
                }
                prop_assert_eq!(ledger.taken().count(), 16 - free.len());
                prop_assert_eq!(ledger.is_exhausted(), free.is_empty());
            }
        }
    }
}
