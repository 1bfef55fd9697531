//! Which pools hand out addresses, and which addresses they never do.

use super::{Controller, Pool, PoolName, Reserved, Subject};
use crate::allocation::Offer;
use crate::object::Protocol;

impl Controller {
    /// Opens, changes and closes the books of pools; of two that overlap, the younger is closed.
    pub(super) fn review_pools(&mut self) {
        self.conflicts.clear();
        let mut by_age: Vec<&Pool> = self.pools.values().filter(|pool| is_open_book(pool)).collect();
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
            let (is_default, priority, binding) = (pool.is_default, pool.priority, pool.binding.clone());
            self.allocation.set_pool(&pool.name, addresses, Offer { closed, is_default, priority, binding });
        }
        self.allocation.set_unusable(self.pools.values().filter_map(|pool| Some((pool.name.clone(), unusable_because(pool)?))).collect());
        let gone = self.allocation.pools().filter(|name| !self.pools.get(*name).is_some_and(is_open_book));
        for name in gone.cloned().collect::<Vec<PoolName>>() {
            self.allocation.remove_pool(&name);
        }
        self.reserve_addresses();
        self.offer_changed = true;
        self.touched.extend(self.pools.keys().cloned().map(Subject::Pool));
        // A pool that changed may have let go of what was held of it.
        self.dirty.extend(self.services.iter().filter(|(_, service)| service.request.is_some()).map(|(key, _)| key.clone()));
    }

    /// What nodes, gateways and this machine have is no Service's.
    pub(super) fn reserve_addresses(&mut self) {
        let of_nodes =
            self.nodes.values().flat_map(|node| node.addresses.iter().map(|address| (*address, Reserved::Node(node.name.clone()))));
        let mut reserved = self.reserved.clone();
        reserved.extend(of_nodes);
        self.offer_changed |= self.allocation.reserve(reserved);
    }
}

/// Why a pool is none of ours to hand out.
fn unusable_because(pool: &Pool) -> Option<String> {
    match (&pool.protocol, &pool.addresses) {
        (Protocol::Other(protocol), _) => Some(format!("its protocol `{protocol}` is not served, only layer2 is")),
        (Protocol::Layer2, Err(error)) => Some(format!("its spec.address is invalid: {error}")),
        (Protocol::Layer2, Ok(_)) => None,
    }
}

fn is_open_book(pool: &Pool) -> bool {
    unusable_because(pool).is_none()
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
