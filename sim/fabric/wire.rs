//! Cables: who is at their two ends, how long a frame takes, and that none overtakes another.
//!
//! Each cable draws from its own stream, so that adding one changes no other's latencies. Loss, duplication and the like will be here.

use std::time::Duration;

use bellhop_core::time::Instant;
use rand_chacha::ChaCha8Rng;

use crate::random::below;

/// How long a frame takes: anything between the two, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The least.
    pub min: Duration,
    /// The most.
    pub max: Duration,
}

impl Default for Latency {
    /// 50 to 200 µs: what the sample scenario gives its LAN.
    fn default() -> Self {
        Self { min: Duration::from_micros(50), max: Duration::from_micros(200) }
    }
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
    /// Whether it carries frames.
    pub(crate) up: bool,
    /// How long frames take.
    latency: Latency,
    /// When the last frame towards each end arrives.
    last: [Instant; 2],
    /// Its own chance.
    rng: ChaCha8Rng,
}

impl Cable {
    /// A live cable.
    pub(crate) fn new(ends: [End; 2], latency: Latency, rng: ChaCha8Rng) -> Self {
        Self { ends, up: true, latency, last: [Instant::ZERO; 2], rng }
    }

    /// When a frame that is sent now reaches the end `side`; never before one that was sent earlier.
    pub(crate) fn arrival(&mut self, now: Instant, side: usize) -> Instant {
        let spread = self.latency.max.saturating_sub(self.latency.min).as_nanos();
        let extra = below(&mut self.rng, u64::try_from(spread).unwrap_or(u64::MAX).saturating_add(1));
        let at = now + self.latency.min + Duration::from_nanos(extra);
        self.last[side] = self.last[side].max(at);
        self.last[side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;

    #[test]
    fn frames_arrive_within_the_latency_and_in_order() {
        let mut cable = Cable::new([End::Nic(0), End::Nic(1)], Latency::default(), stream(1, "cable"));
        let mut before = Instant::ZERO;
        for micros in 0..1000 {
            let now = Instant::from_nanos(micros * 1000);
            let at = cable.arrival(now, 1);
            assert!(at >= before && at - now >= Duration::from_micros(50) && at - now <= Duration::from_micros(200));
            before = at;
        }
    }
}
