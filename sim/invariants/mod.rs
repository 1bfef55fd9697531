//! What holds in every scenario, even in one that expects nothing (design §6): judged when the run is over, from what was seen of Bellhop.
//!
//! One promise a file: [`addresses`] (1), [`answers`] (2), [`convergence`] (3), [`rights`] and [`storms`] (4), [`untouched`] and [`moves`] (5). Each is a pure
//! function from the [`Evidence`] to what is [`Broken`]. They judge Bellhop alone: what kernels and intruders say on the wire is the scenario's
//! business. Every length of time that they allow stands in [`bounds`], with the reason why it is as long as it is today.

mod addresses;
mod answers;
pub(crate) mod bounds;
mod calm;
mod convergence;
mod evidence;
mod moves;
mod rights;
mod storms;
mod untouched;

use std::collections::BTreeSet;

use bellhop_core::time::Instant;

pub(crate) use convergence::{CONVERGES, Missed};
pub(crate) use evidence::{Disturbance, Evidence, Ordeal, Spoken, replica};

/// A promise that did not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// When that was plain.
    pub(crate) at: Instant,
    /// The promise, a sentence: also the name of the cause, under which a sweep groups failures.
    pub(crate) invariant: &'static str,
    /// What was seen instead.
    pub(crate) detail: String,
    /// Whom it is about, for the events that led there: a Service's key, an address, a replica's machine.
    pub(crate) about: Vec<String>,
}

/// The promises that did not hold; of each the first case.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let checkers: [fn(&Evidence) -> Vec<Broken>; 7] =
        [addresses::judge, answers::judge, convergence::judge, rights::judge, storms::judge, untouched::judge, moves::judge];
    let mut broken: Vec<Broken> = checkers.iter().flat_map(|judge| judge(evidence)).collect();
    broken.sort_by_key(|broken| broken.at);
    let mut said = BTreeSet::new();
    broken.retain(|broken| said.insert(broken.invariant));
    broken
}
