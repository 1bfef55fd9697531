//! The MAC that carries each address: the table behind every answer.
//!
//! A table for each family, since hashing four bytes costs less than hashing an address that may be of either. Hashed by a fixed seed: the keys are our
//! own pools' addresses, not what strangers choose, and nothing that is put out depends on their order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::mac::MacAddr;

/// Address to MAC.
#[derive(Debug)]
pub struct Carriers {
    four: HashMap<Ipv4Addr, MacAddr, FixedState>,
    six: HashMap<Ipv6Addr, MacAddr, FixedState>,
}

impl Default for Carriers {
    fn default() -> Self {
        Self { four: HashMap::with_hasher(FixedState::default()), six: HashMap::with_hasher(FixedState::default()) }
    }
}

impl Carriers {
    /// Who carries an address.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<MacAddr> {
        match address {
            IpAddr::V4(address) => self.four.get(&address).copied(),
            IpAddr::V6(address) => self.six.get(&address).copied(),
        }
    }

    /// An address is carried by this MAC from now on. Returns who did before.
    pub fn insert(&mut self, address: IpAddr, carrier: MacAddr) -> Option<MacAddr> {
        match address {
            IpAddr::V4(address) => self.four.insert(address, carrier),
            IpAddr::V6(address) => self.six.insert(address, carrier),
        }
    }

    /// An address is carried by nobody from now on. Returns who did.
    pub fn remove(&mut self, address: IpAddr) -> Option<MacAddr> {
        match address {
            IpAddr::V4(address) => self.four.remove(&address),
            IpAddr::V6(address) => self.six.remove(&address),
        }
    }

    /// All addresses, in no order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.four.keys().copied().map(IpAddr::from).chain(self.six.keys().copied().map(IpAddr::from))
    }
}
