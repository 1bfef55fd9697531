//! Who gets an address: takes back what is asked for no more, and serves whoever waits, the oldest first.

use std::net::IpAddr;

use super::{Controller, Held, Known, Refusal, ServiceKey, Subject, by_age};
use crate::allocation::{Allocation, Outcome};
use crate::object::{Family, Protocol, Request};
use crate::status::event;

impl Controller {
    /// Takes back what a Service no longer asks for, and notes whether it waits for something.
    pub(super) fn review_service(&mut self, key: &ServiceKey) {
        if self.remade.remove(key) {
            let released = self.allocation.release(key);
            released.iter().for_each(|held| self.give_back(held));
        }
        let Some(request) = self.services.get(key).and_then(|service| service.request.clone()) else {
            self.waiting.remove(key);
            self.refusals.remove(key);
            self.release(key);
            return;
        };
        if matches!(request.protocol, Some(Protocol::Other(_))) {
            self.release(key);
        }
        self.release_other_families(key, &request);
        self.part(key, &request);
        if Allocation::satisfies(self.allocation.held(key), &request) {
            self.waiting.remove(key);
            self.refusals.remove(key);
        } else {
            self.waiting.insert(key.clone());
        }
    }

    /// kube-proxy serves an address only of the families that the Service has.
    fn release_other_families(&mut self, key: &ServiceKey, request: &Request) {
        if request.families.is_empty() {
            return;
        }
        let unwanted = self.allocation.held(key).iter().filter(|(family, _)| !request.families.contains(family));
        for held in unwanted.map(|(_, held)| held.clone()).collect::<Vec<Held>>() {
            self.release_one(key, &held);
        }
    }

    /// Of Services that share an address and have come to collide, the younger gives it up.
    fn part(&mut self, key: &ServiceKey, request: &Request) {
        for held in self.allocation.held(key).values().cloned().collect::<Vec<Held>>() {
            while let Some(other) = self.apart(key, request, &held) {
                let age = |key: &ServiceKey| (self.services.get(key).map(|service| service.created), key.clone());
                let younger = if age(key) < age(&other) { other } else { key.clone() };
                self.waiting.insert(younger.clone());
                self.dirty.insert(younger.clone());
                self.allocation.release_one(&younger, &held);
                self.give_back(&held);
                if younger == *key {
                    break;
                }
            }
        }
    }

    /// Somebody who shares an address with a Service and cannot.
    fn apart(&self, key: &ServiceKey, request: &Request, held: &Held) -> Option<ServiceKey> {
        let known = Known { services: &self.services, namespaces: &self.namespaces };
        self.allocation.first_apart(key, request, held.address, known).map(|(other, _)| other.clone())
    }

    fn release(&mut self, key: &ServiceKey) {
        for held in self.allocation.held(key).values().cloned().collect::<Vec<Held>>() {
            self.release_one(key, &held);
        }
    }

    fn release_one(&mut self, key: &ServiceKey, held: &Held) {
        self.allocation.release_one(key, held);
        self.give_back(held);
        if self.services.contains_key(key) {
            let message = format!("{} went back to Eip {}", held.address, held.pool);
            self.tell(Subject::Service(key.clone()), false, event::IP_RELEASED, message);
        }
    }

    /// An address is free again, for its pool and for any other that includes it; or fewer share it.
    fn give_back(&mut self, held: &Held) {
        self.offer_changed = true;
        self.touched.insert(Subject::Pool(held.pool.clone()));
        self.touch_users(held.address);
        if self.allocation.is_of_another(held) {
            self.reserve_addresses();
        }
    }

    /// Whoever has an address hears of who came and went: it is carried and told together.
    fn touch_users(&mut self, address: IpAddr) {
        self.dirty.extend(self.allocation.users(address).iter().cloned());
    }

    /// Serves whoever waits and may get something now, the oldest first.
    pub(super) fn serve_waiting(&mut self) {
        let everybody = std::mem::take(&mut self.offer_changed);
        let may_try = |key: &&ServiceKey| everybody || self.dirty.contains(*key);
        let trying = by_age(self.waiting.iter().filter(may_try).filter_map(|key| self.services.get(key)));
        let trying: Vec<(ServiceKey, Request)> =
            trying.into_iter().filter_map(|service| Some((service.key.clone(), service.request.clone()?))).collect();
        for (key, request) in trying {
            let known = Known { services: &self.services, namespaces: &self.namespaces };
            let outcome = self.allocation.allocate(&key, &request, known);
            self.take_outcome(&key, outcome);
        }
    }

    fn take_outcome(&mut self, key: &ServiceKey, outcome: Outcome) {
        if !outcome.gained.is_empty() || outcome.refusal.as_ref() != self.refusals.get(key) {
            self.dirty.insert(key.clone());
        }
        for held in &outcome.gained {
            self.touched.insert(Subject::Pool(held.pool.clone()));
            self.touch_users(held.address);
            // Who waits for a shared address is told with whom it would collide.
            self.offer_changed |= self.allocation.users(held.address).len() > 1;
            let before = outcome.given_back.iter().find(|before| Family::of(before.address) == Family::of(held.address));
            let message = match before {
                Some(before) => format!("{} from Eip {} in place of {}", held.address, held.pool, before.address),
                None => format!("{} from Eip {}", held.address, held.pool),
            };
            self.tell(Subject::Service(key.clone()), false, event::IP_ALLOCATED, message);
        }
        outcome.given_back.iter().for_each(|held| self.give_back(held));
        match outcome.refusal {
            Some(refusal) => self.refuse(key, refusal),
            None => {
                self.waiting.remove(key);
                self.refusals.remove(key);
            }
        }
    }

    /// Tells a refusal once: not again after a restart, where the Service says it already.
    fn refuse(&mut self, key: &ServiceKey, refusal: Refusal) {
        let said = self.services.get(key).and_then(|service| service.status.assigned.as_ref());
        let said = said.is_some_and(|said| !said.status && said.reason == refusal.reason && said.message == refusal.message);
        if !said && !refusal.optional && self.refusals.get(key) != Some(&refusal) {
            self.tell_refusal(key, &refusal);
        }
        self.refusals.insert(key.clone(), refusal);
    }

    /// Tells why a Service waits.
    fn tell_refusal(&mut self, key: &ServiceKey, refusal: &Refusal) {
        self.tell(Subject::Service(key.clone()), true, event::ALLOCATION_FAILED, format!("{}: {}", refusal.reason, refusal.message));
    }

    /// Tells once more why a Service waits: Events are forgotten after an hour.
    pub fn tell_again(&mut self, key: &ServiceKey) {
        if let Some(refusal) = self.refusals.get(key).filter(|refusal| !refusal.optional).cloned() {
            self.tell_refusal(key, &refusal);
        }
    }
}
