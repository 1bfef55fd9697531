//! Promise 3: after the last fault, within a bound for each kind of client, every client that can reach the LAN reaches every Service that has a ready endpoint.
//!
//! Whether they do is tried by [`crate::settling`] when the scenario is over; here it only becomes a broken promise.

use std::time::Duration;

use bellhop_core::time::Instant;
pub(crate) use bellhop_scenario::outcome::CONVERGES;

use super::{Broken, Evidence};

/// A Service that a client did not reach in time.
#[derive(Clone, Debug)]
pub(crate) struct Missed {
    /// When it was given up.
    pub(crate) at: Instant,
    /// The machine that asked.
    pub(crate) client: String,
    /// The Service.
    pub(crate) service: String,
    /// Its address.
    pub(crate) address: String,
    /// How long the client tried.
    pub(crate) within: Duration,
    /// What the last try said.
    pub(crate) last: String,
}

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let broken = |missed: &Missed| {
        let Missed { at, client, service, address, within, last } = missed;
        let detail = format!("{client} did not reach {service} at {address} within {} s after the last fault: {last}", within.as_secs());
        Broken { at: *at, invariant: CONVERGES, detail, about: vec![service.clone(), address.clone()] }
    };
    evidence.missed.iter().map(broken).collect()
}
