//! The one queue of what is going to happen, ordered by time and then by the order in which it was put in.
//!
//! It knows neither what the events are nor how to take one back: whoever no longer wants one ignores it when it comes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bellhop_core::time::Instant;

/// Events waiting for their time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// What waits, the earliest on top.
    waiting: BinaryHeap<Waiting<E>>,
    /// The number of the next event.
    sequence: u64,
}

impl<E> Queue<E> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), sequence: 0 }
    }

    /// Puts in an event. Among events of one moment it is the last.
    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.sequence += 1;
        self.waiting.push(Waiting { at, sequence: self.sequence, event });
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|waiting| waiting.at)
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Instant, E)> {
        self.waiting.pop().map(|waiting| (waiting.at, waiting.event))
    }
}

/// One event with its place in the order.
#[derive(Debug)]
struct Waiting<E> {
    /// When.
    at: Instant,
    /// The how-manieth event ever put in.
    sequence: u64,
    /// What.
    event: E,
}

impl<E> Ord for Waiting<E> {
    // The heap has its greatest on top: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Waiting<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Waiting<E> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<E> Eq for Waiting<E> {}

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
}
