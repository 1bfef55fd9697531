//! The one queue of what is going to happen, ordered by time and then by the order in which it was put in.
//!
//! It knows neither what the events are nor how to take one back: whoever no longer wants one ignores it when it comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bellhop_core::time::Instant;

/// Events waiting for their time. The heap moves small keys only; the events lie still in a slab.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// What waits, the earliest on top.
    waiting: BinaryHeap<Reverse<Key>>,
    /// The events, by slot.
    events: Vec<Option<E>>,
    /// Slots that are free.
    free: Vec<u32>,
    /// The number of the next event.
    sequence: u64,
}

/// When, the how-manieth event ever put in, and where it lies. The slot never decides: no two have one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Instant, u64, u32);

impl<E> Queue<E> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), sequence: 0 }
    }

    /// Puts in an event. Among events of one moment it is the last.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.sequence += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            u32::try_from(self.events.len() - 1).expect("four billion waiting events do not fit into memory")
        });
        self.events[slot as usize] = Some(event);
        self.waiting.push(Reverse(Key(at, self.sequence, slot)));
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(Key(at, ..))| *at)
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Instant, E)> {
        let Reverse(Key(at, _, slot)) = self.waiting.pop()?;
        self.free.push(slot);
        Some((at, self.events[slot as usize].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_moment_as_they_were_put_in() {
        let mut queue = Queue::new();
        for (millis, name) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            queue.push(Instant::from_millis(millis), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }

    #[test]
    fn the_room_of_events_that_came_is_used_again() {
        let mut queue = Queue::new();
        for millis in 0..1000 {
            queue.push(Instant::from_millis(millis), millis);
            assert_eq!(queue.pop(), Some((Instant::from_millis(millis), millis)));
        }
        assert_eq!(queue.events.len(), 1);
    }
}
