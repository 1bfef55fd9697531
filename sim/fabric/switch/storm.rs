//! How many broadcasts a port may bring in: a token bucket that holds one second's worth, as switches count storms by the second.

use std::time::Duration;

use bellhop_core::time::Instant;

/// How much may come at once: a second's worth.
const DEPTH: Duration = Duration::from_secs(1);

/// A bucket, as the moment at which it will be full again (the generic cell rate algorithm's theoretical arrival time, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it is full again.
    full: Instant,
}

impl Bucket {
    /// Whether one more frame passes at a limit of so many a second.
    pub(super) fn takes(&mut self, now: Instant, limit: u32) -> bool {
        if limit == 0 {
            return false;
        }
        let full = self.full.max(now) + Duration::from_secs(1) / limit;
        let passes = full - now <= DEPTH;
        if passes {
            self.full = full;
        }
        passes
    }
}
