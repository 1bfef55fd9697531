//! What this crate's tests have instead of a machine: tokio's clock, which they pause.

use std::rc::Rc;

use bellhop_core::time::Instant;

use crate::env::{Clock, LocalFuture};

/// Tokio's own clock from the moment of its making; wall time begins at 1970.
pub(crate) struct PausedClock(tokio::time::Instant);

impl PausedClock {
    #[expect(clippy::disallowed_methods, reason = "the tests' tokio clock is paused: it is an input")]
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH + self.0.elapsed()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        Box::pin(tokio::time::sleep_until(self.0 + deadline.since_zero()))
    }
}
