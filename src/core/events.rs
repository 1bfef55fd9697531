//! The Events that wait to be told: how many may, and which of them is given up when there are more.
//!
//! An Event is only a telling. What is so stands in conditions and records, and that is written whatever happens here. So the newest stay: they
//! say what is so now, and the fewer wait before them the sooner it is heard. To whom they are told, and how fast, is not known here.

use std::collections::VecDeque;

use crate::object::Event;

/// As many as client-go lets wait before its broadcaster drops (`maxQueuedEvents` in tools/record). A node that flaps with thousands of addresses
/// makes one for each.
pub(crate) const WAITING_MAX: usize = 1000;

/// A queue with a bound.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: VecDeque<Event>,
    /// Given up since it was last asked.
    dropped: u64,
}

impl Events {
    /// Puts one at the end. The oldest goes where there is no room.
    pub(crate) fn push(&mut self, event: Event) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(event);
    }

    /// Whether one more puts none out.
    pub(crate) fn have_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// How many were given up, once the rest is told: one number for a whole flood.
    pub(crate) fn take_dropped(&mut self) -> Option<u64> {
        let is_over = self.waiting.is_empty() && self.dropped > 0;
        is_over.then(|| std::mem::take(&mut self.dropped))
    }

    /// Nobody is told what waits. What was given up before is still counted.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ServiceKey;
    use crate::object::Subject;

    fn event(number: usize) -> Event {
        let subject = Subject::Service(ServiceKey::new("default", format!("s{number}")));
        Event { subject, warning: false, reason: crate::status::event::NODE_CHANGED, message: String::new() }
    }

    #[test]
    fn of_a_flood_the_newest_are_told_in_order_and_the_rest_is_counted_once() {
        let mut events = Events::default();
        (0..WAITING_MAX + 7).for_each(|number| events.push(event(number)));
        assert_eq!(events.take_dropped(), None, "the flood is not over");
        let told: Vec<Event> = std::iter::from_fn(|| events.pop()).collect();
        assert_eq!(told, (7..WAITING_MAX + 7).map(event).collect::<Vec<_>>());
        assert_eq!((events.take_dropped(), events.take_dropped()), (Some(7), None));
    }

    #[test]
    fn who_leads_no_more_has_nothing_left_to_tell() {
        let mut events = Events::default();
        (0..WAITING_MAX + 7).for_each(|number| events.push(event(number)));
        events.clear();
        assert_eq!((events.pop(), events.take_dropped()), (None, Some(7)));
    }
}
