//! Promise 4, the counts: announcements and requests to the API stay bounded. No storms, no write loops.
//!
//! Requests count whether or not they were granted or changed anything: a loop of refused writes is a loop. How many there may be depends on how many
//! different objects changed, not on how often: a loop of writes to one object earns nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_apiserver::WriteRecord;
use bellhop_core::time::Instant;

use super::bounds::{GRATUITOUS_PER_MINUTE, RECOVERY, REQUESTS_PER_MINUTE, REQUESTS_PER_OBJECT};
use super::evidence::moment;
use super::{Broken, Evidence};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    let changes = changes(evidence);
    for (replica, moments) in &evidence.requests {
        if let Some((at, made, objects)) = first_storm_of_requests(moments, &changes) {
            let detail = format!("Bellhop on {replica} made {made} requests within a minute, in which {objects} objects changed");
            broken.push(Broken { at, invariant: "requests to the API stay bounded", detail, about: vec![replica.clone()] });
        }
    }
    let mut announced: BTreeMap<(&str, IpAddr), Vec<Instant>> = BTreeMap::new();
    for spoken in evidence.spoken.iter().filter(|spoken| spoken.gratuitous) {
        announced.entry((&spoken.replica, spoken.address)).or_default().push(spoken.at);
    }
    for ((replica, address), moments) in announced {
        if let Some(at) = first_storm(&moments, GRATUITOUS_PER_MINUTE) {
            let detail = format!("Bellhop on {replica} announced {address} {GRATUITOUS_PER_MINUTE} times within a minute");
            let about = vec![replica.to_owned(), address.to_string()];
            broken.push(Broken { at, invariant: "announcements stay bounded", detail, about });
        }
    }
    broken
}

/// An object's kind, namespace and name.
type Name<'a> = (&'a str, &'a str, &'a str);

/// When each object changed, in order. Leases and Events say nothing that anybody must act upon.
fn changes(evidence: &Evidence) -> Vec<(Instant, Name<'_>)> {
    let is_acted_upon = |record: &&WriteRecord| !record.resource.starts_with("leases.") && !record.resource.starts_with("events");
    let changed = evidence.writes.iter().filter(is_acted_upon);
    changed.map(|record| (moment(record), (record.resource.as_str(), record.namespace.as_str(), record.name.as_str()))).collect()
}

/// When more requests had come within a minute than the objects that changed until then allow, for the first time; how many, and how many objects.
fn first_storm_of_requests(requests: &[Instant], changes: &[(Instant, Name<'_>)]) -> Option<(Instant, usize, usize)> {
    // How many changes of each object lie in the time looked at; the two marks are the first and the last of them, and move on with it.
    let mut changed: BTreeMap<Name<'_>, usize> = BTreeMap::new();
    let (mut first, mut last, mut oldest) = (0, 0, 0);
    for (index, at) in requests.iter().enumerate() {
        while changes.get(last).is_some_and(|(moment, _)| moment <= at) {
            *changed.entry(changes[last].1).or_default() += 1;
            last += 1;
        }
        while first < last && *at - changes[first].0 >= MINUTE + RECOVERY {
            let name = changes[first].1;
            let left = changed.get(&name).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                changed.remove(&name)
            } else {
                changed.insert(name, left)
            };
            first += 1;
        }
        while *at - requests[oldest] >= MINUTE {
            oldest += 1;
        }
        let made = index + 1 - oldest;
        if made >= REQUESTS_PER_MINUTE + changed.len() * REQUESTS_PER_OBJECT {
            return Some((*at, made, changed.len()));
        }
    }
    None
}

/// When so many had come within a minute, for the first time.
fn first_storm(moments: &[Instant], most: usize) -> Option<Instant> {
    moments.windows(most).find(|window| window[most - 1] - window[0] < MINUTE).map(|window| window[most - 1])
}

#[cfg(test)]
mod tests {
    use super::super::evidence::testing::{broken, evidence, said, service};
    use super::*;

    #[test]
    fn a_loop_of_requests_is_a_broken_promise_and_a_busy_hour_is_not() {
        let requests = |apart: u64| {
            let moments = (0..700).map(|index| Instant::from_millis(index * apart)).collect();
            Evidence { requests: BTreeMap::from([("a".to_owned(), moments)]), ..Evidence::default() }
        };
        assert_eq!(broken(judge(&requests(1))), ["requests to the API stay bounded"]);
        assert_eq!(broken(judge(&requests(200))), [""; 0]);
    }

    #[test]
    fn many_objects_that_change_earn_many_requests_and_one_that_changes_often_earns_none() {
        let requests = BTreeMap::from([("a".to_owned(), (0..1500).map(|index| Instant::from_millis(10_000 + index * 20)).collect())]);
        let busy = |name: &dyn Fn(u64) -> String, seconds: u64| {
            let writes = (0..200).map(|index| service(&name(index), seconds, "a")).collect();
            let storms = judge(&Evidence { requests: requests.clone(), ..evidence(writes, Vec::new()) });
            broken(storms)
        };
        assert_eq!(broken(judge(&Evidence { requests: requests.clone(), ..Evidence::default() })), ["requests to the API stay bounded"]);
        assert_eq!(busy(&|index| format!("web-{index}"), 9), [""; 0]);
        assert_eq!(busy(&|_| "web".to_owned(), 9), ["requests to the API stay bounded"]);
        // What changes after the requests is no reason for them.
        assert_eq!(busy(&|index| format!("web-{index}"), 41), ["requests to the API stay bounded"]);
    }

    #[test]
    fn what_changed_long_ago_earns_nothing() {
        let (long, recent) = (Duration::from_secs(300), MINUTE + RECOVERY);
        let storm = |after: Duration| {
            let requests = (0..1500).map(|index| Instant::ZERO + after + Duration::from_millis(index * 2)).collect();
            let writes = (0..200).map(|index| service(&format!("web-{index}"), 0, "a")).collect();
            let evidence = Evidence { requests: BTreeMap::from([("a".to_owned(), requests)]), ..evidence(writes, Vec::new()) };
            broken(judge(&evidence)).len()
        };
        assert_eq!((storm(long), storm(recent - Duration::from_secs(4))), (1, 0));
    }

    #[test]
    fn a_storm_of_announcements_is_a_broken_promise() {
        let spoken = (0..250).map(|index| said("a", index / 10, 1, true)).collect();
        assert_eq!(broken(judge(&evidence(Vec::new(), spoken))), ["announcements stay bounded"]);
        let answers = (0..250).map(|index| said("a", index / 10, 1, false)).collect();
        assert_eq!(broken(judge(&evidence(Vec::new(), answers))), [""; 0]);
    }
}
