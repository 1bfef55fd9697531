//! One direction of a cable: when each frame arrives, and what its fault does to it.

use std::collections::VecDeque;

use bellhop_core::time::Instant;

use super::{Latency, WireFault};
use crate::random::{Numbered, scale};
use crate::trace::DropReason;

/// Frames that wait before a cable whose rate is limited (tail drop). Linux gives an Ethernet NIC a queue of 1,000 frames (DEFAULT_TX_QUEUE_LEN), a
/// switch's port has tens to hundreds; 100 is the scenario vocabulary's.
const QUEUE_MAX: usize = 100;

/// Bytes that a frame takes on the wire besides its own: preamble 8, check sequence 4, gap 12 (IEEE 802.3).
const OVERHEAD: usize = 24;

/// The shortest frame on the wire without its check sequence: shorter ones are padded.
const FRAME_MIN: usize = 60;

/// One in so many broken frames has a check sequence that fits.
const UNDETECTED: u64 = 1000;

/// One direction of a cable.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Latencies.
    draws: Numbered,
    /// Frames that entered so far: the number of the next.
    frames: u64,
    /// When the last one arrives.
    last: Instant,
    /// What is wrong with it, if anything is.
    impaired: Option<Box<Impaired>>,
}

/// What becomes of a frame that enters a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It does not come out.
    Dropped(DropReason),
    /// It comes out.
    Arrives {
        /// When.
        at: Instant,
        /// Once more right behind it.
        twice: bool,
        /// This bit of it flipped, and whether the check sequence tells.
        flipped: Option<(usize, bool)>,
    },
}

/// A fault and its draws.
#[derive(Debug)]
struct Impaired {
    fault: WireFault,
    /// Whether a run of losses has begun and not ended.
    bursting: bool,
    /// When the frames in the queue will have left it, in order.
    queue: VecDeque<Instant>,
    loss: Numbered,
    duplicate: Numbered,
    reorder: Numbered,
    held: Numbered,
    corrupt: Numbered,
    bit: Numbered,
    undetected: Numbered,
    delay: Numbered,
}

impl Lane {
    /// One with nothing wrong.
    pub(super) fn new(seed: u64, label: &str) -> Self {
        Self { draws: Numbered::new(seed, label), frames: 0, last: Instant::ZERO, impaired: None }
    }

    /// What a frame of `length` bytes that enters now will go through. `flood`: the draw that it shares with the other copies of a flood; a fault on this
    /// lane leaves its latency as it was.
    pub(crate) fn pass(&mut self, now: Instant, latency: &Latency, length: usize, flood: Option<u64>) -> Passage {
        let number = self.frames;
        self.frames += 1;
        let own = latency.nanos(flood.unwrap_or_else(|| self.draws.at(number)));
        match &mut self.impaired {
            None => {
                Passage::Arrives { at: self.in_order(Instant::from_nanos(now.as_nanos().saturating_add(own))), twice: false, flipped: None }
            }
            Some(_) => self.pass_impaired(now, latency, own, number, length),
        }
    }

    /// When a frame of a flood arrives, if it can arrive with the others of the flood at `at`: with nothing wrong here, and behind all before it.
    /// `false` has changed nothing.
    pub(crate) fn joins_flood(&mut self, at: Instant) -> bool {
        let joins = self.impaired.is_none() && self.last <= at;
        if joins {
            self.frames += 1;
            self.last = at;
        }
        joins
    }

    /// Sets what is wrong. The numbers of frames go on, so that draws depend on the frame alone.
    pub(super) fn set_fault(&mut self, fault: WireFault, seed: u64, label: &str) {
        self.impaired = (fault != WireFault::default()).then(|| Box::new(Impaired::new(fault, seed, label)));
    }

    /// Whether nothing passes.
    pub(super) fn is_cut(&self) -> bool {
        self.impaired.as_ref().is_some_and(|impaired| impaired.fault.cut)
    }

    /// The moment itself, or that of the frame before it.
    fn in_order(&mut self, at: Instant) -> Instant {
        self.last = self.last.max(at);
        self.last
    }

    /// The same through a fault.
    fn pass_impaired(&mut self, now: Instant, latency: &Latency, own: u64, number: u64, length: usize) -> Passage {
        let Some(impaired) = &mut self.impaired else { return Passage::Dropped(DropReason::Cut) };
        if impaired.fault.cut {
            return Passage::Dropped(DropReason::Cut);
        }
        let Some(left) = impaired.leaves_queue(now, length) else { return Passage::Dropped(DropReason::QueueFull) };
        if impaired.loses(number) {
            return Passage::Dropped(DropReason::Lost);
        }
        let fault = &impaired.fault;
        let added = fault.delay.map_or(0, |delay| delay.nanos(impaired.delay.at(number)));
        let mut at = Instant::from_nanos(left.as_nanos().saturating_add(own).saturating_add(added));
        let twice = fault.duplicate.hits(impaired.duplicate.at(number));
        let flipped = fault.corrupt.hits(impaired.corrupt.at(number)).then(|| {
            let bit = scale(impaired.bit.at(number), length as u64 * 8);
            (usize::try_from(bit).unwrap_or(0), scale(impaired.undetected.at(number), UNDETECTED) != 0)
        });
        if fault.reorder.hits(impaired.reorder.at(number)) {
            let held = 1 + scale(impaired.held.at(number), 10);
            at = Instant::from_nanos(at.as_nanos().saturating_add(held.saturating_mul(super::nanos(latency.max))));
        } else {
            at = self.in_order(at);
        }
        Passage::Arrives { at, twice, flipped }
    }
}

impl Impaired {
    /// A fault with the numbers that belong to it.
    fn new(fault: WireFault, seed: u64, label: &str) -> Self {
        let draws = |kind: &str| Numbered::new(seed, &format!("{label} {kind}"));
        Self {
            fault,
            bursting: false,
            queue: VecDeque::new(),
            loss: draws("loss"),
            duplicate: draws("duplicate"),
            reorder: draws("reorder"),
            held: draws("held"),
            corrupt: draws("corrupt"),
            bit: draws("bit"),
            undetected: draws("undetected"),
            delay: draws("delay"),
        }
    }

    /// Whether this frame is lost (Gilbert's two states; in the bad one everything is). The chance to begin a run is such that the given share of
    /// all frames is lost.
    fn loses(&mut self, number: u64) -> bool {
        let (loss, burst) = (u64::from(self.fault.loss.0), u64::from(self.fault.burst.max(1)));
        let draw = scale(self.loss.at(number), 1_000_000);
        if loss == 0 || loss >= 1_000_000 {
            return loss > 0;
        }
        if burst == 1 {
            return draw < loss;
        }
        let ends = 1_000_000 / burst;
        self.bursting = if self.bursting { draw >= ends } else { draw < (loss * ends / (1_000_000 - loss)).min(1_000_000) };
        self.bursting
    }

    /// When a frame's last bit has left the queue before a limited rate; `None` if the queue is full.
    fn leaves_queue(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.fault.rate else { return Some(now) };
        while self.queue.front().is_some_and(|left| *left <= now) {
            self.queue.pop_front();
        }
        // One is on its way out, the others wait.
        if self.queue.len() > QUEUE_MAX {
            return None;
        }
        let bits = (length.max(FRAME_MIN) + OVERHEAD) as u64 * 8;
        let starts = self.queue.back().copied().unwrap_or(now);
        let left = Instant::from_nanos(starts.as_nanos().saturating_add(bits.saturating_mul(1_000_000_000) / rate.max(1)));
        self.queue.push_back(left);
        Some(left)
    }
}

#[cfg(test)]
mod tests;
