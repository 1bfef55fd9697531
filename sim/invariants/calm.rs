//! How much time passed in which nothing was wrong: the measure for whatever a disturbed replica may be late with.
//!
//! A bound such as "within the handover" is one of undisturbed time: while the API server refuses every request, nobody can be on time with a record. It
//! knows intervals and nothing of what was wrong in them.

use std::time::Duration;

use bellhop_core::time::Instant;

use super::bounds::RECOVERY;
use super::evidence::Disturbance;

/// The times in which something was wrong, joined and in order.
pub(super) struct Calm(Vec<(Instant, Instant)>);

impl Calm {
    /// For all of them together: whatever was wrong, each with the time that recovering may take.
    pub(super) fn of_all(disturbances: &[Disturbance]) -> Self {
        Self::of(disturbances, |_| true)
    }

    /// For what one replica may know of the API server: what kept it from running or asking, and what kept all.
    pub(super) fn of_replica(disturbances: &[Disturbance], replica: &str) -> Self {
        Self::of(disturbances, |each| !each.of_the_lan && each.replica.as_deref().is_none_or(|of| of == replica))
    }

    /// For what all may know of one machine: whatever was wrong, and the times in which it had no power.
    pub(super) fn of_machine(disturbances: &[Disturbance], off: &[(Instant, Instant)]) -> Self {
        let wrong = disturbances.iter().map(|each| (each.from, each.until + RECOVERY));
        Self::joined(wrong.chain(off.iter().copied()).collect())
    }

    /// Since when what is known at a moment may date from: the beginning of the disturbance that it lies in, or the moment itself.
    pub(super) fn reach_back(&self, at: Instant) -> Instant {
        self.0.iter().find(|(from, until)| (*from..=*until).contains(&at)).map_or(at, |(from, _)| *from)
    }

    fn of(disturbances: &[Disturbance], concerns: impl Fn(&&Disturbance) -> bool) -> Self {
        Self::joined(disturbances.iter().filter(concerns).map(|each| (each.from, each.until + RECOVERY)).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(from: u64, until: u64, replica: Option<&str>) -> Disturbance {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        Disturbance { from: at(from), until: at(until), replica: replica.map(str::to_owned), of_the_lan: false, what: String::new() }
    }

    fn seconds(calm: &Calm, from: u64, until: u64) -> u64 {
        calm.between(Instant::ZERO + Duration::from_secs(from), Instant::ZERO + Duration::from_secs(until)).as_secs()
    }

    #[test]
    fn disturbed_time_and_recovery_do_not_count() {
        let calm = Calm::of_all(&[wrong(10, 20, None), wrong(15, 22, None)]);
        assert_eq!(seconds(&calm, 0, 10), 10);
        assert_eq!(seconds(&calm, 0, 22 + RECOVERY.as_secs() + 5), 15);
        assert_eq!(seconds(&calm, 12, 18), 0);
    }

    #[test]
    fn what_is_known_in_a_disturbance_may_date_from_before_it() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let calm = Calm::of_all(&[wrong(10, 20, None)]);
        assert_eq!((calm.reach_back(at(5)), calm.reach_back(at(25))), (at(5), at(10)));
    }

    #[test]
    fn what_disturbs_one_replica_excuses_no_other() {
        let disturbances = [wrong(10, 20, Some("a"))];
        assert_eq!(seconds(&Calm::of_replica(&disturbances, "a"), 0, 30), 10);
        assert_eq!(seconds(&Calm::of_replica(&disturbances, "b"), 0, 30), 30);
        assert_eq!(seconds(&Calm::of_all(&disturbances), 0, 30), 10);
    }
}
