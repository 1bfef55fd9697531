//! What time it is, asked of whoever runs the server.
//!
//! Creation times, ages and lease stamps come from here and from nowhere else: the simulator hands in its virtual clock, the HTTP
//! server the machine's. Time-outs of watches are not this module's: those are tokio's timers, virtual under a paused runtime.

use jiff::Timestamp;

/// Gives the server its wall clock time.
pub trait Clock: Send + Sync {
    /// The current time, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock, for the HTTP server on real time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one adapter to the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Any function is a clock.
impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// RFC 3339 with whole seconds, as `metav1.Time` is written.
pub(crate) fn time(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
