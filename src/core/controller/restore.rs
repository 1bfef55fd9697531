//! What stands when a replica begins to lead: the pools' record first, then what it remembers itself, then what is on the Services.
//!
//! Nothing is chosen here, and nothing that stands is moved.

use std::net::IpAddr;

use super::{Allocation, Carried, Controller, Known, PoolName, ServiceKey, Subject, by_age};
use crate::object::Service;

impl Controller {
    /// Starts over from what is recorded.
    pub(super) fn restore(&mut self) {
        let remembered = std::mem::take(&mut self.allocation);
        self.refusals.clear();
        self.waiting.clear();
        self.review_pools();
        let known = Known { services: &self.services, namespaces: &self.namespaces };
        for (_, _, service, pool, address) in self.records() {
            self.allocation.record(&service, &pool, address, known);
        }
        for service in by_age(self.services.values().filter(|service| service.request.is_some())) {
            for held in remembered.held(&service.key).values() {
                self.allocation.record(&service.key, &held.pool, held.address, known);
            }
            for address in &service.status.ingress {
                self.allocation.adopt(&service.key, *address, service.status.pool.as_ref());
            }
        }
        self.nodes_changed = true;
        self.offer_changed = true;
        self.dirty.extend(self.services.keys().cloned());
        self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
        // A move that was announced and not yet written is still where the LAN sends its traffic: only what changed hands is placed anew.
        let addresses =
            |allocation: &Allocation, key: &ServiceKey| allocation.held(key).values().map(|held| held.address).collect::<Vec<_>>();
        self.carried.retain(|key, _| addresses(&remembered, key) == addresses(&self.allocation, key));
        self.load.clear();
        for node in self.carried.values().filter_map(Carried::node) {
            *self.load.entry(node.clone()).or_default() += 1;
        }
    }

    /// What stands in the pools' records of Services that ask for an address, in the order in which it counts: of two records for one Service the one that its users
    /// already know, then the older Service's.
    fn records(&self) -> Vec<(bool, i64, ServiceKey, PoolName, IpAddr)> {
        let asks = |key: &ServiceKey| self.services.get(key).filter(|service| service.request.is_some());
        let entry = |pool: &PoolName, address: &IpAddr, service: &Service| {
            (!service.status.ingress.contains(address), service.created, service.key.clone(), pool.clone(), *address)
        };
        let mut records = Vec::new();
        for pool in self.pools.values() {
            for (address, users) in &pool.status.used {
                records.extend(users.iter().filter_map(asks).map(|service| entry(&pool.name, address, service)));
            }
        }
        records.sort();
        records
    }
}
