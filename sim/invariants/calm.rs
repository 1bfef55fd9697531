//! How much time passed in which nothing was wrong: the measure for whatever a disturbed replica may be late with.
//!
//! A bound such as "within the handover" is one of undisturbed time: while the API server refuses every request, nobody can be on time with a record. It
//! knows intervals and nothing of what was wrong in them.

use std::time::Duration;

use bellhop_core::time::Instant;

use super::bounds::{HEARD_AGAIN, RECOVERY};
use super::evidence::{Disturbance, Ordeal};

/// The times in which something was wrong, joined and in order.
pub(super) struct Calm(Vec<(Instant, Instant)>);

impl Calm {
    /// For what one replica may know of the API server, and do there: what kept it from running or asking, and what kept all.
    pub(super) fn of_replica(disturbances: &[Disturbance], replica: &str) -> Self {
        Self::joined(asking(disturbances, replica).collect())
    }

    /// For what a replica may know of the MAC of a machine: what kept the one from asking, the other from answering, or either from being heard.
    pub(super) fn of_neighbor(ordeal: &Ordeal, replica: &str, machine: &str) -> Self {
        let either = |name: &str| name == replica || name == machine;
        let heard = ordeal.disturbances.iter().filter(|each| match &each.machine {
            Some(on) => either(on) && (each.of_the_lan || on == machine),
            None => each.of_the_lan,
        });
        let heard = heard.map(|each| (each.from, each.until + HEARD_AGAIN));
        let off = ordeal.off.iter().filter(|(name, _)| either(name)).flat_map(|(_, off)| off.iter().copied());
        let unplugged = ordeal.unplugged.iter().filter(|((name, _), _)| either(name)).flat_map(|(_, down)| down.iter().copied());
        Self::joined(asking(&ordeal.disturbances, replica).chain(heard).chain(off).chain(unplugged).collect())
    }

    /// Since when what is known at a moment may date from: the beginning of the disturbance that it lies in, or the moment itself.
    pub(super) fn reach_back(&self, at: Instant) -> Instant {
        self.0.iter().find(|(from, until)| (*from..=*until).contains(&at)).map_or(at, |(from, _)| *from)
    }

    fn joined(mut wrong: Vec<(Instant, Instant)>) -> Self {
        wrong.sort_unstable();
        let mut joined: Vec<(Instant, Instant)> = Vec::new();
        for (from, until) in wrong {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(until),
                _ => joined.push((from, until)),
            }
        }
        Self(joined)
    }

    /// The undisturbed time between two moments, in either order.
    pub(super) fn between(&self, one: Instant, other: Instant) -> Duration {
        let (from, until) = (one.min(other), one.max(other));
        let wrong = self.0.iter().map(|(begin, end)| (*end.min(&until)).saturating_since(*begin.max(&from)));
        (until - from).saturating_sub(wrong.sum())
    }
}

/// What keeps a replica from doing as it should, each with the time that recovering may take.
fn asking<'a>(disturbances: &'a [Disturbance], replica: &'a str) -> impl Iterator<Item = (Instant, Instant)> + 'a {
    let concerns = move |each: &&Disturbance| !each.of_the_lan && each.machine.as_deref().is_none_or(|of| of == replica);
    disturbances.iter().filter(concerns).map(|each| (each.from, each.until + RECOVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(from: u64, until: u64, machine: Option<&str>) -> Disturbance {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        Disturbance { from: at(from), until: at(until), machine: machine.map(str::to_owned), of_the_lan: false, what: String::new() }
    }

    fn seconds(calm: &Calm, from: u64, until: u64) -> u64 {
        calm.between(Instant::ZERO + Duration::from_secs(from), Instant::ZERO + Duration::from_secs(until)).as_secs()
    }

    #[test]
    fn disturbed_time_and_recovery_do_not_count() {
        let calm = Calm::of_replica(&[wrong(10, 20, None), wrong(15, 22, None)], "a");
        assert_eq!(seconds(&calm, 0, 10), 10);
        assert_eq!(seconds(&calm, 0, 22 + RECOVERY.as_secs() + 5), 15);
        assert_eq!(seconds(&calm, 12, 18), 0);
    }

    #[test]
    fn what_is_known_in_a_disturbance_may_date_from_before_it() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let calm = Calm::of_replica(&[wrong(10, 20, None)], "a");
        assert_eq!((calm.reach_back(at(5)), calm.reach_back(at(25))), (at(5), at(10)));
    }

    #[test]
    fn what_disturbs_one_replica_excuses_no_other() {
        let disturbances = [wrong(10, 20, Some("a"))];
        assert_eq!(seconds(&Calm::of_replica(&disturbances, "a"), 0, 30), 10);
        assert_eq!(seconds(&Calm::of_replica(&disturbances, "b"), 0, 30), 30);
    }

    #[test]
    fn a_cable_excuses_those_at_its_end_and_for_as_long_as_asking_again_takes() {
        let cable = Disturbance { of_the_lan: true, ..wrong(10, 20, Some("a")) };
        let ordeal = Ordeal { disturbances: vec![cable], ..Ordeal::default() };
        let undisturbed = |replica, machine| seconds(&Calm::of_neighbor(&ordeal, replica, machine), 0, 60);
        assert_eq!(
            [undisturbed("a", "b"), undisturbed("b", "a"), undisturbed("b", "c")],
            [60 - 10 - HEARD_AGAIN.as_secs(), 60 - 10 - HEARD_AGAIN.as_secs(), 60]
        );
        assert_eq!(seconds(&Calm::of_replica(&ordeal.disturbances, "a"), 0, 60), 60, "and nobody of what the API server has");
    }
}
