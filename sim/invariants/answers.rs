//! Promise 2: outside a handover no two answers of Bellhop for one address name different MACs, and none is for an address that is not assigned.
//!
//! What may be said is what stands on the Service, up to a handover of undisturbed time: a failover is announced first and written after. What a replica announced and had no time to
//! write, because it died or lost the Lease, is the MAC of some node all the same. A frame that names a machine's own address (Bellhop asking from its
//! own) must name that machine's own MAC.

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::HANDOVER;
use super::calm::Calm;
use super::evidence::Held;
use super::{Broken, Evidence, Spoken};

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let held = evidence.held();
    let mut calms: BTreeMap<&str, Calm> = BTreeMap::new();
    let mut broken = Vec::new();
    for spoken in &evidence.spoken {
        let own = evidence.own.get(&spoken.address);
        let wrong = match own {
            Some(machine) => own_address(evidence, spoken, machine),
            None => {
                let stretches = held.get(&spoken.address).map_or(&[][..], Vec::as_slice);
                let replica = spoken.replica.as_str();
                let calm = calms.entry(replica).or_insert_with(|| Calm::of_replica(&evidence.ordeal.disturbances, replica));
                assigned(evidence, calm, spoken, stretches)
            }
        };
        if let Some((invariant, detail)) = wrong {
            let about = vec![spoken.address.to_string(), spoken.replica.clone()];
            broken.push(Broken { at: spoken.at, invariant, detail, about });
        }
    }
    broken
}

/// A frame for an address that a machine has as its own.
fn own_address(evidence: &Evidence, spoken: &Spoken, machine: &str) -> Option<(&'static str, String)> {
    let fine = machine == spoken.replica && had(evidence, spoken, machine);
    let detail = || format!("Bellhop on {} said {} of {machine} is at {}", spoken.replica, spoken.address, spoken.mac);
    (!fine).then(|| ("Bellhop speaks for no machine's own address but its own", detail()))
}

/// A frame for any other address.
fn assigned(evidence: &Evidence, calm: &Calm, spoken: &Spoken, held: &[Held]) -> Option<(&'static str, String)> {
    let Spoken { at, replica, address, mac, .. } = spoken;
    let near = |held: &&Held| {
        let within = held.from <= *at && *at <= held.until;
        within || calm.between(*at, held.from) <= HANDOVER || calm.between(*at, held.until) <= HANDOVER
    };
    let near: Vec<&Held> = held.iter().filter(near).collect();
    if near.is_empty() {
        let detail = format!("Bellhop on {replica} said {address} is at {mac}, and no Service has it");
        return Some(("Bellhop answers for no address that is not assigned", detail));
    }
    if near.iter().any(|held| had(evidence, spoken, &held.node)) {
        return None;
    }
    let unwritten = evidence.end_of_term(replica, *at).is_some_and(|end| calm.between(*at, end) <= HANDOVER);
    if unwritten && evidence.nodes.iter().any(|node| had(evidence, spoken, node)) {
        return None;
    }
    let nodes: BTreeSet<&str> = near.iter().map(|held| held.node.as_str()).collect();
    let detail =
        format!("Bellhop on {replica} said {address} is at {mac}, and its node is {}", nodes.into_iter().collect::<Vec<_>>().join(" or "));
    Some(("Bellhop names the MAC of the Service's node", detail))
}

/// Whether the MAC that was said was one of a machine's then, or up to a handover before: time in which the speaker could ask the machine.
fn had(evidence: &Evidence, spoken: &Spoken, machine: &str) -> bool {
    let Spoken { at, replica, mac, .. } = spoken;
    let macs = evidence.macs.get(machine).map_or(&[][..], Vec::as_slice);
    macs.iter().enumerate().filter(|(_, (_, own))| own == mac).any(|(index, (from, _))| {
        // A machine with several NICs has several at once: only a later MAC that came in a change ends one.
        let until = macs[index + 1..].iter().map(|(later, _)| *later).find(|later| later > from);
        let asked = |until| Calm::of_neighbor(&evidence.ordeal, replica, machine).between(until, *at) <= HANDOVER;
        from <= at && until.is_none_or(|until| *at <= until || asked(until))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bellhop_core::time::Instant;

    use super::super::Disturbance;
    use super::super::evidence::testing::{ADDRESS, at, broken, evidence, mac, said, service};
    use super::*;

    #[test]
    fn a_move_with_its_handover_breaks_nothing() {
        let writes = vec![service("web", 0, "a"), service("web", 100, "b")];
        let spoken = vec![said("a", 1, 1, false), said("a", 99, 2, true), said("a", 105, 1, false), said("a", 200, 2, false)];
        assert_eq!(broken(judge(&evidence(writes, spoken))), [""; 0]);
    }

    #[test]
    fn an_old_answer_after_the_handover_is_a_broken_promise() {
        let writes = vec![service("web", 0, "a"), service("web", 100, "b")];
        assert_eq!(broken(judge(&evidence(writes, vec![said("a", 113, 1, false)]))), ["Bellhop names the MAC of the Service's node"]);
    }

    #[test]
    fn a_record_may_be_as_late_as_the_api_server_was_away() {
        let writes = vec![service("web", 0, "a"), service("web", 100, "b")];
        let early = vec![said("a", 70, 2, true)];
        let mut disturbed = evidence(writes, early);
        assert_eq!(broken(judge(&disturbed)), ["Bellhop names the MAC of the Service's node"]);
        disturbed.ordeal.disturbances.push(Disturbance {
            from: at(60),
            until: at(95),
            machine: None,
            of_the_lan: false,
            what: "api down".to_owned(),
        });
        assert_eq!(broken(judge(&disturbed)), [""; 0]);
    }

    #[test]
    fn what_a_leader_announced_and_died_before_writing_is_no_broken_promise() {
        let mut died = evidence(vec![service("web", 0, "a")], vec![said("a", 50, 2, true)]);
        assert_eq!(broken(judge(&died)), ["Bellhop names the MAC of the Service's node"]);
        died.ordeal.deaths.insert("a".to_owned(), vec![at(51)]);
        assert_eq!(broken(judge(&died)), [""; 0]);
        died.spoken = vec![said("a", 50, 7, true)];
        assert_eq!(broken(judge(&died)), ["Bellhop names the MAC of the Service's node"]);
    }

    #[test]
    fn what_was_said_last_in_a_run_is_judged_as_everything_else() {
        let mut last = evidence(vec![service("web", 0, "a")], vec![said("a", 50, 2, true)]);
        last.ended = at(51);
        assert_eq!(broken(judge(&last)), ["Bellhop names the MAC of the Service's node"]);
    }

    #[test]
    fn trouble_of_others_excuses_no_wrong_answer() {
        let mut wrong = evidence(vec![service("web", 0, "a")], vec![said("a", 50, 2, false)]);
        let trouble = |machine: &str, of_the_lan| Disturbance {
            from: at(20),
            until: at(49),
            machine: Some(machine.to_owned()),
            of_the_lan,
            what: String::new(),
        };
        wrong.ordeal.disturbances = vec![trouble("b", false), trouble("b", true), trouble("a", true)];
        assert_eq!(broken(judge(&wrong)), ["Bellhop names the MAC of the Service's node"]);
    }

    #[test]
    fn a_machine_without_power_cannot_be_asked_for_its_new_mac() {
        let mut changed = evidence(vec![service("web", 0, "a")], vec![said("b", 80, 1, false)]);
        changed.macs.insert("a".to_owned(), vec![(Instant::ZERO, mac(1)), (at(50), mac(9))]);
        assert_eq!(broken(judge(&changed)), ["Bellhop names the MAC of the Service's node"]);
        changed.ordeal.off.insert("a".to_owned(), vec![(at(51), at(75))]);
        assert_eq!(broken(judge(&changed)), [""; 0]);
    }

    #[test]
    fn an_answer_for_nobodys_address_is_a_broken_promise() {
        let nobody = evidence(Vec::new(), vec![said("a", 1, 1, false)]);
        assert_eq!(broken(judge(&nobody)), ["Bellhop answers for no address that is not assigned"]);
    }

    #[test]
    fn a_machines_own_address_with_another_mac_is_a_broken_promise() {
        let mut own = evidence(Vec::new(), vec![said("a", 1, 1, false)]);
        own.own.insert(ADDRESS, "a".to_owned());
        assert_eq!(broken(judge(&own)), [""; 0]);
        own.spoken = vec![said("a", 2, 2, false), said("b", 3, 1, false)];
        assert_eq!(broken(judge(&own)).len(), 2);
    }

    #[test]
    fn a_mac_that_changed_may_be_named_until_the_node_was_asked_again() {
        let mut changed = evidence(vec![service("web", 0, "a")], Vec::new());
        changed.macs.insert("a".to_owned(), vec![(Instant::ZERO, mac(1)), (at(50), mac(9))]);
        changed.spoken = vec![said("a", 55, 1, false), said("a", 100, 9, false)];
        assert_eq!(broken(judge(&changed)), [""; 0]);
        changed.spoken = vec![Spoken { at: at(50) + HANDOVER + Duration::from_secs(1), ..said("a", 0, 1, false) }];
        assert_eq!(broken(judge(&changed)), ["Bellhop names the MAC of the Service's node"]);
    }
}
