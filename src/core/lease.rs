//! Who leads: client-go's rules for a Lease, as a state machine.
//!
//! A lease has run out when it was *seen unchanged* for its duration on our own monotonic clock; what the holder wrote as its time is never
//! compared with ours, so that no clock has to agree with another. Every write carries the version it stands on, so that of two
//! candidates one gets a conflict. This module writes nothing itself and knows no API: it says what to write and when to look again.
//!
//! The three roles (design, "Leadership", the rule before leadership on the wire): a *follower* is silent; a *leader* has had a write
//! confirmed within the renew deadline, decides and answers; an *unconfirmed* leader has not, and goes on answering what it last decided, makes
//! no move, sends nothing gratuitous, and becomes a follower once it reads another holder.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::name::NodeName;
use crate::object::{Version, Written};
use crate::time::Instant;

/// client-go's `JitterFactor`: a follower tries again after one to 2.2 times the retry period, so that two do not try in step.
const RETRY_JITTER: f64 = 1.2;

/// The Lease's three durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// After this long without a change, another may take it.
    pub duration: Duration,
    /// After this long without a confirmed renewal, the leader stops deciding. Less than `duration`.
    pub renew_deadline: Duration,
    /// The leader renews, and a follower tries, this often.
    pub retry_period: Duration,
}

impl Default for Times {
    /// Design, "Leadership": 5 s, renewed within 3, tried every 1.
    fn default() -> Self {
        Self { duration: Duration::from_secs(5), renew_deadline: Duration::from_secs(3), retry_period: Duration::from_secs(1) }
    }
}

/// A `coordination.k8s.io/v1` Lease as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The state that this was read from.
    pub version: Version,
    /// `holderIdentity`; `None` if empty: given back.
    pub holder: Option<NodeName>,
    /// `leaseDurationSeconds`.
    pub duration: Duration,
    /// `acquireTime` in microseconds since 1970; handed back unchanged with each renewal.
    pub acquire_time: Option<i64>,
    /// `renewTime` in microseconds since 1970; compared with nothing but itself.
    pub renew_time: Option<i64>,
    /// `leaseTransitions`.
    pub transitions: i32,
}

/// What to write to the Lease. The writer fills in `renewTime` (now) and, where `acquired`, `acquireTime` (now).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// Replace the Lease of this version; `None`: create it.
    pub version: Option<Version>,
    /// The holder; `None` gives it back (written as an empty string).
    pub holder: Option<NodeName>,
    /// Whether leadership begins with this write.
    pub acquired: bool,
    /// `acquireTime` to keep where not `acquired`.
    pub acquire_time: Option<i64>,
    /// `leaseTransitions` to write.
    pub transitions: i32,
    /// `leaseDurationSeconds` to write.
    pub duration: Duration,
}

/// What a replica may do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Another leads, or nobody is known to: silent.
    Follower,
    /// Leads and has it confirmed: decides, writes, answers.
    Leader,
    /// Led, and cannot have it confirmed: answers what stands, decides nothing.
    Unconfirmed,
}

/// The candidate for the Lease. Methods: `handle_*` takes in what was read or written, `poll_write` hands out what to write,
/// `role` looks. After each `handle_*`, and at `poll_timeout`, poll again.
#[derive(Debug)]
pub struct Elector {
    identity: NodeName,
    times: Times,
    rng: ChaCha8Rng,
    /// What was last read, and when it was first seen so. `None`: nothing read yet. `Some((None, …))`: there is no Lease.
    observed: Option<(Option<LeaseRecord>, Instant)>,
    /// Until when our leadership is confirmed; `None` while following.
    confirmed_until: Option<Instant>,
    /// When the write that is under way was handed out.
    writing_since: Option<Instant>,
    /// Not before this is the next write tried.
    next_try: Instant,
    /// Asked to give it back.
    stopping: bool,
}

impl Elector {
    /// A follower that calls itself `identity`. `rng` spreads its tries.
    pub fn new(identity: NodeName, times: Times, rng: ChaCha8Rng) -> Self {
        Self { identity, times, rng, observed: None, confirmed_until: None, writing_since: None, next_try: Instant::ZERO, stopping: false }
    }

    /// What it may do at `now`.
    pub fn role(&self, now: Instant) -> Role {
        match self.confirmed_until {
            None => Role::Follower,
            Some(until) if now < until => Role::Leader,
            Some(_) => Role::Unconfirmed,
        }
    }

    /// Until when leadership is confirmed, if it was; a moment in the past is an unconfirmed leader's.
    pub fn confirmed_until(&self) -> Option<Instant> {
        self.confirmed_until
    }

    /// The Lease as the watch shows it; `None`: it does not exist.
    pub fn handle_lease(&mut self, now: Instant, lease: Option<LeaseRecord>) {
        if let (Some((Some(known), _)), Some(lease)) = (&self.observed, &lease)
            && (lease == known || lease.version.is_older_than(&known.version))
        {
            return;
        }
        let held_by_another = lease.as_ref().and_then(|lease| lease.holder.as_ref()).is_some_and(|holder| *holder != self.identity);
        let given_back = lease.as_ref().is_none_or(|lease| lease.holder.is_none());
        if held_by_another || (given_back && self.another_led(lease.as_ref())) {
            self.confirmed_until = None;
        }
        if given_back && self.confirmed_until.is_none() {
            self.next_try = now;
        }
        self.observed = Some((lease, now));
    }

    /// How the write that was handed out ended: with the Lease as the API answered, or not.
    pub fn handle_written(&mut self, now: Instant, result: Result<LeaseRecord, Written>) {
        let Some(sent) = self.writing_since.take() else { return };
        let overtaken = |lease: &LeaseRecord| matches!(&self.observed, Some((Some(seen), _)) if lease.version.is_older_than(&seen.version));
        if result.as_ref().is_ok_and(overtaken) {
            // The watch has shown a later state already, and what it showed was drawn.
            self.next_try = now + self.retry_delay();
            return;
        }
        match result {
            Ok(lease) => {
                let ours = lease.holder.as_ref() == Some(&self.identity);
                // Counted from when it was sent: the API may have taken it at any time since.
                self.confirmed_until = (ours && !self.stopping).then(|| sent + self.times.renew_deadline);
                self.observed = Some((Some(lease), now));
                self.next_try = sent + self.times.retry_period;
            }
            Err(_) => self.next_try = now + self.retry_delay(),
        }
    }

    /// Stop leading in good order: [`Elector::poll_write`] gives the Lease back, if it is ours.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.stopping = true;
        self.next_try = now;
    }

    /// The write to do now, if any. The next comes after [`Elector::handle_written`].
    pub fn poll_write(&mut self, now: Instant) -> Option<LeaseWrite> {
        if self.writing_since.is_some() || now < self.next_try {
            return None;
        }
        let write = self.write_wanted(now)?;
        self.writing_since = Some(now);
        Some(write)
    }

    /// When to poll again if nothing is handled before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let fence = self.confirmed_until.filter(|until| *until > now);
        let next_write = if self.writing_since.is_some() || self.is_finished() { None } else { self.next_write_time() };
        [fence, next_write].into_iter().flatten().min()
    }

    /// After [`Elector::handle_shutdown`]: the Lease is given back, or was not ours.
    pub fn is_finished(&self) -> bool {
        self.stopping && self.writing_since.is_none() && !self.is_holder()
    }

    /// Whether a Lease that nobody holds was somebody else's since it was ours: what that one decided is not known here.
    fn another_led(&self, lease: Option<&LeaseRecord>) -> bool {
        let ours = self.observed.as_ref().and_then(|(lease, _)| lease.as_ref());
        let term = |lease: &LeaseRecord| (lease.transitions, lease.acquire_time);
        ours.zip(lease).is_some_and(|(ours, lease)| term(ours) != term(lease))
    }

    fn is_holder(&self) -> bool {
        matches!(&self.observed, Some((Some(lease), _)) if lease.holder.as_ref() == Some(&self.identity))
    }

    fn next_write_time(&self) -> Option<Instant> {
        let (lease, since) = self.observed.as_ref()?;
        match lease {
            Some(lease) if lease.holder.is_some() && !self.is_holder() => Some(self.next_try.max(*since + lease.duration)),
            _ => Some(self.next_try),
        }
    }

    fn write_wanted(&self, now: Instant) -> Option<LeaseWrite> {
        let (lease, since) = self.observed.as_ref()?;
        let holder = Some(self.identity.clone());
        let duration = self.times.duration;
        let Some(lease) = lease else {
            let first = LeaseWrite { version: None, holder, acquired: true, acquire_time: None, transitions: 0, duration };
            return (!self.stopping).then_some(first);
        };
        let version = Some(lease.version.clone());
        let (acquire_time, transitions) = (lease.acquire_time, lease.transitions);
        if self.is_holder() {
            // client-go's release() leaves one second, so that nobody waits for a lease that nobody holds.
            let (holder, duration) = if self.stopping { (None, Duration::from_secs(1)) } else { (holder, duration) };
            // A restarted process finds its own name on the Lease and goes on with it.
            return Some(LeaseWrite { version, holder, acquired: false, acquire_time, transitions, duration });
        }
        let free = lease.holder.is_none() || now >= *since + lease.duration;
        let taken_over =
            LeaseWrite { version, holder, acquired: true, acquire_time: None, transitions: transitions.saturating_add(1), duration };
        (free && !self.stopping).then_some(taken_over)
    }

    fn retry_delay(&mut self) -> Duration {
        if self.is_holder() {
            return self.times.retry_period;
        }
        self.times.retry_period.mul_f64(1.0 + RETRY_JITTER * self.rng.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn elector(identity: &str) -> Elector {
        Elector::new(identity.into(), Times::default(), ChaCha8Rng::seed_from_u64(7))
    }

    fn held_by(holder: &str, version: u64) -> LeaseRecord {
        LeaseRecord {
            version: Version(version.to_string()),
            holder: (!holder.is_empty()).then(|| holder.into()),
            duration: 5 * SECOND,
            acquire_time: Some(1),
            renew_time: i64::try_from(version).ok(),
            transitions: 0,
        }
    }

    /// An elector that leads since `at(0)`.
    fn leader() -> Elector {
        let mut elector = elector("master1");
        elector.handle_lease(at(0), None);
        assert!(elector.poll_write(at(0)).is_some());
        elector.handle_written(at(0), Ok(held_by("master1", 1)));
        elector
    }

    #[test]
    fn nothing_is_written_before_the_lease_was_read() {
        assert_eq!(elector("master1").poll_write(at(100)), None);
    }

    #[test]
    fn a_missing_lease_is_created() {
        let mut elector = elector("master1");
        elector.handle_lease(at(0), None);
        let write = elector.poll_write(at(0)).expect("a write");
        assert_eq!((write.version, write.holder, write.acquired), (None, Some("master1".into()), true));
        assert_eq!(elector.role(at(0)), Role::Follower, "not before the API took it");
        elector.handle_written(at(0), Ok(held_by("master1", 1)));
        assert_eq!(elector.role(at(0)), Role::Leader);
    }

    #[test]
    fn a_lease_is_taken_once_it_was_seen_unchanged_for_its_duration() {
        let mut elector = elector("worker-p001");
        elector.handle_lease(at(10), Some(held_by("master1", 1)));
        elector.handle_lease(at(12), Some(held_by("master1", 2)));
        assert_eq!(elector.poll_write(at(16)), None, "renewed at 12");
        assert_eq!(elector.poll_timeout(at(16)), Some(at(17)));
        let write = elector.poll_write(at(17)).expect("a write");
        assert_eq!((write.version, write.transitions, write.acquired), (Some(Version("2".into())), 1, true));
    }

    #[test]
    fn seeing_the_same_lease_again_is_no_renewal() {
        let mut elector = elector("worker-p001");
        elector.handle_lease(at(10), Some(held_by("master1", 1)));
        elector.handle_lease(at(14), Some(held_by("master1", 1)));
        assert!(elector.poll_write(at(15)).is_some());
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut elector = elector("worker-p001");
        elector.handle_lease(at(10), Some(held_by("master1", 1)));
        elector.handle_lease(at(11), Some(held_by("", 2)));
        assert!(elector.poll_write(at(11)).is_some());
    }

    #[test]
    fn a_leader_renews_every_retry_period() {
        let mut elector = leader();
        assert_eq!(elector.poll_write(Instant::from_millis(999)), None);
        let write = elector.poll_write(at(1)).expect("a renewal");
        assert_eq!((write.acquired, write.acquire_time, write.transitions), (false, Some(1), 0));
    }

    #[test]
    fn a_leader_without_an_answer_is_unconfirmed_from_the_renew_deadline_on() {
        let mut elector = leader();
        assert!(elector.poll_write(at(1)).is_some());
        elector.handle_written(at(2), Err(Written::Failed));
        assert_eq!(elector.role(Instant::from_millis(2999)), Role::Leader);
        assert_eq!(elector.poll_timeout(at(2)), Some(at(3)));
        assert_eq!(elector.role(at(3)), Role::Unconfirmed);
        assert!(elector.poll_write(at(3)).is_some(), "it goes on trying");
    }

    #[test]
    fn confirmation_counts_from_when_the_write_was_sent() {
        let mut elector = leader();
        assert!(elector.poll_write(at(1)).is_some());
        elector.handle_written(Instant::from_millis(3500), Ok(held_by("master1", 2)));
        assert_eq!(elector.role(Instant::from_millis(3999)), Role::Leader);
        assert_eq!(elector.role(at(4)), Role::Unconfirmed);
    }

    #[test]
    fn a_leader_that_another_replaced_and_gave_back_unseen_begins_anew() {
        let mut elector = leader();
        assert!(elector.poll_write(at(1)).is_some());
        elector.handle_written(at(2), Err(Written::Failed));
        elector.handle_lease(at(9), Some(LeaseRecord { transitions: 1, acquire_time: Some(2), ..held_by("", 3) }));
        assert_eq!(elector.role(at(9)), Role::Follower);
        assert!(elector.poll_write(at(9)).is_some(), "and tries at once");
    }

    #[test]
    fn a_lease_that_a_user_emptied_is_still_the_leaders_to_take() {
        let mut elector = leader();
        elector.handle_lease(at(1), Some(held_by("", 2)));
        assert_eq!(elector.role(at(1)), Role::Leader);
    }

    #[test]
    fn a_leader_that_reads_another_holder_follows() {
        let mut elector = leader();
        elector.handle_lease(at(9), Some(held_by("worker-p001", 2)));
        assert_eq!(elector.role(at(9)), Role::Follower);
    }

    #[test]
    fn a_stale_lease_from_the_watch_does_not_undo_what_was_written() {
        let mut elector = leader();
        assert!(elector.poll_write(at(1)).is_some());
        elector.handle_written(at(1), Ok(held_by("master1", 5)));
        elector.handle_lease(at(1), Some(held_by("worker-p001", 4)));
        assert_eq!(elector.role(at(1)), Role::Leader);
    }

    #[test]
    fn of_two_that_try_the_one_with_the_conflict_follows() {
        let mut elector = elector("worker-p001");
        elector.handle_lease(at(0), Some(held_by("", 1)));
        assert!(elector.poll_write(at(0)).is_some());
        elector.handle_written(at(0), Err(Written::Conflict));
        elector.handle_lease(at(0), Some(held_by("master1", 2)));
        assert_eq!(elector.role(at(0)), Role::Follower);
        assert_eq!(elector.poll_write(at(1)), None);
    }

    #[test]
    fn a_leader_that_stops_gives_the_lease_back_and_is_finished() {
        let mut elector = leader();
        elector.handle_shutdown(Instant::from_millis(500));
        assert!(!elector.is_finished());
        let write = elector.poll_write(Instant::from_millis(500)).expect("the release");
        assert_eq!((write.holder, write.duration), (None, SECOND));
        elector.handle_written(Instant::from_millis(510), Ok(held_by("", 2)));
        assert!(elector.is_finished());
        assert_eq!(elector.role(at(1)), Role::Follower);
        assert_eq!(elector.poll_write(at(10)), None);
    }

    #[test]
    fn a_restarted_leader_goes_on_with_its_own_lease() {
        let mut elector = elector("master1");
        elector.handle_lease(at(0), Some(held_by("master1", 3)));
        assert_eq!(elector.role(at(0)), Role::Follower);
        let write = elector.poll_write(at(0)).expect("a renewal");
        assert!(!write.acquired);
        elector.handle_written(at(0), Ok(held_by("master1", 4)));
        assert_eq!(elector.role(at(0)), Role::Leader);
    }
}
