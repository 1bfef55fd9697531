//! Cables: who is at their two ends, and the two lanes in them, one per direction.
//!
//! A lane keeps frames in order and takes as long as the cable's latency says, unless a [`WireFault`] says otherwise. Each lane and each kind
//! of fault draws from numbers of its own, the n-th for the n-th frame: taking one fault out leaves every other draw as it was.

use std::time::Duration;

use bellhop_core::time::Instant;

use crate::random::scale;

mod fault;
mod lane;

pub use fault::{Chance, Direction, WireFault};
pub(crate) use lane::{Lane, Passage};

/// How long a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The least.
    pub min: Duration,
    /// The most.
    pub max: Duration,
    /// How it is spread between the two.
    pub shape: Shape,
}

/// How latencies are spread between the least and the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Evenly.
    #[default]
    Uniform,
    /// Most near the least and few near the most, as where queues are mostly empty: half of all frames take the first sixteenth of the range, half
    /// of the rest the next one, and so on. An exponential distribution in whole numbers, cut off at the most.
    Tail,
}

impl Default for Latency {
    /// 50 to 200 µs: what the sample scenario gives its LAN.
    fn default() -> Self {
        Self::between(Duration::from_micros(50), Duration::from_micros(200))
    }
}

impl Latency {
    /// Anything between the two, evenly.
    pub const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max, shape: Shape::Uniform }
    }

    /// The latency that a draw stands for, in nanoseconds.
    pub(crate) fn nanos(&self, draw: u64) -> u64 {
        let (min, max) = (nanos(self.min), nanos(self.max));
        let spread = max.saturating_sub(min);
        let extra = match self.shape {
            Shape::Uniform => scale(draw, spread.saturating_add(1)),
            // The zeros at the low end of a draw are as rare as halvings; its high bits say where in that part.
            Shape::Tail => {
                let part = u64::from(draw.trailing_zeros().min(15));
                (spread / 16).saturating_mul(part) + scale(draw, spread / 16 + 1)
            }
        };
        min.saturating_add(extra)
    }
}

/// A length of time in nanoseconds; beyond 584 years, that.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where a cable ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In a NIC, by its number in the fabric.
    Nic(usize),
    /// In a switch.
    Port { switch: usize, port: usize },
}

/// A cable.
#[derive(Debug)]
pub(crate) struct Cable {
    /// Its ends.
    pub(crate) ends: [End; 2],
    /// Whether both of its plugs are in.
    pub(crate) plugged: bool,
    /// Whether its ends see a carrier. What plugs and cuts make of it, as far as the fabric has acted on it.
    pub(crate) carrier: bool,
    /// How long frames take.
    pub(crate) latency: Latency,
    /// The two directions, each by the end that it leads to.
    pub(crate) lanes: [Lane; 2],
    /// When the spanning tree opens it, if it is about to.
    pub(crate) opens: Option<Instant>,
    /// The label of its draws.
    label: Box<str>,
}

impl Cable {
    /// A live cable.
    pub(crate) fn new(ends: [End; 2], latency: Latency, seed: u64, label: String) -> Self {
        let lanes = [0, 1].map(|side| Lane::new(seed, &lane_label(&label, side)));
        Self { ends, plugged: true, carrier: true, latency, lanes, opens: None, label: label.into() }
    }

    /// Gives the direction that leads to an end a fault instead of the one that it had.
    pub(crate) fn set_fault(&mut self, side: usize, fault: WireFault, seed: u64) {
        let label = lane_label(&self.label, side);
        self.lanes[side].set_fault(fault, seed, &label);
    }

    /// What its ends should see. One direction is enough: a cut beyond a media converter leaves the light on.
    pub(crate) fn should_have_carrier(&self) -> bool {
        self.plugged && !self.lanes.iter().all(Lane::is_cut)
    }

    /// Whether it is between these two switches.
    pub(crate) fn joins(&self, one: usize, other: usize) -> bool {
        match self.ends {
            [End::Port { switch: a, .. }, End::Port { switch: b, .. }] => (a, b) == (one, other) || (b, a) == (one, other),
            _ => false,
        }
    }

    /// Whether it is between two switches.
    pub(crate) fn is_uplink(&self) -> bool {
        matches!(self.ends, [End::Port { .. }, End::Port { .. }])
    }
}

/// The label of a direction.
fn lane_label(cable: &str, side: usize) -> String {
    format!("{cable} to {side}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_mostly_short_and_never_beyond_its_bounds() {
        let latency = Latency { min: Duration::from_micros(10), max: Duration::from_micros(170), shape: Shape::Tail };
        let draws = crate::random::Numbered::new(1, "latency");
        let taken: Vec<_> = (0..10_000).map(|n| latency.nanos(draws.at(n))).collect();
        assert!(taken.iter().all(|nanos| (10_000..=170_000).contains(nanos)));
        let short = taken.iter().filter(|nanos| **nanos <= 20_000).count();
        assert!((4_800..5_200).contains(&short), "{short} of 10,000 in the first sixteenth");
        assert!(taken.iter().any(|nanos| *nanos > 100_000), "and some are long");
    }
}
