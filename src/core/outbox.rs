//! Which objects may have to be written, and when: one write of an object at a time, and a longer wait after each that fails.
//!
//! What is written is worked out when its turn comes ([`crate::replica`]), so that a newer state is never overtaken by an older one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::object::{Subject, Version, Write, Written};
use crate::time::Instant;

/// The first wait after a write that failed; doubled with each further one.
const WRITE_RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest wait after a write that failed.
const WRITE_RETRY_MAX: Duration = Duration::from_secs(30);

/// A wait before the next write of an object.
#[derive(Debug)]
struct BackOff {
    /// Not before this.
    until: Instant,
    /// How often it failed in a row.
    failures: u32,
    /// The version that was in conflict: a newer one is what the wait is for.
    outdated: Option<Version>,
}

/// The objects to be written.
#[derive(Debug)]
pub struct Outbox {
    rng: ChaCha8Rng,
    /// Objects whose status may have to be written.
    waiting: BTreeSet<Subject>,
    in_flight: BTreeMap<Subject, Write>,
    /// Of objects on which something is still wanted: what was last written, and how often in a row the same.
    repeated: BTreeMap<Subject, (Write, u32)>,
    /// Objects whose last write failed, or did not last.
    backing_off: BTreeMap<Subject, BackOff>,
}

impl Outbox {
    /// Nothing to be written.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, waiting: BTreeSet::new(), in_flight: BTreeMap::new(), repeated: BTreeMap::new(), backing_off: BTreeMap::new() }
    }

    /// These may have to be written.
    pub fn extend(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        self.waiting.extend(subjects);
    }

    /// The object is there in this version. After a conflict the next write waits for it; how often it was in conflict still counts.
    pub fn handle_version(&mut self, now: Instant, subject: &Subject, version: &Version) {
        if let Some(wait) = self.backing_off.get_mut(subject)
            && wait.outdated.as_ref().is_some_and(|outdated| outdated.is_older_than(version))
        {
            wait.until = now;
        }
    }

    /// The object is gone.
    pub fn forget(&mut self, subject: &Subject) {
        self.waiting.remove(subject);
        self.in_flight.remove(subject);
        self.repeated.remove(subject);
        self.backing_off.remove(subject);
    }

    /// Nothing more is written, but for what is under way.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.backing_off.clear();
    }

    /// How a write ended. `there`: its object still is.
    pub fn handle_written(&mut self, now: Instant, subject: &Subject, result: Written, there: bool) {
        let write = self.in_flight.remove(subject);
        if !there {
            return;
        }
        self.waiting.insert(subject.clone());
        let before = self.backing_off.get(subject).map_or(0, |wait| wait.failures);
        let outdated = write.as_ref().filter(|_| result == Written::Conflict).map(|write| write.version().clone());
        let failures = match result {
            // What was taken and does not stand there after (a webhook of somebody's changes it) is not written again and again.
            Written::Done => match write.map_or(0, |write| self.repetitions(subject, write)) {
                0 => {
                    self.backing_off.remove(subject);
                    return;
                }
                times => times - 1,
            },
            Written::Conflict | Written::Failed => before,
        };
        let wait = WRITE_RETRY_MIN.saturating_mul(1 << failures.min(16)).min(WRITE_RETRY_MAX);
        let until = now + wait.mul_f64(1.0 + 0.2 * self.rng.random::<f64>());
        self.backing_off.insert(subject.clone(), BackOff { until, failures: failures.saturating_add(1), outdated });
    }

    /// The next object that neither is being written nor waits after a failure. It is no more to be written unless something more is said of it.
    pub fn poll(&mut self, now: Instant) -> Option<Subject> {
        let backing_off = |subject: &Subject| self.backing_off.get(subject).is_some_and(|wait| now < wait.until);
        let next = self.waiting.iter().find(|subject| !self.in_flight.contains_key(*subject) && !backing_off(subject)).cloned()?;
        self.waiting.remove(&next);
        Some(next)
    }

    /// This is being written.
    pub fn start(&mut self, subject: Subject, write: Write) {
        self.in_flight.insert(subject, write);
    }

    /// All stands as it should.
    pub fn handle_nothing_wanted(&mut self, subject: &Subject) {
        self.repeated.remove(subject);
    }

    /// When to poll again. What is due already waits for something else: for room, or for its write under way to end.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let waits = self.backing_off.iter().filter(|(subject, wait)| wait.until > now && self.waiting.contains(*subject));
        waits.map(|(_, wait)| wait.until).min()
    }

    /// How often a write that was taken had been taken before, with nothing else wanted in between.
    fn repetitions(&mut self, subject: &Subject, write: Write) -> u32 {
        let before = self.repeated.get(subject).filter(|(before, _)| before.asks_the_same(&write));
        let times = before.map_or(0, |(_, times)| times.saturating_add(1));
        self.repeated.insert(subject.clone(), (write, times));
        times
    }
}
