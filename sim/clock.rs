//! The world's one clock, in two shapes: Bellhop's [`Clock`] and the API server's.
//!
//! The fabric owns time in nanoseconds, tokio in whole milliseconds: what time it is, is the later of the two. Wall time is the same
//! number on a fixed day, so that no run knows when it was played.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellhop::env::{Clock, LocalFuture};
use bellhop_core::time::Instant;

/// Seconds since 1970 at the world's zero: Thu, 1 Jan 2026 00:00:00 UTC. Any moment would do, as long as it is always the same.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// The clock of one world. Clones are the same clock.
#[derive(Clone)]
pub struct WorldClock {
    /// Tokio's moment at the world's zero.
    zero: tokio::time::Instant,
    /// The time that has come in the fabric, in nanoseconds.
    fabric: Arc<AtomicU64>,
}

impl WorldClock {
    /// A clock that begins now. Must be called within the world's paused runtime.
    #[expect(clippy::disallowed_methods, reason = "the runtime's clock is paused: it says what the driver told it")]
    pub(crate) fn start() -> Self {
        Self { zero: tokio::time::Instant::now(), fabric: Arc::default() }
    }

    /// The fabric's time has come so far.
    pub(crate) fn set_fabric(&self, now: Instant) {
        self.fabric.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// The time that tokio knows: a whole number of milliseconds.
    pub(crate) fn tokio(&self) -> Instant {
        Instant::ZERO + self.zero.elapsed()
    }

    /// Tokio's name for a moment; its timers ring at whole milliseconds, never early.
    pub(crate) fn at(&self, moment: Instant) -> tokio::time::Instant {
        // What never happens is a century away: more would overflow tokio's own clock.
        self.zero + moment.since_zero().min(Duration::from_secs(100 * 365 * 24 * 3600))
    }

    /// The wall time of a moment.
    pub(crate) fn wall_at(moment: Instant) -> jiff::Timestamp {
        jiff::Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default() + moment.since_zero()
    }

    /// The moment of a wall time; the world's zero for anything before it.
    pub(crate) fn moment_of(wall: jiff::Timestamp) -> Instant {
        let zero = jiff::Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
        Instant::ZERO + Duration::try_from(wall.duration_since(zero)).unwrap_or_default()
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Instant {
        self.tokio().max(Instant::from_nanos(self.fabric.load(Ordering::Relaxed)))
    }

    fn wall(&self) -> jiff::Timestamp {
        Self::wall_at(self.now())
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        Box::pin(tokio::time::sleep_until(self.at(deadline)))
    }
}

impl bellhop_apiserver::Clock for WorldClock {
    fn now(&self) -> jiff::Timestamp {
        self.wall()
    }
}
