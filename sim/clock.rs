//! The world's one clock, in two shapes: Bellhop's [`Clock`] and the API server's; and the machines' own, which may run fast or slow.
//!
//! The fabric owns time in nanoseconds, tokio in whole milliseconds: what time it is, is the later of the two. Wall time is the same
//! number on a fixed day, so that no run knows when it was played.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellhop::env::{Clock, LocalFuture};
use bellhop_core::time::Instant;
use tokio::sync::Notify;

/// Seconds since 1970 at the world's zero: Thu, 1 Jan 2026 00:00:00 UTC. Any moment would do, as long as it is always the same.
pub(crate) const EPOCH_SECONDS: i64 = 1_767_225_600;

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

/// The clock of one machine: the world's, at a rate of its own. Clones are the same clock. It is set right by nobody: what it gained it keeps.
#[derive(Clone)]
pub(crate) struct MachineClock {
    world: WorldClock,
    rate: Rc<Cell<Rate>>,
    /// The rate changed: who sleeps must reckon anew.
    changed: Rc<Notify>,
}

/// How a machine's time follows from the world's.
#[derive(Clone, Copy, Default)]
struct Rate {
    /// The world's time at the last change of rate, and the machine's.
    since: Instant,
    local: Instant,
    /// By how many millionths it runs fast.
    ppm: i64,
}

const MILLION: i64 = 1_000_000;

impl Rate {
    /// The machine's time at a moment of the world.
    fn local(&self, world: Instant) -> Instant {
        if self.ppm == 0 {
            return self.local + (world - self.since);
        }
        let elapsed = u128::from((world - self.since).as_nanos().try_into().unwrap_or(u64::MAX));
        self.local + nanos(elapsed * self.factor() / MILLION.unsigned_abs() as u128)
    }

    /// The first moment of the world at which the machine's time has come to `local`.
    fn world(&self, local: Instant) -> Instant {
        let left = (local - self.local).as_nanos();
        if self.ppm == 0 {
            return self.since + nanos(left);
        }
        self.since + nanos((left * MILLION.unsigned_abs() as u128).div_ceil(self.factor()))
    }

    fn factor(&self) -> u128 {
        u128::from((MILLION + self.ppm).unsigned_abs())
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl MachineClock {
    /// Right, so far.
    pub(crate) fn new(world: WorldClock) -> Self {
        Self { world, rate: Rc::default(), changed: Rc::default() }
    }

    /// From now on it runs fast by so many millionths (slow, if negative; at most nine tenths, so that time goes on). It does not jump.
    pub(crate) fn set_rate(&self, ppm: i64) {
        let world = Clock::now(&self.world);
        let ppm = ppm.clamp(-MILLION / 10 * 9, MILLION * 9);
        if ppm != self.rate.get().ppm {
            self.rate.set(Rate { since: world, local: self.rate.get().local(world), ppm });
            self.changed.notify_waiters();
        }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Instant {
        self.rate.get().local(Clock::now(&self.world))
    }

    fn wall(&self) -> jiff::Timestamp {
        WorldClock::wall_at(self.now())
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let changed = clock.changed.notified();
                let at = clock.world.at(clock.rate.get().world(deadline));
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(at) => return,
                    () = changed => {}
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future<Output = ()>>(test: F) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(test);
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn a_fast_clock_gains_and_keeps_what_it_gained() {
        run(async {
            let world = WorldClock::start();
            let clock = MachineClock::new(world.clone());
            pass(100).await;
            clock.set_rate(500);
            assert_eq!(clock.now(), Instant::from_millis(100_000), "no jump where the rate changes");
            pass(1000).await;
            assert_eq!(clock.now(), Instant::from_millis(1_100_500));
            clock.set_rate(-500);
            pass(1000).await;
            assert_eq!(clock.now(), Instant::from_millis(2_100_000));
            clock.set_rate(0);
            pass(1).await;
            assert_eq!(clock.now(), Instant::from_millis(2_101_000));
            assert_eq!(clock.wall(), WorldClock::wall_at(clock.now()));
        });
    }

    #[test]
    fn a_sleep_ends_by_the_machines_clock_also_when_its_rate_changes_meanwhile() {
        run(async {
            let world = WorldClock::start();
            let clock = MachineClock::new(world.clone());
            let change = async {
                pass(10).await;
                clock.set_rate(1_000_000);
            };
            let deadline = Instant::from_millis(30_000);
            tokio::join!(biased; clock.sleep_until(deadline), change);
            assert_eq!(Clock::now(&world), Instant::from_millis(20_000), "ten seconds, then twenty in ten");
            assert!(clock.now() >= deadline);
        });
    }

    #[test]
    fn a_clock_never_goes_back_and_no_sleep_ends_early() {
        run(async {
            let world = WorldClock::start();
            let clock = MachineClock::new(world);
            let mut last = clock.now();
            for (ppm, millis) in [(731, 3), (-900_000, 17), (1, 1), (-1, 999), (9_000_000, 1), (0, 12_345)] {
                clock.set_rate(ppm);
                let deadline = clock.now() + Duration::from_micros(millis * 1000 + 1);
                clock.sleep_until(deadline).await;
                assert!(clock.now() >= deadline && clock.now() > last, "{ppm}");
                last = clock.now();
            }
        });
    }
}
