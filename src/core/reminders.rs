//! When to tell again why a Service waits: Kubernetes forgets an Event after an hour, and `kubectl describe` of a Service shows no conditions.
//!
//! It knows when, not what; [`crate::controller`] has the words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::name::ServiceKey;
use crate::time::Instant;

/// kube-apiserver keeps Events for an hour (`--event-ttl`). A leader that dies right before telling again leaves its successor to begin anew: twice this, and the
/// time between them, must fit.
const AGAIN_AFTER: Duration = Duration::from_secs(25 * 60);

/// Which Services wait, and when each is to be told of again.
#[derive(Debug, Default)]
pub struct Reminders {
    due: BTreeSet<(Instant, ServiceKey)>,
    of_service: BTreeMap<ServiceKey, Instant>,
}

impl Reminders {
    /// Whether a Service waits, as of now. Who waits already is told of when it was due before.
    pub fn handle(&mut self, now: Instant, service: &ServiceKey, waits: bool) {
        match (self.of_service.get(service), waits) {
            (None, true) => self.set(service.clone(), now + AGAIN_AFTER),
            (Some(at), false) => {
                self.due.remove(&(*at, service.clone()));
                self.of_service.remove(service);
            }
            _ => {}
        }
    }

    /// Nobody waits, as far as is known.
    pub fn clear(&mut self) {
        self.due.clear();
        self.of_service.clear();
    }

    /// The next Service to tell of again.
    pub fn poll(&mut self, now: Instant) -> Option<ServiceKey> {
        let (at, service) = self.due.first().filter(|(at, _)| *at <= now)?.clone();
        self.due.remove(&(at, service.clone()));
        self.set(service.clone(), now + AGAIN_AFTER);
        Some(service)
    }

    /// When to poll again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn set(&mut self, service: ServiceKey, at: Instant) {
        self.due.insert((at, service.clone()));
        self.of_service.insert(service, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_of_again_and_again_and_who_waits_no_more_is_not() {
        let web = ServiceKey::new("default", "web");
        let mut reminders = Reminders::default();
        reminders.handle(Instant::ZERO, &web, true);
        reminders.handle(Instant::from_millis(5), &web, true);
        let first = Instant::ZERO + AGAIN_AFTER;
        assert_eq!((reminders.poll_timeout(), reminders.poll(Instant::from_millis(6))), (Some(first), None));
        assert_eq!((reminders.poll(first), reminders.poll(first)), (Some(web.clone()), None));
        assert_eq!(reminders.poll_timeout(), Some(first + AGAIN_AFTER));
        reminders.handle(first, &web, false);
        assert_eq!(reminders.poll_timeout(), None);
    }

    #[test]
    fn two_waits_in_a_row_fit_into_the_hour_of_an_event() {
        assert!(AGAIN_AFTER * 2 < Duration::from_secs(3600));
    }
}
