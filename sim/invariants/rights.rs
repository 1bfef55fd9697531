//! Promise 4, the wire: no announcer answers past its right to (design §4, "Leadership", the rule before leadership on the wire).
//!
//! A replica that never held the Lease is silent. One that lost it may go on answering until it can have read that another holds it; it says nothing
//! unasked once its own renewals are older than the Lease's duration.

use std::collections::BTreeMap;

use bellhop_core::time::Instant;

use super::bounds::{CONFIRMED, YIELD};
use super::calm::Calm;
use super::{Broken, Evidence, Spoken};

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let holders = evidence.holders();
    let mut calms: BTreeMap<&str, (Calm, Vec<Instant>)> = BTreeMap::new();
    let mut broken = Vec::new();
    for spoken in evidence.spoken.iter().filter(|spoken| !evidence.own.contains_key(&spoken.address)) {
        let replica = spoken.replica.as_str();
        let (calm, renewals) =
            calms.entry(replica).or_insert_with(|| (Calm::of_replica(&evidence.ordeal.disturbances, replica), evidence.renewals(replica)));
        if let Some((invariant, detail)) = wrong(spoken, &holders, calm, renewals) {
            let about = vec![spoken.address.to_string(), replica.to_owned()];
            broken.push(Broken { at: spoken.at, invariant, detail, about });
        }
    }
    broken
}

/// What is wrong with a frame.
fn wrong(spoken: &Spoken, holders: &[(Instant, String)], calm: &Calm, renewals: &[Instant]) -> Option<(&'static str, String)> {
    let Spoken { at, replica, address, gratuitous, .. } = spoken;
    let known = &holders[..holders.partition_point(|(since, _)| since <= at)];
    let Some(last) = known.iter().rposition(|(_, holder)| holder == replica) else {
        let detail = format!("Bellhop on {replica} spoke for {address} and had never held the Lease");
        return Some(("Bellhop is silent until it leads", detail));
    };
    // A Lease that was given back has no other holder yet, and whoever gave it back has stopped.
    if let Some((lost, holder)) = known.get(last + 1)
        && calm.between(*lost, *at) > YIELD
    {
        let held = bellhop_scenario::duration::words(*at - *lost);
        let detail = format!("Bellhop on {replica} spoke for {address}, and {holder:?} has held the Lease for {held}");
        return Some(("Bellhop is silent once it can know that another leads", detail));
    }
    let renewed = renewals[..renewals.partition_point(|renewed| renewed <= at)].last();
    let unconfirmed = renewed.is_none_or(|renewed| *at - *renewed > CONFIRMED);
    (*gratuitous && unconfirmed).then(|| {
        let renewed = renewed.map_or_else(|| "never".to_owned(), ToString::to_string);
        let detail = format!("Bellhop on {replica} announced {address} unasked, and had last renewed its Lease at {renewed}");
        ("Bellhop announces nothing while its leadership is unconfirmed", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Disturbance;
    use super::super::evidence::testing::{at, broken, evidence, lease, said};
    use super::*;

    #[test]
    fn a_leader_that_renews_may_answer_and_announce() {
        let spoken = vec![said("a", 2, 1, true), said("a", 6, 1, false)];
        assert_eq!(broken(judge(&evidence(vec![lease("a", 1), lease("a", 3)], spoken))), [""; 0]);
    }

    #[test]
    fn a_replica_that_never_led_is_silent() {
        let spoken = vec![said("b", 2, 1, false)];
        assert_eq!(broken(judge(&evidence(vec![lease("a", 1)], spoken))), ["Bellhop is silent until it leads"]);
    }

    #[test]
    fn an_old_leader_falls_silent_once_it_can_read_that_another_leads() {
        let late = 10 + YIELD.as_secs() + 1;
        let writes = || vec![lease("a", 1), lease("b", 10)];
        assert_eq!(broken(judge(&evidence(writes(), vec![said("a", 12, 1, false)]))), [""; 0]);
        let mut late = evidence(writes(), vec![said("a", late, 1, false)]);
        assert_eq!(broken(judge(&late)), ["Bellhop is silent once it can know that another leads"]);
        let cut_off = |replica: &str| Disturbance {
            from: at(5),
            until: at(20),
            machine: Some(replica.to_owned()),
            of_the_lan: false,
            what: String::new(),
        };
        late.ordeal.disturbances = vec![cut_off("b")];
        assert_eq!(broken(judge(&late)), ["Bellhop is silent once it can know that another leads"]);
        late.ordeal.disturbances = vec![cut_off("a")];
        assert_eq!(broken(judge(&late)), [""; 0]);
    }

    #[test]
    fn an_unconfirmed_leader_answers_and_announces_nothing() {
        let writes = || vec![lease("a", 1)];
        assert_eq!(broken(judge(&evidence(writes(), vec![said("a", 30, 1, false)]))), [""; 0]);
        let announced = evidence(writes(), vec![said("a", 30, 1, true)]);
        assert_eq!(broken(judge(&announced)), ["Bellhop announces nothing while its leadership is unconfirmed"]);
    }
}
