//! The scenario's time in a world that runs in real time, and the way on which everything seen comes home.
//!
//! Looks run in threads of their own; each has a [`Reporter`]. Times that others print (ping, tcpdump) are of the system's clock.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use bellhop_scenario::{Observation, Seen};

use crate::looks::Looks;

/// When the scenario began, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    monotonic: Instant,
    system: SystemTime,
}

impl Clock {
    /// Zero is now.
    pub(crate) fn start() -> Self {
        Self { monotonic: Instant::now(), system: SystemTime::now() }
    }

    /// The scenario's time.
    pub(crate) fn now(&self) -> Duration {
        self.monotonic.elapsed()
    }

    /// The scenario's time of a moment given as time since 1970; what was before the start is at zero.
    pub(crate) fn at(&self, since_1970: Duration) -> Duration {
        let start = self.system.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since_1970.saturating_sub(start)
    }
}

/// Where a look hands in what it saw.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    /// The scenario's time.
    pub(crate) clock: Clock,
    sender: Sender<Observation>,
    /// Whether everything that looks still sees.
    pub(crate) looks: Looks,
}

impl Reporter {
    /// Reports to the holder of the other end.
    pub(crate) fn new(clock: Clock, sender: Sender<Observation>) -> Self {
        Self { clock, sender, looks: Looks::default() }
    }

    /// Something was seen now.
    pub(crate) fn now(&self, what: Seen) {
        self.at(self.clock.now(), what);
    }

    /// Something was seen at a time of the scenario.
    pub(crate) fn at(&self, at: Duration, what: Seen) {
        // Nobody listens any more when the run has ended.
        let _ = self.sender.send(Observation { at, what });
    }
}
