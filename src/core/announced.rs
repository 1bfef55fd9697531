//! What is announced for which Service. An address that several share falls silent with the last of them.
//!
//! It decides nothing: [`crate::replica`] says what is wanted, and the announcers speak.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mac::MacAddr;
use crate::name::{InterfaceName, ServiceKey};
use crate::sharers::Sharers;

/// Where an address is heard: on which NIC's LAN, and which MAC is named.
pub type Place = (InterfaceName, MacAddr);

/// What is announced.
#[derive(Debug, Default)]
pub struct Announced {
    places: BTreeMap<(ServiceKey, IpAddr), Place>,
    users: BTreeMap<(IpAddr, InterfaceName), Sharers>,
}

impl Announced {
    /// What is announced for a Service.
    pub fn of(&self, service: &ServiceKey) -> impl Iterator<Item = (IpAddr, &Place)> {
        let [first, last] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))];
        self.places.range((service.clone(), first)..=(service.clone(), last)).map(|((_, address), place)| (*address, place))
    }

    /// All of it: a shared address once for each who shares it.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, IpAddr, &Place)> {
        self.places.iter().map(|((service, address), place)| (service, *address, place))
    }

    /// An address of a Service is announced here from now on. Returns whether that is news.
    pub fn insert(&mut self, service: &ServiceKey, address: IpAddr, place: Place) -> bool {
        self.users.entry((address, place.0.clone())).or_default().insert(service.clone());
        let before = self.places.insert((service.clone(), address), place.clone());
        before != Some(place)
    }

    /// An address is this Service's no more. Returns the NIC on which nobody has it any more, if so.
    pub fn remove(&mut self, service: &ServiceKey, address: IpAddr) -> Option<InterfaceName> {
        let (interface, _) = self.places.remove(&(service.clone(), address))?;
        let key = (address, interface);
        let users = self.users.get_mut(&key)?;
        users.remove(service);
        if !users.is_empty() {
            return None;
        }
        self.users.remove(&key);
        Some(key.1)
    }

    /// Nothing is announced any more. Returns what was.
    pub fn clear(&mut self) -> impl Iterator<Item = (IpAddr, InterfaceName)> {
        self.places.clear();
        std::mem::take(&mut self.users).into_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 91));

    #[test]
    fn a_shared_address_falls_silent_with_the_last_who_has_it() {
        let (web, dns) = (ServiceKey::new("default", "web"), ServiceKey::new("default", "dns"));
        let place = || (InterfaceName::from("eth0"), MacAddr::BROADCAST);
        let mut announced = Announced::default();
        assert!(announced.insert(&web, VIP, place()) && announced.insert(&dns, VIP, place()));
        assert!(!announced.insert(&dns, VIP, place()), "no news");
        assert_eq!(announced.remove(&web, VIP), None);
        assert_eq!(announced.remove(&dns, VIP), Some("eth0".into()));
        assert_eq!(announced.iter().count(), 0);
    }
}
