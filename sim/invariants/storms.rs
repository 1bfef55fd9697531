//! Promise 4, the counts: announcements and requests to the API stay bounded. No storms, no write loops.
//!
//! Requests count whether or not they were granted or changed anything: a loop of refused writes is a loop.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::time::Instant;

use super::bounds::{GRATUITOUS_PER_MINUTE, REQUESTS_PER_MINUTE};
use super::{Broken, Evidence};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (replica, moments) in &evidence.requests {
        if let Some(at) = first_storm(moments, REQUESTS_PER_MINUTE) {
            let detail = format!("Bellhop on {replica} made {REQUESTS_PER_MINUTE} requests within a minute");
            broken.push(Broken { at, invariant: "requests to the API stay bounded", detail, about: vec![replica.clone()] });
        }
    }
    let mut announced: BTreeMap<(&str, Ipv4Addr), Vec<Instant>> = BTreeMap::new();
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

/// When so many had come within a minute, for the first time.
fn first_storm(moments: &[Instant], most: usize) -> Option<Instant> {
    moments.windows(most).find(|window| window[most - 1] - window[0] < MINUTE).map(|window| window[most - 1])
}

#[cfg(test)]
mod tests {
    use super::super::evidence::testing::{broken, evidence, said};
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
    fn a_storm_of_announcements_is_a_broken_promise() {
        let spoken = (0..250).map(|index| said("a", index / 10, 1, true)).collect();
        assert_eq!(broken(judge(&evidence(Vec::new(), spoken))), ["announcements stay bounded"]);
        let answers = (0..250).map(|index| said("a", index / 10, 1, false)).collect();
        assert_eq!(broken(judge(&evidence(Vec::new(), answers))), [""; 0]);
    }
}
